"""How long runs will take, from what runs and benchmarks of the same kind took. Nothing is known of other kinds."""

from __future__ import annotations

import functools
import statistics
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from dnll_core import results
from dnll_core.bench import report
from dnll_core.campaign.tasks import Task, checkpoint_step
from dnll_core.config import Experiment
from dnll_core.data.domain import load_pair
from dnll_core.data.load import load_data
from dnll_core.data.sets import SHAPES, SOURCES, VALIDATION_PER_CLASS
from dnll_core.data.splits import split_labels
from dnll_core.device import choose_compute, cpu_name
from dnll_core.methods.classical import CLASSIFIERS
from dnll_core.study.records import experiment_of

Kind = tuple  # what two runs must share to take equally long for an iteration


def kind_of(fields: dict, device: str, precision: str) -> Kind | None:
    """Network, shape of the images, method and batch, device and precision; None for another version's experiment.

    A method of scikit-learn has no iterations: its runs share all fields.
    """
    if fields["method"] in CLASSIFIERS:
        return tuple(sorted(fields.items())), device
    e = experiment_of(fields)
    if e is None:
        return None
    return e.network, shape_of(e), e.method, e.labelled_batch, e.unlabelled_batch, device, precision


def shape_of(e: Experiment) -> tuple:
    """(H, W) or (H, W, 3) of the images; of a folder, which is not looked into, its name and the size."""
    shape = SHAPES.get("digits" if e.dataset.startswith("digits") else e.dataset, (e.dataset,))
    if e.size is not None:
        shape = (e.size, e.size, *shape[2:]) if len(shape) > 1 else (*shape, e.size)
    return shape


def measured(folders: Iterable[Path]) -> dict[Kind, float]:
    """Kind -> median seconds of an iteration (of a whole run without iterations), evaluation included.

    From the run records below the folders, and from the benchmarks there for kinds without a record; those time
    iterations alone.

    Raises:
        RecordError: see `results.load`.
    """
    runs: dict[Kind, list[float]] = {}
    benchmarks: dict[Kind, list[float]] = {}
    for folder in folders:
        for record in results.load(folder):
            if not {"device", "precision", "seconds"} <= record.keys():
                continue  # not of a run of ours, and no time to learn from
            kind = kind_of(record["experiment"], record["device"], record["precision"])
            steps = record["history"][-1]["step"] if "history" in record else 1
            runs.setdefault(kind, []).append(record["seconds"] / steps)
        for benchmark in report.load_benchmarks(folder / "bench").values():
            for setting in benchmark["settings"].values():
                if (setting.get("pool", "auto"), setting.get("step", "fast")) != ("auto", "fast"):
                    continue  # not as a run does it
                kind = kind_of(setting["experiment"], setting["device"], setting["precision"])
                benchmarks.setdefault(kind, []).extend(setting["train"])
    return {kind: statistics.median(seconds) for kind, seconds in (benchmarks | runs).items() if kind is not None}


def seconds_left(task: Task, known: dict[Kind, float]) -> float | None:
    """Seconds that a run will take in a worker on this machine, less what its checkpoint holds; None if not known."""
    if task.fields["method"] in CLASSIFIERS:
        return known.get(kind_of(task.fields, cpu_name(), ""))
    experiment = Experiment(**task.fields)
    shape = shape_of(experiment)
    pixels = shape[0] * shape[1] if isinstance(shape[0], int) else (experiment.size or 32) ** 2
    compute = choose_compute(network=experiment.network, pixels=pixels)
    if compute.device.type == "cpu":
        compute = replace(compute, threads=1)
    each = known.get(kind_of(task.fields, compute.describe(), compute.precision))
    try:
        total = iterations(experiment)
    except ValueError:  # the data set has not so many labels: the run will fail, and say so
        return None
    return None if each is None or total is None else each * (total - checkpoint_step(task.checkpoint))


@functools.cache
def iterations(experiment: Experiment) -> int | None:
    """The number of optimiser steps of a run, without any download; None for a folder, whose images are not counted."""
    e = experiment
    if e.dataset.startswith("folder:"):
        return None
    if e.dataset in SOURCES:
        images = SOURCES[e.dataset].train
        if e.source is None:
            free = images - VALIDATION_PER_CLASS[e.dataset] * len(SOURCES[e.dataset].classes)
            labelled = free if e.labels is None else e.labels
            images = free if e.include_labelled else free - labelled or labelled
    elif e.source is None:
        split = split_labels(load_data(e.dataset), e.labels, 0, include_labelled=e.include_labelled)
        images = len(split.unlabelled)
    else:
        images = len(load_pair(load_data(e.source), load_data(e.dataset), e.labels, 0)[1].unlabelled)
    return max(1, images // e.unlabelled_batch) * e.epochs


def in_words(seconds: float | None) -> str:
    """For example "40 s", "25 min", "3.2 h"; "not known" for None."""
    if seconds is None:
        return "not known"
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"
