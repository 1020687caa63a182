"""What the notebooks of the tables show is what the records hold, and their parameters are checked before any run."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from fabricated import record, write
from scipy import stats

from dnll_core.campaign import notebooks
from dnll_core.campaign.notebooks import (
    checked_runs,
    chosen_cells,
    count,
    names,
    run_groups,
    with_labels,
    with_strong_view,
)
from dnll_core.config import ConfigError, Experiment
from dnll_core.figures.images import colour_images, shown_views
from dnll_core.paper import LABELS, OURS, accuracy
from dnll_core.signals import Stopped
from dnll_core.study.laptop import every_label
from dnll_core.study.markdown import (
    Markdown,
    by_labels,
    laptop_table,
    leads_by_labels,
    markdown,
    printed_table,
    recorded_groups,
    recorded_table,
    results_table,
    standing,
)
from dnll_core.study.tables import cells, profiles_of


def lines_of(table):
    """The cells of each line of a table in Markdown, the line below its head left out."""
    lines = [line for line in table.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if not line.startswith("|---")]


# -- parameters --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "expected"), [(3, 3), ("3", 3), (np.int64(3), 3), ("none", None), (None, None)])
def test_counts_as_papermill_sends_them(value, expected):
    found = count("epochs", value, optional=True)
    assert (type(found), found) == (type(expected), expected)


@pytest.mark.parametrize(
    "value", [0, -1, "0", "two", "1.5", 1.5, 3.0, True, np.True_, np.int64(0), np.float64(3), "", [1]]
)
def test_what_is_no_count_is_named(value):
    with pytest.raises(ConfigError, match=r"seeds takes a whole number from 1, not "):
        count("seeds", value)


def test_none_only_where_it_means_something():
    with pytest.raises(ConfigError, match="seeds"):
        checked_runs(seeds=None)
    assert checked_runs("2", "none", "none") == {"seeds": 2, "workers": None, "out": None}


def test_by_default_they_are_the_campaigns_cells():
    for table, profile in ((4, "quick"), (4, "laptop"), (1, "paper")):
        assert chosen_cells(table, profile) == cells(table, profile)
    assert chosen_cells(3, dataset="none", methods="none", epochs="none") == cells(3)


@pytest.mark.parametrize("dataset", ["", "folder:"])
@pytest.mark.parametrize(("table", "profile"), [(4, "quick"), (1, "short"), (5, "laptop"), (6, "quick")])
def test_a_data_set_without_a_name_is_refused(table, profile, dataset):
    with pytest.raises(ConfigError, match=f"dataset='{dataset}' is not known.* Accepted: digits, .*, folder:PATH"):
        chosen_cells(table, profile, dataset)


def test_methods_are_chosen_and_checked():
    chosen = chosen_cells(4, "laptop", methods="dnll, supervised")
    assert chosen == [cell for cell in cells(4, "laptop") if cell.method in ("dnll", "supervised")]
    assert chosen == chosen_cells(4, "laptop", methods=["supervised", "dnll"])
    with pytest.raises(ConfigError, match=r"methods='dnl' is not known\. Did you mean 'dnll'\?"):
        chosen_cells(4, methods="dnl")
    with pytest.raises(ConfigError, match="methods"):
        chosen_cells(4, methods=[])
    with pytest.raises(ConfigError, match="profile"):
        chosen_cells(4, "quik")


def test_a_trial_says_that_it_is_one():
    [cell] = chosen_cells(1, methods="dnll", epochs=4)
    whole = cells(1)[0]
    assert (cell.experiment.epochs, cell.profile) == (4, "trial of the quick")
    assert cell.experiment.ramp_epochs == pytest.approx(whole.experiment.ramp_epochs * 4 / whole.experiment.epochs)
    assert chosen_cells(1, methods="dnll", epochs=whole.experiment.epochs) == [whole]


def test_cells_that_no_table_has():
    cell = cells(1)[0]
    more = with_labels(cell, 100)
    assert (more.name, more.labels, more.experiment.labels, more.experiment.labelled_batch) == (
        "DNLL 100",
        100,
        100,
        64,
    )
    assert more.experiment == cell.experiment.replace(labels=100, labelled_batch=64)
    moved = with_strong_view(cell, "translate_x+flip")
    assert moved.name == "DNLL 20 translate_x+flip"
    assert moved.experiment == cell.experiment.replace(strong="translate_x+flip")
    with pytest.raises(ConfigError, match="translat_x"):
        with_strong_view(cell, "translat_x")


def test_runs_are_handed_on_as_they_are(monkeypatch):
    chosen, asked = chosen_cells(4, methods="dnll,supervised"), {}

    def run_cells(experiments, **how):
        asked.update(experiments=experiments, **how)
        return {name: [record(e, 0, 0.9)] for name, e in experiments.items()}

    monkeypatch.setattr(notebooks, "run_cells", run_cells)
    groups = run_groups(chosen, **checked_runs(2, 1, "somewhere"))
    assert asked["experiments"] == {cell.name: cell.experiment for cell in chosen}
    assert {name: asked[name] for name in ("seeds", "workers", "out")} == {"seeds": 2, "workers": 1, "out": "somewhere"}
    assert {cell: group[0]["experiment"] for cell, group in groups.items()} == {
        cell: cell.experiment.to_dict() for cell in chosen
    }


# -- tables ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("recorded", "words"), [(False, "nothing is kept; with out=FOLDER"), (True, "is recorded in")])
def test_an_interruption_says_what_is_kept(recorded, words, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(notebooks, "run_tasks", interrupted)
    with pytest.raises(Stopped, match=words):
        notebooks.run_cells({"it": Experiment(labels=20)}, workers=1, out=tmp_path if recorded else None)


def test_a_bar_over_runs_times_them_where_it_is_seen(monkeypatch):
    short = Experiment(labels=20, labelled_batch=20, unlabelled_batch=512, epochs=1, method="supervised")
    runs = [short, short.replace(epochs=10), short]
    monkeypatch.setattr(notebooks, "bar_is_off", lambda wanted: True)
    assert notebooks.bar_over(runs, "go on").expected == [1.0, 1.0, 1.0]
    monkeypatch.setattr(notebooks, "bar_is_off", lambda wanted: None)
    monkeypatch.setattr(notebooks, "seconds_of_an_iteration", lambda trainer: 0.5)
    bar = notebooks.bar_over(runs)
    assert bar.expected == [1.0, 10.0, 1.0]  # two iterations an epoch
    assert (bar.begun, bar.wanted) == (0, True)


def test_markdown_by_hand():
    frame = pd.DataFrame({"n": [1, 2], "x": [0.5, math.nan], "y": [None, "±"]}, index=pd.Index(["a", "b"], name="cell"))
    assert markdown(frame) == "| cell | n | x | y |\n|---|---|---|---|\n| a | 1 | 0.50 | – |\n| b | 2 | – | ± |"
    lines = [{"epochs": 9.0, "points": -0.25}, {"epochs": 12.0, "points": "-1.0 [-2, 3] of 2-3"}]
    assert markdown(lines) == "| epochs | points |\n|---|---|\n| 9 | −0.25 |\n| 12 | −1.0 [−2, 3] of 2-3 |"
    assert Markdown("gains: -0.5, $K-1$, 10-20, a -p m").data == "gains: −0.5, $K-1$, 10-20, a -p m"


def test_live_results_by_hand():
    first, *_ = cells(4, "laptop")
    groups = {first: [record(first.experiment, 0, 0.90, curve=[0.5, 0.95, 0.9]), record(first.experiment, 1, 0.92)]}
    head, line = lines_of(results_table(groups))
    found = dict(zip(head, line))
    assert found["cell"] == "DNLL 20 noise"
    assert found["last epoch (%)"] == found["ensemble, last epoch (%)"] == "91.00 ± 1.41"
    assert found["best on test (%)"] == "94.50 ± 2.12"  # 96 and 93: of the better submodel
    assert (found["n"], found["seconds a run"], found["paper (%)"]) == ("2", "10.5", "99.19")
    assert "paper (%)" not in lines_of(results_table({cells(4)[0]: [record(cells(4)[0].experiment, 0, 0.9)]}))[0]


def test_a_table_of_runs_is_sorted_as_one_reads_it():
    def shown(table):
        groups = {c: [record(c.experiment, 0, 0.9)] for c in cells(table)}
        return [line[0] for line in lines_of(results_table(groups))[1:]]

    assert shown(5)[:4] == ["EP m=1", "EPM m=1", "EP m=2", "EPM m=2"]
    assert [name for name in shown(6) if " " not in name] == ["SL", "ML"]
    assert shown(4) == [cell.name for cell in cells(4)]


def test_without_records_each_profile_says_why_in_a_line(tmp_path):
    for table in (1, 2, 3, 4, 5, 6):
        first, *others = recorded_table(table, tmp_path).split("\n\n")
        assert first.startswith("**Profile paper**: not recorded: needs a GPU")
        assert [text.split("*")[2] for text in others] == [f"Profile {name}" for name in profiles_of(table)[1:-1]]
        assert f"--tables {table} --profile short" in others[0]
    assert recorded_groups(4, tmp_path) == {}
    assert "There are no records" not in recorded_table(4, tmp_path)
    text = recorded_table(4, tmp_path / "absent")
    assert text.startswith(
        f"There are no records of Table 4 below {tmp_path / 'absent'}. `python -m dnll_core.campaign"
    )


def test_records_stand_beside_the_paper(tmp_path):
    ours = {cell.name: cell for cell in cells(4, "laptop")}
    write(tmp_path, ours["DNLL 20 noise"].experiment, [0.90, 0.92])
    write(tmp_path, ours["DNLL 100 noise"].experiment, [0.95])
    write(tmp_path, ours["FixMatch 50 noise"].experiment, [0.8], networks=1)
    assert [
        (profile, {c.name: len(g) for c, g in groups.items() if g})
        for profile, groups in recorded_groups(4, tmp_path).items()
    ] == [("laptop", {"DNLL 20 noise": 2, "FixMatch 50 noise": 1, "DNLL 100 noise": 1})]
    text = recorded_table(4, tmp_path)
    last, best, both = (lines_of(part) for part in text.split("\n\n") if part.startswith("| "))
    assert last == [
        ["last epoch (%)", "20 labels", "50 labels", "100 labels", "n", "seconds a run"],
        ["DNLL", "91.00 ± 1.41", "not recorded", "95.00", "1...2", "10"],
        ["*DNLL, the paper*", "99.19", "–", "99.54", "–", "–"],
        ["FixMatch", "not recorded", "80.00", "not recorded", "1", "10"],
    ]
    assert [line[0] for line in best] == ["best on test (%)", "DNLL", "FixMatch"]
    assert both == [
        ["ensemble, last epoch (%)", "20 labels", "100 labels"],  # FixMatch has one network
        ["DNLL", "91.00 ± 1.41", "95.00"],
    ]
    assert "Not recorded (1 of the paper's numbers, 29 others): not run yet" in text  # of 33
    assert "4 runs; device a device" in text
    assert "**Profile paper**: not recorded: needs a GPU" in text


def test_readings_are_named_where_a_profile_has_several(tmp_path):
    for cell in cells(1, "short"):
        if cell.name == "DNLL 4000 literal":
            write(tmp_path, cell.experiment, [0.8])
    last, *_ = (lines_of(part) for part in recorded_table(1, tmp_path).split("\n\n") if part.startswith("| "))
    assert last[1][:2] == ["DNLL, literal", "80.00"]


def leads_of_made(folder, profile, made):
    """The leads of Table 1 where these cells alone are recorded: name -> accuracies, seed by seed."""
    for cell in cells(1, profile):
        if cell.name in made:
            write(folder, cell.experiment, made[cell.name])
    return leads_by_labels(recorded_groups(1, folder)[profile])


def test_lines_are_those_of_the_cells_data_set():
    of_table = {cell: [record(cell.experiment, 0, 0.7)] for cell in cells(1, "laptop", "svhn")}
    shown = {line["last epoch (%)"]: line["1000 labels"] for line in by_labels(of_table)}
    assert set(shown.values()) == {"70.00"} and {"DNLL", "Mean Teacher, as long"} <= shown.keys()
    with pytest.raises(ValueError, match="at least one cell"):
        by_labels({})


def test_leads_are_students_on_the_same_seeds_and_in_the_same_reading(tmp_path):
    """A rival in a reading of DNLL's is compared with that, one in neither with the first; one pair makes no line."""
    made = {
        "DNLL 4000 lineage": (0.80, 0.82, 0.84),
        "DNLL 4000 literal": (0.60, 0.61, 0.60),
        "Mean Teacher 4000 lineage": (0.77, 0.83, 0.80),
        "Mean Teacher 4000 literal": (0.50, 0.70, 0.65),
        "FixMatch, RandAugment 4000": (0.70, 0.75, 0.71),
        "Dual Student 4000 lineage": (0.70,),
    }
    [head, *lines] = lines_of(markdown(leads_of_made(tmp_path, "short", made)))
    against = {
        "Mean Teacher, lineage": ("DNLL 4000 lineage", "Mean Teacher 4000 lineage"),
        "Mean Teacher, literal": ("DNLL 4000 literal", "Mean Teacher 4000 literal"),
        "FixMatch, RandAugment": ("DNLL 4000 lineage", "FixMatch, RandAugment 4000"),
    }
    found = {name.removeprefix("over "): dict(zip(head[1:], shown))["4000 labels"] for name, *shown in lines}
    assert found.keys() == against.keys()
    for name, (ours, theirs) in against.items():
        points = [100 * (a - b) for a, b in zip(made[ours], made[theirs], strict=True)]
        low, high = stats.ttest_1samp(points, 0).confidence_interval(0.95)
        assert found[name] == f"{(low + high) / 2:+.2f} ± {(high - low) / 2:.2f}".replace("-", "−")


def test_a_lead_is_over_what_sees_the_same_views(tmp_path):
    """RandAugment against RandAugment, on unlabelled images or labelled ones; "as long" has the views of the others."""
    made = {
        "DNLL 1000 lineage": (0.60, 0.62, 0.61),
        "DNLL 1000 RandAugment": (0.61, 0.66, 0.65),
        "FixMatch, RandAugment 1000": (0.70, 0.75, 0.74),
        "FixMatch 1000 as long": (0.50, 0.55),
        "supervised only 1000 RandAugment, as long": (0.40, 0.41, 0.42),
    }
    _, *lines = lines_of(markdown(leads_of_made(tmp_path, "laptop", made)))
    assert [name for name, *_ in lines] == [
        "DNLL, RandAugment over FixMatch, RandAugment",
        "over FixMatch, as long",
        "DNLL, RandAugment over supervised only, RandAugment, as long",
    ]
    means = [ahead.partition(" ±")[0].replace("−", "-") for _, ahead, _ in lines]
    assert means == ["-9.00", "+10.00, +7.00", "+23.00"]  # of two, each


@pytest.mark.parametrize(
    ("made", "leads"),
    [
        (
            {"DNLL 1000 lineage": 0.5, "DNLL 1000 RandAugment": 0.6, "DNLL 4000 lineage": 0.8},
            ["+10.00", "not recorded"],
        ),
        ({"DNLL 1000 RandAugment": 0.6, "DNLL 4000 RandAugment": 0.8, "FixMatch 4000 lineage": 0.7}, ["+10.00"] * 2),
        ({"DNLL 1000 lineage": 0.6, "DNLL 4000 lineage": 0.8}, None),
    ],
)
def test_a_lead_of_what_is_not_recorded_yet_is_missing(tmp_path, made, leads):
    """Another line of DNLL does not take its place."""
    made = {"FixMatch, RandAugment 1000": 0.5, "FixMatch, RandAugment 4000": 0.7, **made}
    found = leads_of_made(tmp_path, "laptop", {name: [accuracy] * 3 for name, accuracy in made.items()})
    told = [[name, *(ahead.removesuffix(" ± 0.00") for ahead in of)] for name, *of in (line.values() for line in found)]
    assert told == ([["DNLL, RandAugment over FixMatch, RandAugment", *leads]] if leads else [])


def test_table_1_says_what_every_label_would_give(tmp_path, monkeypatch):
    """The mean of its own records, which count among the runs; of another folder's table it says nothing."""
    monkeypatch.setenv("DNLL_RESULTS", str(tmp_path))
    [ours] = [cell.experiment for cell in cells(1, "laptop") if cell.name == "DNLL 1000 lineage"]
    write(tmp_path / "tables", ours, [0.6])
    assert "45,000" not in laptop_table(1)
    write(tmp_path / "every-label", every_label(), [0.81, 0.83])
    assert "with 45,000 labels" in laptop_table(1) and ": 82.00 ± 1.41 % (n = 2)." in laptop_table(1)
    assert "<sub>3 runs;" in laptop_table(1)
    assert "45,000" not in laptop_table(1, tmp_path / "tables")


def test_tables_without_a_choice_of_labels_have_a_line_for_each_cell(tmp_path):
    for cell in cells(5, "short"):
        if cell.name in ("EPM m=3", "EP m=2"):
            write(tmp_path, cell.experiment, [0.8])
    head, *lines = lines_of(recorded_table(5, tmp_path))
    assert [dict(zip(head, line))["difference (points)"] for line in lines] == ["−13.76", "−14.29"]
    assert [line[0] for line in lines] == ["EP m=2", "EPM m=3"]


def test_the_papers_tables_and_where_dnll_stands():
    head, *lines = lines_of(printed_table(2))
    assert head == ["the paper's Table 2", "1000 labels", "4000 labels"]
    assert ["MixMatch", "**92.25**", "93.76"] in lines
    assert [OURS, "92.03", "**94.29**"] in lines
    assert ["Π model", "92.46", "–"] in lines_of(printed_table(3))
    assert standing(1, 1000) == (2, 13, "CCN", -0.08)
    assert standing(4, 100) == (1, 5, "Π model", 0.43)
    for table in LABELS:
        for labels in LABELS[table]:
            *_, rival, lead = standing(table, labels)
            assert accuracy(table, rival, labels) + lead == pytest.approx(accuracy(table, OURS, labels))


# -- pictures ----------------------------------------------------------------------------------------------------------


def test_photographs_are_always_there(tmp_path, monkeypatch):
    monkeypatch.setenv("DNLL_DATA", str(tmp_path))
    images = colour_images(30)
    assert images.shape == (30, 3, 32, 32)
    assert images.dtype == torch.uint8
    assert len(images[:12].unique(dim=0)) == 12
    assert (images.float().std(dim=(1, 2, 3)) > 5).all()  # none is of one colour


def test_views_are_shown_as_pixels():
    view = torch.tensor([-2.0, 0.0, 2.0, 9.0]).view(1, 1, 2, 2)
    assert shown_views(view, [0.5], [0.25]).tolist() == [[[0, 0.5], [1, 1]]]
    assert shown_views(view.expand(1, 3, 2, 2), [0.5] * 3, [0.25] * 3).shape == (1, 2, 2, 3)


def test_a_list_arrives_as_a_list_as_text_or_as_one_thing():
    assert names([1, "2 "]) == names("1, 2") == ["1", "2"]
    assert names(4) == ["4"]
    assert names(None) is names("none") is None
    assert names([]) == []
