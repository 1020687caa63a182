"""TSSDL and TSSDL-MT (Shi et al., ECCV 2018), our reading: pseudo-labels weighed by how crowded their place is.

loss = cross-entropy + ramp * (lam * mean(r cross-entropy to the pseudo-label) + sntg_weight * min-max)
       + consistency_scale * its own ramp * consistency
min-max = mean over pairs of r_i r_j (d^2 if labels agree, else max(0, sntg_margin^2 - d^2))

Consistency is that of the Π model, or of Mean Teacher. The first share `lp_start` of the iterations has it alone. Then
both ramps, of `ramp_epochs` and `consistency_ramp_epochs`, and the cosine of the rate begin anew, and every `lp_every`
epochs the network labels the unlabelled images and describes all, by its last hidden layer. With D the sum of an
unlabelled image's squared distances to its `lp_neighbours` nearest, r = 1 - D / (largest of them); labelled images have
r = 1. d^2 is the mean squared difference of two last hidden layers in the batch, as in `sntg`.

No code was published, and the paper could not be read. Our reading:
- known, from others who quote it: hard pseudo-labels that are renewed, weights from distances to neighbours, clusters
  that are compact and apart ("min-max feature"), consistency; that only TSSDL-MT has a teacher is from memory;
- from an implementation by others, and memory: the formulas of r and of min-max, the hinge on the squared distance with
  1 as its margin; there neighbours are 10 of the batch;
- guesses: neighbours among all images, once an epoch; which layer, as it is; images described as they are; labels for
  the first view alone; means over labelled images, unlabelled ones, pairs and features; every weight and ramp; the
  start without pseudo-labels, and that all begins anew after it. Fields that are shared keep the defaults published for
  the methods they name.

One image far out sends all other r to about 1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dnll_core.losses import cross_entropy
from dnll_core.memory import check_room
from dnll_core.methods.base import Batch, Output, forward_each, softmax_mse
from dnll_core.methods.declared import Pool
from dnll_core.methods.label_propagation import SpreadLabels, Spreads
from dnll_core.methods.mean_teacher import MeanTeacher
from dnll_core.methods.neighbours import distance_to_neighbours
from dnll_core.methods.pi_model import PiModel
from dnll_core.schedules import Clock, sigmoid_ramp

# logits and hidden layers of labelled images, those of unlabelled ones, and logits (U, K)
Seen = tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor], Tensor]


def min_max_loss(hidden: Tensor, classes: Tensor, weights: Tensor, margin: float) -> Tensor:
    """Mean over the N (N - 1) pairs of two images of w_i w_j (d^2 if classes agree, else max(0, margin^2 - d^2)).

    Args:
        hidden: (N, F) features, N from 2. classes: (N,) int64. weights: (N,). margin: as in `sntg.pair_loss`.

    Returns:
        0-dim.
    """
    hidden = hidden - hidden.mean(0).detach()  # distances stay what they are, and round less
    with torch.autocast(hidden.device.type, enabled=False):
        products = hidden @ hidden.T
    squares = products.diagonal()
    apart = (squares[:, None] + squares - 2 * products) / hidden.shape[1]  # (N, N); 0 of an image to itself
    pairs = torch.where(classes[:, None] == classes, apart, (margin * margin - apart).clamp(min=0))
    return (weights[:, None] * weights * pairs).sum() / (len(hidden) * (len(hidden) - 1))


class CrowdedLabels(SpreadLabels):
    """The network's own class for each unlabelled image, and r for its weight; all classes weigh the same."""

    def renew(self, network: nn.Module, pool: Pool) -> None:
        """Labels and weighs the images by what the network makes of them now."""
        seen = [pool.look(network, images, forward=network.features) for images in (pool.labelled, pool.unlabelled)]
        features = torch.cat(seen)
        distance = distance_to_neighbours(features, min(self.experiment.lp_neighbours, len(features) - 1))
        distance = distance[len(pool.labelled) :]
        self.labels.copy_(network.heads[0](seen[1]).argmax(1))
        self.weights.copy_(1 - distance / distance.amax().clamp(min=1e-30))


class Crowded(Spreads):
    """Mixed into a base of consistency: what both variants are."""

    keeper = CrowdedLabels

    def at_stage(self, pool: Pool, generator: torch.Generator) -> None:
        x, u = self.experiment.labelled_batch, self.experiment.unlabelled_batch
        told = f"labelled_batch={x}, unlabelled_batch={u}: distances of all pairs of a batch"
        check_room(4 * (x + u) ** 2, told, pool.targets.device)
        super().at_stage(pool, generator)

    def look_at(self, x: Tensor, view: Tensor, other: Tensor) -> Seen:
        """Labelled images, unlabelled ones, and what these should agree with, of their other view."""
        raise NotImplementedError

    def compute(self, batch: Batch, clock: Clock, generator: torch.Generator) -> Output:
        e = self.experiment
        (labelled, of_labelled), (logits, hidden), target = self.look_at(batch.labelled[0], *batch.unlabelled)
        supervised, consistency = cross_entropy(labelled, batch.targets), softmax_mse(logits, target).mean()
        output = Output(
            loss=supervised + e.consistency_scale * sigmoid_ramp(clock, e.consistency_ramp_epochs) * consistency,
            labelled_logits=[labelled.detach()],
            student_logits=[logits],
            teacher_logits=[target.detach()],
            metrics={"supervised": supervised.detach(), "consistency": consistency.detach()},
        )
        if not self.spreads:
            return output
        classes = torch.cat([batch.targets, self.spread.labels[batch.index]])
        weights = torch.cat([torch.ones_like(of_labelled[:, 0]), self.spread.weights[batch.index]])
        pairs = min_max_loss(torch.cat([of_labelled, hidden]), classes, weights, e.sntg_margin)
        output.loss = output.loss + e.sntg_weight * sigmoid_ramp(clock, e.ramp_epochs) * pairs
        output.metrics["pairs"] = pairs.detach()
        return self.spread.add_to(output, logits, batch.index, clock)


class TSSDL(Crowded, PiModel):
    """One network, two views of each unlabelled image."""

    describer = "network"

    def look_at(self, x: Tensor, view: Tensor, other: Tensor) -> Seen:
        blocks, shared = [x, view, other], self.experiment.shared_bn
        [(labelled, unlabelled, (target, _))] = forward_each([self.network], [blocks], joint=shared, features=True)
        return labelled, unlabelled, target


class MeanTeacherTSSDL(Crowded, MeanTeacher):
    """TSSDL-MT: the student has the pseudo-labels, and agrees with its teacher."""

    describer = "student"

    def look_at(self, x: Tensor, view: Tensor, other: Tensor) -> Seen:
        target, shared = self.teach([other]), self.experiment.shared_bn
        [(labelled, unlabelled)] = forward_each([self.student], [[x, view]], joint=shared, features=True)
        return labelled, unlabelled, target
