"""The one look of all figures: a colour, marker and dash for each method, the canvas, and how a figure is shown."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from PIL import Image

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


_BROKEN = (0, (2.5, 1.5))
VARIANTS = {  # key of `study.experiments.transfers`
    "dnll mutual ep": MethodStyle("DNLL mutual, EP", BLACK, "P", "-"),
    "dnll mutual epm": MethodStyle("DNLL mutual, EPM", BLACK, "P", _BROKEN),
    "dnll self ep": MethodStyle("DNLL self, EP", SKY, "X", "-"),
    "dnll self epm": MethodStyle("DNLL self, EPM", SKY, "X", _BROKEN),
    "dnll both ep": MethodStyle("DNLL both, EP", METHODS["dnll"].color, METHODS["dnll"].marker, "-"),
    "dnll both epm": MethodStyle("DNLL both, EPM", METHODS["dnll"].color, METHODS["dnll"].marker, _BROKEN),
    "mutual-learning 0": MethodStyle("positive, no threshold", RED, METHODS["mutual-learning"].marker, (0, (5, 1))),
    "mutual-learning 0.95": MethodStyle("positive, threshold 0.95", PINK, "*", (0, (1, 1.2))),
}


def _markers(style: MethodStyle) -> dict:
    """Full markers, and open ones for EPM."""
    face = "white" if style.dash == _BROKEN else style.color
    return {"color": style.color, "marker": style.marker, "markersize": 7, "markerfacecolor": face}


PAPER = (0, (3, 2))  # the dash of the paper's numbers, in every figure of this file
