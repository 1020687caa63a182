"""Dual Negative Label Learning: section 3.3 and Algorithm 1, as an add-on (`Negatives`) on two bare submodels (`Pair`).

DNLL is `Negatives(Pair(...))`. The same `Negatives` on another base is section 4.7: negatives drawn from the base's
teacher logits, Eq. 9 on its student logits, on the images that the base did not use. The mean stays over all unlabelled
images of the batch; the authors' add-on code takes it over the images that are left.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dnll_core.config import Experiment
from dnll_core.losses import cross_entropy, negative_loss
from dnll_core.methods.base import Batch, Method, Output, TwoNetworks, forward_each, label_each
from dnll_core.methods.declared import Pool
from dnll_core.negatives import ErrorPerception, check_m, draw_negatives
from dnll_core.schedules import Clock, sigmoid_ramp


class Pair(TwoNetworks):
    """Two submodels that learn from the labelled images alone (Eqs. 1-5).

    They learn nothing from unlabelled images, but label their weak view and predict their strong one (Eqs. 10-11), each
    view shared by both submodels.
    """

    unlabelled_views = ("weak", "strong")

    def compute(self, batch: Batch, clock: Clock, generator: torch.Generator) -> Output:
        e = self.experiment
        weak, strong = batch.unlabelled
        # labels come first, from the networks as they are before either is updated
        teachers = label_each(self.submodels, weak, e.label_mode, e.label_updates_bn)
        blocks = [[labelled, strong] for labelled in batch.labelled]
        outputs = forward_each(self.submodels, blocks, joint=e.shared_bn)
        supervised = sum(cross_entropy(logits, batch.targets) for logits, _ in outputs)  # Eqs. 4-5
        return Output(
            loss=supervised,
            labelled_logits=[logits.detach() for logits, _ in outputs],
            student_logits=[logits for _, logits in outputs],
            teacher_logits=teachers,
            metrics={"supervised": supervised.detach() / 2},
        )

    def predictors(self) -> dict[str, nn.Module]:
        return {"submodel 1": self.submodels[0], "submodel 2": self.submodels[1]}


def teachers_of(student: int, students: int, teaching: str) -> list[int]:
    """Whose labels a student learns from: cross (Eqs. 14-15), self (Eqs. 16-17), or both (Eqs. 18-19).

    Args:
        student, students: index, and number: 2, or 1 where a single student has a single teacher.
        teaching: "mutual", "self" or "both".
    """
    other = students - 1 - student
    roles = {"mutual": [other], "self": [student], "both": [other, student]}
    return sorted(set(roles[teaching]))


class Negatives(Method):
    """Adds learning from pseudo-negative labels to a base method.

    Each teacher's labels Y^c are drawn once and serve every learner they go to (Eqs. 14-17): under `teaching="both"`
    the submodel that drew them and the other one. With the Error Perception Mechanism they follow R of the learner
    (Figure 3): of the other submodel, or of the submodel itself under `teaching="self"`.

    Raises:
        ValueError: if m is not in 1...K-1, or the base offers no student whose logits the negatives could act on.
    """

    def __init__(self, base: Method, experiment: Experiment, num_classes: int):
        super().__init__()
        check_m(experiment.m, num_classes)
        if base.students == 0:
            raise ValueError(
                f"{type(base).__name__} offers no student and teacher logits of unlabelled images, which negative "
                "labels need; bases that do: Pair, MeanTeacher, DualStudent, FixMatch, PiModel, PseudoLabel, VAT."
            )
        self.base, self.experiment, self.num_classes, self.stages = base, experiment, num_classes, base.stages
        self.perception = nn.ModuleList(
            ErrorPerception(num_classes, experiment.epm_accumulation, experiment.epm_decay)
            for _ in range(base.students)
        )

    def draw(self, teacher: int, logits: Tensor, generator: torch.Generator) -> Tensor:
        """Y^c of one teacher (Eqs. 12-13): (U, K) 0/1 from its logits (U, K) on the weak view."""
        e = self.experiment
        predicted = logits.argmax(1)  # (U,), Eq. 6
        log_weights = None
        if e.selection == "epm":
            learner = teacher if e.teaching == "self" else len(self.perception) - 1 - teacher
            log_weights = self.perception[learner].log_selection()[predicted]  # (U, K), Eq. 23
        return draw_negatives(predicted, self.num_classes, e.m, generator, log_weights)

    def compute(self, batch: Batch, clock: Clock, generator: torch.Generator) -> Output:
        e = self.experiment
        output = self.base.compute(batch, clock, generator)
        output.negatives = [self.draw(t, logits, generator) for t, logits in enumerate(output.teacher_logits)]
        unsupervised = 0
        for s, logits in enumerate(output.student_logits):
            weight = None if output.unused is None else output.unused[s]
            teachers = teachers_of(s, len(self.perception), e.teaching)
            for t in teachers:
                unsupervised = unsupervised + negative_loss(logits, output.negatives[t], e.reduction, weight)
            output.targets.append(sum(output.negatives[t] for t in teachers))
        lam = e.lam * sigmoid_ramp(clock, e.ramp_epochs)
        output.loss = output.loss + lam * unsupervised  # Eqs. 20-21, summed over the submodels
        output.metrics["negative"] = unsupervised.detach() / len(self.perception)
        if e.selection == "epm":
            output.metrics["total variation"] = torch.stack([own.variation() for own in self.perception]).mean()
        return output

    def after_step(self, batch: Batch, output: Output, clock: Clock) -> None:
        self.base.after_step(batch, output, clock)
        targets = output.labelled_targets or [batch.targets] * len(self.perception)
        for perception, logits, labels in zip(self.perception, output.labelled_logits, targets, strict=True):
            perception.update(logits, labels, clock.starts_epoch)

    # views and hooks are the base's; it must know its stage, too
    stage = property(lambda self: self.base.stage, lambda self, number: setattr(self.base, "stage", number))
    labelled_views = property(lambda self: self.base.labelled_views)
    unlabelled_views = property(lambda self: self.base.unlabelled_views)

    def at_stage(self, pool: Pool, generator: torch.Generator) -> None:
        self.base.at_stage(pool, generator)

    def at_epoch(self, pool: Pool, epoch: int, generator: torch.Generator) -> None:
        self.base.at_epoch(pool, epoch, generator)

    def rows(self) -> Tensor | None:
        return self.base.rows()

    def predictors(self) -> dict[str, nn.Module]:
        return self.base.predictors()


def negatives_of_an_image(experiment: Experiment) -> int:
    """How many terms of Eq. 9 a submodel's unsupervised loss sums over for one image, each with weight λ.

    m from every teacher (Eq. 9), or one mean from it (reduction="mean"); two teachers under teaching="both" (Eqs.
    18-19), else one. The expected loss is in proportion to this number, whatever the draw.
    """
    teachers = 2 if experiment.teaching == "both" else 1
    return teachers * (experiment.m if experiment.reduction == "sum" else 1)


def with_weight_of(experiment: Experiment, reference: Experiment) -> Experiment:
    """The experiment with λ such that all terms of Eq. 9 together weigh as much as in the reference.

    Without it m = 3 is also three times the weight of m = 1, and cross + self twice that of self.
    """
    share = negatives_of_an_image(reference) / negatives_of_an_image(experiment)
    return experiment.replace(lam=reference.lam * share)
