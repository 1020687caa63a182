"""Image files as pixels: upright, of one size, grey levels of any depth on one scale; many files at a time."""

from __future__ import annotations

import contextlib
import hashlib
import math
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
from dnll_core.common import brief, tell, user_path
from dnll_core.data.dataset import Dataset
from dnll_core.data.entries import formats, images_of
from dnll_core.data.errors import DataError, listed
from dnll_core.data.opened import opened
from dnll_core.datafiles import read_whole
from dnll_core.memory import check_room

BITS = (8, 10, 12, 14, 16)  # that cameras and microscopes use, whatever the file has room for
THREADS = min(8, os.cpu_count() or 1)  # Pillow decodes and resizes beside Python; a photo takes about 50 MB meanwhile
SAMPLE = 16  # files from which the time of all is estimated
NOT_THERE = "it is not there"
NAMED = 100  # damaged files at most that one message names
LARGEST = 2**29  # bytes of a file: an uncompressed one of as many pixels as Pillow reads
LARGE = 2**24  # pixels, or bytes of a file: beyond, one thread reads them all, as one of them may take a gigabyte


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
    pool, alone, began = ThreadPoolExecutor(THREADS), ThreadPoolExecutor(1), time.perf_counter()
    try:
        waiting: dict[int, Future[Picture | str]] = {i: pool.submit(_attempt, files[i], size, alone) for i in sample}
        wait(waiting.values())
        minutes = (time.perf_counter() - began) * len(others) / max(1, len(sample)) / 60
        if progress and minutes > 1:
            print(f"reading {len(files)} image files takes about {minutes:.0f} minutes", file=sys.stderr, flush=True)
        waiting |= {i: pool.submit(_attempt, files[i], size, alone) for i in others}
        order = watched([*sample, *others], len(files), "images", progress)
        damaged = {i: found for i in order if isinstance(found := waiting[i].result(), str)}
        if damaged:
            raise _unreadable({files[i]: damaged[i] for i in sorted(damaged)})
        return [waiting[i].result() for i in range(len(files))]
    finally:
        for threads in (pool, alone):
            threads.shutdown(cancel_futures=True)  # at Ctrl-C, too, when thousands may be waiting


class _Large(Exception):
    """A file that is to be read alone."""


def _attempt(file: Path, size: int, alone: ThreadPoolExecutor | None) -> Picture | str:
    """A picture, or why it cannot be read: the stack of an error would keep its pixels. alone: of one thread."""
    try:
        return read_picture(file, size, LARGE if alone else math.inf)
    except _Large:
        return alone.submit(_attempt, file, size, None).result()
    except UnidentifiedImageError:
        return f"in none of the formats {', '.join(formats())}"
    except Image.DecompressionBombError:
        return f"more than {2 * Image.MAX_IMAGE_PIXELS // 10**6} megapixels; make it smaller or cut it into tiles"
    except Exception as error:
        return brief(error) or type(error).__name__


def read_picture(file: Path, size: int, most: float = math.inf) -> Picture:
    """One image file, resized (bicubic, antialiased; proportions are not kept). Transparency is dropped.

    A JPEG of many pixels is decoded at an eighth, quarter or half of its size, never below twice the wanted one, which
    takes a fraction of the time.

    Raises whatever Pillow's readers raise for a damaged file, ValueError for what is no image of up to 16 bits, and
    _Large for more pixels, or bytes, than `most`.
    """
    if not file.exists():
        raise FileNotFoundError(NOT_THERE)
    if file.stat().st_size > most:
        raise _Large
    data = read_whole(file, LARGEST)
    with opened(data) as image:
        fast = image.format in ("JPEG", "MPO") and "progressive" not in image.info  # decoded at a part of its size
        shrink = max(1, min(8, min(image.size) // (2 * size))) if fast else 1
        if math.prod(image.size) / 4 ** (shrink.bit_length() - 1) > most:
            raise _Large
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
    how = ((size, size), Image.Resampling.BICUBIC, box)
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        converted = image.convert("F")
        low, top = converted.getextrema()
        if image.mode == "F" or top > 65535 or low < 0:
            kind = "real numbers" if image.mode == "F" else "32 bits"
            raise ValueError(f"its levels are {kind} of {low:.9g}...{top:.9g}, and not 0...65535")
        return converted.resize(*how), int(top)
    if image.mode in ("1", "L", "LA"):
        return image.convert("L").resize(*how), None
    whole = image.convert("RGBA") if image.mode in ("P", "PA") else image  # as its transparency may be a table
    if whole.mode == "RGBA":  # colour by colour, without a copy of the whole
        return Image.merge("RGB", [whole.getchannel(i).resize(*how) for i in range(3)]), None
    return (whole if whole.mode == "RGB" else whole.convert("RGB")).resize(*how), None


def _unreadable(damaged: dict[Path, str]) -> DataError:
    told = [f"{file} cannot be read as an image ({why})." for file, why in damaged.items()]
    if len(told) == 1:
        advice = "" if NOT_THERE in damaged.values() else " Repair or remove it, or convert it to PNG."
        return DataError(told[0] + advice)
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
                tell(f"left out, as their endings are no image's: {len(others)} ({listed(others)})", file=sys.stderr)
        return names, read_pictures(paths, size, progress)
    return list(range(len(items))), [_picture(item, size) for item in items]


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
