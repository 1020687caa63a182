"""The figures of notebook 10: what is drawn is what the records hold, and intervals are Student's."""

import math

import numpy as np
import pytest

from dnll_core import figures, results
from dnll_core.figures.style import save
from dnll_core.study.statistics import interval


def record(accuracies, stabilised=None):
    rows = [{"epoch": i + 1, "test": {"submodels": [a - 0.1, a + 0.1]}} for i, a in enumerate(accuracies)]
    for row, share in zip(rows, stabilised or ()):
        row["stabilised"] = share
    return {"history": rows}


def every_figure():
    runs = [record([0.3, 0.5], [0.1, 0.4]), record([0.5, 0.7], [0.3, 0.5])]
    student = np.array([1.0, 2.0, 1.0])
    return {
        "averages": figures.method.averages(student, {"published": student / 2, "reversed": student}),
        "with_and_without": figures.curves.with_and_without(
            {"MT": {"mean-teacher": runs, "mean-teacher+dnll": runs[:1]}}
        ),
        "roles": figures.method.roles({"without": runs, "with": runs[:1]}),
        "finals": figures.curves.finals({"supervised": [0.7, 0.8], "dnll": [0.9]}),
        "differences": figures.curves.differences({"a − b": ("dnll", [0.1, 0.2]), "a − c": ("vat", [0.1])}),
    }


def test_redrawn_files_are_identical(tmp_path):
    for i in range(2):
        for name, figure in every_figure().items():
            save(figure, tmp_path / f"{name}{i}.png")
    for name in every_figure():
        assert (tmp_path / f"{name}0.png").read_bytes() == (tmp_path / f"{name}1.png").read_bytes()


def test_curves_draw_each_run_and_the_mean_in_panels_of_the_same_limits():
    runs = [record([0.3, 0.5]), record([0.5, 0.7])]
    figure = figures.curves.with_and_without(
        {"one": {"mean-teacher": runs}, "two": {"dual-student": runs[:1]}}, floor=0.2
    )
    left, right = figure.axes
    assert [line.get_ydata().tolist() for line in left.lines] == [
        pytest.approx(values) for values in ([0.3, 0.5], [0.5, 0.7], [0.4, 0.6])
    ]
    assert len(right.lines) == 1  # a single run is its own mean
    assert left.get_ylim() == right.get_ylim() == (0.2, 1)


def test_an_epoch_without_evaluation_is_left_out():
    run = record([0.3, 0.5, 0.7])
    del run["history"][1]["test"]
    [axis] = figures.curves.with_and_without({"one": {"dnll": [run]}}).axes
    assert axis.lines[0].get_xdata().tolist() == [1, 3]


def test_roles_fill_the_whole_panel():
    figure = figures.method.roles({"one": [record([0, 0, 0], [0.1, 0.5, 0.52])]})
    [axis] = figure.axes
    tops = [max(y for x, y in area.get_paths()[0].vertices if x == 1) for area in axis.collections]
    assert tops == pytest.approx([0.1, 0.2, 1.0])
    tops = [max(y for x, y in area.get_paths()[0].vertices if x == 3) for area in axis.collections]
    assert tops == pytest.approx([0.52, 1.0, 1.0])  # equals teach each other, and no share is negative


def test_finals_put_the_best_on_top_over_the_band_of_supervised_only():
    [axis] = figures.curves.finals({"dnll": [0.9, 0.8], "supervised": [0.7, 0.8], "vat": [0.95]}).axes
    assert [tick.get_text().split(",")[0] for tick in axis.get_yticklabels()] == ["supervised only", "DNLL", "VAT"]
    assert axis.lines[0].get_xdata() == pytest.approx([0.75, 0.75])
    [axis] = figures.curves.finals({"vat": [0.95]}).axes  # no band without supervised-only
    assert not axis.patches


@pytest.mark.parametrize("draw", [figures.curves.curves, figures.curves.finals])
def test_without_records_it_is_said_where_they_are_looked_for_and_how_they_are_made(draw, monkeypatch):
    monkeypatch.setenv("DNLL_RESULTS", "/kept/here")
    for groups, what in (({}, "any method"), ({"dnll": []}, "dnll"), ({"vat": [0.9], "dnll": []}, "dnll")):
        with pytest.raises(results.RecordError, match=f"no records of {what}.* below /kept/here.*dnll_core.campaign"):
            draw(groups)


def test_differences_are_in_points_with_the_first_on_top():
    [axis] = figures.curves.differences({"a − b": ("dnll", [0.1, 0.2]), "a − c": ("vat", [-0.1])}).axes
    assert [tick.get_text() for tick in axis.get_yticklabels()] == ["a − c, n = 1", "a − b, n = 2"]
    drawn = [list(line.get_xdata()) for line in axis.lines]
    assert pytest.approx([10, 20]) in drawn
    assert pytest.approx([-10]) in drawn


def test_interval_by_hand():
    # n = 2: t = tan(0.475 pi) = 12.706 with one degree of freedom, sd of 0 and 2 is sqrt 2, so 12.706 * sqrt 2 / sqrt 2
    assert interval([0, 2]) == pytest.approx(math.tan(0.475 * math.pi))
    assert interval([0.3]) == math.inf
