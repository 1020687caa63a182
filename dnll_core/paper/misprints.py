"""Where the paper is wrong or contradicts itself: `misprints.toml`, and checks that compute the contradiction.

    for misprint in MISPRINTS: print(misprint.where, misprint.printed, misprint.correct)

Section, equation and table numbers are those of arXiv 2301.03976; the tables themselves are in `paper`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from fractions import Fraction
from itertools import combinations
from pathlib import Path
from typing import Annotated, Literal

from pydantic import PlainValidator
from pydantic.dataclasses import dataclass

from dnll_core.common import unknown
from dnll_core.datafiles import read_toml
from dnll_core.fields import RULES, ConfigError
from dnll_core.paper.tables import LABELS, NUMBERS, OURS, accuracy


def _named(check: object) -> Callable[[], bool] | None:
    if check is None or callable(check):
        return check
    if not isinstance(check, str) or check not in CHECKS:
        raise ConfigError(unknown("check", check, CHECKS))
    return CHECKS[check]


@dataclass(frozen=True, kw_only=True, config=RULES)
class Misprint:
    """One place where the paper is wrong or contradicts itself.

    `check` computes the contradiction from the tables in `paper` or from binomials and is True while the entry stands;
    None where it was read, not computed. `extraction` says that the fault may lie with the text used, not with the
    paper.
    """

    where: str = ""  # in the file, the name of its table
    kind: Literal["number", "table", "equation", "wording", "contradiction", "claim", "citation"]
    printed: str
    correct: str
    how_checked: str
    check: Annotated[Callable[[], bool] | None, PlainValidator(_named)] = None  # in the file, its name in CHECKS
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


CHECKS: dict[str, Callable[[], bool]] = {
    "error_of_the_abstract": lambda: [_error(1, OURS, n) for n in LABELS[1]] == [12.13, 9.35, 7.94],
    "second_at_1000_labels": lambda: _lead(1, "CCN", 1000) == -0.08 and _lead(2, "MixMatch", 1000) == -0.22,
    "m_of_table_2": lambda: (
        accuracy(2, OURS, 4000) == accuracy(5, OURS, 4000, "epm", 3) != accuracy(5, OURS, 4000, "epm", 1)
    ),
    "eq24": lambda: Fraction(math.comb(8, 3), math.comb(9, 3)) == 1 - Fraction(3, 9) != 1,
    "eq28": lambda: (
        _same_sets(10, 1) == Fraction(8, 81)
        and all(_same_sets(6, m) == Fraction(math.comb(4, m), math.comb(5, m) ** 2) for m in range(1, 6))
    ),
    "eq32": lambda: (
        round(_eq32(10, 1), 4) == 0.0092
        and [round(_eq30(10, 1, q), 3) for q in (1, 0)] == [0.111, 0.125]
        and all(0.9 < _eq30(10**6, m, 0.5) / _eq32(10**6, m) / (10**6 * math.exp(1 - m)) < 1.1 for m in range(1, 6))
    ),
    "filtering_ccl": lambda: _row(1, "Filtering CCL") == _row(1, "Mean Teacher"),
    "dmt": lambda: _lead(2, "DMT", 1000) == 0.52 and _lead(2, "DMT", 4000) == 0.08,
    "sntg": lambda: [name for name in {k.method for k in NUMBERS if k.table == 4} if _falls(4, name)] == ["Π+SNTG"],
    "chance_of_the_true_class": lambda: all(math.comb(4, m - 1) / math.comb(5, m) == m / 5 for m in range(1, 6)),
    "epm_against_ep": lambda: (
        [accuracy(5, OURS, 4000, "epm", m) > accuracy(5, OURS, 4000, "ep", m) for m in (1, 2, 3, 4)]
        == [True, True, True, False]
    ),
}
"""Name in `misprints.toml` -> whether the contradiction is there."""


def load(path: Path) -> tuple[Misprint, ...]:
    """The entries of a file, in its order.

    Raises:
        ConfigError: if an entry does not fit or names a check that is not in CHECKS, or none names one that is there.
    """
    entries = read_toml(path, dict[str, Misprint])
    if idle := [name for name, check in CHECKS.items() if check not in [entry.check for entry in entries.values()]]:
        raise ConfigError(f"{path}: no entry names the check {idle[0]!r}.")
    return tuple(dataclasses.replace(entry, where=where) for where, entry in entries.items())


MISPRINTS = load(Path(__file__).with_suffix(".toml"))
"""In the paper's order. Entries of kind "claim" and "contradiction" are not slips of the pen but need a decision."""
