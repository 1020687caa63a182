"""TNAR with a VAE (Yu et al., CVPR 2019): VAT along the manifold of images, and across it.

    VAE:        BCE(x, D(z)), summed over pixels, + 1/2 KL(N(mu, sigma^2) || N(0, I)),   z = mu(x) + sigma(x) * noise
    classifier: cross-entropy + lam * ramp * (KL(p(x) || p(x + t)) + KL(p(x) || p(x + n)) + vat_entropy * H(p(x)))

The first share `tnar_start` of the iterations teaches the VAE, without labels; the classifier keeps its initial weights
meanwhile. Then the VAE is frozen, in evaluation mode, z = mu(x), and D gives images as networks see them.

Tangent: t = D(z + tnar_tangent * e) - D(z). e is of length 1 in latent space: random at first, then, `vat_iterations`
times, what four steps of conjugate gradients make of (J'J)^-1 g, with J the Jacobian of D at z, and g the gradient of
KL(p(x) || p(x + D(z + vat_xi * e) - D(z))): steepest for the length that t has in pixels, not e in latent space.
Normal: n = vat_eps * q. q is of length 1 in pixels: random at first, then `vat_iterations` times
Hq + tnar_zeta * (q - (s . q) s), with s the direction of t and Hq VAT's gradient divided by vat_xi^2, the curvature of
KL. At a large zeta q is random but for being orthogonal to t.
tnar_tangent=0 leaves out t, and with it zeta: n is then VAT's. vat_eps=0 leaves out n.

Networks at 32x32 pixels, as in its code: three 4x4 convolutions of stride 2 with 128, 256 and 512 units, batch norm and
LeakyReLU, 512 latent numbers, and the same back; batch norm before the sigmoid, too. Other images are halved until at
most 4 pixels are left, beginning with 4 units a pixel of their longer side (16x16: 64 and 128), at most 128, and have
one latent number for six values (3x16x16: 128), at most 512.

Published, CIFAR-10 [its code, uuujf/TNAR]: 121 + 501 epochs of 400 iterations, with 128 unlabelled images, of the whole
training set, and 32 labelled; Adam at 1e-3, whose rate decays linearly over the last third for the VAE (as here), over
the last 40 epochs for the classifier; CNN-13 without weight norm. All weights are 1, lengths 5 (t) and 1 (n), zeta
0.001, one power iteration; steps of 1e-6 in the search, with dropout.

Differs from the original: lengths are L2; there a vector is divided by its largest entry, and the result of a second
division, by its length, is dropped, so that lengths are several times larger and differ from image to image. zeta
stands beside each image's own KL, there beside a batch's mean (128 times smaller), and pixels are normalised, there
0...1. The search is VAT's, without dropout and with its step and float32. The classifier learns by the experiment's
optimiser; batch norm is as in VAT, there only labelled images move its statistics; the VAE's has torch's defaults.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnll_core.config import Experiment
from dnll_core.methods.base import Batch, NetworkFactory, Output
from dnll_core.methods.declared import Adam, Optimiser, Pixels, Stage
from dnll_core.methods.modes import evaluating, frozen
from dnll_core.methods.vat import VAT, unit
from dnll_core.schedules import Clock

RATE = 1e-3  # of the VAE's Adam
STEPS = 4  # of conjugate gradients


class VAE(nn.Module):
    """Images as networks see them (B, C, H, W) -> latent numbers (B, L), and back."""

    def __init__(self, pixels: Pixels):
        super().__init__()
        self.pixels = pixels
        channels, *sides = pixels.shape
        halvings, first = max(1, math.ceil(math.log2(max(sides) / 4))), min(128, 4 * max(sides))
        widths = [min(512, first * 2**i) for i in range(halvings)]
        self.padding = [-side % 2**halvings for side in sides]  # below and to the right
        self.map = (widths[-1], *(math.ceil(side / 2**halvings) for side in sides))
        self.latent = min(512, math.prod(pixels.shape) // 6)
        down, up = [], []
        for inputs, outputs in zip((channels, *widths), widths):
            down += [nn.Conv2d(inputs, outputs, 4, 2, padding=1, bias=False), *_normed(outputs)]
            up = [nn.ConvTranspose2d(outputs, inputs, 4, 2, padding=1, bias=False), *_normed(inputs), *up]
        self.down, self.up = nn.Sequential(*down, nn.Flatten()), nn.Sequential(*up[:-1])  # its last are the pixels
        self.inward = nn.Linear(math.prod(self.map), 2 * self.latent)
        self.outward = nn.Linear(self.latent, math.prod(self.map))

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """mu and log sigma^2, (B, L) float32 each."""
        x = F.pad(self.pixels(images), (0, self.padding[1], 0, self.padding[0]))
        return self.inward(self.down(x)).float().chunk(2, dim=1)

    def decode(self, z: Tensor) -> Tensor:
        """(B, L) -> (B, C, H, W) float32, what a sigmoid makes pixels 0...1 of."""
        _, height, width = self.pixels.shape
        x = F.leaky_relu(self.outward(z), 0.1).unflatten(1, self.map)
        return self.up(x).float()[:, :, :height, :width]

    def forward(self, z: Tensor) -> Tensor:
        """(B, L) -> images as networks see them."""
        return self.pixels.normalise(torch.sigmoid(self.decode(z)))


def _normed(units: int) -> list[nn.Module]:
    return [nn.BatchNorm2d(units), nn.LeakyReLU(0.1)]


def reconstruction(logits: Tensor, pixels: Tensor) -> Tensor:
    """Binary cross-entropy, summed over an image, mean over the batch: twice (B, C, H, W) -> 0-dim."""
    return F.binary_cross_entropy_with_logits(logits, pixels, reduction="sum") / len(pixels)


def divergence(mu: Tensor, log_var: Tensor) -> Tensor:
    """KL(N(mu, sigma^2) || N(0, I)), mean over the batch: twice (B, L) -> 0-dim."""
    return 0.5 * (mu.square() + log_var.exp() - 1 - log_var).sum(dim=1).mean()


def jtj(decoder: Callable[[Tensor], Tensor], z: Tensor) -> Callable[[Tensor], Tensor]:
    """p -> J'J p for the Jacobian J of a decoder at each row of z, (U, L) -> (U, L), from one pass at z."""
    z = z.detach().requires_grad_()
    made = decoder(z)
    v = torch.zeros_like(made, requires_grad=True)
    [back] = torch.autograd.grad(made, z, v, create_graph=True)  # J'v, linear in v: its gradient is J

    def product(p: Tensor) -> Tensor:
        [jp] = torch.autograd.grad(back, v, p, retain_graph=True)
        return torch.autograd.grad(made, z, jp, retain_graph=True)[0]

    return product


def conjugate_gradients(product: Callable[[Tensor], Tensor], g: Tensor) -> Tensor:
    """About B^-1 g for each row of g (U, L), which has length 1 or 0; p -> Bp: B symmetric, no eigenvalue below 0.

    Finite for all of them, and once a row is solved it hardly moves: p'Bp counts as 1e-12 at least.
    """
    found, residual, p = torch.zeros_like(g), g, g
    rr = _dot(g, g)
    for _ in range(STEPS):
        bp = product(p)
        step = rr / _dot(p, bp).clamp(min=1e-12)
        found, residual = found + step * p, residual - step * bp
        before, rr = rr, _dot(residual, residual)
        p = residual + rr / before.clamp(min=1e-12) * p
    return found


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Of each image, with as many dimensions as before: (U, ...) -> (U, 1, ...)."""
    return (a * b).sum(dim=tuple(range(1, a.dim())), keepdim=True)


def rate(clock: Clock, lr: float) -> Tensor:
    """RATE for two thirds of the stage, then linearly to 0; of an experiment's learning rate."""
    return RATE / lr * (3 * (1 - clock.progress)).clamp(max=1)


class TNAR(VAT):
    """One network, a VAE, one view of each unlabelled image."""

    students = 0  # in its first stage it has no labels to offer

    def __init__(self, build: NetworkFactory, experiment: Experiment, pixels: Pixels):
        super().__init__(build, experiment)
        start = experiment.tnar_start
        self.stages = (Stage("vae", start, "tnar_start"), Stage("classifier", 1 - start, restart=True))
        self.vae = VAE(pixels)

    def turns(self) -> dict[str, Callable]:
        return {"main": self.compute} if self.stage else {"vae": self.learn_images}

    def optimisers(self) -> dict[str, Optimiser]:
        own = Optimiser((self.vae,), Adam(), partial(rate, lr=self.experiment.lr))
        return {"main": Optimiser((self.network,)), "vae": own}

    def learn_images(self, batch: Batch, clock: Clock, generator: torch.Generator) -> Output:
        """The VAE's turn, on the view that its second stage perturbs."""
        [u] = batch.unlabelled
        mu, log_var = self.vae.encode(u)
        noise = torch.randn(mu.shape, generator=generator, device=u.device)
        logits = self.vae.decode(mu + (0.5 * log_var).exp() * noise)
        # views may leave 0...1
        terms = {"BCE": reconstruction(logits, self.vae.pixels(u).clamp(0, 1)), "latent KL": divergence(mu, log_var)}
        metrics = {name: term.detach() for name, term in terms.items()}
        return Output(terms["BCE"] + 0.5 * terms["latent KL"], [], metrics=metrics)

    def perturbations(self, x: Tensor, u: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        e, found = self.experiment, {}
        if e.tnar_tangent == 0:
            return super().perturbations(x, u, generator)
        exact = torch.autocast(u.device.type, enabled=False)
        with exact, evaluating(self.vae), frozen(self.vae):
            t = self.tangent(x, u, generator)
        found["tangent"] = t
        if e.vat_eps > 0:
            found["normal"] = e.vat_eps * self.direction(x, u, generator, self.across(unit(t)))
        return found

    def tangent(self, x: Tensor, u: Tensor, generator: torch.Generator) -> Tensor:
        """t, (U, C, H, W) without gradient; arguments as in `search`. The VAE is in evaluation mode."""
        e, vae = self.experiment, self.vae
        z = vae.encode(u)[0].detach()
        here, product = vae(z), jtj(vae, z)
        start = torch.randn(z.shape, generator=generator, device=u.device)
        direction = self.search(
            x, u, start, lambda d: vae(z + e.vat_xi * d) - here, lambda g, _: conjugate_gradients(product, unit(g))
        )
        return vae(z + e.tnar_tangent * direction) - here

    def across(self, s: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        """What makes the next q of the gradient and of q; s: the tangents' directions, (U, C, H, W) each."""
        e = self.experiment
        return lambda g, q: g / (e.vat_xi * e.vat_xi) + e.tnar_zeta * (q - _dot(s, q) * s)
