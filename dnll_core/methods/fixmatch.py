"""FixMatch (Sohn et al., NeurIPS 2020, Eqs. 3-4 and Algorithm 1): confident classes of weak views, for strong ones.

loss = cross-entropy + lam * ramp * [confidence of the weak view >= threshold] * cross-entropy of the strong view to it

`strong` decides what is run: with the experiment's own it is FixMatch on the augmentation of all methods here;
"crop+flip+randaugment+cutout" is the published one (`ramp_epochs=0` the published weight). As in the authors' code
labelled, weak and strong images go through the network together, and the pseudo-label comes from that very pass.

Differs from the paper: optimiser and schedule are those of all methods here, weight decay is on all weights, and the
weights are averaged for evaluation only if `ema_decay` says so (there with 0.999). The ratio of unlabelled to labelled
images (there 7) is set by the experiment's batches, and only `include_labelled` has the labelled images among the
unlabelled ones (there always).
"""

from __future__ import annotations

import torch

from dnll_core.losses import cross_entropy, pseudo_label_loss
from dnll_core.methods.base import Batch, OneNetwork, Output, forward_each
from dnll_core.schedules import Clock, sigmoid_ramp


class FixMatch(OneNetwork):
    """One network, a weak and a strong view of each unlabelled image."""

    unlabelled_views = ("weak", "strong")
    students = 1

    def compute(self, batch: Batch, clock: Clock, generator: torch.Generator) -> Output:
        e = self.experiment
        blocks = [[batch.labelled[0], *batch.unlabelled]]
        [[labelled, weak, strong]] = forward_each([self.network], blocks, joint=e.shared_bn)
        weak = weak.detach()
        supervised = cross_entropy(labelled, batch.targets)  # Eq. 3
        pseudo, mask = pseudo_label_loss(strong, weak, e.fixmatch_threshold)  # Eq. 4, over all U images
        return Output(
            loss=supervised + e.lam * sigmoid_ramp(clock, e.ramp_epochs) * pseudo,
            labelled_logits=[labelled.detach()],
            student_logits=[strong],
            teacher_logits=[weak],
            unused=[1 - mask],
            metrics={"supervised": supervised.detach(), "pseudo": pseudo.detach(), "confident": mask.mean()},
        )
