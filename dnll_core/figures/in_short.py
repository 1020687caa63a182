"""The README's first table: DNLL on each kind of images, beside supervised-only and the best of the others."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from dnll_core import results
from dnll_core.figures.style import label_of
from dnll_core.study.experiments import adaptation, quickstart
from dnll_core.study.markdown import laptop_groups, markdown
from dnll_core.study.records import Records
from dnll_core.study.statistics import percent
from dnll_core.study.tables import cells

Groups = Mapping[str, Sequence[dict]]  # key of `figures.style.METHODS` -> records


def in_short(folder: Path | None = None) -> str:
    """A line for each kind of images: test accuracy of the last epoch, mean ± sd over seeds, each in as many passes.

    The best of the others is the one that is best on these test images, which flatters it.

    Args:
        folder: of the records; None for `results.root()`.
    """
    folder = folder or results.root()
    lines = [
        _line("digits, 8 × 8 pixels, 20 labels", _recorded(quickstart(), folder / "quickstart")),
        *(_line(f"MNIST, 14 × 14, {n} labels", _small(4, n, folder)) for n in (20, 100)),
        *(_line(f"CIFAR-10, 16 × 16, {n} labels", _small(1, n, folder)) for n in (1000, 4000)),
        _line("USPS → MNIST, 28 × 28, no label of MNIST", _adapted(folder)),
    ]
    for profile in ("short", "paper"):
        of = [cell for cell in cells(2, profile) if cell.labels == 4000]
        passes = of[0].experiment.epochs
        found = {cell.method: [*Records(folder / "tables").of(cell.experiment).values()] for cell in of}
        [printed] = {cell.printed for cell in of if cell.method == "dnll"}
        beside = f" (the paper: {printed:.2f})" if profile == "paper" else ""
        lines.append(_line(f"CIFAR-10, WRN-28-2, 4000 labels, {passes} passes{beside}", found))
    return markdown(lines)


def _line(what: str, groups: Groups) -> dict[str, str]:
    alone, ours = groups.get("supervised", ()), groups.get("dnll", ())
    others = {name: results.accuracies(of) for name, of in groups.items() if of and name not in ("supervised", "dnll")}
    best = max(others, key=lambda name: statistics.fmean(others[name]), default=None)
    n = sorted({len(of) for of in (alone, ours, others.get(best, ())) if of})
    return {
        "test accuracy (%)": what,
        "supervised only": percent(results.accuracies(alone), 1) if alone else "–",
        "DNLL": percent(results.accuracies(ours), 1),
        "best of the others": f"{percent(others[best], 1)}, {label_of(best)}" if best else "–",
        "n": "...".join(map(str, n)),
    }


def _recorded(experiments: Mapping, folder: Path) -> Groups:
    return {name: [*Records(folder).of(e).values()] for name, e in experiments.items()}


def _small(table: int, labels: int, folder: Path) -> Groups:
    """Of a table at profile "laptop" the lines with as many passes and DNLL's views."""
    groups = laptop_groups(table, folder / "tables")
    return {c.method: of for c, of in groups.items() if c.labels == labels and c.reading in ("lineage", "noise")}


def _adapted(folder: Path) -> Groups:
    named = _recorded(adaptation("usps", "mnist"), folder / "adaptation")
    return {"supervised": named["source-only"]} | {
        name: named[name] for name in ("dnll", "mean-teacher", "dual-student")
    }
