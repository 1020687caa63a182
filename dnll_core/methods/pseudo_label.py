"""Pseudo-Label (Lee, ICML workshop 2013, Eqs. 15-16): the network's own predicted class as the label.

loss = cross-entropy + lam * ramp * cross-entropy to the argmax of the same pass

With `threshold` above 0 only predictions of at least this confidence count, as later re-implementations have it; the
mean stays over all unlabelled images of the batch. Differs from the paper: the weight grows by the ramp of all methods
here instead of linearly up to 3, and there is no pre-training by denoising auto-encoders.
"""

from __future__ import annotations

import torch

from dnll_core.losses import cross_entropy, pseudo_label_loss
from dnll_core.methods.base import Batch, OneNetwork, Output, forward_each
from dnll_core.schedules import Clock, sigmoid_ramp


class PseudoLabel(OneNetwork):
    """One network, one view of each unlabelled image."""

    unlabelled_views = ("strong",)
    students = 1

    def compute(self, batch: Batch, clock: Clock, generator: torch.Generator) -> Output:
        e = self.experiment
        blocks = [[batch.labelled[0], batch.unlabelled[0]]]
        [[labelled, unlabelled]] = forward_each([self.network], blocks, joint=e.shared_bn)
        supervised = cross_entropy(labelled, batch.targets)
        pseudo, mask = pseudo_label_loss(unlabelled, unlabelled, e.threshold)  # Eq. 15
        return Output(
            loss=supervised + e.lam * sigmoid_ramp(clock, e.ramp_epochs) * pseudo,  # Eq. 16
            labelled_logits=[labelled.detach()],
            student_logits=[unlabelled],
            teacher_logits=[unlabelled.detach()],
            unused=[1 - mask],
            metrics={"supervised": supervised.detach(), "pseudo": pseudo.detach(), "confident": mask.mean()},
        )
