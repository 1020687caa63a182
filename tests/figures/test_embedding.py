"""The maps of Figure 5 draw what they are given."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from dnll_core.figures.embedding import maps
from dnll_core.figures.style import CLASSES

LABELS = np.array([0, 0, 1, 1, 2])
POINTS = np.array([[0.0, 0], [2, 2], [5, 1], [7, 3], [9, 9]])


def test_points_colours_names_and_notes():
    panels = {"first": POINTS, "second": POINTS + 1, "third": -POINTS}
    wrong = {"second": np.array([False, True, False, False, True])}
    figure = maps(panels, LABELS, ["a", "b", "c", "absent"], {"first": "neighbours 80 %"}, wrong, columns=2)
    first, second, third, empty = figure.axes
    assert not empty.axison
    assert [axis.get_title() for axis in (first, second, third)] == list(panels)
    assert [axis.get_xlabel() for axis in (first, second, third)] == ["neighbours 80 %", "", ""]
    for axis, (title, points) in zip((first, second, third), panels.items()):
        right = ~wrong.get(title, np.zeros(5, bool))
        dots = axis.collections[0]
        assert np.array_equal(dots.get_offsets(), points[right])
        assert np.allclose(dots.get_facecolors()[:, :3], [to_rgb(CLASSES[k]) for k in LABELS[right]])
        own = {name: points[[y == k for y in LABELS]] for k, name in enumerate("abc")}
        assert {text.get_text() for text in axis.texts} == own.keys()
        for text in axis.texts:  # beside its class, on no point and on no other name, and a line leads to the middle
            assert text.xy == pytest.approx(np.median(own[text.get_text()], axis=0))
            apart = np.linalg.norm(points - text.get_position(), axis=1)
            assert apart.min() > 0.04 * np.ptp(points, axis=0).max()
            others = [other.get_position() for other in axis.texts if other is not text]
            assert min(np.linalg.norm(np.array(others) - text.get_position(), axis=1)) > 0.5
    assert [len(axis.collections) for axis in (first, second, third)] == [1, 2, 1]
    assert np.array_equal(second.collections[1].get_offsets(), POINTS[[1, 4]] + 1)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["classified wrongly"]


def test_one_panel_without_extras():
    figure = maps({"only": POINTS}, LABELS, ["a", "b", "c"])
    assert len(figure.axes) == 1 and not figure.legends
    [axis] = figure.axes
    (left, right), (low, high) = axis.get_xlim(), axis.get_ylim()
    for x, y in (text.get_position() for text in axis.texts):  # no name lies on the border
        assert left + 0.3 < x < right - 0.3 and low + 0.3 < y < high - 0.3
    [axis] = maps({"only": POINTS}, LABELS, ["a", "", "c"]).axes
    assert [text.get_text() for text in axis.texts] == ["a", "c"]


def test_names_stand_outside_of_clouds():
    labels = np.repeat([0, 1], 200)
    points = np.random.default_rng(0).normal(size=(400, 2)) + 8 * labels[:, None]
    [axis] = maps({"": points}, labels, ["a", "b"]).axes
    unit = np.ptp(points, axis=0).max()
    for text in axis.texts:
        assert np.linalg.norm(points - text.get_position(), axis=1).min() >= 0.05 * unit
        assert np.linalg.norm(np.subtract(text.xy, text.get_position())) < 0.3 * unit  # near its own
