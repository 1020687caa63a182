"""The images and labels of one run, and where they lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from dnll_core.common import unknown
from dnll_core.data.dataset import Dataset
from dnll_core.data.host_pool import HostPool
from dnll_core.data.splits import Split
from dnll_core.fields import ConfigError

POOLS = ("auto", "device", "host")


@dataclass
class TrainingData:
    """The tensors of one run, on its device: images uint8 (N, C, H, W), labels int64 (N,)."""

    labelled: Tensor
    targets: Tensor
    unlabelled: Tensor | HostPool
    held_out: dict[str, tuple[Tensor, Tensor]]  # "validation" and "test" -> (images, labels)
    split: str  # hash of the split; a checkpoint continues with the same one only
    images: str = ""  # digest of the data set, see `Dataset`
    files: Mapping[str, str] = field(default_factory=dict)  # of a folder, likewise
    classes: tuple[str, ...] = ()  # and so are these, and the bits of deep grey files
    bits: int | None = None


def training_data(dataset: Dataset, split: Split, device: torch.device, pool: str = "auto") -> TrainingData:
    """The split's images and labels on the device, the unlabelled ones where `pool` says (see `train`)."""
    if pool not in POOLS:
        raise ConfigError(unknown("pool", pool, POOLS))

    def take(index: Tensor) -> Tensor:
        return dataset.x_train[index].to(device)

    if pool == "auto" and device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        pool = "host" if 2 * len(split.unlabelled) * dataset.x_train[0].nbytes > free else "device"
    unlabelled = HostPool(dataset.x_train, split.unlabelled, device) if pool == "host" else take(split.unlabelled)
    held_out = {
        "validation": (take(split.validation), dataset.y_train[split.validation].to(device)),
        "test": (dataset.x_test.to(device), dataset.y_test.to(device)),
    }
    return TrainingData(
        take(split.labelled),
        dataset.y_train[split.labelled].to(device),
        unlabelled,
        held_out,
        split.hash(),
        dataset.digest,
        dataset.files,
        dataset.classes,
        dataset.bits,
    )
