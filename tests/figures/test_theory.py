"""The figures of notebook 01: what is drawn where, and sliders that redraw."""

import numpy as np
import pytest
from ipywidgets import FloatSlider, IntSlider

from dnll_core import figures
from dnll_core.figures.style import WIDGET, canvas
from dnll_core.paper.simulate import Estimate, agreement_rows, epm_rows, transfer_rows
from dnll_core.paper.theorems import lookalike_confusion, lookalikes, negative_push, theorem32


def lines_of(axis):
    return {line.get_label(): line for line in axis.get_lines()}


def test_with_interval():
    assert figures.theory.with_interval(Estimate(40, 100), digits=2) == "0.40 [0.31, 0.50]"
    assert figures.theory.with_interval(Estimate(40, 100, 4), digits=2) == "0.10 [0.08, 0.12]"


def test_points_are_rates_with_their_intervals_and_an_upper_limit_where_nothing_was_counted():
    estimates = [Estimate(40, 100), Estimate(0, 100)]
    with canvas() as (_figure, axis):
        figures.theory.points(axis, [1, 2], estimates)
        [container] = axis.containers
        data, _caps, [bars] = container.lines
        assert data.get_ydata() == pytest.approx([0.4, estimates[1].interval[1]])
        some, none = bars.get_segments()
        assert some[:, 1] == pytest.approx(estimates[0].interval)
        assert none[:, 1].max() == pytest.approx(estimates[1].interval[1])


def test_transfer_draws_one_line_for_each_accuracy_and_a_point_for_each_cell():
    rows = transfer_rows([4, 6], [1, 3], [0.3, 0.9], draws=2_000)
    figure = figures.theory.transfer(rows, 6)
    sets, _single, rest = figure.axes
    assert {"accuracy 30%", "accuracy 90%"} <= set(lines_of(sets))
    assert lines_of(sets)["accuracy 30%"].get_ydata() == pytest.approx(0.7 * np.arange(1, 6) / 5)
    assert len(rest.containers) == len(rows)
    assert [text.get_text() for text in rest.texts] == ["K = 4", "K = 6"]


def test_set_pairs_counts_as_theorem32():
    figure = figures.theory.set_pairs(5, 2)
    exact = theorem32(5, 2, 0.5)
    for axis, name in zip(figure.axes, ("eq27", "eq28")):
        shade = axis.images[0].get_array()
        assert (shade == 2).mean() == pytest.approx(float(exact[name]))
    assert "3 of 36" in figure.axes[1].get_title()


def test_epm_errors_has_a_panel_for_each_m_and_a_line_for_each_case():
    teacher, pointers = lookalike_confusion(4, 0.5, 0.9), {"same": lookalikes(4)}
    rows = epm_rows(teacher, pointers, [0, 3], [1, 2], draws=2_000)
    figure = figures.theory.epm_errors(rows, teacher, pointers)
    assert len(figure.axes) == 2
    assert lines_of(figure.axes[0])["same"].get_ydata()[[0, -1]] == pytest.approx([r["set_error"] for r in rows[:2]])


def test_pushes_draws_a_bar_for_each_class():
    belief = np.array([0.5, 0.4, 0.05, 0.05])
    push = negative_push(belief, 0)
    figure = figures.theory.pushes(push, belief, np.linspace(0, 1, 3), {"equal probability": np.arange(3)})
    assert [bar.get_height() for bar in figure.axes[0].patches] == pytest.approx(list(push))


def test_agreement_draws_paper_correction_and_simulation():
    rows = agreement_rows([6], range(1, 6), [0, 0.5, 1], draws=2_000)
    left, right = figures.theory.agreement(rows, 6, 1, 0.5).axes
    for label in ("corrected", "paper, Eqs. 29-30", "paper, Eq. 32 (Theorem 3.2)"):
        assert len(lines_of(left)[label].get_xdata()) == 5
        assert list(lines_of(right)[label].get_xdata()) == [0, 0.5, 1]
        assert lines_of(left)[label].get_linestyle() == ("-" if label == "corrected" else "--")
    assert np.isnan(lines_of(left)["paper, Eqs. 29-30"].get_ydata()[-1])


@pytest.mark.parametrize(("K", "m", "accuracy", "agreement"), [(2, 1, 0, 0), (10, 3, 0.6, 0.5), (30, 29, 1, 1)])
def test_explorer_at_ordinary_and_extreme_values(K, m, accuracy, agreement):
    figure = figures.theory.explorer(K, m, accuracy, agreement, draws=500)
    left, right = figure.axes
    assert left.get_ylim() == (0, 1) and right.get_ylim()[0] > 0
    assert f"K = {K} classes" in figure.get_suptitle()
    for axis in figure.axes:  # whole m alone, and no line without a mark, for at K = 2 it has one point
        ticks = axis.get_xticks()
        assert set(ticks) <= {*range(1, K)} and (len(ticks) == K - 1 or K > 15) and axis.get_xlim() == (0.5, K - 0.5)
        own = [line for line in axis.lines if np.size(line.get_xdata()) == K - 1]
        assert own and all(line.get_marker() not in ("None", "") for line in own if line.get_linestyle() != "None")


def test_sliders_redraw_and_m_stays_below_K():
    drawn = []
    box = figures.theory.explore(10, 9, 0.6, 0.5, draw=lambda **values: drawn.append(values))
    K, m, accuracy, agreement = (slider for row in box.children[:2] for slider in row.children)
    assert isinstance(K, IntSlider) and isinstance(accuracy, FloatSlider)
    assert drawn == [{"K": 10, "m": 9, "accuracy": 0.6, "agreement": 0.5}]
    agreement.value = 1.0
    assert drawn[-1]["agreement"] == 1.0
    K.value = 4
    assert (m.max, m.value) == (3, 3) and drawn[-1]["K"] == 4
    assert all(values["m"] < values["K"] for values in drawn)
    K.value = 2
    assert drawn[-1] == {"K": 2, "m": 1, "accuracy": 0.6, "agreement": 1.0}
    K.value = 30
    m.value = 29
    assert drawn[-1]["m"] == 29


def test_sliders_have_one_name_and_those_of_before_are_closed():
    first = figures.theory.explore(5, 2, draw=lambda **values: None)
    second = figures.theory.explore(5, 2, draw=lambda **values: None)
    assert first.comm is None
    assert second.model_id == WIDGET


def test_without_a_draw_function_the_sliders_show_the_explorer(monkeypatch):
    shown = []
    monkeypatch.setattr(figures.theory, "show", lambda figure, alt: shown.append((figure, alt)))
    figures.theory.explore(5, 2)
    [(figure, alt)] = shown
    assert len(figure.axes) == 2 and "K=5" in alt
