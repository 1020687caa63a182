"""Label splits: which training images keep their label, which serve for validation, which are the unlabelled pool.

    dataset = load_data("digits")
    split = split_labels(dataset, labels=20, seed=0)
    dataset.x_train[split.labelled], dataset.y_train[split.labelled]

A split is a pure function of (data set, labels, seed). Each class has one random order per seed: its first images are
the validation set, the next ones are labelled. So splits are balanced, the 20 labels of a seed are among its 50, and
the validation images are the same for every number of labels.
"""

from __future__ import annotations

import hashlib
import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from dnll_core.data.sets import SETS

if TYPE_CHECKING:
    from dnll_core.data.dataset import Dataset


@dataclass(frozen=True, eq=False)
class Split:
    """Sorted int64 indices into `x_train`, each of shape (n,).

    labelled: images whose label may be used for training. unlabelled: the pool whose labels must not be used.
    validation: images that choose hyperparameters, never trained on.
    """

    labelled: torch.Tensor
    unlabelled: torch.Tensor
    validation: torch.Tensor

    def hash(self) -> str:
        """SHA-256 (64 hex digits) of the labelled and the validation indices: what a run record carries."""
        digest = hashlib.sha256()
        for indices in (self.labelled, self.validation):
            # The length separates the two lists; fixed width and byte order make it the same on every machine.
            digest.update(len(indices).to_bytes(8, "little"))
            digest.update(indices.cpu().numpy().astype("<i8").tobytes())
        return digest.hexdigest()


def stable_random(*key: object) -> np.random.RandomState:
    """A random state fixed by the text of `key`, the same in every process and for every NumPy version.

    NumPy's newer `Generator` may change its streams between versions; those of `RandomState` are frozen. The seed
    comes from SHA-256, because Python's own `hash` of a string differs between processes.
    """
    digest = hashlib.sha256("|".join(str(part) for part in key).encode()).digest()
    return np.random.RandomState(np.frombuffer(digest, dtype="<u4"))


def hold_out(labels: np.ndarray, counts: list[int], key: str) -> np.ndarray:
    """A boolean mask over `labels` (N,): `counts[k]` images of class k set apart for testing, whatever the seed."""
    mask = np.zeros(len(labels), dtype=bool)
    for label, count in enumerate(counts):
        mask[stable_random("test", key, label).permutation(np.flatnonzero(labels == label))[:count]] = True
    return mask


def validation_per_class(dataset: Dataset) -> list[int]:
    """Validation images of each class: of a named set its own, of folders 10 % of the class, at least one; or none."""
    counts = torch.bincount(dataset.y_train[dataset.y_train >= 0], minlength=dataset.num_classes).tolist()
    if dataset.name in SETS and dataset.validates:
        return [SETS[dataset.name].validation] * dataset.num_classes
    return [max(1, count // 10) if dataset.validates else 0 for count in counts]


def split_labels(dataset: Dataset, labels: int | None, seed: int, *, include_labelled: bool = False) -> Split:
    """Choose the labelled, unlabelled and validation images of a run (sections 4.1 and 4.3).

    labels: number of labelled images in all, the same for each class; None takes every labelled training image that
        is not validation, which need not be balanced.
    seed: any int. Chooses the images, together with the name of the data set.
    include_labelled: the unlabelled pool is by default "the rest" (section 4.3): training images neither labelled nor
        validation, and images that never had a label (y = -1). True adds the labelled images to it.

    Where no image remains (labels=None and none without a label), the pool is the labelled images, so that it is
    never empty.

    Raises TypeError if labels or seed is not an int, ValueError if labels is not positive, is more than there are, or
    cannot be divided equally among the classes.
    """
    seed = _integer("seed", seed)
    labels = None if labels is None else _integer("labels", labels)
    y = dataset.y_train.cpu().numpy()
    validation_counts = validation_per_class(dataset)
    orders = []
    for label, title in enumerate(dataset.classes):
        members = np.flatnonzero(y == label)
        if len(members) < validation_counts[label]:
            raise ValueError(
                f"dataset {dataset.name!r}: class {title!r} has {len(members)} training images, "
                f"but {validation_counts[label]} are needed for validation"
            )
        orders.append(stable_random("split", dataset.name, seed, label).permutation(members))

    free = [len(order) - count for order, count in zip(orders, validation_counts)]
    per_class = free if labels is None else [_per_class(labels, free, dataset.name)] * len(free)
    validation = [order[:count] for order, count in zip(orders, validation_counts)]
    labelled = [order[count : count + n] for order, count, n in zip(orders, validation_counts, per_class)]
    rest = [order[count + n :] for order, count, n in zip(orders, validation_counts, per_class)]
    unlabelled = [*rest, np.flatnonzero(y < 0)]
    if include_labelled or not sum(map(len, unlabelled)):
        unlabelled += labelled
    return Split(_indices(labelled), _indices(unlabelled), _indices(validation))


def _per_class(labels: int, free: list[int], name: str) -> int:
    """Labelled images per class, or ValueError; `free` holds the images of each class that are not validation."""
    classes, available = len(free), min(free) * len(free)
    if labels <= 0:
        raise ValueError(
            f"labels must be positive, got {labels}; {name!r} accepts multiples of {classes} up to {available}"
        )
    if labels > available:
        raise ValueError(
            f"labels={labels} is more than {name!r} has: {available} are available in balanced classes "
            f"({min(free)} for each of {classes}), or None for all {sum(free)}"
        )
    if labels % classes:
        below = labels // classes * classes
        near = [str(n) for n in (below, below + classes) if 0 < n <= available]
        raise ValueError(
            f"labels={labels} cannot be divided among the {classes} classes; nearest valid: {' or '.join(near)}"
        )
    return labels // classes


def _integer(argument: str, value: object) -> int:
    """`value` as an int (NumPy integers too). bool is refused: True would silently mean one."""
    try:
        if isinstance(value, bool | np.bool_):
            raise TypeError
        return operator.index(value)
    except TypeError:
        accepted = "an int or None" if argument == "labels" else "an int"
        raise TypeError(f"{argument} must be {accepted}, got {value!r} ({type(value).__name__})") from None


def _indices(parts: list[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.sort(np.concatenate(parts)).astype(np.int64))
