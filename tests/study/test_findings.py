"""A verdict is Student's on complete seeds of one data set and one network, and settings differ in what they should."""

import dataclasses
import math

import numpy as np
import pytest
from fabricated import record, write
from scipy import stats

from dnll_core import results
from dnll_core.config import Experiment
from dnll_core.study.findings import Question, apart, changed, judged, not_recorded, of_tables, rival
from dnll_core.study.records import Records
from dnll_core.study.statistics import VERDICTS, accuracy_lead
from dnll_core.study.tables import cells

A, B = Experiment(m=3, labels=20), Experiment(m=1, labels=20)
ONE = ((A,),)
GENERATOR = np.random.default_rng(0)


def of_seeds(values, setting=ONE[0]):
    return {(setting, seed): value for seed, value in enumerate(values)}


def write_seeds(folder, experiment, accuracies):
    """Seed -> accuracy; saves a record for each."""
    for seed, accuracy in accuracies.items():
        results.save(record(experiment, seed, accuracy), folder)


def cell(table, name, profile="paper"):
    [found] = [c.experiment for c in cells(table, profile) if c.name == name]
    return found


def t_interval(values):
    return tuple(stats.ttest_1samp(values, 0).confidence_interval(0.95))


# -- the rule ----------------------------------------------------------------------------------------------------------


def test_a_verdict_is_that_of_a_t_test():
    seen = set()
    for n in (3, 4, 10):
        for shift in (-1.5, 0, 1.5):
            values = GENERATOR.normal(shift, 1, n).tolist()
            finding = judged(of_seeds(values), ONE, "difference")
            told = stats.ttest_1samp(values, 0).pvalue < 0.05
            expected = ("holds" if np.mean(values) > 0 else "does not hold") if told else "undecided"
            assert finding.verdict == expected
            assert (finding.n, finding.difference) == (n, pytest.approx(np.mean(values)))
            assert (finding.low, finding.high) == pytest.approx(t_interval(values))
            seen.add(finding.verdict)
    assert seen == set(VERDICTS) - {"not recorded"}


@pytest.mark.parametrize("values", [[5.0], [5.0, 5.0], [5.0, 5.1]])
def test_fewer_than_three_seeds_are_undecided_with_their_numbers(values):
    finding = judged(of_seeds(values), ONE, "A − B")
    assert (finding.verdict, finding.low, finding.high, finding.n) == ("undecided", None, None, len(values))
    assert finding.difference == pytest.approx(np.mean(values))
    assert all(f"{value:+.2f}" in finding.evidence for value in values)
    assert "a verdict needs 3 complete seeds): undecided." in finding.evidence


def test_no_spread_is_an_interval_too():
    assert judged(of_seeds([1.0, 1.0, 1.0]), ONE, "difference").verdict == "holds"
    assert judged(of_seeds([0.0, 0.0, 0.0]), ONE, "difference").verdict == "undecided"
    assert not_recorded("difference").verdict == "not recorded"


def test_difference_and_interval_come_first_and_the_verdict_last():
    low, high = t_interval([1.0, 2.0, 3.0])
    told = judged(of_seeds([1.0, 2.0, 3.0]), ONE, "A − B").evidence
    assert told == (
        f"A − B: +2.00 points, 95 % interval {low:+.2f} to {high:+.2f} (20 labels; 100 epochs; 3 complete seeds): "
        f"undecided, smaller than {high:.2f} points either way."
    )
    evidence = judged(of_seeds([-1.0, -1.1, -1.2]), ONE, "A − B", "epochs").evidence
    assert evidence.startswith("A − B: -1.10 epochs, 95 % interval -1.35 to -0.85 (")
    assert evidence.endswith("): does not hold.")


@pytest.mark.parametrize(
    ("holds", "expected", "words"),
    [
        ((-math.inf, 0.5), "does not hold", "below 0.5"),
        ((0.5, math.inf), "holds", "above 0.5"),
        ((-2.0, 2.0), "holds", "from -2 to 2"),
        ((-1.05, 1.05), "undecided", "from -1.05 to 1.05"),
    ],
)
def test_a_claim_may_hold_in_a_range(holds, expected, words):
    """The difference is how far inside the value lies, and so are the ends of its interval."""
    values = [0.9, 1.0, 1.1]
    finding = judged(of_seeds(values), ONE, "gap", holds=holds)
    assert finding.verdict == expected
    between = np.linspace(*t_interval(values), 1001)
    inside = np.minimum(between - holds[0], holds[1] - between)
    assert (finding.low, finding.high) == pytest.approx((inside.min(), inside.max()), abs=1e-3)
    assert finding.difference == pytest.approx(min(1.0 - holds[0], holds[1] - 1.0))
    assert finding.evidence.startswith("gap: +1.00 points, 95 % interval +0.75 to +1.25 (")
    assert finding.evidence.endswith(f"; the claim holds {words}: {expected}.")


def test_what_is_the_same_by_another_name_gets_no_verdict(tmp_path):
    for name, variation in (("close", 0.01), ("far", 0.2), ("unknown", None)):
        seen = {} if variation is None else {"total variation": variation}
        write(tmp_path / name, A, [0.9, 0.91, 0.9], **seen)
        write(tmp_path / name, B, [0.8, 0.8, 0.8])

    def same(firsts):
        assert [r["experiment"]["m"] for r in firsts] == [3, 3, 3]
        return "they are one" if firsts[0]["history"][0].get("total variation", 1) < 0.05 else ""

    ask = Question("A − B", [[(A, B)]], accuracy_lead, same=same)
    found = {name: ask(Records(tmp_path / name)) for name in ("close", "far", "unknown")}
    assert [finding.verdict for finding in found.values()] == ["undecided", "holds", "holds"]
    assert len({finding.low for finding in found.values()}) == 1
    assert found["close"].evidence.endswith("undecided, smaller than 11.77 points either way, for they are one.")


# -- complete seeds ----------------------------------------------------------------------------------------------------

OF_M = changed({"selection": "epm"}, {"selection": "ep"})
EPM_EP = Question("EPM − EP", of_tables((5,), OF_M), accuracy_lead)


def test_settings_of_a_seed_are_averaged_first():
    """They share their labels, so three settings of three seeds are three values and not nine."""
    settings = [(A.replace(m=m),) for m in (1, 2, 3)]
    values = {(setting, seed): float(seed) + 0.1 * setting[0].m for setting in settings for seed in (0, 1, 2)}
    finding = judged(values, settings, "difference")
    assert (finding.n, finding.difference) == (3, pytest.approx(1.2))
    assert (finding.low, finding.high) == pytest.approx(t_interval([0.2, 1.2, 2.2]))
    assert "3 complete seeds, each the mean of m = 1, 2, 3" in finding.evidence


def test_one_seed_with_four_m_is_undecided(tmp_path):
    for m in (1, 2, 3, 4):
        write(tmp_path, cell(5, f"EPM m={m}"), [0.9 + 0.001 * m])
        write(tmp_path, cell(5, f"EP m={m}"), [0.8])
    finding = EPM_EP(Records(tmp_path))
    assert (finding.verdict, finding.n, finding.low) == ("undecided", 1, None)
    assert finding.difference == pytest.approx(10.25)
    assert "+10.25" in finding.evidence and "1 complete seed, each the mean of m = 1, 2, 3, 4" in finding.evidence


def test_an_incomplete_seed_does_not_change_the_mean(tmp_path):
    leads = {m: GENERATOR.normal(0.02, 0.004, 4) for m in (1, 2, 3, 4)}
    for m, of_seed in leads.items():
        write(tmp_path, cell(5, f"EPM m={m}"), 0.8 + of_seed)
        write(tmp_path, cell(5, f"EP m={m}"), [0.8] * 4)
    before = EPM_EP(Records(tmp_path))
    means = 100 * np.mean(list(leads.values()), axis=0)
    assert (before.n, before.difference) == (4, pytest.approx(means.mean()))
    assert (before.low, before.high) == pytest.approx(t_interval(means))
    assert "incomplete" not in before.evidence
    for name, accuracy in (("EPM m=3", 0.99), ("EP m=3", 0.1), ("EPM m=1", 0.99)):  # seed 4 has one setting and a half
        write_seeds(tmp_path, cell(5, name), {4: accuracy})
    after = EPM_EP(Records(tmp_path))
    assert dataclasses.replace(after, evidence="") == dataclasses.replace(before, evidence="")
    assert "4 complete seeds, each the mean of m = 1, 2, 3, 4; 1 incomplete left out)" in after.evidence


def test_a_setting_without_a_record_is_named_and_one_that_has_begun_is_pooled(tmp_path):
    for m in (1, 2, 3):
        write(tmp_path, cell(5, f"EPM m={m}"), [0.90, 0.91, 0.92])
        write(tmp_path, cell(5, f"EP m={m}"), [0.80, 0.81, 0.82])
    write(tmp_path, cell(5, "EPM m=4"), [0.5] * 3)  # one side alone is no setting
    finding = EPM_EP(Records(tmp_path))
    assert (finding.verdict, finding.n, finding.difference) == ("holds", 3, pytest.approx(10))
    assert "each the mean of m = 1, 2, 3; no record of m = 4)" in finding.evidence
    write(tmp_path, cell(5, "EP m=4"), [0.9])
    finding = EPM_EP(Records(tmp_path))
    assert (finding.verdict, finding.n) == ("undecided", 1)
    assert finding.difference == pytest.approx((3 * 10 - 40) / 4)
    assert "1 complete seed, each the mean of m = 1, 2, 3, 4; 2 incomplete left out;" in finding.evidence


def test_no_complete_seed_has_no_mean_but_its_numbers_are_said():
    settings = [(A,), (B,)]
    finding = judged({(settings[0], 0): 1.0, (settings[1], 1): 3.0}, settings, "difference")
    assert (finding.verdict, finding.difference, finding.n) == ("undecided", None, 0)
    assert finding.evidence.startswith("difference: +1.00, +3.00 points (")
    assert "0 complete seeds" in finding.evidence and "2 incomplete left out" in finding.evidence


def test_only_runs_with_the_same_seed_are_compared(tmp_path):
    write(tmp_path, A, [0.9, 0.8, 0.7])
    write_seeds(tmp_path, B, {1: 0.5, 2: 0.6, 3: 0.1})
    finding = Question("A − B", [[(A, B)]], accuracy_lead)(Records(tmp_path))
    assert (finding.n, finding.difference) == (2, pytest.approx((30 + 10) / 2))  # seeds 1 and 2
    assert finding.data == "on the digits with the small network"


def test_settings_that_are_pooled_are_of_one_data_set_and_network():
    for other in (B.replace(dataset="mnist"), B.replace(network="cnn3"), B.replace(size=16)):
        with pytest.raises(ValueError, match="one data set and one network"):
            judged({((A,), 0): 1.0}, [(A,), (other,)], "difference")


def test_records_of_other_versions_are_left_out(tmp_path):
    strange = record(A, 0, 0.9)
    strange["experiment"]["field of tomorrow"] = 1
    results.save(strange, tmp_path)
    write(tmp_path / "elsewhere", B, [0.5])
    records = Records(tmp_path)
    assert not records.of(A)
    assert list(records.of(B)) == [0]


# -- sources -----------------------------------------------------------------------------------------------------------

C, D = Experiment(m=3, labels=20, epochs=50), Experiment(m=1, labels=20, epochs=50)
OVER_MT = Question("DNLL − Mean Teacher", of_tables((1, 2, 3, 4), rival("mean-teacher"), [(C, D)]), accuracy_lead)


def lead(folder, first, second, points, n):
    write(folder, first, [0.8 + points / 100 + 0.001 * seed for seed in range(n)])
    write(folder, second, [0.8] * n)


def test_ten_seeds_of_digits_beat_one_of_the_laptop(tmp_path):
    laptop = [cell(4, f"{name} 50 noise", "laptop") for name in ("DNLL", "Mean Teacher")]
    lead(tmp_path, *laptop, 5, 1)
    finding = OVER_MT(Records(tmp_path))
    assert (finding.data, finding.verdict) == ("on MNIST at 14 × 14 pixels with the small network", "undecided")
    lead(tmp_path, C, D, -2, 10)
    finding = OVER_MT(Records(tmp_path))
    assert (finding.data, finding.verdict, finding.n) == ("on the digits with the small network", "does not hold", 10)
    lead(tmp_path, *laptop, 5, 3)
    finding = OVER_MT(Records(tmp_path))
    assert (finding.data, finding.verdict) == ("on MNIST at 14 × 14 pixels with the small network", "holds")


def test_of_sources_that_cannot_carry_a_verdict_the_first_is_shown(tmp_path):
    lead(tmp_path, C, D, -2, 2)
    assert OVER_MT(Records(tmp_path)).data == "on the digits with the small network"
    lead(tmp_path, cell(4, "DNLL 20 noise", "short"), cell(4, "Mean Teacher 20 noise", "short"), 3, 1)
    finding = OVER_MT(Records(tmp_path))
    assert (finding.data, finding.n, finding.difference) == ("on MNIST with CNN-13", 1, pytest.approx(3))
    assert Question("", [[(A, B)]], accuracy_lead)(Records(tmp_path)).verdict == "not recorded"
    assert Question("", [], accuracy_lead)(Records(tmp_path)).verdict == "not recorded"


def test_tables_are_not_pooled(tmp_path):
    lead(tmp_path, cell(3, "DNLL 1000"), cell(3, "Mean Teacher 1000"), -4, 3)
    lead(tmp_path, cell(2, "DNLL 4000"), cell(2, "Mean Teacher 4000"), 2, 3)
    lead(tmp_path, cell(1, "DNLL 4000 lineage"), cell(1, "Mean Teacher 4000 lineage"), 7, 2)
    finding = OVER_MT(Records(tmp_path))
    assert (finding.n, finding.data) == (3, "on CIFAR-10 with WRN-28-2")  # the first with three seeds
    assert finding.difference == pytest.approx(2.1)  # of 2.0, 2.1, 2.2
    assert "4000 labels" not in finding.evidence.split("(")[0]
    assert "(4000 labels; 100 epochs; 3 complete seeds; no record of labels = 1000)" in finding.evidence


def test_readings_of_the_views_are_not_pooled(tmp_path):
    for reading, points in (("lineage", 2), ("literal", -5)):
        lead(tmp_path, cell(1, f"DNLL 1000 {reading}"), cell(1, f"Mean Teacher 1000 {reading}"), points, 3)
    assert OVER_MT(Records(tmp_path)).difference == pytest.approx(2.1)


def test_the_order_of_the_sources():
    sources = of_tables((1, 2, 3, 4), rival("mean-teacher"), [(A, B)])
    for source in sources:
        assert len({(a.dataset, a.network, a.size, a.weak, a.strong, a.epochs) for a, _ in source}) == 1
    networks = [source[0][0].network for source in sources]
    paper = [name for name in networks if name not in ("small", "cnn6")]
    assert networks == [*paper, "cnn6"] + ["small"] * (len(networks) - len(paper) - 1)
    assert paper == 2 * ["cnn13", "cnn13", "wrn28-2", "wrn28-2", "cnn13", "cnn13"]  # Tables 1 and 4 have two readings
    epochs = [source[0][0].epochs for source in sources]
    assert epochs[:6] == [100] * 6 and max(epochs[6:12]) < 100
    *laptop, digits = sources[12:15]
    quick = sources[15:]
    assert [{(e.dataset, e.network) for pair in of for e in pair} for of in laptop] == [
        {("cifar10", "cnn6")},  # Table 1
        {("mnist", "small")},  # Table 4
    ]
    assert [pair[0].labels for pair in laptop[0]] == [4000, 1000]
    assert digits == [(A, B)]
    assert {e.dataset for source in quick for pair in source for e in pair} == {"digits"}


def test_whatever_profile_laptop_offers_is_a_source(monkeypatch):
    found = of_tables((5,), OF_M)
    [laptop] = [s for s in found if s[0][0].network == "cnn6" and s[0][0].dataset == "cifar10"]
    assert {(a.m, a.labels) for a, _ in laptop} == {(3, 1000)}
    assert found.index(laptop) == 2  # after paper and short, before the digits
    monkeypatch.setattr("dnll_core.study.laptop.LAPTOP", (4,))
    assert laptop not in of_tables((5,), OF_M)


# -- settings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "reading", "table", "expected"),
    [
        ([{"m": 3}, {"m": 1}], None, 5, {("EP m=3", "EP m=1"), ("EPM m=3", "EPM m=1")}),
        (
            [{"m": 3}, {"m": 1}],
            "fixed weight",
            5,
            {("EP m=3 fixed weight", "EP m=1"), ("EPM m=3 fixed weight", "EPM m=1")},
        ),
        ([{"m": 3}, {"m": 1}, {"m": 4}], None, 5, {("EP m=3", "EP m=1", "EP m=4"), ("EPM m=3", "EPM m=1", "EPM m=4")}),
        ([{"selection": "epm"}, {"selection": "ep"}], None, 6, {("SL", "SL w/o EPM"), ("ML", "ML w/o EPM")}),
        ([{"teaching": "both"}, {"teaching": "self"}], None, 6, {("ML", "SL"), ("ML w/o EPM", "SL w/o EPM")}),
        (
            [{"teaching": "mutual"}, {"teaching": "self"}],
            "cross only",
            6,
            {("ML cross only", "SL"), ("ML w/o EPM cross only", "SL w/o EPM")},
        ),
        ([{"m": 3}, {"m": 1}], "own weight", 5, set()),
    ],
)
def test_settings_of_tables_5_and_6(fields, reading, table, expected):
    found = changed(*fields, reading=reading)(cells(table, "paper"))
    assert {tuple(c.name for c in of_cells) for of_cells in found} == expected


def test_a_reading_takes_the_place_of_the_plain_cell_where_it_is_there():
    plain = [c for c in cells(5, "paper") if c.reading is None]
    own = [
        dataclasses.replace(c, name=f"{c.name} own", reading="own weight", experiment=c.experiment.replace(lam=0.3))
        for c in plain
        if c.name in ("EP m=1", "EP m=3", "EPM m=1")
    ]
    found = changed({"m": 3}, {"m": 1}, reading="own weight")([*own, *plain])
    assert {tuple(c.name for c in pair) for pair in found} == {("EP m=3 own", "EP m=1 own"), ("EPM m=3", "EPM m=1 own")}


def test_settings_do_not_mix_numbers_of_labels():
    of_table = cells(5, "paper")
    fewer = [dataclasses.replace(c, experiment=c.experiment.replace(labels=1000)) for c in of_table]
    found = changed({"m": 3}, {"m": 1})([*of_table, *fewer])
    assert [a.experiment.labels for a, _ in found] == [b.experiment.labels for _, b in found]
    assert len(found) == 4


def test_what_tells_settings_apart():
    settings = [(A.replace(m=m, selection=s),) for m in (3, 1) for s in ("ep", "epm")]
    assert apart(settings, settings) == "m = 1, 3, selection = ep, epm"
    assert apart(settings[:1], settings) == "m = 3, selection = ep"
    assert apart(settings[:1], settings[:1]) == ""


def test_pairs_with_a_rival_share_labels_and_views():
    pairs = rival("mean-teacher")(cells(1, "paper"))
    assert len(pairs) == 6  # three numbers of labels, two readings
    for a, b in pairs:
        assert (a.method, b.method) == ("dnll", "mean-teacher")
        for field in ("labels", "weak", "strong", "epochs", "network"):
            assert getattr(a.experiment, field) == getattr(b.experiment, field)
