"""Run records: one JSON file for each finished run, written atomically, and read again.

`runs/` (git-ignored) is where records land by default. Those below `data/results/` are committed, and are written
there on purpose only. A record never stands in for a run: `train` does not read them.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import statistics
import subprocess
from collections.abc import Iterable
from pathlib import Path

from dnll_core.common import atomic_file

PACKAGE = Path(__file__).parent
RESULTS = PACKAGE.parent / "data" / "results"
FORMAT = 1
COMMIT = "DNLL_COMMIT"
RUN_FILE = re.compile(r"-seed\d+\.json$")


class RecordError(ValueError):
    """A file that is not a readable record."""


def run_name(experiment: dict, seed: int) -> str:
    """`<dataset>-<labels>-<method>-<id>-seed<seed>` of an experiment's fields; the id tells all other fields apart."""
    identity = hashlib.sha256(json.dumps(experiment, sort_keys=True).encode()).hexdigest()[:8]
    sets = [experiment[name] for name in ("source", "dataset") if experiment.get(name)]
    short = [re.sub(r"[^A-Za-z0-9]+", "-", name.rstrip("/").split("/")[-1]).strip("-") or "folder" for name in sets]
    return "-".join([*short, str(experiment["labels"]), experiment["method"], identity, f"seed{seed}"])


def save(record: dict, folder: str | Path = "runs/records") -> Path:
    """Writes a record as `<run_name>.json` and returns its path."""
    path = Path(folder) / f"{run_name(record['experiment'], record['seed'])}.json"
    with atomic_file(path) as file:
        file.write((to_json(record) + "\n").encode())
    return path


def to_json(record: dict) -> str:
    """JSON with one line for each epoch of the history, so that a difference between two records can be read."""
    head = {key: value for key, value in record.items() if key != "history"}
    text = json.dumps(head, indent=1, sort_keys=True)
    if "history" not in record:
        return text
    rows = ",\n".join("  " + json.dumps(row) for row in record["history"])
    return text[: text.rindex("\n}")] + ',\n "history": [\n' + rows + "\n ]\n}"


def load(folder: str | Path = RESULTS, **fields) -> list[dict]:
    """The records below `folder` whose experiment has these values, sorted by path; an empty list if there are none.

    A file is parsed again only when it has changed, so what is inside a record is shared, and not to be changed.

    Raises:
        RecordError: naming a file that cannot be read as a record.
    """
    records = []
    for path in sorted(Path(folder).rglob("*-seed*.json")):
        inside = path.relative_to(folder).parts[:-1]
        if not RUN_FILE.search(path.name) or any(part.startswith(".") or part == "search" for part in inside):
            continue  # a copy, for example JupyterLab's, is no other run, and a trial of a search no result
        try:
            record = _parsed(path, state_of(path))
            experiment = record["experiment"]
            record["seed"]
            matches = fields.items() <= dict(experiment).items()
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise RecordError(f"{path} is not a readable run record ({error!r}); delete it or restore it.") from None
        if matches:
            records.append(dict(record))
    return records


def state_of(path: Path) -> tuple[int, int, int]:
    """Changes whenever a file does that is written as `save` does it, as another file under the same name."""
    seen = path.stat()
    return seen.st_ino, seen.st_mtime_ns, seen.st_size


@functools.lru_cache(maxsize=4096)
def _parsed(path: Path, state: tuple[int, int, int]) -> dict:
    return json.loads(path.read_bytes())


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
    return {name: {"mean": statistics.fmean(last[name]["submodels"]), **last[name]} for name in sets}


def of_parts(parts: list[dict]) -> dict[str, str]:
    """What is told of all parts of a run together: the distinct values of each key in order, ", then " between them."""
    told = {}
    for key in ("device", "precision", "torch", "commit", "source_sha256"):
        values = dict.fromkeys(part[key] for part in parts if part.get(key) is not None)
        told[key] = ", then ".join(values) or None
    return told


@functools.cache
def source_hash() -> str:
    """SHA-256 over the package's Python files, in the order of their paths."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        digest.update(path.relative_to(PACKAGE).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


@functools.cache
def commit() -> str | None:
    """The checkout's commit, with "+" where the package differs from it.

    Without git, the environment variable COMMIT may say of which commit the files are a copy; else it is None.

    Raises:
        ValueError: if that variable holds no commit.
    """

    def git(*words: str) -> str:
        return subprocess.run(("git", *words), cwd=PACKAGE, capture_output=True, text=True, check=True).stdout.strip()

    try:
        head = git("rev-parse", "--short=12", "HEAD")
        return head + ("+" if git("status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.CalledProcessError):
        given = os.environ.get(COMMIT, "")
    if given and not re.fullmatch("[0-9a-f]{7,40}", given):
        raise ValueError(f"{COMMIT}={given!r} is no commit; accepted: 7 to 40 hexadecimal digits.")
    return given[:12] or None
