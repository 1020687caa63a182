"""Semi-supervised learning with pseudo-negative labels (DNLL), reproduced: `Experiment`, `train`, `load_data`."""

from dnll_core.config import Experiment
from dnll_core.data import load_data
from dnll_core.run import Run, train

__all__ = ["Experiment", "Run", "load_data", "train"]
