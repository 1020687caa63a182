"""Semi-supervised learning with pseudo-negative labels (DNLL), reproduced: `Experiment`, `train`, `load_data`.

Of one's own images: `load_model` reads what `Run.save_model` wrote, and `DNLLClassifier` is one of scikit-learn's kind.
"""

import importlib

from dnll_core.config import Experiment
from dnll_core.data import load_data
from dnll_core.run import Run, train

_OWN = {"load_model": "model", "DNLLClassifier": "estimator", "LabelledKFold": "estimator"}  # imported when asked for

__all__ = ["DNLLClassifier", "Experiment", "LabelledKFold", "Run", "load_data", "load_model", "train"]


def __getattr__(name: str) -> object:
    if name not in _OWN:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"dnll_core.own.{_OWN[name]}"), name)
