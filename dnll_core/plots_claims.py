"""The paper's claims as a figure: how large each difference is, and whether its interval touches zero.

show(claims_figure(scorecard.findings()), alt="...")
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy import stats

from dnll_core.plots import BLACK, GREEN, GREY, RED, canvas

LINEAR = 2.0  # points: the axis is linear up to here and logarithmic beyond, for claims differ in size a hundredfold
_LOOKS = {  # colour, marker, filling: readable without colours
    "holds": (GREEN, "o", "full"),
    "does not hold": (RED, "X", "full"),
    "cannot be told": (GREY, "o", "none"),
}


def half_width(finding: Mapping, confidence: float = 0.95) -> float:
    """Half the width of the interval of Student's t around a finding's difference; NaN where there is none.

    Args:
        finding: a row of `scorecard.findings`, or its "n" and "error".
    """
    n, error = finding["n"], finding["error"]
    if error is None or math.isnan(error) or n < 2:
        return math.nan
    return float(stats.t.ppf((1 + confidence) / 2, n - 1) * error)


def with_interval(findings: pd.DataFrame) -> pd.DataFrame:
    """The findings of `scorecard.findings` that are differences in points and have an interval."""
    return findings[(findings["unit"] == "points") & findings["error"].notna() & (findings["n"] > 1)]


def claims_figure(findings: pd.DataFrame) -> Figure:
    """One line for each claim that is measured in points: the difference and its 95 % interval.

    Args:
        findings: of `scorecard.findings`; those without an interval are left out.
    """
    shown = with_interval(findings)
    with canvas(1, 1, (9.4, 0.33 * max(len(shown), 2) + 1.6)) as (figure, axis):
        axis.axvline(0, color=BLACK, linewidth=1)
        for y, (_, finding) in enumerate(shown.iterrows()):
            color, marker, fill = _LOOKS[finding["verdict"]]
            bar = {"color": color, "fmt": marker, "fillstyle": fill, "markersize": 8, "capsize": 4, "linewidth": 2}
            axis.errorbar(finding["difference"], y, xerr=half_width(finding), **bar)
        names = [f"{claim} ({section})" for claim, section in zip(shown["claim"], shown["section"])]
        axis.set_yticks(range(len(shown)), names, fontsize=8.5)
        axis.set_ylim(max(len(shown), 1) - 0.4, -0.6)
        axis.grid(axis="y", visible=False)
        reach = max((abs(f["difference"]) + half_width(f) for _, f in shown.iterrows()), default=LINEAR)
        axis.set_xscale("symlog", linthresh=LINEAR)
        axis.set_xlim(-1.3 * reach, 1.3 * reach)
        steps = [tick for tick in (1, 2, 5, 20, 100) if tick <= reach] or [1]
        ticks = [-tick for tick in steps[::-1]] + [0, *steps]
        axis.set_xticks(ticks, [f"{tick:+d}" if tick else "0" for tick in ticks])
        axis.minorticks_off()
        axis.set_xlabel(f"points for the claim (right) or against it; beyond ±{LINEAR:g} logarithmic")
        handles = [
            Line2D([], [], color=color, marker=marker, fillstyle=fill, linestyle="none", markersize=8, label=verdict)
            for verdict, (color, marker, fill) in _LOOKS.items()
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=3, title="difference and its 95 % interval")
    return figure
