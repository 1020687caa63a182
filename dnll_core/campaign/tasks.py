"""Runs that are to be recorded: what one is, how a worker tries it, and the loop that hands them out.

A run's checkpoint lies beside the records, in `.checkpoints/<run name>`, until its record is written. Whoever hands a
run out holds a lock on that folder, so two campaigns never train the same run, and alone writes its record.
"""

from __future__ import annotations

import contextlib
import functools
import json
import shutil
import threading
import time
import traceback
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path

import torch
from tqdm.auto import tqdm

from dnll_core import results
from dnll_core.campaign.pool import Pool, WorkerDied, interrupted
from dnll_core.checkpoint import MANIFEST, CheckpointError, InUse, exclusive
from dnll_core.common import bar_is_off
from dnll_core.config import ConfigError, Experiment
from dnll_core.data.dataset import DataError
from dnll_core.data.load import load_data
from dnll_core.methods.classical import CLASSIFIERS, run_classical
from dnll_core.run import train
from dnll_core.trainer import TrainingDiverged

CHECKPOINTS = ".checkpoints"  # folder beside the records
LOOK_AFTER = 300.0  # seconds between calls of `meanwhile`


@dataclass(frozen=True)
class Task:
    """One run: an experiment's fields and a seed.

    folder: of its record; None keeps neither record nor checkpoint. title: what it is, for people. measure, capture:
    see `run.train`; what is captured computes the same, faster, so that it is no part of the run's name.
    """

    fields: dict
    seed: int
    folder: Path | None = None
    title: str = ""
    measure: bool = False
    capture: bool = True

    @property
    def name(self) -> str:
        return results.run_name(self.fields, self.seed)

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


@dataclass
class Report:
    """What became of many runs.

    recorded: in the order in which they ended. failures: messages. unfinished: stopped or not begun when the time was
    over. elsewhere: in the hands of another campaign.
    """

    recorded: list[tuple[Task, dict]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    unfinished: list[Task] = field(default_factory=list)
    elsewhere: list[Task] = field(default_factory=list)


# -- in a worker -------------------------------------------------------------------------------------------------------

_one_at_a_time = threading.Lock()  # torch's global generator is the process's: two runs would share their draws


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

    what = f"{task.fields['method']} on {task.fields['dataset']}, seed {task.seed}"
    try:
        with _one_at_a_time:
            return Outcome(record_of(task.fields, task.seed, task.measure, task.checkpoint, should_stop, task.capture))
    except KeyboardInterrupt:
        if not stopped:
            raise
        return Outcome()
    except (ConfigError, DataError, CheckpointError, TrainingDiverged) as error:  # their messages say what to do
        return Outcome(failure=f"{what}: {error}")
    except Exception:  # one failed run must not end the others
        return Outcome(failure=f"{what}:\n{traceback.format_exc()}")


# -- where they are handed out -----------------------------------------------------------------------------------------


def checkpoint_step(folder: Path | None) -> int:
    """The iteration at which the checkpoint in a folder was written; 0 if there is none that can be read."""
    if folder is None:
        return 0
    try:
        return int(json.loads((folder / MANIFEST).read_bytes())["content"]["info"]["step"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def run_tasks(
    tasks: Sequence[Task],
    pool: Pool,
    *,
    stop_at: float | None = None,
    say: Callable[[str], None] | None = None,
    progress: bool = True,
    meanwhile: Callable[[], None] | None = None,
) -> Report:
    """Carries out tasks in their order, as many at a time as the pool takes, and writes their records.

    What is recorded meanwhile is left out. What another campaign is at is tried again after all the others.

    Args:
        stop_at: `time.time()` from which none is begun, and by which those that were begun have stopped.
        say: is told one line when a run begins and one when it ends.
        progress: a bar over the runs.
        meanwhile: called every LOOK_AFTER seconds.

    Raises:
        WorkerDied: see the pool.
        KeyboardInterrupt: after Ctrl-C, when all runs have stopped; what ended by then is recorded.
    """
    work, looked_after = _Work(tasks, pool, stop_at, say, progress), time.monotonic()
    left: deque[Task] = deque()
    try:
        for queue, taken in ((deque(tasks), left), (left, work.report.elsewhere)):
            while queue or work.running:
                while queue and len(work.running) < pool.size() and (stop_at is None or time.time() < stop_at):
                    task = queue.popleft()
                    if not work.begin(task):
                        taken.append(task)
                if not work.running:
                    break
                for future in wait(work.running, LOOK_AFTER, FIRST_COMPLETED).done:
                    work.settle(future)
                if meanwhile is not None and time.monotonic() - looked_after > LOOK_AFTER:
                    meanwhile()
                    looked_after = time.monotonic()
            work.report.unfinished += queue
    except KeyboardInterrupt:
        work.interrupt()
        raise
    finally:
        work.close()
    return work.report


class _Work:
    """The runs that are being carried out, with their locks, and what became of the others."""

    def __init__(
        self,
        tasks: Sequence[Task],
        pool: Pool,
        stop_at: float | None,
        say: Callable[[str], None] | None,
        progress: bool,
    ):
        self.pool, self.stop_at, self.say, self.campaign = pool, stop_at, say, uuid.uuid4().hex
        self.place = {id(task): f"[{i}/{len(tasks)}]" for i, task in enumerate(tasks, start=1)}
        self.bar = tqdm(total=len(tasks), disable=bar_is_off(progress), unit="run", dynamic_ncols=True, leave=False)
        self.running: dict[Future, tuple[Task, contextlib.ExitStack]] = {}
        self.report = Report()

    def begin(self, task: Task) -> bool:
        """Hands a task out, unless it is recorded by now; False if another campaign is at it."""
        with contextlib.ExitStack() as held:
            if task.checkpoint is not None:
                try:  # not the checkpoint's own lock: that one the worker takes
                    held.enter_context(exclusive(task.checkpoint / ".campaign"))
                except InUse:
                    return False
                except CheckpointError as error:  # it cannot be written there
                    self.report.failures.append(f"{task.name}: {error}")
                    self._tell(task, "failed", ended=True)
                    return True
            if task.is_recorded:
                _clear(task)
                self._tell(task, "was recorded by another campaign", ended=True)
                return True
            future = self.pool.submit(attempt, (task, self.stop_at, self.campaign))
            self.running[future] = task, held.pop_all()
        self._tell(task, "begun")
        return True

    def settle(self, future: Future) -> None:
        """Takes the outcome of a run, writes its record, and lets go of it."""
        task, lock = self.running.pop(future)
        with lock:
            outcome = _saved(_result(future, task), task)
            if outcome.record is not None:
                self.report.recorded.append((task, outcome.record))
                self._tell(task, _accuracy(outcome.record), ended=True)
            elif outcome.failure is not None:
                self.report.failures.append(outcome.failure)
                self._tell(task, "failed", ended=True)
            else:
                self.report.unfinished.append(task)
                self._tell(task, f"stopped after iteration {checkpoint_step(task.checkpoint)}")
            _clear(task)

    def interrupt(self) -> None:
        """Waits until all runs have stopped, and takes those that ended by then."""
        self.pool.interrupt(self.campaign)
        wait(self.running)
        for future in list(self.running):
            with contextlib.suppress(KeyboardInterrupt, BrokenProcessPool, WorkerDied):  # some died before they began
                self.settle(future)

    def close(self) -> None:
        for _, lock in self.running.values():
            lock.close()
        self.bar.close()

    def _tell(self, task: Task, what: str, ended: bool = False) -> None:
        self.bar.set_postfix_str(", ".join(begun.name for begun, _ in self.running.values()))
        self.bar.update(ended)
        if self.say is not None:
            self.say(" ".join([self.place[id(task)], task.name, *([f"({task.title})"] if task.title else []), what]))


def _result(future: Future, task: Task) -> Outcome:
    try:
        return future.result()
    except (BrokenProcessPool, WorkerDied):  # the pool's end, not the run's
        raise
    except Exception as error:  # for example of a run during which worker after worker died
        return Outcome(failure=f"{task.name}: {type(error).__name__}: {error}")


def _saved(outcome: Outcome, task: Task) -> Outcome:
    """The outcome, its record written; a failure if that cannot be done. The checkpoint then still holds the run."""
    if outcome.record is None or task.folder is None:
        return outcome
    try:
        results.save(outcome.record, task.folder)
    except OSError as error:
        return Outcome(failure=f"{task.name}: its record could not be written ({error}).")
    return outcome


def _clear(task: Task) -> None:
    """Removes the run's folder for its checkpoint, but for a checkpoint that is still needed."""
    if task.checkpoint is not None and (task.is_recorded or not (task.checkpoint / MANIFEST).exists()):
        shutil.rmtree(task.checkpoint, ignore_errors=True)


def _accuracy(record: dict) -> str:
    held_out = "test" if "test" in record["final"] else "validation"
    return f"{100 * record['final'][held_out]['mean']:.2f} % on {held_out} images, {record['seconds']:.0f} s"


shared_data = functools.lru_cache(maxsize=2)(load_data)  # two, because domain adaptation loads a pair


def record_of(
    fields: dict,
    seed: int,
    measure: bool = False,
    checkpoint: Path | None = None,
    should_stop: Callable[[float], bool] | None = None,
    capture: bool = True,
) -> dict:
    """Runs what `fields` describe, an `Experiment` or one of `classical.CLASSIFIERS`, on one thread; its record.

    The runs of a process share the data sets that it has loaded.

    Args:
        measure, checkpoint, should_stop, capture: see `run.train`.
    """
    torch.set_num_threads(1)
    if fields["method"] in CLASSIFIERS:
        return run_classical(seed=seed, **fields)
    where = {"measure": measure, "checkpoint": checkpoint, "should_stop": should_stop, "capture": capture}
    return train(Experiment(**fields), seed, progress=False, load=shared_data, **where).record()
