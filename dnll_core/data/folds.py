"""All labels of a data set to train with, and how good that is: trainings without a part of them each."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import torch
from sklearn.model_selection import StratifiedKFold
from torch import Tensor

from dnll_core.data.dataset import Dataset, digest_of_lines
from dnll_core.data.errors import DataError

FOLDS = 5


def folds(dataset: Dataset, seed: int) -> Iterator[tuple[str, Dataset]]:
    """Names and data sets: one for each of FOLDS stratified parts of the labels, tested on it; then one with all.

    A class of fewer images than FOLDS lessens their number. Images of the data set's own test set have a label like any
    other here; none are set apart for validation.

    Raises:
        DataError: if a class has a single label.
    """
    with_label = dataset.y_train >= 0
    x = torch.cat([dataset.x_train[with_label], dataset.x_test])
    y = torch.cat([dataset.y_train[with_label], dataset.y_test])
    pool = dataset.x_train[~with_label]
    n = min(FOLDS, int(y.bincount(minlength=dataset.num_classes).min()))
    if n < 2:
        raise DataError("a class has a single labelled image, which cannot be both trained with and tested on")

    def part(name: str, kept: Tensor, held: Tensor) -> tuple[str, Dataset]:
        labels = torch.cat([y[kept], torch.full((len(pool),), -1)])
        images = {"x_train": torch.cat([x[kept], pool]), "y_train": labels, "x_test": x[held], "y_test": y[held]}
        digest = digest_of_lines([dataset.digest, *map(str, kept.tolist())])
        return name, dataclasses.replace(dataset, **images, digest=digest, files={}, validates=False)

    splits = StratifiedKFold(n, shuffle=True, random_state=seed).split(y, y)
    for i, (kept, held) in enumerate(splits, start=1):
        yield part(f"split {i} of {n}", torch.from_numpy(kept), torch.from_numpy(held))
    yield part("model", torch.arange(len(y)), torch.arange(0))
