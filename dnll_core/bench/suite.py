"""The benchmarks that the project records, by one command.

    python -m dnll_core.bench.suite --out data/results/bench      # about 10 minutes on two CPU cores, some on a GPU

The record of each is written as `<name>-<machine>.json`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import torch

from dnll_core.bench.measure import measure, save
from dnll_core.bench.report import describe
from dnll_core.bench.subject import Setting, in_turn
from dnll_core.common import program, unknown, user_path
from dnll_core.config import Experiment
from dnll_core.device import cpu_name


def _dnll(network: str, labelled_batch: int, unlabelled_batch: int, dataset: str = "cifar10") -> Setting:
    batch = {"labelled_batch": labelled_batch, "unlabelled_batch": unlabelled_batch}
    return Setting(Experiment(dataset=dataset, labels=20 if dataset == "digits" else 4000, network=network, **batch))


_CNN13 = _dnll("cnn13", 50, 50)  # the paper's batch in Table 7
_SMALL = _dnll("small", 20, 64, "digits")
_HALF = {"dataset": "cifar10", "size": 16, "labels": 1000, "network": "cnn6", "translation": 2}
_RIVALS = ("pi-model+sntg", "label-propagation", "mean-teacher+lp", "curriculum-labeling", "dmt", "co-training")
# what is measured in turn: name -> name of the setting -> setting
SUITE = {
    "table7": in_turn(_CNN13, {"method": "mean-teacher"}, {"method": "dual-student"}),
    "plain": in_turn(_CNN13, {"precision": "float32"}, {"step": "plain", "precision": "float32"}),
    "wrn28-2": in_turn(_dnll("wrn28-2", 128, 128)),
    "cnn3": in_turn(_dnll("cnn3", 32, 224, "mnist")),
    "small": in_turn(_SMALL, {"method": "mean-teacher"}),
    "rivals": in_turn(_SMALL, *({"method": name} for name in ("mean-teacher", *_RIVALS))),
    "cnn6": in_turn(  # Table 1 at profile laptop, of which each run has one thread
        Setting(Experiment(**_HALF, weak="translate+flip", strong="translate+flip"), threads=1),
        *({"method": name} for name in ("supervised", "mean-teacher", "dual-student", "pseudo-label", "fixmatch")),
        {"method": "fixmatch", "strong": "translate+flip+randaugment+cutout"},
        {"method": "mutual-learning"},
    ),
    "host": in_turn(_SMALL.replace(unlabelled=10**6), {"pool": "host"}, {"pool": "mapped"}),
    "growth": in_turn(_SMALL, *({"unlabelled": 10**power} for power in (5, 6, 7))),  # from 10^4
    "large": in_turn(_dnll("cnn13", 256, 256)),
}
# else as many as `measure` takes
ROUNDS = {"table7": 10, "cnn3": 10, "small": 50, "rivals": 50, "cnn6": 20, "host": 50, "growth": 50}
NEEDS_GPU = ("large",)  # half a minute an iteration on a laptop


def machine() -> str:
    """This machine as a part of a file name: its GPU's name, or its processor's and the number of cores."""
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{cpu_name()} {os.cpu_count()} cores"
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def run(name: str, **changes) -> dict:
    """The record of one benchmark of the suite. changes: of all its settings, as `Setting.replace` takes them."""
    settings = {key: setting.replace(**changes) for key, setting in SUITE[name].items()}
    return measure(settings, ROUNDS.get(name), progress=True)


def main(arguments: list[str] | None = None) -> None:
    parser = program("dnll_core.bench.suite", __doc__)
    parser.add_argument("names", nargs="*", help=f"of: {', '.join(SUITE)} (default: all that suit this machine)")
    parser.add_argument("--out", type=user_path, default=Path("runs/bench"), help="folder of the records")
    options = parser.parse_args(arguments)
    for name in options.names:
        if name not in SUITE:
            parser.error(unknown("benchmark", name, SUITE))
    gpu = torch.cuda.is_available()
    for name in options.names or [name for name in SUITE if gpu or name not in NEEDS_GPU]:
        record = run(name)
        save(record, options.out / f"{name}-{machine()}.json")
        print(f"{name}\n{describe(record)}\n", flush=True)


if __name__ == "__main__":
    main()
