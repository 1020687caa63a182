"""The Π model (Laine & Aila, ICLR 2017, Algorithm 1): two noisy evaluations of an image should agree.

loss = cross-entropy + lam * ramp * MSE(softmax on one view, softmax on the other)

Both evaluations carry gradient, as in the paper. Dropout and the two draws of the augmentation make them differ.

Published: a weight of 100 * labels / images, beside a cross-entropy that is summed over the labelled images of a batch
of all images and divided by its whole size. Beside our mean over labelled images that is lam = 100, however many there
are.

Differs from the paper: consistency is on the unlabelled images only (`include_labelled` adds the labelled ones to
them), the two evaluations are flipped independently (there alike), the ramp starts at exp(-5) (there the weight is 0 in
the first epoch), and the optimiser and schedule are those of all methods here.
"""

from __future__ import annotations

import torch

from dnll_core.config import Experiment
from dnll_core.losses import cross_entropy
from dnll_core.methods.base import Batch, NetworkFactory, OneNetwork, Output, forward_each, softmax_mse
from dnll_core.schedules import Clock, sigmoid_ramp


class PiModel(OneNetwork):
    """One network, two views of each unlabelled image."""

    students = 1

    def __init__(self, build: NetworkFactory, experiment: Experiment):
        super().__init__(build, experiment)
        self.unlabelled_views = ("strong", experiment.consistency_view)

    def compute(self, batch: Batch, clock: Clock, generator: torch.Generator) -> Output:
        e = self.experiment
        blocks = [[batch.labelled[0], *batch.unlabelled]]
        [[labelled, first, second]] = forward_each([self.network], blocks, joint=e.shared_bn)
        supervised = cross_entropy(labelled, batch.targets)
        consistency = softmax_mse(first, second).mean()
        return Output(
            loss=supervised + e.lam * sigmoid_ramp(clock, e.ramp_epochs) * consistency,
            labelled_logits=[labelled.detach()],
            student_logits=[first],
            teacher_logits=[second.detach()],
            metrics={"supervised": supervised.detach(), "consistency": consistency.detach()},
        )
