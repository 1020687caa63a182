"""Worker processes: where campaigns and searches carry out their runs."""

from __future__ import annotations

import atexit
import contextlib
import functools
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from ctypes import c_byte
from dataclasses import dataclass
from multiprocessing.context import BaseContext

from tqdm import tqdm

from dnll_core.data.prepared import VERIFIED
from dnll_core.signals import STOP_SIGNALS, Flag, interrupt_once, stop_signals

IN_A_ROW = 3  # workers that die with no task finished in between: nothing works here


class WorkerDied(RuntimeError):
    """There is no worker any more, nor will there be one."""


class TaskLost(WorkerDied):
    """The worker process of a task died; another one takes its place."""


@dataclass(frozen=True)
class Pool:
    """Where tasks are carried out.

    submit: (function, argument) -> the future of its result. size: how many are carried out at a time, now; 0 while
    there is no worker. interrupt: stops what is carried out for a campaign (its name), where Ctrl-C does not reach it
    by itself.
    """

    submit: Callable[[Callable, object], Future]
    size: Callable[[], int]
    interrupt: Callable[[str], None]


@contextlib.contextmanager
def processes(workers: int, what: str) -> Iterator[Pool]:
    """A pool of `workers` fresh processes on this machine. At the end of the block they finish what they do.

    They end by themselves, with a checkpoint, when this process dies. At Ctrl-C, SIGTERM and SIGHUP they finish what
    they do when they are interrupted (a run with a checkpoint writes it), and take no further task.

    A worker that dies, mostly for want of memory, costs the others nothing: the future of its task raises TaskLost, and
    another process takes its place. After IN_A_ROW of them with no task finished in between it raises WorkerDied; at
    once, if none was ever ready.

    Raises:
        WorkerDied: in a worker that is importing the script which starts it, for that would go on for ever.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):  # as multiprocessing itself asks, later
        raise WorkerDied(f"a worker process that imports its script cannot start others. {_GUARD}")
    context = multiprocessing.get_context("spawn")
    ready = context.RawValue("b", 0)  # without a lock, which a worker that is killed could keep
    try:
        crew = [_Worker(context, ready) for _ in range(workers)]
    except OSError as error:  # a process may have so many files open
        raise WorkerDied(f"{workers} worker processes cannot be started ({error}); take fewer --workers.") from None
    dead: set[ProcessPoolExecutor] = set()  # since a task was finished

    def submit(function: Callable, argument: object) -> Future:
        answer: Future = Future()
        least = min(crew, key=lambda worker: len(worker.tasks))
        least.tasks.add(answer)

        def relay(done: Future) -> None:
            least.tasks.discard(answer)
            error = None if done.cancelled() else done.exception()
            if isinstance(error, BrokenProcessPool):
                dead.add(executor)
                error = TaskLost(f"a worker process of {what} died (out of memory?)")
                if len(dead) >= IN_A_ROW:
                    error = WorkerDied(_NOTHING_WORKS.format(died=len(dead), what=what))
                if not ready.value:
                    error = WorkerDied(f"a worker process of {what} died before it was ready. {_GUARD}")
            else:
                dead.clear()
            if done.cancelled():
                answer.cancel()
            elif error is not None:
                answer.set_exception(error)
            else:
                answer.set_result(done.result())

        future = least.submit(function, argument)
        executor = least.executor
        future.add_done_callback(relay)
        return answer

    try:
        yield Pool(submit, lambda: workers, lambda campaign: _ask_to_stop())
    finally:
        close = functools.partial(ProcessPoolExecutor.shutdown, cancel_futures=True)
        ends = [threading.Thread(target=close, args=(worker.executor,)) for worker in crew]  # all at once
        for end in ends:
            end.start()
        for end in ends:
            end.join()


_NOTHING_WORKS = (
    "{died} worker processes of {what} died one after the other (out of memory?); run the same command again, with "
    "fewer --workers."
)
_GUARD = "A worker first imports the script that starts it, so a script does that below `if __name__ == '__main__':`."


class _Worker:
    """A process of its own executor, for an executor ends all of its processes when one dies."""

    def __init__(self, context: BaseContext, ready: c_byte):
        self.tasks: set[Future] = set()  # that it has not answered
        self.how = {"mp_context": context, "initializer": _begin, "initargs": (VERIFIED, ready)}
        self._start()

    def _start(self) -> None:
        with _held(STOP_SIGNALS):  # from the process that multiprocessing starts for itself
            self.executor = ProcessPoolExecutor(1, **self.how)

    def submit(self, function: Callable, argument: object) -> Future:
        with _held([signal.SIGINT]):  # while it starts, Ctrl-C would be a traceback, and another signal is its end
            try:
                return self.executor.submit(_unless_interrupted, function, argument)
            except BrokenProcessPool:  # it died since
                self._start()
                return self.executor.submit(_unless_interrupted, function, argument)


@contextlib.contextmanager
def _held(numbers: Iterable[int]) -> Iterator[None]:
    """Processes that are started in this block receive no such signals, workers until they say so, in `_begin`."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_interrupted = Flag()  # of this process
_at_work = threading.Lock()  # held while a worker carries out a task


def interrupted(campaign: str = "") -> bool:
    """Whether this worker was asked to stop, by a signal or because there is nobody left to take its results.

    Args:
        campaign: also True if what it trains for this campaign was, see `stop_campaign`.
    """
    return _interrupted.is_set() or campaign in _stopped


def note_interrupts() -> None:
    """From here on stop signals end what this process carries out after its iteration, and not the process."""
    for number in STOP_SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # ignored on purpose
            signal.signal(number, _note_interrupt)


def _note_interrupt(number: int, frame: object) -> None:
    stop_all()


def stop_all() -> None:
    """Ends what this process carries out after its iteration, and lets it begin nothing more."""
    _interrupted.set()


def _ask_to_stop() -> None:
    """Tells the workers of this process what a scheduler would; once more changes nothing."""
    for process in multiprocessing.active_children() if os.name == "posix" else ():  # elsewhere it would end them
        os.kill(process.pid, signal.SIGTERM)


def _begin(verified: dict, ready: c_byte) -> None:
    """Begins a worker: neither a stop signal between two tasks nor the end of its parent costs what it is at.

    verified: the prepared files that its parent has verified. ready: becomes 1.
    """
    ready.value = 1
    tqdm.set_lock(threading.RLock())  # its own is a semaphore that outlives a worker that dies, and then is a warning
    VERIFIED.update(verified)
    note_interrupts()
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    parent = multiprocessing.parent_process()
    if parent is not None:
        atexit.register(os._exit, 0)  # what comes after, of torch above all, takes seconds
        threading.Thread(target=_follow, args=(parent.sentinel,), daemon=True).start()


def _follow(sentinel: int) -> None:
    """Waits for the end of the parent, then ends this process after what it is at, which it stops."""
    multiprocessing.connection.wait([sentinel])
    stop_all()
    with _at_work:
        os._exit(1)


def _unless_interrupted(function: Callable, task: object) -> object:
    """Carries out a task, unless the worker was asked to stop before. It then ends with KeyboardInterrupt."""
    with stop_signals(interrupt_once(_interrupted)):
        try:
            if _interrupted.is_set():
                raise KeyboardInterrupt
            with _at_work:
                return function(task)
        except KeyboardInterrupt:
            _interrupted.set()
            raise


_stopped: set[str] = set()  # campaigns that were interrupted, see `stop_campaign`


def stop_campaign(campaign: str) -> None:
    """Ends what this process trains for a campaign after its iteration, as Ctrl-C would."""
    _stopped.add(campaign)
