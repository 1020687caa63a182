"""Curves, ends, differences and ratios: what is drawn is what the records hold."""

import numpy as np
import pytest
from fabricated import run
from gallery import MANY

from dnll_core import figures, results
from dnll_core.figures.curves import curves, differences, finals, ratios
from dnll_core.figures.style import METHODS


def ys(axis):
    return [list(line.get_ydata()) for line in axis.lines]


def near(*rows):
    return [pytest.approx(row) for row in rows]


def names(axis):
    return [tick.get_text() for tick in axis.get_yticklabels()]


def bars(axis):
    """The ends of the error bars, from the top."""
    return [(np.nanmin(x), np.nanmax(x)) for x in (line.get_xdata() for line in axis.lines) if len(x) > 2]


def marks(axis):
    """The runs on each line, from the top."""
    return [sorted(group.get_offsets()[:, 0].tolist()) for group in axis.collections]


def test_few_runs_are_drawn_one_by_one_with_their_mean_in_panels_of_the_same_limits():
    runs = [run(0.3, 0.5), run(0.5, 0.7, seed=1)]
    figure = curves({"one": {"mean-teacher": runs}, "two": {"dual-student": runs[:1]}}, ylim=(0.2, 1))
    left, right = figure.axes
    assert ys(left) == near([0.3, 0.5], [0.5, 0.7], [0.4, 0.6])
    assert ys(right) == near([0.3, 0.5])  # a single run is its own mean
    assert left.get_ylim() == right.get_ylim() == (0.2, 1)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["Mean Teacher, n = 2", "Dual Student, n = 1"]


def test_of_many_runs_a_band_of_their_standard_deviation_is_drawn():
    [axis] = curves({"": {"dnll": MANY}}).axes
    ends = np.array([record["final"]["test"]["mean"] for record in MANY])
    [mean], [band] = ys(axis), axis.collections
    assert mean == pytest.approx([0.2, ends.mean()])
    at_the_end = [y for x, y in band.get_paths()[0].vertices if x == 2]
    sd = ends.std(ddof=1)
    assert (min(at_the_end), max(at_the_end)) == pytest.approx((ends.mean() - sd, ends.mean() + sd))
    [plain] = curves({"": {"dnll": MANY}}, spread=False).axes
    assert not plain.collections and ys(plain) == [mean]


def test_levels_and_an_epoch_that_was_not_evaluated():
    record = run(0.3, 0.5, 0.7)
    del record["history"][1]["test"]
    [axis] = curves({"title": {"dnll": [record]}}, levels={"label-spreading": 0.9}).axes
    assert axis.lines[0].get_xdata().tolist() == [1, 3]
    assert ys(axis)[1] == [0.9, 0.9]
    legend = [text.get_text() for text in axis.get_legend().get_texts()]
    assert legend == ["DNLL, n = 1", "LabelSpreading"] and axis.get_title("left") == "title"


def test_measures_of_variants_and_functions_of_the_frame():
    pair = [run(0.5, 0.5, agreement=[0.2, 0.4]), run(0.5, 0.5, seed=1, agreement=[0.4, 0.8])]
    groups = {"dnll both ep": pair, "mutual-learning 0": [run(0.5, 0.5, agreement=1)]}
    live, recorded = curves({"live": groups, "recorded": {"dnll both ep": pair[:1]}}, "agreement", "y", log=True).axes
    assert ys(live) == near([0.2, 0.4], [0.4, 0.8], [0.3, 0.6], [1, 1])
    assert len(recorded.lines) == 1 and recorded.get_xscale() == "log"
    legend = [text.get_text() for text in live.figure.legends[0].get_texts()]
    assert legend == ["DNLL both, EP", "positive, no threshold"]  # the former has another n in each panel
    [axis] = curves({"": {"dnll self epm": pair}}, lambda rows: 1 - rows["agreement"], spread=False).axes
    assert ys(axis) == near([0.7, 0.4])


def test_finals_put_the_best_on_top_over_the_band_of_supervised_only():
    groups = {"dnll": (0.9, 0.8), "supervised": (0.7, 0.8), "vat": (0.95,)}
    groups = {name: [run(0.1, a, seed=seed) for seed, a in enumerate(own)] for name, own in groups.items()}
    [axis] = finals(groups).axes
    assert names(axis) == ["VAT, n = 1", "DNLL, n = 2", "supervised only, n = 2"]
    assert axis.get_ylim()[0] > axis.get_ylim()[1]  # so the first is on top
    assert marks(axis) == near([0.95], [0.8, 0.9], [0.7, 0.8])
    assert axis.lines[0].get_xdata() == pytest.approx([0.75, 0.75])
    sd = 0.005**0.5
    assert bars(axis) == near((0.85 - sd, 0.85 + sd), (0.75 - sd, 0.75 + sd))
    assert axis.get_title("left") == "digits, 20 labels"
    [axis] = finals({"vat": groups["vat"]}).axes  # no band without supervised-only
    assert not axis.patches


def test_differences_are_in_points_with_the_first_on_top():
    [axis] = differences({"a − b": ("dnll", [10, 20]), "a − c": ("vat", [-10])}).axes
    assert names(axis) == ["a − b, n = 2", "a − c, n = 1"]
    assert marks(axis) == near([10, 20], [-10])
    half = 12.7062 * 5  # Student's t with one degree of freedom times the standard error
    assert bars(axis) == near((15 - half, 15 + half))


def test_ratios_stand_on_the_lines_of_their_names_with_interval_count_and_paper():
    panel = {"dnll both epm": (0.4, 0.3, 0.6), "dnll both ep": (0.3, 0.2, 0.4)}
    [axis] = ratios({"all": panel}, (1 / 3, "expected"), "x").axes
    assert names(axis) == ["DNLL both, EP", "DNLL both, EPM"]
    drawn = {error.lines[0].get_ydata()[0]: error.lines for error in axis.containers}
    assert drawn[1][0].get_xdata() == [0.4]
    [[(low, _), (high, _)]] = drawn[1][2][0].get_segments()
    assert (low, high) == pytest.approx((0.3, 0.6))
    figure = ratios({"": {"dnll": (2.1, 1.9, 2.2)}}, (1, ""), "x", counted={"dnll": 2.0}, printed={"dnll": 1.99})
    values = {float(x) for line in figure.axes[0].lines for x in np.atleast_1d(line.get_xdata())}
    assert {1.0, 2.1, 2.0, 1.99} <= values
    assert [text.get_text() for text in figure.legends[0].get_texts()][1:] == ["FLOPs", "the paper's"]


def test_roles_fill_the_whole_panel():
    figure = figures.method.roles({"one": [run(0, 0, 0, stabilised=[0.1, 0.5, 0.52])]})
    [axis] = figure.axes
    tops = [max(y for x, y in area.get_paths()[0].vertices if x == 1) for area in axis.collections]
    assert tops == pytest.approx([0.1, 0.2, 1.0])
    tops = [max(y for x, y in area.get_paths()[0].vertices if x == 3) for area in axis.collections]
    assert tops == pytest.approx([0.52, 1.0, 1.0])  # equals teach each other, and no share is negative


@pytest.mark.parametrize("end", [0.0, 0.5, 1.0])
def test_names_at_the_ends_of_lines_do_not_cover_each_other_and_stay_beside_the_panel(end):
    [axis] = curves({"": {name: [run(0.3, end)] for name in ("dnll", "vat", "mixmatch")}}, ends=[]).axes
    assert {text.get_text() for text in axis.texts} == {"DNLL", "VAT", "MixMatch"} and not axis.get_legend()
    heights = sorted(text.get_position()[1] for text in axis.texts)
    assert min(np.diff(heights)) > 0.05 and heights[0] >= 0 and heights[-1] <= 1


def test_a_panel_of_many_lines_is_drawn_as_several_of_eight():
    methods = [*METHODS][:9]
    one, two = curves({"digits": {name: [run(0.3, 0.5)] for name in methods}}).axes
    assert [axis.get_title("left") for axis in (one, two)] == ["digits (1 of 2)", "digits (2 of 2)"]
    assert (len(one.lines), len(two.lines)) == (8, 1)


@pytest.mark.parametrize("draw", [lambda groups: curves({"": groups}), finals])
def test_without_records_it_is_said_where_they_are_looked_for_and_how_they_are_made(draw, monkeypatch):
    monkeypatch.setenv("DNLL_RESULTS", "/kept/here")
    for groups, what in (({}, "any method"), ({"dnll": []}, "dnll"), ({"vat": [run(0.9)], "dnll": []}, "dnll")):
        with pytest.raises(results.RecordError, match=f"no records of {what}.* below /kept/here.*dnll_core.campaign"):
            draw(groups)
