"""Systems in stages and on graphs: each part against plain loops, its limits, and what a stop in any stage leaves."""

import copy
import itertools
import math
import pickle
from functools import partial

import numpy as np
import pytest
import torch
from methods.test_methods import clock
from sklearn.semi_supervised import LabelSpreading
from test_augment import NoHostReads
from test_trainer import press_ctrl_c_at
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from dnll_core import Experiment, train
from dnll_core.bench.timing import count_flops
from dnll_core.config import ConfigError
from dnll_core.losses import cross_entropy
from dnll_core.methods import build_method
from dnll_core.methods.base import Batch, Method, OneNetwork, Output, forward_each
from dnll_core.methods.co_training import gradient_sign, jensen_shannon, soft_cross_entropy
from dnll_core.methods.curriculum import NONE, dynamic_weight, most_confident, reinitialise_
from dnll_core.methods.declared import Pool, Stage
from dnll_core.methods.dnll import Negatives
from dnll_core.methods.label_propagation import SpreadLabels
from dnll_core.methods.neighbours import certainty, neighbours, normalised_graph, propagate, unit_rows
from dnll_core.methods.sntg import pair_loss
from dnll_core.models import build_network
from dnll_core.run import prepare
from dnll_core.stages import starts_of

K, P = 4, 8
GRAPHS = ("label-propagation", "mean-teacher+lp", "tssdl", "mean-teacher+tssdl")
ROUNDS = ("curriculum-labeling", "dmt")
STAGED = GRAPHS + ROUNDS
RIVALS = (*STAGED, "pi-model+sntg", "co-training", "filtering-ccl", "temperature-ccl", "ccn")
LATE = 90.0  # of the hundred iterations of `clock`, after all ramps


def build(name, seed=0, **fields):
    torch.manual_seed(seed)
    e = Experiment(**{"method": name, "ramp_epochs": 0, "consistency_ramp_epochs": 0, "rounds": 2, **fields})
    return build_method(e, partial(build_network, "small", K, 1, 4, dropout=e.dropout), K, pool=P)


def batch(labelled=6, unlabelled=P, views=(1, 1), seed=0):
    g = torch.Generator().manual_seed(seed)

    def images(n):
        return torch.randn(n, 1, 4, 4, generator=g)

    x, u = (images(labelled) for _ in range(views[0])), (images(unlabelled) for _ in range(views[1]))
    targets = torch.randint(K, (labelled,), generator=g)
    return Batch(tuple(x), targets, tuple(u), torch.arange(unlabelled))


def views_of(method):
    return len(method.labelled_views), len(method.unlabelled_views)


def compute(method, b, step=LATE, seed=1):
    return method.compute(b, clock(step), torch.Generator().manual_seed(seed))


def joint(network, *blocks):
    return forward_each([network], [blocks], joint=True)[0]


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def close(actual, expected, tolerance=1e-5):
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


# ---------------------------------------------------------------------------------------------------- neighbours, graph


@pytest.mark.parametrize(("n", "k"), [(5, 4), (64, 7), (200, 50), (333, 1), (333, 332)])
def test_neighbours_are_those_of_a_full_sort(n, k, monkeypatch):
    monkeypatch.setattr("dnll_core.methods.neighbours.AT_ONCE", 40 * n)  # some rows at a time
    features = random(n, 6)
    indices, similarity = neighbours(features, k)
    products = (features @ features.T).numpy()
    np.fill_diagonal(products, -np.inf)
    close(similarity, torch.from_numpy(-np.sort(-products)[:, :k].copy()))
    close(torch.from_numpy(products).gather(1, indices), similarity)
    assert all(len({*row}) == k and i not in row for i, row in enumerate(indices.tolist()))


def test_a_duplicate_is_a_neighbour_and_oneself_is_not():
    features = unit_rows(random(70, 5))
    features[40:] = features[:30]
    indices, similarity = neighbours(features, 1)
    assert indices[:30, 0].tolist() == [*range(40, 70)]
    assert indices[40:, 0].tolist() == [*range(30)]
    close(similarity[:30], torch.ones(30, 1))


@pytest.mark.parametrize("k", [0, 10])
def test_there_are_only_so_many_neighbours(k):
    with pytest.raises(ValueError, match=f"k={k}: each of 10 images has 1 to 9 neighbours"):
        neighbours(random(10, 3), k)


def graph_of(n=60, k=8, seed=0):
    indices, similarity = neighbours(unit_rows(random(n, 5, seed=seed)).double(), k)
    return indices, similarity.clamp(min=0) ** 3


def dense(indices, affinity):
    """D^-1/2 (A + A^T) D^-1/2 by loops."""
    n = len(indices)
    w = np.zeros((n, n))
    for i, j in itertools.product(range(n), range(indices.shape[1])):
        w[i, int(indices[i, j])] += float(affinity[i, j])
    w = w + w.T
    scale = np.array([1 / math.sqrt(d) if d > 0 else 0 for d in w.sum(1)])
    return w, scale[:, None] * w * scale[None]


def test_the_graph_is_symmetric_and_its_eigenvalues_are_within_one():
    indices, affinity = graph_of()
    affinity[7] = 0  # and nobody's neighbour: a degree of 0
    affinity[indices == 7] = 0
    found = normalised_graph(indices, affinity).to_dense().numpy()
    _, expected = dense(indices, affinity)
    assert np.allclose(found, expected, atol=1e-12)
    assert not found[7].any()
    assert np.abs(np.linalg.eigvalsh(found)).max() <= 1 + 1e-12


@pytest.mark.parametrize("alpha", [0.5, 0.99])
def test_labels_spread_as_by_a_direct_solve(alpha):
    indices, affinity = graph_of()
    targets = torch.tensor([0, 1, 2, 3, 0])
    y = np.zeros((60, K))
    for i, c in enumerate(targets.tolist()):
        y[i, c] = 1 / targets.tolist().count(c)
    exact = np.linalg.solve(np.eye(60) - alpha * dense(indices, affinity)[1], y)
    found = propagate(indices, affinity, targets, K, alpha, iterations=200).numpy()
    assert np.allclose(found, exact.clip(min=0), rtol=1e-8, atol=1e-12)
    twenty = propagate(indices, affinity, targets, K, alpha).numpy()  # as many iterations as in a run
    assert np.linalg.norm(twenty - exact) < 0.02 * np.linalg.norm(exact)


def test_labels_spread_as_scikit_learn_spreads_them():
    indices, affinity = graph_of(n=50, k=49)
    targets = torch.tensor([0, 1, 2, 3])
    w, _ = dense(indices, affinity)
    known = np.full(50, -1)
    known[:4] = targets
    # its kernel may not have the wanted diagonal, so that is taken as ours
    other = LabelSpreading(kernel=lambda a, b: w, alpha=0.9, max_iter=10_000, tol=1e-12)
    other.fit(np.arange(50.0)[:, None], known)
    found = propagate(indices, affinity, targets, K, 0.9, iterations=300)
    assert (found.argmax(1).numpy() == other.transduction_).all()
    close(found / found.sum(1, keepdim=True), torch.from_numpy(other.label_distributions_), 1e-4)


def test_two_islands_keep_to_their_label():
    points = torch.cat(
        [random(20, 3) * 0.1 + torch.tensor([5.0, 0, 0]), random(20, 3) * 0.1 - torch.tensor([5.0, 0, 0])]
    )
    points = points[[0, 20, *range(1, 20), *range(21, 40)]]  # the labelled ones first
    indices, similarity = neighbours(unit_rows(points), 5)
    scores = propagate(indices, similarity.clamp(min=0) ** 3, torch.tensor([1, 0]), 2)
    assert scores.argmax(1).tolist() == [1, 0, *[1] * 19, *[0] * 19]
    close(certainty(scores), torch.ones(40))


def test_a_class_without_a_label_and_an_image_out_of_reach_get_nothing():
    indices = torch.tensor([[1], [0], [3], [2]])
    scores = propagate(indices, torch.ones(4, 1), torch.tensor([1]), 3)
    assert scores[:, [0, 2]].abs().sum() == 0
    assert (scores[:2, 1] > 0).all()
    assert scores[2:].abs().sum() == 0
    assert certainty(scores).tolist() == [1, 1, 0, 0]


def test_certainty():
    p = [[0.5, 0.25, 0.25], [1.0, 0.0, 0.0], [2.0, 2.0, 2.0]]
    expected = [1 - (0.5 * math.log(2) + 0.5 * math.log(4)) / math.log(3), 1, 0]
    assert certainty(torch.tensor(p, dtype=torch.float64)).tolist() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("classes", [2, 6, 7, 8, 10, 12, 47, 100, 1000])
def test_certainty_is_within_its_bounds_whatever_rounding_does(classes):
    assert certainty(torch.zeros(3, classes)).tolist() == [0, 0, 0]
    for value in (1e-6, 0.37, 1.0, 3e4):
        found = certainty(torch.full((3, classes), value))
        assert ((found >= 0) & (found < 1e-6)).all()


@pytest.mark.parametrize("classes", [6, 10, 12])
def test_images_that_no_label_reaches_weigh_nothing(classes):
    spread = SpreadLabels(Experiment(lp_alpha=0.0, lp_neighbours=4), classes, P)
    pool = Pool(random(6, 5), torch.arange(6), random(P, 5, seed=1), lambda network, images, forward: images)
    network = nn.Module()
    network.features = None
    spread.renew(network, pool)
    assert spread.weights.tolist() == [0] * P


# ---------------------------------------------------------------------------------------------------- label propagation


def pool_of(network, seed=5, labelled=6):
    """A pool whose images are floats that the network takes as they are."""

    def look(net, images, forward=None):
        net.eval()
        output = (forward or net)(images)
        net.train()
        return output

    x, u = random(labelled, 1, 4, 4, seed=seed), random(P, 1, 4, 4, seed=seed + 1)
    return Pool(x, torch.tensor([0, 1, 2, 3, 1, 2][:labelled]), u, look)


@pytest.mark.parametrize("name", ["label-propagation", "mean-teacher+lp"])
def test_spread_labels_and_their_weights(name):
    method = build(name, lp_neighbours=4, lp_alpha=0.9, lp_gamma=2.0)
    network = method.student if name.startswith("mean") else method.network
    pool = pool_of(network)
    with torch.no_grad():
        method.spread.renew(network, pool)
        network.eval()
        v = network.features(torch.cat([pool.labelled, pool.unlabelled])).double()
        network.train()
    v = v / v.norm(dim=1, keepdim=True)
    products = (v @ v.T).fill_diagonal_(-torch.inf)
    indices = products.argsort(dim=1, descending=True)[:, :4]
    _, graph = dense(indices, products.gather(1, indices).clamp(min=0) ** 2)
    y = np.zeros((14, K))
    for i, c in enumerate(pool.targets.tolist()):
        y[i, c] = 1 / pool.targets.tolist().count(c)
    z = np.linalg.solve(np.eye(14) - 0.9 * graph, y).clip(min=0)[6:]
    p = z / z.sum(1, keepdims=True)
    sure = 1 + np.where(p > 0, p * np.log(np.where(p > 0, p, 1)), 0).sum(1) / math.log(K)
    labels = z.argmax(1).tolist()
    assert method.spread.labels.tolist() == labels
    close(method.spread.weights.double(), torch.from_numpy(sure / sure.max()), 1e-3)
    counts = [(pool.targets.tolist() + labels).count(c) for c in range(K)]
    close(method.spread.class_weights, torch.tensor([14 / K / max(1, n) for n in counts]))
    b, method.stage = batch(views=(1, len(method.unlabelled_views) or 1)), 1
    logits = random(P, K)
    per_image = [
        -sure[i] / sure.max() * 14 / K / counts[labels[i]] * logits[i].log_softmax(0)[labels[i]] for i in range(P)
    ]
    close(method.spread.loss(logits, b.index), sum(per_image) / P, 1e-3)


def test_with_weights_of_one_spread_labels_are_pseudo_labels():
    method = build("label-propagation", lam=0.7)
    method.stage = 1
    method.spread.labels.copy_(torch.tensor([0, 1, 2, 3, 3, 2, 1, 0]))
    method.spread.weights.fill_(1)
    b = batch()
    b.index = torch.tensor([3, 1, 7, 0, 2, 5, 4, 6])
    labelled, unlabelled = joint(method.network, *b.labelled, *b.unlabelled)
    expected = cross_entropy(labelled, b.targets) + 0.7 * cross_entropy(unlabelled, method.spread.labels[b.index])
    close(compute(method, b).loss, expected)


def test_before_labels_spread_a_base_is_itself():
    method, plain = build("label-propagation"), build("supervised")
    b = batch()
    assert method.unlabelled_views == () and method.stages[0].share == 0.1
    close(compute(method, Batch(b.labelled, b.targets, (), b.index)).loss, compute(plain, b).loss, 0)
    method, plain = build("mean-teacher+lp"), build("mean-teacher")
    b = batch(views=(1, 2))
    assert method.unlabelled_views == plain.unlabelled_views
    close(compute(method, b).loss, compute(plain, b).loss, 0)
    method.stage = 1
    method.spread.weights.fill_(1)
    student = compute(method, b).student_logits[0]
    close(compute(method, b).loss, compute(plain, b).loss + method.spread.loss(student, b.index))


def test_without_a_start_there_is_one_stage():
    assert [stage.name for stage in build("label-propagation", lp_start=0).stages] == ["spread labels"]
    assert build("label-propagation", lp_start=0).unlabelled_views == ("strong",)


# --------------------------------------------------------------------------------------------------- learning in rounds


@pytest.mark.parametrize("share", [0.2, 0.4, 1.0, 1e-9])
def test_the_most_confident_share_is_exact(share):
    probabilities = random(1000, 5).softmax(1)
    kept = most_confident(probabilities, share)
    count = max(1, round(1000 * share))
    assert kept.sum() == count
    highest = sorted(probabilities.amax(1).tolist(), reverse=True)[:count]
    assert sorted(probabilities.amax(1)[kept].tolist(), reverse=True) == highest
    same = torch.full((10, 2), 0.5)
    assert most_confident(same, 0.3).tolist() == [True] * 3 + [False] * 7  # the first of equals


def test_three_cases_of_a_dynamic_weight():
    """Agreement: q^gamma. Disagreement: 0 if the network is surer now than the one before was, else q^gamma."""
    logits = torch.tensor([[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.6, 0.3, 0.1]]).log()
    labels, confidence = torch.tensor([0, 1, 1]), torch.tensor([0.9, 0.5, 0.8])
    close(dynamic_weight(logits, labels, confidence, 2.0), torch.tensor([0.49, 0.0, 0.09]))
    for seed, gamma in itertools.product(range(5), (0.5, 1.0, 4.0, 50.0)):
        logits, confidence = 2 * random(40, K, seed=seed), random(40, seed=seed + 9).sigmoid()
        labels = torch.randint(K, (40,), generator=torch.Generator().manual_seed(seed))
        expected = []
        for row, label, stored in zip(logits.double().softmax(1).tolist(), labels.tolist(), confidence.tolist()):
            wins = row.index(max(row)) != label and max(row) > stored
            expected.append(0.0 if wins else row[label] ** gamma)
        found = dynamic_weight(logits, labels, confidence, gamma)
        close(found.double(), torch.tensor(expected, dtype=torch.float64))
        assert ((found >= 0) & (found <= 1)).all()
        assert 0 < sum(w == 0 for w in expected) < 40 or gamma == 50


def in_round(name, r=1, **fields):
    method = build(name, **fields)
    method.stage = r
    method.labels.copy_(torch.tensor([0, NONE, 2, 3, 3, NONE, 1, 0]))
    method.confidence.copy_(random(P).sigmoid())
    method.labelled_share.fill_(0.4)
    return method


def test_a_rounds_loss_weighs_labelled_images_by_their_number():
    method = in_round("curriculum-labeling", mixup_alpha=0, lam=0.5)
    b = batch(unlabelled=3)
    b.index = torch.tensor([6, 0, 3])
    labelled, unlabelled = joint(method.network, *b.labelled, *b.unlabelled)
    pseudo = cross_entropy(unlabelled, torch.tensor([1, 0, 3]))
    output = compute(method, b)
    close(output.loss, 0.4 * cross_entropy(labelled, b.targets) + 0.5 * 0.6 * pseudo)
    assert output.teacher_logits[0].argmax(1).tolist() == [1, 0, 3]


def test_dmts_loss_weighs_labels_by_what_the_network_says():
    method = in_round("dmt", mixup_alpha=0)
    b = batch(unlabelled=3)
    b.index = torch.tensor([6, 0, 3])
    labels = torch.tensor([1, 0, 3])
    gamma = 4 * math.exp(-5 * (1 - LATE / 100) ** 2)
    weights = dynamic_weight(method.network(b.unlabelled[0]), labels, method.confidence[b.index], gamma)
    labelled, unlabelled = joint(method.network, *b.labelled, *b.unlabelled)
    errors = nn.functional.cross_entropy(unlabelled, labels, reduction="none")
    close(compute(method, b).loss, 0.4 * cross_entropy(labelled, b.targets) + 0.6 * (weights * errors).mean())


@pytest.mark.parametrize("name", ["curriculum-labeling", "dmt"])
def test_mixing_with_one_share_for_the_batch(name):
    from dnll_core.methods.mixmatch import mixup_shares

    method = in_round(name, mixup_alpha=0.75)
    b = batch(unlabelled=3)
    b.index = torch.tensor([6, 0, 3])
    clean = torch.ones(3) if name.startswith("c") else method.weights(b, clock(LATE))
    g = torch.Generator().manual_seed(1)
    share, partner = float(mixup_shares(1, 0.75, g)), torch.rand(9, generator=g).argsort()
    images, targets = torch.cat([*b.labelled, *b.unlabelled]), torch.cat([b.targets, torch.tensor([1, 0, 3])])
    logits = method.network(share * images + (1 - share) * images[partner]).log_softmax(1)
    own = [0.4 / 6] * 6 + [0.6 / 3 * float(w) for w in clean]
    expected = 0
    for i, j in enumerate(partner.tolist()):
        error = -share * logits[i, targets[i]] - (1 - share) * logits[i, targets[j]]
        expected = expected + (share * own[i] + (1 - share) * own[j]) * error
    close(compute(method, b).loss, expected)


FAST = {"labels": 20, "labelled_batch": 20, "unlabelled_batch": 256, "epochs": 3, "lr": 0.05, "rounds": 2}


def state_of(run):
    return {name: value for name, value in run.trainer.learner.state().items() if name != "rng.cpu"}


def goes_on_to_the_bit(e, stop, folder):
    """The run; a second one that is stopped after so many iterations, and goes on, has ended as it has."""
    run = train(e, 0, device="cpu", progress=False)
    assert math.isfinite(run.history[-1]["loss"])
    press_ctrl_c_at(stop, e, folder, device="cpu")
    resumed = train(e, 0, device="cpu", progress=False, checkpoint=folder)
    mine, theirs = map(state_of, (run, resumed))
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[key], theirs[key]) for key in mine)
    assert run.final == resumed.final
    return run


def test_without_gamma_dmt_is_curriculum_labeling():
    runs = [
        train(Experiment(**FAST, method=name, dmt_gamma=0.0), 0, progress=False)
        for name in ("dmt", "curriculum-labeling")
    ]
    one, other = map(state_of, runs)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    other = state_of(train(Experiment(**FAST, method="dmt"), 0, progress=False))
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_one_round_with_all_images_is_a_fixed_pseudo_label_for_each():
    method = build("curriculum-labeling", rounds=1, mixup_alpha=0)
    pool = pool_of(method.network)
    with torch.no_grad():
        predicted = pool.look(method.network, pool.unlabelled).softmax(1)
    method.stage = 1
    with torch.no_grad():
        method.at_stage(pool, torch.Generator())
    assert method.labels.tolist() == predicted.argmax(1).tolist()
    close(method.confidence, predicted.amax(1))
    assert float(method.labelled_share) == pytest.approx(6 / 14)
    assert method.rows().tolist() == [*range(P)]
    b = batch()
    labelled, unlabelled = joint(method.network, *b.labelled, *b.unlabelled)
    pseudo = cross_entropy(unlabelled, predicted.argmax(1))
    close(compute(method, b).loss, 6 / 14 * cross_entropy(labelled, b.targets) + 8 / 14 * pseudo)


def test_a_round_begins_anew_with_more_images():
    e = Experiment(**FAST | {"epochs": 6, "rounds": 3}, method="curriculum-labeling", ema_decay=0.9)
    trainer, _ = prepare(e, 0, progress=False)
    learner, pool = trainer.learner, len(trainer.learner.data.unlabelled)
    assert learner.stages.starts == [0, 6, 12, 18]
    torch.manual_seed(0)
    seen = {}
    for step in range(24):
        before = {name: value.clone() for name, value in learner.method.network.state_dict().items()}
        began = learner.begin(step)
        assert began == (step in (0, 6, 12, 18))
        if began and step:
            r = step // 6
            kept = (learner.method.labels != NONE).nonzero()[:, 0]
            assert len(kept) == round(r / 3 * pool)
            seen[r] = {*kept.tolist()}
            assert {*learner.plan["unlabelled"].flatten().tolist()} <= seen[r]
            after = learner.method.network.state_dict()
            assert not torch.equal(before["body.0.weight"], after["body.0.weight"])
            assert after["body.1.running_mean"].abs().sum() == 0
            sgd = learner.optimisers.each["main"]
            assert all(state["momentum_buffer"].abs().sum() == 0 for state in sgd.state.values())
            assert all(map(torch.equal, learner.average.state_dict().values(), learner.method.state_dict().values()))
        trainer.train_step(step % learner.steps_per_epoch)
        lr = float(learner.optimisers.each["main"].param_groups[0]["lr"])
        assert lr == pytest.approx(0.05 * 0.5 * (1 + math.cos(math.pi * (step % 6) / 6)), rel=1e-5)
    assert seen[3] == {*range(pool)} and len(seen[1] & seen[2]) > 0


def test_a_new_network_takes_the_place_of_the_old_one():
    network = build_network("small", K, 1, 4)
    places = [p.data_ptr() for p in network.parameters()]
    torch.manual_seed(3)
    reinitialise_(network, partial(build_network, "small", K, 1, 4))
    torch.manual_seed(3)
    expected = build_network("small", K, 1, 4)
    assert all(map(torch.equal, network.state_dict().values(), expected.state_dict().values()))
    assert [p.data_ptr() for p in network.parameters()] == places


# ----------------------------------------------------------------------------------------------------------------- SNTG


def loop_of_pairs(hidden, classes, margin, pairs):
    total = 0.0
    for i, j in pairs:
        squared = sum((a - b) ** 2 for a, b in zip(hidden[i], hidden[j])) / len(hidden[i])
        total += squared if classes[i] == classes[j] else max(0.0, margin - math.sqrt(squared)) ** 2
    return total / len(pairs)


@pytest.mark.parametrize("n", [8, 9])
def test_pair_loss(n):
    hidden = random(n, 5).double()
    classes = torch.randint(2, (n,), generator=torch.Generator().manual_seed(2))
    pairs = [(i, i + n // 2) for i in range(n // 2)]
    for margin in (0.5, 1.5, 3.0):
        expected = loop_of_pairs(hidden.tolist(), classes.tolist(), margin, pairs)
        assert float(pair_loss(hidden, classes, margin)) == pytest.approx(expected, rel=1e-12)


def test_in_the_mean_over_orders_pairs_are_all_pairs():
    hidden, classes = random(6, 3).double(), torch.tensor([0, 0, 1, 1, 2, 0])
    orders = [*itertools.permutations(range(6))]
    mean = sum(float(pair_loss(hidden[list(order)], classes[list(order)], 1.5)) for order in orders) / len(orders)
    every = loop_of_pairs(hidden.tolist(), classes.tolist(), 1.5, [*itertools.combinations(range(6), 2)])
    assert mean == pytest.approx(every, rel=1e-12)


def test_pairs_at_rest_and_a_pair_on_one_spot():
    far = torch.tensor([[0.0, 0.0], [9.0, 0.0], [0.0, 0.0], [0.0, 9.0]])
    assert pair_loss(far, torch.tensor([1, 0, 1, 2]), 1.0) == 0
    assert pair_loss(far, torch.tensor([1, 0, 2, 2]), 1.0) == pytest.approx(0.5)  # different, and on one spot: 1 of 2
    same = torch.ones(2, 3, requires_grad=True)
    pair_loss(same, torch.tensor([0, 1]), 1.0).backward()
    assert torch.isfinite(same.grad).all()


def test_sntg_loss():
    method = build("pi-model+sntg", lam=3.0, sntg_weight=0.7, sntg_margin=2.0)
    b = batch(views=(1, 2))
    output = compute(method, b)
    network, images = method.network, torch.cat([*b.labelled, *b.unlabelled])
    logits, hidden = network(images, return_features=True)
    p = logits.softmax(1)
    classes = torch.cat([b.targets, p[14:].argmax(1)]).tolist()
    order = torch.rand(14, generator=torch.Generator().manual_seed(1)).argsort().tolist()
    pairs = [(order[i], order[i + 7]) for i in range(7)]
    paired = loop_of_pairs(hidden.double().tolist(), classes, 2.0, pairs)
    consistency = (p[6:14] - p[14:]).square().mean()
    close(output.loss, cross_entropy(logits[:6], b.targets) + 3 * consistency + 0.7 * paired)
    assert paired > 0.1


def test_without_weight_sntg_is_the_pi_model_to_the_bit():
    fields = {**FAST, "dropout": 0.2}
    one, other = (
        state_of(train(Experiment(**fields, method=name, sntg_weight=0.0), 0, progress=False))
        for name in ("pi-model+sntg", "pi-model")
    )
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


# ---------------------------------------------------------------------------------------------------------- co-training


def h(p, q):
    return -(p * q.log()).sum(1)


def test_jensen_shannon_is_the_mean_divergence_to_the_mixture():
    a, b = 3 * random(50, K).double(), 3 * random(50, K, seed=1).double()
    p, q = a.softmax(1), b.softmax(1)
    m = (p + q) / 2
    expected = (h(p, m) - h(p, p) + h(q, m) - h(q, q)) / 2
    found = jensen_shannon(a, b)
    close(found, expected, 1e-10)
    assert ((found > 0) & (found < math.log(2))).all()
    assert jensen_shannon(a, a).abs().max() < 1e-12
    far = torch.tensor([[200.0, 0, 0, 0]], requires_grad=True)
    loss = jensen_shannon(far, -far).sum()  # one of the two is as good as without a class that the other has
    loss.backward()
    assert torch.isfinite(far.grad).all()
    close(soft_cross_entropy(a, b), h(p, q), 1e-10)


@pytest.mark.parametrize("eps", [0.0, 0.3])
def test_an_attack_is_a_step_of_eps_in_every_pixel_and_leaves_no_trace(eps):
    torch.manual_seed(0)
    network = build_network("small", K, 1, 8, dropout=0.5)
    x, labels = random(16, 1, 8, 8), torch.arange(16) % K
    with torch.no_grad():
        network(x)  # statistics that are not those of the start
    before = {name: value.clone() for name, value in network.state_dict().items()}
    random_state = torch.get_rng_state()
    attacked = gradient_sign(network, x, labels, eps)
    assert all(map(torch.equal, before.values(), network.state_dict().values()))
    assert all(p.grad is None for p in network.parameters())
    assert all(module.training for module in network.modules())
    assert torch.equal(random_state, torch.get_rng_state())  # no dropout in it
    assert not attacked.requires_grad
    moved = (attacked - x).abs()
    assert moved.max() <= eps + 1e-6
    assert (moved > eps - 1e-6).float().mean() > 0.9
    if eps:
        network.eval()
        with torch.no_grad():
            clean, now = (cross_entropy(network(images), labels) for images in (x, attacked))
        assert now > clean
        # where the loss grows with a pixel, the pixel has grown: by finite differences
        double, right = network.double(), 0
        for pixel in range(0, 64, 5):
            step = torch.zeros(64).double()
            step[pixel] = 1e-4
            ends = [cross_entropy(double(x[:1].double() + s * step.view(1, 1, 8, 8)), labels[:1]) for s in (1, -1)]
            right += float(ends[0] - ends[1]) * float((attacked - x)[0].flatten()[pixel]) >= 0
        assert right == 13


def test_co_training_loss():
    method = build("co-training", cot_scale=3.0, dif_scale=0.7, adversarial_eps=0.2)
    b = batch()
    one, two = method.submodels
    images, targets = (b.labelled[0][:3], b.labelled[0][3:]), (b.targets[:3], b.targets[3:])
    [u] = b.unlabelled
    own = [joint(net, x, u) for net, x in zip((one, two), images)]
    p, q = (logits[1].softmax(1) for logits in own)
    m = (p + q) / 2
    js = ((h(p, m) - h(p, p) + h(q, m) - h(q, q)) / 2).mean()
    reference = build("co-training", cot_scale=3.0, dif_scale=0.7, adversarial_eps=0.2)
    output = compute(reference, b)  # its statistics have moved as those of `method` have, once
    attacks = []
    for net, x, y, logits in zip((one, two), images, targets, own):
        attacks.append(gradient_sign(net, torch.cat([x, u]), torch.cat([y, logits[1].argmax(1)]), 0.2))
    difference = 0
    for net, attacked, clean in ((one, attacks[1], own[1]), (two, attacks[0], own[0])):
        difference = difference + h(torch.cat(list(clean)).softmax(1), net(attacked).softmax(1)).mean()
    supervised = sum(cross_entropy(logits[0], y) for logits, y in zip(own, targets))
    close(output.loss, supervised + 3 * js + 0.7 * difference, 1e-4)
    assert difference > h(p, p).mean() + h(q, q).mean()
    assert all(net.body[1].num_batches_tracked == 1 for net in reference.submodels)  # of the clean pass alone


def test_two_that_are_one_and_no_attack():
    """JS is 0, and the difference is the entropy of both predictions."""
    method = build("co-training", cot_scale=1e3, dif_scale=1.0, adversarial_eps=0.0, shared_bn=False)
    method.submodels[1].load_state_dict(method.submodels[0].state_dict())
    b = batch(labelled=4)
    b.labelled, b.targets = (b.labelled[0][:2].repeat(2, 1, 1, 1),), b.targets[:2].repeat(2)
    output = compute(method, b)
    assert abs(float(output.metrics["divergence"])) < 1e-6
    images = torch.cat([b.labelled[0][:2], *b.unlabelled])
    p = method.submodels[0](images).softmax(1)  # one batch, as the attacked images are
    method = build("co-training", cot_scale=0.0, dif_scale=1.0, adversarial_eps=0.0, shared_bn=True)
    method.submodels[1].load_state_dict(method.submodels[0].state_dict())
    assert float(compute(method, b).metrics["difference"]) == pytest.approx(float(h(p, p).mean()), rel=1e-4)


def test_each_network_learns_from_its_own_labelled_images():
    method = build("co-training", cot_scale=0.0, dif_scale=0.0, shared_bn=False)
    b = batch()

    def gradients(targets):
        method.zero_grad()
        compute(method, Batch(b.labelled, targets, b.unlabelled, b.index)).loss.backward()
        return [torch.cat([p.grad.flatten() for p in net.parameters()]) for net in method.submodels]

    before = gradients(b.targets)
    after = gradients(torch.cat([b.targets[:3], (b.targets[3:] + 1) % K]))
    assert torch.equal(before[0], after[0])
    assert not torch.equal(before[1], after[1])


@pytest.mark.parametrize("labelled", [1, 3])
def test_two_networks_need_two_images_each(labelled):
    with pytest.raises(ConfigError, match=f"labelled_batch={labelled} with method='co-training'.*give it 4"):
        Experiment(method="co-training", labelled_batch=labelled)


# --------------------------------------------------------------------------------------------------- fields of a system


def test_mixup_is_checked_for_those_that_mix():
    assert Experiment(method="dnll", mixup_alpha=0.01).mixup_alpha == 0.01
    assert Experiment(method="dmt", mixup_alpha=0.0).mixup_alpha == 0
    with pytest.raises(ConfigError, match=r"mixup_alpha takes a number from 0\.05 to 1000, not 0\."):
        Experiment(method="mixmatch", mixup_alpha=0.0)
    with pytest.raises(ConfigError, match=r"mixup_alpha takes 0 or a number from 0\.05 to 1000, not 0\.01"):
        Experiment(method="dmt", mixup_alpha=0.01)


# --------------------------------------------------------------------------------------------------------------- stages


class Recorder(OneNetwork):
    """Writes down when its hooks are called, and with which stage, views and rows."""

    def __init__(self, shares=(1.0, 2.0), restart=(False, True)):
        super().__init__(partial(build_network, "small", 10, 1, 8), Experiment())
        self.stages = tuple(Stage(str(i), *both) for i, both in enumerate(zip(shares, restart)))
        self.calls = []

    @property
    def unlabelled_views(self):
        return ("strong",) if self.stage else ()

    def at_stage(self, pool, generator):
        assert not torch.is_grad_enabled()
        self.calls.append(("stage", self.stage))

    def at_epoch(self, pool, epoch, generator):
        self.calls.append(("epoch", epoch))

    def rows(self):
        return torch.arange(5, 50) if self.stage else None

    def compute(self, batch, clock, generator):
        assert len(batch.unlabelled) == self.stage
        self.calls.append(("step", int(clock.step), int(clock.since), clock.stage_steps))
        [[logits]] = forward_each([self.network], [[batch.labelled[0]]], joint=False)
        return Output(cross_entropy(logits, batch.targets), [logits.detach()])


@pytest.mark.parametrize("wrapped", [False, True])
def test_when_hooks_are_called(monkeypatch, wrapped):
    made = []

    def build(*args, **kwargs):
        made.append(Recorder())
        made[-1].students = 1
        return Negatives(made[-1], Experiment(), 10) if wrapped else made[-1]

    monkeypatch.setattr("dnll_core.run.build_method", build)
    monkeypatch.setattr("dnll_core.run.try_once", lambda learner: None)
    if wrapped:
        monkeypatch.setattr(Negatives, "compute", lambda self, *args: self.base.compute(*args))
        monkeypatch.setattr(Negatives, "after_step", lambda self, *args: None)
    e = Experiment(labels=20, labelled_batch=20, unlabelled_batch=256, epochs=3)
    trainer, _ = prepare(e, 0, progress=False)
    assert trainer.learner.steps_per_epoch == 4
    trainer.fit(progress=False)
    first = [("stage", 0), *[("step", i, i, 4) for i in range(4)]]
    second = [("stage", 1), *[("step", i, i - 4, 8) for i in range(4, 8)], ("epoch", 2)]
    assert made[-1].calls == [*first, *second, *[("step", i, i - 4, 8) for i in range(8, 12)]]
    assert {*trainer.learner.plan["unlabelled"].flatten().tolist()} == {*range(5, 50)}


@pytest.mark.parametrize("total", [3, 10, 97, 1000])
@pytest.mark.parametrize("shares", [[1], [1, 1, 1], [0.1, 0.9], [5, 1, 3]])
def test_stages_begin_where_their_shares_do(shares, total):
    method = Method()
    method.stages = tuple(Stage(str(i), share) for i, share in enumerate(shares))
    expected = [round(total * sum(shares[:i]) / sum(shares)) for i in range(len(shares))]
    if len({*expected, total}) <= len(shares):
        with pytest.raises(ConfigError, match=f"a run of {total} iterations is too short for the {len(shares)} stages"):
            starts_of(method, total)
    else:
        assert starts_of(method, total) == expected


@pytest.mark.parametrize(
    ("method", "fields"),
    [("label-propagation", {"lp_start": 1e-9}), ("mean-teacher+lp", {"lp_start": 0.001}), ("dmt", {"rounds": 100})],
)
def test_too_many_stages_or_too_short_ones_are_refused_with_the_field(method, fields):
    with pytest.raises(ConfigError, match=f"too short for the .* stages of .*, see {next(iter(fields))}; more epochs"):
        train(Experiment(method=method, epochs=2, **fields), 0, progress=False)


# ------------------------------------------------------------------------------------------------ all of them, in place


@pytest.mark.parametrize("name", RIVALS)
@pytest.mark.parametrize("at", ["start", "end"])
def test_an_iteration_reads_nothing_back(name, at):
    method = build(name)
    method.stage = len(method.stages) - 1 if at == "end" else 0
    b, c, g = batch(views=views_of(method)), clock(3.0), torch.Generator().manual_seed(1)
    with NoHostReads(), pytest.MonkeyPatch.context() as patched:
        # on a CPU it looks whether the classes are in range
        patched.setattr(nn.functional, "one_hot", lambda x, k: (x.unsqueeze(-1) == torch.arange(k)).long())
        output = method.compute(b, c, g)
        method.after_step(b, output, c)
    assert all(module.training for module in method.modules())
    assert all(not value.requires_grad and value.dim() == 0 for value in output.metrics.values())
    output.loss.backward()


class HostReads(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        if name in ("_local_scalar_dense", "item", "nonzero", "masked_select", "_unique2", "equal"):
            self.names.append(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", RIVALS)
def test_host_reads_between_iterations_are_those_that_are_listed(name, monkeypatch):
    one_hot = lambda x, k: (x.unsqueeze(-1) == torch.arange(k)).long()  # noqa: E731
    monkeypatch.setattr(nn.functional, "one_hot", one_hot)
    trainer, _ = prepare(Experiment(**FAST, method=name, lp_start=0.5), 0, progress=False)
    learner = trainer.learner
    for step in (learner.stages.starts[-1], 2 * learner.steps_per_epoch):  # a stage, an epoch
        with HostReads() as reads:
            learner.begin(step)
        assert reads.names == ["nonzero"] * (name in ROUNDS), step


@pytest.mark.parametrize("name", RIVALS)
def test_the_operations_of_an_iteration_can_be_counted(name):
    """As a benchmark does. Twice the images are twice the operations, but for pairs of all with all."""
    method = build(name)
    method.stage = len(method.stages) - 1
    one, two = (
        count_flops(lambda n=n: compute(method, batch(4 * n, 4 * n, views_of(method))).loss.backward()) for n in (1, 2)
    )
    pairs = 3 * 2 * 8 * 8 * 64 * name.endswith("tssdl")  # 8 images with 64 features; forward, and backward on each side
    assert two == 2 * one + 2 * pairs > 0


@pytest.mark.parametrize("name", RIVALS)
def test_state_dict_holds_everything(name):
    method, other = build(name, seed=0), build(name, seed=1)
    method.stage = other.stage = len(method.stages) - 1
    with torch.no_grad():
        if name in STAGED:
            method.at_stage(pool_of(None), torch.Generator())
    b = batch(views=views_of(method))
    for step in (0.0, 1.0):
        method.after_step(b, compute(method, b, step), clock(step))
    other.load_state_dict(method.state_dict())
    assert torch.equal(compute(method, b).loss, compute(other, b).loss)
    assert method.rows() is None or torch.equal(method.rows(), other.rows())


@pytest.mark.parametrize("name", RIVALS)
@pytest.mark.parametrize(
    "stop", [2, 4, 6, 9]
)  # of twelve, four an epoch: mid-epoch in each stage, and where one begins
def test_a_stopped_run_goes_on_to_the_bit(name, stop, tmp_path):
    fields = {"dropout": 0.2, "ema_decay": 0.5, "lp_start": 0.5, "lp_neighbours": 20}
    run = goes_on_to_the_bit(Experiment(**FAST, **fields, method=name), stop, tmp_path)
    assert (
        run.trainer.learner.stages.starts == {1: [0], 2: [0, 6], 3: [0, 4, 8]}[len(run.trainer.learner.stages.starts)]
    )


@pytest.mark.parametrize("name", RIVALS)
@pytest.mark.parametrize("pool", ["device", "host"])
def test_hooks_leave_statistics_and_gradients_alone(name, pool):
    trainer, _ = prepare(Experiment(**FAST, method=name, lp_start=0.5), 0, progress=False, pool=pool)
    learner = trainer.learner
    learner.begin(0)
    trainer.train_step(0)
    learner.method.zero_grad(set_to_none=True)
    before = {key: value.clone() for key, value in learner.method.state_dict().items() if "running" in key}
    step = learner.stages.starts[1] if name in GRAPHS else 4 * (name not in ROUNDS)
    learner.begin(step)
    assert all(torch.equal(before[key], learner.method.state_dict()[key]) for key in before)
    assert all(p.grad is None for p in learner.method.parameters())
    assert all(module.training for module in learner.method.modules())
    trainer.train_step(step % 4)


@pytest.mark.parametrize("name", ["label-propagation", "tssdl", "curriculum-labeling"])
def test_a_pool_in_host_memory_gives_the_same_run(name):
    e = Experiment(**FAST, method=name, lp_start=0.5)
    one, other = (state_of(train(e, 0, progress=False, pool=pool)) for pool in ("device", "host"))
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("labelled", [6, 7])
def test_each_co_trained_network_perceives_errors_on_its_own_half(labelled):
    e = Experiment(m=2, selection="epm")
    method = Negatives(build("co-training"), e, K)
    b = batch(labelled=labelled)
    output = compute(method, b)
    method.after_step(b, output, clock(LATE))
    half = (labelled + 1) // 2
    for perception, logits, y in zip(method.perception, output.labelled_logits, (b.targets[:half], b.targets[half:])):
        expected = torch.zeros(K, K)
        for p, label in zip(logits.softmax(1), y.tolist()):
            if int(p.argmax()) != label:
                expected[label, int(p.argmax())] += p.max()
        close(perception.pr, (1 - e.epm_decay) * expected)
    assert any(perception.pr.any() for perception in method.perception)


def test_negatives_have_the_views_of_their_base_in_each_stage():
    """Also where no stage begins, as in a run that goes on, or where iterations are tried beforehand."""
    base = Recorder()
    base.students = 1
    wrapped = Negatives(base, Experiment(), 10)
    for stage in (1, 0, 1):
        wrapped.stage = stage
        assert (wrapped.labelled_views, wrapped.unlabelled_views) == (("weak",), ("strong",) * stage)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda trainer: pickle.loads(pickle.dumps(trainer))])
@pytest.mark.parametrize("stop", [4, 6])  # where a stage begins, and in the middle of an epoch
def test_a_copied_trainer_goes_on_with_a_pool_in_host_memory(copied, stop):
    e = Experiment(**FAST, method="curriculum-labeling")
    trainer, _ = prepare(e, 0, progress=False, device="cpu", pool="host")
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(progress=False, should_stop=lambda _: trainer.step >= stop)
    other, state = copied(trainer), torch.get_rng_state()
    trainer.fit(progress=False)
    torch.set_rng_state(state)
    other.fit(progress=False)
    one, two = trainer.learner.state(), other.learner.state()
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_a_power_of_the_similarity_stays_where_rounding_is_harmless():
    """A cosine may be 1 + 1e-7 in float32: to the power of 1e9 that is infinite, and no label spreads."""
    assert Experiment(lp_gamma=1000).lp_gamma == 1000
    with pytest.raises(ConfigError, match=r"lp_gamma takes a number above 0 to 1000, not 1000000000\.0"):
        Experiment(lp_gamma=1e9)
