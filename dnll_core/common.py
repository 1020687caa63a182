"""Small things that many modules need: the message for an unknown name, files all or nothing, seeds by purpose."""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import os
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO


def unknown(argument: str, got: object, accepted: Iterable[str]) -> str:
    """The message for a name that does not exist: what was given, the nearest valid name, and all that are accepted."""
    accepted = list(accepted)
    folded = {name.lower(): name for name in accepted}
    near = difflib.get_close_matches(str(got).lower(), folded, n=1, cutoff=0.4)
    hint = f" Did you mean {folded[near[0]]!r}?" if near else ""
    return f"{argument}={got!r} is not known.{hint} Accepted: {', '.join(accepted)}."


@contextlib.contextmanager
def atomic_file(path: str | Path) -> Iterator[BinaryIO]:
    """A binary file to write that appears at `path`, on disk and complete, only if the block ends without an error.

    It is written under another name in the same folder (made if missing), flushed to disk, and renamed.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def stream_seed(seed: int, purpose: str) -> int:
    """A seed for one purpose of a run, 0...2^63 - 1, so that its streams of randomness are unrelated to each other."""
    return int.from_bytes(hashlib.sha256(f"{seed}: {purpose}".encode()).digest()[:8], "big") >> 1
