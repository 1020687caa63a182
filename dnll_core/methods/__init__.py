"""The algorithms, one file each. `build_method` turns the name in an experiment into an object."""

from __future__ import annotations

from dnll_core.config import Experiment
from dnll_core.methods.base import Batch, Method, NetworkFactory, Output
from dnll_core.methods.dnll import Negatives, Pair
from dnll_core.methods.mutual import MutualLearning
from dnll_core.methods.supervised import Supervised

__all__ = ["Batch", "Method", "MutualLearning", "Negatives", "Output", "Pair", "Supervised", "build_method"]


def build_method(experiment: Experiment, build: NetworkFactory, num_classes: int) -> Method:
    """The method that `experiment.method` names.

    Args:
        build: makes one freshly initialised network; called once for each submodel.
        num_classes: K.
    """
    builders = {
        "supervised": lambda: Supervised(build),
        "mutual-learning": lambda: MutualLearning(build, experiment),
        "dnll": lambda: Negatives(Pair(build, experiment), experiment, num_classes, students=2),
    }
    return builders[experiment.method]()
