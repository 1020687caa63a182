"""statistics: how groups of records are said, with and without records."""

from test_results import fake

from dnll_core.study.statistics import comparison, percent, provenance_of


def test_comparison_and_percent():
    group = [fake(0.8, [(0.7, 0.9), (0.8, 0.8)]), fake(0.6, [(0.5, 0.5), (0.6, 0.6)])]
    table = comparison({"a": group, "none": []})
    assert table.loc["a", "last epoch, mean of submodels (%)"] == "70.0 ± 14.1"
    assert table.loc["none", "n"] == 0
    assert table.loc["none", "seconds a run"] == "not recorded"
    assert percent([0.5], 1) == "50.0" and percent([0.5]) == "50.00"
    assert percent([0.8, 0.6]) == "70.00 ± 14.14"
    assert provenance_of([]) == "not recorded"
