"""How fast training is here: the time of an iteration, where it goes, and how settings compare.

    python -m dnll_core.bench                                  # DNLL, CNN-13, 50 + 50 images of CIFAR-10's shape
    python -m dnll_core.bench --compare method=mean-teacher --compare method=dual-student      # Table 7
    python -m dnll_core.bench --compare precision=float32 step=plain --json runs/bench/plain.json
    python -m dnll_core.bench --compare unlabelled=100000      # does the number of unlabelled images matter?

What is timed is `Trainer.train_step` itself, on random images of the data set's shape: time depends on shapes, not on
what the images show. Settings that are compared take turns in one process (A, B, A, B, ...), so that a machine that
slows down slows all of them.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dnll_core.bench.measure import measure, save
from dnll_core.bench.report import describe
from dnll_core.bench.subject import Setting, in_turn
from dnll_core.common import positive, program, user_path
from dnll_core.config import METHODS, ConfigError, Experiment
from dnll_core.data.sets import NAMES
from dnll_core.models import NETWORKS


def changes_of(texts: list[str]) -> dict[str, str]:
    """["m=3", "precision=float32"] -> {"m": "3", "precision": "float32"}."""
    for text in texts:
        if "=" not in text:
            raise ConfigError(f"a change is written NAME=VALUE, for example method=mean-teacher, not {text!r}.")
    return dict(text.split("=", 1) for text in texts)


def settings_of(options: argparse.Namespace) -> dict[str, Setting]:
    """The settings that the command names: its own first, then one for each --compare."""
    experiment = Experiment(
        dataset=options.dataset,
        labels=20 if options.dataset.startswith("digits") else 4000,
        network=options.network,
        method=options.method,
        labelled_batch=options.labelled_batch,
        unlabelled_batch=options.unlabelled_batch,
    )
    first = Setting(experiment, options.device, options.precision, options.threads, options.unlabelled)
    return in_turn(first.replace(**changes_of(options.set)), *map(changes_of, options.compare))


def _file(text: str) -> Path:
    path = user_path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"takes a file, not the folder {text!r}")
    return path


def parser() -> argparse.ArgumentParser:
    made = program("dnll_core.bench", __doc__)
    what = made.add_argument_group("what is measured").add_argument
    what("--method", default="dnll", help=f"one of: {', '.join(METHODS)} (default dnll)")
    what("--network", default="auto", help=f"one of: {', '.join(NETWORKS)} (default: the data set's)")
    what("--dataset", default="cifar10", help=f"whose shape images have, of: {', '.join(NAMES)} (default cifar10)")
    what("--labelled-batch", type=positive, default=50, metavar="B", help="labelled images of a batch (default 50)")
    what("--unlabelled-batch", type=positive, default=50, metavar="U", help="unlabelled images of it (default 50)")
    what("--unlabelled", type=positive, default=10_000, metavar="M", help="images in the pool (default 10000)")
    change = {"nargs": "+", "default": [], "metavar": "NAME=VALUE", "action": "extend"}
    what("--set", **change, help="other fields of Experiment, for example m=3")
    what(
        "--compare",
        **change | {"action": "append"},
        help="also measure, in turn with the first, the same with these changes: fields of Experiment, device, "
        "precision, threads, unlabelled, pool (device, host, mapped), step (fast, uncaptured, plain). Once for each "
        "further setting",
    )
    how = made.add_argument_group("where and how").add_argument
    how("--device", default="auto", help="cpu, cuda, cuda:1, mps, ... (default: the fastest that is there)")
    how("--precision", default="auto", help="float32 or bfloat16 (default: the one that is faster there)")
    how("--threads", type=positive, metavar="N", help="on a CPU (default: as many as a run takes)")
    how("--iterations", type=positive, metavar="N", help="timed blocks (default 5 on a CPU, 30 elsewhere)")
    how("--warmup", type=positive, metavar="N", help="iterations before them (default 2 on a CPU, 20 elsewhere)")
    how("--burst", type=positive, metavar="N", help="iterations in a block (default 1 on a CPU, 10 elsewhere)")
    how("--profiled", type=positive, default=2, metavar="N", help="further iterations, taken apart (default 2)")
    how("--seed", type=int, default=0, metavar="N", help="of weights, images and draws (default 0)")
    how("--json", type=_file, metavar="FILE", help="also write the record, atomically")
    return made


def main(arguments: list[str] | None = None) -> None:
    options = parser().parse_args(arguments)
    try:
        names = ("iterations", "warmup", "burst", "profiled", "seed")
        how = {name: getattr(options, name) for name in names}
        record = measure(settings_of(options), **how, progress=True)
    except ValueError as error:  # ConfigError is one
        sys.exit(str(error))
    print(describe(record))
    if options.json is not None:
        try:
            save(record, options.json)
        except OSError as error:
            sys.exit(f"{options.json} could not be written: {error}")
        print(f"wrote {options.json}")
