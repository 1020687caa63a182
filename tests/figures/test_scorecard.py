"""The figure of the claims, and the interval that it draws."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from dnll_core.figures.scorecard import claims_figure
from dnll_core.study.statistics import verdict_of, with_interval


def row(claim, differences, **changes):
    low, high = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    fields = {"claim": claim, "section": "4.4", "verdict": verdict_of(low, high), "difference": np.mean(differences)}
    return fields | {"low": low, "high": high, "unit": "points", "n": len(differences)} | changes


def test_each_claim_in_points_is_drawn_with_its_interval_and_verdict():
    findings = pd.DataFrame(
        [
            row("large", [-50, -49, -48]),
            row("told", [1.0, 1.2, 1.1]),
            row("open", [-1.0, 2.0, 0.5]),
            row("a time", [1.0, 2.0, 3.0], unit="epochs"),
            row("of answers", [1.0, 2.0, 3.0], unit="points of agreement"),
            row("close, on MNIST with CNN-13", [1.0, 1.1, 1.2], low=0.9, high=1.7),  # of a margin: not symmetric
            row("one pair", [1.0, 2.0], n=1, low=None, high=None),
        ]
    ).astype({"low": float, "high": float})
    figure = claims_figure(findings)
    [axis], [legend] = figure.axes, figure.legends
    names = [text.get_text() for text in axis.get_yticklabels()]
    assert names == ["large (4.4)", "told (4.4)", "open (4.4)", "close,\non MNIST with CNN-13 (4.4)"]
    title = legend.get_title().get_text().replace("\n", " ")
    assert "6 claims are judged at once" in title and "0.3 false verdicts" in title  # 6 · 0.05
    assert title.endswith("2 are not in points of accuracy, and not drawn")
    low, high = axis.get_xlim()
    findings = with_interval(findings)
    findings = findings[findings["unit"] == "points"]
    colors = []
    for y, (bars, (_, of)) in enumerate(zip(axis.containers, findings.iterrows())):
        [[(left, _), (right, _)]] = bars.lines[2][0].get_segments()
        assert bars.lines[0].get_xydata().tolist() == [[of["difference"], y]]
        assert (left, right) == pytest.approx((of["low"], of["high"]))
        assert low < left < right < high
        assert (left > 0 or right < 0) == (of["verdict"] != "undecided")
        colors.append(bars.lines[0].get_color())
    assert len(set(colors)) == 3


def test_nothing_measured_is_an_empty_figure():
    [axis] = claims_figure(pd.DataFrame([row("x", [1.0, 2.0])]).iloc[:0]).axes
    assert not axis.containers
