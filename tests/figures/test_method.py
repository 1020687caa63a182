"""The figures of notebooks 02 and 16: what is drawn where, and how variants are told apart."""

import numpy as np
import pytest

from dnll_core import figures
from dnll_core.figures.style import METHODS, VARIANTS
from dnll_core.study.experiments import transfers

CLASSES = ("a", "b", "c", "d")


def test_variants_are_the_experiments_of_notebook_02():
    assert list(VARIANTS) == list(transfers())


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
    assert [axis.get_ylabel() for axis in figure.axes[::2][:2]] == ["Pr\nclass k", "R\nclass k"]
    assert [axis.get_xlabel() for axis in figure.axes[:4]] == ["", "", "taken for i", "taken for i"]
    assert [axis.get_ylabel() for axis in figure.axes[4:]] == ["black: 0.4", ""]  # the scales of two rows differ


def test_weak_push_draws_what_it_is_given():
    p = np.linspace(0.1, 0.9, 5)
    figure = figures.method.weak_push(p, [p, 2 * p], [p - 1, p], {"norm": {2: 1.0, 10: 0.1}})
    left, middle, right = figure.axes
    assert left.lines[1].get_ydata() == pytest.approx(2 * p)
    assert middle.lines[0].get_ydata() == pytest.approx(p - 1)
    assert list(right.lines[0].get_ydata()) == [1.0, 0.1]
    assert 1 < right.get_ylim()[1] < 2  # a share of at most 100 %


def test_a_method_stands_right_of_what_it_grows_from_and_the_others_follow_its_name():
    families = {
        "one": {"pi-model": ((), "x"), "vat": (("pi-model",), "y")},
        "two": {"dmt": (("pi-model", "dnll"), "z"), "dnll": (("dmt", "vat"), "w")},
    }
    [axis] = figures.method.family_tree(families).axes
    marks = {}  # look -> where
    for line in axis.lines:
        marks.setdefault((line.get_color(), line.get_marker()), []).append(line.get_xydata()[0].tolist())
    at = {name: marks[METHODS[name].color, METHODS[name].marker] for of in families.values() for name in of}
    names = {text.get_text(): text.get_position() for text in axis.texts}
    place = {name: next(p for p in at[name] if p[1] == names[METHODS[name].label][1] and p[0] < 4) for name in at}
    x, y = ({name: p[i] for name, p in place.items()} for i in (0, 1))
    assert y["pi-model"] < y["vat"] < y["dmt"] < y["dnll"]
    assert x["pi-model"] == x["dmt"] < x["vat"] == x["dnll"]  # what stands in another family, or below, is no branch
    others = {name: sorted(p[1] for p in at[name] if p[0] > 4) for name in at}
    assert others == {"pi-model": [y["dmt"]], "vat": [y["dnll"]], "dnll": [y["dmt"]], "dmt": []}
    ends = [tuple(patch.get_path().vertices[-1]) for patch in axis.patches]
    starts = [tuple(patch.get_path().vertices[0]) for patch in axis.patches]
    for child, stem in (("vat", "pi-model"), ("dnll", "dmt")):
        assert starts[ends.index(tuple(place[child]))] == tuple(place[stem])
    for name, (_, needs) in (pair for of in families.values() for pair in of.items()):
        assert names[needs][1] == y[name]
