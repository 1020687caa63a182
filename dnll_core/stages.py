"""Which stage of its method a run is in, and what happens on the host where one begins.

Stages are shares of the iterations, not of the epochs, so that the last one ends with the run whatever its length.
"""

from __future__ import annotations

import bisect
import itertools

import torch

from dnll_core.fields import ConfigError
from dnll_core.methods.base import Method
from dnll_core.methods.declared import Pool
from dnll_core.schedules import Clock


def starts_of(method: Method, total: int) -> list[int]:
    """The first iteration of each of the method's stages, in a run of `total` iterations.

    Raises:
        ConfigError: if one of them has no iteration.
    """
    shares, ends = [stage.share for stage in method.stages], []
    for stage, sum_of in zip(method.stages, itertools.accumulate(shares)):
        ends.append(max(round(total * sum_of / sum(shares)), stage.least + (ends[-1] if ends else 0)))
    if any(first >= last for first, last in itertools.pairwise([0, *ends])):
        fields = ", ".join(dict.fromkeys(stage.field for stage in method.stages if stage.field != "epochs"))
        raise ConfigError(
            f"a run of {total} iterations is too short for the {len(shares)} stages of {type(method).__name__}"
            f"{f', see {fields}' * bool(fields)}; more epochs make it longer."
        )
    return [0, *ends[:-1]]


class Stages:
    """The stages of a run; tells method and clock which one is under way.

    Attributes:
        starts: the first iteration of each.
    """

    def __init__(self, method: Method, clock: Clock):
        self.method, self.clock = method, clock
        self.starts = starts_of(method, clock.total_steps)

    def enter(self, step: int) -> None:
        """Iteration `step` is next, or has been the last, of its stage."""
        stage, ends = bisect.bisect_right(self.starts, step) - 1, [*self.starts[1:], self.clock.total_steps]
        self.method.stage, self.clock.stage_start = stage, self.starts[stage]
        self.clock.stage_steps = ends[stage] - self.starts[stage]

    @torch.no_grad()
    def call_hooks(self, step: int, epoch: int, pool: Pool, generator: torch.Generator) -> bool:
        """Those before iteration `step`, the first of a stage or of an epoch. Whether optimiser and average restart."""
        self.enter(step)
        if step not in self.starts:
            self.method.at_epoch(pool, epoch, generator)
            return False
        self.method.at_stage(pool, generator)
        return self.method.stages[self.method.stage].restart
