"""Dual Student (Ke et al., ICCV 2019, section 4 and Algorithm 1): two students exchange what each is sure of.

loss of a student = cross-entropy + logit_distance * MSE(logits of its two heads)
                  + consistency_scale * ramp * MSE(second head on its own view, class head on the other view)
                  + stabilisation_scale * ramp * MSE(second head, the other student's class head), where it learns

A sample is stable for a student if it predicts the same class on both views and is confident on at least one of them
(Definition 1; the authors' code counts either view). A student learns from the other where that one is stable and it
itself is not, or where both are and the other is at least as consistent between its views. MSEs are of softmaxes.

Differs from the authors' code: each term is a mean, that of stabilisation over all unlabelled images, used or not.
Theirs divides cross-entropy by the whole batch and weighs stabilisation by the unlabelled share, so at equal halves our
consistency is half as strong against the other two. Passes on the other view leave the batch-norm statistics alone
unless `label_updates_bn`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dnll_core.losses import cross_entropy
from dnll_core.methods.base import Batch, Output, TwoNetworks, forward_each, label_blocks, softmax_mse
from dnll_core.schedules import Clock, sigmoid_ramp


def stable(logits: Tensor, others: Tensor, threshold: float) -> Tensor:
    """(U,) bool, the stable samples of a student from its class logits (U, K) on two views."""
    confidence, predicted = torch.softmax(logits, dim=1).max(dim=1)
    other_confidence, other_predicted = torch.softmax(others, dim=1).max(dim=1)
    return (predicted == other_predicted) & (torch.maximum(confidence, other_confidence) > threshold)


class DualStudent(TwoNetworks):
    """Student s learns on view s of every image and sees the other view without gradient.

    With negatives as an add-on, a student learns from the images on which the stabilisation constraint does not act for
    it. The labels come from passes on the view that is not the labelling student's own: under teaching="mutual" that is
    the learner's view, as in the authors' add-on code.
    """

    unlabelled_views = ("strong", "strong")

    def compute(self, batch: Batch, clock: Clock, generator: torch.Generator) -> Output:
        e = self.experiment
        views = list(zip(batch.labelled, batch.unlabelled))  # [view] -> (labelled, unlabelled)
        swapped = label_blocks(self.submodels, views[::-1], e.shared_bn, e.label_mode, e.label_updates_bn)
        own = forward_each(self.submodels, views, joint=e.shared_bn)
        labelled, unlabelled = ([own[s][i][0] for s in (0, 1)] for i in (0, 1))  # class logits, for each student
        other_view = [swapped[s][1][0] for s in (0, 1)]  # (U, K) class logits of student s on view 1 - s
        is_stable = [stable(unlabelled[s], other_view[s], e.stable_threshold) for s in (0, 1)]
        spread = [softmax_mse(own[s][1][1], other_view[s]).detach() for s in (0, 1)]  # (U,), small where consistent
        learns = [
            (is_stable[1 - s] & (~is_stable[s] | (spread[1 - s] <= spread[s]))).float()  # (U,), both where equal
            for s in (0, 1)
        ]
        terms = {name: 0 for name in ("supervised", "distance", "consistency", "stabilisation")}
        for s in (0, 1):
            classes, seconds = (
                torch.cat([own[s][i][head] for i in (0, 1)]) for head in (0, 1)
            )  # labelled + unlabelled
            swapped_classes = torch.cat([swapped[s][i][0] for i in (0, 1)])
            terms["supervised"] += cross_entropy(labelled[s], batch.targets)
            terms["distance"] += (classes - seconds).square().mean()
            terms["consistency"] += softmax_mse(seconds, swapped_classes).mean()
            stabilisation = softmax_mse(own[s][1][1], unlabelled[1 - s].detach())
            terms["stabilisation"] += (learns[s] * stabilisation).mean()
        return Output(
            loss=terms["supervised"]
            + e.logit_distance * terms["distance"]
            + e.consistency_scale * sigmoid_ramp(clock, e.consistency_ramp_epochs) * terms["consistency"]
            + e.stabilisation_scale * sigmoid_ramp(clock, e.stabilisation_ramp_epochs) * terms["stabilisation"],
            labelled_logits=[logits.detach() for logits in labelled],
            student_logits=unlabelled,
            teacher_logits=other_view,
            unused=[1 - mask for mask in learns],
            metrics={name: term.detach() / 2 for name, term in terms.items()}
            | {"stabilised": torch.stack(learns).mean()},
        )

    def predictors(self) -> dict[str, nn.Module]:
        return {"student 1": self.submodels[0], "student 2": self.submodels[1]}
