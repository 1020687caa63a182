"""Runs and parameters of notebooks: cells chosen by plain values, carried out as a campaign does."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from dnll_core import results
from dnll_core.bars import Runs, bar_is_off
from dnll_core.bench.timing import seconds_of_an_iteration
from dnll_core.campaign.plan import missing, rename_checkpoints
from dnll_core.campaign.pool import processes
from dnll_core.campaign.tasks import run_tasks
from dnll_core.campaign.worker import Task
from dnll_core.common import unknown, user_path
from dnll_core.config import ConfigError, Experiment
from dnll_core.device import choose_compute
from dnll_core.fields import Digits, OrNone, read
from dnll_core.names import run_name
from dnll_core.run import prepare
from dnll_core.signals import Stopped
from dnll_core.study.settings import at_length
from dnll_core.study.tables import Cell, cells

WORKERS = "DNLL_WORKERS"  # environment variable: how many processes `run_cells` takes where it is not told


class RunsFailed(RuntimeError):
    """Some runs have no record, for the reasons given."""


# -- running it --------------------------------------------------------------------------------------------------------


def run_cells(
    experiments: dict[str, Experiment],
    seeds: int = 1,
    workers: int | None = None,
    out: str | Path | None = None,
    progress: bool = True,
) -> dict[str, list[dict]]:
    """Runs experiments as a campaign does, for notebooks: the same processes, threads and numbers.

    Args:
        experiments: by any names.
        seeds: of each, 0, 1, ...
        workers: processes, of one thread each on a CPU. None: what the environment variable DNLL_WORKERS says (`make
            test` runs two notebooks at a time and sets it to 1); without it two on a CPU, else one.
        out: folder of the records, see `common.user_path` (a campaign's is <its --out>/tables). What is recorded there
            is not run again, and what is unfinished goes on. None writes nothing. A notebook may record with
            uncommitted changes of the package, which `python -m dnll_core.campaign` refuses: the folder is the
            reader's own, and the commit in such records ends in "+".
        progress: a bar over the runs, where somebody watches (see `bars.bar_is_off`).

    Returns:
        Name -> its records, by seed.

    Raises:
        Stopped: at Ctrl-C.
        RunsFailed: after the other runs, if some failed or another campaign is running them.
        WorkerDied: see `campaign.pool.processes`.
        RecordError: see `results.load`.
    """
    folder = None if out is None else user_path(out).resolve()
    tasks = [Task(e, seed, folder) for seed in range(seeds) for e in dict.fromkeys(experiments.values())]
    if workers is None:
        usual = 2 if choose_compute().device.type == "cpu" else 1
        workers = count(WORKERS, os.environ.get(WORKERS) or usual)
    if folder is not None:
        rename_checkpoints(folder)
    kept = (
        "nothing is kept; with out=FOLDER, the runs that had ended would be"
        if out is None
        else (f"what had ended is recorded in {out}, and the same call goes on")
    )
    try:
        with processes(workers, ", ".join(experiments)) as pool:
            report = run_tasks(tasks if folder is None else missing(tasks), pool, progress=progress)
    except KeyboardInterrupt:
        raise Stopped(f"stopped; {kept}") from None
    problems = report.failures + [f"{task.name}: another campaign is running it" for task in report.elsewhere]
    if problems:
        raise RunsFailed("\n".join(problems))
    records = [record for _, record in report.recorded] if folder is None else results.load(folder)
    found = {run_name(record["experiment"], record["seed"]): record for record in records}
    return {name: [found[Task(e, seed).name] for seed in range(seeds)] for name, e in experiments.items()}


def bar_over(experiments: Sequence[Experiment], again: str = "") -> Runs:
    """For `train(..., progress=)`: a bar that says which of these runs it is of, and how long all of them still take.

    Where there is a bar, some iterations of each experiment are timed first. again: see `Runs`.
    """
    seconds = dict.fromkeys(experiments, 1.0)
    if bar_is_off(True) is not True:
        for experiment in seconds:
            trainer, _ = prepare(experiment, progress=False, seed=0)
            seconds[experiment] = seconds_of_an_iteration(trainer) * trainer.learner.clock.total_steps
    return Runs([seconds[experiment] for experiment in experiments], again)


# -- parameters --------------------------------------------------------------------------------------------------------


def count(name: str, value: object, optional: bool = False) -> int | None:
    """A parameter that counts something, as Python's own int: 3, NumPy's 3 or "3" as papermill may send it.

    optional: also takes None, or "none".

    Raises:
        ConfigError: for anything else than a whole number from 1.
    """
    return read(name, OrNone[Digits] if optional else Digits, value)


def text(value: object) -> str | None:
    """A parameter that is a name or nothing: papermill's command line sends "none" for None."""
    return None if value is None or str(value).lower() in ("none", "null", "") else str(value)


def names(value: object) -> list[str] | None:
    """A parameter that is a list, or one text with commas, or a single thing; None for nothing."""
    if isinstance(value, list | tuple):
        return [str(item).strip() for item in value]
    found = text(value)
    return None if found is None else [item.strip() for item in found.split(",")]


def chosen_cells(
    table: int,
    profile: str = "quick",
    dataset: str | None = None,
    *,
    methods: str | Sequence[str] | None = None,
    epochs: int | None = None,
) -> list[Cell]:
    """The cells that a notebook runs, the most informative first.

    Args:
        methods: keys of `figures.style.METHODS`, a list or in one text with commas; None: all that the profile has.
        epochs: of a trial, in the place of the profile's, with ramps in proportion. It is then another experiment than
            the campaign's, and its cells say so in their profile.

    Raises:
        ConfigError: for parameters that do not exist or do not fit; see also `study.tables.cells`.
    """
    found = cells(table, profile, dataset if dataset == "" else text(dataset))
    wanted, known = names(methods), list(dict.fromkeys(cell.method for cell in found))
    if wanted is not None:
        for name in wanted or [""]:
            if name not in known:
                raise ConfigError(unknown("methods", name, known))
        found = [cell for cell in found if cell.method in wanted]
    passes = count("epochs", epochs, optional=True)
    if passes is not None:  # all are as long then
        found = [shortened(cell, passes) for cell in found if cell.reading != "as long"]
    return found


def shortened(cell: Cell, epochs: int) -> Cell:
    """The cell in another number of epochs; itself if that is its own."""
    if cell.experiment.epochs == epochs:
        return cell
    experiment = at_length(cell.experiment, epochs)
    return dataclasses.replace(cell, experiment=experiment, profile=f"trial of the {cell.profile}")


def with_labels(cell: Cell, labels: int) -> Cell:
    """The cell with another number of labels, which no table has; its batch of labelled images grows with it to 64."""
    name = " ".join(str(labels) if word == str(cell.labels) else word for word in cell.name.split())
    experiment = cell.experiment.replace(labels=labels, labelled_batch=min(labels, 64))
    return dataclasses.replace(cell, name=name, labels=labels, experiment=experiment, printed=None, printed_as=None)


def with_strong_view(cell: Cell, spec: str) -> Cell:
    """The cell with another strong view (see `augment.parse`), which no table has.

    Raises:
        ConfigError: for a view that does not exist.
    """
    experiment = cell.experiment.replace(strong=spec)
    changes = {"name": f"{cell.name} {spec}", "reading": spec, "role": "variant", "printed": None, "printed_as": None}
    return dataclasses.replace(cell, experiment=experiment, note=f"strong view: {spec}", **changes)


def checked_runs(seeds: int = 1, workers: int | None = None, out: str | Path | None = None) -> dict:
    """The parameters that say how `run_groups` runs, checked before anything is run.

    Raises:
        ConfigError: for seeds or workers that are not counts.
    """
    return {"seeds": count("seeds", seeds), "workers": count("workers", workers, optional=True), "out": text(out)}


def run_groups(chosen: Iterable[Cell], **how) -> dict[Cell, list[dict]]:
    """Cell -> its records, of runs made now (or recorded in `out`). how: what `checked_runs` returned.

    Raises:
        RunsFailed, WorkerDied, RecordError: see `campaign.notebooks.run_cells`.
    """
    chosen = list(chosen)
    records = run_cells({cell.name: cell.experiment for cell in chosen}, **how)
    return {cell: records[cell.name] for cell in chosen}
