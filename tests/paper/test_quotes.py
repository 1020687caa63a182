"""The list of quotes that differ, against a second transcription of what it was made from, and its refusals."""

import dataclasses
import re

import pytest

from dnll_core import paper
from dnll_core.fields import ConfigError
from dnll_core.paper import DAGGERS, LABELS, NUMBERS, OURS, Key, accuracy, quotes
from dnll_core.paper.misprints import MISPRINTS
from dnll_core.paper.quotes import QUOTES

# Typed a second time: table, row, labels -> printed, in its own source, how that is known.
CELLS = {
    (1, "Mean Teacher", 1000): (81.78, 78.45, "read"),
    (1, "Mean Teacher", 2000): (85.67, 84.27, "read"),
    (1, "Mean Teacher", 4000): (88.59, 87.69, "read"),
    (1, "Π+SNTG", 4000): (88.64, 89.00, "from memory"),
    (1, "DCT", 4000): (90.97, 91.65, "from memory"),
    (2, "CL", 4000): (94.02, 94.91, "read"),
}
CLAIMS = {
    (4, "ImprovedGAN"): ("network", "read"),
    (4, "Triple GAN"): ("network", "read"),
    (1, "TSSDL"): ("family", "from memory"),
    (1, "TNAR-VAE"): ("family", "read"),
}
# What the systems' own sources were found to say of rows that the paper quotes rightly, as far as could be checked.
AGREEING = ["Π model", "Temporal ensembling", "LP-SSDL", "LP-SSDL-MT", "Temperature CCL", "TSSDL-MT", "CCN"]
AGREEING += ["VAT", "MixMatch", "DMT", "Dual Student", OURS]


def test_the_list_equals_a_second_transcription():
    cells, claims = {}, {}
    for quote in QUOTES:
        keys = [(quote.table, quote.method, labels) for labels in quote.labels]
        cells |= {key: (*pair, quote.known) for key, *pair in zip(keys, quote.printed, quote.own, strict=True)}
        if quote.claim:
            claims[quote.table, quote.method] = (quote.kind, quote.known)
    assert cells == CELLS
    assert claims == CLAIMS


def test_errors_that_entries_name_are_those_of_their_accuracies():
    """'21.55, 15.73 and 12.31 % error' in words, 78.45, 84.27, 87.69 as numbers."""
    of = {quote.name: quote for quote in QUOTES}
    for name in ("Mean Teacher on CIFAR-10", "Π + SNTG, 4000 labels"):
        told = [float(text) for text in re.findall(r"\d+\.\d\d", of[name].says)]
        own = of[name].own
        assert told[: len(own)] == [round(100 - value, 2) for value in own]
    assert round(100 - accuracy(1, "Π+SNTG", 4000), 2) == 11.36  # VAT's error, which its entry names
    assert "100 − 11.36" in of["Π + SNTG, 4000 labels"].says
    assert "94.91" in of["Curriculum Labeling, 4000 labels"].says


def test_printed_numbers_are_not_typed_a_second_time():
    for quote in QUOTES:
        words = " ".join([quote.says, quote.read, quote.memory, quote.also])
        assert not [value for value in quote.printed if f"{value:.2f}" in words], quote.name


def test_only_what_differs_is_listed():
    listed = {quote.method for quote in QUOTES}
    assert listed.isdisjoint(AGREEING)
    assert {key.method for key in NUMBERS if key.table in (1, 2, 4)} - listed - {*AGREEING} == {"Filtering CCL"}


def test_nothing_stands_in_both_lists():
    """The paper alone shows that Filtering CCL's row is a copy and that 93.34 falls: these are misprints."""
    where = {misprint.where: misprint for misprint in MISPRINTS}
    assert "Filtering CCL 81.78" in where["Table 1"].printed and "SNTG 93.34" in where["Table 4"].printed
    listed = {(quote.table, quote.method) for quote in QUOTES}
    assert listed.isdisjoint({(1, "Filtering CCL"), (4, "Π+SNTG")})
    assert where.keys().isdisjoint(quote.name for quote in QUOTES)


def test_daggers_are_those_of_the_tables():
    assert {quote.method: quote.dagger for quote in QUOTES} == {
        "Mean Teacher": False,
        "Π+SNTG": True,
        "DCT": False,
        "CL": False,
        "ImprovedGAN": True,
        "Triple GAN": True,
        "TSSDL": True,
        "TNAR-VAE": True,
    }
    assert (2, "Mean Teacher") in DAGGERS  # the row of the same name in the other table has one


def test_curriculum_labeling_as_it_reports_itself_is_above_dnll():
    [quote] = [quote for quote in QUOTES if quote.method == "CL"]
    assert quote.own[0] > max(key_value for key, key_value in NUMBERS.items() if key.table == 2 and key_value)
    assert "validation" in quote.also and "stronger views" in quote.also


def test_printed_follows_the_table(monkeypatch):
    [quote] = [quote for quote in QUOTES if quote.method == "CL"]
    monkeypatch.setitem(paper.NUMBERS, Key(2, "cifar10", "wrn28-2", "CL", 4000), 12.5)
    assert quote.printed == (12.5,)


@pytest.mark.parametrize("quote", QUOTES, ids=lambda quote: quote.name)
def test_entry(quote):
    assert quote.name and quote.says and quote.read
    assert set(quote.labels) <= set(LABELS[quote.table])
    with pytest.raises(dataclasses.FrozenInstanceError):
        quote.own = ()


NUMBER = 'kind = "number"\ntable = 2\nmethod = "CL"\nsays = "s"\nknown = "read"\nread = "r"\n'
CLAIM = 'kind = "family"\ntable = 1\nmethod = "TSSDL"\nsays = "s"\nknown = "from memory"\n'


def test_load(tmp_path):
    path = tmp_path / "quotes.toml"
    path.write_text(
        f'["one"]\n{NUMBER}labels = [1000, 4000]\nown = [1.0, 2.0]\n["two"]\n{CLAIM}memory = "m"\nclaim = "c"',
        encoding="utf-8",
    )
    one, two = quotes.load(path)
    assert (one.name, one.printed, one.own, one.dagger) == ("one", (90.61, 94.02), (1.0, 2.0), False)
    assert (two.name, two.printed, two.claim, two.dagger) == ("two", (), "c", True)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"{NUMBER}labels = [4000]\nown = [94.02]", "own: the paper prints 94.02 too; accepted: what differs"),
        (f"{NUMBER}labels = [4000]\nown = [100.5]", "own.0: "),
        (f"{NUMBER}labels = [1000, 4000]\nown = [94.91]", "own: 1 accuracies; accepted: 2, one for each cell."),
        (f"{NUMBER}labels = [2000]\nown = [94.91]", "labels=2000 is not known. Did you mean '4000'?"),
        (f"{NUMBER}", "kind 'number' takes labels and no claim."),
        (f'{NUMBER}claim = "c"', "kind 'number' takes labels and no claim."),
        (f'{NUMBER}labels = [4000]\nown = [1.0]\nclaim = "c"', "kind 'number' takes labels and no claim."),
        (f'{CLAIM}memory = "m"\nlabels = [1000]\nown = [1.0]', "kind 'family' takes a claim and no labels."),
        (f'{CLAIM}claim = "c"', "memory: it is empty; accepted: what is known 'from memory'."),
        (f'{CLAIM}claim = "c"\nread = "r"', "memory: it is empty"),
        (f'{NUMBER}labels = [4000]\nown = [1.0]\nprinted = "94.02"', "field='printed' is not known."),
        (NUMBER.replace("CL", "Cl") + "labels = [4000]\nown = [1.0]", "method='Cl' is not known. Did you mean 'CL'?"),
        (NUMBER.replace("2", "5") + "labels = [4000]\nown = [1.0]", "table=5 is not known. Accepted: 1, 2, 3, 4."),
        (CLAIM.replace("method", "methods"), "Field required: method"),
        (NUMBER.replace('"read"', '"surely"'), "known='surely' is not known."),
        ('kind = "number"\ntable = 1\nmethod = "DCT"\nlabels = [1000]\nown = [1.0]\nsays = "s"\nknown = "read"',
         "own: the paper prints None too"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(tmp_path, text, told):
    path = tmp_path / "quotes.toml"
    path.write_text(f'["one"]\n{text}', encoding="utf-8")
    with pytest.raises(ConfigError, match=re.escape(f"{path}: in [one] {told}")):
        quotes.load(path)
