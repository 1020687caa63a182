"""Eq. 3 and Eq. 9 of the paper: pure functions of logits."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Eq. 3, mean over the batch.

    Args:
        logits: (B, K) floating point.
        targets: (B,) int64 class indices.

    Returns:
        0-dim tensor, float32 or wider.
    """
    return F.cross_entropy(_at_least_float32(logits), targets)


def entropy(logits: Tensor) -> Tensor:
    """Of each row's softmax, in nats: (B, K) -> (B,)."""
    log_p = torch.log_softmax(logits, dim=1)
    return -(log_p.exp() * log_p).sum(dim=1)


def pseudo_label_loss(logits: Tensor, teacher_logits: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """Cross-entropy to the teacher's class where its confidence is at least `threshold`, mean over all images.

    Args:
        logits: (U, K) of the network that learns.
        teacher_logits: (U, K), taken without gradient.
        threshold: of the largest softmax, 0...1.

    Returns:
        The loss, 0-dim, and the mask (U,) 0/1 of the images that count.
    """
    confidence, predicted = torch.softmax(teacher_logits.detach(), dim=1).max(dim=1)  # (U,), (U,)
    mask = (confidence >= threshold).float()
    return (mask * F.cross_entropy(logits, predicted, reduction="none")).mean(), mask


def log_one_minus_softmax(logits: Tensor) -> Tensor:
    """log(1 - softmax(logits)) for every class, (B, K) -> (B, K), exact without an epsilon.

    1 - p_i is the mass of the other classes. For every class but the largest, p_i <= 1/2, so log1p(-p_i) loses nothing.
    For the largest, it is the log-sum-exp of the other logits minus the log-sum-exp of all. Values and gradients are
    finite for logits up to +-1e4 in float32.
    """
    logits = _at_least_float32(logits)
    logits = logits - logits.amax(-1, keepdim=True).detach()  # a common offset changes nothing but the rounding
    log_p = torch.log_softmax(logits, dim=-1)  # (B, K)
    top = torch.zeros_like(logits, dtype=torch.bool).scatter_(-1, logits.argmax(-1, keepdim=True), True)
    # what `where` discards must be harmless too: its gradient is multiplied by 0, not skipped
    others = torch.log1p(-torch.exp(log_p.masked_fill(top, -1.0)))
    rest = torch.logsumexp(logits.masked_fill(top, -torch.inf), dim=-1, keepdim=True)  # (B, 1)
    largest = rest - torch.logsumexp(logits, dim=-1, keepdim=True)
    return torch.where(top, largest, others)


def negative_loss(logits: Tensor, negatives: Tensor, reduction: str = "sum", weight: Tensor | None = None) -> Tensor:
    """Eq. 9, -sum_i Y^c_i log(1 - p_i), mean over the batch.

    Args:
        logits: (B, K) of the submodel that learns.
        negatives: (B, K), 1 for a pseudo-negative label and 0 elsewhere (any dtype).
        reduction: over the negatives of one image: "sum" as Eq. 9 prints it, or "mean".
        weight: (B,), multiplies each image's loss (a 0/1 mask of the images to use); the mean stays over all B.

    Returns:
        0-dim tensor, float32 or wider.

    Raises:
        ValueError: for another reduction, or shapes that differ.
    """
    if reduction not in ("sum", "mean"):
        raise ValueError(f"reduction={reduction!r} is not known; accepted: 'sum' (Eq. 9), 'mean'.")
    if logits.shape != negatives.shape or logits.ndim != 2:
        raise ValueError(f"logits {tuple(logits.shape)} and negatives {tuple(negatives.shape)} must both be (B, K).")
    log_not = log_one_minus_softmax(logits)
    negatives = negatives.to(log_not.dtype)
    per_image = -(negatives * log_not).sum(-1)  # (B,)
    if reduction == "mean":
        per_image = per_image / negatives.sum(-1).clamp(min=1)
    if weight is not None:
        per_image = per_image * weight
    return per_image.mean()


def _at_least_float32(logits: Tensor) -> Tensor:
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
