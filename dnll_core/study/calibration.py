"""How far probabilities can be believed: a temperature, the expected calibration error, and the reliability of bins."""

from __future__ import annotations

import math

import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

MOST = math.log(30)  # of the logarithm of a temperature, and of its inverse


def at_temperature(probabilities: Tensor, temperature: float) -> Tensor:
    """The ensemble's probabilities (N, K) float32, the logits of each network divided by a temperature.

    probabilities: (S, N, K) of the networks, as they are; their logarithms are logits.
    """
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature={temperature} is none; it takes a number above 0")
    if temperature == 1:
        return probabilities.mean(0)
    return torch.softmax(probabilities.double().clamp(min=1e-30).log() / temperature, dim=-1).mean(0).float()


def temperature_of(probabilities: Tensor, labels: Tensor) -> float:
    """The temperature with the least cross-entropy on some images (Guo et al., ICML 2017, section 4.2).

    Where all n answers are right, the least cross-entropy is that of temperature zero. As in Platt's scaling, one more
    error is therefore counted than was seen: a target is 1 - 1/(n + 2), as by the rule of succession, and other classes
    share the rest.

    probabilities: (S, N, K). labels: (N,) int64. Without images it is 1.
    """
    _, n, classes = probabilities.shape
    if n == 0:
        return 1.0
    doubt = 1 / (n + 2)
    targets = torch.full((n, classes), doubt / (classes - 1), dtype=torch.float64, device=labels.device)
    targets.scatter_(1, labels[:, None], 1 - doubt)

    def loss(log_temperature: float) -> float:
        answers = at_temperature(probabilities, math.exp(log_temperature)).double().clamp(min=1e-30)
        return float(-(targets * answers.log()).sum(1).mean())

    return math.exp(minimize_scalar(loss, bounds=(-MOST, MOST), method="bounded").x)


def reliability(probabilities: Tensor, labels: Tensor, bins: int = 10) -> list[tuple[int, float, float]]:
    """(images, mean confidence, share of right answers) of each bin of confidences, of equal width; NaN if empty.

    probabilities: (N, K). labels: (N,).
    """
    confidence, answers = probabilities.double().max(1)
    right, which = (answers == labels).double(), (confidence * bins).long().clamp(max=bins - 1)
    found = []
    for i in range(bins):
        inside = which == i
        found.append((int(inside.sum()), float(confidence[inside].mean()), float(right[inside].mean())))
    return found


def calibration_error(probabilities: Tensor, labels: Tensor, bins: int = 10) -> float:
    """The expected calibration error: mean distance of confidence and accuracy over the bins, weighted by images."""
    found = reliability(probabilities, labels, bins)
    return sum(n * abs(confidence - right) for n, confidence, right in found if n) / max(1, len(labels))
