"""Which images to label next, when a person can label a few more."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.cluster import KMeans
from torch import Tensor

from dnll_core.common import unknown

RULES = ("centres", "margin", "random")


def choose(rule: str, n: int, probabilities: Tensor, hidden: Tensor, seed: int = 0) -> list[int]:
    """Which n of N images to label, as indices: the rule's first choice first.

    rule: "margin", the least difference between the two most probable classes (Scheffer et al. 2001); "centres", of
        each of n clusters of the hidden layer (k-means) the image nearest to its centre, the largest cluster first; or
        "random".
    probabilities: (N, K). hidden: (N, F).

    Raises ValueError for another rule.
    """
    if rule not in RULES:
        raise ValueError(unknown("rule", rule, RULES))
    n = min(n, len(probabilities))
    if rule == "random":
        return np.random.RandomState(seed).permutation(len(probabilities))[:n].tolist()
    if rule == "margin":
        best = probabilities.double().topk(2, dim=1).values
        return torch.argsort(best[:, 0] - best[:, 1], stable=True)[:n].tolist()
    clusters = KMeans(n, n_init=10, random_state=seed).fit(hidden.double().numpy())
    sizes = np.bincount(clusters.labels_, minlength=n)
    distances = clusters.transform(hidden.double().numpy())  # (N, n)
    nearest = {k: int(np.where(clusters.labels_ == k, distances[:, k], np.inf).argmin()) for k in range(n) if sizes[k]}
    return [nearest[k] for k in sorted(nearest, key=lambda k: -sizes[k])]
