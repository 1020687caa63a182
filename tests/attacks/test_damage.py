"""Files of every kind, damaged in every way: an error names them, or what they hold is what was written."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from attacks.children import SMALL
from attacks.ledger import times

from dnll_core import Experiment, load_model, results, train
from dnll_core.bench import measure, report
from dnll_core.checkpoint import CheckpointError, load_checkpoint
from dnll_core.data import prepared
from dnll_core.data.dataset import array_digests
from dnll_core.data.errors import DataError
from dnll_core.data.sets import SETS
from dnll_core.own.model import CARD, WEIGHTS, ModelError

EACH = times(85, 6)
WAYS = ("a bit", "a byte", "some zeros", "noise", "no end", "no beginning", "more", "empty", "twice")


def damaged(data, way, random):
    data, place = bytearray(data), random.randint(len(data))
    if way == "a bit":
        data[place] ^= 1 << random.randint(8)
    elif way == "a byte":
        data[place] = (data[place] + random.randint(1, 256)) % 256
    elif way in ("some zeros", "noise"):
        n = min(len(data) - place, random.randint(1, 64))
        data[place : place + n] = bytes(n) if way == "some zeros" else random.bytes(n)
    elif way == "no end":
        del data[place:]
    elif way == "no beginning":
        del data[: place + 1]
    elif way == "more":
        data += random.bytes(1 + place % 100)
    elif way == "empty":
        data.clear()
    else:
        data *= 2
    return bytes(data)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with its checkpoint, its record and its model, in one folder."""
    folder = tmp_path_factory.mktemp("run")
    e = Experiment(**SMALL | {"method": "dnll"})
    run = train(e, 0, checkpoint=folder / "checkpoint", progress=False)
    run.save_record(folder)
    run.save_model(folder / "model")
    return folder


def checkpoint(folder):
    tensors, info = load_checkpoint(folder)
    return {name: value.numpy().tobytes() for name, value in tensors.items()}, info


def record(folder):
    return results.load(folder)


def bench(folder):
    return report.load_benchmarks(folder)


def model(folder):
    found = load_model(folder)
    return found.card, {name: value.numpy().tobytes() for name, value in found.networks.state_dict().items()}


def own_set(folder):
    arrays, digest = prepared.read_prepared("usps", folder / "usps.npz")
    return {key: value.tobytes() for key, value in arrays.items()}, digest


# kind -> what reads it from its folder, the file that is damaged, the error that names it
KINDS = {
    "checkpoint": (checkpoint, "checkpoint.safetensors", CheckpointError),
    "record": (record, None, results.RecordError),
    "benchmark": (bench, "bench.json", results.RecordError),
    "card of a model": (model, CARD, ModelError),
    "weights of a model": (model, WEIGHTS, ModelError),
    "prepared data set": (own_set, "usps.npz", DataError),
}


@pytest.fixture
def place(run, tmp_path, monkeypatch):
    """A function: kind -> the folder of a whole file of it, and the file."""
    random = np.random.RandomState(0)

    def whole(kind):
        folder = tmp_path / "whole"
        if kind == "checkpoint":
            shutil.copytree(run / "checkpoint", folder)
        elif kind.endswith("of a model"):
            shutil.copytree(run / "model", folder)
        else:
            folder.mkdir()
        if kind == "record":
            [path] = run.glob("*-seed0.json")
            shutil.copy(path, folder)
        if kind == "benchmark":
            measure.save(report.load_benchmarks().popitem()[1], folder / "bench.json")  # sealed, as they are now
        if kind == "prepared data set":
            source, arrays = SETS["usps"], {}
            for part, n in (("train", 20), ("test", 10)):
                arrays[f"x_{part}"] = random.randint(256, size=(n, *source.image)).astype(np.uint8)
                arrays[f"y_{part}"] = np.arange(n, dtype=np.uint8) % 10
            few = replace(source, train=20, test=10, sha256=tuple(array_digests(arrays)))
            monkeypatch.setitem(SETS, "usps", few)
            np.savez(folder / "usps.npz", **arrays)
        return folder, next(path for path in folder.iterdir() if path.name in (KINDS[kind][1], *names(run)))

    return whole


def names(run):
    return [path.name for path in run.glob("*-seed0.json")]


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_is_named_or_holds_what_was_written(kind, place, attempt):
    read, _, error = KINDS[kind]
    folder, file = place(kind)
    data, before = file.read_bytes(), read(folder)
    random = np.random.RandomState(len(kind))
    for i in range(EACH):
        way = WAYS[i % len(WAYS)]
        bad = damaged(data, way, random)
        file.unlink()  # another file, as damage to a disk would be; readers know a file by its inode and times
        file.write_bytes(bad)
        with attempt("damaged", f"{kind}, {i}: {way}"):
            try:
                found = read(folder)
            except error as told:
                assert str(folder) in str(told)  # the file, or for a model the folder, which is one thing
            else:
                assert found == before
