"""The tensors of one run on its device, and the order in which an epoch takes them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class TrainingData:
    """The tensors of one run, on its device: images uint8 (N, C, H, W), labels int64 (N,)."""

    labelled: Tensor
    targets: Tensor
    unlabelled: Tensor
    held_out: dict[str, tuple[Tensor, Tensor]]  # "validation" and "test" -> (images, labels)
    split: str  # hash of the split; a checkpoint continues with the same one only


def permuted_batches(n: int, batch: int, steps: int, generator: torch.Generator) -> Tensor:
    """Indices of `steps` batches from permutations of range(n), one after the other: (steps, batch) int64.

    Where a batch is larger than n, an image may recur in it; over the epoch no image comes up twice more than another.
    """
    permutations = [torch.randperm(n, generator=generator) for _ in range(math.ceil(steps * batch / n))]
    return torch.cat(permutations)[: steps * batch].view(steps, batch)
