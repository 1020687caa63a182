"""The digits that come with scikit-learn, as arrays like those of other data sets."""

from __future__ import annotations

import functools

import numpy as np

from dnll_core.data.domain import shift
from dnll_core.data.splits import hold_out


def digits(domain: str = "") -> dict[str, np.ndarray]:
    """domain: "" for all images, "source" or "target" for one half of them. The arrays are the caller's own."""
    return {key: values.copy() for key, values in _parts(domain).items()}


@functools.cache
def _parts(domain: str) -> dict[str, np.ndarray]:
    from sklearn.datasets import load_digits  # slow to import, and needed by this data set alone

    raw = load_digits()
    images, labels = np.rint(raw.images * (255 / 16)).astype(np.uint8), raw.target.astype(np.uint8)
    test, keep = hold_out(labels, [50] * 10, "digits"), np.ones(len(labels), dtype=bool)
    if domain:
        half = np.zeros_like(keep)
        for part in (~test, test):  # no image is in both domains, not even redrawn
            counts = np.bincount(labels[part]) // 2
            half[part] = hold_out(labels[part], counts.tolist(), "digits-target")
        keep = half if domain == "target" else ~half
        images = shift(images) if domain == "target" else images
    parts = {"train": keep & ~test, "test": keep & test}
    return {f"{letter}_{p}": values[m] for p, m in parts.items() for letter, values in (("x", images), ("y", labels))}
