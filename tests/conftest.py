"""Shared by all tests: one thread a worker process, so that pytest-xdist's do not fight for the cores, and Ctrl-C."""

import gc
import os
import signal
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)
# What a script starts in the background ignores Ctrl-C, and under nohup the end of the terminal; tests wait for both.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_collection_finish():
    """What is imported and collected stays to the end: no collector need look through it again."""
    gc.freeze()


ATTACKS = Path(__file__).parent / "attacks"
FULL = os.environ.get("DNLL_ATTACKS") == "full"


# Files of tests that take long begin first, so that no process waits for the last one of another.
LONG = ("test_trainer", "test_solutions", "test_stand_in_graph", "test_notebooks", "test_gpu", "test_outputs")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """The many attempts to break it are for `make test-long` alone."""
    items.sort(key=lambda item: (item.path.suffix != ".ipynb", item.path.stem not in LONG))
    for item in items:
        if FULL and ATTACKS in item.path.parents:
            item.add_marker("long")


def pytest_configure(config):
    if FULL and not hasattr(config, "workerinput"):  # where the reports of all worker processes arrive
        from attacks.ledger import Ledger  # it imports the package, which takes this process a second

        config.pluginmanager.register(Ledger())
