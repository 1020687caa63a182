"""Predictions of a network on many images, and what share of them is right."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from dnll_core.augment import Augmentation
from dnll_core.data.host_pool import HostPool
from dnll_core.device import Compute

BATCH = 1000  # images at a time
CPU_BATCH = 100  # of these through a network on a CPU: CNN-13 takes many seconds for 1000, too long to wait for
LARGE = 3 * 128 * 128  # values of an image from which fewer go at a time, for their memory


@torch.no_grad()
def in_batches(
    network: nn.Module,
    images: Tensor | HostPool,
    view: Augmentation,
    generator: torch.Generator,
    compute: Compute,
    forward: Callable | None = None,
    check: Callable[[], None] | None = None,
) -> Tensor:
    """`forward` of views of images, in evaluation mode: (N, C, H, W) uint8 -> (N, ...) float32, on the device.

    Args:
        forward: of a batch of views; by default the network's class logits. check: called before each; may raise.
    """
    was_training, outputs = network.training, []
    network.eval()
    try:
        times = math.ceil(images[:1].numel() / LARGE) or 1
        each, part_of = max(1, BATCH // times), max(1, CPU_BATCH // times)
        for start in range(0, max(1, len(images)), each):
            x = view(images[start : start + each].to(compute.device), generator)
            for part in x.tensor_split(math.ceil(len(x) / part_of) or 1) if x.device.type == "cpu" else [x]:
                if check is not None:
                    check()
                with compute.autocast():
                    output = (forward or network)(part)
                outputs.append((output[0] if isinstance(output, tuple) else output).float())
    finally:
        network.train(was_training)
    return torch.cat(outputs)


def accuracy(probabilities: Tensor, labels: Tensor) -> dict:
    """{"submodels": share of right answers of each, "ensemble": of their mean probabilities}, 0...1.

    Args:
        probabilities: (S, N, K). labels: (N,).
    """
    right = (probabilities.argmax(-1) == labels).double().mean(-1)  # (S,)
    ensemble = (probabilities.mean(0).argmax(-1) == labels).double().mean()
    return {"submodels": right.tolist(), "ensemble": float(ensemble)}
