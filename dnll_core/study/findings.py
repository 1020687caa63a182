"""What records say to a question: `Records`, read once, pairs of runs that answer it, and a `Finding` with its verdict.

    records = Records()
    first_recorded(records, of_tables((5,), changed({"m": 3}, {"m": 1})), "m = 3 − m = 1", accuracy_lead)

Differences are taken between runs with the same seed. Where three or more seeds are there, the differences of a seed
are averaged first, because they share its labels; below, each pair of runs counts for itself. A difference inside the
95 % interval of Student's t, about two standard errors and more for few values, is "undecided", and so is one of a
single pair: the rule of notebooks 10 and 11. Nothing is estimated: what has no record is "not recorded".
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dnll_core import results
from dnll_core.config import Experiment
from dnll_core.study.statistics import standard_error, verdict_of
from dnll_core.study.tables import Cell, cells

ExperimentPair = tuple[Experiment, Experiment]


@dataclass(frozen=True)
class Finding:
    """What the records say to a claim.

    Attributes:
        verdict: one of VERDICTS.
        difference: in `unit`, positive where it speaks for the claim; None if not recorded.
        error: its standard error; None for a single value.
        n: seeds or pairs of runs, see the module's text.
        data: what it was checked on.
        evidence: a sentence made from the numbers.
    """

    verdict: str
    difference: float | None
    error: float | None
    n: int
    data: str
    evidence: str
    unit: str = "points"


def judged(values: dict[tuple[Experiment, int], float], data: str, what: str, unit: str = "points") -> Finding:
    """The finding of values that are positive where they speak for a claim, one for each (setting, seed)."""
    if not values:
        return Finding("not recorded", None, None, 0, data, f"{what}: no records.", unit)
    seeds = sorted({seed for _, seed in values})
    units, name = list(values.values()), "pairs of runs"
    if len(seeds) >= 3:
        units = [statistics.fmean(v for (_, seed), v in values.items() if seed == own) for own in seeds]
        name = "seeds"
    mean, error, n = statistics.fmean(units), standard_error(units), len(units)
    spread = ", n = 1" if error is None else f" ± {error:.2f} (standard error, n = {n} {name})"
    evidence = f"{what}: {mean:+.2f}{spread}, {unit}."
    return Finding(verdict_of(mean, error, n), mean, error, n, data, evidence, unit)


def accuracy_lead(record: dict, other: dict) -> float:
    """Points of test accuracy, last epoch, mean of the submodels."""
    a, b = results.accuracies([record, other])
    return 100 * (a - b)


# -- pairs of cells ----------------------------------------------------------------------------------------------------

PairsOf = Callable[[list[Cell]], list[tuple[Cell, Cell]]]


def of_tables(
    tables: Sequence[int], pairs_of: PairsOf, digits: Sequence[ExperimentPair] = ()
) -> list[list[ExperimentPair]]:
    """Pairs of cells, for `first_recorded`: those of the paper's networks, of the laptop's, and of the digits.

    Args:
        pairs_of: the pairs among the cells of one table.
        digits: further pairs on the digits.
    """
    found = []
    for profiles in (("paper", "short"), ("laptop",), ("quick",)):
        of_profile = [cells(t, profile) for profile in profiles for t in tables if profile != "laptop" or t == 4]
        found.append([(a.experiment, b.experiment) for table in of_profile for a, b in pairs_of(table)])
    found[-1] += digits
    return found


def rival(method: str) -> PairsOf:
    """DNLL and a rival with the same labels and views."""

    def pairs(of_table: list[Cell]) -> list[tuple[Cell, Cell]]:
        theirs = {(c.labels, c.reading): c for c in of_table if c.method == method}
        ours = [c for c in of_table if c.method == "dnll" and (c.labels, c.reading) in theirs]
        return [(cell, theirs[cell.labels, cell.reading]) for cell in ours]

    return pairs


def changed(first: dict, second: dict, reading: str | None = None) -> PairsOf:
    """Cells of Table 5 or 6 with the fields `first`, each with the one that has `second` and is else the same.

    Args:
        reading: of the first cell. The second is always one without.
    """
    fixed = {"m", "selection", "teaching"} - {*first, *second}

    def pairs(of_table: list[Cell]) -> list[tuple[Cell, Cell]]:
        def like(fields: dict, wanted: str | None) -> dict[tuple, Cell]:
            own = [c for c in of_table if c.reading == wanted]
            own = [c for c in own if all(getattr(c.experiment, name) == value for name, value in fields.items())]
            return {tuple(getattr(c.experiment, name) for name in sorted(fixed)): c for c in own}

        a, b = like(first, reading), like(second, None)
        return [(cell, b[rest]) for rest, cell in a.items() if rest in b]

    return pairs
