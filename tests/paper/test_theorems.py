"""Exact values against exhaustive enumeration in fractions, and against autograd."""

import math
from fractions import Fraction
from itertools import combinations, permutations

import numpy as np
import pytest
import torch
from scipy import stats

from dnll_core.losses import negative_loss
from dnll_core.negatives import draw_negatives
from dnll_core.paper.theorems import (
    epm_error_rate,
    inclusion_probabilities,
    inclusion_table,
    lookalike_confusion,
    lookalikes,
    negative_push,
    theorem31,
    theorem32,
    uniform_confusion,
)

SMALL = [(K, m) for K in range(2, 8) for m in range(1, K)]


def sets_of(K, m, predicted):
    """Eq. 8: every set of m classes without the predicted one."""
    return [set(c) for c in combinations([c for c in range(K) if c != predicted], m)]


# --- Theorem 3.1 --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("K", "m"), SMALL)
def test_theorem31_equals_enumeration(K, m):
    q = Fraction(3, 5)
    truth, wrong = 0, 1  # a wrong pseudo-label; which one makes no difference
    sets = sets_of(K, m, wrong)
    clean = Fraction(sum(truth not in s for s in sets), len(sets))
    single = Fraction(sum(label == truth for s in sets for label in s), m * len(sets))
    got = theorem31(K, m, float(q))
    assert got["eq24"] == pytest.approx(float(clean), abs=1e-15)
    assert got["eq24_printed"] == 1
    assert got["label_error"] == pytest.approx(0.4)
    assert got["set_error"] == pytest.approx(float((1 - q) * (1 - clean)), rel=1e-14)
    assert got["single_error"] == pytest.approx(float((1 - q) * single), rel=1e-14)
    assert got["ratio"] == pytest.approx(float(1 - clean), rel=1e-14)


def test_theorem31_equals_the_hypergeometric_distribution_over_arrays():
    K, m = np.array([[10], [100]]), np.array([1, 3, 9])
    got = theorem31(K, m, 0.25)
    assert got["set_error"].shape == (2, 3)
    np.testing.assert_allclose(got["set_error"], 0.75 * stats.hypergeom.pmf(1, K - 1, 1, m), rtol=1e-12)


# --- Theorem 3.2 --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("K", "m"), SMALL)
def test_theorem32_corrected_equals_enumeration_of_all_pairs_of_sets(K, m):
    def same(first, second):
        pairs = [(a, b) for a in sets_of(K, m, first) for b in sets_of(K, m, second)]
        return Fraction(sum(a == b for a, b in pairs), len(pairs))

    equal, different = same(0, 0), {same(0, other) for other in range(1, K)}
    assert len(different) == 1  # which two classes are predicted makes no difference
    (different,) = different
    for a in (Fraction(0), Fraction(1, 3), Fraction(1)):
        got = theorem32(K, m, float(a))
        assert got["eq27"] == pytest.approx(float(equal), rel=1e-13)
        assert got["eq28"] == pytest.approx(float(different), rel=1e-13)
        assert got["same_set"] == pytest.approx(float(a * equal + (1 - a) * different), rel=1e-13)


@pytest.mark.parametrize(("K", "m"), [(K, m) for K, m in SMALL if m < K - 1] + [(10, 1), (10, 3), (40, 13)])
def test_printed_equations_are_computed_as_printed(K, m):
    q = Fraction(1, 4)
    got = theorem32(K, m, float(q))
    eq29 = q / math.comb(K - 1, m) + (1 - q) / math.comb(K - 2, m)
    f = math.factorial
    eq30 = f(m) * f(K - 2 - m) * (K - 1 - q * m) / f(K - 1)
    assert eq29 == eq30

    def stirling(n):
        return math.sqrt(2 * math.pi * n) * (n / math.e) ** n

    assert got["eq28_printed"] == pytest.approx(1 / math.comb(K - 2, m), rel=1e-12)
    assert got["eq29_printed"] == pytest.approx(float(eq29), rel=1e-12)
    assert got["eq30_printed"] == pytest.approx(float(eq30), rel=1e-12)
    eq31 = (K - 1 - float(q) * m) * stirling(m) * stirling(K - 2 - m) / stirling(K - 1)
    assert got["eq31_printed"] == pytest.approx(eq31, rel=1e-12)
    assert got["eq32_printed"] == pytest.approx(math.sqrt(2 * math.pi * m) / (math.e * K) * (m / K) ** m, rel=1e-12)
    assert got["leading"] == pytest.approx(f(m) / K**m, rel=1e-12)
    assert got["leading_stirling"] == pytest.approx(stirling(m) / K**m, rel=1e-12)


def test_numbers_of_ten_classes_and_one_negative():
    disagree, agree = theorem32(10, 1, 0), theorem32(10, 1, 1)
    assert round(float(disagree["eq28"]), 4) == 0.0988 and disagree["eq28_printed"] == pytest.approx(0.125)
    assert [round(float(t["eq30_printed"]), 3) for t in (agree, disagree)] == [0.111, 0.125]
    assert round(float(agree["eq32_printed"]), 4) == 0.0092


@pytest.mark.parametrize("K", [2, 3, 10, 1000])
def test_when_all_other_classes_are_negatives_sets_are_equal_exactly_when_predictions_are(K):
    got = theorem32(K, K - 1, 0.3)
    assert got["same_set"] == pytest.approx(0.3, rel=1e-12)
    assert got["eq28"] == 0
    assert all(np.isnan(got[name]) for name in ("eq28_printed", "eq29_printed", "eq30_printed", "eq31_printed"))


def test_leading_term_is_the_limit_and_eq32_is_not():
    m = np.arange(1, 7)
    got = theorem32(10**6, m, 0.5)
    np.testing.assert_allclose(got["same_set"] / got["leading"], 1, atol=1e-4)
    np.testing.assert_allclose(got["eq30_printed"] / got["leading"], 1, atol=1e-4)
    np.testing.assert_allclose(got["leading_stirling"] / got["eq32_printed"], 1e6 * np.exp(1 - m), rtol=1e-9)


def test_exact_values_are_finite_and_right_at_a_million_classes():
    K, m = 10**6, np.array([1, 2, 1000, 500_000, 999_997, 999_998, 999_999])
    for value in theorem31(K, m, 0.5).values():
        assert np.isfinite(value).all()
    logs = theorem32(K, m, 0.5, log=True)
    for name in ("eq27", "same_set", "eq32_printed", "leading", "leading_stirling"):
        assert np.isfinite(logs[name]).all(), name
    assert np.isfinite(np.array([v[:-2] for v in logs.values()])).all()  # all but m = K-2 (Eq. 31) and m = K-1
    assert logs["eq27"][2] == pytest.approx(-math.log(math.comb(K - 1, 1000)), abs=1e-7)  # whole-number arithmetic
    assert logs["eq28"][1] == pytest.approx(math.log(math.comb(K - 2, 2) / math.comb(K - 1, 2) ** 2), abs=1e-7)
    assert logs["same_set"][-1] == pytest.approx(math.log(0.5), abs=1e-8)
    for value in theorem32(K, m[:-1], 0.5).values():  # probabilities underflow to 0, never to nan
        assert np.isfinite(value).all()


@pytest.mark.parametrize(
    ("K", "m", "q", "named"),
    [
        (1, 1, 0.5, "K, the number of classes"),
        (2.5, 1, 0.5, "K, the number of classes"),
        (10, 0, 0.5, "m, the number of negatives"),
        (10, 10, 0.5, "m, the number of negatives"),
        (10, 1.5, 0.5, "m, the number of negatives"),
        (np.array([10, 3]), 3, 0.5, "m, the number of negatives"),
        (10, 3, 1.1, "in \\[0, 1\\]"),
        (10, 3, -0.1, "in \\[0, 1\\]"),
        (10, 3, float("nan"), "in \\[0, 1\\]"),
        ("10", 3, 0.5, "K must be a number"),
        (10, 3, None, "must be a number"),
    ],
)
def test_wrong_arguments_are_named(K, m, q, named):
    for function in (theorem31, theorem32):
        with pytest.raises(ValueError, match=named):
            function(K, m, q)


# --- The Error Perception Mechanism -------------------------------------------------------------------------------


def inclusion_by_first_choice(weights, m):
    """P(each is drawn), exactly: sums over every order in which m of them can come, in fractions."""
    drawn = [Fraction(0)] * len(weights)
    for order in permutations(range(len(weights)), m):
        p, left = Fraction(1), sum(weights)
        for i in order:
            p, left = p * weights[i] / left, left - weights[i]
        for i in order:
            drawn[i] += p
    return drawn


@pytest.mark.parametrize("n", [1, 2, 4, 6])
def test_inclusion_probabilities_equal_the_sum_over_all_orders(n):
    rng = np.random.default_rng(n)
    weights = [Fraction(int(w)) for w in rng.integers(1, 200, n)]
    for m in range(1, n + 1):
        got = inclusion_probabilities(np.log([float(w) for w in weights]), m)
        np.testing.assert_allclose(got, [float(p) for p in inclusion_by_first_choice(weights, m)], atol=1e-13)


def test_inclusion_probabilities_of_equal_extreme_and_impossible_weights():
    np.testing.assert_allclose(inclusion_probabilities(np.full(9, -7.0), 4), 4 / 9, atol=1e-13)
    np.testing.assert_allclose(inclusion_probabilities([0, 1e6, 5e5], 1), [0, 1, 0], atol=1e-13)
    np.testing.assert_allclose(inclusion_probabilities([0, 1e6, 5e5], 2), [0, 1, 1], atol=1e-13)
    np.testing.assert_allclose(inclusion_probabilities([0, -np.inf, 0, 1e6], 2), [0.5, 0, 0.5, 1], atol=1e-13)
    np.testing.assert_allclose(
        inclusion_probabilities([0, 25], 1), [1 / (1 + np.exp(25)), 1 / (1 + np.exp(-25))], atol=1e-15
    )
    many = inclusion_probabilities(np.random.default_rng(0).normal(0, 3, 99), 10)
    assert many.sum() == pytest.approx(10, abs=1e-11)
    assert (many >= 0).all() and (many <= 1 + 1e-13).all()


def random_case(K, seed):
    """A lopsided confusion, and an R that has nothing to do with it."""
    rng = np.random.default_rng(seed)
    confusion = rng.gamma(0.5, size=(K, K)) + np.diag(rng.uniform(0, 2, K))
    return confusion / confusion.sum(), rng.normal(0, 1.5, (K, K))


def test_wrong_log_weights_are_named():
    for log_weights, m in ((np.zeros(3), 4), (np.array([0, -np.inf]), 2), (np.array([0, np.nan]), 1)):
        with pytest.raises(ValueError, match=r"m must be|log_weights must be"):
            inclusion_probabilities(log_weights, m)


def test_equal_probability_is_the_special_case_of_equal_weights_whatever_the_confusion():
    confusion, _ = random_case(7, 0)
    for m in range(1, 7):
        exact = theorem31(7, m, np.trace(confusion))["set_error"]
        assert epm_error_rate(confusion, np.full((7, 7), 3.0), m) == pytest.approx(float(exact), abs=1e-13)


def test_epm_error_by_hand_and_when_it_is_worse_than_equal_probability():
    # Three classes: 0 and 1 are mistaken for each other, 2 is always right. One negative.
    confusion = np.array([[0.25, 0.1, 0], [0.15, 0.2, 0], [0, 0, 0.3]])
    R = np.array(
        [[1, 3, 1], [2, 1, 1], [1, 1, 1]]
    )  # pseudo-label 0: class 1 with 3/4; pseudo-label 1: class 0 with 2/3
    assert epm_error_rate(confusion, np.log(R), 1) == pytest.approx(0.15 * 3 / 4 + 0.1 * 2 / 3)
    equal = float(theorem31(3, 1, 0.75)["set_error"])
    avoiding = np.array([[1, 1, 3], [1, 1, 2], [1, 1, 1]])
    assert epm_error_rate(confusion, np.log(avoiding), 1) < equal < epm_error_rate(confusion, np.log(R), 1)


def test_the_trainers_epm_draw_has_these_inclusion_probabilities():
    log_R = torch.tensor([0.0, 1.0, -1.5, 0.3, 2.0])
    predicted = torch.full((40_000,), 1)
    drawn = draw_negatives(predicted, 5, 2, torch.Generator().manual_seed(0), log_R.expand(40_000, 5))
    exact = inclusion_probabilities(log_R[[0, 2, 3, 4]], 2)
    assert drawn[:, 1].sum() == 0
    for got, p in zip(drawn.mean(dim=0)[[0, 2, 3, 4]], exact):
        assert abs(float(got) - p) < 5 * math.sqrt(p * (1 - p) / 40_000)


def test_inclusion_table_holds_a_row_for_each_pseudo_label():
    _, log_R = random_case(6, 1)
    table = inclusion_table(log_R, 2)
    np.testing.assert_allclose(np.diag(table), 0)
    np.testing.assert_allclose(table.sum(axis=1), 2, atol=1e-12)
    np.testing.assert_allclose(table[3, [0, 1, 2, 4, 5]], inclusion_probabilities(log_R[3, [0, 1, 2, 4, 5]], 2))


def test_confusions_of_evenly_spread_and_of_lookalike_errors():
    uniform = uniform_confusion(6, 0.7)
    assert uniform.sum() == pytest.approx(1) and np.trace(uniform) == pytest.approx(0.7)
    pairs = lookalike_confusion(6, 0.7, 0.5)
    assert pairs.sum() == pytest.approx(1) and np.trace(pairs) == pytest.approx(0.7)
    assert (pairs * lookalikes(6)).sum() == pytest.approx(0.5 * 0.3)
    assert pairs[0, 1] == pairs[5, 4] > pairs[0, 2] == pairs[1, 2] == pytest.approx(0.3 * 0.5 / 4 / 6)
    np.testing.assert_allclose(lookalike_confusion(6, 0.7, 1 / 5), uniform)
    for call in (lambda: lookalikes(5), lambda: lookalike_confusion(5, 0.7, 0.5)):
        with pytest.raises(ValueError, match="K must be even"):
            call()
    with pytest.raises(ValueError, match="K must be at least 4"):
        lookalike_confusion(2, 0.7, 0.5)
    with pytest.raises(ValueError, match="share is a probability"):
        lookalike_confusion(6, 0.7, 2)


def test_epm_that_points_at_the_lookalike_passes_every_shared_error_on():
    certain = 60 * lookalikes(6)
    assert epm_error_rate(lookalike_confusion(6, 0.7, 0.8), certain, 1) == pytest.approx(0.3 * 0.8, abs=1e-12)


def test_negative_push_equals_a_step_of_gradient_descent_on_eq9():
    logits = torch.randn(5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for true in (0, 3):
        expected = []
        for c in range(5):
            z = logits.clone().requires_grad_()
            negative_loss(z[None], torch.eye(5)[[c]]).backward()
            rate = 1e-6
            before, after = (torch.log_softmax(x, 0)[true] for x in (logits, logits - rate * z.grad))
            expected.append(float(after - before) / rate)
        got = negative_push(torch.softmax(logits, 0).numpy(), true)
        np.testing.assert_allclose(got, expected, rtol=1e-4)
        assert got[true] < 0


@pytest.mark.parametrize(
    ("p", "true", "named"),
    [([0.5, 0.6], 0, "p must be"), ([1.0, 0.0], 0, "p must be"), ([0.5, 0.5], 2, "true must be")],
)
def test_wrong_arguments_of_negative_push_are_named(p, true, named):
    with pytest.raises(ValueError, match=named):
        negative_push(p, true)
