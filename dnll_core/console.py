"""How a long run behaves in front of a person: one progress bar, and a Ctrl-C that loses nothing."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator

from tqdm.auto import tqdm


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
