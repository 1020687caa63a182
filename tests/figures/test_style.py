"""Figures: the same bytes when drawn again, a digest of what they show, and one look for each method."""

import inspect
import io
import itertools
import json
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from gallery import FIGURES, IMAGES, MANY, RUNS
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch
from PIL import Image

from dnll_core import figures
from dnll_core.colour import adjust_hue
from dnll_core.figures.images import colour_images
from dnll_core.figures.style import (
    BLUE,
    DARK,
    GREEN,
    GREY,
    LOOKS,
    METHODS,
    NAVY,
    ORANGE,
    RED,
    SKY,
    VARIANTS,
    canvas,
    percents,
    plotted,
    save,
    show,
)


@pytest.mark.filterwarnings("error")  # as strict projects have it
@pytest.mark.parametrize("name", FIGURES)
def test_redrawn_files_are_identical_and_say_what_they_show(name, tmp_path):
    for i in range(2):
        save(FIGURES[name](), tmp_path / f"{i}.png")
    first, second = ((tmp_path / f"{i}.png").read_bytes() for i in range(2))
    assert first == second
    with Image.open(tmp_path / "0.png") as image:
        assert image.info["Plotted"] == plotted(FIGURES[name]())
    assert not plt.get_fignums()  # closed, so that Jupyter does not show it twice


def test_no_two_figures_are_said_to_show_the_same():
    assert len({plotted(draw()) for draw in FIGURES.values()}) == len(FIGURES)


def test_every_function_that_draws_a_figure_is_in_the_gallery():
    modules = (getattr(figures, name) for name in figures.__all__)
    found = {
        name.removesuffix("_figure")
        for module in modules
        for name, function in vars(module).items()
        if inspect.isfunction(function) and inspect.signature(function).return_annotation in (Figure, "Figure")
    }
    # drawn with the records of Figure 5 and of `bench --growth` in their own tests
    assert found - {"figure", "growth"} == set(FIGURES)


def draw(x=(1, 2), label="a", color="red", text="t", title="T", word="w", face="blue", shade=1.0, tick="one"):
    with canvas() as (figure, axis):
        axis.plot([0, 1], x, color=color, label=label)
        axis.bar([0, 1], [1, 1 + shade], color=face)
        axis.scatter([0, 1], [shade, 1])
        axis.imshow(np.full((2, 2), shade), vmin=0, vmax=3)
        axis.text(0, 0, text)
        axis.set_title(title)
        axis.set_xticks([0, 1], [tick, "two"])
        axis.legend(title=word)
    return figure


@pytest.mark.parametrize(
    "change",
    [
        {"x": (1, 2.001)},
        {"label": "b"},
        {"color": "green"},
        {"text": "u"},
        {"title": "U"},
        {"word": "v"},
        {"face": "red"},
        {"shade": 1.01},
        {"tick": "1"},
    ],
    ids=str,
)
def test_the_digest_changes_with_whatever_is_shown(change):
    assert plotted(draw()) == plotted(draw(x=(1, 2 + 1e-9)))  # rounding is not shown
    assert plotted(draw(**change)) != plotted(draw())


def test_the_digest_changes_with_one_run_in_ten():
    other = [*MANY[:-1], RUNS[0] | {"seed": 9}]
    for kind in (figures.curves.finals, lambda groups: figures.curves.curves({"": groups})):
        assert plotted(kind({"dnll": MANY})) != plotted(kind({"dnll": other}))


def test_idea_states_theorem_3_1_and_passes_two_different_negatives():
    texts = [text.get_text() for axis in FIGURES["idea"]().axes for text in axis.texts]
    assert "wrong 30.0% of the time" in texts
    assert "wrong 3.3% of the time" in texts and "(10 classes, one negative label)" in texts
    assert [text for text in texts if "This is" in text] == ["“This is: 3.”"] * 2 + [
        "“This is not: 5.”",
        "“This is not: 8.”",
    ]


@pytest.mark.parametrize("K", range(2, 12))
def test_idea_never_names_the_class_in_the_image_as_a_negative(K):
    for kind in range(K):
        texts = [t.get_text() for t in figures.images.idea(IMAGES[0], [*map(str, range(K))], kind, 0.7).axes[1].texts]
        named = [int(text.split()[-1].strip(".”")) for text in texts if "not" in text]
        assert kind not in named and len(set(named)) == min(2, K - 1)


def tree():
    """Family -> its methods, as notebook 16 draws them."""
    notebook = Path(__file__).parents[2] / "notebooks" / "16_all_methods.ipynb"
    cells = ["".join(cell["source"]) for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]]
    code = "\n".join(
        text
        for text in cells
        if text.startswith(("class Row", "consistency |=", "graphs", "pseudo_labels", "co_train", "made_images"))
    )
    names = {"NamedTuple": NamedTuple}
    exec(code, names)
    return names["TREE"]


def test_the_colour_is_the_familys():
    families = {name: {METHODS[method].color for method in methods} for name, methods in tree().items()}
    assert all(len(colors) == 1 for colors in families.values()), families
    baselines = set(METHODS) - {method for methods in tree().values() for method in methods} - {"fixmatch-randaugment"}
    colors = [*(colors.pop() for colors in families.values()), *{METHODS[name].color for name in baselines}]
    assert len(set(colors)) == len(colors) == 5 + 2  # those without unlabelled images, and the classical, are greys
    assert {METHODS[name].color for name in baselines} == {GREY, DARK}


def test_labels_that_are_positive_are_orange_and_negative_ones_blue():
    assert {METHODS[name].color for name in tree()["pseudo-labels"]} == {ORANGE}
    assert METHODS["dnll"].color == VARIANTS["dnll both ep"].color == BLUE
    for name, style in VARIANTS.items():
        assert style.color in ((ORANGE,) if name.startswith("mutual-learning") else (SKY, BLUE, NAVY))
    exchange, selection, push = (FIGURES[name]().axes for name in ("exchange", "selection", "weak_push"))
    rings, crosses = exchange[1].collections
    assert (to_hex(rings.get_edgecolor()[0]), to_hex(crosses.get_edgecolor()[0])) == (ORANGE.lower(), BLUE.lower())
    assert {to_hex(bar.get_facecolor()) for bar in selection[1].patches if bar.get_hatch()} == {BLUE.lower()}
    assert [line.get_color() for line in push[0].lines] == [ORANGE, BLUE]
    for axis, color in zip(FIGURES["idea"]().axes, (ORANGE, BLUE)):
        arrows = [patch for patch in axis.patches if isinstance(patch, FancyArrowPatch)]
        assert [to_hex(arrow.get_edgecolor()) for arrow in arrows[-2:]] == [color.lower()] * 2


def test_no_method_has_the_colour_of_a_verdict():
    assert not {style.color for style in LOOKS.values()} & {GREEN, RED}


@pytest.mark.parametrize("styles", [METHODS, VARIANTS], ids=["methods", "variants"])
def test_any_two_that_may_share_a_panel_are_told_apart_in_grey_and_within_a_family(styles):
    for (_, one), (_, other) in itertools.combinations(styles.items(), 2):
        assert (one.marker, one.dash) != (other.marker, other.dash), (one, other)
        if styles is METHODS and one.color == other.color:
            assert one.marker != other.marker and one.dash != other.dash, (one, other)


def test_no_two_have_one_name():
    assert len({style.label for style in LOOKS.values()}) == len(LOOKS) == len(METHODS) + len(VARIANTS)


def test_channels_last():
    assert figures.images.channels_last(torch.zeros(5, 1, 2, 3)).shape == (5, 2, 3)
    assert figures.images.channels_last(torch.zeros(3, 2, 4)).shape == (2, 4, 3)


@pytest.mark.parametrize("own", ["dark_background", {"text.usetex": True, "savefig.bbox": "tight", "font.size": 30}])
def test_the_style_is_the_projects_whatever_the_user_has_set(own, tmp_path):
    save(FIGURES["idea"](), tmp_path / "plain.png")
    with plt.style.context(own):
        before = dict(plt.rcParams)
        save(FIGURES["idea"](), tmp_path / "own.png")
        assert dict(plt.rcParams) == before
    assert (tmp_path / "own.png").read_bytes() == (tmp_path / "plain.png").read_bytes()


def test_a_plain_script_shows_the_alt_text_alone(capsys):
    show(FIGURES["image_grid"](), "three pictures")
    assert capsys.readouterr().out == "Figure: three pictures\n"


def test_of_a_sorted_set_all_classes_show():
    y = torch.arange(4).repeat_interleave(60)
    assert figures.images.spaced(y, 20).bincount().tolist() == [5, 5, 5, 5]
    assert figures.images.spaced(y, 7).bincount().tolist() == [2, 2, 2, 1]
    assert figures.images.spaced(torch.arange(7), 3).tolist() == [0, 2, 4]
    for most in (7, 8, 100):  # all there are, in their order
        assert figures.images.spaced(torch.arange(7), most).tolist() == [*range(7)]
    assert figures.images.spaced(torch.zeros(0, 3), 5).shape == (0, 3)


def test_no_image_is_no_picture():
    none = np.zeros((0, 8, 8))
    for draw in (
        lambda: figures.images.image_grid(none, []),
        lambda: figures.images.opinions(none, [], {"dnll": []}, ["no", "yes"]),
        lambda: figures.images.view_rows({"x": none}),
    ):
        with pytest.raises(ValueError, match="there are none, and a picture needs at least one"):
            draw()


def test_long_class_names_are_cut():
    classes, image = ["cat", "Staffordshire bull terrier"], np.zeros((2, 8, 8))
    grid = figures.images.image_grid(image, classes)
    said = figures.images.opinions(image, [0, 1], {"dnll": [1, 0]}, classes)
    assert [axis.get_title() for axis in grid.axes[:2]] == ["cat", "Staffords…"]
    assert [axis.get_title() for axis in said.axes] == ["true cat", "true Stafford…"]
    assert [axis.texts[0].get_text() for axis in said.axes] == ["Staffordshi…", "cat"]
    idea = figures.images.idea(image[0], classes, 1, 0.7)
    messages = {text.get_text() for axis in idea.axes for text in axis.texts if "“" in text.get_text()}
    assert messages == {"“This is:\nStaffordshi….”", "“This is not:\ncat.”"}
    [panel] = figures.embedding.maps({"": np.eye(2)}, np.array([0, 1]), classes).axes
    assert [text.get_text() for text in panel.texts] == ["cat", "Staffordshi…"]


def test_show_attaches_the_alt_text(monkeypatch):
    import IPython.display

    monkeypatch.setattr(IPython, "get_ipython", object)
    shown = []
    monkeypatch.setattr(IPython.display, "display", lambda bundle, raw, metadata: shown.append((bundle, metadata)))
    show(FIGURES["image_grid"](), "three pictures")
    [(bundle, metadata)] = shown
    assert metadata == {"image/png": {"alt": "three pictures"}}
    image = Image.open(io.BytesIO(bundle["image/png"]))
    assert image.format == "PNG"
    assert image.mode == "P"  # a palette: small files
    assert bundle["text/plain"] == "<Figure size 160x200 with 4 Axes>"


def test_show_keeps_the_rare_colours_of_a_picture(monkeypatch):
    import IPython.display

    monkeypatch.setattr(IPython, "get_ipython", object)
    shown = []
    monkeypatch.setattr(IPython.display, "display", lambda bundle, raw, metadata: shown.append(bundle))
    photo, turns = colour_images(6)[5:6].float() / 255, (-0.1, -0.05, 0, 0.05, 0.1)
    hues = torch.cat([adjust_hue(photo, torch.tensor([turn])) for turn in turns]).permute(0, 2, 3, 1).numpy()
    rows, raw = {f"{power}": hues**power for power in (0.7, 1, 1.4, 2)}, io.BytesIO()
    show(figures.images.view_rows(rows), "a photograph in other hues, from bright to dark")
    figures.images.view_rows(rows).savefig(raw, format="png", dpi=100, bbox_inches="tight")
    kept, drawn = (np.array(Image.open(file).convert("RGB"), int) for file in (io.BytesIO(shown[0]["image/png"]), raw))
    assert np.quantile(np.abs(kept - drawn).max(axis=2), 0.999) < 30  # of 255


@pytest.mark.parametrize("of", [1, 100])
@pytest.mark.parametrize("limits", [(0.78, 0.955), (0.992, 0.996), (0, 1), (0.4, 0.6)])
def test_ticks_in_percent_are_where_they_say(limits, of):
    with canvas(1, 1, (7, 4)) as (figure, axis):
        percents(axis.yaxis, of)
        axis.set_ylim(*(of * limit for limit in limits))
        figure.canvas.draw()
        ticks = [(label.get_text(), tick / of) for label, tick in zip(axis.get_yticklabels(), axis.get_yticks())]
        assert len(ticks) > 2
        assert all(float(text.removesuffix("%")) == pytest.approx(100 * tick, abs=1e-9) for text, tick in ticks)
        if limits[1] - limits[0] > 0.1:  # 82% rather than 82.5%
            assert all("." not in text for text, _ in ticks)


def test_ticks_in_percent_have_the_digits_that_they_need():
    with canvas(1, 1, (3, 3)) as (_figure, axis):
        percents(axis.xaxis)
        format = axis.xaxis.get_major_formatter()
        assert [format(value) for value in (0, 0.57, 0.825, 1)] == ["0%", "57%", "82.5%", "100%"]


def test_grey_images_that_are_no_ink_keep_their_levels():
    image = np.array([[10, 20], [30, 40]], np.uint8)
    for ink, name, limits in ((True, "gray_r", (10, 40)), (False, "gray", (0, 255))):
        grid = figures.images.image_grid(image[None], ["a"], ink=ink)
        said = figures.images.opinions(image[None], [0], {"dnll": [1]}, ["a", "b"], ink)
        idea = figures.images.idea(image, ["a", "b"], 0, 0.7, ink=ink)
        for figure in (grid, said, idea):
            drawn = figure.axes[0].images[0]
            assert (drawn.cmap.name, drawn.get_clim()) == (name, limits)
