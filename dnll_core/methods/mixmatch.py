"""MixMatch (Berthelot et al., NeurIPS 2019, Algorithm 1 and Eqs. 2-11): guessed labels, sharpened, and mixup.

loss = cross-entropy on mixed labelled images + lam * ramp * MSE(softmax, guessed labels) on mixed unlabelled ones

Two weak views of each unlabelled image share one guess: the mean of the softmaxes on both, sharpened with temperature
`sharpening`. Every labelled image and every view is mixed with a random one of all of them, with its own share
max(b, 1 - b), b from Beta(mixup_alpha, mixup_alpha): more than half stays, so each keeps its place in the loss.

Differs from the paper: the weight grows by the ramp of all methods here (there linearly, up to 75 on CIFAR-10), and the
weights are averaged for evaluation only if `ema_decay` says so (there with 0.999). Optimiser and schedule are those of
all methods here (there Adam at 0.002, and a weight decay of 0.02 that, from memory, is apart from the gradient). Only
`include_labelled` has the labelled images among the unlabelled ones (there always). Under `shared_bn` the three mixed
blocks share batch norm (there, from memory, they are interleaved and pass one by one, and the first alone moves the
running statistics). An add-on has nothing to hold on to, as no unmixed unlabelled image is predicted with gradient.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dnll_core.methods.base import Batch, OneNetwork, Output, forward_each, label_blocks
from dnll_core.schedules import Clock, sigmoid_ramp


def sharpen(p: Tensor, temperature: float) -> Tensor:
    """p^(1/T), each row divided by its sum (Eq. 7): (B, K) -> (B, K)."""
    return torch.softmax(p.log() / temperature, dim=1)  # powers themselves would underflow at small T


def mixup_shares(n: int, alpha: float, generator: torch.Generator) -> Tensor:
    """The share that each of n images keeps (Eqs. 8-9): (n,) in 0.5...1, max(b, 1 - b) with b from Beta(a, a)."""
    # a Beta variable is the share of one of two Gamma variables in their sum
    shape = torch.full((2, n), alpha, device=generator.device)
    first, second = torch._standard_gamma(shape, generator=generator).clamp(min=1e-30)
    b = first / (first + second)
    return torch.maximum(b, 1 - b)


class MixMatch(OneNetwork):
    """One network, two weak views of each unlabelled image."""

    unlabelled_views = ("weak", "weak")

    def guess(self, views: tuple[Tensor, ...]) -> Tensor:
        """Labels (U, K) for the views of unlabelled images, each (U, C, H, W), without gradient (Eqs. 6-7)."""
        e = self.experiment
        [logits] = label_blocks([self.network], [views], e.shared_bn, e.label_mode, e.label_updates_bn)
        return sharpen(sum(torch.softmax(view, dim=1) for view in logits) / len(logits), e.sharpening)

    def mix(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Each of (N, C, H, W) and (N, K) with a random other one (Eqs. 8-11)."""
        share = mixup_shares(len(images), self.experiment.mixup_alpha, generator)  # (N,)
        partner = torch.rand(len(images), generator=generator, device=images.device).argsort()
        mixed = torch.lerp(images[partner], images, share.view(-1, 1, 1, 1))
        return mixed, torch.lerp(labels[partner], labels, share.view(-1, 1))

    def compute(self, batch: Batch, clock: Clock, generator: torch.Generator) -> Output:
        e = self.experiment
        guess = self.guess(batch.unlabelled)
        one_hot = torch.zeros(len(batch.targets), guess.shape[1], device=guess.device)
        one_hot.scatter_(1, batch.targets[:, None], 1.0)
        images, labels = torch.cat([batch.labelled[0], *batch.unlabelled]), torch.cat([one_hot, guess, guess])
        images, labels = self.mix(images, labels, generator)
        sizes = [len(one_hot), len(guess), len(guess)]
        [outputs] = forward_each([self.network], [images.split(sizes)], joint=e.shared_bn)
        supervised = F.cross_entropy(outputs[0], labels[: sizes[0]])  # Eq. 3
        distances = torch.softmax(torch.cat(outputs[1:]), dim=1) - labels[sizes[0] :]
        unsupervised = distances.square().mean()  # Eq. 4
        return Output(
            loss=supervised + e.lam * sigmoid_ramp(clock, e.ramp_epochs) * unsupervised,  # Eq. 5
            labelled_logits=[outputs[0].detach()],
            metrics={"supervised": supervised.detach(), "guess": unsupervised.detach()},
        )
