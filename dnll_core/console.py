"""How a long run behaves in front of a person: one progress bar, and a Ctrl-C that loses nothing."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator

from tqdm.auto import tqdm


def progress_bar(total: int, done: int, wanted: bool) -> tqdm:
    """A bar for a terminal or JupyterLab; silent elsewhere (logs, papermill, nbval), where it would only be noise."""
    in_jupyterlab = "JPY_SESSION_NAME" in os.environ
    disable = True if not wanted else False if in_jupyterlab else None
    return tqdm(total=total, initial=done, disable=disable, unit="it", dynamic_ncols=True, leave=False)


@contextlib.contextmanager
def deferred_interrupt() -> Iterator[Callable[[], bool]]:
    """Lets the iteration finish at Ctrl-C; a second Ctrl-C stops at once. Yields a function: was it pressed?"""
    pressed = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield pressed.is_set  # only the main thread may handle signals
        return
    previous = signal.getsignal(signal.SIGINT)

    def handle(number, frame):
        pressed.set()
        signal.signal(signal.SIGINT, previous)

    signal.signal(signal.SIGINT, handle)
    try:
        yield pressed.is_set
    finally:
        signal.signal(signal.SIGINT, previous)
