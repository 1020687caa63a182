"""Bars: what is going on, how far it is and how long it still takes, for who watches. In logs they are silent."""

from __future__ import annotations

import contextlib
import html
import io
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence

from tqdm import tqdm


def bar_is_off(wanted: bool) -> bool | None:
    """The `disable` of a tqdm bar: shown on a terminal, in JupyterLab, VS Code and Colab; else silent, as in logs.

    A kernel's output claims to be a terminal, so tqdm alone would send thousands of widget messages to papermill and
    nbval. A person watches where a Jupyter server tells the kernel its session's name, VS Code the notebook's file, or
    the shell is Colab's. The environment variables of those two say less: whatever they start inherits them, papermill
    for one. TQDM_DISABLE=1 is tqdm's own word for no bar, which an argument would overrule.
    """
    if not wanted or os.environ.get("TQDM_DISABLE", "") not in ("", "0"):
        return True
    if "ipykernel" not in sys.modules:
        return None
    from IPython import get_ipython  # there is a kernel, or could be; commands need none

    shell = get_ipython()
    seen = "JPY_SESSION_NAME" in os.environ or "__vsc_ipynb_file__" in getattr(shell, "user_ns", ())
    return not (seen or type(shell).__module__.startswith("google.colab"))


def in_words(seconds: float | None) -> str:
    """For example "40 s", "25 min", "3.2 h"; "not known" for None, and never less than "0 s"."""
    if seconds is None:
        return "not known"
    seconds = max(0.0, seconds)  # an estimate may have passed; and -0.0 would be shown as "-0"
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"


class Bar(tqdm):
    """tqdm's bar on a terminal; in a notebook a line of HTML, which is empty at the end.

    tqdm's own bar for notebooks is a widget: a notebook that was saved with it reports, when it is opened again, that
    no kernel knows it.

    Args:
        wanted: see `bar_is_off`.
        runs: what it is a bar of, if of training.
        others: tqdm's.
    """

    def __init__(self, *args, wanted: bool = True, runs: Runs | None = None, leave: bool = False, **others):
        off, self.runs, self.place = bar_is_off(wanted), runs, None
        if off is False:
            self.place = Place() if runs is None else runs.place
            others |= {"file": io.StringIO()}  # for what tqdm writes beside the bar
        super().__init__(*args, disable=off, leave=leave and off is not False, dynamic_ncols=True, **others)

    @property
    def format_dict(self) -> dict:
        """What tqdm makes its line of. Of several runs, the time that all of them still take is added to it."""
        told = super().format_dict
        left = (
            None if self.runs is None else self.runs.seconds_left(self.n, self.total, told["initial"], told["elapsed"])
        )
        if left is not None:
            told["postfix"] = ", ".join(filter(None, [f"about {in_words(left)} for all runs", told["postfix"]]))
        return told

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        """Draws the bar; as tqdm calls it, with msg="" at the end."""
        if self.place is None:
            return super().display(msg, pos)
        self.place.show("" if msg == "" else self._line(), min(1, self.n / self.total) if self.total else 0)
        return True

    def _line(self) -> str:
        told = self.format_dict
        rate = told["rate"] or (told["n"] - told["initial"]) / max(told["elapsed"], 1e-9)
        of = "" if told["total"] is None else f" of {told['total']}"
        parts = [told["prefix"], "" if self.runs else f"{told['n']}{of}"]
        parts += [f"{in_words((told['total'] - told['n']) / rate)} left"] if rate and of else []
        return " · ".join(filter(None, [*parts, *(told["postfix"] or "").split(", ")]))


class Place:
    """Where a bar is drawn in a notebook: one output of the cell, made when there is something to show."""

    def __init__(self):
        self.handle = None

    def show(self, line: str, share: float) -> None:
        """Draws a bar with a line behind it; nothing at all for the line ""."""
        from IPython.display import display  # there is a notebook; commands need none

        bar = f'<progress value="{share:.3f}" aria-label="progress"></progress> {html.escape(line)}' if line else ""
        bundle = {"text/html": bar, "text/plain": line}
        if self.handle is None:
            self.handle = display(bundle, raw=True, display_id=True)
        else:
            self.handle.update(bundle, raw=True)


class Runs:
    """For `train(..., progress=)`: the bar of each of several runs says which of how many it is, and the time of all.

    Args:
        expected: how long each run takes, in the order in which they are trained, in any unit.
        again: what a message says, after an interruption, of how to go on.
        wanted: see `bar_is_off`.
    """

    def __init__(self, expected: Sequence[float] = (1.0,), again: str = "", wanted: bool = True):
        self.expected, self.wanted, self.place = [*expected], wanted, Place()
        self.again = f"; {again}" if again else ""
        self.begun = 0
        self.took: dict[float, float] = {}  # seconds of runs that have ended, by what was expected of them

    @classmethod
    def of(cls, progress: bool | Runs) -> Runs:
        """Itself; or a single run, with a bar or without."""
        return progress if isinstance(progress, Runs) else cls(wanted=progress)

    @contextlib.contextmanager
    def bar(self, title: str, total: int, done: int) -> Iterator[Bar]:
        """The bar of the next run, over `total` iterations, which starts at `done`. One that fails is not counted."""
        if self.begun == len(self.expected):  # more than were announced
            self.expected.append(self.expected[-1] if self.expected else 1.0)
        self.begun += 1
        which = f" · run {self.begun} of {len(self.expected)}" if len(self.expected) > 1 else ""
        with Bar(desc=title + which, total=total, initial=done, wanted=self.wanted, runs=self) as bar:
            began = time.perf_counter()
            try:
                yield bar
            except BaseException:
                self.begun -= 1  # who tries it again trains the same run
                raise
        self.took |= self._seen(total, total, done, time.perf_counter() - began)

    def seconds_left(self, n: int, total: int, initial: int, elapsed: float) -> float | None:
        """Of all runs, where this one has come from iteration `initial` to `n`; None for a single one, or too early."""
        if len(self.expected) < 2 or not total or n == initial or (elapsed < 1 and not self.took):
            return None
        now = self._seen(n, total, initial, elapsed)
        seen = self.took | now
        scale = sum(seen.values()) / sum(seen)  # for runs of which none has begun
        ahead = sum(seen.get(each, scale * each) for each in self.expected[self.begun :])
        return ahead + sum(now.values()) * (total - n) / total

    def _seen(self, n: int, total: int, initial: int, elapsed: float) -> dict[float, float]:
        """What was expected of this run -> the seconds that it takes, from the first iteration on, at its speed."""
        return {self.expected[self.begun - 1]: elapsed * total / (n - initial)} if total and n > initial else {}


def watched(items: Iterable, total: int, what: str, wanted: bool = True) -> Bar:
    """`items`, with a bar over them."""
    return Bar(items, total=total, desc=what, wanted=wanted, leave=True)
