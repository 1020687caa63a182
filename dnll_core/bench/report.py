"""What a benchmark's record says: medians and quartiles, ratios with an interval, the printed report, tables.

record = bench.measure({"dnll": Setting(...), "mean-teacher": Setting(...)})
print(describe(record))
ratio(record["settings"]["dnll"]["train"], record["settings"]["mean-teacher"]["train"])
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from dnll_core.common import opened
from dnll_core.config import Experiment
from dnll_core.data.sets import SETS
from dnll_core.results import RecordError, root

RESAMPLES = 10_000
FEW = 8  # rounds; a bootstrap of three covers the median in three cases out of four, not 95 %


def quartiles(times: Sequence[float]) -> tuple[float, float, float]:
    """(lower quartile, median, upper quartile)."""
    return tuple(float(value) for value in np.quantile(times, (0.25, 0.5, 0.75)))


def ratio(times: Sequence[float], others: Sequence[float], seed: int = 0) -> tuple[float, float, float]:
    """Median of the ratios round by round of two interleaved settings, and an interval: (ratio, low, high).

    What slows a round down slows both of its times. From FEW rounds on the interval is a 95 % bootstrap of the median;
    below, where that would promise too much, it is the smallest and the largest ratio (see `interval_name`).

    Raises:
        ValueError: if there are not as many times of one as of the other, or none.
    """
    a, b = np.asarray(times), np.asarray(others)
    if a.shape != b.shape or a.ndim != 1 or len(a) == 0:
        raise ValueError(f"ratio takes two equally long lists of times, not {len(a)} and {len(b)}.")
    each = a / b
    if len(each) < FEW:
        return float(np.median(each)), float(each.min()), float(each.max())
    rounds = np.random.default_rng(seed).integers(0, len(a), (RESAMPLES, len(a)))
    low, high = np.quantile(np.median(each[rounds], axis=1), (0.025, 0.975))
    return float(np.median(each)), float(low), float(high)


def interval_name(rounds: int) -> str:
    """What the interval of `ratio` is for so many rounds."""
    return "95 % bootstrap interval" if rounds >= FEW else f"range of {rounds} rounds"


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """The exponent p of the power law y ~ x^p, by least squares of the logarithms."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def real_epoch(experiment: Experiment) -> tuple[int, int]:
    """(iterations, held-out images) of an epoch on the real data set, whose shape the benchmark borrows."""
    data = SETS[experiment.dataset]
    validation = data.validation * len(data.classes)
    pool = data.train - validation - (0 if experiment.include_labelled else experiment.labels or 0)
    return max(1, pool // experiment.unlabelled_batch), validation + data.test


# -- text --------------------------------------------------------------------------------------------------------------


def milliseconds(seconds: float) -> str:
    """Milliseconds with about four digits."""
    value = 1000 * seconds
    return f"{value:.0f}" if value >= 1000 else f"{value:.1f}" if value >= 100 else f"{value:.2f}"


def scaled(value: float, unit: str) -> str:
    """A large number with a prefix: 1.73e12, "FLOP" -> "1.73 TFLOP"."""
    power = next((p for p in (15, 12, 9, 6, 3) if value >= 10**p), 0)
    return f"{value / 10**power:.3g} {'_kMGTP'[power // 3].strip('_')}{unit}"


def quartiles_text(times: Sequence[float]) -> str:
    """Median and quartiles in milliseconds, for the printed report."""
    low, median, high = quartiles(times)
    return f"{milliseconds(median):>8} ms   quartiles {milliseconds(low)} to {milliseconds(high)}, n = {len(times)}"


def where(record: dict, setting: dict) -> str:
    """The context a time needs: device, threads, precision, torch, commit."""
    return f"{setting['device']} · {setting['precision']} · torch {record['torch']} · commit {record['commit']}"


def describe(record: dict) -> str:
    """The report of a record of `bench.measure.measure`."""
    blocks = [_described(name, record, setting) for name, setting in record["settings"].items()]
    (first, base), *others = record["settings"].items()
    if others:
        kind = interval_name(len(base["train"]))
        lines = [f"ratios to {first}, round by round, settings in turn in one process (median and {kind})"]
        for kind, what in (("train", "training iteration"), ("inference", "inference batch")):
            for name, setting in others:
                value, low, high = ratio(setting[kind], base[kind])
                lines.append(f"  {what:20} {name}: {value:.3f}   ({low:.3f} to {high:.3f})")
        lines += [f"  {'counted FLOPs':20} {name}: {s['flops'] / base['flops']:.3f}" for name, s in others]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def _described(name: str, record: dict, setting: dict) -> str:
    e = Experiment(**setting["experiment"])
    batch = e.labelled_batch + e.unlabelled_batch
    median = statistics.median(setting["train"])
    rate, top = setting["flops"] / median, setting["ceiling"]["flops_per_second"]
    size = setting["ceiling"]["size"]
    bursts = f", each the mean of {record['burst']} in a row" if record["burst"] > 1 else ""
    first, *later = setting["warmup"]
    then = milliseconds(statistics.median(later or [first]))
    rows = {
        "training iteration": quartiles_text(setting["train"]) + bursts,
        "": f"{batch / median:8.0f} images/s",
        "inference batch": quartiles_text(setting["inference"]) + f"   ({batch} images, one submodel)",
        "warm-up": f"{milliseconds(first):>8} ms the first iteration, then {then} ms",
        "counted": f"{scaled(setting['flops'], 'FLOP')} an iteration (products and convolutions), so "
        f"{scaled(rate, 'FLOP/s')}: {rate / top:.0%} of this machine's {scaled(top, 'FLOP/s')}",
        " ": f"(the fastest of some {size} x {size} products in {setting['precision']})",
        "peak memory": _memory(setting["memory"]),
    }
    title = (
        f"{name}: {e.method}, {e.network}, images as in {e.dataset}, batch {e.labelled_batch} + {e.unlabelled_batch}"
    )
    lines = [title, where(record, setting)] + [f"  {key:20}{value}" for key, value in rows.items()]
    total = sum(setting["parts"].values())
    lines.append(f"  where an iteration goes, in iterations of its own: {milliseconds(total)} ms")
    lines += [f"    {part:18}{milliseconds(t):>8} ms  {t / total:6.1%}" for part, t in setting["parts"].items()]
    if setting.get("captured") is not None:
        lines.append(f"    (uncaptured; recording the CUDA graph took {setting['captured']:.2f} s)")
    if setting["host"] is not None:
        lines.append(f"    the host launches an iteration in {milliseconds(setting['host'])} ms")
    return "\n".join([*lines, _evaluation(e, setting["evaluation"], median)])


def _memory(memory: dict | None) -> str:
    return "not known on this system" if memory is None else f"{memory['bytes'] / 2**20:8.0f} MiB of {memory['of']}"


def _evaluation(e: Experiment, evaluation: dict, iteration: float) -> str:
    """What evaluating adds to training, for an epoch as long as the real data set's."""
    iterations, held_out = real_epoch(e)
    share = evaluation["seconds"] / evaluation["images"] * held_out / (iterations * iteration * e.eval_every)
    return (
        f"  {'evaluation':20}{milliseconds(evaluation['seconds']):>8} ms for {evaluation['images']} images. At "
        f"{held_out} for every {iterations * e.eval_every} iterations, as on {e.dataset}: {share:.0%} more time"
    )


def describe_growth(record: dict) -> str:
    """The report of a record of `bench.measure.growth`."""
    e = Experiment(**record["experiment"])
    lines = [
        f"{e.method}, {e.network}, images as in {e.dataset}, batch {e.labelled_batch} + {e.unlabelled_batch}",
        where(record, record),
        f"{'M':>12} {'iterations':>11} {'ms an iteration (quartiles)':>32} {'batches of an epoch':>20} {'epoch':>11} "
        f"{'memory':>10} {'of that images':>15}",
    ]
    for row in record["sizes"]:
        low, median, high = (milliseconds(value) for value in quartiles(row["train"]))
        lines.append(
            f"{row['unlabelled']:12,} {row['iterations']:11,} {f'{median}  ({low} to {high})':>32} "
            f"{row['plan']:18.3f} s {row['epoch']:9.2f} s {_mebibytes(row.get('memory')):>10} "
            f"{_mebibytes(row['unlabelled'] * row['image'] if 'image' in row else None):>15}"
        )
    smallest = record["sizes"][0]
    lines += [
        f"an iteration grows as M^{growth_slopes(record)[0]:.3f}, an epoch as M^{growth_slopes(record)[1]:.3f}",
        f"an epoch is its batches' draw plus iterations x median. Run whole at M = {smallest['unlabelled']:,}: "
        f"{record['whole_epoch']:.2f} s",
    ]
    return "\n".join(lines)


def _mebibytes(value: int | None) -> str:
    return "–" if value is None else f"{value / 2**20:.0f} MiB"


def growth_slopes(record: dict) -> tuple[float, float]:
    """The exponents with which an iteration's and an epoch's time grow with M; expected are 0 and 1."""
    sizes = [row["unlabelled"] for row in record["sizes"]]
    iterations = slope(sizes, [statistics.median(row["train"]) for row in record["sizes"]])
    return iterations, slope(sizes, [row["epoch"] for row in record["sizes"]])


# -- records -----------------------------------------------------------------------------------------------------------


def read_benchmark(path: Path) -> dict:
    """The record of `bench.measure.measure` or `bench.measure.growth` in a file.

    Raises:
        RecordError: naming a file that cannot be read as such a record.
    """
    try:
        record = opened(path.read_bytes())
        for timed in record["settings"].values() if "settings" in record else record["sizes"]:
            times = [*timed["train"], *timed.get("inference", ())]
            if not all(type(t) in (float, int) and 0 < t < math.inf for t in times):
                raise ValueError("its times are not numbers of seconds above 0")
        if record.get("settings"):
            medians_frame({path.stem: record})
        return record
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecordError(f"{path} is not a readable benchmark ({error!r}); delete it or restore it.") from None


def load_benchmarks(folder: str | Path | None = None) -> dict[str, dict]:
    """The records of `bench.measure.measure` in a folder, by file name without its ending; empty if there are none.

    folder: None for the one below `results.root()`.

    Raises:
        RecordError: naming a file that cannot be read as such a record.
    """
    records = {}
    for path in sorted(Path(folder or root() / "bench").glob("*.json")):
        record = read_benchmark(path)
        if record.get("settings"):  # else one of `bench.measure.growth`
            records[path.stem] = record
    return records


def medians_frame(records: dict[str, dict]) -> pd.DataFrame:
    """One row for each setting of each record: where, milliseconds (medians), ratio to the record's first setting."""
    rows = []
    for name, record in records.items():
        base = next(iter(record["settings"].values()))
        for key, setting in record["settings"].items():
            value, low, high = ratio(setting["train"], base["train"])
            rows.append(
                {
                    "record": name,
                    "setting": key,
                    "device": setting["device"],
                    "precision": setting["precision"],
                    "ms an iteration": milliseconds(statistics.median(setting["train"])),
                    "ms an inference batch": milliseconds(statistics.median(setting["inference"])),
                    "ratio to the first": f"{value:.3f} ({low:.3f} to {high:.3f})" if setting is not base else "1",
                    "n": len(setting["train"]),
                }
            )
    return pd.DataFrame(rows).set_index(["record", "setting"]) if rows else pd.DataFrame()
