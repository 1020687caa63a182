"""What records say to a claim: a `Question` to them, where it looks for its answer, and a `Finding` with its verdict.

    ask = Question("m = 3 − m = 1", of_tables((5,), changed({"m": 3}, {"m": 1})), accuracy_lead)
    ask(Records()).evidence

A setting is one experiment, or several that are compared: on runs with the same seed. A source is a list of settings
that are pooled; all have one data set, one network and one kind of views.

- A seed is complete if every setting of its source is recorded for it. The values of a complete seed are averaged
  first, because they share its labels. Incomplete seeds are left out, and counted.
- A setting without any record is not pooled, and named: what has not begun says nothing. One with a single run is
  pooled, so that the other seeds are incomplete until they have it, too: otherwise a setting could be dropped after a
  look at its first runs.
- A verdict, "holds" or "does not hold", needs three complete seeds and a 95 % interval of Student's t that does not
  touch the end of where the claim holds. All else is "undecided", with the numbers.
- The first source that can carry a verdict answers, whatever it says. Only if none can, the first with any record does.

Nothing is estimated: what has no record is "not recorded".
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from dnll_core import results
from dnll_core.config import Experiment
from dnll_core.study.records import Records, where
from dnll_core.study.statistics import SEEDS, interval_ends, margin, margins, verdict_of
from dnll_core.study.tables import PROFILES, Cell, cells, profiles_of

Setting = tuple[Experiment, ...]
ABOVE_ZERO = (0.0, math.inf)


@dataclass(frozen=True)
class Finding:
    """What the records say to a claim.

    Attributes:
        verdict: one of VERDICTS.
        difference: in `unit`: how far inside of where the claim holds, negative outside; None if there is none.
        low, high: the ends of its 95 % interval; None if there is none.
        n: complete seeds, or rounds of a benchmark.
        data: what it was judged on, "on the digits with the small network".
        evidence: a sentence made from the numbers: the value, its interval, the verdict.
    """

    verdict: str
    difference: float | None
    low: float | None
    high: float | None
    n: int
    data: str
    evidence: str
    unit: str = "points"


@dataclass(frozen=True)
class Question:
    """A number that answers a claim, and the sources to take it from.

    Attributes:
        what: the number in words.
        sources: in the order in which they are asked.
        measure: of the records of a setting, one seed.
        holds: between which values the claim holds.
        same: says of the records of the first experiments why they are no other method than what they are compared
            with, which leaves the claim undecided; empty if they are another.
    """

    what: str
    sources: Sequence[Sequence[Setting]]
    measure: Callable[..., float]
    unit: str = "points"
    holds: tuple[float, float] = ABOVE_ZERO
    same: Callable[[list[dict]], str] = lambda records: ""

    def __call__(self, records: Records) -> Finding:
        found = [self._of(records, settings) for settings in self.sources]
        found = [finding for finding in found if finding is not None]
        able = [finding for finding in found if finding.n >= SEEDS]
        return next(iter(able + found), not_recorded(self.what, self.unit))

    def _of(self, records: Records, settings: Sequence[Setting]) -> Finding | None:
        """The finding of one source; None without records."""
        values, firsts = {}, []
        for setting in settings:
            runs = [records.of(experiment) for experiment in setting]
            for seed in set(runs[0]).intersection(*runs[1:]):
                value = self.measure(*(run[seed] for run in runs))
                if not math.isfinite(value):
                    name = results.run_name(setting[0].to_dict(), seed)
                    raise results.RecordError(f"{self.what}: {value} from the records of {name} and what it is beside.")
                values[setting, seed] = value
                firsts.append(runs[0][seed])
        return judged(values, settings, self.what, self.unit, self.holds, self.same(firsts)) if values else None


def not_recorded(what: str, unit: str = "points") -> Finding:
    return Finding("not recorded", None, None, None, 0, "", f"{what}: no records.", unit)


def judged(
    values: Mapping[tuple[Setting, int], float],
    settings: Sequence[Setting],
    what: str,
    unit: str = "points",
    holds: tuple[float, float] = ABOVE_ZERO,
    same: str = "",
) -> Finding:
    """The finding of values, at least one, of (setting, seed).

    Args:
        settings: all that would be pooled if they were recorded.
        same: see `Question`.

    Raises:
        ValueError: if the settings are of several data sets or networks.
    """
    places = {where(setting[0]) for setting in settings}
    if len(places) > 1:
        raise ValueError(f"settings that are pooled have one data set and one network, not {sorted(places)}.")
    pool = [setting for setting in settings if any(setting == own for own, _ in values)]
    missing = [setting for setting in settings if setting not in pool]
    seeds = sorted({seed for _, seed in values})
    complete = [seed for seed in seeds if all((setting, seed) in values for setting in pool)]
    means = [statistics.fmean(values[setting, seed] for setting in pool) for seed in complete]

    n, [data], labels = len(complete), places, {setting[0].labels for setting in pool}
    notes = [f"{label} labels" for label in labels if len(labels) == 1 and label]
    notes += [f"{pool[0][0].epochs} epochs", f"{n} complete seed{'s' * (n != 1)}"]
    notes[-1] += f", each the mean of {apart(pool, settings)}" if len(pool) > 1 else ""
    notes += [f"{len(seeds) - n} incomplete left out"] * (n < len(seeds))
    notes += [f"no record of {apart(missing, settings)}"] * bool(missing)
    if n >= SEEDS:
        low, high = interval_ends(means)
        notes += ["all equal, so the interval has no width"] * (low == high)
        return decided(statistics.fmean(means), low, high, n, data, what, notes, unit, holds, same=same)
    numbers = ", ".join(f"{value:+.2f}" for value in means or sorted(values.values()))
    notes.append(f"{'seed by seed' if means else 'run by run'}; a verdict needs {SEEDS} complete seeds")
    evidence = f"{what}: {numbers} {unit} ({'; '.join(notes)}): undecided."
    difference = margin(statistics.fmean(means), *holds) if means else None
    return Finding("undecided", difference, None, None, n, data, evidence, unit)


def decided(
    value: float,
    low: float,
    high: float,
    n: int,
    data: str,
    what: str,
    notes: Sequence[str],
    unit: str = "points",
    holds: tuple[float, float] = ABOVE_ZERO,
    interval_name: str = "95 % interval",
    same: str = "",
) -> Finding:
    """The finding of a value with an interval; for `same` see `Question`."""
    sign = "" if unit.startswith("times") else "+"
    (start, end), (least, most) = holds, margins(low, high, *holds)
    verdict = "undecided" if same else verdict_of(least, most)
    evidence = f"{what}: {value:{sign}.2f} {unit}, {interval_name} {low:{sign}.2f} to {high:{sign}.2f} "
    evidence += f"({'; '.join(notes)})"
    if holds != ABOVE_ZERO:
        within = f"below {end:g}" if start == -math.inf else f"above {start:g}"
        evidence += f"; the claim holds {within if math.inf in (-start, end) else f'from {start:g} to {end:g}'}"
    evidence += f": {verdict}"
    if verdict == "undecided" and holds == ABOVE_ZERO and low < high:
        evidence += f", smaller than {max(-low, high):.2f} {unit} either way"
    evidence += f", for {same}." if same else "."
    return Finding(verdict, margin(value, *holds), least, most, n, data, evidence, unit)


def apart(settings: Sequence[Setting], among: Sequence[Setting]) -> str:
    """What the settings have in the fields in which those `among` them differ: "m = 1, 2, 3"."""
    told = []
    for name in ("labels", "m", "selection", "teaching"):
        own, every = ({getattr(setting[0], name) for setting in of} for of in (settings, among))
        if len(every) > 1:
            told.append(f"{name} = {', '.join(map(str, sorted(own)))}")
    return ", ".join(told)


# -- settings of cells -------------------------------------------------------------------------------------------------

SettingsOf = Callable[[list[Cell]], list[tuple[Cell, ...]]]


def of_tables(tables: Sequence[int], settings_of: SettingsOf, digits: Sequence[Setting] = ()) -> list[list[Setting]]:
    """The sources of a `Question` among the cells of tables, never pooled across tables, profiles or kinds of views.

    First what has the paper's network, then the laptop's, then the digits; of each the longer profile first.

    Args:
        settings_of: the settings among the cells of one table and profile.
        digits: further ones on the digits, before those of profile "quick".
    """
    found: list[list[Setting]] = []
    for profile in PROFILES[::-1]:
        if profile == "quick" and digits:
            found.append([*digits])
        for table in (table for table in tables if profile in profiles_of(table)):
            by_views: dict[tuple[str, str], list[Setting]] = {}
            for of_cells in settings_of(cells(table, profile)):
                e = of_cells[0].experiment
                by_views.setdefault((e.weak, e.strong), []).append(tuple(cell.experiment for cell in of_cells))
            found += by_views.values()
    return found


def rival(method: str) -> SettingsOf:
    """DNLL and a rival with the same labels and views."""

    def settings(of_table: list[Cell]) -> list[tuple[Cell, ...]]:
        theirs = {(c.labels, c.reading): c for c in of_table if c.method == method}
        ours = [c for c in of_table if c.method == "dnll" and (c.labels, c.reading) in theirs]
        return [(cell, theirs[cell.labels, cell.reading]) for cell in ours]

    return settings


def changed(*fields: dict, reading: str | None = None) -> SettingsOf:
    """Cells of Table 5 or 6 with the first of these fields, each with those that have the others and are else the same.

    Args:
        reading: cells with this reading take the place of those without; at least one of a setting has it.
    """
    fixed = sorted({"labels", "m", "selection", "teaching"} - set().union(*fields))

    def settings(of_table: list[Cell]) -> list[tuple[Cell, ...]]:
        def like(wanted: dict) -> dict[tuple, Cell]:
            own = [c for name in dict.fromkeys((None, reading)) for c in of_table if c.reading == name]
            own = [c for c in own if all(getattr(c.experiment, name) == value for name, value in wanted.items())]
            return {tuple(getattr(c.experiment, name) for name in fixed): c for c in own}

        found = [like(each) for each in fields]
        joined = [tuple(each[rest] for each in found) for rest in found[0] if all(rest in each for each in found)]
        return [of_cells for of_cells in joined if reading in {cell.reading for cell in of_cells}]

    return settings
