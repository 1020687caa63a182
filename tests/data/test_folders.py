"""A folder of one's own images: layout, labels, splits, and what is said about files that cannot be used."""

import hashlib
import io
import os
import re
import shutil
import struct
import unicodedata
import zlib
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from PIL import Image

from dnll_core.data import DataError, images, load_data, read_images, split_labels
from dnll_core.data.entries import is_leftover, kind_of


@pytest.fixture
def folder(tmp_path):
    """Two classes of ten and twelve grey PNG images of 40 x 50 pixels, each of one level, and three without a label."""
    path, level = tmp_path / "pets", 0
    for title, count in (("dog", 12), ("cat", 10), ("unlabelled", 3)):
        (path / title).mkdir(parents=True)
        for i in range(count):
            level += 5
            Image.new("L", (50, 40), level).save(path / title / f"{i:02}.png")
    return path


def test_folder(folder):
    dataset = load_data(f"folder:{folder}", progress=False)
    assert dataset.classes == ("cat", "dog")
    assert dataset.x_train.shape == (21, 1, 32, 32)
    assert dataset.y_train.tolist() == [0] * 8 + [1] * 10 + [-1] * 3
    assert dataset.y_test.tolist() == [0, 0, 1, 1]
    # Each level occurs once: dogs 5..60, cats 65..110, unlabelled 115..125.
    train, test = dataset.x_train[:, 0, 0, 0].tolist(), dataset.x_test[:, 0, 0, 0].tolist()
    assert sorted(train + test) == list(range(5, 130, 5))
    assert all(65 <= v <= 110 for v in train[:8] + test[:2])
    assert all(v <= 60 for v in train[8:18] + test[2:])
    assert train[18:] == [115, 120, 125]
    scaled = dataset.x_train.double() / 255
    assert dataset.mean == pytest.approx((scaled.mean().item(),))
    assert dataset.std == pytest.approx((scaled.std(unbiased=False).item(),))
    assert load_data(f"folder:{folder}", size=8, progress=False).size == (8, 8)


def test_the_digest_is_of_names_and_bytes(folder, tmp_path):
    first = load_data(f"folder:{folder}", progress=False)
    names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*.png"))]
    hashes = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest()[:16] for name in names}
    assert first.files == hashes
    assert first.digest == hashlib.sha256("\n".join(f"{hashes[n]} {n}" for n in names).encode()).hexdigest()
    shutil.copytree(folder, tmp_path / "copy")
    assert load_data(f"folder:{tmp_path / 'copy'}", size=8, progress=False).digest == first.digest
    (folder / "unlabelled/00.png").rename(folder / "unlabelled/x.png")
    renamed = load_data(f"folder:{folder}", progress=False)
    assert torch.equal(renamed.x_train[:18], first.x_train[:18])
    assert renamed.digest != first.digest


def test_moved_folder_has_the_same_split(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "elsewhere" / "animals")
    here, there = (load_data(f"folder:{path}") for path in (folder, tmp_path / "elsewhere" / "animals"))
    assert here.name == there.name
    assert str(tmp_path) not in here.name
    assert torch.equal(here.x_test, there.x_test)
    assert split_labels(here, 4, 1).hash() == split_labels(there, 4, 1).hash()

    Image.new("L", (9, 9)).save(folder / "unlabelled" / "more.png")
    assert split_labels(load_data(f"folder:{folder}"), 4, 1).hash() == split_labels(here, 4, 1).hash()
    (folder / "cat" / "00.png").rename(folder / "cat" / "renamed.png")
    assert load_data(f"folder:{folder}").name != here.name


def test_folder_with_test_images_and_american_spelling(folder):
    (folder / "unlabelled").rename(folder / "unlabeled")
    for title, level in (("cat", 200), ("dog", 210)):
        (folder / "test" / title).mkdir(parents=True)
        Image.new("L", (5, 5), level).save(folder / "test" / title / "a.png")
    dataset = load_data(f"folder:{folder}")
    assert dataset.y_train.tolist() == [0] * 10 + [1] * 12 + [-1] * 3
    assert dataset.y_test.tolist() == [0, 1]
    assert dataset.x_test[:, 0, 0, 0].tolist() == [200, 210]


def test_one_colour_image_makes_all_colour(folder):
    pixels = np.random.RandomState(0).randint(256, size=(64, 48, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(folder / "unlabelled" / "zz.png")
    dataset = load_data(f"folder:{folder}")
    assert dataset.x_train.shape == (22, 3, 32, 32)
    assert len(dataset.mean) == len(dataset.std) == 3
    expected = np.asarray(Image.fromarray(pixels).resize((32, 32), Image.Resampling.BICUBIC))
    assert np.array_equal(dataset.x_train[-1].permute(1, 2, 0), expected)
    assert (dataset.x_train[:-1] == dataset.x_train[:-1, :1]).all()


def test_a_rotated_image_is_upright(folder):
    half = Image.new("L", (32, 32))
    half.paste(255, (0, 0, 32, 16))
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    half.save(folder / "unlabelled" / "z.png", exif=exif)
    x = load_data(f"folder:{folder}").x_train
    assert x[-1, 0, 0, 0] == 0
    assert x[-1, 0, -1, 0] == 255


def test_what_desktops_leave_is_ignored(folder):
    for file in (folder / ".DS_Store", folder / "cat" / ".DS_Store", folder / "dog" / "Thumbs.db", folder / "README"):
        file.write_bytes(b"x")
    assert len(load_data(f"folder:{folder}").x_train) == 21


@pytest.mark.parametrize("content", [b"", b"not an image", "truncated"])
@pytest.mark.parametrize("title", ["cat", "unlabelled"])
def test_unreadable_image_is_named(folder, title, content):
    if content == "truncated":
        file = io.BytesIO()
        Image.fromarray(np.random.RandomState(0).randint(256, size=(50, 50), dtype=np.uint8)).save(file, "PNG")
        content = file.getvalue()[:1000]
    (folder / title / "bad.png").write_bytes(content)
    with pytest.raises(DataError, match=rf"{title}{os.sep}bad\.png cannot be read as an image"):
        load_data(f"folder:{folder}")


def test_folder_errors(folder, tmp_path):
    for path in (tmp_path / "nowhere", folder / "cat" / "00.png", ""):
        with pytest.raises(DataError, match="is not there; give folder:PATH"):
            load_data(f"folder:{path}")
    with pytest.raises(DataError, match="has 0 class folders"):
        load_data(f"folder:{folder / 'cat'}")
    (folder / "cow").mkdir()
    with pytest.raises(DataError, match="cow is empty"):
        load_data(f"folder:{folder}")
    shutil.copy(folder / "cat" / "00.png", folder / "cow")
    with pytest.raises(DataError, match="cow has 1 images; at least 3 are needed"):
        load_data(f"folder:{folder}")
    (folder / "cow" / "calf").mkdir()
    with pytest.raises(DataError, match="cow holds the folder 'calf'"):
        load_data(f"folder:{folder}")
    shutil.rmtree(folder / "cow")
    (folder / "test" / "cat").mkdir(parents=True)
    shutil.copy(folder / "cat" / "00.png", folder / "test" / "cat")
    with pytest.raises(DataError, match=r"test has classes \('cat',\), but training has \('cat', 'dog'\)"):
        load_data(f"folder:{folder}")
    shutil.rmtree(folder / "dog")
    with pytest.raises(DataError, match=r"has 1 class folders \(cat\); at least 2 are needed"):
        load_data(f"folder:{folder}")


def deep(path, level, dtype=np.uint16, corner=None):
    """A grey file of 10 x 10 pixels of one level, the first of them another."""
    levels = np.full((10, 10), level, dtype)
    levels[0, 0] = level if corner is None else corner
    Image.fromarray(levels).save(path)


@pytest.mark.parametrize(
    ("top", "bits"),
    [(1, 8), (255, 8), (256, 10), (1023, 10), (1024, 12), (4095, 12), (4096, 14), (16384, 16), (65535, 16)],
)
def test_deep_grey_has_the_scale_of_the_folder(folder, top, bits):
    deep(folder / "unlabelled/y.png", 1, np.uint16, corner=top)
    deep(folder / "unlabelled/z.tiff", 1, np.int32)
    dataset = load_data(f"folder:{folder}", size=10, progress=False)
    assert dataset.bits == bits
    assert dataset.channels == 1
    white = 2**bits - 1
    assert dataset.x_train[-2, 0, 0, 0] == round(255 * top / white)
    assert (dataset.x_train[-1] == round(255 / white)).all()
    assert f"read as {bits} bits, level {white} as white, for the levels of unlabelled/y.png" in dataset.notes[-1]
    assert dataset.x_train[18:21, 0, 0, 0].tolist() == [115, 120, 125]  # files of 8 bits as they are


def test_half_of_twelve_bits_is_half_of_white(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "alone")
    for where in (folder, tmp_path / "alone"):
        deep(where / "unlabelled/y.png", 2048)
    deep(folder / "unlabelled/z.png", 4095)
    beside, alone = (load_data(f"folder:{path}", progress=False) for path in (folder, tmp_path / "alone"))
    assert beside.x_train[-2:, 0, 5, 5].tolist() == [128, 255]
    assert alone.x_train[-1, 0, 5, 5] == 128
    deep(tmp_path / "new.tiff", 2048)
    assert (read_images([tmp_path / "new.tiff"], beside) == 128).all()
    deep(tmp_path / "new.tiff", 5000)
    with pytest.raises(DataError, match=r"new\.tiff: grey levels of more than the 12 bits of the images trained with"):
        read_images([tmp_path / "new.tiff"], beside)
    with pytest.raises(DataError, match="more than the 8 bits of the images trained with"):
        read_images([tmp_path / "new.tiff"], load_data("digits"))


def test_levels_that_are_no_grey_of_16_bits_are_refused(folder):
    Image.fromarray(np.linspace(0, 1, 100, dtype=np.float32).reshape(10, 10)).save(folder / "cat/real.tiff")
    deep(folder / "cat/more.tiff", 65536, np.int32)
    deep(folder / "cat/less.tiff", -1, np.int32)
    with pytest.raises(DataError) as error:
        load_data(f"folder:{folder}", progress=False)
    assert re.findall(r"(\w+)\.tiff cannot be read as an image \(its levels are", str(error.value)) == [
        "less",
        "more",
        "real",
    ]


# -- the table of data/README.md ---------------------------------------------------------------------------------------


def noise(path, seed=None, mode="L", **how):
    """An image of its own, of noise."""
    seed = zlib.crc32(str(path).encode()) if seed is None else seed
    Image.fromarray(np.random.RandomState(seed).randint(256, size=(20, 20, 3), dtype=np.uint8)).convert(mode).save(
        path, **how
    )


def turned(path):
    exif = Image.Exif()
    exif[0x0112] = 6
    noise(path, exif=exif)


def link(path):
    noise(path.with_name(".target.png"))
    path.symlink_to(".target.png")


MADE = {
    "cat/turned.jpg": turned,
    "cat/deep.tif": lambda path: deep(path, 1000),
    "cat/palette.gif": lambda path: noise(path, mode="P"),
    "cat/cut-out.png": lambda path: noise(path, mode="LA"),
    "cat/link.png": link,
    "cat/notes.txt": lambda path: path.write_text("Tom is black.", encoding="utf-8"),
    "cat/broken.jpg": lambda path: path.write_bytes(b"RIFF"),
    "cat/real.tif": lambda path: Image.new("F", (4, 4)).save(path),
    "cat/nowhere.png": lambda path: path.symlink_to("nothing.png"),
    "cat/pipe": lambda path: os.mkfifo(path),
    "cow/": lambda path: path.mkdir(),
    "gone": lambda path: path.symlink_to("nothing"),
}


def make(folder, name):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    if name in MADE:
        return MADE[name](folder / name)
    if name.endswith((".jpg", ".png")) and "__MACOSX" not in name:
        return noise(folder / name)
    return (folder / name).write_bytes(b"x")


def table():
    """(name, what becomes of it) of each entry of the table."""
    text = (Path(__file__).parents[2] / "data/README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.+`) \| \*\*(.+?)\*\*", text, re.MULTILINE)
    return [(name, becomes) for names, becomes in rows for name in re.findall(r"`(.+?)`", names)]


def test_a_folder_with_all_that_it_may_hold(folder, capsys):
    for title, seed in (("cat", 1), ("dog", 2)):
        (folder / "test" / title).mkdir(parents=True)
        noise(folder / "test" / title / "9.png", seed)
    names = {}
    for name, becomes in table():
        names.setdefault(becomes, []).append(name)
    assert {*names} == {"an image", "an unlabelled image", "a test image", "ignored", "an error"}
    assert {*MADE} <= {name for name, _ in table()}
    for becomes, group in names.items():
        for name in group if becomes != "an error" else ():
            make(folder, name)
    with Image.open(folder / "cat/palette.gif") as palette:
        palette.convert("L").save(folder / "cat/palette.gif")
    dataset = load_data(f"folder:{folder}", progress=True)
    images = {becomes: {name for name in group} for becomes, group in names.items()}
    assert images["an image"] | images["an unlabelled image"] | images["a test image"] <= {*dataset.files}
    assert len(dataset.files) == 25 + 2 + sum(len(group) for name, group in images.items() if "image" in name)
    y = dataset.y_train.tolist()
    assert y.count(0) == 10 + len(images["an image"])
    assert y.count(-1) == 3 + len(images["an unlabelled image"])
    assert dataset.y_test.tolist() == [0, 0, 1]
    ignored = sum(int(n) for n in re.findall(r"ignored, as .*?: (\d+) \(", " ".join(dataset.notes)))
    assert ignored == len(images["ignored"]) + len([".target.png"])
    assert dataset.channels == 1
    assert all(note in capsys.readouterr().err for note in dataset.notes[:1])


@pytest.mark.parametrize("name", [name for name, becomes in table() if becomes == "an error"])
def test_a_folder_with_what_it_may_not_hold(folder, name):
    if name.startswith("test/"):
        make(folder, "test/cat/1.png")
        make(folder, "test/dog/1.png")
    make(folder, name)
    with pytest.raises(DataError) as error:
        load_data(f"folder:{folder}", progress=False)
    first, *rest = name.rstrip("/").split("/")
    assert f"{folder / first}" in str(error.value)
    assert not rest or first not in ("cat", "test") or rest[0] in str(error.value)


# -- names -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *((name, "unlabelled") for name in ("unlabelled", "UNLABELED", "Unlabelled", " unlabelled ")),
        *((name, "doubtful") for name in ("unlabled", "unlabelled_images", "no-labels", "labelled imgs", "Un Labeled")),
        *((name, "doubtful") for name in ("val_images", "eval set", "holdout", "unannotated", "test_pics")),
        *((name, "doubtful") for name in ("Test", "tests", "test2", "testing", "val", "Validation", "train_1")),
        *((name, "class") for name in ("cat", "Icon", "text", "contest", "valley", "trains", "label", "été", "猫")),
        *(
            (name, "class")
            for name in (
                "car.part",
                "x.tmp",
                "~$",
                "part",
                "tmp",
                "recycle",
                "rest",
                "table",
                "unable",
                "nest",
                "latest",
            )
        ),
        *((name, "leftover") for name in (".git", "Icon\r", "THUMBS.DB", "#recycle", "$RECYCLE.BIN", "~$cats.docx")),
        ("test", "test"),
    ],
)
def test_what_a_name_says(name, kind):
    for form in ("NFC", "NFD"):
        written = unicodedata.normalize(form, name)
        found = "leftover" if is_leftover(written, not name.startswith("~$c")) else kind_of(written)
        assert found == kind


def test_a_folder_that_is_a_link_to_nowhere(folder):
    for name in ("test", "cow"):
        (folder / name).symlink_to(folder / "not mounted")
    with pytest.raises(DataError, match=rf"{folder / 'cow'}, {folder / 'test'}: a link to what is not there"):
        load_data(f"folder:{folder}", progress=False)


def test_both_spellings_of_the_pool_keep_their_order(folder):
    (folder / "unlabeled").mkdir()
    noise(folder / "unlabeled/00.png")
    names = [*load_data(f"folder:{folder}", progress=False).files]
    assert [name.split("/")[0] for name in names if name.startswith("unl")] == ["unlabelled"] * 3 + ["unlabeled"]


def test_classes_of_one_name_are_one_class_or_an_error(folder):
    composed, decomposed = unicodedata.normalize("NFC", "été"), unicodedata.normalize("NFD", "été")
    (folder / "cat").rename(folder / decomposed)
    one = load_data(f"folder:{folder}", progress=False)
    assert one.classes == ("dog", composed)
    (folder / decomposed).rename(folder / composed)
    other = load_data(f"folder:{folder}", progress=False)
    assert (other.name, other.digest) == (one.name, one.digest)
    for title, seed in ((decomposed.upper(), 1), ("DOG", 2)):  # as another system wrote them
        (folder / "test" / title).mkdir(parents=True)
        noise(folder / "test" / title / "1.png", seed)
    assert load_data(f"folder:{folder}", progress=False).y_test.tolist() == [0, 1]
    (folder / "Dog").mkdir()
    with pytest.raises(DataError, match="Dog and 'dog' beside it are one class or two"):
        load_data(f"folder:{folder}", progress=False)
    (folder / "Dog").rmdir()
    for form in ("NFC", "NFD"):
        noise(folder / "dog" / unicodedata.normalize(form, "é.png"))
    with pytest.raises(DataError, match=r"\.png' beside it look the same"):
        load_data(f"folder:{folder}", progress=False)


# -- one's own machine -------------------------------------------------------------------------------------------------


def test_a_folder_is_read_once_until_it_changes(folder, monkeypatch):
    read, original = [], images.read_picture
    monkeypatch.setattr(images, "read_picture", lambda file, *how: read.append(file) or original(file, *how))
    first = load_data(f"folder:{folder}", progress=False)
    assert len(read) == 25
    assert load_data(f"folder:{folder}/../{folder.name}", progress=False).x_train is not None
    again = load_data(f"folder:{folder}", progress=True)
    assert again.x_train is first.x_train
    before = len(read)
    noise(folder / "cat/00.png")
    changed = load_data(f"folder:{folder}", progress=False)
    assert len(read) == before + 25
    assert changed.digest != first.digest
    bitmap = folder / "cat/1.bmp"
    Image.new("L", (50, 40), 1).save(bitmap)
    before, seen = load_data(f"folder:{folder}", progress=False), bitmap.stat()
    with open(bitmap, "r+b") as file:  # in place, as large and as old
        file.seek(-1, os.SEEK_END)
        file.write(b"\xff")
    os.utime(bitmap, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    assert load_data(f"folder:{folder}", progress=False).digest != before.digest
    assert load_data(f"folder:{folder}", size=8, progress=False).size == (8, 8)


def test_all_damaged_files_are_named_at_once(folder):
    bad = [folder / name for name in ("cat/03.png", "cat/07.png", "dog/02.png", "unlabelled/01.png")]
    for file in bad:
        file.write_bytes(file.read_bytes()[:20])
    with pytest.raises(DataError, match="4 files are to be repaired, converted or removed") as error:
        load_data(f"folder:{folder}", progress=False)
    assert [line.split(" cannot")[0] for line in str(error.value).splitlines()[1:]] == [*map(str, bad)]


@pytest.mark.parametrize("given", [True, False])
def test_the_same_bytes_to_train_and_to_test_with(folder, given, recwarn):
    if given:
        for title in ("cat", "dog"):
            (folder / "test" / title).mkdir(parents=True)
            noise(folder / "test" / title / "1.png")
        shutil.copy(folder / "unlabelled/01.png", folder / "test/dog/2.png")
        pair, what = "test/dog/2.png = unlabelled/01.png", "1 of 3"
    else:
        for i in range(1, 12):  # whichever is held out, another one is not
            shutil.copy(folder / "dog/00.png", folder / f"dog/{i:02}.png")
        pair, what = "dog/00.png", "2 of 4"
    dataset = load_data(f"folder:{folder}", progress=False)
    assert f"{what} test images are among the images to train with" in dataset.notes[-1]
    assert pair in dataset.notes[-1]
    assert [str(w.message).endswith(dataset.notes[-1]) for w in recwarn] == [True] * given


def test_a_path_that_the_system_refuses(tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"cannot be read \(File name too long\)"):
        load_data(f"folder:{tmp_path / ('x' * 300)}")
    with pytest.raises(DataError, match="is not there"):
        load_data("folder:a\0b")
    with pytest.raises(DataError, match="begins with a home folder that is not there"):
        load_data("folder:~nobody-of-this-name/pets")
    monkeypatch.setattr(os, "scandir", Mock(side_effect=PermissionError(13, "Permission denied", str(tmp_path))))
    with pytest.raises(DataError, match=rf"{tmp_path} cannot be read \(Permission denied\)"):
        load_data(f"folder:{tmp_path}")


def test_home_is_found(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder.parent))
    assert load_data("folder:~/pets", progress=False).classes == ("cat", "dog")


def test_what_is_not_plain_is_said(folder, capsys):
    noise(folder / "cat/one.png", 1)
    noise(folder / "dog/two.png", 1)
    pages = [Image.new("L", (9, 9), level) for level in (7, 8)]
    pages[0].save(folder / "cat/pages.tif", save_all=True, append_images=pages[1:])
    deep_colour(folder / "dog/colour.png")
    dataset = load_data(f"folder:{folder}", progress=True)
    first, *rest = dataset.notes
    assert first == "2 classes (cat, dog), 22 images of them to train with, 3 without a label, 4 to test with"
    assert "in two classes at once: cat/one.png = dog/two.png" in rest
    assert "of files with several pages or frames the first is read: cat/pages.tif" in rest
    assert "of files with 16 bits of colour or with transparency the upper 8 are read: dog/colour.png" in rest
    said = capsys.readouterr().err
    assert all(note in said for note in dataset.notes)


def deep_colour(path):
    """A PNG of 2 x 2 pixels in three times 16 bits, which Pillow cannot write."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + struct.pack(">6H", *range(1000, 7000, 1000)) for _ in range(2))
    header = chunk(b"IHDR", struct.pack(">2I5B", 2, 2, 16, 2, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def test_a_data_set_one_folder_further_down_is_told(folder):
    with pytest.raises(DataError, match=rf"pets holds the folder 'cat'; .* give folder:{folder}"):
        load_data(f"folder:{folder.parent}", progress=False)
