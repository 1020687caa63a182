"""Theorems 3.1 and 3.2 of the paper: exact probabilities, the Error Perception Mechanism, and Monte Carlo.

    theorem31(K=10, m=3, accuracy=0.6)["set_error"]        # 0.1333
    theorem32(K=10, m=1, agreement=0.5)["same_set"]        # 0.1049
    epm_error_rate(confusion, log_R, m=3)                  # what Theorem 3.1 leaves out
    simulate_transfer(10, 3, accuracy=0.6, draws=10**6)["set_error"].rate
    python -m dnll_core.theory --draws 100000000 --classes 10 --negatives 3

The paper calls two different things q. Here `accuracy` is the chance that a submodel's pseudo-label is the true class
(Theorem 3.1) and `agreement` the chance that the two submodels' pseudo-labels are equal (Theorem 3.2).

No formula of the first half enters a simulation of the second: those draw truth, pseudo-labels and sets, and count.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gammaln, xlogy

# --- Exact: Theorems 3.1 and 3.2 ----------------------------------------------------------------------------------


def theorem31(K: ArrayLike, m: ArrayLike, accuracy: ArrayLike) -> dict[str, np.ndarray]:
    """Theorem 3.1 (Eqs. 24-26): errors passed on with pseudo-negative labels drawn with equal probability.

    Numbers or arrays that broadcast: K classes, m negatives (1...K-1), accuracy in [0, 1]; ValueError otherwise.
    Returns float64 arrays of the broadcast shape:
        eq24_printed  C(K-1, m)/C(K-1, m) = 1, as in the text used: a wrong submodel would never pass an error
        eq24          C(K-2, m)/C(K-1, m) = (K-1-m)/(K-1): P(the true class is not drawn | wrong pseudo-label)
        label_error   1-q: P(the pseudo-label is wrong)
        set_error     (1-q) m/(K-1), Eq. 26: P(the set contains the true class)
        single_error  (1-q)/(K-1): P(one label of the set is the true class), whatever m; a set holds it at most once
        ratio         m/(K-1) = set_error/label_error: 1 at m = K-1, where nothing is gained
    """
    K, m, accuracy = _check(K, m, accuracy=accuracy)
    wrong, ratio = 1 - accuracy, m / (K - 1)
    return {
        "eq24_printed": np.ones_like(K),
        "eq24": (K - 1 - m) / (K - 1),  # the factorials cancel
        "label_error": wrong,
        "set_error": wrong * ratio,
        "single_error": wrong / (K - 1),
        "ratio": ratio,
    }


def theorem32(K: ArrayLike, m: ArrayLike, agreement: ArrayLike, log: bool = False) -> dict[str, np.ndarray]:
    """Theorem 3.2 (Eqs. 27-32): P(both submodels pass the same set of m negatives), as printed and corrected.

    Needed of the submodels: given their two pseudo-labels, each draws its own set by Eq. 8, uniformly and independently
    of the other. Nothing more: not that they err independently, nor which classes they confuse, because any two
    different pseudo-labels leave the same number of classes, K-2, to share.

    Numbers or arrays that broadcast: K classes, m negatives (1...K-1), agreement in [0, 1]; ValueError otherwise.
    Returns float64 arrays of the broadcast shape; with log=True natural logarithms, finite where a probability
    underflows. Log-gamma rounds to about 1e-15 relative at K = 10 and 1e-8 at K = 10^6.
        eq27              1/C(K-1, m): given equal pseudo-labels, the second set must hit the first
        eq28_printed      1/C(K-2, m): nan at m = K-1
        eq28              C(K-2, m)/C(K-1, m)^2: given different pseudo-labels. A common set avoids both of them, so it
                          is one of C(K-2, m), and each submodel draws it with probability 1/C(K-1, m). Eq. 28 has both
                          draw from the K-2 classes only, which neither can know. 0 at m = K-1
        eq29_printed      q/C(K-1, m) + (1-q)/C(K-2, m): nan at m = K-1
        eq30_printed      m! (K-2-m)! (K-1-qm)/(K-1)!: the same number; nan at m = K-1
        eq31_printed      Eq. 30 with Stirling's formula: 0 at m = K-2, where it has Stirling's 0! = 0; nan at m = K-1
        eq32_printed      sqrt(2 pi m)/(eK) (m/K)^m: not the limit of Eq. 31, which is K e^(1-m) times this
        same_set          corrected: a eq27 + (1-a) eq28 = (1 - (1-a) m/(K-1))/C(K-1, m), which is a at m = K-1
        leading           m!/K^m: what same_set (and Eq. 30) tends to for K >> m
        leading_stirling  sqrt(2 pi m) (m/(eK))^m
    """
    K, m, agreement = _check(K, m, agreement=agreement)
    last = m == K - 1
    shared = K - 2 - m  # what a common set leaves of the classes that neither submodel predicts; -1 at m = K-1
    with np.errstate(divide="ignore", invalid="ignore"):  # log 0 = -inf: that case has probability 0
        sets, shared_sets = _log_choose(K - 1, m), _log_choose(K - 2, m)
        eq28_printed = np.where(last, np.nan, -shared_sets)
        factor = np.log(K - 1 - agreement * m)
        values = {
            "eq27": -sets,
            "eq28_printed": eq28_printed,
            "eq28": shared_sets - 2 * sets,
            "eq29_printed": np.logaddexp(np.log(agreement) - sets, np.log1p(-agreement) + eq28_printed),
            "eq30_printed": gammaln(m + 1) + gammaln(np.where(last, np.nan, shared + 1)) + factor - gammaln(K),
            "eq31_printed": factor + _log_stirling(m) + _log_stirling(shared) - _log_stirling(K - 1),
            "eq32_printed": 0.5 * np.log(2 * np.pi * m) - 1 - np.log(K) + m * np.log(m / K),
            "same_set": np.log1p(-(1 - agreement) * m / (K - 1)) - sets,
            "leading": gammaln(m + 1) - m * np.log(K),
            "leading_stirling": _log_stirling(m) - m * np.log(K),
        }
    return values if log else {name: np.exp(value) for name, value in values.items()}


def _log_choose(n: np.ndarray, k: np.ndarray) -> np.ndarray:
    """log C(n, k), -inf for k = n+1."""
    return gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)


def _log_stirling(n: np.ndarray) -> np.ndarray:
    """log(sqrt(2 pi n) (n/e)^n), nan for n < 0."""
    return 0.5 * np.log(2 * np.pi * n) + xlogy(n, n) - n


# --- Exact: sets drawn by the Error Perception Mechanism ----------------------------------------------------------


def inclusion_probabilities(log_weights: ArrayLike, m: int) -> np.ndarray:
    """P(each candidate is among m drawn one after another without replacement, in proportion to its weight).

    Exact up to rounding (about 1e-14 absolute). Such a draw is the order in which exponential clocks of rates w_i ring,
    so P(t drawn) = integral of w_t e^(-w_t s) P(at most m-1 others rang before s) ds. The inner probability is built
    one candidate at a time; for the outer integral the trapezoidal rule in x = log(w_t s) converges to rounding.

    Args:
        log_weights: (n,) log-weights of the candidates, up to a common constant; -inf is never drawn.
        m: how many are drawn, at most the number of finite log-weights.

    Returns:
        (n,) float64, summing to m. Takes time in proportion to n^2 m and memory to n m: n up to some hundreds.
    """
    log_weights = np.asarray(log_weights, dtype=float)
    if log_weights.ndim != 1 or np.isnan(log_weights).any() or np.isposinf(log_weights).any():
        raise ValueError(f"log_weights must be one row of log-weights (numbers or -inf), got {log_weights}.")
    possible = np.flatnonzero(np.isfinite(log_weights))
    _whole("m", m, 1, possible.size)
    values, step = log_weights[possible], 1 / 8
    x = np.arange(-40.0, 4.5, step)  # e^-40 and exp(-e^4.4) are below rounding
    rang = np.zeros((m, possible.size, x.size))  # P(exactly 0...m-1 others have rung), for each target and x
    rang[0] = 1
    for other in range(possible.size):
        with np.errstate(over="ignore"):  # the rates' ratio may be inf: that clock has rung for certain
            rates = np.exp(values[other] - values)  # (target,)
            rates[other] = 0  # a target does not race against itself
            silent = np.exp(-rates[:, None] * np.exp(x))  # (target, x): P(other has not rung)
        one_more = rang[:-1] * (1 - silent)
        rang *= silent
        rang[1:] += one_more
    inclusion = np.zeros(log_weights.size)
    inclusion[possible] = step * (rang.sum(axis=0) * np.exp(x - np.exp(x))).sum(axis=1)
    return inclusion


def epm_error_rate(confusion: ArrayLike, log_R: ArrayLike, m: int) -> float:
    """P(a set drawn in proportion to R_k (Eq. 23), k the pseudo-label, contains the true class).

    The sum over t != k of P(true = t, predicted = k) P(t among the m drawn by R_k from the classes other than k). For
    equal weights the second factor is m/(K-1) and this is Theorem 3.1; it is larger where R_k prefers the very classes
    that the submodel mistakes for k. The rate per single label is this divided by m.

    Args:
        confusion: (K, K), P(true = row, predicted = column) of the submodel that passes the set; sums to 1.
        log_R: (K, K), row k the log of R_k of the submodel that learns, up to a constant; its entry k is ignored.
        m: number of negatives.
    """
    confusion, log_R = _check_tables(len(confusion), m, confusion=confusion, log_R=log_R)
    rate = 0.0
    for k in range(len(confusion)):
        others = np.arange(len(confusion)) != k
        rate += confusion[others, k] @ inclusion_probabilities(log_R[k, others], m)
    return float(rate)


def uniform_confusion(K: int, accuracy: float) -> np.ndarray:
    """(K, K), P(true = row, predicted = column) for equally frequent classes whose errors spread evenly; sums to 1."""
    _check(K, 1, accuracy=accuracy)
    return np.where(np.eye(K, dtype=bool), accuracy / K, (1 - accuracy) / (K * (K - 1)))


# --- Monte Carlo: draw the truth, the pseudo-labels and the sets of Eq. 8, and count -------------------------------


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
        low, high = np.clip(np.array([middle - half, middle + half]) / (1 + z * z / n), 0, 1) / self.labels_per_trial
        return float(low), float(high)


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
    _check(K, m, accuracy=0 if accuracy is None else accuracy)
    confusion, log_R = _check_tables(K, m, confusion=confusion, log_R=log_R)
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
    _check(K, m, agreement=agreement, accuracy=accuracy)

    def work(rng: np.random.Generator, size: int) -> tuple[int, int, int]:
        truth = rng.integers(0, K, size, dtype=_dtype(K))
        first = _same_with_probability(rng, K, truth, accuracy)
        second = _same_with_probability(rng, K, first, agreement)
        same_set = _draw_sets(rng, K, m, first) == _draw_sets(rng, K, m, second)
        same_set = same_set if same_set.ndim == 1 else same_set.all(axis=0)
        return np.count_nonzero(first == truth), np.count_nonzero(first == second), np.count_nonzero(same_set)

    counts = _count(work, draws, seed, chunk if K <= 64 else min(chunk, max(1, 2**21 // K)), threads)
    return {name: Estimate(count, draws) for name, count in zip(("correct", "same_label", "same_set"), counts)}


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
        _whole(name, value, low)
    chunks = -(-draws // chunk)
    threads = min(threads, chunks)

    def run(first: int) -> list[int]:
        counts = [
            work(np.random.default_rng([seed, i]), min(chunk, draws - i * chunk)) for i in range(first, chunks, threads)
        ]
        return [sum(column) for column in zip(*counts)]

    if threads == 1:
        return run(0)
    with ThreadPoolExecutor(threads) as pool:  # NumPy's generators and arithmetic release Python's lock
        return [sum(column) for column in zip(*pool.map(run, range(threads)))]


# --- Checks -------------------------------------------------------------------------------------------------------


def _whole(name: str, value: int, low: int, high: float = np.inf) -> None:
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"{name} must be a whole number from {low} to {high}, got {value!r}.")


def _check(K: ArrayLike, m: ArrayLike, **probabilities: ArrayLike) -> list[np.ndarray]:
    """Returns K, m and the named probabilities as broadcast float64 arrays, or says which of them is wrong."""
    for name, value in {"K": K, "m": m, **probabilities}.items():
        if np.asarray(value).dtype.kind not in "iuf":
            raise ValueError(f"{name} must be a number or an array of numbers, got {value!r}.")
    K, m, *rest = (np.asarray(a, dtype=float) for a in np.broadcast_arrays(K, m, *probabilities.values()))
    if not np.all((K >= 2) & (np.floor(K) == K)):
        raise ValueError(f"K, the number of classes, must be whole numbers >= 2, got {K}.")
    if not np.all((m >= 1) & (m <= K - 1) & (np.floor(m) == m)):
        raise ValueError(f"m, the number of negatives, must be whole numbers in 1...K-1, got m={m} with K={K}.")
    for name, p in zip(probabilities, rest):
        if not np.all((p >= 0) & (p <= 1)):
            raise ValueError(f"{name} is a probability and must be in [0, 1], got {p}.")
    return [K, m, *rest]


def _check_tables(K: int, m: int, confusion: ArrayLike | None, log_R: ArrayLike | None) -> tuple:
    """Returns confusion and log_R as (K, K) float64 arrays (None stays None), or says which of them is wrong."""
    _check(K, m)
    tables = [None if table is None else np.asarray(table, dtype=float) for table in (confusion, log_R)]
    for name, table in zip(("confusion", "log_R"), tables):
        if table is not None and table.shape != (K, K):
            raise ValueError(f"{name} must have shape (K, K) = ({K}, {K}), got {table.shape}.")
    confusion, log_R = tables
    if confusion is not None and not (np.all(confusion >= 0) and abs(confusion.sum() - 1) < 1e-9):
        raise ValueError("confusion must hold probabilities P(true, predicted) >= 0 that sum to 1.")
    if log_R is not None:
        off = np.where(np.eye(K, dtype=bool), -np.inf, log_R)
        if np.isnan(off).any() or np.isposinf(off).any() or np.isfinite(off).sum(axis=1).min() < m:
            raise ValueError(f"log_R must have at least m={m} finite entries beside the diagonal in each row.")
    return confusion, log_R


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
