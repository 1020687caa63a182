"""Figures of notebook 11: two domains side by side, and how well a criterion without labels chooses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from dnll_core.plots import METHODS, canvas


def domains(rows: dict[str, tuple[np.ndarray, Sequence[str]]]) -> Figure:
    """A row of images for each domain, all on one scale of brightness, so that a change of contrast is seen.

    Args:
        rows: title -> (N, H, W) uint8 images and the title of each of them, the same N in all rows.
    """
    columns = len(next(iter(rows.values()))[0])
    with canvas(len(rows), columns, (0.8 * columns + 1.4, 1.1 * len(rows)), squeeze=False) as (figure, axes):
        for row, (title, (images, titles)) in zip(axes, rows.items()):
            for axis, image, name in zip(row, images, titles, strict=True):
                axis.imshow(image, cmap="gray_r", vmin=0, vmax=255, interpolation="nearest")
                axis.set_title(name, fontsize=9)
                axis.set(xticks=[], yticks=[])
                axis.spines[:].set_visible(False)
            row[0].text(-0.25, 0.5, title, transform=row[0].transAxes, ha="right", va="center")
    return figure


def criterion(trials: dict[str, list[dict]], chosen: dict[str, dict]) -> Figure:
    """Each trial of a search: what could be known of it without target labels against its test accuracy on the target.

    Args:
        trials: key of METHODS -> trials with "information", "validation" and "test afterwards", lists over seeds.
        chosen: key of METHODS -> the trial that won by information, drawn with a ring.
    """
    axes_of = {"information": "information on unlabelled target images", "validation": "accuracy on held-out source"}
    with canvas(1, 2, (10, 4.2), sharey=True) as (figure, axes):
        for axis, (what, label) in zip(axes, axes_of.items()):
            for name, group in trials.items():
                style = METHODS[name]
                points = [(np.mean(trial[what]), np.mean(trial["test afterwards"])) for trial in group]
                look = {"color": style.color, "marker": style.marker, "linewidths": 0}
                axis.scatter(*zip(*points), s=42, label=style.label, **look)
                ring = (np.mean(chosen[name][what]), np.mean(chosen[name]["test afterwards"]))
                axis.scatter(*ring, s=170, facecolors="none", edgecolors=style.color, linewidths=1.4)
            axis.set(xlabel=label)
        axes[0].set_ylabel("test accuracy on the target")
        axes[0].legend(loc="upper left", title="ring: chosen")
    return figure
