"""What is tried before a run's first iteration, and of images before its networks see them: do they fit each other?"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import math
import warnings
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from dnll_core.config import ConfigError, Experiment
from dnll_core.learner import Learner
from dnll_core.memory import check_room, is_out_of_memory
from dnll_core.methods import own_network
from dnll_core.methods.base import Batch, Logits, Method, in_each_stage
from dnll_core.models import Network
from dnll_core.schedules import Clock

MOST_ITERATIONS = 2**24  # float32, in which the clock counts, has no odd number above


def try_once(learner: Learner) -> None:
    """Makes sure that iterations can be done; computes next to nothing, draws nothing and changes nothing.

    Views are tried on one black image, and a network on a batch of no image, which goes through its layers as any other
    and shows the size of their maps. (Torch's "meta" device tells no more, after two seconds of imports.)

    Raises:
        ConfigError: with field, value and what is accepted, if views, networks or clock cannot do what is asked.
    """
    e, steps, total = learner.experiment, learner.steps_per_epoch, learner.clock.total_steps
    if total > MOST_ITERATIONS:
        raise ConfigError(
            f"epochs={e.epochs} of {steps} iterations are {total}, and a run has at most {MOST_ITERATIONS} iterations: "
            f"here epochs takes a whole number from 1 to {MOST_ITERATIONS // steps}."
        )
    plan = 16 * steps * (e.labelled_batch + e.unlabelled_batch)  # int64, and once more while it is drawn
    check_room(plan, f"{batches_in_words(e)}: the plan of an epoch of {steps} iterations")
    with dataclasses.replace(learner.compute, threads=1).own_threads():  # there is nothing to share
        _try_views_and_network(learner)


def batches_in_words(e: Experiment) -> str:
    size = "" if e.size is None else f", size={e.size}"
    return f"labelled_batch={e.labelled_batch}, unlabelled_batch={e.unlabelled_batch}{size}"


def if_it_fits(make: Callable[[], Method], e: Experiment, shape: torch.Size, device: torch.device) -> Method:
    """What `make` makes. Networks that surely do not fit are refused before they are there: some grow with the image.

    What counts is what they hold, once more for the average, what optimisers keep, and the gradients of one of them.

    Args:
        shape: (C, H, W) of the images. device: of the run; networks are made on the CPU.

    Raises:
        ConfigError: with method, size, what it takes and what is free.
    """
    with torch.device("meta"):  # takes no memory; what it imports, optimisers do, too
        method, learnt, kept = make(), [], 0
        held = sum(tensor.nbytes for tensor in (*method.parameters(), *method.buffers()))
        for optimiser in method.optimisers().values():
            weights = [p for p in nn.ModuleList(optimiser.modules).parameters() if p.requires_grad]
            learnt.append(sum(p.nbytes for p in weights))
            kept += learnt[-1] * (e.momentum > 0 if optimiser.adam is None else 2)
    what = f"method={e.method!r}, size={e.size}: learning networks for images of {_words(shape)}"
    check_room(held * (1 + (e.ema_decay > 0)) + kept + max(learnt), what, device)
    if device.type != "cpu":
        check_room(held, what)
    return make()


def _named(e: Experiment) -> tuple[str, str]:
    """The field, and its value, that says which network learns."""
    return ("network", e.network) if own_network(e.to_dict()) is None else ("method", e.method)


def _check_batch(learner: Learner, kept: int) -> None:
    """Refuses a batch that surely does not fit: all of its views at a time, and what batch norm keeps of one network.

    kept: values of each image that go into batch norms, which keep them for the backward pass.
    """
    e, shape = learner.experiment, learner.data.labelled.shape[1:]
    pixels, each = 4 * math.prod(shape), kept * (2 if learner.compute.precision == "bfloat16" else 4)
    most = 0
    for _ in in_each_stage(learner.method):
        x, u = len(learner.method.labelled_views), len(learner.method.unlabelled_views)
        most = max(most, e.labelled_batch * (x * pixels + each) + e.unlabelled_batch * (u * pixels + each) * (u > 0))
    field, value = _named(e)
    what = f"{batches_in_words(e)}: a batch of images of {_words(shape)} in {field}={value!r}"
    check_room(most, what, learner.device)


def _try_views_and_network(learner: Learner) -> None:
    e, shape, method = learner.experiment, learner.data.labelled.shape[1:], learner.method
    at_the_end = ["strong"] if e.source is not None else []  # the view of the test images that `train` looks at
    views = {name for _ in in_each_stage(method) for name in (*method.labelled_views, *method.unlabelled_views)}
    for name in sorted({*views, *at_the_end}):
        with _refused_by(name, getattr(e, name), shape):
            learner.views[name](torch.zeros(1, *shape, dtype=torch.uint8), torch.Generator())
    network = next((module for module in method.modules() if isinstance(module, Network)), None)
    if network is not None:
        with _refused_by(*_named(e), shape):
            logits, maps = _without_images(network, torch.zeros(0, *shape, device=learner.device))
        _check_batch(learner, sum(map(math.prod, maps)))
        if min((math.prod(shape[1:]) for shape in maps), default=math.inf) == 1:
            _check_batches(learner, logits)


@contextlib.contextmanager
def _refused_by(field: str, value: str, shape: torch.Size) -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError, RuntimeError, IndexError) as error:
        if is_out_of_memory(error):
            raise
        raise ConfigError(f"{field}={value!r} cannot take images of {_words(shape)}: {error}.") from None


def _words(shape: torch.Size) -> str:
    return f"{shape[0]} channel{'s' * (shape[0] != 1)} and {shape[1]}x{shape[2]} pixels"


@torch.no_grad()
def _without_images(network: Network, images: Tensor) -> tuple[Logits, list[torch.Size]]:
    """Logits of a batch (0, C, H, W), and the shapes (C, H, W) of the maps of an image that batch norms see."""
    seen, was_training = [], network.training
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    hooks = [norm.register_forward_pre_hook(lambda _, x: seen.append(x[0].shape[1:])) for norm in norms]
    try:
        return network.eval()(images), seen
    finally:
        network.train(was_training)
        for hook in hooks:
            hook.remove()


class _Counter(nn.Module):
    """In the place of a network: notes how many images come at a time while batch norm takes their own statistics."""

    def __init__(self, logits: Logits, hidden: int, counts: list[int]):
        super().__init__()
        self.logits, self.hidden, self.counts = logits, hidden, counts

    def forward(self, x: Tensor, return_features: bool = False) -> Logits:
        if self.training:
            self.counts.append(len(x))
        of_each = x.flatten(1).sum(1, keepdim=True)  # methods may differentiate by the images
        if isinstance(self.logits, tuple):
            return tuple(of_each.expand(-1, head.shape[1]) for head in self.logits)
        logits = of_each.expand(-1, self.logits.shape[1])
        return (logits, of_each.expand(-1, self.hidden)) if return_features else logits


def _check_batches(learner: Learner, logits: Logits) -> None:
    """Raises ConfigError if a method lets a single image go by itself through networks whose last maps are 1x1."""
    e = learner.experiment
    batches = {name: min(getattr(e, name), 4) for name in ("labelled_batch", "unlabelled_batch")}
    ones = [name for name, n in batches.items() if n == 1]
    if not ones or _fewest(learner, logits, batches) > 1:
        return
    # blocks may share a pass, in which one and one are two: the method tells which batch has to grow
    fields = next((f for f in ([n] for n in ones) if _fewest(learner, logits, batches | {f[0]: 2}) > 1), ones)
    (field, value), (_, height, width) = _named(e), learner.data.labelled.shape[1:]
    raise ConfigError(
        f"{' and '.join(f'{name}=1' for name in fields)}: {field}={value!r} leaves one of {height}x{width} pixels, "
        f"and batch norm needs more than one value of a channel, so {' and '.join(fields)} must be at least 2 here."
    )


def _fewest(learner: Learner, logits: Logits, batches: dict[str, int]) -> int:
    """The fewest images that go through a network of the learner's method at a time, with batches of these sizes."""
    counts: list[int] = []
    networks = [module for module in learner.method.modules() if isinstance(module, Network)]
    method = copy.deepcopy(
        learner.method, {id(network): _Counter(logits, network.hidden, counts) for network in networks}
    )
    shape, where = learner.data.labelled.shape[1:], {"device": learner.device}
    x, u = (torch.zeros(n, *shape, **where) for n in batches.values())
    classes, places = (torch.zeros(n, dtype=torch.int64, **where) for n in batches.values())
    for _ in in_each_stage(method):
        batch = Batch((x,) * len(method.labelled_views), classes, (u,) * len(method.unlabelled_views), places)
        for compute in method.turns().values():
            compute(batch, Clock(torch.zeros((), **where), 1, 1), torch.Generator(learner.device))
    return min(counts, default=2)


@contextlib.contextmanager
def as_config_error() -> Iterator[None]:
    """What does not fit the data, such as m with few classes, is the experiment's fault, and the message says so."""
    try:
        yield
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(str(error)) from None


def warn_if_cut_short(learner: Learner) -> None:
    """Warns where a pool of less than half of the labelled images leaves them less than half of `epochs` passes.

    With a source the pool is the target by design, and small or large as that is.
    """
    e, steps, total = learner.experiment, learner.steps_per_epoch, learner.clock.total_steps
    images, pool = len(learner.data.labelled), len(learner.data.unlabelled)
    passes = total * e.labelled_batch / images
    if e.source is None and 2 * steps < images // e.unlabelled_batch and 2 * passes < e.epochs:
        warnings.warn(
            f"{e.epochs} epochs, which are passes over the {pool} unlabelled images, are {total} iterations and only "
            f"{passes:.2g} passes over the {images} labelled images. epochs={math.ceil(e.epochs**2 / passes)} would "
            f"make it {e.epochs}, and include_labelled=True or more unlabelled images make epochs longer.",
            stacklevel=3,
        )


def checked_images(images: Tensor | np.ndarray, shape: torch.Size) -> Tensor:
    """Images of one's own as a tensor (N, C, H, W) uint8, as networks that were trained on (C, H, W) take them.

    Args:
        images: a tensor, or a NumPy array, which is copied; N may be 0.

    Raises:
        TypeError: for anything else, and for other numbers than uint8.
        ValueError: for another shape.
    """
    accepted = f"accepted are (N, {', '.join(map(str, shape))}) uint8, levels 0...255"
    if isinstance(images, list | tuple):
        raise TypeError(f"images are a {type(images).__name__}; {accepted}, as torch.stack makes it of single ones.")
    if not isinstance(images, Tensor | np.ndarray):
        raise TypeError(f"images are of type {type(images).__name__}; {accepted}, in a tensor or a NumPy array.")
    if isinstance(images, Tensor) and (images.layout != torch.strided or images.device.type == "meta"):
        raise TypeError(f"images are {images.layout} on {images.device}; {accepted}, in a dense tensor with its data.")
    if str(images.dtype).removeprefix("torch.") != "uint8":
        raise TypeError(f"images are {images.dtype}; {accepted}. Of 0...1: (255 * images).round().to(torch.uint8).")
    got = tuple(images.shape)
    if got[1:] != tuple(shape):
        hint = ""
        if got == tuple(shape):
            hint = " Of a single image: images[None]."
        elif len(got) == 4 and got[1:] == (*shape[1:], shape[0]):
            hint = " Channels come first: images.permute(0, 3, 1, 2), with NumPy images.transpose(0, 3, 1, 2)."
        elif len(got) == 4 and got[1] != shape[0]:
            hint = f" The networks were trained on {shape[0]} channel{'s' * (shape[0] != 1)}, and these have {got[1]}."
        elif len(got) == 4:
            hint = " The networks were trained on {}x{} pixels, and these are {}x{}.".format(*shape[1:], *got[2:])
        raise ValueError(f"images have the shape {got}; {accepted}.{hint}")
    return images if isinstance(images, Tensor) else torch.from_numpy(np.array(images))
