"""Run records: one JSON file for each finished run, written atomically; read, grouped, and summarised as mean +- sd.

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

import pandas as pd

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

    Raises:
        RecordError: naming a file that cannot be read as a record.
    """
    records = []
    for path in sorted(Path(folder).rglob("*-seed*.json")):
        inside = path.relative_to(folder).parts[:-1]
        if not RUN_FILE.search(path.name) or any(part.startswith(".") for part in inside):
            continue  # a copy, for example JupyterLab's, must not count as another run
        try:
            record = json.loads(path.read_bytes())
            experiment = record["experiment"]
            record["seed"]
            matches = fields.items() <= dict(experiment).items()
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise RecordError(f"{path} is not a readable run record ({error!r}); delete it or restore it.") from None
        if matches:
            records.append(record)
    return records


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


def comparison(groups: dict[str, list[dict]], held_out: str = "test") -> pd.DataFrame:
    """One row for each group of records: n, the three accuracies of `accuracies` as "mean ± sd" in %, mean seconds."""
    rows = []
    for name, records in groups.items():
        row = {"method": name, "n": len(records)}
        columns = {"last epoch, mean of submodels": "final", "their ensemble": "ensemble", "best on test": "best"}
        for column, which in columns.items():
            values = accuracies(records, held_out, which)
            row[f"{column} (%)"] = percent(values) if values else "not recorded"
        row["seconds a run"] = f"{statistics.fmean(r['seconds'] for r in records):.1f}" if records else "not recorded"
        rows.append(row)
    return pd.DataFrame(rows).set_index("method")


def percent(values: list[float]) -> str:
    """Accuracies 0...1 as "94.9 ± 1.5", in %; a single value has no ±."""
    mean, sd = mean_sd(values)
    return f"{100 * mean:.1f} ± {100 * sd:.1f}" if len(values) > 1 else f"{100 * mean:.1f}"


def final_numbers(history: list[dict]) -> dict[str, dict]:
    """The last epoch's accuracies on each held-out set: {"mean", "submodels", "ensemble"}."""
    last = history[-1]
    sets = [name for name in ("validation", "test") if name in last]
    return {name: {"mean": statistics.fmean(last[name]["submodels"]), **last[name]} for name in sets}


def provenance_of(records: list[dict]) -> str:
    """One line for below a table: devices, torch versions, commits, total seconds, number of runs."""
    if not records:
        return "not recorded"
    parts = []
    for key in ("device", "precision", "torch", "commit"):
        values = sorted({str(record.get(key)) for record in records})
        # the name of a processor alone says less than the same name with its threads
        values = [v for v in values if not any(w != v and w.startswith(v) for w in values)]
        parts.append(f"{key} {', '.join(values)}")
    seconds = sum(record["seconds"] for record in records)
    return f"{len(records)} runs; " + "; ".join(parts) + f"; {seconds:.0f} s in all"


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
