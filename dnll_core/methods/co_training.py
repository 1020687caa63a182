"""Deep Co-Training (Qiao et al., ECCV 2018, Eqs. 1-8): two networks agree, and are kept from becoming the same.

loss = CE_1 + CE_2 + ramp * (cot_scale * JS(p_1, p_2) + dif_scale * DIF)
DIF  = mean of H(p_2(x), p_1(g_2(x))) + mean of H(p_1(x), p_2(g_1(x)))

The networks learn from different labelled images, a half of the batch each, and share the unlabelled ones. On these, JS
is the Jensen-Shannon divergence H((p_1 + p_2) / 2) - (H(p_1) + H(p_2)) / 2. g_v(x) = x + adversarial_eps * sign of the
gradient of network v's cross-entropy, to the label or, without one, to its own prediction: what deceives one network
must not deceive the other. DIF is on the images of network v, labelled and unlabelled.

Published, CIFAR-10, two networks: cot_scale 10, dif_scale 0.5, both with a ramp over 80 of 600 epochs; 8 + 92 images,
in the ratio of all; lr 0.1, weight decay 1e-4; translation and flip; an epsilon of 0.02 for pixels from 0 to 1, about
0.08 of the normalised ones that adversarial_eps counts in.

Differs from the original (nearest: the unofficial code AlanChou/Deep-Co-Training-..., two of whose settings its authors
gave): half a labelled batch for each network (there a batch of its own); batch norm of the passes on
adversarial images uses their own statistics and leaves the running ones alone (there it moves them); SGD has Nesterov's
momentum. As there, adversarial images are made in evaluation mode, and the predictions of clean ones carry gradient.
"""

from __future__ import annotations

import contextlib

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnll_core.losses import cross_entropy
from dnll_core.methods.base import Batch, Output, TwoNetworks, forward_each
from dnll_core.methods.modes import evaluating, frozen_statistics
from dnll_core.schedules import Clock, sigmoid_ramp


def entropy(p: Tensor) -> Tensor:
    """H of each row: (U, K) -> (U,). Its gradient is finite at probabilities of 0, too."""
    return -(p * p.clamp(min=1e-30).log()).sum(dim=1)


def jensen_shannon(logits: Tensor, others: Tensor) -> Tensor:
    """(U, K) and (U, K) -> (U,), from 0 to log 2, without a negative rounding error of note."""
    p, q = torch.softmax(logits, dim=1), torch.softmax(others, dim=1)
    return entropy((p + q) / 2) - (entropy(p) + entropy(q)) / 2


def soft_cross_entropy(targets: Tensor, logits: Tensor) -> Tensor:
    """H(p, q), both softmaxes of (B, K) logits, targets first: (B,)."""
    return -(torch.softmax(targets, dim=1) * torch.log_softmax(logits, dim=1)).sum(dim=1)


def gradient_sign(network: nn.Module, x: Tensor, labels: Tensor, eps: float) -> Tensor:
    """x + eps * sign of the gradient of the cross-entropy to `labels` (B,): (B, C, H, W), without gradient.

    In evaluation mode and float32, whatever the run's: the sign of a small number is lost before the number is.
    """
    x = x.detach().requires_grad_()
    with evaluating(network), torch.autocast(x.device.type, enabled=False):
        [[logits]] = forward_each([network], [[x]], joint=False)
        [gradient] = torch.autograd.grad(F.cross_entropy(logits, labels, reduction="sum"), [x])
    return (x + eps * gradient.sign()).detach()


class CoTraining(TwoNetworks):
    """Two networks, one view of each image. With negatives as an add-on, each learns from the other's predictions."""

    labelled_views = ("weak",)
    unlabelled_views = ("strong",)

    def compute(self, batch: Batch, clock: Clock, generator: torch.Generator) -> Output:
        e, [u] = self.experiment, batch.unlabelled
        images, targets = batch.labelled[0].tensor_split(2), batch.targets.tensor_split(2)
        own = forward_each(self.submodels, [[x, u] for x in images], joint=e.shared_bn)
        supervised = sum(cross_entropy(labelled, y) for (labelled, _), y in zip(own, targets, strict=True))
        unlabelled = [logits for _, logits in own]
        agreement = jensen_shannon(*unlabelled).mean()
        attacks = []
        for network, x, y, logits in zip(self.submodels, images, targets, unlabelled, strict=True):
            labels = torch.cat([y, logits.detach().argmax(1)])
            attacks.append(gradient_sign(network, torch.cat([x, u]), labels, e.adversarial_eps))
        with contextlib.ExitStack() as stack:
            for network in self.submodels:
                stack.enter_context(frozen_statistics(network))
            resisting = forward_each(self.submodels, [[attack] for attack in attacks[::-1]], joint=True)
        difference = sum(
            soft_cross_entropy(torch.cat(clean), logits).mean() for clean, [logits] in zip(own[::-1], resisting)
        )
        ramp = sigmoid_ramp(clock, e.ramp_epochs)
        return Output(
            loss=supervised + ramp * (e.cot_scale * agreement + e.dif_scale * difference),
            labelled_logits=[labelled.detach() for labelled, _ in own],
            labelled_targets=list(targets),
            student_logits=unlabelled,
            teacher_logits=[logits.detach() for logits in unlabelled],
            metrics={
                "supervised": supervised.detach() / 2,
                "divergence": agreement.detach(),
                "difference": difference.detach() / 2,
            },
        )
