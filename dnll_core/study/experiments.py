"""Named experiments, and the settings that a search on validation images chose for them.

`quickstart()` gives the four of notebook 00. What was tried to choose their settings is recorded in
`data/results/search/`; `python -m dnll_core.campaign.search digits` repeats it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from dnll_core.config import Experiment
from dnll_core.methods.classical import CLASSIFIERS, Classical
from dnll_core.study.laptop import ELSEWHERE, added, elsewhere, every_label, every_negative
from dnll_core.study.rivals import READINGS, RIVALS, gans, rivals, tangents
from dnll_core.study.searches import CHOOSING, REPORTED, chosen, perturbed
from dnll_core.study.settings import (
    ADAPTATION_CHOSEN,
    LAPTOP_START,
    METHODS,
    OWN_WEIGHTS,
    QUICKSTART,
    RAMPS,
    at_length,
    laptop,
    quick,
)

# Domain adaptation, by campaign: what two CPU cores can do, and Dual Student's schedule, 26,700 iterations. In the
# reverse direction a pass over the 7291 images of USPS is short.
ADAPTATION_EPOCHS = {"adaptation": 25, "adaptation-full": 100, "adaptation-reverse": 30}

QUICKSTART_LABELS = (20, 50, 100)
PERTURBATIONS = 40  # of each live seed of notebook 00: what rounding can do to it
# DNLL of the quickstart as the first searches left it: notebook 15 takes its runs apart.
_EARLIER = chosen("quickstart-dnll-2")
FALLING = _EARLIER.replace(eval_every=_EARLIER.epochs)


def quickstart(dataset: str = "digits", labels: int = 20, **changes) -> dict[str, Experiment | Classical]:
    """The four methods of notebook 00: "supervised", "dnll", "label-spreading" and "self-training".

    On the digits with the settings that the searches chose, each method's own with twenty labels. On other data sets
    nothing was tuned: the networks have `settings.quick`, and the classical methods their defaults.

    Args:
        changes: fields of the first two; those of DNLL alone (m, selection, ...) do nothing in the supervised one.
    """
    labels = Experiment(labels=labels).labels  # which may be text
    networks: dict[str, Experiment] = {name: QUICKSTART[name] for name in ("supervised", "dnll")}
    others: dict[str, Classical] = {name: QUICKSTART[name].replace(labels=labels) for name in CLASSIFIERS}
    if dataset != "digits":
        networks = {name: quick(name, dataset) for name in networks}
        others = {name: Classical(name, dataset, labels) for name in CLASSIFIERS}
    if "epochs" in changes:
        epochs = Experiment(epochs=changes["epochs"]).epochs  # which may be text, too
        networks = {name: at_length(own, epochs) for name, own in networks.items()}
    return {name: own.replace(labels=labels, **changes) for name, own in networks.items()} | others


def transfers(labels: int = 20) -> dict[str, Experiment]:
    """The runs of notebook 17 on the digits: what submodels pass to each other, by kind of label and who teaches whom.

    Names are "dnll <teaching> <selection>" and "mutual-learning <threshold>". All start from the best grid
    trial of the quickstart's search, with m = 3, Table 5's best, and differ in what their name says.
    """
    dnll = METHODS["dnll"].replace(labels=labels, m=3)
    named = {
        f"dnll {teaching} {selection}": dnll.replace(teaching=teaching, selection=selection)
        for teaching in ("mutual", "self", "both")
        for selection in ("ep", "epm")
    }
    for threshold in (0.0, 0.95):
        changes = {"method": "mutual-learning", "teaching": "mutual", "threshold": threshold}
        named[f"mutual-learning {threshold:g}"] = dnll.replace(**changes)
    return named


def as_algorithm_1(labels: int) -> Experiment:
    """What the plain lines of notebook 02 do: all labels in each batch, and labels made as a network trains."""
    return transfers(labels)["dnll mutual ep"].replace(labelled_batch=labels, label_updates_bn=True)


def where_epm_acts() -> dict[str, Experiment]:
    """EP and EPM on digits whose labelled images stay misclassified: 500 labels, much noise, R of a whole epoch."""
    changes = {"weak": "noise", "noise_std": 1.5, "epm_accumulation": "epoch", "labelled_batch": 128, "epochs": 25}
    named = transfers(500)
    return {selection: named[f"dnll both {selection}"].replace(**changes) for selection in ("ep", "epm")}


def where_epm_falls() -> dict[str, Experiment]:
    """EP and EPM in cells of Table 5 on two CPU cores, by their names: R of a whole epoch loses there."""
    ep = OWN_WEIGHTS[3]
    epm = ep.replace(selection="epm")
    by_epoch = epm.replace(epm_accumulation="epoch")
    return {"EP m=3": ep, "EPM m=3": epm, "EPM m=3 by epoch": by_epoch, "EPM m=1 by epoch": by_epoch.replace(m=1)}


def methods(labels: int = 20, **changes) -> dict[str, Experiment]:
    """Every method on the digits but RIVALS and READINGS, each with the best of its twelve trials on validation images.

    "fixmatch" sees the views of all methods, "fixmatch-randaugment" those it was published with. The add-ons keep the
    settings that were chosen for their base, and had twelve trials of their own for those of the negatives.

    Args:
        changes: fields of all of them.
    """
    return {
        name: experiment.replace(labels=labels, **changes)
        for name, experiment in METHODS.items()
        if name not in RIVALS | READINGS
    }


def addons(dataset: str = "digits", **changes) -> dict[str, Experiment]:
    """Figure 6: Dual Student and Mean Teacher, each with and without negative labels.

    On the digits with the settings that the searches chose. On CIFAR-10 those of the authors' add-on scripts: 1000
    labels, CNN-13, translation and flip, m = 2 drawn evenly and passed from student to student, their mean. The
    scripts divide cross-entropy by the whole batch, twice as many images as have labels; ours is a mean over those, so
    their weights 10, 0.01 and 2 (consistency, distance, negatives) are 20, 0.02 and 4 here, while their 100 of
    stabilisation counts the unlabelled half and stays. Theirs of the negatives grows in steps over the first sixteen
    epochs, ours by the ramp of all methods here.

    Args:
        changes: fields of all of them.
    """
    names = ("dual-student", "dual-student+dnll", "mean-teacher", "mean-teacher+dnll")
    if dataset == "digits":
        return {name: METHODS[name].replace(**changes) for name in names}
    released = {"lr": 0.1, "weight_decay": 1e-4, "labelled_batch": 50, "unlabelled_batch": 50, "epochs": 100}
    released |= {"network": "cnn13", "labels": 1000, "weak": "translate+flip", "strong": "translate+flip"}
    released |= {"translation": 4, "m": 2, "teaching": "mutual", "reduction": "mean", "lam": 4.0, "ramp_epochs": 16.0}
    released |= {"consistency_scale": 20.0, "stabilisation_scale": 100.0, "logit_distance": 0.02}
    if dataset != "cifar10":
        released |= {"network": "auto", "labels": 100, "weak": "auto", "strong": "noise", "epochs": 2}
    if dataset.startswith("folder:"):  # which may have two classes
        released |= {"m": 1, "selection": "ep"}
    return {name: Experiment(**{**released, "dataset": dataset, "method": name, **changes}) for name in names}


def adaptation(source: str = "digits-source", target: str = "digits-target", **changes) -> dict[str, Experiment]:
    """Figure 7 (section 4.8): labelled images of `source`, unlabelled ones of `target`.

    "source-only" and "target-supervised" learn from labelled images alone, the latter from 7000 balanced ones of MNIST
    or all of a smaller target. "target-batch-norm" is source-only with target images in its batches and no loss on
    them: what sharing batch norm does by itself. Weights were chosen without target labels (`searches`). Ramps take the
    share of a run that they took of the trials.

    Args:
        changes: fields of all of them.
    """
    if source == "digits-source":
        changes = {"network": "small", "unlabelled_batch": 64, "noise_std": 0.2, "epochs": 40, "size": None, **changes}
    epochs = changes.setdefault("epochs", ADAPTATION_EPOCHS["adaptation"])
    chosen = {}
    for name, e in ADAPTATION_CHOSEN.items():
        ramps = {ramp: getattr(e, ramp) * epochs / e.epochs for ramp in RAMPS}
        chosen[name] = e.replace(**{"source": source, "dataset": target, **ramps, **changes})
    source_only = chosen.pop("source-only")
    labels = 7000 if target == "mnist" else None
    return {
        "source-only": source_only,
        "target-batch-norm": source_only.replace(method="pseudo-label", lam=0.0),
        **chosen,
        "target-supervised": source_only.replace(source=None, labels=labels, include_labelled=True),
    }


def batch_norms(source: str = "digits-source", target: str = "digits-target", **changes) -> dict[str, Experiment]:
    """DNLL under domain adaptation, by which images share a batch-norm batch; the first is the one that is used.

    Labelled source and strong target views may go through a network together or apart, and the pass that labels the
    weak target views may leave the running statistics, with which the network is tested, alone or move them.
    """
    dnll = adaptation(source, target, **changes)["dnll"]
    return {
        "together": dnll.replace(shared_bn=True, label_updates_bn=False),
        "together, labelling moves statistics": dnll.replace(shared_bn=True, label_updates_bn=True),
        "apart": dnll.replace(shared_bn=False, label_updates_bn=False),
        "apart, labelling moves statistics": dnll.replace(shared_bn=False, label_updates_bn=True),
    }


def ramps(source: str = "digits-source", target: str = "digits-target", **changes) -> dict[str, Experiment]:
    """DNLL under domain adaptation by how fast lambda grows and to what; drawn evenly, to change nothing else.

    Names are "<lambda>, <share of the run that the ramp takes>"; the search chose a slow one.
    """
    dnll = adaptation(source, target, **changes)["dnll"].replace(selection="ep")
    return {
        f"{lam:g}, {share:g}": dnll.replace(lam=lam, **dict.fromkeys(RAMPS, share * dnll.epochs))
        for lam in (1.0, 3.0)
        for share in (0.2, 0.75)
    }


def limits() -> dict[str, Experiment]:
    """What might lift DNLL's cell of Table 4 with twenty labels on two CPU cores: λ from the start, or more passes."""
    cell = laptop("dnll", "mnist").replace(labels=20)
    return {
        "as in Table 4": cell,
        "λ from the start": cell.replace(ramp_epochs=0),
        "three times as long": at_length(cell, 3 * cell.epochs),
    }


def collapses() -> dict[str, Experiment]:
    """What keeps VAT from falling to guessing with 100 labels of MNIST and DNLL's settings and views.

    Its step and separate batch norm are what the digits chose. Labelled images are seen as they are, and unlabelled
    ones with noise. Else all with noise, or none; the entropy term of its paper; or batch norm over labelled and
    unlabelled images together.
    """
    own = {"method": "vat", "vat_eps": METHODS["vat"].vat_eps * LAPTOP_START.size / 8, "shared_bn": False}
    cell = laptop("dnll", "mnist").replace(m=1, labels=100, labelled_batch=50, **own)
    return {
        "noise on unlabelled images": cell,
        "noise on all images": cell.replace(weak="noise"),
        "noise on none": cell.replace(strong="identity"),
        "entropy term": cell.replace(vat_entropy=1.0),
        "batch norm together": cell.replace(shared_bn=True),
    }


def _adaptation(campaign: str, source: str, target: str) -> dict[str, Experiment]:
    return adaptation(source, target, epochs=ADAPTATION_EPOCHS[campaign])


def _gans(*names: str) -> dict[str, Experiment]:
    return {name: gans()[name] for name in names}


@dataclass(frozen=True)
class Campaign:
    """Runs that are recorded under one name.

    Attributes:
        runs: what is run with each seed, also by name, which is then said where runs are told.
        seeds: its own; the command may ask for fewer or more.
        measured: runs also count what the submodels pass to each other, see `run.train`.
    """

    runs: Callable[[], list[Experiment | Classical] | dict[str, Experiment | Classical]]
    seeds: range = range(3)
    measured: bool = False

    def named(self) -> list[tuple[str, Experiment | Classical]]:
        """Name ("" if it has none) and run of each."""
        runs = self.runs()
        return [*runs.items()] if isinstance(runs, dict) else [("", run) for run in runs]


def _perturbed(experiments: Iterable[Experiment], number: int) -> list[Experiment]:
    return [perturbed(experiment, n) for n in range(number) for experiment in experiments]


def _live() -> list[Experiment]:
    """The two networks that notebook 00 trains live, evaluated after the last epoch alone."""
    return [own.replace(eval_every=own.epochs) for name, own in quickstart().items() if name not in CLASSIFIERS]


CAMPAIGNS = {
    "quickstart": Campaign(
        lambda: [own for labels in QUICKSTART_LABELS for own in quickstart(labels=labels).values()], REPORTED
    ),
    "perturbed": Campaign(lambda: _perturbed(_live(), PERTURBATIONS)),
    "falls": Campaign(lambda: _perturbed([FALLING], 5), CHOOSING[:8], measured=True),
    "earlier": Campaign(lambda: [FALLING], REPORTED),
    "transfers": Campaign(transfers, measured=True),
    "epm": Campaign(where_epm_acts, REPORTED[:10], measured=True),
    "epm-cifar10": Campaign(where_epm_falls, range(1), measured=True),
    "algorithm-1": Campaign(lambda: [as_algorithm_1(50)], REPORTED[:10]),
    "methods": Campaign(methods),
    "rivals": Campaign(rivals, REPORTED[:10]),
    "rivals-mnist": Campaign(lambda: rivals("mnist"), REPORTED[:1]),
    "rivals-cifar10": Campaign(lambda: rivals("cifar10"), REPORTED[:1]),
    "gans": Campaign(
        lambda: _gans("improved-gan 100", "improved-gan 100, our network", "improved-gan 20, lr 0.003"), REPORTED[:1]
    ),
    "gans-few": Campaign(lambda: _gans("improved-gan 20", "improved-gan 50"), REPORTED[:3]),
    "triple-gan": Campaign(lambda: _gans("triple-gan 100"), REPORTED[:1]),  # most of a day on a CPU core
    "tangents": Campaign(tangents, REPORTED[:1]),
    "addons": Campaign(lambda: addons("cifar10")),
    "adaptation": Campaign(lambda: _adaptation("adaptation", "usps", "mnist")),
    "adaptation-full": Campaign(lambda: _adaptation("adaptation-full", "usps", "mnist")),
    "adaptation-reverse": Campaign(lambda: _adaptation("adaptation-reverse", "mnist", "usps")),
    "adaptation-ramps": Campaign(lambda: ramps("usps", "mnist", epochs=ADAPTATION_EPOCHS["adaptation"])),
    "adaptation-batch-norm": Campaign(lambda: batch_norms("usps", "mnist", epochs=4)),
    "table1-addons": Campaign(added),
    "table1-every-negative": Campaign(lambda: [every_negative()]),
    "every-label": Campaign(lambda: [every_label()], REPORTED[:3]),
    **{name: Campaign(partial(elsewhere, name), range(own.seeds)) for name, own in ELSEWHERE.items()},
    "limits": Campaign(limits, measured=True),
    "collapses": Campaign(collapses, range(2), measured=True),
}
