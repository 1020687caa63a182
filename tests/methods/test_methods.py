"""Supervised-only and DNLL on small networks: the losses, who learns from whom, and where gradients go."""

import pytest
import torch
from torch import nn

from dnll_core.config import Experiment
from dnll_core.losses import cross_entropy, negative_loss
from dnll_core.methods import build_method
from dnll_core.methods.base import Batch, forward_each, label_each
from dnll_core.schedules import Clock

K = 4


def network():
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(12, K))


def build(seed=0, **fields):
    torch.manual_seed(seed)
    experiment = Experiment(**{"ramp_epochs": 0, "m": 2, **fields})
    return build_method(experiment, network, K)


def batch(method, labelled=6, unlabelled=8, seed=0):
    g = torch.Generator().manual_seed(seed)

    def images(n):
        return torch.randn(n, 1, 4, 4, generator=g)

    return Batch(
        labelled=tuple(images(labelled) for _ in method.labelled_views),
        targets=torch.randint(K, (labelled,), generator=g),
        unlabelled=tuple(images(unlabelled) for _ in method.unlabelled_views),
        index=torch.arange(unlabelled),
    )


def clock(step=0.0):
    return Clock(torch.tensor(step), 10, 100)


def compute(method, b, seed=1):
    return method.compute(b, clock(), torch.Generator().manual_seed(seed))


def test_supervised_is_cross_entropy_on_the_weak_view():
    method = build(method="supervised")
    b = batch(method)
    output = compute(method, b)
    torch.testing.assert_close(output.loss, cross_entropy(method.network(b.labelled[0]), b.targets))
    assert output.student_logits is None
    assert method.unlabelled_views == ()


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize(
    ("teaching", "learns_from"),
    [("mutual", {0: [1], 1: [0]}), ("self", {0: [0], 1: [1]}), ("both", {0: [0, 1], 1: [0, 1]})],
)
def test_dnll_loss_is_eqs_14_to_21(teaching, learns_from, reduction):
    method = build(teaching=teaching, lam=0.7, reduction=reduction)
    b = batch(method)
    output = compute(method, b)
    expected = sum(
        cross_entropy(forward_each([net], [[x, b.unlabelled[1]]], joint=True)[0][0], b.targets)
        for net, x in zip(method.base.submodels, b.labelled, strict=True)
    )
    for s, teachers in learns_from.items():
        for t in teachers:
            expected = expected + 0.7 * negative_loss(output.student_logits[s], output.negatives[t], reduction)
    torch.testing.assert_close(output.loss, expected)


def test_epm_says_how_far_it_draws_from_equal_probability():
    method = build(selection="ep")
    assert "total variation" not in compute(method, batch(method)).metrics
    method = build(selection="epm")
    method.perception[0].pr[0, 1] = 50.0  # one of two learners takes class 0 for 1, always
    output = compute(method, batch(method))
    K = method.num_classes
    assert output.metrics["total variation"].item() == pytest.approx((K - 2) / (K - 1) / K / 2)


def test_the_ramp_scales_the_unlabelled_loss_only():
    method = build(ramp_epochs=5.0)
    b = batch(method)
    losses = {}
    for step in (0.0, 50.0):
        output = method.compute(b, clock(step), torch.Generator().manual_seed(1))
        losses[step] = output.loss.item()
        supervised, negative = 2 * output.metrics["supervised"].item(), 2 * output.metrics["negative"].item()
    assert losses[50.0] == pytest.approx(supervised + negative, rel=1e-5)
    assert losses[0.0] == pytest.approx(supervised + torch.exp(torch.tensor(-5.0)).item() * negative, rel=1e-5)


def test_one_backward_pass_on_the_sum_gives_each_submodel_its_own_gradient():
    """Eqs. 20-21: the gradient of the summed loss on a submodel equals that of its own loss alone."""
    method = build(teaching="both")
    b = batch(method)
    output = compute(method, b)
    output.loss.backward()
    together = [p.grad.clone() for p in method.base.submodels.parameters()]
    method.zero_grad()
    alone = []
    for s, net in enumerate(method.base.submodels):
        [[labelled, strong]] = forward_each([net], [[b.labelled[s], b.unlabelled[1]]], joint=True)
        own = cross_entropy(labelled, b.targets) + sum(negative_loss(strong, y) for y in output.negatives)
        alone += torch.autograd.grad(own, list(net.parameters()))
    for a, c in zip(together, alone, strict=True):
        torch.testing.assert_close(a, c)


@pytest.mark.parametrize("teaching", ["mutual", "self"])
def test_epm_draws_by_the_learners_r(teaching):
    method = build(teaching=teaching, selection="epm", m=1)
    logits = torch.zeros(200, K)
    logits[:, 0] = 5.0  # everyone predicts class 0
    method.perception[0].pr[0, 1] = 100.0  # submodel 1 confuses class 0 with 1 ...
    method.perception[1].pr[0, 3] = 100.0  # ... and submodel 2 with 3
    for teacher in (0, 1):
        drawn = method.draw(teacher, logits, torch.Generator().manual_seed(0))
        learner = teacher if teaching == "self" else 1 - teacher
        assert (drawn[:, {0: 1, 1: 3}[learner]] == 1).all()


def test_epm_is_updated_after_the_step_from_the_labelled_logits():
    method = build(selection="epm")
    b = batch(method)
    output = compute(method, b)
    assert all(p.pr.sum() == 0 for p in method.perception)
    method.after_step(b, output, clock())
    for perception, logits in zip(method.perception, output.labelled_logits, strict=True):
        wrong = logits.argmax(1) != b.targets
        share = 1 - perception.decay
        assert perception.pr.sum().item() == pytest.approx(share * logits.softmax(1).max(1).values[wrong].sum().item())


def test_labels_carry_no_gradient_and_are_never_the_predicted_class():
    method = build()
    output = compute(method, batch(method))
    for negatives, logits in zip(output.negatives, output.teacher_logits, strict=True):
        assert not negatives.requires_grad
        assert not logits.requires_grad
        assert (negatives.gather(1, logits.argmax(1, keepdim=True)) == 0).all()
        assert (negatives.sum(1) == 2).all()


def test_the_unused_mask_limits_the_negatives():
    method = build(teaching="mutual")
    b = batch(method)
    plain = method.base.compute

    def with_mask(*arguments):
        output = plain(*arguments)
        output.unused = [torch.tensor([1.0] * 3 + [0.0] * 5), torch.zeros(8)]
        return output

    method.base.compute = with_mask
    output = compute(method, b)
    used = negative_loss(output.student_logits[0][:3], output.negatives[1][:3]) * 3 / 8
    torch.testing.assert_close(output.loss - 2 * output.metrics["supervised"], used)


@pytest.mark.parametrize(
    ("mode", "updates", "moves"), [("train", True, True), ("train", False, False), ("eval", False, False)]
)
def test_label_mode(mode, updates, moves):
    torch.manual_seed(0)
    net, images = network().train(), torch.randn(16, 1, 4, 4) + 3
    before = net[1].running_mean.clone()
    reference = network()
    reference.load_state_dict(net.state_dict())
    [logits] = label_each([net], images, mode, updates)
    assert net.training
    assert net[1].track_running_stats
    assert torch.equal(net[1].running_mean, before) != moves
    torch.testing.assert_close(logits, reference.train(mode == "train")(images).detach())


def test_joint_passes_share_batch_statistics():
    torch.manual_seed(0)
    net = network()
    a, b = torch.randn(5, 1, 4, 4), 4 + torch.randn(7, 1, 4, 4)
    [[joint_a, joint_b]] = forward_each([net], [[a, b]], joint=True)
    [[alone_a, _]] = forward_each([net], [[a, b]], joint=False)
    torch.testing.assert_close(torch.cat([joint_a, joint_b]), net(torch.cat([a, b])))
    torch.testing.assert_close(alone_a, net(a))
    assert not torch.allclose(joint_a, alone_a)


def test_m_too_large_for_the_classes():
    with pytest.raises(ValueError, match=r"m=4 is out of range: with K=4 classes it must be 1...3"):
        build(m=4)


@pytest.mark.parametrize("teaching", ["mutual", "self", "both"])
@pytest.mark.parametrize("threshold", [0.0, 0.35])
def test_mutual_learning_is_cross_entropy_to_confident_predictions(teaching, threshold):
    method = build(method="mutual-learning", teaching=teaching, threshold=threshold, lam=0.5)
    b = batch(method, unlabelled=40)
    output = compute(method, b)
    expected, used = 2 * output.metrics["supervised"].item(), 0
    for s in range(2):
        for t in {"mutual": [1 - s], "self": [s], "both": [0, 1]}[teaching]:
            for student, teacher in zip(output.student_logits[s], output.teacher_logits[t], strict=True):
                p = teacher.softmax(0)
                if p.max() >= threshold:
                    used += 1
                    expected += 0.5 * torch.nn.functional.cross_entropy(student, p.argmax()).item() / 40
    assert output.loss.item() == pytest.approx(expected, rel=1e-5)
    assert (used < 40 * 2 * (2 if teaching == "both" else 1)) == (threshold > 0)


def test_without_weight_mutual_learning_has_the_gradients_of_two_networks_with_supervision_alone():
    method = build(method="mutual-learning", lam=0.0, shared_bn=False)
    b = batch(method)
    pair = list(method.predictors().values())
    found = torch.autograd.grad(compute(method, b).loss, list(method.parameters()))
    alone = sum(cross_entropy(network(view), b.targets) for network, view in zip(pair, b.labelled, strict=True))
    expected = torch.autograd.grad(alone, [p for network in pair for p in network.parameters()])
    torch.testing.assert_close(found, expected)
    assert len(pair) == 2 and any(not torch.equal(*each) for each in zip(*(n.parameters() for n in pair)))
