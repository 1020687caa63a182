"""Domain adaptation (section 4.8): labelled images of one data set, unlabelled and test images of another.

    pair, split = load_pair(load_data("usps", size=28), load_data("mnist"), labels=None, seed=0)

`Experiment(source="usps", dataset="mnist", size=28, ...)` trains on it. `shift` draws the stand-in for a second domain
that needs no download.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import torch

from dnll_core.data.dataset import Dataset, digest_of_lines
from dnll_core.data.errors import DataError
from dnll_core.data.splits import Split, split_labels, stable_random

# ranges from which `shift` draws for each image
SLANT = (0.2, 0.6)  # columns moved to the right for each row upwards
STROKE = (0.0, 1.0)  # 0: as it is, 1: each stroke grown by a quarter of a pixel on all sides
CONTRAST = (0.5, 0.9)  # height of white above the background
BACKGROUND = (0.0, 0.1)  # brightness of what was black
_FINE = 4  # the drawing is done on a grid this much finer than the pixels


def shift(images: np.ndarray) -> np.ndarray:
    """Digits as another hand and another scanner would have drawn them: slanted, thicker, of less contrast.

    images: (N, H, W) uint8. Returns the same, each image with its own draw, the same one in every process.
    """
    from scipy import ndimage  # comes with scikit-learn; needed by this stand-in alone

    drawn = np.empty_like(images)
    random = stable_random("shift", *images.shape)
    slants, strokes, contrasts, backgrounds = (
        random.uniform(*bounds, len(images)) for bounds in (SLANT, STROKE, CONTRAST, BACKGROUND)
    )
    for i, image in enumerate(images):
        fine = ndimage.zoom(image / 255, _FINE, order=3, mode="nearest", grid_mode=True).clip(0, 1)
        centre = (np.array(fine.shape) - 1) / 2
        matrix = np.array([[1.0, 0.0], [slants[i], 1.0]])  # (row, column) in the output -> in the input
        fine = ndimage.affine_transform(fine, matrix, centre - matrix @ centre, order=1)
        thick = ndimage.grey_dilation(fine, size=(3, 3))
        fine = fine + strokes[i] * (thick - fine)
        coarse = fine.reshape(image.shape[0], _FINE, image.shape[1], _FINE).mean(axis=(1, 3))
        drawn[i] = np.rint(255 * (backgrounds[i] + contrasts[i] * coarse))
    return drawn


def load_pair(source: Dataset, target: Dataset, labels: int | None, seed: int) -> tuple[Dataset, Split]:
    """The two data sets as one, and its split: the source's training images come first and alone have labels.

    Args:
        labels: labelled source images, balanced, or None for all; a part of the source is kept for validation, since
            no label of the target may choose anything.

    Returns:
        A data set whose test images are the target's, normalised with the target's mean and standard deviation, and
        the split, whose pool is all training images of the target.

    Raises:
        DataError: if the two do not have the same classes and shape of images.
    """
    # folders of one name have files of the same names, which may be other images
    shared = not source.files or set(source.files.values()) & set(target.files.values())
    if source.name == target.name and shared:
        raise DataError(
            f"source and target are the same images ({source.name}); domain adaptation needs two data sets."
        )
    if source.classes != target.classes:
        raise DataError(
            f"{source.name} has {source.num_classes} classes and {target.name} has {target.num_classes}, or they are "
            "named differently; domain adaptation needs the same classes in both."
        )
    if source.channels != target.channels:
        raise DataError(
            f"images of {source.name} have {source.channels} channels and those of {target.name} {target.channels}; "
            "domain adaptation needs grey images in both, or colour in both."
        )
    if source.x_train.shape[1:] != target.x_train.shape[1:]:
        raise DataError(
            f"images of {source.name} are {_shape(source)} and those of {target.name} {_shape(target)} "
            "(channels x height x width); give size=... to have both resized (the paper: USPS and MNIST at 28)."
        )
    unknown = torch.full((len(target.x_train),), -1)
    pair_of = {"source": source, "target": target}
    pair = dataclasses.replace(
        target,
        name=f"{source.name}->{target.name}",
        x_train=torch.cat([source.x_train, target.x_train]),
        y_train=torch.cat([source.y_train, unknown]),
        digest=digest_of_lines([source.digest, target.digest]),
        files={f"{part}: {name}": d for part, of in pair_of.items() for name, d in of.files.items()},
    )
    split = split_labels(pair, labels, seed)
    pool = split.unlabelled[split.unlabelled >= len(source.x_train)]  # source images without label stay out
    return pair, dataclasses.replace(split, unlabelled=pool)


def _shape(dataset: Dataset) -> str:
    return "x".join(str(n) for n in dataset.x_train.shape[1:])


def without_labels(probabilities: torch.Tensor) -> dict[str, float]:
    """What can be known of predictions on unlabelled images, to choose settings without labels of the target.

    "information": how sure each prediction is while the classes are in balance, H(mean p) - mean H(p) over log K, of
    the mean probabilities of the submodels; 0...1, the mutual information of Bridle et al. (NeurIPS 1991).
    "agreement": share of images on which two submodels predict the same class; absent with one predictor.

    Args:
        probabilities: (S, N, K).
    """
    p = probabilities.double().mean(0)  # (N, K)
    entropy_of_mean, mean_entropy = torch.special.entr(p.mean(0)).sum(), torch.special.entr(p).sum(1).mean()
    criteria = {"information": float((entropy_of_mean - mean_entropy) / math.log(p.shape[1]))}
    if len(probabilities) == 2:
        first, second = probabilities.argmax(-1)
        criteria["agreement"] = float((first == second).double().mean())
    return criteria
