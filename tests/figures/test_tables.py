"""What is drawn is what the records hold, the paper's number stands beside it, and the profile is named."""

import numpy as np
import pandas as pd
import pytest
from fabricated import record, write
from gallery import groups
from matplotlib.colors import to_hex, to_rgb
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from dnll_core import figures
from dnll_core.figures.style import BLUE, METHODS
from dnll_core.paper import NUMBERS
from dnll_core.study import scorecard
from dnll_core.study.tables import cells


def texts(figure):
    found = [text.get_text() for axis in figure.axes for text in axis.texts]
    found += [axis.get_title(loc) for axis in figure.axes for loc in ("left", "center")]
    found += [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    return [*found, *([figure.get_suptitle()] if figure.get_suptitle() else [])]


def drawn_x(axis):
    return [list(line.get_xdata()) for line in axis.lines]


# -- points ------------------------------------------------------------------------------------------------------------


def test_points_are_the_runs_and_dashes_the_papers_numbers():
    figure = figures.tables.points_of_cells(
        groups(1, named={"DNLL 1000 literal", "DNLL 4000 literal", "FixMatch 1000 literal"})
    )
    first, last = figure.axes
    assert (first.get_title(), last.get_title()) == ("1000 labels", "4000 labels")
    assert [tick.get_text() for tick in first.get_yticklabels()] == ["DNLL", "FixMatch"]  # all are literal
    for axis, printed, drawn in ((first, 87.87, 2), (last, 92.06, 1)):
        assert [printed, printed] in drawn_x(axis)
        assert [sorted(marks.get_offsets()[:, 0]) for marks in axis.collections] == [pytest.approx([90, 92])] * drawn
        assert pytest.approx([91]) in drawn_x(axis)  # the mean
    assert sum(line == [87.87, 87.87] for line in drawn_x(first)) == 1  # the paper has no FixMatch
    assert "a run" in texts(figure) and figure.get_suptitle().endswith(", n = 2")
    both = figures.tables.points_of_cells(groups(1, named={"DNLL 1000 literal", "DNLL 1000 lineage"}))
    assert [tick.get_text() for tick in both.axes[0].get_yticklabels()] == ["DNLL, lineage", "DNLL, literal"]


def test_a_run_that_guesses_is_an_arrow_at_the_edge():
    of_table = groups(4, "laptop", n=1, named={"DNLL 20 noise", "VAT 20 noise"})
    vat = next(cell for cell in of_table if cell.method == "vat")
    of_table[vat] = [record(vat.experiment, 0, 0.103)]
    [axis] = figures.tables.points_of_cells(of_table).axes
    assert 10.3 < axis.get_xlim()[0] < 90
    assert [text.get_text() for text in axis.texts] == ["10.3%"]
    [axis] = figures.tables.points_of_cells({vat: of_table[vat]}).axes  # nothing beside it that it would squeeze
    assert axis.get_xlim()[0] < 10.3 and not axis.texts


@pytest.mark.parametrize(
    ("best", "worst", "dashes", "arrows"),
    [
        (0.60, 0.55, [], ["81.8%", "87.9%"]),
        (0.80, 0.75, [81.78, 87.87], []),  # ten points are always drawn
        (0.79, 0.60, [81.78, 87.87], []),  # half of 19 is less
        (0.76, 0.50, [81.78, 87.87], []),  # half of 26 is more
        (0.72, 0.58, [81.78], ["87.9%"]),
        (0.60, 0.103, [], ["81.8%", "87.9%"]),  # a run that guesses is an arrow, too, and takes no room
    ],
)
def test_numbers_of_the_paper_that_would_squeeze_the_runs_are_arrows_at_the_edge(best, worst, dashes, arrows):
    of_table = groups(
        1, "laptop", named={"DNLL 1000 lineage", "Mean Teacher 1000 lineage", "supervised only 1000 lineage"}
    )
    printed = [cell.printed for cell in of_table if cell.printed is not None]
    assert sorted(printed) == [81.78, 87.87]
    runs = {c: [record(c.experiment, 0, best if c.printed else worst)] for c in of_table}
    [axis] = figures.tables.points_of_cells(runs).axes
    assert [number for number in sorted(printed) if [number, number] in drawn_x(axis)] == dashes
    right = [text for text in axis.texts if text.xy[0] == 1]
    assert sorted(text.get_text() for text in right) == arrows
    low, high = axis.get_xlim()
    assert all(low < 100 * accuracy < high for accuracy in (best, worst) if accuracy > 0.2)
    if right:  # which is beyond the axis, and the runs have the axis
        assert high < min(float(text.get_text().strip("%")) for text in right)
        axis.figure.draw_without_rendering()
        assert all(Text.get_window_extent(text).x0 > axis.get_window_extent().x1 for text in right)
        assert dashes or worst < 0.2 or 100 * best > low + 0.7 * (high - low)
    said = {"the paper": bool(dashes), "the paper's number, outside the axis": bool(arrows)}
    assert {name: name in texts(axis.figure) for name in said} == said


@pytest.mark.parametrize("best", [0.61, 0.76, 0.78])
def test_no_number_outside_the_axis_is_one_of_it(best):
    of_table = groups(
        1, "laptop", named={"DNLL 1000 lineage", "Mean Teacher 4000 lineage", "Dual Student 4000 lineage"}
    )
    runs = {c: [record(c.experiment, seed, x) for seed, x in enumerate((0.6, best))] for c in of_table}
    axes = figures.tables.points_of_cells(runs).axes
    for axis in axes:
        low, high = axis.get_xlim()
        assert low < 60 and 100 * best < high and high - low >= 10
        outside = [text.get_text().strip("%") for text in axis.texts if "%" in text.get_text()]
        assert all(float(number) > high for number in outside) and (outside or axis is axes[0])


def test_each_panel_has_an_axis_of_its_own():
    """Ten points at least, with all runs and the bars of their means."""
    names = {f"{method} {labels} lineage" for method in ("FixMatch", "Pseudo-Label") for labels in (1000, 4000)}
    at = {1000: (0.55, 0.57), 4000: (0.66, 0.90)}
    runs = {
        c: [record(c.experiment, i, x) for i, x in enumerate(at[c.labels])] for c in groups(1, "laptop", named=names)
    }
    few, many = (axis.get_xlim() for axis in figures.tables.points_of_cells(runs).axes)
    assert 50 < few[0] < 55 and 57 < few[1] < 66 and few[1] - few[0] >= 10
    assert 55 < many[0] < 78 - 24 / 2**0.5 and 78 + 24 / 2**0.5 < many[1] <= 103


def test_a_panel_near_the_top_has_no_tick_above_100():
    of_table = groups(4, "laptop", n=0, named={"DNLL 100 noise"})
    [axis] = figures.tables.points_of_cells(of_table).axes
    low, high = axis.get_xlim()
    assert high > 99.54 and high - low >= 10
    assert all(tick <= 100 for tick in axis.get_xticks() if low <= tick <= high)


def test_a_number_at_the_edge_says_where_no_run_is_recorded():
    of_table = groups(1, "laptop", n=1, named={"DNLL 1000 lineage", "Mean Teacher 1000 lineage"})
    runs = {cell: [record(cell.experiment, 0, 0.6)] * (cell.method == "dnll") for cell in of_table}
    shown = figures.tables.points_of_cells(runs).axes
    assert [text.get_text() for axis in shown for text in axis.texts] == ["87.9%", "81.8%", "not recorded"]


def test_the_papers_own_network_and_images_have_no_arrows():
    [cell] = groups(1, "paper", named={"DNLL 1000 lineage"})
    assert not figures.tables.points_of_cells({cell: [record(cell.experiment, 0, 0.2)]}).axes[0].texts


def test_no_bar_of_a_mean_leaves_the_accuracies_there_are():
    cell = next(cell for cell in cells(4, "laptop") if cell.name == "DNLL 20 noise")
    records = [record(cell.experiment, seed, accuracy) for seed, accuracy in enumerate((0.7, 0.99, 0.99))]
    for axis, most in (
        (figures.tables.points_of_cells({cell: records}).axes[0], 100),
        (figures.curves.finals({"dnll": records}).axes[0], 1),
        (figures.curves.curves({"": {"dnll": [*records, *records]}}).axes[0], 1),
    ):
        assert max(axis.dataLim.x1 if axis.get_ylabel() == "" else axis.dataLim.y1, most) == most


def test_what_is_not_recorded_is_named():
    figure = figures.tables.points_of_cells(groups(2, n=0))
    assert texts(figure).count("not recorded") == sum(cell.printed is not None for cell in cells(2, "paper"))
    assert "a run" not in texts(figure) and figure.get_suptitle().endswith(", not recorded")
    assert "mean ± sd" not in texts(figure)
    names = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    assert "FixMatch" not in names  # nothing to draw: no run, and no number in the paper


def test_a_line_that_a_panel_lacks_is_named():
    lacks = "supervised only 4000"  # of which the paper has no number
    of_table = {cell: [] if cell.name == lacks else records for cell, records in groups(2, n=1).items()}
    few, many = figures.tables.points_of_cells(of_table).axes
    y = [tick.get_text() for tick in few.get_yticklabels()].index("supervised only")
    assert [(text.get_text(), text.get_position()[1]) for text in many.texts] == [("not run", y)] and not few.texts


def test_departures_are_hollow():
    figure = figures.tables.points_of_cells(groups(6, n=1, named={"ML", "ML cross only"}))
    faces = [marks.get_facecolors()[0] for marks in figure.axes[0].collections]
    assert [to_hex(face) for face in faces] == [METHODS["dnll"].color.lower(), "#ffffff"]


# -- curves and Table 5 ------------------------------------------------------------------------------------------------


def test_curves_draw_each_run_their_mean_and_the_papers_numbers():
    named = {"DNLL 1000 literal", "DNLL 4000 literal", "DNLL 2000 literal"}
    of_table = groups(1, named=named)
    missing = next(cell for cell in of_table if cell.labels == 2000)
    [axis] = figures.tables.curves_of_cells({**of_table, missing: []}).axes
    curves = [list(line.get_ydata()) for line in axis.lines if len(line.get_xdata()) == 4]
    one = [0.5, 0.7, 0.8, 0.9], [0.51, 0.71, 0.81, 0.92], [0.505, 0.705, 0.805, 0.91]
    assert curves == [pytest.approx(values) for _ in range(2) for values in one]
    labels = [text.get_text() for text in axis.texts]
    named = ["the paper 87.87%", "DNLL 1000 literal", "DNLL 4000 literal", "the paper 92.06%"]
    assert labels == named and not axis.get_legend() and not axis.figure.legends
    heights = [text.get_position()[1] for text in axis.texts]
    assert min(np.diff(heights)) > 0.05 and heights[-1] <= 1  # so that no name covers another
    means = [line for line in axis.lines if line.get_label().startswith("DNLL")]
    assert len({(line.get_linestyle(), line.get_markerfacecolor()) for line in means}) == 2  # told apart
    light, dark = (sum(to_rgb(line.get_color())) for line in sorted(means, key=lambda line: line.get_label()))
    assert light > dark  # the more labels the darker
    with pytest.raises(ValueError, match="at least one cell with records"):
        figures.tables.curves_of_cells({missing: []})


def test_sensitivity_has_a_panel_for_the_fixed_weight_only_with_records():
    of_table = groups(5)
    plain, fixed = figures.sensitivity.sensitivity(of_table).axes
    assert fixed.get_title() == "the same total weight for every m"
    assert plain.get_ylim() == fixed.get_ylim()
    some = {cell: [] if cell.reading else records for cell, records in of_table.items()}
    [axis] = figures.sensitivity.sensitivity(some).axes
    printed = [NUMBERS[key] for key in NUMBERS if key.table == 5 and key.selection == "epm"]
    assert printed in [list(line.get_ydata()) for line in axis.lines]
    assert next(line.get_linestyle() for line in axis.lines if line.get_color() == BLUE) == "-"  # means are joined
    [single] = figures.sensitivity.sensitivity(groups(5, "quick", n=1)).axes
    own = [line for line in single.lines if line.get_color() == BLUE and line.get_marker() in {"s", "o"}]
    assert [line.get_linestyle() for line in own] == ["None"] * 2  # single runs are not
    of_table = groups(5, "quick")
    fewer = next(cell for cell in of_table if cell.experiment.selection == "ep")
    [mixed] = figures.sensitivity.sensitivity(of_table | {fewer: of_table[fewer][:1]}).axes
    own = [line for line in mixed.lines if line.get_color() == BLUE and line.get_marker() in {"s", "o"}]
    assert [line.get_linestyle() for line in own] == ["None", "--"]  # nor is one among means
    [quick] = figures.sensitivity.sensitivity(groups(5, "quick")).axes
    assert printed not in [list(line.get_ydata()) for line in quick.lines]  # the paper has no digits


def test_titles_name_the_profile():
    title_of = figures.tables.title_of
    assert title_of(groups(2)) == "Table 2: CIFAR-10, WRN-28-2, n = 2"
    assert title_of(groups(5, "quick", 1)) == (
        "Digits, small network, 40 epochs, n = 1\n(stand-in for Table 5; settings searched at 75 epochs)"
    )
    at_14 = "MNIST at 14 × 14 pixels, small network, 6 epochs, n = 3\n(stand-in for Table 4)"
    assert title_of(groups(4, "laptop", 3)) == at_14
    some = groups(3, "short", 1) | {next(iter(groups(3, "short"))): []}
    assert title_of(some, "Figure") == "SVHN, WRN-28-2, 28 epochs, n = 1 (Figure, profile short)"
    for figure in (
        figures.tables.points_of_cells(groups(3, "quick")),
        figures.tables.curves_of_cells(groups(3, "quick")),
        figures.sensitivity.sensitivity(groups(5, "quick")),
    ):
        assert any(text.startswith("Digits, small network") and "stand-in" in text for text in texts(figure))
    with pytest.raises(ValueError, match="at least one cell"):
        title_of({})


# -- the scorecard -----------------------------------------------------------------------------------------------------


def test_the_scorecard_shows_every_attempted_number(tmp_path):
    rows = scorecard.rows(tmp_path)
    figure = figures.scorecard.scorecard_figure(rows)
    attempted = rows[rows["verdict"] != "not attempted"]
    boxes = [patch for axis in figure.axes for patch in axis.patches if isinstance(patch, Rectangle)]
    assert len(boxes) == len(attempted)
    shown = texts(figure)
    for printed in attempted["printed"]:
        assert f"{printed:.2f}" in shown or f"{printed:.2f} ×" in shown
    assert figure.get_suptitle().startswith("0 of 0 recorded numbers reach the paper's; 57 boxes are not recorded")
    assert {f"Table {n}" for n in range(1, 8)} == {text.split(" ·")[0] for text in shown if " · " in text}


def test_the_scorecard_has_both_numbers_the_sign_and_the_profile(tmp_path):
    rows = scorecard.rows(tmp_path)
    for cell, ours, verdict in (("DNLL 1000 literal", 88.01, "green"), ("DNLL 2000 literal", 80.02, "red")):
        rows.loc[rows["cell"] == cell, ["ours", "verdict", "profile"]] = [ours, verdict, "short"]
    figure = figures.scorecard.scorecard_figure(rows)
    shown = texts(figure)
    assert {"88.01", "80.02", "✓", "✗"} <= set(shown)
    assert shown.count("short") == 2
    assert figure.get_suptitle().startswith("1 of 2 recorded numbers")


def test_the_scorecard_gives_a_smaller_network_no_colour(tmp_path):
    laptop = next(cell for cell in cells(4, "laptop") if cell.name == "DNLL 50 noise")
    write(tmp_path / "tables", laptop.experiment, [0.9999, 0.9999])  # above the paper's 99.32
    figure = figures.scorecard.scorecard_figure(scorecard.rows(tmp_path))
    shown = texts(figure)
    assert {"99.99", "smaller\nnetwork", "99.32"} <= set(shown)
    assert not {"✓", "✗"} & set(shown)
    faces = {patch.get_facecolor() for axis in figure.axes for patch in axis.patches if isinstance(patch, Rectangle)}
    assert all(len(set(face[:3])) == 1 for face in faces)  # white and greys
    assert figure.get_suptitle().startswith("0 of 0 recorded numbers reach the paper's; 56 boxes are not recorded.")
    assert "1 numbers of a smaller network or smaller images are not compared" in figure.get_suptitle()


def test_the_scorecard_draws_what_it_is_given():
    rows = scorecard.rows("no such folder")
    figure = figures.scorecard.scorecard_figure(rows[rows["table"] == 4])
    assert [text for text in texts(figure) if " · " in text] == ["Table 4 · MNIST, CNN-13: accuracy, %"]
    assert isinstance(rows, pd.DataFrame)
