"""Runs that are killed, in the middle of an iteration and of a checkpoint, and go on."""

import os
import time

import numpy as np
import pytest
from attacks.children import SMALL, differences, lasting, run_of, start, train_there
from attacks.ledger import times

from dnll_core import Experiment, train
from dnll_core.checkpoint import load_checkpoint, read_info
from dnll_core.config import METHODS

KILLS = times(4, 2)
HARD = {"ema_decay": 0.9, "dropout": 0.3}
HOW = {"measure": True, "pool": "host"}


@pytest.mark.parametrize("method", METHODS[:: times(1, 99)])
def test_a_killed_run_ends_as_if_nothing_had_happened(method, attempt, tmp_path):
    random = np.random.RandomState(len(method))
    fields, how = SMALL | {"method": method} | (HARD if random.randint(2) else {}), HOW if random.randint(2) else {}
    last = 3 * (1077 // SMALL["unlabelled_batch"])
    aims = sorted(random.choice(range(1, last - 8), KILLS, replace=False).tolist())
    whole = [killed(fields, tmp_path, how, aim, during_checkpoint=i % 2 == 1) for i, aim in enumerate(aims)]
    run = run_of(fields, tmp_path, **how)
    other = differences(lasting(run), lasting(train(Experiment(**fields), 0, progress=False, **how)))
    left = [path.name for path in tmp_path.iterdir() if path.name.endswith(".tmp")]
    sittings = run.trainer.sittings
    for i, fine in enumerate(whole):
        with attempt("killed", f"{method}, kill {i + 1} at iteration {aims[i]}"):
            assert fine == "", fine
            assert other == []
            assert left == []
            assert sum(sitting["iterations"] for sitting in sittings) == last


def killed(fields, folder, how, aim, during_checkpoint):
    """Trains in a child, and kills it at an iteration, or while it writes its checkpoint. What is wrong then, or ""."""
    child, deadline = start(train_there, fields, folder, how), time.monotonic() + 60
    try:
        while read_info(folder).get("step", 0) < aim:
            if not child.is_alive() or time.monotonic() > deadline:
                return f"it did not come to iteration {aim}: exit code {child.exitcode}"
            time.sleep(0.001)
        while during_checkpoint and child.is_alive() and not any(name.endswith(".tmp") for name in os.listdir(folder)):
            pass
    finally:
        child.kill()
        child.join()
    _, info = load_checkpoint(folder)
    return "" if info["step"] >= aim else f"the checkpoint is of iteration {info['step']}"
