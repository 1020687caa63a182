"""Small things that many modules need: the message for an unknown name, files all or nothing, seeds by purpose."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import hashlib
import os
import signal
import sys
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from tqdm.auto import tqdm


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


def bar_is_off(wanted: bool) -> bool | None:
    """The `disable` of a tqdm bar: shown on a terminal and in JupyterLab, silent in logs, papermill and nbval.

    A kernel's output claims to be a terminal, so tqdm alone would send thousands of widget messages to whoever runs
    the notebook. Only a Jupyter server tells its kernels their session's name.
    """
    if not wanted:
        return True
    if "ipykernel" in sys.modules:
        return "JPY_SESSION_NAME" not in os.environ
    return None


def progress_bar(total: int, done: int, wanted: bool) -> tqdm:
    """A bar over `total` iterations that starts at `done`, see `bar_is_off`."""
    return tqdm(total=total, initial=done, disable=bar_is_off(wanted), unit="it", dynamic_ncols=True, leave=False)


def positive(text: str) -> int:
    """The type of a command line's count: 1, 2, ..."""
    if not text.strip().isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"takes a whole number from 1, not {text!r}")
    return int(text)


def watched(items: Iterable, total: int, what: str, wanted: bool = True) -> tqdm:
    """`items`, with a bar over them."""
    return tqdm(items, total=total, desc=what, disable=bar_is_off(wanted), dynamic_ncols=True)


@contextlib.contextmanager
def deferred_interrupt() -> Iterator[Callable[[], bool]]:
    """Lets the iteration finish at Ctrl-C; a second Ctrl-C stops at once. Yields a function: was it pressed?"""
    pressed = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield pressed.is_set  # only the main thread may handle signals
        return
    previous = signal.getsignal(signal.SIGINT)
    if previous in (signal.SIG_IGN, None):  # ignored on purpose (nohup), or not Python's to handle
        yield pressed.is_set
        return

    def handle(number, frame):
        pressed.set()
        signal.signal(signal.SIGINT, previous)

    signal.signal(signal.SIGINT, handle)
    try:
        yield pressed.is_set
    finally:
        signal.signal(signal.SIGINT, previous)
