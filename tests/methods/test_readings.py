"""Rivals without published code, as we read them: each part against plain loops, and in limits that are known."""

import math

import pytest
import torch
from methods.test_methods import clock
from methods.test_rivals import K, P, batch, build, close, compute, joint, pool_of, random, views_of
from torch import nn

from dnll_core.config import ConfigError
from dnll_core.losses import cross_entropy
from dnll_core.methods.base import softmax_mse
from dnll_core.methods.ccl import keep_lowest, uncertainty
from dnll_core.methods.neighbours import distance_to_neighbours
from dnll_core.methods.sntg import pair_loss
from dnll_core.methods.tssdl import min_max_loss

# --------------------------------------------------------------------------------------------------------------- TSSDL


@pytest.mark.parametrize(("n", "k"), [(5, 4), (70, 3), (200, 10)])
def test_distances_are_those_to_the_nearest(n, k):
    features = random(n, 6) * torch.arange(1, n + 1)[:, None] + 3  # of all lengths: an inner product is no distance
    squared = (features.double()[:, None] - features.double()).square().sum(2)
    expected = squared.fill_diagonal_(torch.inf).sort(1).values[:, :k].sum(1)
    close(distance_to_neighbours(features.double(), k), expected, 1e-10)
    close(distance_to_neighbours(features, k), expected.float(), 1e-4)


def test_duplicates_are_no_distance_apart_and_a_cloud_far_out_keeps_its_distances():
    points = torch.cat([random(30, 4), random(30, 4)])
    close(distance_to_neighbours(points, 1), torch.zeros(60))
    for seed in range(20):
        points = random(30, 4, seed=seed).repeat(2, 1)
        assert distance_to_neighbours(points, 1).min() >= 0
    points = random(30, 4)
    close(distance_to_neighbours(points + 500, 3), distance_to_neighbours(points, 3), 1e-2)


def loop_of_min_max(hidden, classes, weights, margin):
    n, total = len(hidden), 0.0
    for i in range(n):
        for j in range(n):
            squared = sum((a - b) ** 2 for a, b in zip(hidden[i], hidden[j])) / len(hidden[i])
            error = squared if classes[i] == classes[j] else max(0.0, margin**2 - squared)
            total += weights[i] * weights[j] * error * (i != j)
    return total / (n * (n - 1))


@pytest.mark.parametrize("margin", [0.5, 1.5, 3.0])
def test_min_max_loss(margin):
    hidden, weights = random(9, 5).double() + 2, random(9, seed=3).double().sigmoid()
    classes = torch.randint(3, (9,), generator=torch.Generator().manual_seed(2))
    expected = loop_of_min_max(hidden.tolist(), classes.tolist(), weights.tolist(), margin)
    assert float(min_max_loss(hidden, classes, weights, margin)) == pytest.approx(expected, rel=1e-12)
    for dtype, mode in ((torch.float32, False), (torch.bfloat16, True)):
        with torch.autocast("cpu", dtype=dtype, enabled=mode):
            found = min_max_loss(hidden.float(), classes, weights.float(), margin)
        assert float(found) == pytest.approx(expected, rel=1e-5)
    hidden.requires_grad_()
    assert torch.autograd.gradcheck(lambda h: min_max_loss(h, classes, weights, margin), [hidden])


def test_min_max_and_sntgs_pairs_agree_where_they_must():
    """For one class, on one spot, and where all is done. Elsewhere one hinge is on d^2, and the other on d."""
    spots = torch.tensor([[0.0, 0.0], [0.0, 0.0], [5.0, 0.0], [0.6, 0.8]])
    for i, j, alike in ((0, 3, True), (0, 1, True), (0, 1, False), (0, 2, False), (2, 3, False)):
        classes = torch.tensor([0, 0 if alike else 1])
        both = [min_max_loss(spots[[i, j]], classes, torch.ones(2), 1.0), pair_loss(spots[[i, j]], classes, 1.0)]
        close(*both)
        assert float(both[0]) == pytest.approx(0.5 if alike and j == 3 else 1 if j == 1 and not alike else 0)
    apart = torch.tensor([[0.0, 0.0], [0.6, 0.8]])  # d^2 = 0.5: 1 - 0.5 against (1 - 0.71)^2
    assert float(min_max_loss(apart, torch.tensor([0, 1]), torch.ones(2), 1.0)) == pytest.approx(0.5)
    assert min_max_loss(apart, torch.tensor([0, 1]), torch.ones(2), 1e300).isinf()  # no OverflowError


@pytest.mark.parametrize("name", ["tssdl", "mean-teacher+tssdl"])
@pytest.mark.parametrize("k", [3, 50])
def test_labels_and_their_weights(name, k):
    method = build(name, lp_neighbours=k)
    network = getattr(method, method.describer)
    pool = pool_of(network)
    method.stage = len(method.stages) - 1
    with torch.no_grad():
        method.at_stage(pool, torch.Generator())
        network.eval()
        logits, features = network(torch.cat([pool.labelled, pool.unlabelled]), return_features=True)
        network.train()
    assert method.spread.labels.tolist() == logits[6:].argmax(1).tolist()
    squared = (features[:, None] - features).double().square().sum(2).fill_diagonal_(torch.inf)
    distance = squared.sort(1).values[6:, : min(k, 13)].sum(1)
    close(method.spread.weights.double(), 1 - distance / distance.max(), 1e-4)
    assert method.spread.weights.min() == 0 == method.spread.weights[distance.argmax()]
    assert 0 < method.spread.weights.max() <= 1


def test_pairs_that_do_not_fit_are_refused_before_the_first_iteration(monkeypatch):
    monkeypatch.setattr("dnll_core.memory.free_memory", lambda device: 4 * 40**2 - 1)
    build("tssdl", labelled_batch=20, unlabelled_batch=19).at_stage(pool_of(None), torch.Generator())
    with pytest.raises(ConfigError, match="labelled_batch=20, unlabelled_batch=20: distances of all pairs of a batch"):
        build("tssdl", labelled_batch=20, unlabelled_batch=20).at_stage(pool_of(None), torch.Generator())


def test_where_all_are_alike_all_count():
    method = build("tssdl", lp_neighbours=2)
    pool = pool_of(method.network)
    with torch.no_grad():
        pool.labelled.zero_(), pool.unlabelled.zero_()
        method.spread.renew(method.network, pool)
    assert method.spread.weights.tolist() == [1] * P


def in_labels(name, weight=None, **fields):
    method = build(name, **fields)
    method.stage = 1
    method.spread.labels.copy_(torch.tensor([0, 1, 2, 3, 3, 2, 1, 0]))
    method.spread.weights.copy_(random(P).sigmoid() if weight is None else torch.full((P,), weight))
    return method


def test_with_weights_of_one_and_no_pairs_tssdl_is_the_pi_model_with_hard_labels():
    fields = {"sntg_weight": 0.0, "dropout": 0.0}
    method, plain = in_labels("tssdl", 1.0, lam=0.7, consistency_scale=3.0, **fields), build("pi-model", lam=3.0)
    b = batch(views=(1, 2))
    b.index = torch.tensor([3, 1, 7, 0, 2, 5, 4, 6])
    output, base = compute(method, b), compute(plain, b)
    pseudo = cross_entropy(base.student_logits[0], method.spread.labels[b.index])
    close(output.loss, base.loss + 0.7 * pseudo)
    output.loss.backward()
    (base.loss + 0.7 * pseudo).backward()
    for mine, theirs in zip(method.network.parameters(), plain.network.parameters(), strict=True):
        close(mine.grad, theirs.grad)


@pytest.mark.parametrize(("name", "base"), [("tssdl", "pi-model"), ("mean-teacher+tssdl", "mean-teacher")])
def test_before_there_are_labels_the_base_is_itself(name, base):
    fields = {"lam": 3.0, "consistency_scale": 3.0, "dropout": 0.3}
    method, plain = build(name, **fields), build(base, **fields)
    assert method.stages[0].share == 0.1 and method.unlabelled_views == plain.unlabelled_views
    b, losses = batch(views=(1, 2)), []
    for one in (method, plain):
        torch.manual_seed(4)
        for step in (0.0, 1.0):
            output = compute(one, b, step)
            one.after_step(b, output, clock(step))
        losses.append(output.loss)
    assert torch.equal(*losses)
    assert [stage.name for stage in build(name, lp_start=0).stages] == ["spread labels"]


@pytest.mark.parametrize(("name", "base"), [("tssdl", "pi-model"), ("mean-teacher+tssdl", "mean-teacher")])
def test_tssdl_loss(name, base):
    fields = {"lam": 3.0, "consistency_scale": 3.0}
    method = in_labels(name, sntg_weight=2.0, sntg_margin=0.7, **fields | {"lam": 0.6})
    b = batch(views=(1, 2))
    b.index = torch.tensor([3, 1, 7, 0, 2, 5, 4, 6])
    labels, r = method.spread.labels[b.index], method.spread.weights[b.index]
    plain = build(base, **fields)
    expected = compute(plain, b).loss
    seen = [*b.labelled, *b.unlabelled[: 2 if base == "pi-model" else 1]]
    logits, hidden = getattr(plain, method.describer)(torch.cat(seen), return_features=True)
    errors = nn.functional.cross_entropy(logits[6:14], labels, reduction="none")
    classes, weights = torch.cat([b.targets, labels]).tolist(), [1.0] * 6 + r.tolist()
    pairs = loop_of_min_max(hidden[:14].double().tolist(), classes, weights, 0.7)
    close(compute(method, b).loss, expected + 0.6 * (r * errors).mean() + 2 * pairs)
    assert pairs > 0.01 and 0 < r.min() < r.max() < 1


@pytest.mark.parametrize("name", ["tssdl", "mean-teacher+tssdl"])
def test_each_term_has_its_ramp(name):
    method = in_labels(name, ramp_epochs=5, consistency_ramp_epochs=0, consistency_scale=0.0)
    b, factor = batch(views=views_of(method)), math.exp(-5)
    start, end = compute(method, b, 0.0), compute(method, b)
    rest = [float(output.loss.detach() - output.metrics["supervised"]) for output in (start, end)]
    assert rest[0] == pytest.approx(factor * rest[1], rel=1e-3)


# ----------------------------------------------------------------------------------------------------------------- CCL


def test_the_lowest_are_kept_and_their_number_is_exact():
    values = random(37)
    for share in (0.0, 1e-9, 0.3, 0.5, 0.999, 1.0):
        kept = keep_lowest(values, torch.tensor(share))
        count = math.ceil(torch.tensor(share) * 37)
        assert kept.sum() == count
        assert sorted(values[kept > 0].tolist()) == values.sort().values[:count].tolist()
        order = torch.randperm(37, generator=torch.Generator().manual_seed(1))
        assert torch.equal(keep_lowest(values[order], share), kept[order])
    assert keep_lowest(torch.zeros(4), 0.5).tolist() == [1, 1, 0, 0]
    assert keep_lowest(values, -0.2).sum() == 0


def test_uncertainty_is_the_entropy():
    logits = torch.tensor([[0.5, 0.25, 0.25], [1.0, 1e-30, 1e-30], [0.2, 0.2, 0.2]]).log()
    expected = [(0.5 * math.log(2) + 0.5 * math.log(4)) / math.log(3), 0, 1]
    assert uncertainty(logits).tolist() == pytest.approx(expected, abs=1e-6)


CCL = ("filtering-ccl", "temperature-ccl")


@pytest.mark.parametrize("name", CCL)
@pytest.mark.parametrize("passes", [1, 3])
def test_equal_passes_without_strength_are_mean_teacher(name, passes):
    fields = {"consistency_scale": 5.0, "dropout": 0.0}
    method, plain = build(name, ccl_strength=0, ccl_passes=passes, **fields), build("mean-teacher", **fields)
    b = batch(views=(1, 2))
    for step in (0.0, 40.0):
        outputs = []
        for one, views in ((method, passes), (plain, 1)):
            with torch.no_grad():
                one.teacher.heads[0].weight.copy_(5 * random(K, 64))  # surely not the student
            b_of = type(b)(b.labelled, b.targets, (b.unlabelled[0], *[b.unlabelled[1]] * views), b.index)
            one.zero_grad()
            outputs.append(compute(one, b_of, step))
            outputs[-1].loss.backward()
        close(outputs[0].loss, outputs[1].loss)
        assert outputs[1].metrics["consistency"] > 0.02
        for mine, theirs in zip(method.student.parameters(), plain.student.parameters(), strict=True):
            close(mine.grad, theirs.grad)


@torch.no_grad()
def seen(method, b):
    """By hand: softmaxes of the student, the mean of the teacher's, and its entropy over log K, in float64."""
    teacher, passes = method.teacher, b.unlabelled[1:]
    target = sum(teacher(view).double().softmax(1) for view in passes) / len(passes)
    return joint(method.student, *b.labelled, b.unlabelled[0]), target, -(target * target.log()).sum(1) / math.log(K)


@pytest.mark.parametrize("strength", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("step", [0.0, 30.0, 99.0])
def test_filtering_ccl_loss(strength, step):
    method = build("filtering-ccl", ccl_strength=strength, ccl_passes=3, consistency_scale=5.0)
    b = batch(views=(1, 4))
    output = compute(method, b, step)
    (labelled, logits), target, u = seen(method, b)
    count = max(0, math.ceil((1 - strength * (1 - step / 100)) * P - 1e-4))
    kept = u.argsort()[:count]
    errors = (logits.double().softmax(1) - target).square().mean(1)
    expected = float(errors[kept].mean()) if count else 0.0
    assert float(output.metrics["consistency"]) == pytest.approx(expected, rel=1e-4, abs=1e-12)
    close(output.loss, cross_entropy(labelled, b.targets) + 5 * expected)
    assert float(output.metrics["uncertainty"]) == pytest.approx(float(u.mean()), rel=1e-5)


def test_temperature_ccl_loss():
    method = build("temperature-ccl", ccl_strength=2.0, ccl_passes=3, consistency_scale=5.0)
    b = batch(views=(1, 4))
    output = compute(method, b)
    (labelled, logits), target, u = seen(method, b)
    heat = 1 + 2 * u[:, None]
    flat = target ** (1 / heat)
    errors = ((logits.double() / heat).softmax(1) - flat / flat.sum(1, keepdim=True)).square().mean(1)
    close(output.loss.double(), cross_entropy(labelled, b.targets) + 5 * errors.mean())


def test_heat_takes_weight_from_uncertain_images():
    target = torch.tensor([[4.0, 0, 0, 0], [0.4, 0, 0, 0]])
    gradients = []
    for strength in (0.0, 1.0):
        logits = torch.zeros(2, K, requires_grad=True)
        method = build("temperature-ccl", ccl_strength=strength)
        method.disagreement(logits, target, clock(0.0)).backward()
        gradients.append(logits.grad.norm(dim=1))
    ratio = gradients[1] / gradients[0]
    assert ratio[1] < 0.5 * ratio[0]


@pytest.mark.parametrize("name", CCL)
def test_the_teacher_looks_in_train_mode_and_keeps_its_statistics(name):
    method = build(name, ccl_passes=3, dropout=0.5)
    assert method.unlabelled_views == ("strong",) * 4
    before = {key: value.clone() for key, value in method.teacher.state_dict().items()}
    view = random(P, 1, 4, 4)
    torch.manual_seed(0)
    target = method.teach([view] * 3).softmax(1)
    torch.manual_seed(0)
    others = [method.teacher(view).softmax(1).detach() for _ in range(3)]  # with dropout
    close(target, sum(others) / 3)
    assert not torch.equal(others[0], others[1])
    method = build(name, ccl_passes=3, dropout=0.5)
    method.teach([view] * 3)
    assert all(torch.equal(before[key], value) for key, value in method.teacher.state_dict().items())


# ----------------------------------------------------------------------------------------------------------------- CCN


def corrects(method, strength=3.0):
    """With a last layer that does something."""
    last = method.corrector.layers[-1]
    with torch.no_grad():
        last.weight.copy_(strength * random(*last.weight.shape, seed=7))
        last.bias.copy_(random(K, seed=8))
    return method


def test_a_corrector_begins_by_correcting_nothing_and_that_is_mutual_consistency():
    method = build("ccn", lam=3.0)
    b = batch(views=(2, 2))
    output = compute(method, b)
    one, two = (joint(net, *images) for net, images in zip(method.submodels, zip(b.labelled, b.unlabelled)))
    supervised = cross_entropy(one[0], b.targets) + cross_entropy(two[0], b.targets)
    mutual = softmax_mse(one[1], two[1].detach()).mean() + softmax_mse(two[1], one[1].detach()).mean()
    expected = supervised + 3 * mutual
    close(output.loss, expected + cross_entropy(one[0], b.targets))
    assert output.metrics["corrected"] == 0
    output.loss.backward()
    theirs = torch.autograd.grad(expected, [*method.submodels.parameters()])
    for mine, other in zip(method.submodels.parameters(), theirs, strict=True):
        close(mine.grad, other)
    assert method.corrector.layers[-1].weight.grad.abs().sum() > 0


def test_a_corrector_that_nobody_listens_to_learns_and_teaches_nothing():
    method, b = corrects(build("ccn", lam=3.0, ccn_corrects=False)), batch(views=(2, 2))
    blank = build("ccn", lam=3.0)
    blank.submodels.load_state_dict(method.submodels.state_dict())
    output, expected = compute(method, b), compute(blank, b)
    assert output.metrics["corrected"] == 0
    for o in (output, expected):
        o.loss.backward()
    for mine, theirs in zip(method.submodels.parameters(), blank.submodels.parameters(), strict=True):
        close(mine.grad, theirs.grad)
    assert method.corrector.layers[-1].weight.grad.abs().sum() > 0


def by_hand(method, b, lam):
    """Of both networks and the corrector: their losses, and the logits of its corrections."""
    (x1, _), (x2, h2) = (
        net(torch.cat(images), return_features=True)
        for net, images in zip(method.submodels, zip(b.labelled, b.unlabelled))
    )
    inner, outer = method.corrector.layers[0], method.corrector.layers[2]
    inputs = torch.cat([x1.softmax(1), h2], 1).detach()
    corrected = x1.detach() + (inputs @ inner.weight.T + inner.bias).clamp(min=0) @ outer.weight.T + outer.bias
    p1, p2, c = (x[6:].softmax(1) for x in (x1, x2, corrected))
    first = cross_entropy(x1[:6], b.targets) + lam * (p1 - p2.detach()).square().mean()
    second = cross_entropy(x2[:6], b.targets) + lam * (p2 - c.detach()).square().mean()
    return (first, second, cross_entropy(corrected[:6], b.targets)), [x[6:].argmax(1) for x in (x1, x2, corrected)]


@pytest.mark.parametrize("lam", [0.0, 3.0])
def test_ccns_losses_and_who_learns_from_which(lam):
    """The corrector learns from its own loss alone, and no network from that one."""
    method = corrects(build("ccn", lam=lam))
    b = batch(views=(2, 2))
    output = compute(method, b)
    losses, (of_1, of_2, corrected) = by_hand(method, b, lam)
    close(output.loss, sum(losses))
    assert output.metrics["corrected"] == (corrected != of_1).float().mean() > 0
    assert all(map(torch.equal, (t.argmax(1) for t in output.teacher_logits), (corrected, of_2)))
    output.loss.backward()
    for loss, part in zip(losses, (*method.submodels, method.corrector), strict=True):
        parameters = [*part.parameters()]
        for parameter, expected in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            close(parameter.grad, expected)


class Knows(nn.Module):
    """A corrector that has been told the truth."""

    def __init__(self, *truths):
        super().__init__()
        self.truths = {len(truth): truth for truth in truths}

    def forward(self, logits, hidden):
        return 1e4 * nn.functional.one_hot(self.truths[len(logits)], K)


def test_a_corrector_that_knows_the_truth_makes_the_second_network_a_supervised_one():
    method = build("ccn", lam=3.0)
    b = batch(views=(2, 2))
    truth = torch.randint(K, (P,), generator=torch.Generator().manual_seed(5))
    method.corrector = Knows(b.targets, truth)
    compute(method, b).loss.backward()
    second = method.submodels[1]
    labelled, unlabelled = joint(second, b.labelled[1], b.unlabelled[1])
    distance = (unlabelled.softmax(1) - nn.functional.one_hot(truth, K)).square().mean()
    expected = torch.autograd.grad(cross_entropy(labelled, b.targets) + 3 * distance, [*second.parameters()])
    for mine, theirs in zip(second.parameters(), expected, strict=True):
        close(mine.grad, theirs)
