"""Methods of several turns, each with its optimiser: against losses by hand, and what a turn leaves alone."""

import copy
import math
from functools import partial
from pathlib import Path

import pytest
import torch
from methods.test_methods import clock
from methods.test_rivals import FAST, LATE, K, batch, close, goes_on_to_the_bit, pool_of, random
from test_augment import NoHostReads
from torch import nn

from dnll_core import Experiment
from dnll_core.config import METHODS, ConfigError
from dnll_core.methods import build_method, triple_gan
from dnll_core.methods.base import Method, Output
from dnll_core.methods.declared import Adam, Optimiser, Pixels, Stage
from dnll_core.methods.improved_gan import CODE, Dense, Generator, Noise, Shifted, feature_matching, real_or_made
from dnll_core.methods.modes import frozen
from dnll_core.methods.triple_gan import GivenClass, entropy_and_balance, judging, late
from dnll_core.methods.turns import checked, of_all_turns
from dnll_core.models import build_network
from dnll_core.optimisers import Optimisers
from dnll_core.run import prepare
from dnll_core.schedules import Clock, constant, cosine
from dnll_core.stages import starts_of
from dnll_core.trainer import TrainingDiverged

TURNS = ("improved-gan", "triple-gan", "tnar")
SHORT = FAST | {"tnar_start": 0.4}  # five iterations of twelve


def build(name, seed=0, **fields):
    torch.manual_seed(seed)
    e = Experiment(**{"method": name, "ramp_epochs": 0, **fields})
    pixels = Pixels((1, 4, 4), (0.3,), (0.5,))
    return build_method(e, partial(build_network, "small", K, 1, 4), K, pool=8, pixels=pixels)


# ---------------------------------------------------------------------------------------------------------- optimisers


def reference(p, grads, lr, kind, e):
    """Weights after these gradients, by plain loops in float64."""
    w, first, second = p.double(), 0.0, 0.0
    for t, g in enumerate(grads, 1):
        g = g.double()
        if kind is None:
            g = g + e.weight_decay * w
            first = e.momentum * first + g
            w = w - lr(t - 1) * (g + e.momentum * first)
            continue
        b1, b2 = kind.betas
        first, second = b1 * first + (1 - b1) * g, b2 * second + (1 - b2) * g * g
        w = w - lr(t - 1) * (first / (1 - b1**t)) / ((second / (1 - b2**t)).sqrt() + kind.eps)
    return w


class Weights(Method):
    """One vector for each optimiser, and a loss whose gradient is what the test says."""

    def __init__(self, adam, rate):
        super().__init__()
        self.parts = nn.ModuleList([nn.Linear(3, 1, bias=False), nn.Linear(3, 1, bias=False)])
        self.wanted = {"one": Optimiser((self.parts[0],), adam, rate), "other": Optimiser((self.parts[1],))}

    def optimisers(self):
        return self.wanted

    def turns(self):
        return dict.fromkeys(self.wanted)


@pytest.mark.parametrize("adam", [None, Adam(), Adam((0.5, 0.9), eps=0.1)])
@pytest.mark.parametrize("rate", [cosine, constant])
def test_steps_are_those_of_the_definitions(adam, rate):
    e = Experiment(lr=0.1, weight_decay=0.01)
    torch.manual_seed(0)
    method, grads = Weights(adam, rate), random(6, 1, 3)
    optimisers, c = Optimisers(method, e, torch.device("cpu")), Clock(torch.zeros(()), 1, 6)
    before = [part.weight.detach().clone() for part in method.parts]
    for g in grads:
        optimisers.zero_grad()
        for part in method.parts:
            part.weight.grad = g.clone()
        optimisers.step("one", c)
        c.step += 1
    lr = {cosine: lambda t: 0.05 * (1 + math.cos(math.pi * t / 6)), constant: lambda t: 0.1}[rate]
    close(method.parts[0].weight.double(), reference(before[0], grads, lr, adam, e), 1e-6)
    assert torch.equal(method.parts[1].weight, before[1])  # though it has a gradient


def test_their_state_goes_on_in_others_and_a_restart_forgets_it():
    e, c = Experiment(lr=0.1), Clock(torch.zeros(()), 1, 9)
    torch.manual_seed(0)
    one = Weights(Adam(), constant)
    other = copy.deepcopy(one)
    first, second = (Optimisers(method, e, torch.device("cpu")) for method in (one, other))
    fresh = {name: value.clone() for name, value in first.state().items()}
    assert {*fresh} == {"first moment.0", "second moment.0", "steps.0", "momentum.1"}

    def step(optimisers, method, seed):
        for part, name in zip(method.parts, ("one", "other")):
            part.weight.grad = random(1, 3, seed=seed)
            optimisers.step(name, c)

    for seed in range(3):
        step(first, one, seed)
    assert not any(torch.equal(first.state()[name], fresh[name]) for name in fresh)
    other.load_state_dict(one.state_dict())
    second.restore(first.state())
    places = {name: value.data_ptr() for name, value in second.state().items()}
    step(first, one, 3)
    step(second, other, 3)
    assert all(map(torch.equal, one.parameters(), other.parameters()))
    assert places == {name: value.data_ptr() for name, value in second.state().items()}
    second.restart()
    assert all(torch.equal(value, fresh[name]) for name, value in second.state().items())


def test_what_no_optimiser_or_two_would_move_is_refused():
    method, e, cpu = Weights(None, cosine), Experiment(), torch.device("cpu")
    method.wanted["other"] = Optimiser((method,))
    with pytest.raises(TypeError, match=r"Weights: the weight parts.0.weight is in 2 of its optimisers"):
        Optimisers(method, e, cpu)
    del method.wanted["other"]
    with pytest.raises(TypeError, match=r"the weight parts.1.weight is in 0 of .*requires_grad_\(False\)"):
        Optimisers(method, e, cpu)
    method.parts[1].requires_grad_(False)
    assert [*Optimisers(method, e, cpu).state()] == ["momentum.0"]
    with pytest.raises(TypeError, match=r"a tuple, \(Linear,\), not one module"):
        Optimiser(method.parts[0])
    method.stages = (Stage("first"), Stage("second"))
    method.turns = lambda: {"one": None} | ({"two": None} if method.stage else {})
    with pytest.raises(TypeError, match="Weights: its turns are one, two, and its optimisers one;"):
        Optimisers(method, e, cpu)


def test_what_a_turn_gives_back_is_looked_at():
    method, loss = Weights(None, cosine), torch.ones((), requires_grad=True)
    for output, told in (
        (None, "gave NoneType, not an Output"),
        (Output(loss.detach(), []), "a loss that is no 0-dim tensor with a gradient"),
        (Output(loss.expand(2), []), "a loss that is no 0-dim"),
        (Output(loss, [], metrics={"fine": loss.detach(), "mean": 0.5}), "a metric 'mean' that is no 0-dim tensor"),
        (Output(loss, [], metrics={"mean": loss}), "a metric 'mean' that is no 0-dim tensor without gradient"),
    ):
        with pytest.raises(TypeError, match=f"Weights: the turn 'one' .*{told}"):
            checked(output, method, "one")
    good, told = (Output(loss, found, metrics={"mean": loss.detach()}) for found in ([], [loss]))
    assert checked(good, method, "one") is good
    other = Output(loss, [], metrics={"other": loss.detach()})
    assert float(of_all_turns([good, other]).loss) == 2
    assert of_all_turns([told, other]).labelled_logits
    for outputs in ([good, told], [told, Output(loss, [loss])]):
        with pytest.raises(ValueError, match="two turns of an iteration"):
            of_all_turns(outputs)


def test_pixels_are_what_they_were_and_their_moments_are_no_state():
    pixels = Pixels((3, 4, 4), (0.1, 0.5, 0.4), (0.2, 0.3, 0.25))
    x01 = torch.rand(5, 3, 4, 4)
    seen = pixels.normalise(x01)
    close(seen[:, 1], (x01[:, 1] - 0.5) / 0.3)
    close(pixels(seen), x01)
    assert pixels.state_dict() == {}


# --------------------------------------------------------------------------------------------------------- ImprovedGAN


def test_real_or_made_is_that_of_one_more_class_with_a_logit_of_zero():
    real, made = 3 * random(7, K).double(), 3 * random(5, K, seed=1).double()

    def share(logits):  # of the K classes, in a softmax of all
        return torch.cat([logits, logits.new_zeros(len(logits), 1)], 1).softmax(1)[:, :K].sum(1)

    expected = -0.5 * share(real).log().mean() - 0.5 * (1 - share(made)).log().mean()
    close(real_or_made(real, made), expected, 1e-10)
    assert torch.isfinite(real_or_made(torch.full((2, K), 1e4), torch.full((2, K), 1e4)))
    moved = real_or_made(real + 2, made) - real_or_made(real, made)
    assert moved < 0  # a shift of all logits says "real", and nothing about the class


def test_nothing_is_apart_where_made_images_are_the_real_ones():
    real, made = random(6, 5), random(9, 5, seed=1)
    assert feature_matching(real, real.flip(0)) < 1e-12
    expected = sum((float(real[:, f].mean()) - float(made[:, f].mean())) ** 2 for f in range(5)) / 5
    assert float(feature_matching(real, made)) == pytest.approx(expected, rel=1e-5)


def test_a_dense_layer_is_a_linear_one_with_normed_weights():
    layer, x = Dense(6, 3, learns=True), random(500, 6)
    layer.scale.data = torch.tensor([0.5, -2.0, 1.0])
    layer.bias.data = random(3)
    expected = [[float(s * (row @ v) / v.norm() + b) for v, s, b in zip(layer.v, layer.scale, layer.bias)] for row in x]
    close(layer(x), torch.tensor(expected))
    layer.normalise_(x)
    close(layer(x).mean(0), torch.zeros(3), 1e-5)
    close(layer(x).std(0, correction=0), torch.ones(3), 1e-5)
    constant_one = Dense(2, 1)
    constant_one.normalise_(torch.ones(4, 2))
    close(constant_one.scale, torch.ones(1))
    assert float(constant_one(torch.ones(1, 2))) == pytest.approx(0, abs=1e-6)
    assert not Dense(2, 1).scale.requires_grad


def test_noise_is_there_while_training_alone():
    layer, x = Noise(0.7), torch.zeros(200, 50)
    assert float(layer(x).std()) == pytest.approx(0.7, rel=0.02)
    assert torch.equal(layer.eval()(x), x)


def test_the_classifiers_scales_are_set_on_the_first_images():
    method = build("improved-gan")
    pool = pool_of(method.classifier)
    with torch.no_grad():
        torch.manual_seed(3)
        method.at_stage(pool, torch.Generator())
        torch.manual_seed(3)  # the noise of the scales
        x = pool.unlabelled
        for layer in (*method.classifier.body, *method.classifier.heads[0]):
            x = layer(x)
            if isinstance(layer, Dense):
                close(x.mean(0), torch.zeros(x.shape[1]), 1e-4)
                alive = x.std(0) > 1e-4
                close(x.std(0, correction=0)[alive], torch.ones(int(alive.sum())), 1e-3)
    assert all(module.training for module in method.modules())


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("shared", [True, False])
def test_both_turns_of_an_improved_gan(own, shared):
    method = build("improved-gan", own_networks=own, lam=0.6, shared_bn=shared)
    b, g = batch(unlabelled=7, views=(1, 1)), torch.Generator()
    torch.manual_seed(1)
    found = method.compute(b, clock(LATE), g.manual_seed(5)).loss
    torch.manual_seed(1)
    twin = copy.deepcopy(method)
    real = b.unlabelled[0][::2]
    made = twin.generator(torch.rand(4, CODE, generator=g.manual_seed(5))).detach()
    parts = [b.labelled[0], real, made]
    logits = twin.classifier(torch.cat(parts)).split([6, 4, 4]) if shared else [twin.classifier(x) for x in parts]
    expected = nn.functional.cross_entropy(logits[0], b.targets) + 0.6 * real_or_made(*logits[1:])
    close(found, expected)

    before = copy.deepcopy(method.classifier.state_dict())
    torch.manual_seed(2)
    found = method.match(b, clock(LATE), g.manual_seed(6))
    torch.manual_seed(2)
    made = twin.generator(torch.rand(3, CODE, generator=g.manual_seed(6)))
    real = b.unlabelled[0][1::2]
    twin.classifier.load_state_dict(before)
    if shared:
        hidden = twin.classifier.features(torch.cat([real, made])).split([3, 3])
    else:
        hidden = [twin.classifier(x, return_features=True)[1] for x in (real, made)]
    close(found.loss, feature_matching(*hidden))
    found.loss.backward()
    assert all(p.grad is None for p in method.classifier.parameters())
    assert all(p.grad is not None for p in method.generator.parameters())
    assert all(map(torch.equal, before.values(), method.classifier.state_dict().values()))
    assert [p.requires_grad for p in method.parameters()] == [p.requires_grad for p in twin.parameters()]


def test_made_images_are_pixels_as_networks_see_them():
    pixels = Pixels((3, 5, 4), (0.2, 0.4, 0.5), (0.3, 0.2, 0.1))
    made = pixels(Generator(pixels, Shifted)(torch.rand(8, CODE)))
    assert made.shape == (8, 3, 5, 4)
    assert 0 <= float(made.min()) < float(made.max()) <= 1


def test_what_is_frozen_learns_nothing_and_then_again():
    network = nn.Linear(2, 1)
    network.bias.requires_grad_(False)
    x = torch.ones(1, 2, requires_grad=True)
    with pytest.raises(KeyError), frozen(network):
        network(x).sum().backward()
        raise KeyError
    assert network.weight.grad is None and x.grad is not None
    assert network.weight.requires_grad and not network.bias.requires_grad


def test_a_batch_that_cannot_be_halved_is_refused():
    with pytest.raises(ConfigError, match=r"unlabelled_batch=3 with method='improved-gan'.* give it 4"):
        Experiment(method="improved-gan", unlabelled_batch=3)


# ---------------------------------------------------------------------------------------------------------- Triple GAN


class Judge(nn.Module):
    """A discriminator with one answer, and what it was asked."""

    def __init__(self, logit):
        super().__init__()
        self.logit, self.asked = nn.Parameter(torch.tensor(logit)), []

    def forward(self, images, classes):
        self.asked.append((images, classes))
        return self.logit.expand(len(images))


class Told(nn.Module):
    """A classifier whose logits are the first K pixels, times a weight of one."""

    def __init__(self):
        super().__init__()
        self.heads = nn.ModuleList([nn.Linear(1, 1, bias=False)])
        nn.init.ones_(self.heads[0].weight)

    def forward(self, x):
        return x.flatten(1)[:, :K] * self.heads[0].weight


class Blank(nn.Module):
    """Draws each class as its number."""

    def forward(self, code, classes):
        self.code = code
        return classes.float().view(-1, 1, 1, 1).expand(-1, 1, 4, 4)


def toys(logit=0.0, **fields):
    method = build("triple-gan", shared_bn=False, **fields)
    method.classifier, method.discriminator, method.generator = Told(), Judge(logit), Blank()
    method.stage, method.last = 1, (method.classifier.heads[0],)
    return method


def minus_log(d):
    return -math.log(d)


@pytest.mark.parametrize("logit", [0.0, 0.8, -1.5])
def test_three_losses_by_hand_where_nothing_depends_on_the_image(logit):
    method, b, g = toys(logit, lam=0.7), batch(unlabelled=11), torch.Generator().manual_seed(3)
    d = 1 / (1 + math.exp(-logit))
    judged = method.judge(b, clock(), g)
    assert float(judged.loss) == pytest.approx(minus_log(d) + 0.5 * minus_log(1 - d) + 0.5 * minus_log(1 - d))
    if logit == 0:
        assert float(judged.loss) == pytest.approx(2 * math.log(2))
    assert float(judged.metrics["made images found"]) == (logit < 0)
    assert float(method.deceive(b, clock(), g).loss) == pytest.approx(0.5 * minus_log(d))

    # of 11 unlabelled images two are told, and four made: of the classes 0...3, each blank, which says nothing
    p = b.unlabelled[0][-2:].flatten(1)[:, :K].double().softmax(1)
    labelled = b.labelled[0].flatten(1)[:, :K].double().softmax(1)
    supervised = sum(minus_log(float(row[y])) for row, y in zip(labelled, b.targets)) / len(labelled)
    entropy = -sum(float(q) * math.log(q) for q in p.flatten()) / 2
    balance = sum(minus_log(float(q)) for q in p.mean(0)) / K
    adversarial = sum(float(row.max()) for row in p) / 2 * minus_log(d)
    for step, made in ((29.0, 0.0), (30.0, math.log(K))):
        others = 0.3 * entropy + 0.001 * balance + 0.5 * adversarial + 0.1 * made
        found = float(method.compute(b, clock(step), g).loss)
        assert found == pytest.approx(supervised + 0.0001 + 0.7 * others, rel=1e-5)


def test_before_the_game_the_classifier_has_all_images_and_no_rival():
    method, b = toys(), batch(unlabelled=11)
    method.stage = 0
    method.discriminator = method.generator = None
    assert [*method.turns()] == ["classifier"]
    entropy, balance = entropy_and_balance(b.unlabelled[0].flatten(1)[:, :K])
    expected = nn.functional.cross_entropy(b.labelled[0].flatten(1)[:, :K], b.targets)
    close(method.compute(b, clock(), None).loss, expected + 0.0001 + 0.3 * entropy + 0.3 * balance)
    assert [*toys().turns()] == ["discriminator", "generator", "classifier"]


def test_without_discriminator_and_made_images_it_is_entropy_minimisation_with_balance():
    method, b = toys(1e4), batch(unlabelled=11)  # all pairs are real
    found = method.compute(b, clock(10.0), torch.Generator()).loss
    entropy, balance = entropy_and_balance(b.unlabelled[0][-2:].flatten(1)[:, :K])
    expected = nn.functional.cross_entropy(b.labelled[0].flatten(1)[:, :K], b.targets)
    close(found, expected + 0.0001 + 0.3 * entropy + 0.001 * balance)


def test_entropy_and_balance_are_those_of_their_definitions():
    logits = 3 * random(7, K).double()
    p = logits.softmax(1)
    entropy, balance = entropy_and_balance(logits)
    close(entropy, -(p * p.log()).sum(1).mean(), 1e-10)
    close(balance, -(p.mean(0).log() / K).sum(), 1e-10)
    sure = 1e4 * torch.eye(K)
    close(torch.stack(entropy_and_balance(sure)), torch.tensor([0.0, math.log(K)]))
    assert all(map(torch.isfinite, entropy_and_balance(sure[:1])))


def test_the_discriminator_is_asked_about_real_told_and_made_pairs():
    method, b, g = toys(), batch(labelled=6, unlabelled=20), torch.Generator().manual_seed(3)
    method.judge(b, clock(), g)
    [(images, classes)] = method.discriminator.asked
    u = b.unlabelled[0]
    assert torch.equal(images[:21], torch.cat([b.labelled[0][:1], u]))  # 1 + 16 real, 4 told
    assert torch.equal(classes[:1], b.targets[:1])
    assert torch.equal(classes[1:21], u.flatten(1)[:, :K].argmax(1))
    assert classes[21:].tolist() == [0, 1, 2, 3] * 2
    assert torch.equal(images[21:, 0, 0, 0], classes[21:].float())
    drawn = method.generator.code
    method.deceive(b, clock(), g)
    assert torch.equal(method.discriminator.asked[1][1], classes[21:]) and not torch.equal(method.generator.code, drawn)
    method.compute(b, clock(), g)
    assert torch.equal(method.discriminator.asked[2][0], u[-4:])
    assert torch.equal(method.discriminator.asked[2][1], classes[17:21])
    many = batch(labelled=250, unlabelled=20)
    method.judge(many, clock(), g)
    assert torch.equal(method.discriminator.asked[3][0][:2], many.labelled[0][:2])
    assert len(method.discriminator.asked[3][0]) == 2 + 20 + 8


def test_judging_weighs_each_kind_by_itself_and_is_finite():
    real, told, made = random(9), random(2, seed=1), random(4, seed=2)
    d = [torch.sigmoid(x.double()) for x in (real, told, made)]
    expected = -d[0].log().mean() - 0.5 * (1 - d[1]).log().mean() - 0.5 * (1 - d[2]).log().mean()
    close(judging(real, told, made).double(), expected)
    far = torch.tensor([1e4, -1e4], requires_grad=True)
    judging(far, far, far).backward()
    assert torch.isfinite(far.grad).all()


def test_the_discriminator_teaches_the_classifier_through_its_largest_probability_alone(monkeypatch):
    monkeypatch.setattr(triple_gan, "ENTROPY", 0.0)
    monkeypatch.setattr(triple_gan, "BALANCE", (0.0, 0.0))
    monkeypatch.setattr(triple_gan, "ADVERSARIAL", 1.0)

    def gradient(method, images):
        """Of the loss less its first terms, by the logits of unlabelled images."""
        method.classifier.forward = lambda x: x.flatten(1)[:, :K]
        x = images.clone().requires_grad_()
        b = batch(unlabelled=2)
        b.unlabelled = (x,)
        method.compute(b, clock(), torch.Generator()).loss.backward()
        return x.grad.flatten(1)[:, :K]

    images = random(2, 1, 4, 4)
    logits = images.flatten(1)[:, :K].requires_grad_()
    (logits.softmax(1).amax(1) * -math.log(0.25)).mean().backward()  # D = 1/4
    found = gradient(toys(-math.log(3.0)), images)
    close(found, logits.grad)
    assert all(found[i, logits[i].argmax()] > 0 for i in range(2))  # it lowers a confidence, never raises it
    saturated = torch.zeros(2, 1, 4, 4)
    saturated[:, :, 0, 0] = 200.0
    assert gradient(toys(-math.log(3.0)), saturated).abs().max() == 0  # where the largest is a constant 1
    assert gradient(toys(1e4), images).abs().max() == 0  # and where D objects to nothing
    monkeypatch.setattr(triple_gan, "ADVERSARIAL", 0.0)
    assert gradient(toys(-math.log(3.0)), images).abs().max() == 0


@pytest.mark.parametrize("own", [True, False])
def test_made_images_teach_the_classifier_late_and_never_move_its_statistics(own):
    b = batch(unlabelled=20)
    losses = {}
    for step in (29.0, 31.0):
        method = build("triple-gan", own_networks=own, shared_bn=False)
        method.stage = 1
        statistics = copy.deepcopy(method.classifier)
        torch.manual_seed(4)
        output = method.compute(b, clock(step), torch.Generator().manual_seed(2))
        losses[step] = float(output.loss)
        of_made = float(output.metrics["of made images"])
        output.loss.backward()
        assert all(p.grad is None for m in (method.generator, method.discriminator) for p in m.parameters())
        assert all(p.grad is not None for p in method.classifier.parameters())
        torch.manual_seed(4)
        for images in (b.labelled[0], b.unlabelled[0][-4:]):
            statistics(images)
        assert all(map(torch.equal, statistics.buffers(), method.classifier.buffers()))
    assert losses[31.0] - losses[29.0] == pytest.approx(0.1 * of_made, rel=1e-3)


def test_discriminator_and_generator_give_no_gradient_to_others():
    for turn, mine in (("judge", "discriminator"), ("deceive", "generator")):
        method = build("triple-gan")
        method.stage = 1
        getattr(method, turn)(batch(unlabelled=20), clock(), torch.Generator()).loss.backward()
        for name, module in method.named_children():
            assert all((p.grad is not None) == (name == mine) for p in module.parameters() if p.requires_grad), turn


def test_a_class_is_a_vector_beside_each_layers_input():
    seen = []

    class Layer(nn.Module):
        def forward(self, x):
            seen.append(x)
            return x[:, :1]

    assert GivenClass(3, [Layer(), Layer()])(random(2, 5), torch.tensor([2, 0])).shape == (2, 1)
    for x, width in zip(seen, (5, 1)):
        assert torch.equal(x[:, width:], torch.tensor([[0.0, 0, 1], [1, 0, 0]]))
    assert torch.equal(seen[0][:, :5], random(2, 5)) and torch.equal(seen[1][:, :1], random(2, 5)[:, :1])
    pixels = Pixels((1, 28, 28))
    generator = Generator(pixels, nn.BatchNorm1d, 10, partial(GivenClass, 10))
    discriminator = triple_gan.Discriminator(pixels, 10)
    made = generator(torch.rand(4, CODE), torch.arange(4))
    assert made.shape == (4, 1, 28, 28) and 0 <= float(made.min()) < float(made.max()) <= 1
    assert discriminator(made, torch.arange(4)).shape == (4,)
    sizes = [module.v.shape for module in discriminator.modules() if isinstance(module, Dense)]
    assert sizes == [(1000, 794), (500, 1010), (250, 510), (250, 260), (250, 260), (1, 260)]
    for network, inputs in ((generator, torch.rand(1, CODE)), (discriminator, made[:1])):
        one, other = network.eval()(torch.cat([inputs, inputs]), torch.tensor([0, 1]))
        assert not torch.allclose(one, other)


def test_the_published_classifier():
    network = triple_gan.classifier(Pixels((1, 28, 28)), 10)
    maps = []
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda module, x, y: maps.append(tuple(y.shape[1:])))
    assert network(torch.randn(2, 1, 28, 28)).shape == (2, 10)
    assert maps == [(32, 24, 24), (64, 12, 12), (64, 10, 10), (128, 5, 5), (128, 5, 5)]
    with pytest.raises(ValueError, match=r"size=\(3, 8\) is too small .* at least 4x4"):
        triple_gan.classifier(Pixels((1, 3, 8)), 10)


def test_the_rate_is_constant_and_falls_as_published():
    method = build("triple-gan")
    assert float(method.rate(clock())) == pytest.approx(0.3)
    method.stage = 1

    def at(share):
        return float(method.rate(Clock(torch.tensor(30 + 1000 * share), 10, 1030, 30, 1000)))

    assert at(0) == at(0.3) == 1
    assert at(0.4) == pytest.approx(0.995**100, rel=1e-4)
    assert at(1) == pytest.approx(0.995**700, rel=1e-3)
    assert [float(late(Clock(torch.tensor(30.0 + i), 10, 1030, 30, 1000))) for i in (0, 299, 300, 999)] == [0, 0, 1, 1]


def test_a_stage_has_the_least_it_asks_for():
    for total, start in ((12, 1), (34, 1), (1030, 30), (60000, 1748)):
        assert starts_of(build("triple-gan"), total) == [0, start]
    with pytest.raises(ConfigError, match="a run of 1 iterations is too short for the 2 stages of TripleGAN"):
        starts_of(build("triple-gan"), 1)


# ------------------------------------------------------------------------------------------------ all of them, in place


def test_the_readmes_method_of_two_turns_runs_as_it_stands(monkeypatch):
    text = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8").split("## Add a method")[1]
    names = {}
    exec(text.split("```python\n")[1].split("```")[0], names)
    monkeypatch.setattr(
        "dnll_core.run.build_method",
        lambda e, build, num_classes, *rest, **more: names["Deceiving"](build, e, num_classes),
    )
    trainer, _ = prepare(Experiment(**FAST), 0, progress=False)
    before = [p.detach().clone() for p in trainer.learner.method.parameters()]
    trainer.fit(progress=False)
    assert all(not torch.equal(p, b) for p, b in zip(trainer.learner.method.parameters(), before))
    assert all(row["critic"] > 0 and row["deceived"] > 0 for row in trainer.history)


@pytest.mark.parametrize("name", METHODS)
def test_each_weight_has_one_optimiser_at_most_and_each_turn_one(name):
    e = Experiment(**SHORT, method=name)
    method = prepare(e, 0, progress=False)[0].learner.method
    weights = [id(p) for o in method.optimisers().values() for p in nn.ModuleList(o.modules).parameters()]
    assert len(weights) == len({*weights})
    for stage in range(len(method.stages)):
        method.stage = stage
        assert {*method.turns()} <= {*method.optimisers()}
    assert {id(p) for p in method.parameters() if p.requires_grad} <= {*weights}


@pytest.mark.parametrize("name", TURNS)
def test_a_turn_leaves_the_others_weights_alone(name):
    trainer, _ = prepare(Experiment(**SHORT, method=name), 0, progress=False)
    learner, method = trainer.learner, trainer.learner.method
    iterate_all = method.turns
    for start in learner.stages.starts:
        learner.clock.step.fill_(start)
        learner.begin(start)
        for i in range(2):  # with moments of all of them
            trainer.train_step(i)
        turns, before = method.turns(), [p.detach().clone() for p in method.parameters()]
        for mine in turns:
            method.turns = lambda mine=mine, turns=turns: {mine: turns[mine]}
            trainer.train_step(2)
            own = {id(p) for p in nn.ModuleList(method.optimisers()[mine].modules).parameters() if p.requires_grad}
            for p, b in zip(method.parameters(), before):
                assert torch.equal(p, b) == (id(p) not in own), mine
            before = [p.detach().clone() for p in method.parameters()]
        method.turns = iterate_all


@pytest.mark.parametrize("name", TURNS)
@pytest.mark.parametrize("own", [True, False])
def test_turns_read_nothing_back(name, own):
    method = build(name, own_networks=own)
    b, c, g = batch(views=(1, len(method.unlabelled_views))), clock(3.0), torch.Generator().manual_seed(1)
    for stage in range(len(method.stages)):
        method.stage, outputs = stage, []
        for turn in method.turns().values():
            with NoHostReads():
                outputs.append(turn(b, c, g))
            outputs[-1].loss.backward()
            assert all(not value.requires_grad and value.dim() == 0 for value in outputs[-1].metrics.values())
        assert len([output for output in outputs if output.labelled_logits]) == 1 or len(outputs) == 1
        with NoHostReads():
            rates = [optimiser.rate(c) for optimiser in method.optimisers().values()]
        assert all(rate.dim() == 0 for rate in rates)
    assert all(module.training for module in method.modules())


@pytest.mark.parametrize("name", TURNS)
@pytest.mark.parametrize("stop", [1, 2, 4, 6, 9])  # Triple GAN's game begins after the first
def test_a_stopped_run_goes_on_to_the_bit(name, stop, tmp_path):
    goes_on_to_the_bit(Experiment(**SHORT, ema_decay=0.5, method=name), stop, tmp_path)


@pytest.mark.parametrize("name", TURNS)
def test_a_weight_of_any_turn_that_is_not_finite_ends_the_run(name):
    for optimiser in build(name).optimisers():
        trainer, _ = prepare(Experiment(**SHORT, method=name), 0, progress=False)
        [module, *_] = trainer.learner.method.optimisers()[optimiser].modules
        with torch.no_grad():
            next(p for p in module.parameters() if p.requires_grad).view(-1)[0] = torch.inf
        with pytest.raises(TrainingDiverged):
            trainer.check_finite(0)
