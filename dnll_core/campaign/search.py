"""Chooses settings on validation images, and writes down everything that was tried.

    python -m dnll_core.campaign.search quickstart-dnll-1 --workers 2

The trials are the candidates of `study.searches.SEARCHES`, each with the same seeds. Those seeds are not among the ones
that results are reported for, and the test set is not looked at: a trial keeps its validation accuracy only.

In domain adaptation no label of the target may choose: trials are compared on the "information" of their predictions on
unlabelled target images (`evaluation.without_labels`). Their test accuracy is kept beside it, not to choose, but to see
afterwards how well such a criterion chooses.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch

from dnll_core import results
from dnll_core.campaign.pool import spread
from dnll_core.campaign.tasks import record_of
from dnll_core.common import atomic_file, positive, unknown
from dnll_core.config import Experiment
from dnll_core.study.settings import SEARCHES
from dnll_core.trainer import TrainingDiverged

SEEDS = (100, 101, 102, 103)


def outcome(task: tuple[dict, int]) -> dict[str, float] | None:
    """What a trial keeps of one (experiment fields, seed) after its last epoch; what it is judged by comes first.

    None if training diverged.
    """
    fields, seed = task
    try:
        record = record_of(fields, seed)
    except TrainingDiverged:
        return None
    validation = {"validation": record["final"]["validation"]["mean"]}
    if fields.get("source") is None:
        return validation
    return {**record["history"][-1]["target"], **validation, "test afterwards": record["final"]["test"]["mean"]}


def search(name: str, seeds: tuple[int, ...] = SEEDS, workers: int = 1) -> dict:
    """Runs all trials of one search. Returns its record, with the trials sorted by what they are judged by."""
    base, candidates = SEARCHES[name]
    source = {"source_sha256": results.source_hash(), "commit": results.commit()}  # now: files may change meanwhile
    if isinstance(base, Experiment):
        base = base.replace(eval_every=base.epochs).to_dict()
    tasks = [({**base, **candidate}, seed) for candidate in candidates for seed in seeds]
    outcomes = list(spread(outcome, tasks, workers, name))
    trials = []
    for i, candidate in enumerate(candidates):
        of_trial = outcomes[i * len(seeds) : (i + 1) * len(seeds)]
        if None in of_trial:  # settings that diverge with one seed are no choice
            trials.append({"changes": candidate, "mean": None, "sd": None, "diverged": of_trial.count(None)})
            continue
        values = {what: [seen[what] for seen in of_trial] for what in of_trial[0]}
        mean, sd = results.mean_sd(next(iter(values.values())))
        trials.append({"changes": candidate, "mean": mean, "sd": sd if len(seeds) > 1 else None, **values})
    trials.sort(key=lambda trial: (trial["mean"] is None, -(trial["mean"] or 0)))
    return {
        "search": name,
        "base": base,
        "seeds": list(seeds),
        "chosen": trials[0]["changes"],
        "trials": trials,
        "torch": torch.__version__,
        **source,
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m dnll_core.campaign.search", description=__doc__.split("\n\n")[0])
    parser.add_argument("names", nargs="+", help=f"of: {', '.join(SEARCHES)}; a prefix takes all that begin with it")
    parser.add_argument("--workers", type=positive, default=1, help="processes, one thread each (default 1)")
    parser.add_argument("--seeds", type=positive, default=len(SEEDS), help="seeds of each trial (default 4)")
    parser.add_argument("--out", type=Path, default=Path("runs/search"), help="folder of the records")
    options = parser.parse_args(arguments)
    names = [name for name in SEARCHES if any(name.startswith(prefix) for prefix in options.names)]
    for prefix in options.names:
        if not any(name.startswith(prefix) for name in SEARCHES):
            sys.exit(unknown("search", prefix, SEARCHES))
    for name in names:
        record = search(name, tuple(SEEDS[0] + i for i in range(options.seeds)), options.workers)
        path = options.out / f"{name}.json"
        with atomic_file(path) as file:
            file.write((json.dumps(record, indent=1) + "\n").encode())
        for trial in record["trials"]:
            spread_of = "" if trial["sd"] is None else f" +- {trial['sd']:.4f}"
            mean = "diverged" if trial["mean"] is None else f"{trial['mean']:.4f}"
            print(f"{mean}{spread_of}  {trial['changes']}")
        print(f"written to {path}")


if __name__ == "__main__":
    main()
