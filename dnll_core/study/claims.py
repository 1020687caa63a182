"""The paper's claims, each with the function that checks it against the records.

    records = Records()
    for claim in claims():
        finding = claim.check(records)
        print(finding.verdict, claim.text, finding.evidence)

Each claim is checked on the paper's data set if there are records of it, else on another one, which the finding names.
`findings` says when a claim holds.
"""

from __future__ import annotations

import functools
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from dnll_core.bench import report
from dnll_core.config import Experiment
from dnll_core.paper import theorems
from dnll_core.study import experiments
from dnll_core.study.findings import ExperimentPair, Finding, accuracy_lead, changed, judged, of_tables, rival
from dnll_core.study.records import SETS, Records, benchmark, first_recorded, where
from dnll_core.study.searches import METHODS
from dnll_core.study.settings import TITLES
from dnll_core.study.statistics import OVERFITTED, REACHED, WINDOW, epochs_to, lost, shared_errors, verdict_of

CLOSE = 2.0  # points within which two accuracies are close
ABOUT = 0.1  # share within which two times are about the same


@dataclass(frozen=True)
class Claim:
    """A sentence of the paper, its section, and a function of the records that checks it."""

    text: str
    section: str
    check: Callable[[Records], Finding]


def claims() -> list[Claim]:
    """The paper's claims in the order of its sections; "ours" marks a question of ours beside a claim."""

    def of(text: str, section: str, check: Callable, *arguments: object) -> Claim:
        return Claim(text, section, functools.partial(check, *arguments))

    ds, mt = "dual-student", "mean-teacher"
    return [
        of("DNLL couples the submodels less than mutual learning does", "1", _coupling),
        of("DNLL learns from images that a confidence threshold discards", "1, 3.1", _all_used),
        of("Larger m converges faster", "3.3.1", _faster),
        of("Predictions on weak views are more accurate than on strong ones", "3.3.1", _weak_view),
        of("Theorem 3.1: errors passed on are m/(K − 1) of those of pseudo-labels", "3.4", _theorem31),
        of("Theorem 3.2: how likely two submodels have different objectives", "3.4", _theorem32),
        of("The submodels do not degenerate into the same", "3.4", _stay_apart),
        of("DNLL is more accurate than Dual Student", "4.3, 4.9", _beats, ds),
        of("DNLL is more accurate than Mean Teacher", "4.3, 4.9", _beats, mt),
        of("EPM is better than equal probability", "4.4", _selection),
        of("Moderately more negatives help: m = 3 over m = 1", "4.4", _more, 3, 1, None),
        of("The same with the weight of the loss held fixed", "4.4, ours", _more, 3, 1, "fixed weight"),
        of("m = 3 is the best of 1...4", "4.4", _best_m),
        of("Mutual learning (ML) is better than self-learning (SL)", "4.5", _mutual, "both", None),
        of("The same with as many negatives: cross only over self", "4.5, ours", _mutual, "mutual", "cross only"),
        of("Negatives improve Dual Student", "4.7", _addon, ds),
        of("Negatives improve Mean Teacher", "4.7", _addon, mt),
        of("Domain adaptation: source-only overfits", "4.8", _overfits, "source-only", True),
        of("Domain adaptation: Mean Teacher overfits", "4.8", _overfits, mt, True),
        of("Domain adaptation: DNLL does not overfit", "4.8", _overfits, "dnll", False),
        of("Domain adaptation: DNLL is above Dual Student", "4.8", _adapts, ds),
        of("Domain adaptation: DNLL is above Mean Teacher", "4.8", _adapts, mt),
        of("Domain adaptation: DNLL is very close to target supervision", "4.8", _close),
        of("A training iteration of Mean Teacher is shorter than DNLL's", "4.9", _time, "dnll", mt, "train", None),
        of("DNLL's takes about twice as long as Mean Teacher's", "4.9", _time, "dnll", mt, "train", 2.0),
        of("Dual Student's takes about twice as long", "4.9", _time, ds, mt, "train", 2.0),
        of("DNLL and Dual Student train in about the same time", "4.9", _time, "dnll", ds, "train", 1.0),
        of("Inference takes about the same time", "4.9", _time, "dnll", mt, "inference", 1.0),
    ]


# -- accuracies --------------------------------------------------------------------------------------------------------


def _beats(method: str, records: Records) -> Finding:
    sources = of_tables((1, 2, 3, 4), rival(method), [(METHODS["dnll"], METHODS[method])])
    return first_recorded(records, sources, f"DNLL − {TITLES[method]}", accuracy_lead)


def _transfers(first: str, second: str) -> list[ExperimentPair]:
    """Pairs of the runs of notebook 02, on the digits, whose names differ in one word."""
    named = experiments.transfers()
    pairs = [(name.split(), experiment) for name, experiment in named.items()]
    swapped = [(" ".join(second if w == first else w for w in words), e) for words, e in pairs if first in words]
    return [(e, named[other]) for other, e in swapped]


def _selection(records: Records) -> Finding:
    sources = of_tables((5,), changed({"selection": "epm"}, {"selection": "ep"}), _transfers("epm", "ep"))
    return first_recorded(records, sources, "EPM − EP", accuracy_lead)


def _mutual(teaching: str, reading: str | None, records: Records) -> Finding:
    pairs = changed({"teaching": teaching}, {"teaching": "self"}, reading)
    sources = of_tables((6,), pairs, _transfers(teaching, "self"))
    return first_recorded(records, sources, f"{reading or 'ML'} − SL", accuracy_lead)


def _more(m: int, other: int, reading: str | None, records: Records) -> Finding:
    what = f"m = {m} − m = {other}" + (f", {reading}" if reading else "")
    return first_recorded(records, of_tables((5,), changed({"m": m}, {"m": other}, reading)), what, accuracy_lead)


def _best_m(records: Records) -> Finding:
    """It has to beat every other one; the smallest lead decides."""
    leads = [_more(3, m, None, records) for m in (1, 2, 4)]
    order = ("not recorded", "does not hold", "undecided", "holds")
    verdict = min((lead.verdict for lead in leads), key=order.index)
    if verdict == "not recorded":
        return judged({}, "–", "m = 3 − each other m")
    least = min(leads, key=lambda lead: lead.difference)
    evidence = " ".join(lead.evidence for lead in leads)
    return Finding(verdict, least.difference, least.error, least.n, least.data, evidence)


def _addon(base: str, records: Records) -> Finding:
    sources = [[(named[f"{base}+dnll"], named[base])] for named in (experiments.addons("cifar10"), METHODS)]
    return first_recorded(records, sources, f"{TITLES[base]} with negatives − without", accuracy_lead)


def _faster(records: Records) -> Finding:
    what = f"until {REACHED:.0%} of the final accuracy, m = 1 − m = 4"
    sources = of_tables((5,), changed({"m": 4}, {"m": 1}))
    return first_recorded(records, sources, what, lambda a, b: epochs_to(b) - epochs_to(a), "epochs")


# -- domain adaptation -------------------------------------------------------------------------------------------------


def _adaptation(records: Records) -> dict[str, Experiment]:
    """USPS → MNIST: the longest campaign with records."""
    for campaign in ("adaptation-full", "adaptation"):
        named = experiments.adaptation("usps", "mnist", epochs=experiments.ADAPTATION_EPOCHS[campaign])
        if any(records.of(e) for e in named.values()):
            break
    return named


def _overfits(name: str, expected: bool, records: Records) -> Finding:
    e = _adaptation(records)[name]
    below = f"last {WINDOW} epochs below the best {WINDOW} in a row"
    what = f"{below}, beyond {OVERFITTED}" if expected else f"{OVERFITTED} less {below}"
    values = {(e, s): (1 if expected else -1) * (lost(record) - OVERFITTED) for s, record in records.of(e).items()}
    return judged(values, where(e), what)


def _adapts(other: str, records: Records) -> Finding:
    named = _adaptation(records)
    return first_recorded(
        records, [[(named["dnll"], named[other])]], f"DNLL − {TITLES.get(other, other)}", accuracy_lead
    )


def _close(records: Records) -> Finding:
    gap = _adapts("target-supervised", records)
    if gap.difference is None:
        return gap
    margin = CLOSE - abs(gap.difference)
    evidence = f"{gap.evidence} Close is within {CLOSE:g}."
    return Finding(verdict_of(margin, gap.error, gap.n), margin, gap.error, gap.n, gap.data, evidence)


# -- what submodels pass to each other ---------------------------------------------------------------------------------


def _track(record: dict, value: str) -> float:
    """Mean of a measure over the epochs, in percent."""
    return 100 * statistics.fmean(row[value] for row in record["history"])


def _measured(records: Records, value: Callable[[dict], float], what: str, teaching: Sequence[str]) -> Finding:
    """A value of each measured run of DNLL with these ways of teaching, on the digits of notebook 02."""
    named = experiments.transfers()
    runs = [named[f"dnll {way} {selection}"] for way in teaching for selection in ("ep", "epm")]
    return judged({(e, seed): value(r) for e in runs for seed, r in records.of(e).items()}, where(runs[0]), what)


def _weak_view(records: Records) -> Finding:
    what = "accuracy on weak − on strong views in training, mean of the epochs"
    return _measured(
        records, lambda r: _track(r, "weak accuracy") - _track(r, "strong accuracy"), what, ("self", "mutual", "both")
    )


def _stay_apart(records: Records) -> Finding:
    what = "half of a submodel's errors − those that the other shares in the last epoch"
    return _measured(records, lambda r: 50 - 100 * shared_errors(r["history"][-1]), what, ("mutual", "both"))


def _coupling(records: Records) -> Finding:
    named = experiments.transfers()
    pairs = [
        (named[f"dnll {way} {s}"], named["mutual-learning 0"]) for way in ("mutual", "both") for s in ("ep", "epm")
    ]
    what = "agreement of the submodels, mean of the epochs, mutual learning − DNLL"
    return first_recorded(records, [pairs], what, lambda a, b: _track(b, "agreement") - _track(a, "agreement"))


def _all_used(records: Records) -> Finding:
    named = experiments.transfers()
    pairs = [(named[f"dnll {way} ep"], named["mutual-learning 0.95"]) for way in ("mutual", "both")]
    what = "images that both submodels learn from, mean of the epochs, DNLL − mutual learning above confidence 0.95"
    return first_recorded(records, [pairs], what, lambda a, b: _track(a, "used") - _track(b, "used"))


# -- times and theorems ------------------------------------------------------------------------------------------------


def _time(first: str, second: str, kind: str, claimed: float | None, records: Records) -> Finding:
    """The ratio of two methods' times: about `claimed`, or longer than 1 if that is None."""
    timed, unit = benchmark(records, first, second), f"times {TITLES[second]}"
    what = f"{'a training iteration' if kind == 'train' else 'inference'} of {TITLES[first]}"
    if timed is None:
        return judged({}, "–", what, unit)
    (a, b), n = timed, len(timed[0][kind])
    value, low, high = report.ratio(a[kind], b[kind])
    evidence = f"{what}: {value:.2f} times {TITLES[second]} ({low:.2f} to {high:.2f}, {report.interval_name(n)})"
    inside, outside, margin = 1.0, float("inf"), value - 1
    if claimed is not None:
        inside, outside = (1 - ABOUT) * claimed, (1 + ABOUT) * claimed
        margin = min(value - inside, outside - value)
        evidence += f"; about is within {ABOUT:.0%} of {claimed:g}"
    verdict = "undecided"
    if inside < low and high < outside:
        verdict = "holds"
    elif high < inside or low > outside:
        verdict = "does not hold"
    e = Experiment(**a["experiment"])
    data = f"{e.network}, images of the shape of {SETS.get(e.dataset, e.dataset)}'s, {a['device']}"
    return Finding(verdict, margin, None, n, data, f"{evidence}.", unit)


def _theorem31(records: Records) -> Finding:
    """The chance that a drawn set holds the true class, from each class's chance to be drawn, against m/(K - 1)."""
    K, cases = 10, [(m, q) for m in range(1, 10) for q in (0.1, 0.5, 0.9)]
    exact = [theorems.epm_error_rate(theorems.uniform_confusion(K, q), np.zeros((K, K)), m) for m, q in cases]
    gap = max(abs(e / (1 - q) - m / (K - 1)) for e, (m, q) in zip(exact, cases))
    evidence = f"K = {K}: m/(K − 1) is exact to {gap:.0e} for every m (notebook 01)."
    verdict = "holds" if gap < 1e-9 else "does not hold"
    return Finding(verdict, 0.0 if gap < 1e-9 else -100 * gap, None, len(cases), "computed", evidence)


def _theorem32(records: Records) -> Finding:
    """Eq. 32 as printed against the exact probability that both are trained on the same set."""
    K, m = 10, np.arange(1, 5)  # Eq. 32 is for K much larger than m
    exact, printed = (theorems.theorem32(K, m, 0.5)[name] for name in ("same_set", "eq32_printed"))
    gap = float(abs(exact - printed).max())
    evidence = (
        f"K = {K}, submodels that agree on half of the images: the same set with probability {exact[0]:.4f} at m = 1, "
        f"where Eq. 32 has {printed[0]:.4f}. Up to m = 4 it is {exact.max():.2f} at most, so that the objectives "
        "mostly differ is right (notebook 01)."
    )
    verdict = "holds" if gap < 0.005 else "does not hold"
    return Finding(verdict, -100 * gap, None, len(m), "computed", evidence)
