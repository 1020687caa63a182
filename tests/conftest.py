"""Shared by all tests: one thread per worker process, so that pytest-xdist's workers do not fight for the cores."""

import torch

torch.set_num_threads(1)
