"""Arrays of one's own as images: their layout, and their numbers as levels."""

import numpy as np
import pytest

from dnll_core.data.arrays import SIDE, layout, range_of, to_levels

CHANCE = np.random.RandomState(0)


def naive(x, low, high):
    """Levels one number at a time; low and high: of each number in the last axis."""
    found = np.zeros(x.shape, np.uint8)
    for place in np.ndindex(x.shape):
        a, b = low[place[-1]], high[place[-1]]
        level = 255 * (float(x[place]) - a) / (b - a if b > a else 1)
        found[place] = min(255, max(0, round(level)))
    return found


def test_layout():
    grey, colour = CHANCE.rand(3, 4, 5), CHANCE.rand(3, 4, 5, 3)
    assert layout(grey, None) is grey and layout(colour, None) is colour
    assert np.array_equal(layout(grey[..., None], None), grey)
    assert np.array_equal(layout(grey.reshape(3, 20), (4, 5)), grey)
    assert np.array_equal(layout(grey.reshape(3, 20), (4, 5, 1)), grey)
    assert np.array_equal(layout(colour.reshape(3, 60), (4, 5, 3)), colour)
    table = CHANCE.rand(3, 7)
    images = layout(table, None)
    assert images.shape == (3, SIDE, SIDE, 7)
    for n, y, x, d in np.ndindex(images.shape):
        assert images[n, y, x, d] == table[n, d]


@pytest.mark.parametrize(
    ("shape", "image_shape", "message"),
    [
        ((3, 20), (4, 4), r"image_shape=\(4, 4\) has 16 numbers, and a row of X 20"),
        ((3, 4, 5, 2), None, r"X has the shape \(3, 4, 5, 2\)"),
        ((3, 3, 4, 5), None, r"X has the shape"),
        ((3,), None, r"X has the shape \(3,\)"),
        ((3, 4, 5, 3, 1), None, r"X has the shape"),
        ((3, 20), (20,), r"X has the shape \(3, 20\)|image_shape"),
        ((3, 40), (4, 5, 2), r"X has the shape \(3, 4, 5, 2\)"),
    ],
)
def test_what_is_no_images(shape, image_shape, message):
    with pytest.raises(ValueError, match=message):
        layout(np.zeros(shape), image_shape)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint16"])
def test_levels_of_images(dtype):
    images = (1000 * CHANCE.rand(4, 3, 5)).astype(dtype)
    low, high = range_of(images, False)
    assert (low, high) == (images.min(), images.max())
    levels = to_levels(images, low, high)
    assert levels.dtype == np.uint8 and (levels.min(), levels.max()) == (0, 255)
    assert np.array_equal(levels, naive(images, [low] * 5, [high] * 5))
    beyond = np.concatenate([images.astype("float64") - 500, images.astype("float64") + 500])
    assert np.array_equal(to_levels(beyond, low, high), naive(beyond, [low] * 5, [high] * 5))


def test_bytes_stay_as_they_are():
    images = CHANCE.randint(20, 200, (4, 3, 5), dtype=np.uint8)
    assert np.array_equal(to_levels(images, *range_of(images, False)), images)


def test_each_column_of_a_table_has_levels_of_its_own():
    table = CHANCE.randn(6, 3) * [1, 100, 0] + [0, 5, 7]
    images = layout(table, None)
    low, high = range_of(images, True)
    assert np.array_equal(low, table.min(0)) and np.array_equal(high, table.max(0))
    levels = to_levels(images, low, high)
    assert np.array_equal(levels, naive(images, low, high))
    assert (levels[..., 2] == 0).all()  # a column of one number
    bytes_ = layout(CHANCE.randint(50, 60, (6, 3), dtype=np.uint8), None)
    assert to_levels(bytes_, *range_of(bytes_, True)).max() == 255
