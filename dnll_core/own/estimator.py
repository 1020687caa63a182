"""`DNLLClassifier`, an estimator as scikit-learn's.

DNLLClassifier(random_state=0).fit(images, labels).predict(others)  # labels: -1 or "" where there is none
cross_val_score(DNLLClassifier(), images, labels, cv=LabelledKFold(5))
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.metrics import accuracy_score
from sklearn.utils import Tags, check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from dnll_core.config import Experiment
from dnll_core.data.arrays import layout, range_of, to_levels
from dnll_core.data.dataset import channel_statistics, dataset_of
from dnll_core.data.folds import without_label
from dnll_core.fields import Count, read
from dnll_core.own.model import model_of
from dnll_core.run import train
from dnll_core.study.folders import STEPS, lengths, settings


class DNLLClassifier(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClassifierMixin, BaseEstimator):
    """Two submodels that teach each other what an image is not, or any other method of this package, by its name.

    X is (N, H, W) or (N, H, W, C), or flat (N, H * W * C) with `image_shape`; C is 1 or 3. Of floats, the least and the
    largest value of `fit` become level 0 and 255 of 8 bits. A table (N, D) without `image_shape` is taken as well: each
    column is a channel of its own, with levels of its own.

    Args:
        method: of `Experiment`. image_shape: (H, W) or (H, W, C). m: negatives of an image; None: three, or the classes
            less one. lam, selection, network, weak, strong: of `Experiment`. steps: iterations at least.
        settings: other fields of `Experiment`, as a dict. random_state: an int is the seed of `train`.
        device: see `device.choose_compute`.

    Attributes:
        classes_: sorted labels. `model_`: the trained `own.model.Model`; of images it can be saved. `n_iter_`: steps.
    """

    def __init__(
        self,
        method="dnll",
        *,
        image_shape=None,
        m=None,
        lam=1.0,
        selection="ep",
        network="small",
        weak="identity",
        strong="noise",
        steps=STEPS,
        settings=None,
        random_state=None,
        device="auto",
    ):
        self.method, self.image_shape, self.m, self.lam, self.selection = method, image_shape, m, lam, selection
        self.network, self.weak, self.strong, self.steps, self.settings = network, weak, strong, steps, settings
        self.random_state, self.device = random_state, device

    def fit(self, X, y):
        """X: see above. y: (N,) labels; rows of -1 (of text: "") have none, and serve as unlabelled images.

        Raises ValueError for what cannot be trained with; `ConfigError`, which is one, names the field.
        """
        vars(self).pop("model_", None)  # that of an earlier fit does not fit these columns and classes
        X, y = validate_data(self, X, y, allow_nd=True)
        check_classification_targets(y)
        no_label = without_label(y)
        if no_label.all():
            raise ValueError(f"y has no label: all of its {len(y)} rows are marked as unlabelled (-1, or '' of text)")
        try:
            self.classes_, known = np.unique(y[~no_label], return_inverse=True)
        except TypeError:
            raise ValueError(
                "y mixes text with other things; a row without a label is '' among text, -1 among numbers"
            ) from None
        if len(self.classes_) < 2:
            raise ValueError(f"y has one class, {self.classes_[0]!r}, beside unlabelled rows; at least two are needed")
        images = layout(X, self.image_shape)
        self._low, self._high = range_of(images, X.ndim == 2 and self.image_shape is None)
        images, labels = to_levels(images, self._low, self._high), np.full(len(y), -1)
        labels[~no_label] = known
        order = np.argsort(no_label, kind="stable")  # as of a folder, images with a label come first
        arrays = {"x_train": images[order], "y_train": labels[order], "x_test": images[:0], "y_test": labels[:0]}
        titles = tuple(map(str, self.classes_))
        dataset = dataset_of("arrays", arrays, titles, *channel_statistics(images))
        dataset = dataclasses.replace(dataset, validates=False)
        experiment = self._experiment(int((~no_label).sum()), int(no_label.sum()))
        seed = self.random_state
        seed = seed if isinstance(seed, int | np.integer) else check_random_state(seed).randint(2**31)
        run = train(experiment, int(seed), device=self.device, progress=False, load=lambda *_, **__: dataset)
        self.model_, self.n_iter_ = model_of(run), run.trainer.step
        self._n_features_out = self.model_.networks[0].hidden
        return self

    def predict_proba(self, X):
        """(N, K) probabilities, in the order of `classes_`."""
        images = self._read(X)
        return self.model_.probabilities(images).double().numpy()

    def predict(self, X):
        """(N,) labels, of those in `classes_`."""
        answers = self.predict_proba(X).argmax(1)
        return self.classes_[answers]

    def transform(self, X):
        """(N, F) the last hidden layer of the first network."""
        images = self._read(X)
        return self.model_.embed(images).double().numpy()

    def score(self, X, y, sample_weight=None):
        """Share 0...1 of right answers among the rows with a label. Raises ValueError if there are none."""
        known = ~without_label(np.asarray(y))
        if not known.any():
            raise ValueError(f"y has no label to compare with: all of its {len(known)} rows are marked as unlabelled")
        weights = None if sample_weight is None else np.asarray(sample_weight)[known]
        return accuracy_score(np.asarray(y)[known], self.predict(X)[known], sample_weight=weights)

    def _experiment(self, labelled, pool):
        own = {name: getattr(self, name) for name in ("method", "lam", "selection", "network", "weak", "strong")}
        own["m"] = settings(len(self.classes_))["m"] if self.m is None else self.m
        length = lengths(labelled, pool or labelled, read("steps", Count, self.steps))
        more = {} if self.settings is None else dict(self.settings)
        if taken := sorted(more.keys() & {"dataset", "labels", *own}):
            raise ValueError(f"settings has {', '.join(taken)}, which the data or the estimator's own parameters give")
        return Experiment(dataset="folder:arrays", labels=None, **length | own | more)

    def _read(self, X):
        check_is_fitted(self, "model_")
        X = validate_data(self, X, allow_nd=True, reset=False)
        images = to_levels(layout(X, self.image_shape), self._low, self._high)
        images = images[..., None] if images.ndim == 3 else images
        return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags
