"""The README's first table: DNLL on each kind of images, beside supervised-only and the best of the others."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from dnll_core import results
from dnll_core.figures.style import label_of
from dnll_core.study.experiments import adaptation, quickstart
from dnll_core.study.laptop import VIEWS
from dnll_core.study.markdown import laptop_groups, markdown, recorded_groups
from dnll_core.study.records import NAMES, recorded
from dnll_core.study.statistics import from_to, paired, percent
from dnll_core.study.tables import Cell

Groups = Mapping[str, Sequence[dict]]  # key of `figures.style.METHODS` -> records


def in_short(folder: Path | None = None) -> str:
    """A line for each kind of images: test accuracy of the last epoch, mean ± sd over seeds, each in as many passes.

    All of DNLL in Tables 1 to 4 with the paper's networks and images is in it, beside what the paper has. The best of
    the others is the best on these test images, over the seeds that it shares with DNLL, which flatters it; of how
    many it is the best is said.

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
    for groups in (of for table in (1, 2, 3, 4) for of in reversed(recorded_groups(table, folder / "tables").values())):
        for dnll in (cell for cell, of in groups.items() if of and cell.method == "dnll" and cell.as_in_paper):
            e, views = dnll.experiment, f", {dnll.reading}" if dnll.reading else ""
            where = f"{NAMES[e.dataset]}, {NAMES[e.network]}, {dnll.labels} labels, {e.epochs} passes{views}"
            lines.append(_line(where, _beside(dnll, groups), f"{dnll.printed:.2f}"))
    return markdown(lines)


def _line(what: str, groups: Groups, printed: str = "–") -> dict[str, str]:
    alone, ours = groups.get("supervised", ()), groups.get("dnll", ())
    others = {name: of for name, of in groups.items() if of and name not in ("supervised", "dnll")}
    best = min(others, key=lambda name: _behind(ours, others[name]), default=None)
    beside = f"{percent(results.accuracies(others[best]), 1)}, {label_of(best)} (of {len(others)})" if best else "–"
    return {
        "test accuracy (%)": what,
        "supervised only": percent(results.accuracies(alone), 1) if alone else "–",
        "DNLL": percent(results.accuracies(ours), 1),
        "best of the others": beside,
        "DNLL in the paper": printed,
        "n": from_to(len(of) for of in (alone, ours, others.get(best, ())) if of),
    }


def _behind(ours: Sequence[dict], theirs: Sequence[dict]) -> float:
    """By how many points, on the seeds that both have; where there are no runs of DNLL, behind nothing."""
    ahead = paired(ours, theirs).values() if ours else [-accuracy for accuracy in results.accuracies(theirs)]
    return statistics.fmean(ahead) if ahead else math.inf


def _beside(dnll: Cell, groups: Mapping[Cell, Sequence[dict]]) -> Groups:
    """What has as many labels and the same views, which for supervised-only are the weak ones."""
    e, found = dnll.experiment, {}
    for cell, of in groups.items():
        own = cell.experiment
        alike = own.weak == e.weak and (own.strong == e.strong or cell.method == "supervised")
        if alike and cell.labels == dnll.labels:
            found[cell.method] = of
    return found


def _small(table: int, labels: int, folder: Path) -> Groups:
    """Of a table at profile "laptop" the lines with as many passes and DNLL's views."""
    groups = laptop_groups(table, folder / "tables")
    return {c.method: of for c, of in groups.items() if (c.labels, c.reading) == (labels, VIEWS[table])}


def _adapted(folder: Path) -> Groups:
    named = {name: recorded(e, folder / "adaptation") for name, e in adaptation("usps", "mnist").items()}
    beside = {name: named[name] for name in ("dnll", "mean-teacher", "dual-student")}
    return {"supervised": named["source-only"]} | beside
