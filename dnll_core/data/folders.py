"""A folder of one's own images as a `Dataset`: one sub-folder per class, optional `unlabelled` and `test`."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import os
import re
import sys
import threading
import unicodedata
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dnll_core.common import user_path
from dnll_core.data.dataset import Dataset, channel_statistics, dataset_of, digest_of_lines
from dnll_core.data.errors import DataError, as_data_error, listed
from dnll_core.data.images import bits_of, in_colour, read_pictures, told
from dnll_core.data.splits import hold_out

KINDS = ("class", "unlabelled", "test", "doubtful")
# What follows is of names as `folded` gives them.
POOL = ("unlabelled", "unlabeled")
# Left by systems, sync tools, browsers and archives, beside all hidden names.
LEFTOVERS = {"thumbs.db", "ehthumbs.db", "desktop.ini", "picasa.ini", "icon\r", "__macosx", "lost+found"}
LEFTOVERS |= {"system volume information", "thumbs.db:encryptable"}
LEFT_FOLDER = re.compile(r"\..*|[@#$](eadir|tmp|recently.*|recycle|recycle\.bin)", re.DOTALL)
LEFT_FILE = re.compile(r"\..*|~\$.*|.*:zone\.identifier|.*@syno\w+|.*\.(crdownload|part|tmp)", re.DOTALL)
# Folders that are hardly a class, by their letters alone.
DOUBTFUL = {"test", "tset", "testing", "train", "training", "val", "valid", "validation", "eval", "evaluation", "dev"}
DOUBTFUL |= {"tests", "holdout", "heldout", "nolabel", "nolabels", "withoutlabel", "withoutlabels"}
DOUBTFUL |= {"unlabel", "unannotated", "unsorted"}
ANY_SET = re.compile(r"(images?|imgs?|pictures?|pics?|photos?|files?|data|sets?)+$")  # at the end of a name

_ONE_READER = threading.Lock()


def load_folder(text: str, size: int, progress: bool) -> Dataset:
    """Images of one's own: one sub-folder per class, optional `unlabelled` and `test`; see data/README.md.

    Labelled training images come first in x_train, in sorted order of class and file name, the unlabelled ones last.
    The name, and so the splits, depend on the sorted class and file names of the labelled images, not on where the
    folder is. A process reads a folder once, and again only if a file came, went or changed: the tensors are shared,
    and not to be changed.
    """
    with as_data_error(f"folder {text!r}"):
        path = user_path(text)
        if not text or not path.is_dir():
            raise DataError(
                f"folder {text!r} is not there; give folder:PATH of a folder with one sub-folder of images per class"
            )
        listing = list_folder(path.absolute(), progress)
    with _ONE_READER:
        return _read(listing, size)


@dataclass(frozen=True)
class Listing:
    """What a folder holds, before any image is read. Two are equal if they are of the same files, unchanged.

    files: labelled ones to train with, unlabelled ones, those to test with. labels: of each; -1 where it has none.
    trained: how many of `files` are to train with. test_is_given: by a folder, not by the fixed rule. key: what splits
    depend on. left: what was left out, in words. states: inode, times of change and size of each file.
    """

    root: Path
    classes: tuple[str, ...]
    files: tuple[Path, ...]
    labels: tuple[int, ...]
    trained: int
    test_is_given: bool
    key: str
    left: tuple[str, ...]
    states: tuple[tuple[int, ...], ...]
    progress: bool = field(compare=False)


def list_folder(path: Path, progress: bool) -> Listing:
    """The files of a folder by class.

    Raises:
        DataError: if it does not hold what a data set needs, or has names that do not say what they are.
    """
    leftovers: list[os.DirEntry] = []
    inside = _visible(path, leftovers)
    kinds = {entry: kind_of(entry.name) for entry in inside if entry.is_dir()}
    beside = [entry for entry in inside if entry not in kinds]
    if lost := [entry for entry in beside if not os.path.exists(entry)]:
        raise DataError(f"{_paths(lost)}: a link to what is not there. Repair or remove it.")
    of = {kind: [entry for entry in kinds if kinds[entry] == kind] for kind in KINDS}
    if of["doubtful"]:
        raise DataError(
            f"{_paths(of['doubtful'])}: a class, or something else? Images without a label belong in `unlabelled`, "
            "those for testing in `test` (in small letters, with one folder per class), folders of classes to train "
            f"with directly in {path}, and images for validation are taken from the classes. If it is a class, give it "
            "a name that is less like these."
        )
    labelled = _classes(of["class"], leftovers)
    classes = tuple(labelled)
    if len(classes) < 2:
        raise DataError(f"{path} has {len(classes)} class folders ({listed(classes) or 'none'}); at least 2 are needed")
    for title, group in labelled.items():
        least, needs = (2, "training and validation") if of["test"] else (3, "training, validation and testing")
        if len(group) < least:
            raise DataError(f"{path / title} has {len(group)} images; at least {least} are needed ({needs})")
    files = [(file, k) for k, group in enumerate(labelled.values()) for file in group]
    key = digest_of_lines(f"{classes[k]}/{_composed(file.name)}" for file, k in files)
    if of["test"]:
        test = _given_test(of["test"][0], classes, leftovers, beside)
    else:
        each = [max(1, len(group) // 5) for group in labelled.values()]
        held = hold_out(np.array([k for _, k in files]), each, key)
        test = [pair for pair, out in zip(files, held) if out]
        files = [pair for pair, out in zip(files, held) if not out]
    pools = sorted(of["unlabelled"], key=lambda entry: POOL.index(folded(entry.name)))
    files += [(file, -1) for entry in pools for file in _files(entry, leftovers)]
    states = [_state(file) for file, _ in files + test]
    left = {"left by a system or program": leftovers, "beside the class folders": beside}
    return Listing(
        root=path,
        classes=classes,
        files=tuple(Path(file.path) for file, _ in files + test),
        labels=tuple(k for _, k in files + test),
        trained=len(files),
        test_is_given=bool(of["test"]),
        key=key,
        left=tuple(f"ignored, as {what}: {len(some)} ({_paths(some, path)})" for what, some in left.items() if some),
        states=tuple((state.st_ino, state.st_mtime_ns, state.st_ctime_ns, state.st_size) for state in states),
        progress=progress,
    )


def _given_test(
    folder: os.DirEntry, classes: tuple[str, ...], leftovers: list[os.DirEntry], beside: list[os.DirEntry]
) -> list[tuple[os.DirEntry, int]]:
    """The files of `test` and their classes."""
    inside = _visible(folder, leftovers)
    beside += [entry for entry in inside if not entry.is_dir()]
    tests = _classes([entry for entry in inside if entry.is_dir()], leftovers)
    names = {folded(title): k for k, title in enumerate(classes)}
    if {*map(folded, tests)} != {*names}:
        raise DataError(f"{folder.path} has classes {tuple(tests)}, but training has {classes}; they must be the same")
    pairs = [(file, names[folded(title)]) for title, group in tests.items() for file in group]
    return sorted(pairs, key=lambda pair: pair[1])


@functools.lru_cache(maxsize=2)  # two, for domain adaptation
def _read(listing: Listing, size: int) -> Dataset:
    pictures = read_pictures(listing.files, size, listing.progress)
    bits, n = bits_of(pictures), listing.trained
    images = [picture.levels(bits) for picture in pictures]
    if any(image.ndim == 3 for image in images):
        images = in_colour(images)
    arrays = {
        "x_train": np.stack(images[:n]),
        "y_train": np.array(listing.labels[:n]),
        "x_test": np.stack(images[n:]),
        "y_test": np.array(listing.labels[n:]),
    }
    names = [_composed(file.relative_to(listing.root).as_posix()) for file in listing.files]
    digests = {name: picture.digest for name, picture in zip(names, pictures)}
    without = listing.labels.count(-1)
    notes = [
        f"{len(listing.classes)} classes ({listed(listing.classes, 10)}), {n - without} images of them to train with, "
        f"{without} without a label, {len(images) - n} to test with",
        *listing.left,
        *told(dict(zip(names, pictures)), bits),
        *_twice(names, listing.labels, digests),
    ]
    leak = _leak(names[:n], names[n:], digests)
    warned = leak if listing.test_is_given else []  # by the fixed rule it is nobody's mistake
    for note in warned:
        warnings.warn(f"{listing.root}: {note}", stacklevel=4)
    notes += leak
    for note in notes if listing.progress else ():
        if note not in warned:
            print(f"{listing.root}: {note}", file=sys.stderr)
    name, statistics = f"folder:{listing.key[:12]}", channel_statistics(arrays["x_train"])
    files = {name: digest[:16] for name, digest in digests.items()}
    whole = digest_of_lines(f"{digest} {name}" for name, digest in sorted(files.items()))
    dataset = dataset_of(name, arrays, listing.classes, *statistics)
    return dataclasses.replace(dataset, digest=whole, files=files, bits=bits, notes=tuple(notes))


def _twice(names: list[str], labels: tuple[int, ...], digests: dict[str, str]) -> list[str]:
    """What to say if the bytes of an image are in two classes; [] if none are."""
    of: dict[str, dict[int, str]] = {}  # digest -> class -> a name
    for name, k in zip(names, labels):
        if k >= 0:
            of.setdefault(digests[name], {}).setdefault(k, name)
    pairs = [" = ".join(sorted(classes.values())) for classes in of.values() if len(classes) > 1]
    return [f"in two classes at once: {listed(pairs)}"] if pairs else []


def _leak(train: list[str], test: list[str], digests: dict[str, str]) -> list[str]:
    """What to say if images to test with are among those to train with: the same bytes, whatever their names; or []."""
    known = {digests[name]: name for name in reversed(train)}
    leaks = [f"{name} = {known[digests[name]]}" for name in test if digests[name] in known]
    said = (
        f"{len(leaks)} of {len(test)} test images are among the images to train with ({listed(leaks)}), so that test "
        "accuracy says too much; remove one of each"
    )
    return [said] if leaks else []


# -- names -------------------------------------------------------------------------------------------------------------


def folded(name: str) -> str:
    """A name without what people do not tell names apart by: case, spaces around it, how Unicode composes letters."""
    return _composed(name).strip().casefold()


def is_leftover(name: str, is_folder: bool) -> bool:
    """Whether an entry was left by a system or program, by its name."""
    left = (LEFT_FOLDER if is_folder else LEFT_FILE).fullmatch(folded(name))
    return bool(left) or _composed(name).casefold() in LEFTOVERS


def kind_of(name: str) -> str:
    """What a folder that is no leftover is by its name: one of KINDS."""
    low = folded(name)
    if not low:
        return "doubtful"
    if low in POOL:
        return "unlabelled"
    if name == "test":
        return "test"
    letters = ANY_SET.sub("", re.sub(r"[\W\d_]", "", low))
    return "doubtful" if letters in DOUBTFUL or difflib.get_close_matches(letters, POOL, cutoff=0.85) else "class"


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _visible(folder: os.PathLike, leftovers: list[os.DirEntry]) -> list[os.DirEntry]:
    """Sorted content of a folder without leftovers, which are added to `leftovers`."""
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: _composed(entry.name))
    left = {entry for entry in entries if is_leftover(entry.name, entry.is_dir())}
    leftovers += [entry for entry in entries if entry in left]
    return [entry for entry in entries if entry not in left]


def _classes(folders: list[os.DirEntry], leftovers: list[os.DirEntry]) -> dict[str, list[os.DirEntry]]:
    """Title of each class -> its files."""
    for one, other in _clashes(folders, folded):
        raise DataError(
            f"{one.path} and {other.name!r} beside it are one class or two? They differ in case, spaces or the coding "
            "of letters alone. Put their images together, or give one another name."
        )
    return {_composed(entry.name).strip(): _files(entry, leftovers) for entry in folders}


def _clashes(entries: list[os.DirEntry], key: Callable[[str], str]) -> Iterator[tuple[os.DirEntry, os.DirEntry]]:
    seen: dict[str, os.DirEntry] = {}
    for entry in entries:
        other = seen.setdefault(key(entry.name), entry)
        if other is not entry:
            yield other, entry


def _files(folder: os.PathLike, leftovers: list[os.DirEntry]) -> list[os.DirEntry]:
    files = _visible(folder, leftovers)
    nested = next((entry for entry in files if entry.is_dir()), None)
    if nested or not files:
        problem = f"holds the folder {nested.name!r}" if nested else "is empty"
        where = os.fspath(folder)
        hint = f". If {where} is the whole data set, give folder:{where}" if nested else ""
        raise DataError(f"{where} {problem}; a class folder (and `unlabelled`) holds images only, at least one{hint}")
    for one, other in _clashes(files, _composed):
        raise DataError(f"{one.path} and {other.name!r} beside it look the same; give one another name")
    return files


def _paths(entries: list[os.DirEntry], root: Path | None = None) -> str:
    return listed([entry.path if root is None else os.path.relpath(entry, root) for entry in entries])


def _state(file: os.DirEntry) -> os.stat_result:
    try:
        return file.stat()
    except OSError:  # a link to nowhere, or to itself: whoever reads it says so
        return file.stat(follow_symlinks=False)
