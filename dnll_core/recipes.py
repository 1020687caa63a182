"""What the cells of Tables 1-4 give each method where the paper is silent: weights, views and lengths.

`cells` puts them together with what section 4.2 states; the sources of the published numbers are in `cells._benchmark`,
those of the others in `data/results/search`.
"""

from __future__ import annotations

from dnll_core.config import Experiment
from dnll_core.searches import LAPTOP_CHOSEN, LAPTOP_START, METHODS, RAMPS

# The sources of these numbers are in the docstring of `_benchmark`.
PUBLISHED: dict[str, dict[str, object]] = {
    "dnll": {"m": 3, "selection": "epm"},
    "supervised": {},
    "mean-teacher": {"consistency_scale": 20.0},
    "dual-student": {"consistency_scale": 20.0, "stabilisation_scale": 100.0, "logit_distance": 0.02},
    "pseudo-label": {"threshold": 0.95},
    "fixmatch": {"ramp_epochs": 0.0},
    "fixmatch-randaugment": {"ramp_epochs": 0.0, "weak": "crop+flip", "strong": "crop+flip+randaugment+cutout"},
    "mixmatch": {"lam": 75.0},
}
PUBLISHED_ON: dict[tuple[str, str], dict[str, object]] = {
    ("mnist", "dual-student"): {
        "consistency_scale": 8.0,
        "stabilisation_scale": 7.0,
        "logit_distance": 0.08,
        "stable_threshold": 0.6,
    },
    ("svhn", "fixmatch-randaugment"): {"weak": "crop", "strong": "crop+randaugment+cutout"},  # no house number flips
}
# Views that section 4.2 leaves open, as (fields, what they are). The first is the one that baselines are judged by.
READINGS: dict[int, dict[str, tuple[dict[str, object], str]]] = {
    1: {
        "lineage": (
            {"weak": "translate+flip", "strong": "translate+flip", "translation": 4},
            "the views of the literature that section 4.2 follows: translation by up to 4 pixels and flip, two draws",
        ),
        "literal": ({}, "section 4.2 to the letter: the image itself, and the image with Gaussian noise"),
    },
    4: {
        "literal": ({}, "section 4.2 to the letter: both views are the image; dropout alone makes predictions differ"),
        "noise": ({"strong": "noise"}, "as in the reference of section 4.2, whose network adds Gaussian noise"),
    },
}
SHORT_EPOCHS = {"cifar10": 45, "svhn": 28, "mnist": 32}  # each about 15,000 iterations of 128 unlabelled images
QUICK_EPOCHS = {"digits": 40, "usps": 10, "folder": 30}  # other data sets, with tens of thousands of images: 2
LAPTOP_EPOCHS = 6  # of Table 4 on two CPU cores: what an hour or two allows for all of its runs
# No table of the paper needs these there: they have the weights that were chosen for them on the digits.
LAPTOP_FURTHER = ("mutual-learning", "pi-model", "temporal-ensembling", "vat", "mixmatch")
LAPTOP_ONCE = ("pseudo-label", *LAPTOP_FURTHER)  # one run, the others have three


def at_length(experiment: Experiment, epochs: int) -> Experiment:
    """The experiment in another number of epochs; each ramp keeps its share of the run."""
    ramps = {name: getattr(experiment, name) * epochs / experiment.epochs for name in RAMPS}
    return experiment.replace(epochs=epochs, **ramps)


def quick(method: str, dataset: str) -> Experiment:
    """What the searches chose on the digits, in fewer epochs; for DNLL with m = 3 (1 of a folder)."""
    kind = dataset.partition(":")[0]
    changes = {"dataset": dataset, "weak": "auto"}
    if kind in ("cifar10", "svhn", "folder"):
        changes["strong"] = "auto"  # grey digits keep the noise that the searches preferred
    if method == "dnll":
        changes["m"] = 1 if kind == "folder" else 3
    epochs = QUICK_EPOCHS.get("digits" if kind.startswith("digits") else kind, 2)  # their two domains, too
    return at_length(METHODS[method], epochs).replace(**changes)


def laptop(method: str, dataset: str) -> Experiment:
    """What the searches chose on MNIST with twenty labels and the small network, in LAPTOP_EPOCHS.

    Methods of LAPTOP_FURTHER had no search of their own there. Other data sets than MNIST keep their size and views.
    """
    experiment = LAPTOP_CHOSEN.get(method)
    if experiment is None:
        on_digits = METHODS[method]
        own = {name: getattr(on_digits, name) for name in ("lam", "threshold", "teaching", "shared_bn", "vat_eps")}
        own["vat_eps"] *= LAPTOP_START.size / 8  # the same change of a pixel, in an image of more pixels than a digit's
        experiment = LAPTOP_START.replace(method=method, m=1, **own)
    changes = {} if dataset == "mnist" else {"dataset": dataset, "size": None, "weak": "auto", "strong": "auto"}
    if method == "dnll" and dataset.startswith("folder:"):
        changes |= {"m": 1, "selection": "ep"}  # it may have two classes
    return at_length(experiment, LAPTOP_EPOCHS).replace(**changes)
