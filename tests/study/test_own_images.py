"""What is measured for users with their own images: which images are used for what, and what is said of the records."""

import json
import statistics

import numpy as np
import pytest
import torch

from dnll_core.data import load_data, split_labels
from dnll_core.figures import own
from dnll_core.results import root
from dnll_core.study import own_images
from dnll_core.study.calibration import calibration_error
from dnll_core.study.choosing import RULES
from dnll_core.study.own_images import (
    NEXT,
    PHOTOS,
    POOLS,
    SEEDS,
    SEEDS_OF,
    STUDIES,
    accuracies,
    leads,
    pooled,
    recorded,
)
from dnll_core.study.searches import CHOOSING


def test_a_pool_has_no_label_and_every_image_once():
    dataset = load_data("digits")
    split = split_labels(dataset, 20, 3)
    images = pooled(dataset, split.labelled, split.unlabelled)
    assert (images.y_train[20:] == -1).all() and torch.equal(images.y_train[:20], dataset.y_train[split.labelled])
    assert torch.equal(images.x_train[20:], dataset.x_train[split.unlabelled])
    assert len(images.x_test) == len(dataset.x_test)
    again = split_labels(images, None, 3)
    assert (again.labelled.tolist(), len(again.validation)) == ([*range(20)], 0)
    assert again.unlabelled.tolist() == [*range(20, len(images.x_train))]


def test_a_part_of_the_classes_is_tested_alone():
    dataset = load_data("digits")
    of_five = pooled(dataset, torch.arange(0), torch.arange(30), classes=5)
    assert of_five.classes == tuple("01234") and int(of_five.y_test.max()) == 4
    assert len(of_five.x_test) == int((dataset.y_test < 5).sum())


@pytest.fixture
def short(monkeypatch):
    """Each study with a few iterations."""
    whole = own_images.quickstart

    def few(**how):
        return {
            name: e.replace(epochs=2, ramp_epochs=1, eval_every=1)
            for name, e in whole(**how).items()
            if name in ("dnll", "supervised")
        }

    monkeypatch.setattr(own_images, "quickstart", few)
    monkeypatch.setattr(own_images, "train", _noted(own_images.train))
    SEEN.clear()


SEEN = []


def _noted(train):
    def noted(*arguments, **how):
        run = train(*arguments, **how)
        SEEN.append(run)
        return run

    return noted


def test_ten_more_labels_are_of_the_pool_and_the_rest_stays(short):
    found = STUDIES["labelling"](7)
    base, *others = SEEN
    assert found["accuracy"].keys() == {"before", *RULES} and len(others) == len(RULES)
    data = [run.trainer.learner.data for run in SEEN]
    for each in data[1:]:
        assert (len(each.labelled), len(each.unlabelled)) == (20 + NEXT, len(data[0].unlabelled) - NEXT)
        whole = torch.cat([each.labelled, each.unlabelled]).double().sum()
        assert whole == torch.cat([data[0].labelled, data[0].unlabelled]).double().sum()
        assert len(each.held_out["validation"][0]) == 0
    images, y = data[0].held_out["test"]
    assert found["before"]["error"] == pytest.approx(calibration_error(base.predict(images), y), abs=1e-6)


def test_foreign_images_are_in_the_pool_alone(short):
    found = STUDIES["foreign"](7)
    y = load_data("digits").y_train
    assert found["images of the classes"] == int((y < 5).sum()) - 20
    assert found["foreign images"] == int((y >= 5).sum())
    sizes = [len(run.trainer.learner.data.unlabelled) for run in SEEN]
    of, more = found["images of the classes"], found["foreign images"]
    assert sizes == [of, of, of + more, (of + more) // 2]
    assert 0 <= found["auc"] <= 1 and all(run.trainer.learner.data.targets.max() == 4 for run in SEEN)


@pytest.mark.parametrize("name", STUDIES)
def test_a_record_has_all_seeds_and_none_that_chose(name):
    record = recorded(name)
    assert record is not None
    assert [run["seed"] for run in record["runs"]] == [*SEEDS_OF[name]]
    assert not {*SEEDS} & {*CHOOSING}
    assert all(0 <= a <= 1 for run in record["runs"] for a in run["accuracy"].values())


def test_a_changed_record_is_refused(tmp_path, monkeypatch):
    text = (root() / "own" / "labelling.json").read_text(encoding="utf-8")
    record = json.loads(text)
    record["runs"][0]["accuracy"]["before"] += 0.01
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "labelling.json").write_text(json.dumps(record), encoding="utf-8")
    monkeypatch.setenv("DNLL_RESULTS", str(tmp_path))
    with pytest.raises(ValueError, match="SHA-256"):
        recorded("labelling")
    assert own.photos_table() == "not recorded"


def test_tables_have_the_means_of_the_records():
    photos, labelling, foreign = (recorded(name) for name in ("photos", "labelling", "foreign"))
    table = own.photos_table()
    for n in POOLS:
        ours, theirs = accuracies(photos, f"dnll, {n}"), accuracies(photos, f"supervised, {n}")
        assert f"{100 * np.mean(ours):.1f} ± {100 * np.std(ours, ddof=1):.1f}" in table
        assert f"{100 * (np.mean(ours) - np.mean(theirs)):+.1f} ±" in table
    assert f"{PHOTOS} labels a class" in table
    for rule in RULES:
        assert f"{statistics.fmean(leads(labelling, rule, 'before')):+.1f} ±" in own.labelling_table()
    assert f"{100 * statistics.fmean(accuracies(foreign, 'mixed')):.1f} ±" in own.foreign_table()


def test_bins_of_several_runs_are_weighted_by_images():
    runs = [
        {"before": {"bins": [[2, 0.1, 0.5], [0, None, None], [8, 0.9, 1.0]]}},
        {"before": {"bins": [[0, None, None], [0, None, None], [2, 0.7, 0.5]]}},
    ]
    assert own.pooled_bins(runs, "before") == [(2, 0.1, 0.5), (10, pytest.approx(0.86), pytest.approx(0.9))]


def test_bars_of_a_bin_stand_beside_each_other():
    low, high = (0, None, None), (100, 0.999, 0.9)
    bins = {"before": [low, high], "after": [low, (100, 0.6, 0.6)]}
    run = {when: {"error": 0.1, "bins": of} for when, of in bins.items()}
    _, bars = own.reliability({"runs": [run]}).axes
    before, after = bars.patches
    assert before.get_x() + before.get_width() <= after.get_x() < 1 > after.get_x() + after.get_width()
    assert (before.get_x() + after.get_x() + after.get_width()) / 2 == pytest.approx(0.75)  # of 0.5...1
