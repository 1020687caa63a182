"""The records of finished runs and benchmarks, by experiment."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from dnll_core import results
from dnll_core.bench import report
from dnll_core.common import user_path
from dnll_core.config import ConfigError, Experiment
from dnll_core.data.sets import SETS
from dnll_core.methods.classical import Classical, config_from
from dnll_core.names import experiment_name
from dnll_core.paper.tables import SETTINGS
from dnll_core.study.searches import perturbed
from dnll_core.study.statistics import evaluations
from dnll_core.study.tables import SETUP


def benchmark(records: Records, *methods: str) -> list[dict] | None:
    """The settings of these methods in one benchmark like Table 7's that has all of them, or None.

    Of several: a GPU's before a processor's, then the one that was finished last (one without a date counts as the
    oldest), then the first by name of its file. Benchmarks are never pooled.
    """

    def preferred(name: str) -> tuple[bool, str]:
        of = records.benchmarks[name]
        # a processor's description counts its threads
        return "thread" not in of["settings"][methods[0]]["device"], of.get("finished") or ""

    timed = [name for name in sorted(records.benchmarks) if records.benchmarks[name]["settings"].keys() >= {*methods}]
    timed = [n for n in timed if _as_in_table_7(records.benchmarks[n]["settings"][methods[0]]["experiment"])]
    if not timed:
        return None
    best = records.benchmarks[max(timed, key=preferred)]["settings"]  # the first of equals
    return [best[method] for method in methods]


def _as_in_table_7(fields: dict) -> bool:
    batch = SETTINGS["timing_batch"][0]
    sizes = {"labelled": fields["labelled_batch"], "unlabelled": fields["unlabelled_batch"]}
    return sizes == batch and (fields["dataset"], fields["network"]) == SETUP[1]


def config_of(fields: dict) -> Experiment | Classical | None:
    """What a record is of, filled with defaults; None if it is another version's, with fields or values of its own."""
    try:
        return config_from(fields)
    except ConfigError:
        return None


def recorded(experiment: Experiment, folder: str | Path) -> list[dict]:
    """The records of this very experiment below `folder`, by seed.

    A field that is younger than a record counts with its default, which is how runs without it behave; and a folder of
    images may have moved (see `names.experiment_name`).
    """
    name = experiment_name(experiment.to_dict())
    records = results.load(folder, method=experiment.method)
    mine = {r["seed"]: r for r in reversed(records) if experiment_name(r["experiment"]) == name}
    return [mine[seed] for seed in sorted(mine)]


# of an experiment, in `frame`
FIELDS = ("method", "source", "dataset", "labels", "network", "m", "selection", "teaching")


def frame(records: Iterable[dict]) -> pd.DataFrame:
    """One row for each evaluation of each record, see `statistics.evaluations`.

    Columns: "experiment", its name; its FIELDS; "seed"; "epoch", with a fraction where it was evaluated within one;
    "step" and "seconds" since the start; "test" and "validation", accuracies 0...1, mean of the submodels; "test
    ensemble" and "validation ensemble", of their mean probabilities, which of a method with one network are the same;
    then whatever else an epoch recorded, by its name: "loss", a method's metrics, what `evaluation` measures
    ("agreement"). Missing is NA or NaN. A method without epochs has a single row, without an epoch.

    Runs that differ in other fields, such as the learning rate, have the same FIELDS: group by "experiment", and pick
    one by `names.experiment_name(experiment.to_dict())`. "m", "selection" and "teaching" have a value even where the
    method uses none.
    """
    lines = []
    for record in records:
        fields = record["experiment"]
        of = {"experiment": experiment_name(fields)} | {name: fields.get(name) for name in FIELDS}
        final = {name: {**of_set, "submodels": [of_set["mean"]]} for name, of_set in record["final"].items()}
        rows = evaluations(record) if "history" in record else [final | {"seconds": record["seconds"]}]
        lines += [of | {"seed": record["seed"]} | _flat(row) for row in rows if final.keys() & row.keys()]
    first = ["experiment", *FIELDS, "seed", "epoch", "step", "seconds"]
    first += [f"{name}{what}" for what in ("", " ensemble") for name in ("test", "validation")]
    found = pd.DataFrame(lines, columns=list(dict.fromkeys([*first, *(name for line in lines for name in line)])))
    parts = (found["epoch"].dropna().astype(float) % 1).any()
    whole = dict.fromkeys(("labels", "m", "step"), "Int64") | {"epoch": "Float64" if parts else "Int64"}
    if max(found["seed"], default=0) < 2**63:  # a seed may be any
        whole["seed"] = "Int64"
    return found.astype(whole | dict.fromkeys(first[first.index("seconds") :], float))


def _flat(row: dict) -> dict:
    """A row of a history with a name for each number."""
    found = {}
    for name, value in row.items():
        if name == "within":
            continue
        if not isinstance(value, dict):
            found[name] = value
            continue
        found |= {name: results.mean_of(value)} if "submodels" in value else {}
        found |= {f"{name} {key}": number for key, number in value.items() if key not in ("submodels", "mean")}
    return found


# how data sets and networks are written that have a name of their own
NAMES = {name: data.title for name, data in SETS.items() if data.title}
NAMES |= {"cnn13": "CNN-13", "wrn28-2": "WRN-28-2", "cnn3": "CNN-3"}


class Records:
    """Training records and benchmarks below a folder: read when they are first asked for, and again when they changed.

    folder: see `common.user_path`; None for `results.root()`.

    Raises:
        RecordError: naming a file that cannot be read.
    """

    def __init__(self, folder: str | Path | None = None):
        folder = user_path(folder or results.root()).resolve()
        state = tuple((path, results.state_of(path)) for path in sorted(folder.rglob("*.json")) if path.is_file())
        self.runs, self.benchmarks = _read(folder, state)

    def frame(self) -> pd.DataFrame:
        """All records as `frame` has them. Of the last epochs, for example:

        last = records.frame().groupby(["experiment", "seed"]).tail(1)  # `last()` would fill gaps from earlier epochs
        last.groupby("experiment")["test"].agg(["mean", "std", "count"])
        """
        return frame(record for of_seed in self.runs.values() for record in of_seed.values())

    def of(self, experiment: Experiment) -> dict[int, dict]:
        """Seed -> record of this very experiment, in the order of the seeds."""
        return dict(sorted(self.runs.get(experiment_name(experiment.to_dict()), {}).items()))

    def of_perturbed(self, experiment: Experiment, number: int) -> dict[int, list[dict]]:
        """Seed -> records of its perturbations 0...number - 1 (`searches.perturbed`); seeds that have all of them."""
        runs = [self.of(perturbed(experiment, n)) for n in range(number)]
        complete = [seed for seed in runs[0] if all(seed in of_seed for of_seed in runs)]
        return {seed: [of_seed[seed] for of_seed in runs] for seed in complete}


@functools.lru_cache(maxsize=16)
def _read(folder: Path, state: tuple) -> tuple[dict[str, dict[int, dict]], dict[str, dict]]:
    """Name of an experiment -> seed -> record, and the benchmarks, of a folder whose files are in this state."""
    runs: dict[str, dict[int, dict]] = {}
    for record in results.load(folder):
        runs.setdefault(experiment_name(record["experiment"]), {}).setdefault(record["seed"], record)
    return runs, report.load_benchmarks(folder / "bench")


def where(e: Experiment) -> str:
    """Data and network of a run in words: "on the digits with the small network"."""
    sets = " → ".join(NAMES.get(name, f"the {name}") for name in (e.source, e.dataset) if name)
    pixels = "" if e.size is None else f" at {e.size} × {e.size} pixels"
    return f"on {sets}{pixels} with {NAMES.get(e.network, f'the {e.network} network')}"
