"""Shared by all tests: one thread a worker process, so that pytest-xdist's do not fight for the cores, and Ctrl-C."""

import gc
import signal

import torch

torch.set_num_threads(1)
# What a script starts in the background ignores Ctrl-C, and under nohup the end of the terminal; tests wait for both.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_collection_finish():
    """What is imported and collected stays to the end: no collector need look through it again."""
    gc.freeze()
