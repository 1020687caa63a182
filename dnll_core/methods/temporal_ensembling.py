"""Temporal Ensembling (Laine & Aila, ICLR 2017, Algorithm 2): agree with the average of one's earlier predictions.

loss = cross-entropy + lam * ramp * MSE(softmax, Z / (1 - alpha^t)),    Z <- alpha * Z + (1 - alpha) * softmax

Z is remembered for each unlabelled image, and so is t, how often it was updated: the division undoes the start from 0
for each image by itself. The paper updates all images after an epoch; an image comes up once in an epoch, so updating
it right after its step gives its next target the same value. An image that was never seen has no target yet.

Published, CIFAR-10: a weight of 30 * labels / images, beside a cross-entropy that is summed over the labelled images of
a batch of all images and divided by its whole size. Beside our mean over labelled images that is lam = 30, however many
there are.

Differs from the paper: consistency is on the unlabelled images only (`include_labelled` adds the labelled ones to
them), the ramp starts at exp(-5) (there the weight is 0 in the first epoch), and the optimiser and schedule are those
of all methods here.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dnll_core.config import Experiment
from dnll_core.losses import cross_entropy
from dnll_core.methods.base import Batch, NetworkFactory, OneNetwork, Output, forward_each
from dnll_core.schedules import Clock, sigmoid_ramp


class TemporalEnsembling(OneNetwork):
    """One network, one view of each unlabelled image, and a memory.

    Args:
        pool: number of unlabelled images.

    Raises:
        ValueError: if the pool has no image.
    """

    unlabelled_views = ("strong",)

    def __init__(self, build: NetworkFactory, experiment: Experiment, num_classes: int, pool: int):
        super().__init__(build, experiment)
        if pool < 1:
            raise ValueError(
                f"pool={pool}: temporal-ensembling remembers each unlabelled image; say how many there are."
            )
        self.register_buffer("memory", torch.zeros(pool, num_classes))  # Z
        self.register_buffer("updates", torch.zeros(pool))  # t

    def targets(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities (U, K), each row summing to 1, and a mask (U,): 0 for images without a target (rows of 0)."""
        t = self.updates[index]
        correction = 1 - self.experiment.ensemble_decay ** t.clamp(min=1)
        return self.memory[index] / correction[:, None], (t > 0).float()

    def compute(self, batch: Batch, clock: Clock, generator: torch.Generator) -> Output:
        e = self.experiment
        blocks = [[batch.labelled[0], batch.unlabelled[0]]]
        [[labelled, unlabelled]] = forward_each([self.network], blocks, joint=e.shared_bn)
        supervised = cross_entropy(labelled, batch.targets)
        targets, known = self.targets(batch.index)
        distance = (torch.softmax(unlabelled, dim=1) - targets).square().mean(dim=1)  # (U,)
        consistency = (known * distance).mean()
        return Output(
            loss=supervised + e.lam * sigmoid_ramp(clock, e.ramp_epochs) * consistency,
            labelled_logits=[labelled.detach()],
            student_logits=[unlabelled],
            metrics={"supervised": supervised.detach(), "consistency": consistency.detach()},
        )

    @torch.no_grad()
    def after_step(self, batch: Batch, output: Output, clock: Clock) -> None:
        new = torch.softmax(output.student_logits[0].detach(), dim=1)
        self.memory[batch.index] = torch.lerp(self.memory[batch.index], new, 1 - self.experiment.ensemble_decay)
        self.updates[batch.index] = self.updates[batch.index] + 1
