import bz2
import functools
import gzip
import hashlib
import http.server
import io
import pickle
import re
import shutil
import struct
import tarfile
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from urllib.error import URLError

import numpy as np
import pytest
import scipy.io
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torchvision import datasets

from dnll_core import common
from dnll_core.data import load, load_data, prepared
from dnll_core.data.dataset import array_digests
from dnll_core.data.errors import DataError
from dnll_core.data.sets import SETS

KEYS = ("x_train", "y_train", "x_test", "y_test")
PREPARED = ("mnist", "usps", "cifar10", "svhn")


def md5(content):
    return hashlib.md5(content).hexdigest()


def idx(array):
    return gzip.compress(struct.pack(f">I{array.ndim}I", 0x800 + array.ndim, *array.shape) + array.tobytes())


def libsvm(images, labels):
    """USPS as text. Pixel p is written as the middle of the values that map to p, so that rounding cannot move it."""
    values = 2 * (images.reshape(len(images), -1) + 0.5) / 255 - 1
    rows = (" ".join(f"{i}:{v:.6f}" for i, v in enumerate(row, 1)) for row in values)
    return bz2.compress("\n".join(f"{label + 1} {row}" for label, row in zip(labels, rows)).encode())


def matlab(images, labels):
    file = io.BytesIO()
    scipy.io.savemat(file, {"X": images.transpose(1, 2, 3, 0), "y": np.where(labels == 0, 10, labels)[:, None]})
    return file.getvalue()


def cifar_archive(arrays, monkeypatch):
    """The tar.gz of pickled batches, with Torchvision's checksums set to those of its members."""

    def batch(x, y):
        return pickle.dumps({"data": x.transpose(0, 3, 1, 2).reshape(len(x), -1), "labels": y.tolist()})

    parts = list(zip(np.split(arrays["x_train"], 5), np.split(arrays["y_train"], 5)))
    members = {f"data_batch_{i}": batch(x, y) for i, (x, y) in enumerate(parts, 1)}
    monkeypatch.setattr(datasets.CIFAR10, "train_list", [[file, md5(content)] for file, content in members.items()])
    members |= {
        "test_batch": batch(arrays["x_test"], arrays["y_test"]),
        "batches.meta": pickle.dumps({"label_names": []}),
    }
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [["test_batch", md5(members["test_batch"])]])
    monkeypatch.setattr(datasets.CIFAR10, "meta", datasets.CIFAR10.meta | {"md5": md5(members["batches.meta"])})
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


@pytest.fixture
def originals(tmp_path, monkeypatch):
    """A function that writes small original files of a data set and returns the arrays they hold.

    Torchvision's checksums and this package's table of shapes and SHA-256 are set to the small files. Nothing answers
    at the default address.
    """

    def write(name, folder=None, address="http://127.0.0.1:9/"):
        folder = tmp_path / "raw" / name / ("MNIST/raw" if name == "mnist" else "") if folder is None else folder
        source, random = SETS[name], np.random.RandomState(len(name))
        counts = (20, 20, 10, 10)
        shapes = [(n, *source.image) if key.startswith("x") else (n,) for key, n in zip(KEYS, counts)]
        arrays = {key: random.randint(255, size=shape).astype(np.uint8) for key, shape in zip(KEYS, shapes)}
        for key, n in (("y_train", 20), ("y_test", 10)):
            arrays[key] = random.permutation(np.arange(n) % 10).astype(np.uint8)
        x, y, u, v = (arrays[key] for key in KEYS)
        if name == "mnist":
            files = dict(zip([file for file, _ in datasets.MNIST.resources], map(idx, (x, y, u, v))))
            monkeypatch.setattr(datasets.MNIST, "resources", [(file, md5(content)) for file, content in files.items()])
            monkeypatch.setattr(datasets.MNIST, "mirrors", [address])
        elif name == "cifar10":
            files = {datasets.CIFAR10.filename: cifar_archive(arrays, monkeypatch)}
            monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", md5(files[datasets.CIFAR10.filename]))
            monkeypatch.setattr(datasets.CIFAR10, "url", address + datasets.CIFAR10.filename)
        else:
            kind, encode = (datasets.USPS, libsvm) if name == "usps" else (datasets.SVHN, matlab)
            names = [kind.split_list[part][1] for part in ("train", "test")]
            files = dict(zip(names, (encode(x, y), encode(u, v))))
            listed = {p: [address + f, f, md5(files[f])] for p, f in zip(("train", "test"), names)}
            monkeypatch.setattr(kind, "split_list", kind.split_list | listed)
        folder.mkdir(parents=True)
        for file, content in files.items():
            (folder / file).write_bytes(content)
        hashes = tuple(hashlib.sha256(arrays[key].tobytes()).hexdigest() for key in KEYS if source.sha256)
        monkeypatch.setitem(SETS, name, replace(source, train=20, test=10, sha256=hashes))
        return arrays

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("DNLL_DATA", raising=False)
    monkeypatch.setattr(prepared, "SHA256", {})
    return write


def assert_holds(dataset, arrays):
    for key in KEYS:
        expected = torch.from_numpy(arrays[key].astype(np.int64))
        if key.startswith("x"):
            expected = expected[:, None] if expected.ndim == 3 else expected.permute(0, 3, 1, 2)
        found = getattr(dataset, key)
        assert found.dtype == (torch.uint8 if key.startswith("x") else torch.int64)
        assert torch.equal(found.long(), expected), key


def test_digits_are_scikit_learns():
    dataset, raw = load_data("digits"), load_digits()
    assert dataset.x_train.shape == (1297, 1, 8, 8)
    assert dataset.x_test.shape == (500, 1, 8, 8)
    assert (dataset.num_classes, dataset.channels, dataset.size) == (10, 1, (8, 8))
    assert torch.bincount(dataset.y_test).tolist() == [50] * 10
    # 16 levels times 16, rounded back: each image occurs as often as in the original, with its label.
    x = torch.cat([dataset.x_train, dataset.x_test]).double() * 16 / 255
    found = torch.cat([x.round().flatten(1), torch.cat([dataset.y_train, dataset.y_test])[:, None]], 1).int().tolist()
    assert sorted(found) == sorted(np.column_stack([raw.data, raw.target]).astype(int).tolist())
    assert dataset.x_train.max() == 255
    scaled = dataset.x_train.double() / 255
    assert dataset.mean == pytest.approx((scaled.mean().item(),))
    assert dataset.std == pytest.approx((scaled.std(unbiased=False).item(),))
    assert torch.equal(dataset.x_test, load_data("digits").x_test)


@pytest.mark.parametrize("name", PREPARED)
def test_prepare_from_originals_placed_by_hand(name, originals, tmp_path):
    arrays = originals(name)
    assert_holds(load_data(name, tmp_path, download=False, progress=False), arrays)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([f"{name}.npz", "raw"])
    with np.load(tmp_path / f"{name}.npz") as file:
        assert set(file.files) == set(KEYS)
        for key in KEYS:
            assert file[key].dtype == np.uint8
            assert np.array_equal(file[key], arrays[key])
    shutil.rmtree(tmp_path / "raw")
    again = load_data(name, tmp_path, download=False)
    assert_holds(again, arrays)
    assert again.name == name
    assert len(again.classes) == 10
    assert len(again.mean) == len(again.std) == again.channels


@pytest.mark.parametrize("name", ["mnist", "usps"])
@pytest.mark.parametrize("progress", [True, False])
def test_download(name, progress, originals, tmp_path, capfd):
    requests = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            requests.append(self.path)

    handler = functools.partial(Handler, directory=tmp_path / "site")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        arrays = originals(name, tmp_path / "site", f"http://127.0.0.1:{server.server_port}/")
        if name == "usps":  # what an interrupted download leaves
            (tmp_path / "data" / "raw" / "usps").mkdir(parents=True)
            (tmp_path / "data" / "raw" / "usps" / "usps.bz2").write_bytes(b"BZh9")
        assert_holds(load_data(name, tmp_path / "data", progress=progress), arrays)
        assert set(requests) == {f"/{p.name}" for p in (tmp_path / "site").iterdir()}
        count = len(requests)
        assert_holds(load_data(name, tmp_path / "data"), arrays)
        assert len(requests) == count, "downloaded twice"
        server.shutdown()
    assert ("100%" in capfd.readouterr().err) == progress


def test_two_at_once_prepare_a_data_set_once(originals, tmp_path, monkeypatch):
    """The second waits, and reads what the first has prepared."""
    real, began, may_end, prepares = prepared._read_originals, threading.Event(), threading.Event(), []

    def slow(*where):
        prepares.append(where)
        began.set()
        assert may_end.wait(30)
        return real(*where)

    monkeypatch.setattr(prepared, "_read_originals", slow)
    arrays = originals("usps")
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(load_data, "usps", tmp_path, progress=False)
        assert began.wait(30)
        second = threads.submit(load_data, "usps", tmp_path, progress=False)
        time.sleep(0.3)
        assert not second.done()
        may_end.set()
        for each in (first, second):
            assert_holds(each.result(30), arrays)
    assert len(prepares) == 1


def test_where_nothing_can_be_written_that_is_said_of_the_data_not_of_a_lock(originals, tmp_path):
    originals("usps", tmp_path / "elsewhere")
    (tmp_path / "data").write_text("a file in the place of the folder", encoding="utf-8")
    with pytest.raises(DataError, match="usps is not prepared, and download=False"):
        load_data("usps", tmp_path / "data", download=False, progress=False)


@pytest.mark.parametrize("name", PREPARED)
@pytest.mark.parametrize("download", [True, False])
def test_without_originals_the_error_lists_them(name, download, originals, tmp_path, monkeypatch):
    originals(name, tmp_path / "elsewhere")
    requests = []

    def no_network(request, *_, **__):
        requests.append(request)
        raise URLError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", no_network)
    with pytest.raises(DataError) as caught:
        load_data(name, tmp_path / "data", download=download, progress=False)
    message = str(caught.value)
    assert bool(requests) == download
    assert ("download=False" in message) == (not download)
    for file in (tmp_path / "elsewhere").iterdir():
        folder = tmp_path / "data" / "raw" / name / ("MNIST/raw" if name == "mnist" else "")
        assert str(folder / file.name) in message
        assert "http://127.0.0.1:9/" + file.name in message
        assert md5(file.read_bytes()) in message
    assert not list((tmp_path / "data").glob("*.npz"))


@pytest.mark.parametrize("name", ["svhn", "cifar10"])
@pytest.mark.parametrize("is_right", [True, False])
def test_sha256_of_originals(name, is_right, originals, tmp_path, monkeypatch):
    arrays = originals(name)
    files = [file for file in (tmp_path / "raw" / name).iterdir() if file.is_file()]
    known = {file.name: hashlib.sha256(file.read_bytes() if is_right else b"").hexdigest() for file in files}
    monkeypatch.setattr(prepared, "SHA256", known)
    if is_right:
        assert_holds(load_data(name, tmp_path, download=False, progress=False), arrays)
    else:
        with pytest.raises(DataError, match="is not there, or is not what it should be"):
            load_data(name, tmp_path, download=False, progress=False)


def test_originals_are_not_read_but_from_archives_with_the_right_md5(originals, tmp_path):
    """Torchvision would read what lies there unpacked, or was preprocessed by earlier versions of it."""
    arrays = originals("mnist")
    raw = tmp_path / "raw" / "mnist" / "MNIST" / "raw"
    for packed in raw.glob("*.gz"):
        (raw / packed.stem).write_bytes(b"unpacked, and something else")
    assert_holds(load_data("mnist", tmp_path, download=False, progress=False), arrays)
    (tmp_path / "mnist.npz").unlink()
    packed.write_bytes(packed.read_bytes() + b"\0")
    with pytest.raises(DataError, match="is not there, or is not what it should be"):
        load_data("mnist", tmp_path, download=False, progress=False)


@pytest.mark.parametrize("i", range(4))
def test_sha256_mismatch_writes_nothing(i, originals, tmp_path, monkeypatch):
    originals("mnist")
    right = SETS["mnist"].sha256
    wrong = (*right[:i], "0" * 64, *right[i + 1 :])
    monkeypatch.setitem(SETS, "mnist", replace(SETS["mnist"], sha256=wrong))
    with pytest.raises(DataError, match=f"SHA-256 of {KEYS[i]} is {right[i]}, expected 0000"):
        load_data("mnist", tmp_path, progress=False)
    assert [p.name for p in tmp_path.iterdir()] == ["raw"]


def test_a_changed_pixel_is_found(originals, tmp_path):
    arrays = originals("cifar10")
    load_data("cifar10", tmp_path, progress=False)
    arrays["x_test"][3, 2, 1, 0] ^= 1
    np.savez(tmp_path / "cifar10.npz", **arrays)
    with pytest.raises(DataError, match=r"cifar10\.npz: SHA-256 of x_test .* Delete the file and load again"):
        load_data("cifar10", tmp_path)


def test_a_prepared_file_is_verified_once_a_process(originals, tmp_path, monkeypatch):
    """And again when it was replaced; a worker takes over what the process that started it has verified."""
    hashed = []

    def counted(arrays):
        hashed.append(1)
        return array_digests(arrays)

    monkeypatch.setattr(prepared, "array_digests", counted)
    monkeypatch.setattr(prepared, "VERIFIED", {})
    arrays = originals("usps")
    load_data("usps", tmp_path, progress=False)
    hashed.clear()
    digests = [load_data("usps", tmp_path).digest for _ in range(3)]
    assert len(hashed) == 1
    assert digests == [digests[0]] * 3
    assert re.fullmatch("[0-9a-f]{64}", digests[0])
    prepared.verify(["usps", "mnist", "digits", "folder:x"], tmp_path)
    assert len(hashed) == 1
    handed_on = dict(prepared.VERIFIED)
    monkeypatch.setattr(prepared, "VERIFIED", handed_on)
    assert load_data("usps", tmp_path).digest == digests[0]
    assert len(hashed) == 1
    np.savez(tmp_path / "usps.npz", **arrays | {"x_test": arrays["x_test"] ^ 1})
    prepared.verify(["usps"], tmp_path)  # says nothing; whoever loads it does
    with pytest.raises(DataError, match="SHA-256 of x_test"):
        load_data("usps", tmp_path)
    np.savez(tmp_path / "usps.npz", **arrays)
    assert load_data("usps", tmp_path).digest == digests[0]


def test_the_digest_is_that_of_the_arrays(originals, tmp_path):
    """Of the originals: resizing does not change it."""
    arrays = originals("cifar10")
    lines = "\n".join(hashlib.sha256(arrays[key].tobytes()).hexdigest() for key in KEYS)
    expected = hashlib.sha256(lines.encode()).hexdigest()
    assert load_data("cifar10", tmp_path, progress=False).digest == expected
    assert load_data("cifar10", tmp_path, size=8).digest == expected
    digits = [load_data(name).digest for name in ("digits", "digits", "digits-source", "digits-target")]
    assert len(set(digits)) == 3
    assert digits[0] == digits[1]


def _truncated(path, arrays):
    np.savez(path, **arrays)
    path.write_bytes(path.read_bytes()[:-1000])


def _flipped(path, arrays):
    np.savez(path, **arrays)
    content = bytearray(path.read_bytes())
    content[300] ^= 1
    path.write_bytes(content)


def _bare_array(path, arrays):
    with open(path, "wb") as file:
        np.save(file, arrays["x_train"])


DAMAGES = {
    "truncated": (_truncated, "cannot be read"),
    "flipped bit": (_flipped, "cannot be read"),
    "empty": (lambda path, _: path.write_bytes(b""), "cannot be read"),
    "text": (lambda path, _: path.write_text("not an archive", encoding="utf-8"), "cannot be read"),
    "bare array": (_bare_array, "cannot be read|has no array"),
    "pickle": (lambda p, a: np.savez(p, **(a | {"y_test": a["y_test"].astype(object)})), "cannot be read"),
    "missing key": (lambda p, a: np.savez(p, **{k: a[k] for k in KEYS[:3]}), "has no array 'y_test'"),
    "dtype": (lambda p, a: np.savez(p, **(a | {"x_test": a["x_test"] / 255})), r"x_test is float64 .*expected uint8"),
    "label dtype": (lambda p, a: np.savez(p, **(a | {"y_train": a["y_train"].astype(int)})), "y_train is int64"),
    "shape": (lambda p, a: np.savez(p, **(a | {"x_train": a["x_train"][1:]})), r"x_train is uint8 \(19, 28, 28\)"),
    "label": (lambda p, a: np.savez(p, **(a | {"y_test": a["y_test"] + 1})), r"y_test has label 10, expected 0\.\.9"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_prepared_file(damage, originals, tmp_path):
    spoil, message = DAMAGES[damage]
    arrays = originals("mnist")
    spoil(tmp_path / "mnist.npz", arrays)
    with pytest.raises(DataError, match=rf"(?s)mnist\.npz.*({message}).* Delete the file and load again"):
        load_data("mnist", tmp_path)
    (tmp_path / "mnist.npz").unlink()
    assert_holds(load_data("mnist", tmp_path, progress=False), arrays)


@pytest.mark.parametrize("error", [OSError(28, "disk full"), KeyboardInterrupt()])
def test_failed_write_leaves_nothing(error, originals, tmp_path, monkeypatch):
    arrays = originals("usps")

    def fail(file, **_):
        file.write(b"PK")
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", fail)
        if isinstance(error, OSError):  # what was read is as good without a file
            with pytest.warns(UserWarning, match=r"usps\.npz cannot be written \(disk full\), so each load of usps"):
                assert_holds(load_data("usps", tmp_path, progress=False), arrays)
        else:
            with pytest.raises(type(error)):
                load_data("usps", tmp_path, progress=False)
    assert [p.name for p in tmp_path.iterdir()] == ["raw"]
    assert_holds(load_data("usps", tmp_path, progress=False), arrays)


def test_root_is_argument_then_environment_then_that_of_the_clone(originals, tmp_path, monkeypatch):
    assert load.data_root() == common.data_folder()
    arrays = originals("usps", tmp_path / "here" / "raw" / "usps")
    monkeypatch.setenv("DNLL_DATA", str(tmp_path / "here"))
    assert load.data_root(tmp_path) == tmp_path
    assert_holds(load_data("usps", progress=False), arrays)
    assert (tmp_path / "here" / "usps.npz").is_file()


@pytest.mark.parametrize(
    ("name", "near"), [("CIFAR-10", "cifar10"), ("minst", "mnist"), ("digit", "digits"), ("SVHN", "svhn")]
)
def test_unknown_name_suggests_the_nearest(name, near):
    with pytest.raises(
        ValueError, match=rf"{name}.* Did you mean '{near}'\? Accepted: digits, digits-source, digits-target, mnist"
    ):
        load_data(name)


def test_wrong_arguments():
    with pytest.raises(ValueError, match=r"dataset='qqq' is not known\. Accepted"):
        load_data("qqq")
    with pytest.raises(TypeError, match="name must be a str, got 3"):
        load_data(3)
    for size in (0, -1, 2.0, "28", True):
        with pytest.raises(ValueError, match="size takes a whole number from 1 or None, not"):
            load_data("digits", size=size)


@pytest.mark.parametrize("name", ["usps", "cifar10"])
def test_resize_is_pillows(name, originals, tmp_path):
    arrays = originals(name)
    plain, resized = load_data(name, tmp_path, progress=False), load_data(name, tmp_path, size=28)
    assert resized.size == (28, 28)
    assert (resized.mean, resized.std, resized.name) == (plain.mean, plain.std, plain.name)
    for image, tensor in zip(arrays["x_test"], resized.x_test):
        expected = np.asarray(Image.fromarray(image).resize((28, 28), Image.Resampling.BICUBIC))
        assert np.array_equal(expected, tensor[0] if image.ndim == 2 else tensor.permute(1, 2, 0))
    own = load_data(name, tmp_path, size=plain.size[0])
    assert torch.equal(own.x_train, plain.x_train)


def test_colour_is_not_copied(originals, tmp_path):
    originals("cifar10")
    dataset = load_data("cifar10", tmp_path, progress=False)
    assert dataset.x_train.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("name", PREPARED)
def test_real_files_if_present(name):
    if not (load.data_root() / f"{name}.npz").is_file():
        pytest.skip(f"{name} is not in the data root")
    dataset = load_data(name, download=False)
    assert torch.bincount(dataset.y_train).min() > 500
    for channel, (mean, std) in enumerate(zip(dataset.mean, dataset.std)):
        pixels = dataset.x_train[:, channel].double() / 255
        assert pixels.mean().item() == pytest.approx(mean, abs=6e-5)
        assert pixels.std(unbiased=False).item() == pytest.approx(std, abs=6e-5)


@pytest.mark.parametrize("name", [name for name, known in SETS.items() if not known.downloaded])
def test_constants_of_the_sets_that_need_no_download(name):
    dataset, known = load_data(name), SETS[name]
    assert (len(dataset.x_train), len(dataset.x_test)) == (known.train, known.test)
    assert (dataset.classes, dataset.size) == (known.classes, known.image)
    tenth = [count // 10 for count in dataset.y_train.bincount().tolist()]
    assert name == "digits" or [known.validation] * 10 == tenth  # as of any other data set without a number of its own
