"""The figures of the paper's Tables 1-6: our runs, and the paper's numbers as dashes, or beside the axis.

    groups = {cell: list(records.of(cell.experiment).values()) for cell in cells(4, "laptop")}
    show(points_of_cells(groups), alt="...")

A title says first what is shown, with n, and then which table of the paper that stands in for. Each run is a mark.
The figure of all tables at once, `scorecard_figure`, is in `figures.scorecard`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import seaborn
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dnll_core import results
from dnll_core.figures.curves import curves, runs_and_mean
from dnll_core.figures.style import (
    BLACK,
    GREY,
    METHODS,
    PAPER,
    MethodStyle,
    canvas,
    lines_of,
    percents,
    tint,
)
from dnll_core.study.records import NAMES, frame
from dnll_core.study.settings import METHODS as CHOSEN
from dnll_core.study.statistics import from_to
from dnll_core.study.tables import Cell, line_names

Groups = Mapping[Cell, Sequence[dict]]  # the records of each cell; none where it is not recorded

GUESSED = 20  # percent; all of the tables' sets have ten classes, of which guessing finds 10
LEAST = 10  # points that an axis has at least: less would make much of little
_VARIANTS = (("-", False), ((0, (5, 1.5)), True), ((0, (1, 1.2)), False), ("-.", True))  # of one method: dash, hollow


def title_of(groups: Groups, what: str = "") -> str:
    """What was run and of which table that is: "Digits, small network, 40 epochs, n = 1 (stand-in for Table 5)".

    With the paper's images and network it is the table, or that in a shorter profile: "Table 4: MNIST, CNN-13, n = 3".
    Profile "quick" has settings that were searched at more epochs: a baseline that needs those is weaker here.

    Args:
        groups: cells of one table.
        what: in the place of "Table 5".

    Raises:
        ValueError: without cells.
    """
    if not groups:
        raise ValueError("title_of takes at least one cell.")
    cell = next(iter(groups))
    e, what, n = cell.experiment, what or f"Table {cell.table}", _counted(groups)
    images = NAMES.get(e.dataset, e.dataset.capitalize() if e.dataset.isalpha() else e.dataset)
    pixels = "" if e.size is None else f" at {e.size} × {e.size} pixels"
    ran = f"{images}{pixels}, {NAMES.get(e.network, f'{e.network} network')}"
    epochs = from_to(c.experiment.epochs for c in groups)
    if not cell.as_in_paper:
        searched = CHOSEN[cell.method].epochs
        about = f"; settings searched at {searched} epochs" * (cell.profile == "quick" and searched != e.epochs)
        return _two_lines(f"{ran}, {epochs} epochs, {n}", f"(stand-in for {what}{about})")
    if cell.profile == "paper":
        return f"{what}: {ran}, {n}"
    return _two_lines(f"{ran}, {epochs} epochs, {n}", f"({what}, profile {cell.profile})")


def _two_lines(text: str, more: str) -> str:
    """On one line if they fit."""
    return f"{text}{' ' if len(text) + len(more) < 68 else chr(10)}{more}"


# -- one table ---------------------------------------------------------------------------------------------------------


def points_of_cells(groups: Groups, title: str | None = None) -> Figure:
    """A line for each method and reading, a panel for each number of labels: every run, mean ± sd, the paper's number.

    A run that does little more than guess is an arrow at the left edge with its number, if others do more; numbers of
    the paper that would squeeze the runs stand to the right of the panel, behind arrows. Where a panel lacks a line, it
    says so.

    Args:
        groups: cells of one table, in the order of their lines; those without records are named where the paper has a
            number, and left out elsewhere.
        title: by default `title_of`.
    """
    drawn = [cell for cell in groups if groups[cell] or cell.printed is not None]
    names = line_names(drawn or list(groups))
    lines = list(dict.fromkeys(names.values()))
    panels = sorted({cell.labels for cell in names}, key=lambda labels: labels or 0)
    values = {cell: 100 * np.array(results.accuracies(groups[cell])) for cell in drawn}
    spans = {labels: _span([cell for cell in drawn if cell.labels == labels], values) for labels in panels}
    stated = {cell.method for cell in drawn if cell.role != "variant"}
    outside = {cell for cell in drawn if cell.printed is not None and cell.printed > spans[cell.labels].most}
    size = ((2.3 + 0.6 * bool(outside)) * len(panels) + 2.25 + 2.4 * (len(panels) == 1), 0.36 * len(lines) + 1.9)
    with canvas(1, len(panels), size, sharey=True, squeeze=False) as (figure, axes):
        for axis, labels in zip(axes.flat, panels):
            own, learnt = [cell for cell in drawn if cell.labels == labels], spans[labels].learnt
            for cell in own:
                y = lines.index(names[cell])
                if cell in outside:
                    _at_edge(axis, y, f"{cell.printed:.1f}%", 1, BLACK)
                elif cell.printed is not None:
                    look = {"linestyle": PAPER, "color": BLACK, "linewidth": 1.6}
                    axis.plot([cell.printed] * 2, [y - 0.42, y + 0.42], zorder=4, **look)
                if len(values[cell]):
                    # hollow: a departure from what the paper says, where that is drawn, too
                    hollow = cell.role == "variant" and cell.method in stated
                    look = dataclasses.replace(METHODS[cell.method], hollow=hollow)
                    runs_and_mean(axis, y, values[cell], look, most=100)
                elif cell not in outside:
                    left = cell.printed < sum(spans[labels].ends) / 2  # the words go where there is room
                    place = {"xytext": (6 if left else -6, 0), "ha": "left" if left else "right", "va": "center"}
                    look = {"textcoords": "offset points", "fontsize": 8, "color": GREY}
                    axis.annotate("not recorded", (cell.printed, y), **look, **place)
                else:
                    _in_the_middle(axis, y, "not recorded")
                if learnt and min(values[cell], default=100) < GUESSED:
                    text = ", ".join(f"{accuracy:.1f}%" for accuracy in sorted(values[cell]) if accuracy < GUESSED)
                    _at_edge(axis, y, text, 0, METHODS[cell.method].color)
            there = {names[cell] for cell in own}
            for y in (y for y, line in enumerate(lines) if line not in there):
                _in_the_middle(axis, y, "not run")
            axis.set_title(f"{'all' if labels is None else labels} labels", fontsize=10)
            lines_of(axis, lines, "test accuracy, last epoch")
            percents(axis.xaxis, of=100)
            axis.set_xlim(spans[labels].ends)
        figure.get_layout_engine().set(wspace=0.06)  # so that ticks at the ends of neighbours do not touch
        figure.suptitle(title or title_of(groups), x=0.01, ha="left", fontsize=11)
        keys = _keys(drawn, groups, stated, outside)
        figure.legend(handles=keys, loc="outside lower center", ncols=max(1, min(len(keys), 4)), fontsize=9)
    return figure


@dataclasses.dataclass(frozen=True)
class _Span:
    """A panel's axis, in percent: its ends, up to where the paper's numbers are drawn, and whether a run learnt."""

    ends: tuple[float, float]
    most: float
    learnt: bool


def _span(cells: Sequence[Cell], values: Mapping[Cell, np.ndarray]) -> _Span:
    """Around the runs and the paper's numbers that are at most half of the runs' span, or LEAST, beyond the best."""
    printed = [cell.printed for cell in cells if cell.printed is not None]
    ran = [accuracy for cell in cells for accuracy in values[cell]]
    learnt = [accuracy for accuracy in ran if accuracy >= GUESSED]
    most = 100.0
    if learnt and not any(cell.as_in_paper for cell in cells):
        most = min(100, max(learnt) + max(LEAST, (max(learnt) - min(learnt)) / 2))
    whole = [values[cell] for cell in cells if len(values[cell]) > 1 and min(values[cell]) >= GUESSED]
    bars = [min(100, of.mean() + side * of.std(ddof=1)) for of in whole for side in (-1, 1)]
    seen = [x for x in (*printed, *(learnt or ran), *bars) if x <= most] or [0, 100]
    room = 0.12 * max(LEAST, max(seen) - min(seen))
    left, right = min(seen) - room, max(seen) + room
    if (lacks := LEAST - (right - left)) > 0:
        left, right = left - lacks / 2, right + lacks / 2
    right = min([right, 100 + min(3, room), *(x - 0.5 for x in printed if x > most)])  # there is no more than 100
    return _Span((min(left, right - LEAST), right), most, bool(learnt))


def _at_edge(axis: Axes, y: float, text: str, edge: int, color: str) -> None:
    """A number that the axis leaves out: inside the left edge (0) with an arrow to it, or beyond the right one (1)."""
    arrow = {"arrowstyle": "<|-" if edge else "-|>", "color": color, "shrinkA": 0, "shrinkB": 0}
    place = {"xytext": (16 if edge else 26, 0), "ha": "left", "va": "center", "fontsize": 9}
    at = {"xycoords": axis.get_yaxis_transform(), "textcoords": "offset points"}
    axis.annotate(text, (edge, y), arrowprops=arrow, **at, **place)


def _in_the_middle(axis: Axes, y: float, text: str) -> None:
    place = {"transform": axis.get_yaxis_transform(), "ha": "center", "va": "center"}
    axis.text(0.5, y, text, fontsize=8, color=GREY, **place)


def _counted(groups: Groups) -> str:
    """ "n = 3", or "n = 1...3", of the cells with records."""
    counts = from_to(len(records) for records in groups.values() if records)
    return f"n = {counts}" if counts else "not recorded"


def _keys(drawn: Sequence[Cell], groups: Groups, stated: set[str], outside: set[Cell]) -> list[Line2D]:
    look = {"color": GREY, "linestyle": "none", "markersize": 7, "marker": "o"}
    keys = [Line2D([], [], label="a run", **look)] if any(groups.values()) else []
    if any(cell.role == "variant" and cell.method in stated and groups[cell] for cell in drawn):
        keys.append(Line2D([], [], markerfacecolor="white", label="a variant or second reading", **look))
    if any(len(records) > 1 for records in groups.values()):
        keys.append(Line2D([], [], color=GREY, marker="|", markersize=12, linewidth=2, label="mean ± sd"))
    if any(cell.printed is not None for cell in drawn if cell not in outside):
        keys.append(Line2D([], [], color=BLACK, linestyle=PAPER, linewidth=1.6, label="the paper"))
    if outside:
        beyond = "the paper's number, outside the axis"
        keys.append(Line2D([], [], color=BLACK, marker="$\\rightarrow$", markersize=14, linestyle="none", label=beyond))
    return keys


def curves_of_cells(groups: Groups, title: str | None = None, floor: float | None = None) -> Figure:
    """Figure 4: test accuracy against epochs as `curves` draws it, named at the right ends; the paper's numbers dashed.

    Args:
        groups: cells with records; others are left out. Cells of one method differ in shade, dash and filling.
        floor: lower end of the accuracy axis, 0...1; by default what all but the first quarter of the runs needs.
        title: by default `title_of`.

    Raises:
        ValueError: if no cell has a record.
    """
    drawn = {cell: records for cell, records in groups.items() if records}
    if not drawn:
        raise ValueError("curves_of_cells takes at least one cell with records.")
    looks = _looks_of(list(drawn))
    printed = sorted({cell.printed / 100 for cell in drawn if cell.printed is not None})
    runs = frame(record for records in drawn.values() for record in records)
    settled = runs.loc[runs["epoch"] > runs["epoch"].max() / 4, "test"]  # the first rise need not be seen in full
    lowest = max(0, min([settled.min(), *printed]) - 0.01) if floor is None else floor
    ylim = (lowest, min(1, max([settled.max(), *printed]) + 0.01))
    panel, ends = {c.name: of for c, of in drawn.items()}, [(x, f"the paper {x:.2%}", BLACK) for x in printed]
    figure = curves({title or title_of(drawn): panel}, looks=looks, ends=ends, ylim=ylim)
    for axis in figure.axes:
        for level in printed:
            axis.axhline(level, color=BLACK, linestyle=PAPER, linewidth=1.1, zorder=1)
    return figure


def _looks_of(cells: Sequence[Cell]) -> dict[str, MethodStyle]:
    """Name -> look of each cell: its method's; of several of one method the more labels or negatives the darker."""
    looks = {}
    for cell in cells:
        own, style = [other for other in cells if other.method == cell.method], METHODS[cell.method]
        if not own[1:]:
            looks[cell.name] = dataclasses.replace(style, label=cell.name)
            continue
        i = sorted(own, key=lambda other: (other.labels or 0, other.experiment.m)).index(cell)  # of equal ones in order
        shades = seaborn.blend_palette([tint(style.color, 0.5), style.color, tint(style.color, -0.55)], len(own))
        dash, hollow = _VARIANTS[i % len(_VARIANTS)]
        looks[cell.name] = MethodStyle(cell.name, to_hex(shades[i]), style.marker, dash, hollow)
    return looks
