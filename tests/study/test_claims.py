"""Each claim holds where records are made up to speak for it, and does not where they speak against it."""

import json
from dataclasses import replace

import pytest
from fabricated import record, run, write

from dnll_core import results
from dnll_core.config import Experiment
from dnll_core.results import root
from dnll_core.study.claims import claims
from dnll_core.study.experiments import ADAPTATION_EPOCHS, adaptation, addons, transfers
from dnll_core.study.findings import Finding
from dnll_core.study.records import Records
from dnll_core.study.settings import METHODS
from dnll_core.study.statistics import SEEDS, VERDICTS, epochs_to, lost, shared_errors, verdict_of
from dnll_core.study.tables import cells

NOISE = (-0.002, 0.0, 0.002, 0.001)  # of the seeds, the same for both sides but for a little
SLIGHT = (0.0, 0.001, 0.0, -0.001)


def found(text, folder):
    [claim] = [claim for claim in claims() if claim.text == text]
    return claim.check(Records(folder))


def put(folder, experiment, accuracy, slight=False, **rest):
    write(folder, experiment, [accuracy + n + slight * s for n, s in zip(NOISE, SLIGHT)], **rest)


def cell(table, name, profile="paper"):
    [experiment] = [c.experiment for c in cells(table, profile) if c.name == name]
    return experiment


COMMON = "Moderately more negatives help: m = 3 over m = 1, at one λ for all as printed"
OWN = "The same with each m at its own best weight of the negatives"
TRANSFERS = transfers()
ADAPTATION = adaptation("usps", "mnist", epochs=ADAPTATION_EPOCHS["adaptation"])
ADDONS = addons("cifar10")
TWO_SIDES = [  # claim, the experiment that should be ahead, the one that should be behind
    ("DNLL is more accurate than Dual Student", METHODS["dnll"], METHODS["dual-student"]),
    ("DNLL is more accurate than Mean Teacher", cell(3, "DNLL 1000"), cell(3, "Mean Teacher 1000")),
    ("DNLL is more accurate than Mean Teacher", METHODS["dnll"], METHODS["mean-teacher"]),
    ("EPM is better than equal probability", cell(5, "EPM m=2"), cell(5, "EP m=2")),
    ("EPM is better than equal probability", TRANSFERS["dnll self epm"], TRANSFERS["dnll self ep"]),
    (COMMON, cell(5, "EP m=3"), cell(5, "EP m=1")),
    ("Mutual learning (ML) is better than self-learning (SL)", cell(6, "ML"), cell(6, "SL")),
    (
        "Mutual learning (ML) is better than self-learning (SL)",
        TRANSFERS["dnll both ep"],
        TRANSFERS["dnll self ep"],
    ),
    ("The same with as many negatives: cross only over self", cell(6, "ML cross only"), cell(6, "SL")),
    ("Negatives improve Dual Student", ADDONS["dual-student+dnll"], ADDONS["dual-student"]),
    ("Negatives improve Mean Teacher", METHODS["mean-teacher+dnll"], METHODS["mean-teacher"]),
    ("Domain adaptation: DNLL is above Dual Student", ADAPTATION["dnll"], ADAPTATION["dual-student"]),
    ("Domain adaptation: DNLL is above Mean Teacher", ADAPTATION["dnll"], ADAPTATION["mean-teacher"]),
]


@pytest.mark.parametrize(("text", "ahead", "behind"), TWO_SIDES)
def test_accuracies(tmp_path, text, ahead, behind):
    for way, (first, second) in enumerate(((0.9, 0.88), (0.88, 0.9), (0.9, 0.9))):
        folder = tmp_path / str(way)
        put(folder, ahead, first, slight=True)
        put(folder, behind, second)
        finding = found(text, folder)
        assert finding.verdict == ("holds", "does not hold", "undecided")[way]
        assert finding.difference == pytest.approx((2, -2, 0)[way], abs=1e-6)
        assert finding.n == len(NOISE)
        places = {"digits": "the digits", "cifar10": "CIFAR-10", "svhn": "SVHN", "mnist": "USPS → MNIST"}
        assert finding.data.startswith(f"on {places[ahead.dataset]} ")


def test_the_papers_data_go_before_the_digits(tmp_path):
    text = "DNLL is more accurate than Mean Teacher"
    put(tmp_path, METHODS["dnll"], 0.8, slight=True)
    put(tmp_path, METHODS["mean-teacher"], 0.9)
    assert found(text, tmp_path).verdict == "does not hold"
    put(tmp_path, cell(4, "DNLL 20 noise", "short"), 0.99, slight=True)
    put(tmp_path, cell(4, "Mean Teacher 20 noise", "short"), 0.98)
    finding = found(text, tmp_path)
    assert (finding.verdict, finding.data) == ("holds", "on MNIST with CNN-13")


@pytest.mark.parametrize(
    ("last", "expected", "lead"),
    [(0.935, "holds", 0.5), (0.95, "does not hold", -1), (0.94, "undecided", 0), (None, "not recorded", None)],
)
def test_the_best_m_beats_each_other_one(tmp_path, last, expected, lead):
    for m, accuracy in ((1, 0.90), (2, 0.93), (3, 0.94), (4, last)):
        if accuracy is not None:
            put(tmp_path, cell(5, f"EPM m={m}"), accuracy, slight=m == 3)
    finding = found("m = 3 is the best of 1...4, at one λ for all as printed", tmp_path)
    assert finding.verdict == expected == (verdict_of(finding.low, finding.high) if last else "not recorded")
    assert finding.difference == (None if lead is None else pytest.approx(lead, abs=1e-6))
    assert [part.split(":")[0] for part in finding.evidence.split("m = 3 − ")[1:]] == ["m = 1", "m = 2", "m = 4"]


def test_all_m_are_compared_on_the_same_seeds(tmp_path):
    for m in (1, 2, 3, 4):
        put(tmp_path, cell(5, f"EPM m={m}"), 0.9 + 0.01 * (m == 3), slight=m == 3)
    text = "m = 3 is the best of 1...4, at one λ for all as printed"
    assert found(text, tmp_path).n == len(NOISE)
    for m in (1, 3):
        results.save(record(cell(5, f"EPM m={m}"), 9, 0.5), tmp_path)
    assert (found(COMMON, tmp_path).n, found(text, tmp_path).n) == (len(NOISE) + 1, len(NOISE))


def test_each_m_at_its_own_weight(tmp_path, monkeypatch):
    """A profile that has such cells answers a question of its own; the plain cells answer the other one."""

    def with_own_weights(table, profile):
        plain = cells(table, profile)
        if (table, profile) != (5, "paper"):
            return plain
        lighter = {c.name: c.experiment.replace(lam=c.experiment.lam / 2) for c in plain if c.reading is None}
        changes = {"reading": "own weight", "printed": None}
        return [*plain, *(replace(c, experiment=lighter[c.name], **changes) for c in plain if c.name in lighter)]

    monkeypatch.setattr("dnll_core.study.findings.cells", with_own_weights)
    claims.cache_clear()
    try:
        for m, accuracy, own in ((1, 0.9, 0.95), (3, 0.92, 0.94)):
            plain = cell(5, f"EP m={m}")
            put(tmp_path, plain, accuracy, slight=m == 3)
            put(tmp_path, plain.replace(lam=plain.lam / 2), own, slight=m == 3)
        assert (found(COMMON, tmp_path).verdict, found(OWN, tmp_path).verdict) == ("holds", "does not hold")
        assert found(OWN, tmp_path).difference == pytest.approx(-1)
    finally:
        claims.cache_clear()


def test_epm_that_draws_evenly_counts_as_equal_probability(tmp_path):
    text = "EPM is better than equal probability"
    for variation, expected in ((0.04, "undecided"), (0.06, "holds"), (None, "holds")):
        folder = tmp_path / str(variation)
        seen = {} if variation is None else {"total variation": variation}
        put(folder, TRANSFERS["dnll both epm"], 0.9, slight=True, **seen)
        put(folder, TRANSFERS["dnll both ep"], 0.88)
        finding = found(text, folder)
        assert finding.verdict == expected
        assert finding.difference == pytest.approx(2, abs=1e-6)
        told = "with a total variation of 0.040, below 0.05, EPM counts as equal probability."
        assert finding.evidence.endswith(told) == (variation == 0.04)
        assert f"smaller than {finding.high:.2f} points either way" in finding.evidence or variation != 0.04


def test_convergence(tmp_path):
    slow, fast = [0.3, 0.5, 0.7, 0.8, 0.9], [0.3, 0.88, 0.9, 0.9, 0.9]
    for m, curve in ((1, slow), (4, fast)):
        put(tmp_path / "a", cell(5, f"EP m={m}"), 0.9, curve=curve)
        put(tmp_path / "b", cell(5, f"EP m={5 - m}"), 0.9, curve=curve)
    finding = found("Larger m converges faster", tmp_path / "a")
    assert (finding.verdict, finding.difference, finding.unit) == ("holds", 3, "epochs")  # the 5th, and the 2nd
    assert found("Larger m converges faster", tmp_path / "b").verdict == "does not hold"


def test_curves_by_hand():
    assert epochs_to(run(0.1, 0.8, 0.9, 1.0), 0.8) == 2
    assert lost(run(0.1, 0.9, 0.9, 0.7, 0.7), 2) == pytest.approx(20)
    assert lost(run(0.1, 0.2, 0.3), 2) == 0
    assert lost(run(0.1), 5) == 0  # shorter than the window
    assert shared_errors({"wrong labels": 0.1, "agreement": 0.9}) == pytest.approx(0.5)  # notebook 17's example
    assert shared_errors({"wrong labels": 0.0, "agreement": 1.0}) == 1


@pytest.mark.parametrize("name", ["source-only", "mean-teacher", "dnll"])
def test_overfitting(tmp_path, name):
    title = {"source-only": "source-only overfits", "mean-teacher": "Mean Teacher overfits"}
    text = f"Domain adaptation: {title.get(name, 'DNLL does not overfit')}"
    falling = [0.5, *[0.8] * 5, *[0.7] * 5]
    put(tmp_path / "a", ADAPTATION[name], 0.7, curve=falling)
    put(tmp_path / "b", ADAPTATION[name], 0.8, curve=sorted(falling))
    expected = ("does not hold", "holds") if name == "dnll" else ("holds", "does not hold")
    assert tuple(found(text, tmp_path / way).verdict for way in "ab") == expected
    assert abs(found(text, tmp_path / "a").difference) == pytest.approx(9.5, abs=0.1)  # ten points, less half a one


def test_the_longer_campaign_counts(tmp_path):
    text = "Domain adaptation: DNLL is above Dual Student"
    full = adaptation("usps", "mnist", epochs=ADAPTATION_EPOCHS["adaptation-full"])
    for named, ours in ((ADAPTATION, 0.8), (full, 0.9)):
        put(tmp_path, named["dnll"], ours, slight=True)
        put(tmp_path, named["dual-student"], 0.85)
    assert found(text, tmp_path).verdict == "holds"


@pytest.mark.parametrize(("gap", "expected"), [(0.01, "holds"), (0.05, "does not hold"), (0.02, "undecided")])
def test_close_to_target_supervision(tmp_path, gap, expected):
    put(tmp_path, ADAPTATION["dnll"], 0.9 - gap, slight=True)
    put(tmp_path, ADAPTATION["target-supervised"], 0.9)
    assert found("Domain adaptation: DNLL is very close to target supervision", tmp_path).verdict == expected


MEASURED = [  # claim, measures of DNLL and of its rival that speak for it
    ("DNLL couples the submodels less than mutual learning does", "agreement", 0.7, 0.9, "mutual-learning 0"),
    ("DNLL learns from images that a confidence threshold discards", "used", 1.0, 0.8, "mutual-learning 0.95"),
]


@pytest.mark.parametrize(("text", "name", "ours", "theirs", "rival"), MEASURED)
def test_measures(tmp_path, text, name, ours, theirs, rival):
    for way, values in enumerate(((ours, theirs), (theirs, ours))):
        for experiment, value in zip(("dnll both ep", rival), values):
            put(tmp_path / str(way), TRANSFERS[experiment], 0.9, **{name: value})
        finding = found(text, tmp_path / str(way))
        assert finding.verdict == ("holds", "does not hold")[way]
        assert abs(finding.difference) == pytest.approx(100 * abs(ours - theirs))


def test_views_and_degeneration(tmp_path):
    for way, strong, agreement in (("a", 0.8, 0.85), ("b", 0.95, 0.99)):
        measures = {"weak accuracy": 0.9, "strong accuracy": strong, "wrong labels": 0.1, "agreement": agreement}
        put(tmp_path / way, TRANSFERS["dnll both epm"], 0.9, **measures)
    weak, apart = (
        "Predictions on weak views are more accurate than on strong ones",
        "The submodels do not degenerate into the same",
    )
    assert [found(weak, tmp_path / way).verdict for way in "ab"] == ["holds", "does not hold"]
    assert [found(apart, tmp_path / way).verdict for way in "ab"] == ["holds", "does not hold"]
    assert found(apart, tmp_path / "a").difference == pytest.approx(25)  # (0.1 - 0.075)/0.1 = a quarter is shared


def bench(folder, name, device, network="cnn13", **seconds):
    batch = {"labelled_batch": 50, "unlabelled_batch": 50}
    fields = Experiment(dataset="cifar10", labels=4000, network=network, **batch).to_dict()
    common = {"device": device, "precision": "float32", "experiment": fields}
    settings = {method: {**common, "train": times, "inference": [0.1] * 10} for method, times in seconds.items()}
    (folder / "bench").mkdir(parents=True, exist_ok=True)
    (folder / "bench" / f"{name}.json").write_text(json.dumps({"settings": settings}), encoding="utf-8")


def test_times(tmp_path):
    texts = [claim.text for claim in claims() if claim.section == "4.9"]
    steady = {"mean-teacher": [1.0] * 10, "dual-student": [2.1] * 10}
    bench(tmp_path, "a", "a processor, 2 threads", **steady, dnll=[1.9] * 10)
    assert [found(text, tmp_path).verdict for text in texts] == ["holds"] * 5
    told = "a training iteration of DNLL: 1.90 times Mean Teacher, 95 % bootstrap interval 1.90 to 1.90 (10 rounds)"
    assert found(texts[0], tmp_path).evidence == f"{told}; the claim holds above 1: holds."
    bench(tmp_path, "another network", "a GPU", network="small", **steady, dnll=[9.0] * 10)
    bench(tmp_path, "b", "another processor, 2 threads", **steady, dnll=[0.5] * 10)
    assert [found(text, tmp_path).verdict for text in texts] == ["holds"] * 5  # the first of its kind
    bench(tmp_path, "c", "a GPU", **steady, dnll=[0.8, 1.3] * 5)
    expected = ["undecided", "does not hold", "holds", "does not hold", "holds"]
    assert [found(text, tmp_path).verdict for text in texts] == expected
    for text in texts:
        assert found(text, tmp_path).verdict == verdict_of(found(text, tmp_path).low, found(text, tmp_path).high)
    assert found(texts[0], tmp_path).data.endswith("a GPU")


def test_the_theorems_need_no_records(tmp_path):
    first, second = (next(c.text for c in claims() if c.text.startswith(f"Theorem {n}")) for n in ("3.1", "3.2"))
    assert found(first, tmp_path).verdict == "holds"
    finding = found(second, tmp_path)
    assert finding.verdict == "does not hold"
    # K = 10, m = 1, agreement on half: 0.5/9 + 0.5 · 8/81 against sqrt(2π)/(10e) · 0.1
    assert f"{0.5 / 9 + 0.5 * 8 / 81:.4f}" in finding.evidence
    assert "0.0092" in finding.evidence


@pytest.mark.parametrize("folder", ["empty", root()])
def test_every_claim_has_a_finding(tmp_path, folder):
    records = Records(tmp_path if folder == "empty" else folder)
    assert len({claim.text for claim in claims()}) == len(claims())
    for claim in claims():
        finding = claim.check(records)
        assert isinstance(finding, Finding)
        assert finding.verdict in VERDICTS
        assert (finding.difference is None) == (finding.verdict == "not recorded") == (finding.n == 0)
        if finding.data != "computed" and finding.verdict in ("holds", "does not hold"):
            assert finding.n >= SEEDS
            assert finding.verdict == verdict_of(finding.low, finding.high)
            assert finding.evidence.endswith(f": {finding.verdict}.")
        if folder == "empty":
            assert finding.verdict == "not recorded" or finding.data == "computed"
