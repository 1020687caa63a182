"""Eq. 3 and Eq. 9 against naive loops in float64 and against autograd's numerical check."""

import math

import pytest
import torch

from dnll_core.losses import cross_entropy, log_one_minus_softmax, negative_loss


def naive_negative_loss(logits, negatives, reduction="sum"):
    """Eq. 9 with Python floats: softmax, then -sum Y^c log(1 - p), then the mean over images."""
    total = 0.0
    for row, marks in zip(logits.tolist(), negatives.tolist(), strict=True):
        top = max(row)
        exponentials = [math.exp(z - top) for z in row]
        p = [value / sum(exponentials) for value in exponentials]
        terms = [-math.log(sum(p[j] for j in range(len(p)) if j != i)) for i, mark in enumerate(marks) if mark]
        total += sum(terms) / (len(terms) if reduction == "mean" else 1)
    return total / len(logits)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("classes", [2, 3, 10, 100])
def test_matches_a_naive_loop_in_value_and_gradient(classes, reduction):
    g = torch.Generator().manual_seed(classes)
    logits = (3 * torch.randn(6, classes, generator=g, dtype=torch.float64)).requires_grad_()
    negatives = (torch.rand(6, classes, generator=g) < 0.4).double()
    negatives[:, 0] = 1
    loss = negative_loss(logits, negatives, reduction)
    assert loss.item() == pytest.approx(naive_negative_loss(logits.detach(), negatives, reduction), rel=1e-12)
    [gradient] = torch.autograd.grad(loss, logits)
    step = 1e-6
    for b, k in [(0, 0), (1, classes - 1), (5, classes // 2)]:
        moved = [logits.detach().clone(), logits.detach().clone()]
        moved[0][b, k] -= step
        moved[1][b, k] += step
        low, high = (naive_negative_loss(z, negatives, reduction) for z in moved)
        assert gradient[b, k].item() == pytest.approx((high - low) / (2 * step), abs=1e-7)


def test_gradcheck():
    logits = torch.randn(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.autograd.gradcheck(log_one_minus_softmax, logits)


def test_worked_example():
    # three classes at logits 0: p = 1/3 each, so one negative costs -log(2/3)
    loss = negative_loss(torch.zeros(1, 3), torch.tensor([[0.0, 1.0, 0.0]]))
    assert loss.item() == pytest.approx(-math.log(2 / 3))
    assert cross_entropy(torch.zeros(1, 3), torch.tensor([2])).item() == pytest.approx(math.log(3))


@pytest.mark.parametrize("scale", [1e2, 1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_extreme_logits_stay_finite(scale, dtype):
    rows = torch.tensor([[1.0, -1.0, 0.0], [-1.0, -1.0, 1.0], [1.0, 1.0, -1.0], [0.0, 0.0, 0.0]])
    logits = (scale * rows).to(dtype).requires_grad_()
    loss = negative_loss(logits, torch.ones(4, 3))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()
    expected = scale * (1 + 1) / 4  # a lone winner at distance `scale` (row 1) and 2 * scale (row 2) ...
    assert loss.item() >= expected


def test_extreme_values_are_exact():
    logits = torch.tensor([[1e4, -1e4, 0.0]])
    log_not = log_one_minus_softmax(logits)
    assert log_not[0].tolist() == pytest.approx([-1e4, 0.0, 0.0])


def test_weight_masks_images_but_keeps_the_batch_mean():
    logits, negatives = torch.randn(4, 3, generator=torch.Generator().manual_seed(1)), torch.eye(3)[[0, 1, 2, 0]]
    weight = torch.tensor([1.0, 0.0, 0.0, 1.0])
    both = negative_loss(logits[[0, 3]], negatives[[0, 3]])
    assert negative_loss(logits, negatives, weight=weight).item() == pytest.approx(both.item() / 2)


def test_errors():
    with pytest.raises(ValueError, match=r"reduction='max'.*'sum'"):
        negative_loss(torch.zeros(1, 3), torch.zeros(1, 3), "max")
    with pytest.raises(ValueError, match=r"logits \(1, 3\) and negatives \(1, 4\)"):
        negative_loss(torch.zeros(1, 3), torch.zeros(1, 4))


@pytest.mark.parametrize("classes", [10, 1000])
def test_a_common_offset_changes_nothing_but_rounding(classes):
    logits = torch.randn(5, classes, generator=torch.Generator().manual_seed(0))
    reference = log_one_minus_softmax(logits.double())
    torch.testing.assert_close(log_one_minus_softmax(logits).double(), reference, rtol=5e-5, atol=1e-6)
    moved = log_one_minus_softmax(torch.zeros(5, classes) + 1e4).double()
    assert moved.flatten().tolist() == pytest.approx([math.log1p(-1 / classes)] * 5 * classes, rel=1e-3)
