"""EP and EPM draws against exact probabilities, and the Error Perception Mechanism against loops and by hand."""

import itertools
import math

import pytest
import torch
from scipy.stats import chisquare

from dnll_core.negatives import ErrorPerception, confusion_confidence, draw_negatives


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def frequencies(draws):
    """{set of classes: how often} over the rows of a (B, K) 0/1 tensor."""
    counts = {}
    for row in draws.nonzero().split(draws.sum(1).long().tolist()):
        key = tuple(row[:, 1].tolist())
        counts[key] = counts.get(key, 0) + 1
    return counts


def exact_set_probabilities(weights, predicted, m):
    """P(set) of m successive draws in proportion to `weights` without the predicted class: the sum over all orders."""
    others = [k for k in range(len(weights)) if k != predicted]
    probabilities = {}
    for subset in itertools.combinations(others, m):
        total = 0.0
        for order in itertools.permutations(subset):
            left, p = sum(weights[k] for k in others), 1.0
            for k in order:
                p *= weights[k] / left
                left -= weights[k]
            total += p
        probabilities[subset] = total
    return probabilities


@pytest.mark.parametrize(("classes", "m"), [(2, 1), (3, 1), (3, 2), (10, 1), (10, 3), (10, 9), (100, 99)])
def test_every_row_has_m_negatives_and_never_the_predicted_class(classes, m):
    predicted = torch.arange(500) % classes
    draws = draw_negatives(predicted, classes, m, generator())
    assert draws.shape == (500, classes)
    assert set(draws.unique().tolist()) <= {0.0, 1.0}
    assert (draws.sum(1) == m).all()
    assert (draws[torch.arange(500), predicted] == 0).all()


@pytest.mark.parametrize("m", [1, 2, 3])
def test_equal_probability_by_chi_square(m):
    n, classes, predicted = 20_000, 6, 2
    counts = frequencies(draw_negatives(torch.full((n,), predicted), classes, m, generator(m)))
    assert len(counts) == math.comb(classes - 1, m)
    assert chisquare(list(counts.values())).pvalue > 1e-3


@pytest.mark.parametrize("m", [1, 2, 3])
def test_weighted_draws_by_chi_square(m):
    n, predicted = 40_000, 1
    weights = [4.0, 50.0, 2.0, 1.0, 0.5]  # the predicted class is the heaviest and must not matter
    log_weights = torch.tensor(weights).log().expand(n, 5)
    counts = frequencies(draw_negatives(torch.full((n,), predicted), 5, m, generator(10 + m), log_weights))
    exact = exact_set_probabilities(weights, predicted, m)
    assert sum(exact.values()) == pytest.approx(1)
    observed = [counts.get(key, 0) for key in exact]
    assert chisquare(observed, [n * p for p in exact.values()]).pvalue > 1e-3


@pytest.mark.parametrize("scale", [1e3, 1e6])
def test_exact_where_softmax_underflows(scale):
    # class 0 always comes first; the two that follow have weight exp(-scale) = 0 in floating point, yet equal chances
    n = 20_000
    log_weights = torch.tensor([0.0, -scale, -scale, -scale]).expand(n, 4)
    counts = frequencies(draw_negatives(torch.full((n,), 3), 4, 2, generator(5), log_weights))
    assert set(counts) == {(0, 1), (0, 2)}
    assert chisquare(list(counts.values())).pvalue > 1e-3


def test_seeded():
    predicted = torch.zeros(50, dtype=torch.long)
    first, again, other = (draw_negatives(predicted, 10, 3, generator(s)) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("m", [0, 10, -1])
def test_m_out_of_range(m):
    with pytest.raises(ValueError, match=rf"m={m} is out of range: with K=10 classes it must be 1...9"):
        draw_negatives(torch.zeros(1, dtype=torch.long), 10, m, generator())


def test_log_weights_of_another_shape():
    with pytest.raises(ValueError, match="log_weights has shape"):
        draw_negatives(torch.zeros(3, dtype=torch.long), 4, 1, generator(), torch.zeros(4, 4))


def test_confusion_confidence_by_hand():
    # two images of class 0 taken for class 1 with confidence 0.5 and 0.6, one of class 2 recognised, one taken for 0
    p = torch.tensor([[0.3, 0.5, 0.2], [0.2, 0.6, 0.2], [0.1, 0.1, 0.8], [0.7, 0.1, 0.2]])
    pr = confusion_confidence(p.log(), torch.tensor([0, 0, 2, 2]))
    expected = torch.tensor([[0.0, 1.1, 0.0], [0.0, 0.0, 0.0], [0.7, 0.0, 0.0]])
    torch.testing.assert_close(pr, expected)


def test_confusion_confidence_against_a_loop():
    g = generator(3)
    logits, targets = 4 * torch.randn(200, 7, generator=g), torch.randint(7, (200,), generator=g)
    expected = torch.zeros(7, 7)
    for z, y in zip(logits, targets, strict=True):
        p = z.softmax(0)
        if p.argmax() != y:
            expected[y, p.argmax()] += p.max()
    torch.testing.assert_close(confusion_confidence(logits, targets), expected)


def test_selection_of_figure_3_by_hand():
    """R is the softmax of Pr's row; a class twice as confused is not twice as likely, but e times per unit of Pr."""
    epm = ErrorPerception(3, "ema", decay=0.0)
    epm.update(torch.tensor([[0.3, 0.5, 0.2], [0.2, 0.6, 0.2]]).log(), torch.tensor([0, 0]))
    r = epm.log_selection()[0].exp()
    total = 1 + math.exp(1.1) + 1
    assert r.tolist() == pytest.approx([1 / total, math.exp(1.1) / total, 1 / total])
    n = 40_000
    draws = draw_negatives(torch.zeros(n, dtype=torch.long), 3, 1, generator(), epm.log_selection()[0].expand(n, 3))
    share = math.exp(1.1) / (math.exp(1.1) + 1)  # class 0 is predicted, so its own weight drops out
    assert draws[:, 1].mean().item() == pytest.approx(share, abs=5 * math.sqrt(share * (1 - share) / n))


def test_limits_equal_probability_and_one_hot():
    epm = ErrorPerception(4)
    assert torch.equal(epm.log_selection().exp(), torch.full((4, 4), 0.25))  # nothing confused: equal probability
    epm.pr[0, 2] = 200.0  # many confident confusions: softmax of a large sum is one-hot
    assert epm.log_selection()[0].exp()[2] == 1
    draws = draw_negatives(
        torch.zeros(1000, dtype=torch.long), 4, 1, generator(), epm.log_selection()[0].expand(1000, 4)
    )
    assert (draws[:, 2] == 1).all()
    # and the draw of two still never fails to find its second candidate
    two = draw_negatives(torch.zeros(1000, dtype=torch.long), 4, 2, generator(), epm.log_selection()[0].expand(1000, 4))
    assert (two[:, 2] == 1).all()
    assert two[:, 1].mean().item() == pytest.approx(0.5, abs=0.08)


def test_the_distance_from_equal_probability_is_that_of_what_is_drawn():
    """Total variation by a loop over classes, and as the shares of a hundred thousand draws have it."""
    epm = ErrorPerception(4)
    assert epm.variation() == 0
    epm.pr.copy_(2 * torch.rand(4, 4, generator=generator()))
    told = []
    for k in range(4):
        weights = [math.exp(epm.pr[k, i]) if i != k else 0.0 for i in range(4)]
        told.append(sum(abs(w / sum(weights) - 1 / 3) for i, w in enumerate(weights) if i != k) / 2)
    assert epm.variation().item() == pytest.approx(sum(told) / 4, abs=1e-6)
    predicted = torch.arange(4).repeat(25_000)
    draws = draw_negatives(predicted, 4, 1, generator(), epm.log_selection()[predicted])
    shares = torch.stack([draws[predicted == k].mean(0) for k in range(4)])  # (4, 4), 0 on the diagonal
    apart = ((shares - 1 / 3).abs().sum() - 4 / 3) / 2 / 4
    assert apart.item() == pytest.approx(epm.variation().item(), abs=0.01)
    epm.pr.copy_(1000 * torch.eye(4).roll(1, 1))  # each class is taken for the next one alone
    assert epm.variation().item() == pytest.approx(2 / 3)
    assert ErrorPerception(2).variation() == 0  # where there is one class to draw, it is drawn


def test_ema_accumulation_keeps_the_old_share():
    epm = ErrorPerception(2, "ema", decay=0.9)
    wrong = torch.tensor([[0.0, 50.0]])  # class 0 taken for 1 with confidence 1
    for steps in range(1, 4):
        epm.update(wrong, torch.tensor([0]))
        assert epm.pr[0, 1].item() == pytest.approx(1 - 0.9**steps)


def test_epoch_accumulation_serves_the_finished_epoch():
    epm = ErrorPerception(2, "epoch")
    wrong, right = torch.tensor([[0.0, 50.0]]), torch.tensor([[50.0, 0.0]])
    target = torch.tensor([0])
    for i in range(3):  # first epoch: three confident errors, drawn with equal probability meanwhile
        epm.update(wrong, target, first_of_epoch=i == 0)
        assert epm.pr.sum() == 0
    for i in range(2):  # second epoch: no errors, but the first one's sums serve
        epm.update(right, target, first_of_epoch=torch.tensor(i == 0))
        assert epm.pr[0, 1].item() == pytest.approx(3)
    epm.update(right, target, first_of_epoch=True)
    assert epm.pr.sum() == 0
