"""What is said of runs: numbers of one run's curve, means, intervals and leads of several, and verdicts."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from scipy import stats

from dnll_core import results
from dnll_core.provenance import where_made

REACHED = 0.95  # share of its final accuracy at which a run is said to have converged
WINDOW, OVERFITTED = 5, 0.5  # epochs, points: a run overfits if its last epochs are so far below its best ones in a row


# -- curves ------------------------------------------------------------------------------------------------------------


def evaluations(record: dict) -> list[dict]:
    """The rows of a record's history that have accuracies, and before each what was evaluated within its epoch.

    An evaluation within an epoch says in "epoch" where it was: 2.5 is the middle of the third.
    """
    found = []
    for last, row in zip([{"step": 0}, *record["history"]], record["history"]):
        for part in row.get("within", []):
            done = (part["step"] - last["step"]) / (row["step"] - last["step"])
            found.append(part | {"epoch": row["epoch"] - 1 + done})
        found += [row] if {"validation", "test"} & row.keys() else []
    return found


def curve(record: dict, held_out: str = "test") -> list[tuple[float, float]]:
    """(epoch, accuracy 0...1, mean of the submodels) of each evaluation on this set, see `evaluations`."""
    return [(row["epoch"], results.mean_of(row[held_out])) for row in evaluations(record) if held_out in row]


def epochs_to(record: dict, share: float = REACHED) -> float:
    """The epoch of the first evaluation with at least this share of the final test accuracy."""
    found = curve(record)
    return next(epoch for epoch, accuracy in found if accuracy >= share * found[-1][1])


def lost(record: dict, window: int = WINDOW) -> float:
    """Points of test accuracy between the best `window` evaluated epochs in a row and the last ones; at least 0."""
    found = [results.mean_of(row["test"]) for row in record["history"] if "test" in row]
    means = [statistics.fmean(found[i : i + window]) for i in range(max(1, len(found) - window + 1))]
    return 100 * (max(means) - means[-1])


def shared_errors(row: dict) -> float:
    """The share 0...1 of a submodel's errors that the other one makes too; different wrong answers count half.

    (w - (1 - a)/2)/w with wrong labels w and agreement a, see notebook 17; 1 without errors: none is a submodel's own.
    """
    w, a = row["wrong labels"], row["agreement"]
    return (w - (1 - a) / 2) / w if w else 1.0


def track(record: dict, measure: str) -> float:
    """Mean over the epochs of a measure in a record's history, in percent."""
    return 100 * statistics.fmean(row[measure] for row in record["history"])


# -- one number of several runs ----------------------------------------------------------------------------------------


def interval(values: Sequence[float], confidence: float = 0.95) -> float:
    """Half the width of the interval that Student's t gives for the mean of n values; infinite for a single one."""
    n = len(values)
    if n < 2:
        return float("inf")
    return float(stats.t.ppf((1 + confidence) / 2, n - 1) * np.std(values, ddof=1) / np.sqrt(n))


def interval_ends(values: Sequence[float]) -> tuple[float, float]:
    """(low, high) of the 95 % interval of Student's t for the mean of n values; infinite ones for a single value."""
    mean, half = statistics.fmean(values), interval(values)
    return mean - half, mean + half


def share_of(right: int, n: int) -> str:
    """ "83.3 % of 36 images (95 % interval 68.1...92.1 %)", after Wilson."""
    if n == 0:
        return "of no image"
    low, high = stats.binomtest(right, n).proportion_ci(method="wilson")
    return f"{right / n:.1%} of {n} images (95 % interval {100 * low:.0f}...{100 * high:.0f} %)"


def confusion_of(truth: Sequence[int], answers: Sequence[int], classes: Sequence[str]) -> pd.DataFrame:
    """How many images of each true class (rows) were taken for each class (columns)."""
    true, predicted = (pd.Categorical.from_codes(np.asarray(of), classes) for of in (truth, answers))
    return pd.crosstab(true, predicted, rownames=["true"], colnames=["predicted"], dropna=False)


def accuracy_lead(record: dict, other: dict, which: str = "final") -> float:
    """Points of test accuracy by which a record is ahead; for `which` see `results.accuracies`."""
    a, b = results.accuracies([record, other], which=which)
    return 100 * (a - b)


def paired(ours: Sequence[dict], theirs: Sequence[dict], which: str = "final") -> dict[int, float]:
    """Seed -> `accuracy_lead` of the two records with this seed, for the seeds that both have, in order."""
    a, b = ({record["seed"]: record for record in group} for group in (ours, theirs))
    return {seed: accuracy_lead(a[seed], b[seed], which) for seed in sorted(a.keys() & b.keys())}


def lead(points: Sequence[float], decimals: int = 1) -> str:
    """The mean of differences in points and half its 95 % interval: "+3.1 ± 0.4".

    Fewer than SEEDS, whose interval would say nothing, are shown: "+3.5, +2.7"; none: "not recorded".
    """
    if len(points) < SEEDS:
        return with_minus(", ".join(f"{point:+.{decimals}f}" for point in points) or "not recorded")
    return with_minus(f"{statistics.fmean(points):+.{decimals}f} ± {interval(points):.{decimals}f}")


def from_to(numbers: Iterable[int]) -> str:
    """The least and the greatest of whole numbers: "3" where they are one, else "1...3"; empty without any."""
    ends = sorted(numbers)
    return "...".join(dict.fromkeys(map(str, (*ends[:1], *ends[-1:]))))


def with_minus(text: str) -> str:
    """The text with a minus sign in the place of each hyphen that begins a number: "-0.5" → "−0.5", "2-3" as it is.

    Code in backticks and addresses stay as they are.
    """
    found = r"`[^`]*`|https?://\S+|(?<![\w)\]}.-])-(?=\d)"
    return re.sub(found, lambda match: "−" if match[0] == "-" else match[0], text)


def accuracy_of(group: list[dict]) -> tuple[float, float]:
    """Mean and standard deviation (NaN of one run) in percent: test accuracy, last epoch, mean of the submodels."""
    mean, sd = results.mean_sd(results.accuracies(group))
    return 100 * mean, 100 * sd


def percent(values: list[float], decimals: int = 2) -> str:
    """Accuracies 0...1 in percent, with the two decimals of the paper: "94.29 ± 0.12", a single one without ±.

    Without any it is "not recorded".
    """
    if not values:
        return "not recorded"
    mean, sd = (f"{100 * value:.{decimals}f}" for value in results.mean_sd(values))
    return f"{mean} ± {sd}" if len(values) > 1 else mean


def comparison(groups: dict[str, list[dict]], held_out: str = "test") -> pd.DataFrame:
    """One row for each group of records: n, the three of `results.accuracies` as "mean ± sd" in %, mean seconds."""
    rows = []
    for name, records in groups.items():
        row = {"method": name, "n": len(records)}
        columns = {"last epoch, mean of submodels": "final", "their ensemble": "ensemble", "best on test": "best"}
        for column, which in columns.items():
            values = results.accuracies(records, held_out, which)
            row[f"{column} (%)"] = percent(values, 1)
        row["seconds a run"] = f"{statistics.fmean(r['seconds'] for r in records):.1f}" if records else "not recorded"
        rows.append(row)
    return pd.DataFrame(rows).set_index("method")


def provenance_of(records: list[dict]) -> str:
    """One line for below a table: devices, torch versions, commits, total seconds, number of runs."""
    if not records:
        return "not recorded"
    parts = []
    made = [sitting for record in records for sitting in where_made(record)]
    for key in ("device", "precision", "torch", "commit"):
        values = sorted({str(sitting[key]) for sitting in made})
        # the name of a processor alone says less than the same name with its threads
        values = [v for v in values if not any(w != v and w.startswith(v) for w in values)]
        parts.append(f"{key} {', '.join(values)}")
    seconds = sum(record["seconds"] for record in records)
    runs = "1 run" if len(records) == 1 else f"{len(records)} runs"
    return f"{runs}; " + "; ".join(parts) + f"; {seconds:.0f} s in all"


# -- verdicts ----------------------------------------------------------------------------------------------------------

VERDICTS = ("holds", "does not hold", "undecided", "not recorded")
SEEDS = 3  # complete ones that a verdict needs
MISSED = 0.05  # how often a 95 % interval misses the true value


def verdict_of(low: float, high: float) -> str:
    """What the ends of an interval say to a claim for which positive values speak; "undecided" if it touches zero."""
    return "holds" if low > 0 else "does not hold" if high < 0 else "undecided"


def margin(value: float, start: float, end: float) -> float:
    """How far a value lies inside start...end: the distance to the nearer end, negative outside."""
    return min(value - start, end - value)


def margins(low: float, high: float, start: float, end: float) -> tuple[float, float]:
    """The smallest and the largest `margin` of the values low...high; it is largest in the middle of start...end."""
    middle = (start + end) / 2
    found = [margin(x, start, end) for x in (low, high, middle) if low <= x <= high]
    return min(found), max(found)


def with_interval(findings: pd.DataFrame) -> pd.DataFrame:
    """The findings of `study.scorecard.findings` that have an interval: those that are judged."""
    return findings[findings["low"].notna()]


def at_once(findings: pd.DataFrame) -> str:
    """How many claims of `study.scorecard.findings` are judged at once, and how many false verdicts that may bring."""
    n = len(with_interval(findings))
    return (
        f"{n} claims are judged at once, each by a 95 % interval of its own, so up to {n * MISSED:.1f} false verdicts "
        "are to be expected among them"
    )
