"""How a folder of one's own images is trained: for how long, and with what settings."""

from __future__ import annotations

import math

STEPS = 1000
EVALUATIONS = 20  # in a run
RAMP = 0.3  # of a run, while the weight of unlabelled images grows


def lengths(labelled: int, pool: int, steps: int = STEPS) -> dict:
    """Fields of an `Experiment` with at least `steps` iterations, however few images there are.

    A batch takes a quarter of the pool, 8...64 images (which recur in it where there are fewer), evaluation and ramp a
    share of the run. labelled, pool: images with a label, and those without.
    """
    batch = min(64, max(8, pool // 4))
    epochs = math.ceil(steps / max(1, pool // batch))
    length = {"epochs": epochs, "ramp_epochs": RAMP * epochs, "eval_every": max(1, epochs // EVALUATIONS)}
    return {"unlabelled_batch": batch, "labelled_batch": min(64, max(8, labelled))} | length


def settings(classes: int) -> dict:
    """Fields of an `Experiment` that images of `classes` classes are trained with, if nothing else is asked for."""
    return {"network": "small", "m": min(3, classes - 1), "lam": 1.0}
