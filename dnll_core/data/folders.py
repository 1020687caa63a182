"""A folder of one's own images as a `Dataset`: one sub-folder per class, optional `unlabelled` and `test`."""

from __future__ import annotations

import dataclasses
import functools
import os
import sys
import threading
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dnll_core.common import printable, tell, unknown, user_path
from dnll_core.data.dataset import Dataset, channel_statistics, dataset_of, digest_of_lines
from dnll_core.data.entries import (
    KINDS,
    POOL,
    classes_of,
    composed,
    files_of,
    folded,
    images_below,
    is_image,
    kind_of,
    paths_of,
    state_of,
    visible,
)
from dnll_core.data.errors import DataError, as_data_error, listed
from dnll_core.data.images import bits_of, in_colour, read_pictures, told
from dnll_core.data.labels import Labels, read_labels
from dnll_core.data.splits import hold_out

_ONE_READER = threading.Lock()
Tables = str | os.PathLike | Sequence[str | os.PathLike] | None  # a CSV with the columns file and class, or several


def load_folder(text: str, size: int, progress: bool, labels: Tables = None) -> Dataset:
    """Images of one's own: one sub-folder per class, optional `unlabelled` and `test`; see data/README.md.

    Labelled training images come first in x_train, in sorted order of class and file name, the unlabelled ones last.
    The name, and so the splits, depend on the sorted class and file names of the labelled images, not on where the
    folder is. A process reads a folder once, and again only if a file came, went or changed: the tensors are shared,
    and not to be changed.

    labels: tables of more labels, or of all of them, see `list_folder`.
    """
    with as_data_error(f"folder {text!r}"):
        path = user_path(text)
        if not text or not path.is_dir():
            raise DataError(
                f"folder {text!r} is not there; give folder:PATH of a folder with one sub-folder of images per class"
            )
        paths = [labels] if isinstance(labels, str | os.PathLike) else labels or []
        table = read_labels([user_path(path).absolute() for path in paths]) if paths else None
        listing = list_folder(path.absolute(), progress, table)
    with _ONE_READER:
        return _read(listing, size)


@dataclass(frozen=True)
class Listing:
    """What a folder holds, before any image is read. Two are equal if they are of the same files, unchanged.

    files: labelled ones to train with, unlabelled ones, those to test with. labels: of each; -1 where it has none.
    trained: how many of `files` are to train with. test_is_given: by a folder, not by the fixed rule. flat: classes are
    those of a table. key: what splits depend on. left: what was left out, in words. states: inode, times of change and
    size of each file.
    """

    root: Path
    classes: tuple[str, ...]
    files: tuple[Path, ...]
    labels: tuple[int, ...]
    trained: int
    test_is_given: bool
    flat: bool
    key: str
    left: tuple[str, ...]
    states: tuple[tuple[int, ...], ...]
    progress: bool = field(compare=False)


def list_folder(path: Path, progress: bool, table: Labels | None = None) -> Listing:
    """The files of a folder by class.

    table: labels of images in `unlabelled`, which are then trained with; or, of a folder without a folder for each
        class, of its images, wherever in it. Those that it does not name have no label.

    Raises:
        DataError: if it does not hold what a data set needs, or has names that do not say what they are.
    """
    leftovers: list[os.DirEntry] = []
    inside = visible(path, leftovers)
    kinds = {entry: kind_of(entry.name) for entry in inside if entry.is_dir()}
    beside = [entry for entry in inside if entry not in kinds]
    if lost := [entry for entry in beside if not os.path.exists(entry)]:
        raise DataError(f"{paths_of(lost)}: a link to what is not there. Repair or remove it.")
    of = {kind: [entry for entry in kinds if kinds[entry] == kind] for kind in KINDS}
    titles = {folded(entry.name) for entry in of["class"]}
    flat = table is not None and (
        len(titles) < 2 or (any(map(is_image, beside)) and not {*map(folded, table.classes())} <= titles)
    )
    if of["doubtful"] and not flat:
        raise DataError(
            f"{paths_of(of['doubtful'])}: a class, or something else? Images without a label belong in `unlabelled`, "
            "those for testing in `test` (in small letters, with one folder per class), folders of classes to train "
            f"with directly in {path}, and images for validation are taken from the classes. If it is a class, give it "
            "a name that is less like these."
        )
    if flat:
        labelled, pool = _by_table(path, table, [entry for entry in inside if kinds.get(entry) != "test"], leftovers)
        beside = [entry for entry in beside if not is_image(entry)]
    else:
        labelled = classes_of(of["class"], leftovers)
        pools = sorted(of["unlabelled"], key=lambda entry: POOL.index(folded(entry.name)))
        pool = [file for entry in pools for file in files_of(entry, leftovers)]
    classes = tuple(labelled)
    if len(classes) < 2:
        where, what = (table.path, "classes") if flat else (path, "class folders")
        hint = "" if flat else ". Of a folder that has no folder for each class, give a table of labels (file,class)"
        raise DataError(f"{where} has {len(classes)} {what} ({listed(classes) or 'none'}); at least 2 are needed{hint}")
    for title, group in labelled.items():
        least, needs = (2, "training and validation") if of["test"] else (3, "training, validation and testing")
        if len(group) < least:
            where = f"{table.path}: {title!r}" if flat else path / title
            raise DataError(f"{where} has {len(group)} images; at least {least} are needed ({needs})")
    files = [(file, k) for k, group in enumerate(labelled.values()) for file in group]
    key = digest_of_lines(f"{classes[k]}/{composed(_inside(file, path) if flat else file.name)}" for file, k in files)
    if of["test"]:
        test = _given_test(of["test"][0], classes, leftovers, beside)
    else:
        each = [max(1, len(group) // 5) for group in labelled.values()]
        held = hold_out(np.array([k for _, k in files]), each, key)
        test = [pair for pair, out in zip(files, held) if out]
        files = [pair for pair, out in zip(files, held) if not out]
    files += [(file, -1) for file in pool]
    if table is not None and not flat:
        files = _labelled_by(table, path, classes, files, test)
    states = [state_of(file) for file, _ in files + test]
    left = {
        "left by a system or program": leftovers,
        "beside the images" if flat else "beside the class folders": beside,
    }
    return Listing(
        root=path,
        classes=classes,
        files=tuple(Path(file.path) for file, _ in files + test),
        labels=tuple(k for _, k in files + test),
        trained=len(files),
        test_is_given=bool(of["test"]),
        flat=flat,
        key=key,
        left=tuple(f"ignored, as {what}: {len(some)} ({paths_of(some, path)})" for what, some in left.items() if some),
        states=tuple((state.st_ino, state.st_mtime_ns, state.st_ctime_ns, state.st_size) for state in states),
        progress=progress,
    )


def _inside(file: os.DirEntry, root: Path) -> str:
    return Path(file.path).relative_to(root).as_posix()


def _by_table(
    root: Path, table: Labels, inside: list[os.DirEntry], leftovers: list[os.DirEntry]
) -> tuple[dict[str, list[os.DirEntry]], list[os.DirEntry]]:
    """Class -> its files, and those without a label: of all images of a folder that has no folder for each class."""
    files = {composed(_inside(file, root)): file for file in images_below(inside, leftovers)}
    told = table.of_files(files, root)
    labelled: dict[str, list[os.DirEntry]] = {title: [] for title in table.classes()}
    for name, file in files.items():
        if name in told:
            labelled[told[name]].append(file)
    return labelled, [file for name, file in files.items() if name not in told]


def _labelled_by(
    table: Labels,
    root: Path,
    classes: tuple[str, ...],
    files: list[tuple[os.DirEntry, int]],
    test: list[tuple[os.DirEntry, int]],
) -> list[tuple[os.DirEntry, int]]:
    """`files` with the labels of a table for those that had none, which then come first, sorted by class."""
    known = {folded(title): k for k, title in enumerate(classes)}
    for title in table.classes():
        if folded(title) not in known:
            raise DataError(f"{table.path}: {unknown('class', title, classes)} A new class needs a folder of its own.")
    before = {composed(_inside(file, root)): k for file, k in files + test}
    told = {name: known[folded(title)] for name, title in table.of_files(before, root).items()}
    for name, k in told.items():
        if before[name] not in (-1, k):
            raise DataError(
                f"{root / name} is in the folder of class {classes[before[name]]!r}, and {table.path} says "
                f"{classes[k]!r}; move the file, or change the table"
            )
    files = [(file, told.get(composed(_inside(file, root)), k)) for file, k in files]
    return sorted(files, key=lambda pair: pair[1] if pair[1] >= 0 else len(classes))


def _given_test(
    folder: os.DirEntry, classes: tuple[str, ...], leftovers: list[os.DirEntry], beside: list[os.DirEntry]
) -> list[tuple[os.DirEntry, int]]:
    """The files of `test` and their classes."""
    inside = visible(folder, leftovers)
    beside += [entry for entry in inside if not entry.is_dir()]
    tests = classes_of([entry for entry in inside if entry.is_dir()], leftovers)
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
    names = [composed(file.relative_to(listing.root).as_posix()) for file in listing.files]
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
        warnings.warn(printable(f"{listing.root}: {note}"), stacklevel=4)
    notes += leak
    for note in notes if listing.progress else ():
        if note not in warned:
            tell(f"{listing.root}: {note}", file=sys.stderr)
    name, statistics = f"folder:{listing.key[:12]}", channel_statistics(arrays["x_train"])
    told_by = {
        name: listing.classes[k] for name, k in zip(names, listing.labels) if k >= 0 and _by_a_table(name, listing)
    }
    files = {name: " ".join([digest[:16], *told_by.get(name, "").split()]) for name, digest in digests.items()}
    whole = digest_of_lines(f"{digest} {name}" for name, digest in sorted(files.items()))
    dataset = dataset_of(name, arrays, listing.classes, *statistics)
    return dataclasses.replace(dataset, digest=whole, files=files, bits=bits, notes=tuple(notes))


def _by_a_table(name: str, listing: Listing) -> bool:
    """Whether the label of a file is a table's, and not its folder's."""
    return (listing.flat and not name.startswith("test/")) or kind_of(name.split("/")[0]) == "unlabelled"


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
