"""A verdict is Student's, differences are between runs with the same seed, and pairs differ in what they should."""

import math

import numpy as np
import pytest
from fabricated import record, write
from scipy import stats

from dnll_core import results
from dnll_core.config import Experiment
from dnll_core.study.findings import accuracy_lead, changed, judged, of_tables, rival
from dnll_core.study.records import Records, first_recorded
from dnll_core.study.statistics import VERDICTS, verdict_of
from dnll_core.study.tables import cells

A, B = Experiment(m=3), Experiment(m=1)


def of_seeds(values, experiment=A):
    return {(experiment, seed): value for seed, value in enumerate(values)}


def test_a_verdict_is_that_of_a_t_test():
    generator, seen = np.random.default_rng(0), set()
    for n in (3, 4, 10):
        for shift in (-1.5, 0, 1.5):
            values = generator.normal(shift, 1, n).tolist()
            finding = judged(of_seeds(values), "made up", "difference")
            told = stats.ttest_1samp(values, 0).pvalue < 0.05
            expected = ("holds" if np.mean(values) > 0 else "does not hold") if told else "undecided"
            assert finding.verdict == expected
            assert (finding.n, finding.difference) == (n, pytest.approx(np.mean(values)))
            assert finding.error == pytest.approx(stats.sem(values))
            seen.add(finding.verdict)
    assert seen == set(VERDICTS) - {"not recorded"}


def test_few_values():
    assert judged({}, "–", "difference").verdict == "not recorded"
    single = judged(of_seeds([5.0]), "made up", "difference")
    assert (single.verdict, single.error, single.n) == ("undecided", None, 1)
    assert verdict_of(0.0, 0.0, 5) == "undecided"  # all equal: there is no difference
    assert judged(of_seeds([1.0, 1.0, 1.0]), "made up", "difference").verdict == "holds"


def test_settings_of_a_seed_are_averaged_first():
    """They share their labels, so ten settings of three seeds are three values and not thirty."""
    values = {(A.replace(m=m), seed): float(seed) + 0.1 * m for m in (1, 2, 3) for seed in (0, 1, 2)}
    finding = judged(values, "made up", "difference")
    assert (finding.n, finding.difference) == (3, pytest.approx(1.2))
    assert finding.error == pytest.approx(1 / math.sqrt(3))  # of 0.2, 1.2, 2.2
    assert "n = 3 seeds" in finding.evidence
    two = judged({key: value for key, value in values.items() if key[1] < 2}, "made up", "difference")
    assert two.n == 6
    assert "n = 6 pairs of runs" in two.evidence


def test_the_evidence_is_made_from_the_numbers():
    evidence = judged(of_seeds([1.0, 2.0, 3.0]), "made up", "A − B").evidence
    assert evidence == "A − B: +2.00 ± 0.58 (standard error, n = 3 seeds), points."


def test_only_runs_with_the_same_seed_are_compared(tmp_path):
    write(tmp_path, A, [0.9, 0.8, 0.7])
    for seed, accuracy in ((1, 0.5), (2, 0.6), (3, 0.1)):
        results.save(record(B, seed, accuracy), tmp_path)
    finding = first_recorded(Records(tmp_path), [[(A, B)]], "A − B", accuracy_lead)
    assert (finding.n, finding.difference) == (2, pytest.approx((30 + 10) / 2))  # seeds 1 and 2
    assert finding.data == "digits (small, 100 epochs)"


def test_the_first_source_with_records_answers(tmp_path):
    write(tmp_path, A, [0.9])
    write(tmp_path, B, [0.5])
    other = A.replace(m=2)
    sources = [[(A, other)], [(A, B)], [(B, A)]]
    assert first_recorded(Records(tmp_path), sources, "", accuracy_lead).difference == pytest.approx(40)
    assert first_recorded(Records(tmp_path), [[(other, A)]], "", accuracy_lead).verdict == "not recorded"


def test_records_of_other_versions_are_left_out(tmp_path):
    strange = record(A, 0, 0.9)
    strange["experiment"]["field of tomorrow"] = 1
    results.save(strange, tmp_path)
    write(tmp_path / "elsewhere", B, [0.5])
    records = Records(tmp_path)
    assert not records.of(A)
    assert list(records.of(B)) == [0]


@pytest.mark.parametrize(
    ("first", "second", "reading", "table", "expected"),
    [
        ({"m": 3}, {"m": 1}, None, 5, {("EP m=3", "EP m=1"), ("EPM m=3", "EPM m=1")}),
        (
            {"m": 3},
            {"m": 1},
            "fixed weight",
            5,
            {("EP m=3 fixed weight", "EP m=1"), ("EPM m=3 fixed weight", "EPM m=1")},
        ),
        ({"selection": "epm"}, {"selection": "ep"}, None, 6, {("SL", "SL w/o EPM"), ("ML", "ML w/o EPM")}),
        ({"teaching": "both"}, {"teaching": "self"}, None, 6, {("ML", "SL"), ("ML w/o EPM", "SL w/o EPM")}),
        (
            {"teaching": "mutual"},
            {"teaching": "self"},
            "cross only",
            6,
            {("ML cross only", "SL"), ("ML w/o EPM cross only", "SL w/o EPM")},
        ),
    ],
)
def test_pairs_of_tables_5_and_6(first, second, reading, table, expected):
    pairs = changed(first, second, reading)(cells(table, "paper"))
    assert {(a.name, b.name) for a, b in pairs} == expected


def test_pairs_with_a_rival_share_labels_and_views():
    pairs = rival("mean-teacher")(cells(1, "paper"))
    assert len(pairs) == 6  # three numbers of labels, two readings
    for a, b in pairs:
        assert (a.method, b.method) == ("dnll", "mean-teacher")
        for field in ("labels", "weak", "strong", "epochs", "network"):
            assert getattr(a.experiment, field) == getattr(b.experiment, field)


def test_the_papers_networks_come_first():
    paper, laptop, digits = of_tables((1, 2, 3, 4), rival("mean-teacher"), [(A, B)])
    assert {e.network for pair in paper for e in pair} == {"cnn13", "wrn28-2"}
    assert {e.dataset for pair in laptop for e in pair} == {"mnist"}
    assert {e.dataset for pair in digits for e in pair} == {"digits"}
    assert digits[-1] == (A, B)
