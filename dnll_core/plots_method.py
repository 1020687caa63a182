"""The figures of notebook 02: from an image to a loss, and what the submodels pass to each other while they train.

    show(tracks({"recorded": groups}, "agreement", "agreement of the submodels"), alt="...")

`VARIANTS` gives each experiment of `experiments.transfers` its look: the colour and marker say who teaches whom, a
solid line with full markers is equal probability (EP), a broken line with open markers the Error Perception Mechanism.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from dnll_core.plots import BLACK, BLUE, GREY, METHODS, ORANGE, PINK, RED, SKY, MethodStyle, canvas

_BROKEN = (0, (2.5, 1.5))
VARIANTS = {  # key of `experiments.transfers`
    "dnll mutual ep": MethodStyle("DNLL mutual, EP", BLACK, "P", "-"),
    "dnll mutual epm": MethodStyle("DNLL mutual, EPM", BLACK, "P", _BROKEN),
    "dnll self ep": MethodStyle("DNLL self, EP", SKY, "X", "-"),
    "dnll self epm": MethodStyle("DNLL self, EPM", SKY, "X", _BROKEN),
    "dnll both ep": MethodStyle("DNLL both, EP", METHODS["dnll"].color, METHODS["dnll"].marker, "-"),
    "dnll both epm": MethodStyle("DNLL both, EPM", METHODS["dnll"].color, METHODS["dnll"].marker, _BROKEN),
    "mutual-learning 0": MethodStyle("positive, no threshold", RED, METHODS["mutual-learning"].marker, (0, (5, 1))),
    "mutual-learning 0.95": MethodStyle("positive, threshold 0.95", PINK, "*", (0, (1, 1.2))),
}


def view_rows(rows: dict[str, np.ndarray], scale: float = 0.8) -> Figure:
    """Images in labelled rows. rows: label -> (N, H, W) grey or (N, H, W, 3) colour; one grey scale for all of them."""
    columns = max(len(images) for images in rows.values())
    low, high = (f(f(images) for images in rows.values()) for f in (np.min, np.max))
    with canvas(len(rows), columns, (columns * scale + 1.7, len(rows) * scale), squeeze=False) as (figure, axes):
        for axis in axes.flat:
            axis.axis("off")
        for line, (label, images) in zip(axes, rows.items()):
            line[0].text(-0.15, 0.5, label, transform=line[0].transAxes, ha="right", va="center")
            for axis, image in zip(line, images):
                axis.imshow(image, cmap="gray_r", vmin=low, vmax=high, interpolation="nearest")
    return figure


def exchange(
    images: Sequence[np.ndarray],
    truth: Sequence[str],
    probabilities: Sequence[np.ndarray],
    negatives: Sequence[np.ndarray],
    classes: Sequence[str],
) -> Figure:
    """Figure 2 from the computation: weak images, what each submodel predicts and passes on, strong images.

    Args:
        images: the weak and the strong views, (N, H, W) each.
        truth: (N,) names of the true classes.
        probabilities: of submodel 1 and 2, (N, K) each.
        negatives: their pseudo-negative labels, (N, K) 0/1 each.
    """
    n, k = probabilities[0].shape
    widths = {"width_ratios": [1, k, k, 1]}
    with canvas(1, 4, (2.6 + 0.64 * k, 0.34 * n + 1.5), gridspec_kw=widths) as (figure, axes):
        for axis, views, title in ((axes[0], images[0], "weak"), (axes[3], images[1], "strong")):
            for i, image in enumerate(views):
                extent = (-0.5, 0.5, i + 0.46, i - 0.46)
                axis.imshow(image, cmap="gray_r", extent=extent, interpolation="nearest", aspect="auto")
            axis.set(xlim=(-0.5, 0.5), ylim=(n - 0.5, -0.5), xticks=[], title=title)
            axis.spines[:].set_visible(False)
            axis.grid(False)
        axes[0].set_yticks(range(n), [f"true {name}" for name in truth])
        axes[0].tick_params(length=0)
        axes[3].set_yticks([])
        top = max(p.max() for p in probabilities)
        for s, axis in enumerate(axes[1:3]):
            shade = axis.imshow(probabilities[s], cmap="Greys", vmin=0, vmax=1.3 * top, aspect="auto")
            _mark(axis, probabilities[s].argmax(1), negatives[s], s == 0)
            axis.set_xticks(range(k), classes)
            axis.set(yticks=[], xlabel="class", title=f"submodel {s + 1}: its labels teach submodel {2 - s}")
            axis.grid(False)
        bar = figure.colorbar(shade, ax=axes[3], shrink=0.7, label="predicted probability")
        bar.ax.set_ylim(0, top)
        figure.legend(loc="outside lower center", ncols=2)
    return figure


def _mark(axis: Axes, predicted: np.ndarray, negatives: np.ndarray, named: bool) -> None:
    """A ring around the pseudo-label of each row, a cross on each pseudo-negative label."""
    rows, columns = negatives.nonzero()
    names = ("pseudo-label Ŷ", "pseudo-negative labels") if named else (None, None)
    ring = {"s": 150, "facecolor": "none", "edgecolor": BLUE, "linewidth": 2, "label": names[0]}
    axis.scatter(predicted, np.arange(len(predicted)), **ring)
    axis.scatter(columns, rows, marker="x", color=RED, s=55, linewidth=2.2, label=names[1])


def selection(
    image: np.ndarray, pseudo_label: int, truth: int, panels: dict[str, tuple[np.ndarray, np.ndarray]], classes
) -> Figure:
    """Figure 3 from the computation: an image, the teacher's pseudo-label, and the negatives drawn by the learner's R.

    Args:
        image: (H, W).
        pseudo_label, truth: classes.
        panels: title -> (chances, negatives), each (K,): P(the first label drawn is i), and the 0/1 draw.
    """
    k = len(classes)
    with canvas(
        1, 1 + len(panels), (2.2 + 3.9 * len(panels), 3.1), gridspec_kw={"width_ratios": [1.6, *[4] * len(panels)]}
    ) as (
        figure,
        axes,
    ):
        axes[0].imshow(image, cmap="gray_r", interpolation="nearest")
        axes[0].set(xticks=[], yticks=[], title=f"true class: {classes[truth]}")
        axes[0].set_xlabel(f"the teacher says: {classes[pseudo_label]}")
        axes[0].grid(False)
        top = 1.15 * max(max(chances) for chances, _ in panels.values())
        for axis, (title, (chances, drawn)) in zip(axes[1:], panels.items()):
            bars = axis.bar(range(k), chances, color=[RED if hit else "#C9C9C9" for hit in drawn])
            for bar, hit in zip(bars, drawn):
                if hit:
                    bar.set_hatch("//")
                    bar.set_edgecolor("white")
            axis.axhline(1 / (k - 1), linestyle="--", color=BLACK, linewidth=1, zorder=1)
            axis.text(pseudo_label, top * 0.03, "never", rotation=90, ha="center", va="bottom", color=BLUE)
            axis.text(truth, top * 0.985, "true", ha="center", va="top", color=BLACK)
            axis.set_xticks(range(k), classes)
            axis.set(title=title, xlabel="class", ylim=(0, top))
            axis.grid(axis="x", visible=False)
        axes[1].set_ylabel("P(first label drawn)")
        axes[1].text(k - 0.4, 1 / (k - 1) + 0.012 * top, "equal probability", ha="right", va="bottom", fontsize=9)
    return figure


def perception(rows: dict[str, Sequence[np.ndarray]], columns: Sequence[str], classes: Sequence[str]) -> Figure:
    """Heat maps: each row one quantity with one scale of its own, each column one moment of the training.

    Args:
        rows: label -> one (K, K) for each column; row k the true class or pseudo-label, column i the other class. NaN
            is drawn grey: it has no value.
    """
    size = (1.6 * len(columns) + 1.6, 1.75 * len(rows) + 0.5)
    with canvas(len(rows), len(columns), size, squeeze=False) as (figure, axes):
        for line, (label, tables) in zip(axes, rows.items()):
            top = max(np.nanmax(table) for table in tables)
            for axis, table in zip(line, tables):
                shade = axis.imshow(table, cmap="magma_r", vmin=0, vmax=top)
                axis.set_facecolor("#D5D5D5")
                axis.set(xticks=[], yticks=[])
                axis.grid(False)
            line[0].set_ylabel(label)
            figure.colorbar(shade, ax=line, shrink=0.85)
        for axis, title in zip(axes[0], columns):
            axis.set_title(title, fontsize=10)
        axes[-1][0].set_xlabel(f"class i ({classes[0]}…{classes[-1]})")
    return figure


def evenness(curves: dict[str, tuple[Sequence[float], Sequence[float]]], xlabel: str = "epoch") -> Figure:
    """How even R is while training goes on: 1 is equal probability, 0 one-hot. curves: label -> (x, y)."""
    looks = ((BLUE, "-", "o"), (ORANGE, _BROKEN, "^"), (RED, (0, (1, 1.2)), "D"))
    with canvas(1, 1, (7, 3.2)) as (figure, axis):
        for (label, (x, y)), (color, dash, marker) in zip(curves.items(), looks):
            style = {"marker": marker, "markevery": max(1, len(x) // 8), "markersize": 5}
            axis.plot(x, y, color=color, linestyle=dash, linewidth=2, label=label, **style)
        for level, name in ((1, "equal probability"), (0, "one-hot")):
            axis.axhline(level, color=GREY, linewidth=1)
            axis.annotate(
                name,
                (1, level),
                (-2, 3),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
                ha="right",
                color=GREY,
            )
        axis.set(xlabel=xlabel, ylabel="entropy of R / log(K - 1)", ylim=(-0.04, 1.12))
        axis.legend(loc="center right", fontsize=9)
    return figure


def weak_push(
    p: np.ndarray, losses: Sequence[np.ndarray], slopes: Sequence[np.ndarray], shares: dict[str, dict[int, float]]
) -> Figure:
    """Cross-entropy beside Eq. 9: loss, slope on the label's own logit, and the share that one label has of the other.

    Args:
        p: (N,) probabilities of the class that the label names.
        losses, slopes: of cross-entropy and of Eq. 9, (N,) each.
        shares: label -> {K: share of cross-entropy's}.
    """
    looks = (("cross-entropy, Eq. 3", RED, (0, (5, 1))), ("negative label, Eq. 9", BLUE, "-"))
    with canvas(1, 3, (11, 3.4)) as (figure, (left, middle, right)):
        for axis, curves in ((left, losses), (middle, slopes)):
            for (name, color, dash), values in zip(looks, curves):
                axis.plot(p, values, color=color, linestyle=dash, linewidth=2, label=name)
            axis.set(xlabel="p, probability of the class that the label names", xlim=(0, 1))
        left.set(ylabel="loss (nats)", ylim=(0, 4.7), title="Loss")
        left.legend(loc="upper center")
        middle.axhline(0, color=BLACK, linewidth=0.8)
        middle.set(ylabel="∂loss/∂logit of that class", title="Gradient")
        marks = ((BLACK, "o", "-"), (ORANGE, "^", _BROKEN))
        for (name, values), (color, marker, dash) in zip(shares.items(), marks):
            right.plot(*zip(*values.items()), color=color, marker=marker, linestyle=dash, label=name)
        ticks = list(next(iter(shares.values())))
        right.set(xscale="log", yscale="log", xlabel="K, classes", ylabel="share of cross-entropy's")
        right.set_xticks(ticks, [str(tick) for tick in ticks])
        right.minorticks_off()
        right.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
        right.set_title("One negative label, uniform p")
        right.legend(loc="lower left")
    return figure


Value = str | Callable[[dict], float]  # a key of a history's rows, or a function of a row


def series(record: dict, value: Value) -> tuple[list[int], list[float]]:
    """Epochs and values of one run, where the value was measured."""
    if isinstance(value, str):
        rows = [(row["epoch"], row[value]) for row in record["history"] if value in row]
    else:
        rows = [(row["epoch"], value(row)) for row in record["history"]]
    return tuple(map(list, zip(*rows))) if rows else ([], [])


def tracks(
    panels: dict[str, dict[str, list[dict]]],
    value: Value,
    ylabel: str,
    *,
    ylim: tuple[float, float] | None = None,
    level: tuple[float, str] | None = None,
    percent: bool = True,
) -> Figure:
    """A value over the epochs: each run a thin line, the mean of a variant thick. All panels share the y axis.

    Args:
        panels: title -> {key of VARIANTS -> run records}.
        level: a height to mark, and its name.
    """
    with canvas(1, len(panels), (5.2 * len(panels), 4.1), sharey=True, squeeze=False) as (figure, axes):
        for axis, (title, groups) in zip(axes.flat, panels.items()):
            for name, records in groups.items():
                _track(axis, name, [series(record, value) for record in records])
            if level is not None:
                axis.axhline(level[0], color=GREY, linewidth=1.5, linestyle="--", zorder=1)
                axis.annotate(
                    level[1],
                    (1, level[0]),
                    (-2, 3),
                    xycoords=("axes fraction", "data"),
                    textcoords="offset points",
                    ha="right",
                    color="#555555",
                )
            axis.set(xlabel="epoch (passes over the unlabelled images)", title=title)
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes[0, 0].set_ylabel(ylabel)
        if percent:
            axes[0, 0].yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
        if ylim is not None:
            axes[0, 0].set_ylim(*ylim)
        named = {label: h for axis in axes.flat for h, label in zip(*axis.get_legend_handles_labels())}
        order = [style.label for style in VARIANTS.values() if style.label in named]
        figure.legend([named[label] for label in order], order, loc="outside lower center", ncols=4)
    return figure


def _track(axis: Axes, name: str, runs: list[tuple[list, list]]) -> None:
    style = VARIANTS[name]
    if len(runs) > 1:
        for x, y in runs:
            axis.plot(x, y, color=style.color, alpha=0.22, linewidth=0.7)
    x, mean = runs[0][0], np.mean([y for _, y in runs], axis=0)
    face = style.color if style.dash != _BROKEN else "white"
    start = list(VARIANTS).index(name) * len(x) // 80  # markers of different lines not on top of each other
    marks = {
        "marker": style.marker,
        "markevery": (start, max(1, len(x) // 7)),
        "markersize": 7,
        "markerfacecolor": face,
    }
    axis.plot(x, mean, color=style.color, linestyle=style.dash, linewidth=1.7, label=style.label, **marks)


def finals(groups: dict[str, list[float]], ylabel: str = "test accuracy, last epoch") -> Figure:
    """One point for each run and a bar of mean ± sd for each variant, from the best mean to the worst."""
    order = sorted(groups, key=lambda name: np.mean(groups[name]))
    with canvas(1, 1, (7.5, 0.36 * len(groups) + 0.9)) as (figure, axis):
        for y, name in enumerate(order):
            style, values = VARIANTS[name], np.asarray(groups[name])
            spread = values.std(ddof=1) if len(values) > 1 else 0
            axis.errorbar(
                values.mean(), y, xerr=spread, color=style.color, capsize=4, linewidth=2, marker="|", markersize=15
            )
            face = style.color if style.dash != _BROKEN else "white"
            axis.scatter(
                values, np.full(len(values), y + 0.22), marker=style.marker, facecolor=face, edgecolor=style.color, s=32
            )
        axis.set_yticks(range(len(order)), [f"{VARIANTS[name].label}, n = {len(groups[name])}" for name in order])
        axis.xaxis.set_major_formatter(PercentFormatter(1, decimals=None))
        axis.set(xlabel=ylabel, ylim=(-0.5, len(order) - 0.3))
    return figure
