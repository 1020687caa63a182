"""Π + SNTG (Luo et al., CVPR 2018): neighbours of one class close together in the hidden layer, others apart.

loss = that of the Π model + ramp * sntg_weight * mean over pairs of (d^2 if classes agree, else max(0, margin - d)^2)

d^2 is the mean squared difference of two images' last hidden layers in the first evaluation. An image's class is its
label, or the argmax of the second evaluation. Labelled and unlabelled images of the batch are put in random order, and
the first half is paired with the second: half as many pairs as images in the place of all.

Published, CIFAR-10 [its code, xinmei9322/SNTG]: consistency 100, pairs 0.4 of that, margin 1; a ramp over 80 of 300
epochs. There both are multiplied by labelled / all images, as the cross-entropy of a batch of all images is divided by
all of them: in our units the weights are 100 and 40, however many labels there are.

Differs from the original: consistency is on the unlabelled images only, and what `pi_model` says.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dnll_core.losses import cross_entropy
from dnll_core.methods.base import Batch, Output, forward_each, softmax_mse
from dnll_core.methods.pi_model import PiModel
from dnll_core.schedules import Clock, sigmoid_ramp


def pair_loss(hidden: Tensor, classes: Tensor, margin: float) -> Tensor:
    """The contrastive loss of the pairs (i, i + P), mean over pairs; an odd image at the end has no partner.

    Args:
        hidden: (2P, F) features. classes: (2P,) int64. margin: the distance that images of different classes should
            keep, as the root of the mean squared difference.

    Returns:
        0-dim, with a finite gradient where two images coincide.
    """
    pairs = len(hidden) // 2
    first, second = hidden[:pairs], hidden[pairs : 2 * pairs]
    squared = (first - second).square().mean(dim=1)
    # the root has no gradient at 0, and what `where` discards must have one
    apart = torch.where(squared > 0, squared, 1).sqrt() * (squared > 0)
    same = classes[:pairs] == classes[pairs : 2 * pairs]
    return torch.where(same, squared, (margin - apart).clamp(min=0).square()).mean()


class SNTG(PiModel):
    """The Π model with pairs of images; without weight it is the Π model, draw for draw."""

    def compute(self, batch: Batch, clock: Clock, generator: torch.Generator) -> Output:
        e = self.experiment
        if e.sntg_weight == 0:
            return super().compute(batch, clock, generator)
        blocks = [[batch.labelled[0], *batch.unlabelled]]
        [seen] = forward_each([self.network], blocks, joint=e.shared_bn, features=True)
        (labelled, of_labelled), (first, of_first), (second, _) = seen
        supervised, consistency = cross_entropy(labelled, batch.targets), softmax_mse(first, second).mean()
        hidden = torch.cat([of_labelled, of_first])
        classes = torch.cat([batch.targets, second.detach().argmax(1)])
        order = torch.rand(len(hidden), generator=generator, device=hidden.device).argsort()
        pairs = pair_loss(hidden[order], classes[order], e.sntg_margin)
        return Output(
            loss=supervised + sigmoid_ramp(clock, e.ramp_epochs) * (e.lam * consistency + e.sntg_weight * pairs),
            labelled_logits=[labelled.detach()],
            student_logits=[first],
            teacher_logits=[second.detach()],
            metrics={
                "supervised": supervised.detach(),
                "consistency": consistency.detach(),
                "pairs": pairs.detach(),
            },
        )
