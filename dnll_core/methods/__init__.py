"""The algorithms, one file each. `build_method` turns the name in an experiment into an object."""

from __future__ import annotations

from dnll_core.config import Experiment
from dnll_core.methods.base import Batch, Method, NetworkFactory, Output
from dnll_core.methods.dnll import Negatives, Pair
from dnll_core.methods.dual_student import DualStudent
from dnll_core.methods.fixmatch import FixMatch
from dnll_core.methods.mean_teacher import MeanTeacher
from dnll_core.methods.mixmatch import MixMatch
from dnll_core.methods.mutual import MutualLearning
from dnll_core.methods.pi_model import PiModel
from dnll_core.methods.pseudo_label import PseudoLabel
from dnll_core.methods.supervised import Supervised
from dnll_core.methods.temporal_ensembling import TemporalEnsembling
from dnll_core.methods.vat import VAT

__all__ = [
    "VAT",
    "Batch",
    "DualStudent",
    "FixMatch",
    "MeanTeacher",
    "Method",
    "MixMatch",
    "MutualLearning",
    "Negatives",
    "Output",
    "Pair",
    "PiModel",
    "PseudoLabel",
    "Supervised",
    "TemporalEnsembling",
    "build_method",
    "heads",
]


def heads(experiment: Experiment) -> int:
    """How many heads the networks of the experiment's method have, see `models.build_network`."""
    return 2 if experiment.method.startswith("dual-student") else 1


def build_method(experiment: Experiment, build: NetworkFactory, num_classes: int, pool: int = 0) -> Method:
    """The method that `experiment.method` names; "...+dnll" is that method with negative labels as an add-on.

    Args:
        build: makes one freshly initialised network with `heads(experiment)` heads; called once for each submodel.
        num_classes: K.
        pool: number of unlabelled images, which methods with a memory for each of them need.
    """
    e = experiment
    bases = {
        "supervised": lambda: Supervised(build),
        "mutual-learning": lambda: MutualLearning(build, e),
        "dnll": lambda: Pair(build, e),
        "mean-teacher": lambda: MeanTeacher(build, e),
        "dual-student": lambda: DualStudent(build, e),
        "pi-model": lambda: PiModel(build, e),
        "temporal-ensembling": lambda: TemporalEnsembling(build, e, num_classes, pool),
        "vat": lambda: VAT(build, e),
        "pseudo-label": lambda: PseudoLabel(build, e),
        "mixmatch": lambda: MixMatch(build, e),
        "fixmatch": lambda: FixMatch(build, e),
    }
    base = bases[e.method.removesuffix("+dnll")]()
    return Negatives(base, e, num_classes) if e.method.endswith("dnll") else base
