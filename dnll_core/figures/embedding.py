"""Figure 5: maps of the last hidden layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dnll_core.figures import style
from dnll_core.figures.images import LETTERS, short
from dnll_core.figures.style import BLACK, CLASSES, canvas
from dnll_core.study.embeddings import UNTRAINED


def maps(
    panels: Mapping[str, np.ndarray],
    labels: np.ndarray,
    classes: Sequence[str],
    notes: Mapping[str, str] | None = None,
    wrong: Mapping[str, np.ndarray] | None = None,
    columns: int = 3,
) -> Figure:
    """Points coloured by true class, each class's name at its median. Axes have no units and no ticks: t-SNE has none.

    Args:
        panels: title -> (N, 2).
        labels: (N,) true classes, 0...K-1.
        classes: their K names; an empty one is not written, a long one is cut.
        notes: title -> text below the panel, for example its measures.
        wrong: title -> (N,) bool, points that the network gets wrong; drawn with a black edge.
    """
    notes, wrong, columns = notes or {}, wrong or {}, min(columns, len(panels))
    rows = -(-len(panels) // columns)
    with canvas(rows, columns, (3.5 * columns, 3.8 * rows), squeeze=False) as (figure, axes):
        for axis in axes.flat[len(panels) :]:
            axis.axis("off")
        for axis, (title, points) in zip(axes.flat, panels.items()):
            _map(axis, points, labels, classes, wrong.get(title))
            axis.set_title(title, fontsize=10)
            axis.set_xlabel(notes.get(title, ""), fontsize=9)
        if wrong:
            look = {"marker": "o", "linestyle": "none", "markerfacecolor": "white", "color": BLACK}
            figure.legend(handles=[Line2D([], [], label="classified wrongly", **look)], loc="outside lower center")
    return figure


def _map(axis: Axes, points: np.ndarray, labels: np.ndarray, classes: Sequence[str], wrong: np.ndarray | None) -> None:
    colors = np.array([CLASSES[k % len(CLASSES)] for k in range(len(classes))])[labels]
    axis.scatter(*points.T, s=9, c=colors, linewidths=0)
    if wrong is not None:
        axis.scatter(*points[wrong].T, s=22, c=colors[wrong], edgecolors=BLACK, linewidths=0.9)
    box = {"boxstyle": "round,pad=0.12", "facecolor": "white", "alpha": 0.7, "linewidth": 0}
    for k, name in enumerate(classes):
        if name and (labels == k).any():
            x, y = np.median(points[labels == k], axis=0)
            axis.text(x, y, short(name, LETTERS), ha="center", va="center", fontsize=11, weight="bold", bbox=box)
    axis.set(xticks=[], yticks=[])
    axis.set_aspect("equal", adjustable="datalim")  # t-SNE's two axes have one scale
    axis.grid(False)
    axis.spines[:].set_visible(True)
    axis.spines[:].set_color("#CCCCCC")


def figure(record: dict) -> Figure:
    """The maps of a record side by side, wrong answers with a black edge, the measures below."""
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
