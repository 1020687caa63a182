"""The cells of the paper's Tables 1-6 as named experiments, each in up to four sizes.

    for cell in cells(5, "paper"):
        print(cell.name, cell.printed, cell.experiment)

"paper"   the paper's images, network and stated settings, 100 epochs; `SEEDS` says how many runs of each
"short"   the same in about 15,000 iterations: every cell once in some hours on one large GPU
"laptop"  the paper's images at half their size with a small network, for two CPU cores; not all tables, see `laptop`
"quick"   scikit-learn's digits with the small network, seconds a run: the same methods, m, selection and teaching

What section 4.2 states (learning rate, weight decay, momentum, batch, cosine) are the defaults of `Experiment`. What it
leaves open is named with its source in the functions of the tables. A departure from what the paper says is a cell of
its own, with a `reading`, and so is each reading of a sentence that has two.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from dnll_core.common import unknown
from dnll_core.config import ConfigError, Experiment
from dnll_core.methods.dnll import with_weight_of
from dnll_core.paper.tables import LABELS, NUMBERS, OURS, SETTINGS, Key
from dnll_core.study import laptop
from dnll_core.study.settings import (
    EPOCHS,
    NAMED,
    READINGS,
    TITLES,
    at_length,
    published,
    quick,
)

PROFILES = ("quick", "laptop", "short", "paper")
TABLES = (1, 2, 3, 4, 5, 6)
SEEDS = {"quick": 1, "short": 1, "paper": SETTINGS["runs"][0]}  # "laptop": see `laptop.runs`
SETUP = {key.table: (key.dataset, key.network) for key in NUMBERS}  # table -> (data set, network)
COMPARED = ("dnll", "supervised", "mean-teacher", "dual-student", "pseudo-label", "fixmatch")  # in every benchmark
LABELS_FIRST = (4000, 20, 1000, 100, 2000, 50)  # run order among equally informative cells


@dataclass(frozen=True)
class Cell:
    """One number of a table, as an experiment.

    Attributes:
        name: unique in the table.
        method: key of `figures.style.METHODS`.
        labels: labelled images; None: all (a folder).
        reading: which reading of the paper, or which departure from it; None where there is nothing to choose.
        printed: the paper's accuracy in percent; None if it prints none, or this is another data set.
        printed_as: the name of its row in the paper, if it has one there.
        role: "ours" (the paper's method as it is stated), "variant" (the same with a departure), "baseline".
        priority: lower is run first: what tells most comes first.
        note: what the reading is.
        profile: one of PROFILES.
        runs: how many a campaign makes of it, with seeds 0, 1, ...
    """

    table: int
    name: str
    method: str
    labels: int | None
    reading: str | None
    experiment: Experiment
    printed: float | None
    printed_as: str | None
    role: str
    priority: int
    note: str
    profile: str
    runs: int

    @property
    def as_in_paper(self) -> bool:
        """Whether images and network are the paper's, so that its number can be reached or missed."""
        e = self.experiment
        return (e.dataset, e.network, e.size) == (*SETUP[self.table], None)


def profiles_of(table: int) -> list[str]:
    """The profiles that have a table, the longest first; "quick", which has other images than the paper's, is last."""
    return [profile for profile in PROFILES[::-1] if profile != "laptop" or table in laptop.LAPTOP]


def cells(table: int, profile: str = "quick", dataset: str | None = None) -> list[Cell]:
    """The cells of a table, the most informative first.

    Args:
        dataset: another data set in the place of the profile's. Its views are those of section 4.2 for it. Labels are
            the table's, fewer on small data sets, all of a folder's; under "quick" 20, or 1000 of CIFAR-10 and SVHN.
            Tables 5 and 6 need at least five and four classes.

    Raises:
        ConfigError: for an unknown table, profile or data set, and for a table that the profile does not have.
    """
    if table not in TABLES:
        raise ConfigError(unknown("table", table, map(str, TABLES)) + " Table 7 is `python -m dnll_core.bench`.")
    if profile not in PROFILES:
        raise ConfigError(unknown("profile", profile, PROFILES))
    if profile not in profiles_of(table):
        raise ConfigError(
            f"Table {table} has no profile {profile!r}: its networks take days on a CPU. "
            f"Those that have it: {', '.join(map(str, laptop.LAPTOP))}. "
            f"Table {table} has {', '.join(name for name in PROFILES if name in profiles_of(table))}."
        )
    found = {5: _sensitivity, 6: _variants}.get(table, _benchmark)(table, profile, dataset)
    return sorted(found, key=lambda cell: cell.priority)  # stable


def line_names(of_table: Sequence[Cell]) -> dict[Cell, str]:
    """Cells of one table -> their names without labels, and without a reading of the views that all of them share."""
    views = {cell.reading for cell in of_table if cell.reading in READINGS.get(cell.table, {})}
    shared = f", {views.pop()}" if len(views) == 1 else ""
    names = {cell: cell.name.replace(f" {cell.labels or 'all'}", ",", 1).removesuffix(",") for cell in of_table}
    return {cell: name.removesuffix(shared) for cell, name in names.items()}


# -- the tables --------------------------------------------------------------------------------------------------------


def _benchmark(table: int, profile: str, dataset: str | None) -> list[Cell]:
    """Tables 1-4: DNLL and what it is compared with, for each number of labels and each reading of the views.

    - DNLL: m = 3 with EPM, inferred: Table 2's 94.29 is Table 5's cell of m = 3 with EPM. λ = 1 and its ramp are not
      stated: the defaults of `Experiment`.
    - Epochs: unstated; 100, as the authors' add-on scripts run CNN-13. Nothing public says more of WRN-28-2.
    - Views: section 4.2. Table 1 and 4 have two readings (`READINGS`): CNN-13's literature on CIFAR-10 translates by up
      to 4 pixels and flips (the authors' add-on scripts); the MNIST of [25] is unchanged, but its network adds noise.
      Noise 0.15, translation 2 on SVHN, crop 4, jitter 0.4 and 0.1: unstated, see `Experiment`.
    - Baselines see DNLL's views, batches, schedule and optimiser; labelled and unlabelled images share batch norm, as
      their published codes have it. Mean Teacher and Dual Student have the weights of the authors' add-on scripts in
      our units (`experiments.addons`). On MNIST Dual Student has those of its own script for MNIST, weights 1 and 0.01
      with 32 of 256 images labelled, in our units: 8 for consistency, 8 · 224/256 = 7 for stabilisation, 0.08.
    - Pseudo-Label: confidence 0.95, as in common re-implementations; weight 1.
    - FixMatch: confidence 0.95, weight 1, no ramp [its paper]; once with DNLL's views and once with RandAugment and
      Cutout on crop and flip, as published, without the flip on SVHN.
    - MixMatch (Table 2): weight 75 for CIFAR-10 [its paper], with the ramp of all methods here.
    - WRN-28-2 has the baselines' settings of CNN-13: for this budget none are published.
    - Profile "laptop": a small network, images of half the size, and settings from searches. Table 1 has 1000 and 4000
      labels there, and more cells, see `laptop.beside_rivals`.
    """
    data = _experiments(table, profile, dataset)["dnll"].dataset
    numbers = _labels(table, profile, data)
    searched = {labels: _experiments(table, profile, dataset, labels) for labels in numbers}
    experiments = searched[numbers[0]]
    readings: dict = {None: ({}, "")}
    if table in READINGS and data == SETUP[table][0] and profile != "quick":
        readings = laptop.readings(table) if profile == "laptop" else READINGS[table]
    main, own_views = next(iter(readings)), "fixmatch-randaugment"
    runs = [(m, reading, *of) for reading, of in readings.items() for m in experiments if m != own_views]
    # supervised-only does not see strong views, so where weak ones are the same it would be the same run again
    weak = {reading: experiments["supervised"].replace(**views).weak for reading, (views, _) in readings.items()}
    runs = [run for run in runs if run[0] != "supervised" or run[1] == main or weak[run[1]] != weak[main]]
    runs += [(own_views, None, {}, "its own views, as published")] * (own_views in experiments)
    has_more = (table, profile) == (1, "laptop")
    beside = {labels: laptop.beside_rivals(own) if has_more else [] for labels, own in searched.items()}
    rows = {key.method for key in NUMBERS if key.table == table}
    found = []
    for labels, run in [(n, run) for n in numbers for run in [*runs, *beside[n]]]:
        method, reading, views, note = run
        row = NAMED[method].row if NAMED[method].row in rows and run not in beside[labels] else None
        ours, told_first = method == "dnll", reading == main and (row or method == "supervised")
        found.append(
            _cell(
                Key(table, *SETUP[table], row or "", labels),
                row,
                name=" ".join([TITLES[method], str(labels or "all"), *([reading] if reading else [])]),
                method=method,
                reading=reading,
                experiment=_labelled(searched[labels][method], labels, profile).replace(**views),
                role="baseline" if not ours else "ours" if reading in (None, "literal") else "variant",
                tier=0 if ours else 3 if told_first else 4,
                note=note,
                profile=profile,
            )
        )
    return found


def _sensitivity(table: int, profile: str, dataset: str | None) -> list[Cell]:
    """Table 5: m = 1...4 with equal probability (EP) and the Error Perception Mechanism (EPM).

    4000 labels are stated; WRN-28-2 is inferred from 94.29, which Tables 2, 5 and 6 share. Each submodel learns from
    both (Eqs. 18-19). The cells "fixed weight" hold the weight of the unsupervised loss at that of m = 1, see
    `with_weight_of`: they tell what m does from what λ does.

    Profile "laptop" has 1000 labels, where its λ was searched, and EPM with m = 3 alone; see `laptop.beside`.
    """
    start = _experiments(table, profile, dataset)["dnll"]
    found = []
    for labels, m, selection in itertools.product(
        _labels(table, profile, start.dataset), SETTINGS["m_compared"][0], ("ep", "epm")
    ):
        experiment = _labelled(start, labels, profile).replace(m=m, selection=selection)
        key, name = Key(table, *SETUP[table], OURS, labels, selection, m), f"{selection.upper()} m={m}"
        if profile != "laptop" or selection == "ep" or m == 3:
            own = {"experiment": experiment, "tier": 1 if (selection, m) == ("epm", 3) else 2, "profile": profile}
            found.append(_cell(key, selection.upper(), name=name, **own))
        if profile in ("short", "paper") and m > 1:
            fixed = with_weight_of(experiment, experiment.replace(m=1))
            note = "λ divided by m: all negatives of an image weigh together what one weighs at m = 1"
            found.append(_departure(key, name, "fixed weight", fixed, 6, note, profile))
        if profile == "laptop":
            found += [_departure(key, name, *more, profile) for more in laptop.beside(experiment)]
    return found


def _variants(table: int, profile: str, dataset: str | None) -> list[Cell]:
    """Table 6: self-learning (SL) and mutual learning (ML) with DNLL, each with and without EPM.

    m = 3 is inferred: "ML" and "ML w/o EPM" are Table 5's m = 3. SL is teaching="self" (Eqs. 16-17), ML is
    teaching="both" (Eqs. 18-19). Table 6 does not say whether its ML has the self term; the cells "cross only" are
    Algorithm 1 (teaching="mutual"), which sums over as many negatives as SL. The cells "fixed weight" are cross + self
    with λ halved, so that they, too, weigh what SL does. Profile "laptop" has both of EP alone.
    """
    start = _experiments(table, profile, dataset)["dnll"]
    found = []
    for labels, (row, teaching), selection in itertools.product(
        _labels(table, profile, start.dataset), {"SL": "self", "ML": "both"}.items(), ("ep", "epm")
    ):
        experiment = _labelled(start, labels, profile).replace(m=3, selection=selection, teaching=teaching)
        key, name = Key(table, *SETUP[table], row, labels, selection), row if selection == "epm" else f"{row} w/o EPM"
        found.append(_cell(key, name, name=name, experiment=experiment, tier=1, profile=profile))
        if row == "ML" and (profile in ("short", "paper") or (profile, selection) == ("laptop", "ep")):
            cross, alone = experiment.replace(teaching="mutual"), experiment.replace(teaching="self")
            note = "Algorithm 1: each submodel learns from the other one alone"
            found.append(_departure(key, name, "cross only", cross, 5, note, profile))
            fixed, note = with_weight_of(experiment, alone), "cross + self with λ halved: the weight of SL"
            found.append(_departure(key, name, "fixed weight", fixed, 6, note, profile))
    return found


# -- what they are made of ---------------------------------------------------------------------------------------------


def _experiments(table: int, profile: str, dataset: str | None, labels: int | None = None) -> dict[str, Experiment]:
    """Method -> its experiment at a profile, with the views of section 4.2 and what was searched for so many labels."""
    network, data = SETUP[table][1], SETUP[table][0] if dataset is None else dataset
    if profile == "quick":
        return {method: quick(method, "digits" if dataset is None else dataset) for method in COMPARED}
    if profile == "laptop":
        return laptop.experiments(table, data, labels)
    more = {"fixmatch-randaugment": data in ("cifar10", "svhn"), "mixmatch": table == 2}
    methods = [*COMPARED, *(method for method, has in more.items() if has)]
    found = {method: published(method, data, network) for method in methods}
    if profile == "paper":
        return found
    return {method: at_length(e, EPOCHS["short"].get(data, EPOCHS["short"]["cifar10"])) for method, e in found.items()}


def _labels(table: int, profile: str, dataset: str) -> tuple[int | None, ...]:
    kind = dataset.partition(":")[0]
    own = LABELS.get(table) or tuple(sorted({key.labels for key in NUMBERS if key.table == table}))
    if kind == "folder":
        return (None,)
    if profile == "quick":
        return (1000 if kind in ("cifar10", "svhn") else LABELS[4][0],)
    if profile == "laptop":
        own = laptop.labels(table, own)
    return LABELS[4][: len(own)] if kind.startswith(("digits", "usps")) else own


def _labelled(experiment: Experiment, labels: int | None, profile: str) -> Experiment:
    """The experiment with so many labels, and the labelled batch that goes with them."""
    most = 64 if profile == "quick" else 50 if experiment.network == "small" else experiment.labelled_batch
    fewer = {"labelled_batch": min(labels or 64, most)} if profile in ("quick", "laptop") else {}
    return experiment.replace(labels=labels, **fewer)


def _cell(key: Key, row: str | None, *, name: str, experiment: Experiment, tier: int, **fields) -> Cell:
    """A cell with the paper's number, if `row` is there and the images are the paper's."""
    fields = {"method": "dnll", "reading": None, "role": "ours", "note": ""} | fields
    at = fields["profile"]
    runs = laptop.runs(key.table, key.labels, fields["method"]) if at == "laptop" else SEEDS[at]
    printed = NUMBERS.get(key) if row is not None and experiment.dataset == key.dataset else None
    order = LABELS_FIRST.index(key.labels) if key.labels in LABELS_FIRST else 0
    where = {"labels": key.labels, "printed": printed, "printed_as": row, "priority": 10 * tier + order}
    return Cell(table=key.table, name=name, experiment=experiment, runs=runs, **where, **fields)


def _departure(key: Key, name: str, reading: str, experiment: Experiment, tier: int, note: str, profile: str) -> Cell:
    """A cell of Table 5 or 6 that departs from what the paper says. What "cross only" is may be what it did."""
    fields = {"name": f"{name} {reading}", "reading": reading, "role": "variant", "note": note, "profile": profile}
    return _cell(key, name if reading == "cross only" else None, experiment=experiment, tier=tier, **fields)
