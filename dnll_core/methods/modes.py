"""How a network computes for a while: each of these ends as it began, also after an error, and one inside another."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

from torch import nn


@contextlib.contextmanager
def _held(owners: Iterable[object], name: str, value: bool) -> Iterator[None]:
    before = [(owner, getattr(owner, name)) for owner in owners]
    for owner, _ in before:
        setattr(owner, name, value)
    try:
        yield
    finally:
        for owner, was in before:
            setattr(owner, name, was)


def evaluating(network: nn.Module) -> contextlib.AbstractContextManager:
    """In evaluation mode."""
    return _held(network.modules(), "training", False)


def frozen_statistics(network: nn.Module) -> contextlib.AbstractContextManager:
    """Batch norm with the batch's own statistics, but without moving the running ones."""
    norms = (module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm))
    return _held(norms, "track_running_stats", False)


def without_dropout(network: nn.Module) -> contextlib.AbstractContextManager:
    """Training mode, but all units stay."""
    layers = (module for module in network.modules() if isinstance(module, nn.modules.dropout._DropoutNd))
    return _held(layers, "training", False)


def frozen(network: nn.Module) -> contextlib.AbstractContextManager:
    """What is computed has no gradient with respect to the network's weights."""
    return _held(network.parameters(), "requires_grad", False)
