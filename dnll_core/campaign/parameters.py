"""Checks parameters for a notebook before papermill runs it, which only warns about a name that does not exist.

python -m dnll_core.campaign.parameters notebooks/00_quickstart.ipynb -p labels 50
"""

from __future__ import annotations

import sys

import papermill

from dnll_core.common import program, unknown


def main(arguments: list[str] | None = None) -> None:
    """Exits with the nearest valid name if a `-p` or `-r` names no parameter of the notebook."""
    parser = program("dnll_core.campaign.parameters", __doc__)
    parser.add_argument("notebook")
    for flag in ("-p", "-r"):
        parser.add_argument(flag, nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    options, _ = parser.parse_known_args(arguments)
    names = list(papermill.inspect_notebook(options.notebook))
    for name, _ in [*options.p, *options.r]:
        if name not in names:
            sys.exit(unknown("parameter", name, names))


if __name__ == "__main__":
    main()
