"""Functions of the step: where training stands (`Clock`), ramps, the cosine, and the exponential moving average.

Everything is a tensor on the training device, so that a step captured once (a CUDA graph) keeps to its schedule.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass
class Clock:
    """Where training stands. The trainer adds one to `step` after each iteration; everything else is read from it.

    Attributes:
        step: 0-dim float32 tensor on the training device, the number of finished iterations.
        steps_per_epoch: iterations in one pass over the unlabelled images.
        total_steps: iterations of the whole run.
        stage_start, stage_steps: of the stage under way, its first iteration and its number of iterations; None: all.
    """

    step: Tensor
    steps_per_epoch: int
    total_steps: int
    stage_start: int = 0
    stage_steps: int | None = None

    @property
    def since(self) -> Tensor:
        """Finished iterations of the stage. 0-dim tensor."""
        return self.step - self.stage_start if self.stage_start else self.step

    @property
    def epoch(self) -> Tensor:
        """Finished epochs of the stage, with their fraction. 0-dim tensor."""
        return self.since / self.steps_per_epoch

    @property
    def starts_epoch(self) -> Tensor:
        """Whether the iteration under way is the first of an epoch. 0-dim bool tensor."""
        return torch.remainder(self.step, self.steps_per_epoch) == 0

    @property
    def progress(self) -> Tensor:
        """Finished share of the stage, 0...1. 0-dim tensor."""
        return self.since / (self.stage_steps or self.total_steps)


def sigmoid_ramp(clock: Clock, epochs: float) -> Tensor:
    """exp(-5 (1 - t)^2) with t = epoch / epochs up to 1, then 1. The ramp of the Temporal Ensembling lineage."""
    if epochs == 0:
        return torch.ones_like(clock.step)
    t = (clock.epoch / max(epochs, 1e-30)).clamp(0, 1)  # of less float32 makes 0, and 0 / 0 of the first step
    return torch.exp(-5 * (1 - t) ** 2)


def cosine(clock: Clock) -> Tensor:
    """Cosine annealing from 1 at a stage's first step to 0 after its last (section 4.2, which states no length)."""
    return 0.5 * (1 + torch.cos(math.pi * clock.progress))


def constant(clock: Clock) -> Tensor:
    """1, from the first step to the last."""
    return torch.ones_like(clock.step)


def floats(module: nn.Module) -> list[Tensor]:
    """What an average of a network takes in: its weights and its batch-norm statistics, without the counters."""
    return [value for value in module.state_dict().values() if value.is_floating_point()]


@torch.no_grad()
def ema_update_(average: Sequence[Tensor], values: Sequence[Tensor], decay: float) -> None:
    """average <- decay * average + (1 - decay) * values, in place, for each pair of tensors.

    `decay` is the share of the OLD average that stays (0.999 averages over about a thousand steps). The authors'
    code has it the other way round, which keeps 99.9 % of the new weights and averages nothing.
    """
    torch._foreach_lerp_(list(average), list(values), 1 - decay)
