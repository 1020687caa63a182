"""Runs the notebooks at their defaults and stores their outputs in place, all of one environment and one commit.

python -m dnll_core.campaign.outputs        # all of them
python -m dnll_core.campaign.outputs 07 08  # two

Each is executed as a copy under runs/outputs. Only when all have come to their end do the copies take the places of the
notebooks: one that fails, or that somebody edited meanwhile, leaves everything as it was, and so does Ctrl-C. What a
copy was executed with is in its metadata, "made".
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from filelock import Timeout

from dnll_core import provenance
from dnll_core.campaign.command import as_program, check_commit, ends_with_messages
from dnll_core.common import atomic_file, locked, program, unknown
from dnll_core.device import processor

NOTEBOOKS = provenance.PACKAGE.parent / "notebooks"
COPIES = provenance.PACKAGE.parent / "runs" / "outputs"
VERSIONS = ("torch", "torchvision", "numpy", "scipy", "scikit-learn", "pandas", "matplotlib", "seaborn")
TIMED = "12"  # measures times: alone, with all threads, when the others are done
SIDE_BY_SIDE = {"OMP_NUM_THREADS": "1", "DNLL_WORKERS": "1"}  # two at a time, of one thread and one process each
RUNNING: set[subprocess.Popen] = set()


def made() -> dict[str, str]:
    """What notebooks are executed with here: commit, processor, Python and the libraries that make their numbers."""
    versions = {name: importlib.metadata.version(name) for name in VERSIONS}
    return {"commit": provenance.commit(), "processor": processor(), "python": platform.python_version()} | versions


def execute(notebook: Path, tries: int = 3) -> str:
    """Executes a copy of a notebook, which then says what it was `made` with; returns what went wrong, or ""."""
    copy = COPIES / notebook.name
    how = {} if notebook.name.startswith(TIMED) else SIDE_BY_SIDE
    options = ("ExecutePreprocessor.record_timing=False", "CoalesceStreamsPreprocessor.enabled=True")
    words = ("--execute", "--log-level", "ERROR", *(f"--{option}" for option in options))
    command = (sys.executable, "-m", "nbconvert", "--to", "notebook", *words, "--output-dir", COPIES, notebook)
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "encoding": "utf-8"}
    done = subprocess.Popen(command, env=os.environ | how, **pipes)
    RUNNING.add(done)
    said = done.communicate()[1]
    RUNNING.remove(done)
    if done.returncode and "Address already in use" in said and tries > 1:
        return execute(notebook, tries - 1)  # two kernels that start at once can choose the same port
    print(f"{notebook.name}: {'failed' if done.returncode else 'executed'}", flush=True)
    if done.returncode:
        return f"{notebook.name}:\n{said.strip()}"
    page = json.loads(copy.read_text(encoding="utf-8"))
    page["metadata"]["made"] = made()
    copy.write_text(json.dumps(page, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return ""


def main(arguments: list[str] | None = None) -> None:
    parser = program("dnll_core.campaign.outputs", __doc__)
    parser.add_argument("numbers", nargs="*", metavar="NN", help="of the notebooks; all, if none is named")
    parser.add_argument("--uncommitted", action="store_true", help="though the package has uncommitted changes")
    options = parser.parse_args(arguments)
    there = sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))
    known = [path.name[:2] for path in there]
    for number in options.numbers:
        if number not in known:
            sys.exit(unknown("notebook", number, known))
    chosen = [path for path in there if not options.numbers or path.name[:2] in options.numbers]
    with ends_with_messages(OSError, ValueError):
        check_commit(options.uncommitted)
        COPIES.mkdir(parents=True, exist_ok=True)
        try:
            lock = locked(COPIES / ".lock")
        except Timeout:
            sys.exit(f"notebooks are being executed in {COPIES} already.")
        with lock:
            replace(chosen)


def replace(chosen: list[Path]) -> None:
    """Executes notebooks and puts the copies in their places; exits with what went wrong, if anything did."""
    before = {path: path.read_bytes() for path in (*chosen, *provenance.PACKAGE.rglob("*.py"))}
    with ThreadPoolExecutor(2) as pool:
        try:
            errors = [*pool.map(execute, (path for path in chosen if path.name[:2] != TIMED))]
            errors += [pool.submit(execute, path).result() for path in chosen if path.name[:2] == TIMED]
        except KeyboardInterrupt:
            for process in RUNNING.copy():  # else the pool would wait for them
                process.terminate()
            sys.exit("interrupted; no notebook was changed")
    changed = [path for path, content in before.items() if not path.is_file() or path.read_bytes() != content]
    errors += [f"{path.name} was changed meanwhile." for path in changed]
    if any(errors):
        sys.exit("\n\n".join(["No notebook was changed.", *filter(None, errors)]))
    for path in chosen:
        with atomic_file(path) as file:  # runs/ may be on another disk
            file.write((COPIES / path.name).read_bytes())


if __name__ == "__main__":
    as_program(main)
