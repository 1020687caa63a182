"""RandAugment: each operation against torchvision, image by image; the draws; no reading back to the host."""

import pytest
import torch
import torchvision.transforms.v2.functional as tv
from test_augment import NoHostReads
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2.functional import to_dtype

from dnll_core import randaugment as ra
from dnll_core.augment import Augmentation, parse

SHAPES = [(24, 3, 16, 12), (24, 1, 8, 8)]  # colour and not square, grey


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def raw(shape, seed=0):
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=seeded(seed))
    images[0], images[1] = 0, 255
    images[2] = images[2] // 4 + 100  # low contrast
    images[3] = images[3] // 128 * 255
    return images


def reference(name, image, magnitude):
    """torchvision's version of one operation on one float image."""
    nearest = InterpolationMode.NEAREST
    width, height = image.shape[-1], image.shape[-2]
    affine = {"angle": 0, "translate": [0, 0], "scale": 1.0, "shear": [0, 0], "interpolation": nearest}
    degrees = torch.rad2deg(torch.atan(torch.tensor(magnitude))).item()
    if name == "equalize":
        return to_dtype(tv.equalize(to_dtype(image, torch.uint8, scale=True)), torch.float32, scale=True)
    if name == "posterize":
        return to_dtype(tv.posterize(to_dtype(image, torch.uint8, scale=True), int(magnitude)), scale=True)
    return {
        "identity": lambda: image,
        "autocontrast": lambda: tv.autocontrast(image),
        "solarize": lambda: tv.solarize(image, magnitude),
        "brightness": lambda: tv.adjust_brightness(image, magnitude),
        "color": lambda: tv.adjust_saturation(image, magnitude),
        "contrast": lambda: tv.adjust_contrast(image, magnitude),
        "sharpness": lambda: tv.adjust_sharpness(image, magnitude),
        "rotate": lambda: tv.rotate(image, magnitude, interpolation=nearest),
        "shear_x": lambda: tv.affine(image, **{**affine, "shear": [degrees, 0]}),
        "shear_y": lambda: tv.affine(image, **{**affine, "shear": [0, degrees]}),
        "translate_x": lambda: tv.affine(image, **{**affine, "translate": [magnitude * width, 0]}),
        "translate_y": lambda: tv.affine(image, **{**affine, "translate": [0, magnitude * height]}),
    }[name]()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ra.NAMES)
def test_each_operation_is_torchvisions(name, shape):
    images = raw(shape).float() / 255
    low, high = ra.RANGES[name]
    magnitude = low + (high - low) * torch.rand(len(images), generator=seeded(1))
    if name == "posterize":
        magnitude = magnitude.round()
    if name.startswith("translate"):  # torchvision takes whole pixels here; fractions are then a matter of rounding
        side = shape[3] if name.endswith("x") else shape[2]
        magnitude = (magnitude * side).round() / side
    got = ra.apply(images, torch.full((len(images),), ra.NAMES.index(name)), magnitude)
    expected = torch.stack([reference(name, image, m) for image, m in zip(images, magnitude.tolist())])
    same = (got - expected).abs() < 1e-5
    # where a pixel's source lies between two pixels, rounding may choose either
    assert same.all() if name not in ("rotate", "shear_x", "shear_y") else same.float().mean() > 0.99


def test_each_image_gets_its_own_operation():
    images = raw((len(ra.NAMES), 3, 8, 8)).float() / 255
    operation = torch.arange(len(ra.NAMES))
    magnitude = torch.tensor([(3 * high + low) / 4 for low, high in ra.RANGES.values()]).round(decimals=1)
    magnitude[ra.NAMES.index("posterize")] = 5
    together = ra.apply(images, operation, magnitude)
    for i in range(len(images)):
        torch.testing.assert_close(together[i : i + 1], ra.apply(images[i : i + 1], operation[[i]], magnitude[[i]]))


def test_draws_cover_all_operations_and_their_ranges(monkeypatch):
    drawn = []
    monkeypatch.setattr(ra, "apply", lambda images, op, m: drawn.append((op, m)) or images)
    ra.random_augment(torch.zeros(14000, 1, 2, 2), seeded())
    assert len(drawn) == 2
    operation, magnitude = (torch.cat(parts) for parts in zip(*drawn))
    assert torch.bincount(operation, minlength=14).min() > 1800  # 2000 expected
    for i, (name, (low, high)) in enumerate(ra.RANGES.items()):
        own = magnitude[operation == i]
        assert low <= own.min()
        assert own.max() <= high
        if name == "posterize":
            assert own.unique().tolist() == [4, 5, 6, 7, 8]
        elif high > low:
            assert own.mean().item() == pytest.approx((low + high) / 2, abs=0.03 * (high - low))


def test_cutout_is_one_grey_square_of_at_most_half_the_width():
    images = torch.zeros(500, 3, 16, 16)
    grey = ra.random_cutout(images, seeded()) == 0.5
    assert torch.equal(grey[:, 0], grey[:, 2])
    rows, columns = grey[:, 0].any(2).sum(1), grey[:, 0].any(1).sum(1)
    assert torch.equal(grey[:, 0].sum((1, 2)), rows * columns)  # a rectangle
    assert max(rows.max(), columns.max()) in (8, 9)
    assert 2 < rows.float().mean() < 5


def test_as_an_augmentation():
    assert parse("crop+flip+randaugment+cutout") == ("crop", "flip", "randaugment", "cutout")
    augmentation = Augmentation("crop+flip+randaugment+cutout", (0.5,) * 3, (0.25,) * 3)
    images = raw((32, 3, 12, 12))
    first, again = augmentation(images, seeded(1)), augmentation(images, seeded(1))
    assert torch.equal(first, again)
    assert not torch.equal(first, augmentation(images, seeded(2)))
    assert first.min() >= -2 - 1e-6
    assert first.max() <= 2 + 1e-6
    assert torch.isfinite(Augmentation("randaugment", (0.5,), (0.5,))(raw((32, 1, 8, 8)), seeded())).all()


def test_never_looks_at_a_value():
    augmentation = Augmentation("randaugment+cutout", (0.5,) * 3, (0.25,) * 3)
    images = raw((8, 3, 12, 12))
    augmentation(images, seeded())  # puts the constants on the device
    with NoHostReads():
        augmentation(images, seeded())
