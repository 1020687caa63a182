"""Named data sets as uint8 tensors in memory, and the label splits of the experiments.

    dataset = load_data("cifar10")                  # digits, mnist, usps, cifar10, svhn, or folder:PATH
    split = split_labels(dataset, labels=1000, seed=0)

The first load of mnist, usps, cifar10 or svhn downloads the originals with Torchvision into `<root>/raw/<name>` and
keeps the arrays in one prepared file, `<root>/<name>.npz`, which later loads read. digits comes with scikit-learn; a
folder of one's own images is read as it is. The root is the argument, else the environment variable DNLL_DATA, else
`data/` of the checkout. This module owns files, integrity and splits (`dnll_core.data.splits`); augmentation and
normalisation happen elsewhere.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import tokenize
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dnll_core.common import atomic_file, unknown
from dnll_core.data.dataset import (
    KEYS,
    DataError,
    Dataset,
    array_digests,
    channel_statistics,
    dataset_of,
    digest_of,
)
from dnll_core.data.domain import shift
from dnll_core.data.folders import load_folder
from dnll_core.data.sets import DIGIT_CLASSES, NAMES, SHA256, SOURCES
from dnll_core.data.splits import hold_out

# What NumPy and zipfile raise for a damaged file. TypeError and AttributeError: a bare array under this name, which
# np.load returns as it is; the last three: damaged headers.
_UNREADABLE = (
    *(OSError, EOFError, ValueError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error),
    *(NotImplementedError, RuntimeError, tokenize.TokenError),
)


def data_root(root: str | os.PathLike | None = None) -> Path:
    """The folder of prepared files: `root`, else DNLL_DATA, else `data/` of the checkout, else `./data`."""
    chosen = root or os.environ.get("DNLL_DATA")
    if chosen:
        return Path(chosen).expanduser()
    checkout = Path(__file__).resolve().parents[2]
    return checkout / "data" if (checkout / "pyproject.toml").is_file() else Path("data")


def load_data(
    name: str,
    root: str | os.PathLike | None = None,
    *,
    size: int | None = None,
    download: bool = True,
    progress: bool = True,
) -> Dataset:
    """Load a data set by name: one of NAMES, or "folder:PATH" (one sub-folder of images per class; see data/README.md).

    size: height and width in pixels to resize to, bicubic with antialiasing, 8-bit result; None keeps the data set's
        own (32 for a folder). mean and std stay those of the original images of a named set.
    download: False never opens a connection; the originals, if they are there, are still used.
    progress: show a bar while downloading and, on a terminal, while reading a folder.

    digits: 500 of scikit-learn's 1797 images (50 per class, the same for every seed) are the test set; 0..16 becomes
    0..255. digits-source and digits-target have half of its training images each, and their own half of the test
    images; those of digits-target are redrawn, see `data.domain.shift`.

    Raises ValueError or TypeError for an argument, DataError for files (absent, damaged, unreadable).
    """
    if not isinstance(name, str):
        raise TypeError(f"name must be a str, got {name!r} ({type(name).__name__})")
    if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 1):
        raise ValueError(f"size must be a positive int (pixels) or None, got {size!r}")
    if name.startswith("folder:"):
        return load_folder(name.removeprefix("folder:"), 32 if size is None else size, progress)
    if name.startswith("digits") and name in NAMES:
        arrays, classes = _digits(name.removeprefix("digits").removeprefix("-")), DIGIT_CLASSES
        mean, std = channel_statistics(arrays["x_train"])
        digest = digest_of(array_digests(arrays))
    elif name in SOURCES:
        (arrays, digest), classes = _load_prepared(name, data_root(root), download, progress), SOURCES[name].classes
        mean, std = SOURCES[name].mean, SOURCES[name].std
    else:
        raise ValueError(unknown("dataset", name, [*NAMES, "folder:PATH"]))
    dataset = dataset_of(name, {key: _resize(arrays[key], size) for key in KEYS}, classes, mean, std)
    return dataclasses.replace(dataset, digest=digest)


def _resize(array: np.ndarray, size: int | None) -> np.ndarray:
    """Images (N, H, W[, 3]) uint8 resized by Pillow to size x size; labels (N,) and size=None pass through."""
    if array.ndim == 1 or size is None or array.shape[1:3] == (size, size):
        return array
    return np.stack([np.asarray(Image.fromarray(x).resize((size, size), Image.Resampling.BICUBIC)) for x in array])


def _digits(domain: str = "") -> dict[str, np.ndarray]:
    """domain: "" for all images, "source" or "target" for one half of them."""
    from sklearn.datasets import load_digits  # slow to import, and needed by this data set alone

    raw = load_digits()
    images, labels = np.rint(raw.images * (255 / 16)).astype(np.uint8), raw.target.astype(np.uint8)
    test, keep = hold_out(labels, [50] * 10, "digits"), np.ones(len(labels), dtype=bool)
    if domain:
        half = np.zeros_like(keep)
        for part in (~test, test):  # no image is in both domains, not even redrawn
            counts = np.bincount(labels[part]) // 2
            half[part] = hold_out(labels[part], counts.tolist(), "digits-target")
        keep = half if domain == "target" else ~half
        images = shift(images) if domain == "target" else images
    parts = {"train": keep & ~test, "test": keep & test}
    return {f"{letter}_{p}": values[m] for p, m in parts.items() for letter, values in (("x", images), ("y", labels))}


# (path, inode, time of change, bytes) of each prepared file that this process, or the one that started it, has verified
# -> the digest of its arrays. Whoever starts a worker hands it on.
VERIFIED: dict[tuple[str, int, int, int], str] = {}


def _load_prepared(name: str, root: Path, download: bool, progress: bool) -> tuple[dict[str, np.ndarray], str]:
    """The arrays of `<root>/<name>.npz`, prepared from the originals first if the file is not there; their digest."""
    path = root / f"{name}.npz"
    if path.is_file():
        return _read_prepared(name, path)
    raw = root / "raw" / name
    arrays = _read_originals(name, raw, download, progress)
    digest = _checked(name, arrays, raw, f"Nothing was written. Delete {raw} and load again.")
    with atomic_file(path) as file:
        np.savez(file, **arrays)
    return arrays, digest


def _read_prepared(name: str, path: Path) -> tuple[dict[str, np.ndarray], str]:
    advice = "Delete the file and load again."
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as file:
            seen = os.fstat(stream.fileno())
            arrays = {key: file[key] for key in KEYS if key in file}
    except _UNREADABLE as error:
        raise DataError(f"{path} cannot be read ({error}). {advice}") from error
    state = (str(path.resolve()), seen.st_ino, seen.st_mtime_ns, seen.st_size)
    VERIFIED[state] = _checked(name, arrays, path, advice, VERIFIED.get(state))
    return arrays, VERIFIED[state]


def verify_prepared(names: Iterable[str]) -> None:
    """Verifies the prepared files of these data sets that are there, for the workers to come.

    What is wrong with a file is told by whoever loads it.
    """
    for name in names:
        path = data_root() / f"{name}.npz"
        with contextlib.suppress(DataError):
            if name in SOURCES and path.is_file():
                _read_prepared(name, path)


def _checked(name: str, arrays: dict[str, np.ndarray], where: Path, advice: str, digest: str | None = None) -> str:
    """The digest of a data set's arrays, which are what they should be, else DataError.

    digest: what it is, where the arrays were hashed before; it takes a good part of the time of reading them.
    """
    source = SOURCES[name]
    for i, key in enumerate(KEYS):
        if key not in arrays:
            raise DataError(f"{where} has no array {key!r}. {advice}")
        array, count = arrays[key], (source.train, source.test)[i // 2]
        shape = (count,) if key.startswith("y") else (count, *source.image)
        if array.dtype != np.uint8 or array.shape != shape:
            raise DataError(f"{where}: {key} is {array.dtype} {array.shape}, expected uint8 {shape}. {advice}")
        if key.startswith("y") and array.max() >= len(source.classes):
            raise DataError(f"{where}: {key} has label {array.max()}, expected 0..{len(source.classes) - 1}. {advice}")
    if digest is not None:
        return digest
    found = array_digests(arrays)
    for key, mine, known in zip(KEYS, found, SHA256.get(name, found)):
        if mine != known:
            raise DataError(f"{where}: SHA-256 of {key} is {mine}, expected {known}. {advice}")
    return digest_of(found)


def _originals(name: str, raw: Path) -> list[tuple[str, Path, str]]:
    """Address, place and MD5 of each original file, from Torchvision."""
    from torchvision import datasets  # seconds to import, and needed only to prepare a file

    if name == "mnist":
        kind = datasets.MNIST
        return [(kind.mirrors[0] + file, raw / "MNIST" / "raw" / file, md5) for file, md5 in kind.resources]
    if name == "cifar10":
        return [(datasets.CIFAR10.url, raw / datasets.CIFAR10.filename, datasets.CIFAR10.tgz_md5)]
    listed = (datasets.SVHN if name == "svhn" else datasets.USPS).split_list
    return [(url, raw / file, md5) for url, file, md5 in (listed["train"], listed["test"])]


def _read_originals(name: str, raw: Path, download: bool, progress: bool) -> dict[str, np.ndarray]:
    """Download (if allowed) and read the original files; DataError says which files to put where by hand."""
    from torchvision import datasets
    from torchvision.datasets.utils import check_integrity, download_url

    originals, arrays = _originals(name, raw), {}
    # Intact archives placed by hand: Torchvision's download then only unpacks them, without a connection.
    fetch = download or all(check_integrity(place, md5) for _, place, md5 in originals)
    kind = {"mnist": datasets.MNIST, "usps": datasets.USPS, "cifar10": datasets.CIFAR10, "svhn": datasets.SVHN}[name]
    try:
        with contextlib.nullcontext() if progress else contextlib.redirect_stderr(io.StringIO()):
            for url, place, md5 in originals if name == "usps" and fetch else ():
                # The USPS class takes any file of that name; this replaces one that an interrupted download left.
                download_url(url, raw, place.name, md5)
            for part in ("train", "test"):
                choice = {"split": part} if name == "svhn" else {"train": part == "train"}
                data = kind(raw, **choice, download=fetch)
                images = data.data.transpose(0, 2, 3, 1) if name == "svhn" else data.data
                labels = data.labels if name == "svhn" else data.targets
                for letter, values in (("x", images), ("y", labels)):  # a tensor, an array or a list
                    arrays[f"{letter}_{part}"] = torch.as_tensor(values).to(torch.uint8).contiguous().numpy()
    except Exception as error:  # whatever the connection, the archive or the reader raises, the remedy is the same
        places = "".join(f"\n  {url}  ->  {place}  (MD5 {md5})" for url, place, md5 in originals)
        cause = "could not be downloaded or read" if download else "is not prepared, and download=False"
        raise DataError(
            f"{name} {cause} ({type(error).__name__}: {error}). "
            f"Put the original files there by hand, in place of damaged ones, and load again:{places}"
        ) from error
    return arrays
