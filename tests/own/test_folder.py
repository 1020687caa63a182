"""From a folder to a model: how long it is trained, what is said of it, and that it goes on where it was stopped."""

import csv
import math
import re

import numpy as np
import pytest
import torch
from photos import fill, pets
from sklearn.metrics import confusion_matrix

from dnll_core import Experiment, load_data, load_model, train
from dnll_core.checkpoint import read_info
from dnll_core.config import ConfigError
from dnll_core.data import DataError
from dnll_core.data.folds import folds
from dnll_core.own import folder as own_folder
from dnll_core.own.folder import experiment_for, train_folder
from dnll_core.own.model import CARD, WEIGHTS
from dnll_core.study.calibration import temperature_of
from dnll_core.study.folders import STEPS, lengths, settings
from dnll_core.study.statistics import confusion_of, share_of

QUICK = {"size": 8, "steps": 6, "progress": False, "weak": "identity", "strong": "noise"}


def quiet(_):
    """Says nothing."""


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Six, seven and eight images of three classes, and five without a label."""
    return pets(tmp_path_factory.mktemp("photos") / "pets")


# -- how long, and the numbers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("pool", [1, 7, 8, 31, 60, 600, 50_000])
@pytest.mark.parametrize("labelled", [2, 40, 5000])
@pytest.mark.parametrize("steps", [1, 6, STEPS])
def test_lengths_are_of_at_least_so_many_steps(pool, labelled, steps):
    fields = lengths(labelled, pool, steps)
    e = Experiment(dataset="folder:x", labels=None, **fields | settings(4))
    each = max(1, pool // e.unlabelled_batch)  # as the learner counts
    assert steps <= each * e.epochs < steps + each
    assert 8 <= e.unlabelled_batch <= 64 and 8 <= e.labelled_batch <= 64
    assert e.unlabelled_batch in (8, pool // 4, 64) and e.labelled_batch in (8, labelled, 64)
    assert e.ramp_epochs == pytest.approx(0.3 * e.epochs)
    assert e.eval_every == 1 or e.epochs / e.eval_every >= 20


@pytest.mark.parametrize(("classes", "m"), [(2, 1), (3, 2), (4, 3), (10, 3)])
def test_negatives_of_few_classes(classes, m):
    assert settings(classes)["m"] == m


@pytest.mark.parametrize(("right", "n"), [(30, 36), (0, 5), (5, 5), (1, 1), (500, 1000)])
def test_a_share_and_its_interval_after_wilson(right, n):
    z, p = 1.959963984540054, right / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    said = f"{100 * (middle - half):.0f}...{100 * (middle + half):.0f} %"
    assert share_of(right, n) == f"{100 * p:.1f}% of {n} images (95 % interval {said})".replace("-0", "0")


def test_a_share_of_nothing():
    assert share_of(0, 0) == "of no image"


@pytest.mark.parametrize("seen", [(0, 1, 2, 3), (0, 2), (3,)])
def test_confusion_against_scikit_learn(seen):
    """Also of classes that never occur, or are never the answer."""
    chance, names = np.random.RandomState(0), ("d", "b", "c", "a")
    truth, answers = chance.choice(seen, 50), chance.choice((0, 1, 3), 50)
    found = confusion_of(torch.from_numpy(truth), torch.from_numpy(answers), names)
    assert found.index.tolist() == found.columns.tolist() == [*names]
    assert np.array_equal(found.to_numpy(), confusion_matrix(truth, answers, labels=range(4)))
    assert (found.index.name, found.columns.name) == ("true", "predicted")


# -- a training --------------------------------------------------------------------------------------------------------


def test_the_plan_is_what_is_done(photos):
    said = []
    done = train_folder(photos, say=said.append, **QUICK)
    plan, learner = said[0], done.run.trainer.learner
    data, held_out = learner.data, learner.data.held_out
    assert plan.startswith(
        "15 labelled images, 3 for validation, 3 to test with, 5 without a label; 8x8 pixels in colour; dnll, network "
        "small; views identity and noise, no flips (weak='crop+flip' adds them); 6 steps, under a minute on "
    )
    assert [len(data.labelled), *(len(held_out[name][0]) for name in ("validation", "test"))] == [15, 3, 3]
    assert len(data.unlabelled) == 5 and done.run.trainer.step == learner.clock.total_steps == 6
    assert done.lines[-len(said) :] == said and len(done.lines) > len(said)  # beside what was noted of the files


def test_a_plan_without_images_to_spare(tmp_path):
    said = []
    folder = pets(tmp_path / "pets", counts=(("cat", 4), ("dog", 5)), without=0, colour=False)
    train_folder(folder, say=said.append, **QUICK | {"weak": "crop+flip", "method": "supervised"})
    assert "none without a label, so that the labelled ones serve as such" in said[0]
    assert "8x8 pixels in grey; supervised, network small; views crop+flip and noise; 6 steps" in said[0]


def test_networks_of_a_methods_own_are_no_field_of_the_experiment(photos):
    said = []
    train_folder(photos, **QUICK, method="improved-gan", say=said.append)
    assert "improved-gan, networks of its own; views" in said[0]
    train_folder(photos, **QUICK, method="improved-gan", own_networks=False, say=said.append)
    assert any("improved-gan, network small; views" in line for line in said)


def test_what_is_said_is_what_was_counted(photos, tmp_path):
    done = train_folder(photos, out=tmp_path / "m", say=quiet, **QUICK)
    model, said = load_model(tmp_path / "m"), "\n".join(done.lines)
    assert (model.card, done.model.card.accuracy) == (
        model.card.__class__(**{**vars(done.model.card), "weights_sha256": model.card.weights_sha256}),
        model.card.accuracy,
    )
    for name, (images, labels) in done.run.trainer.learner.data.held_out.items():
        answers = model.probabilities(images, 1.0).argmax(1)
        right = int((answers == labels).sum())
        assert f"accuracy, {name}: {share_of(right, len(labels))}" in said
        if name == "test":
            expected = confusion_matrix(labels, answers, labels=range(3))
            assert np.array_equal(done.confusion.to_numpy(), expected)
            for k, title in enumerate(model.classes):
                assert f"  {title}: {share_of(int(expected[k, k]), int(expected[k].sum()))}" in said
    few = ", which are few: at least 30 would tell more"
    assert f"temperature {model.card.temperature:.2f}, fitted on 3 images{few}" in said


def test_changes_are_of_the_experiment(photos):
    done = train_folder(photos, say=quiet, **QUICK | {"method": "mean-teacher", "lr": 0.01, "network": "cnn6"})
    e = done.run.experiment
    assert (e.method, e.lr, e.network, e.size, e.labels) == ("mean-teacher", 0.01, "cnn6", 8, None)
    with pytest.raises(ConfigError, match="field='lrr' is not known"):
        train_folder(photos, say=quiet, **QUICK | {"lrr": 0.01})
    with pytest.raises(DataError, match="is not there"):
        train_folder(photos / "nowhere", say=quiet, **QUICK)


def stop_in(training):
    """`train` of which one is stopped when it has been asked four times, in a step or in an evaluation."""
    begun, asked = [], []

    def stop(ahead):
        asked.extend([ahead] if len(begun) == training else [])
        return len(asked) > 3

    def stopped(*of, **how):
        begun.append(of)
        return train(*of, should_stop=stop, **how)

    return stopped


@pytest.mark.parametrize("every_label", [False, True])
def test_it_goes_on_where_it_was_stopped(photos, tmp_path, monkeypatch, every_label):
    how = QUICK | {"every_label": every_label, "say": quiet}
    whole = train_folder(photos, out=tmp_path / "whole", **how)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(own_folder, "train", stop_in(training=2 if every_label else 1))
        train_folder(photos, out=tmp_path / "parts", **how)
    assert not (tmp_path / "parts" / CARD).exists()
    reached = {
        path.name: read_info(path).get("step", 0) for path in sorted((tmp_path / "parts" / "checkpoint").iterdir())
    }
    last = "split 2 of 5" if every_label else "model"
    assert 0 < reached.pop(last) < 6
    assert reached == ({"split 1 of 5": 6} if every_label else {})
    again = train_folder(photos, out=tmp_path / "parts", **how)
    for name in (CARD, WEIGHTS):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert again.confusion.equals(whole.confusion) and again.lines[-6:] == whole.lines[-6:]


def test_every_label_is_counted_once(photos):
    said = []
    done = train_folder(photos, every_label=True, say=said.append, **QUICK)
    assert "5 trainings to measure, then one with all labels, each of 6 steps" in said[0]
    assert said[0].startswith("21 labelled images, 0 for validation, 0 to test with, 5 without a label")
    dataset = load_data(f"folder:{photos}", size=8, progress=False)
    [*parts, (_, every)] = folds(dataset, 0)
    answers, truth = [], []
    for _, part in parts:  # by hand
        e = experiment_for(part, f"folder:{photos}", 6, weak="identity", strong="noise")
        run = train(e, 0, progress=False, load=lambda *_, part=part, **__: part)
        answers.append(run.trainer.predict(part.x_test))
        truth.append(part.y_test)
    p, y = torch.cat(answers, 1), torch.cat(truth)
    expected = confusion_matrix(y, p.mean(0).argmax(1), labels=range(3))
    assert expected.sum(1).tolist() == [6, 7, 8]
    assert np.array_equal(done.confusion.to_numpy(), expected)
    card = done.model.card
    assert card.accuracy == {"5 stratified splits": (int(np.trace(expected)), 21)}
    assert (card.temperature, card.fitted_on, card.labels) == (temperature_of(p, y), 21, 21)
    e = experiment_for(every, f"folder:{photos}", 6, weak="identity", strong="noise")
    last = train(e, 0, progress=False, load=lambda *_, **__: every)
    images = dataset.x_train
    assert torch.equal(done.model.probabilities(images, 1.0), last.predict(images))


def test_a_folder_of_few_and_many_says_so(tmp_path):
    said = []
    folder = pets(tmp_path / "pets", counts=(("cat", 4), ("dog", 12)), without=3)  # 3 and 10 without those to test with
    train_folder(folder, say=said.append, **QUICK)
    assert said[1].startswith(
        "unbalanced: 10 labels of dog, 3 labels of cat. Negative labels are drawn evenly from the other classes"
    )
    fill(folder / "cat", 4, 0, first=20)  # now 8: 7 and 10
    said.clear()
    train_folder(folder, say=said.append, **QUICK)
    assert not any("unbalanced" in line for line in said)


def test_a_table_of_labels(photos, tmp_path):
    names = sorted(path.name for path in (photos / "unlabelled").iterdir())
    with open(tmp_path / "label.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("file", "class"), *((f"unlabelled/{name}", "hen") for name in names[:2])])
    said = []
    done = train_folder(photos, labels=tmp_path / "label.csv", say=said.append, **QUICK)
    assert re.match(r"17 labelled images, 3 for validation, 3 to test with, 3 without a label", said[0])
    assert done.run.trainer.learner.data.targets.bincount().tolist() == [4, 5, 8]
