"""What methods of more than one loss, optimiser and stage declare, and what they are given to look at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from dnll_core.data.host_pool import HostPool
from dnll_core.schedules import Clock, cosine


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
        restart: all optimisers begin it as if new, and the evaluated average (`ema_decay`) from its weights,
            which the method may renew in `at_stage`.
        least: iterations that it has whatever its share is.
    """

    name: str
    share: float = 1.0
    field: str = "epochs"
    restart: bool = False
    least: int = 0


@dataclass(frozen=True)
class Adam:
    """In the place of the experiment's SGD, whose momentum and weight decay then do nothing.

    Attributes:
        eps: beside the root of the mean square, as torch has it.
    """

    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8


@dataclass(frozen=True)
class Optimiser:
    """What moves some of a method's weights.

    Attributes:
        modules: whose weights these are.
        adam: None for SGD, as the experiment says.
        rate: of the clock, 0-dim: what the experiment's `lr` is multiplied by.
    """

    modules: tuple[nn.Module, ...]
    adam: Adam | None = None
    rate: Callable[[Clock], Tensor] = field(default_factory=lambda: cosine)  # no method of the class, as `= cosine` is

    def __post_init__(self):
        if isinstance(self.modules, nn.Module):
            raise TypeError(f"modules of an Optimiser are a tuple, ({type(self.modules).__name__},), not one module.")


class Pixels(nn.Module):
    """Images as a method's networks see them, of mean 0 and standard deviation 1, and as pixels 0...1.

    Args:
        shape: (C, H, W) of an image. mean, std: per channel, or one for all, of pixels.
    """

    def __init__(self, shape: tuple[int, int, int], mean: tuple[float, ...] = (0.0,), std: tuple[float, ...] = (1.0,)):
        super().__init__()
        self.shape = tuple(shape)
        for name, values in {"mean": mean, "std": std}.items():
            self.register_buffer(name, torch.tensor(values).view(1, -1, 1, 1), persistent=False)

    def normalise(self, pixels: Tensor) -> Tensor:
        """(B, C, H, W) in 0...1 -> as a network sees them."""
        return (pixels - self.mean) / self.std

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) as a network sees them -> pixels."""
        return images * self.std + self.mean
