"""Mean Teacher (Tarvainen & Valpola, NeurIPS 2017, section 2): consistency with an average of the student's weights.

loss = cross-entropy + consistency_scale * ramp * MSE(softmax of the student, softmax of the teacher)

The teacher's weights are an exponential moving average of the student's. Its batch-norm statistics are averaged in the
same way, as they belong to those weights. Early on the average is shorter, decay = min(1 - 1 / (t + 1), teacher_decay)
at step t, as in the authors' code: otherwise it would be full of the initial weights for a thousand steps.

Differs from the paper: consistency is on the unlabelled images only (`include_labelled` adds the labelled ones to
them), the network has one head, and the optimiser and schedule are those of all methods here. Later code (fast-SWA
and what is built on it) has it on all images, and divides the cross-entropy by the whole batch: while 50 of 100 images
are labelled and only they have one, its weight of 100 is a consistency_scale of 200.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dnll_core.config import Experiment
from dnll_core.losses import cross_entropy
from dnll_core.methods.base import Batch, Method, NetworkFactory, Output, forward_each, label_each, softmax_mse
from dnll_core.schedules import Clock, floats, sigmoid_ramp


class MeanTeacher(Method):
    """A student that learns by gradient, and a teacher that follows it.

    With negatives as an add-on, the teacher's view gives the labels and the student learns from all unlabelled images.
    """

    students = 1

    def __init__(self, build: NetworkFactory, experiment: Experiment):
        super().__init__()
        self.student = build()
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)
        self.experiment = experiment
        self.unlabelled_views = ("strong", experiment.consistency_view)

    def compute(self, batch: Batch, clock: Clock, generator: torch.Generator) -> Output:
        e = self.experiment
        for_student, *for_teacher = batch.unlabelled
        target = self.teach(for_teacher)
        [[labelled, unlabelled]] = forward_each([self.student], [[batch.labelled[0], for_student]], joint=e.shared_bn)
        supervised = cross_entropy(labelled, batch.targets)
        consistency = self.disagreement(unlabelled, target, clock)
        weight = e.consistency_scale * sigmoid_ramp(clock, e.consistency_ramp_epochs)
        return Output(
            loss=supervised + weight * consistency,
            labelled_logits=[labelled.detach()],
            student_logits=[unlabelled],
            teacher_logits=[target],
            metrics={"supervised": supervised.detach(), "consistency": consistency.detach()},
        )

    def teach(self, views: Sequence[Tensor]) -> Tensor:
        """What the student should agree with, from its teacher's views: logits (U, K) without gradient."""
        e = self.experiment
        return label_each([self.teacher], views[0], e.label_mode, e.label_updates_bn)[0]

    def disagreement(self, logits: Tensor, target: Tensor, clock: Clock) -> Tensor:
        """Of the student's logits (U, K) with what `teach` gave. 0-dim."""
        return softmax_mse(logits, target).mean()

    @torch.no_grad()
    def after_step(self, batch: Batch, output: Output, clock: Clock) -> None:
        t = clock.step + 1  # this step is finished, the clock does not count it yet
        decay = (1 - 1 / (t + 1)).clamp(max=self.experiment.teacher_decay)
        teacher, student = floats(self.teacher), floats(self.student)
        # teacher <- decay * teacher + (1 - decay) * student, with a decay that stays on the device
        move = torch._foreach_sub(student, teacher)
        torch._foreach_mul_(move, 1 - decay)
        torch._foreach_add_(teacher, move)

    def predictors(self) -> dict[str, nn.Module]:
        """The teacher alone: the paper predicts with it. (The authors' add-on code reports its student.)"""
        return {"teacher": self.teacher}
