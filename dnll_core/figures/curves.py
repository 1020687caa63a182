"""Records as curves over epochs, and as their ends; differences between runs, and ratios.

    show(curves({"20 labels": {"dnll": records, "supervised": others}}), alt="...")
    show(finals({"dnll": records, "supervised": others}), alt="...")

A key is one of `style.LOOKS`, which gives it its colour, dash and marker; with `looks=` it may be any other name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator

from dnll_core import results
from dnll_core.figures.style import BLACK, GREY, LOOKS, MethodStyle, canvas, lines_of, percents, tint
from dnll_core.study.records import frame
from dnll_core.study.statistics import interval_ends

FEW = 5  # runs that are drawn one by one; of more a band is drawn, mean ± sd
MOST = 8  # lines in a panel that can be told apart
Looks = Mapping[str, MethodStyle]
Groups = Mapping[str, Sequence[dict]]  # key -> run records


def curves(
    panels: Mapping[str, Groups],
    value: str | Callable[[pd.DataFrame], pd.Series] = "test",
    ylabel: str = "test accuracy",
    *,
    looks: Looks = LOOKS,
    levels: Mapping[str, float] | None = None,
    ends: Sequence[tuple[float, str, str]] | None = None,
    ylim: tuple[float | None, float | None] = (0, 1),
    log: bool = False,
    spread: bool = True,
    percent: bool = True,
) -> Figure:
    """A value over the evaluated epochs, in panels of the same limits: means thick, runs thin (or a band, see FEW).

    A panel of more than MOST lines is drawn as several.

    Args:
        panels: title -> key of `looks` -> run records with a history.
        value: a column of `study.records.frame`, or a function of that frame.
        levels: key of `looks` -> a height, for methods without epochs.
        ends: names the lines at their right ends and not in a legend; with these (height, text, colour) among them.
        log: epochs on a log scale, where most happens in the first.
        spread: False draws the means alone.
        percent: whether the value is a share 0...1.

    Raises:
        RecordError: if there is nothing of a method; it says where records are looked for and how they are made.
    """
    for groups in panels.values():
        _something_of_each(groups)
    panels = _of_few_lines(panels)
    count, handles = len(panels), {}
    runs = {key: {len(of[key]) for of in panels.values() if key in of} for of in panels.values() for key in of}
    said = all(len(numbers) == 1 for numbers in runs.values())  # else the titles have to say n
    many = len(runs) + len(levels or {}) > 5 or ends is not None  # more would cover the lines
    size = (4.7 * count, 4.2) if count > 1 else (9, 4) if many else (7, 4)
    with canvas(1, count, size, sharey=True, squeeze=False) as (figure, axes):
        for axis, (title, groups) in zip(axes.flat, panels.items()):
            for name, records in groups.items():
                n = f", n = {len(records)}" if said else ""
                own = frame(records)
                own["value"] = value(own) if callable(value) else own[value]
                own = own.dropna(subset="value").astype({"epoch": float})
                shift = 0.014 * list(runs).index(name)  # so that markers of different groups are not on each other
                most = 1 if percent else None
                handles[name] = _curve(axis, own, looks[name], f"{looks[name].label}{n}", spread, shift, most)
            for name, height in (levels or {}).items():
                look = {"linestyle": looks[name].dash, "color": looks[name].color, "label": looks[name].label}
                handles[name] = axis.axhline(height, linewidth=1.5, **look)
            axis.set(xlabel="epoch (passes over the unlabelled images)", ylabel=ylabel, ylim=ylim)
            axis.set_title(title, loc="left")
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
            if log:
                last = int(axis.dataLim.x1)
                ticks = [tick for tick in (1, 2, 5, 10, 20, 50, 100, 200) if tick < 0.7 * last] + [last]
                axis.set_xscale("log")
                axis.set_xticks(ticks, [str(tick) for tick in ticks])
                axis.xaxis.set_minor_locator(NullLocator())
            if percent:
                percents(axis.yaxis)
            if ends is not None:
                lines = [(handles[name].get_ydata()[-1], looks[name].label, looks[name].color) for name in groups]
                _name_ends(axis, [*lines, *ends])
        keys = list(handles.values())
        if ends is None and count > 1:
            figure.legend(handles=keys, loc="outside lower center", ncols=min(4, -(-len(keys) // 2)))
        elif ends is None and many:
            figure.legend(handles=keys, loc="outside right center")
        elif ends is None:
            axes[0, 0].legend(handles=keys, loc="lower right")
    return figure


def _of_few_lines(panels: Mapping[str, Groups]) -> dict[str, Groups]:
    """The panels; in the place of one with more than MOST groups several, of MOST each but the last."""
    few = {}
    for title, groups in panels.items():
        parts = [[*groups][i : i + MOST] for i in range(0, len(groups), MOST)]
        for i, part in enumerate(parts, start=1):
            place = f" ({i} of {len(parts)})" if len(parts) > 1 else ""
            few[f"{title}{place}"] = {name: groups[name] for name in part}
    return few


def _name_ends(axis: Axes, ends: Sequence[tuple[float, str, str]]) -> None:
    """Names what ends at a height (height, text, colour) right of the panel, moved apart, with a line to it."""
    gap, (low, high) = 0.062, axis.get_ylim()
    ends = sorted(ends)
    places = [min(max((y - low) / (high - low), 0), 1) for y, _, _ in ends]
    for i in range(1, len(places)):
        places[i] = max(places[i], places[i - 1] + gap)
    top = 1.0
    for i in reversed(range(len(places))):  # what was moved out at the top comes back
        top = places[i] = min(places[i], top)
        top -= gap
    last = axis.dataLim.x1
    for (y, text, color), place in zip(ends, places):
        line = {"arrowstyle": "-", "color": color, "linewidth": 0.7, "relpos": (0, 0.5), "shrinkA": 0, "shrinkB": 0}
        where = {"xytext": (1.03, place), "textcoords": "axes fraction", "va": "center", "fontsize": 9}
        axis.annotate(text, (last, y), color=tint(color, -0.3), arrowprops=line, **where)


def _curve(
    axis: Axes, own: pd.DataFrame, look: MethodStyle, label: str, spread: bool, shift: float, most: float | None
) -> Line2D:
    """The runs of one group, by seed, and their mean."""
    several, drawn = own["seed"].nunique(), {"data": own, "x": "epoch", "y": "value", "ax": axis, "legend": False}
    if spread and 1 < several <= FEW:
        thin = {"units": "seed", "estimator": None, "alpha": 0.35, "linewidth": 0.9}
        seaborn.lineplot(**drawn, **thin, color=look.color, linestyle=look.dash)
    band = sd_within(most) if spread and several > FEW else None
    every = (shift, 0.12) if own["epoch"].nunique() > 1 else 1  # the former alone would drop a single point
    thick = {"linestyle": look.dash, "linewidth": 2, "markevery": every, "markeredgecolor": look.color, "label": label}
    seaborn.lineplot(**drawn, **thick, **look.marks, errorbar=band, err_kws={"alpha": 0.15, "linewidth": 0})
    return axis.lines[-1]


def sd_within(most: float | None) -> Callable[[np.ndarray], tuple[float, float]]:
    """The ends of mean ± sd, for seaborn; cut at 0 and at `most`, the largest accuracy there is, if it is given."""

    def ends(values: np.ndarray) -> tuple[float, float]:
        mean, sd = np.mean(values), np.std(values, ddof=1) if len(values) > 1 else 0.0
        return (mean - sd, mean + sd) if most is None else (max(0, mean - sd), min(most, mean + sd))

    return ends


def runs_and_mean(
    axis: Axes, y: float, values: Sequence[float], look: MethodStyle, errorbar: Callable | None = None, most: float = 1
) -> None:
    """Each value as a mark, and below it their mean with an error bar, if several.

    errorbar: as `seaborn.pointplot` takes it; None: mean ± sd, cut at `most`, the largest accuracy there is.
    """
    several, row = len(values) > 1, {"ax": axis, "orient": "h", "native_scale": True, "color": look.color}
    edge = {"edgecolor": look.color, "linewidth": 1} if look.hollow else {"edgecolor": "white", "linewidth": 0.3}
    marks = {"marker": look.marker, "size": 8, "jitter": False, **edge}
    seaborn.stripplot(x=values, y=[y - 0.22 * several] * len(values), zorder=3, **marks, **row)
    if look.hollow and len(values):
        axis.collections[-1].set_facecolor("white")
    if several:
        bar = {"marker": "|", "markersize": 13, "linewidth": 2, "capsize": 0.2, "markeredgewidth": 2}
        seaborn.pointplot(x=values, y=[y + 0.14] * len(values), errorbar=errorbar or sd_within(most), **bar, **row)


def _something_of_each(groups: Groups) -> None:
    missing = [name for name, records in groups.items() if not len(records)]
    if missing or not groups:
        raise results.RecordError(results.none_of(", ".join(missing) or "any method that is to be drawn"))


def finals(groups: Groups, floor: str = "supervised", looks: Looks = LOOKS) -> Figure:
    """The last test accuracy of each run, and mean ± sd of each group, the best mean on top; named after its images.

    Args:
        floor: the group whose mean ± sd is drawn as a band behind all of them, if it is there.

    Raises:
        RecordError: as `curves`.
    """
    _something_of_each(groups)
    values = {name: np.array(results.accuracies(records)) for name, records in groups.items()}
    order = sorted(values, key=lambda name: -values[name].mean())
    with canvas(1, 1, (8, 0.36 * len(groups) + 1.0)) as (figure, axis):
        if floor in values:
            mean, sd, color = values[floor].mean(), pd.Series(values[floor]).std(), looks[floor].color
            axis.axvline(mean, color=color, linestyle="--", linewidth=1.2)
            if len(values[floor]) > 1:
                axis.axvspan(mean - sd, min(1, mean + sd), color=color, alpha=0.12, linewidth=0)
        for y, name in enumerate(order):
            runs_and_mean(axis, y, values[name], looks[name])
        names = [f"{looks[name].label}, n = {len(values[name])}" for name in order]
        cut = ", cut at 100%" * any(own.mean() + pd.Series(own).std() > 1 for own in values.values())
        lines_of(axis, names, f"test accuracy, last epoch: each run, and mean ± sd{cut}")
        percents(axis.xaxis)
        of_runs = {(r["experiment"]["dataset"], r["experiment"]["labels"]) for own in groups.values() for r in own}
        if len(of_runs) == 1:
            axis.set_title("{}, {} labels".format(*of_runs.pop()), loc="left")
    return figure


def differences(rows: Mapping[str, tuple[str, Sequence[float]]], looks: Looks = LOOKS) -> Figure:
    """Paired differences: one mark for each seed, the mean, and its 95 % interval (Student's t).

    Args:
        rows: label -> (key of `looks` that gives the look, the differences of the seeds in points).
    """
    with canvas(1, 1, (8, 0.5 * len(rows) + 1.0)) as (figure, axis):
        axis.axvline(0, color=BLACK, linestyle="--", linewidth=1.2)
        for y, (name, values) in enumerate(rows.values()):
            runs_and_mean(axis, y, values, looks[name], interval_ends)
        names = [f"{label}, n = {len(values)}" for label, (_, values) in rows.items()]
        lines_of(axis, names, "difference of test accuracies with the same seed (points)")
    return figure


def ratios(
    panels: Mapping[str, Mapping[str, tuple[float, float, float]]],
    level: tuple[float, str],
    xlabel: str,
    *,
    looks: Looks = LOOKS,
    counted: Mapping[str, float] | None = None,
    printed: Mapping[str, float] | None = None,
) -> Figure:
    """Ratios with their intervals beside the expected one.

    Args:
        panels: title -> key of `looks` -> (ratio, low, high).
        level: the expected ratio, and what it is; "" names none.
        counted: key of `looks` -> the ratio of counted FLOPs, printed: the paper's.
    """
    counted, printed = counted or {}, printed or {}
    order = [key for key in looks if any(key in panel for panel in panels.values())]
    size = (2.9 * len(panels) + 1.2 + 3.5 * (len(panels) == 1), 0.4 * len(order) + 1.5)
    hollow = {"marker": "D", "markersize": 9, "markeredgewidth": 1.8, "markerfacecolor": "none", "linestyle": "none"}
    with canvas(1, len(panels), size, sharex=True, sharey=True, squeeze=False) as (figure, axes):
        for axis, (title, panel) in zip(axes.flat, panels.items()):
            line = axis.axvline(level[0], color=GREY, linestyle="--", linewidth=1.5, label=level[1], zorder=1)
            for name, (ratio, low, high) in panel.items():
                y, bars = order.index(name), [[max(0, ratio - low)], [max(0, high - ratio)]]
                axis.errorbar(ratio, y, xerr=bars, capsize=3, linewidth=2, **looks[name].marks)
                if name in counted:
                    axis.plot([counted[name]] * 2, [y - 0.3, y + 0.3], color=BLACK, linewidth=2.5)
                if name in printed:
                    axis.plot(printed[name], y, color=looks[name].color, zorder=4, **hollow)
            axis.set_title(title)
            lines_of(axis, [looks[name].label for name in order], xlabel)
        keys = [line] if level[1] else []
        if counted or printed:
            thin = {"color": BLACK, "marker": "|", "markersize": 14, "markeredgewidth": 2.5, "linestyle": "none"}
            keys.append(Line2D([], [], color=GREY, marker="o", linewidth=2, label="timed here, with interval"))
            keys += [Line2D([], [], **thin, label="FLOPs"), Line2D([], [], color=GREY, **hollow, label="the paper's")]
        figure.legend(handles=keys, loc="outside lower center", ncols=3)
    return figure
