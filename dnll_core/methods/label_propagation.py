"""Label propagation (Iscen et al., CVPR 2019): pseudo-labels that spread along a graph of the images' features.

loss = cross-entropy + lam * ramp * mean(zeta_y w cross-entropy to the label y that arrived)

The first share `lp_start` of the iterations learns as the base does: from labelled images alone, or as Mean Teacher.
Then, every `lp_every` epochs, all images get descriptors v, the network's last hidden layer at unit length.
Each is joined to its `lp_neighbours` nearest with max(0, v_i . v_j)^lp_gamma, and (I - lp_alpha S) Z = Y is solved. Of
an image's row of Z, y is the largest class, and w its certainty, 1 - H / log K, divided by that of the surest of them.
zeta_c = (images / K) / (images of class c) counts labelled and pseudo-labelled images together.

Published, CIFAR-10 [its code, ahmetius/LP-DeepSSL]: 50 neighbours, gamma 3, alpha 0.99; 50 + 50 images; lr 0.05, weight
decay 2e-4; 180 epochs of the base, 180 of propagation, labels every epoch. lam is 1 and there is no ramp in our units.

Differs from the original: similarities below 0 are cut off, as the paper has it (its code does not, and degrees can
turn negative); images are described without augmentation; the surest image is one of the unlabelled (from memory, there
of all); zeta weighs pseudo-labels alone; labelled and unlabelled images have a mean each (there one over both: half of
our loss at equal halves); the network's own features are not normalised; and with Mean Teacher there is one head, the
student describes, and the teacher's average starts anew in the second stage, from the student (there from random
weights).

Host reads: none in an iteration or in these hooks; torch's sparse products may make some on CUDA.
"""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnll_core.config import Experiment
from dnll_core.losses import cross_entropy
from dnll_core.methods.base import Batch, Method, NetworkFactory, OneNetwork, Output, forward_each
from dnll_core.methods.declared import Pool, Stage
from dnll_core.methods.mean_teacher import MeanTeacher
from dnll_core.methods.neighbours import certainty, neighbours, propagate, unit_rows
from dnll_core.schedules import Clock, sigmoid_ramp


class SpreadLabels(nn.Module):
    """A label and its weight for each unlabelled image, and a weight for each class; all weights are 0 at first."""

    def __init__(self, experiment: Experiment, num_classes: int, pool: int):
        super().__init__()
        self.experiment = experiment
        self.register_buffer("labels", torch.zeros(pool, dtype=torch.int64))
        self.register_buffer("weights", torch.zeros(pool))
        self.register_buffer("class_weights", torch.ones(num_classes))

    def renew(self, network: nn.Module, pool: Pool) -> None:
        """Spreads the labels anew, along the features that the network has now."""
        e, k = self.experiment, len(self.class_weights)
        seen = [pool.look(network, images, forward=network.features) for images in (pool.labelled, pool.unlabelled)]
        features = unit_rows(torch.cat(seen))
        indices, similarity = neighbours(features, min(e.lp_neighbours, len(features) - 1))
        scores = propagate(indices, similarity.clamp(min=0) ** e.lp_gamma, pool.targets, k, e.lp_alpha)
        scores = scores[len(pool.labelled) :]  # of the unlabelled images
        weights = certainty(scores)
        self.labels.copy_(scores.argmax(1))
        self.weights.copy_(weights / weights.amax().clamp(min=1e-12))
        classes = torch.cat([pool.targets, self.labels])
        counts = torch.zeros_like(self.class_weights).index_add_(0, classes, torch.ones_like(features[:, 0]))
        self.class_weights.copy_(len(classes) / k / counts.clamp(min=1))

    def loss(self, logits: Tensor, index: Tensor) -> Tensor:
        """Weighted cross-entropy of (U, K) logits of the images at `index` (U,) to their labels, mean over U."""
        labels = self.labels[index]
        weights = self.weights[index] * self.class_weights[labels]
        return (weights * F.cross_entropy(logits, labels, reduction="none")).mean()

    def add_to(self, output: Output, logits: Tensor, index: Tensor, clock: Clock) -> Output:
        """The output of a base with what these labels teach."""
        spread = self.loss(logits, index)
        output.loss = output.loss + self.experiment.lam * sigmoid_ramp(clock, self.experiment.ramp_epochs) * spread
        output.metrics |= {"spread": spread.detach(), "certainty": self.weights[index].mean()}
        return output


class Spreads(Method):
    """Mixed into a base: its stage, unless that has no share, then one in which labels spread.

    Attributes:
        describer: name of the network whose features are the graph's.
        keeper: what makes the labels and remembers them.
    """

    describer: str
    keeper = SpreadLabels

    def __init__(self, build: NetworkFactory, experiment: Experiment, num_classes: int, pool: int):
        super().__init__(build, experiment)
        start = experiment.lp_start
        self.stages = (*[Stage("base", start, "lp_start")] * (start > 0), Stage("spread labels", 1 - start))
        self.spread = self.keeper(experiment, num_classes, pool)

    @property
    def spreads(self) -> bool:
        """Whether the last stage is under way."""
        return self.stage == len(self.stages) - 1

    def at_stage(self, pool: Pool, generator: torch.Generator) -> None:
        if self.spreads:
            self.spread.renew(getattr(self, self.describer), pool)

    def at_epoch(self, pool: Pool, epoch: int, generator: torch.Generator) -> None:
        if epoch % self.experiment.lp_every == 0:
            self.at_stage(pool, generator)


class LabelPropagation(Spreads, OneNetwork):
    """One network, one view of each unlabelled image, a graph of all of them."""

    describer = "network"

    @property
    def unlabelled_views(self) -> tuple[str, ...]:
        return ("strong",) if self.spreads else ()

    def compute(self, batch: Batch, clock: Clock, generator: torch.Generator) -> Output:
        blocks = [[batch.labelled[0], *batch.unlabelled]]
        [[labelled, *rest]] = forward_each([self.network], blocks, joint=self.experiment.shared_bn)
        supervised = cross_entropy(labelled, batch.targets)
        output = Output(supervised, [labelled.detach()], metrics={"supervised": supervised.detach()})
        if not self.spreads:
            return output
        labels = self.spread.labels[batch.index]
        output.teacher_logits = [F.one_hot(labels, labelled.shape[1]).float()]  # what was passed on
        return self.spread.add_to(output, rest[0], batch.index, clock)


class MeanTeacherPropagation(Spreads, MeanTeacher):
    """Mean Teacher, whose student also learns from spread labels; consistency goes on beside them."""

    describer = "student"

    def compute(self, batch: Batch, clock: Clock, generator: torch.Generator) -> Output:
        output = super().compute(batch, clock, generator)
        return self.spread.add_to(output, output.student_logits[0], batch.index, clock) if self.spreads else output

    def after_step(self, batch: Batch, output: Output, clock: Clock) -> None:
        super().after_step(batch, output, dataclasses.replace(clock, step=clock.since))  # a short average at first
