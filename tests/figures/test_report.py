"""The README's table and the figures are what the records give today."""

import json

import pytest
from scipy import stats

from dnll_core import results
from dnll_core.figures import report
from dnll_core.study.experiments import QUICKSTART_LABELS
from dnll_core.study.statistics import percent
from dnll_core.study.trials import REPORTED


def test_the_readme_is_not_stale():
    assert report.readme() == (report.ROOT / "README.md").read_text(), "run: make figures"


def test_the_figures_are_committed(tmp_path):
    names = {path.name for path in report.draw_figures(tmp_path)}
    assert names == {path.name for path in (report.ROOT / "figures").glob("*.png")}, "run: make figures"


def test_table_has_the_mean_of_the_records():
    groups, table = report.quickstart_records(), report.quickstart_table()
    for records in groups.values():
        values = results.accuracies(records)
        assert f"{percent(values, 1)}, worst {100 * min(values):.1f}" in table
    means = [results.mean_sd(results.accuracies(records))[0] for records in groups.values()]
    assert means == sorted(means)


@pytest.mark.parametrize("labels", QUICKSTART_LABELS)
def test_the_lead_in_the_table_is_of_the_same_splits_and_has_student_s_interval(labels):
    scores = {
        name: {r["seed"]: 100 * r["final"]["test"]["mean"] for r in records}
        for name, records in report.quickstart_records(labels).items()
    }
    for name, theirs in scores.items():
        assert [*theirs] == [*scores["dnll"]] == [*REPORTED]
        if name != "dnll":
            found = stats.ttest_rel([*scores["dnll"].values()], [*theirs.values()])
            low, high = found.confidence_interval(0.95)
            assert f"{(low + high) / 2:+.1f} ± {(high - low) / 2:.1f}" in report.quickstart_table()


def test_a_lead_is_of_the_splits_that_both_have_and_missing_records_are_said(monkeypatch, tmp_path):
    def of(method, values):
        made = {seed: {"seed": seed, "final": {"test": {"mean": v, "ensemble": v}}} for seed, v in values.items()}
        return [*made.values()]

    ours, theirs = of("dnll", {1: 0.9, 2: 0.8, 3: 0.7}), of("other", {0: 0.1, 2: 0.7, 3: 0.4})
    low, high = stats.ttest_1samp([10, 30], 0).confidence_interval(0.95)
    assert report._lead(ours, theirs) == f"{20:+.1f} ± {(high - low) / 2:.1f}"
    assert report._lead(ours, theirs[:2]) == "not recorded"  # a single pair
    monkeypatch.setenv("DNLL_RESULTS", str(tmp_path))
    table = report.quickstart_table()
    assert table.count("not recorded") >= 4 * 3 + 3 * 3
    assert "inf" not in table


def test_the_laptops_table_marks_what_was_not_searched():
    *lines, note, _, _ = report.laptop_table().splitlines()
    marked = [line.split(" | ")[0] for line in lines if "(not searched on MNIST) |" in line]
    names = ("mutual learning", "Π model", "Temporal Ensembling", "VAT", "MixMatch")
    assert marked == [f"| {name} (not searched on MNIST)" for name in names]
    trials = json.loads((results.root() / "search" / "laptop-start.json").read_text())["trials"]
    cost = {trial["changes"].get("weight_decay"): trial["mean"] for trial in trials if len(trial["changes"]) < 2}
    plain = next(trial["mean"] for trial in trials if not trial["changes"])
    assert f"cost DNLL {100 * (plain - cost[5e-3]):.1f} points" in note
    assert "not searched on MNIST ran without the weight decay of 0.005" in note


def test_numbers_of_a_smaller_network_are_marked_in_the_papers_table():
    lines = report.paper_table().splitlines()
    assert any(", laptop" in line for line in lines) and any(", short" in line for line in lines)
    assert [", laptop" in line for line in lines] == ["(smaller network)" in line for line in lines]


def test_render():
    text = "a\n<!-- t -->\nold\n<!-- end t -->\nb"
    assert report.render(text, {"t": "new"}) == "a\n<!-- t -->\nnew\n<!-- end t -->\nb"
    with pytest.raises(ValueError, match="<!-- u --> and <!-- end u --> are missing"):
        report.render(text, {"u": "new"})
