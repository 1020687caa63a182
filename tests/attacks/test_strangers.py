"""Files made by an attacker: none runs anything, unpacks without bound or is read without end; each is named."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import re
import struct
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from attacks import forged
from attacks.forged import GIGABYTES, MEMORY, RAN, TERABYTE, endless, payload, pets, pipe, sparse
from attacks.ledger import FULL
from fabricated import record
from safetensors.torch import save

from dnll_core.checkpoint import FILE, _digest, load_checkpoint, save_checkpoint
from dnll_core.checks import sealed
from dnll_core.config import Experiment
from dnll_core.models import build_network
from dnll_core.run import prepare

Make = Callable[[Path], object]


@dataclass(frozen=True)
class Case:
    """make: writes forged files into a folder. reader: of `forged.READERS`. says: a part of it. error: its class."""

    make: Make
    reader: str
    says: str
    error: str


CASES: dict[str, Case] = {}
# A few of each kind, which take a second together.
SAMPLE = """prepared: pickled objects|prepared: a zip bomb|prepared: arrays that claim 10^12 images
images: 10^9 pixels in JPEG|images: PostScript, for which a program would be started|images: a file of a terabyte
tables: a file beside the folder|tables: a pipe|models: 10^9 channels|models: weights of a terabyte
checkpoints: tensors that claim terabytes|records: nested 100,000 deep|records: a link to /dev/zero"""


def add(kind: str, reader: str, says: str, error: str, cases: dict[str, Make]) -> None:
    for what, make in cases.items():
        assert f"{kind}: {what}" not in CASES
        CASES[f"{kind}: {what}"] = Case(make, reader, says, error)


def written(path: str, content: bytes | str | Make) -> Make:
    """Writes a file, with what `content` gives if it is a function."""

    def make(folder: Path) -> None:
        data = content(folder) if callable(content) else content
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data if isinstance(data, bytes) else data.encode())

    return make


def at(path: str, make: Callable[[Path], object]) -> Make:
    """`make` of `forged` in the place of one file."""
    return lambda folder: make(folder / path)


NO_FILES = {"a file of a terabyte": sparse, "a pipe": pipe, "a link to /dev/zero": endless}


def each_at(path: str) -> dict[str, Make]:
    return {what: at(path, make) for what, make in NO_FILES.items()}


# -- prepared files and originals --------------------------------------------------------------------------------------

KEYS = ("x_train", "y_train", "x_test", "y_test")


def _arrays(header: bytes, content: Make) -> Make:
    def make(folder: Path) -> None:
        with zipfile.ZipFile(folder / "mnist.npz", "w") as file:
            for key in KEYS:
                file.writestr(f"{key}.npy", header + content(folder))

    return make


def _claims(shape: tuple[int, ...], dtype: str = "|u1") -> Make:
    return _arrays(forged.npy_header(shape, dtype), lambda _: bytes(100))


def _zipped(kind: int, packed: Callable[[], bytes]) -> Make:
    return written("mnist.npz", lambda _: forged.zip_of("x_train.npy", kind, packed(), GIGABYTES))


def _deflated() -> bytes:
    head = forged.npy_header((GIGABYTES,))
    return b"\x00" + struct.pack("<HH", len(head), len(head) ^ 0xFFFF) + head + forged.deflated_zeros(GIGABYTES)


def _long_zip(folder: Path) -> None:
    """Of a terabyte, with the directory where zip files have it, at the end."""
    path = folder / "mnist.npz"
    _claims((TERABYTE,))(folder)
    whole = path.read_bytes()
    sparse(path)
    with open(path, "ab") as file:
        file.write(whole)


add(
    "prepared",
    "mnist",
    r"mnist\.npz",
    "DataError",
    {
        "pickled objects": _arrays(forged.npy_header((1,), "|O"), payload),
        "a pickle": written("mnist.npz", payload),
        "a zip bomb": _zipped(zipfile.ZIP_DEFLATED, _deflated),
        "a bzip2 bomb in a zip": _zipped(zipfile.ZIP_BZIP2, lambda: forged.bzip2_zeros(100)),
        "arrays that claim 10^12 images": _claims((10**12, 28, 28)),
        "arrays that claim 3 GB": _claims((4 * 10**6, 28, 28)),
        "arrays of text that claim 10^9 letters": _claims((5,), "<U1000000000"),
        "an array that claims 10^12 images": written("mnist.npz", forged.npy_header((10**12, 28, 28))),
        "a zip of a terabyte": _long_zip,
        "a zip of three million files": written("mnist.npz", lambda _: forged.zip_of_many(3_000_000)),
        **each_at("mnist.npz"),
    },
)

UNPACKED = [f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]


def _all(*makes: Make) -> Make:
    def make(folder: Path) -> None:
        for one in makes:
            one(folder)

    return make


def _batches(content: Make) -> Make:
    names = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta")
    return _all(*(written(f"raw/cifar10/cifar-10-batches-py/{name}", content) for name in names))


def _escaping(folder: Path) -> None:
    (folder / "raw/cifar10").mkdir(parents=True)
    with tarfile.open(folder / "raw/cifar10/cifar-10-python.tar.gz", "w:gz") as archive:
        for name in (f"../../{RAN}", str(folder / RAN)):
            archive.addfile(tarfile.TarInfo(name))


for name, file, cases in (
    ("usps", "usps.bz2", {"a bzip2 bomb": lambda file: file.write_bytes(forged.bzip2_zeros(100)), **NO_FILES}),
    ("svhn", "train_32x32.mat", NO_FILES),
):
    places = {what: at(f"raw/{name}/{file}", make) for what, make in cases.items()}
    made = {what: _all(written(f"raw/{name}/other", ""), make) for what, make in places.items()}
    add(f"originals of {name}", name, file, "DataError", made)
add(
    "originals of mnist",
    "mnist",
    "train-images-idx3-ubyte.gz",
    "DataError",
    {
        "a gzip bomb": _all(
            *(written(f"raw/mnist/MNIST/raw/{file}.gz", lambda _: forged.gzipped_zeros(GIGABYTES)) for file in UNPACKED)
        ),
        "unpacked, of a terabyte": _all(*(at(f"raw/mnist/MNIST/raw/{file}", sparse) for file in UNPACKED)),
        "a pickle where Torchvision once kept them": _all(
            *(written(f"raw/mnist/MNIST/processed/{file}", payload) for file in ("training.pt", "test.pt"))
        ),
    },
)
add(
    "originals of cifar10",
    "cifar10",
    "cifar-10-python.tar.gz",
    "DataError",
    {
        "a pickle as each batch": _batches(payload),
        "an archive that unpacks beside its folder": _escaping,
    },
)


# -- images ------------------------------------------------------------------------------------------------------------


def _image(content: Callable[[], bytes]) -> Make:
    return lambda folder: pets(folder, content())


def _no_file(make: Callable[[Path], object]) -> Make:
    return lambda folder: make(pets(folder))


def _postscript(folder: Path) -> None:
    """With a program of the name that Pillow starts."""
    written("bin/gs", f"#!/bin/sh\ntouch '{folder / RAN}'\n")(folder)
    (folder / "bin/gs").chmod(0o755)
    pets(folder, b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")


def _deep(folder: Path) -> None:
    """Of folders in folders, which a table labels."""
    (folder / "pets").mkdir()
    here = os.getcwd()
    os.chdir(folder / "pets")
    for _ in range(1500):
        os.mkdir("a")
        os.chdir("a")
    os.chdir(here)
    written("labels.csv", "file,class\na.png,cat\n")(folder)


add(
    "images",
    "folder",
    r"bad\.jpg cannot be read as an image \(more than 178 megapixels; make it smaller",
    "DataError",
    {
        f"10^9 pixels in {title}": _image(content)
        for title, content in {
            "PNG": lambda: forged.png(32_000, 32_000),
            "PNG with a palette": lambda: forged.png(32_000, 32_000, 3),
            "PNG of one bit": lambda: forged.png(100_000, 10_000, bits=1),
            "JPEG": lambda: forged.resized("JPEG", ">HH", b"\xff\xc0", 65_000, 65_000),
            "GIF": lambda: forged.resized("GIF", "<HH", 6, 65_000, 65_000),
            "BMP": lambda: forged.resized("BMP", "<ii", 18, 32_000, 32_000),
            "TIFF": lambda: forged.tiff(32_000, 32_000, forged.deflated_zeros(2**24), 8),
            "ICO with a PNG inside": lambda: forged.ico(forged.png(32_000, 32_000, 6)),
        }.items()
    },
)
add(
    "images",
    "folder",
    r"bad\.jpg cannot be read as an image .*(Repair or remove it|convert)",
    "DataError",
    {
        "a PNG whose text unpacks to gigabytes": _image(lambda: forged.png_with(b"zTXt")),
        "a PNG whose colour profile unpacks to gigabytes": _image(lambda: forged.png_with(b"iCCP")),
        "a TIFF that unpacks to gigabytes, cut off": _image(
            lambda: forged.tiff(8, 8, b"\x78\x9c" + forged.deflated_zeros(GIGABYTES), 8)[:-60]
        ),
        "a TIFF of eight million strips": _image(lambda: forged.tiff_of_strips(8 * 10**6)),
        "EXIF data of a million numbers": _image(lambda: forged.exif_of_numbers(10**6)),
        "a BMP of one long row, packed": _image(lambda: forged.bmp_in_rows(178_000_000, 1)),
        "a JPEG of 20,000 scans": _image(lambda: forged.jpeg_of_scans(13_000, 13_000, 20_000)),
        "JPEG 2000 of 100 megapixels": _image(lambda: forged.blank("JPEG2000", 10_000)),
        "WebP of 169 megapixels": _image(lambda: forged.blank("WEBP", 13_000)),
        "FITS with a gzip bomb": _image(lambda: forged.fits(13_000, 13_000)),
        "text": _image(lambda: b"no image"),
        "a pickle": lambda folder: pets(folder, payload(folder)),
        "PostScript, for which a program would be started": _postscript,
        "a file of a terabyte": _no_file(lambda path: sparse(path, TERABYTE, forged.png(8, 8))),
        "a link to /dev/zero": _no_file(endless),
        "a link to the memory of the process": _no_file(lambda path: path.symlink_to("/proc/self/mem")),
        "a pipe": _no_file(pipe),
    },
)
add(
    "images",
    "folder",
    r"cat, dog",  # they are what they say, and what they hide is not unpacked
    "",
    {
        "a PNG of few pixels that unpacks to gigabytes": _image(lambda: forged.png(8, 8, unpacked=GIGABYTES)),
        "a TIFF whose strip claims gigabytes": _image(lambda: forged.tiff(8, 8, bytes(64), claimed=2**32 - 1)),
    },
)
add(
    "images",
    "folder",
    r"pets/(loop cannot be read|me holds the folder)",
    "DataError",
    {
        "a folder that is a link to itself": lambda folder: (pets(folder), os.symlink("loop", folder / "pets/loop")),
        "a class that is a link to the folder": lambda folder: (pets(folder), os.symlink(".", folder / "pets/me")),
    },
)


def _named(folder: Path) -> None:
    """A class that clears the terminal's screen, and fills its clipboard."""
    pets(folder)
    written("pets/\x1b[2J\x1b]52;c;cm0=\x07/1.png", forged.image("PNG"))(folder)


add("images", "folder", r"\\x1b\[2J.* has 1 images", "DataError", {"a class named as commands of a terminal": _named})


def _eight_large(left: int) -> Make:
    """Of nearly as many pixels as are read: eight threads must not read them at once. left: bytes that are cut off."""

    def make(folder: Path) -> None:
        pets(
            folder, forged.png(13_000, 13_000, 6, unpacked=13_000 * (4 * 13_000 + 1) + 2**24)[: -left or None], "0.bmp"
        )
        for i in range(1, 8):
            os.link(folder / "pets/cat/0.bmp", folder / f"pets/cat/{i}.bmp")

    return make


add("images", "folder, 8 threads", "cat, dog", "", {"eight of 169 megapixels": _eight_large(0)})
add(
    "images",
    "folder, 8 threads",
    "8 files are to be repaired, converted or removed",
    "DataError",
    {"eight of 169 megapixels, cut off": _eight_large(200_000)},
)


# -- tables of labels --------------------------------------------------------------------------------------------------


def _table(rows: bytes | Callable[[Path], bytes], head: bytes = b"file,class\nunlabelled/1.png,cat\n") -> Make:
    def make(folder: Path) -> None:
        pets(folder)
        written("pets/unlabelled/1.png", forged.image("PNG"))(folder)
        written("secret.png", forged.image("PNG"))(folder)
        written("labels.csv", head + (rows(folder) if callable(rows) else rows))(folder)

    return make


def _linked_folder(folder: Path) -> None:
    for name in ("secrets/1.png", "pets/0.png", "pets/1.png", "pets/2.png"):
        written(name, forged.image("PNG"))(folder)
    (folder / "pets/out").symlink_to(folder / "secrets")
    written("labels.csv", "file,class\n0.png,cat\n1.png,cat\n2.png,dog\nout/1.png,dog\n")(folder)


add(
    "tables",
    "table",
    r"labels\.csv names 1 of [24] files that are no images below .*A file is named relative to that folder",
    "DataError",
    {
        "a file beside the folder": _table(b"../secret.png,dog\n"),
        "an absolute path": _table(lambda folder: f"{folder / 'secret.png'},dog\n".encode()),
        "a file in a folder that is a link": _linked_folder,
        "NUL bytes in a name": _table(b"unlabelled/\0\0.png,dog\n"),
        "the output of a program as a name": _table(b"|touch ran,dog\n"),
        "a name of 100 KB": _table(b"a" * 100_000 + b",dog\n"),
    },
)
add(
    "tables",
    "table",
    r"labels\.csv",
    "DataError",
    {
        "a class of 100 KB": _table(b"unlabelled/1.png," + b"a" * 100_000 + b"\n"),
        "a field of a gigabyte": _table(lambda _: b"a" * 2**30),
        "a quotation mark of 60 MB": _table(b'"' + b"a\n" * 30_000_000),
        "twelve million rows": _table(b"a,b\n" * 12_000_000),
        "a million files that are not there": _table(
            lambda _: b"".join(b"%d,cat\n" % i for i in range(999_000)),
        ),
        "sixty million columns": _table(b"", b"," * 60_000_000 + b"\n"),
        "letters of four bytes": _table(b"unlabelled/1.png," + "\U0001f600".encode() * 15_000_000),
        **{what: _all(_table(b""), make) for what, make in each_at("labels.csv").items()},
    },
)
add("tables", "table", "cat, dog", "", {"a row of sixty million columns": _table(b"," * 60_000_000 + b"\n")})
add("tables", "table", "too long|has 0 classes|are no images", "DataError", {"folders 1500 deep": _deep})


# -- models ------------------------------------------------------------------------------------------------------------

CARD = {"format": 1, "classes": ["cat", "dog"], "size": [8, 8], "channels": 3, "mean": [0.5] * 3, "std": [0.2] * 3}
CARD |= {"network": "small", "predictors": ["student"], "method": "supervised", "labels": 8}


def _model(weights: Make | None = None, page: str | None = None, **card: object) -> Make:
    """A model that can be used, but for what is given. page: in the place of its card."""

    def make(folder: Path) -> None:
        data = weights(folder) if weights else _own_weights()
        told = CARD | card | {"weights_sha256": hashlib.sha256(data).hexdigest()}
        written("model/model.safetensors", data)(folder)
        written("model/model.json", json.dumps(told) if page is None else page)(folder)

    return make


@functools.cache
def _own_weights() -> bytes:
    return save({f"0.{name}": value for name, value in build_network("small", 2, 3, 8).state_dict().items()})


def _wide(channels: int) -> dict:
    return {"channels": channels, "mean": [0.5] * channels, "std": [0.2] * channels}


def _many_images(folder: Path) -> None:
    """More than fit into the memory at the size that the card asks for."""
    _model(size=[4096, 4096])(folder)
    pets(folder)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for i in range(memory // (3 * 4096**2)):
        os.link(folder / "pets/cat/0.png", folder / f"pets/cat/more{i}.png")


add(
    "models",
    "model",
    r"the model in .*model cannot be used: .* Train it anew, or put a whole copy in its place",
    "ModelError",
    {
        "a million predictors": _model(predictors=["a"] * 10**6),
        "no predictors": _model(predictors=[]),
        "10^7 classes": _model(classes=[""] * 10**7),
        "10^6 classes of WRN-28-2": _model(classes=[""] * 10**6, network="wrn28-2"),
        "one class": _model(classes=["cat"]),
        "10^9 channels": _model(channels=10**9),
        "10^6 channels of CNN-13": _model(network="cnn13", size=[12, 12], **_wide(10**6)),
        "10^30 channels": _model(channels=10**30),
        "images of 10^9 pixels": _model(size=[32_000, 32_000]),
        "a name of 5 MB for a network": _model(network="a" * 5_000_000),
        "a path for a network": _model(network="../../model"),
        "a field of another version": _model(command="touch ran"),
        "lists in the place of text": _model(classes=[["cat"], ["dog"]]),
        "a card nested 100,000 deep": _model(page=forged.nested()),
        "a card with a number of a million digits": _model(page='{"seed": ' + "9" * 10**6 + "}"),
        "a card of ten million lists": _model(page="[" + "[]," * 10**7 + "[]]"),
        "a card that is a list": _model(page="[]"),
        "a card whose accuracy is a number": _model(accuracy=1),
        "a pickle as its weights": _model(payload),
        "weights whose header claims 2^63 bytes": _model(lambda _: forged.safetensors(b"{}", length=2**63 - 1)),
        "weights that claim terabytes": _model(lambda _: forged.HUGE_TENSOR),
        "weights of a million empty tensors": _model(lambda _: forged.empty_tensors(10**6)),
        "weights whose header is nested 100,000 deep": _model(
            lambda _: forged.safetensors(f'{{"a": {forged.nested()}}}'.encode())
        ),
        "weights of a terabyte": _all(_model(), at("model/model.safetensors", sparse)),
        "a link to /dev/zero as its weights": _all(_model(), at("model/model.safetensors", endless)),
        "a card of a terabyte": _all(_model(), at("model/model.json", sparse)),
        "a pipe as its card": _all(_model(), at("model/model.json", pipe)),
    },
)
add(
    "models",
    "predict",
    "GiB of memory, and ",
    "ConfigError",
    {"images that fill the memory": _many_images},
)


# -- checkpoints -------------------------------------------------------------------------------------------------------


def _told(info: str) -> Make:
    """A checkpoint of no tensors, whose SHA-256 is right."""
    return written(f"run/{FILE}", lambda _: save({}, {"info": info, "sha256": _digest(info, {})}))


def _changed(change: Callable[[dict, dict], object]) -> Make:
    """A checkpoint of the very run, but for a change, whose SHA-256 is right."""

    def make(folder: Path) -> None:
        trainer, _ = prepare(Experiment(**forged.SHORT), 0, device="cpu", progress=False)
        trainer.save(folder / "run")
        tensors, info = load_checkpoint(folder / "run")
        change(tensors, info)
        save_checkpoint(folder / "run", tensors, info)

    return make


def _whole_tensor(folder: Path) -> None:
    header = json.dumps({"a": {"dtype": "U8", "shape": [3 * 2**30], "data_offsets": [0, 3 * 2**30]}}).encode()
    sparse(folder / "run" / FILE, 8 + len(header) + 3 * 2**30, forged.safetensors(header))


FILES = {
    "a pickle": written(f"run/{FILE}", payload),
    "a header that claims 2^63 bytes": written(f"run/{FILE}", forged.safetensors(b"{}", length=2**63 - 1)),
    "tensors that claim terabytes": written(f"run/{FILE}", forged.HUGE_TENSOR),
    "a million empty tensors": written(f"run/{FILE}", lambda _: forged.empty_tensors(10**6)),
    "a tensor of 3 GB": _whole_tensor,
    "values nested 100,000 deep": _told(forged.nested()),
    "a number of a million digits": _told('{"step": ' + "9" * 10**6 + "}"),
    "ten million lists": _told("[" + "[]," * 10**7 + "[]]"),
    **each_at(f"run/{FILE}"),
}
STRANGE = {
    "nothing": _told("{}"),
    "a list": _told("[]"),
    "a step of text": _told(json.dumps({"step": "many"})),
    "an experiment nested 980 deep": _told(
        json.dumps({"experiment": Experiment().to_dict(), "seed": 0})[:-2] + f', "x": {forged.nested(980)}}}}}'
    ),
    "metadata of numbers": written(f"run/{FILE}", forged.safetensors(b'{"__metadata__": {"info": 5}}')),
    "a name of 300 letters": _told(json.dumps({"experiment": Experiment().to_dict(), "seed": "1" * 300})),
    **{
        f"a name with {name!a}": _told(json.dumps({"experiment": Experiment().to_dict() | {"method": name}, "seed": 0}))
        for name in ("\0", "\ud800")
    },
    "a seed that leaves the folder": _told(json.dumps({"experiment": Experiment().to_dict(), "seed": "/../../x"})),
}
CHANGES = {
    "no history": lambda _, info: info.pop("history"),
    "no sittings": lambda _, info: info.update(sittings=[]),
    "sittings of text": lambda _, info: info.update(sittings="none"),
    "a step of 10^30": lambda _, info: info.update(step=10**30),
    "a negative step": lambda _, info: info.update(step=-5),
    "no momentum": lambda tensors, _: tensors.pop("momentum.0"),
    "weights of another shape": lambda tensors, _: tensors.update({"momentum.0": torch.zeros(7, 7)}),
    "a generator of zeros": lambda tensors, _: tensors.update({"rng.cpu": torch.zeros(16, dtype=torch.uint8)}),
    "files that are a list": lambda _, info: info.update(files=["a"], images="other"),
    "an epoch that is a number": lambda _, info: info.update(step=1, history=[5]),
    "an epoch without a step": lambda _, info: info.update(step=1, history=[{"epoch": 1}]),
    "accuracies of text": lambda _, info: info.update(step=1, history=[{"epoch": 1, "step": 1, "validation": "all"}]),
    "a history of text": lambda _, info: info.update(history=""),
    "seconds of text": lambda _, info: info.update(seconds="1"),
    "seconds that are no number": lambda _, info: info.update(seconds=float("nan")),
    "counts that are a list": lambda _, info: info.update(counts=[]),
    "counts of text": lambda tensors, info: (tensors.update({"sum.a": torch.zeros(1)}), info.update(counts={"a": "1"})),
    "counts of nothing": lambda _, info: info.update(counts={"a": 1}),
    "a sum of whole numbers": lambda tensors, info: (
        tensors.update({"sum.a": torch.zeros(1, dtype=torch.int64)}),
        info.update(counts={"a": 1}),
    ),
    "a sitting without a device": lambda _, info: info["sittings"][0].pop("device"),
    "a device that is a list": lambda _, info: info["sittings"][0].update(device=["a"]),
    "a device that is a tag": lambda _, info: info["sittings"][0].update(device="<script>"),
    "iterations of text": lambda _, info: info["sittings"][0].update(iterations="1"),
    "a day that is a number": lambda _, info: info.update(finished=5),
}
WAY_OUT = r"(Delete the folder|Give this run another folder|give the run with these images another folder)"
add("checkpoints", "checkpoint", rf"{FILE} cannot be read .*{WAY_OUT}", "CheckpointError", FILES)
add("checkpoints", "train", rf"run.* {WAY_OUT}", "CheckpointError", STRANGE)
add("checkpoints", "train", rf"run.* {WAY_OUT}", "CheckpointError", {k: _changed(v) for k, v in CHANGES.items()})
add("checkpoints", "train", WAY_OUT, "CheckpointError", {"earlier pickles": written("run/part-0.pt", payload)})
add("checkpoints of a campaign", "campaign", "^0$", "", FILES | STRANGE)


# -- records -----------------------------------------------------------------------------------------------------------

TEXTS = {
    "nested 100,000 deep": forged.nested(),
    "nested 100,000 deep, in objects": '{"a":' * 10**5 + "1" + "}" * 10**5,
    "nested 990 deep": json.dumps({"format": 2, "sha256": ""})[:-1] + f', "a": {forged.nested(990)}}}',
    "a number of a million digits": '{"format": 2, "seed": ' + "9" * 10**6 + "}",
    "ten million lists": "[" + "[]," * 10**7 + "[]]",
    "short texts": json.dumps({"format": 2, "sha256": "", "a": ["ab"] * (8 * 10**6)}),
    "text of 5 MB for a value": json.dumps(sealed({"experiment": "a" * 5_000_000, "settings": "b" * 5_000_000})),
}
RECORD = "records/digits-20-x-seed0.json"
for kind, path, reader in (
    ("records", RECORD, "records"),
    ("benchmarks", "records/bench/x.json", "records"),
    ("Figure 5", "figure5.json", "figure5"),
    ("searches", "search.json", "search"),
):
    texts = {what: written(path, text) for what, text in TEXTS.items() if (kind, what[:4]) != ("searches", "text")}
    add(kind, reader, path, "RecordError", texts | each_at(path))


def _record(change: Callable[[dict], object]) -> Make:
    def text(_: Path) -> str:
        content = record(Experiment(labels=20), 0)
        change(content)
        return json.dumps(sealed(content))

    return written(RECORD, text)


add(
    "records",
    "records",
    RECORD,
    "RecordError",
    {
        "a tag as its device": _record(lambda content: content.update(device="<img src=x onerror=alert(1)>")),
        "a tag as a sitting's torch": _record(lambda content: content["sittings"][0].update(torch="<script>")),
        "an address as its device": _record(lambda content: content.update(device="https://evil.example")),
        "an address without https": _record(lambda content: content.update(device="www.evil.example")),
        "a link as its commit": _record(lambda content: content.update(commit="[x](javascript:alert(1))")),
        "a device of 100 KB": _record(lambda content: content.update(device="a" * 100_000)),
        "10^30 labels": _record(lambda content: content["experiment"].update(labels=10**30)),
        "m of text": _record(lambda content: content["experiment"].update(m="text")),
        "a loss of text": _record(lambda content: content["history"][0].update(loss="text")),
        "a seed in its history": _record(lambda content: content["history"][0].update(seed=1)),
    },
)
add(
    "records",
    "records",
    "Empty DataFrame",
    "",
    {
        "a folder that is a link to itself": lambda folder: (
            written("records/a", "")(folder),
            os.symlink(".", folder / "records/loop"),
        )
    },
)
add("records", "records", "digits", "", {"a seed of 10^4000": _record(lambda content: content.update(seed=10**4000))})


# -- parameters of notebooks, schedulers -------------------------------------------------------------------------------

CELL = {"cell_type": "code", "execution_count": None, "id": "a", "outputs": [], "source": "labels = 20"}
NOTEBOOK = {"cells": [CELL | {"metadata": {"tags": ["parameters"]}}], "nbformat": 4, "nbformat_minor": 5}
NOTEBOOK |= {"metadata": {"kernelspec": {"name": "python3", "display_name": "", "language": "python"}}}
NINES = [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
LISTS = "\n".join(["a0: &a0 [x, x]", *NINES])


def _parameters(text: str, notebook: str | None = None) -> Make:
    page = json.dumps(NOTEBOOK) if notebook is None else notebook
    return _all(written("notebook.ipynb", page), written("parameters.yaml", text))


add(
    "parameters",
    "parameters",
    r"parameters\.yaml|parameters_file|parameter=.* is not known|notebook\.ipynb",
    "SystemExit",
    {
        "an object that runs a command": _parameters("labels: !!python/object/apply:os.system ['touch ran']"),
        "a list of lists, 9^11 in all": _parameters(re.sub(r"(?m)^a\d+:", "-", LISTS)),
        "lists by names, 9^11 in all": _parameters(LISTS),
        "nested 100,000 deep": _parameters(forged.nested()),
        "a number of a million digits": _parameters("9" * 10**6),
        "code as a name": _parameters("'labels = 1; import os; os.system(\"touch ran\")': 1"),
        "a name of 5 MB": _parameters("? " + "a" * 5_000_000 + "\n: 1"),
        "a notebook nested 100,000 deep": _parameters("labels: 1", forged.nested()),
    },
)
add(
    "schedulers",
    "scheduler",
    r"no Dask scheduler answers at 'tcp://127.0.0.1:\d+' \(for example tcp://host:8786\)",
    "ConfigError",
    {
        "an answer of text": written("answer", "HTTP/1.1 200 OK\r\n\r\n"),
        "frames that claim terabytes": written("answer", struct.pack("<QQQ", 2**42, 2, 2**41) + bytes(64)),
        "a frame that claims nothing": written("answer", bytes(64)),
    },
)


@pytest.mark.parametrize("what", CASES if FULL else re.split(r"\||\n", SAMPLE))
def test_a_forged_file_is_refused(what, attempt, tmp_path):
    """Or, where CASES have no error, read as what it is, without what it hides."""
    case = CASES[what]
    with attempt("stranger", what), contextlib.ExitStack() as left:
        left.callback(subprocess.run, ["rm", "-rf", tmp_path / "pets"])  # may be deeper than Python can remove
        case.make(tmp_path)
        outcome = forged.read(case.reader, tmp_path)
        assert not (tmp_path / RAN).exists(), "its code was run"
        assert outcome.error == case.error, outcome.said[:3000]
        assert re.search(case.says, outcome.said, re.DOTALL), outcome.said[:3000]
        assert len(outcome.said) < 3000 and not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", outcome.said)
        assert outcome.memory < MEMORY, f"{outcome.memory / 2**20:.0f} MB"
