"""Files of images: against Pillow used by hand, in full size."""

import io
import threading
import time

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from sklearn.datasets import load_sample_image

from dnll_core.data import DataError, images, load_data, read_images


def photo(size):
    return Image.fromarray(load_sample_image("china.jpg")).resize(size, Image.Resampling.BICUBIC)


def by_hand(path, size, mode="RGB"):
    with Image.open(path) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert(mode).resize((size, size), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("size", [(1600, 1100), (700, 900), (129, 300), (128, 128), (127, 600), (40, 30)])
@pytest.mark.parametrize("how", [{}, {"progressive": True}, {"subsampling": 0}])
def test_a_jpeg_is_decoded_at_a_fraction_of_its_size(size, how, tmp_path, monkeypatch):
    path, decoded = tmp_path / "a.jpg", []
    photo(size).save(path, quality=90, **how)
    resized = images._resized
    monkeypatch.setattr(images, "_resized", lambda i, *rest: decoded.append(i.size) or resized(i, *rest))
    picture = images.read_picture(path, 32)
    scale = max(s for s in (1, 2, 4, 8) if min(size) // 64 >= s or s == 1)
    assert decoded == [tuple(-(-n // scale) for n in size)]
    assert scale == 1 or min(decoded[0]) >= 64
    difference = np.abs(picture.pixels.astype(int) - by_hand(path, 32))
    assert difference.mean() <= 1
    assert scale > 1 or difference.max() == 0


@pytest.mark.parametrize("suffix", ["png", "bmp", "webp", "tiff"])
def test_other_formats_are_read_in_full(suffix, tmp_path):
    path = tmp_path / f"a.{suffix}"
    photo((300, 200)).save(path)
    assert np.array_equal(images.read_picture(path, 32).pixels, by_hand(path, 32))


UPRIGHT = {  # by EXIF's number
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
    8: lambda x: np.rot90(x),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("name", ["a.png", "a.tiff", "a.webp"])
def test_all_orientations(orientation, name, tmp_path):
    plain, exif = photo((90, 60)), Image.Exif()
    exif[0x0112] = orientation
    plain.save(tmp_path / name, exif=exif, **({"lossless": True} if name == "a.webp" else {}))
    flat = np.asarray(plain.resize((24, 24), Image.Resampling.BICUBIC))
    read = images.read_picture(tmp_path / name, 24).pixels
    if name != "a.tiff":  # which Pillow turns when it opens it: resizing then rounds along the other side first
        assert np.array_equal(read, UPRIGHT[orientation](flat))
    assert np.abs(read.astype(int) - UPRIGHT[orientation](flat)).max() <= 2
    assert np.abs(read.astype(int) - by_hand(tmp_path / name, 24)).max() <= 2


@pytest.mark.parametrize(
    "exif", [b"", b"\0\x08\0\x02\x01\x12", b"II*\0\x08\0\0\0\x05\0\x12\x01", b"MM\0*\xff\xff\xff\xf0"]
)
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_data_are_nothing_to_the_pixels(exif, tmp_path):
    plain, path = io.BytesIO(), tmp_path / "a.jpg"
    photo((40, 40)).save(plain, "JPEG")
    block, data = b"Exif\0\0" + exif, plain.getvalue()
    path.write_bytes(data[:2] + b"\xff\xe1" + (len(block) + 2).to_bytes(2, "big") + block + data[2:])
    plain = Image.open(plain).convert("RGB").resize((20, 20), Image.Resampling.BICUBIC)
    assert np.array_equal(images.read_picture(path, 20).pixels, np.asarray(plain))


def test_files_are_read_as_those_of_a_data_set(tmp_path):
    photo((90, 60)).save(tmp_path / "colour.png")
    photo((90, 60)).convert("L").save(tmp_path / "grey.png")
    paths = [tmp_path / "colour.png", str(tmp_path / "grey.png")]
    digits = load_data("digits", size=12)
    grey = read_images(paths, digits)
    assert grey.shape == (2, 1, 12, 12)
    assert grey.dtype == torch.uint8
    assert np.array_equal(grey[1, 0], by_hand(paths[1], 12, "L"))
    assert np.array_equal(grey[0, 0], np.asarray(Image.fromarray(by_hand(paths[0], 12)).convert("L")))
    for title in ("a", "b"):
        (tmp_path / "set" / title).mkdir(parents=True)
        for i in range(3):
            photo((30 + i, 20)).save(tmp_path / "set" / title / f"{i}.png")
    dataset = load_data(f"folder:{tmp_path / 'set'}", size=10, progress=False)
    colour = read_images(paths, dataset)
    assert np.array_equal(colour[0].permute(1, 2, 0), by_hand(paths[0], 10))
    assert np.array_equal(colour[1].permute(1, 2, 0), by_hand(paths[1], 10))
    assert read_images([], dataset).shape == (0, 3, 10, 10)
    assert torch.equal(read_images(paths[0], dataset), colour[:1])
    for wrong in ((dataset, paths), (paths, "digits"), ([3], dataset), (3, dataset)):
        with pytest.raises(TypeError, match=r"(is|are) of type"):
            read_images(*wrong)
    with pytest.raises(DataError, match=r"none\.png cannot be read as an image \(it is not there\)\.$"):
        read_images([tmp_path / "none.png"], dataset)


def test_a_long_wait_is_said_when_it_begins(tmp_path, monkeypatch, capsys):
    for i in range(40):
        Image.new("L", (8, 8), i).save(tmp_path / f"{i}.png")
    files = [tmp_path / f"{i}.png" for i in range(40)]
    clock = iter((0.0, 20 * 16.0))  # seconds: twenty for each of the first sixteen or more files
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    images.read_pictures(files, 8, progress=True)
    assert "reading 40 image files takes about 5 minutes" in capsys.readouterr().err
    monkeypatch.setattr(time, "perf_counter", lambda: 0.0)
    images.read_pictures(files, 8, progress=True)
    assert "minutes" not in capsys.readouterr().err


def test_pictures_keep_the_order_of_their_files(tmp_path):
    files = [tmp_path / f"{i}.png" for i in range(100)]
    for i, file in enumerate(files):
        Image.new("L", (4, 4), i).save(file)
    assert [int(p.pixels[0, 0]) for p in images.read_pictures(files, 4, False)] == [*range(100)]


def test_an_interrupt_does_not_wait_for_thousands(tmp_path, monkeypatch):
    read = []

    def slow(file, size, most):
        read.append(file)
        time.sleep(1e-3)
        return images.Picture(np.zeros((4, 4), np.uint8), None, "")

    def bar(order, *_):
        yield from order[:3]
        raise KeyboardInterrupt

    monkeypatch.setattr(images, "read_picture", slow)
    monkeypatch.setattr(images, "watched", bar)
    with pytest.raises(KeyboardInterrupt):
        images.read_pictures([tmp_path / str(i) for i in range(5000)], 4, False)
    assert 0 < len(read) < 1000


def test_large_files_are_read_by_one_thread(tmp_path, monkeypatch):
    """By pixels or by bytes; not JPEG that is decoded at a part of its size. They become what they became before."""
    threads, original = {}, images.picture_of

    def seen(image, size, digest):
        threads.setdefault(threading.get_ident(), []).append(image.format)
        time.sleep(0.01)  # so that no thread does the work of all
        return original(image, size, digest)

    files = [tmp_path / f"{i}.{kind}" for i in range(6) for kind in ("png", "bmp", "jpg")]
    for i, file in enumerate(files):
        photo((70 + i, 50)).save(file)
    expected = images.read_pictures(files, 8, False)
    monkeypatch.setattr(images, "picture_of", seen)
    monkeypatch.setattr(images, "THREADS", 4)
    monkeypatch.setattr(images, "LARGE", 3000)  # pixels: less than all, but at the half of their sides
    for path in tmp_path.glob("*.jpg"):
        assert path.stat().st_size < 3000
    found = images.read_pictures(files, 8, False)
    assert all(np.array_equal(one.pixels, other.pixels) for one, other in zip(found, expected))
    large = {thread for thread, formats in threads.items() if {*formats} & {"PNG", "BMP"}}
    assert len(large) == 1 and "JPEG" not in threads[large.pop()]
