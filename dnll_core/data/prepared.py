"""Prepared files of the named data sets: made from the originals, which Torchvision downloads, and verified."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import math
import os
import shutil
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from dnll_core.common import atomic_file, brief, locked
from dnll_core.data.dataset import KEYS, array_digests, digest_of_lines
from dnll_core.data.errors import DataError, as_data_error
from dnll_core.data.sets import SETS

# What NumPy and zipfile raise for a damaged file; the last four: damaged headers.
_UNREADABLE = (
    *(OSError, EOFError, ValueError, TypeError, zipfile.BadZipFile, zlib.error),
    *(NotImplementedError, RuntimeError, ArithmeticError, tokenize.TokenError),
)
LARGEST = 2**28  # bytes of an original file
SHA256 = {  # of originals whose arrays are not known by theirs, or that are pickles
    "train_32x32.mat": "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8",
    "test_32x32.mat": "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b",
    "cifar-10-python.tar.gz": "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
}
BESIDE = 2**20  # bytes: more than the archive of a prepared file takes beside its arrays


# (path, inode, time of change, bytes) of each prepared file that this process, or the one that started it, has verified
# -> the digest of its arrays. Whoever starts a worker hands it on.
VERIFIED: dict[tuple[str, int, int, int], str] = {}


def load_prepared(name: str, root: Path, download: bool, progress: bool) -> tuple[dict[str, np.ndarray], str]:
    """The arrays of `<root>/<name>.npz`, prepared from the originals first if the file is not there; their digest."""
    path, raw = root / f"{name}.npz", root / "raw" / name
    with contextlib.ExitStack() as held, as_data_error(path):
        if not path.is_file():  # two that prepare it would download into the same files: the second waits
            with contextlib.suppress(OSError):  # where nothing can be written, that is said below
                held.enter_context(locked(raw.with_name(f".{name}.lock"), wait=True))
        if path.is_file():
            return read_prepared(name, path)
        if path.exists():
            raise DataError(f"{path} is no file; remove it, and load again.")
        arrays = _read_originals(name, raw, download, progress)
        digest = _checked(name, arrays, raw, f"Nothing was written. Delete {raw} and load again.")
        try:
            with atomic_file(path) as file:
                np.savez(file, **arrays)
        except OSError as error:  # a shared folder, or no room: what was read is as good
            warnings.warn(
                f"{path} cannot be written ({error.strerror}), so each load of {name} prepares it anew. root= or the "
                "environment variable DNLL_DATA may name a folder of your own.",
                stacklevel=3,
            )
        return arrays, digest


def read_prepared(name: str, path: Path) -> tuple[dict[str, np.ndarray], str]:
    """The arrays of a prepared file and their digest.

    Raises:
        DataError: if they are not those of the data set.
    """
    advice = "Delete the file and load again."
    try:
        with open(path, "rb") as stream:
            seen = os.fstat(stream.fileno())
            if seen.st_size > sum(map(math.prod, _shapes(name).values())) + BESIDE:
                raise ValueError(f"it has {seen.st_size / 1e6:,.0f} MB, which is more than {name} takes")
            with zipfile.ZipFile(stream) as file:
                there = {*file.namelist()}
                arrays = {key: _unpacked(file, key, of) for key, of in _shapes(name).items() if f"{key}.npy" in there}
    except _UNREADABLE as error:
        raise DataError(f"{path} cannot be read ({brief(error)}). {advice}") from error
    state = (str(path.resolve()), seen.st_ino, seen.st_mtime_ns, seen.st_size)
    VERIFIED[state] = _checked(name, arrays, path, advice, VERIFIED.get(state))
    return arrays, VERIFIED[state]


def _shapes(name: str) -> dict[str, tuple[int, ...]]:
    """The shape that each array of a data set has, by KEYS."""
    source = SETS[name]
    counts = {"train": source.train, "test": source.test}
    return {key: (counts[key[2:]], *(source.image if key.startswith("x") else ())) for key in KEYS}


def _unpacked(file: zipfile.ZipFile, key: str, shape: tuple[int, ...]) -> np.ndarray:
    """An array of an archive, if what it says of itself is what it should be: else it could take any memory."""
    entry = file.getinfo(f"{key}.npy")
    if entry.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{key} is compressed")
    stream = io.BytesIO(file.read(entry))  # as long as the file at most
    version = np.lib.format.read_magic(stream)
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    found, _, dtype = header(stream)
    if dtype != np.uint8 or found != shape:
        raise ValueError(f"{key} is {dtype} {found}, expected uint8 {shape}")
    stream.seek(0)
    return np.lib.format.read_array(stream, allow_pickle=False)


def verify(names: Iterable[str], root: Path) -> None:
    """Verifies the prepared files of these data sets that are there, for the workers that this process will start.

    What is wrong with a file is told by whoever loads it.
    """
    for name in names:
        path = root / f"{name}.npz"
        with contextlib.suppress(DataError):
            if name in SETS and path.is_file():
                read_prepared(name, path)


def _checked(name: str, arrays: dict[str, np.ndarray], where: Path, advice: str, digest: str | None = None) -> str:
    """The digest of a data set's arrays, which are what they should be, else DataError.

    digest: what it is, where the arrays were hashed before; it takes a good part of the time of reading them.
    """
    source = SETS[name]
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
    for key, mine, known in zip(KEYS, found, source.sha256 or found):
        if mine != known:
            raise DataError(f"{where}: SHA-256 of {key} is {mine}, expected {known}. {advice}")
    return digest_of_lines(found)


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
    from torchvision.datasets.utils import download_url

    originals, arrays = _originals(name, raw), {}
    try:
        with contextlib.nullcontext() if progress else contextlib.redirect_stderr(io.StringIO()):
            # Nothing is read but what has the right digests: the class of USPS takes any file of that name, and that of
            # MNIST any that lies there unpacked.
            for url, place, md5 in originals:
                intact = _is_intact(place, md5)
                if download and not intact:
                    if place.is_symlink() or not place.is_file():
                        place.unlink(missing_ok=True)  # what a link leads to stays as it is
                    download_url(url, place.parent, place.name, md5)
                    intact = _is_intact(place, md5)
                if not intact:
                    raise RuntimeError(f"{place} is not there, or is not what it should be")
            if name == "mnist":
                return {key: _idx(place) for key, (_, place, _) in zip(KEYS, originals)}
            if name == "cifar10":
                shutil.rmtree(raw / datasets.CIFAR10.base_folder, ignore_errors=True)  # it is unpacked anew
            kind = {"usps": datasets.USPS, "cifar10": datasets.CIFAR10, "svhn": datasets.SVHN}[name]
            for part in ("train", "test"):
                choice = {"split": part} if name == "svhn" else {"train": part == "train"}
                data = kind(raw, **choice, download=True)
                images = data.data.transpose(0, 2, 3, 1) if name == "svhn" else data.data
                labels = data.labels if name == "svhn" else data.targets
                for letter, values in (("x", images), ("y", labels)):  # a tensor, an array or a list
                    arrays[f"{letter}_{part}"] = torch.as_tensor(values).to(torch.uint8).contiguous().numpy()
    except Exception as error:  # whatever the connection, the archive or the reader raises, the remedy is the same
        places = "".join(f"\n  {url}  ->  {place}  (MD5 {md5})" for url, place, md5 in originals)
        cause = "could not be downloaded or read" if download else "is not prepared, and download=False"
        raise DataError(
            f"{name} {cause} ({type(error).__name__}: {brief(error)}). "
            f"Put the original files there by hand, in place of damaged ones, and load again:{places}"
        ) from error
    return arrays


def _is_intact(place: Path, md5: str) -> bool:
    """Whether an original file is there and has the digests that are known of it."""
    if not place.is_file() or place.stat().st_size > LARGEST:
        return False
    data = place.read_bytes()
    known = SHA256.get(place.name)
    return hashlib.md5(data, usedforsecurity=False).hexdigest() == md5 and (
        known is None or hashlib.sha256(data).hexdigest() == known
    )


def _idx(place: Path) -> np.ndarray:
    """An array as MNIST packs it, of bytes."""
    data = bytearray(gzip.decompress(place.read_bytes()))  # one that torch may take as its own
    return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(np.frombuffer(data, ">u4", data[3], offset=4))
