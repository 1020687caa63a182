"""Image files of one's own for tests: textures that small networks tell apart, and a folder of them."""

import numpy as np
from PIL import Image

SIZES = ((12, 10), (9, 14), (16, 16))  # height and width, in turn


def texture(kind, seed, size=(12, 10), colour=True):
    """Stripes across, stripes along or squares, with noise: (H, W[, 3]) uint8."""
    chance = np.random.RandomState(1000 * kind + seed)
    y, x = np.indices(size)
    on = [y // 2 % 2, x // 2 % 2, (y // 2 + x // 2) % 2][kind % 3]
    levels = 60 + 120 * on[..., None] + chance.randint(-40, 40, (*size, 3 if colour else 1))
    return (levels if colour else levels[..., 0]).astype(np.uint8)


def fill(folder, count, kind, first=0, colour=True, name="{:02}.png"):
    """So many textures of a kind as files, and their paths. first: the number of the first."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / name.format(i) for i in range(first, first + count)]
    for i, path in enumerate(paths, start=first):
        Image.fromarray(texture(kind, i, SIZES[i % len(SIZES)], colour)).save(path)
    return paths


def pets(folder, counts=(("cat", 6), ("dog", 7), ("hen", 8)), without=5, colour=True):
    """A folder with one sub-folder per class, and so many images of all kinds in `unlabelled`."""
    for kind, (title, count) in enumerate(counts):
        fill(folder / title, count, kind, colour=colour)
    for i in range(without):
        fill(folder / "unlabelled", 1, i % len(counts), 50 + i, colour)
    return folder
