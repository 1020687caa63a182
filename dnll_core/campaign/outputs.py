"""Runs the notebooks at their defaults and stores their outputs in place, all of one environment and one commit.

python -m dnll_core.campaign.outputs        # all of them
python -m dnll_core.campaign.outputs 07 08  # two

Each is executed as a copy under runs/outputs. Only when all have come to their end do the copies take the places of the
notebooks: a notebook that fails leaves everything as it was. What a copy was executed with is in its metadata, "made".
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dnll_core import provenance
from dnll_core.campaign.command import check_commit
from dnll_core.common import program, unknown
from dnll_core.device import processor

NOTEBOOKS = provenance.PACKAGE.parent / "notebooks"
COPIES = provenance.PACKAGE.parent / "runs" / "outputs"
VERSIONS = ("torch", "torchvision", "numpy", "scipy", "scikit-learn", "pandas", "matplotlib", "seaborn")
TIMED = "12"  # measures times: alone, with all threads, when the others are done
SIDE_BY_SIDE = {"OMP_NUM_THREADS": "1", "DNLL_WORKERS": "1"}  # two at a time, of one thread and one process each


def made() -> dict[str, str]:
    """What notebooks are executed with here: commit, processor, Python and the libraries that make their numbers."""
    versions = {name: importlib.metadata.version(name) for name in VERSIONS}
    return {"commit": provenance.commit(), "processor": processor(), "python": platform.python_version()} | versions


def execute(notebook: Path) -> str:
    """Executes a copy of a notebook, which then says what it was `made` with; returns what went wrong, or ""."""
    copy = COPIES / notebook.name
    how = {} if notebook.name.startswith(TIMED) else SIDE_BY_SIDE
    options = ("ExecutePreprocessor.record_timing=False", "CoalesceStreamsPreprocessor.enabled=True")
    words = ("--execute", "--log-level", "ERROR", *(f"--{option}" for option in options))
    command = (sys.executable, "-m", "nbconvert", "--to", "notebook", *words, "--output-dir", COPIES, notebook)
    done = subprocess.run(command, env=os.environ | how, capture_output=True, encoding="utf-8")
    print(f"{notebook.name}: {'failed' if done.returncode else 'executed'}", flush=True)
    if done.returncode:
        return f"{notebook.name}:\n{done.stderr.strip()}"
    page = json.loads(copy.read_text(encoding="utf-8"))
    page["metadata"]["made"] = made()
    copy.write_text(json.dumps(page, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return ""


def main(arguments: list[str] | None = None) -> None:
    parser = program("dnll_core.campaign.outputs", __doc__)
    parser.add_argument("numbers", nargs="*", metavar="NN", help="of the notebooks; all, if none is named")
    parser.add_argument("--uncommitted", action="store_true", help="though the package has uncommitted changes")
    options = parser.parse_args(arguments)
    there = {path.name[:2]: path for path in sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))}
    for number in options.numbers:
        if number not in there:
            sys.exit(unknown("notebook", number, list(there)))
    try:
        check_commit(options.uncommitted)
    except ValueError as error:
        sys.exit(str(error))
    chosen = {number: there[number] for number in options.numbers or there}
    shutil.rmtree(COPIES, ignore_errors=True)
    COPIES.mkdir(parents=True)
    with ThreadPoolExecutor(2) as pool:
        errors = [*pool.map(execute, (path for number, path in chosen.items() if number != TIMED))]
    if TIMED in chosen:
        errors.append(execute(chosen[TIMED]))
    if any(errors):
        sys.exit("\n\n".join(["No notebook was changed.", *filter(None, errors)]))
    for path in chosen.values():
        os.replace(COPIES / path.name, path)


if __name__ == "__main__":
    main()
