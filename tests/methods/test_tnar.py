"""TNAR: its VAE, solver and perturbations against plain computations, and what each switch turns it into."""

import copy
import itertools
import math

import pytest
import torch
from methods.test_methods import clock
from methods.test_rivals import FAST, LATE, batch, close, random
from methods.test_turns import build
from torch import nn

from dnll_core import Experiment
from dnll_core.methods.base import forward_each, frozen_statistics
from dnll_core.methods.declared import Pixels
from dnll_core.methods.tnar import TNAR, VAE, conjugate_gradients, divergence, jtj, reconstruction
from dnll_core.methods.vat import VAT, kl, unit
from dnll_core.run import prepare

FIELDS = {"vat_xi": 0.05, "vat_eps": 0.7, "tnar_tangent": 1.3, "tnar_zeta": 0.4, "vat_entropy": 0.3}


class Linear(nn.Module):
    """In the place of the VAE: images z A' of 4x4 pixels, and back."""

    def __init__(self, a):
        super().__init__()
        self.register_buffer("a", a)

    def encode(self, images):
        z = images.flatten(1) @ torch.linalg.pinv(self.a).T
        return z, torch.zeros_like(z)

    def forward(self, z):
        return (z @ self.a.T).unflatten(1, (1, 4, 4))


def linear(a, **fields):
    """In its second stage, with this decoder and a batch."""
    method = build("tnar", **FIELDS | fields)
    method.vae, method.stage = Linear(a), 1
    return method, batch(unlabelled=7)


def seeded(seed=1):
    return torch.Generator().manual_seed(seed)


def lengths(d):
    return torch.linalg.vector_norm(d.flatten(1), dim=1)


# ----------------------------------------------------------------------------------------------------------------- VAE


def test_the_loss_of_the_vae_by_loops():
    logits, pixels = 2 * random(3, 1, 2, 2), torch.rand(3, 1, 2, 2, generator=seeded())
    mu, log_var = random(3, 4, seed=2), random(3, 4, seed=3)
    bce = kl_to_normal = 0.0
    for i in range(3):
        for a, x in zip(logits[i].flatten().tolist(), pixels[i].flatten().tolist()):
            p = 1 / (1 + math.exp(-a))
            bce -= (x * math.log(p) + (1 - x) * math.log(1 - p)) / 3
        for m, v in zip(mu[i].tolist(), log_var[i].tolist()):
            kl_to_normal += 0.5 * (m * m + math.exp(v) - 1 - v) / 3
    assert float(reconstruction(logits, pixels)) == pytest.approx(bce, rel=1e-5)
    assert float(divergence(mu, log_var)) == pytest.approx(kl_to_normal, rel=1e-5)
    assert divergence(torch.zeros(2, 3), torch.zeros(2, 3)) == 0


def test_the_turn_of_the_vae():
    method, b = build("tnar"), batch(unlabelled=7)
    b.unlabelled[0][0, 0, 0, 0] = 50.0  # far outside of 0...1
    twin = copy.deepcopy(method.vae)
    found = method.learn_images(b, clock(0.0), seeded())
    x = b.unlabelled[0] * 0.5 + 0.3
    mu, log_var = twin.encode(b.unlabelled[0])
    z = mu + torch.sqrt(log_var.exp()) * torch.randn(mu.shape, generator=seeded())
    expected = reconstruction(twin.decode(z), x.clamp(0, 1)) + 0.5 * divergence(mu, log_var)
    close(found.loss, expected)
    found.loss.backward()
    assert all(p.grad is not None for p in method.vae.parameters())
    assert all(p.grad is None for p in method.network.parameters())
    assert method.network.body[1].num_batches_tracked == 0


@pytest.mark.parametrize(
    ("shape", "widths", "latent", "last"),
    [
        ((3, 32, 32), (128, 256, 512), 512, (4, 4)),  # as published
        ((3, 16, 16), (64, 128), 128, (4, 4)),
        ((1, 28, 28), (112, 224, 448), 130, (4, 4)),
        ((1, 8, 8), (32,), 10, (4, 4)),
        ((1, 4, 4), (16,), 2, (2, 2)),
        ((3, 9, 20), (80, 160, 320), 90, (2, 3)),
        ((3, 64, 64), (128, 256, 512, 512), 512, (4, 4)),
    ],
)
def test_its_networks_by_the_size_of_images(shape, widths, latent, last):
    vae = VAE(Pixels(shape, (0.3,), (0.5,)))
    assert tuple(m.out_channels for m in vae.modules() if isinstance(m, nn.Conv2d)) == widths
    up = [m for m in vae.modules() if isinstance(m, nn.ConvTranspose2d)]
    assert [m.in_channels for m in up] == [*widths[::-1]]
    assert vae.map == (widths[-1], *last)
    mu, log_var = vae.encode(random(2, *shape))
    assert mu.shape == log_var.shape == (2, latent) == (2, vae.latent)
    made = vae.pixels(vae(mu)).detach()
    assert made.shape == (2, *shape)
    assert 0 <= float(made.min()) < float(made.max()) <= 1


def test_its_rate_is_constant_then_falls():
    method = build("tnar", lr=0.2)
    at = method.optimisers()["vae"].rate
    assert [float(0.2 * at(clock(step))) for step in (0.0, 66.0)] == pytest.approx([1e-3, 1e-3])
    assert float(0.2 * at(clock(90.0))) == pytest.approx(3e-4)


# -------------------------------------------------------------------------------------------------------------- solver


@pytest.mark.parametrize("d", [1, 2, 3, 4])
def test_conjugate_gradients_solve_for_up_to_four_latent_numbers(d):
    a = random(16, d, seed=d)
    product = jtj(Linear(a), random(9, d))
    g = unit(random(9, d, seed=7))
    close(product(g), g @ (a.T @ a), 1e-4)
    expected = torch.linalg.solve((a.T @ a).double(), g.double().T).T
    close(conjugate_gradients(product, g).double(), expected, 1e-3)


def test_its_steps_go_on_image_by_image():
    """One that is solved in a step, one without gradient, and unused latent numbers beside one that needs all steps."""
    a = torch.diag(torch.tensor([1.0, 2.0, 3.0, 0.5, 0.0, 0.0]))
    g = torch.stack([torch.eye(6)[1], torch.zeros(6), unit(torch.tensor([[1.0, 1, 1, 1, 0, 0]]))[0]])
    found = conjugate_gradients(lambda p: p @ (a.T @ a), g)
    expected = g * torch.tensor([1, 1 / 4, 1 / 9, 4, 0, 0])
    close(found, expected, 1e-3)
    nothing = conjugate_gradients(torch.zeros_like, g)
    assert torch.isfinite(unit(nothing)).all()


def test_the_product_of_a_real_decoder_is_that_of_its_jacobian():
    vae = VAE(Pixels((1, 4, 4), (0.3,), (0.5,))).eval().requires_grad_(False)
    z, p = random(3, vae.latent), random(3, vae.latent, seed=1)
    found = jtj(vae, z)(p)
    for i in range(3):
        j = torch.autograd.functional.jacobian(lambda row: vae(row[None]).flatten(), z[i])
        close(found[i], j.T @ (j @ p[i]), 1e-4)


# ------------------------------------------------------------------------------------------------------- perturbations


def test_the_tangent_lies_in_the_decoders_span_and_has_its_length_in_latent_space():
    a = random(16, 3)
    method, b = linear(a)
    t = method.perturbations(b.labelled[0], b.unlabelled[0], seeded())["tangent"]
    latent = t.flatten(1) @ torch.linalg.pinv(a).T
    close(latent @ a.T, t.flatten(1), 1e-4)
    close(lengths(latent), torch.full((7,), 1.3), 1e-4)


def test_the_tangent_of_a_real_vae_begins_at_the_mean_of_the_image():
    method, b, seen = build("tnar", **FIELDS), batch(unlabelled=7), []
    method.vae.register_forward_pre_hook(lambda _, z: seen.append(z[0].detach()))
    t = method.perturbations(b.labelled[0], b.unlabelled[0], seeded())["tangent"]
    twin = copy.deepcopy(method.vae).eval()
    mu = twin.encode(b.unlabelled[0])[0]
    close(seen[0], mu)
    close(lengths(seen[-1] - mu), torch.full((7,), 1.3))
    close(t, (twin(seen[-1]) - twin(mu)).detach())


def test_the_tangent_is_steepest_for_its_length_in_pixels():
    """Against the gradient at the same step, solved in float64."""
    a = random(16, 4)
    method, b = linear(a, vat_iterations=2, shared_bn=False)
    [x], [u] = b.labelled, b.unlabelled
    twin = copy.deepcopy(method.network).double()
    e = torch.randn(7, 4, generator=seeded())
    found = method.tangent(x, u, seeded())
    with frozen_statistics(twin):
        plain = twin(u.double()).detach()
        for _ in range(2):
            e = unit(e.double()).requires_grad_()
            moved = twin(u.double() + (0.05 * e @ a.double().T).unflatten(1, (1, 4, 4)))
            [g] = torch.autograd.grad(kl(plain, moved).sum(), [e])
            e = torch.linalg.solve((a.T @ a).double(), g.T).T
    expected = 1.3 * unit(e) @ a.double().T
    close(found.flatten(1).double(), expected, 1e-2)


def test_with_an_identity_for_decoder_the_tangent_is_vats():
    method, b = linear(torch.eye(16), tnar_tangent=0.7)
    [x], [u] = b.labelled, b.unlabelled
    plain = VAT.direction(method, x, u, seeded())
    start = torch.randn(u.shape, generator=seeded())
    close(method.tangent(x, u, seeded()), 0.7 * plain, 1e-3)
    close(method.search(x, u, start, lambda d: 0.05 * d), plain)


@pytest.mark.parametrize("zeta", [0.0, 1e6])
def test_the_normal_is_vats_without_zeta_and_across_the_tangent_with_a_large_one(zeta):
    method, b = linear(random(16, 3), tnar_zeta=zeta)
    [x], [u] = b.labelled, b.unlabelled
    g, again = seeded(), seeded()
    found = method.perturbations(x, u, g)
    t, n = found["tangent"], found["normal"]
    close(lengths(n), torch.full((7,), 0.7))
    cosine = (unit(t) * unit(n)).flatten(1).sum(1).abs()
    close(t, method.tangent(x, u, again))
    if zeta:
        assert float(cosine.max()) < 1e-4
        q = unit(torch.randn(u.shape, generator=again))
        q = unit(q - (q * unit(t)).flatten(1).sum(1).view(-1, 1, 1, 1) * unit(t))
        close(n, 0.7 * q, 1e-3)
    else:
        assert float(cosine.max()) > 0.05
        close(n, 0.7 * method.direction(x, u, again), 1e-4)


def test_one_step_towards_the_normal():
    method, b = linear(random(16, 3), tnar_zeta=2.0, shared_bn=False)
    [x], [u] = b.labelled, b.unlabelled
    s, twin = unit(random(7, 1, 4, 4, seed=9)), copy.deepcopy(method.network).double()
    q = unit(torch.randn(u.shape, generator=seeded())).double().requires_grad_()
    with frozen_statistics(twin):
        [g] = torch.autograd.grad(kl(twin(u.double()).detach(), twin(u.double() + 0.05 * q)).sum(), [q])
    q = q.detach()
    projected = torch.stack([float((s[i].double() * q[i]).sum()) * s[i].double() for i in range(7)])
    expected = unit(g / 0.05**2 + 2.0 * (q - projected))
    close(method.direction(x, u, seeded(), method.across(s)).double(), expected, 1e-3)
    method, _ = linear(random(16, 3), vat_xi=1e300)
    assert method.across(s)(u, u).isfinite().all()  # no OverflowError


def test_lengths_of_zero_leave_out_their_term():
    method, b = linear(random(16, 3), tnar_tangent=0.0)
    twin = VAT(lambda: copy.deepcopy(method.network), method.experiment)
    mine, theirs = (each.compute(b, clock(LATE), seeded()) for each in (method, twin))
    assert torch.equal(mine.loss, theirs.loss)
    assert {*mine.metrics} == {"supervised", "smoothness", "entropy"}
    method, b = linear(random(16, 3), vat_eps=0.0)
    assert {*method.perturbations(b.labelled[0], b.unlabelled[0], seeded())} == {"tangent"}
    method, b = linear(random(16, 3), vat_eps=0.0, tnar_tangent=0.0)
    plain = method.compute(b, clock(LATE), seeded())
    close(plain.loss, plain.metrics["supervised"] + 0.3 * plain.metrics["entropy"])


@pytest.mark.parametrize("shared", [True, False])
def test_the_loss_of_the_classifier(shared):
    method, b = linear(random(16, 3), lam=0.6, shared_bn=shared)
    [x], [u] = b.labelled, b.unlabelled
    found = method.compute(b, clock(LATE), seeded())
    terms = method.perturbations(x, u, seeded())

    def logits(images):
        return forward_each([method.network], [[x, images]], joint=shared)[0]

    labelled, plain = logits(u)
    p = plain.softmax(1)
    smooth = 0.0
    for name in ("tangent", "normal"):
        smooth += (p.detach() * (p.detach() / logits(u + terms[name])[1].softmax(1)).log()).sum() / 7
    h = -(p * p.log()).sum() / 7
    expected = nn.functional.cross_entropy(labelled, b.targets) + 0.6 * (smooth + 0.3 * h)
    close(found.loss, expected)
    weights = list(method.network.parameters())
    for mine, theirs in zip(torch.autograd.grad(found.loss, weights), torch.autograd.grad(expected, weights)):
        close(mine, theirs)


def test_searches_leave_no_trace_and_leave_dropout_out():
    method, b = build("tnar", **FIELDS), batch(unlabelled=7)
    method.network.body.append(nn.Dropout(0.5))
    before = copy.deepcopy(method.state_dict())
    first, second = (method.perturbations(b.labelled[0], b.unlabelled[0], seeded()) for _ in range(2))
    for name in ("tangent", "normal"):
        assert torch.equal(first[name], second[name])
        assert not first[name].requires_grad
        assert float(lengths(first[name]).min()) > 0
    assert all(map(torch.equal, before.values(), method.state_dict().values()))
    assert all(p.grad is None and p.requires_grad for p in method.parameters())
    assert all(module.training for module in method.modules())


def test_bfloat16_changes_no_direction():
    method, b = linear(random(16, 3))
    plain = method.perturbations(b.labelled[0], b.unlabelled[0], seeded())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = method.perturbations(b.labelled[0], b.unlabelled[0], seeded())
    assert all(torch.equal(plain[name], found[name]) for name in ("tangent", "normal"))


# -------------------------------------------------------------------------------------------------------------- stages


def test_each_stage_moves_its_network_alone_and_the_average_begins_with_the_classifier():
    trainer, _ = prepare(Experiment(**FAST, method="tnar", tnar_start=0.4, ema_decay=0.9), 0, progress=False)
    learner, method = trainer.learner, trainer.learner.method
    assert isinstance(method, TNAR)
    start = learner.stages.starts[1]
    states = [{name: copy.deepcopy(getattr(method, name).state_dict()) for name in ("network", "vae")}]
    for step in range(learner.clock.total_steps):
        if step == start:
            states.append({name: copy.deepcopy(getattr(method, name).state_dict()) for name in ("network", "vae")})
        learner.begin(step)
        if step == start:
            average = learner.average.state_dict()
            assert all(torch.equal(value, average[name]) for name, value in method.state_dict().items())
        trainer.train_step(step % learner.steps_per_epoch)
    states.append({name: getattr(method, name).state_dict() for name in ("network", "vae")})
    moved = [
        {name: not all(map(torch.equal, a[name].values(), b[name].values())) for name in a}
        for a, b in itertools.pairwise(states)
    ]
    assert moved == [{"network": False, "vae": True}, {"network": True, "vae": False}]
    assert learner.optimisers.state()["steps." + str(len(list(method.network.parameters())))] == 0  # restarted
