"""The README's first table: DNLL on each kind of images, beside supervised-only and the best of the others."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from dnll_core import results
from dnll_core.figures.style import label_of
from dnll_core.study.experiments import adaptation, quickstart
from dnll_core.study.laptop import VIEWS
from dnll_core.study.markdown import laptop_groups, markdown, recorded_groups
from dnll_core.study.records import recorded
from dnll_core.study.statistics import from_to, percent

Groups = Mapping[str, Sequence[dict]]  # key of `figures.style.METHODS` -> records


def in_short(folder: Path | None = None) -> str:
    """A line for each kind of images: test accuracy of the last epoch, mean ± sd over seeds, each in as many passes.

    The best of the others is the one that is best on these test images, which flatters it.

    Args:
        folder: of the records; None for `results.root()`.
    """
    folder = folder or results.root()
    digits = {name: recorded(e, folder / "quickstart") for name, e in quickstart().items()}
    lines = [
        _line("digits, 8 × 8 pixels, 20 labels", digits),
        *(_line(f"MNIST, 14 × 14, {n} labels", _small(4, n, folder)) for n in (20, 100)),
        *(_line(f"CIFAR-10, 16 × 16, {n} labels", _small(1, n, folder)) for n in (1000, 4000)),
        _line("USPS → MNIST, 28 × 28, no label of MNIST", _adapted(folder)),
    ]
    for profile, groups in reversed(recorded_groups(2, folder / "tables").items()):
        own = {cell: of for cell, of in groups.items() if cell.labels == 4000 and cell.method != "fixmatch-randaugment"}
        [dnll] = [cell for cell in own if cell.method == "dnll"]
        beside = f" (the paper: {dnll.printed:.2f})" if profile == "paper" else ""
        what = f"CIFAR-10, WRN-28-2, 4000 labels, {dnll.experiment.epochs} passes{beside}"
        lines.append(_line(what, {cell.method: of for cell, of in own.items()}))
    return markdown(lines)


def _line(what: str, groups: Groups) -> dict[str, str]:
    alone, ours = groups.get("supervised", ()), groups.get("dnll", ())
    others = {name: results.accuracies(of) for name, of in groups.items() if of and name not in ("supervised", "dnll")}
    best = max(others, key=lambda name: statistics.fmean(others[name]), default=None)
    return {
        "test accuracy (%)": what,
        "supervised only": percent(results.accuracies(alone), 1) if alone else "–",
        "DNLL": percent(results.accuracies(ours), 1),
        "best of the others": f"{percent(others[best], 1)}, {label_of(best)}" if best else "–",
        "n": from_to(len(of) for of in (alone, ours, others.get(best, ())) if of),
    }


def _small(table: int, labels: int, folder: Path) -> Groups:
    """Of a table at profile "laptop" the lines with as many passes and DNLL's views."""
    groups = laptop_groups(table, folder / "tables")
    return {c.method: of for c, of in groups.items() if (c.labels, c.reading) == (labels, VIEWS[table])}


def _adapted(folder: Path) -> Groups:
    named = {name: recorded(e, folder / "adaptation") for name, e in adaptation("usps", "mnist").items()}
    beside = {name: named[name] for name in ("dnll", "mean-teacher", "dual-student")}
    return {"supervised": named["source-only"]} | beside
