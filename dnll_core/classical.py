"""What a scikit-learn user would reach for: label spreading and self-training on the same splits, on raw pixels.

Both get the labelled and the unlabelled images of a `Split` and are scored on the same test images as a run.
"""

from __future__ import annotations

import warnings

import numpy as np
import torch
from sklearn.base import ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier

from dnll_core.common import unknown
from dnll_core.dataset import Dataset
from dnll_core.splits import Split

POOL_LIMIT = 10_000  # unlabelled images at most: the neighbour graph of a larger pool would take many minutes

# chosen on validation images, see `experiments.SEARCHES_CLASSICAL`
SELF_TRAINING = {"base": "logistic", "threshold": 0.75}


def label_spreading(neighbours: int = 7) -> ClassifierMixin:
    """LabelSpreading over a graph of nearest neighbours."""
    return LabelSpreading(kernel="knn", n_neighbors=neighbours, max_iter=200)


def self_training(base: str = SELF_TRAINING["base"], threshold: float = SELF_TRAINING["threshold"]) -> ClassifierMixin:
    """SelfTrainingClassifier: a classifier that takes its confident predictions for labels, round after round.

    Args:
        base: "logistic" or "neighbours".
        threshold: probability from which a prediction is taken for a label.
    """
    bases = {"logistic": LogisticRegression(max_iter=1000), "neighbours": KNeighborsClassifier(1)}
    return SelfTrainingClassifier(bases[base], threshold=threshold)


CLASSIFIERS = {"label-spreading": label_spreading, "self-training": self_training}


def build(method: str, **settings) -> ClassifierMixin:
    """The classifier that a key of CLASSIFIERS names.

    Raises:
        ValueError: for another name.
    """
    if method not in CLASSIFIERS:
        raise ValueError(unknown("method", method, CLASSIFIERS))
    return CLASSIFIERS[method](**settings)


def fit(classifier: ClassifierMixin, dataset: Dataset, split: Split) -> ClassifierMixin:
    """Fits on the split's labelled images and at most POOL_LIMIT of its unlabelled ones."""
    pool = split.unlabelled[:POOL_LIMIT]
    index = torch.cat([split.labelled, pool])
    targets = np.concatenate([dataset.y_train[split.labelled].numpy(), np.full(len(pool), -1)])
    with warnings.catch_warnings():
        # scikit-learn warns where a class has no neighbour in the graph yet, or the last round adds nothing
        warnings.simplefilter("ignore")
        return classifier.fit(pixels(dataset.x_train[index]), targets)


def accuracy(classifier: ClassifierMixin, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Share of right predictions, 0...1. images: (N, C, H, W) uint8; labels: (N,) int64."""
    return float((classifier.predict(pixels(images)) == labels.numpy()).mean())


def pixels(images: torch.Tensor) -> np.ndarray:
    """(N, C, H, W) uint8 -> (N, C H W) float32 in 0...1."""
    return images.reshape(len(images), -1).numpy().astype(np.float32) / 255
