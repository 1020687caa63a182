"""ImprovedGAN (Salimans et al., NeurIPS 2016, sections 3.1 and 5): a classifier that also tells made images from real.

    classifier: cross-entropy + lam * ramp * (-1/2 log D(real) - 1/2 log(1 - D(made))),   D = Z / (Z + 1), Z = sum exp l
    generator:  mean square of (mean hidden layer of real images - mean hidden layer of made ones)

l are the K logits: the class "made" is one more, whose logit is 0. An iteration is a turn of the classifier, then one
of the generator, with real images of its own: each turn has half of the unlabelled batch, and makes as many images.
The hidden layer is the last one, before the noise of the last layer's input.

Networks [its code, openai/improved-gan]: a classifier of five hidden layers, 1000, 500 and three of 250, with noise of
0.3 on pixels 0...1 and of 0.5 after each layer; weights normed, their scale fixed so that each unit has mean 0 and
variance 1 over the first 500 images (the last layer's is learnt from there on). A generator of two layers of 500, batch
norm and softplus, from 100 uniform numbers. `own_networks=False` has the experiment's network for the classifier; with
batch norm, `shared_bn` decides whether labelled, real and made images go through it together.

Published for MNIST: 300 passes with both batches of 100, 180,000 iterations; Adam at a constant 0.003 with beta_1 = 0.5
and 1e-8 under its root (torch adds beside the root, so 1e-4: it keeps a classifier that is right about everything from
moving at full speed); the classifier's average with a decay of 0.9999 is evaluated. Those are lr, ema_decay,
labelled_batch=100 and unlabelled_batch=200, with lam=1, no ramp, include_labelled=True and no augmentation. The first
public version of its code has 0.001, towards 0 over the last third, and no average; which of the two the published
numbers are from is not known. With 20 labels only 0.001 came near them here, see notebook 16.

Differs from the original: validation images are not in the pool; both real batches of an iteration come from one
permutation of it; the average begins with the initial weights, not with 0; the generator's last weights begin normal
instead of uniform.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnll_core.config import Experiment
from dnll_core.losses import cross_entropy
from dnll_core.methods.base import Batch, Method, NetworkFactory, Output, forward_each
from dnll_core.methods.declared import Adam, Optimiser, Pixels, Pool, Stage
from dnll_core.methods.modes import frozen, frozen_statistics
from dnll_core.models import Network
from dnll_core.schedules import Clock, constant, sigmoid_ramp

CODE = 100  # uniform numbers that an image is made from
FIRST = 500  # images that set the scales


class Noise(nn.Module):
    """Gaussian noise of this standard deviation on values, while training; from torch's global generator."""

    def __init__(self, std: float):
        super().__init__()
        self.std = std

    def forward(self, x: Tensor) -> Tensor:
        return torch.add(x, torch.randn_like(x), alpha=self.std) if self.training else x


class Dense(nn.Module):
    """A linear layer with normed weights: scale * (x, v / norm of v) + bias. (B, inputs) -> (B, outputs).

    learns: whether the scale is learnt; else `normalise_` alone sets it.
    """

    def __init__(self, inputs: int, outputs: int, learns: bool = False, std: float = 0.1):
        super().__init__()
        self.v, self.bias = nn.Parameter(std * torch.randn(outputs, inputs)), nn.Parameter(torch.zeros(outputs))
        self.scale = nn.Parameter(torch.ones(outputs), requires_grad=learns)

    def forward(self, x: Tensor) -> Tensor:
        over_length = (self.v * self.v).sum(1).clamp(min=1e-24).rsqrt()
        return F.linear(x, self.v) * (self.scale * over_length) + self.bias  # scales the outputs, which are fewer

    @torch.no_grad()
    def normalise_(self, x: Tensor) -> None:
        """Sets scale and bias so that each output has mean 0 and variance 1 over these inputs; a constant one stays."""
        std, mean = torch.std_mean(self(x), dim=0, correction=0)
        std = torch.where(std > 1e-6, std, 1)
        self.scale /= std
        self.bias.sub_(mean).div_(std)


def classifier(pixels: Pixels, num_classes: int) -> Network:
    """The published one, of images as networks see them; its hidden layer has 250 units."""
    widths = (math.prod(pixels.shape), 1000, 500, 250, 250, 250)
    layers: list[nn.Module] = [pixels, nn.Flatten()]
    for inputs, outputs, std in zip(widths, widths[1:], (0.3, 0.5, 0.5, 0.5, 0.5)):
        layers += [Noise(std), Dense(inputs, outputs), nn.ReLU()]
    head = nn.Sequential(Noise(0.5), Dense(widths[-1], num_classes, learns=True))
    return Network(nn.Sequential(*layers), widths[-1], [head])


class Generator(nn.Module):
    """Uniform numbers (B, CODE) -> images (B, C, H, W) as networks see them: two hidden layers.

    Args:
        norm: of so many units.
        more: inputs that each layer has beside the units before it.
        join: of the layers, a network that takes the code and what else `forward` is given, and supplies `more`.
    """

    def __init__(self, pixels: Pixels, norm: Callable, more: int = 0, join: Callable | None = None, width: int = 500):
        super().__init__()
        self.pixels = pixels
        layers: list[nn.Module] = []
        for inputs in (CODE + more, width + more):
            linear = nn.Linear(inputs, width, bias=False)
            nn.init.xavier_uniform_(linear.weight)
            layers.append(nn.Sequential(linear, norm(width), nn.Softplus()))
        values = math.prod(pixels.shape)
        last = Dense(width + more, values, learns=True, std=math.sqrt(2 / (width + more + values)))
        layers.append(nn.Sequential(last, nn.Sigmoid()))
        self.layers = nn.Sequential(*layers) if join is None else join(layers)

    def forward(self, code: Tensor, *given: Tensor) -> Tensor:
        return self.pixels.normalise(self.layers(code, *given).view(-1, *self.pixels.shape))


class Shifted(nn.Module):
    """Batch norm that is centred, scaled and moved, but not scaled again. (B, F) -> (B, F)."""

    def __init__(self, width: int):
        super().__init__()
        self.norm, self.bias = nn.BatchNorm1d(width, eps=1e-6, affine=False), nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x) + self.bias


def real_or_made(real: Tensor, made: Tensor) -> Tensor:
    """-1/2 log D of real images - 1/2 log(1 - D) of made ones, means over each: (B, K), (B', K) logits -> 0-dim."""
    log_real, log_made = torch.logsumexp(real, dim=1), torch.logsumexp(made, dim=1)  # log Z; D = sigmoid(log Z)
    return 0.5 * F.softplus(-log_real).mean() + 0.5 * F.softplus(log_made).mean()


def feature_matching(real: Tensor, made: Tensor) -> Tensor:
    """Mean square, over the features, of what their means differ by: (B, F), (B', F) -> 0-dim."""
    return (real.mean(dim=0) - made.mean(dim=0)).square().mean()


class ImprovedGAN(Method):
    """A classifier and a generator, in turn."""

    unlabelled_views = ("weak",)
    stages = (Stage("train", restart=True),)  # its average begins when the scales are set

    def __init__(self, build: NetworkFactory, experiment: Experiment, pixels: Pixels):
        super().__init__()
        self.experiment, self.classifier, self.generator = experiment, build(), Generator(pixels, Shifted)

    def at_stage(self, pool: Pool, generator: torch.Generator) -> None:
        if self.experiment.own_networks:  # `forward` hands through the plain views that `look` makes
            x = pool.look(self.classifier, pool.unlabelled[:FIRST], forward=lambda images: images)
            for layer in (*self.classifier.body, *self.classifier.heads[0]):
                if isinstance(layer, Dense):
                    layer.normalise_(x)
                x = layer(x)

    def turns(self) -> dict[str, Callable]:
        return {"classifier": self.compute, "generator": self.match}

    def optimisers(self) -> dict[str, Optimiser]:
        adam = Adam(betas=(0.5, 0.999), eps=1e-4)
        return {name: Optimiser((getattr(self, name),), adam, constant) for name in ("classifier", "generator")}

    def compute(self, batch: Batch, clock: Clock, generator: torch.Generator) -> Output:
        e, real = self.experiment, batch.unlabelled[0][::2]
        with torch.no_grad():
            made = self._made(len(real), generator, real)
        blocks = [[batch.labelled[0], real, made]]
        [[labelled, of_real, of_made]] = forward_each([self.classifier], blocks, joint=e.shared_bn)
        supervised, told = cross_entropy(labelled, batch.targets), real_or_made(of_real, of_made)
        return Output(
            loss=supervised + e.lam * sigmoid_ramp(clock, e.ramp_epochs) * told,
            labelled_logits=[labelled.detach()],
            metrics={"supervised": supervised.detach(), "real or made": told.detach()},
        )

    def match(self, batch: Batch, clock: Clock, generator: torch.Generator) -> Output:
        """The generator's turn; the classifier passes its gradient on, and learns nothing."""
        real = batch.unlabelled[0][1::2]
        with frozen(self.classifier), frozen_statistics(self.classifier):
            blocks = [[real, self._made(len(real), generator, real)]]
            [[(_, of_real), (_, of_made)]] = forward_each(
                [self.classifier], blocks, joint=self.experiment.shared_bn, features=True
            )
        apart = feature_matching(of_real, of_made)
        return Output(apart, [], metrics={"features apart": apart.detach()})

    def _made(self, n: int, generator: torch.Generator, like: Tensor) -> Tensor:
        return self.generator(torch.rand(n, CODE, generator=generator, device=like.device))

    def predictors(self) -> dict[str, nn.Module]:
        return {"classifier": self.classifier}
