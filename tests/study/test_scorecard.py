"""Every number of the paper stands beside ours, or beside the reason why there is none."""

import json
import math

import pandas as pd
import pytest
from fabricated import write

from dnll_core.config import Experiment
from dnll_core.paper import NUMBERS, OURS, SECONDS
from dnll_core.study.rivals import gans
from dnll_core.study.scorecard import compared, findings, key_of, missing_because, rows, tally, verdict
from dnll_core.study.statistics import at_once
from dnll_core.study.tables import cells


def named(table, profile="paper"):
    return {cell.name: cell for cell in cells(table, profile)}


def bench(folder, **seconds):
    """A benchmark with ten equal times of each method; the paper's ratios to Mean Teacher are about 2."""
    batch = {"labelled_batch": 50, "unlabelled_batch": 50}
    fields = Experiment(dataset="cifar10", labels=4000, network="cnn13", **batch).to_dict()
    common = {"device": "a GPU", "precision": "float32", "experiment": fields}
    settings = {name: {**common, "train": [t] * 10, "inference": [0.1] * 10} for name, t in seconds.items()}
    (folder / "bench").mkdir(parents=True)
    (folder / "bench" / "table7.json").write_text(json.dumps({"settings": settings}), encoding="utf-8")


def test_compared_by_hand(tmp_path):
    cell = named(5)["EPM m=3"]
    write(tmp_path, cell.experiment, [0.90, 0.92], curve=[0.5, 0.95, 0.9])
    table = compared(cells(5, "paper"), tmp_path)
    line = table.loc["EPM m=3"]
    assert line["n"] == 2
    assert line["last epoch (%)"] == "91.00 ± 1.41"  # sd of 90 and 92 is sqrt 2
    assert line["best on test (%)"] == "96.00 ± 0.00"  # the better submodel in the second epoch
    assert (line["paper (%)"], line["difference (points)"]) == (94.29, pytest.approx(-3.29))
    assert (line["seconds a run"], line["device"], line["why not"]) == (10.5, "a device", "")
    other = table.loc["EP m=1"]
    assert (other["n"], other["last epoch (%)"], other["paper (%)"]) == (0, "not recorded", 92.9)
    assert math.isnan(other["difference (points)"])
    assert other["why not"] == "needs a GPU: 100 epochs of WRN-28-2"
    assert list(table.index) == [cell.name for cell in cells(5, "paper")]


def test_a_number_without_a_partner_has_no_difference(tmp_path):
    cell = named(5)["EPM m=3 fixed weight"]
    write(tmp_path, cell.experiment, [0.9])
    line = compared([cell], tmp_path).loc[cell.name]
    assert line["last epoch (%)"] == "90.00"
    assert math.isnan(line["paper (%)"])
    assert math.isnan(line["difference (points)"])


def test_what_a_missing_cell_needs():
    assert missing_because(named(3)["DNLL 1000"]) == "needs a GPU and a download of SVHN: 100 epochs of WRN-28-2"
    assert missing_because(named(4, "short")["DNLL 20 noise"]) == "needs a GPU: 32 epochs of CNN-13"
    assert missing_because(named(4, "laptop")["DNLL 20 noise"]) == "not run yet; a CPU is enough"


@pytest.mark.parametrize(
    ("ours", "sd", "expected"),
    [
        (93.80, math.nan, "green"),  # 0.49 below
        (93.78, math.nan, "red"),  # 0.51 below
        (93.78, 0.1, "red"),
        (93.78, 0.6, "green"),  # within our deviation
        (95.0, 0.1, "green"),
    ],
)
def test_the_rule(ours, sd, expected):
    assert verdict(ours, sd, 94.29) == expected


def test_every_number_of_the_paper_has_its_row(tmp_path):
    table = rows(tmp_path)
    accuracies = table[table["table"] <= 6]
    keys = ["table", "dataset", "network", "row", "labels", "selection", "m"]
    found = {tuple(None if pd.isna(v) else v for v in row) for row in accuracies[keys].itertuples(index=False)}
    assert found == {tuple(key) for key, value in NUMBERS.items() if value is not None}
    for row in accuracies.itertuples():
        [printed] = [
            v
            for k, v in NUMBERS.items()
            if (k.table, k.method, k.labels) == (row.table, row.row, row.labels)
            and (pd.isna(row.selection) or k.selection == row.selection)
            and (pd.isna(row.m) or k.m == row.m)
        ]
        assert row.printed == printed
    assert len(table[table["table"] == 7]) == len(SECONDS)
    assert set(table["verdict"]) == {"missing", "not attempted", "reference"}
    assert (table["n"] == 0).all()
    missing = table[(table["verdict"] == "missing") & (table["table"] <= 6)]
    own = missing["row"] == "ImprovedGAN"  # in a network that a CPU can train
    assert missing[~own]["why"].str.contains("needs a GPU").all()
    assert missing[own]["why"].str.contains("a CPU is enough").all()
    assert sorted(missing[own]["labels"]) == [20, 50, 100]
    rivals = table[table["verdict"] == "not attempted"]
    assert all(why.startswith(f"not attempted: {row}") for row, why in zip(rivals["row"], rivals["why"]))
    why = rivals.groupby("row")["why"].first()
    assert why["Π model"] == "not attempted: Π model"
    assert why["DMT"] == "not attempted: DMT, but on smaller images (DMT)"
    assert {row for row in why.index if "our reading, and no reading fills a box" in why[row]} == {
        *("TSSDL", "TSSDL-MT", "Filtering CCL", "Temperature CCL", "CCN")
    }
    assert not {"DNLL (Ours)", "SL", "ML"} & set(rivals["row"])


def test_a_cell_finds_its_number():
    for table in (1, 2, 3, 4, 5, 6):
        for cell in cells(table, "paper"):
            if cell.printed is not None:
                assert NUMBERS[key_of(cell)] == cell.printed


def of(table, cell):
    [row] = table[table["cell"] == cell].to_dict("records")
    return row


def test_the_longest_recorded_profile_counts(tmp_path):
    folder = tmp_path / "tables"
    write(folder, named(1, "short")["DNLL 4000 literal"].experiment, [0.92])
    write(folder, named(1, "short")["DNLL 1000 literal"].experiment, [0.80])
    write(folder, named(1, "paper")["DNLL 1000 literal"].experiment, [0.87, 0.89])
    write(folder, named(4, "laptop")["DNLL 20 noise"].experiment, [0.95])
    write(folder, named(4, "quick")["DNLL 20"].experiment, [0.999])
    table = rows(tmp_path)
    one, four = (of(table[table["table"] == 1], f"DNLL {labels} literal") for labels in (1000, 4000))
    assert (one["profile"], one["n"], one["verdict"]) == ("paper", 2, "green")
    assert (one["ours"], one["difference"]) == (pytest.approx(88), pytest.approx(88 - 87.87))
    assert (four["profile"], four["n"], four["verdict"]) == ("short", 1, "green")
    assert of(table[table["table"] == 1], "DNLL 1000 lineage")["verdict"] == "missing"
    mnist = table[table["table"] == 4]
    assert of(mnist, "DNLL 20 noise")["profile"] == "laptop"
    assert of(mnist, "DNLL 20 literal")["verdict"] == "missing"  # the digits are not MNIST
    assert sum(table["verdict"].isin(("green", "red"))) == 2


@pytest.mark.parametrize("accuracy", [0.5, 0.9999])
def test_a_smaller_network_neither_reaches_nor_misses_a_number(tmp_path, accuracy):
    write(tmp_path / "tables", named(4, "laptop")["DNLL 20 noise"].experiment, [accuracy])
    row = of(rows(tmp_path), "DNLL 20 noise")
    assert (row["verdict"], row["profile"], row["n"]) == ("smaller network", "laptop", 1)
    assert row["ours"] == pytest.approx(100 * accuracy)
    assert math.isnan(row["difference"])
    write(
        tmp_path / "tables", named(4, "short")["DNLL 20 noise"].experiment, [accuracy]
    )  # the paper's network goes first
    row = of(rows(tmp_path), "DNLL 20 noise")
    assert (row["profile"], row["verdict"]) == ("short", "green" if accuracy > 0.9 else "red")


def test_a_table_at_another_number_of_labels_fills_no_box(tmp_path):
    write(tmp_path / "tables", named(5, "laptop")["EPM m=3"].experiment, [0.8])
    row = of(rows(tmp_path), "EPM m=3")
    assert (row["verdict"], row["labels"], row["printed"]) == ("missing", 4000, 94.29)
    assert len(rows(tmp_path)) == len(rows(tmp_path / "none"))


@pytest.mark.parametrize(("accuracy", "told"), [(0.9906, "green"), (0.98, "red")])
def test_a_system_with_its_own_network_fills_its_box(tmp_path, accuracy, told):
    write(tmp_path / "gans", gans()["improved-gan 100"], [accuracy])
    write(tmp_path / "gans", gans()["improved-gan 100, our network"], [0.5])
    table = rows(tmp_path)
    table = table[table["row"] == "ImprovedGAN"].set_index("labels")
    assert table["verdict"].to_dict() == {20: "missing", 50: "missing", 100: told}
    assert table.loc[100, "ours"] == pytest.approx(100 * accuracy)
    assert table.loc[100, "difference"] == pytest.approx(100 * accuracy - 99.07)
    assert table.loc[100, "n"] == 1


def test_runs_of_another_campaign_are_not_the_tables(tmp_path):
    write(tmp_path / "tables", named(4, "laptop")["DNLL 20 noise"].experiment, [0.9, 0.8])
    write(tmp_path / "rivals-mnist", named(4, "laptop")["DNLL 20 noise"].experiment, [0.5, 0.5, 0.5])
    row = of(rows(tmp_path), "DNLL 20 noise")
    assert (row["n"], row["ours"]) == (2, pytest.approx(85))


def test_times_are_compared_as_ratios(tmp_path):
    bench(tmp_path, **{"mean-teacher": 1.0, "dual-student": 3.0, "dnll": 2.0})
    table = rows(tmp_path)
    table = table[table["table"] == 7].set_index(["selection", "row"])
    train = table.loc["train"]
    assert train.loc["DNLL (Ours)", "printed"] == pytest.approx(0.143 / 0.072)
    assert train.loc["DNLL (Ours)", "ours"] == pytest.approx(2.0)
    assert list(train["verdict"]) == ["reference", "red", "green"]
    assert list(table.loc["inference"]["verdict"]) == ["reference", "green", "green"]
    assert "0.143 s there, 2.000 s on a GPU" in train.loc["DNLL (Ours)", "why"]


def test_findings_is_a_table_of_all_claims(tmp_path):
    table = findings(tmp_path)
    recorded = table[table["verdict"] != "not recorded"]
    assert list(recorded["data"]) == ["computed", "computed"]  # the two theorems need no runs
    assert recorded["claim"].str.startswith("Theorem").all()
    assert at_once(table).startswith("0 claims are judged at once")


def test_a_claim_says_what_it_was_judged_on_and_how_many_there_are(tmp_path):
    bench(tmp_path, **{"mean-teacher": 1.0, "dual-student": 3.0, "dnll": 2.0})
    for name, accuracy in (("DNLL", 0.9), ("Mean Teacher", 0.8)):
        write(tmp_path, named(4, "laptop")[f"{name} 20 noise"].experiment, [accuracy, accuracy + 0.01, accuracy])
    write(tmp_path, named(4, "laptop")["Dual Student 20 noise"].experiment, [0.5])  # one seed: no interval
    table = findings(tmp_path).set_index("claim")
    row = table.loc["DNLL is more accurate than Mean Teacher, on MNIST at 14 × 14 pixels with the small network"]
    assert (row["verdict"], row["difference"], row["n"]) == ("holds", pytest.approx(10), 3)
    assert (row["low"], row["high"]) == (pytest.approx(10), pytest.approx(10))
    other = table.loc["DNLL is more accurate than Dual Student, on MNIST at 14 × 14 pixels with the small network"]
    assert (other["verdict"], other["n"]) == ("undecided", 1) and math.isnan(other["low"])
    told = at_once(table)  # five times and one lead
    assert told.startswith("6 claims are judged at once")
    assert f"so up to {6 * 0.05:.1f} false verdicts are to be expected" in told


def test_the_tally_counts_by_hand():
    boxes = [
        (1, OURS, "red", 92.06, 83.0),
        (2, OURS, "green", 94.29, 95.0),
        (5, "EPM", "green", 94.29, 95.0),  # the same run once more
        (6, "ML", "green", 94.29, 95.0),
        (6, "SL", "red", 93.03, 90.0),
        (4, "ImprovedGAN", "green", 83.23, 85.0),
        (7, OURS, "green", 1.99, 1.6),
        (7, "Mean Teacher", "reference", 1, 1),
        (1, OURS, "smaller network", 92.06, 68.0),
        (1, "Mean Teacher", "missing", 88.59, None),
        (3, OURS, "missing", 96.41, None),
        (1, "TNAR-VAE", "not attempted", 90, None),
    ]
    numbers = pd.DataFrame(boxes, columns=["table", "row", "verdict", "printed", "ours"])
    verdicts = [("a", "holds"), ("b", "does not hold"), ("c", "undecided"), ("d", "does not hold"), ("e", "holds")]
    told = tally(numbers, pd.DataFrame(verdicts, columns=["claim", "verdict"])).split("\n")
    assert told[0].startswith(
        "- **Numbers** that reach the paper's (a run that stands in several tables counts once): 1 of 3 accuracies of "
        "DNLL, 1 of 1 of its rivals (ImprovedGAN), 1 of 1 times relative to Mean Teacher's"
    )
    assert told[0].endswith("1 are of a smaller network and not compared, 2 have no record yet.")
    assert told[1] == ("- **Claims**: 2 hold, 2 do not, 1 are undecided. Not supported: “b”; “d”.")
    assert tally(numbers[:0], pd.DataFrame(columns=["claim", "verdict"])).endswith("Not supported: none.")
