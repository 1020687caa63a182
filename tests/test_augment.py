"""augment: every operation against torchvision, image by image; draws, distributions, no reading back to the host."""

import pytest
import torch
import torchvision.transforms.v2.functional as tv
from scipy.stats import chisquare, kstest
from torch.utils._python_dispatch import TorchDispatchMode

from dnll_core import augment, colour
from dnll_core.augment import Augmentation, parse
from dnll_core.colour import LUMA

MEAN, STD = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)
SHAPES = [(24, 3, 12, 9), (24, 1, 7, 10)]  # colour and grey, not square


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def pixels(shape, seed=0):
    """Random images in [0, 1], among them black, white, grey and fully saturated ones, which are delicate."""
    images = torch.rand(shape, generator=seeded(seed))
    images[0], images[1] = 0, 1
    images[2] = images[2].mean(0, keepdim=True)
    images[3] = images[3].round()
    return images


def raw(shape, seed=0):
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=seeded(seed))


def uniform(low, high, n, seed=1):
    return low + (high - low) * torch.rand(n, generator=seeded(seed))


@pytest.mark.parametrize("shape", SHAPES)
def test_reflecting_translation_is_pad_and_crop(shape):
    images, p = pixels(shape), 4
    dx, dy = torch.randint(-p, p + 1, (2, shape[0]), generator=seeded(1))
    got = augment.translate(images, dx, dy)
    for i, image in enumerate(images):
        padded = tv.pad(image, [p] * 4, padding_mode="reflect")
        expected = tv.crop(padded, p - int(dy[i]), p - int(dx[i]), *shape[2:])
        assert torch.equal(got[i], expected)


def test_reflection_by_hand_up_to_and_beyond_the_image_size():
    row = torch.arange(4.0).view(1, 1, 1, 4).expand(4, 1, 1, 4)
    got = augment.translate(row, torch.tensor([1, -1, 3, 7]), torch.zeros(4, dtype=torch.long))
    assert got[:, 0, 0].tolist() == [[1, 0, 1, 2], [1, 2, 3, 2], [3, 2, 1, 0], [1, 0, 1, 2]]
    single = torch.rand(1, 1, 1, 1)
    assert torch.equal(augment.translate(single, torch.tensor([2]), torch.tensor([-1])), single)


@pytest.mark.parametrize("shape", SHAPES)
def test_flip(shape):
    images, where = pixels(shape), torch.arange(shape[0]) % 3 == 0
    got = augment.flip(images, where)
    for i, image in enumerate(images):
        assert torch.equal(got[i], tv.horizontal_flip(image) if where[i] else image)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "hue"])
@pytest.mark.parametrize("seed", range(4))
def test_colour_operations(name, shape, seed):
    images = pixels(shape, seed)
    factor = uniform(-0.5, 0.5, shape[0], seed) if name == "hue" else uniform(0, 2, shape[0], seed)
    got = getattr(colour, f"adjust_{name}")(images, factor)
    for i, image in enumerate(images):
        expected = getattr(tv, f"adjust_{name}")(image, float(factor[i]))
        torch.testing.assert_close(got[i], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("shape", SHAPES)
def test_jitter_is_the_four_in_order(shape):
    images, strengths = pixels(shape), (0.4, 0.4, 0.4, 0.1)
    got = augment.random_jitter(images, strengths, seeded(3))
    drawn = torch.rand(4, shape[0], generator=seeded(3))
    for i, expected in enumerate(images):
        for name, strength, u in zip(("brightness", "contrast", "saturation", "hue"), strengths, drawn[:, i].tolist()):
            factor = strength * (2 * u - 1) + (name != "hue")
            expected = getattr(tv, f"adjust_{name}")(expected, factor)
        torch.testing.assert_close(got[i], expected, atol=1e-5, rtol=0)


SPECS = ["crop", "flip", "crop+flip", "translate", "translate_x", "jitter", "noise", "crop+flip+jitter+noise"]


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_image_draws_for_itself_and_the_seed_decides(spec, channels):
    one = raw((1, channels, 10, 8))
    images, kept = one.repeat(32, 1, 1, 1), one.repeat(32, 1, 1, 1)
    pipeline = Augmentation(spec, MEAN[:channels], STD[:channels])
    first = pipeline(images, seeded(0))
    assert first.shape == images.shape and first.dtype == torch.float32
    assert torch.equal(images, kept)  # the input is left alone
    assert len(torch.unique(first.flatten(1), dim=0)) >= (2 if spec == "flip" else 4)
    assert torch.equal(first, pipeline(images, seeded(0)))
    assert not torch.equal(first, pipeline(images, seeded(1)))


def recovered_shifts(pipeline, n=4000, size=11):
    """Offsets read from a batch of images with one bright pixel in the middle."""
    images = torch.zeros(n, 1, size, size, dtype=torch.uint8)
    images[:, :, size // 2, size // 2] = 255
    where = pipeline(images, seeded(5)).flatten(1).argmax(1)
    return where % size - size // 2, where // size - size // 2


@pytest.mark.parametrize("spec, p", [("crop", 4), ("translate", 2), ("translate_x", 2)])
def test_offsets_are_uniform_and_independent(spec, p):
    dx, dy = recovered_shifts(Augmentation(spec, [0], [1]))
    if spec == "translate_x":
        assert not dy.any()
        cells = torch.bincount(dx + p, minlength=2 * p + 1)
    else:
        cells = torch.bincount((dx + p) * (2 * p + 1) + dy + p, minlength=(2 * p + 1) ** 2)
    assert len(cells) == (2 * p + 1) ** (1 if spec == "translate_x" else 2)
    assert chisquare(cells.numpy()).pvalue > 0.01


def test_flip_rate():
    images = raw((1, 1, 4, 5)).repeat(4000, 1, 1, 1)
    flipped = Augmentation("flip", [0], [1])(images, seeded(6)) != images / 255
    assert abs(flipped.flatten(1).any(1).float().mean() - 0.5) < 0.025  # three standard errors
    assert torch.equal(augment.random_flip(images, seeded(), 0.0), images)
    assert torch.equal(augment.random_flip(images, seeded(), 1.0), images.flip(3))


@pytest.mark.parametrize("strength", [0.4, 1.5])
def test_brightness_factors_cover_their_range(strength):
    images = torch.full((3000, 3, 1, 1), 0.1)
    factors = augment.random_jitter(images, (strength, 0, 0, 0), seeded(7))[:, 0, 0, 0] / 0.1
    low = max(0.0, 1 - strength)
    assert low <= factors.min() and factors.max() <= 1 + strength + 1e-5
    assert kstest(factors.numpy(), "uniform", (low, 1 + strength - low)).pvalue > 0.01


def test_contrast_saturation_and_hue_ranges():
    n, colour = 3000, torch.tensor([0.5, 0.25, 0.25]).view(1, 3, 1, 1)
    images = colour.expand(n, 3, 1, 2).clone()
    luma = sum(w * c for w, c in zip(LUMA, (0.5, 0.25, 0.25)))
    saturated = augment.random_jitter(images, (0, 0, 0.4, 0), seeded(8))[:, 0, 0, 0]
    assert kstest(((saturated - luma) / (0.5 - luma)).numpy(), "uniform", (0.6, 0.8)).pvalue > 0.01
    grey = torch.tensor([0.4, 0.6]).view(1, 1, 1, 2).expand(n, 1, 1, 2)
    contrast = (augment.random_jitter(grey, (0, 0.4, 0, 0), seeded(9))[:, 0, 0, 1] - 0.5) / 0.1
    assert kstest(contrast.numpy(), "uniform", (0.6, 0.8)).pvalue > 0.01
    turned = augment.random_jitter(images, (0, 0, 0, 0.1), seeded(10))  # near red: hue = (green - blue) / chroma / 6
    hue = (turned[:, 1] - turned[:, 2])[:, 0, 0] / 0.25 / 6
    assert kstest(hue.numpy(), "uniform", (-0.1, 0.2)).pvalue > 0.01


def test_noise_is_gaussian_in_normalised_units_and_last():
    images = raw((50, 3, 16, 16))
    for spec, without in (("noise", "identity"), ("noise+flip", "flip")):
        clean = Augmentation(without, MEAN, STD)(images, seeded(11))
        noise = (Augmentation(spec, MEAN, STD, noise_std=0.15)(images, seeded(11)) - clean).flatten()
        assert kstest(noise.numpy() / 0.15, "norm").pvalue > 0.01
        assert abs(noise.std() - 0.15) < 0.002


def test_identity_is_normalisation():
    images = raw((4, 3, 6, 5))
    got = Augmentation("identity", MEAN, STD)(images, seeded())
    torch.testing.assert_close(got, tv.normalize(images / 255, MEAN, STD), atol=1e-5, rtol=0)


def test_strengths_of_zero_are_the_identity():
    images = raw((16, 3, 6, 5))
    none = dict(noise_std=0.0, crop_padding=0, translation=0, jitter=(0, 0, 0, 0))
    got = Augmentation("crop+translate+jitter+noise", MEAN, STD, **none)(images, seeded())
    assert torch.equal(got, Augmentation("identity", MEAN, STD)(images, seeded()))


@pytest.mark.parametrize("spec", ["identity", *SPECS])
def test_channels_last_is_kept_and_changes_no_value(spec):
    images = raw((8, 3, 10, 8))
    pipeline = Augmentation(spec, MEAN, STD)
    plain = pipeline(images, seeded(3))
    last = pipeline(images.contiguous(memory_format=torch.channels_last), seeded(3))
    assert plain.is_contiguous()
    assert last.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(plain, last, atol=1e-5, rtol=0)


class NoHostReads(TorchDispatchMode):
    """Refuses operations that read a value back, have a data-dependent shape, or bring numbers from the host."""

    forbidden = ("_local_scalar_dense", "nonzero", "masked_select", "lift_fresh", "is_nonzero", "equal")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func.overloadpacket.__name__ not in self.forbidden, func
        return func(*args, **(kwargs or {}))


def test_nothing_is_read_back_after_the_first_call():
    pipeline = Augmentation("crop+flip+translate+translate_x+jitter+noise", MEAN, STD)
    images, generator = raw((8, 3, 10, 8)), seeded()
    pipeline(images, generator)
    with NoHostReads():
        pipeline(images, generator)
    with pytest.raises(AssertionError), NoHostReads():
        images[0, 0, 0, 0].item()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_captured_in_a_cuda_graph():
    images, generator = raw((64, 3, 32, 32)).cuda(), torch.Generator("cuda").manual_seed(0)
    pipeline = Augmentation("crop+flip+jitter+noise", MEAN, STD)
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        pipeline(images, generator)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    graph.register_generator_state(generator)
    with torch.cuda.graph(graph):
        out = pipeline(images, generator)
    graph.replay()
    first = out.clone()
    graph.replay()
    assert not torch.equal(first, out)
    state = torch.Generator("cuda").manual_seed(0)
    pipeline(images, state)
    torch.testing.assert_close(first, pipeline(images, state))


def test_parse():
    assert parse("crop+flip") == ("crop", "flip")
    assert parse("noise + translate") == ("translate", "noise")
    assert parse("identity") == ("identity",)


@pytest.mark.parametrize(
    "spec, message",
    [
        ("crop+flipp", "Did you mean 'flip'"),
        ("", "spec='' is not known"),
        ("crop+crop", "at most once"),
        ("identity+flip", "only alone"),
        (None, "spec='None' is not known"),
    ],
)
def test_parse_refuses(spec, message):
    with pytest.raises(ValueError, match=message):
        parse(spec)


def test_inputs_are_validated():
    images, pipeline = raw((2, 3, 4, 9)), Augmentation("crop", MEAN, STD)
    with pytest.raises(ValueError, match=r"crop_padding=4: with 4x9 pixels .* 0\.\.\.3"):
        pipeline(images, seeded())
    assert Augmentation("translate_x", MEAN, STD, translation=8)(images, seeded()).shape == images.shape
    with pytest.raises(TypeError, match="uint8"):
        pipeline(images.float(), seeded())
    with pytest.raises(TypeError, match="generator"):
        pipeline(images, 0)
    with pytest.raises(ValueError, match="channels"):
        pipeline(images[:, :2], seeded())
    with pytest.raises(ValueError, match=r"\(B, C, H, W\)"):
        pipeline(images[0], seeded())
    with pytest.raises(ValueError, match="std"):
        Augmentation("crop", MEAN, (1, 0, 1))
    with pytest.raises(ValueError, match="per channel"):
        Augmentation("crop", MEAN, (1,))
    with pytest.raises(ValueError, match="dx"):
        augment.translate(images, torch.zeros(3, dtype=torch.long), torch.zeros(2, dtype=torch.long))
    with pytest.raises(ValueError, match="1 or 3 channels"):
        colour.adjust_hue(torch.rand(2, 2, 4, 4), torch.zeros(2))
