"""What methods on graphs share: nearest neighbours of feature vectors, and labels that spread along them.

indices, similarity = neighbours(unit_rows(features), k=50)
scores = propagate(indices, similarity.clamp(min=0) ** 3, targets, num_classes=10)
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

AT_ONCE = 20_000_000  # similarities in memory, 80 MB
GROUP = 64  # of columns, whose largest similarity says whether they need to be looked at


def unit_rows(features: Tensor) -> Tensor:
    """Each row divided by its length; 0 stays 0. (N, F) -> (N, F)."""
    return features / torch.linalg.vector_norm(features, dim=1, keepdim=True).clamp(min=1e-12)


def neighbours(features: Tensor, k: int, keys: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The k other rows with the largest inner product, the nearest first: exact, some rows at a time.

    Args:
        features: (N, F) floating point; of unit length for cosine similarity.
        k: 1...N - 1.
        keys: (N, F), what the other rows show in an inner product; None: their features.

    Returns:
        Indices (N, k) int64 and inner products (N, k). Which of several equal ones come is not said.

    Raises:
        ValueError: for another k.
    """
    n = len(features)
    if not 1 <= k < n:
        raise ValueError(f"k={k}: each of {n} images has 1 to {n - 1} neighbours.")
    indices, similarity = [], []
    keys = features if keys is None else keys
    padded = torch.cat([keys, keys.new_zeros(-n % GROUP, keys.shape[1])])  # to full groups, masked below
    for rows in torch.arange(n, device=features.device).split(max(1, AT_ONCE // len(padded))):
        products = features[rows] @ padded.T  # (rows, N, to full groups)
        products[:, n:] = -torch.inf
        products[torch.arange(len(rows), device=rows.device), rows] = -torch.inf  # itself, which a duplicate resembles
        # the k largest lie in the k groups with the largest maxima, so most columns need no sorting
        groups = products.view(len(rows), -1, GROUP)
        best = groups.amax(2).topk(min(k, groups.shape[1]), dim=1).indices  # (rows, at most k)
        candidates = groups.gather(1, best[:, :, None].expand(-1, -1, GROUP)).flatten(1)
        values, places = candidates.topk(k, dim=1)
        indices.append(best.gather(1, places // GROUP) * GROUP + places % GROUP)
        similarity.append(values)
    return torch.cat(indices), torch.cat(similarity)


def distance_to_neighbours(features: Tensor, k: int) -> Tensor:
    """Sum of the squared Euclidean distances to the k nearest other rows: (N, F) -> (N,); k as in `neighbours`."""
    features = features - features.mean(0)  # what rounds is then the distances, not where the cloud lies
    squares = features.square().sum(1, keepdim=True)
    # the nearest has the largest a . b - |b|^2 / 2, which is half of |a|^2 - |a - b|^2
    queries, keys = torch.cat([features, torch.ones_like(squares)], 1), torch.cat([features, -squares / 2], 1)
    return (squares - 2 * neighbours(queries, k, keys)[1]).clamp(min=0).sum(1)


def normalised_graph(indices: Tensor, affinity: Tensor) -> Tensor:
    """D^-1/2 W D^-1/2 with W = A + A^T: sparse (N, N), symmetric, its eigenvalues within -1...1.

    Args:
        indices: (N, k) int64, of each row's neighbours, itself not among them. affinity: (N, k), from 0.
    """
    n, k = indices.shape
    rows = torch.arange(n, device=indices.device).repeat_interleave(k)
    ends = torch.stack([torch.cat([rows, indices.flatten()]), torch.cat([indices.flatten(), rows])])
    weights = affinity.flatten().repeat(2)
    degree = torch.zeros(n, dtype=weights.dtype, device=weights.device).index_add_(0, ends[0], weights)
    scale = torch.where(degree > 0, degree.clamp(min=torch.finfo(degree.dtype).tiny).rsqrt(), 0)
    weights = weights * scale[ends[0]] * scale[ends[1]]
    with torch.sparse.check_sparse_tensor_invariants(False):  # torch 2.11 warns where `coalesce` is not told
        return torch.sparse_coo_tensor(ends, weights, (n, n)).coalesce()


def propagate(
    indices: Tensor, affinity: Tensor, targets: Tensor, num_classes: int, alpha: float = 0.99, iterations: int = 20
) -> Tensor:
    """Z with (I - alpha S) Z = Y, S the normalised graph: how much of each class arrives at each image.

    Y has 1/n_c for the labelled images of class c. By conjugate gradients, all classes side by side, from 0.

    Args:
        indices, affinity: see `normalised_graph`. targets: (L,) int64, classes of the first L rows, the labelled ones.

    Returns:
        (N, K), from 0, in the dtype of `affinity`.
    """
    graph, dtype = normalised_graph(indices, affinity), affinity.dtype
    one_hot = torch.nn.functional.one_hot(targets, num_classes).to(dtype)
    y = torch.zeros(len(indices), num_classes, dtype=dtype, device=affinity.device)
    y[: len(targets)] = one_hot / one_hot.sum(0).clamp(min=1)
    z, residual, direction = torch.zeros_like(y), y.clone(), y.clone()
    left = residual.square().sum(0)  # (K,)
    enough = torch.finfo(dtype).eps ** 2 * left  # rounding alone from there on
    for _ in range(iterations):
        moved = direction - alpha * torch.sparse.mm(graph, direction)
        goes_on = left > enough  # a class that has arrived stays
        step = torch.where(goes_on, left / torch.where(goes_on, (direction * moved).sum(0), 1), 0)
        z, residual = z + step * direction, residual - step * moved
        now = residual.square().sum(0)
        direction = residual + torch.where(goes_on, now / torch.where(goes_on, left, 1), 0) * direction
        left = now
    return z.clamp(min=0)


def certainty(scores: Tensor) -> Tensor:
    """1 - H(p) / log K of each row, divided by its sum: (N, K) -> (N,), within 0...1.

    1 for one class alone, 0 for all alike, and 0 exactly for a row of zeros: no label arrived there.
    """
    total = scores.sum(1, keepdim=True)
    p = scores / torch.where(total > 0, total, 1)
    sure = 1 - torch.special.entr(p).sum(1) / math.log(scores.shape[1])
    return torch.where(total[:, 0] > 0, sure.clamp(min=0), 0)  # rounding alone may take it below 0
