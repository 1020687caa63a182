"""Triple GAN (Li et al., NeurIPS 2017): a classifier, a generator and a discriminator of images with a class.

    discriminator: -log D(real) - 1/2 log(1 - D(made)) - 1/2 log(1 - D(told))
    generator:     -1/2 log D(made)
    classifier:    cross-entropy + 0.0001 |last weights|^2 + lam * ramp * (0.3 H(p) + 0.001 H(uniform, mean p)
                   + 1/2 max p * -log D(told) + 0.1 * late * cross-entropy of made images)

An iteration is a turn of each in this order. H(p) is the mean entropy of the classifier's p on unlabelled images,
H(uniform, mean p) the cross-entropy of the uniform to their mean. "Made" images are of a class that the generator is
given, "told" ones are unlabelled with the class of the classifier's largest p; D teaches it through that p alone.
"Real" are labelled images, one in a hundred of their batch, and other unlabelled ones with the classifier's class
again, so that its classes stand on both sides. Before the game the classifier is trained alone, without made or told
images and with 0.3 for 0.001, at 0.3 of the rate. `late` is 0 or 1, from 0.3 of the game.

Of an unlabelled batch the first four fifths are real, the last fifth is told and is the classifier's; twice as many
images are made as told, as many of each class. labelled_batch=100 and unlabelled_batch=500 are the published 1 + 400
real, 100 told, 200 made, and 100 labelled ones; in the training before the game the classifier has all 500.

Networks [its code, zhenxuan00/triple-gan, MNIST]: a classifier of five convolutions with batch norm; a discriminator of
five hidden layers, 1000, 500 and three of 250, with normed weights of scale 1 and noise of 0.3 on pixels and of 0.5
after each layer; a generator of two layers of 500, batch norm and softplus, from 100 uniform numbers. Each layer of
these two is also given the class. `own_networks=False` has the experiment's network for the classifier; `shared_bn`
decides whether its labelled and unlabelled images share a pass.

Published [its code]: lr=0.001, times 0.995 a pass from 0.3 of the game on; Adam with beta_1 = 0.5 and 1e-8 beside its
root; 30 passes before the game and 1000 in it, 600,000 iterations with 100 labels; ema_decay=0.99, of weights and
batch-norm statistics; lam=1 without ramp, shared_bn=False, include_labelled=True, no augmentation.

Differs from the original: validation images are not in the pool. With 50 and 20 labels it had 200 and 500 told images
an iteration. All images of an iteration are of one permutation. The training before the game had batches of their own
and beta_1 = 0.9, was left out with more than 100 labels, and took 3600 iterations before 600,000, here 30 of 1030
parts; the average begins anew with the game, as Adam does. Running batch-norm statistics follow the passes that the
classifier learns from, of images that are not made. The second layer of D had its class under noise, too; probabilities
were clipped at 1e-6. The generator's last weights begin normal instead of uniform. Images under 12 pixels are padded
throughout.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnll_core.config import Experiment
from dnll_core.losses import cross_entropy, entropy
from dnll_core.methods.base import Batch, Method, NetworkFactory, Output, forward_each, label_each
from dnll_core.methods.declared import Adam, Optimiser, Pixels, Stage
from dnll_core.methods.improved_gan import CODE, Dense, Generator, Noise
from dnll_core.methods.modes import frozen, frozen_statistics
from dnll_core.models import Dropout, GlobalAveragePool, Network
from dnll_core.schedules import Clock, sigmoid_ramp

ENTROPY, LAST_WEIGHTS, ADVERSARIAL, MADE = 0.3, 1e-4, 0.5, 0.1  # weights in the classifier's loss
BALANCE = (0.3, 1e-3)  # before the game and in it
BEFORE, PASSES = 30, 1000  # passes before the game and in it
LATE = 0.3  # from where in the game the rate falls and made images teach


def classifier(pixels: Pixels, num_classes: int) -> Network:
    """The published one, of images as networks see them.

    Raises:
        ValueError: for images that are too small.
    """
    if min(pixels.shape[1:]) < 4:
        raise ValueError(f"size={pixels.shape[1:]} is too small for the networks of triple-gan: at least 4x4 pixels")
    loses = min(pixels.shape[1:]) >= 12  # pixels at two of the convolutions
    layers: list[nn.Module] = [pixels]
    # outputs, kernel, whether the border is padded, pooling by two and dropout
    for inputs, (outputs, kernel, padded, halved) in zip(
        (pixels.shape[0], 32, 64, 64, 128),
        ((32, 5, not loses, True), (64, 3, True, False), (64, 3, not loses, True), *[(128, 3, True, False)] * 2),
    ):
        conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2 * padded, bias=False)
        nn.init.normal_(conv.weight, std=0.05)
        pool = [nn.MaxPool2d(2)] * halved  # ReLU may follow the maximum, on a quarter of the pixels
        layers += [conv, nn.BatchNorm2d(outputs, eps=1e-4), *pool, nn.ReLU(inplace=True), *[Dropout(0.5)] * halved]
    head = nn.Linear(128, num_classes)
    nn.init.normal_(head.weight, std=0.01)
    nn.init.zeros_(head.bias)
    return Network(nn.Sequential(*layers, GlobalAveragePool()), 128, [head])


class GivenClass(nn.Module):
    """Layers one after the other, each of which is given the class, too: (B, F), (B,) int64 -> (B, outputs)."""

    def __init__(self, num_classes: int, layers: list[nn.Module]):
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.register_buffer("classes", torch.arange(num_classes), persistent=False)

    def forward(self, x: Tensor, classes: Tensor) -> Tensor:
        given = (classes[:, None] == self.classes).float()  # `F.one_hot` would wait on a CPU
        for layer in self.layers:
            x = layer(torch.cat([x, given], dim=1))
        return x


class Discriminator(nn.Module):
    """Images (B, C, H, W) as networks see them, classes (B,) int64 -> logit of "such a pair is real", (B,) float32."""

    def __init__(self, pixels: Pixels, num_classes: int):
        super().__init__()
        self.pixels = nn.Sequential(pixels, nn.Flatten(), Noise(0.3))
        widths = (math.prod(pixels.shape), 1000, 500, 250, 250, 250)
        layers: list[nn.Module] = [
            nn.Sequential(Dense(inputs + num_classes, outputs), nn.ReLU(), Noise(0.5))
            for inputs, outputs in itertools.pairwise(widths)
        ]
        self.layers = GivenClass(num_classes, [*layers, Dense(widths[-1] + num_classes, 1)])

    def forward(self, images: Tensor, classes: Tensor) -> Tensor:
        return self.layers(self.pixels(images), classes).squeeze(1).float()


def judging(real: Tensor, told: Tensor, made: Tensor) -> Tensor:
    """The discriminator's loss of its logits: (A,), (B,), (C,) -> 0-dim."""
    return F.softplus(-real).mean() + 0.5 * F.softplus(told).mean() + 0.5 * F.softplus(made).mean()


def entropy_and_balance(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Mean entropy of the softmax, and cross-entropy of the uniform to its mean: (B, K) -> 0-dim each."""
    mean = torch.logsumexp(torch.log_softmax(logits, dim=1), dim=0) - math.log(len(logits))
    return entropy(logits).mean(), -mean.mean()


def late(clock: Clock) -> Tensor:
    """Whether made images teach the classifier yet. 0-dim, 0 or 1."""
    return (clock.progress >= LATE).float()


class TripleGAN(Method):
    """A classifier by itself, then the discriminator, the generator and it in turn."""

    unlabelled_views = ("weak",)
    stages = (Stage("before", BEFORE, least=1), Stage("game", PASSES, restart=True))

    def __init__(self, build: NetworkFactory, experiment: Experiment, num_classes: int, pixels: Pixels):
        super().__init__()
        self.experiment, self.num_classes = experiment, num_classes
        self.classifier = build()
        norm, given = partial(nn.BatchNorm1d, eps=1e-4), partial(GivenClass, num_classes)
        self.generator = Generator(pixels, norm, num_classes, given)
        self.discriminator = Discriminator(pixels, num_classes)
        # apart: where iterations are tried, a stand-in without heads takes the classifier's place
        self.last = (self.classifier.heads[0],)

    def turns(self) -> dict[str, Callable]:
        game = {"discriminator": self.judge, "generator": self.deceive} if self.stage else {}
        return {**game, "classifier": self.compute}

    def optimisers(self) -> dict[str, Optimiser]:
        adam = Adam(betas=(0.5, 0.999))
        return {name: Optimiser((getattr(self, name),), adam, self.rate) for name in (*self._modules,)}

    def rate(self, clock: Clock) -> Tensor:
        """Of all three: lower before the game, constant, then falling with each of the published passes. 0-dim."""
        if not self.stage:
            return torch.full_like(clock.step, 0.3)
        return 0.995 ** (PASSES * (clock.progress - LATE).clamp(min=0))

    def judge(self, batch: Batch, clock: Clock, generator: torch.Generator) -> Output:
        """The discriminator's turn."""
        e, u, told = self.experiment, batch.unlabelled[0], self._told(batch)
        [logits] = label_each([self.classifier], u, e.label_mode, e.label_updates_bn)
        with torch.no_grad():
            made, given = self._made(2 * told, generator, u)
        few = max(1, len(batch.targets) // 100)
        images = torch.cat([batch.labelled[0][:few], u, made])
        classes = torch.cat([batch.targets[:few], logits.argmax(dim=1), given])
        real, of_told, of_made = self.discriminator(images, classes).split([few + len(u) - told, told, len(made)])
        loss = judging(real, of_told, of_made)
        found = (of_made < 0).float().mean()
        return Output(loss, [], metrics={"judging": loss.detach(), "made images found": found})

    def deceive(self, batch: Batch, clock: Clock, generator: torch.Generator) -> Output:
        """The generator's turn; the discriminator passes its gradient on, and learns nothing."""
        with frozen(self.discriminator):
            judged = self.discriminator(*self._made(2 * self._told(batch), generator, batch.unlabelled[0]))
        loss = 0.5 * F.softplus(-judged).mean()
        return Output(loss, [], metrics={"deceiving": loss.detach()})

    def compute(self, batch: Batch, clock: Clock, generator: torch.Generator) -> Output:
        """The classifier's turn, and before the game all there is."""
        e, u = self.experiment, batch.unlabelled[0]
        if self.stage:
            u = u[-self._told(batch) :]
        [[labelled, logits]] = forward_each([self.classifier], [[batch.labelled[0], u]], joint=e.shared_bn)
        supervised = cross_entropy(labelled, batch.targets)
        unsure, balance = entropy_and_balance(logits)
        unsupervised = ENTROPY * unsure + BALANCE[self.stage] * balance
        metrics = {"supervised": supervised.detach(), "entropy": unsure.detach()}
        if self.stage:
            p, classes = torch.softmax(logits, dim=1).max(dim=1)
            with torch.no_grad():
                rejected = F.softplus(-self.discriminator(u, classes))
                made, given = self._made(2 * len(u), generator, u)
            with frozen_statistics(self.classifier):
                [[of_made]] = forward_each([self.classifier], [[made]], joint=True)
            of_made, adversarial = cross_entropy(of_made, given), (p * rejected).mean()
            unsupervised = unsupervised + ADVERSARIAL * adversarial + MADE * late(clock) * of_made
            metrics |= {"adversarial": adversarial.detach(), "of made images": of_made.detach()}
        small = LAST_WEIGHTS * self.last[0].weight.square().sum()
        loss = supervised + small + e.lam * sigmoid_ramp(clock, e.ramp_epochs) * unsupervised
        return Output(loss, [labelled.detach()], metrics=metrics)

    def _told(self, batch: Batch) -> int:
        """How many of the unlabelled images, the last ones: at least two, for batch norm, where there are two."""
        n = len(batch.index)
        return min(n, max(2, n // 5))

    def _made(self, n: int, generator: torch.Generator, like: Tensor) -> tuple[Tensor, Tensor]:
        """Images (n, C, H, W) as networks see them, and their classes (n,) int64, as many of each as can be."""
        classes = torch.arange(n, device=like.device) % self.num_classes
        return self.generator(torch.rand(n, CODE, generator=generator, device=like.device), classes), classes

    def predictors(self) -> dict[str, nn.Module]:
        return {"classifier": self.classifier}
