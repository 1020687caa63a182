"""Figure 5: maps of the last hidden layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dnll_core.figures import style
from dnll_core.figures.images import LETTERS, short
from dnll_core.figures.style import BLACK, CLASSES, canvas, tint
from dnll_core.study.embeddings import UNTRAINED


def maps(
    panels: Mapping[str, np.ndarray],
    labels: np.ndarray,
    classes: Sequence[str],
    notes: Mapping[str, str] | None = None,
    wrong: Mapping[str, np.ndarray] | None = None,
    columns: int = 3,
) -> Figure:
    """Points coloured by true class, its name beside most of them. Axes have no units and no ticks: t-SNE has none.

    Args:
        panels: title -> (N, 2).
        labels: (N,) true classes, 0...K-1.
        classes: their K names; an empty one is not written, a long one is cut.
        notes: title -> text below the panel, for example its measures.
        wrong: title -> (N,) bool, points that the network gets wrong; drawn as crosses.
    """
    notes, wrong, columns = notes or {}, wrong or {}, min(columns, len(panels))
    rows = -(-len(panels) // columns)
    with canvas(rows, columns, (3.5 * columns, 4.1 * rows + 0.2), squeeze=False) as (figure, axes):
        for axis in axes.flat[len(panels) :]:
            axis.axis("off")
        for axis, (title, points) in zip(axes.flat, panels.items()):
            _map(axis, points, labels, classes, wrong.get(title))
            axis.set_title(title, fontsize=10)
            axis.set_xlabel(notes.get(title, ""), fontsize=9)
        if wrong:
            look = {"marker": "x", "markersize": 5, "linestyle": "none", "color": BLACK}
            figure.legend(handles=[Line2D([], [], label="classified wrongly", **look)], loc="outside lower center")
    return figure


def _map(axis: Axes, points: np.ndarray, labels: np.ndarray, classes: Sequence[str], wrong: np.ndarray | None) -> None:
    colors = np.array([CLASSES[k % len(CLASSES)] for k in range(len(classes))])[labels]
    wrong = np.zeros(len(points), bool) if wrong is None else wrong
    axis.scatter(*points[~wrong].T, s=9, c=colors[~wrong], linewidths=0)
    if wrong.any():
        axis.scatter(*points[wrong].T, s=9, c=colors[wrong], marker="x", linewidths=0.8)
    named = [k for k, name in enumerate(classes) if name and (labels == k).any()]
    middles = [np.median(points[labels == k], axis=0) for k in named]
    places = _beside(points, middles)
    for k, middle, place in zip(named, middles, places):
        color = CLASSES[k % len(CLASSES)]
        line = {"arrowstyle": "-", "color": color, "linewidth": 0.8, "shrinkA": 0, "shrinkB": 0}
        look = {"ha": "center", "va": "center", "fontsize": 11, "weight": "bold", "color": tint(color, -0.35)}
        axis.annotate(short(classes[k], LETTERS), middle, place, arrowprops=line, **look)
    # a square with room for the names, too, of which limits know nothing; t-SNE's two axes have one scale
    everything = np.concatenate([points, *(place[None] for place in places)])
    middle, half = (everything.max(axis=0) + everything.min(axis=0)) / 2, 0.55 * np.ptp(everything, axis=0).max() or 1.0
    low, high = middle - half, middle + half
    axis.set(xticks=[], yticks=[], xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    axis.set_aspect("equal")
    axis.grid(False)
    axis.spines[:].set_visible(True)
    axis.spines[:].set_color("#CCCCCC")


def _beside(points: np.ndarray, middles: Sequence[np.ndarray]) -> list[np.ndarray]:
    """For each middle of a class the nearest place where a name covers no point and no other name, (2,).

    Places are tried on rings around the middle, out to half of the map; if none is free, the one with fewest points.
    """
    unit, taken = np.ptp(points, axis=0).max() or 1.0, []
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    for middle in middles:
        tried = np.concatenate([middle + unit * radius * circle for radius in np.linspace(0.05, 0.5, 19)])
        covered = (np.linalg.norm(tried[:, None] - points, axis=2) < 0.05 * unit).sum(axis=1)
        for other in taken:
            covered += len(points) * (np.linalg.norm(tried - other, axis=1) < 0.08 * unit)
        taken.append(tried[covered.argmin()])
    return taken


def figure(record: dict) -> Figure:
    """The maps of a record side by side, wrong answers as crosses, the measures below."""
    labels, panels, notes, wrong = np.array(record["labels"]), {}, {}, {}
    for name, one in record["representations"].items():
        title = name if name in UNTRAINED else style.METHODS[name].label
        panels[title] = np.array(one["points"])
        notes[title] = (
            f"neighbours {one['hidden']['neighbours']:.1%}, in the map {one['map']['neighbours']:.1%}\n"
            f"silhouette {one['hidden']['silhouette']:.2f}, in the map {one['map']['silhouette']:.2f}"
        )
        if "wrong" in one:
            wrong[title] = np.isin(np.arange(len(labels)), one["wrong"])
    return maps(panels, labels, [str(k) for k in range(labels.max() + 1)], notes, wrong, columns=len(panels))
