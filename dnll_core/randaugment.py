"""RandAugment as FixMatch uses it (Sohn et al., NeurIPS 2020, appendix D, Table 12), a whole batch at once.

    x = random_cutout(random_augment(images, generator), generator)  # (B, C, H, W) float in [0, 1]

For each image two of 14 operations are drawn one after the other, with repetition, and each gets a magnitude uniform in
its range of Table 12. Python never looks at a value: every family of operations runs on all images, and each image
keeps what its own operation gives. Results agree with torchvision's functions of the same names.

Geometric operations take the nearest pixel and fill with black, as PIL does by default.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dnll_core.colour import luma

N = 2  # operations for each image
# name -> (lowest, highest) magnitude; translations are a share of the image's side, solarize's threshold of white
RANGES = {
    "identity": (0.0, 0.0),
    "autocontrast": (0.0, 0.0),
    "equalize": (0.0, 0.0),
    "posterize": (4.0, 8.0),  # bits that stay: 4, 5, 6, 7 or 8
    "solarize": (0.0, 1.0),
    "brightness": (0.05, 0.95),
    "color": (0.05, 0.95),
    "contrast": (0.05, 0.95),
    "sharpness": (0.05, 0.95),
    "rotate": (-30.0, 30.0),  # degrees, counter-clockwise
    "shear_x": (-0.3, 0.3),  # pixels a row, or a column, is moved for each pixel from the centre
    "shear_y": (-0.3, 0.3),
    "translate_x": (-0.3, 0.3),
    "translate_y": (-0.3, 0.3),
}
NAMES = tuple(RANGES)


def random_augment(images: Tensor, generator: torch.Generator, n: int = N) -> Tensor:
    """`n` random operations on each image. images: (B, C, H, W) float in [0, 1], C = 1 or 3."""
    batch, device = len(images), images.device
    operations = torch.randint(len(NAMES), (n, batch), generator=generator, device=device)
    uniform = torch.rand(n, batch, generator=generator, device=device)
    for operation, u in zip(operations, uniform):
        magnitude = torch.zeros_like(u)
        for i, (low, high) in enumerate(RANGES.values()):
            magnitude = torch.where(operation == i, low + (high - low) * u, magnitude)
        bits = (4 + 5 * u).floor().clamp(max=8)  # whole numbers, equally often
        magnitude = torch.where(operation == NAMES.index("posterize"), bits, magnitude)
        images = apply(images, operation, magnitude)
    return images


def random_cutout(images: Tensor, generator: torch.Generator, share: float = 0.5) -> Tensor:
    """A grey square in each image: side uniform in 0...share of the width, centre uniform, clipped at the border."""
    batch, _, height, width = images.shape
    side, y, x = torch.rand(3, batch, 1, generator=generator, device=images.device)  # each (B, 1)
    half = side * share * width / 2
    rows, columns = (torch.arange(size, device=images.device) + 0.5 for size in (height, width))
    inside = ((rows - y * height).abs() < half).unsqueeze(2) & ((columns - x * width).abs() < half).unsqueeze(1)
    return torch.where(inside.unsqueeze(1), 0.5, images)


def apply(images: Tensor, operation: Tensor, magnitude: Tensor) -> Tensor:
    """One operation on each image. operation: (B,) index into `NAMES`. magnitude: (B,), ignored where there is none."""

    def chosen(*names: str) -> Tensor:
        return sum(operation == NAMES.index(name) for name in names).bool().view(-1, 1, 1, 1)

    families = {  # one function serves operations of a kind, so few of them run
        ("brightness", "color", "contrast", "sharpness"): lambda: _blend(images, chosen, magnitude),
        ("rotate", "shear_x", "shear_y", "translate_x", "translate_y"): lambda: _affine(images, chosen, magnitude),
        ("posterize",): lambda: posterize(images, magnitude),
        ("solarize",): lambda: torch.where(images >= magnitude.view(-1, 1, 1, 1), 1 - images, images),
        ("autocontrast",): lambda: autocontrast(images),
        ("equalize",): lambda: equalize(images),
    }
    result = images
    for names, function in families.items():
        result = torch.where(chosen(*names), function(), result)
    return result


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """Keeps the first bits[i] of the eight bits of each pixel of image i."""
    step = 2 ** (8 - bits.view(-1, 1, 1, 1))
    return ((images * 255).round() / step).floor() * step / 255


def autocontrast(images: Tensor) -> Tensor:
    """Stretches each channel of each image to 0...1; a uniform channel stays."""
    low, high = images.amin(dim=(2, 3), keepdim=True), images.amax(dim=(2, 3), keepdim=True)
    width = torch.where(high > low, high - low, 1.0)
    return torch.where(high > low, ((images - low) / width).clamp(0, 1), images)


def equalize(images: Tensor) -> Tensor:
    """Makes the 256 levels of each channel about equally frequent, with PIL's rounding."""
    batch, channels, height, width = images.shape
    levels = (images * 255).round().long().reshape(batch * channels, -1)  # (BC, HW)
    counts = torch.zeros(len(levels), 256, dtype=torch.long, device=images.device)
    counts.scatter_add_(1, levels, torch.ones_like(levels))
    last = levels.amax(dim=1, keepdim=True)  # the brightest level that occurs does not count
    step = (levels.shape[1] - counts.gather(1, last)) // 255  # (BC, 1) pixels to a level
    before = counts.cumsum(dim=1) - counts  # (BC, 256) pixels that are darker
    table = ((before + step // 2) // step.clamp(min=1)).clamp(max=255)
    table = torch.where(step > 0, table, torch.arange(256, device=images.device))
    return (table.gather(1, levels).float() / 255).view(batch, channels, height, width)


def _blend(images: Tensor, chosen, factor: Tensor) -> Tensor:
    """From black, grey, uniform grey, or smoothed (factor 0) to the image itself (factor 1)."""
    grey = luma(images)
    target = torch.where(chosen("color"), grey.expand_as(images), torch.zeros_like(images))
    target = torch.where(chosen("contrast"), grey.mean(dim=(1, 2, 3), keepdim=True), target)
    target = torch.where(chosen("sharpness"), _smooth(images), target)
    return torch.lerp(target, images, factor.view(-1, 1, 1, 1)).clamp(0, 1)


def _smooth(images: Tensor) -> Tensor:
    """PIL's SMOOTH: 3x3, the centre counts five times; border pixels stay."""
    total = 9 * F.avg_pool2d(images, 3, stride=1) + 4 * images[:, :, 1:-1, 1:-1]
    result = images.clone()
    result[:, :, 1:-1, 1:-1] = total / 13
    return result


def _affine(images: Tensor, chosen, magnitude: Tensor) -> Tensor:
    """Rotation, shear or translation about the centre; the matrix says where each pixel of the result comes from."""
    height, width = images.shape[2:]

    def only(name: str) -> Tensor:
        return torch.where(chosen(name).flatten(), magnitude, 0.0)  # (B,), 0 is the identity

    angle = torch.deg2rad(only("rotate"))
    # affine_grid counts in half sides, so what crosses between the axes is scaled by the ratio of the sides
    tall = height / width
    rows = [
        [angle.cos(), (only("shear_x") - angle.sin()) * tall, -2 * only("translate_x")],
        [(only("shear_y") + angle.sin()) / tall, angle.cos(), -2 * only("translate_y")],
    ]
    matrix = torch.stack([torch.stack(row, dim=-1) for row in rows], dim=1)  # (B, 2, 3)
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="nearest", padding_mode="zeros", align_corners=False)
