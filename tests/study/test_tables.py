"""Every cell is an experiment that says what the paper says, departures are named, and a fixed weight is one."""

import dataclasses
import itertools
import json
import statistics
from pathlib import Path

import guard
import pytest
import torch

from dnll_core import results
from dnll_core.bench.report import load_benchmarks, real_epoch
from dnll_core.bench.subject import synthetic
from dnll_core.checks import opened
from dnll_core.config import ConfigError, Experiment
from dnll_core.figures.style import METHODS
from dnll_core.methods import Negatives
from dnll_core.methods.base import Batch, Method, Output
from dnll_core.methods.dnll import negatives_of_an_image, with_weight_of
from dnll_core.paper import NUMBERS, SETTINGS
from dnll_core.run import prepare
from dnll_core.schedules import Clock
from dnll_core.study.experiments import addons
from dnll_core.study.laptop import ELSEWHERE, added, elsewhere, every_negative
from dnll_core.study.searches import SEARCHES
from dnll_core.study.settings import (
    CIFAR_CHOSEN,
    EPOCHS,
    NAMED,
    OWN_WEIGHTS,
    TITLES,
    at_length,
)
from dnll_core.study.tables import COMPARED, LABELS_FIRST, PROFILES, TABLES, cells, profiles_of

VIEWS = {"weak", "strong", "translation"}
TRIED = ("weight_decay", "lam", "consistency_scale", "stabilisation_scale", "fixmatch_threshold")


def everything(*profiles):
    """All cells of the profiles that have them."""
    return [c for p in profiles for t in TABLES if p in profiles_of(t) for c in cells(t, p)]


def named(table, profile="paper"):
    return {cell.name: cell for cell in cells(table, profile)}


def differing(first, second):
    a, b = first.to_dict(), second.to_dict()
    return {name for name in a if a[name] != b[name]}


@pytest.mark.parametrize("profile", PROFILES)
def test_names_and_experiments_are_unique_in_a_table(profile):
    for table in (table for table in TABLES if profile in profiles_of(table)):
        of_table = cells(table, profile)
        assert len({cell.name for cell in of_table}) == len({cell.experiment for cell in of_table}) == len(of_table)
        for cell in of_table:
            assert METHODS[cell.method].label == TITLES[cell.method]
            assert (cell.experiment.labels, cell.profile) == (cell.labels, profile)
            assert cell.role == ("baseline" if cell.method != "dnll" else cell.role)


@pytest.mark.parametrize(
    ("table", "name", "printed", "row"),
    [
        (1, "DNLL 1000 literal", 87.87, "DNLL (Ours)"),
        (1, "DNLL 1000 lineage", 87.87, "DNLL (Ours)"),
        (1, "Dual Student 2000 lineage", 89.28, "Dual Student"),
        (1, "FixMatch 4000 lineage", None, None),
        (2, "MixMatch 1000", 92.25, "MixMatch"),
        (2, "Dual Student 4000", None, None),
        (3, "Pseudo-Label 1000", 90.06, "Pseudo-Labeling"),
        (3, "Pseudo-Label 4000", None, "Pseudo-Labeling"),  # the paper's "-"
        (4, "DNLL 20 noise", 99.19, "DNLL (Ours)"),
        (5, "EP m=4", 93.78, "EP"),
        (5, "EPM m=4 fixed weight", None, None),
        (6, "SL w/o EPM", 92.78, "SL w/o EPM"),
        (6, "ML cross only", 94.29, "ML"),
        (6, "ML fixed weight", None, None),
    ],
)
def test_the_papers_number_stands_beside_its_cell(table, name, printed, row):
    cell = named(table)[name]
    assert (cell.printed, cell.printed_as) == (printed, row)


def test_every_number_of_dnll_has_its_cell():
    ours = {key: value for key, value in NUMBERS.items() if key.method in ("DNLL (Ours)", "SL", "ML")}
    found = {(cell.table, cell.labels, cell.printed) for cell in everything("paper") if cell.role == "ours"}
    assert {(key.table, key.labels, value) for key, value in ours.items()} == found


def test_stated_settings_are_the_papers():
    for cell in everything("paper", "short"):
        e = cell.experiment
        for name in ("lr", "weight_decay", "momentum"):
            assert getattr(e, name) == SETTINGS[name][0], cell.name
        assert e.labelled_batch + e.unlabelled_batch == SETTINGS["batch_size"][0]
    networks = {1: "cnn13", 2: "wrn28-2", 3: "wrn28-2", 4: "cnn13", 5: "wrn28-2", 6: "wrn28-2"}
    for table, network in networks.items():
        assert {cell.experiment.network for cell in cells(table, "paper")} == {network}


def test_equal_numbers_of_the_paper_are_the_same_experiment():
    assert named(2)["DNLL 4000"].experiment == named(5)["EPM m=3"].experiment == named(6)["ML"].experiment
    assert named(5)["EP m=3"].experiment == named(6)["ML w/o EPM"].experiment


def test_a_reading_changes_the_views_alone():
    for table, first, second in ((1, "literal", "lineage"), (4, "literal", "noise")):
        of_table = named(table)
        for name, cell in of_table.items():
            other = of_table.get(name.replace(first, second))
            if cell.reading == first and other is not None:
                assert differing(cell.experiment, other.experiment) <= VIEWS
    literal = named(4)["DNLL 20 literal"].experiment
    assert (literal.weak, literal.strong, literal.network) == ("identity", "identity", "cnn13")  # "we do not change"
    literal = named(1)["DNLL 1000 literal"].experiment
    assert (literal.weak, literal.strong) == ("identity", "noise")


def test_supervised_only_runs_once_for_each_weak_view():
    """It does not see strong views."""
    assert {"supervised only 1000 literal", "supervised only 1000 lineage"} <= named(1).keys()
    assert {c.reading for c in cells(4, "paper") if c.method == "supervised"} == {"literal"}
    for table in (1, 2, 3, 4):
        seen = [
            (c.labels, c.experiment.weak, c.experiment.translation)
            for c in cells(table, "paper")
            if c.method == "supervised"
        ]
        assert len(set(seen)) == len(seen)


def test_baselines_have_the_budget_of_dnll():
    """Same data, network, batches, length and optimiser; a method's own fields and its own views may differ."""
    shared = {"dataset", "network", "labels", "labelled_batch", "unlabelled_batch", "epochs", "lr", "weight_decay"}
    for table in (1, 2, 3, 4):
        of_table = cells(table, "paper")
        for cell in of_table:
            dnll = next(c for c in of_table if c.method == "dnll" and c.labels == cell.labels)
            assert not differing(cell.experiment, dnll.experiment) & shared, cell.name


def test_baselines_have_the_weights_of_the_released_scripts():
    released = addons("cifar10")
    for table in (1, 2):
        for cell in cells(table, "paper"):
            fields = {
                "mean-teacher": ("consistency_scale", "consistency_ramp_epochs"),
                "dual-student": ("consistency_scale", "stabilisation_scale", "logit_distance", "stable_threshold"),
            }
            for field in fields.get(cell.method, ()):
                assert getattr(cell.experiment, field) == getattr(released[cell.method], field), (cell.name, field)
    assert not differing(named(1)["DNLL 1000 lineage"].experiment, released["dual-student"]) & VIEWS


def test_a_folder_may_have_two_classes():
    """One negative label is all that K = 2 allows: by default in the add-ons, and in the cells of DNLL."""
    own = [*addons("folder:pets").values(), *(c.experiment for c in cells(4, dataset="folder:pets"))]
    assert {e.m for e in own if "dnll" in e.method} == {1}
    assert {e.m for e in addons("folder:pets", m=2).values()} == {2}
    assert {e.m for e in addons("cifar10").values()} == {2}


# -- the weight of the unsupervised loss -------------------------------------------------------------------------------

K, U = 10, 64


class Stub(Method):
    """Two students and teachers that always say the same."""

    students = 2

    def __init__(self, logits, others):
        super().__init__()
        self.student, self.teacher = logits, others

    def compute(self, batch, clock, generator):
        logits = [self.student.clone().requires_grad_() for _ in range(2)]
        return Output(torch.zeros(()), [], student_logits=logits, teacher_logits=[self.teacher, self.teacher])


def unsupervised(experiment, logits, teacher, draws=1):
    """What `Negatives` adds to the loss after all ramps, mean over some draws."""
    method = Negatives(Stub(logits, teacher), experiment, K)
    clock = Clock(torch.tensor(1e6), 1, 1)
    empty = torch.empty(0)
    generator = torch.Generator().manual_seed(0)
    losses = [method.compute(Batch((), empty, (), empty), clock, generator).loss.detach() for _ in range(draws)]
    return float(sum(losses)) / draws


def fixed():
    """(cell of fixed weight, cell without it, the experiment whose weight it should have)."""
    for table, reference in ((5, {"m": 1}), (6, {"teaching": "self"})):
        of_table = named(table)
        for name, cell in of_table.items():
            if cell.reading == "fixed weight":
                plain = of_table[name.removesuffix(" fixed weight")]
                yield cell, plain, plain.experiment.replace(**reference)


def test_a_fixed_weight_is_one_at_uniform_predictions():
    """There all negatives cost the same, so the loss is exactly the total weight times that."""
    uniform, teacher = torch.zeros(U, K), torch.randn(U, K, generator=torch.Generator().manual_seed(1))
    compared = list(fixed())
    assert len(compared) == 8
    for cell, plain, reference in compared:
        wanted = unsupervised(reference, uniform, teacher)
        assert unsupervised(cell.experiment, uniform, teacher) == pytest.approx(wanted, rel=1e-5), cell.name
        assert unsupervised(plain.experiment, uniform, teacher) > 1.9 * wanted  # else nothing was fixed
        assert differing(cell.experiment, plain.experiment) == {"lam"}


def test_a_fixed_weight_is_one_in_expectation():
    g = torch.Generator().manual_seed(2)
    logits, teacher = torch.randn(4000, K, generator=g), torch.randn(4000, K, generator=g)
    for cell, _, reference in fixed():
        wanted = unsupervised(reference, logits, teacher, draws=5)
        assert unsupervised(cell.experiment, logits, teacher, draws=5) == pytest.approx(wanted, rel=0.02), cell.name


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("teaching", ["self", "mutual", "both"])
@pytest.mark.parametrize("m", [1, 4])
def test_the_number_of_negatives_is_what_the_loss_sums(m, teaching, reduction):
    e = Experiment(m=m, teaching=teaching, reduction=reduction)
    uniform = torch.zeros(U, K)
    each = -2 * torch.tensor(1 - 1 / K).log()  # two submodels
    assert unsupervised(e, uniform, uniform) == pytest.approx(float(each) * negatives_of_an_image(e), rel=1e-5)
    assert with_weight_of(e, e) == e


# -- profiles ----------------------------------------------------------------------------------------------------------


def test_a_shorter_run_keeps_its_shape():
    e = Experiment(epochs=100, ramp_epochs=5, consistency_ramp_epochs=10, stabilisation_ramp_epochs=0)
    short = at_length(e, 20)
    assert differing(e, short) == {"epochs", "ramp_epochs", "consistency_ramp_epochs"}
    assert (short.epochs, short.ramp_epochs, short.consistency_ramp_epochs) == (20, 1, 2)
    assert at_length(short, 100) == e


def test_short_is_about_fifteen_thousand_iterations_of_the_papers_experiment():
    for long, short in zip(everything("paper"), everything("short"), strict=True):
        assert (long.table, long.name, long.printed) == (short.table, short.name, short.printed)
        assert at_length(long.experiment, short.experiment.epochs) == short.experiment
        assert 14_000 <= short.experiment.epochs * real_epoch(short.experiment)[0] <= 16_000


def test_laptop_is_table_4_with_the_small_network():
    for cell in cells(4, "laptop"):
        e = cell.experiment
        assert (e.dataset, e.network, e.size, e.strong) == ("mnist", "small", 14, "noise")
        assert e.labelled_batch == min(50, cell.labels)
        best = ("dnll", "supervised", "mutual-learning", "mean-teacher", "dual-student", "fixmatch")
        assert cell.runs == (10 if cell.labels == 20 and cell.method in best else 3)
        shared = {"unlabelled_batch", "epochs", "noise_std", "dropout", "momentum"}
        assert not differing(e, named(4, "laptop")["DNLL 20 noise"].experiment) & shared, cell.name
    others = {"mutual-learning", "pi-model", "temporal-ensembling", "vat", "mixmatch"}
    assert {cell.method for cell in cells(4, "laptop")} == {*COMPARED, *others}
    assert named(4, "laptop")["DNLL 20 noise"].printed == 99.19
    with pytest.raises(ConfigError, match=r"Table 2 has no profile 'laptop'.*Table 2 has quick, short, paper"):
        cells(2, "laptop")


def test_laptop_is_tables_5_and_6_as_they_were_searched():
    """One thing differs from the cell of m = 3 with EP, or λ and it."""
    five, six = named(5, "laptop"), named(6, "laptop")
    start = five["EP m=3"].experiment
    searched = SEARCHES["cifar10-m3"]
    assert differing(start, searched.start.replace(**searched.chosen)) == set()
    assert (start.dataset, start.network, start.size, start.labels, start.labelled_batch) == (
        *("cifar10", "cnn6", 16, 1000),
        SETTINGS["batch_size"][0] // 2,
    )
    assert {name: differing(start, cell.experiment) for name, cell in five.items()} == {
        "EP m=1": {"m"},
        "EP m=2": {"m"},
        "EP m=3": set(),
        "EP m=4": {"m"},
        "EP m=3 again": {"lr"},
        "EPM m=3": {"selection"},
        "EPM m=3 by epoch": {"selection", "epm_accumulation"},
        "EPM m=1 by epoch": {"selection", "epm_accumulation", "m"},
        **{f"EP m={m} own weight": {"m", "lam"} for m in (1, 2, 4)},
    }
    assert abs(five["EP m=3 again"].experiment.lr - start.lr) < 1e-7
    assert {name: differing(start, cell.experiment) for name, cell in six.items()} == {
        "ML": {"selection"},
        "ML w/o EPM": set(),
        "ML w/o EPM cross only": {"teaching"},
        "ML w/o EPM fixed weight": {"lam"},
        "SL": {"selection", "teaching"},
        "SL w/o EPM": {"teaching"},
    }
    assert {cell.runs for cell in (*five.values(), *six.values())} == {5}


def test_elsewhere_one_thing_differs_from_table_1():
    one, tried = named(1, "laptop"), ("dnll", "supervised", "dual-student", "fixmatch")
    literal, jitter = named(1)["DNLL 1000 literal"].experiment, named(2)["DNLL 1000"].experiment
    views = {"table1-literal": (literal, {"weak", "strong"}), "table1-jitter": (jitter, {"weak", "strong"})}
    other = {"table1-jitter": {"crop_padding"}, "table1-2000": {"labels"}, "table1-32": {"size", "translation"}}
    assert [*ELSEWHERE] == ["table1-literal", "table1-jitter", "table1-2000", "table1-32"]
    for campaign in ELSEWHERE:
        found, labels = elsewhere(campaign), 4000 if campaign == "table1-32" else 1000
        assert tuple(found) == tried
        like, changed = views.get(campaign, (None, set()))
        for method, e in found.items():
            own = {"lam"} if (campaign, method) == ("table1-2000", "dnll") else set()
            of_table = one[f"{TITLES[method]} {labels} lineage"].experiment
            assert differing(of_table, e) == changed | other.get(campaign, set()) | own, (campaign, method)
            assert like is None or (e.weak, e.strong, e.noise_std) == (like.weak, like.strong, like.noise_std)
            moved = e.crop_padding if campaign == "table1-jitter" else e.translation
            assert moved == (e.size or 32) // 8, (campaign, method)  # as Tables 1 and 2 have it, of their 32 pixels


def test_negatives_are_added_to_what_table_1_has():
    """One thing more: an add-on has negatives as DNLL draws them, with a ramp and a weight of their own."""
    one = named(1, "laptop")
    for name, e in added().items():
        base, dnll = (one[f"{TITLES[method]} 1000 lineage"].experiment for method in (name[: -len("+dnll")], "dnll"))
        assert differing(base, e) <= {"method", "m", "selection", "ramp_epochs", "lam"}
        assert (e.method, e.m, e.selection, e.ramp_epochs) == (name, dnll.m, dnll.selection, dnll.ramp_epochs)


def test_every_negative_weighs_what_three_do():
    of_table = named(1, "laptop")["DNLL 1000 lineage"].experiment
    e = every_negative()
    assert differing(of_table, e) == {"m", "lam", "selection"} and e.m * e.lam == of_table.m * of_table.lam


def test_with_2000_labels_each_has_what_two_searches_like_best():
    """Of what both tried at the weight decay that 1000 labels have, the best mean."""
    found = elsewhere("table1-2000")
    for method, searches in ((method, NAMED[method].cifar10) for method in found):
        e, common = found[method], {}
        for labels in (1000, 4000):
            record = json.loads((results.root() / "search" / f"{searches[labels]}.json").read_text(encoding="utf-8"))
            for trial in record["trials"]:
                run = Experiment(**record["base"]).replace(**trial["changes"])
                fields = {name: getattr(run, name) for name in TRIED}
                if run.weight_decay == e.weight_decay or method == "supervised":
                    common.setdefault(tuple(fields.values()), {})[labels] = trial["mean"]
        both = {key: sum(of.values()) for key, of in common.items() if len(of) == 2}
        assert len(both) > 1, method
        assert max(both, key=both.get) == tuple(getattr(e, name) for name in TRIED), method


def test_laptop_is_table_1_with_every_method_as_it_was_searched():
    """As many passes and labels for all; "as long" is longer, and differs in nothing else."""
    one = named(1, "laptop")
    own = {"selection": "epm"}  # DNLL as the paper has it
    for labels, of in CIFAR_CHOSEN.items():
        for method, e in of.items():
            searched = SEARCHES[NAMED[method].cifar10[labels]]
            assert e == searched.start.replace(**searched.chosen)
            shared = (e.dataset, e.size, e.network, e.epochs, e.labelled_batch, e.labels)
            assert shared == ("cifar10", 16, "cnn6", 9, 128, labels)
            [cell] = [
                c for c in one.values() if (c.method, c.labels) == (method, labels) and c.reading in ("lineage", None)
            ]
            assert cell.experiment == e.replace(evaluations=3, **own if method == "dnll" else {})
    assert {cell.labels for cell in one.values()} == {1000, 4000} and {cell.runs for cell in one.values()} == {5}
    methods = {cell.method for cell in one.values()}
    assert all(methods == set(of) for of in CIFAR_CHOSEN.values())
    assert methods == {*COMPARED, "fixmatch-randaugment", "mutual-learning"}
    # of Table 5's cell it differs in what was searched anew alone
    assert differing(one["DNLL 1000 lineage"].experiment, named(5, "laptop")["EPM m=3"].experiment) <= {
        *("weight_decay", "lam", "evaluations"),
    }
    for labels in (1000, 4000):
        for method in EPOCHS["as-long"]:
            first = "" if method == "fixmatch-randaugment" else " lineage"
            short, long = (one[f"{TITLES[method]} {labels}{reading}"] for reading in (first, " as long"))
            assert differing(at_length(short.experiment, long.experiment.epochs), long.experiment) <= {"evaluations"}
            assert long.experiment.epochs == EPOCHS["as-long"][method]
            assert long.printed is None  # no reading of a number of the paper
        for name, beside, changed in (
            (f"DNLL {labels} RandAugment", f"DNLL {labels} lineage", {"strong"}),
            (f"supervised only {labels} RandAugment, as long", f"supervised only {labels} lineage", {"weak", "epochs"}),
        ):
            found = one[name].experiment
            assert differing(found, one[beside].experiment) - {"evaluations"} == changed
            seen = found.weak if found.method == "supervised" else found.strong
            assert seen == one[f"FixMatch, RandAugment {labels}"].experiment.strong
        two, alone = (one[f"supervised only {labels} {reading}"] for reading in ("two networks", "lineage"))
        assert differing(two.experiment, alone.experiment) == {"method", "lam", "shared_bn"} and two.printed is None
        assert (two.method, two.experiment.method, two.experiment.lam) == ("supervised", "mutual-learning", 0)
    for name, search, own in (
        ("DNLL 1000 RandAugment", "table1-dnll-randaugment", {"selection": "epm"}),
        ("supervised only 1000 RandAugment, as long", "table1-supervised-randaugment", {}),
    ):
        found, best = one[name].experiment, SEARCHES[search]
        assert found == best.start.replace(**best.chosen, **own, evaluations=found.evaluations)
    for dataset, labels, searched in (("svhn", 4000, 4000), ("svhn", 1000, 1000), ("digits", 50, 1000)):
        [cell] = [
            c
            for c in cells(1, "laptop", dataset)
            if (c.labels, c.method, c.reading) == (labels, "mutual-learning", None)
        ]
        like = CIFAR_CHOSEN[searched]["mutual-learning"]
        assert differing(cell.experiment, like) <= {"dataset", "labels", "labelled_batch", "size", "weak", "strong"} | {
            "evaluations"
        }
        assert cell.experiment.labels == labels
    assert one["Mean Teacher 4000 lineage"].printed == 88.59
    assert min(cell.experiment.epochs * cell.experiment.evaluations for cell in one.values()) >= 20  # for Figure 4


def test_as_long_is_dnlls_time_on_the_machine_that_was_measured():
    [record] = [record for name, record in load_benchmarks().items() if name.startswith("cnn6-")]
    times = {}
    for reading, method in (("lineage", "dnll"), *(("as long", method) for method in EPOCHS["as-long"])):
        e = named(1, "laptop")[f"{TITLES[method]} 1000 {reading}"].experiment
        [name] = record["settings"].keys() & {method, f"method={e.method}, strong={e.strong}"}
        measured = record["settings"][name]
        (iterations, images), look = real_epoch(e), measured["evaluation"]
        evaluation = e.evaluations * images * look["seconds"] / look["images"]
        times[method] = e.epochs * (iterations * statistics.median(measured["train"]) + evaluation)
    assert times == pytest.approx(dict.fromkeys(times, times["dnll"]), rel=0.04)


def test_each_m_has_the_weight_that_its_search_found_best():
    for m in (1, 2, 3, 4):
        record = opened((results.root() / "search" / f"cifar10-m{m}.json").read_bytes())
        best = max(record["trials"], key=lambda trial: trial["mean"])
        assert best["changes"]["lam"] == OWN_WEIGHTS[m].lam


def test_which_cells_are_as_in_the_paper():
    for cell in everything(*PROFILES):
        assert cell.as_in_paper == (cell.profile in ("short", "paper"))
    [cell] = [cell for cell in cells(4, "short") if cell.name == "DNLL 20 noise"]
    for changes in ({"size": 14}, {"network": "small"}, {"dataset": "usps"}):
        assert not dataclasses.replace(cell, experiment=cell.experiment.replace(**changes)).as_in_paper


def test_quick_domains_of_the_digits_are_as_long_as_the_digits():
    for dataset in ("digits-source", "digits-target"):
        assert {cell.experiment.epochs for cell in cells(5, "quick", dataset)} == {40}


def test_quick_runs_on_the_digits():
    for table, count in zip(TABLES, (6, 6, 6, 6, 8, 4)):
        of_table = cells(table)
        assert len(of_table) == count
        for cell in of_table:
            assert (cell.experiment.dataset, cell.labels, cell.experiment.epochs) == ("digits", 20, 40)
            assert cell.printed is None  # the paper has no digits
    assert named(1, "quick")["DNLL 20"].experiment == named(5, "quick")["EPM m=3"].experiment
    assert {c.experiment.m for c in cells(5)} == {1, 2, 3, 4}
    assert {(c.experiment.teaching, c.experiment.selection) for c in cells(6)} == set(
        itertools.product(("self", "both"), ("ep", "epm"))
    )


def test_the_most_informative_comes_first():
    everywhere = sorted(everything("paper"), key=lambda cell: cell.priority)
    order = [cell.reading == "fixed weight" for cell in everywhere]
    assert order == sorted(order)
    last_dnll = max(i for i, c in enumerate(everywhere) if c.table < 5 and c.method == "dnll")
    first_other = min(i for i, c in enumerate(everywhere) if c.role == "baseline")
    assert last_dnll < first_other
    table_5 = [cell.name for cell in cells(5, "paper")]
    assert table_5[0] == "EPM m=3"
    labels = [cell.labels for cell in cells(1, "paper") if cell.method == "dnll"]
    assert labels == sorted(labels, key=LABELS_FIRST.index)
    assert labels[::2] == [4000, 1000, 2000]


# -- other data sets, and mistakes -------------------------------------------------------------------------------------


def test_another_data_set():
    folder = cells(1, dataset="folder:PATH")
    assert {cell.labels for cell in folder} == {None}
    assert next(c for c in folder if c.method == "dnll").experiment.m == 1  # there may be two classes
    assert {c.labels for c in cells(1, dataset="mnist")} == {20}
    assert {c.labels for c in cells(1, dataset="cifar10")} == {1000}
    for cell in cells(1, "paper", dataset="mnist"):
        assert (cell.experiment.dataset, cell.experiment.network, cell.printed) == ("mnist", "cnn13", None)
    assert {c.labels for c in cells(1, "paper", dataset="usps")} == {20, 50, 100}
    for table, profile in itertools.product(TABLES, ("quick", "short", "paper")):
        for dataset in ("folder:PATH", "mnist", "usps", "svhn"):
            names = [cell.name for cell in cells(table, profile, dataset)]
            assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((7,), "table=7 is not known.*Accepted: 1, 2, 3, 4, 5, 6.*dnll_core.bench"),
        ((1, "fast"), "profile='fast' is not known.*Accepted: quick, laptop, short, paper"),
        ((1, "quick", "minst"), "dataset='minst' is not known. Did you mean 'mnist'"),
    ],
)
def test_mistakes_are_named(arguments, message):
    with pytest.raises(ConfigError, match=message):
        cells(*arguments)


def test_a_cell_runs():
    """One iteration of every method with its views, on images of the data set's shape (networks: see test_models)."""
    tried = {}
    for cell in everything("quick", "laptop", "paper"):
        e = cell.experiment
        tried.setdefault((e.dataset, cell.method, e.weak, e.strong), e)
    for e in tried.values():
        small = e.replace(network="small", labels=20, labelled_batch=4, unlabelled_batch=4)
        trainer, _ = prepare(small, 0, device="cpu", precision="float32", dataset=synthetic(small, 8))
        trainer.learner.plan_epoch(0)
        assert torch.isfinite(trainer.train_step(0)), e


def test_named_experiments_keep_their_run_names():
    """Records are found by them. A name that is new here is no change; `tests/named_experiments.json` may then grow."""
    frozen = json.loads((Path(__file__).parents[1] / "named_experiments.json").read_text(encoding="utf-8"))
    now = guard.named()
    assert {name: now.get(name) for name in frozen} == frozen
