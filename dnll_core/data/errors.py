"""What is said of files and folders that cannot be used."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence

from dnll_core.common import printable


class DataError(RuntimeError):
    """A file or folder of a data set is missing, unreadable or not what it should be; the message says what to do."""

    def __init__(self, message: str):
        super().__init__(printable(message))


def listed(items: Sequence[object], most: int = 3) -> str:
    """The first of them, and how many more there are."""
    return ", ".join(map(str, items[:most])) + f" and {len(items) - most} more" * (len(items) > most)


@contextlib.contextmanager
def as_data_error(path: str | os.PathLike) -> Iterator[None]:
    """What the system says of a path that a user named, as a DataError that names it."""
    try:
        yield
    except (OSError, ValueError) as error:  # ValueError: no home folder for "~", or a NUL in the path
        where, why = getattr(error, "filename", None) or path, getattr(error, "strerror", None) or error
        raise DataError(f"{where} cannot be read ({why}).") from error
