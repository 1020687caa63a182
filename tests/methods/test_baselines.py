"""The baselines and add-ons: each loss against a formula written out here, where its gradient goes, and its state."""

import math

import pytest
import torch
from methods.test_methods import K, batch, clock
from test_augment import NoHostReads
from test_trainer import press_ctrl_c_at
from torch import nn

from dnll_core import Experiment, train
from dnll_core.config import METHODS, ConfigError
from dnll_core.losses import negative_loss
from dnll_core.methods import Negatives, build_method, heads
from dnll_core.methods.base import forward_each
from dnll_core.methods.dual_student import stable
from dnll_core.methods.mixmatch import mixup_shares, sharpen
from dnll_core.methods.modes import frozen_statistics
from dnll_core.methods.vat import kl, unit
from dnll_core.models import build_network

BASELINES = (
    "mean-teacher",
    "dual-student",
    "pi-model",
    "temporal-ensembling",
    "vat",
    "pseudo-label",
    "mixmatch",
    "fixmatch",
)
ADD_ONS = ("mean-teacher+dnll", "dual-student+dnll")
LATE = 1e6  # a step after all ramps


class TwoHeads(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten())
        self.heads = nn.ModuleList([nn.Linear(12, K), nn.Linear(12, K)])

    def forward(self, x):
        hidden = self.body(x)
        return self.heads[0](hidden), self.heads[1](hidden)


def one_head():
    body = [nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Dropout(0.0), nn.Linear(12, K)]
    return nn.Sequential(*body)


def build(name, seed=0, **fields):
    torch.manual_seed(seed)
    experiment = Experiment(**{"method": name, "m": 2, "ramp_epochs": 0, **fields})
    return build_method(experiment, TwoHeads if heads(experiment) == 2 else one_head, K, pool=8)


def compute(method, b, seed=1, step=LATE):
    return method.compute(b, clock(step), torch.Generator().manual_seed(seed))


def joint(network, *blocks):
    """One pass over all blocks, as the default shared_bn=True asks for."""
    return forward_each([network], [blocks], joint=True)[0]


def ce(logits, targets):
    return -logits.log_softmax(1)[torch.arange(len(targets)), targets].mean()


def mse(p, q):
    return ((p - q) ** 2).sum() / p.numel()


def close(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-6)


# ------------------------------------------------------------------------------------------------------------- losses


def test_mean_teacher_loss():
    method = build("mean-teacher", consistency_scale=3.0)
    with torch.no_grad():
        for p in method.teacher.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=torch.Generator().manual_seed(5)))
    b = batch(method)
    labelled, unlabelled = joint(method.student, b.labelled[0], b.unlabelled[0])
    teacher = method.teacher(b.unlabelled[1])
    expected = ce(labelled, b.targets) + 3 * mse(unlabelled.softmax(1), teacher.softmax(1))
    close(compute(method, b).loss, expected)


@pytest.mark.parametrize("name", ["pi-model", "mean-teacher"])
@pytest.mark.parametrize("view", ["strong", "weak"])
def test_the_second_view_is_chosen(name, view):
    assert build(name, consistency_view=view).unlabelled_views == ("strong", view)


def test_pi_model_loss():
    method = build("pi-model", lam=7.0)
    b = batch(method)
    labelled, first, second = joint(method.network, b.labelled[0], *b.unlabelled)
    close(compute(method, b).loss, ce(labelled, b.targets) + 7 * mse(first.softmax(1), second.softmax(1)))


@pytest.mark.parametrize("threshold", [0.0, 0.4])
def test_pseudo_label_loss(threshold):
    method = build("pseudo-label", lam=0.5, threshold=threshold)
    b = batch(method)
    labelled, unlabelled = joint(method.network, b.labelled[0], b.unlabelled[0])
    p = unlabelled.softmax(1)
    used = [i for i in range(8) if p[i].max() >= threshold]
    assert (len(used) == 8) == (threshold == 0)
    pseudo = sum(-p[i].max().log() for i in used) / 8
    output = compute(method, b)
    close(output.loss, ce(labelled, b.targets) + 0.5 * pseudo)
    assert [i for i in range(8) if output.unused[0][i] == 0] == used


@pytest.mark.parametrize("threshold", [0.0, 0.4, 1.0])
def test_fixmatch_loss(threshold):
    method = build("fixmatch", fixmatch_threshold=threshold, lam=2.0)
    b = batch(method)
    labelled, weak, strong = joint(method.network, b.labelled[0], *b.unlabelled)
    used = [i for i in range(8) if weak[i].softmax(0).max() >= threshold]
    assert {0.0: len(used) == 8, 0.4: 0 < len(used) < 8, 1.0: len(used) == 0}[threshold]
    pseudo = sum((-strong[i].log_softmax(0)[weak[i].argmax()] for i in used), torch.zeros(())) / 8
    output = compute(method, b)
    close(output.loss, ce(labelled, b.targets) + 2 * pseudo)
    assert [i for i in range(8) if output.unused[0][i] == 0] == used
    assert output.metrics["confident"].item() == pytest.approx(len(used) / 8)


def test_fixmatch_default_threshold_is_published():
    assert Experiment(method="fixmatch").fixmatch_threshold == 0.95


def test_temporal_ensembling_loss_and_memory_law():
    method = build("temporal-ensembling", lam=4.0, ensemble_decay=0.6)
    b = batch(method)
    b.index = torch.tensor([3, 1, 4, 0, 5, 7, 2, 6])
    labelled, _ = joint(method.network, b.labelled[0], b.unlabelled[0])
    output = compute(method, b)
    close(output.loss, ce(labelled, b.targets))  # nothing is remembered yet
    method.after_step(b, output, clock())
    first = output.student_logits[0].softmax(1)
    targets, known = method.targets(b.index)
    close(targets, first)  # one prediction, whatever alpha: the start from 0 is undone
    assert known.all()
    with torch.no_grad():
        method.network[0].weight.mul_(-2)
    seen = [first]
    for _ in range(2):
        output = compute(method, b)
        labelled, unlabelled = joint(method.network, b.labelled[0], b.unlabelled[0])
        weights = torch.tensor([0.4 * 0.6 ** (len(seen) - 1 - i) for i in range(len(seen))])
        z = sum(w * p for w, p in zip(weights, seen)) / weights.sum()
        close(output.loss, ce(labelled, b.targets) + 4 * mse(unlabelled.softmax(1), z))
        method.after_step(b, output, clock())
        seen.append(output.student_logits[0].softmax(1))
    assert method.updates.tolist() == [3.0] * 8


def test_temporal_ensembling_remembers_each_image_by_itself():
    method = build("temporal-ensembling")
    b = batch(method, unlabelled=4)
    b.index = torch.tensor([6, 0, 2, 5])
    output = compute(method, b)
    method.after_step(b, output, clock())
    assert method.updates.tolist() == [1, 0, 1, 0, 0, 1, 1, 0]
    close(method.memory[6], 0.4 * output.student_logits[0][0].detach().softmax(0))
    targets, known = method.targets(torch.tensor([1, 0]))
    assert known.tolist() == [0, 1]
    assert targets[0].tolist() == [0] * K
    with pytest.raises(ValueError, match=r"pool=0: temporal-ensembling remembers each unlabelled image"):
        build_method(Experiment(method="temporal-ensembling"), one_head, K)


@pytest.mark.parametrize("entropy", [0.0, 0.5])
def test_vat_loss(entropy):
    method = build("vat", lam=0.3, vat_eps=2.0, vat_entropy=entropy)
    b = batch(method)
    output = compute(method, b)
    d = method.direction(b.labelled[0], b.unlabelled[0], torch.Generator().manual_seed(1))
    labelled, plain = joint(method.network, b.labelled[0], b.unlabelled[0])
    _, moved = joint(method.network, b.labelled[0], b.unlabelled[0] + 2 * d)
    p, q = plain.softmax(1), moved.softmax(1)
    smoothness = (p.detach() * (p.detach() / q).log()).sum() / 8
    h = -(p * p.log()).sum() / 8
    expected = ce(labelled, b.targets) + 0.3 * (smoothness + entropy * h)
    close(output.loss, expected)
    weights = list(method.parameters())  # the plain prediction is what the moved one learns, and does not move itself
    for a, c in zip(torch.autograd.grad(output.loss, weights), torch.autograd.grad(expected, weights)):
        close(a, c)


def test_vat_finds_a_direction_in_which_predictions_change_more_than_in_random_ones():
    method = build("vat", vat_iterations=3, shared_bn=False)
    images = torch.randn(64, 1, 4, 4, generator=torch.Generator().manual_seed(3))
    d = method.direction(images[:6], images, torch.Generator().manual_seed(1))
    close(d.square().sum((1, 2, 3)), torch.ones(64))
    with torch.no_grad(), frozen_statistics(method.network):
        plain = method.network(images)
        found = kl(plain, method.network(images + d)).mean()
        g = torch.Generator().manual_seed(2)
        chance = [
            kl(plain, method.network(images + unit(torch.randn(images.shape, generator=g)))).mean() for _ in range(20)
        ]
    assert found > 1.3 * max(chance)
    assert unit(torch.full((1, 1, 2, 2), 1e-25)).flatten().tolist() == pytest.approx([0.5] * 4)
    assert unit(torch.zeros(1, 1, 2, 2)).abs().sum() == 0


def test_vat_search_leaves_no_trace():
    """No gradient in the weights, no moved batch-norm statistics, dropout back on."""
    method = build("vat")
    before = {name: value.clone() for name, value in method.state_dict().items()}
    method.direction(torch.randn(6, 1, 4, 4), torch.randn(8, 1, 4, 4), torch.Generator().manual_seed(1))
    assert all(torch.equal(before[name], value) for name, value in method.state_dict().items())
    assert all(p.grad is None for p in method.parameters())
    assert all(module.training for module in method.modules())
    compute(method, batch(method))
    assert method.network[1].num_batches_tracked == 1  # the plain pass alone


def test_mixmatch_loss():
    method = build("mixmatch", lam=5.0)
    b = batch(method)
    output = compute(method, b)
    first, second = joint(method.network, *b.unlabelled)
    p = ((first.softmax(1) + second.softmax(1)) / 2).detach()
    guess = p**2 / (p**2).sum(1, keepdim=True)  # T = 1/2
    images = torch.cat([b.labelled[0], *b.unlabelled])
    labels = torch.cat([torch.eye(K)[b.targets], guess, guess])
    g = torch.Generator().manual_seed(1)
    share, partner = mixup_shares(22, 0.75, g), torch.rand(22, generator=g).argsort()
    mixed = torch.stack([s * images[i] + (1 - s) * images[j] for i, (s, j) in enumerate(zip(share, partner))])
    wanted = torch.stack([s * labels[i] + (1 - s) * labels[j] for i, (s, j) in enumerate(zip(share, partner))])
    logits = method.network(mixed)
    supervised = -(wanted[:6] * logits[:6].log_softmax(1)).sum() / 6
    close(output.loss, supervised + 5 * mse(logits[6:].softmax(1), wanted[6:]))
    assert sorted(partner.tolist()) == list(range(22))
    assert (partner[:6] >= 6).any()  # labelled images are mixed with unlabelled ones


def test_mixup_shares_and_sharpening():
    share = mixup_shares(20000, 0.75, torch.Generator().manual_seed(0))
    assert share.min() >= 0.5
    assert share.max() <= 1
    reference = torch.distributions.Beta(0.75, 0.75).sample((20000,))
    assert share.mean().item() == pytest.approx(torch.maximum(reference, 1 - reference).mean().item(), abs=0.005)
    close(sharpen(torch.tensor([[0.6, 0.3, 0.1]]), 0.5), torch.tensor([[36.0, 9.0, 1.0]]) / 46)
    close(sharpen(torch.tensor([[0.6, 0.3, 0.1]]), 1.0), torch.tensor([[0.6, 0.3, 0.1]]))


# ------------------------------------------------------------------------------------------------------- dual student


def two_views(method, b):
    """For each student (class, second) logits of labelled and unlabelled on its own view, and on the other one."""
    own = [joint(net, b.labelled[s], b.unlabelled[s]) for s, net in enumerate(method.submodels)]
    other = [joint(net, b.labelled[1 - s], b.unlabelled[1 - s]) for s, net in enumerate(method.submodels)]
    return own, other


def is_stable(first, second, threshold):
    """One sample, by the definition."""
    p, q = first.softmax(0), second.softmax(0)
    return bool(p.argmax() == q.argmax()) and (p.max().item() > threshold or q.max().item() > threshold)


def learners(own, other, threshold):
    """[s][i]: whether student s learns image i from the other one, sample by sample."""
    result = [[], []]
    for i in range(len(own[0][1][0])):
        sure = [is_stable(own[s][1][0][i], other[s][1][0][i], threshold) for s in (0, 1)]
        spread = [mse(own[s][1][1][i].softmax(0), other[s][1][0][i].softmax(0)) for s in (0, 1)]
        for s in (0, 1):
            result[s].append(sure[1 - s] and (not sure[s] or bool(spread[1 - s] < spread[s])))
    return result


@pytest.mark.parametrize("threshold", [0.0, 0.35, 0.99])
def test_stable_samples(threshold):
    g = torch.Generator().manual_seed(0)
    first = torch.randn(200, K, generator=g)
    second = first + 0.7 * torch.randn(200, K, generator=g)
    expected = [is_stable(a, c, threshold) for a, c in zip(first, second)]
    assert stable(first, second, threshold).tolist() == expected
    assert threshold == 0.99 or 20 < sum(expected) < 180


def test_dual_student_loss():
    fields = {"consistency_scale": 3.0, "stabilisation_scale": 20.0, "stable_threshold": 0.3, "logit_distance": 0.1}
    method = build("dual-student", **fields)
    b = batch(method, unlabelled=60)
    b.unlabelled = (b.unlabelled[0], b.unlabelled[0] + 0.3 * b.unlabelled[1])
    own, other = two_views(method, b)
    learns = learners(own, other, 0.3)
    expected = 0
    for s in (0, 1):
        (classes, seconds), (u_classes, u_seconds) = own[s]
        expected = expected + ce(classes, b.targets)
        all_classes, all_seconds = torch.cat([classes, u_classes]), torch.cat([seconds, u_seconds])
        expected = expected + 0.1 * mse(all_classes, all_seconds)
        seen = torch.cat([other[s][0][0], other[s][1][0]])
        expected = expected + 3 * mse(all_seconds.softmax(1), seen.softmax(1))
        teacher = own[1 - s][1][0].softmax(1)
        per_image = [mse(u_seconds[i].softmax(0), teacher[i]) for i in range(60) if learns[s][i]]
        assert 0 < len(per_image) < 60
        expected = expected + 20 * sum(per_image) / 60
    output = compute(method, b)
    close(output.loss, expected)
    for s in (0, 1):  # discarded: what stabilisation did not use
        assert output.unused[s].tolist() == [float(not used) for used in learns[s]]
    assert not any(a and c for a, c in zip(*learns))


# ------------------------------------------------------------------------------------------- where the gradient goes


def gradient_of(method, b, **kwargs):
    method.zero_grad()
    compute(method, b, **kwargs).loss.backward()
    return {name: None if p.grad is None else p.grad.clone() for name, p in method.named_parameters()}


@pytest.mark.parametrize("name", [*BASELINES, *ADD_ONS])
def test_gradient_reaches_what_learns_and_the_unlabelled_loss_moves_it(name):
    weight = "consistency_scale" if name.startswith(("mean", "dual")) else "lam"
    fields = {"fixmatch_threshold": 0.0, "stable_threshold": 0.0, "stabilisation_scale": 0.0, "vat_eps": 2.0}
    method = build(name, **fields, **{weight: 1.0})
    b = batch(method)
    if name == "temporal-ensembling":
        method.after_step(b, compute(method, b), clock())
        with torch.no_grad():
            method.memory.copy_(0.4 * torch.eye(K)[torch.arange(8) % K])
    more = build(name, **fields, **{weight: 2.0})
    more.load_state_dict(method.state_dict())
    one, two = gradient_of(method, b), gradient_of(more, b)
    for parameter, gradient in one.items():
        if "teacher." in parameter:
            assert gradient is None
        else:
            assert gradient is not None, parameter
    body = [p for p in one if p.endswith("0.weight") and "teacher." not in p and "heads" not in p]
    assert body
    for parameter in body:  # doubling the unlabelled weight alone changes the gradient of the first layer
        assert (two[parameter] - one[parameter]).norm() > 1e-6, parameter


def test_dual_student_stabilisation_teaches_the_learner_alone():
    """A student's stabilisation loss moves its own weights and not the teaching student's."""
    method = build("dual-student", stable_threshold=0.0, consistency_scale=0.0, logit_distance=0.0)
    b = batch(method, unlabelled=30)
    output = compute(method, b)
    own, _ = two_views(method, b)
    learns = [1 - mask for mask in output.unused]
    for s in (0, 1):
        distance = (own[s][1][1].softmax(1) - own[1 - s][1][0].detach().softmax(1)).square().mean(1)
        alone = ce(own[s][0][0], b.targets) + 100 * (learns[s] * distance).mean()
        own_gradient = torch.autograd.grad(alone, list(method.submodels[s].parameters()), retain_graph=True)
        total = torch.autograd.grad(output.loss, list(method.submodels[s].parameters()), retain_graph=True)
        for a, c in zip(own_gradient, total):
            torch.testing.assert_close(a, c, rtol=1e-4, atol=1e-5)


def test_pi_model_has_gradient_on_both_views_and_fixmatch_on_the_strong_one():
    for name, reached in {"pi-model": [True, True], "fixmatch": [False, True], "mean-teacher": [True, False]}.items():
        method = build(name, fixmatch_threshold=0.0, shared_bn=False)
        b = batch(method)
        b.unlabelled = tuple(view.requires_grad_() for view in b.unlabelled)
        compute(method, b).loss.backward()
        got = [view.grad is not None and bool(view.grad.abs().sum() > 0) for view in b.unlabelled]
        assert got == reached, name


# --------------------------------------------------------------------------------------------------- the mean teacher


def test_the_teacher_averages():
    """n steps towards weights that stay put leave decay^n of the old average, parameters and BN statistics alike."""
    method = build("mean-teacher", teacher_decay=0.9)
    with torch.no_grad():
        for value in method.teacher.state_dict().values():
            if value.is_floating_point():
                value.zero_()
        method.student[1].running_mean.fill_(2.0)
    for n in range(1, 6):
        method.after_step(None, None, clock(LATE))
        kept = 1 - 0.9**n
        close(method.teacher[0].weight, kept * method.student[0].weight)
        close(method.teacher[1].running_mean, torch.full((3,), 2 * kept))


def test_the_average_is_short_at_first():
    method = build("mean-teacher", teacher_decay=0.999)
    decays = []
    for step in (0.0, 1.0, 8.0, 5000.0):
        with torch.no_grad():
            method.teacher[0].weight.zero_()
        method.after_step(None, None, clock(step))
        decays.append(1 - (method.teacher[0].weight / method.student[0].weight).mean().item())
    assert decays == pytest.approx([1 / 2, 2 / 3, 9 / 10, 0.999], abs=1e-5)


def test_the_teacher_starts_as_the_student_and_is_what_is_evaluated():
    method = build("mean-teacher")
    for a, c in zip(method.student.state_dict().values(), method.teacher.state_dict().values(), strict=True):
        assert torch.equal(a, c)
    assert method.predictors() == {"teacher": method.teacher}
    assert not any(p.requires_grad for p in method.teacher.parameters())


# ------------------------------------------------------------------------------------------------------------ add-ons


@pytest.mark.parametrize("name", ADD_ONS)
@pytest.mark.parametrize("teaching", ["mutual", "self", "both"])
def test_an_add_on_is_its_base_plus_the_negative_term(name, teaching):
    fields = {"stable_threshold": 0.3, "lam": 0.7, "teaching": teaching}
    method = build(name, **fields)
    plain = build(name.removesuffix("+dnll"), **fields)
    assert isinstance(method, Negatives)
    assert type(method.base) is type(plain)
    assert "compute" not in vars(method.base)
    b = batch(method, unlabelled=60)
    output, base = compute(method, b), compute(plain, b)
    students = len(output.student_logits)
    expected = base.loss
    for s in range(students):
        used = torch.ones(60) if output.unused is None else output.unused[s]
        assert name.startswith("mean") or 0 < used.sum() < 60
        for t in {"mutual": [students - 1 - s], "self": [s], "both": range(students)}[teaching]:
            for i in range(60):
                if used[i]:
                    row = slice(i, i + 1)
                    loss = negative_loss(output.student_logits[s][row], output.negatives[t][row])
                    expected = expected + 0.7 * loss / 60
    close(output.loss, expected)
    assert (output.unused is None) == name.startswith("mean")  # Mean Teacher: all unlabelled images
    for logits, negatives in zip(output.teacher_logits, output.negatives, strict=True):
        assert not logits.requires_grad
        assert (negatives.gather(1, logits.argmax(1, keepdim=True)) == 0).all()


def test_whose_labels_the_add_ons_use():
    method = build("mean-teacher+dnll")
    b = batch(method)
    close(compute(method, b).teacher_logits[0], method.base.teacher(b.unlabelled[1]).detach())
    method = build("dual-student+dnll")
    b = batch(method)
    for t, logits in enumerate(compute(method, b).teacher_logits):  # on the view that the other student learns on
        seen = joint(method.base.submodels[t], b.labelled[1 - t], b.unlabelled[1 - t])[1][0]
        close(logits, seen.detach())


@pytest.mark.parametrize("name", ["mixmatch", "temporal-ensembling", "supervised", "mutual-learning"])
def test_a_base_without_student_and_teacher_refuses_the_add_on(name):
    with pytest.raises(ValueError, match=r"offers no student and teacher logits .* bases that do: Pair, MeanTeacher"):
        Negatives(build(name), Experiment(m=2), K)
    with pytest.raises(ConfigError, match=rf"method='{name}\+dnll' is not known"):
        Experiment(method=f"{name}+dnll")


@pytest.mark.parametrize("name", [name for name in BASELINES if name not in ("mixmatch", "temporal-ensembling")])
def test_other_bases_take_the_add_on(name):
    method = Negatives(build(name, threshold=0.4), Experiment(m=2), K)
    output = compute(method, batch(method))
    assert not any(logits.requires_grad for logits in output.teacher_logits)
    output.loss.backward()
    assert output.metrics["negative"] > 0


def test_errors_of_the_names():
    for wrong, near in {
        "mean_teacher": "mean-teacher",
        "fixmach": "fixmatch",
        "dual-student+dnl": "dual-student+dnll",
    }.items():
        with pytest.raises(ConfigError, match=f"Did you mean {near!r}".replace("+", r"\+")):
            Experiment(method=wrong)
    with pytest.raises(ConfigError, match=r"lam=0 has no negative labels; use method='dual-student'"):
        Experiment(method="dual-student+dnll", lam=0)
    with pytest.raises(ConfigError, match=r"stable_threshold takes a number from 0 to 1, not 1.5"):
        Experiment(stable_threshold=1.5)
    assert {*BASELINES, *ADD_ONS} <= {*METHODS}


# ----------------------------------------------------------------------------------------------- all of them, in place


@pytest.mark.parametrize("name", [*BASELINES, *ADD_ONS])
def test_an_iteration_reads_nothing_back(name):
    method = build(name, selection="epm")
    b, c, g = batch(method), clock(3.0), torch.Generator().manual_seed(1)
    with NoHostReads():
        output = method.compute(b, c, g)
        # (Pr of the add-ons is made with one_hot, which looks at its input on a CPU alone)
        getattr(method, "base", method).after_step(b, output, c)
    assert all(module.training for module in method.modules())
    assert all(not value.requires_grad and value.dim() == 0 for value in output.metrics.values())


@pytest.mark.parametrize("name", [*BASELINES, *ADD_ONS])
def test_state_dict_holds_everything(name):
    method, other = build(name, seed=0), build(name, seed=1)
    b = batch(method)
    for step in (0.0, 1.0):
        method.after_step(b, compute(method, b), clock(step))
    other.load_state_dict(method.state_dict())
    assert torch.equal(compute(method, b).loss, compute(other, b).loss)


FAST = {"labels": 20, "labelled_batch": 20, "unlabelled_batch": 256, "epochs": 2, "m": 3, "lr": 0.05}


@pytest.mark.parametrize("name", [*BASELINES, *ADD_ONS])
def test_trains_and_resumes_on_digits(name, tmp_path):
    fields = {"stable_threshold": 0.3, "fixmatch_threshold": 0.3, "dropout": 0.2, "ema_decay": 0.5}
    e = Experiment(method=name, **FAST, **fields)
    run = train(e, 0, device="cpu", progress=False)
    assert math.isfinite(run.history[-1]["loss"])
    assert run.final["test"]["mean"] > 0.1
    assert len(run.final["test"]["submodels"]) == (2 if name.startswith("dual") else 1)
    press_ctrl_c_at(3, e, tmp_path, device="cpu")  # within the first epoch
    resumed = train(e, 0, device="cpu", progress=False, checkpoint=tmp_path)
    mine, theirs = (r.trainer.learner.state() for r in (run, resumed))
    del mine["rng.cpu"], theirs["rng.cpu"]  # the caller's again
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[key], theirs[key]) for key in mine)
    assert all(mine[key].stride() == theirs[key].stride() for key in mine)
    assert run.final == resumed.final


# -------------------------------------------------------------------------------- what each file's docstring promises


@pytest.mark.parametrize("name", BASELINES)
def test_unsupervised_weights_grow_by_the_ramp(name):
    """At the first step they are exp(-5) of what they are after all ramps; cross-entropy stays as it is."""
    weights = {"lam": 1.0, "consistency_scale": 3.0, "stabilisation_scale": 5.0, "logit_distance": 0.0}
    ramps = {"ramp_epochs": 5.0, "consistency_ramp_epochs": 5.0, "stabilisation_ramp_epochs": 5.0}
    fields = {**weights, "threshold": 0.0, "fixmatch_threshold": 0.0, "stable_threshold": 0.0}
    losses = {}
    for step in (0, LATE):
        method = build(name, **ramps, **fields)
        if name == "temporal-ensembling":
            method.memory.fill_(1 / K)
            method.updates.fill_(1.0)
        output = compute(method, batch(method), step=step)
        count = 2 if name == "dual-student" else 1
        losses[step] = float(output.loss.detach()) - count * float(output.metrics["supervised"])
    assert losses[LATE] > 1e-4
    assert losses[0] == pytest.approx(math.exp(-5) * losses[LATE], rel=1e-3)


@pytest.mark.parametrize(
    ("name", "labelled", "unlabelled"),
    [
        ("mean-teacher", ("weak",), ("strong", "strong")),
        ("dual-student", ("weak", "weak"), ("strong", "strong")),
        ("pi-model", ("weak",), ("strong", "strong")),
        ("temporal-ensembling", ("weak",), ("strong",)),
        ("vat", ("weak",), ("strong",)),
        ("pseudo-label", ("weak",), ("strong",)),
        ("mixmatch", ("weak",), ("weak", "weak")),
        ("fixmatch", ("weak",), ("weak", "strong")),
        ("dnll", ("weak", "weak"), ("weak", "strong")),
        ("dual-student+dnll", ("weak", "weak"), ("strong", "strong")),
    ],
)
def test_declared_views(name, labelled, unlabelled):
    method = build(name)
    assert (method.labelled_views, method.unlabelled_views) == (labelled, unlabelled)


def test_vat_searches_without_dropout_on_the_real_networks():
    """With dropout in the search, two passes differ by their masks, and the direction is noise."""
    torch.manual_seed(0)
    experiment = Experiment(method="vat", dataset="mnist", network="cnn3", labels=10)
    method = build_method(experiment, lambda: build_network("cnn3", 10, 1, 28), 10)
    x, u = torch.randn(4, 1, 28, 28), torch.randn(6, 1, 28, 28)
    first, second = (method.direction(x, u, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.allclose(first, second)
    assert all(module.training for module in method.network.modules())


@pytest.mark.parametrize(("name", "field"), [("mean-teacher", "label_mode"), ("dual-student", "label_mode")])
def test_label_passes_obey_the_experiment(name, field):
    """In eval mode labels come from running statistics, so the loss differs from that with the batch's own."""
    methods = [build(name, **{field: mode}) for mode in ("train", "eval")]
    modes = [float(compute(method, batch(method)).loss.detach()) for method in methods]
    assert abs(modes[0] - modes[1]) > 1e-6
    still, moved = build(name), build(name, label_updates_bn=True)
    for method in (still, moved):
        compute(method, batch(method))
    statistics = [
        torch.cat([v.flatten() for n, v in m.state_dict().items() if n.endswith("running_mean")])
        for m in (still, moved)
    ]
    assert not torch.allclose(*statistics)
