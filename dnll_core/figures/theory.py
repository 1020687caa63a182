"""The figures of notebook 01 (Theorems 3.1 and 3.2), its interval format, and the explorer with sliders.

    show(transfer(transfer_rows([10], range(1, 10), [0.6])), alt="...")
    show(explorer(K=10, m=3, accuracy=0.6, agreement=0.5), alt="...")
    explore(K=10, m=3, accuracy=0.6, agreement=0.5)        # sliders that redraw the same figure, in JupyterLab

One reading for all of them: a dashed line is a formula of the paper, a solid line ours, and an open circle a simulation
with its 95 % interval.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations, cycle

import ipywidgets as widgets
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from dnll_core.figures.style import BLACK, BLUE, GREY, NAVY, ORANGE, RED, SKY, canvas, for_a_kernel, percents, show
from dnll_core.paper.simulate import Estimate, explorer_curves
from dnll_core.paper.theorems import epm_error_rate, theorem31

SHADES = (SKY, BLUE, NAVY)  # accuracies, from low to high
SIMULATED = "simulated, 95 % interval"
DPI = 88  # six figures of it leave the notebook well below 600 kB


def with_interval(estimate: Estimate, digits: int = 4) -> str:
    """'0.1333 [0.1327, 0.1340]': a simulated rate and its 95 % interval, for a table."""
    low, high = estimate.interval
    return f"{estimate.rate:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def points(axis: Axes, x: Sequence[float], estimates: Sequence[Estimate], minus: float = 0, **style) -> None:
    """Simulated rates (less `minus`) as open circles with 95 % intervals; an arrow down where nothing was counted."""
    rate, low, high = np.array([(e.rate, *e.interval) for e in estimates]).T
    none = rate == 0
    centre = np.where(none, high, rate)
    bars = np.array([np.where(none, high / 2, rate - low), np.where(none, 0, high - rate)])
    look = {"fmt": "o", "color": BLACK, "markersize": 5, "markerfacecolor": "white", "capsize": 2.5, "elinewidth": 1}
    axis.errorbar(x, centre - minus, bars, uplims=none, zorder=3, **(look | style))


def transfer(rows: Sequence[dict], K: int) -> Figure:
    """Theorem 3.1: errors of sets against m, errors of single labels against K, and simulation minus theorem.

    Args:
        rows: of `transfer_rows`; every accuracy has one colour.
        K: the number of classes of the first panel.
    """
    accuracies = sorted({row["accuracy"] for row in rows})
    colors = dict(zip(accuracies, cycle(SHADES)))
    with canvas(1, 3, (11.4, 3.8), dpi=DPI) as (figure, (sets, single, rest)):
        for q, color in colors.items():
            own = [row for row in rows if row["accuracy"] == q]
            here = [row for row in own if row["K"] == K]
            m = np.arange(1, K)
            sets.axhline(1 - q, color=ORANGE, linestyle=":", linewidth=1.5)
            sets.plot(m, theorem31(K, m, q)["set_error"], "--", color=color, label=f"accuracy {q:.0%}")
            points(sets, [row["m"] for row in here], [row["simulated_set_error"] for row in here], color=color)
            classes = np.unique(np.geomspace(2, max(row["K"] for row in rows), 60).round())
            single.plot(classes, theorem31(classes, 1, q)["single_error"], color=color)
            points(single, [row["K"] for row in own], [row["simulated_single_error"] for row in own], color=color)
        for i, row in enumerate(rows):
            points(rest, [i], [row["simulated_set_error"]], row["set_error"], color=colors[row["accuracy"]])
        sets.text(K - 1, 1 - accuracies[0] + 0.015, "dotted: pseudo-labels", ha="right", fontsize=9)
        sets.xaxis.set_major_locator(MaxNLocator(integer=True))
        sets.set(xlabel="m, negative labels in the set", ylabel="error rate", title=f"The set is wrong (K = {K})")
        sets.set_ylim(0, 1 - accuracies[0] + 0.08)
        percents(sets.yaxis)
        sets.legend(title="dashed: Eq. 26", loc="center left", bbox_to_anchor=(0, 0.66))
        single.plot(classes, 1 / classes, ":", color=BLACK)
        place = {"ha": "right", "transform": single.transAxes, "fontsize": 9}
        single.text(0.97, 0.93, "dotted: drawn blindly from all K, 1/K", **place)
        single.set(xscale="log", yscale="log")
        percents(single.yaxis)
        ticks = sorted({2, *(row["K"] for row in rows)})
        single.set_xticks(ticks, [str(tick) for tick in ticks])
        single.xaxis.set_minor_locator(NullLocator())
        single.set(xlabel="K, classes", title="One of its labels is wrong, whatever m")
        rest.axhline(0, color=BLACK, linestyle="--", linewidth=1)
        edges = [i for i, row in enumerate(rows[1:], start=1) if row["K"] != rows[i - 1]["K"]]
        place = {"transform": rest.get_xaxis_transform(), "ha": "center", "va": "top", "fontsize": 9}
        for i, (start, end) in enumerate(zip([0, *edges], [*edges, len(rows)])):
            rest.axvspan(start - 0.5, end - 0.5, color=GREY, alpha=0.10 * (i % 2))
            rest.text((start + end - 1) / 2, 0.98, f"K = {rows[start]['K']}", **place)
        rest.set(xlabel="cells of the grid (K, m, accuracy)", ylabel="points", xlim=(-1, len(rows)), xticks=[])
        rest.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g}")
        rest.set_title("Simulated set error minus Eq. 26")
        rest.margins(y=0.15)
    return figure


def set_pairs(K: int, m: int) -> Figure:
    """Theorem 3.2 by hand: all pairs of sets, for equal predictions (0 and 0) and for different ones (0 and 1).

    Dark: both submodels pass the same set. Shaded: the set holds the other's prediction, so the other never passes it.
    """
    with canvas(1, 2, (7.8, 3.9), dpi=DPI) as (figure, axes):
        for axis, (first, second) in zip(axes, ((0, 0), (0, 1))):
            left, top = ([s for s in combinations(range(K), m) if p not in s] for p in (first, second))
            shade = np.array([[2 if a == b else int(second in a or first in b) for b in top] for a in left])
            axis.imshow(shade, cmap=ListedColormap(["white", "#E3E3E3", BLUE]), vmin=0, vmax=2)
            names = [["{" + ",".join(map(str, s)) + "}" for s in sets] for sets in (top, left)]
            axis.set_xticks(range(len(top)), names[0])
            axis.set_yticks(range(len(left)), names[1])
            axis.set_xticks(np.arange(len(top) + 1) - 0.5, minor=True)
            axis.set_yticks(np.arange(len(left) + 1) - 0.5, minor=True)
            axis.grid(False)
            axis.grid(which="minor", color=GREY, linewidth=0.7, clip_on=False)  # whole at the border, too
            axis.tick_params(which="both", length=0)
            axis.spines[:].set_visible(False)
            axis.set(xlabel=f"set of submodel 2, which predicts {second}")
            axis.set(ylabel=f"set of submodel 1, which predicts {first}")
            word = "agree" if first == second else "differ"
            axis.set_title(f"Predictions {word}: same set in {(shade == 2).sum()} of {shade.size} pairs")
    return figure


def epm_errors(rows: Sequence[dict], confusion: np.ndarray, pointers: Mapping[str, np.ndarray]) -> Figure:
    """Errors of sets drawn by the Error Perception Mechanism against its strength, a panel for each m.

    Args:
        rows: of `epm_rows`, made with the same confusion and pointers (two at most).
        confusion: (K, K), P(true = row, predicted = column) of the submodel that passes the sets.
        pointers: name of a case -> (K, K); Pr (Eq. 22) is this times the strength.
    """
    K, accuracy = len(confusion), float(np.trace(confusion))
    negatives = sorted({row["m"] for row in rows})
    strengths = np.linspace(0, max(row["strength"] for row in rows), 41)
    with canvas(1, len(negatives), (4.6 * len(negatives), 3.9), sharey=True, squeeze=False, dpi=DPI) as (figure, axes):
        for axis, m in zip(axes[0], negatives):
            for (case, pointer), color, marker in zip(pointers.items(), (BLUE, NAVY), "os"):
                exact = [epm_error_rate(confusion, c * pointer, m) for c in strengths]
                axis.plot(strengths, exact, color=color, label=case)
                own = [row for row in rows if (row["case"], row["m"]) == (case, m)]
                simulated = [row["simulated_set_error"] for row in own]
                points(axis, [row["strength"] for row in own], simulated, color=color, fmt=marker)
            axis.axhline(1 - accuracy, color=ORANGE, linestyle=":", label="pseudo-labels")
            equal = theorem31(K, m, accuracy)["set_error"]
            axis.axhline(equal, color=BLACK, linestyle="--", label="equal probability: Theorem 3.1")
            axis.set(xlabel="Pr$_k$[i] of the class i that R$_k$ points at", ylim=(0, None))
            axis.set_title(f"m = {m} of K = {K}, accuracy {accuracy:.0%}")
        axes[0, 0].set_ylabel("error rate of the transferred set")
        percents(axes[0, 0].yaxis)
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure


def pushes(push: np.ndarray, belief: np.ndarray, accuracy: np.ndarray, expected: Mapping[str, np.ndarray]) -> Figure:
    """One negative label's effect on log p_true: for each class it may name, and expected over the teacher's draws.

    Args:
        push: (K,) of `negative_push`; class 0 is the true one and class 1 its look-alike.
        belief: (K,) probabilities of the submodel that learns.
        accuracy: (n,) of the teacher on such images.
        expected: "equal probability" and "Error Perception Mechanism" -> (n,) expected push.
    """
    classes = np.arange(len(push))
    with canvas(1, 2, (9.5, 3.8), dpi=DPI) as (figure, (bars, lines)):
        colors = [RED if c == 0 else BLUE if c == 1 else GREY for c in classes]
        bars.bar(classes, push, color=colors)
        bars.axhline(0, color=BLACK, linewidth=0.8)
        bars.set_xticks(classes, [f"{c}\n{p:.2f}" for c, p in zip(classes, belief)])
        bars.text(0.6, push[0], "true class: the label is wrong", va="bottom", color=RED)
        bars.text(1.6, push[1], "look-alike: what must be learnt", va="top", color=BLUE)
        bars.text(len(push) / 2 + 0.5, push[2:].max() + 0.02, "the rest: almost nothing to learn", ha="center")
        bars.set(xlabel="class named by the negative label\nand the learner's belief in it")
        bars.set(ylabel="change of log p[true] per unit step", title="What one negative label does")
        bars.grid(axis="x", visible=False)
        lines.axhline(0, color=BLACK, linewidth=0.8)
        for (name, values), color in zip(expected.items(), (GREY, BLUE)):
            lines.plot(accuracy, values, color=color, linewidth=2, label=name)
        lines.set(xlabel="teacher's accuracy on such images", ylabel="expected change of log p[true]")
        percents(lines.xaxis)
        lines.set_title("What it does on average")
        lines.legend(loc="upper left")
    return figure


def agreement(rows: Sequence[dict], K: int, m: int, share: float) -> Figure:
    """Theorem 3.2: the probability of the same set against m (at agreement `share`) and against agreement (at m).

    Args:
        rows: of `agreement_rows`.
        K: the number of classes, of both panels.
    """
    rows = [row for row in rows if row["K"] == K]
    over_m = [row for row in rows if row["agreement"] == share]
    over_a = [row for row in rows if row["m"] == m]
    with canvas(1, 2, (9.5, 4.3), dpi=DPI) as (figure, axes):
        for axis, own, name in zip(axes, (over_m, over_a), ("m", "agreement")):
            x = [row[name] for row in own]
            for key, (label, color, dash) in FORMULAS.items():
                axis.plot(x, [row[key] for row in own], dash, color=color, linewidth=1.8, label=label)
            points(axis, x, [row["simulated_same_set"] for row in own], label=SIMULATED)
        left, right = axes
        left.set(yscale="log", xlabel="m, negative labels in the set", title=f"K = {K}, agreement {share:.0%}")
        left.set_ylabel("P(both submodels pass the same set)")
        left.xaxis.set_major_locator(MaxNLocator(integer=True))
        right.set(xlabel="agreement: images on which both predict the same class", ylim=(0, None))
        right.set_title(f"K = {K}, m = {m}")
        percents(right.xaxis)
        handles, labels = left.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


FORMULAS = {  # key of `theorem32`: label, colour, dash
    "same_set": ("corrected", BLUE, "-"),
    "eq30_printed": ("paper, Eqs. 29-30", BLACK, "--"),
    "eq32_printed": ("paper, Eq. 32 (Theorem 3.2)", GREY, "--"),
    "leading": ("limit for large K: m!/K$^m$", SKY, "-"),
}


def explorer(K: int, m: int, accuracy: float, agreement: float, draws: int = 20_000, seed: int = 0) -> Figure:
    """Both theorems over all m: exact, as the paper prints them, and simulated; the chosen m is marked."""
    curves = explorer_curves(K, accuracy, agreement, draws, seed)
    x, at = curves["m"], m - 1
    with canvas(1, 2, (9.5, 4.3), dpi=DPI) as (figure, (left, right)):
        open_ring = {"markerfacecolor": "none", "markersize": 7}  # so that the exact value is seen in it
        left.axhline(1 - accuracy, color=ORANGE, linestyle=":", label="pseudo-labels")
        left.plot(x, curves["set_error"], ".--", color=BLUE, label="sets: Eq. 26")
        left.plot(x, curves["single_error"], ".-", color=NAVY, label="single labels")
        points(left, x, curves["simulated_set_error"], color=BLUE, **open_ring)
        points(left, x, curves["simulated_single_error"], color=NAVY, **open_ring)
        left.set(ylabel="error rate", ylim=(0, 1), title=f"m = {m}: sets wrong {curves['set_error'][at]:.1%}")
        percents(left.yaxis)
        for key, (label, color, dash) in FORMULAS.items():
            right.plot(x, curves[key], f".{dash}", color=color, label=label)
        points(right, x, curves["simulated_same_set"], label=SIMULATED, **open_ring)
        right.set(yscale="log", ylabel="P(same set)", title=f"m = {m}: same set {curves['same_set'][at]:.2g}")
        positive = curves["same_set"][curves["same_set"] > 0]
        right.set_ylim(min([*positive, 1 / draws]) / 3, 2)
        for axis in (left, right):
            axis.axvline(m, color=GREY, linewidth=6, alpha=0.25, zorder=0)
            # a line of one point, at K = 2, must not have ticks at parts of m
            axis.set(xlabel="m, negative labels in the set", xlim=(0.5, K - 0.5), xticks=range(1, K, -(-K // 15)))
            axis.legend(fontsize=8)
        figure.suptitle(f"K = {K} classes, accuracy {accuracy:.0%}, agreement {agreement:.0%}")
    return figure


def explore(
    K: int = 10,
    m: int = 3,
    accuracy: float = 0.6,
    agreement: float = 0.5,
    most: int = 30,
    draw: Callable[..., None] | None = None,
):
    """Sliders for K (2...most), m, accuracy and agreement above `explorer`'s figure, redrawn when one is released.

    Args:
        draw: called with the four values; None: shows `explorer`.

    Returns an ipywidgets.VBox; it needs a running notebook front end to be seen.
    """

    def redraw(K: int, m: int, accuracy: float, agreement: float) -> None:
        show(explorer(K, m, accuracy, agreement), f"Both theorems at K={K}, m={m}, {accuracy=}, {agreement=}")

    later = {"continuous_update": False}
    sliders = {
        "K": widgets.IntSlider(K, 2, most, description="K", **later),
        "m": widgets.IntSlider(m, 1, K - 1, description="m", **later),
        "accuracy": widgets.FloatSlider(accuracy, min=0, max=1, step=0.05, description="accuracy", **later),
        "agreement": widgets.FloatSlider(agreement, min=0, max=1, step=0.05, description="agreement", **later),
    }

    def limit(change: dict) -> None:  # before the redrawing: m never exceeds K - 1
        sliders["m"].max = change["new"] - 1

    sliders["K"].observe(limit, "value")
    figure = widgets.interactive_output(draw or redraw, sliders)
    return for_a_kernel([widgets.HBox(list(sliders.values())[:2]), widgets.HBox(list(sliders.values())[2:]), figure])
