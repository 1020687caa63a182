"""Folds of labels: of a folder that trains on all of them, and of arrays with unlabelled rows, for scikit-learn."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
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


def without_label(y: np.ndarray) -> np.ndarray:
    """Which of the labels (N,) say that there is none: -1 among numbers, "" among text."""
    if y.dtype.kind in "OU":
        return np.array([label == "" or (not isinstance(label, str) and label == -1) for label in y.tolist()], bool)
    return y == -1


class LabelledKFold(StratifiedKFold):
    """Stratified folds of the rows with a label: one is tested on, the others and all unlabelled rows are trained on.

    With other splits an unlabelled row is tested on, and counts as a wrong answer.
    """

    def split(self, X, y, groups=None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields (rows to train with, rows to test on), (n,) int64 each, sorted.

        Raises ValueError if X and y do not fit each other, or a class has fewer rows than there are folds.
        """
        no_label = without_label(np.asarray(y))
        known, pool = np.flatnonzero(~no_label), np.flatnonzero(no_label)
        fewest = min(np.unique(np.asarray(y)[known], return_counts=True)[1], default=0)
        if len(no_label) != len(X) or fewest < self.n_splits:
            raise ValueError(
                f"X has {len(X)} rows, y {len(no_label)}, {len(known)} of them with a label, {fewest} of the rarest "
                f"class; as many rows in both are needed, and for {self.n_splits} folds as many labels of each class"
            )
        for kept, held in super().split(known[:, None], np.asarray(y)[known], groups):
            yield np.sort(np.concatenate([known[kept], pool])), known[held]
