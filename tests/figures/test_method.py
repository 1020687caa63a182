"""The figures of notebook 02: what is drawn where, and how variants are told apart."""

import numpy as np
import pytest

from dnll_core import figures
from dnll_core.figures.style import VARIANTS
from dnll_core.study.experiments import transfers

CLASSES = ("a", "b", "c", "d")


def record(values, key="agreement"):
    return {"history": [{"epoch": i + 1, key: value} for i, value in enumerate(values)]}


def test_every_variant_has_a_style_of_its_own_even_without_colour():
    assert list(VARIANTS) == list(transfers())
    looks = {(style.marker, str(style.dash)) for style in VARIANTS.values()}
    assert len(looks) == len(VARIANTS)
    assert len({style.label for style in VARIANTS.values()}) == len(VARIANTS)


def test_view_rows_have_one_grey_scale():
    figure = figures.images.view_rows({"dark": np.zeros((2, 3, 3)), "bright": np.ones((3, 3, 3))})
    drawn = [axis.images[0] for axis in figure.axes if axis.images]
    assert len(drawn) == 5
    assert {image.get_clim() for image in drawn} == {(0, 1)}


def test_exchange_rings_the_prediction_and_crosses_the_negatives():
    p = np.array([[0.7, 0.1, 0.1, 0.1], [0.1, 0.2, 0.3, 0.4]])
    negatives = np.array([[0, 1, 0, 1], [1, 1, 0, 0]])
    images = np.zeros((2, 3, 3))
    figure = figures.method.exchange([images, images], ["a", "d"], [p, p[::-1]], [negatives, negatives], CLASSES)
    rings, crosses = figure.axes[1].collections
    assert rings.get_offsets().tolist() == [[0, 0], [3, 1]]
    assert crosses.get_offsets().tolist() == [[1, 0], [3, 0], [0, 1], [1, 1]]
    assert len(figure.axes[0].images) == len(figure.axes[3].images) == 2


def test_selection_hatches_what_was_drawn():
    chances, drawn = np.array([0, 0.5, 0.3, 0.2]), np.array([0, 1, 0, 1])
    figure = figures.method.selection(
        np.zeros((2, 2)), 0, 1, {"one": (chances, drawn), "two": (chances, drawn)}, CLASSES
    )
    for axis in figure.axes[1:]:
        assert [bar.get_height() for bar in axis.patches] == pytest.approx(list(chances))
        assert [bool(bar.get_hatch()) for bar in axis.patches] == [False, True, False, True]


def test_perception_has_one_scale_for_each_row():
    tables = [np.full((4, 4), value) for value in (0.1, 0.4)]
    figure = figures.method.perception({"Pr": tables, "R": tables}, ["early", "late"], CLASSES, tops={"R": 1})
    limits = [axis.images[0].get_clim() for axis in figure.axes[:4]]
    assert limits == [(0, 0.4)] * 2 + [(0, 1)] * 2


def test_weak_push_draws_what_it_is_given():
    p = np.linspace(0.1, 0.9, 5)
    figure = figures.method.weak_push(p, [p, 2 * p], [p - 1, p], {"norm": {2: 1.0, 10: 0.1}})
    left, middle, right = figure.axes
    assert left.lines[1].get_ydata() == pytest.approx(2 * p)
    assert middle.lines[0].get_ydata() == pytest.approx(p - 1)
    assert list(right.lines[0].get_ydata()) == [1.0, 0.1]


def test_tracks_draw_the_mean_thick_and_each_run_thin():
    groups = {"dnll both ep": [record([0.2, 0.4]), record([0.4, 0.8])], "mutual-learning 0": [record([1, 1])]}
    figure = figures.curves.tracks(
        {"live": groups, "recorded": {"dnll both ep": groups["dnll both ep"]}}, "agreement", "y"
    )
    live, recorded = figure.axes
    assert len(live.lines) == 4 and len(recorded.lines) == 3
    assert list(live.lines[2].get_ydata()) == pytest.approx([0.3, 0.6])
    [legend] = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["DNLL both, EP", "positive, no threshold"]


def test_tracks_take_a_function_of_a_row():
    groups = {"dnll self epm": [record([0.2, 0.4]), record([0.4, 0.8])]}
    figure = figures.curves.tracks({"x": groups}, lambda row: 1 - row["agreement"], "y", each=False, percent=False)
    [line] = figure.axes[0].lines
    assert list(line.get_ydata()) == pytest.approx([0.7, 0.4])
    assert list(line.get_xdata()) == [1, 2]


def test_ratios_and_finals_place_every_variant():
    figure = figures.method.ratios(
        {"all": {"dnll both ep": (0.3, 0.1), "dnll both epm": (0.4, 0.1)}}, 1 / 3, "expected"
    )
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["DNLL both, EPM", "DNLL both, EP"]
    assert len(figure.axes[0].containers) == 2
    figure = figures.method.finals({"dnll both ep": [0.9, 0.8], "mutual-learning 0": [0.7]})
    names = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert names == ["positive, no threshold, n = 1", "DNLL both, EP, n = 2"]
