"""Named experiments, and the settings that a search on validation images chose for them.

`quickstart()` gives the two experiments of notebook 00. What was tried to choose their settings is recorded in
`data/results/search/`; `python -m dnll_core.search quickstart` repeats it.
"""

from __future__ import annotations

import itertools
from pathlib import Path

from dnll_core import results
from dnll_core.config import Experiment

# Twenty labels are few: batches hold all of them, and the learning rate may be larger than the paper's 0.03.
_DIGITS = {"dataset": "digits", "labels": 20, "labelled_batch": 20, "unlabelled_batch": 64, "epochs": 75, "lr": 0.1}
# The searches below in order: the start of stage 1, its best trial, which is the start of stage 2, and that one's best.
_SUPERVISED_1 = Experiment(**_DIGITS, method="supervised", noise_std=0.2, translation=1)
_SUPERVISED_2 = _SUPERVISED_1.replace(weak="noise", weight_decay=5e-3)
_SUPERVISED = _SUPERVISED_2.replace(dropout=0.3)
_DNLL_1 = Experiment(**_DIGITS, method="dnll", noise_std=0.2, translation=1)
_DNLL_2 = _DNLL_1.replace(strong="noise", m=5, selection="epm")
_DNLL = _DNLL_2.replace(label_updates_bn=True)


def quickstart(dataset: str = "digits", labels: int = 20, **changes) -> dict[str, Experiment]:
    """Supervised-only and DNLL of notebook 00: {"supervised": ..., "dnll": ...}.

    On the digits with the settings that the search chose. Other data sets keep the small network and the optimiser's
    settings, so that a laptop can try them, take the views of section 4.2, m = 3 (1 for a folder, which may have two
    classes), and few epochs; nothing was tuned for them.

    Args:
        changes: fields of both experiments; those of DNLL alone (m, selection, ...) do nothing in the supervised one.
    """
    if dataset != "digits":
        # a pass over sixty thousand images is already a thousand steps
        scale = {"epochs": 2, "ramp_epochs": 0.3, "m": 3}
        if dataset.startswith("folder:"):
            scale = {"epochs": 30, "ramp_epochs": 5.0, "m": 1}
        strong = {} if dataset in ("mnist", "usps") else {"strong": "auto"}
        changes = {"dataset": dataset, "weak": "auto", "dropout": None, **strong, **scale, **changes}
    return {
        "supervised": _SUPERVISED.replace(labels=labels, **changes),
        "dnll": _DNLL.replace(labels=labels, **changes),
    }


def transfers(labels: int = 20) -> dict[str, Experiment]:
    """The runs of notebook 02 on the digits: what submodels pass to each other, by kind of label and who teaches whom.

    Names are "dnll <teaching> <selection>" and "mutual-learning <threshold>". All start from the best grid
    trial of the quickstart's search, with m = 3, Table 5's best, and differ in what their name says.
    """
    dnll = _DNLL_2.replace(labels=labels, m=3)
    named = {
        f"dnll {teaching} {selection}": dnll.replace(teaching=teaching, selection=selection)
        for teaching in ("mutual", "self", "both")
        for selection in ("ep", "epm")
    }
    for threshold in (0.0, 0.95):
        changes = {"method": "mutual-learning", "teaching": "mutual", "threshold": threshold}
        named[f"mutual-learning {threshold:g}"] = dnll.replace(**changes)
    return named


def recorded(experiment: Experiment, folder: str | Path) -> list[dict]:
    """The records of this very experiment below `folder`, by seed.

    A field that is younger than a record counts with its default, which is how runs without it behave.
    """
    records = results.load(folder, method=experiment.method, dataset=experiment.dataset)
    return sorted((r for r in records if Experiment(**r["experiment"]) == experiment), key=lambda r: r["seed"])


def grid(**choices) -> list[dict]:
    """Every combination of the choices: grid(m=(1, 3), lr=(0.1,)) -> [{"m": 1, "lr": 0.1}, {"m": 3, "lr": 0.1}]."""
    return [dict(zip(choices, values)) for values in itertools.product(*choices.values())]


# Each method gets the same number of trials, in two stages: a grid, then changes of one setting at a time from the
# grid's best. Trials are compared on validation accuracy alone.
SEARCHES: dict[str, tuple[Experiment | dict, list[dict]]] = {
    "quickstart-supervised-1": (
        _SUPERVISED_1,
        grid(weak=("identity", "noise", "translate+noise"), lr=(0.03, 0.1), weight_decay=(5e-4, 5e-3)),
    ),
    "quickstart-dnll-1": (_DNLL_1, grid(strong=("noise", "translate+noise"), m=(1, 3, 5), selection=("ep", "epm"))),
    "quickstart-supervised-2": (
        _SUPERVISED_2,
        [
            *grid(weight_decay=(2e-3, 1e-2, 2e-2)),
            *grid(lr=(0.05, 0.2)),
            *grid(noise_std=(0.1, 0.4, 0.6)),
            *grid(dropout=(0.3,)),
            *grid(weak=("translate+noise",), noise_std=(0.4,)),
            *grid(ema_decay=(0.99,)),
            *grid(dropout=(0.5,)),
            {},
        ],
    ),
    "quickstart-dnll-2": (
        _DNLL_2,
        [
            *grid(weight_decay=(2e-3, 5e-3)),
            *grid(lam=(0.5, 2.0)),
            *grid(label_mode=("eval",)),
            *grid(shared_bn=(False,)),
            *grid(ramp_epochs=(0.0, 15.0)),
            *grid(noise_std=(0.4,)),
            *grid(teaching=("mutual",)),
            *grid(weak=("noise",)),
            *grid(label_updates_bn=(True,)),
            {},
        ],
    ),
    "quickstart-self-training": (
        {"method": "self-training", "dataset": "digits", "labels": 20},
        [
            *grid(base=("logistic", "neighbours"), threshold=(0.3, 0.4, 0.5), k_best=(None,)),
            *grid(base=("logistic", "neighbours"), threshold=(None,), k_best=(10, 50, 200)),
        ],
    ),
}
