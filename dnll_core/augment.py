"""Weak and strong augmentation: the A_w and A_s of the paper (section 3.3, Eqs. 10-11; recipes of section 4.2).

A whole batch is transformed at once, on its own device, and every image gets its own random draw:

    weak, strong = Augmentation("crop+flip", mean, std), Augmentation("crop+flip+jitter", mean, std)
    x_w = weak(images_uint8, generator)  # (B, C, H, W) float32, normalised
    x_s = strong(images_uint8, generator)  # another draw of the same images

Operations come in pairs: a deterministic function of explicit parameters (`translate`, `flip`, `colour.adjust_*`) and a
random one that draws them from a `torch.Generator` (`random_translate`, `random_flip`, `random_jitter`). Python never
looks at a value and nothing is indexed by a boolean mask, so the host never waits for the device and a call can be
captured in a CUDA graph (call it once beforehand: the first call puts mean and std on the device).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from dnll_core.colour import adjust_brightness, adjust_contrast, adjust_hue, adjust_saturation
from dnll_core.common import shown, unknown
from dnll_core.randaugment import random_augment, random_cutout

OPERATIONS = ("identity", "crop", "flip", "translate", "translate_x", "jitter", "randaugment", "cutout", "noise")


def translate(images: Tensor, dx: Tensor, dy: Tensor) -> Tensor:
    """Move image i by dx[i] pixels to the right and dy[i] pixels down; exact, whatever the dtype.

    images: (B, C, H, W), any dtype. dx, dy: (B,) integers on the images' device.
    What enters is the image mirrored at its edge pixel, again and again if need be.
    Returns (B, C, H, W) in the dtype of `images`. Raises ValueError for wrong shapes.
    """
    _check_images(images, dx=dx, dy=dy)
    batch, _, height, width = images.shape
    rows = torch.arange(height, device=images.device) - dy.view(batch, 1)  # (B, H) where each row comes from
    cols = torch.arange(width, device=images.device) - dx.view(batch, 1)  # (B, W)
    source = torch.arange(batch, device=images.device).view(batch, 1, 1)
    # One index per pixel, all channels at once: the result is laid out (B, H, W, C), i.e. channels-last.
    y, x = _mirrored(rows, height), _mirrored(cols, width)
    return images.permute(0, 2, 3, 1)[source, y.unsqueeze(2), x.unsqueeze(1)].permute(0, 3, 1, 2)  # (B, C, H, W)


def flip(images: Tensor, where: Tensor) -> Tensor:
    """Mirror left and right the images for which `where` is true.

    images: (B, C, H, W), any dtype. where: (B,) bool. Returns (B, C, H, W), same dtype.
    """
    _check_images(images, where=where)
    return torch.where(where.view(-1, 1, 1, 1), images.flip(3), images)


def random_translate(images: Tensor, max_shift: int, generator: torch.Generator, axes="xy", name="max_shift") -> Tensor:
    """Translate each image by integers uniform in [-max_shift, max_shift], independent on each axis of `axes`.

    images: (B, C, H, W). axes: "xy", or "x" for horizontal translation alone (SVHN, section 4.2).
    Raises ValueError, which calls it `name`, if max_shift is not below the image's size: its mirror image ends there.
    """
    batch, _, height, width = images.shape
    limit = (min(height, width) if axes == "xy" else width) - 1
    if not 0 <= max_shift <= limit:
        raise ValueError(f"{name}={shown(max_shift)}: with {height}x{width} pixels it must be 0...{limit}")
    shifts = torch.randint(-max_shift, max_shift + 1, (2, batch), generator=generator, device=images.device)  # (2, B)
    return translate(images, shifts[0], shifts[1] if axes == "xy" else torch.zeros_like(shifts[1]))


def random_flip(images: Tensor, generator: torch.Generator, probability: float = 0.5) -> Tensor:
    """Mirror each image left and right with `probability` (section 4.2). images: (B, C, H, W)."""
    return flip(images, torch.rand(images.shape[0], generator=generator, device=images.device) < probability)


def random_jitter(images: Tensor, strengths: Sequence[float], generator: torch.Generator) -> Tensor:
    """Colour jitter, the strong augmentation of WRN-28-2 on CIFAR-10 (section 4.2; its strengths are not stated there).

    images: (B, C, H, W) float in [0, 1]. strengths: (brightness, contrast, saturation, hue) = (b, c, s, h); the first
    three draw factors uniform in [max(0, 1 - b), 1 + b], the last a shift uniform in [-h, h], h <= 0.5; in this order.
    torchvision's ColorJitter has these ranges and also draws the order; here it is fixed, to take a batch at once.
    """
    uniform = torch.rand(4, images.shape[0], generator=generator, device=images.device)  # (4, B)
    for adjust, strength, u in zip((adjust_brightness, adjust_contrast, adjust_saturation), strengths[:3], uniform[:3]):
        if strength > 0:  # a strength of zero is exactly the identity
            low, high = max(0.0, 1 - strength), 1 + strength
            images = adjust(images, low + (high - low) * u)
    if strengths[3] > 0:
        images = adjust_hue(images, strengths[3] * (2 * uniform[3] - 1))
    return images


def random_noise(images: Tensor, std: float, generator: torch.Generator) -> Tensor:
    """Add independent Gaussian noise of standard deviation `std`, in the units of `images`, to each pixel.

    The strong augmentation of CNN-13 on CIFAR-10 (section 4.2; its std is not stated there).
    images: (B, C, H, W) float. The draw does not depend on the memory format.
    """
    noise = torch.randn(images.shape, generator=generator, device=images.device, dtype=images.dtype)
    return torch.add(images, noise, alpha=std)


def parse(spec: str) -> tuple[str, ...]:
    """The operations of e.g. "crop+flip+jitter" in the order of their application: as written, but noise last.

    Raises ValueError for an unknown or repeated name, and for "identity" beside another.
    """
    names = tuple(name.strip() for name in str(spec).split("+"))
    for name in names:
        if name not in OPERATIONS:
            raise ValueError(unknown("spec", name, OPERATIONS))
    if len(set(names)) < len(names) or (len(names) > 1 and "identity" in names):
        raise ValueError(f"spec={shown(spec)}: name each operation at most once, and 'identity' only alone")
    return tuple(sorted(names, key="noise".__eq__))  # a stable sort: only noise moves


class Augmentation:
    """A named pipeline: uint8 images in, augmented and normalised float32 images out.

    spec: names of `OPERATIONS` joined by "+", see `parse`. mean, std: one number per channel (or one for all), of
    pixels in [0, 1]. noise_std: in units of normalised pixels (0.15 is the noise of the CNN-13 lineage).
    crop_padding, translation: pixels; jitter: see `random_jitter`. `Experiment` checks these strengths.
    Order: pixel operations on [0, 1], then normalisation, then noise.
    """

    def __init__(
        self,
        spec: str,
        mean: Sequence[float],
        std: Sequence[float],
        *,
        noise_std: float = 0.15,
        crop_padding: int = 4,
        translation: int = 2,
        jitter: Sequence[float] = (0.4, 0.4, 0.4, 0.1),
    ):
        self.operations = parse(spec)
        self.mean, self.std = tuple(map(float, mean)), tuple(map(float, std))
        if len(self.mean) != len(self.std) or not min(self.std, default=0) > 0:
            raise ValueError(f"mean={self.mean} and std={self.std} need one number per channel each, with std > 0")
        translate = partial(random_translate, max_shift=translation, name="translation")
        drawn = {
            # a window from row t of an image padded by p pixels is the image moved down by p - t
            "crop": partial(random_translate, max_shift=crop_padding, name="crop_padding"),
            "flip": random_flip,
            "translate": translate,
            "translate_x": partial(translate, axes="x"),
            "jitter": partial(random_jitter, strengths=jitter),
            "randaugment": random_augment,
            "cutout": random_cutout,
        }
        self.on_pixels = [drawn[name] for name in self.operations if name in drawn]
        self.noise_std = noise_std
        self._constants: dict[torch.device, Tensor] = {}  # mean and std, (2, C), on each device seen

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """images: (B, C, H, W) uint8 -> (B, C, H, W) float32 in the same memory format. generator: on their device.

        Raises TypeError or ValueError if images or generator do not fit each other or the pipeline.
        """
        _check_images(images)
        if not isinstance(generator, torch.Generator):
            raise TypeError(f"generator must be a torch.Generator, got {type(generator).__name__}")
        if generator.device.type != images.device.type:
            raise ValueError(f"generator is on {generator.device}, images on {images.device}; they must be together")
        if images.dtype != torch.uint8:
            raise TypeError(f"images must be torch.uint8, got {images.dtype}")
        if len(self.mean) not in (1, images.shape[1]):
            raise ValueError(f"images have {images.shape[1]} channels, mean and std have {len(self.mean)}")
        x = images.float() / 255  # (B, C, H, W) in [0, 1]
        for operation in self.on_pixels:
            x = operation(x, generator=generator)
        if images.device not in self._constants:
            self._constants[images.device] = x.new_tensor((self.mean, self.std))
        mean, std = self._constants[images.device].view(2, 1, -1, 1, 1)
        x = (x - mean) / std
        if "noise" in self.operations:
            x = random_noise(x, self.noise_std, generator)
        last = images.is_contiguous(memory_format=torch.channels_last) and not images.is_contiguous()
        return x.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


def _mirrored(index: Tensor, size: int) -> Tensor:
    """Indices outside 0..size-1 replaced by those of their mirror images."""
    period = max(2 * (size - 1), 1)  # there and back again; a single pixel is its own mirror image
    return torch.minimum(torch.remainder(index, period), torch.remainder(-index, period))


def _check_images(images: Tensor, **per_image: Tensor) -> None:
    if images.dim() != 4:
        raise ValueError(f"images must be a tensor of shape (B, C, H, W), got {tuple(images.shape)}")
    for name, values in per_image.items():
        if values.shape != images.shape[:1]:
            raise ValueError(f"{name} must have shape ({images.shape[0]},), one per image, got {tuple(values.shape)}")
