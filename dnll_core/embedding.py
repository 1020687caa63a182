"""Figure 5 as numbers: the last hidden layer in two dimensions by t-SNE, and how well it keeps classes apart.

    hidden = run.embed(images)                       # (N, F), the last hidden layer
    points = project(hidden, perplexity=30, seed=0)  # (N, 2), for the eye
    measures(hidden, labels), measures(points, labels)

Both measures know the true labels of all N points and count no prediction, so they describe a representation, not a
classifier. Neither changes when all distances are scaled by a common factor.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_score
from sklearn.neighbors import NearestNeighbors

from dnll_core.common import unknown

STARTS = ("pca", "random")
NEIGHBOURS = 10


def project(points: ArrayLike, perplexity: float = 30.0, seed: int = 0, start: str = "pca") -> np.ndarray:
    """t-SNE [van der Maaten & Hinton 2008; section 4.6 names no settings]: (N, F) -> (N, 2) float32.

    Args:
        points: one row for each image; flattened if there are more than two dimensions.
        perplexity: the effective number of neighbours that a point attends to, below N. 30 is scikit-learn's default.
        seed: of the optimiser and of a random start.
        start: "pca" (the two leading components, scaled down) or "random".

    Raises:
        ValueError: if the perplexity is not in (0, N), or the start is not known.
    """
    points = _rows(points)
    if not 0 < perplexity < len(points):
        raise ValueError(f"perplexity={perplexity!r} must be above 0 and below the number of points, {len(points)}.")
    if start not in STARTS:
        raise ValueError(unknown("start", start, STARTS))
    return TSNE(init=start, perplexity=perplexity, random_state=seed).fit_transform(points)


def neighbour_accuracy(points: ArrayLike, labels: ArrayLike, k: int = NEIGHBOURS) -> float:
    """The share 0...1 of points whose class is the commonest among their k nearest others (leave one out).

    Of classes that are equally common among the k, the nearest one counts.

    Args:
        points: (N, ...), compared by Euclidean distance.
        labels: (N,) whole numbers from 0.

    Raises:
        ValueError: if k is not in 1...N-1, or the lengths differ.
    """
    points, labels = _rows(points), _labels(labels, len(points))
    if not 1 <= k < len(points):
        raise ValueError(f"k={k!r} is out of range: among {len(points)} points it must be 1...{len(points) - 1}.")
    nearest = NearestNeighbors(n_neighbors=k).fit(points).kneighbors(return_distance=False)  # (N, k), not the point
    votes = labels[nearest]
    weights = 1 + 0.5 ** (np.arange(k) + 2)  # the nearest outweighs all further ones, and all together half a vote
    tally = np.zeros((len(points), labels.max() + 1))
    np.add.at(tally, (np.arange(len(points))[:, None], votes), weights)
    return float((tally.argmax(1) == labels).mean())


def silhouette(points: ArrayLike, labels: ArrayLike) -> float:
    """The mean silhouette -1...1 [Rousseeuw 1987]: of each point (b - a)/max(a, b).

    a is its mean distance to the others of its class, b the smallest mean distance to another class. 1: tight classes
    far apart; 0: points on borders. It punishes a class that is several islands, even if none is mixed.

    Args:
        points: (N, ...). labels: (N,), two classes at least.

    Raises:
        ValueError: if there is a single class, or the lengths differ.
    """
    points = _rows(points)
    return float(silhouette_score(points, _labels(labels, len(points))))


def measures(points: ArrayLike, labels: ArrayLike, k: int = NEIGHBOURS) -> dict[str, float]:
    """{"neighbours": `neighbour_accuracy`, "silhouette": `silhouette`}."""
    return {"neighbours": neighbour_accuracy(points, labels, k), "silhouette": silhouette(points, labels)}


def perplexity_of(squared_distances: ArrayLike, sigma: float) -> float:
    """The perplexity 2^H of a point whose neighbours count in proportion to exp(-d^2/(2 sigma^2)).

    t-SNE solves this for sigma, point by point, so that every point has the same effective number of neighbours.

    Args:
        squared_distances: (N,) to the others, in the units of sigma squared.
    """
    exponents = -np.asarray(squared_distances, dtype=float) / (2 * sigma**2)
    p = np.exp(exponents - exponents.max())
    p /= p.sum()
    return float(2 ** -(p * np.log2(p, where=p > 0, out=np.zeros_like(p))).sum())


def _rows(points: ArrayLike) -> np.ndarray:
    points = np.asarray(points)
    return points.reshape(len(points), -1)


def _labels(labels: ArrayLike, n: int) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.shape != (n,):
        raise ValueError(f"labels have the shape {labels.shape}; {n} points need ({n},).")
    return labels
