"""Predictions of a network on many images, and what share of them is right."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from dnll_core.augment import Augmentation
from dnll_core.device import Compute

BATCH = 1000  # images at a time


@torch.no_grad()
def in_batches(
    network: nn.Module,
    images: Tensor,
    view: Augmentation,
    generator: torch.Generator,
    compute: Compute,
    forward: Callable | None = None,
) -> Tensor:
    """`forward` of views of images, in evaluation mode: (N, C, H, W) uint8 -> (N, ...) float32, on the device.

    Args:
        forward: of a batch of views; by default the network's class logits.
    """
    was_training, outputs = network.training, []
    network.eval()
    try:
        for batch in images.split(BATCH):
            x = view(batch.to(compute.device), generator)
            with compute.autocast():
                output = (forward or network)(x)
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
