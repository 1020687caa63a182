"""The classical baselines on few images: what scikit-learn would refuse."""

import numpy as np
import pytest
from PIL import Image

from dnll_core.data import split_labels
from dnll_core.data.load import load_data
from dnll_core.methods.classical import CLASSIFIERS, Classical, fit, run_classical


def folder_of(path, images):
    """Two classes of flat grey images that are far apart, as a data set's name."""
    for k, title in enumerate(("day", "night")):
        (path / title).mkdir(parents=True)
        for i in range(images):
            Image.fromarray(np.full((4, 4), 200 * k + i, np.uint8)).save(path / title / f"{i}.png")
    return f"folder:{path}"


@pytest.mark.parametrize("images", [3, 5, 9])
@pytest.mark.parametrize("labels", [None, 2])
@pytest.mark.parametrize("method", CLASSIFIERS)
def test_a_folder_of_few_images_is_scored(tmp_path, method, labels, images):
    record = run_classical(method, folder_of(tmp_path, images), labels, 0)
    assert 0 <= record["final"]["test"]["mean"] <= 1
    assert record["experiment"] == {"method": method, "dataset": f"folder:{tmp_path}", "labels": labels}


def test_neighbours_are_fewer_than_the_images(tmp_path):
    data = load_data(folder_of(tmp_path, 5))  # of a class one to test, one to validate, three to learn from
    split = split_labels(data, 2, 0)
    assert len(split.labelled) + len(split.unlabelled) == 6
    for asked, taken in ((1, 1), (5, 5), (6, 5), (7, 5), (100, 5)):
        settings = Classical("label-spreading", data.name, 2, neighbours=asked)
        assert fit(settings.build(), data, split).n_neighbors == taken
        assert settings.to_dict()["neighbours"] == asked
    many = load_data("digits")
    spreading = Classical("label-spreading", "digits", 20).build()
    assert fit(spreading, many, split_labels(many, 20, 0)).n_neighbors == 7


def test_few_images_with_labels_are_told_apart(tmp_path):
    name = folder_of(tmp_path, 6)
    assert run_classical("label-spreading", name, None, 0)["final"]["test"]["mean"] == 1
