"""Trainings without a part of the labels each: every label is tested on once, and never trained on meanwhile."""

import numpy as np
import pytest
import torch
from sklearn.model_selection import StratifiedKFold

from dnll_core.data import DataError
from dnll_core.data.dataset import dataset_of
from dnll_core.data.folds import FOLDS, folds
from dnll_core.data.splits import split_labels


def dataset(counts, tested=(0, 0, 0), pool=9):
    """Each image has a level of its own: labelled ones first, then those without a label, then the test images."""
    y = np.repeat(np.arange(len(counts)), counts)
    y_train, y_test = np.concatenate([y, np.full(pool, -1)]), np.repeat(np.arange(len(counts)), tested)
    levels = np.arange(len(y_train) + len(y_test), dtype=np.uint8)
    images = np.broadcast_to(levels[:, None, None], (len(levels), 4, 4)).copy()
    arrays = {"x_train": images[: len(y_train)], "x_test": images[len(y_train) :], "y_train": y_train, "y_test": y_test}
    return dataset_of("folder:x", arrays, ("cat", "dog", "hen")[: len(counts)], (0.5,), (0.2,))


def levels(images):
    return images[:, 0, 0, 0].tolist()


@pytest.mark.parametrize("counts", [(7, 12, 10), (25, 5), (4, 9), (2, 30)])
@pytest.mark.parametrize("tested", [0, 3])
def test_every_label_is_tested_once(counts, tested):
    whole = dataset(counts, [tested] * len(counts))
    truth = dict(zip(levels(whole.x_train), whole.y_train.tolist())) | dict(
        zip(levels(whole.x_test), whole.y_test.tolist())
    )
    known, pool = {i for i, k in truth.items() if k >= 0}, {i for i, k in truth.items() if k < 0}
    *parts, (last, every) = folds(whole, 0)
    n = min(FOLDS, min(counts) + tested)
    assert [name for name, _ in parts] == [f"split {i} of {n}" for i in range(1, n + 1)]
    tested_on = []
    for _, part in parts:
        train, test = levels(part.x_train), levels(part.x_test)
        assert {*train} | {*test} == {*truth} and len(train) + len(test) == len(truth)
        assert pool <= {*train}
        assert [truth[i] for i in train] == part.y_train.tolist() and [truth[i] for i in test] == part.y_test.tolist()
        for k, count in enumerate(counts):  # stratified
            assert abs(test_count := int((part.y_test == k).sum()) - (count + tested) / n) < 1, test_count
        tested_on += test
        split = split_labels(part, None, 0)
        assert len(split.validation) == 0 and len(split.labelled) == len(known) - len(test)
    assert sorted(tested_on) == sorted(known)
    assert last == "model" and len(every.x_test) == 0
    assert {*levels(every.x_train)} == {*truth}
    assert len({part.digest for _, part in parts} | {every.digest}) == n + 1


def test_folds_are_those_of_scikit_learn():
    whole = dataset((7, 12, 10), (2, 1, 3))
    x, y = torch.cat([whole.x_train[:29], whole.x_test]), torch.cat([whole.y_train[:29], whole.y_test])
    for seed in (0, 3):
        expected = [*StratifiedKFold(5, shuffle=True, random_state=seed).split(x, y)]
        parts = [part for _, part in folds(whole, seed)][:-1]
        for (kept, held), part in zip(expected, parts, strict=True):
            assert levels(part.x_test) == levels(x[held])
            assert levels(part.x_train) == levels(x[kept]) + levels(whole.x_train[29:])
    first, other = ([levels(part.x_test) for _, part in folds(whole, seed)] for seed in (0, 1))
    assert first != other


def test_a_class_with_a_single_label():
    with pytest.raises(DataError, match="a class has a single labelled image"):
        next(folds(dataset((1, 6, 6)), 0))
    assert len([*folds(dataset((1, 6, 6), (1, 0, 0)), 0)]) == 3


def test_no_image_without_a_label():
    for _, part in folds(dataset((6, 6), (0, 0), pool=0), 0):
        assert (part.y_train >= 0).all()
