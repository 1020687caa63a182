"""The README's table and the figures are what the records give today."""

import copy
import shutil
from pathlib import Path

import pytest
from fabricated import write
from matplotlib.text import Text
from PIL import Image
from scipy import stats

from dnll_core import results
from dnll_core.figures import report
from dnll_core.figures.in_short import in_short
from dnll_core.figures.style import plotted
from dnll_core.study.experiments import QUICKSTART_LABELS
from dnll_core.study.searches import REPORTED
from dnll_core.study.statistics import percent
from dnll_core.study.tables import cells


def test_the_readme_is_not_stale():
    assert report.readme() == (report.ROOT / "README.md").read_text(encoding="utf-8"), "run: make figures"


def stale(folder):
    """Names of figures that do not show the records of today."""
    found = {path.name: Image.open(path).info.get("Plotted") for path in Path(folder).glob("*.png")}
    today = {name: plotted(figure) for name, figure in report.figures().items()}
    return {name for name in found.keys() | today.keys() if found.get(name) != today.get(name)}


def test_the_figures_are_not_stale():
    assert stale(report.ROOT / "figures") == set(), "run: make figures"


def test_the_readmes_figures_are_readable_where_it_shows_them():
    """It scales them to 880 pixels of 1/96 inch."""
    for name, figure in report.figures().items():
        scale = min(1, 880 / 96 / figure.get_figwidth())
        sizes = {text.get_text(): scale * text.get_fontsize() for text in figure.findobj(Text) if text.get_text()}
        small = {text: size for text, size in sizes.items() if size < 6.9}
        assert sizes and not small, f"{name}: {small}"


def test_a_figure_is_stale_after_one_changed_record(monkeypatch):
    """One epoch of one run of forty, by a tenth of a point."""
    records = report.quickstart_records

    def changed(*labels):
        groups = copy.deepcopy(records(*labels))
        groups["dnll"][0]["history"][9]["test"]["submodels"][0] += 0.002
        return groups

    monkeypatch.setattr(report, "quickstart_records", changed)
    assert stale(report.ROOT / "figures") == {"quickstart_curves.png"}


def test_a_figure_without_a_digest_or_that_nothing_draws_is_stale(tmp_path):
    for path in (report.ROOT / "figures").glob("*.png"):
        shutil.copy(path, tmp_path)
    Image.open(tmp_path / "idea.png").save(tmp_path / "idea.png")
    shutil.copy(tmp_path / "scorecard.png", tmp_path / "old.png")
    (tmp_path / "scorecard.png").unlink()
    assert stale(tmp_path) == {"idea.png", "old.png", "scorecard.png"}


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
            ahead = f"{(low + high) / 2:+.1f} ± {(high - low) / 2:.1f}".replace("-", "−")
            assert ahead in report.quickstart_table()


def test_missing_records_are_said(monkeypatch, tmp_path):
    monkeypatch.setenv("DNLL_RESULTS", str(tmp_path))
    table = report.quickstart_table()
    assert table.count("not recorded") >= 4 * 3 + 3 * 3
    assert "inf" not in table


def test_numbers_of_a_smaller_network_are_marked_in_the_papers_table():
    lines = report.paper_table().splitlines()
    assert any(", laptop" in line for line in lines) and any(", short" in line for line in lines)
    assert [", laptop" in line for line in lines] == ["(smaller network)" in line for line in lines]


def test_render():
    text = "a\n<!-- t -->\nold\n<!-- end t -->\nb"
    assert report.render(text, {"t": "new"}) == "a\n<!-- t -->\nnew\n<!-- end t -->\nb"
    with pytest.raises(ValueError, match="<!-- u --> and <!-- end u --> are missing"):
        report.render(text, {"u": "new"})


def test_the_first_table_has_the_best_of_the_others_in_each_line(tmp_path):
    """By the runs of the seeds that DNLL has, too; the ways of DNLL and what has other views are not among them."""
    made = {
        "DNLL 1000 lineage": (0.5, 0.6),
        "DNLL 1000 RandAugment": (0.9,),
        "Mean Teacher 1000 lineage": (0.7, 0.5, 0.6),
        "Mean Teacher 1000 as long": (0.95,),
        "Pseudo-Label 1000 lineage": (0.58, 0.56),
        "supervised only 1000 lineage": (0.3,),
        "FixMatch 1000 lineage": (0.4, 0.4, 0.99, 0.99),  # better on average, but not on the seeds that DNLL has
        "FixMatch, RandAugment 1000": (0.99,),
        "Dual Student 4000 lineage": (0.4,),
    }
    made_large = {"DNLL 4000": (0.8,), "FixMatch, RandAugment 4000": (0.95,), "Mean Teacher 4000": (0.7,)}
    made_large |= {"DNLL 20 noise": (0.5,), "DNLL 20 literal": (0.6,), "supervised only 20 literal": (0.4,)}
    made_large |= {"Mean Teacher 20 noise": (0.7,), "DNLL 4000 lineage": (0.75,), "DNLL 4000 literal": (0.65,)}
    made_large |= {"supervised only 4000 lineage": (0.73,), "supervised only 4000 literal": (0.63,)}
    for cell in (*cells(1, "laptop"), *(cell for table in (1, 2, 4) for cell in cells(table, "short"))):
        own = made if cell.profile == "laptop" else made_large
        write(tmp_path / "tables", cell.experiment, own.get(cell.name, ()))
    [whole] = [cell for cell in cells(2, "paper") if cell.name == "DNLL 4000"]
    write(tmp_path / "tables", whole.experiment, [0.9])
    lines = [[each.strip() for each in line.strip("|").split("|")] for line in in_short(tmp_path).splitlines()]
    found = {line[0]: line[1:] for line in lines}
    best = "60.0 ± 10.0, Mean Teacher (of 3)"
    assert found["CIFAR-10, 16 × 16, 1000 labels"] == ["30.0", "55.0 ± 7.1", best, "–", "1...3"]
    assert found["CIFAR-10, 16 × 16, 4000 labels"] == ["–", "not recorded", "40.0, Dual Student (of 1)", "–", "1"]
    assert found["digits, 8 × 8 pixels, 20 labels"] == ["–", "not recorded", "–", "–", ""]
    assert lines[-6:] == [  # all that is recorded with the paper's networks
        ["CIFAR-10, CNN-13, 4000 labels, 45 passes, lineage", "73.0", "75.0", "–", "92.06", "1"],
        ["CIFAR-10, CNN-13, 4000 labels, 45 passes, literal", "63.0", "65.0", "–", "92.06", "1"],
        ["CIFAR-10, WRN-28-2, 4000 labels, 45 passes", "–", "80.0", "70.0, Mean Teacher (of 1)", "94.29", "1"],
        ["CIFAR-10, WRN-28-2, 4000 labels, 100 passes", "–", "90.0", "–", "94.29", "1"],
        ["MNIST, CNN-13, 20 labels, 32 passes, literal", "40.0", "60.0", "–", "99.19", "1"],
        ["MNIST, CNN-13, 20 labels, 32 passes, noise", "40.0", "50.0", "70.0, Mean Teacher (of 1)", "99.19", "1"],
    ]
