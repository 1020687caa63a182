"""Pseudo-negative labels: Eqs. 6-8 and 12-13 (equal probability), Eqs. 22-23 and Figure 3 (Error Perception Mechanism).

    negatives = draw_negatives(predicted, num_classes=10, m=3, generator=g)                      # EP
    negatives = draw_negatives(predicted, 10, 3, g, log_weights=epm.log_selection()[predicted])  # EPM

Nothing here carries a gradient, and nothing waits for the device: both draws are one top-m of random keys.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def draw_negatives(
    predicted: Tensor, num_classes: int, m: int, generator: torch.Generator, log_weights: Tensor | None = None
) -> Tensor:
    """Draws m different classes, none of them the predicted one, for each image (Eq. 8).

    Equal probability without `log_weights`; otherwise one after the other without replacement, each in proportion to
    exp(log_weights) among the classes that are left. Both come from one trick: the m largest of log_weights + Gumbel
    noise are such a draw. It works on logarithms, so it stays exact where exp(log_weights) would underflow to 0.

    Args:
        predicted: (B,) int64, the pseudo-label: argmax of Eq. 6.
        num_classes, m: K, and the number of pseudo-negative labels, 1...K-1.
        generator: source of randomness, on the device of `predicted`.
        log_weights: (B, K) or None. The predicted class is left out whatever its weight.

    Returns:
        (B, K) float32, exactly m ones in each row and 0 at the predicted class.

    Raises:
        ValueError: if m is not in 1...K-1, or log_weights has another shape.
    """
    check_m(m, num_classes)
    shape = (predicted.shape[0], num_classes)
    # float64 keys: at log-weights of 1e6 the noise would drown in float32's rounding (Apple's GPUs have no float64)
    dtype = torch.float32 if predicted.device.type == "mps" else torch.float64
    keys = torch.empty(shape, dtype=dtype, device=predicted.device).exponential_(generator=generator).log_().neg_()
    if log_weights is not None:
        if log_weights.shape != shape:
            raise ValueError(f"log_weights has shape {tuple(log_weights.shape)}; it must be (B, K) = {shape}.")
        keys += log_weights
    keys.scatter_(1, predicted[:, None], -torch.inf)
    chosen = keys.topk(m, dim=1).indices  # (B, m)
    return torch.zeros(shape, device=predicted.device).scatter_(1, chosen, 1.0)


def check_m(m: int, num_classes: int) -> None:
    """Raises ValueError unless m negatives can be drawn from the K - 1 classes that are not predicted."""
    if not 1 <= m <= num_classes - 1:
        raise ValueError(
            f"m={m} is out of range: with K={num_classes} classes it must be 1...{num_classes - 1} (Eq. 8)."
        )


class ErrorPerception(nn.Module):
    """The Error Perception Mechanism of one submodel: Pr (Eq. 22) and R (Eq. 23), from its labelled batches.

    Pr[k, i] sums the confidences p_i of the labelled images of class k that the submodel takes for class i. The paper
    leaves open how Pr gathers over the batches of an epoch, and it matters: R is the softmax of a sum of confidences,
    so it goes to equal probability when the labelled images are fitted (Pr -> 0) and to one-hot when Pr is large.

    accumulation="ema": Pr <- decay * Pr + (1 - decay) * (the batch's sums); "we may also use EMA" (section 3.3.2).
    Its scale, and so the sharpness of R, grows with the labelled batch.
    accumulation="epoch": sums over all batches of an epoch; the finished sums serve from the second batch of the next
    epoch on for as long, and the first epoch draws with equal probability.
    """

    def __init__(self, num_classes: int, accumulation: str = "ema", decay: float = 0.9):
        super().__init__()
        if accumulation not in ("ema", "epoch"):
            raise ValueError(f"accumulation={accumulation!r} is not known; accepted: 'ema', 'epoch'.")
        self.accumulation, self.decay = accumulation, decay
        self.register_buffer("pr", torch.zeros(num_classes, num_classes))
        self.register_buffer("running", torch.zeros(num_classes, num_classes))

    @torch.no_grad()
    def update(self, logits: Tensor, targets: Tensor, first_of_epoch: Tensor | bool = False) -> None:
        """Takes in one labelled batch, in place.

        Args:
            logits, targets: (B, K) of the supervised forward pass, and (B,) int64 true classes.
            first_of_epoch: 0-dim bool; accumulation="epoch" then takes over the finished sums and starts anew.
        """
        sums = confusion_confidence(logits, targets)
        if self.accumulation == "ema":
            self.pr.lerp_(sums, 1 - self.decay)
            return
        first = torch.as_tensor(first_of_epoch, device=self.pr.device)
        self.pr.copy_(torch.where(first, self.running, self.pr))
        self.running.copy_(torch.where(first, sums, self.running + sums))

    def log_selection(self) -> Tensor:
        """log R (Eq. 23), (K, K): row k is the log-softmax of Pr_k. Indexed with the pseudo-labels: `log_weights`."""
        return torch.log_softmax(self.pr, dim=1)

    def variation(self) -> Tensor:
        """Total variation of what is drawn from equal probability, mean of classes: 0-dim, 0...(K - 2)/(K - 1)."""
        own = torch.eye(len(self.pr), dtype=torch.bool, device=self.pr.device)  # never drawn
        drawn = torch.softmax(self.pr.masked_fill(own, -torch.inf), dim=1)  # (K, K)
        return (drawn - 1 / (len(self.pr) - 1)).masked_fill(own, 0).abs().sum() / (2 * len(self.pr))


def confusion_confidence(logits: Tensor, targets: Tensor) -> Tensor:
    """Eq. 22 on one batch: (K, K), entry [k, i] the summed confidence of images of class k misclassified as i.

    logits: (B, K). targets: (B,) int64.
    """
    confidence, predicted = torch.softmax(logits.float(), dim=1).max(dim=1)  # (B,), (B,)
    wrong = confidence * (predicted != targets)  # (B,), 0 where the prediction is right
    rows = F.one_hot(targets, logits.shape[1]).float()  # (B, K)
    columns = F.one_hot(predicted, logits.shape[1]) * wrong[:, None]  # (B, K)
    return rows.T @ columns  # a matrix product sums in a fixed order; scattered additions on a GPU do not
