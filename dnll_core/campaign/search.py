"""Chooses settings on validation images, and writes down everything that was tried.

    python -m dnll_core.campaign.search quickstart-dnll-1 --workers 2
    python -m dnll_core.campaign.search laptop methods --minutes 40     # all that begin so; the same command goes on

The trials are the candidates of `study.searches.SEARCHES`, all of a search with the same seeds. Those seeds are not
among the ones that results are reported for, and the test set is not looked at: a trial keeps its validation accuracy
only. Each seed of a trial, and each perturbation of a seed, is a run of its own with a record in <out>/<search>, also
if training diverged; a search that was stopped goes on there. When all are recorded, <out>/<search>.json is written
from the records alone.

In domain adaptation no label of the target may choose: trials are compared on the "information" of their predictions on
unlabelled target images (`data.domain.without_labels`). Their test accuracy is kept beside it, not to choose, but to
see afterwards how well such a criterion chooses.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from pathlib import Path

from dnll_core import results
from dnll_core.campaign import command
from dnll_core.campaign.plan import missing, rename_checkpoints
from dnll_core.campaign.tasks import run_tasks
from dnll_core.campaign.worker import AFTERWARDS, Task
from dnll_core.checks import opened_file, sealed
from dnll_core.common import atomic_file, positive, program, tell, unknown
from dnll_core.config import ConfigError, Experiment
from dnll_core.names import run_name
from dnll_core.provenance import WHOLE
from dnll_core.study.searches import SEARCHES, Search


def search_of(name: str, seeds: int | None = None) -> Search:
    """A search of SEARCHES, evaluated after the last epoch alone.

    Args:
        seeds: how many of its seeds; None: all.

    Raises:
        ConfigError: for more than it has: the next ones are another stage's, or report results.
    """
    search = SEARCHES[name]
    if seeds is not None and seeds > len(search.seeds):
        raise ConfigError(
            f"--seeds takes at most {len(search.seeds)} for {name}, not {seeds}: the next have other uses."
        )
    if isinstance(search.start, Experiment):
        search = dataclasses.replace(search, start=search.start.replace(eval_every=search.start.epochs))
    return dataclasses.replace(search, seeds=search.seeds[:seeds])


def trial_tasks(name: str, search: Search, out: Path) -> list[Task]:
    """The runs of one search, seed by seed, whether recorded or not. A trial that is there twice is run once."""
    runs = dict.fromkeys(run for changes in search.candidates for run in search.runs(changes))
    return [Task(*run, out / name, name, trial=True) for run in sorted(runs, key=lambda run: run[1])]


def summary(name: str, search: Search, out: Path) -> dict | None:
    """The record of one search, from those of its runs, with the trials sorted by what they are judged by.

    None if runs are missing. Commit, source and version of PyTorch are those of all runs; where these differ because
    the search went on later, all are named.

    Raises:
        RecordError: see `results.load`.
    """
    found = {run_name(record["experiment"], record["seed"]): record for record in results.load(out / name)}
    runs = [[found.get(Task(*run).name) for run in search.runs(changes)] for changes in search.candidates]
    used = [record for of_trial in runs for record in of_trial]
    if None in used:
        return None
    trials = [_trial(changes, of_trial, search.timed) for changes, of_trial in zip(search.candidates, runs)]
    trials.sort(key=lambda trial: (trial["mean"] is None, -_worth(trial, search)))
    origin = {key: sorted({str(record[key]) for record in used}) for key in ("torch", "source_sha256")}
    commits = sorted({record["commit"] for record in used if record["commit"] is not None})
    sources = sorted({record.get("source_of", WHOLE) for record in used})
    return {
        "search": name,
        "base": search.start.to_dict(),
        "seeds": list(search.seeds),
        **({"perturbations": search.perturbations} if search.perturbations > 1 else {}),
        **({"ranked by": "mean - sd"} if search.cautious else {}),
        "chosen": None if trials[0]["mean"] is None else trials[0]["changes"],
        "trials": trials,
        **{key: ", ".join(values) for key, values in origin.items()},
        "commit": ", ".join(commits) or None,
        **({"source_of": ", ".join(sources)} if sources != [WHOLE] else {}),
    }


def _worth(trial: dict, search: Search) -> float:
    """What trials are ranked by. An sd that a single run does not have is none."""
    return (trial["mean"] or 0) - search.cautious * (trial["sd"] or 0)


def _trial(changes: dict, records: list[dict], timed: bool) -> dict:
    """One trial of a summary, from its records: seed by seed, and of each seed the perturbations."""
    diverged = sum("diverged" in record for record in records)
    if diverged:  # settings that diverge with one seed are no choice
        return {"changes": changes, "mean": None, "sd": None, "diverged": diverged}
    seen = [_seen(record) for record in records]
    values = {what: [of_run[what] for of_run in seen] for what in seen[0]}
    mean, sd = results.mean_sd(next(iter(values.values())))
    if timed:
        values["seconds"] = [record["seconds"] for record in records]
    return {"changes": changes, "mean": mean, "sd": sd if len(records) > 1 else None, **values}


def _seen(record: dict) -> dict[str, float]:
    """What is told of one run after its last epoch; what it is judged by comes first."""
    validation = {"validation": record["final"]["validation"]["mean"]}
    if record["experiment"].get("source") is None:
        return validation
    return {**record["history"][-1]["target"], **validation, AFTERWARDS: record[AFTERWARDS]}


# -- the command -------------------------------------------------------------------------------------------------------


def parser() -> argparse.ArgumentParser:
    made = program("dnll_core.campaign.search", __doc__)
    made.add_argument("names", nargs="+", help=f"of: {', '.join(SEARCHES)}; a prefix takes all that begin with it")
    made.add_argument("--seeds", type=positive, help="seeds of each trial (default: the search's own)")
    made.add_argument("--dry-run", action="store_true", help="print what would be run, and how long it takes")
    command.add_where(made, Path("runs/search"), "folder of the records")
    return made


def main(arguments: list[str] | None = None) -> None:
    started, options = time.time(), parser().parse_args(arguments)
    with command.ends_with_messages():
        names = chosen_names(options.names)
        searches = {name: search_of(name, options.seeds) for name in names}
        out = options.out.resolve()
        to_run = missing([task for name, search in searches.items() for task in trial_tasks(name, search, out)])
        if options.dry_run:
            tell(command.describe(to_run, out))
            return
        if to_run:
            command.check_commit(options.uncommitted)
        with command.writable("--out", options.out):
            for name in names:
                (out / name).mkdir(parents=True, exist_ok=True)
                rename_checkpoints(out / name)
        failures = []
        try:
            if to_run:
                with command.pool_of(options, ", ".join(names)) as pool:
                    stop_at = command.deadline(options, started)
                    report = run_tasks(to_run, pool, stop_at=stop_at, say=command.say)
                command.print_report(report, len(to_run), options.out)
                failures = report.failures
        finally:  # also of those that were ready when the others were stopped
            for name, search in searches.items():
                write_summary(name, search, out)
        command.exit_with(failures)


def chosen_names(prefixes: list[str]) -> list[str]:
    """The searches that begin with any of these, in the order of SEARCHES.

    Raises:
        ConfigError: for a prefix of none.
    """
    for prefix in prefixes:
        if not any(name.startswith(prefix) for name in SEARCHES):
            raise ConfigError(unknown("search", prefix, SEARCHES))
    return [name for name in SEARCHES if name.startswith(tuple(prefixes))]


def write_summary(name: str, search: Search, out: Path) -> None:
    """Writes and prints the record of a search if all of its runs are recorded."""
    record, path = summary(name, search, out), out / f"{name}.json"
    if record is None:
        command.say(f"{name}: runs are missing, so nothing is chosen yet")
        return
    if _seeds_of(path) > len(search.seeds):
        command.say(f"{path} is of more seeds, and stays")
        return
    with atomic_file(path) as file:
        file.write((json.dumps(sealed(record), indent=1) + "\n").encode())
    for trial in record["trials"]:
        spread = "" if trial["sd"] is None else f" +- {trial['sd']:.4f}"
        mean = "diverged" if trial["mean"] is None else f"{trial['mean']:.4f}"
        command.say(f"{mean}{spread}  {trial['changes']}")
    command.say(f"written to {path}")


def _seeds_of(path: Path) -> int:
    """How many seeds a summary has; 0 if it is not there or damaged: it is then written anew from the records."""
    try:
        return len(opened_file(path)["seeds"])
    except (ValueError, KeyError, TypeError):
        return 0


if __name__ == "__main__":
    command.as_program(main)
