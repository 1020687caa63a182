"""Stop signals: what Ctrl-C and a scheduler ask for, and how what is going on ends in order."""

from __future__ import annotations

import contextlib
import itertools
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator

# Ctrl-C; what schedulers, `timeout` and `docker stop` send; and a terminal that is closed. Windows has no SIGHUP.
STOP_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


@contextlib.contextmanager
def stop_signals(handle: Callable[[int, object], None]) -> Iterator[None]:
    """Has `handle` called at a stop signal in this block, if it is not ignored on purpose (nohup).

    Outside the main thread, which alone may handle signals, it does nothing.
    """
    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    mine = {number: old for number, old in before.items() if old not in (signal.SIG_IGN, None)}  # None: not Python's
    try:
        for number in mine:
            signal.signal(number, handle)
        yield
    finally:
        for number, old in mine.items():
            signal.signal(number, old)


class Flag:
    """Whether something was asked for. A signal handler may set it, whatever it interrupts.

    threading.Event takes a lock to be set, for which a handler that interrupts a handler would wait for ever.
    """

    def __init__(self):
        self._is_set = False

    def set(self) -> None:
        self._is_set = True

    def is_set(self) -> bool:
        return self._is_set


TOGETHER = 2.0  # seconds: Ctrl-C that is pressed several times within them is one


def _pressed() -> Callable[[int], bool]:
    """A function that says of each stop signal whether it is a Ctrl-C that counts, see TOGETHER."""
    last = -math.inf

    def counts(number: int) -> bool:
        nonlocal last
        now = time.monotonic()
        if number != signal.SIGINT or now - last < TOGETHER:
            return False
        last = now
        return True

    return counts


def interrupt_once(asked: Flag) -> Callable[[int, object], None]:
    """A handler that turns the first stop signal, and each Ctrl-C, into a KeyboardInterrupt, and sets `asked`.

    Schedulers send several signals, and people press several times; what comes after the first must not disturb what
    stops in order.
    """
    pressed = _pressed()

    def handle(number: int, frame: object) -> None:
        if pressed(number) or not asked.is_set():
            asked.set()
            raise KeyboardInterrupt

    return handle


class Stopped(KeyboardInterrupt):
    """What was going on was cut short because it is to stop, see `Stop`. A notebook shows it as one line."""

    def _render_traceback_(self) -> list[str]:
        """What IPython shows of it: who stopped a cell need not read where that was."""
        return [str(self) or "stopped"]


class Stop:
    """Whether what is going on is to stop: after a stop signal (see `deferred_interrupt`), or if `should_stop` says so.

    Once it is to stop, it stays so. should_stop: asked with the seconds that are ahead.
    """

    def __init__(self, should_stop: Callable[[float], bool] | None = None):
        self.should_stop, self.signalled, self.asked = should_stop, Flag(), False

    def __call__(self, ahead: float) -> bool:
        wanted = self.should_stop is not None and not self.asked and self.should_stop(ahead)
        self.asked = self.asked or self.signalled.is_set() or wanted
        return self.asked

    def check(self) -> None:
        """Raises Stopped if it is time."""
        if self(0.0):
            raise Stopped


@contextlib.contextmanager
def deferred_interrupt(should_stop: Callable[[float], bool] | None = None) -> Iterator[Stop]:
    """Lets the iteration finish at a stop signal; a second Ctrl-C, more than TOGETHER after the first, stops at once.

    Yields what says whether to stop.
    """
    stop, previous, pressed, presses = Stop(should_stop), signal.getsignal(signal.SIGINT), _pressed(), itertools.count()

    def handle(number: int, frame: object) -> None:
        stop.signalled.set()
        if pressed(number) and next(presses):
            signal.signal(number, previous)
            signal.raise_signal(number)

    with stop_signals(handle):
        yield stop
