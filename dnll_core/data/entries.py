"""What an entry of a folder of images is, by its name: a class, the pool, the test images, or a leftover."""

from __future__ import annotations

import difflib
import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from PIL import Image

from dnll_core.common import user_path
from dnll_core.data.errors import DataError, as_data_error, listed

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

# Of the formats that Pillow knows; for others it starts programs (PostScript), or unpacks by slow code of Python.
FORMATS = ("AVIF", "BMP", "DIB", "GIF", "ICO", "JPEG", "JPEG2000", "MPO", "PCX", "PNG", "PPM", "PSD", "SGI", "TGA")
FORMATS += ("TIFF", "WEBP")


def folded(name: str) -> str:
    """A name without what people do not tell names apart by: case, spaces around it, how Unicode composes letters."""
    return composed(name).strip().casefold()


def is_leftover(name: str, is_folder: bool) -> bool:
    """Whether an entry was left by a system or program, by its name."""
    left = (LEFT_FOLDER if is_folder else LEFT_FILE).fullmatch(folded(name))
    return bool(left) or composed(name).casefold() in LEFTOVERS


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


def composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def visible(folder: os.PathLike, leftovers: list[os.DirEntry]) -> list[os.DirEntry]:
    """Sorted content of a folder without leftovers, which are added to `leftovers`."""
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: composed(entry.name))
    left = {entry for entry in entries if is_leftover(entry.name, entry.is_dir())}
    leftovers += [entry for entry in entries if entry in left]
    return [entry for entry in entries if entry not in left]


def classes_of(folders: list[os.DirEntry], leftovers: list[os.DirEntry]) -> dict[str, list[os.DirEntry]]:
    """Title of each class -> its files."""
    for one, other in _clashes(folders, folded):
        raise DataError(
            f"{one.path} and {other.name!r} beside it are one class or two? They differ in case, spaces or the coding "
            "of letters alone. Put their images together, or give one another name."
        )
    return {composed(entry.name).strip(): files_of(entry, leftovers) for entry in folders}


def _clashes(entries: list[os.DirEntry], key: Callable[[str], str]) -> Iterator[tuple[os.DirEntry, os.DirEntry]]:
    seen: dict[str, os.DirEntry] = {}
    for entry in entries:
        other = seen.setdefault(key(entry.name), entry)
        if other is not entry:
            yield other, entry


def files_of(folder: os.PathLike, leftovers: list[os.DirEntry]) -> list[os.DirEntry]:
    files = visible(folder, leftovers)
    nested = next((entry for entry in files if entry.is_dir()), None)
    if nested or not files:
        problem = f"holds the folder {nested.name!r}" if nested else "is empty"
        where = os.fspath(folder)
        hint = f". If {where} is the whole data set, give folder:{where}" if nested else ""
        raise DataError(f"{where} {problem}; a class folder (and `unlabelled`) holds images only, at least one{hint}")
    for one, other in _clashes(files, composed):
        raise DataError(f"{one.path} and {other.name!r} beside it look the same; give one another name")
    return files


def formats() -> list[str]:
    """Those of FORMATS that this Pillow was built with."""
    return [kind for kind in FORMATS if Image.registered_extensions() and kind in Image.OPEN]


def is_image(file: os.DirEntry) -> bool:
    """Whether a file has the ending of a format of images that is read."""
    return Image.registered_extensions().get(os.path.splitext(file.name)[1].lower()) in formats()


def images_below(
    entries: Iterable[os.DirEntry], leftovers: list[os.DirEntry], others: list[str] | None = None
) -> list[os.DirEntry]:
    """The images among entries and in the folders among them, at any depth; not in folders that are links.

    others: gets the paths of files that are none.
    """
    found, left = [], [*entries][::-1]
    while left:
        entry = left.pop()
        if entry.is_dir(follow_symlinks=False):
            left += visible(entry, leftovers)[::-1]
        elif is_image(entry) and not entry.is_dir():
            found.append(entry)
        elif others is not None:
            others.append(entry.path)
    return found


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


def paths_of(entries: list[os.DirEntry], root: Path | None = None) -> str:
    return listed([entry.path if root is None else os.path.relpath(entry, root) for entry in entries])


def state_of(file: os.DirEntry) -> os.stat_result:
    try:
        return file.stat()
    except OSError:  # a link to nowhere, or to itself: whoever reads it says so
        return file.stat(follow_symlinks=False)


def outside(path: str | os.PathLike, folder: str | os.PathLike) -> None:
    """Refuses a place to write to that lies in a folder of images, of which it would become a part.

    Raises:
        DataError: if it does.
    """
    if user_path(path).resolve().is_relative_to(user_path(folder).resolve()):
        raise DataError(
            f"{path} lies in the folder of images {folder}, and would become a part of it; name another place"
        )
