"""Brightness, contrast, saturation and hue of a whole batch, each image by its own factor: what colour jitter draws.

Images are (B, C, H, W) float in [0, 1] with C = 1 or 3. Factors are (B,) float; their range is not checked, as reading
them would stall the device. Results agree with torchvision's functions of the same names.
"""

from __future__ import annotations

import torch
from torch import Tensor

LUMA = (0.2989, 0.587, 0.114)  # ITU-R BT.601 weights of red, green and blue, as torchvision rounds them


def luma(images: Tensor) -> Tensor:
    """(B, 3, H, W) -> grey (B, 1, H, W); grey images stay as they are."""
    channels = images.split(1, dim=1)
    return images if len(channels) == 1 else sum(weight * channel for weight, channel in zip(LUMA, channels))


def adjust_brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Multiply each image by its factor >= 0 and clip to [0, 1]: 0 is black, 1 changes nothing."""
    _check(images, factor)
    return (images * factor.view(-1, 1, 1, 1)).clamp(0, 1)


def adjust_contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Blend each image with the mean of its luma by its factor >= 0: 0 is uniform grey, 1 changes nothing."""
    _check(images, factor)
    mean = luma(images).mean(dim=(1, 2, 3), keepdim=True)  # (B, 1, 1, 1)
    return torch.lerp(mean, images, factor.view(-1, 1, 1, 1)).clamp(0, 1)


def adjust_saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Blend each image with its luma by its factor >= 0: 0 is grey, 1 changes nothing. Grey images stay as they are."""
    _check(images, factor)
    return torch.lerp(luma(images), images, factor.view(-1, 1, 1, 1)).clamp(0, 1)


def adjust_hue(images: Tensor, shift: Tensor) -> Tensor:
    """Turn the hue of each image by its shift in [-0.5, 0.5] of the colour circle. Grey images stay as they are."""
    _check(images, shift)
    if images.shape[1] == 1:
        return images
    red, green, blue = images.unbind(dim=1)  # each (B, H, W)
    value = images.amax(dim=1)  # (B, H, W)
    chroma = value - images.amin(dim=1)
    divisor = torch.where(chroma == 0, torch.ones_like(chroma), chroma)  # grey has no hue: any divisor will do
    sixths = torch.where(value == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor)
    sixths = torch.where(value == red, (green - blue) / divisor, sixths)  # (B, H, W) hue, 6 to the circle, red at 0
    sixths = sixths + 6 * shift.view(-1, 1, 1)
    # Back to RGB without a table of the six sectors: a channel loses chroma by its distance from the hue's sector.
    distances = [torch.remainder(sixths + offset, 6) for offset in (5, 3, 1)]
    channels = [value - chroma * torch.minimum(k, 4 - k).clamp(0, 1) for k in distances]
    return torch.stack(channels, dim=1)  # (B, 3, H, W)


def _check(images: Tensor, factor: Tensor) -> None:
    if images.dim() != 4 or images.shape[1] not in (1, 3) or not images.is_floating_point():
        raise ValueError(f"images must be float (B, C, H, W) with 1 or 3 channels, got {images.dtype} {images.shape}")
    if factor.shape != images.shape[:1]:
        raise ValueError(f"factors must have shape ({len(images)},), one per image, got {tuple(factor.shape)}")
