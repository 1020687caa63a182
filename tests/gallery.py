"""Every kind of figure, from made-up records and numbers: name -> a function that draws it."""

import numpy as np
import pandas as pd
import torch
from fabricated import record, run

from dnll_core import figures
from dnll_core.paper.simulate import agreement_rows, epm_rows, transfer_rows
from dnll_core.paper.theorems import lookalike_confusion, lookalikes
from dnll_core.study import scorecard
from dnll_core.study.tables import cells

RUNS = [run(0.3, 0.5, stabilised=[0.1, 0.4]), run(0.5, 0.7, seed=1, stabilised=[0.3, 0.5])]
MANY = [run(0.2, 0.5 + 0.01 * seed, seed=seed) for seed in range(10)]
IMAGES = np.arange(192).reshape(3, 8, 8)
CLASSES = list("0123456789")
P = np.array([[0.7, 0.1, 0.1, 0.1], [0.1, 0.2, 0.3, 0.4]])
RELIABLE = {
    "runs": [
        {"before": {"error": 0.2, "bins": [(30, 0.5, 0.3), (70, 0.9, 0.7)]}}
        | {"after": {"error": 0.1, "bins": [(50, 0.5, 0.4), (50, 0.9, 0.9)]}}
    ]
}
TIMES = {"mean-teacher": [0.1, 0.2, 0.4], "dnll": [0.3, 0.5, 0.6]}


def groups(table, profile="paper", n=2, named=None):
    """n made-up runs of each cell: 90 %, 92 %, ... of test accuracy."""
    chosen = [cell for cell in cells(table, profile) if named is None or cell.name in named]
    curve = [0.5, 0.7, 0.8, 0.9]
    return {
        c: [record(c.experiment, seed, 0.9 + 0.02 * seed, curve=[a + 0.01 * seed for a in curve]) for seed in range(n)]
        for c in chosen
    }


def half(of_table):
    """Every second cell without records."""
    return {cell: records if i % 2 else [] for i, (cell, records) in enumerate(of_table.items())}


def finding(claim, low, high, verdict):
    fields = {"claim": claim, "section": "4.4", "verdict": verdict, "difference": (low + high) / 2, "low": low}
    return fields | {"high": high, "unit": "points", "n": 3}


def _epm():
    teacher, pointers = lookalike_confusion(4, 0.5, 0.9), {"same": lookalikes(4)}
    rows = epm_rows(teacher, pointers, [0, 3], [1, 2], draws=500)
    return figures.theory.epm_errors(rows, teacher, pointers)


FIGURES = {
    "idea": lambda: figures.images.idea(IMAGES[0], CLASSES, 3, 0.7),
    "image_grid": lambda: figures.images.image_grid(IMAGES, ["a", "b", "c"], columns=2),
    "contact_sheet": lambda: figures.images.contact_sheet(
        torch.from_numpy(IMAGES.astype(np.uint8))[:, None],
        ["a", "$5", r"$\frac$"],  # folders have such names, too
    ),
    "reliability": lambda: figures.own.reliability(RELIABLE),
    "view_rows": lambda: figures.images.view_rows({"x": IMAGES, "y": IMAGES[:2]}, {"x": ["a", "b", "c"]}),
    "opinions": lambda: figures.images.opinions(IMAGES[:2], [0, 1], {"dnll": [0, 0]}, ["no", "yes"]),
    "maps": lambda: figures.embedding.maps(
        {"x": P[:, :2]}, np.array([0, 1]), ["no", "yes"], wrong={"x": np.array([True, False])}
    ),
    "curves": lambda: figures.curves.curves({"": {"dnll": RUNS, "vat": MANY}}, levels={"label-spreading": 0.9}),
    "finals": lambda: figures.curves.finals({"supervised": RUNS, "dnll": MANY, "vat": RUNS[:1]}),
    "differences": lambda: figures.curves.differences({"a − b": ("dnll", [10, 20]), "a − c": ("vat", [10])}),
    "ratios": lambda: figures.curves.ratios(
        {"x": {"dnll": (2.1, 1.9, 2.2)}}, (2, "expected"), "ratio", counted={"dnll": 2.0}, printed={"dnll": 1.9}
    ),
    "roles": lambda: figures.method.roles({"without": RUNS, "with": RUNS[:1]}),
    "family_tree": lambda: figures.method.family_tree(
        {"a": {"pi-model": ((), "x"), "vat": (("pi-model",), "y")}, "b": {"dnll": (("vat",), "z")}}
    ),
    "exchange": lambda: figures.method.exchange([IMAGES[:2]] * 2, ["a", "d"], [P, P[::-1]], [P > 0.3] * 2, "abcd"),
    "selection": lambda: figures.method.selection(IMAGES[0], 0, 1, {"one": (P[1], P[0] > 0.3)}, "abcd"),
    "perception": lambda: figures.method.perception({"Pr": [P.T @ P]}, ["early"], "abcd", {}),
    "weak_push": lambda: figures.method.weak_push(P[1], [P[1], P[0]], [P[0], P[1]], {"norm": {2: 1.0, 10: 0.1}}),
    "points_of_cells": lambda: figures.tables.points_of_cells(half(groups(1))),
    "sensitivity": lambda: figures.sensitivity.sensitivity(groups(5)),
    "curves_of_cells": lambda: figures.tables.curves_of_cells(groups(4, "quick")),
    "scorecard": lambda: figures.scorecard.scorecard_figure(scorecard.rows("no such folder")),
    "claims": lambda: figures.scorecard.claims_figure(
        pd.DataFrame([finding("a", 1, 3, "holds"), finding("b", -30, 2, "undecided")])
    ),
    "iterations": lambda: figures.speed.iterations({"training": TIMES}),
    "parts": lambda: figures.speed.parts(
        {"counted": {"dnll": {"label passes": 50, "forward": 100, "backward": 199, "losses": 3}}}, ["images"]
    ),
    "trade": lambda: figures.speed.trade({"dnll": (2.0, 92.0)}, {"dnll": ((2.1, 2.0, 2.2), [91.0, 92.0])}),
    "transfer": lambda: figures.theory.transfer(transfer_rows([4, 6], [1, 3], [0.3, 0.9], draws=500), 6),
    "set_pairs": lambda: figures.theory.set_pairs(5, 2),
    "epm_errors": _epm,
    "pushes": lambda: figures.theory.pushes(P[0], P[1], np.linspace(0, 1, 3), {"equal probability": np.arange(3)}),
    "agreement": lambda: figures.theory.agreement(agreement_rows([6], range(1, 6), [0, 0.5, 1], draws=500), 6, 1, 0.5),
    "explorer": lambda: figures.theory.explorer(6, 2, 0.6, 0.5, draws=500),
}
