"""Many runs, recorded: the only way in which training records reach `data/results`.

    python -m dnll_core.campaign quickstart --seeds 10 --workers 2 --out data/results

Runs that are recorded already are left out and unfinished ones go on from their checkpoints, so an interrupted campaign
is continued by the same command; a run that fails is reported at the end and the others go on.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import traceback
from pathlib import Path

from dnll_core import results
from dnll_core.classical import CLASSIFIERS
from dnll_core.common import unknown
from dnll_core.console import positive
from dnll_core.experiments import (
    ADAPTATION_EPOCHS,
    adaptation,
    addons,
    batch_norms,
    experiment_of,
    methods,
    quickstart,
    ramps,
    transfers,
)
from dnll_core.workers import WorkerDied, record_of, spread


def _adaptation(campaign: str, source: str, target: str) -> list[dict]:
    experiments = adaptation(source, target, epochs=ADAPTATION_EPOCHS[campaign])
    return [experiment.to_dict() for experiment in experiments.values()]


CAMPAIGNS = {
    "quickstart": lambda: [
        *(experiment.to_dict() for experiment in quickstart().values()),
        *({"method": method, "dataset": "digits", "labels": 20} for method in CLASSIFIERS),
    ],
    "transfers": lambda: [experiment.to_dict() for experiment in transfers().values()],
    "methods": lambda: [experiment.to_dict() for experiment in methods().values()],
    "addons": lambda: [experiment.to_dict() for experiment in addons("cifar10").values()],
    "adaptation": lambda: _adaptation("adaptation", "usps", "mnist"),
    "adaptation-full": lambda: _adaptation("adaptation-full", "usps", "mnist"),
    "adaptation-reverse": lambda: _adaptation("adaptation-reverse", "mnist", "usps"),
    "adaptation-ramps": lambda: [
        e.to_dict() for e in ramps("usps", "mnist", epochs=ADAPTATION_EPOCHS["adaptation"]).values()
    ],
    "adaptation-batch-norm": lambda: [e.to_dict() for e in batch_norms("usps", "mnist", epochs=4).values()],
}
CHECKPOINTS = Path("runs/checkpoints")
MEASURED = ("transfers",)  # campaigns whose runs also count what the submodels pass to each other


def run_one(task: tuple[dict, int, str]) -> str | None:
    """Runs and records one (fields, seed, folder) on one thread. Returns what went wrong, or None."""
    fields, seed, folder = task
    if (Path(folder) / f"{results.run_name(fields, seed)}.json").exists():
        return None  # another campaign was faster
    measure = Path(folder).name in MEASURED
    checkpoint = CHECKPOINTS / Path(folder).name / results.run_name(fields, seed)
    try:
        results.save(record_of(fields, seed, measure, checkpoint), folder)
        shutil.rmtree(checkpoint, ignore_errors=True)  # the record is there
    except Exception:  # one failed run must not end the others
        return f"{fields['method']} on {fields['dataset']}, seed {seed}:\n{traceback.format_exc()}"
    return None


def with_defaults(fields: dict) -> dict:
    """The fields of a recorded experiment, with the defaults of those that did not exist yet."""
    experiment = experiment_of(fields)
    return fields if experiment is None else experiment.to_dict()


def missing(experiments: list[dict], seeds: int, folder: Path) -> list[tuple[dict, int, str]]:
    """The (fields, seed, folder) that have no record in `folder` yet, seed by seed."""
    done = [(with_defaults(record["experiment"]), record["seed"]) for record in results.load(folder)]
    return [
        (fields, seed, str(folder)) for seed in range(seeds) for fields in experiments if (fields, seed) not in done
    ]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m dnll_core.campaign", description=__doc__.split("\n\n")[0])
    parser.add_argument("name", help=f"one of: {', '.join(CAMPAIGNS)}")
    parser.add_argument("--seeds", type=positive, default=3, help="seeds 0, 1, ... of each experiment (default 3)")
    parser.add_argument("--workers", type=positive, default=1, help="processes, one thread each (default 1)")
    parser.add_argument("--out", type=Path, default=Path("runs/campaign"), help="folder of the records")
    parser.add_argument("--dry-run", action="store_true", help="print what would be run")
    options = parser.parse_args(arguments)
    if options.name not in CAMPAIGNS:
        sys.exit(unknown("campaign", options.name, CAMPAIGNS))
    try:
        tasks = missing(CAMPAIGNS[options.name](), options.seeds, options.out / options.name)
    except results.RecordError as error:
        sys.exit(str(error))
    if options.dry_run:
        for fields, seed, _ in tasks:
            print(f"{fields['method']} on {fields['dataset']}, {fields['labels']} labels, seed {seed}")
        return
    try:
        failures = [o for o in spread(run_one, tasks, options.workers, options.name) if o is not None]
    except WorkerDied as error:
        sys.exit(str(error))
    print(f"{len(tasks) - len(failures)} runs recorded in {options.out / options.name}, {len(failures)} failed")
    if failures:
        sys.exit("\n".join(failures))


if __name__ == "__main__":
    main()
