"""What profile "laptop" has, for two CPU cores: which tables, settings from searches, cells that the paper has not.

Table 4 is MNIST at half its size with the small network, see `settings.laptop`. Tables 1, 5 and 6 are CIFAR-10 at half
its size with the network cnn6: 5 and 6, which compare ways of DNLL, with the weight decay that was set before any
search, 1, which compares methods, with settings that were searched at each number of labels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from dnll_core.config import Experiment
from dnll_core.study.searches import chosen, perturbed
from dnll_core.study.settings import (
    CIFAR_CHOSEN,
    EPOCHS,
    LAPTOP_CHOSEN,
    OWN_WEIGHTS,
    RAMPS,
    READINGS,
    at_length,
    laptop,
    on,
)

LAPTOP = (1, 4, 5, 6)  # its tables; the other profiles have all
_ON_CIFAR = (1, 5, 6)
_FEW = 1000  # labels of Tables 5 and 6, and of the searches in BESIDE
VIEWS = {1: "lineage", 4: "noise"}  # the reading of the views that the searches had
_DNLL_AUGMENTED = "RandAugment and Cutout on the unlabelled images that it learns from; λ is the other's"
_ALONE_AUGMENTED = "RandAugment and Cutout on labelled images, in no more minutes than DNLL"
_TWO = "two networks that teach each other nothing, but for batch norm's running averages, which see unlabelled images"
# With ten seeds on MNIST with twenty labels, where the split decides most; named before the others were searched.
_TEN_SEEDS = ("dnll", "supervised", "mutual-learning", "mean-teacher", "dual-student", "fixmatch")


class Elsewhere(NamedTuple):
    """Runs like those of Table 1 but for one thing."""

    title: str
    changes: dict  # fields of all methods
    labels: int = _FEW  # whose settings they have
    lam: float | None = None  # DNLL's, if it is another one
    seeds: int = 3


# With 2000 labels the settings for 1000, and for DNLL λ = 1: of the values that both searches tried at one weight
# decay each has the best in their mean.
ELSEWHERE = {
    "table1-literal": Elsewhere("literal views, 1000 labels", {"weak": "identity", "strong": "noise"}),
    "table1-jitter": Elsewhere(
        "colour jitter, 1000 labels", {"weak": "crop+flip", "strong": "crop+flip+jitter", "crop_padding": 2}
    ),
    "table1-2000": Elsewhere("2000 labels", {"labels": 2000}, lam=1.0),
    "table1-32": Elsewhere("32 × 32 pixels, 4000 labels", {"size": None, "translation": 4}, labels=4000, seeds=1),
}
_TRIED_ELSEWHERE = ("dnll", "supervised", "dual-student", "fixmatch")
BESIDE = (  # more cells of Table 1: method, reading, a search with 1000 labels, what it chose for them, a note
    ("dnll", "RandAugment", "table1-dnll-randaugment", ("strong",), _DNLL_AUGMENTED),
    ("supervised", "RandAugment, as long", "table1-supervised-randaugment", ("weak", "epochs"), _ALONE_AUGMENTED),
)


def runs(table: int, labels: int | None, method: str) -> int:
    """How many a campaign makes of a cell: most where a run depends on its split most."""
    if (table, labels) == (4, 20) and method in _TEN_SEEDS:
        return 10
    return 5 if table in _ON_CIFAR else 3


def labels(table: int, own: tuple[int, ...]) -> tuple[int, ...]:
    """Of the numbers of labels that a table has, those that are run."""
    return {1: (own[0], own[-1]), 4: own}.get(table, (_FEW,))


def readings(table: int) -> dict[str, tuple[dict, str]]:
    """The one reading of the views, which `experiments` have, and its note."""
    return {VIEWS[table]: ({}, READINGS[table][VIEWS[table]].note)}


def experiments(table: int, dataset: str, labels: int | None) -> dict[str, Experiment]:
    """Method -> its experiment; other data sets than the table's have their own size and the views of section 4.2.

    labels: settings of Table 1 were searched for each of its numbers; for another they are those for 1000.
    """
    if table not in _ON_CIFAR:
        return {method: laptop(method, dataset) for method in LAPTOP_CHOSEN}
    if table == 1:
        own = CIFAR_CHOSEN.get(labels, CIFAR_CHOSEN[_FEW])
        own = own | {"dnll": own["dnll"].replace(selection="epm")}
        found = {method: _followed(e) for method, e in own.items()}
    else:
        found = {"dnll": OWN_WEIGHTS[3]}
    if dataset == "cifar10":
        return found
    return {method: on(e, dataset, size=None) for method, e in found.items() if method != "fixmatch-randaugment"}


def beside_rivals(found: dict[str, Experiment]) -> list[tuple[str, str, dict, str]]:
    """Beside the cells of Table 1: method, reading, the fields that it changes, a note."""
    more = []
    for method, epochs in EPOCHS["as-long"].items():
        if method in found:
            long = at_length(found[method], epochs)
            changes = {name: getattr(long, name) for name in ("epochs", *RAMPS)} | {"evaluations": _enough(epochs)}
            more.append((method, "as long", changes, "as many minutes as DNLL, not as many passes"))
    more.append(("supervised", "two networks", {"method": "mutual-learning", "lam": 0.0, "shared_bn": False}, _TWO))
    if "fixmatch-randaugment" in found:  # that is, on CIFAR-10, whose images may be changed so
        for method, reading, search, fields, note in BESIDE:
            best = chosen(search)
            changes = {name: getattr(best, name) for name in fields} | {"evaluations": _enough(best.epochs)}
            more.append((method, reading, changes, note))
    return more


def every_label() -> Experiment:
    """Supervised-only of Table 1 with the label of every image outside the validation set, in as many passes."""
    return CIFAR_CHOSEN[_FEW]["supervised"].replace(labels=45_000, include_labelled=True)


def elsewhere(campaign: str) -> dict[str, Experiment]:
    """Method -> its experiment in one of ELSEWHERE, for which nothing is searched: does the order of Table 1 hold?"""
    own = ELSEWHERE[campaign]
    of_table = experiments(1, "cifar10", own.labels)
    found = {method: of_table[method].replace(**own.changes) for method in _TRIED_ELSEWHERE}
    return found if own.lam is None else found | {"dnll": found["dnll"].replace(lam=own.lam)}


def added() -> dict[str, Experiment]:
    """Figure 6 on small CIFAR-10 with 1000 labels: what Table 1 has, with negative labels at a weight of their own."""
    return {name: _followed(chosen(f"table1-{name}")) for name in ("mean-teacher+dnll",)}


def every_negative() -> Experiment:
    """DNLL of Table 1 with 1000 labels and all nine negatives of an image, in the mean as heavy as its three."""
    return _followed(chosen("table1-every-negative"))


def _followed(e: Experiment) -> Experiment:
    return e.replace(evaluations=_enough(e.epochs))


def _enough(epochs: int) -> int:
    """Evaluations of an epoch, so that a curve has at least twenty points."""
    return math.ceil(20 / epochs)


def beside(e: Experiment) -> Iterator[tuple[str, Experiment, int, str]]:
    """Beside a cell of Table 5: reading, experiment, tier and note."""
    if e.selection == "epm" and e.m in (1, 3):
        yield "by epoch", e.replace(epm_accumulation="epoch"), 2, "R is that of the whole epoch before"
    if e.selection == "ep" and e.m == 3:
        yield "again", perturbed(e, 1), 3, "the same but for rounding: how far two runs of one setting part"
    elif e.selection == "ep":
        yield "own weight", e.replace(lam=OWN_WEIGHTS[e.m].lam), 2, "λ chosen on validation images for this m"
