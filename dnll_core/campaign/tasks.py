"""The loop that hands runs out to workers and writes their records.

Whoever hands a run out holds a lock on the folder of its checkpoint, so two campaigns never train the same run, and
alone writes its record.
"""

from __future__ import annotations

import contextlib
import shutil
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from pathlib import Path

from dnll_core import results
from dnll_core.bars import Bar
from dnll_core.campaign.pool import Pool, TaskLost, WorkerDied
from dnll_core.campaign.worker import Outcome, Task, attempt
from dnll_core.checkpoint import CheckpointError, read_info
from dnll_core.data import data_root, prepared
from dnll_core.resume import InUse, exclusive

SLICE = 5.0  # seconds between looks at how many workers there are


@dataclass
class Report:
    """What became of many runs.

    recorded: in the order in which they ended. failures: messages. unfinished: stopped or not begun when the time was
    over. elsewhere: another campaign is running them.
    """

    recorded: list[tuple[Task, dict]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    unfinished: list[Task] = field(default_factory=list)
    elsewhere: list[Task] = field(default_factory=list)


def checkpoint_step(folder: Path | None) -> int:
    """The iteration at which the checkpoint in a folder was written; 0 if there is none that can be read."""
    step = 0 if folder is None else read_info(folder).get("step", 0)
    return step if isinstance(step, int) else 0


def run_tasks(
    tasks: Sequence[Task],
    pool: Pool,
    *,
    stop_at: float | None = None,
    say: Callable[[str], None] | None = None,
    progress: bool = True,
) -> Report:
    """Carries out tasks in their order, as many at a time as the pool takes, and writes their records.

    Runs that are recorded meanwhile are left out. Runs locked by another campaign are tried again at the end.

    Args:
        stop_at: `time.time()` from which none is begun, and by which those that were begun have stopped.
        say: is told one line when a run begins and one when it ends.
        progress: a bar over the runs.

    Raises:
        WorkerDied: see the pool. When all other runs have stopped; what ended by then is recorded.
        KeyboardInterrupt: after Ctrl-C, likewise.
    """
    sets = {getattr(task.config, name, None) for task in tasks for name in ("dataset", "source")}
    prepared.verify(sets - {None}, data_root())  # once for all workers
    work = _Work(tasks, pool, stop_at, say, progress)
    left: deque[Task] = deque()
    try:
        for queue, taken in ((deque(tasks), left), (left, work.report.elsewhere)):
            while queue or work.running:
                size, over = work.workers(), stop_at is not None and time.time() >= stop_at
                while queue and len(work.running) < size and not over:
                    task = queue.popleft()
                    if not work.begin(task):
                        taken.append(task)
                    over = stop_at is not None and time.time() >= stop_at
                if over and not size:
                    work.abandon()  # nobody is left who could stop them
                if not work.running and (over or not queue):
                    break
                work.settle_some()
            work.report.unfinished += queue
    except (KeyboardInterrupt, WorkerDied):
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
        self.bar = Bar(total=len(tasks), desc="runs", unit="run", wanted=progress)
        self.running: dict[Future, tuple[Task, int, contextlib.ExitStack]] = {}  # the iteration at which it began
        self.report, self.waiting = Report(), False

    def workers(self) -> int:
        """How many there are; where there is none any more, that is said."""
        size = self.pool.size()
        if self.waiting != (size == 0):
            self.waiting = not self.waiting
            if self.say is not None and self.waiting:
                self.say("no worker is left at the scheduler; waiting for one (Ctrl-C ends the campaign in order)")
            elif self.say is not None:
                self.say(f"{size} workers are there again")
        return size

    def begin(self, task: Task) -> bool:
        """Hands a task out, unless it is recorded by now; False if another campaign is running it."""
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
            step = checkpoint_step(task.checkpoint)
            future = self.pool.submit(attempt, (task, self.stop_at, self.campaign))
            self.running[future] = task, step, held.pop_all()
        self._tell(task, f"goes on from iteration {step}" if step else "begun")
        return True

    def settle(self, future: Future) -> None:
        """Takes the outcome of a run, writes its record, and lets go of it.

        A run whose worker died goes on at once if it had come further meanwhile: then it is not what kills workers.
        """
        task, began, lock = self.running.pop(future)
        if isinstance(_error(future), TaskLost) and checkpoint_step(task.checkpoint) > began:
            lock.close()
            if not self.begin(task):
                self.report.elsewhere.append(task)
            return
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

    def settle_some(self) -> None:
        """Waits until a run ends, at most SLICE seconds, and takes the outcomes of those that ended."""
        if not self.running:  # there is no worker
            time.sleep(SLICE)
        for future in wait(self.running, SLICE, FIRST_COMPLETED).done:
            self.settle(future)

    def interrupt(self) -> None:
        """Waits until all runs have stopped, and takes those that ended by then."""
        self.pool.interrupt(self.campaign)
        while self.pool.size() and wait(self.running, SLICE).not_done:
            self.pool.interrupt(self.campaign)  # of Dask's workers one may have come since
        # the worker of a run that is lost is dead; one that was just starting dies of being stopped
        for future in [each for each in self.running if each.done() and not isinstance(_error(each), WorkerDied)]:
            with contextlib.suppress(KeyboardInterrupt, WorkerDied):  # some were not begun
                self.settle(future)

    def abandon(self) -> None:
        """Gives up the runs of workers that are gone; where these wrote checkpoints, they go on another time."""
        for task, _, lock in self.running.values():
            self.report.unfinished.append(task)
            lock.close()
        self.running.clear()

    def close(self) -> None:
        for _, _, lock in self.running.values():
            lock.close()
        self.bar.close()

    def _tell(self, task: Task, what: str, ended: bool = False) -> None:
        self.bar.set_postfix_str(", ".join(begun.name for begun, _, _ in self.running.values()))
        self.bar.update(ended)
        if self.say is not None:
            self.say(" ".join([self.place[id(task)], task.name, *([f"({task.title})"] if task.title else []), what]))


def _error(future: Future) -> BaseException | None:
    """What a future that is done has raised."""
    return None if future.cancelled() else future.exception()


def _result(future: Future, task: Task) -> Outcome:
    try:
        return future.result()
    except TaskLost:
        return Outcome(
            failure=f"{task.name}: its worker process died (out of memory?); it goes on from iteration "
            f"{checkpoint_step(task.checkpoint)} when the same command is run again, with fewer --workers if memory is "
            "short"
        )
    except WorkerDied:  # the pool's end, not the run's
        raise
    except Exception as error:  # for example of a run during which worker after worker died
        return Outcome(failure=f"{task.name}: {type(error).__name__}: {error}")


def _saved(outcome: Outcome, task: Task) -> Outcome:
    """The outcome, its record written; a failure if that cannot be done, which tells what would have been recorded."""
    if outcome.record is None or task.folder is None:
        return outcome
    try:
        results.save(outcome.record, task.folder)
    except (OSError, results.RecordError) as error:
        why = getattr(error, "strerror", None) or error
        where = f"its record could not be written to {task.folder / task.name}.json ({why})"
        return Outcome(failure=f"{task.name}: {_accuracy(outcome.record)}, but {where}; {_kept(outcome.record, task)}")
    return outcome


def _kept(record: dict, task: Task) -> str:
    """What the run's checkpoint still holds of it."""
    step, last = checkpoint_step(task.checkpoint), record["history"][-1]["step"] if "history" in record else None
    if step == last:
        return "its checkpoint holds the whole run, so the same command records it without training"
    if step == 0:
        return "it has no checkpoint, so the same command runs it again"
    return f"its checkpoint is of iteration {step}" + (f" of {last}" if last else "") + ", so the same command goes on"


def _clear(task: Task) -> None:
    """Removes the run's folder for its checkpoint, but for a checkpoint that is still needed, or a damaged one."""
    if task.checkpoint is None:
        return
    if task.is_recorded or not any(task.checkpoint.glob("[!.]*")):  # locks and what was not finished have a dot
        shutil.rmtree(task.checkpoint, ignore_errors=True)


def _accuracy(record: dict) -> str:
    if "diverged" in record:
        return "diverged"
    held_out = "test" if "test" in record["final"] else "validation"
    return f"{100 * record['final'][held_out]['mean']:.2f} % on {held_out} images, {record['seconds']:.0f} s"
