"""Named experiments, and the settings that a search on validation images chose for them.

`quickstart()` gives the two experiments of notebook 00. What was tried to choose their settings is recorded in
`data/results/search/`; `python -m dnll_core.search quickstart` repeats it.
"""

from __future__ import annotations

from pathlib import Path

from dnll_core import results
from dnll_core.config import Experiment
from dnll_core.searches import DNLL, DNLL_2, SUPERVISED


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
        "supervised": SUPERVISED.replace(labels=labels, **changes),
        "dnll": DNLL.replace(labels=labels, **changes),
    }


def transfers(labels: int = 20) -> dict[str, Experiment]:
    """The runs of notebook 02 on the digits: what submodels pass to each other, by kind of label and who teaches whom.

    Names are "dnll <teaching> <selection>" and "mutual-learning <threshold>". All start from the best grid
    trial of the quickstart's search, with m = 3, Table 5's best, and differ in what their name says.
    """
    dnll = DNLL_2.replace(labels=labels, m=3)
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
