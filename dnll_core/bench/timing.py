"""The instruments of a benchmark: a clock for each kind of device, counted FLOPs, the fastest product, memory.

    Timer(device).seconds(work), count_flops(work), ceiling(compute)

`bench` puts them together. Without a device's own clock a time would be that of launching its work: CUDA is timed by
events in its stream, other accelerators by waiting for them.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

import torch
from torch.utils.flop_counter import FlopCounterMode

from dnll_core.device import Compute, own_random_state, usual_torch
from dnll_core.learner import Learner
from dnll_core.trainer import Trainer

try:
    import resource
except ImportError:  # Windows has none
    resource = None

CEILING_SIZES = {"cpu": (2048, 1)}  # of the ceiling's matrices, and how many products in a row; (8192, 10) elsewhere
Mark = torch.cuda.Event | float


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


def count_flops(work: Callable[[], object]) -> int:
    """Floating-point operations of the matrix products and convolutions in `work`, a multiply-add as two.

    Counted by torch's FlopCounterMode as they are dispatched, backward passes included. It does not count what works
    element by element or pools: batch norm, activations, dropout, augmentation, losses, the optimiser.
    """
    counter = FlopCounterMode(display=False)
    # that of torch tells modules apart, and its hooks fail where a method differentiates by what a network is given
    counter.mod_tracker = contextlib.nullcontext()
    counter.mod_tracker.parents = ("Global",)
    with counter:
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


def seconds_of_an_iteration(trainer: Trainer) -> float:
    """The least of four, of a trainer at iteration 0, which is of no use afterwards."""
    learner = trainer.learner
    with usual_torch(), own_random_state(learner.device, learner.seed), learner.compute.own_threads():
        to_last_stage(learner)
        return min(Timer(learner.device).seconds(lambda: learner.iterate(0)) for _ in range(4))


def to_last_stage(learner: Learner) -> int:
    """Begins the last stage of the method, where an iteration takes longest. Returns its first iteration."""
    first = learner.stages.starts[-1]
    learner.clock.step.fill_(first)
    learner.begin(first)
    return first


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
