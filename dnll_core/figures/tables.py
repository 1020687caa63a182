"""The figures of the paper's Tables 1-6: our runs, and the paper's numbers as dashed marks.

    groups = {cell: list(records.of(cell.experiment).values()) for cell in cells(4, "laptop")}
    show(points_of_cells(groups), alt="...")

A title names the profile unless it is the paper's own, and a legend n and what a bar is. Each run is a mark of its own.
The figure of all tables at once, `scorecard_figure`, is in `figures.scorecard`.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FormatStrFormatter, MaxNLocator

from dnll_core import results
from dnll_core.figures.style import BLACK, BLUE, GREY, METHODS, PAPER, canvas
from dnll_core.study.records import NAMES
from dnll_core.study.tables import SETUP, Cell

Groups = Mapping[Cell, Sequence[dict]]  # the records of each cell; none where it is not recorded

TEXT = "#555555"
SHADE = "#EEEEEE"  # of lines with a caveat
_BROKEN = (0, (5, 1.5))
_VARIANTS = (("-", "full"), (_BROKEN, "open"), ((0, (1, 1.2)), "full"), ("-.", "open"))  # of one method


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
    size = (3.1 * len(panels) + 2.6 + 1.6 * (len(panels) == 1), 0.36 * len(lines) + 1.9)
    with canvas(1, len(panels), size, sharex=True, sharey=True, squeeze=False) as (figure, axes):
        seen = [cell.printed for cell in drawn if cell.printed is not None]
        seen += [100 * value for cell in drawn for value in results.accuracies(groups[cell])]
        for axis, labels in zip(axes.flat, panels):
            for cell in (cell for cell in drawn if cell.labels == labels):
                own = 100 * np.array(results.accuracies(groups[cell]))
                if cell.caveat:
                    line = lines.index(_without_labels(cell))
                    axis.axhspan(line - 0.5, line + 0.5, color=SHADE, linewidth=0, zorder=0)
                _runs_of(axis, lines.index(_without_labels(cell)), cell, own)
                if not len(own):
                    left = cell.printed < (min(seen) + max(seen)) / 2  # the words go where there is room
                    place = {"xytext": (6 if left else -6, 0), "ha": "left" if left else "right", "va": "center"}
                    where = (cell.printed, lines.index(_without_labels(cell)))
                    axis.annotate("not recorded", where, textcoords="offset points", fontsize=8, color=GREY, **place)
            axis.set_title(f"{'all' if labels is None else labels} labels", fontsize=10)
            axis.set_xlabel("test accuracy, last epoch (%)")
            axis.grid(axis="y", visible=False)
            axis.tick_params(axis="y", length=0)
        axes[0, 0].set_yticks(range(len(lines)), lines)
        axes[0, 0].set_ylim(len(lines) - 0.45, -0.55)
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


def _runs_of(axis: Axes, y: float, cell: Cell, own: np.ndarray) -> None:
    """Runs and the paper's number on the line y. own: (n,) accuracies in percent."""
    style = METHODS[cell.method]
    if cell.printed is not None:
        axis.plot([cell.printed] * 2, [y - 0.42, y + 0.42], linestyle=PAPER, color=BLACK, linewidth=1.6, zorder=4)
    several = len(own) > 1
    look = {"color": style.color, "marker": style.marker, "markersize": 7}
    face = "white" if cell.role == "variant" else style.color  # hollow: a departure from what the paper says
    axis.plot(own, np.full(len(own), y - 0.2 * several), linestyle="none", markerfacecolor=face, **look)
    if several:
        bar = {"capsize": 4, "linewidth": 2, "marker": "|", "markersize": 13}
        axis.errorbar(own.mean(), y + 0.14, xerr=own.std(ddof=1), color=style.color, **bar)


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
    """Figure 4: test accuracy against epochs; each run thin, the mean of a cell thick, the paper's number at the end.

    Args:
        groups: cells with records; others are left out. Cells of one method differ in dash and marker.
        floor: lower end of the accuracy axis in percent; by default what all but the first quarter of the runs needs.
        title: by default `title_of`.

    Raises:
        ValueError: if no cell has a record.
    """
    drawn = {cell: list(records) for cell, records in groups.items() if records}
    if not drawn:
        raise ValueError("curves_of_cells takes at least one cell with records.")
    seen: dict[str, int] = {}
    extent: list[float] = []
    with canvas(1, 1, (7.4, 4.3)) as (figure, axis):
        for cell, records in drawn.items():
            style = METHODS[cell.method]
            dash, fill = _VARIANTS[seen.setdefault(cell.method, 0) % len(_VARIANTS)]
            seen[cell.method] += 1
            epochs, runs = _percent_curves(records)
            settled = runs[:, runs.shape[1] // 4 :]  # the first rise need not be seen in full
            extent += [settled.min(), settled.max()]
            for run in runs if len(runs) > 1 else ():
                axis.plot(epochs, run, color=style.color, alpha=0.3, linewidth=0.8)
            look = {"color": style.color, "marker": style.marker, "markersize": 7}
            look["markevery"] = 0.12 if len(epochs) > 1 else 1  # the former alone would drop a single point
            face = style.color if fill == "full" else "white"
            label = f"{cell.name}, n = {len(runs)}"
            mean = runs.mean(0)
            axis.plot(epochs, mean, linestyle=dash, linewidth=2, markerfacecolor=face, label=label, **look)
        for printed in sorted({cell.printed for cell in drawn if cell.printed is not None}):
            axis.axhline(printed, color=BLACK, linestyle=PAPER, linewidth=1.1, zorder=1)
            place = {"xytext": (0, 3), "textcoords": "offset points", "fontsize": 9}
            axis.annotate(f"the paper {printed:.2f}", (1, printed), color=TEXT, **place)
            extent.append(printed)
        axis.set(xlabel="epoch (passes over the unlabelled images)", ylabel="test accuracy (%)")
        axis.set_title(title or title_of(list(drawn)), loc="left")
        axis.set_ylim(max(0, min(extent) - 1) if floor is None else floor, min(100, max(extent) + 1))
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.legend(loc="lower right", fontsize=9)
    return figure


def _percent_curves(records: Sequence[dict]) -> tuple[list[int], np.ndarray]:
    """The evaluated epochs, and the mean test accuracy of the submodels in them in percent: (runs, epochs)."""
    rows = [[row for row in record["history"] if "test" in row] for record in records]
    runs = [[100 * statistics.fmean(row["test"]["submodels"]) for row in history] for history in rows]
    return [row["epoch"] for row in rows[0]], np.array(runs)


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
            axis.set(title=name if len(panels) > 1 else "", xlabel="m, pseudo-negative labels of an image")
        axes[0, 0].set_ylabel("test accuracy, last epoch (%)")
        axes[0, 0].yaxis.set_major_formatter(FormatStrFormatter("%g"))
        figure.suptitle(title or title_of(list(groups)), x=0.01, ha="left", fontsize=11)
        several = any(len(records) > 1 for records in groups.values())
        label = f"{'mean ± sd' if several else 'a run'}, {_counted(groups)}"
        handles = [_line(selection, BLUE, f"{selection.upper()}, {label}") for selection in _LOOKS]
        if any(cell.printed is not None for cell in plain):
            handles += [_line(selection, GREY, f"the paper, {selection.upper()}", PAPER) for selection in _LOOKS]
        figure.legend(handles=handles, loc="outside lower center", ncols=2, fontsize=9)
    return figure


_LOOKS = {"ep": ("-", "s"), "epm": (_BROKEN, "o")}  # dash and marker; those of EPM are open, as in notebook 02


def _line(selection: str, color: str, label: str, dash: str | tuple | None = None) -> Line2D:
    own, marker = _LOOKS[selection]
    face = "white" if selection == "epm" else color
    look = {"marker": marker, "markerfacecolor": face, "markersize": 6, "linewidth": 2 if dash is None else 1.3}
    return Line2D([], [], color=color, linestyle=dash or own, label=label, **look)


def _against_m(axis: Axes, panel: Groups) -> None:
    for side, (selection, (dash, marker)) in zip((-1, 1), _LOOKS.items()):
        own = sorted((cell for cell in panel if cell.experiment.selection == selection), key=lambda c: c.experiment.m)
        printed = [(cell.experiment.m, cell.printed) for cell in own if cell.printed is not None]
        open_or = {color: "white" if selection == "epm" else color for color in (BLUE, GREY)}
        if len(printed) > 1:
            look = {"marker": marker, "markersize": 5, "markerfacecolor": open_or[GREY], "linewidth": 1.3}
            axis.plot(*zip(*printed), linestyle=PAPER, color=GREY, zorder=1, **look)
        found = {c.experiment.m: 100 * np.array(results.accuracies(panel[c])) for c in own if panel[c]}
        if not found:
            continue
        m = np.array(list(found)) + 0.06 * side  # beside each other, so that no bar hides one
        means = [values.mean() for values in found.values()]
        sd = [values.std(ddof=1) if len(values) > 1 else 0 for values in found.values()]
        look = {"marker": marker, "markersize": 8, "markerfacecolor": open_or[BLUE], "linewidth": 2, "capsize": 4}
        bars = axis.errorbar(m, means, yerr=sd if any(sd) else None, color=BLUE, linestyle=dash, **look)
        for part in bars.lines[2]:
            part.set_linestyle("-")
        for place, values in zip(m, found.values()):
            if len(values) > 1:
                axis.plot(np.full(len(values), place + 0.08 * side), values, ".", color=BLUE, alpha=0.6, markersize=6)
    axis.set_xticks(sorted({cell.experiment.m for cell in panel}))
    axis.margins(x=0.12, y=0.1)
    axis.grid(axis="x", visible=False)
