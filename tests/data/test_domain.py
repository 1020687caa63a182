"""Domain adaptation: which images have labels, which are the pool, what is held out; the stand-in; the criteria."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from dnll_core import Experiment, load_data, train
from dnll_core.config import ConfigError
from dnll_core.data.domain import load_pair, shift, without_labels
from dnll_core.data.errors import DataError
from dnll_core.names import run_name
from dnll_core.run import prepare
from dnll_core.study.experiments import adaptation


@pytest.fixture(scope="module")
def pair():
    return load_data("digits-source"), load_data("digits-target")


def test_the_pool_is_the_target_and_only_source_images_have_labels(pair):
    source, target = pair
    joint, split = load_pair(source, target, None, 0)
    n = len(source.x_train)
    assert torch.equal(joint.x_train[split.unlabelled], target.x_train)
    assert (joint.y_train[split.unlabelled] == -1).all()  # not even here are the target's labels known
    known = torch.cat([split.labelled, split.validation])
    assert known.sort().values.tolist() == list(range(n))
    assert torch.equal(joint.y_train[split.labelled], source.y_train[split.labelled])
    assert torch.equal(joint.x_test, target.x_test) and torch.equal(joint.y_test, target.y_test)
    assert joint.mean == target.mean and joint.std == target.std


def test_source_images_without_a_label_stay_out(pair):
    _, split = load_pair(*pair, 50, 3)
    assert len(split.labelled) == 50 and len(split.unlabelled) == len(pair[1].x_train)
    assert split.unlabelled.min() == len(pair[0].x_train)


def test_domains_that_do_not_fit_are_refused(pair):
    source, target = pair
    larger = dataclasses.replace(target, x_train=torch.zeros(5, 1, 16, 16, dtype=torch.uint8))
    with pytest.raises(DataError, match=r"digits-source are 1x8x8 and those of digits-target 1x16x16 .*size="):
        load_pair(source, larger, None, 0)
    with pytest.raises(DataError, match="same images"):
        load_pair(target, target, None, 0)
    colour = dataclasses.replace(target, x_train=torch.zeros(5, 3, 8, 8, dtype=torch.uint8))
    with pytest.raises(DataError, match="have 1 channels and those of digits-target 3"):
        load_pair(source, colour, None, 0)
    with pytest.raises(DataError, match="same classes"):
        load_pair(source, dataclasses.replace(target, classes=("a", "b")), None, 0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"source": "ups"}, "source='ups' is not known. Did you mean 'usps'"),
        ({"source": "folder:"}, "source='folder:' is not known"),
        ({"source": "digits-source", "include_labelled": True}, "include_labelled=True does not go with source"),
        ({"source": "digits-target"}, "share images, so labels of the target"),
        ({"source": "digits"}, "share images, so labels of the target"),
        ({"source": "mnist", "dataset": "mnist"}, "share images, so labels of the target"),
    ],
)
def test_bad_experiments(fields, message):
    with pytest.raises(ConfigError, match=message):
        Experiment(**{"dataset": "digits-target", **fields})


def test_the_stand_in_has_no_image_twice():
    """Two domains that shared images would hand the target's labels to whoever recognises a redrawn image."""
    source, target, whole = load_data("digits-source"), load_data("digits-target"), load_data("digits")
    for part in ("x_train", "x_test"):
        a, b, all_ = (getattr(data, part) for data in (source, target, whole))
        assert len(a) + len(b) == len(all_)
    place = {bytes(image): i for i, image in enumerate(whole.x_train.numpy())}
    assert len(place) == len(whole.x_train)  # no digit of scikit-learn's training images is there twice
    at_home = {place[bytes(image)] for image in source.x_train.numpy()}
    # the redrawn images of the target, in the order of the whole set, are those that the source does not have
    raw = load_digits()
    originals = np.rint(raw.images * (255 / 16)).astype(np.uint8)
    redrawn = {bytes(new): bytes(old) for new, old in zip(shift(originals), originals)}
    abroad = {place[redrawn[bytes(image)]] for image in target.x_train.numpy()[:, 0]}
    assert len(abroad) == len(target.x_train) and not at_home & abroad
    assert (torch.bincount(source.y_train) - torch.bincount(target.y_train)).abs().max() <= 1


def test_shift_slants_to_the_right_thickens_and_lowers_contrast():
    bar = np.zeros((200, 8, 8), dtype=np.uint8)
    bar[:, 1:7, 3:5] = 255
    drawn = shift(bar).astype(float)
    assert np.array_equal(drawn, shift(bar))  # the same draw every time
    columns = np.arange(8)
    background = drawn[:, :, 0].min(1)
    ink = drawn - background[:, None, None]
    centre = (ink * columns).sum(2) / ink.sum(2).clip(1)
    assert (centre[:, 1] - centre[:, 6] > 0.7).all()  # the top lies to the right of the bottom
    assert (ink.max((1, 2)) <= 0.92 * 255).all() and ink.max((1, 2)).std() > 5
    assert ((ink.sum((1, 2)) / ink.max((1, 2))) > 11).all()  # twelve pixels of ink, less what falls off, or more
    assert len({image.tobytes() for image in drawn}) == 200  # each image has its own draw


def test_criteria_against_their_definition():
    generator = torch.Generator().manual_seed(0)
    p = torch.softmax(3 * torch.randn(2, 50, 4, generator=generator), -1)
    mean = p.mean(0).double().numpy()

    def entropy(q):
        return -sum(x * math.log(x) for x in q if x > 0)

    expected = (entropy(mean.mean(0)) - np.mean([entropy(row) for row in mean])) / math.log(4)
    found = without_labels(p)
    assert found["information"] == pytest.approx(expected, abs=1e-9)
    assert found["agreement"] == np.mean([a == b for a, b in zip(p[0].argmax(1).tolist(), p[1].argmax(1).tolist())])
    sure = torch.eye(4).repeat(5, 1)[None]
    assert without_labels(sure) == pytest.approx({"information": 1.0})
    assert without_labels(torch.full((1, 6, 4), 0.25))["information"] == pytest.approx(0)
    assert without_labels(torch.eye(4)[[2] * 6][None])["information"] == pytest.approx(0)  # sure, but of one class


def test_a_run_holds_what_was_seen_on_the_target_and_with_noise():
    e = adaptation(epochs=2)["dnll"]
    run = train(e, 0, progress=False)
    last = run.history[-1]
    assert set(last["target"]) == {"information", "agreement"}
    probabilities = run.trainer.predict(run.trainer.learner.data.unlabelled)
    assert last["target"] == pytest.approx(without_labels(probabilities))
    record = run.record()
    assert set(record["final"]) == {"validation", "test"}
    noisy = record["test_on_strong_view"]
    assert len(noisy["submodels"]) == 2 and noisy["submodels"] != last["test"]["submodels"]
    assert run_name(e.to_dict(), 0).startswith("digits-source-digits-target-None-dnll-")
    assert "target" not in train(e.replace(source=None, labels=100), 0, progress=False).history[-1]


def test_evaluation_without_noise_uses_the_images_as_they_are():
    trainer, _ = prepare(adaptation(noise_std=50.0)["source-only"], 0, progress=False)
    images = trainer.learner.data.held_out["test"][0]
    assert torch.equal(trainer.predict(images), trainer.predict(images))
    assert not torch.equal(trainer.predict(images, trainer.learner.views["strong"]), trainer.predict(images))


def test_names_of_the_adaptation_experiments():
    runs = adaptation("usps", "mnist")
    assert runs["target-supervised"].source is None and runs["target-supervised"].labels == 7000
    control = runs["target-batch-norm"]
    assert control.lam == 0 and control.unlabelled_batch == runs["dnll"].unlabelled_batch
    trainer, _ = prepare(adaptation()["target-batch-norm"], 0, progress=False)
    assert trainer.learner.method.unlabelled_views == ("strong",)  # one target view shares the batch, as in DNLL
    assert {name: e.source for name, e in runs.items() if name != "target-supervised"} == {
        name: "usps" for name in runs if name != "target-supervised"
    }
    assert len({e.epochs for e in runs.values()}) == 1  # the same number of passes for all


def test_measuring_looks_at_the_true_labels_of_the_target_and_changes_nothing():
    e = adaptation(epochs=2)["dnll"]
    measured, plain = train(e, 0, progress=False, measure=True), train(e, 0, progress=False)
    assert measured.final == plain.final
    assert 0.05 < measured.history[-1]["weak accuracy"] < 1
