"""What looks at each iteration of a run and changes nothing: how right the labels are that networks pass on."""

from __future__ import annotations

import reprlib
from collections.abc import Sequence

import torch
from torch import Tensor

from dnll_core.config import ConfigError
from dnll_core.methods.base import Batch, Method, Observer, Output

# in each row of a history
OF_THE_TRAINER = ("epoch", "step", "seconds", "loss", "validation", "test", "target", "within")


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
        images = known.sum()

        def share(events: list[Tensor]) -> Tensor:
            """(2,): how many images of known class, mean over networks, and how many there are, both over U."""
            mean = torch.stack([(event * known).float() for event in events]).mean() * len(y) / images.clamp(min=1)
            return torch.stack([mean, torch.ones_like(mean)]) * (images / len(y))

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


def together(observers: Sequence[Observer], method: Method) -> Observer:
    """One observer from several. They run without gradients, and find the method in `Output.method`.

    Raises (at an iteration):
        ConfigError: if an observer returns anything else than None or 0-dim tensors, or pairs, by free names.
    """

    @torch.no_grad()
    def observe(batch: Batch, output: Output) -> dict[str, Tensor]:
        output.method, seen = method, {}
        for each in observers:
            for name, value in _checked(each(batch, output)).items():
                if name in seen or name in output.metrics or name in OF_THE_TRAINER:
                    raise ConfigError(f"the history has {name!r} already; an observer must call it something else.")
                seen[name] = value.detach().float()  # an average of what was true or false, too
        return seen

    return observe


def _checked(seen: object) -> dict[str, Tensor]:
    """What an observer returned; empty for None."""
    numbers = isinstance(seen, dict) and all(
        isinstance(name, str) and isinstance(value, Tensor) and value.shape in ((), (2,)) and not value.is_complex()
        for name, value in seen.items()
    )
    if seen is None or numbers:
        return seen or {}
    raise ConfigError(
        f"an observer returns None or a dict of 0-dim tensors by name, or pairs, not {reprlib.repr(seen)}"
    )
