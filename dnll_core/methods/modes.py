"""How a network computes for a while: each of these ends as it began, also after an error."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import nn


@contextlib.contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """The network in evaluation mode, and in training mode again afterwards."""
    network.eval()
    try:
        yield
    finally:
        network.train()


@contextlib.contextmanager
def frozen_statistics(network: nn.Module) -> Iterator[None]:
    """Batch norm with the batch's own statistics, but without moving the running ones."""
    layers = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    for layer in layers:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer in layers:
            layer.track_running_stats = True


@contextlib.contextmanager
def without_dropout(network: nn.Module) -> Iterator[None]:
    """Training mode, but all units stay."""
    layers = [module for module in network.modules() if isinstance(module, nn.modules.dropout._DropoutNd)]
    for layer in layers:
        layer.eval()
    try:
        yield
    finally:
        for layer in layers:
            layer.train()


@contextlib.contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """What is computed has no gradient with respect to this network's weights."""
    learning = [p for p in network.parameters() if p.requires_grad]
    for p in learning:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in learning:
            p.requires_grad_(True)
