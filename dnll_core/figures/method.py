"""The figures of notebooks 02, 10 and 16: from an image to a loss, what submodels pass on, how methods are related."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.ticker import MaxNLocator

from dnll_core.figures.style import BLACK, BLUE, BROKEN, GREY, METHODS, ORANGE, TEXT, canvas, percents, tint
from dnll_core.study.records import frame


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
    widths = {"width_ratios": [1.25, k, k, 1.25]}
    with canvas(1, 4, (2.4 + 0.68 * k, 0.4 * n + 1.3), gridspec_kw=widths) as (figure, axes):
        for axis, views, title in ((axes[0], images[0], "weak"), (axes[3], images[1], "strong")):
            for i, image in enumerate(views):
                extent = (-0.5, 0.5, i + 0.46, i - 0.46)
                axis.imshow(image, cmap="gray_r", extent=extent, interpolation="nearest", aspect="auto")
            axis.set(xlim=(-0.5, 0.5), ylim=(n - 0.5, -0.5), xticks=[], yticks=[], title=title)
            axis.spines[:].set_visible(False)
        axes[0].set_yticks(range(n), [f"true {name}" for name in truth])
        axes[0].tick_params(length=0)
        top = max(p.max() for p in probabilities)
        for s, axis in enumerate(axes[1:3]):
            shade = axis.imshow(probabilities[s], cmap="Greys", vmin=0, vmax=1.7 * top, aspect="auto")
            rows, columns = negatives[s].nonzero()
            ring = {"s": 150, "facecolor": "none", "edgecolor": ORANGE, "linewidth": 2, "label": "pseudo-label Ŷ"}
            cross = {"marker": "x", "color": BLUE, "s": 55, "linewidth": 2.2, "label": "pseudo-negative labels"}
            handles = axis.scatter(probabilities[s].argmax(1), range(n), **ring), axis.scatter(columns, rows, **cross)
            axis.set_xticks(range(k), classes)
            axis.set(yticks=[], xlabel="class", title=f"submodel {s + 1}: its labels teach submodel {2 - s}")
        for axis in axes:
            axis.grid(False)
        bar = figure.colorbar(shade, ax=axes[3], shrink=0.7, label="predicted probability")
        bar.ax.set_ylim(0, top)
        figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


def selection(
    image: np.ndarray,
    pseudo_label: int,
    truth: int,
    panels: dict[str, tuple[np.ndarray, np.ndarray]],
    classes: Sequence[str],
) -> Figure:
    """Figure 3 from the computation: an image, the teacher's pseudo-label, and the negatives drawn by the learner's R.

    Args:
        image: (H, W).
        pseudo_label, truth: classes.
        panels: title -> (chances, negatives), each (K,): P(the first label drawn is i), and the 0/1 draw.
    """
    k, size = len(classes), (1.9 + 3.6 * len(panels), 2.9)
    widths = {"width_ratios": [1.6, *[4] * len(panels)]}
    with canvas(1, 1 + len(panels), size, gridspec_kw=widths) as (figure, axes):
        axes[0].imshow(image, cmap="gray_r", interpolation="nearest")
        axes[0].set(xticks=[], yticks=[], title=f"true class: {classes[truth]}")
        axes[0].set_xlabel(f"the teacher says: {classes[pseudo_label]}", color=tint(ORANGE, -0.3))
        top = 1.2 * max(max(chances) for chances, _ in panels.values())
        for axis, (title, (chances, drawn)) in zip(axes[1:], panels.items()):
            look = {"color": [BLUE if hit else "#C9C9C9" for hit in drawn], "edgecolor": "white"}
            axis.bar(range(k), chances, hatch=["//" if hit else "" for hit in drawn], **look)
            axis.axhline(1 / (k - 1), linestyle="--", color=BLACK, linewidth=1, zorder=1)
            axis.text(pseudo_label, 0.01 * top, "Ŷ", ha="center", color=tint(ORANGE, -0.3), weight="bold")
            axis.text(truth, chances[truth] + 0.02 * top, "true", ha="center", va="bottom", backgroundcolor="white")
            axis.set_xticks(range(k), classes)
            axis.set(title=title, xlabel="class", ylim=(0, top))
            axis.text(k - 0.4, 1 / (k - 1) + 0.015 * top, "EP", ha="right", va="bottom", fontsize=9)
        axes[1].set_ylabel("P(first label drawn)")
        for axis in axes:
            axis.grid(False)
    return figure


def perception(
    rows: dict[str, Sequence[np.ndarray]], columns: Sequence[str], classes: Sequence[str], tops: dict[str, float]
) -> Figure:
    """Heat maps: each row one quantity with one scale, each column one moment of the training.

    Args:
        rows: label -> one (K, K) for each column; row k the class, column i what it is taken for. NaN is drawn grey.
        tops: label -> upper end of its scale; where it is not given, the largest value.
    """
    size, ends = (1.45 * len(columns) + 1.6, 1.5 * len(rows) + 0.7), ([0, len(classes) - 1], [classes[0], classes[-1]])
    with canvas(len(rows), len(columns), size, squeeze=False) as (figure, axes):
        for line, (label, tables) in zip(axes, rows.items()):
            top = tops.get(label, max(np.nanmax(table) for table in tables))
            for axis, table in zip(line, tables):
                shade = axis.imshow(table, cmap="magma_r", vmin=0, vmax=top)
                axis.set_facecolor("#D5D5D5")
                axis.set(xticks=[], yticks=[])
                axis.grid(False)
            line[0].set_ylabel(f"{label}\nclass k")
            line[0].set_yticks(*ends)
            # one scale for each row: the same colour is another number in the next one
            figure.colorbar(shade, ax=line, shrink=0.85, label="" if label in tops else f"black: {top:.2g}")
        for axis, title in zip(axes[0], columns):
            axis.set_title(title)
        for axis in axes[-1]:
            axis.set_xticks(*ends)
            axis.set_xlabel("taken for i", labelpad=-6)
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
    looks = (("cross-entropy, Eq. 3", ORANGE, (0, (5, 1))), ("negative label, Eq. 9", BLUE, "-"))
    with canvas(1, 3, (10.2, 3.2)) as (figure, (left, middle, right)):
        for axis, curves in ((left, losses), (middle, slopes)):
            for (name, color, dash), values in zip(looks, curves):
                axis.plot(p, values, color=color, linestyle=dash, linewidth=2, label=name)
            axis.set(xlabel="p of the class that the label names", xlim=(0, 1))
        left.set(ylabel="loss (nats)", ylim=(0, 4.7), title="Loss")
        left.legend(loc="upper center", fontsize=9)
        middle.axhline(0, color=BLACK, linewidth=0.8)
        middle.set(ylabel="∂ loss / ∂ logit of that class", title="Gradient")
        marks = ((BLACK, "o", "-"), (GREY, "^", BROKEN))
        for (name, values), (color, marker, dash) in zip(shares.items(), marks):
            right.plot(*zip(*values.items()), color=color, marker=marker, linestyle=dash, label=name)
        right.set(xscale="log", yscale="log", xlabel="K, classes", ylabel="share of cross-entropy's", ylim=(None, 1.5))
        right.set_xticks(list(values), [str(tick) for tick in values])
        right.minorticks_off()
        percents(right.yaxis)
        right.set_title("One negative label, uniform p")
        right.legend(loc="lower left", fontsize=8.5)
    return figure


_ROLES = (  # of a student towards an image: name, colour, hatch
    ("learns from the other student", METHODS["dual-student"].color, ""),
    ("teaches it, takes nothing from it", tint(METHODS["dual-student"].color, 0.65), "//"),
    ("neither is stable", "#D9D9D9", ".."),
)


def roles(panels: dict[str, list[dict]]) -> Figure:
    """What Dual Student's stabilisation does with each pair of a student and an image, in shares over the epochs.

    Where one of the two learns the other one teaches, so the recorded share of learners gives all three.

    Args:
        panels: title -> run records with "stabilised" in their history; their mean is drawn.
    """
    with canvas(1, len(panels), (4.9 * len(panels), 3.6), sharey=True, squeeze=False) as (figure, axes):
        for axis, (title, records) in zip(axes.flat, panels.items()):
            learns = frame(records).dropna(subset="stabilised").groupby("epoch")["stabilised"].mean()
            epochs, learns = learns.index.to_numpy(int), learns.to_numpy()
            shares = [learns, np.minimum(learns, 1 - learns), (1 - 2 * learns).clip(min=0)]
            bottom = np.zeros(len(learns))
            for share, (name, color, hatch) in zip(shares, _ROLES):
                look = {"facecolor": color, "hatch": hatch, "edgecolor": "white", "linewidth": 0}
                axis.fill_between(epochs, bottom, bottom + share, label=name, **look)
                bottom = bottom + share
            axis.axhline(0.5, color=BLACK, linestyle="--", linewidth=1.2, label="at most one of two learns")
            axis.set(xlabel="epoch (passes over the unlabelled images)", title=title, ylim=(0, 1))
            axis.set_xlim(epochs[0], max(epochs[-1], epochs[0] + 1))
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes[0, 0].set_ylabel("pairs of a student and an image")
        percents(axes[0, 0].yaxis)
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return figure


def family_tree(families: Mapping[str, Mapping[str, tuple[Sequence[str], str]]], root: str = "supervised") -> Figure:
    """Methods by family, each drawn as everywhere, on a line of its colour and dash; so it serves as a key, too.

    Args:
        families: name -> key of `style.METHODS` -> (what it builds on, what it needs). The first of what it builds on
            that stands above it in the same family is the branch it grows from; the others follow its name as marks.
        root: the method that all of them contain.
    """
    rows, gap = sum(map(len, families.values())), 0.7
    lowest, at, y = rows + gap * (len(families) - 1) - 1, {}, 0.0  # at: key -> (x, y) of its mark
    with canvas(1, 1, (11.5, 0.31 * (lowest + 2.5))) as (figure, axis):
        for family, methods in families.items():
            stems = {}
            for name, (others, _) in methods.items():
                stems[name] = next((other for other in others if other in methods and other in at), None)
                at[name] = (at[stems[name]][0] + 0.45 if stems[name] else 2.15, y)
                y += 1
            y += gap
            middle = np.mean([at[name][1] for name in methods if stems[name] is None])
            _branch(axis, [(0, lowest / 2), (0.4, lowest / 2), (0.2, middle), (0.65, middle)], GREY, "-")
            axis.text(0.7, middle, family, va="center", weight="bold")
            for name, (others, needs) in methods.items():
                look, (x, height) = METHODS[name], at[name]
                if stems[name]:  # down from its mark, past its name
                    stem = at[stems[name]]
                    _branch(axis, [stem, (stem[0], height), (x, height)], look.color, look.dash)
                else:
                    ends = [(1.75, middle), (1.95, middle), (1.95, height), (x, height)]
                    _branch(axis, ends, look.color, look.dash)
                axis.text(x + 0.13, height, look.label, va="center")
                for i, other in enumerate(other for other in others if other != stems[name]):
                    axis.plot(5.35 + 0.18 * i, height, linestyle="none", **METHODS[other].marks)
                axis.text(5.75, height, needs, va="center", color=TEXT)
        for name, (x, height) in ({root: (0, lowest / 2)} | at).items():
            axis.plot(x, height, linestyle="none", zorder=3, **METHODS[name].marks)
        axis.text(-0.12, lowest / 2, METHODS[root].label.replace(" ", "\n"), va="center", ha="right")
        for x, title in ((2.1, "method"), (5.2, "and"), (5.75, "needs, beside a network and a view of each image")):
            axis.text(x, -1.1, title, va="center", color=TEXT, style="italic")
        axis.set(xlim=(-0.95, 9.3), ylim=(lowest + 0.6, -1.6))
        axis.axis("off")
    return figure


def _branch(axis: Axes, points: Sequence[tuple], color: str, dash: str | tuple) -> None:
    """A curve from the first point to the last, of the second degree with three of them, of the third with four."""
    codes = [Path.MOVETO, *[Path.CURVE3 if len(points) == 3 else Path.CURVE4] * (len(points) - 1)]
    look = {"edgecolor": color, "linestyle": dash, "linewidth": 1.2 if color == GREY else 1.8}
    axis.add_patch(PathPatch(Path(points, codes), facecolor="none", **look))
