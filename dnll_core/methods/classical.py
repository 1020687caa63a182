"""What a scikit-learn user would reach for: label spreading and self-training on the same splits, on raw pixels.

    run_classical("label-spreading", "digits", labels=20, seed=0)["final"]["test"]["mean"]
    Classical("self-training", "digits", labels=20, k_best=10)      # a run of it, for campaigns and searches

Both get the labelled and unlabelled images of a run's split and are scored on its held-out images.
"""

from __future__ import annotations

import inspect
import math
import numbers
import platform
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import sklearn
import torch
from sklearn.base import ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier

from dnll_core import results
from dnll_core.common import today, unknown
from dnll_core.config import ConfigError
from dnll_core.data.dataset import Dataset
from dnll_core.data.load import load_data
from dnll_core.data.sets import NAMES
from dnll_core.data.splits import Split, split_labels
from dnll_core.device import cpu_name
from dnll_core.provenance import made, sitting

SMALL_POOL = 2000  # unlabelled images of which self-training takes a fixed number a round, where nothing is set
POOL_LIMIT = 10_000  # unlabelled images at most: the neighbour graph of a larger pool would take many minutes


def label_spreading(
    kernel: str = "knn", neighbours: int = 7, gamma: float = 20.0, alpha: float = 0.2
) -> LabelSpreading:
    """LabelSpreading over a graph of the images.

    Args:
        kernel: "knn", a graph of nearest neighbours, or "rbf", of all images with weights exp(-gamma distance^2).
        neighbours: of "knn".
        gamma: of "rbf"; pixels are in 0...1.
        alpha: share of its neighbours' opinion in that of an image, above 0 and below 1.

    Raises:
        ConfigError: for another kernel, or a value that is out of range.
    """
    if not isinstance(kernel, str) or kernel not in ("knn", "rbf"):
        raise ConfigError(unknown("kernel", kernel, ("knn", "rbf")))
    _check("neighbours", neighbours, "a whole number from 1", _counts(neighbours))
    _check("gamma", gamma, "a number above 0", _is_real(gamma) and 0 < gamma < math.inf)
    _check("alpha", alpha, "a number above 0 and below 1", _is_real(alpha) and 0 < alpha < 1)
    return LabelSpreading(kernel=kernel, n_neighbors=neighbours, gamma=gamma, alpha=alpha, max_iter=200)


def self_training(
    base: str = "neighbours", threshold: float | None = None, k_best: int | None = 50, c: float = 10.0
) -> SelfTrainingClassifier:
    """SelfTrainingClassifier: takes its own confident predictions for labels, round after round.

    Args:
        base: "logistic" or "neighbours" (the nearest one).
        threshold: probability from which a prediction is taken for a label; or None, then
        k_best: the number of most confident predictions taken each round, until none is left.
        c: of "logistic", the inverse of its regularisation.

    Raises:
        ConfigError: for another base, or a value that is out of range.
    """
    _check("c", c, "a number above 0", _is_real(c) and 0 < c < math.inf)
    bases = {"logistic": LogisticRegression(C=c, max_iter=1000), "neighbours": KNeighborsClassifier(1)}
    if not isinstance(base, str) or base not in bases:
        raise ConfigError(unknown("base", base, bases))
    share = _is_real(threshold) and 0 <= threshold < 1
    _check("threshold", threshold, "a number from 0, below 1, or None", threshold is None or share)
    _check("k_best", k_best, "a whole number from 1, or None", k_best is None or _counts(k_best))
    if threshold is None and k_best is None:
        raise ConfigError("self-training needs a threshold or k_best: without either it would take no prediction.")
    if threshold is not None:
        return SelfTrainingClassifier(bases[base], threshold=threshold)
    return SelfTrainingClassifier(bases[base], criterion="k_best", k_best=k_best, max_iter=None)


def _is_real(value: object) -> bool:
    """Whether it is a number that a float can hold."""
    try:
        return isinstance(value, numbers.Real) and not isinstance(value, bool) and float(value) == float(value)
    except OverflowError:
        return False


def _plain(value: object, parameter: inspect.Parameter) -> object:
    """A setting that was checked, as Python's own float or int by the parameter's annotation."""
    if not _is_real(value):
        return value
    return float(value) if "float" in parameter.annotation else int(value)


def _check(name: str, value: object, takes: str, fits: bool) -> None:
    if not fits:
        raise ConfigError(f"{name} takes {takes}, not {value!r}.")


def _counts(value: object) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool) and value >= 1


CLASSIFIERS = {"label-spreading": label_spreading, "self-training": self_training}


def build_classifier(method: str, **settings) -> ClassifierMixin:
    """The classifier that a key of CLASSIFIERS names, unfitted.

    Raises:
        ConfigError: for another name, a setting that it does not have, or a value that the setting does not take.
    """
    if not isinstance(method, str) or method not in CLASSIFIERS:
        raise ConfigError(unknown("method", method, CLASSIFIERS))
    accepted = inspect.signature(CLASSIFIERS[method]).parameters
    for name in settings:
        if name not in accepted:
            raise ConfigError(unknown("setting", name, accepted))
    return CLASSIFIERS[method](**settings)


@dataclass(frozen=True, init=False)
class Classical:
    """What `run_classical` is told, but for the seed: for a classical method what an `Experiment` is for ours.

    Raises:
        ConfigError: for a method, data set, number of labels or setting that does not exist.
    """

    method: str  # a key of CLASSIFIERS
    dataset: str
    labels: int | None  # None: every training image that has a label
    settings: tuple[tuple[str, object], ...]  # (name, value), by name: only what was given, the rest are defaults

    def __init__(self, method: str, dataset: str = "digits", labels: int | None = 20, **settings):
        build_classifier(method, **settings)
        kind, _, path = str(dataset).partition(":")
        if not isinstance(dataset, str) or (dataset not in NAMES and not (kind == "folder" and path)):
            raise ConfigError(unknown("dataset", dataset, [*NAMES, "folder:PATH"]))
        _check("labels", labels, "a whole number from 1, or None", labels is None or _counts(labels))
        # numbers as Python's own, whole where the setting is: equal settings have one name, which JSON can write
        known = inspect.signature(CLASSIFIERS[method]).parameters
        own = {name: _plain(value, known[name]) for name, value in settings.items()}
        given = {"method": method, "dataset": dataset, "labels": labels, "settings": tuple(sorted(own.items()))}
        for name, value in given.items():
            object.__setattr__(self, name, value)

    def replace(self, **changes) -> Classical:
        """A copy with some fields or settings changed."""
        return Classical(**{**self.to_dict(), **changes})

    def to_dict(self) -> dict:
        """Fields and settings as plain JSON values; `Classical(**d)` gives the same one back."""
        return {"method": self.method, "dataset": self.dataset, "labels": self.labels, **dict(self.settings)}


def fit(classifier: ClassifierMixin, dataset: Dataset, split: Split) -> ClassifierMixin:
    """Fits on the split's labelled images and at most POOL_LIMIT of its unlabelled ones."""
    apart = -(-len(split.unlabelled) // POOL_LIMIT)  # a folder's pool is sorted by class
    pool = split.unlabelled[::apart]
    index = torch.cat([split.labelled, pool])
    targets = np.concatenate([dataset.y_train[split.labelled].numpy(), np.full(len(pool), -1)])
    with warnings.catch_warnings():
        # parts of the neighbour graph that no label reaches divide 0 by 0; the last round of self-training is empty
        warnings.simplefilter("ignore", RuntimeWarning)
        warnings.simplefilter("ignore", UserWarning)
        return classifier.fit(pixels(dataset.x_train[index]), targets)


def predict(classifier: ClassifierMixin, images: torch.Tensor) -> np.ndarray:
    """(N, C, H, W) uint8 -> (N,) int64 predicted classes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return classifier.predict(pixels(images))


def pixels(images: torch.Tensor) -> np.ndarray:
    """(N, C, H, W) uint8 -> (N, C H W) float32 in 0...1."""
    return images.reshape(len(images), -1).numpy().astype(np.float32) / 255


def run_classical(
    method: str, dataset: str, labels: int | None, seed: int, root: str | Path | None = None, **settings
) -> dict:
    """Fits and scores one classifier. Returns a record as `Run.record` gives it, without a history.

    Without settings, self-training takes so many predictions a round that a large pool is used up in about twenty.

    Raises:
        ValueError: for an unknown method, data set or number of labels. ConfigError is one.
    """
    started = time.perf_counter()
    data = load_data(dataset, root)
    split = split_labels(data, labels, seed)
    used = settings
    if method == "self-training" and not settings:
        pool = len(split.unlabelled[:: -(-len(split.unlabelled) // POOL_LIMIT)])
        used = {"k_best": pool // 20} if pool > SMALL_POOL else {}
    classifier = fit(build_classifier(method, **used), data, split)
    held_out = {
        "validation": (data.x_train[split.validation], data.y_train[split.validation]),
        "test": (data.x_test, data.y_test),
    }
    scores = {name: float((predict(classifier, x) == y.numpy()).mean()) for name, (x, y) in held_out.items()}
    seconds = round(time.perf_counter() - started, 2)
    return {
        "format": results.FORMAT,
        "experiment": {"dataset": dataset, "labels": labels, "method": method, **settings},
        "seed": seed,
        "labels_sha256": split.hash(),
        **made([sitting(cpu_name(), "float32", None, 1, seconds)]),
        "scikit-learn": sklearn.__version__,
        "python": platform.python_version(),
        "seconds": seconds,
        "finished": today(),
        **data.about_images(),
        "final": {name: {"mean": score, "submodels": [score], "ensemble": score} for name, score in scores.items()},
    }
