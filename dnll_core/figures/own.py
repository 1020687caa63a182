"""What is measured for users with their own images, as a picture and as tables: of records of `study.own_images`."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from dnll_core.figures.style import BLUE, GREY, PAPER, TEXT, canvas, percents
from dnll_core.study.choosing import RULES
from dnll_core.study.folders import settings
from dnll_core.study.markdown import markdown
from dnll_core.study.own_images import NEXT, PHOTOS, POOLS, TESTED, accuracies, errors, leads, recorded
from dnll_core.study.statistics import interval_ends, lead, percent

LOOKS = {"before": (GREY, "o", "as they come"), "after": (BLUE, "s", "with a temperature")}
TITLES = {"centres": "k-means centres", "margin": "least margin", "random": "at random"}
NOTHING = "not recorded"
GAIN = "gain (points, ± half a 95 % interval)"
FEW = 20  # answers of a confidence, of which a share says little, and is not drawn


def pooled_bins(runs: Sequence[dict], when: str) -> list[tuple[int, float, float]]:
    """(images, mean confidence, share of right answers) of each bin of confidence over all runs, but empty ones."""
    found = []
    for bins in zip(*(run[when]["bins"] for run in runs)):
        filled = [one for one in bins if one[0]]
        if n := sum(count for count, _, _ in filled):
            found.append((n, *(sum(one[0] * one[i] for one in filled) / n for i in (1, 2))))
    return found


def reliability(record: dict) -> Figure:
    """How often answers of a confidence are right, and how many there are, before and after the temperature."""
    with canvas(1, 2, (9, 3.6)) as (figure, (left, right)):
        left.plot([0, 1], [0, 1], color=TEXT, linestyle=PAPER, linewidth=1, label="as often as it says")
        for shift, (when, (colour, marker, title)) in zip((-0.018, 0.018), LOOKS.items()):
            bins = np.array(pooled_bins(record["runs"], when))
            images, width = bins[:, 0].sum(), 1 / len(record["runs"][0][when]["bins"])
            bins = bins[bins[:, 0] >= FEW]
            label = f"{title}, error {errors(record, when):.1%}"
            left.plot(bins[:, 1], bins[:, 2], color=colour, marker=marker, label=label)
            # in the middle of its bin, so that the two of a bin stand beside each other
            middles = (bins[:, 1].clip(max=1 - 1e-9) // width + 0.5) * width
            right.bar(middles + shift, bins[:, 0] / images, width=0.034, color=colour, label=title)
        left.set(xlabel="confidence", ylabel="right answers", xlim=(0, 1.02), ylim=(0, 1.02))
        right.set(xlabel="confidence", ylabel="share of images", xlim=(0, 1.05))
        for axis in (left.xaxis, left.yaxis, right.xaxis, right.yaxis):
            percents(axis)
        left.legend(loc="upper left")
    return figure


def _made(record: dict) -> str:
    seeds = [run["seed"] for run in record["runs"]]
    told = ", ".join(f"{record[key]}" for key in ("processor", "precision", "torch"))
    return f"<sub>seeds {min(seeds)}–{max(seeds)}; {told}; commit {record['commit']}</sub>"


def _with_origin(lines: list[dict], record: dict) -> str:
    return f"{markdown(lines)}\n\n{_made(record)}"


def _median(record: dict, when: str) -> float:
    return statistics.fmean(run[when]["median confidence"] for run in record["runs"])


def photos_table() -> str:
    """DNLL against supervised-only on few photos, in Markdown."""
    record = recorded("photos")
    if record is None:
        return NOTHING
    lines = []
    for n in POOLS:
        names = [f"{method}, {n}" for method in ("supervised", "dnll")]
        line = {f"{PHOTOS} labels a class": f"{n} unlabelled photos"}
        line |= {title: percent(accuracies(record, name), 1) for title, name in zip(("supervised only", "DNLL"), names)}
        seconds = statistics.fmean(run["seconds"][names[1]] for run in record["runs"])
        line |= {
            "DNLL's lead (points, ± half a 95 % interval)": lead(leads(record, *names[::-1])),
            "seconds a run": f"{seconds:.0f}",
        }
        lines.append(line | {"tested on": f"{TESTED} a class", "n": len(record["runs"])})
    m = settings(3)["m"]
    said = "to rule out two of three classes is to name the third, so negative labels are not tested here."
    return f"{_with_origin(lines, record)}\n\nWith three classes m = {m}: {said}"


def labelling_table() -> str:
    """What ten more labels bring, by how they are chosen, in Markdown."""
    record = recorded("labelling")
    if record is None:
        return NOTHING
    before, lines = percent(accuracies(record, "before"), 1), []
    for rule in RULES:
        line = {f"{NEXT} more labels, chosen": TITLES[rule], "before": before}
        line |= {"after": percent(accuracies(record, rule), 1), GAIN: lead(leads(record, rule, "before"))}
        ahead = "–" if rule == "random" else lead(leads(record, rule, "random"))
        lines.append(line | {"ahead of chance, likewise": ahead, "n": len(record["runs"])})
    better = [TITLES[rule] for rule in RULES if interval_ends(leads(record, rule, "random"))[0] > 0]
    said = f"Ahead of chance: {', '.join(better)}." if better else "None of the rules is clearly ahead of chance here."
    calibrated = (
        f"The expected calibration error is {errors(record, 'before'):.1%}, and {errors(record, 'after'):.1%} with the "
        "temperature that each run fits on its validation images; the median confidence is "
        f"{_median(record, 'before'):.1%} before and {_median(record, 'after'):.1%} after."
    )
    return f"{_with_origin(lines, record)}\n\n{said} {calibrated}"


def foreign_table() -> str:
    """What images of no class in the pool cost, in Markdown."""
    record = recorded("foreign")
    if record is None:
        return NOTHING
    arms = {
        "supervised": "supervised only, no pool",
        "classes alone": "DNLL, a pool of the five classes",
        "mixed": "DNLL, five other digits in the pool too",
        "cleaned": "DNLL, the half of that pool with the greater margins",
    }
    ahead = {arm: "–" if arm == "classes alone" else lead(leads(record, arm, "classes alone")) for arm in arms}
    lines = [
        {
            "digits 0–4, four labels each": title,
            "test accuracy (%)": percent(accuracies(record, arm), 1),
            "against the pool of the five (points)": ahead[arm],
            "n": len(record["runs"]),
        }
        for arm, title in arms.items()
    ]
    auc = statistics.fmean(run["auc"] for run in record["runs"])
    return (
        _with_origin(lines, record)
        + f"\n<sub>The margin tells images of the classes from others with AUC {auc:.2f}.</sub>"
    )
