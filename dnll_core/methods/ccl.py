"""Certainty-driven consistency (Li, Liu & Tan, arXiv 1901.05657), our reading: learn from what a teacher is sure of.

loss = cross-entropy + consistency_scale * ramp * mean(MSE(softmax of the student / heat, q of the same heat))

The teacher of Mean Teacher sees `ccl_passes` views of each image, and q is the mean of its softmaxes. U = H(q) / log K
is how uncertain a target is.

Filtering CCL keeps the share 1 - ccl_strength (1 - t) of a batch with the least U, t the finished share of the run; the
mean is over these. Temperature CCL keeps all images, at a heat of 1 + ccl_strength U: uncertain ones are flattened on
both sides, which makes their gradient smaller, unless the student is very sure. Elsewhere the heat is 1, and without
strength both are Mean Teacher with a mean for its target.

No code was published, and the paper could not be read; its title and method changed over seven versions. Our reading:
- known, from abstracts: Mean Teacher; variance or entropy of several of the teacher's predictions under augmentation
  and dropout; uncertain targets are left out, or get less attention;
- from memory: a filter by rank within the batch, a share of kept images that grows, a heat that grows with uncertainty;
- guesses: entropy, since a variance says nothing where passes do not differ (no dropout and no noise), and since the
  nearest public code, UA-MT of medical images, has it; the number of passes (there 8), both schedules, every weight.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dnll_core.config import Experiment
from dnll_core.methods.base import Batch, NetworkFactory, Output, label_blocks, softmax_mse
from dnll_core.methods.mean_teacher import MeanTeacher
from dnll_core.methods.neighbours import certainty
from dnll_core.schedules import Clock


def uncertainty(logits: Tensor) -> Tensor:
    """Entropy of each row's softmax as a share of the largest there is: (U, K) -> (U,), within 0...1."""
    return 1 - certainty(torch.softmax(logits, dim=1))


def keep_lowest(values: Tensor, share: Tensor | float) -> Tensor:
    """1 for the least of (U,) values, their number the share of all rounded up, else 0; of equals the first: (U,)."""
    ranks = values.argsort(stable=True).argsort()
    return (ranks < share * len(values)).float()


class CertaintyDriven(MeanTeacher):
    """A teacher that looks several times: what both variants are."""

    def __init__(self, build: NetworkFactory, experiment: Experiment):
        super().__init__(build, experiment)
        self.unlabelled_views = ("strong", *[experiment.consistency_view] * experiment.ccl_passes)

    def teach(self, views: Sequence[Tensor]) -> Tensor:
        e = self.experiment
        [passes] = label_blocks([self.teacher], [views], False, e.label_mode, e.label_updates_bn)
        return torch.stack(passes).softmax(dim=2).mean(0).clamp(min=1e-30).log()

    def compute(self, batch: Batch, clock: Clock, generator: torch.Generator) -> Output:
        output = super().compute(batch, clock, generator)
        output.metrics["uncertainty"] = uncertainty(output.teacher_logits[0]).mean()
        return output


class FilteringCCL(CertaintyDriven):
    """Drops the targets that are least certain, fewer as training goes on."""

    def disagreement(self, logits: Tensor, target: Tensor, clock: Clock) -> Tensor:
        share = 1 - self.experiment.ccl_strength * (1 - clock.progress)
        kept = keep_lowest(uncertainty(target), share)
        return (kept * softmax_mse(logits, target)).sum() / kept.sum().clamp(min=1)


class TemperatureCCL(CertaintyDriven):
    """Flattens both sides where the target is uncertain."""

    def disagreement(self, logits: Tensor, target: Tensor, clock: Clock) -> Tensor:
        heat = 1 + self.experiment.ccl_strength * uncertainty(target)[:, None]
        return softmax_mse(logits / heat, target / heat).mean()
