"""What happens between the submodels while they train: the quantities of Theorems 3.1 and 3.2, on real images.

    run = train(experiment, seed, measure=True)
    [row["wrong labels"] for row in run.history]

Everything is a share 0...1, averaged over the unlabelled images of an epoch as they came up in its batches.

"wrong labels"     predictions on weak views that are not the true class: the pseudo-labels that could be passed on
"wrong sets"       pseudo-negative sets that contain the true class (Theorem 3.1's error)
"wrong negatives"  single pseudo-negative labels that are the true class
"agreement"        images for which both submodels predict the same class on the weak view
"same target"      images for which both submodels are trained on the very same labels (Theorem 3.2's event);
                   always 1 under teaching="both", where both learn from the sum of both sets
"used"             images that both submodels learn something from
"weak accuracy", "strong accuracy"   predictions in training mode on the two views (section 3.3.1)
"""

from __future__ import annotations

import torch
from torch import Tensor

from dnll_core.methods.base import Batch, Output
from dnll_core.trainer import Observer


def transfer_observer(truth: Tensor) -> Observer:
    """An observer for a trainer.

    Args:
        truth: (N,) int64, the true classes of the unlabelled pool; -1 where it is not known, and such images are left
            out. On the trainer's device.
    """

    @torch.no_grad()
    def observe(batch: Batch, output: Output) -> dict[str, Tensor]:
        if output.teacher_logits is None:
            return {}
        y = truth[batch.index]  # (U,)
        known = y >= 0

        def share(events: list[Tensor]) -> Tensor:
            """Mean over networks and over the images whose class is known. events: each (U,)."""
            return torch.stack([(event * known).float() for event in events]).mean() * len(y) / known.sum().clamp(min=1)

        def contains(labels: Tensor) -> Tensor:
            return labels.gather(1, y.clamp(min=0)[:, None])[:, 0]  # (U,)

        predicted = [logits.argmax(1) for logits in output.teacher_logits]
        seen = {"weak accuracy": share([p == y for p in predicted]), "wrong labels": share([p != y for p in predicted])}
        if output.student_logits is not None:
            seen["strong accuracy"] = share([logits.argmax(1) == y for logits in output.student_logits])
        if output.negatives:
            seen["wrong sets"] = share([contains(labels) for labels in output.negatives])
            seen["wrong negatives"] = share([contains(labels) / labels.sum(1) for labels in output.negatives])
        if len(predicted) == 2:
            seen["agreement"] = (predicted[0] == predicted[1]).float().mean()
        if len(output.targets) == 2:
            first, second = output.targets
            used = (first.sum(1) > 0) & (second.sum(1) > 0)
            seen["used"] = used.float().mean()
            seen["same target"] = ((first == second).all(1) & used).float().mean()
        return seen

    return observe
