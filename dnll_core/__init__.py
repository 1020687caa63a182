"""Semi-supervised learning with pseudo-negative labels (DNLL), reproduced: `Experiment`, `train`, `load_data`.

Of one's own images: `load_model` reads what `Run.save_model` wrote, and `DNLLClassifier` is one of scikit-learn's kind.
"""

import importlib

from dnll_core.config import Experiment
from dnll_core.data import load_data
from dnll_core.run import Run, train

_LATER = {
    "load_model": "dnll_core.own.model",
    "DNLLClassifier": "dnll_core.own.estimator",
    "LabelledKFold": "dnll_core.data.folds",
}  # imported when asked for

__all__ = ["DNLLClassifier", "Experiment", "LabelledKFold", "Run", "load_data", "load_model", "train"]


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LATER[name]), name)
