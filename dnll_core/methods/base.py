"""What every algorithm offers the trainer (`Method`), and what passes between them (`Batch`, `Output`).

To add an algorithm, write a file beside this one with a `Method` that declares the views it wants, computes one loss
from a `Batch`, and names what is evaluated; then name it in `methods/__init__.py`, `config` and `figures.style`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from dnll_core.config import Experiment
from dnll_core.device import side_by_side
from dnll_core.methods.declared import Optimiser, Pool, Stage
from dnll_core.methods.modes import evaluating, frozen_statistics
from dnll_core.schedules import Clock

Logits = Tensor | tuple[Tensor, Tensor]  # (B, K), or of a network with two heads a pair of them: class, second


@dataclass
class Batch:
    """One iteration's images, augmented and normalised, on the training device.

    Attributes:
        labelled: for each of `Method.labelled_views`, (B, C, H, W) float32.
        targets: (B,) int64, the labels of all those views.
        unlabelled: for each of `Method.unlabelled_views`, (U, C, H, W) float32.
        index: (U,) int64, the images' positions in the pool, for methods with a memory per image.
    """

    labelled: tuple[Tensor, ...]
    targets: Tensor
    unlabelled: tuple[Tensor, ...]
    index: Tensor


@dataclass
class Output:
    """What one iteration gives back: the loss to minimise, and what an add-on builds on.

    Attributes:
        loss: 0-dim; the sum over submodels. Their graphs share no parameter, so one backward pass and one optimiser
            do Eqs. 20-21 for each of them. After several turns the sum of all, without gradient.
        labelled_logits: for each student, (B, K) without gradient; B less where it has a part of the images to itself;
            empty in a turn of networks that tell no classes.
        student_logits: for each student, (U, K) with gradient, on the view an unlabelled loss acts on; or None.
        teacher_logits: for each teacher, (U, K) without gradient, on the view that labels are made from; or None.
        unused: for each student, (U,) 0/1, the unlabelled images that the method's own labels did not reach; or None.
        metrics: 0-dim tensors without gradient, averaged over the epoch for display and record.
        negatives: for each teacher, (U, K) 0/1, the pseudo-negative labels it passed on; empty without DNLL.
        labelled_targets: for each student, (B,) int64, the labels of its `labelled_logits`; None: those of the batch.
        targets: for each student, (U, K), the sum of the labels it was trained towards, or away from; empty if none.
        method: for observers, the method that made this, with its networks as the iteration has left them.
    """

    loss: Tensor
    labelled_logits: list[Tensor]
    student_logits: list[Tensor] | None = None
    teacher_logits: list[Tensor] | None = None
    unused: list[Tensor] | None = None
    metrics: dict[str, Tensor] = field(default_factory=dict)
    negatives: list[Tensor] = field(default_factory=list)
    labelled_targets: list[Tensor] | None = None
    targets: list[Tensor] = field(default_factory=list)
    method: Method | None = None


# Sees each iteration, changes nothing; what it returns is averaged over the epoch into the history: 0-dim tensors, or
# of shape (2,), a sum and over how many it is, for the mean over those of all iterations (none: no mean).
Observer = Callable[[Batch, Output], dict[str, Tensor] | None]


class Method(nn.Module):
    """An algorithm: its networks and every state it learns or remembers, so that `state_dict` saves all of it."""

    labelled_views: tuple[str, ...] = ("weak",)  # "weak" or "strong", each an independent draw of that augmentation
    unlabelled_views: tuple[str, ...] = ()  # empty: the trainer prepares no unlabelled images
    students: int = 0  # how many students, each with its teacher, `Output` offers to an add-on; 0: it cannot take one
    stages: tuple[Stage, ...] = (Stage("train"),)
    stage: int = 0  # which of them is under way; the learner keeps it. Views and turns may depend on it

    def compute(self, batch: Batch, clock: Clock, generator: torch.Generator) -> Output:
        """The loss of one iteration. Networks are in train mode on entry and must be on return.

        It waits for no number on the device (`.item()`, `if` of a tensor), so that CUDA can record it.
        """
        raise NotImplementedError

    def turns(self) -> dict[str, Callable[[Batch, Clock, torch.Generator], Output]]:
        """Name -> loss, in this order: it is computed, gradients are cleared and computed, its optimiser steps.

        All see the same batch. One of several tells classes, in `labelled_logits`; no two have a metric of one name.
        Which there are may depend on `stage` alone.
        """
        return {"main": self.compute}

    def optimisers(self) -> dict[str, Optimiser]:
        """By the names of all turns of all stages. Each weight that `requires_grad` is in one of them."""
        return {"main": Optimiser((self,))}

    def after_step(self, batch: Batch, output: Output, clock: Clock) -> None:
        """Updates, in place, what is not learnt by gradient: averages, Pr, memories. Called after the optimiser."""

    def at_stage(self, pool: Pool, generator: torch.Generator) -> None:
        """Called on the host, without gradient, before the first iteration of each stage. Changes state in place."""

    def at_epoch(self, pool: Pool, epoch: int, generator: torch.Generator) -> None:
        """Likewise before the first iteration of epochs 1, 2, ...; where a stage begins with one, `at_stage` alone."""

    def rows(self) -> Tensor | None:
        """The positions in the pool, int64, that batches are drawn from, in an epoch or the rest of it; None: all."""
        return None

    def predictors(self) -> dict[str, nn.Module]:
        """Name -> network, for everything that is evaluated."""
        raise NotImplementedError


def in_each_stage(method: Method) -> Iterator[None]:
    """The method in each of its stages in turn, then as it was."""
    before = method.stage
    for stage in range(len(method.stages)):
        method.stage = stage
        yield
    method.stage = before


NetworkFactory = Callable[[], nn.Module]


class OneNetwork(Method):
    """A method with a single network, which is also what is evaluated."""

    def __init__(self, build: NetworkFactory, experiment: Experiment):
        super().__init__()
        self.network, self.experiment = build(), experiment

    def predictors(self) -> dict[str, nn.Module]:
        return {"network": self.network}


class TwoNetworks(Method):
    """A method with two independently initialised submodels, each with its own weak view of the labelled images."""

    labelled_views = ("weak", "weak")
    students = 2

    def __init__(self, build: NetworkFactory, experiment: Experiment):
        super().__init__()
        self.submodels, self.experiment = nn.ModuleList([build(), build()]), experiment

    def predictors(self) -> dict[str, nn.Module]:
        return {"network 1": self.submodels[0], "network 2": self.submodels[1]}


def forward_each(
    networks: Sequence[nn.Module], blocks: Sequence[Sequence[Tensor]], joint: bool, features: bool = False
) -> list[list[Logits]]:
    """All forward passes of all methods go through here, so that running them faster is one change.

    Args:
        networks: S networks.
        blocks: for each network its blocks of images, each (B_i, C, H, W).
        joint: one pass over all blocks of a network, which then share their batch-norm statistics; or one pass each.
        features: of networks with one head, give pairs of logits and the last hidden layer (B_i, F), float32.

    Returns:
        [s][i]: float32 logits (B_i, K) of network s on its block i; a pair of them for a network with two heads.
    """
    if features:
        networks = [partial(network, return_features=True) for network in networks]
    work = [partial(_forward, network, images, joint) for network, images in zip(networks, blocks, strict=True)]
    return side_by_side(work, blocks[0][0].device, blocks)


def _forward(network: Callable, images: Sequence[Tensor], joint: bool) -> list[Logits]:
    if not joint or len(images) == 1:
        return [_float(network(block)) for block in images]
    logits, sizes = network(torch.cat(list(images))), [len(block) for block in images]
    if isinstance(logits, tuple):
        return list(zip(*(head.float().split(sizes) for head in logits)))
    return list(logits.float().split(sizes))


def _float(logits: Logits) -> Logits:
    return tuple(head.float() for head in logits) if isinstance(logits, tuple) else logits.float()


def label_each(networks: Sequence[nn.Module], images: Tensor, mode: str, updates_bn: bool) -> list[Logits]:
    """Logits of each network on the same images, each (U, K) float32 without gradient; arguments as `label_blocks`."""
    labels = label_blocks(networks, [[images]] * len(networks), False, mode, updates_bn)
    return [logits[0] for logits in labels]


def label_blocks(
    networks: Sequence[nn.Module], blocks: Sequence[Sequence[Tensor]], joint: bool, mode: str, updates_bn: bool
) -> list[list[Logits]]:
    """`forward_each` without gradient, to make labels from.

    Args:
        mode: "train" (batch statistics, dropout on) or "eval" (running statistics, dropout off).
        updates_bn: in "train" mode, whether the pass moves the running batch-norm statistics.
    """
    with torch.no_grad(), contextlib.ExitStack() as stack:
        for network in networks:
            if mode == "eval":
                stack.enter_context(evaluating(network))
            elif not updates_bn:
                stack.enter_context(frozen_statistics(network))
        return forward_each(networks, blocks, joint)


def softmax_mse(logits: Tensor, others: Tensor) -> Tensor:
    """Squared difference of two softmaxes, mean over the classes: (B, K) and (B, K) logits -> (B,).

    The consistency loss of the Temporal Ensembling lineage. Detach what must not learn from it.
    """
    return (torch.softmax(logits, dim=1) - torch.softmax(others, dim=1)).square().mean(dim=1)
