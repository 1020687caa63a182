"""A folder of one's own images: layout, labels, splits, and what is said about files that cannot be used."""

import hashlib
import io
import os
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from dnll_core.data import load_data, split_labels
from dnll_core.data.dataset import DataError


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


def test_16_bit_and_rotated_images(folder):
    Image.fromarray(np.full((4, 4), 200 * 256 + 7, np.uint16)).save(folder / "unlabelled" / "y.png")
    half = Image.new("L", (32, 32))
    half.paste(255, (0, 0, 32, 16))
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    half.save(folder / "unlabelled" / "z.png", exif=exif)
    x = load_data(f"folder:{folder}").x_train
    assert x.shape[1] == 1
    assert (x[-2] == 200).all()
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


def test_32_bit_images_are_scaled_or_refused(folder):
    deep = np.arange(100, dtype=np.int32).reshape(10, 10) * 600  # 16 bits of grey in a 32-bit file
    Image.fromarray(deep).save(folder / "cat" / "deep.tiff")
    dataset = load_data(f"folder:{folder}", size=10, progress=False)
    assert dataset.channels == 1
    wanted = torch.from_numpy((deep >> 8).astype(np.uint8))
    assert any(torch.equal(x[0], wanted) for x in [*dataset.x_train, *dataset.x_test])
    Image.fromarray(np.linspace(0, 1, 100, dtype=np.float32).reshape(10, 10)).save(folder / "cat" / "real.tiff")
    with pytest.raises(DataError, match=r"real.tiff cannot be read as an image .*neither 8 nor 16 bit"):
        load_data(f"folder:{folder}", progress=False)
