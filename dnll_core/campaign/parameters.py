"""Checks parameters for a notebook before papermill runs it, which only warns about a name that does not exist.

python -m dnll_core.campaign.parameters notebooks/00_quickstart.ipynb -p labels 50
"""

from __future__ import annotations

import argparse
import base64
import sys
from collections.abc import Iterator

import papermill
from papermill import cli

from dnll_core.common import program, shown, unknown


def _yaml(text: str | bytes) -> object:
    return cli.yaml.load(text, cli.NoDatesSafeLoader)


# options that hold any number of parameters -> how papermill reads them
READERS = {
    "parameters_base64": lambda text: _yaml(base64.b64decode(text)),
    "parameters_file": cli.read_yaml_file,
    "parameters_yaml": _yaml,
}


def names(arguments: list[str]) -> Iterator[object]:
    """The names of all parameters that papermill gets by these arguments, in whatever spelling it accepts.

    Raises:
        ValueError: for a file or text that does not hold parameters.
        click.ClickException, click.exceptions.Exit: as papermill refuses arguments, or after it printed its help.
    """
    given = cli.papermill.make_context("papermill", arguments).params
    for option, read in READERS.items():
        for value in given[option]:
            try:
                found = read(value) or {}
            except Exception as error:  # of whatever kind: papermill also reads addresses and cloud storage
                raise ValueError(f"--{option} {shown(value)} cannot be read: {error}") from None
            if not isinstance(found, dict):
                raise ValueError(f"--{option} takes names with values ('labels: 50'), not {shown(found)}.")
            yield from found
    for option in ("parameters", "parameters_raw"):
        yield from (name for name, _ in given[option])


def main(arguments: list[str] | None = None) -> None:
    """Exits with the nearest valid name if a parameter for papermill is none of the notebook's."""
    parser = program("dnll_core.campaign.parameters", __doc__)
    parser.add_argument("notebook")
    parser.add_argument("options", nargs=argparse.REMAINDER, help="of papermill")
    options = parser.parse_args(arguments)
    try:
        accepted = list(papermill.inspect_notebook(options.notebook))
    except Exception as error:  # of whatever kind: papermill also reads addresses and cloud storage
        sys.exit(f"{options.notebook} cannot be read as a notebook: {error}")
    try:
        for name in names([options.notebook, *options.options]):
            if name not in accepted:
                sys.exit(unknown("parameter", name, accepted))
    except cli.click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except cli.click.ClickException as error:
        sys.exit(error.format_message())
    except ValueError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
