"""An iteration replayed as a CUDA graph does what the plain one does; what of it needs no GPU is tested everywhere."""

import contextlib

import pytest
import torch

from dnll_core import captured, train
from dnll_core.captured import CapturedStep
from dnll_core.config import METHODS, Experiment
from dnll_core.data.host_pool import HostPool
from dnll_core.device import own_random_state, side_by_side
from dnll_core.run import prepare

FAST = {"labels": 20, "labelled_batch": 20, "unlabelled_batch": 256, "epochs": 3}


def needs_cuda(test):
    """Marks a test for `pytest -m gpu`, and skips it elsewhere."""
    return pytest.mark.gpu(pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")(test))


@pytest.fixture
def exact():
    """Float32 in full, and each convolution's sums in one order, so that two ways to compute the same can be compared.

    By default cuDNN rounds the factors of float32 convolutions to the ten bits of TF32 and may add in any order. A
    prediction on the edge then falls to the other side, the pseudo-label with it, and after ten iterations weights and
    running statistics differed by 1e-3 and more on an H200.
    """
    cudnn, convolutions, products = torch.backends.cudnn, torch.backends.cudnn.conv, torch.backends.cuda.matmul
    switches = [(convolutions, "fp32_precision", "ieee"), (products, "fp32_precision", "ieee")]
    switches += [(cudnn, "deterministic", True), (cudnn, "benchmark", False)]
    before = [getattr(owner, name) for owner, name, _ in switches]
    for owner, name, value in switches:
        setattr(owner, name, value)
    yield
    for (owner, name, _), value in zip(switches, before):
        setattr(owner, name, value)


def trained(steps, device="cpu", how="number", precision="float32", pool="auto", **fields):
    """A trainer after some iterations: by number, by a tensor on the device, or replayed."""
    e = Experiment(**FAST | fields)
    trainer, _ = prepare(e, 0, device=device, precision=precision, pool=pool, progress=False)
    with own_random_state(trainer.learner.device, 0):
        for step in range(steps):
            i = step % trainer.learner.steps_per_epoch
            if trainer.learner.begin(step) and how == "captured":
                trainer.captured = CapturedStep(trainer.learner)
            if how == "tensor":
                CapturedStep._iterate(trainer.learner)
            else:
                trainer.train_step(i)
    return trainer


def assert_same(one, other, tolerance):
    for (name, a), b in zip(one.learner.method.state_dict().items(), other.learner.method.state_dict().values()):
        assert torch.allclose(a.float(), b.float(), rtol=tolerance, atol=tolerance), name
    assert float(one.learner.clock.step) == float(other.learner.clock.step)
    assert torch.allclose(one.learner.losses, other.learner.losses, rtol=tolerance, atol=tolerance)
    assert one.learner.sums.keys() == other.learner.sums.keys() and one.learner.sums
    for name, value in one.learner.sums.items():
        assert torch.allclose(value, other.learner.sums[name], rtol=tolerance, atol=tolerance), name


def test_a_place_on_the_device_is_as_good_as_a_number():
    assert_same(trained(7), trained(7, how="tensor"), 0)


def test_state_can_be_put_back():
    """After some more iterations and `restore`, training goes on as if they had not been: capture warms up so."""
    straight, detour = (trained(steps, method="mean-teacher", ema_decay=0.9) for steps in (6, 3))
    before = {name: tensor.clone() for name, tensor in detour.learner.state().items()}
    for i in range(3):
        detour.learner.iterate(i)
    detour.learner.restore(before)
    with own_random_state(detour.learner.device, 0):
        torch.set_rng_state(before["rng.cpu"])
        for step in range(3, 6):
            detour.learner.begin(step)
            detour.train_step(step % detour.learner.steps_per_epoch)
    assert_same(straight, detour, 0)


def test_only_cuda_captures():
    trainer, _ = prepare(Experiment(**FAST), 0, device="cpu", progress=False)
    with pytest.raises(ValueError, match="on a CUDA device, not on cpu"):
        CapturedStep(trainer.learner)


def test_nothing_is_captured_without_cuda_or_on_request():
    run = train(Experiment(**FAST | {"epochs": 30}), 0, device="cpu", progress=False)
    assert run.trainer.captured is None and "capture_seconds" not in run.provenance


def test_what_cannot_be_captured_runs_plainly(monkeypatch):
    trainer, _ = prepare(Experiment(**FAST), 0, device="cpu", progress=False)

    def refuse(learner):
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    monkeypatch.setattr(captured, "CapturedStep", refuse)
    with pytest.warns(UserWarning, match="dnll could not be captured .*not permitted when stream is capturing.; it"):
        assert captured.try_to_capture(trainer.learner) is None


@pytest.mark.parametrize("wrong", [None, "another batch", "no step", "the first network alone steps", "other draws"])
def test_a_replay_is_compared_with_the_plain_iteration(wrong):
    """On a CPU, with the plain iteration in the place of the replay, and with what a bad recording might do."""
    trainer, _ = prepare(Experiment(**FAST), 0, device="cpu", precision="float32", progress=False)
    trainer.learner.plan_epoch(0)
    before = {name: tensor.clone() for name, tensor in trainer.learner.state().items()}

    def replay():
        if wrong == "another batch":
            trainer.learner.clock.step += 1
        if wrong == "other draws":
            trainer.learner.generator.manual_seed(1)
        loss = CapturedStep._iterate(trainer.learner)[0].clone()
        if wrong == "no step":
            trainer.learner.method.load_state_dict({k[7:]: v for k, v in before.items() if k.startswith("method.")})
        if wrong == "the first network alone steps":  # the loss, a sum, hardly shows it
            second = trainer.learner.method.base.submodels[1]
            name = "method.base.submodels.1."
            second.load_state_dict({k.removeprefix(name): v for k, v in before.items() if k.startswith(name)})
        return loss

    if wrong is None:
        captured.verify(trainer.learner, replay, before)
    else:
        with pytest.raises(RuntimeError, match=r"its replay has .*, and the plain iteration"):
            captured.verify(trainer.learner, replay, before)


@pytest.mark.parametrize("still", ["classifier", "generator"])
def test_a_replay_in_which_one_turn_takes_no_step_is_found(still):
    e = Experiment(**FAST | {"method": "improved-gan", "lr": 0.003})
    learner = prepare(e, 0, device="cpu", precision="float32", progress=False)[0].learner
    learner.begin(0)
    before = {name: tensor.clone() for name, tensor in learner.state().items()}

    def replay():
        loss = CapturedStep._iterate(learner)[0].clone()
        name = f"method.{still}."
        learner.method.get_submodule(still).load_state_dict(
            {key.removeprefix(name): value for key, value in before.items() if key.startswith(name)}
        )
        return loss

    captured.verify(learner, lambda: CapturedStep._iterate(learner)[0], before)
    with pytest.raises(RuntimeError, match="its replay has"):
        captured.verify(learner, replay, before)


def test_networks_run_one_after_the_other_outside_a_recording():
    order = []
    work = [lambda: order.append(0) or ["a"], lambda: order.append(1) or ["b"]]
    assert side_by_side(work, torch.device("cpu"), [[], []]) == [["a"], ["b"]] and order == [0, 1]
    for inputs in ([[]], [[], [], []]):  # on any device, before anything runs
        with pytest.raises(ValueError, match=f"each of 2 works, not of {len(inputs)}"):
            side_by_side(work, torch.device("cpu"), inputs)
    assert order == [0, 1]


def test_memory_that_another_stream_reads_is_not_reused_before(monkeypatch):
    """Of a recording, with streams that only count: an adversarial image, made on one stream and read on another, was
    overwritten before the backward pass read it."""

    class Stream:
        def __init__(self, name="branch"):
            self.name, self.waits = name, []

        def wait_stream(self, other):
            self.waits.append(other.name)

    trunk, told = Stream("trunk"), []
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: trunk)
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", contextlib.nullcontext)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda tensor, stream: told.append((tensor, stream.name)))
    a, b, c, d, e = (torch.tensor(i) for i in range(5))
    work = [lambda: [a], lambda: [c, (d, e)]]
    assert side_by_side(work, torch.device("cuda"), [[a], [b]]) == [[a], [c, (d, e)]]
    assert told == [(b, "branch"), (c, "trunk"), (d, "trunk"), (e, "trunk")] and trunk.waits == ["branch"]


# What an iteration may consist of: every method, draws by error, averages, views, networks, precision.
KINDS = {method: {"method": method} for method in METHODS} | {
    "epm": {"selection": "epm", "epm_accumulation": "epoch"},
    "average": {"ema_decay": 0.9},
    "labels in eval mode": {"label_mode": "eval"},
    "labelling moves statistics": {"label_updates_bn": True, "shared_bn": False},
    "views": {"weak": "translate", "strong": "translate+randaugment+cutout", "method": "fixmatch"},
    "cnn3": {"network": "cnn3", "strong": "noise"},
}


@needs_cuda
@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("kind", KINDS)
def test_replayed_iterations_are_the_plain_ones(kind):
    """Ten iterations over three epochs, with the same draws: equal up to the order of float32 sums."""
    assert_same(trained(10, "cuda", **KINDS[kind]), trained(10, "cuda", "captured", **KINDS[kind]), 1e-3)


@needs_cuda
@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("network", ["cnn13", "wrn28-2"])
def test_large_networks_in_bfloat16_replay_too(network):
    """Everything after one iteration, and the losses of three.

    Weights can be compared no further: bfloat16 has eight bits, and what an iteration rounds away the next ones enlarge
    through 28 layers. On a CPU, where nothing is replayed, moving each weight of WRN-28-2 by 1e-7 of itself at the
    start moves one by 0.009 after an iteration, 0.02 after two and 0.07 after three, of which 3e-2 would be allowed,
    and running variances by 0.17, while each loss differs by at most 0.03 of 4.6.
    """
    fields = {"network": network, "size": 32, "unlabelled_batch": 64, "precision": "bfloat16"}
    assert_same(trained(1, "cuda", **fields), trained(1, "cuda", "captured", **fields), 3e-2)
    plain, replayed = (trained(3, "cuda", how, **fields).learner.losses[:3] for how in ("number", "captured"))
    assert torch.allclose(plain, replayed, rtol=3e-2, atol=3e-2)


@needs_cuda
@pytest.mark.usefixtures("exact")
def test_images_from_the_host_replay_too():
    plain, replayed = trained(10, "cuda"), trained(10, "cuda", "captured", pool="host")
    assert isinstance(replayed.learner.data.unlabelled, HostPool)
    assert_same(plain, replayed, 1e-3)


@needs_cuda
@pytest.mark.usefixtures("exact")
def test_a_captured_run_resumes(tmp_path):
    e = Experiment(**FAST | {"epochs": 60})
    whole = train(e, 0, device="cuda", precision="float32", progress=False)
    assert whole.trainer.captured is not None and whole.provenance["capture_seconds"] > 0
    trainer, _ = prepare(e, 0, device="cuda", precision="float32", progress=False)
    with own_random_state(trainer.learner.device, 0):
        trainer.learner.plan_epoch(0)
        for i in range(3):
            trainer.train_step(i)
            trainer.step += 1
        trainer.save(tmp_path)
    resumed = train(e, 0, device="cuda", precision="float32", progress=False, checkpoint=tmp_path)
    assert resumed.trainer.step == whole.trainer.step
    assert abs(resumed.accuracy - whole.accuracy) < 0.05


@needs_cuda
@pytest.mark.parametrize("how", ["number", "captured"])
@pytest.mark.parametrize("method", METHODS)
def test_an_iteration_never_waits_for_the_device(method, how):
    trainer = trained(9, "cuda", how, method=method, lp_start=0.3, rounds=2)  # in the last stage, of four and more
    assert trainer.learner.method.stage == len(trainer.learner.method.stages) - 1
    torch.cuda.set_sync_debug_mode("error")
    try:
        with own_random_state(trainer.learner.device, 0):
            trainer.train_step(9 % trainer.learner.steps_per_epoch)
    finally:
        torch.cuda.set_sync_debug_mode("default")
