"""statistics: how groups of records are said, with and without records, and what an interval says."""

import math

import numpy as np
import pytest
from fabricated import run
from scipy import stats

from dnll_core.study.records import frame
from dnll_core.study.statistics import (
    comparison,
    curve,
    epochs_to,
    from_to,
    interval,
    interval_ends,
    lead,
    lost,
    margin,
    margins,
    paired,
    percent,
    provenance_of,
    verdict_of,
    with_minus,
)


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


def test_a_curve_has_what_was_evaluated_within_epochs():
    """Three evaluations in each of the first two epochs of ten iterations, by hand: at a third, half, and the end."""
    record, at = run(0.4, 0.6, 0.7), {"submodels": [0.2, 0.4], "ensemble": 0.5}
    record["history"][0]["within"] = [{"step": 3, "test": at}, {"step": 5, "test": at | {"submodels": [0.3, 0.4]}}]
    record["history"][1]["within"] = [{"step": 13, "test": at}, {"step": 18, "test": at | {"submodels": [0.7, 0.7]}}]
    epochs, accuracies = zip(*curve(record), strict=True)
    assert epochs == pytest.approx((0.3, 0.5, 1, 1.3, 1.8, 2, 3))
    assert accuracies == pytest.approx((0.3, 0.35, 0.4, 0.3, 0.7, 0.6, 0.7))
    assert epochs_to(record) == pytest.approx(1.8)  # before the end of the second, which is below 95 % of 0.7
    assert lost(record, window=1) == pytest.approx(0)  # of whole epochs
    rows = frame([record, run(0.5, 0.6)])
    assert rows["epoch"].tolist() == pytest.approx([*epochs, 1, 2])
    assert rows["test"].tolist() == pytest.approx([*accuracies, 0.5, 0.6])
    assert not any("within" in column for column in rows.columns)
    assert frame([run(0.5, 0.6)])["epoch"].dtype == "Int64"


def test_comparison_and_percent():
    table = comparison({"a": [run(0.7, 0.8), run(0.9, 0.6, seed=1)], "none": []})
    assert table.loc["a", "last epoch, mean of submodels (%)"] == "70.0 ± 14.1"
    assert table.loc["a", "best on test (%)"] == "86.0 ± 7.1"  # of the better submodel
    assert table.loc["none", "n"] == 0
    assert table.loc["none", "seconds a run"] == "not recorded"
    assert percent([0.5], 1) == "50.0" and percent([0.5]) == "50.00" and percent([]) == "not recorded"
    assert percent([0.8, 0.6]) == "70.00 ± 14.14"
    assert provenance_of([]) == "not recorded"


def test_a_curve_leaves_out_what_was_not_evaluated():
    record = run(0.3, 0.5, 0.9)
    del record["history"][1]["test"]
    assert curve(record) == [(1, pytest.approx(0.3)), (3, pytest.approx(0.9))]
    assert curve(record, "validation") == []


# -- intervals and pairs -----------------------------------------------------------------------------------------------


def test_interval_by_hand():
    # n = 2: t = tan(0.475 pi) = 12.706 with one degree of freedom, sd of 0 and 2 is sqrt 2, so 12.706 * sqrt 2 / sqrt 2
    assert interval([0, 2]) == pytest.approx(math.tan(0.475 * math.pi))
    assert interval([0.3]) == math.inf


def test_the_interval_is_that_of_scipys_t_test():
    values = [0.2, 0.4, 0.9, 1.0]
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert interval(values) == pytest.approx((high - low) / 2)
    assert interval_ends(values) == pytest.approx((low, high))
    assert interval(values, confidence=0.5) < interval(values)


def test_a_lead_is_of_the_seeds_that_both_have():
    ours = [run(value, seed=seed) for seed, value in {3: 0.7, 1: 0.9, 2: 0.8}.items()]
    theirs = [run(value, seed=seed) for seed, value in {0: 0.1, 2: 0.7, 3: 0.4}.items()]
    found = paired(ours, theirs)
    assert list(found) == [2, 3] and [*found.values()] == pytest.approx([10, 30])
    assert lead([*found.values()]) == "+10.0, +30.0"  # two: an interval of them says nothing
    assert (lead([-1.25], 2), lead([])) == ("−1.25", "not recorded")
    low, high = stats.ttest_1samp([10, 30, 50], 0).confidence_interval(0.95)
    assert lead([10, 30, 50]) == f"{30:+.1f} ± {(high - low) / 2:.1f}"


@pytest.mark.parametrize(("numbers", "shown"), [([3, 3], "3"), ([2, 10, 1], "1...10"), ([], "")])
def test_from_to(numbers, shown):
    assert from_to(iter(numbers)) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("-0.5 points, from -2 to 3", "−0.5 points, from −2 to 3"),
        ("(-2) 2-3 a-1 1e-3", "(−2) 2-3 a-1 1e-3"),
        ("-1, not `x = -1`", "−1, not `x = -1`"),  # code is copied
        ("[-1](https://example.org/-1)", "[−1](https://example.org/-1)"),
    ],
)
def test_a_number_has_a_minus_sign_and_code_a_hyphen(text, shown):
    assert with_minus(text) == shown
