"""Runs from plain fields, in worker processes: what campaigns and searches share."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import torch

from dnll_core.classical import CLASSIFIERS, run_classical
from dnll_core.config import Experiment
from dnll_core.console import watched
from dnll_core.run import train


class WorkerDied(RuntimeError):
    """A worker process ended without an answer."""


def record_of(fields: dict, seed: int, measure: bool = False, checkpoint: Path | None = None) -> dict:
    """Runs what `fields` describe, an `Experiment` or one of `classical.CLASSIFIERS`, on one thread; its record.

    Args:
        measure, checkpoint: see `run.train`.
    """
    torch.set_num_threads(1)
    if fields["method"] in CLASSIFIERS:
        return run_classical(seed=seed, **fields)
    experiment = Experiment(**fields)
    return train(experiment, seed, progress=False, measure=measure, checkpoint=checkpoint).record()


def spread(function: Callable, tasks: Sequence, workers: int, what: str) -> Iterator:
    """function(task) for each task, in order, over `workers` fresh processes, with one bar over all of them.

    At Ctrl-C workers finish what they do when they are interrupted (a run with a checkpoint writes it), and take no
    further task.

    Raises:
        WorkerDied: if the system ended a worker, mostly for want of memory. What was yielded before is not lost.
    """
    executor = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
    try:
        futures = [executor.submit(_unless_interrupted, function, task) for task in tasks]
        for future in watched(futures, len(tasks), what):
            yield future.result()
    except BrokenProcessPool as error:
        raise WorkerDied(
            f"a worker process of {what} died (out of memory?); run the same command again, with fewer --workers."
        ) from error
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


_interrupted = threading.Event()  # of this process


def _unless_interrupted(function: Callable, task: object) -> object:
    """A pool hands its workers the next tasks before the last are finished: after Ctrl-C they are not begun."""
    if _interrupted.is_set():
        raise KeyboardInterrupt
    try:
        return function(task)
    except KeyboardInterrupt:
        _interrupted.set()
        raise
