"""The figure of the claims, and the interval that it draws."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from dnll_core.figures.scorecard import claims_figure
from dnll_core.study.statistics import half_width, verdict_of, with_interval


def row(claim, differences, **changes):
    mean, error = float(np.mean(differences)), float(np.std(differences, ddof=1) / math.sqrt(len(differences)))
    verdict = verdict_of(mean, error, len(differences))
    fields = {"claim": claim, "section": "4.4", "verdict": verdict, "difference": mean, "error": error}
    return fields | {"unit": "points", "n": len(differences)} | changes


def test_half_width_is_that_of_scipys_t_test():
    values = [0.2, 0.4, 0.9, 1.0]
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    found = half_width(row("a", values))
    assert found == pytest.approx((high - low) / 2)
    assert half_width(row("a", values), confidence=0.5) < found


@pytest.mark.parametrize("of", [{"n": 1, "error": None}, {"n": 0, "error": math.nan}, {"n": 1, "error": 0.3}])
def test_without_a_spread_there_is_no_interval(of):
    assert math.isnan(half_width(of))


def test_each_claim_in_points_is_drawn_with_its_interval_and_verdict():
    findings = pd.DataFrame(
        [
            row("large", [-50, -49, -48]),
            row("told", [1.0, 1.2, 1.1]),
            row("open", [-1.0, 2.0, 0.5]),
            row("a time", [1.0, 2.0, 3.0], unit="epochs"),
            row("one pair", [1.0, 2.0], n=1, error=None),
        ]
    ).astype({"error": float})
    assert list(with_interval(findings)["claim"]) == ["large", "told", "open"]
    [axis] = claims_figure(findings).axes
    assert [text.get_text() for text in axis.get_yticklabels()] == ["large (4.4)", "told (4.4)", "open (4.4)"]
    low, high = axis.get_xlim()
    colors = []
    for y, (bars, (_, of)) in enumerate(zip(axis.containers, findings.iterrows())):
        [[(left, _), (right, _)]] = bars.lines[2][0].get_segments()
        assert bars.lines[0].get_xydata().tolist() == [[of["difference"], y]]
        assert (left, right) == pytest.approx((of["difference"] - half_width(of), of["difference"] + half_width(of)))
        assert low < left < right < high
        assert (left > 0 or right < 0) == (of["verdict"] != "undecided")
        colors.append(bars.lines[0].get_color())
    assert len(set(colors)) == 3


def test_nothing_measured_is_an_empty_figure():
    [axis] = claims_figure(pd.DataFrame([row("x", [1.0, 2.0])]).iloc[:0]).axes
    assert not axis.containers
