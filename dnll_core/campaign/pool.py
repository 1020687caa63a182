"""Worker processes: where campaigns and searches carry out their runs."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass


class WorkerDied(RuntimeError):
    """A worker process ended without an answer."""


@dataclass(frozen=True)
class Pool:
    """Where tasks are carried out.

    submit: (function, argument) -> the future of its result. size: how many are carried out at a time, now.
    interrupt: stops what is carried out for a campaign (its name), where Ctrl-C does not reach it by itself.
    """

    submit: Callable[[Callable, object], Future]
    size: Callable[[], int]
    interrupt: Callable[[str], None]


@contextlib.contextmanager
def processes(workers: int, what: str) -> Iterator[Pool]:
    """A pool of `workers` fresh processes on this machine. At the end of the block they finish what they do.

    They end by themselves, with a checkpoint, when this process dies.

    At Ctrl-C they finish what they do when they are interrupted (a run with a checkpoint writes it), and take no
    further task.

    Raises:
        WorkerDied: if the system ended a worker, mostly for want of memory.
    """
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(workers, mp_context=context, initializer=_outlive_interrupts)
    try:
        submit = functools.partial(executor.submit, _unless_interrupted)
        yield Pool(submit, lambda: workers, lambda campaign: _ask_to_stop())
    except BrokenProcessPool as error:
        raise WorkerDied(
            f"a worker process of {what} died (out of memory?); run the same command again, with fewer --workers."
        ) from error
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


_interrupted = threading.Event()  # of this process
_at_work = threading.Lock()  # held while a worker carries out a task
STOP = getattr(signal, "SIGUSR1", None)  # asks a worker to stop after its iteration; Windows has no such signal


def interrupted(campaign: str = "") -> bool:
    """Whether this worker was asked to stop, by Ctrl-C or because there is nobody left to take its results.

    Args:
        campaign: also True if what it trains for this campaign was, see `stop_campaign`.
    """
    return _interrupted.is_set() or campaign in _stopped


def _note_interrupt(number: int, frame: object) -> None:
    _interrupted.set()


def _ask_to_stop() -> None:
    """Tells the workers of this process what Ctrl-C on a terminal tells them; once more changes nothing."""
    for process in multiprocessing.active_children() if STOP is not None else ():
        os.kill(process.pid, STOP)


def _outlive_interrupts() -> None:
    """Ctrl-C must not end a worker that waits for a task: the executor would then end all the others at once."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # and not ignored on purpose
        signal.signal(signal.SIGINT, _note_interrupt)
    if STOP is not None:
        signal.signal(STOP, _note_interrupt)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent.sentinel,), daemon=True).start()


def _follow(sentinel: int) -> None:
    """Waits for the end of the parent, then ends this process after what it is at, which it stops."""
    multiprocessing.connection.wait([sentinel])
    _interrupted.set()
    with _at_work:
        os._exit(1)


def _unless_interrupted(function: Callable, task: object) -> object:
    """A pool hands its workers the next tasks before the last are finished: after Ctrl-C they are not begun."""
    waiting = signal.getsignal(signal.SIGINT)
    if waiting is _note_interrupt:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        if _interrupted.is_set():
            raise KeyboardInterrupt
        with _at_work:
            return function(task)
    except KeyboardInterrupt:
        _interrupted.set()
        raise
    finally:
        if waiting is _note_interrupt:
            signal.signal(signal.SIGINT, _note_interrupt)


_stopped: set[str] = set()  # campaigns that were interrupted, see `stop_campaign`


def stop_campaign(campaign: str) -> None:
    """Ends what this process trains for a campaign after its iteration, as Ctrl-C would."""
    _stopped.add(campaign)
