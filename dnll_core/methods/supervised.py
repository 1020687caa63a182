"""Supervised-only: cross-entropy on the labelled images (Eqs. 1, 3, 4) and nothing else. The floor of every table."""

from __future__ import annotations

import torch

from dnll_core.losses import cross_entropy
from dnll_core.methods.base import Batch, OneNetwork, Output, forward_each
from dnll_core.schedules import Clock


class Supervised(OneNetwork):
    """One network on weak views of the labelled images, for as many iterations as the methods it is compared with."""

    def compute(self, batch: Batch, clock: Clock, generator: torch.Generator) -> Output:
        [[logits]] = forward_each([self.network], [[batch.labelled[0]]], joint=False)
        loss = cross_entropy(logits, batch.targets)
        return Output(loss, [logits.detach()], metrics={"supervised": loss.detach()})
