"""Temperatures, calibration errors and reliability against searches and loops of their own."""

import math

import numpy as np
import pytest
import torch

from dnll_core.study.calibration import at_temperature, calibration_error, reliability, temperature_of


def example(n=200, classes=4, networks=2, sharp=4.0, seed=0):
    """Probabilities (S, N, K) float32 of networks that are surer than they are right, and labels."""
    g = torch.Generator().manual_seed(seed)
    truth = torch.randn(n, classes, generator=g, dtype=torch.float64)
    labels = torch.multinomial(truth.softmax(1), 1, generator=g)[:, 0]
    noise = torch.randn(networks, n, classes, generator=g, dtype=torch.float64)
    return (sharp * (truth + 0.3 * noise)).softmax(-1).float(), labels


def cross_entropy(probabilities, labels, temperature):
    """In float64, one image at a time: the targets of the rule of succession against the networks' mean."""
    p = probabilities.double().numpy()
    networks, n, classes = p.shape
    total = 0.0
    for i in range(n):
        mean = np.zeros(classes)
        for s in range(networks):
            powers = p[s, i] ** (1 / temperature)
            mean += powers / powers.sum() / networks
        for k in range(classes):
            target = 1 - 1 / (n + 2) if k == labels[i] else 1 / (n + 2) / (classes - 1)
            total -= target * math.log(mean[k])
    return total / n


@pytest.mark.parametrize(("classes", "networks", "sharp"), [(4, 2, 4.0), (2, 1, 0.4), (3, 2, 1.0)])
def test_temperature_is_that_of_a_fine_grid(classes, networks, sharp):
    p, labels = example(60, classes, networks, sharp)
    found = temperature_of(p, labels)
    near = found * np.exp(np.linspace(-0.02, 0.02, 41))  # steps of a thousandth
    losses = [cross_entropy(p, labels, t) for t in near]
    assert abs(int(np.argmin(losses)) - 20) <= 1
    far = np.exp(np.linspace(math.log(0.05), math.log(20), 41))
    assert min(cross_entropy(p, labels, t) for t in far) >= min(losses)


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_the_temperature_of_logits_that_were_multiplied(factor):
    g = torch.Generator().manual_seed(1)
    logits = torch.randn(20_000, 5, generator=g, dtype=torch.float64) * 1.5
    labels = torch.multinomial(logits.softmax(1), 1, generator=g)[:, 0]
    assert temperature_of((factor * logits).softmax(1)[None].float(), labels) == pytest.approx(factor, rel=0.03)


@pytest.mark.parametrize("n", [1, 10, 1000])
def test_all_answers_right_is_no_reason_to_be_sure(n):
    """All n alike and right: the answer is then as sure as n + 1 right ones of n + 2 are."""
    for gap in (1.0, 8.0):
        p = torch.tensor([gap, 0.0]).softmax(0).expand(1, n, 2)
        found = temperature_of(p, torch.zeros(n, dtype=torch.int64))
        assert found == pytest.approx(gap / math.log(n + 1), rel=1e-3)
        assert at_temperature(p, found)[0, 0].item() == pytest.approx((n + 1) / (n + 2), abs=1e-3)
    certain = torch.tensor([1.0, 0.0, 0.0]).expand(2, n, 3)
    assert 0 < temperature_of(certain, torch.zeros(n, dtype=torch.int64)) < 40


def test_without_images_the_temperature_is_one():
    assert temperature_of(torch.zeros(2, 0, 3), torch.zeros(0, dtype=torch.int64)) == 1.0


def test_at_temperature():
    p, _ = example()
    assert torch.equal(at_temperature(p, 1), p.mean(0)) and torch.equal(at_temperature(p, 1.0), p.mean(0))
    for t in (0.3, 2.0, 25.0):
        powers = p.double() ** (1 / t)
        expected = (powers / powers.sum(-1, keepdim=True)).mean(0)
        assert torch.allclose(at_temperature(p, t).double(), expected, atol=1e-7, rtol=1e-6)
    assert at_temperature(torch.tensor([[[1.0, 0.0]]]), 0.1).tolist() == [[1.0, 0.0]]


@pytest.mark.parametrize("bins", [1, 4, 10])
def test_bins_against_a_loop(bins):
    p, labels = example(networks=1)
    p = torch.cat([p[0], torch.tensor([[1.0, 0, 0, 0], [0.5, 0.5, 0, 0], [0.25, 0.25, 0.25, 0.25]])])
    labels = torch.cat([labels, torch.tensor([0, 1, 0])])
    members = [[] for _ in range(bins)]
    for row, label in zip(p.tolist(), labels.tolist()):
        answer = max(range(4), key=lambda k: (row[k], -k))
        place = min(bins - 1, math.floor(row[answer] * bins))
        members[place].append((row[answer], answer == label))
    found = reliability(p, labels, bins)
    assert [n for n, _, _ in found] == [len(group) for group in members]
    error = 0.0
    for (n, confidence, right), group in zip(found, members):
        if not n:
            assert math.isnan(confidence) and math.isnan(right)
            continue
        mean, share = sum(c for c, _ in group) / n, sum(r for _, r in group) / n
        assert (confidence, right) == (pytest.approx(mean), pytest.approx(share))
        error += n / len(labels) * abs(mean - share)
    assert calibration_error(p, labels, bins) == pytest.approx(error)
    assert calibration_error(p[:0], labels[:0], bins) == 0


def test_a_temperature_makes_answers_more_reliable():
    p, labels = example(2000)
    before, after = (calibration_error(at_temperature(p, t), labels) for t in (1.0, temperature_of(p, labels)))
    assert after < before / 3
