"""What was tried on validation images to choose settings: `python -m dnll_core.campaign.search NAME` repeats it.

Records are in `data/results/search/`; `experiments` takes what they chose. The quickstart's searches are in `digits`.
"""

from __future__ import annotations

from functools import partial

from dnll_core.config import Experiment
from dnll_core.methods.classical import Classical
from dnll_core.study.trials import FIRST_SEEDS, Search, grid

# Twenty labels are few: batches hold all of them, and the learning rate may be larger than the paper's 0.03.
_DIGITS = {"dataset": "digits", "labels": 20, "labelled_batch": 20, "unlabelled_batch": 64, "epochs": 75, "lr": 0.1}
# The searches below in order: the start of stage 1, its best trial, which is the start of stage 2, and that one's best.
SUPERVISED_1 = Experiment(**_DIGITS, method="supervised", noise_std=0.2, translation=1)
SUPERVISED_2 = SUPERVISED_1.replace(weak="noise", weight_decay=5e-3)
SUPERVISED = SUPERVISED_2.replace(dropout=0.3)
DNLL_1 = Experiment(**_DIGITS, method="dnll", noise_std=0.2, translation=1)
DNLL_2 = DNLL_1.replace(strong="noise", m=5, selection="epm")
DNLL = DNLL_2.replace(label_updates_bn=True)

# The methods that DNLL is compared with on the digits. They start where DNLL's grid does, with the noisy view that both
# its search and that of supervised-only preferred, and get as many trials as that grid: the weight or threshold that
# matters most to them, the weight decay that supervised-only gained from, and batch norm apart, which some need.
_START = DNLL_1.replace(strong="noise")
_COMMON = {"shared_bn": (True, False), "weight_decay": (5e-4, 5e-3)}
# as published for images that must not be flipped: an eighth of the side is one pixel of eight
_RANDAUGMENT = {"weak": "translate", "strong": "translate+randaugment+cutout"}


def _start(method: str, **changes) -> Experiment:
    return _START.replace(**{"method": method, "m": 1, "selection": "ep", **changes})


# Domain adaptation: batches, rates and noise of Dual Student's code, which section 4.8 follows; four epochs a trial.
ADAPTATION = Experiment(
    source="usps",
    dataset="mnist",
    size=28,
    labels=None,
    network="cnn3",
    weak="noise",
    strong="noise",
    labelled_batch=32,
    unlabelled_batch=224,
    lr=0.1,
    weight_decay=1e-4,
    epochs=4,
    ramp_epochs=1,
    consistency_ramp_epochs=1,
    stabilisation_ramp_epochs=1,
    method="supervised",
)

_once = partial(Search, seeds=FIRST_SEEDS[:1])  # long runs

# The first searches of DNLL and supervised-only, as many trials for each, in two stages: a grid, then changes of one
# setting at a time from the grid's best. Trials are compared on validation accuracy alone.
SEARCHES: dict[str, Search] = {
    "quickstart-supervised-1": Search(
        SUPERVISED_1,
        grid(weak=("identity", "noise", "translate+noise"), lr=(0.03, 0.1), weight_decay=(5e-4, 5e-3)),
    ),
    "quickstart-dnll-1": Search(
        DNLL_1, grid(strong=("noise", "translate+noise"), m=(1, 3, 5), selection=("ep", "epm"))
    ),
    "quickstart-supervised-2": Search(
        SUPERVISED_2,
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
    "quickstart-dnll-2": Search(
        DNLL_2,
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
    "methods-mutual-learning": Search(
        _start("mutual-learning", teaching="mutual"),
        grid(threshold=(0.0, 0.8, 0.95), **_COMMON),
    ),
    # 1200 iterations are few for an average over a thousand, the published 0.999
    "methods-mean-teacher": Search(
        _start("mean-teacher", teacher_decay=0.99),
        grid(consistency_scale=(1.0, 10.0, 100.0), **_COMMON),
    ),
    "methods-dual-student": Search(
        _start("dual-student", stable_threshold=0.6),
        [
            {"consistency_scale": consistency, "stabilisation_scale": stabilisation, **common}
            for consistency, stabilisation in ((1.0, 1.0), (1.0, 10.0), (10.0, 100.0))
            for common in grid(**_COMMON)
        ],
    ),
    "methods-pi-model": Search(_start("pi-model"), grid(lam=(1.0, 10.0, 100.0), **_COMMON)),
    "methods-temporal-ensembling": Search(_start("temporal-ensembling"), grid(lam=(1.0, 10.0, 100.0), **_COMMON)),
    "methods-vat": Search(_start("vat"), grid(vat_eps=(0.5, 1.0, 2.0), **_COMMON)),
    "methods-pseudo-label": Search(_start("pseudo-label"), grid(threshold=(0.0, 0.8, 0.95), **_COMMON)),
    "methods-mixmatch": Search(_start("mixmatch"), grid(lam=(1.0, 10.0, 100.0), **_COMMON)),
    "methods-fixmatch": Search(_start("fixmatch"), grid(fixmatch_threshold=(0.7, 0.8, 0.95), **_COMMON)),
    "methods-fixmatch-randaugment": Search(
        _start("fixmatch", **_RANDAUGMENT),
        grid(fixmatch_threshold=(0.7, 0.8, 0.95), **_COMMON),
    ),
    "adaptation-supervised": _once(
        ADAPTATION,
        grid(noise_std=(0.15, 0.5), weight_decay=(1e-4, 1e-3), lr=(0.03, 0.1)),
    ),
    "adaptation-mean-teacher": _once(
        ADAPTATION.replace(method="mean-teacher"),
        grid(consistency_scale=(1.0, 10.0, 30.0, 100.0), teacher_decay=(0.99, 0.999)),
    ),
    "adaptation-dual-student": _once(
        ADAPTATION.replace(method="dual-student"),
        [
            {"consistency_scale": consistency, "stabilisation_scale": stabilisation, "stable_threshold": threshold}
            for consistency, stabilisation in ((1.0, 1.0), (1.0, 10.0), (10.0, 10.0), (10.0, 100.0))
            for threshold in (0.6, 0.8)
        ],
    ),
    "adaptation-dnll": _once(
        ADAPTATION.replace(method="dnll"),
        [*grid(m=(1, 3, 5), lam=(0.3, 1.0)), {"m": 3, "ramp_epochs": 0.0}, {"m": 3, "noise_std": 0.5}],
    ),
}


def winner(search: str, **changes) -> Experiment | Classical:
    """The start of a search with the changes that won it; a test compares them with the record."""
    return SEARCHES[search].start.replace(**changes)


# Every method with the best of its twelve trials.
METHODS: dict[str, Experiment] = {
    "supervised": SUPERVISED_2,
    "dnll": DNLL_2,
    "mutual-learning": winner("methods-mutual-learning", threshold=0.0, shared_bn=True, weight_decay=5e-3),
    "mean-teacher": winner("methods-mean-teacher", consistency_scale=10.0, shared_bn=True, weight_decay=5e-3),
    "dual-student": winner(
        "methods-dual-student", consistency_scale=1.0, stabilisation_scale=1.0, shared_bn=False, weight_decay=5e-3
    ),
    "pi-model": winner("methods-pi-model", lam=10.0, shared_bn=False, weight_decay=5e-3),
    "temporal-ensembling": winner("methods-temporal-ensembling", lam=100.0, shared_bn=False, weight_decay=5e-3),
    "vat": winner("methods-vat", vat_eps=0.5, shared_bn=False, weight_decay=5e-3),
    "pseudo-label": winner("methods-pseudo-label", threshold=0.95, shared_bn=False, weight_decay=5e-3),
    "mixmatch": winner("methods-mixmatch", lam=100.0, shared_bn=True, weight_decay=5e-3),
    "fixmatch": winner("methods-fixmatch", fixmatch_threshold=0.95, shared_bn=False, weight_decay=5e-3),
    "fixmatch-randaugment": winner(
        "methods-fixmatch-randaugment", fixmatch_threshold=0.8, shared_bn=False, weight_decay=5e-3
    ),
}
# The add-ons start from what was chosen for their base, and then get twelve trials of their own.
SEARCHES["methods-mean-teacher+dnll"] = Search(
    METHODS["mean-teacher"].replace(method="mean-teacher+dnll"),
    grid(m=(1, 3, 5), lam=(0.1, 0.3, 1.0, 3.0)),
)
SEARCHES["methods-dual-student+dnll"] = Search(
    METHODS["dual-student"].replace(method="dual-student+dnll"),
    grid(m=(1, 3, 5), lam=(0.3, 1.0), teaching=("mutual", "both")),
)
METHODS["mean-teacher+dnll"] = winner("methods-mean-teacher+dnll", m=1, lam=3.0)
METHODS["dual-student+dnll"] = winner("methods-dual-student+dnll", m=3, lam=0.3, teaching="both")


def chosen_changes(method: str) -> dict[str, object]:
    """All that makes the choice for a method of METHODS, to be put on another start: nothing is picked by name.

    Every field that its search tried, whether the best trial changed it or kept it, and every field in which the
    search's start is the method's own, as `teaching="mutual"` is mutual learning's.
    """
    grids = {"supervised": "quickstart-supervised-1", "dnll": "quickstart-dnll-1"}
    search = SEARCHES[grids.get(method, f"methods-{method}")]
    common = _START.to_dict()
    own = {name for name, value in search.start.to_dict().items() if value != common[name]}
    tried = {name for changes in search.candidates for name in changes}
    return {name: value for name, value in METHODS[method].to_dict().items() if name in own | tried}


# Domain adaptation: the best of the first eight trials, and eight more from there, now with longer ramps among them.
SEARCHES |= {
    "adaptation-supervised-2": _once(
        winner("adaptation-supervised", noise_std=0.5),
        [
            *grid(noise_std=(0.3, 0.75, 1.0)),
            {"lr": 0.2},
            {"noise_std": 1.0, "lr": 0.2},
            {"noise_std": 1.0, "weight_decay": 1e-3},
            *grid(dropout=(0.25, 0.7)),
        ],
    ),
    "adaptation-mean-teacher-2": _once(
        winner("adaptation-mean-teacher", consistency_scale=1.0, teacher_decay=0.99),
        [
            *grid(consistency_scale=(0.3, 3.0)),
            *grid(teacher_decay=(0.95, 0.97)),
            *grid(consistency_scale=(3.0, 10.0), consistency_ramp_epochs=(3.0,)),
            {"noise_std": 0.5},
            {"noise_std": 0.5, "consistency_scale": 10.0, "consistency_ramp_epochs": 3.0},
        ],
    ),
    "adaptation-dual-student-2": _once(
        winner("adaptation-dual-student", consistency_scale=10.0, stabilisation_scale=100.0, stable_threshold=0.8),
        [
            *grid(stabilisation_scale=(300.0, 1000.0)),
            {"consistency_scale": 30.0},
            {"consistency_scale": 30.0, "stabilisation_scale": 300.0},
            *(
                {"consistency_ramp_epochs": 3.0, "stabilisation_ramp_epochs": 3.0, **scales}
                for scales in ({}, {"stabilisation_scale": 300.0})
            ),
            {"noise_std": 0.5},
            {"noise_std": 0.5, "consistency_ramp_epochs": 3.0, "stabilisation_ramp_epochs": 3.0},
        ],
    ),
    "adaptation-dnll-2": _once(
        winner("adaptation-dnll", m=3, lam=1.0),
        [
            *grid(lam=(3.0, 10.0)),
            *grid(lam=(3.0,), ramp_epochs=(3.0, 4.0)),
            {"lam": 10.0, "ramp_epochs": 4.0},
            {"lam": 3.0, "noise_std": 0.5},
            {"lam": 3.0, "ramp_epochs": 3.0, "noise_std": 0.5},
            {"lam": 3.0, "ramp_epochs": 3.0, "selection": "epm"},
        ],
    ),
}
# The best of both stages. Runs are longer than these trials, and so are their ramps: see `experiments.adaptation`.
ADAPTATION_CHOSEN: dict[str, Experiment] = {
    "source-only": winner("adaptation-supervised-2", lr=0.2),
    "mean-teacher": winner("adaptation-mean-teacher-2", teacher_decay=0.95),
    "dual-student": winner(
        "adaptation-dual-student", consistency_scale=10.0, stabilisation_scale=100.0, stable_threshold=0.8
    ),
    "dnll": winner("adaptation-dnll-2", lam=3.0, ramp_epochs=3.0, selection="epm"),
}
