"""Named experiments, and the settings that a search on validation images chose for them.

`quickstart()` gives the two experiments of notebook 00. What was tried to choose their settings is recorded in
`data/results/search/`; `python -m dnll_core.search quickstart` repeats it.
"""

from __future__ import annotations

import itertools

from dnll_core.config import Experiment

# Twenty labels are few: batches hold all of them, and the learning rate may be larger than the paper's 0.03.
_DIGITS = {"dataset": "digits", "labels": 20, "labelled_batch": 20, "unlabelled_batch": 64, "epochs": 75, "lr": 0.1}


def quickstart(dataset: str = "digits", labels: int = 20, **changes) -> dict[str, Experiment]:
    """Supervised-only and DNLL of notebook 00: {"supervised": ..., "dnll": ...}.

    Args:
        dataset: another data set takes the network and views of section 4.2 and batches of half labelled images.
        changes: fields of both experiments; those of DNLL only (m, selection, ...) do nothing in the supervised one.
    """
    if dataset == "digits":
        common = {**_DIGITS, "labels": labels, "labelled_batch": min(int(labels), 64)}
    else:
        common = {"dataset": dataset, "labels": labels, "labelled_batch": 64, "unlabelled_batch": 64, "epochs": 10}
    return {
        "supervised": Experiment(**{**common, "method": "supervised", **changes}),
        "dnll": Experiment(**{**common, "method": "dnll", "m": 3, **changes}),
    }


def grid(**choices) -> list[dict]:
    """Every combination of the choices: grid(m=(1, 3), lr=(0.1,)) -> [{"m": 1, "lr": 0.1}, {"m": 3, "lr": 0.1}]."""
    return [dict(zip(choices, values)) for values in itertools.product(*choices.values())]


# Each method gets the same number of trials. Trials are compared on validation accuracy alone.
SEARCHES: dict[str, tuple[Experiment, list[dict]]] = {
    "quickstart-supervised": (
        Experiment(**_DIGITS, method="supervised"),
        grid(
            weak=("identity", "noise", "translate+noise"),
            lr=(0.03, 0.1),
            weight_decay=(5e-4, 5e-3),
            noise_std=(0.2,),
            translation=(1,),
        ),
    ),
    "quickstart-dnll": (
        Experiment(**_DIGITS, method="dnll"),
        grid(
            strong=("noise", "translate+noise"),
            m=(1, 3, 5),
            selection=("ep", "epm"),
            noise_std=(0.2,),
            translation=(1,),
        ),
    ),
}
