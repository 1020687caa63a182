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
        look: (network, images, forward=None) -> (n, ...) float32 on the device: class logits of the images as they are,
            or what `forward`, say `network.features`, computes of them, in evaluation mode: `evaluation.in_batches`.
    """

    labelled: Tensor
    targets: Tensor
    unlabelled: Tensor | HostPool
    look: Callable[..., Tensor]


@dataclass(frozen=True)
class Stage:
    """A part of a run, with ramps and cosine of its own.

    Attributes:
        share: of the run's iterations; the shares of all stages are divided by their sum.
        field: of the experiment, which decides on the share or on how many stages there are.
        restart: the optimiser begins it without momentum, and the evaluated average (`ema_decay`) from its weights,
            which the method may renew in `at_stage`.
    """

    name: str
    share: float = 1.0
    field: str = "epochs"
    restart: bool = False
