"""Curves over epochs, and differences between runs."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator, PercentFormatter

from dnll_core import results
from dnll_core.figures.style import BLACK, METHODS, STYLE, VARIANTS, _markers, canvas
from dnll_core.study.statistics import _mean_sd, interval


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


def _something_of_each(groups: dict[str, list]) -> None:
    missing = [name for name, of_method in groups.items() if not len(of_method)]
    if missing or not groups:
        raise results.RecordError(results.none_of(", ".join(missing) or "any method that is to be drawn"))


def finals(groups: dict[str, list[float]], floor: str = "supervised") -> Figure:
    """One point for each run and a bar of mean ± sd for each method, the best mean on top.

    Args:
        groups: key of METHODS -> accuracies 0...1.
        floor: the method whose mean ± sd is drawn as a band behind all of them, if it is there.

    Raises:
        RecordError: if there is nothing of a method; it says where records are looked for and how they are made.
    """
    _something_of_each(groups)
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


def curves(groups: dict[str, list[dict]], held_out: str = "test", floor: float = 0.0, title: str = "") -> Figure:
    """Accuracy against epochs: each run a thin line, the mean of a method thick.

    Args:
        groups: key of METHODS -> run records with a history. Other methods may have numbers instead of histories
            (see `lines`).
        held_out: "test" or "validation".
        floor: lower end of the accuracy axis.

    Raises:
        RecordError: as `finals`.
    """
    _something_of_each(groups)
    with canvas(1, 1, (7, 4)) as (figure, axis):
        for name, records in groups.items():
            style = METHODS[name]
            histories = [[row for row in record["history"] if held_out in row] for record in records]
            epochs = [row["epoch"] for row in histories[0]]
            values = [[statistics.fmean(row[held_out]["submodels"]) for row in history] for history in histories]
            for run in values:
                axis.plot(epochs, run, color=style.color, alpha=0.3, linewidth=0.8)
            label = f"{style.label}, n = {len(values)}"
            axis.plot(epochs, np.mean(values, axis=0), style.dash, color=style.color, linewidth=2, label=label)
        axis.set(xlabel="epoch (passes over the unlabelled images)", ylabel=f"{held_out} accuracy", title=title)
        axis.set_ylim(floor, 1)
    return figure


def lines(figure: Figure, levels: dict[str, float]) -> Figure:
    """Adds horizontal lines for methods without epochs, and the legend, to the first axis of a figure."""
    [axis] = figure.axes
    for name, value in levels.items():
        style = METHODS[name]
        axis.axhline(value, linestyle=style.dash, color=style.color, linewidth=1.5, label=style.label)
    with plt.rc_context(STYLE):
        if len(axis.get_legend_handles_labels()[0]) > 5:  # more would cover the lines
            figure.set_figwidth(9)
            figure.legend(loc="outside right center")
        else:
            axis.legend(loc="lower right")
    return figure


def criterion(trials: dict[str, list[dict]], chosen: dict[str, dict]) -> Figure:
    """Each trial of a search: what could be known of it without target labels against its test accuracy on the target.

    Args:
        trials: key of METHODS -> trials with "information", "validation" and "test afterwards", lists over seeds.
        chosen: key of METHODS -> the trial that won by information, drawn with a ring.
    """
    axes_of = {"information": "information on unlabelled target images", "validation": "accuracy on held-out source"}
    with canvas(1, 2, (10, 4.2), sharey=True) as (figure, axes):
        for axis, (what, label) in zip(axes, axes_of.items()):
            for name, group in trials.items():
                style = METHODS[name]
                points = [(np.mean(trial[what]), np.mean(trial["test afterwards"])) for trial in group]
                look = {"color": style.color, "marker": style.marker, "linewidths": 0}
                axis.scatter(*zip(*points), s=42, label=style.label, **look)
                ring = (np.mean(chosen[name][what]), np.mean(chosen[name]["test afterwards"]))
                axis.scatter(*ring, s=170, facecolors="none", edgecolors=style.color, linewidths=1.4)
            axis.set(xlabel=label)
        axes[0].set_ylabel("test accuracy on the target")
        axes[0].legend(loc="upper left", title="ring: chosen")
    return figure


def tracks(
    panels: dict[str, dict[str, list[dict]]],
    value: str | Callable[[dict], float],
    ylabel: str,
    *,
    ylim: tuple[float | None, float | None] = (None, None),
    each: bool = True,
    percent: bool = True,
) -> Figure:
    """A value over the epochs, the mean of a variant's runs thick. Epochs on a log scale: most happens in the first.

    Args:
        panels: title -> {key of VARIANTS -> run records}.
        value: a key of a history's rows, or a function of a row.
        each: also draw each run, as a thin line.
        percent: whether the value is a share 0...1.
    """
    read = value if callable(value) else lambda row: row[value]
    with canvas(1, len(panels), (4.6 * len(panels), 3.7), sharey=True, squeeze=False) as (figure, axes):
        handles = {}
        for axis, (title, groups) in zip(axes.flat, panels.items()):
            for name, records in groups.items():
                runs = np.array([[read(row) for row in record["history"]] for record in records])
                handles[name] = _track(axis, name, runs, each and len(runs) > 1)
                length = runs.shape[1]
            axis.set(xscale="log", xlabel="epoch (passes over the unlabelled images)", title=title, ylim=ylim)
            ticks = [tick for tick in (1, 2, 5, 10, 20, 50, 100, 200) if tick < 0.9 * length] + [length]
            axis.set_xticks(ticks, [str(tick) for tick in ticks])
            axis.xaxis.set_minor_locator(NullLocator())
        axes[0, 0].set_ylabel(ylabel)
        if percent:
            axes[0, 0].yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        handles = [handles[name] for name in VARIANTS if name in handles]
        figure.legend(handles=handles, loc="outside lower center", ncols=-(-len(handles) // 2))
    return figure


def _track(axis: Axes, name: str, runs: np.ndarray, each: bool):
    """runs: (seeds, epochs). Markers of different variants sit at different places."""
    style, epochs = VARIANTS[name], np.arange(1, runs.shape[1] + 1)
    for run in runs if each else ():
        axis.plot(epochs, run, color=style.color, alpha=0.25, linewidth=0.7)
    look = {"linestyle": style.dash, "linewidth": 1.7, "label": style.label} | _markers(style)
    [line] = axis.plot(epochs, runs.mean(0), markevery=(0.014 * list(VARIANTS).index(name), 0.12), **look)
    return line
