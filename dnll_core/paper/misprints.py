"""Where the paper is wrong or contradicts itself, as data; most entries carry a check that computes the contradiction.

    for misprint in MISPRINTS: print(misprint.where, misprint.printed, misprint.correct)

Section, equation and table numbers are those of arXiv 2301.03976; the tables themselves are in `paper`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations

from dnll_core.paper.tables import LABELS, NUMBERS, OURS, accuracy


@dataclass(frozen=True)
class Misprint:
    """One place where the paper is wrong or contradicts itself.

    `check` computes the contradiction from the tables in `paper` or from binomials and is True while the entry stands;
    None where it was read, not computed. `extraction` says that the fault may lie with the text used, not with the
    paper.
    """

    where: str
    kind: str  # "number", "table", "equation", "wording", "contradiction", "claim" or "citation"
    printed: str
    correct: str
    how_checked: str
    check: Callable[[], bool] | None = None
    extraction: bool = False


def _error(*cell: object) -> float:
    return round(100 - accuracy(*cell), 2)


def _lead(table: int, rival: str, labels: int) -> float:
    """Points by which DNLL leads a rival; negative where it trails."""
    return round(accuracy(table, OURS, labels) - accuracy(table, rival, labels), 2)


def _row(table: int, method: str) -> list[float | None]:
    return [accuracy(table, method, labels) for labels in LABELS[table]]


def _falls(table: int, method: str) -> bool:
    return _row(table, method) != sorted(_row(table, method))


def _same_sets(K: int, m: int) -> Fraction:
    """P(same set | the submodels predict classes 0 and 1), by writing all pairs of sets down."""
    first, second = (list(combinations([c for c in range(K) if c != predicted], m)) for predicted in (0, 1))
    return Fraction(sum(a == b for a in first for b in second), len(first) * len(second))


def _eq30(K: int, m: int, q: float) -> float:
    return (K - 1 - q * m) * math.factorial(m) / math.prod(range(K - 1 - m, K))


def _eq32(K: int, m: int) -> float:
    return math.sqrt(2 * math.pi * m) / (math.e * K) * (m / K) ** m


MISPRINTS: tuple[Misprint, ...] = (
    Misprint(
        "abstract",
        "number",
        "error rate 9.35 % on CIFAR-10 with 1000 labels",
        "12.13 %; 9.35 % is the cell of 2000 labels",
        "100 - accuracy of Table 1; the abstracts on arXiv and in the journal say the same",
        lambda: _error(1, OURS, 1000) == 12.13 and _error(1, OURS, 2000) == 9.35 and _error(1, OURS, 4000) == 7.94,
    ),
    Misprint(
        "abstract, section 5",
        "claim",
        "state of the art on the benchmarks",
        "second at 1000 labels of CIFAR-10: CCN leads by 0.08 (Table 1) and MixMatch by 0.22 (Table 2)",
        'differences in Tables 1 and 2; section 4.3 itself says only "relatively well" there',
        lambda: _lead(1, "CCN", 1000) == -0.08 and _lead(2, "MixMatch", 1000) == -0.22,
    ),
    Misprint(
        "abstract against Algorithm 1",
        "contradiction",
        "the submodels exchange their roles after each iteration",
        "both teach and both learn in every iteration; we follow Algorithm 1",
        "Algorithm 1 draws both sets (lines 11-12) and updates both submodels (lines 15-16) for each batch",
    ),
    Misprint(
        "section 1, contributions",
        "claim",
        "the effect of the selection mechanism is proved",
        "both theorems draw all sets with equal probability; neither treats the Error Perception Mechanism",
        "Eqs. 24 and 27 count all subsets alike; R (Eq. 23) occurs in neither proof",
    ),
    Misprint(
        "section 2.1",
        "citation",
        "AutoAugmentation [38]",
        "[38] is CutMix",
        "the paper's list of references; AutoAugment is not in it",
    ),
    Misprint(
        "Eqs. 4-5, Algorithm 1 lines 9-10",
        "equation",
        "H(prediction, label)",
        "H(label, prediction): Eq. 3 takes the logarithm of its second argument",
        "in the printed order the logarithm of a one-hot label's zeros is taken",
    ),
    Misprint(
        "section 3.3.1 against Table 2",
        "contradiction",
        "m is one by default",
        "the 94.29 of Table 2 (4000 labels) is Table 5's m = 3 with EPM; m = 1 gives 93.12",
        "equal cells in Tables 2 and 5; m of all other experiments is not stated",
        lambda: accuracy(2, OURS, 4000) == accuracy(5, OURS, 4000, "epm", 3) != accuracy(5, OURS, 4000, "epm", 1),
    ),
    Misprint(
        "Eqs. 18-19 against Algorithm 1 lines 13-14",
        "contradiction",
        "unsupervised loss = cross + self (equations); cross alone (algorithm)",
        "undecided; the package offers mutual, self and both",
        "read; Table 6 does not say whether its ML includes the self term",
    ),
    Misprint(
        "Eq. 22",
        "equation",
        "N_k images of class k taken for class i",
        "the number depends on i too: N_{k,i}",
        "read: the sum over j runs over the images of one pair (k, i)",
    ),
    Misprint(
        "section 3.3.2, below Eq. 23",
        "equation",
        "in the text used: Y^c1 drawn such that P(Y_j^c2[k] = 1) is proportional to R_k^(2)",
        "P(Y_j^c1[i] = 1) proportional to R_k^(2)[i], k being the first submodel's pseudo-label",
        "R_k is a vector over classes i (Eq. 22); Figure 3 draws by the R of the submodel that learns",
        extraction=True,
    ),
    Misprint(
        "Eq. 24",
        "equation",
        "in the text used: C(K-1, m)/C(K-1, m), which is 1",
        "C(K-2, m)/C(K-1, m)",
        "Eq. 25 and the sentence below Eq. 24 have C(K-2, m); only it gives Eq. 25's right side",
        lambda: Fraction(math.comb(8, 3), math.comb(9, 3)) == 1 - Fraction(3, 9) != 1,
        extraction=True,
    ),
    Misprint(
        "section 3.4, end of the proof of Theorem 3.1",
        "wording",
        "transferring pseudo labels is the better target",
        "transferring pseudo-negative labels is",
        "the sentence before it gives them the smaller error rate",
    ),
    Misprint(
        "section 3.4, above Eq. 28",
        "wording",
        "different predictions, then the same pseudo labels",
        "the same pseudo-negative labels",
        "different predictions are different pseudo-labels; Eq. 29 uses the term for negatives",
    ),
    Misprint(
        "Eq. 28, and so Eqs. 29-31",
        "equation",
        "1/C(K-2, m)",
        "C(K-2, m)/C(K-1, m)^2; 0 at m = K-1, where Eq. 28 is undefined",
        "all pairs of sets written down: K = 10, m = 1 gives 8/81 = 0.0988, not 1/8",
        lambda: (
            _same_sets(10, 1) == Fraction(8, 81)
            and all(_same_sets(6, m) == Fraction(math.comb(4, m), math.comb(5, m) ** 2) for m in range(1, 6))
        ),
    ),
    Misprint(
        "Eq. 32 and Theorem 3.2",
        "equation",
        "sqrt(2 pi m)/(eK) (m/K)^m",
        "m!/K^m, by Stirling sqrt(2 pi m) (m/(eK))^m: K e^(1-m) times the printed term",
        "K = 10, m = 1: 0.0092 where Eq. 30 gives 0.111-0.125; the ratio at K = 10^6 for m = 1...5",
        lambda: (
            round(_eq32(10, 1), 4) == 0.0092
            and [round(_eq30(10, 1, q), 3) for q in (1, 0)] == [0.111, 0.125]
            and all(0.9 < _eq30(10**6, m, 0.5) / _eq32(10**6, m) / (10**6 * math.exp(1 - m)) < 1.1 for m in range(1, 6))
        ),
    ),
    Misprint(
        "Table 1",
        "table",
        "in the text used: Filtering CCL 81.78, 85.67, 88.59",
        "one of the two equal rows is a copy of the other; which one cannot be told from the paper",
        "all three numbers are those of the row Mean Teacher",
        lambda: _row(1, "Filtering CCL") == _row(1, "Mean Teacher"),
        extraction=True,
    ),
    Misprint(
        "section 4.3, DMT",
        "number",
        "DMT is 0.41 points lower at 1000 labels",
        "0.52; the 0.08 at 4000 labels is right",
        "differences in Table 2",
        lambda: _lead(2, "DMT", 1000) == 0.52 and _lead(2, "DMT", 4000) == 0.08,
    ),
    Misprint(
        "section 4.3, Figure 4",
        "wording",
        "the training accuracy increases",
        "the test accuracy: the figure and the sentence before it are about the test set",
        "read",
    ),
    Misprint(
        "section 4.3, Table 4",
        "wording",
        "STNG; LP+SSDL",
        "SNTG (smooth neighbors on teacher graphs), as in Table 1; LP-SSDL, as in Table 1",
        "Table 1 and the title of [25]",
    ),
    Misprint(
        "Table 4",
        "table",
        "in the text used: SNTG 93.34 at 100 labels",
        "probably 99.34",
        "below its own 98.64 at 20 and 99.06 at 50 labels; no other row falls with more labels",
        lambda: (
            [name for t, name in {(k.table, k.method) for k in NUMBERS if k.table == 4} if _falls(t, name)]
            == ["Π+SNTG"]
        ),
        extraction=True,
    ),
    Misprint(
        "section 4.4, large m",
        "contradiction",
        "for m near K/2 the pseudo labels are likely to be selected",
        "Eq. 8 never selects the pseudo-label; what grows with m is the chance m/(K-1) of the true class",
        "Eq. 8 excludes the argmax; of all sets for K = 6, those with a given other class are a share of m/5",
        lambda: all(math.comb(4, m - 1) / math.comb(5, m) == m / 5 for m in range(1, 6)),
    ),
    Misprint(
        "section 4.4, Table 5",
        "claim",
        'EPM performs better than EP ("generally")',
        "at m = 1, 2, 3; at m = 4 it is 0.01 lower",
        "differences in Table 5",
        lambda: (
            [accuracy(5, OURS, 4000, "epm", m) > accuracy(5, OURS, 4000, "ep", m) for m in (1, 2, 3, 4)]
            == [True, True, True, False]
        ),
    ),
    Misprint("section 4.8", "citation", "Zhan et al. [15]", "Ke et al. [15]", "the paper's list of references"),
)
"""In the paper's order. Entries of kind "claim" and "contradiction" are not slips of the pen but need a decision."""
