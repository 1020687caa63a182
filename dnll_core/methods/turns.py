"""What the turns of an iteration give back, looked at and put together."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from torch import Tensor

from dnll_core.methods.base import Method, Output


def checked(output: object, method: Method, turn: str) -> Output:
    """What a turn gave back.

    Raises:
        TypeError: if it is no `Output`, has a loss without gradient, or a metric that is no 0-dim tensor without one.
    """
    wrong = ""
    if not isinstance(output, Output):
        wrong = f"gave {type(output).__name__}, not an Output"
    elif not (isinstance(output.loss, Tensor) and output.loss.dim() == 0 and output.loss.requires_grad):
        wrong = "has a loss that is no 0-dim tensor with a gradient"
    else:
        for name, value in output.metrics.items():
            if not isinstance(value, Tensor) or value.dim() or value.requires_grad:
                wrong = f"has a metric {name!r} that is no 0-dim tensor without gradient"
    if wrong:
        raise TypeError(f"{type(method).__name__}: the turn {turn!r} {wrong}.")
    return output


def of_all_turns(outputs: Sequence[Output]) -> Output:
    """The Output of the turn that tells classes, with the sum of all losses and the metrics of all.

    Raises:
        ValueError: if two have a metric of one name, or tell classes.
    """
    if len(outputs) == 1:
        return outputs[0]
    main, *others = [output for output in outputs if output.labelled_logits] or outputs[-1:]
    metrics = {name: value for output in outputs for name, value in output.metrics.items()}
    if others or len(metrics) < sum(len(output.metrics) for output in outputs):
        raise ValueError("two turns of an iteration have labelled_logits, or a metric of the same name.")
    return dataclasses.replace(main, loss=sum(output.loss.detach() for output in outputs), metrics=metrics)
