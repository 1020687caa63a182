"""What a loaded data set is: `Dataset`, and how arrays become one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

KEYS = ("x_train", "y_train", "x_test", "y_test")


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images and labels of one data set, on the CPU.

    x_train, x_test: (N, C, H, W) uint8; colour images may be channels-last in memory.
    y_train, y_test: (N,) int64; -1 in y_train is an image without a label.
    mean, std: per channel, of x_train / 255, for normalisation. `name` is what splits depend on.
    digest: SHA-256 (hex) of the originals, before any resizing: of the arrays, or of a folder's file names and bytes.
    files: of a folder, its file names, relative to it, with the beginning of each file's SHA-256.
    bits: of a folder whose grey files have more than 8 bits, those that were read as 0...255; see `images.bits_of`.
    validates: whether images are set apart for validation, see `splits.validation_per_class`.
    notes: of a folder, in words what was left out of it, and how its files were read where that is not plain.
    """

    name: str
    x_train: torch.Tensor = field(repr=False)
    y_train: torch.Tensor = field(repr=False)
    x_test: torch.Tensor = field(repr=False)
    y_test: torch.Tensor = field(repr=False)
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    digest: str = field(default="", repr=False)
    files: Mapping[str, str] = field(default_factory=dict, repr=False)
    bits: int | None = field(default=None, repr=False)
    validates: bool = True
    notes: tuple[str, ...] = field(default=(), repr=False)

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @property
    def channels(self) -> int:
        return self.x_train.shape[1]

    def summary(self) -> str:
        """Name and numbers of images, in words; `digest` tells whether they are the same."""
        return f"{self.name}: {len(self.x_train)} for training, {len(self.x_test)} for testing"

    def about_images(self) -> dict:
        """What a record says of a folder's images: {"images": {"summary", "digest"}}; nothing of those with a name."""
        return {"images": {"summary": self.summary(), "digest": self.digest}} if self.files else {}

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.x_train.shape[2], self.x_train.shape[3]


def dataset_of(name: str, arrays: dict[str, np.ndarray], classes: tuple[str, ...], mean: tuple, std: tuple) -> Dataset:
    """Arrays by KEYS, images (N, H, W) or (N, H, W, 3), as a Dataset without digest. Colour is permuted, not copied."""
    tensors = [torch.from_numpy(arrays[key]) for key in KEYS]
    images = [x.unsqueeze(1) if x.ndim == 3 else x.permute(0, 3, 1, 2) for x in tensors[::2]]
    labels = [y.to(torch.int64) for y in tensors[1::2]]
    return Dataset(name, images[0], labels[0], images[1], labels[1], classes, mean, std)


def digest_of_lines(lines: Iterable[str]) -> str:
    """SHA-256 (64 hex digits) of some lines of text."""
    return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()


def array_digests(arrays: Mapping[str, np.ndarray]) -> list[str]:
    """SHA-256 (64 hex digits) of the bytes of each array, in the order of KEYS."""
    return [hashlib.sha256(np.ascontiguousarray(arrays[key])).hexdigest() for key in KEYS]


def channel_statistics(x: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation (at least 1/255, for it divides) per channel of x / 255; x (N, H, W[, C]) uint8."""
    levels = np.arange(256) / 255
    # Exact and small in memory: counts of the 256 levels instead of a floating-point copy of the images.
    counts = [
        np.bincount(channel.ravel(), minlength=256) for channel in (np.moveaxis(x, -1, 0) if x.ndim == 4 else [x])
    ]
    mean = [float(np.average(levels, weights=count)) for count in counts]
    std = [float(np.sqrt(np.average((levels - m) ** 2, weights=count))) for m, count in zip(mean, counts)]
    return tuple(mean), tuple(max(s, 1 / 255) for s in std)
