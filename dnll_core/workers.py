"""Runs from plain fields, in worker processes: what campaigns and searches share."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import torch

from dnll_core.classical import CLASSIFIERS, run_classical
from dnll_core.config import Experiment
from dnll_core.console import watched
from dnll_core.run import train


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
    """function(task) for each task, in order, over `workers` fresh processes, with one bar over all of them."""
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        outcomes: Iterable = pool.imap(function, tasks)
        yield from watched(outcomes, len(tasks), what)
