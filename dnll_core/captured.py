"""A whole training iteration as one CUDA graph: recorded once, then replayed without Python launching each kernel.

    trainer.captured = CapturedStep(trainer)

The mathematics is that of `Trainer.iterate`, which is what is recorded: drawing the batch, views, labels, both passes,
the optimiser, averages. It reads its place in the epoch from the clock, and weights, momentum, plan and random states
stay where they are in memory, so plain iterations, checkpoints and evaluation go on beside it.
"""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from dnll_core.trainer import Trainer

WARM_UP = 3  # iterations before the recording, in which libraries choose their algorithms and allocate


class CapturedStep:
    """Records the iteration of a trainer on a CUDA device; the trainer's state is afterwards what it was before.

    Raises:
        ValueError: on another device.
    """

    def __init__(self, trainer: Trainer):
        if trainer.device.type != "cuda":
            raise ValueError(f"an iteration can be captured on a CUDA device, not on {trainer.device}.")
        if not trainer.plan:
            trainer.plan_epoch(trainer.step // trainer.steps_per_epoch)
        before = {name: tensor.clone() for name, tensor in trainer.state().items()}
        try:
            with torch.cuda.device(trainer.device):  # generators and streams of the capture are the current device's
                self._record(trainer)
        finally:
            trainer.optimizer.zero_grad(set_to_none=True)
            trainer.restore(before)

    def _record(self, trainer: Trainer) -> None:
        stream = torch.cuda.Stream()  # what a graph needs must not be allocated on the default stream
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                trainer.iterate(self._place(trainer))
        torch.cuda.current_stream().wait_stream(stream)
        trainer.optimizer.zero_grad(set_to_none=True)  # gradients then live in the graph's own memory
        gc.collect()  # an older graph must not be destroyed during the capture
        self.graph = torch.cuda.CUDAGraph()
        self.graph.register_generator_state(trainer.generator)
        with torch.cuda.graph(self.graph, stream=stream):
            _, output = trainer.iterate(self._place(trainer))
            self.loss = output.loss.detach()
            self.metrics = {name: value.detach() for name, value in output.metrics.items()}

    @staticmethod
    def _place(trainer: Trainer) -> Tensor:
        """The iteration's place in its epoch, 0-dim int64, on the device."""
        return torch.remainder(trainer.clock.step, trainer.steps_per_epoch).long()

    def replay(self) -> tuple[Tensor, dict[str, Tensor]]:
        """One iteration: its loss and metrics, in memory that the next replay overwrites."""
        self.graph.replay()
        return self.loss, self.metrics
