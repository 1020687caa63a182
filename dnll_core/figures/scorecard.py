"""The paper's claims and numbers as figures: each difference with its interval, and each number beside the paper's.

show(claims_figure(scorecard.findings()), alt="...")
show(scorecard_figure(scorecard.rows()), alt="...")
"""

from __future__ import annotations

import textwrap

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from dnll_core.figures.style import BLACK, GREEN, GREY, RED, TEXT, canvas, lines_of
from dnll_core.paper.tables import OURS
from dnll_core.study.records import NAMES
from dnll_core.study.scorecard import SMALLER
from dnll_core.study.statistics import at_once, with_interval

_LOOKS = {  # colour, marker, filling: readable without colours
    "holds": (GREEN, "o", "full"),
    "does not hold": (RED, "X", "full"),
    "undecided": (GREY, "o", "none"),
}


def claims_figure(findings: pd.DataFrame) -> Figure:
    """One line for each claim about accuracies, which is measured in points: the difference and its 95 % interval.

    Args:
        findings: of `study.scorecard.findings`; those in other units or without an interval are left out.
    """
    shown = with_interval(findings)
    shown = shown[shown["unit"] == "points"]
    with canvas(1, 1, (9.4, 0.42 * max(len(shown), 2) + 1.9)) as (figure, axis):
        axis.axvline(0, color=BLACK, linewidth=1)
        for y, (_, finding) in enumerate(shown.iterrows()):
            color, marker, fill = _LOOKS[finding["verdict"]]
            bar = {"color": color, "fmt": marker, "fillstyle": fill, "markersize": 8, "capsize": 4, "linewidth": 2}
            middle, low, high = (finding[name] for name in ("difference", "low", "high"))
            axis.errorbar(middle, y, xerr=[[middle - low], [high - middle]], **bar)
        names = [f"{of['claim']} ({of['section']})".replace(", on ", ",\non ") for _, of in shown.iterrows()]
        lines_of(axis, names, "points of accuracy for the claim (right) or against it (left)")
        axis.tick_params(axis="y", labelsize=8)
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:+g}".replace("-", "−") if value else "0")
        handles = [
            Line2D([], [], color=color, marker=marker, fillstyle=fill, linestyle="none", markersize=8, label=verdict)
            for verdict, (color, marker, fill) in _LOOKS.items()
        ]
        left = len(with_interval(findings)) - len(shown)
        about = f"difference and its 95 % interval; {at_once(findings)}"
        about += f"; {left} are not in points of accuracy, and not drawn" * bool(left)
        figure.legend(handles=handles, loc="outside lower center", ncols=3, title="\n".join(textwrap.wrap(about, 110)))
    return figure


_VERDICTS = {  # tint, edge, sign: readable without colours
    "green": ("#CDEBDF", GREEN, "✓"),
    "red": ("#F7D5D8", RED, "✗"),
    SMALLER: ("#FFFFFF", TEXT, ""),
    "missing": ("#F4F4F4", "#D0D0D0", ""),
    "reference": ("#FFFFFF", "#D0D0D0", ""),
}

_COLUMNS = ((1, 4, 5), (2, 3, 6, 7))  # which tables stand below each other
_WIDTH, _NAME = 1.33, 2.0  # of a cell and of the names, in units of the axis
_HEAD = 1.25  # height of a table's title and column names, in lines


def scorecard_figure(rows: pd.DataFrame) -> Figure:
    """Every number that was attempted: ours, the paper's below it, green, red, without a colour or missing.

    Args:
        rows: of `study.scorecard.rows`.
    """
    attempted = rows[rows["verdict"].isin(_VERDICTS)]
    tables = {table: _lines_of(attempted[attempted["table"] == table]) for table in sorted(set(attempted["table"]))}
    columns = [[table for table in column if table in tables] for column in _COLUMNS]
    heights = [sum(len(tables[table][0]) + _HEAD + 0.35 for table in column) for column in columns]
    widths = [_NAME + _WIDTH * max((len(tables[table][1]) for table in column), default=1) for column in columns]
    grid = {"width_ratios": widths}
    size = (0.75 * sum(widths) + 0.2, 0.4 * max(heights) + 1.2)
    with canvas(1, 2, size, gridspec_kw=grid) as (figure, axes):
        for axis, column, width in zip(axes, columns, widths):
            axis.set(xlim=(-_NAME, width - _NAME), ylim=(max(heights), 0))
            axis.axis("off")
            y = 0.0
            for table in column:
                y = _table(axis, table, *tables[table], y)
        judged = attempted[attempted["verdict"].isin(("green", "red"))]
        green, smaller, missing = (sum(attempted["verdict"] == name) for name in ("green", SMALLER, "missing"))
        lines = [f"{green} of {len(judged)} recorded numbers reach the paper's; {missing} boxes are not recorded."]
        if times := int(((judged["verdict"] == "green") & (judged["table"] == 7)).sum()):
            lines.append(f"{times} of those that do are times.")
        if smaller:
            lines.append(f"{smaller} numbers of a smaller network or smaller images are not compared.")
        lines.append("Bold: ours, and its profile if it is not the paper's. Below: the paper's.")
        figure.suptitle("\n".join(lines), x=0.01, ha="left", fontsize=9.5)
        keys = {
            "green": "✓ at least the paper's − 0.5 points or our sd (times: + 5 %)",
            "red": "✗ worse",
            SMALLER: "smaller network or images: no colour",
            "missing": "not recorded",
        }
        handles = [
            Patch(facecolor=_VERDICTS[k][0], edgecolor=_VERDICTS[k][1], label=label) for k, label in keys.items()
        ]
        figure.legend(handles=handles, loc="outside lower left", ncols=2, fontsize=8.5)
    return figure


def _lines_of(of_table: pd.DataFrame) -> tuple[list[str], list[str], dict[tuple[str, str], pd.Series]]:
    """The names of a table's lines and columns, and what stands where."""
    table, places = int(of_table["table"].iloc[0]), {}
    # DNLL first, as it stands last in the paper
    order = of_table.assign(first=of_table["row"] != OURS).sort_values("first", kind="stable")
    for _, row in order.iterrows():
        reading = "" if pd.isna(row["reading"]) else f", {row['reading']}"
        line = f"{'DNLL' if row['row'] == OURS else row['row']}{reading}"
        column = "" if pd.isna(row["labels"]) else str(row["labels"])
        if table == 5:
            line, column = str(row["selection"]).upper(), f"m = {row['m']}"
        if table == 6:
            column = "EPM" if row["selection"] == "epm" else "w/o EPM"
        if table == 7:
            column = {"train": "training"}.get(row["selection"], row["selection"])
        places[line, column] = row
    lines, columns = (list(dict.fromkeys(place[i] for place in places)) for i in (0, 1))
    return lines, sorted(columns, key=lambda name: (len(name), name)) if table < 5 else columns, places


def _table(axis: Axes, table: int, lines: list[str], columns: list[str], places: dict, y: float) -> float:
    """Draws a table from y on. Returns where the next one begins."""
    first = next(iter(places.values()))
    network = NAMES.get(first["network"], "")
    title = f"Table {table} · {NAMES[first['dataset']]}" + (f", {network}" if network else "")
    title += {7: ": time ÷ Mean Teacher's"}.get(table, ": accuracy, %")
    axis.text(-_NAME, y + 0.4, title, weight="bold", fontsize=9.5, va="center")
    for i, column in enumerate(columns):
        text = f"{column} labels" if column.isdigit() else column
        axis.text((i + 0.5) * _WIDTH, y + 0.98, text, ha="center", va="center", fontsize=8, color=TEXT)
    for j, line in enumerate(lines):
        top = y + _HEAD + j
        axis.text(-_NAME, top + 0.5, line, va="center", fontsize=8.5, weight="bold" if "DNLL" in line else "normal")
        for i, column in enumerate(columns):
            if (line, column) in places:
                _number(axis, i * _WIDTH, top, places[line, column])
    return y + _HEAD + len(lines) + 0.35


def _number(axis: Axes, x: float, y: float, row: pd.Series) -> None:
    """One cell: ours above, the paper's below it, and in the corners the sign, the profile and n."""
    tint, edge, sign = _VERDICTS[row["verdict"]]
    unit = " ×" if row["table"] == 7 else ""
    box = Rectangle((x + 0.03, y + 0.06), _WIDTH - 0.06, 0.88, facecolor=tint, edgecolor=edge, linewidth=1.0)
    axis.add_patch(box)
    smaller, profile = row["verdict"] == SMALLER, row["profile"]
    mark = isinstance(profile, str) and profile != "paper" and not pd.isna(row["ours"])
    aside = 0.3 if smaller else 0.1 * mark  # makes room for the mark
    middle = {"x": x + _WIDTH / 2 - aside, "ha": "center", "va": "center"}
    if pd.isna(row["ours"]):
        axis.text(y=y + 0.34, s="–", fontsize=9, color=TEXT, **middle)
    else:
        axis.text(y=y + 0.34, s=f"{row['ours']:.2f}{unit}", fontsize=9, weight="bold", color=BLACK, **middle)
        axis.text(x + 0.07, y + 0.34, sign, fontsize=8, va="center", color=edge, weight="bold")
    if mark:
        text = SMALLER.replace(" ", "\n") if smaller else profile
        axis.text(x + _WIDTH - 0.07, y + 0.34 + 0.12 * smaller, text, fontsize=7, ha="right", va="center", color=TEXT)
    axis.text(y=y + 0.72, s=f"{row['printed']:.2f}{unit}", fontsize=7.5, color=TEXT, **middle)
