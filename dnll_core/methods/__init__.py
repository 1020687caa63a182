"""The algorithms, one file each. `build_method` turns the name in an experiment into an object."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from dnll_core.config import Experiment
from dnll_core.methods import improved_gan, triple_gan
from dnll_core.methods.base import Method, NetworkFactory
from dnll_core.methods.ccl import FilteringCCL, TemperatureCCL
from dnll_core.methods.ccn import CCN
from dnll_core.methods.co_training import CoTraining
from dnll_core.methods.curriculum import DMT, CurriculumLabeling
from dnll_core.methods.declared import Pixels
from dnll_core.methods.dnll import Negatives, Pair
from dnll_core.methods.dual_student import DualStudent
from dnll_core.methods.fixmatch import FixMatch
from dnll_core.methods.improved_gan import ImprovedGAN
from dnll_core.methods.label_propagation import LabelPropagation, MeanTeacherPropagation
from dnll_core.methods.mean_teacher import MeanTeacher
from dnll_core.methods.mixmatch import MixMatch
from dnll_core.methods.mutual import MutualLearning
from dnll_core.methods.pi_model import PiModel
from dnll_core.methods.pseudo_label import PseudoLabel
from dnll_core.methods.sntg import SNTG
from dnll_core.methods.supervised import Supervised
from dnll_core.methods.temporal_ensembling import TemporalEnsembling
from dnll_core.methods.tnar import TNAR
from dnll_core.methods.triple_gan import TripleGAN
from dnll_core.methods.tssdl import TSSDL, MeanTeacherTSSDL
from dnll_core.methods.vat import VAT
from dnll_core.models import Network

OWN = {"improved-gan": improved_gan.classifier, "triple-gan": triple_gan.classifier}  # of `Pixels` and K


def own_network(fields: Mapping) -> Callable[[Pixels, int], Network] | None:
    """What builds the classifier that a method was published with, where an experiment of these fields has it."""
    return OWN.get(fields["method"]) if fields.get("own_networks", True) else None


def heads(experiment: Experiment) -> int:
    """How many heads the networks of the experiment's method have, see `models.build_network`."""
    return 2 if experiment.method.startswith("dual-student") else 1


def build_method(
    experiment: Experiment, build: NetworkFactory, num_classes: int, pool: int = 0, pixels: Pixels | None = None
) -> Method:
    """The method that `experiment.method` names; "...+dnll" is that method with negative labels as an add-on.

    Args:
        build: makes one freshly initialised network with `heads(experiment)` heads; called once for each submodel.
        num_classes: K.
        pool: number of unlabelled images, which methods with a memory for each of them need.
        pixels: their shape and moments, which methods need that make images.
    """
    of_pool = {"num_classes": num_classes, "pool": pool}
    if published := own_network(experiment.to_dict()):
        build = partial(published, pixels, num_classes)
    bases = {
        "supervised": Supervised,
        "mutual-learning": MutualLearning,
        "dnll": Pair,
        "mean-teacher": MeanTeacher,
        "dual-student": DualStudent,
        "pi-model": PiModel,
        "temporal-ensembling": partial(TemporalEnsembling, **of_pool),
        "vat": VAT,
        "pseudo-label": PseudoLabel,
        "mixmatch": MixMatch,
        "fixmatch": FixMatch,
        "pi-model+sntg": SNTG,
        "label-propagation": partial(LabelPropagation, **of_pool),
        "mean-teacher+lp": partial(MeanTeacherPropagation, **of_pool),
        "curriculum-labeling": partial(CurriculumLabeling, pool=pool),
        "dmt": partial(DMT, pool=pool),
        "co-training": CoTraining,
        "improved-gan": partial(ImprovedGAN, pixels=pixels),
        "triple-gan": partial(TripleGAN, num_classes=num_classes, pixels=pixels),
        "tssdl": partial(TSSDL, **of_pool),
        "mean-teacher+tssdl": partial(MeanTeacherTSSDL, **of_pool),
        "filtering-ccl": FilteringCCL,
        "temperature-ccl": TemperatureCCL,
        "ccn": partial(CCN, num_classes=num_classes),
        "tnar": partial(TNAR, pixels=pixels),
    }
    base = bases[experiment.method.removesuffix("+dnll")](build, experiment)
    return Negatives(base, experiment, num_classes) if experiment.method.endswith("dnll") else base
