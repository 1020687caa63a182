"""What was tried to choose settings, read from `searches.toml`: trials, the runs of each, and what was chosen.

chosen("digits-dnll-3")                  # an Experiment: all that this search started with and chose
SEARCHES["digits-dnll-3"].candidates
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BeforeValidator, Field, InstanceOf
from pydantic.dataclasses import dataclass as pydantic_dataclass

from dnll_core.common import unknown
from dnll_core.config import ConfigError, Experiment
from dnll_core.data.splits import stable_random
from dnll_core.datafiles import read_toml
from dnll_core.fields import RULES, Flag, Whole
from dnll_core.methods.classical import Classical, config_from

FIRST_SEEDS = range(100, 104)  # of the searches that were made first
# Those of all others. Results are reported for REPORTED, so that no split on which a setting was chosen reports it;
# notebook 15, which looks into runs and compares nothing, takes splits of CHOOSING.
CHOOSING, REPORTED = range(300, 320), range(200, 220)


@dataclass(frozen=True)
class Search:
    """What is tried, on which runs, and what was chosen.

    Attributes:
        start: what the candidates change.
        candidates: the trials, each as the fields of `start` that it changes.
        seeds: of every trial's runs.
        perturbations: runs of each seed, see `perturbed`.
        cautious: trials are ranked by mean minus one sd, for a method that can fail; else by the mean.
        timed: the record has the seconds of each run, for candidates that are compared at equal time.
        chosen: the changes that won; None where nothing was taken from this search alone.
    """

    start: Experiment | Classical
    candidates: list[dict]
    seeds: range = FIRST_SEEDS
    perturbations: int = 1
    cautious: bool = False
    timed: bool = False
    chosen: dict | None = None

    def __post_init__(self):
        if not self.candidates or not self.seeds or self.perturbations < 1:
            raise ConfigError("a search needs at least one candidate, one seed and one run of each.")
        if self.chosen is not None and self.chosen not in self.candidates:
            raise ConfigError(f"what was chosen, {self.chosen}, is none of the candidates.")

    def runs(self, changes: dict) -> list[tuple[Experiment | Classical, int]]:
        """The runs of one candidate: (what is run, seed), seed by seed."""
        trial = self.start.replace(**changes)
        return [(perturbed(trial, n), seed) for seed in self.seeds for n in range(self.perturbations)]


def perturbed(experiment: Experiment | Classical, n: int) -> Experiment | Classical:
    """The same experiment but for rounding: its learning rate is n units in the last place (of float32) higher.

    Another processor rounds differently, and a training that can tip over may then tip the other way. This does the
    same on one machine: from the first step on weights differ by about one unit in their last place.

    Raises:
        ConfigError: for a negative n, and for a classical method, unless n is 0.
    """
    if type(n) is not int or n < 0:
        raise ConfigError(f"n takes a whole number from 0, not {n!r}.")
    if n == 0:
        return experiment
    if not isinstance(experiment, Experiment):
        raise ConfigError(f"{experiment.method} has no learning rate that could be perturbed.")
    lr = np.float32(experiment.lr)
    for _ in range(n):
        lr = np.nextafter(lr, np.float32(np.inf))
    return experiment.replace(lr=float(lr))


def drawn(name: str, number: int, *factors: list[dict]) -> list[dict]:
    """`number` candidates drawn at random, the same ones ever after: of each factor one level, all about equally often.

    Args:
        name: seeds the draw.
        factors: each a list of levels, which are the fields to change; no more of them than candidates.

    Raises:
        ConfigError: if a factor has no level, or more levels than there are candidates.
    """
    if not all(1 <= len(levels) <= number for levels in factors):
        raise ConfigError(f"a factor of {number} candidates has 1 to {number} levels.")
    random = stable_random("search", name)
    columns = [random.permutation([i % len(levels) for i in range(number)]) for levels in factors]
    return [
        {field: value for levels, i in zip(factors, row) for field, value in levels[i].items()} for row in zip(*columns)
    ]


# -- the file ----------------------------------------------------------------------------------------------------------


def _seeds(text: object) -> range:
    first, _, last = str(text).partition("-")
    if not (first.isdecimal() and (last or first).isdecimal()):
        raise ConfigError(f"seeds takes one, or FIRST-LAST, not {text!r}.")
    return range(int(first), int(last or first) + 1)


Seeds = Annotated[InstanceOf[range], BeforeValidator(_seeds)]


@pydantic_dataclass(frozen=True, kw_only=True, config=RULES)
class _Entry:
    """A search as the file has it; its head says what each field is."""

    start: dict[str, bool | int | float | str] = Field(default_factory=dict)
    like: str | None = None
    after: str | None = None
    trials: list[dict[str, object]] = Field(default_factory=list)
    draw: Annotated[Whole, Field(ge=0)] = 0
    factors: list[list[dict[str, object]]] = Field(default_factory=list)
    seeds: Seeds = FIRST_SEEDS
    perturbations: Whole = 1
    cautious: Flag = False
    timed: Flag = False
    chosen: dict[str, object] | None = None


@pydantic_dataclass(frozen=True, config=RULES)
class _File:
    changes: dict[str, dict[str, object]]
    searches: dict[str, _Entry]


def read(path: Path) -> dict[str, Search]:
    """The searches of a file that is written as `searches.toml` says, by name.

    Raises:
        ConfigError: naming the file, the search, what it has, and what is accepted.
    """
    file, found = read_toml(path, _File), {}
    for name, entry in file.searches.items():
        try:
            found[name] = _search(name, entry, file.changes, found)
        except ConfigError as error:
            raise ConfigError(f"{path}: in [searches.{name}] {error}") from None
    return found


def _search(name: str, entry: _Entry, named: dict[str, dict], above: dict[str, Search]) -> Search:
    if entry.like and entry.after:
        raise ConfigError("a search is like another or after it, not both.")
    for other in filter(None, (entry.like, entry.after)):
        if other not in above:
            raise ConfigError(unknown("the search above", other, above))
    fields = above[entry.like].start.to_dict() if entry.like else {}
    fields |= _chosen(entry.after, above[entry.after]).to_dict() if entry.after else {}
    fields |= {field: _value(value) for field, value in entry.start.items()}
    start = config_from(fields)

    def every(changes: list[dict]) -> list[dict]:
        return [trial for each in changes for trial in _levels(start, named, each)]

    trials = every(entry.trials)
    if entry.draw:
        trials += drawn(name, entry.draw, *map(every, entry.factors))
    won = None if entry.chosen is None else every([entry.chosen])
    if won is not None and len(won) != 1:
        raise ConfigError(f"chosen takes one value of each field, not {entry.chosen}.")
    return Search(
        start,
        trials,
        entry.seeds,
        entry.perturbations,
        entry.cautious,
        entry.timed,
        won and won[0],
    )


def _levels(start: Experiment | Classical, named: dict[str, dict], changes: dict) -> list[dict]:
    """What `changes` stands for: every combination of the values in its lists, in the types that the fields have."""
    if (name := changes.get("changes")) is not None:
        if name not in [*named]:
            raise ConfigError(unknown("changes", name, named))
        changes = named[name] | {field: value for field, value in changes.items() if field != "changes"}
    for field, value in changes.items():
        if value == []:
            raise ConfigError(f"{field} = [] has no value to try.")
    values = [value if isinstance(value, list) else [value] for value in changes.values()]
    found = []
    for each in itertools.product(*values):
        trial = start.replace(**dict(zip(changes, map(_value, each)))).to_dict()
        found.append({field: trial[field] for field in changes})
    return found


def _value(value: object) -> object:
    """TOML has no word for None: "none" is it."""
    return None if value == "none" else value


def _chosen(name: str, search: Search) -> Experiment | Classical:
    if search.chosen is None:
        raise ConfigError(f"{name!r}: nothing was chosen by this search alone.")
    return search.start.replace(**search.chosen)


SEARCHES = read(Path(__file__).with_suffix(".toml"))


def chosen(name: str) -> Experiment | Classical:
    """All that one of SEARCHES started with and chose.

    Raises:
        ConfigError: if there is no such search, or nothing was taken from it alone.
    """
    if name not in SEARCHES:
        raise ConfigError(unknown("search", name, SEARCHES))
    return _chosen(name, SEARCHES[name])
