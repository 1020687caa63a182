"""The records of finished runs and benchmarks, by experiment."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from dnll_core import results
from dnll_core.bench import report
from dnll_core.config import ConfigError, Experiment
from dnll_core.methods.classical import CLASSIFIERS, Classical
from dnll_core.paper.tables import SETTINGS
from dnll_core.study.findings import ExperimentPair, Finding, judged
from dnll_core.study.tables import SETUP
from dnll_core.study.trials import perturbed


def benchmark(records: Records, *methods: str) -> list[dict] | None:
    """The settings of these methods in one benchmark like Table 7's, a GPU's before a processor's, or None."""
    timed = [r["settings"] for r in records.benchmarks.values() if r["settings"].keys() >= {*methods}]
    timed = [settings for settings in timed if _as_in_table_7(settings[methods[0]]["experiment"])]
    # a processor's description counts its threads
    best = min(timed, key=lambda settings: "thread" in settings[methods[0]]["device"], default=None)
    return None if best is None else [best[method] for method in methods]


def _as_in_table_7(fields: dict) -> bool:
    batch = SETTINGS["timing_batch"][0]
    sizes = {"labelled": fields["labelled_batch"], "unlabelled": fields["unlabelled_batch"]}
    return sizes == batch and (fields["dataset"], fields["network"]) == SETUP[1]


def config_of(fields: dict) -> Experiment | Classical | None:
    """What a record is of, filled with defaults; None if it is another version's, with fields or values of its own."""
    try:
        return (Classical if fields.get("method") in CLASSIFIERS else Experiment)(**fields)
    except ConfigError:
        return None


def recorded(experiment: Experiment, folder: str | Path) -> list[dict]:
    """The records of this very experiment below `folder`, by seed.

    A field that is younger than a record counts with its default, which is how runs without it behave; and a folder of
    images may have moved (see `results.experiment_name`).
    """
    name = results.experiment_name(experiment.to_dict())
    records = results.load(folder, method=experiment.method)
    mine = {r["seed"]: r for r in reversed(records) if results.experiment_name(r["experiment"]) == name}
    return [mine[seed] for seed in sorted(mine)]


SETS = {"cifar10": "CIFAR-10", "svhn": "SVHN", "mnist": "MNIST", "usps": "USPS"}  # how data sets are written


class Records:
    """Training records and benchmarks below a folder: read when they are first asked for, and again when they changed.

    Raises:
        RecordError: naming a file that cannot be read.
    """

    def __init__(self, folder: str | Path = results.RESULTS):
        folder = Path(folder).resolve()
        state = tuple((path, results.state_of(path)) for path in sorted(folder.rglob("*.json")))
        self.runs, self.benchmarks = _read(folder, state)

    def of(self, experiment: Experiment) -> dict[int, dict]:
        """Seed -> record of this very experiment, in the order of the seeds."""
        return dict(sorted(self.runs.get(results.experiment_name(experiment.to_dict()), {}).items()))

    def of_perturbed(self, experiment: Experiment, number: int) -> dict[int, list[dict]]:
        """Seed -> records of its perturbations 0...number - 1 (see `trials.perturbed`); seeds that have all of them."""
        runs = [self.of(perturbed(experiment, n)) for n in range(number)]
        complete = [seed for seed in runs[0] if all(seed in of_seed for of_seed in runs)]
        return {seed: [of_seed[seed] for of_seed in runs] for seed in complete}


@functools.lru_cache(maxsize=16)
def _read(folder: Path, state: tuple) -> tuple[dict[str, dict[int, dict]], dict[str, dict]]:
    """Name of an experiment -> seed -> record, and the benchmarks, of a folder whose files are in this state."""
    runs: dict[str, dict[int, dict]] = {}
    for record in results.load(folder):
        runs.setdefault(results.experiment_name(record["experiment"]), {}).setdefault(record["seed"], record)
    return runs, report.load_benchmarks(folder / "bench")


def first_recorded(
    records: Records,
    sources: Iterable[Sequence[ExperimentPair]],
    what: str,
    measure: Callable[[dict, dict], float],
    unit: str = "points",
) -> Finding:
    """The finding of the first list of pairs of experiments that has records, measured on records of the same seed."""
    for pairs in sources:
        values, data = {}, set()
        for a, b in pairs:
            theirs = records.of(b)
            for seed, record in records.of(a).items():
                if seed in theirs:
                    values[a, seed] = measure(record, theirs[seed])
                    data.add(where(a))
        if values:
            return judged(values, ", ".join(sorted(data)), what, unit)
    return judged({}, "–", what, unit)


def where(e: Experiment) -> str:
    """Data set, network and length of a run in words."""
    sets = " → ".join(SETS.get(name, name) for name in (e.source, e.dataset) if name)
    return f"{sets} ({e.network}, {e.epochs} epochs)"
