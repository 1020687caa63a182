"""What a search tries, and on which runs: candidates by grid or by a draw, seeds, and perturbations of a run."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from dnll_core.config import ConfigError, Experiment
from dnll_core.data.splits import stable_random
from dnll_core.methods.classical import Classical

FIRST_SEEDS = range(100, 104)  # of the searches that were made first
# Those of all others. Results are reported for REPORTED, so that no split on which a setting was chosen reports it;
# notebook 14, which looks into runs and compares nothing, takes splits of CHOOSING.
CHOOSING, REPORTED = range(300, 320), range(200, 220)


@dataclass(frozen=True)
class Search:
    """What is tried, and on which runs.

    Attributes:
        start: what the candidates change.
        candidates: fields of `start`, each with another value.
        seeds: of every trial's runs.
        perturbations: runs of each seed, see `perturbed`.
        cautious: trials are ranked by mean minus one sd, for a method that can fail; else by the mean.
        timed: the record has the seconds of each run, for candidates that are compared at equal time.
    """

    start: Experiment | Classical
    candidates: list[dict]
    seeds: range = FIRST_SEEDS
    perturbations: int = 1
    cautious: bool = False
    timed: bool = False

    def __post_init__(self):
        if not self.candidates or not self.seeds or self.perturbations < 1:
            raise ConfigError("a search needs at least one candidate, one seed and one run of each.")

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


def grid(**choices) -> list[dict]:
    """Every combination of the choices: grid(m=(1, 3), lr=(0.1,)) -> [{"m": 1, "lr": 0.1}, {"m": 3, "lr": 0.1}]."""
    return [dict(zip(choices, values)) for values in itertools.product(*choices.values())]
