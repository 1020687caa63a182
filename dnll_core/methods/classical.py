"""What a scikit-learn user would reach for: label spreading and self-training on the same splits, on raw pixels.

    run_classical("label-spreading", "digits", labels=20, seed=0)["final"]["test"]["mean"]
    Classical("self-training", "digits", labels=20, k_best=10)      # a run of it, for campaigns and searches

Both get the labelled and unlabelled images of a run's split and are scored on its held-out images.
"""

from __future__ import annotations

import platform
import time
import warnings
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import sklearn
import torch
from pydantic import AfterValidator, Field, model_validator
from pydantic.dataclasses import dataclass
from sklearn.base import ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier

from dnll_core.common import FORMAT, today, unknown
from dnll_core.config import Experiment
from dnll_core.data.dataset import Dataset
from dnll_core.data.load import load_data
from dnll_core.data.sets import NAMES
from dnll_core.data.splits import Split, split_labels
from dnll_core.device import cpu_name
from dnll_core.fields import OWN, RULES, ConfigError, checked
from dnll_core.provenance import made, sitting

SMALL_POOL = 2000  # unlabelled images of which self-training takes a fixed number a round, where nothing is set
POOL_LIMIT = 10_000  # unlabelled images at most: the neighbour graph of a larger pool would take many minutes


@checked
@dataclass(frozen=True, kw_only=True, config=RULES)
class Spreading:
    """Settings of label spreading over a graph of the images. Raises ConfigError for what a setting does not take."""

    kernel: Literal["knn", "rbf"] = "knn"  # a graph of nearest neighbours; or of all, weights exp(-gamma distance^2)
    neighbours: Annotated[int, Field(ge=1), OWN] = 7  # of "knn", at most: `fit` takes fewer where images are few
    gamma: Annotated[float, Field(gt=0, allow_inf_nan=False), OWN] = 20.0  # of "rbf"; pixels are in 0...1
    alpha: Annotated[float, Field(gt=0, lt=1), OWN] = 0.2  # share of its neighbours' opinion in that of an image

    def build(self) -> LabelSpreading:
        """The classifier, unfitted."""
        own = {"gamma": self.gamma, "alpha": self.alpha}
        return LabelSpreading(kernel=self.kernel, n_neighbors=self.neighbours, **own, max_iter=200)


@checked
@dataclass(frozen=True, kw_only=True, config=RULES)
class SelfTraining:
    """Settings of self-training, which takes its own confident predictions for labels, round after round.

    Raises:
        ConfigError: for what a setting does not take, or without both threshold and k_best.
    """

    base: Literal["logistic", "neighbours"] = "neighbours"  # the nearest one
    threshold: Annotated[float, Field(ge=0, lt=1), OWN] | None = None  # probability that makes a label; None: k_best
    k_best: Annotated[int, Field(ge=1), OWN] | None = 50  # the most confident predictions a round, until none is left
    c: Annotated[float, Field(gt=0, allow_inf_nan=False), OWN] = 10.0  # of "logistic": inverse of its regularisation

    def __post_init__(self):
        if self.threshold is None and self.k_best is None:
            raise ConfigError("self-training needs a threshold or k_best: without either it would take no prediction.")

    def build(self) -> SelfTrainingClassifier:
        """The classifier, unfitted."""
        logistic = self.base == "logistic"
        base = LogisticRegression(C=self.c, max_iter=1000) if logistic else KNeighborsClassifier(1)
        if self.threshold is not None:
            return SelfTrainingClassifier(base, threshold=self.threshold)
        return SelfTrainingClassifier(base, criterion="k_best", k_best=self.k_best, max_iter=None)


CLASSIFIERS = {"label-spreading": Spreading, "self-training": SelfTraining}


def _images(name: str) -> str:
    if name not in NAMES and (name == "folder:" or not name.startswith("folder:")):
        raise ConfigError(unknown("dataset", name, [*NAMES, "folder:PATH"]))
    return name


@checked
@dataclass(frozen=True, config=RULES)
class Classical:
    """What `run_classical` is told, but for the seed: for a classical method what an `Experiment` is for ours.

    Raises:
        ConfigError: for a method, data set, number of labels or setting that does not exist.
    """

    method: Literal[tuple(CLASSIFIERS)]
    dataset: Annotated[str, AfterValidator(_images)] = "digits"  # a name of `data.sets.NAMES`, or "folder:PATH"
    labels: Annotated[int, Field(ge=1), OWN] | None = 20  # None: every training image that has a label
    settings: tuple[tuple[str, object], ...] = ()  # (name, value), by name: only what was given, the rest are defaults

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, given: Any) -> Any:
        """Settings are given by name, beside the fields. given: pydantic's ArgsKwargs."""
        settings = dict(given.kwargs or {})
        fields = {name: settings.pop(name) for name in ("method", "dataset", "labels") if name in settings}
        return type(given)(given.args, {**fields, "settings": tuple(sorted(settings.items()))})

    def __post_init__(self):
        known = CLASSIFIERS[self.method](**dict(self.settings))
        # as Python's own numbers: equal settings have one name, which JSON can write
        object.__setattr__(self, "settings", tuple((name, getattr(known, name)) for name, _ in self.settings))

    def replace(self, **changes) -> Classical:
        """A copy with some fields or settings changed."""
        return Classical(**{**self.to_dict(), **changes})

    def to_dict(self) -> dict:
        """Fields and settings as plain JSON values; `Classical(**d)` gives the same one back."""
        return {"method": self.method, "dataset": self.dataset, "labels": self.labels, **dict(self.settings)}

    def build(self) -> ClassifierMixin:
        """scikit-learn's classifier with these settings, unfitted; `pixels` makes its input."""
        return CLASSIFIERS[self.method](**dict(self.settings)).build()


def fit(classifier: ClassifierMixin, dataset: Dataset, split: Split) -> ClassifierMixin:
    """Fits on the split's labelled images and at most POOL_LIMIT of its unlabelled ones.

    Label spreading takes fewer neighbours than it was told where there are not more images than those: all but one.
    With every image a neighbour of every image, all of them would get the same answer.
    """
    apart = -(-len(split.unlabelled) // POOL_LIMIT)  # a folder's pool is sorted by class
    pool = split.unlabelled[::apart]
    index = torch.cat([split.labelled, pool])
    targets = np.concatenate([dataset.y_train[split.labelled].numpy(), np.full(len(pool), -1)])
    if isinstance(classifier, LabelSpreading):
        classifier.set_params(n_neighbors=min(classifier.n_neighbors, len(index) - 1))
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


def config_from(fields: dict) -> Experiment | Classical:
    """What these fields, as `to_dict` gives them, are the fields of: by their method.

    Raises:
        ConfigError: for what it does not take.
    """
    return (Classical if fields.get("method") in [*CLASSIFIERS] else Experiment)(**fields)


def run_classical(
    method: str, dataset: str, labels: int | None, seed: int, root: str | Path | None = None, **settings
) -> dict:
    """Fits and scores one classifier. Returns a record as `Run.record` gives it, without a history.

    Without settings, self-training takes so many predictions a round that a large pool is used up in about twenty.
    The record says what was asked for, such as seven neighbours, also where `fit` took fewer for want of images.

    Raises:
        ValueError: for an unknown method, data set or number of labels. ConfigError is one.
    """
    config = used = Classical(method, dataset, labels, **settings)
    started = time.perf_counter()
    data = load_data(dataset, root)
    split = split_labels(data, labels, seed)
    if method == "self-training" and not settings:
        pool = len(split.unlabelled[:: -(-len(split.unlabelled) // POOL_LIMIT)])
        used = config.replace(k_best=pool // 20) if pool > SMALL_POOL else config
    classifier = fit(used.build(), data, split)
    held_out = {
        "validation": (data.x_train[split.validation], data.y_train[split.validation]),
        "test": (data.x_test, data.y_test),
    }
    scores = {name: float((predict(classifier, x) == y.numpy()).mean()) for name, (x, y) in held_out.items()}
    seconds = round(time.perf_counter() - started, 2)
    return {
        "format": FORMAT,
        "experiment": config.to_dict(),
        "seed": seed,
        "labels_sha256": split.hash(),
        **made([sitting(cpu_name(), "float32", None, 1, seconds, "methods.classical")]),
        "scikit-learn": sklearn.__version__,
        "python": platform.python_version(),
        "seconds": seconds,
        "finished": today(),
        **data.about_images(),
        "final": {name: {"mean": score, "submodels": [score], "ensemble": score} for name, score in scores.items()},
    }
