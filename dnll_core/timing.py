"""What a benchmark is made of: random data, a clock for each kind of device, counted FLOPs, an iteration's parts.

    subject = Subject(Setting(Experiment(dataset="cifar10", labels=4000)))
    subject.train_seconds(), count_flops(subject.step), profile(subject, 3)

`bench` puts them together. Without a device's own clock a time would be that of launching its work: CUDA is timed by
events in its stream, other accelerators by waiting for them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from dnll_core.common import unknown
from dnll_core.config import ConfigError, Experiment
from dnll_core.console import positive
from dnll_core.data import DIGIT_CLASSES, SOURCES
from dnll_core.dataset import Dataset, dataset_of
from dnll_core.device import Compute
from dnll_core.evaluation import BATCH as EVALUATION_BATCH
from dnll_core.models import Network
from dnll_core.run import prepare
from dnll_core.trainer import Trainer

try:
    import resource
except ImportError:  # Windows has none
    resource = None

SHAPES = {"digits": (8, 8)} | {name: source.image for name, source in SOURCES.items()}  # (H, W) or (H, W, 3)
HELD_OUT = 100  # images to predict in the timed evaluation; elsewhere than on a CPU they are repeated
CEILING_SIZES = {"cpu": (2048, 1)}  # of the ceiling's matrices, and how many products in a row; (8192, 10) elsewhere
Mark = torch.cuda.Event | float
# What an iteration consists of. "losses" is what `Method.compute` does outside the networks, the draw of negatives
# included; "after step" moves averages and Pr; "rest" is the trainer's bookkeeping.
PARTS = ("batch and views", "label passes", "forward", "losses", "backward", "optimiser", "after step", "rest")


@dataclass(frozen=True)
class Setting:
    """What is measured, and where.

    device, precision: see `device.choose_compute`. threads: on a CPU; None takes as many as a run would.
    unlabelled: M, images in the pool.
    """

    experiment: Experiment
    device: str = "auto"
    precision: str = "auto"
    threads: int | None = None
    unlabelled: int = 10_000

    def replace(self, **changes) -> Setting:
        """A copy with some fields changed, those of the experiment too; values may be given as text.

        Raises:
            ConfigError: for an unknown field, or a value that it does not take.
        """
        places = ("device", "precision", "threads", "unlabelled")
        names = [*(field.name for field in dataclasses.fields(Experiment)), *places]
        for name in changes:
            if name not in names:
                raise ConfigError(unknown("field", name, names))
        own = {name: changes.pop(name) for name in places if name in changes}
        for name in {"threads", "unlabelled"} & own.keys():
            try:
                own[name] = positive(str(own[name]))
            except ValueError:
                raise ConfigError(f"{name} takes a whole number from 1, not {own[name]!r}.") from None
        return dataclasses.replace(self, experiment=self.experiment.replace(**changes), **own)


def synthetic(experiment: Experiment, unlabelled: int, seed: int = 0) -> Dataset:
    """Random uint8 images of the data set's shape: the experiment's labelled ones, M without a label, HELD_OUT to test.

    Raises:
        ConfigError: for a data set whose shape is not known beforehand.
    """
    e, k = experiment, len(DIGIT_CLASSES)
    if e.source is not None:
        raise ConfigError(f"source={e.source!r}: a benchmark has random images, of one domain; leave source out.")
    if e.dataset not in SHAPES:
        raise ConfigError(unknown("dataset", e.dataset, SHAPES))
    shape = SHAPES[e.dataset] if e.size is None else (e.size, e.size, *SHAPES[e.dataset][2:])
    each = -(-(e.labels or 4000) // k)  # labelled images of a class; a split sets a tenth apart for validation
    labels = np.repeat(np.arange(k), each + max(1, each // 9))
    random = np.random.default_rng(seed)
    arrays = {
        "x_train": random.integers(0, 256, (len(labels) + unlabelled, *shape), dtype=np.uint8),
        "y_train": np.concatenate([labels, np.full(unlabelled, -1)]),
        "x_test": random.integers(0, 256, (HELD_OUT, *shape), dtype=np.uint8),
        "y_test": np.arange(HELD_OUT) % k,
    }
    channels = shape[2] if len(shape) == 3 else 1
    return dataset_of(f"synthetic {e.dataset}", arrays, DIGIT_CLASSES, (0.5,) * channels, (0.25,) * channels)


class Timer:
    """Marks in the work of one device, and the seconds between them."""

    def __init__(self, device: torch.device):
        self.device = device

    def wait(self) -> None:
        """Returns when the device has finished what it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type != "cpu":
            torch.accelerator.synchronize()

    def mark(self) -> Mark:
        """This point of the work. Only on CUDA does the host go on without waiting."""
        if self.device.type == "cuda":
            event = torch.cuda.Event(enable_timing=True)
            event.record(torch.cuda.current_stream(self.device))
            return event
        self.wait()
        return time.perf_counter()

    def between(self, start: Mark, end: Mark) -> float:
        """Seconds from one mark to a later one."""
        if self.device.type == "cuda":
            end.synchronize()
            return start.elapsed_time(end) / 1000  # it counts in milliseconds
        return end - start

    def seconds(self, work: Callable[[], object], times: int = 1) -> float:
        """Mean seconds of one `work`, called `times` in a row as training does; it starts on an idle device."""
        self.wait()
        start = self.mark()
        for _ in range(times):
            work()
        return self.between(start, self.mark()) / times


class Subject:
    """A setting made ready to be measured: the trainer of a real run, on random images."""

    def __init__(self, setting: Setting, seed: int = 0):
        self.setting, e = setting, setting.experiment
        data = synthetic(e, setting.unlabelled, seed)
        where = {"device": setting.device, "precision": setting.precision}
        self.trainer, self.provenance = prepare(e, seed, **where, progress=False, dataset=data)
        if setting.threads is not None and self.trainer.device.type == "cpu":
            self.trainer.compute = dataclasses.replace(self.trainer.compute, threads=setting.threads)
            self.provenance["device"] = self.trainer.compute.describe()
        self.trainer.plan_epoch(0)
        self.timer = Timer(self.trainer.device)
        self.network = next(iter(self.trainer.predictors().values()))
        pool = self.trainer.data.unlabelled
        self.images = pool[torch.arange(e.labelled_batch + e.unlabelled_batch, device=pool.device) % len(pool)]

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """Uses the setting's number of threads inside the block.

        Only where that is a change: at each one torch's CPU library forgets its prepared kernels, which would be timed.
        """
        compute = self.trainer.compute
        if compute.threads in (None, torch.get_num_threads()):
            yield
            return
        with compute.own_threads():
            self.step()
            yield

    def step(self) -> None:
        """One more iteration. After the last of the epoch its first comes again."""
        self.trainer.train_step(self.trainer.step % self.trainer.steps_per_epoch)
        self.trainer.step += 1

    def infer(self) -> None:
        """uint8 images, as many as in a training batch, to the logits of one submodel."""
        with torch.no_grad(), self.trainer.compute.autocast():
            self.network(self.trainer.plain(self.images, self.trainer.generator))

    def train_seconds(self, burst: int = 1) -> float:
        """Seconds of one iteration, mean over `burst` of them."""
        with self.at_work():
            return self.timer.seconds(self.step, burst)

    def inference_seconds(self, burst: int = 1) -> float:
        """Seconds of one `infer`, mean over `burst` of them."""
        with self.at_work():
            self.network.eval()
            try:
                return self.timer.seconds(self.infer, burst)
            finally:
                self.network.train()

    def evaluation(self) -> dict:
        """{"images", "seconds"} of predicting held-out images with everything that is evaluated."""
        images, _ = self.trainer.data.held_out["test"]
        if self.trainer.device.type != "cpu":  # a full batch, and warm
            images = images.repeat(EVALUATION_BATCH // HELD_OUT, 1, 1, 1)
            self.trainer.predict(images)
        with self.at_work():
            return {"images": len(images), "seconds": self.timer.seconds(lambda: self.trainer.predict(images))}

    def host_seconds(self) -> float:
        """Seconds until the host has launched an iteration, whose end on the device it does not wait for."""
        self.timer.wait()
        started = time.perf_counter()
        self.step()
        return time.perf_counter() - started


def count_flops(work: Callable[[], object]) -> int:
    """Floating-point operations of the matrix products and convolutions in `work`, a multiply-add as two.

    Counted by torch's FlopCounterMode as they are dispatched, backward passes included. It does not count what works
    element by element or pools: batch norm, activations, dropout, augmentation, losses, the optimiser.
    """
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def ceiling(compute: Compute) -> dict[str, float]:
    """{"flops_per_second", "size"}: the fastest of some products of two size x size matrices, as `compute` would."""
    timer = Timer(compute.device)
    size, times = CEILING_SIZES.get(compute.device.type, (8192, 10))
    dtype = torch.bfloat16 if compute.precision == "bfloat16" else torch.float32
    a, b = (torch.rand(size, size, device=compute.device).to(dtype) for _ in range(2))
    with compute.own_threads(), _products_like_convolutions(compute.device):
        timer.seconds(lambda: a @ b, times)
        best = min(timer.seconds(lambda: a @ b, times) for _ in range(5))
    return {"flops_per_second": 2 * size**3 / best, "size": size}


@contextlib.contextmanager
def _products_like_convolutions(device: torch.device) -> Iterator[None]:
    """On CUDA, float32 convolutions use TF32 by default and products do not: a ceiling must not be below the work."""
    if device.type != "cuda":
        yield
        return
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    matmul.fp32_precision = torch.backends.cudnn.conv.fp32_precision
    try:
        yield
    finally:
        matmul.fp32_precision = before


@contextlib.contextmanager
def _watch(trainer: Trainer, enter: Callable[[str], None]) -> Iterator[None]:
    """Calls `enter(part)` whenever an iteration of `trainer` passes from one of PARTS to another."""
    with contextlib.ExitStack() as stack:

        def around(owner: object, name: str, part: str, following: str) -> None:
            inner = getattr(owner, name)

            def watched_call(*args, **kwargs):
                enter(part)
                result = inner(*args, **kwargs)
                enter(following)
                return result

            setattr(owner, name, watched_call)  # on this object alone; removed below
            stack.callback(delattr, owner, name)

        around(trainer, "draw_batch", "batch and views", "rest")
        around(trainer.method, "compute", "losses", "backward")
        around(trainer.method, "after_step", "after step", "rest")
        hooks = [
            trainer.optimizer.register_step_pre_hook(lambda *_: enter("optimiser")),
            trainer.optimizer.register_step_post_hook(lambda *_: enter("rest")),
        ]
        for network in (module for module in trainer.method.modules() if isinstance(module, Network)):
            # labels are made without gradient
            passes = network.register_forward_pre_hook(
                lambda *_: enter("forward" if torch.is_grad_enabled() else "label passes")
            )
            hooks += [passes, network.register_forward_hook(lambda *_: enter("losses"))]
        for hook in hooks:
            stack.callback(hook.remove)
        yield


def profile(subject: Subject, iterations: int) -> dict[str, list[float]]:
    """Seconds of each of PARTS in each of `iterations` more iterations, each on an idle device.

    They are watched by wrappers around the trainer's and method's steps and by hooks on networks and optimiser, which
    timed iterations do not have. On CUDA a part lasts as the device sees it, its waiting for the host included.
    """
    seconds: dict[str, list[float]] = {part: [] for part in PARTS}
    marks: list[tuple[str, Mark]] = []

    def enter(part: str) -> None:
        marks.append((part, subject.timer.mark()))

    with _watch(subject.trainer, enter), subject.at_work():
        for _ in range(iterations):
            subject.timer.wait()
            marks.clear()
            enter("rest")
            subject.step()
            enter("end")
            for part in PARTS:
                seconds[part].append(0.0)
            for (part, start), (_, end) in itertools.pairwise(marks):
                seconds[part][-1] += subject.timer.between(start, end)
    return seconds


def peak_memory(device: torch.device, before: int = 0) -> dict | None:
    """The most memory that was in use at a time: {"bytes", "of"}; None where the system does not tell.

    On CUDA by tensors since `torch.cuda.reset_peak_memory_stats`, less the bytes that were in use `before`; elsewhere
    by the whole process since it started, its libraries included.
    """
    if device.type == "cuda":
        return {"bytes": torch.cuda.max_memory_allocated(device) - before, "of": "tensors on the device"}
    if resource is None:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"bytes": peak if sys.platform == "darwin" else 1024 * peak, "of": "the process"}  # macOS counts in bytes
