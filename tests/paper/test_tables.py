"""The paper's numbers against a second transcription of its tables; its misprints against those numbers."""

import dataclasses
import re

import pytest

from dnll_core import paper
from dnll_core.fields import ConfigError
from dnll_core.paper import DAGGERS, NUMBERS, OURS, SECONDS, SETTINGS, Key, accuracy, misprints
from dnll_core.paper.misprints import MISPRINTS
from dnll_core.paper.tables import Table, cells

# Typed a second time, a table per block; the first line holds the numbers of labels.
TABLES = {
    1: """
        1000 2000 4000
        Π model† | 68.35 82.43 87.64
        Temporal ensembling† | 76.69 84.36 87.84
        Mean Teacher | 81.78 85.67 88.59
        Π+SNTG† | 78.77 85.35 88.64
        LP-SSDL† | 77.98 84.34 87.31
        LP-SSDL-MT† | 83.07 86.78 89.39
        Filtering CCL† | 81.78 85.67 88.59
        Temperature CCL† | 83.01 87.43 89.37
        TSSDL† | 78.87 85.35 89.10
        TSSDL-MT† | 81.59 86.46 90.70
        TNAR-VAE† | - - 91.15
        DCT | - - 90.97
        Dual Student | 85.83 89.28 91.11
        CCN | 87.95 89.63 91.2
        DNLL (Ours) | 87.87 90.65 92.06""",
    2: """
        1000 4000
        VAT† | 81.36 88.95
        Mean Teacher† | 82.68 89.64
        CL | 90.61 94.02
        MixMatch | 92.25 93.76
        DMT | 91.51 94.21
        DNLL (Ours) | 92.03 94.29""",
    3: """
        1000 4000
        Pseudo-Labeling | 90.06 -
        Π model | 92.46 -
        VAT† | 94.02 95.80
        Mean Teacher† | 96.25 96.61
        DNLL (Ours) | 96.41 96.84""",
    4: """
        20 50 100
        ImprovedGAN† | 83.23 97.79 99.07
        Triple GAN† | 95.19 98.44 99.09
        Π model† | 93.68 98.98 99.11
        Π+SNTG† | 98.64 99.06 93.34
        DNLL (Ours) | 99.19 99.32 99.54""",
}
SETUP = {1: ("cifar10", "cnn13"), 2: ("cifar10", "wrn28-2"), 3: ("svhn", "wrn28-2"), 4: ("mnist", "cnn13")}


def transcribed():
    numbers, daggers = {}, set()
    for table, text in TABLES.items():
        labels, *rows = text.strip().splitlines()
        for row in rows:
            name, cells = (part.strip() for part in row.split("|"))
            if name.endswith("†"):
                name = name[:-1]
                daggers.add((table, name))
            for label, cell in zip(labels.split(), cells.split(), strict=True):
                numbers[Key(table, *SETUP[table], name, int(label))] = None if cell == "-" else float(cell)
    for selection, row in {"ep": "92.9 93.76 94.01 93.78", "epm": "93.12 93.84 94.29 93.77"}.items():
        for m, cell in enumerate(row.split(), start=1):
            numbers[Key(5, "cifar10", "wrn28-2", OURS, 4000, selection, m)] = float(cell)
    for name, selection, value in (
        ("SL", "ep", 92.78),
        ("SL", "epm", 93.03),
        ("ML", "ep", 94.01),
        ("ML", "epm", 94.29),
    ):
        numbers[Key(6, "cifar10", "wrn28-2", name, 4000, selection)] = value
    return numbers, daggers


def test_tables_1_to_6_equal_a_second_transcription():
    numbers, daggers = transcribed()
    assert numbers == NUMBERS
    assert daggers == DAGGERS
    assert len(NUMBERS) == 15 * 3 + 6 * 2 + 5 * 2 + 5 * 3 + 8 + 4


def test_table_7_and_the_ratio_the_paper_states():
    assert SECONDS == {
        ("train", "Mean Teacher"): 0.072,
        ("train", "Dual Student"): 0.145,
        ("train", OURS): 0.143,
        ("inference", "Mean Teacher"): 0.0183,
        ("inference", "Dual Student"): 0.0189,
        ("inference", OURS): 0.0184,
    }
    assert SECONDS["train", OURS] / SECONDS["train", "Mean Teacher"] == pytest.approx(2, abs=0.02)  # section 4.9


def test_best_in_every_table_but_the_two_cells_of_1000_labels():
    behind = []
    for table, labels in {(key.table, key.labels) for key in NUMBERS if key.table <= 4}:
        cells = {key.method: v for key, v in NUMBERS.items() if (key.table, key.labels) == (table, labels) and v}
        if max(cells, key=cells.get) != OURS:
            behind.append((table, labels))
    assert sorted(behind) == [(1, 1000), (2, 1000)]


def test_settings_of_section_4():
    value = {name: v for name, (v, _section) in SETTINGS.items()}
    assert (value["lr"], value["weight_decay"], value["momentum"], value["batch_size"]) == (0.03, 5e-4, 0.9, 256)
    assert value["validation_per_class"] == {"cifar10": 500, "svhn": 500, "mnist": 50}
    assert all(section[0] in "34" for _value, section in SETTINGS.values())


def test_lookup():
    assert accuracy(2, OURS, 4000) == 94.29
    assert accuracy(5, OURS, 4000, "epm", 4) == 93.77
    assert accuracy(6, "SL", 4000, "ep") == 92.78
    assert accuracy(table=1, method="DCT", labels=1000) is None


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ((1, "dnll (ours)", 1000), "method='dnll (ours)' is not known"),
        ((1, "CNN", 1000), "Accepted: CCN, DCT, DNLL (Ours), Dual Student"),
        ((1, OURS, 500), "labels=500 is not known"),
        ((1, OURS, 500), "1000, 2000, 4000. (in Table 1)"),
        ((5, OURS, 4000), "selection=None is not known. Accepted: ep, epm."),
        ((5, OURS, 4000, "epm", 5), "Accepted: 1, 2, 3, 4."),
        ((7, OURS, 4000), "Accepted: 1, 2, 3, 4, 5, 6. (Table 7 is SECONDS)"),
    ],
)
def test_lookup_of_a_cell_that_is_not_there_says_what_is(cell, message):
    with pytest.raises(KeyError, match=re.escape(message)):
        accuracy(*cell)


TWO_LABELS = Table({"1K": {"labels": 1000}, "4K": {"labels": 4000}}, rows={"Ours": {"method": OURS}})


def test_cells_of_a_printed_table(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("Method,1K,4K\nA†,0,90.10\nOurs,-,100\n", encoding="utf-8")
    assert list(cells(path, TWO_LABELS)) == [
        ({"method": "A", "labels": 1000}, True, 0.0),
        ({"method": "A", "labels": 4000}, True, 90.1),
        ({"method": OURS, "labels": 1000}, False, None),
        ({"method": OURS, "labels": 4000}, False, 100.0),
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "its columns are []; accepted: ['1K', '4K']."),
        ("Method,1K,2K\nOurs,1,2", "its columns are ['1K', '2K']; accepted: ['1K', '4K']."),
        ("Method,1K\nOurs,1", "its columns are ['1K']; accepted:"),
        ("Method,1K,4K\nOurs,1", "row 'Ours' has 1 numbers; accepted: 2."),
        ("Method,1K,4K\nOurs,1,2,3", "row 'Ours' has 3 numbers; accepted: 2."),
        ("Method,1K,4K\nA,1,2\nA†,1,2\nOurs,1,2", "row 'A' is there twice; accepted: once."),
        ("Method,1K,4K\nA,1,100.1", "row 'A', column '4K' is '100.1'; accepted: 0 to 100, or '-'."),
        ("Method,1K,4K\nA,-1,2", "row 'A', column '1K' is '-1'; accepted: 0 to 100, or '-'."),
        ("Method,1K,4K\nA,,2", "row 'A', column '1K' is ''; accepted:"),
        ("Method,1K,4K\nA,nan,2", "row 'A', column '1K' is 'nan'; accepted:"),
        ("Method,1K,4K\nA,1,2", "there is no row 'Ours'; its rows are ['A']."),
    ],
)
def test_a_printed_table_that_does_not_fit_is_refused(tmp_path, text, told):
    path = tmp_path / "table.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=re.escape(f"{path}: {told}")):
        list(cells(path, TWO_LABELS))


@pytest.mark.parametrize("misprint", MISPRINTS, ids=lambda misprint: misprint.where)
def test_misprint(misprint):
    assert all([misprint.where, misprint.printed, misprint.correct, misprint.how_checked])
    assert misprint.extraction == ("in the text used" in misprint.printed)
    assert misprint.check is None or misprint.check() is True
    with pytest.raises(dataclasses.FrozenInstanceError):
        misprint.correct = ""


def test_misprints_are_listed_once_and_computed_where_a_number_is_at_stake():
    assert len({misprint.where for misprint in MISPRINTS}) == len(MISPRINTS)
    assert all(misprint.check for misprint in MISPRINTS if misprint.kind in ("number", "table"))


ENTRY = 'kind = "number"\nprinted = "1"\ncorrect = "2"\nhow_checked = "read"\n'


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f'["abstract"]\n{ENTRY}check = "ones"', "[abstract] check='ones' is not known. Did you mean 'one'?"),
        (f'["abstract"]\n{ENTRY}check = 3', "[abstract] check=3 is not known."),
        (f'["abstract"]\n{ENTRY}', "no entry names the check 'one'."),
        ('["abstract"]\nkind = "numbers"', "[abstract] kind='numbers' is not known. Did you mean 'number'?"),
    ],
)
def test_misprints_and_checks_that_do_not_belong_together_are_refused(monkeypatch, tmp_path, text, told):
    path = tmp_path / "misprints.toml"
    monkeypatch.setattr(misprints, "CHECKS", {"one": lambda: True})
    path.write_text(f'["Table 1"]\n{ENTRY}check = "one"', encoding="utf-8")
    [entry] = misprints.load(path)
    assert (entry.where, entry.kind, entry.check()) == ("Table 1", "number", True)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=re.escape(told)):
        misprints.load(path)


@pytest.mark.parametrize(
    ("where", "key", "value"),
    [
        ("abstract", Key(1, "cifar10", "cnn13", OURS, 1000), 90.65),
        ("abstract, section 5", Key(2, "cifar10", "wrn28-2", "MixMatch", 1000), 92.02),
        ("section 3.3.1 against Table 2", Key(5, "cifar10", "wrn28-2", OURS, 4000, "epm", 3), 94.2),
        ("Table 1", Key(1, "cifar10", "cnn13", "Filtering CCL", 2000), 85.66),
        ("section 4.3, DMT", Key(2, "cifar10", "wrn28-2", "DMT", 1000), 91.62),
        ("Table 4", Key(4, "mnist", "cnn13", "Π+SNTG", 100), 99.34),
        ("section 4.4, Table 5", Key(5, "cifar10", "wrn28-2", OURS, 4000, "epm", 4), 93.79),
    ],
)
def test_a_check_fails_once_the_table_no_longer_contradicts(monkeypatch, where, key, value):
    assert key in NUMBERS
    monkeypatch.setitem(paper.NUMBERS, key, value)
    (misprint,) = [misprint for misprint in MISPRINTS if misprint.where == where]
    assert misprint.check() is False


def test_a_table_that_is_not_in_utf_8_is_named(tmp_path):
    path = tmp_path / "table1.csv"
    path.write_bytes("Method,1K\nÉ,1\n".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"table1.csv is not CSV: .*; accepted: text in UTF-8"):
        list(cells(path, Table(columns={"1K": {"labels": 1000}})))
