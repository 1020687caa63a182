"""Exact values against exhaustive enumeration in fractions; simulations against exact values within five sigma."""

import math
import sys
import time
import tracemalloc
from fractions import Fraction
from itertools import combinations, permutations

import numpy as np
import pytest
import torch
from scipy import stats

from dnll_core import theory
from dnll_core.negatives import draw_negatives
from dnll_core.theory import (
    Estimate,
    epm_error_rate,
    explorer_curves,
    inclusion_probabilities,
    simulate_agreement,
    simulate_transfer,
    theorem31,
    theorem32,
    uniform_confusion,
)

SMALL = [(K, m) for K in range(2, 8) for m in range(1, K)]


def sets_of(K, m, predicted):
    """Eq. 8: every set of m classes without the predicted one."""
    return [set(c) for c in combinations([c for c in range(K) if c != predicted], m)]


def sigmas(estimate, exact):
    """Distance of a simulated rate from the exact one in standard errors."""
    p = exact * estimate.labels_per_trial
    return abs(estimate.count - p * estimate.trials) / math.sqrt(max(p * (1 - p) * estimate.trials, 1e-12))


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


def test_wrong_arguments_of_the_simulations_are_named():
    for arguments, named in (
        ({"accuracy": 1.5}, "accuracy"),
        ({}, "either accuracy or confusion"),
        ({"accuracy": 0.5, "confusion": np.eye(4) / 4}, "either accuracy or confusion"),
        ({"confusion": np.eye(4)}, "confusion must hold probabilities"),
        ({"confusion": np.eye(3) / 3}, "confusion must have shape"),
        ({"accuracy": 0.5, "log_R": np.zeros((3, 3))}, "log_R must have shape"),
        ({"accuracy": 0.5, "log_R": np.full((4, 4), -np.inf)}, "log_R must have at least m=2"),
        ({"accuracy": 0.5, "draws": 0}, "draws must be"),
        ({"accuracy": 0.5, "draws": 1e6}, "draws must be"),
        ({"accuracy": 0.5, "seed": -1}, "seed must be"),
        ({"accuracy": 0.5, "chunk": 0}, "chunk must be"),
        ({"accuracy": 0.5, "threads": 0}, "threads must be"),
    ):
        with pytest.raises(ValueError, match=named):
            simulate_transfer(4, 2, **arguments)
    with pytest.raises(ValueError, match="agreement"):
        simulate_agreement(4, 2, agreement=-1)
    for log_weights, m in ((np.zeros(3), 4), (np.array([0, -np.inf]), 2), (np.array([0, np.nan]), 1)):
        with pytest.raises(ValueError, match=r"m must be|log_weights must be"):
            inclusion_probabilities(log_weights, m)


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


# --- Monte Carlo --------------------------------------------------------------------------------------------------

GRID = [(2, 1), (3, 2), (10, 1), (10, 3), (10, 9), (16, 15), (17, 4), (33, 20), (64, 5), (64, 63), (65, 2), (100, 60)]


@pytest.mark.parametrize(("K", "m"), GRID)
def test_simulations_meet_the_exact_values(K, m):
    draws = 20_000 if K > 64 else 100_000
    exact, got = theorem31(K, m, 0.35), simulate_transfer(K, m, 0.35, draws, seed=1, threads=1)
    for name, estimate in got.items():
        assert sigmas(estimate, float(exact[name])) < 5, name
    got = simulate_agreement(K, m, 0.7, draws, seed=2, accuracy=0.35, threads=1)
    for name, exact in {
        "correct": 0.35,
        "same_label": 0.7,
        "same_set": float(theorem32(K, m, 0.7)["same_set"]),
    }.items():
        assert sigmas(got[name], exact) < 5, name


def test_a_simulation_tells_the_correction_from_the_printed_equations():
    exact = {name: float(value) for name, value in theorem32(10, 1, 0).items()}
    got = simulate_agreement(10, 1, 0, 400_000, threads=1)["same_set"]
    assert sigmas(got, exact["same_set"]) < 5
    assert min(sigmas(got, exact[name]) for name in ("eq29_printed", "eq32_printed")) > 20


@pytest.mark.parametrize(("K", "m"), [(4, 2), (10, 3), (70, 5)])
def test_simulated_epm_meets_the_exact_rate_and_not_theorem31(K, m):
    confusion, log_R = random_case(K, 5)
    if K <= 10:  # R that prefers what is confused, so that the difference is large
        log_R = np.log(confusion.T)
    got = simulate_transfer(K, m, confusion=confusion, log_R=log_R, draws=60_000, seed=3, threads=1)
    assert sigmas(got["set_error"], epm_error_rate(confusion, log_R, m)) < 5
    assert sigmas(got["label_error"], 1 - np.trace(confusion)) < 5
    if K <= 10:
        assert sigmas(got["set_error"], float(theorem31(K, m, np.trace(confusion))["set_error"])) > 20


def test_theorem31_needs_no_even_errors():
    confusion, _ = random_case(10, 6)
    got = simulate_transfer(10, 3, confusion=confusion, draws=100_000, threads=1)["set_error"]
    assert sigmas(got, float(theorem31(10, 3, np.trace(confusion))["set_error"])) < 5


def test_uniform_confusion_simulates_as_accuracy_does():
    confusion = uniform_confusion(5, 0.6)
    assert confusion.sum() == pytest.approx(1) and np.trace(confusion) == pytest.approx(0.6)
    got = simulate_transfer(5, 2, confusion=confusion, draws=100_000, threads=1)
    assert all(sigmas(estimate, float(theorem31(5, 2, 0.6)[name])) < 5 for name, estimate in got.items())


@pytest.mark.parametrize("m", [1, 3, 4])
@pytest.mark.parametrize("predicted", [0, 2, 5])
def test_every_set_of_eq8_is_drawn_equally_often_and_no_other(m, predicted):
    rng = np.random.default_rng(4)
    masks = theory._draw_sets(rng, 6, m, np.full(50_000, predicted, dtype=np.uint16))
    values, counts = np.unique(masks, return_counts=True)
    assert sorted(values) == sorted(sum(1 << c for c in s) for s in sets_of(6, m, predicted))
    assert stats.chisquare(counts).pvalue > 1e-6


@pytest.mark.parametrize("by_weight", [False, True])
@pytest.mark.parametrize("K", [65, 80])
def test_sets_of_many_classes(K, by_weight):
    rng = np.random.default_rng(5)
    predicted = rng.integers(0, K, 20_000, dtype=np.uint64)
    predicted[:3] = 0, K - 1, K - 2
    draw = (np.zeros((K, K)), 7, predicted) if by_weight else (7, predicted)
    table = theory._draw_sets_by_weight(rng, *draw) if by_weight else theory._draw_sets(rng, K, *draw)
    assert (table.sum(axis=0) == 7).all()
    assert not table[predicted, np.arange(20_000)].any()
    away = (np.arange(K)[:, None] - predicted.astype(int)) % K  # each offset from the pseudo-label equally often
    counts = np.bincount(away[table], minlength=K)[1:]
    assert abs(counts - 20_000 * 7 / (K - 1)).max() < 5.5 * math.sqrt(20_000 * 7 / (K - 1))


def test_no_exact_formula_enters_a_simulation(monkeypatch):
    def forbidden(*_arguments, **_keywords):
        raise AssertionError("a closed form was used")

    for name in ("theorem31", "theorem32", "inclusion_probabilities", "epm_error_rate", "gammaln", "_log_choose"):
        monkeypatch.setattr(theory, name, forbidden)
    confusion, log_R = random_case(5, 0)
    simulate_transfer(5, 2, 0.5, 1000, threads=1)
    simulate_transfer(5, 2, confusion=confusion, log_R=log_R, draws=1000, threads=1)
    simulate_agreement(5, 2, 0.5, 1000, threads=1)


def test_threads_do_not_change_the_result_and_seeds_do():
    arguments = {"K": 10, "m": 3, "accuracy": 0.6, "draws": 50_001, "chunk": 7_000}
    assert simulate_transfer(**arguments, threads=1) == simulate_transfer(**arguments, threads=3)
    assert simulate_transfer(**arguments, threads=1) != simulate_transfer(**arguments, seed=1, threads=1)


@pytest.mark.parametrize("chunk", [999, 30_000, 10**9])
def test_chunks_do_not_change_the_distribution(chunk):
    got = simulate_agreement(10, 2, 0.4, 90_001, chunk=chunk, threads=1)["same_set"]
    assert got.trials == 90_001
    assert sigmas(got, float(theorem32(10, 2, 0.4)["same_set"])) < 5


@pytest.mark.parametrize(("K", "few"), [(10, 200_000), (200, 20_000)])
def test_memory_does_not_grow_with_the_draws(K, few):
    def peak(draws):
        tracemalloc.start()
        simulate_transfer(K, 3, 0.6, draws, threads=1)
        _now, high = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return high

    peak(few)
    assert peak(8 * few) < 1.2 * peak(few) < 30e6


def test_a_hundred_million_draws_fit_in_thirty_seconds_on_two_cores():
    draws = 2 * 10**6  # 1.2 s on one of the two cores
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        simulate_transfer(10, 3, 0.6, draws, threads=1)
        simulate_agreement(10, 3, 0.5, draws, threads=1)
        seconds.append((time.perf_counter() - start) / 2)
    assert min(seconds) < 1.2


@pytest.mark.parametrize(("count", "trials"), [(0, 10), (3, 10), (10, 10), (123, 100_000)])
def test_interval_is_wilsons(count, trials):
    reference = stats.binomtest(count, trials).proportion_ci(0.95, method="wilson")
    assert Estimate(count, trials).interval == pytest.approx(tuple(reference), abs=1e-12)
    assert Estimate(count, trials, 4).interval == pytest.approx((reference.low / 4, reference.high / 4), abs=1e-12)
    assert Estimate(count, trials, 4).rate == pytest.approx(count / trials / 4)


def test_intervals_cover_the_exact_value_about_19_times_in_20():
    exact, covered = float(theorem31(10, 3, 0.6)["set_error"]), 0
    for seed in range(400):
        low, high = simulate_transfer(10, 3, 0.6, 2_000, seed, threads=1)["set_error"].interval
        covered += low <= exact <= high
    assert 358 <= covered <= 398  # 380 +- 5 standard deviations of 4.4


def test_explorer_curves_hold_every_m():
    curves = explorer_curves(K=6, accuracy=0.5, agreement=0.8, draws=2_000)
    np.testing.assert_array_equal(curves["m"], [1, 2, 3, 4, 5])
    assert all(len(values) == 5 for values in curves.values())
    for name in ("set_error", "single_error", "same_set"):
        for exact, estimate in zip(curves[name], curves[f"simulated_{name}"]):
            assert sigmas(estimate, float(exact)) < 5
    np.testing.assert_array_equal(curves["eq30_printed"], theorem32(6, curves["m"], 0.8)["eq30_printed"])


def test_command_line_prints_simulated_beside_exact(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["theory", "--draws", "5000", "--threads", "1"])
    theory.main()
    printed = capsys.readouterr().out
    assert "set_error: K = 10, m = 3, accuracy = 0.6, 5000 draws in" in printed
    assert "exact 0.1333333" in printed and "exact 0.0099206" in printed
