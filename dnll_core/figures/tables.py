"""The figures of the paper's Tables 1-6: our runs, and the paper's numbers as dashed marks.

    groups = {cell: list(records.of(cell.experiment).values()) for cell in cells(4, "laptop")}
    show(points_of_cells(groups), alt="...")

A title names the profile unless it is the paper's own, and a legend n and what a bar is. Each run is a mark of its own.
The figure of all tables at once, `scorecard_figure`, is in `figures.scorecard`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from dnll_core import results
from dnll_core.figures.curves import curves, runs_and_mean
from dnll_core.figures.style import BLACK, BLUE, BROKEN, GREY, METHODS, PAPER, TEXT, MethodStyle, canvas, lines_of
from dnll_core.study.records import NAMES, frame
from dnll_core.study.tables import SETUP, Cell

Groups = Mapping[Cell, Sequence[dict]]  # the records of each cell; none where it is not recorded

SHADE = "#EEEEEE"  # of lines with a caveat
_VARIANTS = (("-", False), ((0, (5, 1.5)), True), ((0, (1, 1.2)), False), ("-.", True))  # of one method: dash, hollow


def title_of(cells: Sequence[Cell], what: str = "") -> str:
    """ "Table 4: MNIST, CNN-13", and the profile where it is not the paper's.

    Raises:
        ValueError: without cells.
    """
    if not cells:
        raise ValueError("title_of takes at least one cell.")
    e, profile, table = cells[0].experiment, cells[0].profile, cells[0].table
    title = f"{what or f'Table {table}'}: {', '.join(NAMES.get(name, name) for name in SETUP[table])}"
    if profile == "paper" and (e.dataset, e.network) == SETUP[table]:
        return title
    pixels = [] if e.size is None else [f"{e.size} × {e.size} pixels"]
    ran = ", ".join([NAMES.get(e.dataset, e.dataset), NAMES.get(e.network, e.network), *pixels, f"{e.epochs} epochs"])
    return f"{title}\n{profile} profile: {ran}"


# -- one table ---------------------------------------------------------------------------------------------------------


def points_of_cells(groups: Groups, title: str | None = None) -> Figure:
    """A line for each method and reading, a panel for each number of labels: every run, mean ± sd, the paper's number.

    Lines of cells with a caveat are shaded, and the legend says what it is.

    Args:
        groups: cells of one table, in the order of their lines; those without records are named where the paper has a
            number, and left out elsewhere.
        title: by default `title_of`.
    """
    drawn = [cell for cell in groups if groups[cell] or cell.printed is not None]
    lines = list(dict.fromkeys(_without_labels(cell) for cell in drawn or groups))
    panels = sorted({cell.labels for cell in drawn or groups}, key=lambda labels: labels or 0)
    values = {cell: 100 * np.array(results.accuracies(groups[cell])) for cell in drawn}
    seen = [cell.printed for cell in drawn if cell.printed is not None] + [x for own in values.values() for x in own]
    size = (3.1 * len(panels) + 2.6 + 1.6 * (len(panels) == 1), 0.36 * len(lines) + 1.9)
    with canvas(1, len(panels), size, sharex=True, sharey=True, squeeze=False) as (figure, axes):
        for axis, labels in zip(axes.flat, panels):
            for cell in (cell for cell in drawn if cell.labels == labels):
                y = lines.index(_without_labels(cell))
                if cell.caveat:
                    axis.axhspan(y - 0.5, y + 0.5, color=SHADE, linewidth=0, zorder=0)
                if cell.printed is not None:
                    look = {"linestyle": PAPER, "color": BLACK, "linewidth": 1.6}
                    axis.plot([cell.printed] * 2, [y - 0.42, y + 0.42], zorder=4, **look)
                if len(values[cell]):
                    # hollow: a departure from what the paper says
                    look = dataclasses.replace(METHODS[cell.method], hollow=cell.role == "variant")
                    runs_and_mean(axis, y, values[cell], look)
                else:
                    left = cell.printed < (min(seen) + max(seen)) / 2  # the words go where there is room
                    place = {"xytext": (6 if left else -6, 0), "ha": "left" if left else "right", "va": "center"}
                    look = {"textcoords": "offset points", "fontsize": 8, "color": GREY}
                    axis.annotate("not recorded", (cell.printed, y), **look, **place)
            axis.set_title(f"{'all' if labels is None else labels} labels", fontsize=10)
            lines_of(axis, lines, "test accuracy, last epoch (%)")
        axes[0, 0].margins(x=0.09)
        figure.suptitle(title or title_of(list(groups)), x=0.01, ha="left", fontsize=11)
        figure.legend(handles=_keys(drawn, groups), loc="outside lower center", ncols=5, fontsize=9)
    return figure


def _without_labels(cell: Cell) -> str:
    return " ".join(word for word in cell.name.split() if word != str(cell.labels or "all"))


def _counted(groups: Groups) -> str:
    """ "n = 3", or "n = 1...3", of the cells with records."""
    counts = sorted({len(records) for records in groups.values() if records})
    return "not recorded" if not counts else f"n = {counts[0]}" + (f"...{counts[-1]}" if counts[1:] else "")


def _keys(drawn: Sequence[Cell], groups: Groups) -> list[Line2D | Patch]:
    look = {"color": GREY, "linestyle": "none", "markersize": 7, "marker": "o"}
    keys = [Line2D([], [], label=f"a run, {_counted(groups)}", **look)]
    if any(cell.role == "variant" for cell in drawn):
        keys.append(Line2D([], [], markerfacecolor="white", label="a run of a variant, or of a second reading", **look))
    if any(len(records) > 1 for records in groups.values()):
        keys.append(Line2D([], [], color=GREY, marker="|", markersize=12, linewidth=2, label="mean ± sd"))
    if any(cell.printed is not None for cell in drawn):
        keys.append(Line2D([], [], color=BLACK, linestyle=PAPER, linewidth=1.6, label="the paper"))
    keys += [Patch(color=SHADE, label=caveat) for caveat in dict.fromkeys(c.caveat for c in drawn) if caveat]
    return keys


def curves_of_cells(groups: Groups, title: str | None = None, floor: float | None = None) -> Figure:
    """Figure 4: test accuracy against epochs as `curves` draws it, and the paper's numbers as dashed lines.

    Args:
        groups: cells with records; others are left out. Cells of one method differ in dash and marker.
        floor: lower end of the accuracy axis, 0...1; by default what all but the first quarter of the runs needs.
        title: by default `title_of`.

    Raises:
        ValueError: if no cell has a record.
    """
    drawn = {cell: records for cell, records in groups.items() if records}
    if not drawn:
        raise ValueError("curves_of_cells takes at least one cell with records.")
    looks: dict[str, MethodStyle] = {}
    for cell in drawn:
        style = METHODS[cell.method]
        dash, hollow = _VARIANTS[sum(look.color == style.color for look in looks.values()) % len(_VARIANTS)]
        looks[cell.name] = MethodStyle(cell.name, style.color, style.marker, dash, hollow)
    printed = sorted({cell.printed / 100 for cell in drawn if cell.printed is not None})
    runs = frame(record for records in drawn.values() for record in records)
    settled = runs.loc[runs["epoch"] > runs["epoch"].max() / 4, "test"]  # the first rise need not be seen in full
    lowest = max(0, min([settled.min(), *printed]) - 0.01) if floor is None else floor
    ylim = (lowest, min(1, max([settled.max(), *printed]) + 0.01))
    panel = {cell.name: records for cell, records in drawn.items()}
    figure = curves({title or title_of(list(drawn)): panel}, looks=looks, ylim=ylim)
    [axis] = figure.axes
    for level in printed:
        axis.axhline(level, color=BLACK, linestyle=PAPER, linewidth=1.1, zorder=1)
        place = {"xytext": (3, 0), "textcoords": "offset points", "fontsize": 9, "va": "center", "color": TEXT}
        axis.annotate(f"the paper {100 * level:.2f}", (1, level), xycoords=axis.get_yaxis_transform(), **place)
    return figure


_LOOKS = {  # of EP and EPM, and of the paper's two, as in notebook 02
    "ep": MethodStyle("EP", BLUE, "s"),
    "epm": MethodStyle("EPM", BLUE, "o", BROKEN, hollow=True),
}
_PRINTED = {
    name: dataclasses.replace(look, label=f"the paper, {look.label}", color=GREY, dash=PAPER)
    for name, look in _LOOKS.items()
}


def sensitivity(groups: Groups, title: str | None = None) -> Figure:
    """Table 5: accuracy against m under EP and EPM; each run a mark, mean ± sd, the paper's numbers dashed.

    The weight of the unsupervised loss grows with m as in Eq. 9; cells of "fixed weight" get a panel of their own.

    Args:
        groups: cells of Table 5.
        title: by default `title_of`.
    """
    plain = {cell: records for cell, records in groups.items() if cell.reading is None}
    fixed = {cell: records for cell, records in groups.items() if cell.reading == "fixed weight"}
    # m = 1 is the reference of both panels
    first = {cell: records for cell, records in plain.items() if cell.experiment.m == 1}
    panels = {"Eq. 9: a sum over m negatives": plain}
    if any(fixed.values()):
        panels["the same total weight for every m"] = {**first, **fixed}
    with canvas(1, len(panels), (5.2 * len(panels) + 0.6, 4.2), sharey=True, squeeze=False) as (figure, axes):
        for axis, (name, panel) in zip(axes.flat, panels.items()):
            _against_m(axis, panel)
            axis.set_title(name if len(panels) > 1 else "")
            axis.set(xlabel="m, pseudo-negative labels of an image", ylabel="test accuracy, last epoch (%)")
        figure.suptitle(title or title_of(list(groups)), x=0.01, ha="left", fontsize=11)
        several = any(len(records) > 1 for records in groups.values())
        label = f"{'mean ± sd' if several else 'a run'}, {_counted(groups)}"
        keys = [dataclasses.replace(look, label=f"{look.label}, {label}") for look in _LOOKS.values()]
        keys += _PRINTED.values() if any(cell.printed is not None for cell in plain) else ()
        handles = [Line2D([], [], linestyle=key.dash, label=key.label, **key.marks) for key in keys]
        figure.legend(handles=handles, loc="outside lower center", ncols=2, fontsize=9)
    return figure


def _against_m(axis: Axes, panel: Groups) -> None:
    runs = frame(record for records in panel.values() for record in records)
    last = runs.groupby(["experiment", "seed"], as_index=False).last()
    for side, (selection, look) in zip((-1, 1), _LOOKS.items()):
        cells = sorted((c for c in panel if c.experiment.selection == selection), key=lambda c: c.experiment.m)
        printed = [(cell.experiment.m, cell.printed) for cell in cells if cell.printed is not None]
        if len(printed) > 1:
            own = _PRINTED[selection]
            axis.plot(*zip(*printed), linestyle=own.dash, linewidth=1.3, zorder=1, **(own.marks | {"markersize": 5}))
        own = last[last["selection"] == selection]
        if own.empty:
            continue
        # beside each other, so that no bar hides one
        m, accuracy = own["m"].to_numpy(float) + 0.06 * side, 100 * own["test"].to_numpy()
        bars = {"err_style": "bars", "errorbar": "sd", "err_kws": {"capsize": 4}, "markeredgecolor": look.color}
        seaborn.lineplot(x=m, y=accuracy, ax=axis, linestyle=look.dash, linewidth=2, **bars, **look.marks)
        if own["seed"].nunique() > 1:
            axis.plot(m + 0.08 * side, accuracy, ".", color=BLUE, alpha=0.6, markersize=6)
    axis.set_xticks(sorted({cell.experiment.m for cell in panel}))
    axis.margins(x=0.12, y=0.1)
    axis.grid(axis="x", visible=False)
