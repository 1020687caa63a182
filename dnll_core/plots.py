"""Every figure of the project, one palette for all, and `show`, which puts a figure with its alt text in a cell.

Figures are functions of arrays and run records; they compute nothing that is not drawn. A method keeps its colour,
marker and dash in every figure (`METHODS`). Saved twice from the same records, a figure is the same file byte for byte.
"""

from __future__ import annotations

import contextlib
import io
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from PIL import Image
from torch import Tensor

# Okabe and Ito's eight colours, told apart by readers with any colour vision
BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, RED, PINK = "#F0E442", "#0072B2", "#D55E00", "#CC79A7"
GREY = "#7F7F7F"
# ten classes cannot all differ in colour for every reader, so `embedding` also writes each class's name at its place
CLASSES = (BLUE, ORANGE, GREEN, RED, PINK, SKY, "#8C6D1F", "#4B4B4B", "#7A5BC7", "#A8B820")


@dataclass(frozen=True)
class MethodStyle:
    """How a method is named and drawn, everywhere."""

    label: str
    color: str
    marker: str
    dash: str | tuple = "-"


METHODS = {
    "supervised": MethodStyle("supervised only", GREY, "s", "--"),
    "mutual-learning": MethodStyle("mutual learning", RED, "D", (0, (5, 1))),
    "dnll": MethodStyle("DNLL", BLUE, "o", "-"),
    "mean-teacher": MethodStyle("Mean Teacher", ORANGE, "P", "--"),
    "mean-teacher+dnll": MethodStyle("Mean Teacher + DNLL", ORANGE, "p", "-"),
    "dual-student": MethodStyle("Dual Student", GREEN, "X", "--"),
    "dual-student+dnll": MethodStyle("Dual Student + DNLL", GREEN, "h", "-"),
    "pi-model": MethodStyle("Π model", SKY, "<", ":"),
    "temporal-ensembling": MethodStyle("Temporal Ensembling", SKY, ">", "-."),
    "vat": MethodStyle("VAT", PINK, "d", "--"),
    "pseudo-label": MethodStyle("Pseudo-Label", PINK, "8", ":"),
    "mixmatch": MethodStyle("MixMatch", BLACK, "H", "--"),
    "fixmatch": MethodStyle("FixMatch", BLACK, "*", "-"),
    "fixmatch-randaugment": MethodStyle("FixMatch, RandAugment", BLACK, "*", ":"),
    "source-only": MethodStyle("source only", GREY, "o", ":"),
    "target-batch-norm": MethodStyle("source only, target in batch norm", PINK, "v", "-."),
    "target-supervised": MethodStyle("target supervised", BLACK, "^", "-."),
    "label-spreading": MethodStyle("LabelSpreading", GREEN, "^", ":"),
    "self-training": MethodStyle("SelfTrainingClassifier", ORANGE, "v", "-."),
}

STYLE = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E5E5E5",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "figure.dpi": 100,
    "savefig.dpi": 150,
    "svg.hashsalt": "dnll",
}


@contextlib.contextmanager
def canvas(rows: int = 1, columns: int = 1, size: tuple[float, float] = (6, 4), **kwargs) -> Iterator[tuple]:
    """A figure and its axes in the project's style; closed afterwards, so that Jupyter does not show it twice."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(rows, columns, figsize=size, layout="constrained", **kwargs)
        yield figure, axes
        plt.close(figure)


def show(figure: Figure, alt: str) -> None:
    """Displays a figure in a notebook, with a text for those who cannot see it.

    As PNG with a palette of 256 colours: a third of the bytes, so that a notebook with many figures stays small.
    """
    from IPython.display import display

    raw, small = io.BytesIO(), io.BytesIO()
    with plt.rc_context(STYLE):
        figure.savefig(raw, format="png", dpi=figure.dpi, bbox_inches="tight")
    Image.open(raw).convert("RGB").quantize(256).save(small, "png")
    bundle = {"image/png": small.getvalue(), "text/plain": repr(figure)}
    display(bundle, raw=True, metadata={"image/png": {"alt": alt}})


def save(figure: Figure, path: str | Path) -> None:
    """Writes a figure without a date or a version in it, so that redrawing gives the same bytes."""
    with plt.rc_context(STYLE):
        figure.savefig(path, metadata={"Software": None})


def channels_last(images: Tensor) -> np.ndarray:
    """(C, H, W) or (N, C, H, W) uint8 as `imshow` wants it: (..., H, W) grey or (..., H, W, 3) colour."""
    array = np.moveaxis(images.numpy(), -3, -1)
    return array[..., 0] if array.shape[-1] == 1 else array


def idea(image: np.ndarray, classes: Sequence[str], kind: int, accuracy: float, negatives: int = 1) -> Figure:
    """Figure 1 redrawn: what one submodel tells the other, and how often that is wrong (Theorem 3.1).

    Args:
        image: (H, W) a grey image.
        classes: names of the K classes.
        kind: the class in the image.
        accuracy: q, of the submodel that speaks, 0...1.
        negatives: m.
    """
    wrong = 1 - accuracy
    other = (kind + 2) % len(classes) if len(classes) > 2 else 1 - kind
    panels = [
        ("Mutual learning: pseudo-labels", f"“This is: {classes[kind]}.”", RED, wrong),
        (
            "DNLL: pseudo-negative labels",
            f"“This is not: {classes[other]}.”",
            BLUE,
            wrong * negatives / (len(classes) - 1),
        ),
    ]
    with canvas(1, 2, (9.5, 3.1)) as (figure, axes):
        for axis, (title, message, color, error) in zip(axes, panels):
            axis.set(xlim=(0, 10), ylim=(0, 5), title=title)
            axis.axis("off")
            axis.imshow(image, cmap="gray_r", extent=(0.1, 1.9, 2.1, 3.9), aspect="auto", interpolation="nearest")
            for x, name in ((2.6, "submodel 1"), (7.5, "submodel 2")):
                box = FancyBboxPatch((x, 2.4), 2.2, 1.2, boxstyle="round,pad=0.1", facecolor="white", edgecolor=BLACK)
                axis.add_patch(box)
                axis.text(x + 1.1, 3.0, name, ha="center", va="center")
            for y, ends in ((3.35, ((4.95, 3.35), (7.35, 3.35))), (2.65, ((7.35, 2.65), (4.95, 2.65)))):
                axis.add_patch(FancyArrowPatch(*ends, arrowstyle="-|>", mutation_scale=14, color=color, linewidth=1.6))
                axis.text(6.15, y + (0.28 if y > 3 else -0.45), message, ha="center", color=color, fontsize=9.5)
            axis.text(5, 1.1, f"wrong {error:.1%} of the time", ha="center", color=color, weight="bold", fontsize=12)
            axis.text(5, 0.35, f"if the submodel is right about {accuracy:.0%} of the images", ha="center", fontsize=9)
    return figure


def image_grid(images: np.ndarray, titles: Sequence[str], columns: int = 10, scale: float = 0.8) -> Figure:
    """Small images with a title each. images: (N, H, W) grey or (N, H, W, 3), uint8 or 0...1."""
    rows = -(-len(images) // columns)
    with canvas(rows, columns, (columns * scale, rows * scale * 1.25), squeeze=False) as (figure, axes):
        for axis in axes.flat:
            axis.axis("off")
        for axis, image, title in zip(axes.flat, images, titles):
            axis.imshow(image, cmap="gray_r", interpolation="nearest")
            axis.set_title(title, fontsize=9)
    return figure


def curves(groups: dict[str, list[dict]], held_out: str = "test", floor: float = 0.0, title: str = "") -> Figure:
    """Accuracy against epochs: each run a thin line, the mean of a method thick.

    Args:
        groups: key of METHODS -> run records with a history. Other methods may have numbers instead of histories
            (see `lines`).
        held_out: "test" or "validation".
        floor: lower end of the accuracy axis.
    """
    with canvas(1, 1, (7, 4)) as (figure, axis):
        for name, records in groups.items():
            style = METHODS[name]
            histories = [[row for row in record["history"] if held_out in row] for record in records]
            epochs = [row["epoch"] for row in histories[0]]
            values = [[statistics.fmean(row[held_out]["submodels"]) for row in history] for history in histories]
            for run in values:
                axis.plot(epochs, run, color=style.color, alpha=0.3, linewidth=0.8)
            label = f"{style.label}, n = {len(values)}"
            axis.plot(epochs, np.mean(values, axis=0), style.dash, color=style.color, linewidth=2, label=label)
        axis.set(xlabel="epoch (passes over the unlabelled images)", ylabel=f"{held_out} accuracy", title=title)
        axis.set_ylim(floor, 1)
    return figure


def lines(figure: Figure, levels: dict[str, float]) -> Figure:
    """Adds horizontal lines for methods without epochs, and the legend, to the first axis of a figure."""
    [axis] = figure.axes
    for name, value in levels.items():
        style = METHODS[name]
        axis.axhline(value, linestyle=style.dash, color=style.color, linewidth=1.5, label=style.label)
    with plt.rc_context(STYLE):
        if len(axis.get_legend_handles_labels()[0]) > 5:  # more would cover the lines
            figure.set_figwidth(9)
            figure.legend(loc="outside right center")
        else:
            axis.legend(loc="lower right")
    return figure


def embedding(panels: dict[str, np.ndarray], labels: np.ndarray, classes: Sequence[str]) -> Figure:
    """Figure 5: two-dimensional embeddings side by side, coloured by true class, each class's name at its median.

    Args:
        panels: title -> (N, 2).
        labels: (N,) true classes.
    """
    with canvas(1, len(panels), (4.6 * len(panels), 4.4), squeeze=False) as (figure, axes):
        for axis, (title, points) in zip(axes.flat, panels.items()):
            for k, name in enumerate(classes):
                own = points[labels == k]
                axis.scatter(*own.T, s=9, color=CLASSES[k % len(CLASSES)], linewidths=0)
                x, y = np.median(own, axis=0)
                axis.text(
                    x,
                    y,
                    name,
                    ha="center",
                    va="center",
                    fontsize=12,
                    weight="bold",
                    bbox={"boxstyle": "round,pad=0.15", "facecolor": "white", "alpha": 0.75, "linewidth": 0},
                )
            axis.set(title=title, xticks=[], yticks=[])
            axis.grid(False)
    return figure


def opinions(
    images: np.ndarray, truth: Sequence[int], answers: dict[str, Sequence[int]], classes: Sequence[str]
) -> Figure:
    """Test images with what each method says below them, wrong answers in red.

    Args:
        images: (N, H, W) grey or (N, H, W, 3).
        truth: (N,) true classes.
        answers: key of METHODS -> (N,) predicted classes.
    """
    n = len(images)
    with canvas(1, n, (1.0 * n + 1.6, 1.35 + 0.24 * len(answers)), squeeze=False) as (figure, axes):
        for i, axis in enumerate(axes.flat):
            axis.imshow(images[i], cmap="gray_r", interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            axis.set_title(f"true {classes[truth[i]]}", fontsize=9)
            for row, (name, predicted) in enumerate(answers.items()):
                right = predicted[i] == truth[i]
                y = -0.18 - 0.22 * row
                style = {"color": BLACK if right else RED, "weight": "normal" if right else "bold"}
                axis.text(0.5, y, classes[predicted[i]], transform=axis.transAxes, ha="center", va="center", **style)
                if i == 0:
                    label = METHODS[name].label
                    axis.text(-0.25, y, label, transform=axis.transAxes, ha="right", va="center", fontsize=9)
    return figure
