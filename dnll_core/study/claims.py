"""The paper's claims, each with the questions to the records that check it.

    records = Records()
    for claim in claims():
        finding = claim.check(records)
        print(claim.text, finding.data, finding.evidence)

`findings` says how a verdict is reached and where an answer is looked for, `plan` what was laid down beforehand.
"""

from __future__ import annotations

import functools
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dnll_core.bench import report
from dnll_core.config import Experiment
from dnll_core.paper import theorems
from dnll_core.study import experiments
from dnll_core.study.findings import (
    Finding,
    Question,
    Setting,
    changed,
    decided,
    not_recorded,
    of_tables,
    rival,
)
from dnll_core.study.records import NAMES, Records, benchmark
from dnll_core.study.settings import METHODS, TITLES
from dnll_core.study.statistics import (
    OVERFITTED,
    REACHED,
    WINDOW,
    accuracy_lead,
    epochs_to,
    lost,
    shared_errors,
    track,
)

CLOSE = 2.0  # points within which two accuracies are close
ABOUT = 0.1  # share within which two times are about the same
VARIATION, EVEN = "total variation", 0.05  # of R from equal probability, in a record's history; below, EPM counts as EP
OWN_WEIGHT = "own weight"  # the reading of cells of Table 5 whose λ was chosen on validation images for their own m


@dataclass(frozen=True)
class Claim:
    """A sentence of the paper, its section, and what is asked of the records to check it: all has to be answered so."""

    text: str
    section: str
    asked: tuple[Callable[[Records], Finding], ...]

    def check(self, records: Records) -> Finding:
        """The finding that decides: of several the one that speaks least for the claim, with the evidence of all."""
        found = [ask(records) for ask in self.asked]
        order = ("not recorded", "does not hold", "undecided", "holds")
        worst = min(found, key=lambda f: (order.index(f.verdict), 0 if f.difference is None else f.difference))
        return replace(worst, evidence=" ".join(finding.evidence for finding in found))


@functools.cache
def claims() -> tuple[Claim, ...]:
    """The paper's claims in the order of its sections; "ours" marks a question of ours beside a claim."""

    def of(text: str, section: str, *asked: Callable[[Records], Finding]) -> Claim:
        return Claim(text, section, asked)

    ds, mt = "dual-student", "mean-teacher"
    return (
        of("DNLL couples the submodels less than mutual learning does", "1", _coupling()),
        of("DNLL learns from images that a confidence threshold discards", "1, 3.1", _all_used()),
        of("Larger m converges faster", "3.3.1", _faster()),
        of("Predictions on weak views are more accurate than on strong ones", "3.3.1", _weak_view()),
        of("Theorem 3.1: errors passed on are m/(K − 1) of those of pseudo-labels", "3.4", _theorem31),
        of("Theorem 3.2: how likely two submodels have different objectives", "3.4", _theorem32),
        of("The submodels do not degenerate into the same", "3.4", _stay_apart()),
        of("DNLL is more accurate than Dual Student", "4.3, 4.9", _beats(ds)),
        of("DNLL is more accurate than Mean Teacher", "4.3, 4.9", _beats(mt)),
        of("EPM is better than equal probability", "4.4", _selection()),
        of("Moderately more negatives help: m = 3 over m = 1, at one λ for all as printed", "4.4", *_of_m([1], None)),
        of("The same with each m at its own best weight of the negatives", "4.4, ours", *_of_m([1], OWN_WEIGHT)),
        of("m = 3 is the best of 1...4, at one λ for all as printed", "4.4", *_of_m([1, 2, 4], None)),
        of("Mutual learning (ML) is better than self-learning (SL)", "4.5", _mutual("both", None)),
        of("The same with as many negatives: cross only over self", "4.5, ours", _mutual("mutual", "cross only")),
        of("Negatives improve Dual Student", "4.7", _addon(ds)),
        of("Negatives improve Mean Teacher", "4.7", _addon(mt)),
        of("Domain adaptation: source-only overfits", "4.8", _overfits("source-only", True)),
        of("Domain adaptation: Mean Teacher overfits", "4.8", _overfits(mt, True)),
        of("Domain adaptation: DNLL does not overfit", "4.8", _overfits("dnll", False)),
        of("Domain adaptation: DNLL is above Dual Student", "4.8", _adapts(ds)),
        of("Domain adaptation: DNLL is above Mean Teacher", "4.8", _adapts(mt)),
        of("Domain adaptation: DNLL is very close to target supervision", "4.8", _close()),
        of("A training iteration of Mean Teacher is shorter than DNLL's", "4.9", Timing("dnll", mt, "train")),
        of("DNLL's takes about twice as long as Mean Teacher's", "4.9", Timing("dnll", mt, "train", 2.0)),
        of("Dual Student's takes about twice as long", "4.9", Timing(ds, mt, "train", 2.0)),
        of("DNLL and Dual Student train in about the same time", "4.9", Timing("dnll", ds, "train", 1.0)),
        of("Inference takes about the same time", "4.9", Timing("dnll", mt, "inference", 1.0)),
    )


# -- accuracies --------------------------------------------------------------------------------------------------------


def _beats(method: str) -> Question:
    sources = of_tables((1, 2, 3, 4), rival(method), [(METHODS["dnll"], METHODS[method])])
    return Question(f"DNLL − {TITLES[method]}", sources, accuracy_lead)


def _transfers(first: str, second: str) -> list[Setting]:
    """Pairs of the runs of notebook 17, on the digits, whose names differ in one word."""
    named = experiments.transfers()
    pairs = [(name.split(), experiment) for name, experiment in named.items()]
    swapped = [(" ".join(second if w == first else w for w in words), e) for words, e in pairs if first in words]
    return [(e, named[other]) for other, e in swapped]


def _evenly(records: list[dict]) -> str:
    """Why EPM counts as equal probability in these runs; empty where it does not, and where none says how it drew."""
    rows = [[row[VARIATION] for row in record["history"] if VARIATION in row] for record in records]  # old ones: none
    seen = [statistics.fmean(own) for own in rows if own]
    if not seen or not statistics.fmean(seen) < EVEN:
        return ""
    return f"with a total variation of {statistics.fmean(seen):.3f}, below {EVEN:g}, EPM counts as equal probability"


def _selection() -> Question:
    sources = of_tables((5,), changed({"selection": "epm"}, {"selection": "ep"}), _transfers("epm", "ep"))
    return Question("EPM − EP", sources, accuracy_lead, same=_evenly)


def _of_m(others: Sequence[int], reading: str | None) -> list[Question]:
    """How far m = 3 leads each of the others, on the same seeds."""
    sources = of_tables((5,), changed({"m": 3}, *({"m": m} for m in others), reading=reading))
    how = "" if reading is None else f", each at its {reading}"
    return [
        Question(f"m = 3 − m = {m}{how}", sources, lambda a, *rest, i=i: accuracy_lead(a, rest[i]))
        for i, m in enumerate(others)
    ]


def _mutual(teaching: str, reading: str | None) -> Question:
    settings = changed({"teaching": teaching}, {"teaching": "self"}, reading=reading)
    sources = of_tables((6,), settings, _transfers(teaching, "self"))
    return Question(f"{reading or 'ML'} − SL", sources, accuracy_lead)


def _addon(base: str) -> Question:
    sources = [[(named[f"{base}+dnll"], named[base])] for named in (experiments.addons("cifar10"), METHODS)]
    return Question(f"{TITLES[base]} with negatives − without", sources, accuracy_lead)


def _faster() -> Question:
    what = f"until {REACHED:.0%} of the final accuracy, m = 1 − m = 4"
    sources = of_tables((5,), changed({"m": 4}, {"m": 1}))
    return Question(what, sources, lambda a, b: epochs_to(b) - epochs_to(a), "epochs")


# -- domain adaptation -------------------------------------------------------------------------------------------------


def _adaptation(*names: str) -> list[list[Setting]]:
    """USPS → MNIST: the runs with these names, of the longer campaign first."""
    campaigns = (experiments.ADAPTATION_EPOCHS[name] for name in ("adaptation-full", "adaptation"))
    named = [experiments.adaptation("usps", "mnist", epochs=epochs) for epochs in campaigns]
    return [[tuple(of_campaign[name] for name in names)] for of_campaign in named]


def _overfits(name: str, expected: bool) -> Question:
    what = f"last {WINDOW} epochs below the best {WINDOW} in a row"
    holds = (OVERFITTED, np.inf) if expected else (-np.inf, OVERFITTED)
    return Question(what, _adaptation(name), lost, holds=holds)


def _adapts(other: str) -> Question:
    return Question(f"DNLL − {TITLES.get(other, other)}", _adaptation("dnll", other), accuracy_lead)


def _close() -> Question:
    return replace(_adapts("target-supervised"), holds=(-CLOSE, CLOSE))


# -- what submodels pass to each other ---------------------------------------------------------------------------------


def _measured(measure: Callable[[dict], float], what: str, teaching: Sequence[str], unit: str = "points") -> Question:
    """A value of each measured run of DNLL with these ways of teaching, on the digits of notebook 17."""
    named = experiments.transfers()
    settings = [(named[f"dnll {way} {selection}"],) for way in teaching for selection in ("ep", "epm")]
    return Question(what, [settings], measure, unit)


def _weak_view() -> Question:
    what = "accuracy on weak − on strong views in training, mean of the epochs"
    ways = ("self", "mutual", "both")
    return _measured(lambda r: track(r, "weak accuracy") - track(r, "strong accuracy"), what, ways)


def _stay_apart() -> Question:
    what = "50 % of a submodel's errors − the share that the other also makes, last epoch"
    return _measured(lambda r: 50 - 100 * shared_errors(r["history"][-1]), what, ("mutual", "both"), "points of errors")


def _coupling() -> Question:
    named = experiments.transfers()
    ways = [f"{way} {selection}" for way in ("mutual", "both") for selection in ("ep", "epm")]
    settings = [(named[f"dnll {way}"], named["mutual-learning 0"]) for way in ways]
    what = "agreement of the submodels, mean of the epochs, mutual learning − DNLL"
    return Question(what, [settings], lambda a, b: track(b, "agreement") - track(a, "agreement"), "points of agreement")


def _all_used() -> Question:
    named = experiments.transfers()
    settings = [(named[f"dnll {way} ep"], named["mutual-learning 0.95"]) for way in ("mutual", "both")]
    what = "images that both submodels learn from, mean of the epochs, DNLL − mutual learning above confidence 0.95"
    return Question(what, [settings], lambda a, b: track(a, "used") - track(b, "used"), "points of the images")


# -- times and theorems ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Timing:
    """The ratio of two methods' times, of kind "train" or "inference": about `claimed`, or above 1 if that is None."""

    first: str
    second: str
    kind: str
    claimed: float | None = None

    @property
    def what(self) -> str:
        return f"{'a training iteration' if self.kind == 'train' else 'inference'} of {TITLES[self.first]}"

    def __call__(self, records: Records) -> Finding:
        timed, unit = benchmark(records, self.first, self.second), f"times {TITLES[self.second]}"
        if timed is None:
            return not_recorded(self.what, unit)
        a, b = (settings[self.kind] for settings in timed)
        holds = (1.0, np.inf) if self.claimed is None else ((1 - ABOUT) * self.claimed, (1 + ABOUT) * self.claimed)
        e = Experiment(**timed[0]["experiment"])
        data = f"on images like those of {NAMES[e.dataset]} with {NAMES[e.network]}, {timed[0]['device']}"
        name, notes = report.interval_name(len(a)), [f"{len(a)} rounds"]
        return decided(*report.ratio(a, b), len(a), data, self.what, notes, unit, holds, interval_name=name)


def _theorem31(records: Records) -> Finding:
    """The chance that a drawn set holds the true class, from each class's chance to be drawn, against m/(K - 1)."""
    K, cases = 10, [(m, q) for m in range(1, 10) for q in (0.1, 0.5, 0.9)]
    exact = [theorems.epm_error_rate(theorems.uniform_confusion(K, q), np.zeros((K, K)), m) for m, q in cases]
    gap = max(abs(e / (1 - q) - m / (K - 1)) for e, (m, q) in zip(exact, cases))
    verdict = "holds" if gap < 1e-9 else "does not hold"
    evidence = f"K = {K}: m/(K − 1) is exact to {gap:.0e} for every m (notebook 01): {verdict}."
    return Finding(verdict, 0.0 if gap < 1e-9 else -100 * gap, None, None, len(cases), "computed", evidence)


def _theorem32(records: Records) -> Finding:
    """Eq. 32 as printed against the exact probability that both are trained on the same set."""
    K, m = 10, np.arange(1, 5)  # Eq. 32 is for K much larger than m
    exact, printed = (theorems.theorem32(K, m, 0.5)[name] for name in ("same_set", "eq32_printed"))
    gap = float(abs(exact - printed).max())
    verdict = "holds" if gap < 0.005 else "does not hold"
    evidence = (
        f"K = {K}, submodels that agree on half of the images: the same set with probability {exact[0]:.4f} at m = 1, "
        f"where Eq. 32 has {printed[0]:.4f}: {verdict}. Up to m = 4 it is {exact.max():.2f} at most, so that the "
        "objectives mostly differ is right (notebook 01)."
    )
    return Finding(verdict, -100 * gap, None, None, len(m), "computed", evidence)
