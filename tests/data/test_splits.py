import hashlib
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from dnll_core.data import load_data, split_labels
from dnll_core.data.dataset import Dataset
from dnll_core.data.splits import Split, stable_random

ROOT = Path(__file__).resolve().parents[2]
# Recorded once. A change here means that every recorded run was trained on other labels.
DIGITS_20_SEED_0 = "6550066a6387034f4b658a89a10c4701694338fd4413ac499ae9da424cc8a0ca"


def make(name="folder:abc", counts=(20, 30, 25), unlabelled=0):
    """A data set of 1x1 images whose labels are mixed, with `counts[k]` images of class k."""
    y = np.concatenate([np.full(n, k) for k, n in enumerate(counts)] + [np.full(unlabelled, -1)])
    y = torch.from_numpy(np.random.RandomState(0).permutation(y))
    x = torch.zeros(len(y), 1, 1, 1, dtype=torch.uint8)
    return Dataset(name, x, y, x[:1], y[:1], tuple(f"class {k}" for k in range(len(counts))), (0.0,), (1.0,))


def as_set(indices):
    assert indices.dtype == torch.int64
    assert indices.ndim == 1
    assert len(set(indices.tolist())) == len(indices), "an index is drawn twice"
    return set(indices.tolist())


@pytest.fixture(scope="module")
def digits():
    return load_data("digits")


@pytest.mark.parametrize("seed", [0, 1, -7, 10**12])
def test_balanced_nested_disjoint(digits, seed):
    previous, validation = set(), None
    for labels in (10, 20, 50, 100, 500):
        split = split_labels(digits, labels, seed)
        assert torch.bincount(digits.y_train[split.labelled], minlength=10).tolist() == [labels // 10] * 10
        assert torch.bincount(digits.y_train[split.validation], minlength=10).tolist() == [20] * 10
        labelled, rest, kept = map(as_set, (split.labelled, split.unlabelled, split.validation))
        assert labelled | rest | kept == set(range(1297))
        assert len(labelled) + len(rest) + len(kept) == 1297
        assert previous < labelled
        assert validation in (None, kept)
        previous, validation = labelled, kept


def test_seeds_and_names_give_other_splits(digits):
    assert len({split_labels(digits, 20, seed).hash() for seed in range(20)}) == 20
    assert len({tuple(split_labels(digits, 20, seed).validation.tolist()) for seed in range(20)}) == 20
    assert split_labels(make("folder:a"), 6, 0).hash() != split_labels(make("folder:b"), 6, 0).hash()


def test_every_image_can_be_chosen(digits):
    chosen = np.concatenate([split_labels(digits, 500, seed).labelled.numpy() for seed in range(30)])
    assert len(np.unique(chosen)) == 1297


def test_pinned_hash(digits):
    assert split_labels(digits, 20, 0).hash() == DIGITS_20_SEED_0


def test_same_split_in_another_process():
    code = "from dnll_core.data import *; print(split_labels(load_data('digits'), 20, 0).hash())"
    environment = os.environ | {"PYTHONHASHSEED": "12345", "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, encoding="utf-8", check=True
    )
    assert result.stdout.strip() == DIGITS_20_SEED_0


def test_hash_is_of_labelled_and_validation():
    split = Split(torch.tensor([1, 5]), torch.tensor([0]), torch.tensor([2]))
    assert split.hash() == hashlib.sha256(struct.pack("<qqqqq", 2, 1, 5, 1, 2)).hexdigest()
    assert split.hash() == Split(torch.tensor([1, 5]), torch.tensor([7, 9]), torch.tensor([2])).hash()
    assert split.hash() != Split(torch.tensor([1]), torch.tensor([0]), torch.tensor([2, 5])).hash()


def test_stable_random_is_the_frozen_stream():
    words = struct.unpack("<8I", hashlib.sha256(b"a|b|3").digest())
    expected = np.random.RandomState(list(words)).randint(2**31, size=5)
    assert stable_random("a", "b", 3).randint(2**31, size=5).tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("name", "count", "expected"),
    [("cifar10", 510, 500), ("svhn", 510, 500), ("mnist", 60, 50), ("usps", 60, 50), ("digits", 30, 20)],
)
def test_validation_sizes_of_named_sets(name, count, expected):
    dataset = make(name, (count,) * 10)
    split = split_labels(dataset, 20, 0)
    assert torch.bincount(dataset.y_train[split.validation], minlength=10).tolist() == [expected] * 10


def test_validation_of_folders_is_a_tenth_and_at_least_one():
    dataset = make(counts=(3, 19, 40))
    split = split_labels(dataset, 3, 0)
    assert torch.bincount(dataset.y_train[split.validation], minlength=3).tolist() == [1, 1, 4]


def test_images_without_label_are_in_the_pool_only():
    dataset = make(unlabelled=11)
    split = split_labels(dataset, 6, 0)
    without = set(torch.nonzero(dataset.y_train < 0).flatten().tolist())
    assert len(without) == 11
    assert without < as_set(split.unlabelled)
    assert not without & (as_set(split.labelled) | as_set(split.validation))


def test_include_labelled_adds_them_to_the_pool():
    dataset = make(unlabelled=4)
    rest, both = split_labels(dataset, 6, 3), split_labels(dataset, 6, 3, include_labelled=True)
    assert as_set(both.unlabelled) == as_set(rest.unlabelled) | as_set(rest.labelled)
    assert both.hash() == rest.hash()


def test_all_labels():
    dataset = make(counts=(20, 30, 25), unlabelled=5)
    split = split_labels(dataset, None, 0)
    assert torch.bincount(dataset.y_train[split.labelled]).tolist() == [18, 27, 23]
    assert (dataset.y_train[split.unlabelled] == -1).all()
    assert len(split.unlabelled) == 5

    split = split_labels(make(), None, 0)
    assert split.unlabelled.tolist() == split.labelled.tolist(), "no image remains: the pool is the labelled ones"


def test_too_many_labels_says_how_many_there_are():
    dataset = make(counts=(20, 30, 25))
    assert len(split_labels(dataset, 54, 0).labelled) == 54
    with pytest.raises(ValueError, match=r"labels=57 .* 54 are available .*18 for each of 3.* all 68"):
        split_labels(dataset, 57, 0)


@pytest.mark.parametrize(("labels", "near"), [(1, "valid: 3$"), (22, "valid: 21 or 24$"), (53, "valid: 51 or 54$")])
def test_labels_not_divisible_names_the_nearest(labels, near):
    with pytest.raises(ValueError, match=near):
        split_labels(make(), labels, 0)


@pytest.mark.parametrize("labels", [0, -10])
def test_labels_must_be_positive(labels):
    with pytest.raises(ValueError, match=f"labels must be positive, got {labels}"):
        split_labels(make(), labels, 0)


@pytest.mark.parametrize("labels", [6.0, "6", True])
def test_labels_must_be_an_int(labels):
    with pytest.raises(TypeError, match="labels must be an int or None, got"):
        split_labels(make(), labels, 0)


@pytest.mark.parametrize("seed", [None, 0.0, "0", False])
def test_seed_must_be_an_int(seed):
    with pytest.raises(TypeError, match="seed must be an int, got"):
        split_labels(make(), 6, seed)


def test_numpy_integers_are_ints():
    assert split_labels(make(), np.int64(6), np.int32(2)).hash() == split_labels(make(), 6, 2).hash()


def test_class_too_small_for_validation():
    with pytest.raises(ValueError, match="'class 1' has 10 training images, but 20 are needed for validation"):
        split_labels(make("digits", (30, 10)), 2, 0)
