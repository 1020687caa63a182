"""Ramps, cosine and the moving average against plain arithmetic."""

import math

import pytest
import torch

from dnll_core.schedules import Clock, cosine, ema_update_, sigmoid_ramp


def clock(step, per_epoch=10, total=100):
    return Clock(torch.tensor(float(step)), per_epoch, total)


@pytest.mark.parametrize(("step", "t"), [(0, 0.0), (10, 0.2), (25, 0.5), (50, 1.0), (80, 1.0)])
def test_sigmoid_ramp(step, t):
    assert sigmoid_ramp(clock(step), 5).item() == pytest.approx(math.exp(-5 * (1 - t) ** 2))


@pytest.mark.parametrize("epochs", [1e-300, 1e-45, 1e-30, 1e300])
def test_a_ramp_of_any_length_is_finite(epochs):
    assert sigmoid_ramp(clock(0), epochs).item() == pytest.approx(math.exp(-5))
    assert sigmoid_ramp(clock(1), epochs).item() == pytest.approx(1 if epochs < 1 else math.exp(-5))


def test_no_ramp():
    assert sigmoid_ramp(clock(0), 0).item() == 1


@pytest.mark.parametrize(("step", "expected"), [(0, 1.0), (25, 0.5 + math.sqrt(0.5) / 2), (50, 0.5), (100, 0.0)])
def test_cosine(step, expected):
    assert cosine(clock(step)).item() == pytest.approx(expected, abs=1e-6)


def test_cosine_agrees_with_torch():
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=100)
    for step in range(100):
        assert cosine(clock(step)).item() == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-5)
        optimizer.step()
        reference.step()


def test_ema_averages_over_many_steps():
    """After n steps towards a constant, 1 - decay^n of the way is done; the inverted rule would be there at once."""
    average, value = [torch.zeros(3)], [torch.ones(3)]
    for n in range(1, 6):
        ema_update_(average, value, 0.99)
        assert average[0][0].item() == pytest.approx(1 - 0.99**n, rel=1e-5)
