"""Figures: the same bytes when drawn again, and the numbers in them are those of the arguments."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from dnll_core import figures
from dnll_core.figures.style import METHODS, save, show


def record(values):
    history = [{"epoch": i + 1, "test": {"submodels": [v, v]}} for i, v in enumerate(values)]
    return {"history": history}


def drawn():
    image = np.arange(64).reshape(8, 8)
    curve = figures.curves.curves({"dnll": [record([0.1, 0.5]), record([0.3, 0.7])]})
    return {
        "idea": figures.images.idea(image, list("0123456789"), 3, 0.7),
        "grid": figures.images.image_grid(np.stack([image] * 3), ["a", "b", "c"], columns=2),
        "curves": figures.curves.lines(curve, {"label-spreading": 0.9}),
        "embedding": figures.embedding.embedding(
            {"x": np.random.RandomState(0).rand(20, 2)}, np.arange(20) % 2, ["no", "yes"]
        ),
        "opinions": figures.images.opinions(np.stack([image] * 2), [0, 1], {"dnll": [0, 0]}, ["no", "yes"]),
    }


def test_redrawn_files_are_identical(tmp_path):
    for i in range(2):
        for name, figure in drawn().items():
            save(figure, tmp_path / f"{name}{i}.png")
    for name in drawn():
        assert (tmp_path / f"{name}0.png").read_bytes() == (tmp_path / f"{name}1.png").read_bytes()


def test_curves_draw_each_run_and_the_mean():
    [axis] = figures.curves.curves({"dnll": [record([0.1, 0.5]), record([0.3, 0.7])]}).axes
    drawn = [line.get_ydata().tolist() for line in axis.lines]
    assert drawn == [[0.1, 0.5], [0.3, 0.7], pytest.approx([0.2, 0.6])]
    assert axis.lines[-1].get_label() == "DNLL, n = 2"


def test_idea_states_theorem_3_1():
    texts = [
        text.get_text()
        for axis in figures.images.idea(np.zeros((8, 8)), list("0123456789"), 3, 0.7).axes
        for text in axis.texts
    ]
    assert "wrong 30.0% of the time" in texts
    assert "wrong 3.3% of the time" in texts


def test_no_two_methods_share_a_style():
    looks = [(style.color, style.dash) for style in METHODS.values()]
    assert len(set(looks)) == len(looks)
    assert len({style.label for style in METHODS.values()}) == len(looks)


def test_channels_last():
    assert figures.images.channels_last(torch.zeros(5, 1, 2, 3)).shape == (5, 2, 3)
    assert figures.images.channels_last(torch.zeros(3, 2, 4)).shape == (2, 4, 3)


def test_show_attaches_the_alt_text(monkeypatch):
    import IPython.display

    shown = []
    monkeypatch.setattr(IPython.display, "display", lambda bundle, raw, metadata: shown.append((bundle, metadata)))
    show(drawn()["grid"], "three pictures")
    [(bundle, metadata)] = shown
    assert metadata == {"image/png": {"alt": "three pictures"}}
    image = Image.open(io.BytesIO(bundle["image/png"]))
    assert image.format == "PNG"
    assert image.mode == "P"  # a palette: small files
    assert bundle["text/plain"] == "<Figure size 160x200 with 4 Axes>"
