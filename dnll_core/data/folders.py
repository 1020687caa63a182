"""A folder of one's own images as a `Dataset`: one sub-folder per class, optional `unlabelled` and `test`."""

from __future__ import annotations

import dataclasses
import hashlib
import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from dnll_core.common import watched
from dnll_core.data.dataset import DataError, Dataset, channel_statistics, dataset_of, digest_of_lines
from dnll_core.data.splits import hold_out


def load_folder(text: str, size: int, progress: bool) -> Dataset:
    """Images of one's own: one sub-folder per class, optional `unlabelled` and `test`; see data/README.md.

    Labelled training images come first in x_train, in sorted order of class and file name, the unlabelled ones last.
    The name, and so the splits, depend on the sorted class and file names of the labelled images, not on where the
    folder is.
    """
    path = Path(text).expanduser()
    if not text or not path.is_dir():
        raise DataError(
            f"folder {text!r} is not there; give folder:PATH of a folder with one sub-folder of images per class"
        )
    special = ("test", "unlabelled", "unlabeled")
    folders = _subfolders(path)
    labelled = {title: _files(folder) for title, folder in folders.items() if title not in special}
    if len(labelled) < 2:
        raise DataError(
            f"{path} has {len(labelled)} class folders ({', '.join(labelled) or 'none'}); at least 2 are needed"
        )
    classes = tuple(labelled)
    labels = np.repeat(np.arange(len(classes)), [len(files) for files in labelled.values()])
    files = [file for group in labelled.values() for file in group]
    key = digest_of_lines(f"{file.parent.name}/{file.name}" for file in files)
    least = 2 if "test" in folders else 3
    for title, group in labelled.items():
        if len(group) < least:
            needs = "training and validation" if least == 2 else "training, validation and testing"
            raise DataError(f"{path / title} has {len(group)} images; at least {least} are needed ({needs})")
    if "test" in folders:
        tests = {title: _files(folder) for title, folder in _subfolders(folders["test"]).items()}
        if tuple(tests) != classes:
            raise DataError(
                f"{folders['test']} has classes {tuple(tests)}, but training has {classes}; they must be the same"
            )
        test_files = [file for group in tests.values() for file in group]
        test_labels = np.repeat(np.arange(len(classes)), [len(group) for group in tests.values()])
    else:
        test = hold_out(labels, [max(1, len(group) // 5) for group in labelled.values()], key)
        test_files, test_labels = [file for file, held in zip(files, test) if held], labels[test]
        files, labels = [file for file, held in zip(files, test) if not held], labels[~test]
    extra = [file for title in special[1:] if title in folders for file in _files(folders[title])]
    images, digests = [], {}
    for file in watched([*files, *extra, *test_files], len(files + extra + test_files), "images", progress):
        image, digest = _read_image(file, size)
        images.append(image)
        digests[file.relative_to(path).as_posix()] = digest[:16]
    if any(image.ndim == 3 for image in images):
        images = [image if image.ndim == 3 else np.stack([image] * 3, axis=-1) for image in images]
    n = len(files) + len(extra)
    arrays = {
        "x_train": np.stack(images[:n]),
        "y_train": np.concatenate([labels, np.full(len(extra), -1)]),
        "x_test": np.stack(images[n:]),
        "y_test": test_labels,
    }
    dataset = dataset_of(f"folder:{key[:12]}", arrays, classes, *channel_statistics(arrays["x_train"]))
    whole = digest_of_lines(f"{digest} {name}" for name, digest in sorted(digests.items()))
    return dataclasses.replace(dataset, digest=whole, files=digests)


def _visible(path: Path) -> list[Path]:
    """Sorted content, without what desktops leave behind."""
    return sorted(
        p for p in path.iterdir() if not p.name.startswith(".") and p.name not in ("Thumbs.db", "desktop.ini")
    )


def _subfolders(path: Path) -> dict[str, Path]:
    return {p.name: p for p in _visible(path) if p.is_dir()}


def _files(folder: Path) -> list[Path]:
    files = _visible(folder)
    nested = next((p for p in files if p.is_dir()), None)
    if nested or not files:
        problem = f"holds the folder {nested.name!r}; put its images beside the others" if nested else "is empty"
        raise DataError(f"{folder} {problem}; a class folder (and `unlabelled`) holds images only, at least one")
    return files


def _read_image(path: Path, size: int) -> tuple[np.ndarray, str]:
    """One image file, upright, as uint8 (size, size) if its file is grey, else (size, size, 3); its SHA-256."""
    try:
        data = path.read_bytes()
        with Image.open(io.BytesIO(data)) as file:
            image = ImageOps.exif_transpose(file)
            if image.mode.startswith("I;16"):  # 16-bit grey: converting would clip at 255 instead of scaling
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            if image.mode in ("I", "F"):  # converting would clip them to black and white
                levels = np.asarray(image)
                if image.mode == "F" or levels.max() > 65535 or levels.min() < 0:
                    raise ValueError(f"{image.mode} pixels of {levels.min()}...{levels.max()}, neither 8 nor 16 bit")
                image = Image.fromarray((levels >> 8).astype(np.uint8))
            image = image.convert("L" if image.mode in ("1", "L", "LA") else "RGB")
            resized = np.asarray(image.resize((size, size), Image.Resampling.BICUBIC))
            return resized, hashlib.sha256(data).hexdigest()
    except Exception as error:  # Pillow's readers raise many kinds for a damaged file
        why = "in no format that Pillow knows" if isinstance(error, UnidentifiedImageError) else error
        raise DataError(f"{path} cannot be read as an image ({why}). Repair or remove it.") from error
