"""What methods with several stages, or with a look at all images between two iterations, declare and are given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from dnll_core.data.host_pool import HostPool


@dataclass(frozen=True)
class Pool:
    """What a method sees between two iterations: all images of the run, and the labels of those that have one.

    Attributes:
        labelled, targets: (N, C, H, W) uint8 and (N,) int64. unlabelled: (P, C, H, W) uint8, see `Batch.index`.
        look: (network, images, forward=what it computes, else class logits) -> (n, ...) float32 on the device, of the
            images as they are, in evaluation mode.
    """

    labelled: Tensor
    targets: Tensor
    unlabelled: Tensor | HostPool
    look: Callable[..., Tensor]


@dataclass(frozen=True)
class Stage:
    """A part of a run, with ramps and cosine of its own.

    Attributes:
        share: of the run's iterations, as a multiple of what the other stages have.
        restart: the optimiser begins it without momentum, and the evaluated average (`ema_decay`) from its weights.
    """

    name: str
    share: float = 1.0
    restart: bool = False
