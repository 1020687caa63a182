"""Which images to label next, and the table that is filled in."""

import csv

import numpy as np
import pandas as pd
import pytest
import torch
from ipywidgets import Button, Dropdown, Image, Label
from photos import fill, pets, texture

from dnll_core import Experiment, load_data, train
from dnll_core.data import DataError
from dnll_core.data.labels import write_table
from dnll_core.figures.images import widgets_to_label
from dnll_core.own.label import to_label
from dnll_core.own.model import model_of
from dnll_core.study.choosing import RULES, choose

FAST = {"labels": None, "size": 8, "network": "small", "weak": "identity", "strong": "noise", "m": 2, "epochs": 2}


def opinions(n=60, classes=4, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, classes, generator=g).softmax(1), torch.randn(n, 7, generator=g)


# -- the rules ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 7, 60])
def test_margin_against_a_loop(n):
    probabilities, hidden = opinions()
    margins = []
    for i, row in enumerate(probabilities.tolist()):
        first, second = sorted(row, reverse=True)[:2]
        margins.append((first - second, i))
    assert choose("margin", n, probabilities, hidden) == [i for _, i in sorted(margins)][:n]


def test_ties_keep_their_order():
    probabilities = torch.tensor([[0.6, 0.4], [0.5, 0.5], [0.6, 0.4], [0.5, 0.5]])
    assert choose("margin", 4, probabilities, torch.zeros(4, 2)) == [1, 3, 0, 2]


def test_centres_are_one_of_each_cluster_and_the_largest_comes_first():
    chance, sizes = np.random.RandomState(0), (9, 25, 4, 14)
    places = 100 * np.eye(4, 6)
    of = np.repeat(np.arange(4), sizes)
    chance.shuffle(of)
    hidden = places[of] + chance.randn(len(of), 6)
    chosen = choose("centres", 4, torch.full((len(of), 3), 1 / 3), torch.from_numpy(hidden))
    assert of[chosen].tolist() == [1, 3, 0, 2]
    for i, k in zip(chosen, of[chosen]):  # the one nearest to the mean of its cluster
        members = np.flatnonzero(of == k)
        distances = [np.linalg.norm(hidden[j] - hidden[members].mean(0)) for j in members]
        assert members[int(np.argmin(distances))] == i


def test_random_is_a_draw_without_replacement():
    p, hidden = opinions()
    first = choose("random", 20, p, hidden, seed=1)
    assert len({*first}) == 20 and {*first} <= {*range(60)}
    assert choose("random", 20, p, hidden, seed=1) == first != choose("random", 20, p, hidden, seed=2)
    assert sorted(choose("random", 60, p, hidden)) == [*range(60)]


@pytest.mark.parametrize("rule", RULES)
def test_fewer_images_than_are_asked_for(rule):
    p, hidden = opinions(5)
    assert sorted(choose(rule, 9, p, hidden)) == [*range(5)]


def test_an_unknown_rule():
    with pytest.raises(ValueError, match=r"rule='margins' is not known\. Did you mean 'margin'"):
        choose("margins", 1, *opinions())


# -- of a folder -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder with classes and nine images in `unlabelled`, and a model of it."""
    folder = pets(tmp_path_factory.mktemp("photos") / "pets", without=9)
    run = train(Experiment(dataset=f"folder:{folder}", **FAST), 0, progress=False)
    return folder, model_of(run)


def test_only_what_has_no_label_is_chosen(photos):
    folder, model = photos
    answers, images = to_label(model, folder, 30, "margin")
    pool = sorted(f"unlabelled/{path.name}" for path in (folder / "unlabelled").iterdir())
    assert sorted(answers.index) == pool and len(pool) == 9
    assert answers["margin"].is_monotonic_increasing
    everything = model.predict(folder)
    pd.testing.assert_frame_equal(answers, everything.loc[answers.index], rtol=0, atol=1e-6)
    names, pixels = model.read(folder)
    assert torch.equal(images, pixels[[names.index(name) for name in answers.index]])
    few, _ = to_label(model, folder, 4, "margin")
    assert few.equals(answers[:4])


def test_what_is_known_is_left_out(photos):
    folder, model = photos
    every, _ = to_label(model, folder, 30, "margin")
    known = [*every.index[:4], "cat/00.png"]
    rest, _ = to_label(model, folder, 30, "margin", known)
    assert rest.equals(every[4:])
    with pytest.raises(DataError, match=f"every image of {folder} has a label already"):
        to_label(model, folder, 3, "centres", [*every.index])


@pytest.mark.parametrize("rule", RULES)
def test_a_folder_without_classes(photos, tmp_path, rule):
    fill(tmp_path / "new" / "deeper", 6, 1)
    answers, images = to_label(photos[1], tmp_path / "new", 4, rule)
    assert len({*answers.index}) == len(images) == 4
    assert {*answers.index} <= {f"deeper/{i:02}.png" for i in range(6)}


# -- the table ---------------------------------------------------------------------------------------------------------


def test_a_table_is_written_filled_in_and_read(photos, tmp_path):
    folder, model = photos
    answers, _ = to_label(model, folder, 4, "margin")
    path = write_table(answers, tmp_path / "label.csv")
    with open(path, encoding="utf-8", newline="") as file:
        rows = [*csv.DictReader(file)]
    assert [*rows[0]] == ["file", "class", "guess", "probability", "margin"]
    assert [row["file"] for row in rows] == answers.index.tolist()
    assert [row["guess"] for row in rows] == answers["class"].tolist()
    assert [float(row["margin"]) for row in rows] == answers["margin"].round(4).tolist()
    assert {row["class"] for row in rows} == {""}
    with pytest.raises(DataError, match="has no row with a class"):
        load_data(f"folder:{folder}", size=8, progress=False, labels=path)
    told = ["hen", "cat", "", "dog"]
    before = load_data(f"folder:{folder}", size=8, progress=False)
    text = path.read_text(encoding="utf-8").splitlines()
    text[1:] = [line.replace(",,", f",{title},", 1) for line, title in zip(text[1:], told)]
    path.write_text("\n".join(text), encoding="utf-8")
    after = load_data(f"folder:{folder}", size=8, progress=False, labels=path)
    counts = after.y_train[after.y_train >= 0].bincount() - before.y_train[before.y_train >= 0].bincount()
    assert counts.tolist() == [1, 1, 1]
    assert {name: entry.split()[1] for name, entry in after.files.items() if " " in entry} == {
        name: title for name, title in zip(answers.index, told) if title
    }


def test_a_table_is_never_overwritten(photos, tmp_path):
    answers, _ = to_label(photos[1], photos[0], 2, "margin")
    path = write_table(answers, tmp_path / "label.csv", ["cat", None])
    content = path.read_bytes()
    assert [line.split(",")[1] for line in content.decode().splitlines()] == ["class", "cat", ""]
    with pytest.raises(DataError, match=r"label\.csv is there already, perhaps with labels in it"):
        write_table(answers, path)
    assert path.read_bytes() == content


def all_of(widget, kind):
    found = [widget] if isinstance(widget, kind) else []
    return found + [each for child in getattr(widget, "children", ()) for each in all_of(child, kind)]


@pytest.mark.parametrize("colour", [True, False])
def test_clicks_fill_in_the_table(colour):
    pixels = [texture(0, i, (8, 8), colour) for i in range(3)]
    images = torch.stack([torch.from_numpy(x if x.ndim == 3 else x[..., None]).permute(2, 0, 1) for x in pixels])
    told = []
    grid = widgets_to_label(images, ("cat", "dog"), lambda chosen: told.append(chosen) or f"{len(told)} written")
    lists, [button], [said] = all_of(grid, Dropdown), all_of(grid, Button), all_of(grid, Label)
    assert len(lists) == len(all_of(grid, Image)) == 3
    assert [each.options for each in lists] == [("", "cat", "dog")] * 3
    button.click()
    lists[0].value, lists[2].value = "dog", "cat"
    button.click()
    assert told == [["", "", ""], ["dog", "", "cat"]]
    assert said.value == "2 written"
