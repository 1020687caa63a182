"""Theorems 3.1 and 3.2 of the paper and what they leave out, as exact probabilities.

    theorem31(K=10, m=3, accuracy=0.6)["set_error"]        # 0.1333
    theorem32(K=10, m=1, agreement=0.5)["same_set"]        # 0.1049
    epm_error_rate(confusion, log_R, m=3)                  # what Theorem 3.1 leaves out

The paper calls two different things q. Here `accuracy` is the chance that a submodel's pseudo-label is the true class
(Theorem 3.1) and `agreement` the chance that the two submodels' pseudo-labels are equal (Theorem 3.2).

`montecarlo` simulates the same events without any formula of this file.
"""

from __future__ import annotations

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
    K, m, accuracy = check_numbers(K, m, accuracy=accuracy)
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
    K, m, agreement = check_numbers(K, m, agreement=agreement)
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
    check_whole("m", m, 1, possible.size)
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


def inclusion_table(log_R: ArrayLike, m: int) -> np.ndarray:
    """(K, K) float64, entry [k, t] = P(class t is among the m negatives | pseudo-label k), drawn by R_k (Eq. 23).

    Rows sum to m, the diagonal is 0 (Eq. 8); equal weights give m/(K-1) elsewhere.

    Args:
        log_R: (K, K), row k the log of R_k up to a constant (so Pr_k of Eq. 22 itself will do); entry k is ignored.
        m: number of negatives.
    """
    _, log_R = check_tables(len(log_R), m, confusion=None, log_R=log_R)
    table = np.zeros_like(log_R)
    for k in range(len(log_R)):
        others = np.arange(len(log_R)) != k
        table[k, others] = inclusion_probabilities(log_R[k, others], m)
    return table


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
    confusion, log_R = check_tables(len(confusion), m, confusion=confusion, log_R=log_R)
    return float((confusion.T * inclusion_table(log_R, m)).sum())


def uniform_confusion(K: int, accuracy: float) -> np.ndarray:
    """(K, K), P(true = row, predicted = column) for equally frequent classes whose errors spread evenly; sums to 1."""
    check_numbers(K, 1, accuracy=accuracy)
    return np.where(np.eye(K, dtype=bool), accuracy / K, (1 - accuracy) / (K * (K - 1)))


def lookalikes(K: int) -> np.ndarray:
    """(K, K) float64, 1 where two classes are a pair (0 and 1, 2 and 3, ...) and 0 elsewhere; K even.

    Times a number c it is a Pr (Eq. 22) of a submodel that takes each class for its look-alike with confidences that
    sum to c, and never for another class.
    """
    if K % 2:
        raise ValueError(f"K must be even, so that the classes form pairs, got {K!r}.")
    return np.eye(K)[np.arange(K) ^ 1]


def lookalike_confusion(K: int, accuracy: float, share: float) -> np.ndarray:
    """(K, K), P(true = row, predicted = column); sums to 1. `share` of the errors falls within the look-alike pairs.

    Classes are equally frequent and equally hard; the other errors spread evenly. K even and at least 4.
    """
    check_numbers(K, 1, accuracy=accuracy, share=share)
    if K < 4:
        raise ValueError(f"K must be at least 4, so that there are errors outside the pairs, got {K}.")
    right, pair = np.eye(K), lookalikes(K)
    other = (1 - right - pair) / (K - 2)
    return (accuracy * right + (1 - accuracy) * (share * pair + (1 - share) * other)) / K


def negative_push(p: ArrayLike, true: int) -> np.ndarray:
    """What one negative label does to the belief in the true class, to first order, for every class it may name.

    A step of gradient descent (rate 1) on Eq. 9, -log(1 - p_c), at the logits of one image moves them by
    -p_c/(1-p_c) (e_c - p), so log p_true changes by -p_c/(1-p_c) (e_true - p).(e_c - p). Negative for c = true: a wrong
    negative label takes belief away. For another class nearly proportional to p_c: nothing is learnt from "it is not
    c" where that was known. Eq. 9 is a sum over labels, so the pushes of a set add up.

    Args:
        p: (K,) probabilities of the submodel that learns, none of them 1.
        true: index of the true class.

    Returns:
        (K,) float64, entry c the change of log p_true when class c is the negative label.
    """
    p = np.asarray(p, dtype=float)
    if p.ndim != 1 or not (np.all((p >= 0) & (p < 1)) and abs(p.sum() - 1) < 1e-9):
        raise ValueError(f"p must be one row of probabilities below 1 that sum to 1, got {p}.")
    check_whole("true", true, 0, p.size - 1)
    unit = np.eye(p.size)
    return -p / (1 - p) * ((unit - p) @ (unit[true] - p))


# --- Checks -------------------------------------------------------------------------------------------------------


def check_whole(name: str, value: int, low: int, high: float = np.inf) -> None:
    """Raises ValueError unless `value` is an integer from low to high."""
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"{name} must be a whole number from {low} to {high}, got {value!r}.")


def check_numbers(K: ArrayLike, m: ArrayLike, **probabilities: ArrayLike) -> list[np.ndarray]:
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


def check_tables(K: int, m: int, confusion: ArrayLike | None, log_R: ArrayLike | None) -> tuple:
    """Returns confusion and log_R as (K, K) float64 arrays (None stays None), or says which of them is wrong."""
    check_numbers(K, m)
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
