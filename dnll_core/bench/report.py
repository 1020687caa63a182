"""What a benchmark's record says: medians and quartiles, ratios with an interval; as numbers, as text, printed.

record = measure({"dnll": Setting(...), "mean-teacher": Setting(...)})
frame(record)["ratio"]
print(describe(record))
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from dnll_core.bench.measure import PARTS
from dnll_core.checks import opened
from dnll_core.common import brief, user_path
from dnll_core.config import Experiment
from dnll_core.data.sets import SETS
from dnll_core.datafiles import read_whole
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
    pool = data.free - (0 if experiment.include_labelled else experiment.labels or 0)
    return max(1, pool // experiment.unlabelled_batch), data.train - data.free + data.test


# -- tables ------------------------------------------------------------------------------------------------------------


def frame(record: dict, to: str | None = None) -> pd.DataFrame:
    """A row of plain values for each setting of a record of `bench.measure.measure`; NaN or None: not measured.

    to: the setting that ratios are to; None: the first.

    Columns: what ran where, up to "n", the timed rounds. Medians in seconds with quartiles "... low" and "... high":
    "train", "inference". Relative to `to`: "ratio" and "inference ratio" (with an interval, see `ratio`),
    "flops ratio". Further seconds: "first" iteration, median "warm-up" after it, "captured", "host", "plan" of an
    epoch, "epoch" (its plan and its iterations), "evaluation" of an image. "images" a second; "flops" an iteration;
    "rate" and "ceiling" in FLOP/s, "share" of the one in the other; "memory" in bytes, "memory of"; and the share of
    each of PARTS.
    """
    settings = record["settings"]
    base = settings[next(iter(settings)) if to is None else to]
    return pd.DataFrame([_row(setting, base) for setting in settings.values()], index=[*settings])


def _row(setting: dict, base: dict) -> dict:
    e, nan = setting["experiment"], math.nan
    batch = e["labelled_batch"], e["unlabelled_batch"]
    row = {key: e.get(key) for key in ("method", "network", "dataset")} | {"batch": "{} + {}".format(*batch)}
    row |= {key: setting.get(key) for key in ("unlabelled", "pool", "step", "device", "precision")}
    row["n"] = len(setting["train"])
    for kind, name in (("train", "ratio"), ("inference", "inference ratio")):
        times, others = setting.get(kind), base.get(kind)
        low, median, high = quartiles(times) if times else [nan] * 3
        row |= {kind: median, f"{kind} low": low, f"{kind} high": high}
        row |= dict(zip(spread(name), ratio(times, others) if times and others else [nan] * 3))
    first, *later = setting.get("warmup") or [nan]
    row |= {"first": first, "warm-up": statistics.median(later or [first]), "images": sum(batch) / row["train"]}
    row |= {key: nan if setting.get(key) is None else setting[key] for key in ("captured", "host", "flops")}
    row |= {"flops ratio": row["flops"] / (base.get("flops") or nan), "rate": row["flops"] / row["train"]}
    row["ceiling"] = setting.get("ceiling", {}).get("flops_per_second", nan)
    row["share"] = row["rate"] / row["ceiling"]
    epoch, evaluation = setting.get("epoch", {}), setting.get("evaluation", {})
    row["plan"] = epoch.get("plan", nan)
    row["epoch"] = row["plan"] + epoch.get("iterations", nan) * row["train"]
    row["evaluation"] = evaluation.get("seconds", nan) / evaluation.get("images", nan)
    memory = setting.get("memory") or {"bytes": nan, "of": None}
    row |= {"memory": memory["bytes"], "memory of": memory["of"]}
    parts = setting.get("parts", {})
    return row | {part: parts[part] / sum(parts.values()) if part in parts else nan for part in PARTS}


def spread(name: str) -> tuple[str, str, str]:
    """The columns of a number of `frame` that has a lower and an upper end."""
    return name, f"{name} low", f"{name} high"


def milliseconds(seconds: float) -> str:
    """Milliseconds with about four digits."""
    value = 1000 * seconds
    return f"{value:.0f}" if value >= 1000 else f"{value:.1f}" if value >= 100 else f"{value:.2f}"


def scaled(value: float, unit: str = "") -> str:
    """A large number with a prefix: 1.73e12, "FLOP" -> "1.73 TFLOP"."""
    power = next((p for p in (15, 12, 9, 6, 3) if value >= 10**p), 0)
    return f"{value / 10**power:.3g} {'_kMGTP'[power // 3].strip('_')}{unit}"


_three, _whole, _percent = "{:.3f}".format, "{:,.0f}".format, "{:.1%}".format
# column of `shown` -> how a number of `frame` is written, and the columns of `frame` that it shows
_SHOWN = {name: (str, (name,)) for name in ("method", "network", "dataset", "batch")}
_SHOWN["unlabelled"] = (_whole, ("unlabelled",))
_SHOWN |= {name: (str, (name,)) for name in ("pool", "step", "device", "precision", "n")}
_SHOWN |= {
    "iteration, ms": (milliseconds, spread("train")),
    "ratio to the first": (_three, spread("ratio")),
    "images/s": (_whole, ("images",)),
    "inference batch, ms": (milliseconds, spread("inference")),
    "its ratio to the first": (_three, spread("inference ratio")),
    "counted FLOPs": (scaled, ("flops",)),
    "their ratio to the first": (_three, ("flops ratio",)),
    "FLOP/s": (scaled, ("rate",)),
    "of the ceiling": ("{:.0%}".format, ("share",)),
    "first iteration, ms": (milliseconds, ("first",)),
    "then, in warm-up, ms": (milliseconds, ("warm-up",)),
    "recording the graph, ms": (milliseconds, ("captured",)),
    "launched by the host, ms": (milliseconds, ("host",)),
    "between two epochs, ms": (milliseconds, ("plan",)),
    "epoch, s": ("{:.2f}".format, ("epoch",)),
    "evaluating an image, ms": (milliseconds, ("evaluation",)),
    "peak memory, MiB": (lambda value: f"{value / 2**20:.0f}", ("memory",)),
    "of": (str, ("memory of",)),
}
_SHOWN |= {part: (_percent, (part,)) for part in PARTS}


def shown(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of `frame` as text, with units in the names of columns: "1.98 (1.95 to 2.01)"; "–": not known."""

    def cell(form: Callable[[object], str], values: tuple) -> str:
        if any(pd.isna(value) for value in values):
            return "–"
        value, *ends = map(form, values)
        return f"{value} ({' to '.join(ends)})" if ends else value

    texts = {
        title: [cell(form, values) for values in zip(*(rows[name] for name in names))]
        for title, (form, names) in _SHOWN.items()
    }
    return pd.DataFrame(texts, index=rows.index)


def where(record: dict, setting: dict) -> str:
    """The context a time needs: device, threads, precision, torch, commit."""
    return f"{setting['device']} · {setting['precision']} · torch {record['torch']} · commit {record['commit']}"


def describe(record: dict) -> str:
    """The report of a record, to be printed: a column for each setting, a line for each thing that is known of one."""
    rows, settings = frame(record), record["settings"]
    table = shown(rows).T
    lines = [table[(table != "–").any(axis=1)].to_string(), where(record, next(iter(settings.values())))]
    rounds, size = rows["n"].iloc[0], next(iter(settings.values()))["ceiling"]["size"]
    lines.append(
        f"Settings in turn in one process, {rounds} rounds of {record['burst']} in a row: median and quartiles; ratios "
        f"round by round: median and {interval_name(rounds)}."
    )
    lines.append(f"Products and convolutions are counted; the ceiling is the fastest of some {size} x {size} products.")
    for name, setting in settings.items():
        e = Experiment(**setting["experiment"])
        iterations, held_out = real_epoch(e)
        each = iterations * e.eval_every / e.evaluations
        more = rows.loc[name, "evaluation"] * held_out / (each * rows.loc[name, "train"])
        lines.append(
            f"{name}: evaluating {held_out} images every {each:.0f} iterations, as on {e.dataset}: {more:.0%} more"
        )
    return "\n".join(lines)


# -- records -----------------------------------------------------------------------------------------------------------


def load_benchmarks(folder: str | Path | None = None) -> dict[str, dict]:
    """The benchmarks in a folder, by file name without its ending; empty if there are none.

    Every JSON file there is a record of `bench.measure.measure`, of whatever settings, on whatever machine.

    folder: None for the one below `results.root()`.

    Raises:
        RecordError: naming a file that cannot be read as such a record.
    """
    return {path.stem: _read(path) for path in sorted(user_path(folder or root() / "bench").glob("*.json"))}


def _read(path: Path) -> dict:
    try:
        record = opened(read_whole(path))
        for timed in record["settings"].values():
            if not timed["train"]:
                raise ValueError("it has a setting without a timed round")
            times = [*timed["train"], *timed.get("inference", ())]
            if not all(type(t) in (float, int) and 0 < t < math.inf for t in times):
                raise ValueError("its times are not numbers of seconds above 0")
        frame(record)
        return record
    except (
        OSError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        RuntimeError,
        StopIteration,
        ArithmeticError,
    ) as error:
        told = brief(repr(error))
        raise RecordError(f"{path} is not a readable benchmark ({told}); delete it or restore it.") from None
