"""The figures of notebook 12: milliseconds, where an iteration goes, time against accuracy, time against M.

    show(iterations({"training iteration": {"dnll": [...], "mean-teacher": [...]}}), alt="...")

Filled marks are measured or counted here, hollow marks are the paper's.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from dnll_core.bench.report import milliseconds, quartiles, spread
from dnll_core.figures.style import BLACK, BLUE, GREY, METHODS, TEXT, canvas, lines_of, percents, tint

# how a part of an iteration is drawn, in its method's colour: (share of white, hatch)
_LOOKS = {"label passes": (0.75, "///"), "forward": (0.45, ""), "backward": (0.0, "")}
_OTHER = "everything else"


def iterations(panels: dict[str, dict[str, Sequence[float]]]) -> Figure:
    """Every measured time as a mark, the median as a bar with its number, the quartiles as a band.

    Args:
        panels: title -> {key of METHODS -> seconds}; each panel has its own scale, from zero.
    """
    count = max(map(len, panels.values()))
    with canvas(1, len(panels), (4.9 * len(panels), 0.55 * count + 1.4), sharey=True, squeeze=False) as (figure, axes):
        for axis, (title, groups) in zip(axes.flat, panels.items()):
            for y, (name, seconds) in enumerate(groups.items()):
                style, times = METHODS[name], 1000 * np.asarray(seconds)
                low, median, high = quartiles(times)
                axis.barh(y, high - low, 0.5, left=low, color=style.color, alpha=0.25, linewidth=0)
                axis.plot([median] * 2, [y - 0.25, y + 0.25], color=style.color, linewidth=3, solid_capstyle="butt")
                axis.plot(times, np.full(len(times), y), style.marker, color=style.color, alpha=0.55, markersize=5)
                number = milliseconds(median / 1000)
                axis.annotate(number, (times.max(), y), (9, 0), textcoords="offset points", va="center", weight="bold")
            lines_of(axis, [METHODS[name].label for name in groups], "milliseconds")
            axis.xaxis.set_major_locator(MaxNLocator(6))
            axis.set(title=title, xlim=(0, 1220 * max(max(seconds) for seconds in groups.values())))
        marks = {"color": GREY, "linestyle": "none"}
        keys = [Line2D([], [], marker="o", alpha=0.55, markersize=5, label="a time", **marks)]
        keys += [Line2D([], [], marker="|", markersize=15, markeredgewidth=3, label="median, with its number", **marks)]
        keys += [Patch(color=GREY, alpha=0.25, linewidth=0, label="quartiles")]
        figure.legend(handles=keys, loc="outside lower center", ncols=len(keys))
    return figure


def parts(panels: dict[str, dict[str, dict[str, float]]], units: Sequence[str]) -> Figure:
    """Of what an iteration consists, as stacked bars.

    Args:
        panels: title -> {key of METHODS -> {part: amount}}; parts other than those of the networks are drawn as one.
        units: of each panel's amounts.
    """
    count = max(map(len, panels.values()))
    size = (5.1 * len(panels), 0.6 * count + 1.35)
    with canvas(1, len(panels), size, sharey=True, squeeze=False) as (figure, axes):
        for axis, unit, (title, groups) in zip(axes.flat, units, panels.items()):
            longest = max(sum(amounts.values()) for amounts in groups.values())
            for y, (name, amounts) in enumerate(groups.items()):
                total, left = sum(amounts.values()), 0.0
                drawn = {part: amounts[part] for part in _LOOKS} | {
                    _OTHER: sum(value for part, value in amounts.items() if part not in _LOOKS)
                }
                for part, amount in drawn.items():
                    color, hatch = _look(part, METHODS[name].color)
                    axis.barh(y, amount, 0.62, left=left, color=color, hatch=hatch, edgecolor="white", linewidth=0.8)
                    if amount > 0.09 * longest:
                        look = {"color": "white" if part == "backward" else BLACK, "fontsize": 9}
                        box = {"boxstyle": "round,pad=0.15", "facecolor": color, "linewidth": 0}
                        text = f"{amount / total:.0%}"
                        axis.text(left + amount / 2, y, text, ha="center", va="center", bbox=box, **look)
                    left += amount
                axis.annotate(f"{left:.0f}", (left, y), (5, 0), textcoords="offset points", va="center", weight="bold")
            lines_of(axis, [METHODS[name].label for name in groups], unit)
            axis.xaxis.set_major_locator(MaxNLocator(6))
            axis.set(title=title, xlim=(0, 1.14 * longest))
        keys = [_look(part, TEXT) for part in (*_LOOKS, _OTHER)]
        handles = [
            Patch(facecolor=color, hatch=hatch, edgecolor="white", label=part)
            for part, (color, hatch) in zip((*_LOOKS, _OTHER), keys)
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure


def _look(part: str, color: str) -> tuple:
    """(colour, hatch) of a part in the bar of a method with this colour."""
    if part == _OTHER:
        return "#D0D0D0", ""
    white, hatch = _LOOKS[part]
    return tint(color, white), hatch


def trade(
    paper: dict[str, tuple[float, float]],
    ours: dict[str, tuple[tuple[float, float, float], Sequence[float]]],
    title: str = "",
) -> Figure:
    """Figure 8: accuracy against the time of a training iteration, as a multiple of Mean Teacher's on the same machine.

    Args:
        paper: key of METHODS -> (multiple, accuracy in percent).
        ours: key of METHODS -> ((multiple, low, high), accuracies of the recorded runs in percent). Without runs only
            the multiple is drawn, in a strip of its own.
    """
    with canvas(1, 1, (7.6, 4)) as (figure, axis):
        values = [accuracy for _, accuracy in paper.values()]
        values += [accuracy for _, accuracies in ours.values() for accuracy in accuracies]
        without = [name for name, (_, accuracies) in ours.items() if not accuracies]
        floor, top = min(values) - (2.2 if without else 0.9), max(values) + 0.9
        if without:
            axis.axhspan(floor, floor + 1.3, color="#F2F2F2", linewidth=0, zorder=0)
            axis.text(0.03, floor + 1.05, "our accuracy: not recorded", va="center", color=TEXT)
        for name, ((multiple, low, high), accuracies) in ours.items():
            style = METHODS[name]
            bars = [[max(0, multiple - low)], [max(0, high - multiple)]]
            look = {"color": style.color, "marker": style.marker, "markersize": 9, "capsize": 4}
            y = statistics.fmean(accuracies) if accuracies else floor + 0.45
            axis.errorbar(multiple, y, xerr=bars, zorder=5, **look)
            axis.plot([multiple] * len(accuracies), accuracies, ".", color=style.color, alpha=0.5)
        for name, (multiple, accuracy) in paper.items():
            style = METHODS[name]
            look = {"marker": style.marker, "markersize": 12, "markeredgewidth": 1.8, "markerfacecolor": "none"}
            axis.plot(multiple, accuracy, linestyle="none", markeredgecolor=style.color, zorder=4, **look)
            place = {"textcoords": "offset points", "va": "center", "color": tint(style.color, -0.3), "weight": "bold"}
            axis.annotate(style.label, (multiple, accuracy), (12, 0), **place)
        right = max([multiple for multiple, _ in paper.values()] + [high for (_, _, high), _ in ours.values()])
        axis.set(xlim=(0, 1.25 * right), ylim=(floor, top), ylabel="test accuracy")
        axis.set_title(title, loc="left")
        percents(axis.yaxis, of=100)
        if without:  # the strip has no height on the axis
            axis.set_yticks([tick for tick in axis.get_yticks() if floor + 1.3 < tick <= top])
        axis.set_xlabel("time of a training iteration ÷ Mean Teacher's on the same machine")
        keys = [
            Line2D([], [], color=GREY, marker="o", markersize=12, markerfacecolor="none", linestyle="none"),
            Line2D([], [], color=GREY, marker="o", markersize=9, linewidth=1.5),
        ]
        axis.legend(keys, ["the paper's", "ours: timed here, with interval"], loc="upper left")
    return figure


def growth(rows: pd.DataFrame) -> Figure:
    """Time of an iteration and of an epoch against M. rows: of `bench.report.frame`, by ascending M."""
    sizes, epochs = rows["unlabelled"].to_numpy(), rows["epoch"].to_numpy()
    median, low, high = (1000 * rows[name].to_numpy() for name in spread("train"))
    with canvas(1, 2, (9.4, 3.3)) as (figure, (left, right)):
        left.errorbar(sizes, median, yerr=[median - low, high - median], color=BLUE, marker="o", capsize=4)
        left.axhline(median[0], color=GREY, linestyle="--", linewidth=1.2, zorder=1)
        left.set(title="one iteration", ylabel="milliseconds, median and quartiles", ylim=(0, 1.15 * high.max()))
        right.plot(sizes, epochs, "o-", color=BLUE)
        line = epochs[0] * sizes / sizes[0]
        right.plot(sizes, line, "--", color=GREY, linewidth=1.2, zorder=1)
        place = {"textcoords": "offset points", "ha": "left", "va": "top", "color": TEXT}
        right.annotate("in proportion to M", (sizes[len(sizes) // 2], line[len(sizes) // 2]), (10, -6), **place)
        right.set(title="one epoch", ylabel="seconds", yscale="log")
        right.yaxis.set_major_formatter("{x:g}")
        for axis in (left, right):
            axis.set(xscale="log", xlabel="M, unlabelled images")
            axis.set_xticks(sizes)
            axis.xaxis.set_major_formatter("{x:,.0f}")
            axis.minorticks_off()
    return figure
