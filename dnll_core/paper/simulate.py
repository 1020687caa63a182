"""Theorems 3.1 and 3.2 by simulation: draw the truth, the pseudo-labels and the sets of Eq. 8, and count.

    simulate_transfer(10, 3, accuracy=0.6, draws=10**6)["set_error"].rate
    simulate_agreement(10, 1, agreement=0.5, draws=10**6)["same_set"].interval
    python -m dnll_core.paper.simulate --draws 100000000 --classes 10 --negatives 3

No formula of `theory` enters a simulation. It stands beside the simulated value in the tables and on the command line.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binom

from dnll_core.paper.theorems import check_numbers, check_tables, check_whole, epm_error_rate, theorem31, theorem32


@dataclass(frozen=True)
class Estimate:
    """`count` hits in `trials` independent draws, their `rate`, and `interval`: its 95 % Wilson interval (low, high).

    With labels_per_trial = m both are per single label. The m labels of a set are not independent (at most one of them
    is wrong), so the interval is that of the sets, divided by m.
    """

    count: int
    trials: int
    labels_per_trial: int = 1

    @property
    def rate(self) -> float:
        return self.count / self.trials / self.labels_per_trial

    @property
    def interval(self) -> tuple[float, float]:
        z, n, p = 1.959963984540054, self.trials, self.count / self.trials  # z: normal quantile of 97.5 %
        middle, half = p + z * z / (2 * n), z * np.sqrt(p * (1 - p) / n + (z / (2 * n)) ** 2)
        low, high = np.clip(np.array([middle - half, middle + half]) / (1 + z * z / n), 0, 1)
        low, high = 0 if p == 0 else low, 1 if p == 1 else high  # which rounding would miss
        return float(low) / self.labels_per_trial, float(high) / self.labels_per_trial

    def p_value(self, exact: float) -> float:
        """Two-sided exact binomial test: how likely counts at least as far out as this are, if `exact` is the rate."""
        p = float(exact) * self.labels_per_trial
        tails = binom.cdf(self.count, self.trials, p), binom.sf(self.count - 1, self.trials, p)
        return min(1.0, 2 * float(min(tails)))


def simulate_transfer(
    K: int,
    m: int,
    accuracy: float | None = None,
    draws: int = 10**6,
    seed: int = 0,
    log_R: ArrayLike | None = None,
    confusion: ArrayLike | None = None,
    chunk: int = 1 << 16,
    threads: int | None = None,
) -> dict[str, Estimate]:
    """Theorem 3.1 by simulation: each draw is a true class, a pseudo-label and a set of m negatives.

    Args:
        accuracy: share of right pseudo-labels; classes are equally frequent and errors spread evenly.
        confusion: instead of `accuracy`, (K, K) P(true = row, predicted = column).
        log_R: (K, K), draw the sets by the Error Perception Mechanism; None: equal probability (Eq. 8).
        chunk, threads: draws held in memory at once by each thread (fewer for large K), and threads (None: one per
            core). The result depends on seed and chunk, never on threads.

    Returns the shares of wrong pseudo-labels, sets and single negatives, named as by `theorem31`: "label_error",
    "set_error", "single_error".
    """
    if (accuracy is None) == (confusion is None):
        raise ValueError(f"give either accuracy or confusion, got accuracy={accuracy!r} and confusion={confusion!r}.")
    check_numbers(K, m, accuracy=0 if accuracy is None else accuracy)
    confusion, log_R = check_tables(K, m, confusion=confusion, log_R=log_R)
    cumulative = None if confusion is None else np.cumsum(confusion)

    def work(rng: np.random.Generator, size: int) -> tuple[int, int]:
        if cumulative is None:
            truth = rng.integers(0, K, size, dtype=_dtype(K))
            predicted = _same_with_probability(rng, K, truth, accuracy)
        else:
            pair = np.searchsorted(cumulative, rng.random(size) * cumulative[-1], side="right").astype(_dtype(K * K))
            truth, predicted = (a.astype(_dtype(K)) for a in np.divmod(pair, K))
        sets = _draw_sets(rng, K, m, predicted) if log_R is None else _draw_sets_by_weight(rng, log_R, m, predicted)
        return np.count_nonzero(predicted != truth), np.count_nonzero(_contains(sets, truth))

    chunk = chunk if log_R is None and K <= 64 else min(chunk, max(1, 2**21 // K))
    labels, sets = _count(work, draws, seed, chunk, threads)
    return {
        "label_error": Estimate(labels, draws),
        "set_error": Estimate(sets, draws),
        "single_error": Estimate(sets, draws, m),  # a set holds the true class at most once
    }


def simulate_agreement(
    K: int,
    m: int,
    agreement: float,
    draws: int = 10**6,
    seed: int = 0,
    accuracy: float = 0.5,
    chunk: int = 1 << 16,
    threads: int | None = None,
) -> dict[str, Estimate]:
    """Theorem 3.2 by simulation: each draw is a true class, two pseudo-labels and two sets, drawn independently.

    The first submodel is right with probability `accuracy` (the event counted does not depend on it); the second
    predicts the same with probability `agreement` and otherwise any other class. chunk and threads as above.

    Returns how often the first is "correct", and both have the "same_label" and the "same_set".
    """
    check_numbers(K, m, agreement=agreement, accuracy=accuracy)

    def work(rng: np.random.Generator, size: int) -> tuple[int, int, int]:
        truth = rng.integers(0, K, size, dtype=_dtype(K))
        first = _same_with_probability(rng, K, truth, accuracy)
        second = _same_with_probability(rng, K, first, agreement)
        same_set = _draw_sets(rng, K, m, first) == _draw_sets(rng, K, m, second)
        same_set = same_set if same_set.ndim == 1 else same_set.all(axis=0)
        return np.count_nonzero(first == truth), np.count_nonzero(first == second), np.count_nonzero(same_set)

    counts = _count(work, draws, seed, chunk if K <= 64 else min(chunk, max(1, 2**21 // K)), threads)
    return {name: Estimate(count, draws) for name, count in zip(("correct", "same_label", "same_set"), counts)}


def transfer_rows(
    classes: Sequence[int], negatives: Sequence[int], accuracies: Sequence[float], draws: int = 10**6, seed: int = 0
) -> list[dict]:
    """Theorem 3.1 over a grid: K, m, accuracy, and for set_error, single_error and label_error the exact value, the
    `simulated_...` Estimate. Cells with m > K-1 are left out; each has its own seed: `seed` and those that follow.
    """
    rows = [{"K": K, "m": m, "accuracy": q} for K in classes for m in negatives if m < K for q in accuracies]
    for i, row in enumerate(rows):
        exact, simulated = theorem31(**row), simulate_transfer(**row, draws=draws, seed=seed + i)
        row |= {name: float(exact[name]) for name in simulated}
        row |= {f"simulated_{name}": estimate for name, estimate in simulated.items()}
    return rows


def agreement_rows(
    classes: Sequence[int], negatives: Sequence[int], agreements: Sequence[float], draws: int = 10**6, seed: int = 0
) -> list[dict]:
    """Theorem 3.2 over a grid: K, m, agreement, every value of `theorem32`, and `simulated_same_set`, an Estimate."""
    rows = [{"K": K, "m": m, "agreement": a} for K in classes for m in negatives if m < K for a in agreements]
    for i, row in enumerate(rows):
        exact, simulated = theorem32(**row), simulate_agreement(**row, draws=draws, seed=seed + i)
        row |= {name: float(value) for name, value in exact.items()}
        row["simulated_same_set"] = simulated["same_set"]
    return rows


def epm_rows(
    confusion: ArrayLike,
    pointers: Mapping[str, ArrayLike],
    strengths: Sequence[float],
    negatives: Sequence[int],
    draws: int = 10**6,
    seed: int = 0,
) -> list[dict]:
    """Sets drawn by the Error Perception Mechanism with Pr (Eq. 22) = strength times one of the (K, K) `pointers`.

    Rows of case, m, strength, the exact set_error, and `simulated_set_error`, an Estimate.
    """
    rows = [{"case": case, "m": m, "strength": c} for case in pointers for m in negatives for c in strengths]
    for i, row in enumerate(rows):
        log_R = row["strength"] * np.asarray(pointers[row["case"]])  # the softmax of Eq. 23 only adds a constant
        given = {"K": len(log_R), "m": row["m"], "log_R": log_R, "confusion": confusion}
        row["set_error"] = epm_error_rate(confusion, log_R, row["m"])
        row["simulated_set_error"] = simulate_transfer(**given, draws=draws, seed=seed + i)["set_error"]
    return rows


def explorer_curves(
    K: int, accuracy: float, agreement: float, draws: int = 20_000, seed: int = 0
) -> dict[str, np.ndarray | list[Estimate]]:
    """Everything a redrawn figure needs, over m = 1...K-1: exact, printed, and `simulated_...` lists of Estimates."""
    m = np.arange(1, K)
    transfers = [simulate_transfer(K, int(i), accuracy, draws, seed + int(i), threads=1) for i in m]
    agreements = [simulate_agreement(K, int(i), agreement, draws, seed + int(i), threads=1) for i in m]
    return {
        "m": m,
        **theorem31(K, m, accuracy),
        **theorem32(K, m, agreement),
        **{f"simulated_{name}": [t[name] for t in transfers] for name in ("set_error", "single_error")},
        "simulated_same_set": [a["same_set"] for a in agreements],
    }


def _dtype(K: int) -> type[np.unsignedinteger]:
    """The smallest type that holds K bits: small ones are fast. Above 64 classes there are no bit masks."""
    return np.uint16 if K <= 16 else np.uint32 if K <= 32 else np.uint64


def _same_with_probability(rng: np.random.Generator, K: int, labels: np.ndarray, probability: float) -> np.ndarray:
    """For each label, itself with the given probability and otherwise one of the K-1 others, all equally likely."""
    other = rng.integers(0, K - 1, labels.size, dtype=labels.dtype)
    other += other >= labels
    return np.where(rng.random(labels.size) < probability, labels, other)


def _draw_sets(rng: np.random.Generator, K: int, m: int, predicted: np.ndarray) -> np.ndarray:
    """Eq. 8 for each pseudo-label: m of the K-1 other classes, every such set equally likely.

    Floyd's algorithm chooses m of 0...K-2 in m steps without rejection: step `last` = K-1-m...K-2 draws one of
    0...last and takes `last` itself if that one is in the set already. Then class K-1 stands in for the pseudo-label.

    Returns (B,) bit masks for K <= 64, else (K, B) bool.
    """
    kind, batch = predicted.dtype.type, np.arange(predicted.size)
    masks, table = np.zeros_like(predicted), np.zeros((K if K > 64 else 0, predicted.size), dtype=bool)
    for last in range(K - 1 - m, K - 1):
        pick = rng.integers(0, last + 1, predicted.size, dtype=kind)
        if K > 64:
            pick[table[pick, batch]] = last
            table[pick, batch] = True
        else:
            bit = kind(1) << pick
            masks |= np.where(masks & bit != 0, kind(1 << last), bit)
    if K > 64:
        table[K - 1] = table[predicted, batch]  # when K-1 itself is the pseudo-label, its row stays empty
        table[predicted, batch] = False
        return table
    swapped = masks >> predicted & kind(1)
    return masks ^ (swapped << predicted) ^ (swapped << kind(K - 1))


def _draw_sets_by_weight(rng: np.random.Generator, log_R: np.ndarray, m: int, predicted: np.ndarray) -> np.ndarray:
    """(K, B) bool: m classes one after the other, each in proportion to R among those left, never the pseudo-label."""
    left, batch = log_R.T[:, predicted], np.arange(predicted.size)  # (K, B), a copy
    left[predicted, batch] = -np.inf
    table = np.zeros(left.shape, dtype=bool)
    for _ in range(m):
        cumulative = np.exp(left - left.max(axis=0)).cumsum(axis=0)
        pick = (cumulative <= rng.random(predicted.size) * cumulative[-1]).sum(axis=0)
        table[pick, batch] = True
        left[pick, batch] = -np.inf
    return table


def _contains(sets: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return sets >> labels & sets.dtype.type(1) if sets.ndim == 1 else sets[labels, np.arange(labels.size)]


def _count(work: Callable, draws: int, seed: int, chunk: int, threads: int | None) -> list[int]:
    """Sums work(rng, size) over chunks. Every chunk has its own stream, so threads do not change the result."""
    threads = os.cpu_count() or 1 if threads is None else threads
    for name, value, low in (("draws", draws, 1), ("seed", seed, 0), ("chunk", chunk, 1), ("threads", threads, 1)):
        check_whole(name, value, low)
    chunks = -(-draws // chunk)
    threads = min(threads, chunks)

    def run(first: int) -> list[int]:
        counts = [
            work(np.random.default_rng([seed, i]), min(chunk, draws - i * chunk)) for i in range(first, chunks, threads)
        ]
        return [int(sum(column)) for column in zip(*counts)]

    if threads == 1:
        return run(0)
    with ThreadPoolExecutor(threads) as pool:  # NumPy's generators and arithmetic release Python's lock
        return [sum(column) for column in zip(*pool.map(run, range(threads)))]


def main() -> None:
    """Simulates one cell of each theorem and prints it beside the exact value."""
    parser = argparse.ArgumentParser(description="Monte Carlo of Theorems 3.1 and 3.2 beside the exact values.")
    parser.add_argument("--draws", type=int, default=10**6)
    parser.add_argument("--classes", type=int, default=10, help="K")
    parser.add_argument("--negatives", type=int, default=3, help="m")
    parser.add_argument("--accuracy", type=float, default=0.6, help="share of right pseudo-labels (Theorem 3.1)")
    parser.add_argument("--agreement", type=float, default=0.5, help="share of equal pseudo-labels (Theorem 3.2)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=None, help="default: one per core")
    args = parser.parse_args()
    K, m = args.classes, args.negatives
    for exact, simulate, name, of, at in (
        (theorem31, simulate_transfer, "set_error", "accuracy", args.accuracy),
        (theorem32, simulate_agreement, "same_set", "agreement", args.agreement),
    ):
        right, start = exact(K, m, at)[name], time.perf_counter()
        estimate = simulate(K, m, at, args.draws, args.seed, threads=args.threads)[name]
        seconds, (low, high) = time.perf_counter() - start, estimate.interval
        print(f"{name}: K = {K}, m = {m}, {of} = {at}, {args.draws} draws in {seconds:.1f} s")
        print(f"  simulated {estimate.rate:.7f}, 95 % {low:.7f}...{high:.7f}, exact {right:.7f}")


if __name__ == "__main__":
    main()
