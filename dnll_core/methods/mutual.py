"""Mutual learning with positive pseudo-labels: what section 3.1 argues against, in the same setting as DNLL.

Two submodels teach each other their predicted class, as in Deep Mutual Learning (Zhang et al., 2018), but with DNLL's
weak and strong views and hard labels in the place of its soft ones: the kind of label is then the only difference.
With a threshold, predictions of lower confidence are not passed on (the filtering that the paper's abstract describes).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from dnll_core.config import Experiment
from dnll_core.methods.base import Batch, Method, NetworkFactory, Output
from dnll_core.methods.dnll import Pair, teachers_of
from dnll_core.schedules import Clock, sigmoid_ramp


class MutualLearning(Method):
    """Cross-entropy of each submodel's strong view to the classes that its teachers predict on the weak view.

    `teaching` decides who teaches whom, `threshold` which predictions count: confidence (largest softmax) of at least
    it. The mean is over all unlabelled images of the batch, used or not.
    """

    def __init__(self, build: NetworkFactory, experiment: Experiment):
        super().__init__()
        self.pair, self.experiment = Pair(build, experiment), experiment
        self.labelled_views, self.unlabelled_views = Pair.labelled_views, Pair.unlabelled_views

    def compute(self, batch: Batch, clock: Clock, generator: torch.Generator) -> Output:
        e = self.experiment
        output = self.pair.compute(batch, clock, generator)
        passed = []  # for each teacher (U, K): one-hot where it is confident, 0 elsewhere
        for logits in output.teacher_logits:
            confidence, predicted = torch.softmax(logits, dim=1).max(dim=1)  # (U,), (U,)
            one_hot = F.one_hot(predicted, logits.shape[1]).float()
            passed.append(one_hot * (confidence >= e.threshold)[:, None])
        output.targets = [sum(passed[t] for t in teachers_of(s, 2, e.teaching)) for s in range(2)]
        unsupervised = sum(
            -(target * torch.log_softmax(logits, dim=1)).sum(1).mean()
            for target, logits in zip(output.targets, output.student_logits, strict=True)
        )
        output.loss = output.loss + e.lam * sigmoid_ramp(clock, e.ramp_epochs) * unsupervised
        output.metrics["mutual"] = unsupervised.detach() / 2
        return output

    def predictors(self) -> dict[str, nn.Module]:
        return self.pair.predictors()
