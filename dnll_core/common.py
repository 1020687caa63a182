"""Small things that many modules need: messages for unknown names, files whole and locked, paths, seeds."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import difflib
import errno
import functools
import hashlib
import json
import os
import re
import reprlib
import sys
import uuid
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock

FORMAT = 2  # of recorded results; from 2 on a file holds the SHA-256 of its content

MOST = 10**15  # of a count in a command line, and of seconds and iterations: what is very large is no float

_SHORT = reprlib.Repr()  # of lists within lists, the whole repr may be without end
_SHORT.maxlevel, _SHORT.maxlist, _SHORT.maxtuple, _SHORT.maxdict, _SHORT.maxset = 3, 40, 40, 40, 40
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 100


def printable(text: str) -> str:
    """A text in which what a terminal would obey, as names of files may hold it, stands as an escape: \\x1b."""
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]", lambda found: ascii(found[0])[1:-1], text)


def as_on_disk(text: str) -> bytes:
    """A text in UTF-8, but names of files and classes in it as they lie on the disk, in whatever coding."""
    return text.encode(errors="surrogateescape")


def tell(text: object, **how: object) -> None:
    """Prints what may hold names of files and classes; nothing more once nobody reads, as behind `| head`.

    how: see `print`.
    """
    try:
        print(printable(str(text)), **{"flush": True} | how)
    except BrokenPipeError:
        with open(os.devnull, "wb") as nobody:
            os.dup2(nobody.fileno(), how.get("file", sys.stdout).fileno())


def brief(text: object, most: int = 300) -> str:
    """A text, or what an error says, as a message repeats it: cut where it is long."""
    text = str(text)
    return text if len(text) <= most else f"{text[: most - 3]}..."


def shown(value: object) -> str:
    """The value as a message repeats it: its repr, cut where that is long."""
    return brief(_SHORT.repr(value) if isinstance(value, list | tuple | dict | set) else repr(value), 100)


def unknown(argument: str, got: object, accepted: Iterable[str]) -> str:
    """The message for a name that does not exist: what was given, a close one that is valid, all that are accepted."""
    accepted = [*map(str, accepted)]
    folded = {name.lower(): name for name in accepted}
    name = got[:100] if isinstance(got, str) else shown(got)
    near = difflib.get_close_matches(name.lower(), folded, n=1) or [long for long in folded if name.lower() in long]
    hint = f" Did you mean {folded[near[0]]!r}?" if near else ""
    return f"{argument}={shown(got)} is not known.{hint} Accepted: {', '.join(accepted)}."


@contextlib.contextmanager
def atomic_file(path: str | Path) -> Iterator[BinaryIO]:
    """A binary file to write that appears at `path`, on disk and complete, only if the block ends without an error.

    It is written under another name in the same folder (made if missing), flushed to disk, and renamed.

    path: see `user_path`.

    Raises:
        OSError: that names `path`, if it cannot be written. A full disk alone would name nothing.
    """
    path = user_path(path)
    temporary = path.with_name(f".{path.name[:50]}.{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if error.errno is None or error.filename not in (None, os.fspath(temporary)):
            raise
        raise OSError(error.errno, error.strerror, os.fspath(path)) from None
    finally:
        with contextlib.suppress(OSError):  # of a folder that is none, which the error above names
            temporary.unlink()


def locked(path: str | Path, wait: bool = False) -> contextlib.AbstractContextManager:
    """Takes a lock until the block of its `with` ends. The operating system frees that of a process that was killed.

    path: of its file, which is made with its folder, and stays. Where the file system has no locks, a warning says so.

    Raises:
        filelock.Timeout: if somebody has it, in this process or another, and `wait` is False.
        OSError: if the file cannot be written.
    """
    try:
        return FileLock(path, blocking=wait, thread_local=False, fallback_to_soft=False).acquire()
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL):
            raise
        warnings.warn(
            f"this file system has no locks ({error}): nothing keeps two processes from using {Path(path).parent} at "
            "the same time",
            stacklevel=4,
        )
        return contextlib.nullcontext()


def digest_of(content: dict) -> str:
    """SHA-256 of plain JSON values, whatever the order of keys and the layout of their file.

    Raises ValueError if they are nested too deep.
    """
    try:
        return hashlib.sha256(json.dumps(content, sort_keys=True, check_circular=False).encode()).hexdigest()
    except RecursionError:
        raise ValueError("its values are nested too deep") from None


def data_folder() -> Path:
    """`data/` of the clone that this package is or that the current folder is in; else of the current folder."""
    here = Path.cwd()
    for clone in (Path(__file__).resolve().parent.parent, here, *here.parents):
        if (clone / "dnll_core").is_dir() and (clone / "data" / "README.md").is_file():
            return clone / "data"
    return here / "data"


class NoHome(ValueError, argparse.ArgumentTypeError):
    """A path that begins with the home folder of nobody. Both, so that `user_path` is the type of an option too."""


def user_path(path: str | os.PathLike) -> Path:
    """A path that a user named, with "~" for the home folder. "./~x" is a folder of that name here, made absolute.

    Raises:
        NoHome: a ValueError, if it begins with the home folder of nobody.
    """
    text = os.path.expanduser(os.fspath(path))
    if not text.startswith("~"):
        return Path(text) if not os.path.normpath(text).startswith("~") else Path.cwd() / text
    raise NoHome(f"{text!r} begins with a home folder that is not there; give the path without '~', or './~...'.")


def folder_in(variable: str) -> Path | None:
    """The folder that an environment variable names, see `user_path`; None if it is not set, or empty.

    Raises:
        ValueError: if it names a file, or the folder of a user who does not exist.
    """
    text = os.environ.get(variable)
    if not text:
        return None
    with contextlib.suppress(ValueError):
        folder = user_path(text)
        if folder.is_dir() or not folder.exists():
            return folder
    raise ValueError(f"{variable}={text!r} is no folder; accepted: one that is there, or can be made.")


def today() -> str:
    """The date in UTC, for example 2026-01-31."""
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def stream_seed(seed: int, purpose: str) -> int:
    """A seed for one purpose of a run, 0...2^63 - 1, so that its streams of randomness are unrelated to each other."""
    return int.from_bytes(hashlib.sha256(f"{seed}: {purpose}".encode()).digest()[:8], "big") >> 1


def program(name: str, doc: str | None) -> argparse.ArgumentParser:
    """The parser of `python -m <name>`: two paragraphs of its docstring above the options, the others below.

    doc: None where Python drops docstrings (-OO); the options then stand alone.
    """
    paragraphs = (doc or "").split("\n\n")
    return argparse.ArgumentParser(
        prog=f"python -m {name}",
        description="\n\n".join(paragraphs[:2]),
        epilog="\n\n".join(paragraphs[2:]),
        formatter_class=functools.partial(argparse.RawDescriptionHelpFormatter, max_help_position=30, width=118),
    )


def positive(text: str) -> int:
    """The type of a command line's count: 1, 2, ... MOST."""
    if not text.strip().isdecimal() or (len(text) < 100 and int(text) < 1):
        raise argparse.ArgumentTypeError(f"takes a whole number from 1, not {text!r}")
    if len(text) >= 100 or int(text) > MOST:
        raise argparse.ArgumentTypeError(f"takes a whole number to {MOST:,}, not {shown(text)}")
    return int(text)
