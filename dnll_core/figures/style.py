"""The one look of all figures: a colour, marker and dash for each method, the canvas, and how a figure is shown."""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from ipywidgets import VBox, Widget
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import to_rgb, to_rgba
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator
from PIL import Image

from dnll_core.common import atomic_file

# One meaning for a colour. Most are of Okabe and Ito, told apart by readers with any colour vision.
BLACK, DARK, GREY = "#000000", "#4B4B4B", "#7F7F7F"
ORANGE = "#E69F00"  # positive pseudo-labels, and the methods that learn from them
SKY, BLUE, NAVY = "#56B4E9", "#0072B2", "#08306B"  # negative labels, and the methods with two networks, DNLL's family
PINK, BROWN = "#CC79A7", "#8C510A"  # methods of consistency, and of graphs
VIOLET = "#6A51A3"  # methods that make images
GREEN, RED = "#009E73", "#B2182B"  # verdicts, which no method is: right and wrong, holds and does not hold
# ten classes cannot all differ in colour for every reader, so `embedding.maps` also writes each name beside its place
CLASSES = (BLUE, ORANGE, GREEN, "#D55E00", PINK, SKY, "#8C6D1F", DARK, "#7A5BC7", "#A8B820")


@dataclass(frozen=True)
class MethodStyle:
    """How a method is named and drawn, everywhere."""

    label: str
    color: str
    marker: str
    dash: str | tuple = "-"
    hollow: bool = False

    @property
    def marks(self) -> dict:
        """How its markers look, for `Axes.plot` and its kin."""
        face = "white" if self.hollow else self.color
        return {"color": self.color, "marker": self.marker, "markersize": 7, "markerfacecolor": face}


# The colour is the family's, as in the tree of notebook 16; marker and dash are the method's, and no two have the same.
LONG, MORSE, SPARSE = (0, (8, 2)), (0, (4, 1.5, 1, 1.5, 1, 1.5)), (0, (2, 4))
METHODS = {
    "supervised": MethodStyle("supervised only", GREY, "s", "--"),
    "mutual-learning": MethodStyle("mutual learning", BLUE, "D", "--"),
    "dnll": MethodStyle("DNLL", BLUE, "o", "-"),
    "mean-teacher": MethodStyle("Mean Teacher", PINK, "P", "--"),
    "mean-teacher+dnll": MethodStyle("Mean Teacher + DNLL", BLUE, "P", LONG),
    "dual-student": MethodStyle("Dual Student", BLUE, "X", "-."),
    "dual-student+dnll": MethodStyle("Dual Student + DNLL", BLUE, "*", MORSE),
    "pi-model": MethodStyle("Π model", PINK, "<", ":"),
    "temporal-ensembling": MethodStyle("Temporal Ensembling", PINK, ">", "-."),
    "vat": MethodStyle("VAT", PINK, "d", "-"),
    "tnar": MethodStyle("TNAR", PINK, "*", SPARSE),
    "pseudo-label": MethodStyle("Pseudo-Label", ORANGE, "v", ":"),
    "mixmatch": MethodStyle("MixMatch", ORANGE, "^", "--"),
    "fixmatch": MethodStyle("FixMatch", ORANGE, "*", "-"),
    "fixmatch-randaugment": MethodStyle("FixMatch, RandAugment", ORANGE, "P", "-."),
    "pi-model+sntg": MethodStyle("Π + SNTG", BROWN, "s", "-"),
    "label-propagation": MethodStyle("label propagation", BROWN, "d", "-."),
    "mean-teacher+lp": MethodStyle("Mean Teacher + label propagation", BROWN, "X", ":"),
    "curriculum-labeling": MethodStyle("Curriculum Labeling", ORANGE, "s", LONG),
    "dmt": MethodStyle("DMT", ORANGE, "D", MORSE),
    "co-training": MethodStyle("Deep Co-Training", BLUE, "^", ":"),
    "tssdl": MethodStyle("TSSDL, our reading", BROWN, "o", "--"),
    "mean-teacher+tssdl": MethodStyle("TSSDL-MT, our reading", BROWN, "v", LONG),
    "filtering-ccl": MethodStyle("Filtering CCL, our reading", PINK, "o", LONG),
    "temperature-ccl": MethodStyle("Temperature CCL, our reading", PINK, "v", MORSE),
    "ccn": MethodStyle("CCN, our reading", BLUE, "s", SPARSE),
    "improved-gan": MethodStyle("ImprovedGAN", VIOLET, "h", "--"),
    "triple-gan": MethodStyle("Triple GAN", VIOLET, "p", "-."),
    "source-only": MethodStyle("source only", GREY, "o", ":"),
    "target-batch-norm": MethodStyle("source only, target in batch norm", GREY, "v", "-."),
    "target-supervised": MethodStyle("target supervised", GREY, "^", LONG),
    "two-networks": MethodStyle("two networks, supervised", GREY, "D", "-"),
    "label-spreading": MethodStyle("LabelSpreading", DARK, ">", ":"),
    "self-training": MethodStyle("SelfTrainingClassifier", DARK, "<", "-."),
}


def label_of(name: str) -> str:
    """What a key of METHODS is called; with a comma and more behind it, that is added: "dmt, long" is "DMT, long"."""
    key, comma, more = name.partition(", ")
    return METHODS[key].label + comma + more


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


def _style() -> contextlib.AbstractContextManager:
    """STYLE on top of matplotlib's defaults, whatever the user's own matplotlibrc says."""
    return plt.style.context(["default", STYLE])


@contextlib.contextmanager
def canvas(rows: int = 1, columns: int = 1, size: tuple[float, float] = (6, 4), **kwargs) -> Iterator[tuple]:
    """A figure and its axes in the project's style; closed afterwards, so that Jupyter does not show it twice."""
    with _style():
        figure, axes = plt.subplots(rows, columns, figsize=size, layout="constrained", **kwargs)
        try:
            yield figure, axes
        finally:
            plt.close(figure)


def tint(color: str, white: float) -> tuple[float, float, float]:
    """A colour mixed with this share of white; a negative one darkens: -0.3 takes 30 % of its light."""
    return tuple(white + (1 - white) * channel if white > 0 else (1 + white) * channel for channel in to_rgb(color))


def percents(axis: Axis, of: float = 1) -> None:
    """Shares 0...`of` along an axis in percent, at round ticks with as many digits as these have: 80%, 0.5%."""
    if axis.get_scale() == "linear":
        axis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10]))  # matplotlib's own would have 2.5, too
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 / of * value:.4g}%"))


def lines_of(axis: Axes, names: Sequence[str], xlabel: str) -> None:
    """Labels the rows 0, 1, ... of a panel, the first on top."""
    axis.set_yticks(range(len(names)), names)
    axis.set(xlabel=xlabel, ylabel="", ylim=(len(names) - 0.45, -0.6))
    axis.grid(axis="y", visible=False)
    axis.grid(axis="x", visible=True)
    axis.tick_params(axis="y", length=0)


def show(figure: Figure, alt: str) -> None:
    """Displays a figure in a notebook, with a text for those who cannot see it; a plain script prints that text.

    As PNG with a palette of 256 colours: a third of the bytes, so that a notebook with many figures stays small.
    """
    from IPython import get_ipython
    from IPython.display import display

    if get_ipython() is None:  # `display` would print the bytes
        print(f"Figure: {alt}")
        return
    raw, small = io.BytesIO(), io.BytesIO()
    with _style():
        figure.savefig(raw, format="png", dpi=figure.dpi, bbox_inches="tight")
    # without its last steps the palette would leave a photograph's rarer colours out
    Image.open(raw).convert("RGB").quantize(256, kmeans=3).save(small, "png")
    bundle = {"image/png": small.getvalue(), "text/plain": repr(figure)}
    display(bundle, raw=True, metadata={"image/png": {"alt": alt}})


WIDGET = "dnll-core-widget"
_shown: list[VBox] = []


def for_a_kernel(parts: Sequence[Widget]) -> VBox:
    """Widgets below each other, under the id WIDGET, of which a process has one at a time.

    A notebook that is opened again without its kernel knows no widget. Notebooks that show this one have a model of
    that id in their metadata, which takes its place: a line that says what to do.
    """
    while _shown:  # else it would be closed later, and by its id the new one with it
        _shown.pop().close()
    _shown.append(VBox([*parts], model_id=WIDGET))
    return _shown[0]


def save(figure: Figure, path: str | Path) -> None:
    """Writes a PNG, atomically: without a date or a version, so that redrawing gives the same bytes.

    What `plotted` says stands in its metadata as "Plotted": a picture is stale if one drawn anew says something else.
    """
    with _style(), atomic_file(path) as file:
        figure.savefig(file, format="png", metadata={"Software": None, "Plotted": plotted(figure)})


def plotted(figure: Figure) -> str:
    """SHA-256 of what a figure shows: the numbers that are drawn, to six digits, their colours, and all words.

    To be called before the figure is rendered: rendering settles limits and colours by the size of a font.
    """
    digest = hashlib.sha256()

    def add(kind: str, *numbers) -> None:
        digest.update(kind.encode())
        for array in numbers:
            array = np.ma.filled(np.ma.asarray(array, dtype=float), np.nan)
            digest.update(f"{array.shape}{' '.join(f'{x:.5e}' for x in array.ravel() + 0.0)}".encode())  # no -0

    for axis in figure.axes:
        for line in axis.lines:
            add(f"line {line.get_linestyle()} {line.get_marker()}", line.get_xydata(), to_rgba(line.get_color()))
        for patch in axis.patches:
            vertices = patch.get_patch_transform().transform(patch.get_path().vertices)
            add(f"patch {patch.get_hatch()}", vertices, patch.get_facecolor())
        for group in axis.collections:
            paths = [path.vertices for path in group.get_paths()]
            add("collection", *paths, group.get_offsets(), group.get_facecolor(), group.get_edgecolor())
        for image in axis.images:
            add("image", image.get_array(), image.get_clim())
        fixed = [own for own in (axis.xaxis, axis.yaxis) if isinstance(own.get_major_locator(), FixedLocator)]
        add("limits", axis.get_xlim(), axis.get_ylim())
        words = [axis.get_title(place) for place in ("left", "center", "right")]
        words += [
            axis.get_xlabel(),
            axis.get_ylabel(),
            *(label.get_text() for own in fixed for label in own.get_ticklabels()),
        ]
        add("\n".join([*words, *(text.get_text() for text in axis.texts), *_keys(axis.get_legend())]))
    add("\n".join([text.get_text() for text in figure.texts] + [key for of in figure.legends for key in _keys(of)]))
    add(figure.get_suptitle(), figure.get_size_inches())
    return digest.hexdigest()


def _keys(legend: Legend | None) -> list[str]:
    return [] if legend is None else [text.get_text() for text in (legend.get_title(), *legend.get_texts())]


# Key of `study.experiments.transfers`: blues are negative labels, orange is positive ones. Shade and marker say who
# teaches whom, broken lines and open markers are EPM.
BROKEN = (0, (2.5, 1.5))
_TEACHING = {"mutual": (NAVY, "P"), "self": (SKY, "X"), "both": (BLUE, "o")}
VARIANTS = {
    f"dnll {teaching} {selection}": MethodStyle(f"DNLL {teaching}, {selection.upper()}", *look, dash, dash == BROKEN)
    for teaching, look in _TEACHING.items()
    for selection, dash in (("ep", "-"), ("epm", BROKEN))
}
VARIANTS["mutual-learning 0"] = MethodStyle("positive, no threshold", ORANGE, "D", LONG)
VARIANTS["mutual-learning 0.95"] = MethodStyle("positive, threshold 0.95", ORANGE, "*", (0, (1, 1.2)))
LOOKS = METHODS | VARIANTS

PAPER = (0, (3, 2))  # the dash of the paper's numbers, in every figure
TEXT = "#555555"
