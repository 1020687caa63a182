"""Run records: one JSON file for each finished run, written atomically, sealed with its SHA-256, and read again.

`runs/` (git-ignored) is where records land by default. Those below `data/results/` are committed, and are written
there on purpose only. A record never stands in for a run: `train` does not read them.
"""

from __future__ import annotations

import functools
import json
import re
import statistics
from collections.abc import Iterable
from pathlib import Path

from dnll_core.checks import RecordError, check_record, opened, sealed
from dnll_core.common import atomic_file, brief, data_folder, folder_in, user_path
from dnll_core.datafiles import read_whole
from dnll_core.names import run_name
from dnll_core.provenance import difference

RUN_FILE = re.compile(r"-seed\d+\.json$")


def root() -> Path:
    """The folder of the records that are kept: the environment variable DNLL_RESULTS, else in `common.data_folder`."""
    return folder_in("DNLL_RESULTS") or data_folder() / "results"


def none_of(what: str, folder: str | Path | None = None) -> str:
    """What to say where there are no records: where they were looked for (None: `root()`), and how they are made."""
    return (
        f"There are no records of {what} below {folder or root()}. `python -m dnll_core.campaign --out {root()}` makes "
        "them (--help says which); the environment variable DNLL_RESULTS names another folder."
    )


def save(record: dict, folder: str | Path = "runs/records") -> Path:
    """Writes a record as `<run_name>.json` and returns its path. folder: see `common.user_path`.

    Raises:
        RecordError: if it is no record, or if a record is there that was made elsewhere or of other images, or one that
            cannot be read.
        OSError: naming the path, if it cannot be written.
    """
    path = user_path(folder) / f"{run_name(record['experiment'], record['seed'])}.json"
    try:
        content = sealed(record)
        check_record(content)
    except (ValueError, TypeError) as error:
        raise RecordError(f"{path} is not written, for what it would hold is no run record: {error}.") from None
    if path.exists():
        there = _read(path)
        other = "it is of another run" if run_name(there["experiment"], there["seed"]) != path.stem else ""
        if why := other or difference(content, there):
            raise RecordError(f"{path} is there, and kept: {why}. Save into another folder, or delete that file.")
    with atomic_file(path) as file:
        file.write((to_json(content) + "\n").encode())
    return path


def to_json(record: dict) -> str:
    """JSON with one line for each epoch of the history, so that a difference between two records can be read."""
    head = {key: value for key, value in record.items() if key != "history"}
    text = json.dumps(head, indent=1, sort_keys=True)
    if "history" not in record:
        return text
    rows = ",\n".join("  " + json.dumps(row) for row in record["history"])
    return text[: text.rindex("\n}")] + ',\n "history": [\n' + rows + "\n ]\n}"


def load(folder: str | Path | None = None, **fields) -> list[dict]:
    """The records below `folder` whose experiment has these values, sorted by path; an empty list if there are none.

    folder: see `common.user_path`; None for `root()`.
    A file is parsed and checked again only when it has changed, so what is inside a record is shared, and not to be
    changed.

    Raises:
        RecordError: naming a file that cannot be read as a record.
    """
    records, folder = [], root() if folder is None else user_path(folder)
    for path in sorted(folder.rglob("*-seed*.json")):
        inside = path.relative_to(folder).parts[:-1]
        if not RUN_FILE.search(path.name) or any(part.startswith(".") or part == "search" for part in inside):
            continue  # a copy, for example JupyterLab's, is no other run, and a trial of a search no result
        record = _read(path)
        if fields.items() <= record["experiment"].items():
            records.append(dict(record))
    return records


def _read(path: Path) -> dict:
    """The record in a file, as `_parsed` shares it.

    Raises:
        RecordError: naming the file, what is wrong with it, and what to do.
    """
    try:
        return _parsed(path, state_of(path))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, ArithmeticError) as error:
        raise RecordError(f"{path} is not a readable run record ({brief(error)}); delete it or restore it.") from None


def state_of(path: Path) -> tuple[int, int, int]:
    """Changes whenever a file does that is written as `save` does it, as another file under the same name."""
    seen = path.stat()
    return seen.st_ino, seen.st_mtime_ns, seen.st_size


@functools.lru_cache(maxsize=4096)
def _parsed(path: Path, state: tuple[int, int, int]) -> dict:
    record = opened(read_whole(path))
    check_record(record)
    return record


def mean_of(scores: dict) -> float:
    """The accuracy 0...1 of a held-out set in a row of a history: the mean of the submodels."""
    return statistics.fmean(scores["submodels"])


def accuracies(records: Iterable[dict], held_out: str = "test", which: str = "final") -> list[float]:
    """One accuracy for each record.

    which="final": the last epoch, mean of the submodels (our headline); "ensemble": the last epoch, their mean
    probabilities; "best": the best epoch of the better submodel on this very set, as the authors' code reports on test.
    """
    if which == "best":  # a method without epochs has no best one
        return [
            max(max(row[held_out]["submodels"]) for row in record["history"] if held_out in row)
            if "history" in record
            else record["final"][held_out]["mean"]
            for record in records
        ]
    key = {"final": "mean", "ensemble": "ensemble"}[which]
    return [record["final"][held_out][key] for record in records]


def mean_sd(values: list[float]) -> tuple[float, float]:
    """Mean and sample standard deviation (n - 1; NaN for a single value)."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else float("nan")


def final_numbers(history: list[dict]) -> dict[str, dict]:
    """The last epoch's accuracies on each held-out set: {"mean", "submodels", "ensemble"}."""
    last = history[-1]
    sets = [name for name in ("validation", "test") if name in last]
    return {name: {"mean": mean_of(last[name]), **last[name]} for name in sets}
