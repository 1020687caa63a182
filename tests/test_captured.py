"""An iteration replayed as a CUDA graph does what the plain one does; what of it needs no GPU is tested everywhere."""

import pytest
import torch

from dnll_core.captured import CapturedStep
from dnll_core.config import CHOICES, Experiment
from dnll_core.run import own_random_state, prepare

FAST = {"labels": 20, "labelled_batch": 20, "unlabelled_batch": 256, "epochs": 3}
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def trained(method, steps, device="cpu", how="number", **fields):
    """A trainer after some iterations, in float32: by number, by a tensor on the device, or replayed."""
    e = Experiment(method=method, **FAST | fields)
    trainer, _ = prepare(e, 0, device=device, precision="float32", progress=False)
    with own_random_state(trainer.device, 0):
        for step in range(steps):
            epoch, i = divmod(step, trainer.steps_per_epoch)
            if i == 0:
                trainer.plan_epoch(epoch)
            if how == "captured" and step == 0:
                trainer.captured = CapturedStep(trainer)
            if how == "tensor":
                trainer.iterate(torch.remainder(trainer.clock.step, trainer.steps_per_epoch).long())
            else:
                trainer.train_step(i)
    return trainer


def assert_same(one, other, tolerance):
    for (name, a), b in zip(one.method.state_dict().items(), other.method.state_dict().values()):
        assert torch.allclose(a.float(), b.float(), rtol=tolerance, atol=tolerance), name
    assert float(one.clock.step) == float(other.clock.step)


def test_a_place_on_the_device_is_as_good_as_a_number():
    assert_same(trained("dnll", 7), trained("dnll", 7, how="tensor"), 0)


def test_state_can_be_put_back():
    """After some more iterations and `restore`, training goes on as if they had not been: capture warms up so."""
    straight, detour = trained("mean-teacher", 6, ema_decay=0.9), trained("mean-teacher", 3, ema_decay=0.9)
    before = {name: tensor.clone() for name, tensor in detour.state().items()}
    for i in range(3):
        detour.iterate(i)
    detour.restore(before)
    with own_random_state(detour.device, 0):
        torch.set_rng_state(before["rng.cpu"])
        for step in range(3, 6):
            i = step % detour.steps_per_epoch
            if i == 0:
                detour.plan_epoch(step // detour.steps_per_epoch)
            detour.train_step(i)
    assert_same(straight, detour, 0)


def test_only_cuda_captures():
    trainer, _ = prepare(Experiment(**FAST), 0, device="cpu", progress=False)
    with pytest.raises(ValueError, match="on a CUDA device, not on cpu"):
        CapturedStep(trainer)


@needs_cuda
@pytest.mark.parametrize("method", CHOICES["method"])
def test_replayed_iterations_are_the_plain_ones(method):
    """Ten iterations over three epochs, with the same draws: equal up to the order of float32 sums."""
    assert_same(trained(method, 10, "cuda"), trained(method, 10, "cuda", "captured"), 1e-3)
