"""How fast training is here: the time of an iteration, where it goes, and how settings compare.

    python -m dnll_core.bench                                  # DNLL, CNN-13, 50 + 50 images of CIFAR-10's shape
    python -m dnll_core.bench --compare method=mean-teacher --compare method=dual-student      # Table 7
    python -m dnll_core.bench --compare precision=float32 step=plain --json runs/bench/plain.json
    python -m dnll_core.bench --growth                         # does the number of unlabelled images matter?

What is timed is `Trainer.train_step` itself, on random images of the data set's shape: time depends on shapes, not on
what the images show. Settings that are compared take turns in one process (A, B, A, B, ...), so that a machine that
slows down slows all of them.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import functools
import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from dnll_core import bench_report
from dnll_core.common import atomic_file
from dnll_core.config import CHOICES, ConfigError, Experiment
from dnll_core.console import positive, watched
from dnll_core.device import choose_compute
from dnll_core.run import own_random_state
from dnll_core.subject import SHAPES, Setting, Subject
from dnll_core.timing import ceiling, count_flops, peak_memory, profile, resident_memory

FORMAT = 1
SMALLEST = 10_000  # unlabelled images where --growth begins


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
        iteration; "ceiling", "evaluation" and "memory" (see `timing`).
    """
    subjects, measured = {}, {}
    with contextlib.ExitStack() as stack:
        for name, setting in settings.items():
            subjects[name], measured[name] = _made_ready(setting, warmup, seed, stack)
            measured[name] |= _looked_into(subjects[name], profiled)
        on_cpu = all(subject.trainer.device.type == "cpu" for subject in subjects.values())
        iterations, burst = iterations or (5 if on_cpu else 30), burst or (1 if on_cpu else 10)
        for kind, work in (("train", Subject.train_seconds), ("inference", Subject.inference_seconds)):
            works = {name: functools.partial(work, subject, burst) for name, subject in subjects.items()}
            for name, times in interleaved(works, iterations, kind, progress).items():
                measured[name][kind] = times
        ceilings = {compute: ceiling(compute) for compute in {s.trainer.compute for s in subjects.values()}}
        for name, subject in subjects.items():
            measured[name]["ceiling"] = ceilings[subject.trainer.compute]
    provenance = next(iter(subjects.values())).provenance
    shared = {key: provenance[key] for key in ("torch", "python", "commit", "source_sha256")}
    finished = datetime.datetime.now(datetime.UTC).date().isoformat()
    return {"format": FORMAT, **shared, "finished": finished, "seed": seed, "burst": burst, "settings": measured}


def _made_ready(setting: Setting, warmup: int | None, seed: int, stack: contextlib.ExitStack) -> tuple[Subject, dict]:
    """A warm subject, and what there is to say of it so far. The very first iteration loads and compiles code."""
    device, in_use = choose_compute(setting.device, setting.precision, setting.experiment.network).device, 0
    if device.type == "cuda":
        torch.cuda.init()  # the statistics exist only from then on
        torch.cuda.reset_peak_memory_stats(device)
        in_use = torch.cuda.memory_allocated(device)
    subject = Subject(setting, seed)
    compute, captured, times = subject.trainer.compute, subject.trainer.captured, []
    stack.enter_context(own_random_state(device, seed))
    if compute.threads not in (None, torch.get_num_threads()):  # once for all, where all settings have as many
        stack.enter_context(compute.own_threads())
    with subject.uncaptured():  # nothing is dispatched, so nothing counted, in a replay
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
    if subject.trainer.device.type == "cuda":
        host = statistics.median(subject.host_seconds() for _ in range(10))
    return {
        "parts": {part: statistics.median(times) for part, times in profile(subject, profiled).items()},
        "host": host,
        "evaluation": subject.evaluation(),
    }


def growth(setting: Setting, sizes: list[int], iterations: int = 30, seed: int = 0, progress: bool = False) -> dict:
    """How time depends on M: iterations at each of `sizes` unlabelled images in turn, and what an epoch takes.

    An epoch's seconds are those of drawing its batches (measured, whole) plus its number of iterations times the
    median iteration. At the smallest size a whole epoch is also run, to see that this is so.

    Returns:
        {"sizes": [{"unlabelled", "iterations", "train" (list), "plan", "epoch", "memory", "image"}, ...],
        "whole_epoch"}: seconds, and in bytes by how much the process grew for this size (None where the system does
        not tell) and what an image has.
    """
    with contextlib.ExitStack() as stack:
        subjects, memory = {}, {}
        for size in sorted(sizes):
            before = resident_memory()
            subjects[str(size)], about = _made_ready(setting.replace(unlabelled=size), 10, seed, stack)
            memory[str(size)] = None if before is None else resident_memory() - before
        times = interleaved({name: s.train_seconds for name, s in subjects.items()}, iterations, "train", progress)
        rows = []
        for name, subject in subjects.items():
            trainer, steps = subject.trainer, subject.trainer.steps_per_epoch
            with subject.at_work():
                plan = statistics.median(subject.timer.seconds(lambda t=trainer: t.plan_epoch(0)) for _ in range(3))
            epoch = plan + steps * statistics.median(times[name])
            row = {"unlabelled": int(name), "iterations": steps, "train": times[name], "plan": plan, "epoch": epoch}
            rows.append(row | {"memory": memory[name], "image": trainer.data.labelled[0].nbytes})
        smallest = next(iter(subjects.values()))

        def whole_epoch() -> None:
            smallest.trainer.plan_epoch(0)
            for _ in range(smallest.trainer.steps_per_epoch):
                smallest.step()

        with smallest.at_work():
            whole = smallest.timer.seconds(whole_epoch)
    shared = {key: subject.provenance[key] for key in ("torch", "python", "commit", "source_sha256")}
    where = {key: about[key] for key in ("experiment", "device", "precision", "threads")}
    return {"format": FORMAT, **shared, **where, "seed": seed, "sizes": rows, "whole_epoch": whole}


def save(record: dict, path: str | Path) -> None:
    """Writes a record of `measure` or `growth` as JSON, atomically."""
    with atomic_file(path) as file:
        file.write((json.dumps(record, indent=1) + "\n").encode())


# -- the command -------------------------------------------------------------------------------------------------------


def changes_of(texts: list[str]) -> dict[str, str]:
    """["m=3", "precision=float32"] -> {"m": "3", "precision": "float32"}."""
    for text in texts:
        if "=" not in text:
            raise ConfigError(f"a change is written NAME=VALUE, for example method=mean-teacher, not {text!r}.")
    return dict(text.split("=", 1) for text in texts)


def settings_of(options: argparse.Namespace) -> dict[str, Setting]:
    """The settings that the command names: its own first, then one for each --compare."""
    dataset = options.dataset or ("digits" if options.growth else "cifar10")
    experiment = Experiment(
        dataset=dataset,
        labels=20 if dataset == "digits" else 4000,
        network=options.network,
        method=options.method,
        labelled_batch=options.labelled_batch,
        unlabelled_batch=options.unlabelled_batch,
    )
    first = Setting(experiment, options.device, options.precision, options.threads, options.unlabelled)
    first = first.replace(**changes_of(options.set))
    settings = {first.experiment.method: first}
    for texts in options.compare:
        changes = changes_of(texts)
        name = changes["method"] if list(changes) == ["method"] else ", ".join(texts)
        if name in settings:
            raise ConfigError(f"{name!r} is there twice; each setting to compare must be another one.")
        settings[name] = first.replace(**changes)
    return settings


def run(options: argparse.Namespace) -> tuple[dict, str]:
    """Measures what the command asks for: the record, and the text to print."""
    settings = settings_of(options)
    if options.growth is None:
        names = ("iterations", "warmup", "burst", "profiled", "seed")
        record = measure(settings, **{name: getattr(options, name) for name in names}, progress=True)
        return record, bench_report.describe(record)
    if options.compare or options.growth <= SMALLEST:
        raise ConfigError(f"--growth measures one setting up to more than {SMALLEST} images, without --compare.")
    [setting] = settings.values()
    decades = [SMALLEST * 10**k for k in range(6) if SMALLEST * 10**k < options.growth]
    record = growth(setting, [*decades, options.growth], options.iterations or 30, options.seed, progress=True)
    return record, bench_report.describe_growth(record)


def parser() -> argparse.ArgumentParser:
    about, examples, explanation, *_ = __doc__.split("\n\n")
    layout = argparse.RawDescriptionHelpFormatter
    made = argparse.ArgumentParser(
        prog="python -m dnll_core.bench",
        description=f"{about}\n\n{examples}",
        epilog=explanation,
        formatter_class=lambda prog: layout(prog, max_help_position=30, width=118),
    )
    what = made.add_argument_group("what is measured").add_argument
    what("--method", default="dnll", help=f"one of: {', '.join(CHOICES['method'])} (default dnll)")
    what("--network", default="auto", help=f"one of: {', '.join(CHOICES['network'])} (default: the data set's)")
    what("--dataset", help=f"whose shape the images have, one of: {', '.join(SHAPES)} (default cifar10)")
    what("--labelled-batch", type=positive, default=50, metavar="B", help="labelled images of a batch (default 50)")
    what("--unlabelled-batch", type=positive, default=50, metavar="U", help="unlabelled images of it (default 50)")
    what("--unlabelled", type=positive, default=10_000, metavar="M", help="images in the pool (default 10000)")
    change = {"nargs": "+", "default": [], "metavar": "NAME=VALUE"}
    what("--set", **change, action="extend", help="other fields of Experiment, for example m=3")
    what(
        *("--compare",),
        **change,
        action="append",
        help="also measure, in turn with the first, the same with these "
        "changes: fields of Experiment, device, precision, threads, unlabelled, pool (device, host, mapped), step "
        "(fast, uncaptured, plain). Once for each further setting",
    )
    what(
        *("--growth",),
        nargs="?",
        type=positive,
        const=1_000_000,
        metavar="MAX",
        help="instead: time against the "
        f"number of unlabelled images, {SMALLEST} to MAX (default 1000000), on 8x8 images unless --dataset is given",
    )
    how = made.add_argument_group("where and how").add_argument
    how("--device", default="auto", help="cpu, cuda, cuda:1, mps, ... (default: the fastest that is there)")
    how("--precision", default="auto", help="float32 or bfloat16 (default: the one that is faster there)")
    how("--threads", type=positive, metavar="N", help="on a CPU (default: as many as a run takes)")
    how(
        "--iterations", type=positive, metavar="N", help="timed blocks (default 5 on a CPU, 30 elsewhere; --growth: 30)"
    )
    how("--warmup", type=positive, metavar="N", help="iterations before them (default 2 on a CPU, 20 elsewhere)")
    how("--burst", type=positive, metavar="N", help="iterations in a block (default 1 on a CPU, 10 elsewhere)")
    how("--profiled", type=positive, default=2, metavar="N", help="further iterations, taken apart (default 2)")
    how("--seed", type=int, default=0, metavar="N", help="of weights, images and draws (default 0)")
    how("--json", type=Path, metavar="FILE", help="also write the record, atomically")
    return made


def main(arguments: list[str] | None = None) -> None:
    options = parser().parse_args(arguments)
    try:
        record, text = run(options)
    except ValueError as error:  # ConfigError is one
        sys.exit(str(error))
    print(text)
    if options.json is not None:
        try:
            save(record, options.json)
        except OSError as error:
            sys.exit(f"{options.json} could not be written: {error}")
        print(f"wrote {options.json}")


if __name__ == "__main__":
    main()
