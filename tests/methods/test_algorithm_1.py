"""The thirty lines of plain PyTorch in notebook 02 are the package's method."""

import copy
import json
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from dnll_core.run import prepare
from dnll_core.schedules import sigmoid_ramp
from dnll_core.study.experiments import as_algorithm_1

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "02_method.ipynb"
E = as_algorithm_1(20)


@pytest.fixture(scope="module")
def lines():
    """What the notebook's cell defines."""
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    [source] = ["".join(cell["source"]) for cell in cells if cell["id"] == "method-46b"]
    defined = {"torch": torch, "F": F, "math": math, "K": 10, "m": E.m}
    exec(source, defined)
    return defined


def in_float64(monkeypatch):
    """A learner whose networks, images and losses are float64, though the package asks for float32."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    learner = prepare(E, 0, device="cpu", precision="float32", progress=False)[0].learner
    learner.method.double()
    for name, view in list(learner.views.items()):
        learner.views[name] = lambda x, generator, view=view: view(x, generator).double()
    return learner


@pytest.mark.parametrize("wrong", [None, "self", "no ramp"])
def test_three_steps_are_those_of_the_package(lines, monkeypatch, wrong):
    learner = in_float64(monkeypatch)
    mine = copy.deepcopy(learner.method.base.submodels)
    rules = {"momentum": E.momentum, "nesterov": True, "weight_decay": E.weight_decay}
    optimisers = [torch.optim.SGD(network.parameters(), **rules) for network in mine]
    apart = []
    for step in range(3):
        learner.begin(step)
        weight = 1.0 if wrong == "no ramp" else float(E.lam * sigmoid_ramp(learner.clock, E.ramp_epochs))
        batch, theirs = learner.iterate(step)
        drawn = theirs.negatives[::-1] if wrong == "self" else theirs.negatives
        labels = iter(drawn)
        views = batch.labelled, batch.targets, *batch.unlabelled
        ours = lines["losses"](mine, *views, weight, lambda predicted, labels=labels: next(labels).double())
        apart.append(abs(float(sum(ours).detach() - theirs.loss.detach())))
        for loss, optimiser in zip(ours, optimisers):
            optimiser.param_groups[0]["lr"] = float(learner.optimisers.each["main"].param_groups[0]["lr"])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    weights = zip(mine.parameters(), learner.method.base.submodels.parameters(), strict=True)
    apart += [float((a - b).detach().abs().max()) for a, b in weights]
    assert all(p.dtype == torch.float64 for p in mine.parameters())
    assert (max(apart) < 1e-10) == (wrong is None), max(apart)


def test_the_draws_are_m_other_classes_all_equally_likely(lines):
    predicted = torch.arange(10).repeat(4000)
    torch.manual_seed(0)
    drawn = lines["negatives"](predicted)
    assert (drawn.sum(1) == E.m).all() and set(drawn.unique().tolist()) == {0, 1}
    assert (drawn.gather(1, predicted[:, None]) == 0).all()
    rates = torch.stack([drawn[predicted == k].mean(0) for k in range(10)])  # (K, K)
    expected = E.m / 9 * (1 - torch.eye(10))
    assert (rates - expected).abs().max() < 5 * math.sqrt(E.m / 9 * (1 - E.m / 9) / 4000)


def test_the_loop_steps_as_the_package_does(lines, monkeypatch):
    """Iterations, learning rates and weights of the loss of a run, seen from inside."""
    e = E.replace(epochs=2)
    learner = prepare(e, 0, device="cpu", precision="float32", progress=False)[0].learner
    seen, rates = [], []

    def spy(networks, images, y, weak, strong, weight, **_):
        seen.append((weight, len(images), len(y), len(weak), len(strong)))
        return [sum(p.sum() for p in network.parameters()) * 0 for network in networks]

    def step(optimiser):
        rates.append(optimiser.param_groups[0]["lr"])

    monkeypatch.setitem(lines, "losses", spy)
    monkeypatch.setattr(torch.optim.SGD, "step", step)
    same, data = (lambda x: x), learner.data
    lines["algorithm_1"](learner.method.base.submodels, e, data.labelled, data.targets, data.unlabelled, same, same)
    assert len(seen) == e.epochs * learner.steps_per_epoch and len(rates) == 2 * len(seen)
    assert set(seen[0][1:]) == {2, e.labelled_batch, e.unlabelled_batch}
    for number, (weight, *_) in enumerate(seen):
        learner.clock.step.fill_(number)
        assert weight == pytest.approx(float(e.lam * sigmoid_ramp(learner.clock, e.ramp_epochs)), rel=1e-5)
        expected = e.lr * 0.5 * (1 + math.cos(math.pi * number / len(seen)))
        assert rates[2 * number : 2 * number + 2] == pytest.approx([expected] * 2, rel=1e-6)
