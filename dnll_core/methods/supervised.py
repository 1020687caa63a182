"""Supervised-only: cross-entropy on the labelled images (Eqs. 1, 3, 4) and nothing else. The floor of every table."""

from __future__ import annotations

import torch
from torch import nn

from dnll_core.losses import cross_entropy
from dnll_core.methods.base import Batch, Method, NetworkFactory, Output, forward_each
from dnll_core.schedules import Clock


class Supervised(Method):
    """One network on weak views of the labelled images, for as many iterations as the methods it is compared with."""

    def __init__(self, build: NetworkFactory):
        super().__init__()
        self.network = build()

    def compute(self, batch: Batch, clock: Clock, generator: torch.Generator) -> Output:
        [[logits]] = forward_each([self.network], [[batch.labelled[0]]], joint=False)
        loss = cross_entropy(logits, batch.targets)
        return Output(loss, [logits.detach()], metrics={"supervised": loss.detach()})

    def predictors(self) -> dict[str, nn.Module]:
        return {"network": self.network}
