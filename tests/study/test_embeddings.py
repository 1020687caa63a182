"""The measures of a representation against direct computation, and t-SNE's contract."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from dnll_core.study.embeddings import measures, neighbour_accuracy, project, silhouette


@pytest.fixture
def clouds():
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 20)
    return random.normal(size=(60, 5)) + 1.2 * labels[:, None], labels


def distances(points):
    return np.sqrt(((points[:, None] - points[None]) ** 2).sum(-1))


def neighbours_by_loops(points, labels, k):
    right = 0
    for i, row in enumerate(distances(points)):
        order = [j for j in np.argsort(row) if j != i][:k]
        votes = [labels[j] for j in order]
        most = max(votes.count(v) for v in votes)
        right += next(v for v in votes if votes.count(v) == most) == labels[i]  # of equals the nearest
    return right / len(points)


def silhouette_by_loops(points, labels):
    values = []
    for i, row in enumerate(distances(points)):
        mean = {k: row[(labels == k) & (np.arange(len(labels)) != i)].mean() for k in set(labels)}
        a, b = mean.pop(labels[i]), min(mean.values())
        values.append((b - a) / max(a, b))
    return np.mean(values)


@pytest.mark.parametrize("k", [1, 2, 3, 4, 10, 59])
def test_neighbours_as_by_loops(clouds, k):
    points, labels = clouds
    assert neighbour_accuracy(points, labels, k) == pytest.approx(neighbours_by_loops(points, labels, k))


def test_silhouette_as_by_loops(clouds):
    assert silhouette(*clouds) == pytest.approx(silhouette_by_loops(*clouds))


def test_by_hand():
    line, labels = np.array([0.0, 1.0, 3.0, 4.0])[:, None], [0, 0, 1, 1]
    assert silhouette(line, labels) == pytest.approx((2.5 / 3.5 + 1.5 / 2.5) / 2)
    assert neighbour_accuracy(line, labels, k=1) == 1
    assert neighbour_accuracy(line, [0, 1, 0, 1], k=1) == 0
    # two votes, one each: the nearer one decides
    assert neighbour_accuracy(np.array([0.0, 1.0, 1.5])[:, None], [0, 1, 0], k=2) == pytest.approx(0)


def test_measures_do_not_depend_on_scale_or_shape(clouds):
    points, labels = clouds
    found = measures(points, labels)
    assert set(found) == {"neighbours", "silhouette"}
    assert measures(torch.from_numpy(7 * points).view(60, 1, 5), torch.from_numpy(labels)) == pytest.approx(found)
    assert found["neighbours"] == neighbour_accuracy(points, labels)


def test_t_sne_repeats_with_a_seed_and_keeps_digits_together():
    digits = load_digits()
    pixels, labels = digits.data[:150], digits.target[:150]
    points = project(pixels, perplexity=10)
    assert points.shape == (150, 2) and points.dtype == np.float32
    assert np.array_equal(points, project(pixels.reshape(150, 8, 8), perplexity=10))
    assert neighbour_accuracy(points, labels, k=3) > 0.6  # guessing has 0.1
    starts = [project(pixels, perplexity=10, seed=seed, start="random") for seed in (0, 1)]
    assert not np.allclose(*starts)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda p, y: project(p, perplexity=60), "perplexity=60 must be above 0 and below the number of points, 60"),
        (lambda p, y: project(p, perplexity=0), "perplexity=0"),
        (lambda p, y: project(p, start="pcb"), "Did you mean 'pca'"),
        (lambda p, y: neighbour_accuracy(p, y, k=60), r"k=60 is out of range.*1\.\.\.59"),
        (lambda p, y: neighbour_accuracy(p, y, k=0), "k=0"),
        (lambda p, y: neighbour_accuracy(p, y[:-1]), r"labels have the shape \(59,\); 60 points need \(60,\)"),
        (lambda p, y: silhouette(p, y[:-1]), "labels have the shape"),
        (lambda p, y: silhouette(p, 0 * y), "labels"),
    ],
)
def test_clear_errors(clouds, call, words):
    with pytest.raises(ValueError, match=words):
        call(*clouds)
