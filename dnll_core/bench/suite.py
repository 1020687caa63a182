"""Every benchmark of the README's speed table, by one command, and the table itself.

    python -m dnll_core.bench.suite --out data/results/bench      # about 10 minutes on two CPU cores, some on a GPU

Each is an ordinary call of `python -m dnll_core.bench`; its record is written as `<name>-<machine>.json`.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from dnll_core import results
from dnll_core.bench import command, measure
from dnll_core.bench.report import growth_slopes, milliseconds, ratio, read_benchmark, scaled
from dnll_core.bench.subject import CHEAP
from dnll_core.common import unknown
from dnll_core.config import Experiment
from dnll_core.device import cpu_name

# name -> arguments of `bench`. What is measured against the paper has its batch, 50 + 50; see `TARGETS`.
_SMALL = "--dataset digits --network small --labelled-batch 20 --unlabelled-batch 64 --iterations 50"
SUITE = {
    "table7": "--compare method=mean-teacher --compare method=dual-student --iterations 10",
    "plain": "--compare precision=float32 --compare step=plain precision=float32",
    "wrn28-2": "--network wrn28-2 --labelled-batch 128 --unlabelled-batch 128",
    "cnn3": "--dataset mnist --network cnn3 --labelled-batch 32 --unlabelled-batch 224 --iterations 10",
    "small": f"{_SMALL} --compare method=mean-teacher",
    "host": f"{_SMALL} --unlabelled 1000000 --compare pool=host --compare pool=mapped",
    "growth": f"{_SMALL} --growth 10000000",
    "large": "--labelled-batch 256 --unlabelled-batch 256",
}
NEEDS_GPU = ("large",)  # half a minute an iteration on a laptop, and no target there


def machine() -> str:
    """This machine as a part of a file name: its GPU's name, or its processor's and the number of cores."""
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{cpu_name()} {os.cpu_count()} cores"
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


# -- the table ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Target:
    """A row of the table: which record of the suite tells, on which kind of device, and how to read it.

    Attributes:
        read: record -> (what was measured as text, whether it meets the target).
    """

    what: str
    target: str
    record: str
    gpu: bool
    read: Callable[[dict], tuple[str, bool]]


def _median(setting: dict) -> float:
    return statistics.median(setting["train"])


def _milliseconds_at_most(limit: float) -> Callable[[dict], tuple[str, bool]]:
    def read(record: dict) -> tuple[str, bool]:
        seconds = _median(record["settings"]["dnll"])
        return f"{milliseconds(seconds)} ms", 1000 * seconds <= limit

    return read


def _times_faster(record: dict) -> tuple[str, bool]:
    base = record["settings"]["dnll"]
    plain = record["settings"]["step=plain, precision=float32"]
    value, low, high = ratio(plain["train"], base["train"])
    gain = base["ceiling"]["flops_per_second"] / plain["ceiling"]["flops_per_second"]
    return f"{value:.1f} times ({low:.1f} to {high:.1f}); large products gain {gain:.1f} times", value >= 5


def _share_of_ceiling(record: dict) -> tuple[str, bool]:
    setting = record["settings"]["dnll"]
    share = setting["flops"] / _median(setting) / setting["ceiling"]["flops_per_second"]
    return f"{share:.0%} of {scaled(setting['ceiling']['flops_per_second'], 'FLOP/s')}", share >= 0.4


def _images_both_ways(record: dict) -> tuple[str, bool]:
    e = Experiment(**record["settings"]["dnll"]["experiment"])
    rate = 2 * (e.labelled_batch + e.unlabelled_batch) / _median(record["settings"]["dnll"])
    return f"{rate:,.0f} images/s", rate >= 140_000


def _over_mean_teacher(record: dict) -> tuple[str, bool]:
    ours, theirs = record["settings"]["dnll"], record["settings"]["mean-teacher"]
    value, low, high = ratio(ours["train"], theirs["train"])
    return f"{value:.2f} ({low:.2f} to {high:.2f}); Mean Teacher {milliseconds(_median(theirs))} ms", value <= 1.6


def _cheap_parts(record: dict) -> tuple[str, bool]:
    parts = record["settings"]["dnll"]["parts"]
    share = sum(parts.get(part, 0.0) for part in CHEAP) / sum(parts.values())
    return f"{share:.1%}", share < 0.05


def _host(record: dict) -> tuple[str, bool]:
    setting = record["settings"]["dnll"]
    share = setting["host"] / _median(setting)
    return f"launched in {milliseconds(setting['host'])} ms, {share:.0%} of the iteration", share < 1


def _flat(record: dict) -> tuple[str, bool]:
    exponent, _ = growth_slopes(record)
    sizes = [row["unlabelled"] for row in record["sizes"]]
    first, last = (statistics.median(row["train"]) for row in (record["sizes"][0], record["sizes"][-1]))
    return f"M^{exponent:.3f}; {last / first:.2f} times from {min(sizes):,} to {max(sizes):,}", last / first < 1.1


def _memory(record: dict) -> tuple[str, bool]:
    row = record["sizes"][-1]
    if row["memory"] is None:
        return "not known on this system", False
    beyond = row["memory"] / row["unlabelled"] - row["image"]
    return f"{row['image']} bytes an image and {beyond:.1f} more: the order of an epoch takes 8", beyond < 1


def _from_the_host(name: str) -> Callable[[dict], tuple[str, bool]]:
    def read(record: dict) -> tuple[str, bool]:
        value, low, high = ratio(record["settings"][f"pool={name}"]["train"], record["settings"]["dnll"]["train"])
        return f"{value:.2f} times ({low:.2f} to {high:.2f})", value <= 1.1

    return read


def digits_row(folder: Path) -> str:
    """When the quickstart's DNLL passes 93 %, mean over its recorded seeds: a row of the table."""
    what = "digits of the quickstart, 20 labels: DNLL at 93 %, mean of its seeds"
    records = results.load(folder, method="dnll", dataset="digits", labels=20)
    if not records:
        return f"| {what} | 10 s | not measured | – | – |"
    epochs = zip(*(record["history"] for record in records))
    curve = [
        (
            statistics.fmean(row["seconds"] for row in rows),
            statistics.fmean(x for r in rows for x in r["test"]["submodels"]),
        )
        for rows in epochs
    ]
    seconds = next((seconds for seconds, accuracy in curve if accuracy >= 0.93), None)
    reached = "not reached" if seconds is None else f"after {seconds:.1f} s"
    measured = f"{reached}; {100 * curve[-1][1]:.1f} % at the end, after {curve[-1][0]:.1f} s ({len(records)} seeds)"
    met = "yes" if seconds is not None and seconds <= 10 else "no"
    return f"| {what} | 10 s | {measured} | {met} | {records[0]['device']} |"


_CHEAP = "views, sampling and drawing of labels, share of an iteration"
TARGETS = (
    Target(
        "CNN-13, 50 + 50, two cores: faster than float32 as PyTorch does it",
        "5 times (with AMX)",
        "plain",
        False,
        _times_faster,
    ),
    Target("CNN-13, 50 + 50 (paper: 143 ms)", "5 ms", "table7", True, _milliseconds_at_most(5)),
    Target("CNN-13, 256 + 256: share of the largest product's speed", "40 %", "large", True, _share_of_ceiling),
    Target("WRN-28-2: images forward and backward", "140,000/s", "wrn28-2", True, _images_both_ways),
    Target("DNLL / Mean Teacher, CNN-13, 50 + 50 (paper: 1.99)", "1.6", "table7", True, _over_mean_teacher),
    Target("CNN-3, 32 + 224", "2 ms", "cnn3", True, _milliseconds_at_most(2)),
    Target("small network, 20 + 64", "2 ms", "small", True, _milliseconds_at_most(2)),
    Target(f"CNN-13: {_CHEAP}", "5 %", "table7", False, _cheap_parts),
    Target(f"CNN-13: {_CHEAP}", "5 %", "table7", True, _cheap_parts),
    Target(f"WRN-28-2: {_CHEAP}", "5 %", "wrn28-2", False, _cheap_parts),
    Target(f"WRN-28-2: {_CHEAP}", "5 %", "wrn28-2", True, _cheap_parts),
    Target("the host does not wait for the device", "under 100 %", "table7", True, _host),
    Target("time of an iteration against M", "flat", "growth", False, _flat),
    Target("memory for M images of 8x8", "the images and a constant", "growth", False, _memory),
    Target("images in host memory", "1.1 times", "host", False, _from_the_host("host")),
    Target("images in a memory-mapped file", "1.1 times", "host", False, _from_the_host("mapped")),
    Target("images in pinned host memory", "1.1 times", "host", True, _from_the_host("host")),
)


def load_suite(folder: str | Path) -> dict[tuple[str, bool], dict]:
    """(name of the suite, whether on a GPU) -> record; of several machines the file name that comes last.

    Raises:
        RecordError: naming a file that cannot be read.
    """
    found = {}
    for path in sorted(Path(folder).glob("*.json")):
        name = next((name for name in sorted(SUITE, key=len, reverse=True) if path.stem.startswith(f"{name}-")), None)
        if name is None:
            continue
        record = read_benchmark(path)
        device = record["device"] if "device" in record else next(iter(record["settings"].values()))["device"]
        found[name, "thread" not in device] = record | {"device": device}
    return found


def aims_table(folder: str | Path | None = None) -> str:
    """What was aimed at and what was measured, in Markdown, from the records below `folder`; or that it was not.

    folder: None for `results.root()`.
    """
    folder = Path(folder or results.root())
    records = load_suite(folder / "bench")
    lines = ["| what | aim | measured | met | device |", "|---|---|---|---|---|"]
    for t in TARGETS:
        record = records.get((t.record, t.gpu))
        if record is None:
            lines.append(f"| {t.what} | {t.target} | not measured | – | {'needs a GPU' if t.gpu else '–'} |")
            continue
        measured, met = t.read(record)
        lines.append(f"| {t.what} | {t.target} | {measured} | {'yes' if met else 'no'} | {record['device']} |")
    return "\n".join([*lines, digits_row(folder / "quickstart")])


def main(arguments: list[str] | None = None) -> None:
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m dnll_core.bench.suite", description=__doc__, formatter_class=layout)
    parser.add_argument("names", nargs="*", help=f"of: {', '.join(SUITE)} (default: all that suit this machine)")
    parser.add_argument("--out", type=Path, default=Path("runs/bench"), help="folder of the records")
    options = parser.parse_args(arguments)
    for name in options.names:
        if name not in SUITE:
            parser.error(unknown("benchmark", name, SUITE))
    gpu = torch.cuda.is_available()
    for name in options.names or [name for name in SUITE if gpu or name not in NEEDS_GPU]:
        record, text = command.run(command.parser().parse_args(SUITE[name].split()))
        measure.save(record, options.out / f"{name}-{machine()}.json")
        print(f"{name}\n{text}\n", flush=True)


if __name__ == "__main__":
    main()
