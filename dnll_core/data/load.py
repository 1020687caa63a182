"""Named data sets as uint8 tensors in memory, and the label splits of the experiments.

    dataset = load_data("cifar10")                  # digits, mnist, usps, cifar10, svhn, or folder:PATH
    split = split_labels(dataset, labels=1000, seed=0)

The first load of mnist, usps, cifar10 or svhn downloads the originals with Torchvision into `<root>/raw/<name>` and
keeps the arrays in one prepared file, `<root>/<name>.npz`, which later loads read. digits comes with scikit-learn; a
folder of one's own images is read as it is. Augmentation and normalisation happen elsewhere.
"""

from __future__ import annotations

import dataclasses
import math
import os
from pathlib import Path
from typing import Annotated

import numpy as np
from PIL import Image
from pydantic import Field

from dnll_core.common import data_folder, folder_in, shown, unknown, user_path
from dnll_core.data.dataset import KEYS, Dataset, array_digests, channel_statistics, dataset_of, digest_of_lines
from dnll_core.data.digits import digits
from dnll_core.data.folders import Tables, load_folder
from dnll_core.data.prepared import load_prepared
from dnll_core.data.sets import NAMES, SETS
from dnll_core.fields import OWN, read
from dnll_core.memory import check_room


def data_root(root: str | os.PathLike | None = None) -> Path:
    """The folder of prepared files: `root`, else the environment variable DNLL_DATA, else `common.data_folder`."""
    return user_path(root) if root else folder_in("DNLL_DATA") or data_folder()


def load_data(
    name: str,
    root: str | os.PathLike | None = None,
    *,
    size: int | None = None,
    download: bool = True,
    progress: bool = True,
    labels: Tables = None,
) -> Dataset:
    """Load a data set by name: one of NAMES, or "folder:PATH" (one sub-folder of images per class; see data/README.md).

    size: height and width in pixels to resize to, bicubic with antialiasing, 8-bit result; None keeps the data set's
        own (32 for a folder). mean and std stay those of the original images of a named set.
    download: False never opens a connection; the originals, if they are there, are still used.
    progress: show a bar while downloading and, on a terminal, while reading a folder; say what was left out of it.
    labels: of a folder, a CSV with the columns file and class, or several; see `folders.list_folder`.

    digits: 500 of scikit-learn's 1797 images (50 per class, the same for every seed) are the test set; 0..16 becomes
    0..255. digits-source and digits-target have half of its training images each, and their own half of the test
    images; those of digits-target are redrawn, see `data.domain.shift`.

    Raises ValueError or TypeError for an argument, DataError for files (absent, damaged, unreadable).
    """
    if not isinstance(name, str):
        raise TypeError(f"name must be a str, got {name!r} ({type(name).__name__})")
    size = read("size", Annotated[int, Field(ge=1), OWN] | None, size)
    if name.startswith("folder:"):
        return load_folder(name.removeprefix("folder:"), 32 if size is None else size, progress, labels)
    if labels is not None:
        raise ValueError(f"labels={shown(str(labels))} goes with a folder alone, and not with {name!r}")
    if name not in SETS:
        raise ValueError(unknown("dataset", name, [*NAMES, "folder:PATH"]))
    known = SETS[name]
    if known.downloaded:
        (arrays, digest), mean, std = load_prepared(name, data_root(root), download, progress), known.mean, known.std
    else:
        arrays = digits(name.removeprefix("digits").removeprefix("-"))
        digest, (mean, std) = digest_of_lines(array_digests(arrays)), channel_statistics(arrays["x_train"])
    dataset = dataset_of(name, {key: _resize(arrays[key], size) for key in KEYS}, known.classes, mean, std)
    return dataclasses.replace(dataset, digest=digest)


def _resize(array: np.ndarray, size: int | None) -> np.ndarray:
    """Images (N, H, W[, 3]) uint8 resized by Pillow to size x size; labels (N,) and size=None pass through."""
    if array.ndim == 1 or size is None or array.shape[1:3] == (size, size):
        return array
    check_room(len(array) * size**2 * math.prod(array.shape[3:]), f"size={size}: {len(array)} images")
    return np.stack([np.asarray(Image.fromarray(x).resize((size, size), Image.Resampling.BICUBIC)) for x in array])
