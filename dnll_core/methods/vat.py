"""Virtual Adversarial Training (Miyato et al., TPAMI 2018, Eqs. 5-11 and Algorithm 1): smooth where it changes most.

    loss = cross-entropy + lam * ramp * (KL(p(x) || p(x + r)) + vat_entropy * H(p(x))),    r = vat_eps * d / |d|

d is the direction, of one length for each image, in which p changes most: random at first, then `vat_iterations` times
the gradient of KL(p(x) || p(x + vat_xi * d)) (power iteration). p(x) carries no gradient in the KL.

Differs from the paper: the loss is on the unlabelled images only (`include_labelled` adds the labelled ones to them)
and has a ramp; the search for d leaves dropout out, since two passes with other masks differ more by the masks than by
vat_xi * d; and it runs in float32 whatever the precision of the run, where so small a step would be rounded away.
Batch norm uses the batch's statistics in all passes, beside the same labelled images under `shared_bn`, so that the
perturbation is all that differs; only the plain pass moves the running statistics, with labelled and unlabelled images
(in code of this lineage, such as TNAR's, with labelled ones alone).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dnll_core.losses import cross_entropy, entropy
from dnll_core.methods.base import Batch, OneNetwork, Output, forward_each
from dnll_core.methods.modes import frozen_statistics, without_dropout
from dnll_core.schedules import Clock, sigmoid_ramp


class VAT(OneNetwork):
    """One network, one view of each unlabelled image."""

    unlabelled_views = ("strong",)
    students = 1

    def search(
        self, x: Tensor, u: Tensor, d: Tensor, move: Callable[[Tensor], Tensor], improve: Callable = lambda g, d: g
    ) -> Tensor:
        """Power iteration: a direction of unit length for each image of u, without gradient (Eqs. 9-11).

        Args:
            x, u: labelled (B, C, H, W) and unlabelled (U, C, H, W) images; x is there for its part in batch norm.
            d: (U, ...), where it begins.
            move: of a d of unit length, what is added to the images: (U, C, H, W).
            improve: of the gradient of KL(p(u) || p(u + move(d))) with respect to d, and of d, the next d.
        """
        e = self.experiment
        exact = torch.autocast(u.device.type, enabled=False)
        with exact, frozen_statistics(self.network), without_dropout(self.network):
            with torch.no_grad():
                [[_, plain]] = forward_each([self.network], [[x, u]], joint=e.shared_bn)
            for _ in range(e.vat_iterations):
                d = unit(d).requires_grad_()
                [[_, moved]] = forward_each([self.network], [[x, u + move(d)]], joint=e.shared_bn)
                [g] = torch.autograd.grad(kl(plain, moved).sum(), [d])  # to d alone: weights get no gradient from this
                d = improve(g, d.detach())
        return unit(d)

    def direction(self, x: Tensor, u: Tensor, generator: torch.Generator, improve: Callable = lambda g, d: g) -> Tensor:
        """d of unit length for each image of u, (U, C, H, W), without gradient; arguments as in `search`."""
        d = torch.randn(u.shape, generator=generator, device=u.device)
        return self.search(x, u, d, lambda d: self.experiment.vat_xi * d, improve)

    def perturbations(self, x: Tensor, u: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """What is added to the images u for each smoothness that is asked for, by its name in the record."""
        eps = self.experiment.vat_eps
        return {"smoothness": eps * self.direction(x, u, generator)} if eps > 0 else {}

    def compute(self, batch: Batch, clock: Clock, generator: torch.Generator) -> Output:
        e = self.experiment
        [x], [u] = batch.labelled, batch.unlabelled
        [[labelled, plain]] = forward_each([self.network], [[x, u]], joint=e.shared_bn)
        terms = {}
        for name, r in self.perturbations(x, u, generator).items():
            with frozen_statistics(self.network):
                [[_, moved]] = forward_each([self.network], [[x, u + r]], joint=e.shared_bn)
            terms[name] = kl(plain.detach(), moved).mean()
        supervised = cross_entropy(labelled, batch.targets)
        unsure = entropy(plain).mean()
        unsupervised = sum(terms.values()) + e.vat_entropy * unsure
        return Output(
            loss=supervised + e.lam * sigmoid_ramp(clock, e.ramp_epochs) * unsupervised,
            labelled_logits=[labelled.detach()],
            student_logits=[plain],
            teacher_logits=[plain.detach()],
            metrics={name: term.detach() for name, term in ({"supervised": supervised} | terms).items()}
            | {"entropy": unsure.detach()},
        )


def kl(logits: Tensor, others: Tensor) -> Tensor:
    """KL(softmax(logits) || softmax(others)): (B, K) and (B, K) -> (B,)."""
    log_p, log_q = torch.log_softmax(logits, dim=1), torch.log_softmax(others, dim=1)
    return (log_p.exp() * (log_p - log_q)).sum(dim=1)


def unit(d: Tensor) -> Tensor:
    """Each image's d divided by its length; 0 stays 0. (B, ...) -> the same."""
    each = tuple(range(1, d.dim()))
    # gradients on confident images are so small that their squares would be rounded to 0
    d = d / d.abs().amax(dim=each, keepdim=True).clamp(min=1e-30)
    return d / torch.linalg.vector_norm(d, dim=each, keepdim=True).clamp(min=1e-12)
