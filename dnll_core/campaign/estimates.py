"""How long runs will take, from what runs and benchmarks of the same kind took.

Nothing is known of other kinds; where that is too little, `Expected` times some of their iterations.
"""

from __future__ import annotations

import functools
import statistics
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from dnll_core import results
from dnll_core.bench import report
from dnll_core.bench.subject import Setting, Subject
from dnll_core.campaign.pool import Pool, WorkerDied
from dnll_core.campaign.tasks import checkpoint_step
from dnll_core.campaign.worker import Task
from dnll_core.config import Experiment
from dnll_core.data.sets import SETS
from dnll_core.device import choose_compute, cpu_name
from dnll_core.methods import own_network
from dnll_core.methods.classical import Classical
from dnll_core.provenance import where_made
from dnll_core.study.records import config_of

AROUND = 8.0  # seconds of a run around its iterations: data to the device, checkpoint, record
MARGIN = 1.05  # runs that took longer than others
Kind = tuple  # what two runs must share to take equally long for an iteration


def kind_of(e: Experiment | Classical | None, device: str, precision: str, alone: bool = False) -> Kind | None:
    """Network, shape of the images, method and batch, device and precision; None for another version's experiment.

    A method of scikit-learn has no iterations: its runs share all settings. alone: of iterations without evaluation.
    """
    if e is None:
        return None
    if isinstance(e, Classical):
        return e, device
    network = None if own_network(e.to_dict()) else e.network
    passes = e.ccl_passes, e.vat_iterations, None if alone else e.evaluations  # with these an iteration takes longer
    return network, shape_of(e), e.method, e.labelled_batch, e.unlabelled_batch, *passes, device, precision


def shape_of(e: Experiment) -> tuple:
    """(H, W) or (H, W, 3) of the images; of a folder, which is not looked into, its name and the size."""
    shape = SETS[e.dataset].image if e.dataset in SETS else (e.dataset,)
    if e.size is not None:
        shape = (e.size, e.size, *shape[2:]) if len(shape) > 1 else (*shape, e.size)
    return shape


def measured(folders: Iterable[Path]) -> dict[Kind, float]:
    """Kind -> median seconds of an iteration (of a whole run without iterations), evaluation included.

    From the run records below the folders, each sitting of a run (see `provenance`) for the device that it was on, and
    from the benchmarks there for kinds without a record; those time iterations alone.

    Raises:
        RecordError: see `results.load`.
    """
    runs: dict[Kind, list[float]] = {}
    benchmarks: dict[Kind, list[float]] = {}
    for folder in folders:
        for record in results.load(folder):
            config = config_of(record["experiment"])
            for sitting in where_made(record):
                if sitting["seconds"] is not None and sitting["iterations"]:  # else it diverged, or ended at once
                    kind = kind_of(config, sitting["device"], sitting["precision"])
                    runs.setdefault(kind, []).append(sitting["seconds"] / sitting["iterations"])
        for benchmark in report.load_benchmarks(folder / "bench").values():
            for setting in benchmark["settings"].values():
                if (setting.get("pool", "auto"), setting.get("step", "fast")) != ("auto", "fast"):
                    continue  # not as a run does it
                kind = kind_of(config_of(setting["experiment"]), setting["device"], setting["precision"], alone=True)
                benchmarks.setdefault(kind, []).extend(setting["train"])
                if kind is not None and (look := setting.get("evaluation")):
                    benchmarks.setdefault(("evaluation", *kind), []).append(look["seconds"] / look["images"])
    return {kind: statistics.median(seconds) for kind, seconds in (benchmarks | runs).items() if kind is not None}


def seconds_left(task: Task, known: dict[Kind, float]) -> float | None:
    """Seconds that a run will take in a worker on this machine, less what its checkpoint holds; None if not known."""
    experiment = task.config
    if isinstance(experiment, Classical):
        return known.get(kind_of(experiment, cpu_name(), ""))
    compute = choose_compute(network=experiment.network)
    if compute.device.type == "cpu":
        compute = replace(compute, threads=1)
    kind, alone = (kind_of(experiment, compute.describe(), compute.precision, alone) for alone in (False, True))
    total, each = iterations(experiment), known.get(kind)
    if each is None and alone in known and total is not None:
        each = known[alone] + held_out_images(experiment) * known.get(("evaluation", *alone), 0.0)
    return None if each is None or total is None else each * (total - checkpoint_step(task.checkpoint))


@functools.cache
def iterations(experiment: Experiment) -> int | None:
    """The number of optimiser steps of a run, without loading its images.

    None for a folder, whose images are not counted, and for labels that the data set does not have: such a run fails.
    """
    e = experiment
    if e.dataset not in SETS:
        return None
    known = SETS[e.dataset]
    images = known.train
    if e.source is None:
        free = known.free
        labelled = free if e.labels is None else e.labels
        if labelled > free or (e.labels or 0) % len(known.classes):
            return None
        images = free if e.include_labelled else free - labelled or labelled
    return max(1, images // e.unlabelled_batch) * e.epochs


def iteration_seconds(order: tuple[Experiment, bool]) -> float:
    """In a worker, seconds of an iteration of (experiment, capture), random images, with its part of evaluations."""
    experiment, capture = order
    subject = Subject(Setting(experiment, unlabelled=5000, step="fast" if capture else "uncaptured"))
    subject.train_seconds(5)  # warm-up
    seconds, look = subject.train_seconds(10), subject.evaluation()
    return seconds + held_out_images(experiment) * look["seconds"] / look["images"]


def held_out_images(experiment: Experiment) -> float:
    """How many are evaluated for each iteration, in the mean of an epoch; of a folder none are counted."""
    if experiment.dataset not in SETS:
        return 0.0
    steps, images = report.real_epoch(experiment)
    return images * experiment.evaluations / (steps * experiment.eval_every)


class Expected:
    """What a run will take at most: by records of this device, those in `out` first, else by timing some iterations.

    Args:
        capture: whether iterations are captured, as those of the records were; if not, all are timed.
    """

    def __init__(self, out: Path, capture: bool):
        self.out, self.capture = out, capture
        self.timed: dict[Kind, float | Exception] = {}
        self.recorded = measured([results.root()]) if capture else {}

    def seconds(self, task: Task, pool: Pool) -> float | None:
        """None if nothing is known of it, and its iterations cannot be timed in the pool either."""
        seconds = seconds_left(task, self.recorded | measured([self.out])) if self.capture else None
        if seconds is None:
            experiment = task.config
            kind = kind_of(experiment, "", "")
            if kind not in self.timed:
                try:
                    self.timed[kind] = pool.submit(iteration_seconds, (experiment, self.capture)).result()
                except WorkerDied:
                    raise
                except Exception as error:  # the run would fail in the same way
                    self.timed[kind] = error
            if isinstance(self.timed[kind], Exception):
                return None
            seconds = self.timed[kind] * ((iterations(experiment) or 0) - checkpoint_step(task.checkpoint))
        return AROUND + MARGIN * seconds
