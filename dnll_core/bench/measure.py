"""The cost of training iterations: settings in turn, A, B, A, B, ..., and what an iteration consists of."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import nn

from dnll_core.bars import watched
from dnll_core.bench.subject import Setting, Subject
from dnll_core.bench.timing import Mark, ceiling, count_flops, peak_memory
from dnll_core.checks import sealed
from dnll_core.common import atomic_file, today
from dnll_core.device import choose_compute, own_random_state
from dnll_core.methods.base import Method
from dnll_core.provenance import source_hash
from dnll_core.trainer import Trainer

# What an iteration consists of, its turns together. "label passes" are those without gradient, which also make images;
# "label draw" is that of negatives; "losses" what else a turn does outside the networks; "after step" moves averages
# and Pr; "rest" is the trainer's bookkeeping.
PARTS = (
    *("batch and views", "label passes", "label draw", "forward", "losses", "backward", "optimiser", "after step"),
    "rest",
)


def interleaved(
    works: dict[str, Callable[[], float]], rounds: int, what: str = "", progress: bool = False
) -> dict[str, list[float]]:
    """Calls each of `works`, which time themselves, once in each round: A, B, A, B, ... Name -> `rounds` seconds."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in watched(range(rounds), rounds, what, progress):
        for name, work in works.items():
            times[name].append(work())
    return times


def measure(
    settings: dict[str, Setting],
    iterations: int | None = None,
    *,
    warmup: int | None = None,
    burst: int | None = None,
    profiled: int = 2,
    seed: int = 0,
    progress: bool = False,
) -> dict:
    """Times training iterations and inference batches of all settings in turn, and looks into an iteration.

    Args:
        settings: by name; the first is what the others are compared with.
        iterations: timed blocks of each setting; None: 5 on a CPU, 30 elsewhere.
        warmup: first iterations, timed apart, the very first while its FLOPs are counted; None: 2 on a CPU, 20
            elsewhere.
        burst: iterations in a block, of which the mean counts; None: 1 on a CPU, 10 elsewhere, where in training the
            host runs ahead of the device.
        profiled: iterations between warm-up and timing whose parts are timed.
        progress: a bar on a terminal.

    Returns:
        A record of plain JSON values. record["settings"][name]: what ran where ("experiment", "device", "precision",
        "threads", "unlabelled", "pool", "step"); in seconds "warmup", "train" and "inference" (lists), "parts" and
        "host" (medians; None but on CUDA), "captured" (to record the CUDA graph; None without); "flops" of an
        iteration; "ceiling" and "memory" (see `timing`); "evaluation" and "epoch" (see `Subject`).
    """
    subjects, measured = {}, {}
    with contextlib.ExitStack() as stack:
        for name, setting in settings.items():
            subjects[name], measured[name] = _made_ready(setting, warmup, seed, stack)
            measured[name] |= _looked_into(subjects[name], profiled)
        on_cpu = all(subject.learner.device.type == "cpu" for subject in subjects.values())
        iterations, burst = iterations or (5 if on_cpu else 30), burst or (1 if on_cpu else 10)
        for kind, work in (("train", Subject.train_seconds), ("inference", Subject.inference_seconds)):
            works = {name: functools.partial(work, subject, burst) for name, subject in subjects.items()}
            for name, times in interleaved(works, iterations, kind, progress).items():
                measured[name][kind] = times
        ceilings = {compute: ceiling(compute) for compute in {s.learner.compute for s in subjects.values()}}
        for name, subject in subjects.items():
            measured[name]["ceiling"] = ceilings[subject.learner.compute]
    provenance = next(iter(subjects.values())).provenance
    shared = {key: provenance[key] for key in ("torch", "python", "commit")}
    shared |= {"source_sha256": source_hash("bench.measure"), "source_of": "bench.measure"}
    return {**shared, "finished": today(), "seed": seed, "burst": burst, "settings": measured}


def _made_ready(setting: Setting, warmup: int | None, seed: int, stack: contextlib.ExitStack) -> tuple[Subject, dict]:
    """A warm subject, and what there is to say of it so far. The very first iteration loads and compiles code."""
    device, in_use = choose_compute(setting.device, setting.precision, setting.experiment.network).device, 0
    if device.type == "cuda":
        torch.cuda.init()  # the statistics exist only from then on
        torch.cuda.reset_peak_memory_stats(device)
        in_use = torch.cuda.memory_allocated(device)
    subject = Subject(setting, seed)
    compute, captured, times = subject.learner.compute, subject.trainer.captured, []
    stack.enter_context(own_random_state(device, seed))
    if compute.threads not in (None, torch.get_num_threads()):  # once for all, where all settings have as many
        stack.enter_context(compute.own_threads())
    with subject.uncaptured():  # a replayed CUDA graph dispatches no operations to count
        flops = count_flops(lambda: times.append(subject.train_seconds()))
    for _ in range((warmup or (2 if device.type == "cpu" else 20)) - 1):
        times.append(subject.train_seconds())
    subject.inference_seconds()
    return subject, {
        "experiment": setting.experiment.to_dict(),
        "unlabelled": setting.unlabelled,
        "pool": setting.pool,
        "step": setting.step,
        "captured": None if captured is None else captured.seconds,
        "device": compute.describe(),
        "precision": compute.precision,
        "threads": compute.threads,
        "warmup": times,
        "flops": flops,
        "memory": peak_memory(device, in_use),
    }


def _looked_into(subject: Subject, profiled: int) -> dict:
    """What is measured of a setting beside its times, in iterations of its own."""
    host = None
    if subject.learner.device.type == "cuda":
        host = statistics.median(subject.host_seconds() for _ in range(10))
    return {
        "parts": {part: statistics.median(times) for part, times in profile(subject, profiled).items()},
        "host": host,
        "evaluation": subject.evaluation(),
        "epoch": subject.epoch(),
    }


def save(record: dict, path: str | Path) -> None:
    """Writes a record of `measure` as JSON, atomically, with its SHA-256."""
    with atomic_file(path) as file:
        file.write((json.dumps(sealed(record), indent=1) + "\n").encode())


# -- the parts of an iteration -----------------------------------------------------------------------------------------


def networks_of(module: nn.Module) -> Iterator[nn.Module]:
    """All that a method calls as a network: classifiers, and what makes or judges images."""
    for child in module.children():
        if isinstance(child, Method | nn.ModuleList):
            yield from networks_of(child)
        else:
            yield child


@contextlib.contextmanager
def _watch(trainer: Trainer, enter: Callable[[str], None]) -> Iterator[None]:
    """Calls `enter(part)` whenever an iteration of `trainer` passes from one of PARTS to another."""
    with contextlib.ExitStack() as stack:

        def around(owner: object, name: str, part: str, following: str) -> None:
            inner = getattr(owner, name)

            def watched_call(*args, **kwargs):
                enter(part)
                result = inner(*args, **kwargs)
                enter(following)
                return result

            setattr(owner, name, watched_call)  # on this object alone; removed below
            stack.callback(delattr, owner, name)

        method = trainer.learner.method
        around(trainer.learner, "draw_batch", "batch and views", "rest")
        around(method, "after_step", "after step", "rest")
        for turn in method.turns().values():
            around(method, turn.__name__, "losses", "backward")
        if hasattr(method, "draw"):
            around(method, "draw", "label draw", "losses")
        hooks = []
        for optimizer in trainer.learner.optimisers.each.values():
            hooks.append(optimizer.register_step_pre_hook(lambda *_: enter("optimiser")))
            hooks.append(optimizer.register_step_post_hook(lambda *_: enter("rest")))
        for network in networks_of(method):
            # labels are made without gradient
            passes = network.register_forward_pre_hook(
                lambda *_: enter("forward" if torch.is_grad_enabled() else "label passes")
            )
            hooks += [passes, network.register_forward_hook(lambda *_: enter("losses"))]
        for hook in hooks:
            stack.callback(hook.remove)
        yield


def profile(subject: Subject, iterations: int) -> dict[str, list[float]]:
    """Seconds of each of PARTS in each of `iterations` more iterations, each on an idle device.

    They are watched by wrappers around the trainer's and method's steps and by hooks on networks and optimiser, which
    timed iterations do not have. On CUDA a part lasts as the device sees it, its waiting for the host included.
    """
    seconds: dict[str, list[float]] = {part: [] for part in PARTS}
    marks: list[tuple[str, Mark]] = []

    def enter(part: str) -> None:
        marks.append((part, subject.timer.mark()))

    with subject.uncaptured(), _watch(subject.trainer, enter), subject.at_work():
        for _ in range(iterations):
            subject.timer.wait()
            marks.clear()
            enter("rest")
            subject.step()
            enter("end")
            for part in PARTS:
                seconds[part].append(0.0)
            for (part, start), (_, end) in itertools.pairwise(marks):
                seconds[part][-1] += subject.timer.between(start, end)
    return seconds
