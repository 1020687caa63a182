"""The README's table and the figures are what the records give today."""

import pytest

from dnll_core import results
from dnll_core.figures import report


def test_the_readme_is_not_stale():
    assert report.readme() == (report.ROOT / "README.md").read_text(), "run: make figures"


def test_the_figures_are_committed(tmp_path):
    names = {path.name for path in report.draw_figures(tmp_path)}
    assert names == {path.name for path in (report.ROOT / "figures").glob("*.png")}, "run: make figures"


def test_table_has_the_mean_of_the_records():
    groups = report.quickstart_records()
    table = report.groups_table(report.quickstart_records())
    for records in groups.values():
        assert results.percent(results.accuracies(records)) in table
    means = [results.mean_sd(results.accuracies(records))[0] for records in groups.values()]
    assert means == sorted(means)


def test_render():
    text = "a\n<!-- t -->\nold\n<!-- end t -->\nb"
    assert report.render(text, {"t": "new"}) == "a\n<!-- t -->\nnew\n<!-- end t -->\nb"
    with pytest.raises(ValueError, match="<!-- u --> and <!-- end u --> are missing"):
        report.render(text, {"u": "new"})
