"""Arrays of one's own as 8-bit images: of any shape that holds images, and tables, whose columns become channels."""

from __future__ import annotations

import numpy as np

SIDE = 4  # pixels: of the images that the rows of a table become


def layout(x: np.ndarray, image_shape: tuple[int, ...] | None) -> np.ndarray:
    """(N, H, W), (N, H, W, C) or flat (N, numbers of `image_shape`) -> (N, H, W) grey or (N, H, W, C), as it came.

    A table (N, D) without `image_shape` gives (N, SIDE, SIDE, D): a channel for each column, all pixels alike.

    Raises ValueError for another shape.
    """
    if x.ndim == 2 and image_shape is None:
        return np.broadcast_to(x[:, None, None, :], (len(x), SIDE, SIDE, x.shape[1]))
    if x.ndim == 2:
        numbers = int(np.prod(image_shape))
        if numbers != x.shape[1]:
            raise ValueError(f"image_shape={image_shape} has {numbers} numbers, and a row of X {x.shape[1]}")
        x = x.reshape(len(x), *image_shape)
    if x.ndim not in (3, 4) or (x.ndim == 4 and x.shape[-1] not in (1, 3)):
        raise ValueError(f"X has the shape {x.shape}; accepted are (N, H, W), (N, H, W, 1 or 3) and (N, D)")
    return x[..., 0] if x.ndim == 4 and x.shape[-1] == 1 else x


def range_of(images: np.ndarray, is_table: bool) -> tuple[np.ndarray, np.ndarray]:
    """The numbers that become level 0 and 255: of uint8 images these, else least and largest; of a table by column."""
    if images.dtype == np.uint8 and not is_table:
        return np.float64(0), np.float64(255)
    axes = (0, 1, 2) if is_table else None
    return images.min(axes).astype(np.float64), images.max(axes).astype(np.float64)


def to_levels(images: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """As uint8, what lies outside of `range_of` clipped."""
    span = np.where(high > low, high - low, 1)
    return np.rint((images - low) * (255 / span)).clip(0, 255).astype(np.uint8)
