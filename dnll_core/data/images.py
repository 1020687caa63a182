"""Image files as pixels: upright, of one size, grey levels of any depth on one scale; many files at a time."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from dnll_core.bars import watched
from dnll_core.common import user_path
from dnll_core.data.dataset import Dataset
from dnll_core.data.entries import composed, images_below, visible
from dnll_core.data.errors import DataError, as_data_error, listed
from dnll_core.memory import check_room

BITS = (8, 10, 12, 14, 16)  # that cameras and microscopes use, whatever the file has room for
THREADS = min(8, os.cpu_count() or 1)  # Pillow decodes and resizes beside Python; a photo takes about 50 MB meanwhile
SAMPLE = 16  # files from which the time of all is estimated
NAMED = 100  # damaged files at most that one message names


@dataclass(frozen=True)
class Picture:
    """One image file at the size that is wanted.

    pixels: (S, S) grey or (S, S, 3) colour, uint8; of a grey file of more than 8 bits (S, S) float32 in its own levels.
    top: the largest level of such a file, before resizing; None for all others. digest: SHA-256 (hex) of its bytes.
    parts: what of it was left out, in words; "" for nothing.
    """

    pixels: np.ndarray
    top: int | None
    digest: str
    parts: str = ""

    def levels(self, bits: int | None) -> np.ndarray:
        """The pixels as uint8, levels of `bits` bits as 0...255. bits: see `bits_of`; of no use for 8-bit files."""
        if self.top is None:
            return self.pixels
        return np.rint(self.pixels * (255 / (2**bits - 1))).clip(0, 255).astype(np.uint8)


def bits_of(pictures: Sequence[Picture]) -> int | None:
    """The least of BITS that holds all levels of the deep grey pictures; None if there are none.

    One scale for all: stretched each by itself, a dark image and a bright one would be the same.
    """
    return max((_bits(picture.top) for picture in pictures if picture.top is not None), default=None)


def _bits(top: int) -> int:
    return next(bits for bits in BITS if top < 2**bits)


def told(pictures: Mapping[str, Picture], bits: int | None) -> list[str]:
    """In words, how files were read where a user might not expect it. pictures: by the names to say; bits: of them."""
    notes = []
    if bits is not None:
        highest = [name for name, picture in pictures.items() if picture.top is not None and _bits(picture.top) == bits]
        notes.append(
            f"grey files with room for more than 8 bits are read as {bits} bits, level {2**bits - 1} as white, for the "
            f"levels of {listed(highest)}"
        )
    for parts in sorted({picture.parts for picture in pictures.values()} - {""}):
        names = [name for name, picture in pictures.items() if picture.parts == parts]
        notes.append(f"of files with {parts}: {listed(names)}")
    return notes


def read_images(
    paths: str | os.PathLike | Sequence[str | os.PathLike], like: Dataset, progress: bool = False
) -> torch.Tensor:
    """Image files as those of a data set were read, for `Run.predict`: (N, C, H, W) uint8.

    paths: of files; of one alone, N is 1. like: the data set, as it was when the networks were trained: size, grey or
        colour, and the scale of deep grey levels are its own.

    Raises:
        TypeError: for something else than paths and a data set.
        DataError: naming all files that cannot be read, or those with more levels than the data set's images have.
    """
    if not isinstance(like, Dataset):
        raise TypeError(f"like is of type {type(like).__name__}; give the data set that the networks were trained on.")
    paths = [paths] if isinstance(paths, str | os.PathLike) else paths
    if not isinstance(paths, Iterable) or not all(isinstance(path, str | os.PathLike) for path in paths):
        raise TypeError(f"paths are of type {type(paths).__name__}; give a path of an image file, or a list of them.")
    files = [user_path(path) for path in paths]
    pictures = read_pictures(files, like.size[0], progress)
    return as_trained(dict(zip(map(str, files), pictures)), like.size, like.channels, like.bits)


def as_trained(pictures: Mapping[str, Picture], size: tuple[int, int], channels: int, bits: int | None) -> torch.Tensor:
    """Pictures as those were read that networks were trained on: (N, C, H, W) uint8.

    pictures: by the names to say. size, channels, bits: of the data set that was trained on.

    Raises:
        DataError: naming those with more levels than its images have.
    """
    deep = [name for name, picture in pictures.items() if picture.top is not None and picture.top >= 2 ** (bits or 8)]
    if deep:
        raise DataError(
            f"{listed(deep)}: grey levels of more than the {bits or 8} bits of the images trained with, so that it is "
            "not known what is white. Give images of the same kind."
        )
    if channels not in (1, 3):
        raise DataError(f"the networks were trained on tables of {channels} columns, and not on images")
    images = [picture.levels(bits or 8) for picture in pictures.values()]
    if channels == 1:
        images = [x if x.ndim == 2 else np.asarray(Image.fromarray(x).convert("L")) for x in images]
    arrays = np.array(in_colour(images) if channels == 3 else images, dtype=np.uint8)
    return torch.from_numpy(arrays.reshape(len(images), *size, channels)).permute(0, 3, 1, 2)


def in_colour(images: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Grey images (S, S) as (S, S, 3); colour ones as they are."""
    return [image if image.ndim == 3 else np.stack([image] * 3, axis=-1) for image in images]


def read_pictures(files: Sequence[Path], size: int, progress: bool) -> list[Picture]:
    """All files, with a bar, several at a time. If it will take more than a minute, it says so when it begins.

    Raises:
        DataError: naming all files that cannot be read. ConfigError: if there is no memory for so many of that size.
    """
    check_room(len(files) * size**2, f"size={size}: {len(files)} images")
    sample = range(0, len(files), max(1, len(files) // SAMPLE))  # some of everywhere, to know how long it takes
    others = sorted({*range(len(files))} - {*sample})
    pool, began = ThreadPoolExecutor(THREADS), time.perf_counter()
    try:
        waiting: dict[int, Future[Picture]] = {i: pool.submit(read_picture, files[i], size) for i in sample}
        wait(waiting.values())
        minutes = (time.perf_counter() - began) * len(others) / max(1, len(sample)) / 60
        if progress and minutes > 1:
            print(f"reading {len(files)} image files takes about {minutes:.0f} minutes", file=sys.stderr, flush=True)
        waiting |= {i: pool.submit(read_picture, files[i], size) for i in others}
        order = watched([*sample, *others], len(files), "images", progress)
        damaged = {i: error for i in order if (error := waiting[i].exception())}
        if damaged:
            raise _unreadable({files[i]: damaged[i] for i in sorted(damaged)})
        return [waiting[i].result() for i in range(len(files))]
    finally:
        pool.shutdown(cancel_futures=True)  # at Ctrl-C, too, when thousands may be waiting


def read_picture(file: Path, size: int) -> Picture:
    """One image file, resized (bicubic, antialiased; proportions are not kept). Transparency is dropped.

    A JPEG of many pixels is decoded at an eighth, quarter or half of its size, never below twice the wanted one, which
    takes a fraction of the time.

    Raises whatever Pillow's readers raise for a damaged file, and ValueError for what is no image of up to 16 bits.
    """
    if not file.is_file():  # a pipe would wait for ever
        raise ValueError("it is no file") if file.exists() else FileNotFoundError("it is not there")
    data = file.read_bytes()
    with Image.open(io.BytesIO(data)) as image:
        return picture_of(image, size, hashlib.sha256(data).hexdigest())


def picture_of(image: Image.Image, size: int, digest: str = "") -> Picture:
    """What `read_picture` makes of an opened image."""
    parts = _parts(image)
    drafted = image.draft("RGB", (2 * size, 2 * size))  # (mode, box): the last row and column may be a part of one
    small, top = _resized(image, size, drafted and drafted[1])
    with contextlib.suppress(Exception):  # damaged EXIF data, which say nothing of the pixels
        turned = image.getexif().get(ExifTags.Base.Orientation, 1)
        small.info.clear()
        small.getexif()[ExifTags.Base.Orientation] = turned
        small = ImageOps.exif_transpose(small)
    pixels = np.asarray(small)
    if pixels.ndim == 3 and image.mode in ("P", "PA") and (pixels == pixels[..., :1]).all():
        pixels = pixels[..., 0]  # a grey image with a palette, as GIF and tools that shrink files make them
    return Picture(pixels, top, digest, parts)


def _parts(image: Image.Image) -> str:
    """What of an opened file will not be read, in words."""
    if image.format in ("TIFF", "GIF", "WEBP", "PNG") and getattr(image, "is_animated", False):
        return "several pages or frames the first is read"
    if any(";16" in str(tile[3]) for tile in getattr(image, "tile", ())) and not image.mode.startswith("I"):
        return "16 bits of colour or with transparency the upper 8 are read"
    return ""


def _resized(image: Image.Image, size: int, box: tuple[float, ...] | None) -> tuple[Image.Image, int | None]:
    """An opened image at its size, of mode L, F (with its levels) or RGB, and `Picture.top`."""
    converted, top = image, None
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        levels = np.asarray(image)
        top = levels.max()
        if image.mode == "F" or top > 65535 or levels.min() < 0:
            kind = "real numbers" if image.mode == "F" else "32 bits"
            raise ValueError(f"its levels are {kind} of {levels.min()}...{top}, and not 0...65535")
        converted, top = Image.fromarray(levels.astype(np.float32)), int(top)
    elif image.mode in ("1", "L", "LA"):
        converted = image.convert("L")
    else:
        whole = image.convert("RGBA") if image.mode in ("P", "PA") else image  # as its transparency may be a table
        converted = whole.convert("RGB")
    return converted.resize((size, size), Image.Resampling.BICUBIC, box), top


def _unreadable(damaged: dict[Path, Exception]) -> DataError:
    told, advice = [], "Repair or remove it, or convert it to PNG."
    for file, error in damaged.items():
        why = str(error) or type(error).__name__
        if isinstance(error, UnidentifiedImageError):
            why = "in no format that Pillow knows"
        if isinstance(error, Image.DecompressionBombError):
            why = f"more than {2 * Image.MAX_IMAGE_PIXELS // 10**6} megapixels; make it smaller or cut it into tiles"
        told.append(f"{file} cannot be read as an image ({why}).")
    if len(told) == 1:
        return DataError(told[0] if isinstance(error, FileNotFoundError) else f"{told[0]} {advice}")
    more = [f"and {len(told) - NAMED} more"] * (len(told) > NAMED)
    return DataError("\n".join([f"{len(told)} files are to be repaired, converted or removed:", *told[:NAMED], *more]))


def read_any(what: object, size: int, progress: bool = False) -> tuple[list, list[Picture]]:
    """Names and pictures of whatever holds images: a path of an image or of a folder, an image of Pillow, an array.

    what: or a list of these. A folder is searched at any depth. Arrays are (H, W), (H, W, 1) or (H, W, 3),
        uint8 or, grey, uint16. Names are those of files, relative to a folder, or numbers.

    Raises TypeError for anything else, DataError naming all files that cannot be read.
    """
    if isinstance(what, np.ndarray) and what.ndim == 1:
        what = what.tolist()  # of paths
    one = (what.ndim, what.shape[-1]) if isinstance(what, np.ndarray) and what.ndim else None
    listlike = not isinstance(what, str | os.PathLike | Image.Image | Mapping) and isinstance(what, Iterable)
    several = listlike if one is None else one[0] == 4 or (one[0] == 3 and one[1] not in (1, 3, 4))
    items = list(what) if several else [what]
    if any(isinstance(item, str | os.PathLike) and not os.fspath(item) for item in items):
        raise DataError("an empty path names no image and no folder")
    if items and all(isinstance(item, str | os.PathLike) for item in items):
        paths, names = [user_path(item) for item in items], [os.fspath(item) for item in items]
        if not several and paths[0].is_dir():
            others: list[str] = []
            paths, names = images_of(paths[0], others)
            if progress and others:
                print(f"left out, as their endings are no image's: {len(others)} ({listed(others)})", file=sys.stderr)
        return names, read_pictures(paths, size, progress)
    return list(range(len(items))), [_picture(item, size) for item in items]


def images_of(folder: Path, others: list[str] | None = None) -> tuple[list[Path], list[str]]:
    """The images in a folder, at any depth, and their names relative to it, sorted; leftovers of systems are skipped.

    others: gets the names of files with another ending.

    Raises:
        DataError: if there are none.
    """
    with as_data_error(folder):
        found = {
            composed(Path(file.path).relative_to(folder).as_posix()): file
            for file in images_below(visible(folder, []), [], others)
        }
    if not found:
        raise DataError(f"{folder} holds no image")
    names = sorted(found)
    return [Path(found[name].path) for name in names], names


def _picture(item: object, size: int) -> Picture:
    """An image of Pillow or an array as a file of it would be read."""
    if isinstance(item, np.ndarray):
        item = item[..., 0] if item.ndim == 3 and item.shape[-1] == 1 else item
        kinds = {(2, "uint8"), (2, "uint16"), (3, "uint8")}
        if (
            0 in item.shape
            or (item.ndim, item.dtype.name) not in kinds
            or (item.ndim == 3 and item.shape[-1] not in (3, 4))
        ):
            raise TypeError(
                f"an image is an array {item.shape} of {item.dtype}; accepted are (H, W) and (H, W, 3) of uint8, "
                "levels 0...255, and (H, W) of uint16. Of 0...1: (255 * image).round().astype('uint8')."
            )
        item = Image.fromarray(np.ascontiguousarray(item))
    if not isinstance(item, Image.Image):
        raise TypeError(f"an image is of type {type(item).__name__}; accepted are paths, images of Pillow and arrays")
    return picture_of(item.copy(), size)
