"""statistics: how groups of records are said, with and without records, and what an interval says."""

import math

import numpy as np
import pytest
from test_results import fake

from dnll_core.study.statistics import comparison, margin, margins, percent, provenance_of, verdict_of


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ((0.1, 2), "holds"),
        ((-2, -0.1), "does not hold"),
        ((-1, 2), "undecided"),
        ((0.0, 2), "undecided"),  # it touches zero
        ((-2, 0.0), "undecided"),
        ((math.nan, math.nan), "undecided"),
        ((-math.inf, math.inf), "undecided"),
    ],
)
def test_what_an_interval_says(ends, expected):
    assert verdict_of(*ends) == expected


@pytest.mark.parametrize("holds", [(0, math.inf), (0.5, math.inf), (-math.inf, 0.5), (-2, 2), (1.8, 2.2)])
@pytest.mark.parametrize("ends", [(-3, -2.5), (-3, 0.1), (-0.5, 0.5), (0.6, 0.7), (1.0, 2.1), (1.9, 1.9), (-9, 9)])
def test_margins_are_those_of_all_values_between(holds, ends):
    between = [margin(x, *holds) for x in np.linspace(*ends, 2001)]
    assert margins(*ends, *holds) == pytest.approx((min(between), max(between)), abs=0.01)
    assert (margin(ends[0], *holds) > 0) == (holds[0] < ends[0] < holds[1])


def test_comparison_and_percent():
    group = [fake(0.8, [(0.7, 0.9), (0.8, 0.8)]), fake(0.6, [(0.5, 0.5), (0.6, 0.6)])]
    table = comparison({"a": group, "none": []})
    assert table.loc["a", "last epoch, mean of submodels (%)"] == "70.0 ± 14.1"
    assert table.loc["none", "n"] == 0
    assert table.loc["none", "seconds a run"] == "not recorded"
    assert percent([0.5], 1) == "50.0" and percent([0.5]) == "50.00"
    assert percent([0.8, 0.6]) == "70.00 ± 14.14"
    assert provenance_of([]) == "not recorded"
