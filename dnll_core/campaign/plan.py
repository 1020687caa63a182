"""What a campaign is to run: the runs of named campaigns and of the paper's tables, and which have no record yet.

missing(table_tasks([4, 1], "short", None, Path("data/results")))
"""

from __future__ import annotations

import contextlib
import functools
from pathlib import Path

from dnll_core import results
from dnll_core.campaign.worker import CHECKPOINTS, Task
from dnll_core.checkpoint import FILE, CheckpointError, read_info
from dnll_core.config import ConfigError, Experiment
from dnll_core.data.domain import load_pair
from dnll_core.data.load import load_data
from dnll_core.names import run_name
from dnll_core.resume import exclusive
from dnll_core.study.experiments import CAMPAIGNS
from dnll_core.study.searches import CHOOSING
from dnll_core.study.tables import cells

TABLES = "tables"  # folder of all cells, because one experiment may be a cell of several tables


def campaign_tasks(name: str, seeds: int | None, out: Path) -> list[Task]:
    """The runs of one of CAMPAIGNS, seed by seed, whether recorded or not.

    Args:
        seeds: how many, from the campaign's first; None: its own.

    Raises:
        ConfigError: for so many that splits would report on which settings were chosen.
    """
    campaign, first = CAMPAIGNS[name], CAMPAIGNS[name].seeds[0]
    own = campaign.seeds if seeds is None else range(first, first + seeds)
    if not {*campaign.seeds} & {*CHOOSING} and {*own} & {*CHOOSING}:
        raise ConfigError(
            f"--seeds={seeds}: seeds from {CHOOSING[0]} on choose settings, so {name} does not take them."
        )
    named = campaign.named()
    return [Task(config, seed, out / name, title, campaign.measured) for seed in own for title, config in named]


def table_tasks(
    tables: list[int], profile: str, seeds: int | None, out: Path, dataset: str | None = None
) -> list[Task]:
    """The runs of the cells of some tables, by seed, then priority of the cell, then order of the tables.

    An experiment that is a cell of several tables is there once.

    Args:
        seeds: of each cell; None: its own `runs`.

    Raises:
        ConfigError: see `study.tables.cells`.
    """
    found = [(table, cell) for table in tables for cell in cells(table, profile, dataset)]
    found.sort(key=lambda item: item[1].priority)  # stable
    titles: dict[Experiment, tuple[str, int]] = {}
    for table, cell in found:
        titles.setdefault(cell.experiment, (f"Table {table}: {cell.name}", seeds or cell.runs))
    most = max(runs for _, runs in titles.values())
    return [
        Task(experiment, seed, out / TABLES, title)
        for seed in range(most)
        for experiment, (title, runs) in titles.items()
        if seed < runs
    ]


def missing(tasks: list[Task]) -> list[Task]:
    """The tasks that have no record in their folder yet: none of their name, see `names.experiment_name`.

    Raises:
        RecordError: see `results.load`; also if the file of a task's record holds another run.
        ConfigError: if a folder of images has changed since runs on it were recorded.
    """
    done = {
        (folder, run_name(record["experiment"], record["seed"])): record
        for folder in {task.folder for task in tasks}
        for record in results.load(folder)
    }
    left = []
    for task in tasks:
        record = done.get((task.folder, task.name))
        if record is not None:
            _check_images(task, record)
        elif task.is_recorded:
            raise results.RecordError(
                f"{task.folder / task.name}.json is not the record of that run but of another one, or of another "
                "version; delete it, or name another --out."
            )
        else:
            left.append(task)
    return left


def _check_images(task: Task, record: dict) -> None:
    """Raises ConfigError if a record of a folder of images is of other images than are there now."""
    if "images" not in record:
        return
    config = task.config
    now = _images_of(config.dataset, getattr(config, "source", None), getattr(config, "size", None))
    then = record["images"]
    if isinstance(then, str):  # format 1 knows the numbers of images alone
        then = {"summary": then}
    if any(now[key] != value for key, value in then.items()):
        other = "other images" if now["summary"] == then["summary"] else then["summary"]
        raise ConfigError(
            f"{config.dataset} is {now['summary']}; the records in {task.folder} are of {other}. Name another "
            "--out, or delete those records."
        )


@functools.cache
def _images_of(dataset: str, source: str | None, size: int | None) -> dict:
    """What a record says of these images, read once for all runs on them: {"summary", "digest"}."""
    images = load_data(dataset, size=size, progress=False)
    if source is not None:
        images, _ = load_pair(load_data(source, size=size, progress=False), images, None, 0)
    return {"summary": images.summary(), "digest": images.digest}


def rename_checkpoints(folder: Path) -> None:
    """Gives unfinished checkpoints beside the records in `folder` the names that their runs have now.

    Their folders are named by the rule of the version that began them, and `run_name`'s rule or the fields of an
    experiment may have changed since. One that is in use, or whose new name is taken, is left alone.
    """
    for file in sorted(folder.glob(f"{CHECKPOINTS}/*/{FILE}")):
        here, info = file.parent, read_info(file.parent)
        try:
            there = here.with_name(run_name(info["experiment"], info["seed"]))
        except (ValueError, KeyError, TypeError, AttributeError):
            continue  # it is damaged, which is said when the run is to go on
        with contextlib.suppress(CheckpointError, OSError, ValueError):  # of a name that no file can have
            if not there.exists():
                with exclusive(here / ".campaign"), exclusive(here):
                    here.rename(there)
