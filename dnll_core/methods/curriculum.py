"""Learning in rounds: Curriculum Labeling (Cascante-Bonilla et al., AAAI 2021) and DMT (Feng et al., 2022).

loss = s CE(labelled) + lam * ramp * (1 - s) mean(w CE to the stored label),    s = n / (n + kept)

Round 0 learns from the n labelled images. At the start of round r = 1...R the network of the round before labels all
unlabelled images as they are, and the most confident share r / R of them is kept, with these labels, for the round.
Then a new random network learns from them and the labelled ones, with a new optimiser, cosine and ramp. All rounds are
equally long. s is the share that labelled images have where both are drawn from one set, as in the originals.

`CurriculumLabeling` has w = 1. `DMT` weighs by what the network itself says of the image now (`dynamic_weight`), with
gamma = dmt_gamma * exp(-5 (1 - t)^2) over the round; with dmt_gamma = 0 it is Curriculum Labeling.
With `mixup_alpha` above 0, every image of a batch is mixed with another one, by one share for the batch.

Published: Curriculum Labeling [its code, uvavision/Curriculum-Labeling] 5 rounds; WRN-28-2, lr 0.1, batch 512, weight
decay 5e-4; crop, flip, two random operations and Cutout. DMT [its code, voldemortX/DST-CBC] likewise with gamma 4 and
mixup_alpha 0.75, 16 labelled of 512 images. lam is 1 and there is no ramp (`ramp_epochs` 0) in our units.

Differs from the originals: a round's last network labels the next one's images (Curriculum Labeling: the best on 5000
labelled validation images); batches have a fixed number of labelled images, and s in the place of their number; class
weights and averaged weights of Curriculum Labeling are left out (the latter were never evaluated); exactly the share
r / R is kept, the first of equally confident images (there a threshold takes a few more or less); rounds are of equal
length (there they grow with the set); round 0 mixes no images; a ramp, if there is one, takes half a round at most;
DMT's weights come from a pass that leaves batch norm alone.

Host reads: one of `rows` whenever batches are drawn, at each epoch and round; none in an iteration.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnll_core.config import Experiment
from dnll_core.losses import cross_entropy
from dnll_core.methods.base import Batch, NetworkFactory, OneNetwork, Output, forward_each, label_each
from dnll_core.methods.declared import Pool, Stage
from dnll_core.methods.mixmatch import mixup_shares
from dnll_core.schedules import Clock, sigmoid_ramp

NONE = -1  # the label of an image that is not kept


def most_confident(probabilities: Tensor, share: float) -> Tensor:
    """(N, K) -> (N,) bool: the share of the images with the largest maxima, at least one; of equal ones the first."""
    order = probabilities.amax(1).argsort(descending=True, stable=True)
    kept = torch.zeros_like(order, dtype=torch.bool)
    kept[order[: max(1, round(share * len(order)))]] = True
    return kept


def dynamic_weight(logits: Tensor, labels: Tensor, confidence: Tensor, gamma: Tensor | float) -> Tensor:
    """What a stored label is worth to the network that learns from it: (U,), within 0...1, without gradient.

    With q = softmax of `logits` (U, K) now: q_label^gamma, but 0 where another class is predicted, and with more
    than the stored `confidence` (U,) of the label (U,) int64.
    """
    q = torch.softmax(logits.detach(), dim=1)
    largest, predicted = q.max(dim=1)
    of_label = q.gather(1, labels[:, None])[:, 0]
    return torch.where((predicted != labels) & (largest > confidence), 0.0, of_label**gamma)


@torch.no_grad()
def reinitialise_(network: nn.Module, build: NetworkFactory) -> None:
    """Gives the network the weights and statistics of a new one, in place."""
    for mine, new in zip(network.state_dict().values(), build().state_dict().values(), strict=True):
        mine.copy_(new)


class CurriculumLabeling(OneNetwork):
    """One network at a time, one view of each kept image."""

    def __init__(self, build: NetworkFactory, experiment: Experiment, pool: int):
        super().__init__(build, experiment)
        self.build = build
        rounds = [Stage(f"round {r + 1}", field="rounds", restart=True) for r in range(experiment.rounds)]
        self.stages = (Stage("round 0"), *rounds)
        self.register_buffer("labels", torch.full((pool,), NONE))
        self.register_buffer("confidence", torch.zeros(pool))
        self.register_buffer("labelled_share", torch.ones(()))

    @property
    def unlabelled_views(self) -> tuple[str, ...]:
        return ("strong",) if self.stage > 0 else ()

    def at_stage(self, pool: Pool, generator: torch.Generator) -> None:
        if self.stage == 0:
            return
        probabilities = torch.softmax(pool.look(self.network, pool.unlabelled), dim=1)
        confidence, labels = probabilities.max(dim=1)
        kept = most_confident(probabilities, self.stage / self.experiment.rounds)
        self.labels.copy_(torch.where(kept, labels, NONE))
        self.confidence.copy_(confidence)
        n = len(pool.labelled)
        self.labelled_share.copy_(n / (n + kept.sum()))
        reinitialise_(self.network, self.build)

    def rows(self) -> Tensor | None:
        kept = (self.labels != NONE).nonzero()[:, 0]
        return kept if len(kept) else None

    def weights(self, batch: Batch, clock: Clock) -> Tensor:
        """(U,), of the stored labels."""
        return torch.ones_like(self.confidence[batch.index])

    def compute(self, batch: Batch, clock: Clock, generator: torch.Generator) -> Output:
        e, x, y = self.experiment, batch.labelled[0], batch.targets
        if self.stage == 0:
            [[logits]] = forward_each([self.network], [[x]], joint=False)
            loss = cross_entropy(logits, y)
            return Output(loss, [logits.detach()], metrics={"supervised": loss.detach()})
        [u], labels = batch.unlabelled, self.labels[batch.index].clamp(min=0)
        weights = self.weights(batch, clock)
        # each image's part in the loss: labelled ones s in all, the others 1 - s, times their weight
        own = torch.cat([self.labelled_share.expand(len(x)) / len(x), (1 - self.labelled_share) * weights / len(u)])
        images, targets, blocks = torch.cat([x, u]), torch.cat([y, labels]), [len(x), len(u)]
        partner, share = None, 1.0
        if e.mixup_alpha > 0:
            share = mixup_shares(1, e.mixup_alpha, generator)  # (1,)
            partner = torch.rand(len(images), generator=generator, device=images.device).argsort()
            images = torch.lerp(images[partner], images, share.view(1, 1, 1, 1))
        [outputs] = forward_each([self.network], [images.split(blocks)], joint=e.shared_bn)
        logits = torch.cat(outputs)
        errors = F.cross_entropy(logits, targets, reduction="none")
        if partner is not None:
            other = F.cross_entropy(logits, targets[partner], reduction="none")
            errors, own = torch.lerp(other, errors, share), torch.lerp(own[partner], own, share)
        parts = (own * errors).split(blocks)
        half = (clock.stage_steps or clock.total_steps) / clock.steps_per_epoch / 2
        ramp = sigmoid_ramp(clock, min(e.ramp_epochs, half))  # a short round must not end before its ramp
        return Output(
            loss=parts[0].sum() + e.lam * ramp * parts[1].sum(),
            labelled_logits=[outputs[0].detach()],
            teacher_logits=[F.one_hot(labels, logits.shape[1]).float()],  # what was passed on
            metrics={
                "supervised": parts[0].sum().detach(),
                "pseudo": parts[1].sum().detach(),
                "weight": weights.mean(),
            },
        )


class DMT(CurriculumLabeling):
    """Curriculum Labeling with weights that the learning network gives the labels of the one before."""

    def weights(self, batch: Batch, clock: Clock) -> Tensor:
        if self.experiment.dmt_gamma == 0:
            return super().weights(batch, clock)
        [logits] = label_each([self.network], batch.unlabelled[0], self.experiment.label_mode, False)
        gamma = self.experiment.dmt_gamma * torch.exp(-5 * (1 - clock.progress) ** 2)
        index = batch.index
        return dynamic_weight(logits, self.labels[index].clamp(min=0), self.confidence[index], gamma)
