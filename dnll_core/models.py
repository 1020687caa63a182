"""Networks: CNN-13 and WRN-28-2 (section 4.2), the CNN-3 of domain adaptation, and two small CNNs for a CPU.

    net = build_network("cnn13", num_classes=10, channels=3, size=32)
    logits = net(x)  # x: (B, 3, 32, 32) float  ->  (B, 10)
    logits, hidden = net(x, return_features=True)  # hidden: (B, net.hidden), the last hidden layer (Figure 5)

`NETWORKS` says what each name stands for. With heads=2 the network ends in two parallel linear layers on the same
hidden layer and gives a pair of logits; the second head serves consistency losses (Dual Student, Mean Teacher).
Weights are drawn from torch's global random state: two calls in a row give two independent submodels.
None of the networks adds noise to its input, as those of the CNN-13 lineage do: here noise is an augmentation.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import skip_init
from torch.nn.utils.parametrizations import weight_norm

from dnll_core.common import unknown


class Network(nn.Module):
    """A body that turns images into the last hidden layer, and one or two linear heads on it.

    body: (B, C, H, W) -> (B, hidden). hidden: its width F. heads: linear layers (B, F) -> (B, K).
    """

    def __init__(self, body: nn.Module, hidden: int, heads: list[nn.Module]):
        super().__init__()
        self.body, self.hidden, self.heads = body, hidden, nn.ModuleList(heads)

    def features(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W) float -> last hidden layer (B, F)."""
        if x.shape[1] == 1 and x.is_contiguous():
            # One channel is both memory formats at once. Torch then computes in the default one, in which pooling on a
            # CPU is slow: CNN-3 takes twice as long. Strides that only channels-last has settle the question.
            x = x.view(len(x), *x.shape[2:], 1).permute(0, 3, 1, 2)
        return self.body(x)

    def forward(self, x: Tensor, return_features: bool = False):
        """x: (B, C, H, W) float -> logits (B, K), or with two heads a pair (class logits, second logits), each (B, K).

        return_features: give a pair of what is described above and the hidden layer (B, F).
        """
        hidden = self.features(x)  # (B, F)
        outputs = tuple(head(hidden) for head in self.heads)
        logits = outputs if len(outputs) > 1 else outputs[0]
        return (logits, hidden) if return_features else logits


class GlobalAveragePool(nn.Module):
    """Mean over all pixels: (B, C, H, W) -> (B, C)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=(2, 3))


class Dropout(nn.Dropout):
    """The same with a mask from 16 random bits a unit on a CPU, where drawing is a good part of a step.

    A unit is dropped with probability round(p * 2^16) / 2^16. Bits come from torch's global generator.
    """

    def forward(self, x: Tensor) -> Tensor:
        """x: any shape. Returns the same, in its dtype."""
        fast = x.device.type == "cpu" and torch.ops.aten.is_non_overlapping_and_dense(x)
        if not self.training or self.p == 0 or not fast:
            return F.dropout(x, self.p, self.training)
        words = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)  # each serves four units
        bits = words.view(torch.int16)[: x.numel()].as_strided(x.shape, x.stride())  # in the memory format of x
        keep = bits >= round(self.p * 2**16) - 2**15
        return x * keep.to(x.dtype).mul_(1 / (1 - self.p))


# ------------------------------------------------------------------------------------------------- the CNN lineage


def _weight_normed(layer: nn.Module, state: dict | None = None) -> nn.Module:
    """The layer with `weight_norm`, in a form that pickles, though torch makes it a class of its own."""
    kind, layer = type(layer), weight_norm(layer)
    shape = (1, 1, 1) if kind is nn.Conv2d else (1, 1)  # of a stand-in, which takes over the state but for its hooks
    hooks = {"_load_state_dict_pre_hooks": layer._load_state_dict_pre_hooks}
    layer.__dict__ |= (state or {}) | hooks
    none = dict.fromkeys(hooks)
    type(layer).__reduce__ = lambda self: (_weight_normed, (skip_init(kind, *shape), self.__dict__ | none))
    return layer


def _normed_conv(inputs: int, outputs: int, kernel: int, padding: int, pool: bool = False) -> list[nn.Module]:
    """Weight-normed convolution, ordinary batch norm on top of it, LeakyReLU 0.1: the lineage uses both norms.

    pool: halve height and width. An increasing function may as well follow the maximum, on a quarter of the pixels.
    """
    conv = _weight_normed(nn.Conv2d(inputs, outputs, kernel, padding=padding))
    return [conv, nn.BatchNorm2d(outputs), *[nn.MaxPool2d(2)] * pool, nn.LeakyReLU(0.1, inplace=True)]


def _cnn13(channels: int, dropout: float) -> nn.Module:
    return nn.Sequential(
        *_normed_conv(channels, 128, 3, 1),  # (B, 128, H, W)
        *_normed_conv(128, 128, 3, 1),
        *_normed_conv(128, 128, 3, 1, pool=True),  # (B, 128, H/2, W/2)
        Dropout(dropout),
        *_normed_conv(128, 256, 3, 1),
        *_normed_conv(256, 256, 3, 1),
        *_normed_conv(256, 256, 3, 1, pool=True),  # (B, 256, H/4, W/4)
        Dropout(dropout),
        *_normed_conv(256, 512, 3, 0),  # (B, 512, H/4 - 2, W/4 - 2): no padding, so at least 3 pixels must arrive
        *_normed_conv(512, 256, 1, 0),
        *_normed_conv(256, 128, 1, 0),
        # The lineage pools over 6x6, which is the whole map of a 32x32 image; pooling over everything also fits 28x28.
        GlobalAveragePool(),  # (B, 128)
    )


def _cnn3(channels: int, dropout: float) -> nn.Module:
    return nn.Sequential(
        *_normed_conv(channels, 16, 3, 1, pool=True),  # (B, 16, H/2, W/2)
        *_normed_conv(16, 32, 3, 1, pool=True),  # (B, 32, H/4, W/4)
        Dropout(dropout),
        *_normed_conv(32, 32, 3, 1),  # (B, 32, H/4, W/4)
        # The lineage pools over 6x6. A 28x28 image leaves 7x7, whose last row and column that window drops; we average
        # all 49, which treats the borders alike and takes other sizes.
        GlobalAveragePool(),  # (B, 32)
    )


# -------------------------------------------------------------------------------------------------------- WRN-28-2


class PreActivationBlock(nn.Module):
    """Wide residual block: BN - ReLU - conv3x3 - BN - ReLU - (dropout) - conv3x3, plus a shortcut.

    Where the width changes, the shortcut is a 1x1 convolution of the activated input; elsewhere the raw input.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, dropout: float):
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(inputs), nn.BatchNorm2d(outputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if inputs != outputs else None
        self.dropout = nn.Dropout(dropout) if dropout > 0 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, inputs, H, W) -> (B, outputs, H/stride, W/stride)."""
        active = F.relu(self.norm1(x), inplace=True)
        residual = self.conv2(self.dropout(F.relu(self.norm2(self.conv1(active)), inplace=True)))
        return residual + (x if self.shortcut is None else self.shortcut(active))


def _wrn28_2(channels: int, dropout: float) -> nn.Module:
    widths, blocks = (16, 32, 64, 128), 4  # 28 = 6 * 4 blocks + 4; widths are 16, then 2 * (16, 32, 64)
    layers: list[nn.Module] = [nn.Conv2d(channels, widths[0], 3, padding=1, bias=False)]
    for stage, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
        for index in range(blocks):
            stride = 2 if stage > 0 and index == 0 else 1
            layers.append(PreActivationBlock(inputs if index == 0 else outputs, outputs, stride, dropout))
    layers += [nn.BatchNorm2d(widths[-1]), nn.ReLU(inplace=True), GlobalAveragePool()]
    body = nn.Sequential(*layers)
    for module in body.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return body


# --------------------------------------------------------------------------------------------------- for two CPU cores


def _plain(*widths: int) -> Callable[[int, float], nn.Module]:
    """3x3 convolutions of these widths with batch norm and ReLU; wherever the width grows, the image is halved."""

    def body(channels: int, dropout: float) -> nn.Module:
        layers: list[nn.Module] = []
        for inputs, outputs, following in zip((channels, *widths), widths, (*widths[1:], 0)):
            # Batch norm subtracts the mean, so a bias before it would do nothing. ReLU may follow the maximum.
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs)]
            layers += [*[nn.MaxPool2d(2)] * (following > outputs), nn.ReLU(inplace=True)]
        return nn.Sequential(*layers, GlobalAveragePool(), *[nn.Dropout(dropout)] * (dropout > 0))

    return body


# ------------------------------------------------------------------------------------------------------- the table


@dataclass(frozen=True)
class NetworkSpec:
    """What a name stands for. body: (channels, dropout) -> module giving (B, hidden); min_size: pixels per side."""

    body: Callable[[int, float], nn.Module]
    hidden: int
    min_size: int
    dropout: float  # used where build_network is given None
    normed_heads: bool  # weight-normed linear heads, as in the CNN lineage
    about: str


NETWORKS: dict[str, NetworkSpec] = {
    # Dual Student's layers, which the released DNLL scripts also use.
    "cnn13": NetworkSpec(_cnn13, 128, 12, 0.5, True, "13-layer CNN: CIFAR-10 and MNIST in Tables 1 and 4"),
    # Pre-activation with PyTorch's batch norm, as in DMT: ReLU and BN momentum 0.1, unlike FixMatch's variant.
    "wrn28-2": NetworkSpec(_wrn28_2, 128, 4, 0.0, False, "WideResNet-28-2: CIFAR-10 and SVHN in Tables 2 and 3"),
    # Dual Student's network for USPS -> MNIST.
    "cnn3": NetworkSpec(_cnn3, 32, 4, 0.5, True, "3-layer CNN: domain adaptation in Figure 7"),
    # Not in the paper: quick runs on a laptop. Dropout hurts with two labels per class, so none by default.
    "small": NetworkSpec(_plain(16, 32, 64), 64, 4, 0.0, False, "3-layer CNN for 8x8 digits: quick runs"),
    # Nor is this one: the paper's questions about CIFAR-10 on two CPU cores, with images of half the size.
    "cnn6": NetworkSpec(_plain(16, 16, 32, 32, 64, 64), 64, 4, 0.0, False, "6-layer CNN for 16x16 images"),
}


def build_network(
    name: str,
    num_classes: int,
    channels: int,
    size: int | tuple[int, int],
    heads: int = 1,
    dropout: float | None = None,
) -> Network:
    """A freshly initialised network, in training mode, on the CPU.

    name: a key of `NETWORKS`. num_classes: K >= 2. channels: of the images, >= 1. size: of the images in pixels,
    one number for square ones or (H, W). heads: 1 or 2. dropout: probability in [0, 1), None for the network's own.
    Raises ValueError for an unknown name, and for images that are too small.
    """
    if name not in NETWORKS:
        raise ValueError(unknown("network", name, NETWORKS))
    spec = NETWORKS[name]
    if min(size if isinstance(size, tuple) else (size, size)) < spec.min_size:
        raise ValueError(
            f"size={size!r} is too small for network={name!r}: at least {spec.min_size}x{spec.min_size} pixels"
        )
    body = spec.body(channels, float(spec.dropout if dropout is None else dropout))
    return Network(body, spec.hidden, [_head(spec, num_classes) for _ in range(heads)])


def count_parameters(network: nn.Module) -> int:
    """Number of learnable scalars."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def _head(spec: NetworkSpec, num_classes: int) -> nn.Module:
    head = nn.Linear(spec.hidden, num_classes)
    return _weight_normed(head) if spec.normed_heads else head
