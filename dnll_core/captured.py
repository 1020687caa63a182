"""A whole training iteration as one CUDA graph: recorded once, then replayed without Python launching each kernel.

    trainer.captured = CapturedStep(trainer.learner)  # `Trainer.fit` does this by itself

The mathematics is that of `Learner.iterate`, which is what is recorded: drawing the batch, views, labels, both passes,
the optimiser, averages. It reads its place in the epoch from the clock, and weights, momentum, plan and random states
stay where they are in memory, so plain iterations, checkpoints and evaluation go on beside it. While it is recorded,
the networks of a method take a stream each (`methods.base.forward_each`), so that small ones fill the device together.
"""

from __future__ import annotations

import gc
import math
import time
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from dnll_core.data.host_pool import HostPool
from dnll_core.learner import Learner
from dnll_core.models import Network

WARM_UP = 3  # iterations before the recording, in which libraries choose their algorithms and allocate
WORTH_CAPTURING = 100  # iterations; recording takes about as long as a few plain ones
SAME_STEP = 0.2  # of its length: two first steps of a network that differ by no more are the same but for rounding
DEVICE = "cuda"  # tests put another in its place, with a graph of their own


class CapturedStep:
    """Records the iteration of a learner on a CUDA device; the learner's state is afterwards what it was before.

    Attributes:
        seconds: what the warm-up and the recording took.
        metrics: names of what the iteration adds to the learner's sums.

    Raises:
        ValueError: on another device.
        RuntimeError: if CUDA cannot record the iteration, or replays another one than it recorded.
    """

    def __init__(self, learner: Learner):
        if learner.device.type != DEVICE:
            raise ValueError(f"an iteration can be captured on a CUDA device, not on {learner.device}.")
        started = time.perf_counter()
        epoch, place = divmod(int(learner.clock.step), learner.steps_per_epoch)
        if not learner.plan:
            learner.plan_epoch(epoch)
        pool = learner.data.unlabelled
        self.pool = pool if isinstance(pool, HostPool) and learner.method.unlabelled_views else None
        if self.pool is not None:
            self.pool.fetch(place)
        before = {name: tensor.clone() for name, tensor in learner.state().items()}
        try:
            with torch.cuda.device(learner.device):  # generators and streams of the capture are the current device's
                self._record(learner)
                learner.optimisers.zero_grad()
                verify(learner, lambda: self.graph.replay() or self.loss, before)
        finally:
            learner.optimisers.zero_grad()
            learner.restore(before)
        torch.cuda.synchronize(learner.device)
        self.seconds = time.perf_counter() - started

    def _record(self, learner: Learner) -> None:
        stream = torch.cuda.Stream()  # what a graph needs must not be allocated on the default stream
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                self._iterate(learner)
        torch.cuda.current_stream().wait_stream(stream)
        learner.optimisers.zero_grad()  # gradients then live in the graph's own memory
        gc.collect()  # an older graph must not be destroyed during the capture
        self.graph = torch.cuda.CUDAGraph()
        self.graph.register_generator_state(learner.generator)
        with torch.cuda.graph(self.graph, stream=stream):
            self.loss, self.metrics = self._iterate(learner)

    @staticmethod
    def _iterate(learner: Learner) -> tuple[Tensor, tuple[str, ...]]:
        # its place in the epoch, 0-dim int64, stays on the device; drawn before the iteration moves the clock
        place = torch.remainder(learner.clock.step, learner.steps_per_epoch).long()
        _, output = learner.iterate(place)
        return learner.account(place, output.loss.detach(), output.metrics), tuple(output.metrics)

    def replay(self, i: int) -> Tensor:
        """Iteration i of the epoch, which is where the clock stands. Returns its loss, which the next overwrites."""
        if self.pool is not None:
            self.pool.fetch(i)
        self.graph.replay()
        return self.loss


def verify(learner: Learner, replay: Callable[[], Tensor], before: dict[str, Tensor]) -> None:
    """Compares two replayed iterations with two plain ones from the state `before`; leaves the learner changed.

    The first loss is compared closely, and then how far the first step moved the weights of each network by itself: in
    a sum over networks one that learns wrongly would not show. The second loss and the metrics, which show the
    unlabelled images on which the loss may not weigh yet, may differ more: a rounding error that turns a prediction
    changes a label. Random states must end alike, so that no draw is repeated or left out.

    Raises:
        RuntimeError: if one of them differs by more than rounding explains.
    """
    seen: list[dict[str, float]] = []
    moved: list[dict[str, Tensor]] = []
    random: list[Tensor] = []
    for step in (lambda: CapturedStep._iterate(learner)[0], replay):
        learner.restore(before)
        losses = {"loss of iteration 1": float(step())}
        moved.append(_steps_of_networks(learner, before))
        losses["loss of iteration 2"] = float(step())
        seen.append(losses | {name: float(value.sum()) for name, value in learner.sums.items()})
        random.append(torch.cat([value for name, value in learner.state().items() if name.startswith("rng.")]))
    close, near = (0.02, 0.05) if learner.compute.precision == "bfloat16" else (1e-4, 5e-3)
    for name, plain in seen[0].items():
        tolerance = close if name == "loss of iteration 1" else near
        if not math.isclose(plain, seen[1][name], rel_tol=tolerance, abs_tol=1e-4):
            raise RuntimeError(f"its replay has {name} {seen[1][name]:.6g}, and the plain iteration {plain:.6g}")
    for name, plain in moved[0].items():
        apart = float((moved[1][name] - plain).norm() / plain.norm().clamp(min=1e-30))
        if not apart <= SAME_STEP:
            raise RuntimeError(f"its replay has {name} moved otherwise, and the plain iteration differs by {apart:.0%}")
    if not torch.equal(*random):
        raise RuntimeError("its replay has another random state, and the plain iteration draws other numbers")


def _steps_of_networks(learner: Learner, before: dict[str, Tensor]) -> dict[str, Tensor]:
    """Network -> how far all its weights that learn have moved since the state `before`, one after the other."""
    return {
        name: torch.cat([(p.detach() - before[f"method.{name}.{key}"]).flatten() for key, p in learning])
        for name, network in learner.method.named_modules()
        if isinstance(network, Network)
        and (learning := [(key, p) for key, p in network.named_parameters() if p.requires_grad])
    }


def try_to_capture(learner: Learner) -> CapturedStep | None:
    """The captured iteration; None, with a warning, where CUDA cannot record it: training is then slower, not wrong."""
    try:
        return CapturedStep(learner)
    except RuntimeError as error:
        warnings.warn(
            f"the iteration of {learner.experiment.method} could not be captured as a CUDA graph "
            f"({str(error).splitlines()[0]}); it runs uncaptured.",
            stacklevel=3,
        )
        return None
