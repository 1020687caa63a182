"""Simulations against exact values, within five standard errors; what they promise about seeds, memory and work."""

import math
import sys
import threading
import tracemalloc

import numpy as np
import pytest
from paper.test_theorems import random_case, sets_of
from scipy import stats

from dnll_core.paper import simulate, theorems
from dnll_core.paper.simulate import (
    Estimate,
    agreement_rows,
    epm_rows,
    explorer_curves,
    simulate_agreement,
    simulate_transfer,
    transfer_rows,
)
from dnll_core.paper.theorems import (
    epm_error_rate,
    lookalike_confusion,
    lookalikes,
    theorem31,
    theorem32,
    uniform_confusion,
)


def sigmas(estimate, exact):
    """Distance of a simulated rate from the exact one in standard errors."""
    p = exact * estimate.labels_per_trial
    return abs(estimate.count - p * estimate.trials) / math.sqrt(max(p * (1 - p) * estimate.trials, 1e-12))


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
    masks = simulate._draw_sets(rng, 6, m, np.full(50_000, predicted, dtype=np.uint16))
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
    table = simulate._draw_sets_by_weight(rng, *draw) if by_weight else simulate._draw_sets(rng, K, *draw)
    assert (table.sum(axis=0) == 7).all()
    assert not table[predicted, np.arange(20_000)].any()
    away = (np.arange(K)[:, None] - predicted.astype(int)) % K  # each offset from the pseudo-label equally often
    counts = np.bincount(away[table], minlength=K)[1:]
    assert abs(counts - 20_000 * 7 / (K - 1)).max() < 5.5 * math.sqrt(20_000 * 7 / (K - 1))


def test_no_exact_formula_enters_a_simulation(monkeypatch):
    def forbidden(*_arguments, **_keywords):
        raise AssertionError("a closed form was used")

    for name in ("theorem31", "theorem32", "inclusion_probabilities", "epm_error_rate", "gammaln", "_log_choose"):
        monkeypatch.setattr(theorems, name, forbidden)
    for name in ("theorem31", "theorem32", "epm_error_rate", "binom"):
        monkeypatch.setattr(simulate, name, forbidden)
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


@pytest.mark.parametrize("K", [10, 70])
def test_no_work_in_python_is_done_for_each_draw(K):
    """What makes hundreds of millions of draws feasible, without a clock: calls grow with the chunks alone."""

    def calls(draws, chunk):
        counted = 0

        def note(frame, event, argument):
            nonlocal counted
            counted += event in ("call", "c_call")

        sys.setprofile(note)
        threading.setprofile(note)
        try:
            simulate_transfer(K, 3, 0.6, draws, chunk=chunk, threads=1)
            simulate_agreement(K, 3, 0.5, draws, chunk=chunk, threads=1)
        finally:
            sys.setprofile(None)
            threading.setprofile(None)
        return counted

    calls(100, 10_000)  # what numpy does once
    few, many, chunks = calls(100, 10_000), calls(10_000, 10_000), calls(10_000, 1_000)
    assert abs(many - few) < 0.1 * few  # one chunk each
    assert 2 * few < chunks < 12 * few  # ten


def test_sets_of_few_classes_are_bit_masks_of_few_bytes():
    for K, dtype in ((10, np.uint16), (16, np.uint16), (32, np.uint32), (64, np.uint64)):
        masks = simulate._draw_sets(np.random.default_rng(0), K, 3, np.zeros(5, dtype=simulate._dtype(K)))
        assert masks.shape == (5,) and masks.dtype == dtype


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
    monkeypatch.setattr(sys, "argv", ["montecarlo", "--draws", "5000", "--threads", "1"])
    simulate.main()
    printed = capsys.readouterr().out
    assert "set_error: K = 10, m = 3, accuracy = 0.6, 5000 draws in" in printed
    assert "exact 0.1333333" in printed and "exact 0.0099206" in printed


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


@pytest.mark.parametrize(("count", "trials", "exact"), [(0, 10, 0.2), (7, 10, 0.2), (30, 100, 0.3), (3, 10**6, 1e-6)])
def test_p_value_is_the_binomial_tests(count, trials, exact):
    tails = [stats.binomtest(count, trials, exact, side).pvalue for side in ("less", "greater")]
    assert Estimate(count, trials).p_value(exact) == pytest.approx(min(1, 2 * min(tails)))
    assert Estimate(count, trials, 4).p_value(exact / 4) == pytest.approx(min(1, 2 * min(tails)))


def test_p_value_of_certain_events():
    assert Estimate(10, 10).p_value(1) == Estimate(0, 10).p_value(0) == 1
    assert Estimate(9, 10).p_value(1) == Estimate(1, 10).p_value(0) == 0


def test_rows_of_a_grid_hold_exact_and_simulated_values_and_skip_impossible_cells():
    rows = transfer_rows([3, 6], [1, 4], [0.2, 0.9], draws=4_000, seed=7)
    assert [(r["K"], r["m"], r["accuracy"]) for r in rows] == [
        *[(3, 1, 0.2), (3, 1, 0.9), (6, 1, 0.2), (6, 1, 0.9), (6, 4, 0.2), (6, 4, 0.9)]
    ]
    for row in rows:
        for name in ("label_error", "set_error", "single_error"):
            assert row[f"simulated_{name}"].p_value(row[name]) > 1e-6
    assert rows[2]["set_error"] == pytest.approx(float(theorem31(6, 1, 0.2)["set_error"]))
    rows = agreement_rows([3, 6], [2], [0.5], draws=4_000)
    assert [(r["K"], r["m"]) for r in rows] == [(3, 2), (6, 2)]
    assert math.isnan(rows[0]["eq30_printed"]) and rows[1]["eq32_printed"] > 0
    assert all(row["simulated_same_set"].p_value(row["same_set"]) > 1e-6 for row in rows)


def test_rows_of_the_error_perception_mechanism():
    pointers = {"same": lookalikes(4), "other": np.roll(np.eye(4), 2, axis=1)}
    rows = epm_rows(lookalike_confusion(4, 0.5, 0.9), pointers, [0, 2], [1, 2], draws=5_000, seed=3)
    assert [(r["case"], r["m"], r["strength"]) for r in rows[:5]] == [
        *[("same", 1, 0), ("same", 1, 2), ("same", 2, 0), ("same", 2, 2), ("other", 1, 0)]
    ]
    assert all(row["simulated_set_error"].p_value(row["set_error"]) > 1e-6 for row in rows)
    equal = float(theorem31(4, 1, 0.5)["set_error"])
    assert rows[0]["set_error"] == pytest.approx(equal) == rows[4]["set_error"]
    assert rows[5]["set_error"] < equal < rows[1]["set_error"]


@pytest.mark.parametrize("trials", [7, 1000, 10**6])
def test_the_interval_of_what_never_or_always_happens_holds_that(trials):
    assert Estimate(0, trials).interval[0] == 0 < Estimate(0, trials).interval[1]
    assert Estimate(trials, trials, 2).interval[1] == 0.5 > Estimate(trials, trials, 2).interval[0]
