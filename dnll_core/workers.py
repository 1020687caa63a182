"""Runs from plain fields, in worker processes: what campaigns and searches share."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch

from dnll_core.classical import CLASSIFIERS, run_classical
from dnll_core.config import Experiment
from dnll_core.console import watched
from dnll_core.run import train


def record_of(fields: dict, seed: int, measure: bool = False) -> dict:
    """Runs what `fields` describe, an `Experiment` or one of `classical.CLASSIFIERS`, on one thread; its record."""
    torch.set_num_threads(1)
    if fields["method"] in CLASSIFIERS:
        return run_classical(seed=seed, **fields)
    return train(Experiment(**fields), seed, progress=False, measure=measure).record()


def spread(function: Callable, tasks: Sequence, workers: int, what: str) -> Iterator:
    """function(task) for each task, in order, over `workers` fresh processes, with one bar over all of them."""
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        outcomes: Iterable = pool.imap(function, tasks)
        yield from watched(outcomes, len(tasks), what)
