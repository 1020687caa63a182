"""A model that is kept: its answers stay what the run's were, whatever it is given, and a damaged one is refused."""

import dataclasses
import hashlib
import json
import pathlib
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from photos import fill, pets, texture
from PIL import Image
from safetensors.torch import load, save

import dnll_core
from dnll_core import DNLLClassifier, Experiment, load_data, load_model, train
from dnll_core.checks import sealed
from dnll_core.data import DataError
from dnll_core.device import choose_compute
from dnll_core.fields import ConfigError
from dnll_core.methods import Pixels
from dnll_core.methods.improved_gan import classifier
from dnll_core.own.model import CARD, WEIGHTS, Model, ModelError, model_of
from dnll_core.study.calibration import temperature_of

FAST = {"labels": None, "size": 8, "network": "small", "weak": "identity", "strong": "noise", "m": 2, "epochs": 3}
FAST |= {"labelled_batch": 8, "unlabelled_batch": 4, "lr": 0.1}


def trained(folder, **fields):
    return train(Experiment(dataset=f"folder:{folder}", **FAST | fields), 0, progress=False)


def images_by_name(folder):
    dataset = load_data(f"folder:{folder}", size=8, progress=False)
    return dataset, dict(zip(dataset.files, torch.cat([dataset.x_train, dataset.x_test])))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return pets(tmp_path_factory.mktemp("photos") / "pets")


@pytest.fixture(scope="module")
def run(folder):
    return trained(folder)


@pytest.fixture(scope="module")
def kept(run, tmp_path_factory):
    return run.save_model(tmp_path_factory.mktemp("models") / "pets.model")


@pytest.fixture(scope="module")
def grey(tmp_path_factory):
    """A grey folder, two of whose files have 12 bits, and its model."""
    folder = pets(tmp_path_factory.mktemp("grey") / "pets", colour=False)
    for i, top in enumerate((4095, 300)):
        levels = np.random.RandomState(i).randint(top + 1, size=(11, 9)).astype(np.uint16)
        levels[0, 0] = top
        Image.fromarray(levels).save(folder / "unlabelled" / f"deep{i}.png")
    return folder, load_model(trained(folder).save_model(folder.parent / "model"))


# -- there and back ----------------------------------------------------------------------------------------------------


def test_a_model_answers_as_its_run(run, kept, folder):
    dataset, _ = images_by_name(folder)
    images = torch.cat([dataset.x_train, dataset.x_test])
    expected = run.predict(images)
    model = load_model(kept)
    assert torch.equal(model.probabilities(images, 1.0), expected)
    assert torch.equal(model.embed(images), run.embed(images))
    assert torch.equal(model_of(run).probabilities(images, 1.0), expected)
    assert model.classes == run.classes == dataset.classes == ("cat", "dog", "hen")
    assert {path.name for path in kept.iterdir()} == {CARD, WEIGHTS}
    assert not any(network.training for network in model.networks)


METHODS = {
    "supervised": {"method": "supervised"},
    "mean-teacher": {"method": "mean-teacher"},
    "dual-student": {"method": "dual-student"},
    "dual-student+dnll": {"method": "dual-student+dnll"},
    "cnn3": {"network": "cnn3"},
    "average": {"ema_decay": 0.9},
    "own networks": {"method": "improved-gan", "unlabelled_batch": 4, "ema_decay": 0.9},
    "own networks, three": {"method": "triple-gan", "unlabelled_batch": 4},
    "theirs in ours": {"method": "improved-gan", "unlabelled_batch": 4, "own_networks": False},
    "two stages": {"method": "tnar", "tnar_start": 0.5},
}


@pytest.mark.parametrize("fields", METHODS.values(), ids=METHODS.keys())
def test_each_kind_of_model_comes_back(folder, tmp_path, fields):
    run = trained(folder, **fields)
    images = load_data(f"folder:{folder}", size=8, progress=False).x_train
    model = load_model(run.save_model(tmp_path / "m"))
    assert torch.equal(model.probabilities(images, 1.0), run.predict(images))
    assert torch.equal(model.embed(images), run.embed(images))
    assert model.card.heads == (2 if "dual-student" in fields.get("method", "") else 1)
    assert model.card.predictors == tuple(run.trainer.predictors())


def test_networks_that_grow_with_the_image_come_back_from_any_size(kept, tmp_path, monkeypatch):
    """Weights of 272 MB, and of none that are there."""
    card = load_model(kept).card
    card = dataclasses.replace(card, size=(150, 150), method="improved-gan", predictors=("classifier",), experiment={})
    network = classifier(Pixels((3, *card.size), card.mean, card.std), len(card.classes))
    folder = Model(card, torch.nn.ModuleList([network]), choose_compute("cpu")).save(tmp_path / "m")
    assert (folder / WEIGHTS).stat().st_size > 2**28
    found = load_model(folder, device="cpu").networks[0].state_dict()
    assert found.keys() == network.state_dict().keys()
    assert all(torch.equal(value, found[name]) for name, value in network.state_dict().items())
    with_card(size=[4096, 4096])(folder)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=2**30))
    message = r"size=\(4096, 4096\), method='improved-gan': reading a model takes at least 37\d.* GiB"
    with pytest.raises(ModelError, match=message):
        load_model(folder)


def test_its_temperature_is_that_of_the_validation_images(run, kept, folder):
    model, (images, labels) = load_model(kept), run.trainer.learner.data.held_out["validation"]
    each = run.trainer.predict(images)
    assert model.card.temperature == temperature_of(each, labels) != 1
    assert model.card.fitted_on == len(labels) == 3
    powers = each.double() ** (1 / model.card.temperature)
    expected = (powers / powers.sum(-1, keepdim=True)).mean(0)
    assert torch.allclose(model.probabilities(images).double(), expected, atol=1e-6)
    plain = model_of(run, calibrate=False)
    assert (plain.card.temperature, plain.card.fitted_on) == (1.0, 0)


def test_the_card_says_what_was_counted(run, kept, folder):
    card, data = load_model(kept).card, run.trainer.learner.data
    assert {*card.accuracy} == {"validation", "test"}
    for name, (images, labels) in data.held_out.items():
        answers = run.predict(images)
        right = sum(int(row.argmax()) == int(label) for row, label in zip(answers, labels))
        assert card.accuracy[name] == (right, len(labels))
    dataset, _ = images_by_name(folder)
    assert (card.size, card.channels, card.bits) == ((8, 8), 3, None)
    assert (card.mean, card.std) == (dataset.mean, dataset.std)
    assert (card.method, card.network, card.labels, card.seed) == ("dnll", "small", len(data.labelled), 0)
    assert card.experiment == run.experiment.to_dict() | {"dataset": "folder"}
    assert str(folder.parent) not in (kept / CARD).read_text(encoding="utf-8")
    assert card.weights_sha256 == hashlib.sha256((kept / WEIGHTS).read_bytes()).hexdigest()


def test_saving_is_repeatable(run, kept, tmp_path):
    run.save_model(tmp_path)
    again = load_model(kept).save(tmp_path / "again")
    for name in (CARD, WEIGHTS):
        assert (tmp_path / name).read_bytes() == (kept / name).read_bytes() == (again / name).read_bytes()


ELSEWHERE = """
import sys
import numpy as np, torch
torch.set_num_threads(1)
from dnll_core import load_model
model = load_model(sys.argv[1])
np.save(sys.argv[3], model.probabilities(torch.from_numpy(np.load(sys.argv[2])), 1.0).numpy())
assert not any(name.startswith("sklearn.linear") for name in sys.modules)
"""


def test_in_another_process_without_the_photos(tmp_path):
    folder = pets(tmp_path / "pets", counts=(("cat", 4), ("dog", 4)), without=2)
    run = trained(folder, m=1, epochs=1)
    images = load_data(f"folder:{folder}", size=8, progress=False).x_train
    expected, model = run.predict(images), run.save_model(tmp_path / "model")
    shutil.rmtree(folder)
    np.save(tmp_path / "images.npy", images.numpy())
    words = [sys.executable, "-c", ELSEWHERE, model, tmp_path / "images.npy", tmp_path / "answers.npy"]
    subprocess.run([*map(str, words)], check=True, cwd=tmp_path)
    assert np.array_equal(np.load(tmp_path / "answers.npy"), expected.numpy())


# -- what it is given --------------------------------------------------------------------------------------------------


def test_files_are_read_as_in_training(kept, folder):
    model, (_, known) = load_model(kept), images_by_name(folder)
    names, images = model.read(folder)
    assert names == sorted(known)
    assert torch.equal(images, torch.stack([known[name] for name in names]))
    some = [folder / name for name in names[3:6]]
    for given in (some, [*map(str, some)], tuple(some)):
        told, images = model.read(given)
        assert told == [*map(str, some)]
        assert torch.equal(images, torch.stack([known[name] for name in names[3:6]]))
    told, images = model.read(some[0])
    assert (told, len(images)) == ([str(some[0])], 1) and torch.equal(images[0], known[names[3]])
    told, images = model.read([some[0], some[0]])  # twice the same
    assert len(told) == len(images) == 2 and torch.equal(images[0], images[1])


def test_pictures_and_arrays_are_read_as_in_training(kept, folder):
    model, (_, known) = load_model(kept), images_by_name(folder)
    names = sorted(known)
    pictures = [Image.open(folder / name) for name in names]
    arrays = [np.asarray(picture) for picture in pictures]
    expected = torch.stack([known[name] for name in names])
    same_size = [i for i, array in enumerate(arrays) if array.shape == arrays[0].shape]
    assert 1 < len(same_size) < len(arrays)
    for given, which in (
        (pictures, slice(None)),
        (pictures[0], [0]),
        (arrays, slice(None)),
        (arrays[0], [0]),
        (np.stack([arrays[i] for i in same_size]), same_size),  # (N, H, W, 3)
        (expected, slice(None)),
        (np.moveaxis(expected.numpy(), 1, -1), slice(None)),
        (expected[:1], [0]),
        (expected[:0], []),
    ):
        told, images = model.read(given)
        assert told == [*range(len(images))] and torch.equal(images, expected[which])
        assert len(model.predict(given)) == len(images)


def test_grey_arrays_are_read_as_in_training(grey):
    folder, model = grey
    _, known = images_by_name(folder)
    assert (model.card.channels, model.card.bits) == (1, 12)
    names = sorted(known)
    assert torch.equal(model.read(folder)[1], torch.stack([known[name] for name in names]))
    arrays = {name: np.asarray(Image.open(folder / name)) for name in names}
    assert {array.dtype.name for array in arrays.values()} == {"uint8", "uint16"}
    for name, array in arrays.items():
        for given in (array, [array], array[None], Image.open(folder / name)):
            assert torch.equal(model.read(given)[1], known[name][None])
    assert torch.equal(model.read([*arrays.values()])[1], torch.stack([known[name] for name in names]))
    size = arrays[names[0]].shape
    some = [name for name in names if arrays[name].shape == size and arrays[name].dtype == np.uint8]
    _, images = model.read(np.stack([arrays[name] for name in some]))  # (N, H, W)
    assert len(some) > 1 and torch.equal(images, torch.stack([known[name] for name in some]))
    with pytest.raises(DataError, match="more than the 12 bits"):
        model.read(np.full((5, 5), 4096, np.uint16))


def test_colour_and_grey_models_take_both(kept, grey):
    colour, (_, plain) = load_model(kept), grey
    image = texture(0, 0)
    assert plain.read(image)[1].shape == (1, 1, 8, 8)
    _, read = colour.read(image[..., 0])
    assert read.shape == (1, 3, 8, 8) and (read == read[:, :1]).all()


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (np.zeros((5, 5)), TypeError, r"an array \(5, 5\) of float64"),
        (np.zeros((5, 5, 3), np.uint16), TypeError, "of uint16"),
        (5, TypeError, "of type int"),
        ([None], TypeError, "of type NoneType"),
        ({"a": 1}, TypeError, "of type dict"),
        (torch.zeros(2, 3, 8, 8), TypeError, "float32"),
        (torch.zeros(2, 3, 9, 8, dtype=torch.uint8), ValueError, "trained on 8x8 pixels, and these are 9x8"),
        (torch.zeros(2, 1, 8, 8, dtype=torch.uint8), ValueError, "trained on 3 channels, and these have 1"),
        ("nowhere.png", DataError, "it is not there"),
    ],
)
def test_what_is_no_image(kept, given, error, message):
    with pytest.raises(error, match=message):
        load_model(kept).predict(given)


def test_a_model_of_arrays_that_are_not_square(folder):
    images, labels = np.random.RandomState(0).randint(256, size=(12, 8, 16, 3), dtype=np.uint8), np.arange(12) % 2
    model = DNLLClassifier(steps=2, random_state=0).fit(images, labels).model_
    with pytest.raises(DataError, match="the networks were trained on arrays of 8x16; give a tensor"):
        model.predict(folder)
    assert len(model.predict(torch.from_numpy(images).permute(0, 3, 1, 2))) == 12


def test_want_of_memory_is_said(kept, folder, monkeypatch):
    def none_left(*_):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 2147483648 bytes.")

    model = load_model(kept)
    monkeypatch.setattr(dnll_core.own.model, "in_batches", none_left)
    with pytest.raises(ConfigError, match=r"size=\(8, 8\) takes more memory than there is"):
        model.predict(folder)


def test_folders_with_nothing_and_with_damaged_files(kept, tmp_path):
    model = load_model(kept)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("none", encoding="utf-8")
    with pytest.raises(DataError, match=rf"{tmp_path / 'empty'} holds no image"):
        model.predict(tmp_path / "empty")
    fill(tmp_path / "some", 3, 0)
    for name in ("bad.png", "worse.jpg"):
        (tmp_path / "some" / name).write_bytes(b"no image")
    with pytest.raises(DataError) as error:
        model.predict(tmp_path / "some")
    assert f"{tmp_path / 'some' / 'bad.png'} cannot" in str(error.value) and "worse.jpg cannot" in str(error.value)


def test_a_table_of_answers(kept, folder):
    model = load_model(kept)
    names, images = model.read(folder)
    answers, p = model.predict(folder), model.probabilities(images)
    assert answers.index.name == "file" and answers.index.tolist() == names
    assert answers.columns.tolist() == ["class", "probability", "margin"]
    for (_, row), mine in zip(answers.iterrows(), p.tolist(), strict=True):
        first, second = sorted(mine, reverse=True)[:2]
        assert row["class"] == model.classes[mine.index(first)]
        assert row["probability"] == first and row["margin"] == pytest.approx(first - second, abs=1e-7)
    assert isinstance(answers, pd.DataFrame)


# -- damage ------------------------------------------------------------------------------------------------------------


def with_card(but="", **changes):
    """Another card, sealed as one that was written so. but: what it lacks."""

    def change(folder):
        told = json.loads((folder / CARD).read_text(encoding="utf-8")) | changes
        told.pop(but, None)
        (folder / CARD).write_text(json.dumps(sealed(told)), encoding="utf-8")

    return change


def format_is(number):
    def change(folder):
        told = json.loads((folder / CARD).read_text(encoding="utf-8"))
        (folder / CARD).write_text(json.dumps(told | {"format": number}), encoding="utf-8")

    return change


def card_is(content):
    return lambda folder: (folder / CARD).write_bytes(content)


def weights_are(content):
    """Other weights, whose digest the card says."""

    def change(folder):
        data = content(folder) if callable(content) else content
        (folder / WEIGHTS).write_bytes(data)
        with_card(weights_sha256=hashlib.sha256(data).hexdigest())(folder)

    return change


def flipped(folder):
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[-5] ^= 1
    (folder / WEIGHTS).write_bytes(data)


def one_missing(folder):
    tensors = load((folder / WEIGHTS).read_bytes())
    tensors.pop(sorted(tensors)[0])
    return save(tensors)


def other_shape(folder):
    tensors = load((folder / WEIGHTS).read_bytes())
    name = next(name for name, value in tensors.items() if value.ndim > 1)
    return save(tensors | {name: tensors[name][:1].contiguous()})


DAMAGES = {
    "no card": (lambda folder: (folder / CARD).unlink(), "holds no model: .*model.json is not there"),
    "no weights": (lambda folder: (folder / WEIGHTS).unlink(), "holds no model: .*safetensors is not there"),
    "nothing": (lambda folder: shutil.rmtree(folder), "holds no model"),
    "empty card": (card_is(b""), "cannot be used"),
    "half a card": (lambda folder: card_is((folder / CARD).read_bytes()[:200])(folder), "cannot be used"),
    "a list": (card_is(b"[1]"), "cannot be used"),
    "null": (card_is(b"null"), "cannot be used"),
    "no text": (card_is(b"\xff\xfe{}"), "cannot be used"),
    "brackets": (card_is(b"[" * 100_000), "cannot be used"),
    "nothing in it": (card_is(b"{}"), "cannot be used"),
    "a folder": (lambda folder: ((folder / CARD).unlink(), (folder / CARD).mkdir()), "cannot be used"),
    "one field more": (with_card(secret=1), "field='secret' is not known"),
    "one field less": (with_card(but="mean"), "mean"),
    "another format": (format_is(3), "its format is 3, and this version reads 1 to 2"),
    "network": (with_card(network="resnet"), "network='resnet' is not known"),
    "another network": (with_card(network="cnn6"), "cannot be used"),
    "no size": (with_card(size=[0, 8]), "size"),
    "a huge size": (with_card(size=[10**9, 10**9]), "size"),
    "a larger size": (with_card(size=[5000, 8]), "size"),
    "three sizes": (with_card(size=[8, 8, 8]), "size"),
    "small": (with_card(size=[2, 2]), "too small"),
    "channels": (with_card(channels=1), "cannot be used"),
    "many channels": (with_card(channels=10**15), "cannot be used"),
    "text": (with_card(channels="many"), "channels"),
    "many bits": (with_card(bits=10**10), "bits takes a whole number from 8 to 16 or None"),
    "one mean": (with_card(mean=[0.5]), "mean"),
    "one deviation": (with_card(std=[0.5]), "std"),
    "no deviation": (with_card(std=[0.0, 0.1, 0.1]), "std"),
    "not a number": (with_card(mean=[float("nan"), 0.1, 0.1]), "mean"),
    "temperature": (with_card(temperature=0), "temperature"),
    "heads": (with_card(heads=2), "cannot be used"),
    "many heads": (with_card(heads=3), "heads"),
    "classes": (with_card(classes=["cat", "dog"]), "cannot be used"),
    "no class": (with_card(classes=[]), "cannot be used"),
    "classes of numbers": (with_card(classes=[1, 2, 3]), "classes"),
    "no predictor": (with_card(predictors=[]), "cannot be used"),
    "a predictor more": (with_card(predictors=["a", "b", "c"]), "cannot be used"),
    "accuracy": (with_card(accuracy=[1]), "cannot be used"),
    "accuracy of three": (with_card(accuracy={"test": [1, 2, 3]}), "accuracy"),
    "accuracy of nothing": (with_card(accuracy={"test": 5}), "cannot be used"),
    "another digit": (
        lambda folder: card_is((folder / CARD).read_bytes().replace(b'"seed": 0', b'"seed": 1'))(folder),
        "another SHA-256",
    ),
    "a flipped bit": (flipped, "model.safetensors has another SHA-256 than model.json says"),
    "half of the weights": (
        lambda folder: (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:1000]),
        "another SHA-256",
    ),
    "no weights in it": (weights_are(b""), "cannot be used"),
    "a tensor less": (weights_are(one_missing), "cannot be used"),
    "a tensor of another shape": (weights_are(other_shape), "cannot be used"),
    "a long header": (weights_are((2**63 - 1).to_bytes(8, "little") + b"{}"), "cannot be used"),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_model_is_refused(kept, tmp_path, damage, message):
    shutil.copytree(kept, tmp_path / "m")
    damage(tmp_path / "m")
    with pytest.raises(ModelError, match=message) as error:
        load_model(tmp_path / "m")
    assert str(tmp_path / "m") in str(error.value)


def test_a_card_of_format_1_is_read(kept, tmp_path):
    shutil.copytree(kept, tmp_path / "m")
    told = json.loads((kept / CARD).read_text(encoding="utf-8"))
    del told["sha256"]
    (tmp_path / "m" / CARD).write_text(json.dumps(told | {"format": 1}), encoding="utf-8")
    assert load_model(tmp_path / "m").card == dataclasses.replace(load_model(kept).card, format=1)


def test_weights_of_another_model(kept, grey, folder, tmp_path):
    """Of other images, of another seed, and of another method."""
    shutil.copytree(kept, tmp_path / "m")
    e = Experiment(dataset=f"folder:{folder}", **FAST | {"epochs": 1})
    others = [train(e, 1, progress=False), train(e.replace(method="supervised"), 0, progress=False)]
    for i, other in enumerate(others):
        shutil.copy(other.save_model(tmp_path / str(i)) / WEIGHTS, tmp_path / "m")
        with pytest.raises(ModelError, match="another SHA-256"):
            load_model(tmp_path / "m")
    shutil.copy(kept / WEIGHTS, tmp_path / "m")
    load_model(tmp_path / "m")


def test_nothing_is_unpickled(kept, tmp_path):
    class Payload:
        def __reduce__(self):
            return pathlib.Path.touch, (tmp_path / "executed",)

    shutil.copytree(kept, tmp_path / "m")
    torch.save({"a": Payload()}, tmp_path / "pickle")
    for damage in (card_is((tmp_path / "pickle").read_bytes()), weights_are((tmp_path / "pickle").read_bytes())):
        shutil.rmtree(tmp_path / "m")
        shutil.copytree(kept, tmp_path / "m")
        damage(tmp_path / "m")
        with pytest.raises(ModelError):
            load_model(tmp_path / "m")
    assert not (tmp_path / "executed").exists()


# -- the package -------------------------------------------------------------------------------------------------------

LAZY = """
import sys
import dnll_core
assert not [name for name in sys.modules if name.startswith(("dnll_core.own", "sklearn"))]
assert {*dnll_core.__all__} >= {"load_model", "DNLLClassifier", "LabelledKFold"}
dnll_core.load_model
assert "dnll_core.own.estimator" not in sys.modules
assert dnll_core.DNLLClassifier.__module__ == "dnll_core.own.estimator"
"""


def test_the_package_imports_what_is_asked_for(tmp_path):
    subprocess.run([sys.executable, "-c", LAZY], check=True)
    assert dnll_core.load_model is load_model
    with pytest.raises(AttributeError, match="has no attribute 'save_all'"):
        dnll_core.save_all  # noqa: B018
