"""The figures of notebook 10: methods with and without negative labels, and all methods side by side.

show(with_and_without({"Dual Student": {"dual-student": records, "dual-student+dnll": more}}), alt="...")

Colours, markers and dashes are those of `plots.METHODS`: an add-on has its base's colour, and a solid line.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from scipy import stats

from dnll_core.plots import BLACK, GREEN, GREY, METHODS, ORANGE, RED, canvas

_ROLES = (  # of a student towards an image: name, colour, hatch
    ("learns from the other student", GREEN, ""),
    ("teaches it, takes nothing from it", "#A6DBC9", "//"),
    ("neither is stable", "#D9D9D9", ".."),
)


def averages(student: np.ndarray, curves: dict[str, np.ndarray]) -> Figure:
    """A weight over the steps with averages of it, and how far these are from it.

    Args:
        student: (T,) the weight after each step.
        curves: label -> (T,): the average as published, then others.
    """
    steps = np.arange(1, len(student) + 1)
    looks = ((ORANGE, "-", 2.2), (RED, (0, (4, 1.5)), 1.4), (BLACK, ":", 1.4))
    with canvas(1, 2, (10, 3.4)) as (figure, (left, right)):
        left.plot(steps, student, color=GREY, linewidth=3, alpha=0.6, label="the student's weight")
        for (name, values), (color, dash, width) in zip(curves.items(), looks):
            left.plot(steps, values, color=color, linestyle=dash, linewidth=width, label=name)
            distance = np.abs(values - student).clip(min=1e-9)
            right.plot(steps, distance, color=color, linestyle=dash, linewidth=1.4)
        left.set(xlabel="step", ylabel="value", title="One weight, and its averages")
        right.set(xlabel="step", ylabel="|average − weight|", yscale="log", title="How far they are from it")
        figure.legend(loc="outside lower center", ncols=3)
    return figure


def with_and_without(panels: dict[str, dict[str, list[dict]]], held_out: str = "test", floor: float = 0.0) -> Figure:
    """Figure 6: accuracy against epochs, one panel for each base, the same limits; each run thin, the mean thick.

    Args:
        panels: title -> {key of METHODS -> run records}.
        held_out: "test" or "validation".
        floor: lower end of the accuracy axis.
    """
    with canvas(1, len(panels), (4.9 * len(panels), 3.8), sharey=True, squeeze=False) as (figure, axes):
        for axis, (title, groups) in zip(axes.flat, panels.items()):
            for name, records in groups.items():
                style = METHODS[name]
                epochs, runs = _accuracies(records, held_out)
                for run in runs if len(runs) > 1 else ():
                    axis.plot(epochs, run, style.dash, color=style.color, alpha=0.35, linewidth=0.9)
                look = {"color": style.color, "marker": style.marker, "markersize": 7, "markevery": 0.12}
                label = f"{style.label}, n = {len(runs)}"
                axis.plot(epochs, np.mean(runs, axis=0), linestyle=style.dash, linewidth=2.2, label=label, **look)
            axis.set(xlabel="epoch (passes over the unlabelled images)", title=title, ylim=(floor, 1))
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
            axis.legend(loc="lower right")
        axes[0, 0].set_ylabel(f"{held_out} accuracy")
        axes[0, 0].yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    return figure


def _accuracies(records: Sequence[dict], held_out: str) -> tuple[list[int], np.ndarray]:
    """The evaluated epochs, and the mean accuracy of the submodels in them: (runs, epochs)."""
    rows = [[row for row in record["history"] if held_out in row] for record in records]
    runs = [[statistics.fmean(row[held_out]["submodels"]) for row in history] for history in rows]
    return [row["epoch"] for row in rows[0]], np.array(runs)


def roles(panels: dict[str, list[dict]]) -> Figure:
    """What Dual Student's stabilisation does with each pair of a student and an image, in shares over the epochs.

    Where one of the two learns the other one teaches, so the recorded share of learners gives all three.

    Args:
        panels: title -> run records with "stabilised" in their history; their mean is drawn.
    """
    with canvas(1, len(panels), (4.9 * len(panels), 3.6), sharey=True, squeeze=False) as (figure, axes):
        for axis, (title, records) in zip(axes.flat, panels.items()):
            learns = np.mean([[row["stabilised"] for row in record["history"]] for record in records], axis=0)
            shares = [learns, np.minimum(learns, 1 - learns), (1 - 2 * learns).clip(min=0)]
            epochs = [row["epoch"] for row in records[0]["history"]]
            bottom = np.zeros(len(learns))
            for share, (name, color, hatch) in zip(shares, _ROLES):
                look = {"facecolor": color, "hatch": hatch, "edgecolor": "white", "linewidth": 0}
                axis.fill_between(epochs, bottom, bottom + share, label=name, **look)
                bottom = bottom + share
            axis.axhline(0.5, color=BLACK, linestyle="--", linewidth=1.2, label="at most one of two learns")
            axis.set(xlabel="epoch (passes over the unlabelled images)", title=title, ylim=(0, 1))
            axis.set_xlim(epochs[0], max(epochs[-1], epochs[0] + 1))
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes[0, 0].set_ylabel("pairs of a student and an image")
        axes[0, 0].yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return figure


def finals(groups: dict[str, list[float]], floor: str = "supervised") -> Figure:
    """One point for each run and a bar of mean ± sd for each method, the best mean on top.

    Args:
        groups: key of METHODS -> accuracies 0...1.
        floor: the method whose mean ± sd is drawn as a band behind all of them, if it is there.
    """
    order = sorted(groups, key=lambda name: np.mean(groups[name]))
    with canvas(1, 1, (8, 0.36 * len(groups) + 1.0)) as (figure, axis):
        if floor in groups:
            mean, sd = _mean_sd(groups[floor])
            axis.axvline(mean, color=METHODS[floor].color, linestyle="--", linewidth=1.2)
            axis.axvspan(mean - sd, mean + sd, color=METHODS[floor].color, alpha=0.12, linewidth=0)
        for y, name in enumerate(order):
            style, values = METHODS[name], np.asarray(groups[name])
            mean, sd = _mean_sd(values)
            bar = {"color": style.color, "capsize": 4, "linewidth": 2, "marker": "|", "markersize": 14}
            axis.errorbar(mean, y, xerr=sd or None, **bar)
            face = style.color if name.endswith("dnll") else "white"
            look = {"color": style.color, "marker": style.marker, "markersize": 7, "markerfacecolor": face}
            axis.plot(values, np.full(len(values), y + 0.26), linestyle="none", **look)
        axis.set_yticks(range(len(order)), [f"{METHODS[name].label}, n = {len(groups[name])}" for name in order])
        axis.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        text = "test accuracy, last epoch: each run, and mean ± sd (filled: with negative labels)"
        axis.set(xlabel=text, ylim=(-0.6, len(order) - 0.2))
        axis.grid(axis="y", visible=False)
    return figure


def differences(rows: dict[str, tuple[str, Sequence[float]]]) -> Figure:
    """Paired differences: one point for each seed, the mean, and its 95 % interval (Student's t).

    Args:
        rows: label -> (key of METHODS that gives the look, the differences 0...1 of the seeds).
    """
    order = list(rows)[::-1]
    with canvas(1, 1, (8, 0.55 * len(rows) + 1.0)) as (figure, axis):
        axis.axvline(0, color=BLACK, linestyle="--", linewidth=1.2)
        for y, label in enumerate(order):
            name, values = rows[label]
            style, values = METHODS[name], 100 * np.asarray(values)
            half = interval(values)
            bar = {"color": style.color, "capsize": 5, "linewidth": 2.2, "marker": "|", "markersize": 16}
            axis.errorbar(values.mean(), y, xerr=half if np.isfinite(half) else None, **bar)
            look = {"color": style.color, "marker": style.marker, "markersize": 6, "alpha": 0.75}
            axis.plot(values, np.full(len(values), y + 0.25), linestyle="none", **look)
        axis.set_yticks(range(len(order)), [f"{label}, n = {len(rows[label][1])}" for label in order])
        axis.set(xlabel="difference of test accuracies with the same seed (points)", ylim=(-0.5, len(order) - 0.3))
        axis.grid(axis="y", visible=False)
    return figure


def interval(values: Sequence[float], confidence: float = 0.95) -> float:
    """Half the width of the interval that Student's t gives for the mean of n values; infinite for a single one."""
    n = len(values)
    if n < 2:
        return float("inf")
    return float(stats.t.ppf((1 + confidence) / 2, n - 1) * np.std(values, ddof=1) / np.sqrt(n))


def _mean_sd(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation, 0 for a single value."""
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
