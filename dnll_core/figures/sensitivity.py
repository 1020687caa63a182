"""The figure of Table 5: accuracy against the number of negatives, under EP and EPM."""

from __future__ import annotations

import dataclasses

import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dnll_core.figures.curves import sd_within
from dnll_core.figures.style import BLUE, BROKEN, GREY, PAPER, MethodStyle, canvas, percents
from dnll_core.figures.tables import Groups, title_of
from dnll_core.study.records import frame

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

    Only means are joined by lines: a single run among them scatters, and a line would make a trend of that.

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
            axis.set(xlabel="m, pseudo-negative labels of an image", ylabel="test accuracy, last epoch")
        percents(axes[0, 0].yaxis, of=100)
        figure.suptitle(title or title_of(groups), x=0.01, ha="left", fontsize=11)
        label = "mean ± sd" if any(len(records) > 1 for records in groups.values()) else "a run"
        run = {cell.experiment.selection for cell, records in groups.items() if records}
        keys = [
            (dataclasses.replace(look, label=f"{look.label}, {label}"), _dash(plain, selection))
            for selection, look in _LOOKS.items()
            if selection in run
        ]
        keys += [(look, look.dash) for look in _PRINTED.values() if any(cell.printed is not None for cell in plain)]
        handles = [Line2D([], [], linestyle=dash, label=look.label, **look.marks) for look, dash in keys]
        figure.legend(handles=handles, loc="outside lower center", ncols=2, fontsize=9)
    return figure


def _dash(panel: Groups, selection: str) -> str:
    """The line of a selection: none where a cell of it has one run alone."""
    own = [len(records) for cell, records in panel.items() if cell.experiment.selection == selection and records]
    return _LOOKS[selection].dash if min(own, default=0) > 1 else "none"


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
        bars = {
            "err_style": "bars",
            "errorbar": sd_within(100),
            "err_kws": {"capsize": 4},
            "markeredgecolor": look.color,
        }
        seaborn.lineplot(x=m, y=accuracy, ax=axis, linestyle=_dash(panel, selection), linewidth=2, **bars, **look.marks)
        if own["seed"].nunique() > 1:
            axis.plot(m + 0.08 * side, accuracy, ".", color=BLUE, alpha=0.6, markersize=6)
    axis.set_xticks(sorted({cell.experiment.m for cell in panel}))
    axis.margins(x=0.12, y=0.1)
    axis.grid(axis="x", visible=False)
