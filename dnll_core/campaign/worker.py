"""A run that is to be recorded, and how a worker process carries it out.

A run's checkpoint lies beside the records, in `.checkpoints/<run name>`, until its record is written.
"""

from __future__ import annotations

import functools
import platform
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from dnll_core.campaign.pool import interrupted
from dnll_core.checkpoint import CheckpointError
from dnll_core.common import FORMAT
from dnll_core.config import ConfigError, Experiment
from dnll_core.data.errors import DataError
from dnll_core.data.load import load_data
from dnll_core.device import choose_compute
from dnll_core.memory import OutOfMemory, out_of_memory
from dnll_core.methods.classical import Classical, run_classical
from dnll_core.names import run_name
from dnll_core.provenance import made, sitting
from dnll_core.resume import InUse
from dnll_core.run import train
from dnll_core.trainer import TrainingDiverged

CHECKPOINTS = ".checkpoints"  # folder beside the records
LEAVING = 60.0  # seconds in which a worker whose campaign was killed, or which lost its scheduler, ends its iteration
AFTERWARDS = "test afterwards"  # key of a trial's test accuracy in domain adaptation, see `trial_record`


@dataclass(frozen=True)
class Task:
    """One run: what is run, and a seed.

    folder: of its record; None keeps neither record nor checkpoint. title: what it is, for people. measure, capture:
    see `run.train`; what is captured computes the same, faster, so it is no part of the run's name. trial: it is one of
    a search, so its record is a `trial_record`, also where training diverges.
    """

    config: Experiment | Classical
    seed: int
    folder: Path | None = None
    title: str = ""
    measure: bool = False
    trial: bool = False
    capture: bool = True

    @property
    def name(self) -> str:
        return run_name(self.config.to_dict(), self.seed)

    @property
    def checkpoint(self) -> Path | None:
        return None if self.folder is None else self.folder / CHECKPOINTS / self.name

    @property
    def is_recorded(self) -> bool:
        return self.folder is not None and (self.folder / f"{self.name}.json").exists()


@dataclass(frozen=True)
class Outcome:
    """What became of a run: its record, or why it failed; neither if it was stopped, to go on another time."""

    record: dict | None = None
    failure: str | None = None


def attempt(order: tuple[Task, float | None, str]) -> Outcome:
    """Carries out an order (task, stop_at, campaign) in this process.

    stop_at: `time.time()` before which to stop; the longest iteration so far is assumed to come again.
    """
    task, stop_at, campaign = order
    stopped = False

    def should_stop(ahead: float) -> bool:
        nonlocal stopped
        stopped = interrupted(campaign) or (stop_at is not None and time.time() + ahead > stop_at)
        return stopped

    what = f"{task.config.method} on {task.config.dataset}, seed {task.seed}"
    try:
        with out_of_memory("the run"):
            record = record_of(task.config, task.seed, task.measure, task.checkpoint, should_stop, task.capture)
        return Outcome(trial_record(record) if task.trial else record)
    except KeyboardInterrupt:
        if not stopped:
            raise
        return Outcome()
    except TrainingDiverged as error:
        return Outcome(diverged_record(task, error)) if task.trial else Outcome(failure=f"{what}: {error}")
    except OutOfMemory as error:
        return Outcome(failure=f"{what}: {error} Run the same command again, with fewer --workers.")
    except (ConfigError, DataError, CheckpointError) as error:  # their messages say what to do
        return Outcome(failure=f"{what}: {error}")
    except Exception:  # one failed run must not end the others
        return Outcome(failure=f"{what}:\n{traceback.format_exc()}")


shared_data = functools.lru_cache(maxsize=2)(load_data)  # two, because domain adaptation loads a pair


def record_of(
    config: Experiment | Classical,
    seed: int,
    measure: bool = False,
    checkpoint: Path | None = None,
    should_stop: Callable[[float], bool] | None = None,
    capture: bool = True,
) -> dict:
    """Runs an experiment, or one of scikit-learn's methods, on one thread; its record.

    The runs of a process share the data sets that it has loaded. Where somebody is at the run still, see LEAVING, it
    waits.

    Args:
        measure, checkpoint, should_stop, capture: see `run.train`.
    """
    torch.set_num_threads(1)
    if isinstance(config, Classical):
        return run_classical(seed=seed, **config.to_dict())
    where = {"measure": measure, "checkpoint": checkpoint, "should_stop": should_stop, "capture": capture}
    until = time.monotonic() + LEAVING
    while True:
        try:
            return train(config, seed, progress=False, load=shared_data, **where).record()
        except InUse:
            if time.monotonic() > until:
                raise
            if should_stop is not None and should_stop(0.0):
                raise KeyboardInterrupt from None
            time.sleep(0.5)


def trial_record(record: dict) -> dict:
    """What a search keeps of a run's record: all but the accuracies on test images, for nobody may choose by those.

    In domain adaptation the last one is kept, as AFTERWARDS: not to choose, but to see how well a criterion without
    labels of the target chooses.
    """
    kept = {name: value for name, value in record.items() if name not in ("best_on_test", "test_on_strong_view")}
    kept["final"] = {name: value for name, value in record["final"].items() if name != "test"}
    if "history" in record:
        kept["history"] = [_without_test(row) for row in record["history"]]
    if record["experiment"].get("source") is not None:
        kept[AFTERWARDS] = record["final"]["test"]["mean"]
    return kept


def _without_test(row: dict) -> dict:
    found = {name: value for name, value in row.items() if name != "test"}
    return found | ({"within": [_without_test(part) for part in row["within"]]} if "within" in row else {})


def diverged_record(task: Task, error: TrainingDiverged) -> dict:
    """The record of a trial whose training diverged, so that it is not run again."""
    e = task.config
    compute = choose_compute(network=e.network)
    return {
        "format": FORMAT,
        "experiment": e.to_dict(),
        "seed": task.seed,
        "diverged": str(error),
        "final": {},
        **made([sitting(compute.describe(), compute.precision, compute.threads, None, None)]),
        "python": platform.python_version(),
    }
