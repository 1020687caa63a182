"""The plan names every claim, what is pooled for it, and how many are judged."""

from dnll_core.study.claims import EVEN, OWN_WEIGHT, claims
from dnll_core.study.plan import plan, rules
from dnll_core.study.scorecard import findings
from dnll_core.study.tables import cells


def test_every_claim_is_planned_with_what_is_pooled():
    table = plan().set_index("claim")
    assert list(table.index) == [claim.text for claim in claims()]
    sources = table.loc["EPM is better than equal probability", "sources"]
    assert sources == (
        "CIFAR-10 with WRN-28-2 (m = 1, 2, 3, 4); "
        "CIFAR-10 at 16 × 16 pixels with the cnn6 network; "
        "the digits with the small network (teaching = both, mutual, self); "
        "the digits with the small network (m = 1, 2, 3, 4)"
    )
    best = table.loc["m = 3 is the best of 1...4, at one λ for all as printed"]
    assert best["number"] == "m = 3 − m = 1; m = 3 − m = 2; m = 3 − m = 4"
    assert not (table["sources"] == "no cell yet").any()
    own = table.loc["The same with each m at its own best weight of the negatives", "sources"]
    assert own == "CIFAR-10 at 16 × 16 pixels with the cnn6 network"


def test_the_number_of_tests_is_that_of_the_claims_with_an_interval():
    [told] = [rule for rule in rules() if rule.startswith("At once")]
    n = len(claims()) - 2  # the two theorems are computed
    assert f"{n} claims have an interval, so up to {0.05 * n:.1f} false verdicts" in told
    today = findings()
    assert not today.loc[today["claim"].str.startswith("Theorem"), "low"].notna().any()
    assert today["low"].notna().sum() <= n


def test_nine_claims_are_asked_of_the_tables_of_cifar():
    of_tables = {cell.experiment for table in (1, 2, 5, 6) for cell in cells(table, "paper")}
    sources = {claim.text: [s for ask in claim.asked for s in getattr(ask, "sources", ())] for claim in claims()}
    asked = {text for text, of in sources.items() if any(setting[0] in of_tables for s in of for setting in s)}
    asked.add("The same with each m at its own best weight of the negatives")  # a laptop's alone
    assert len(asked) == 9
    assert "Nine of them are asked of Tables 1, 2, 5 and 6." in " ".join(rules())
    table = plan().set_index("claim")["sources"]
    smaller = {text for text in table.index if "CIFAR-10 at 16 × 16 pixels" in table[text]}
    assert smaller == asked


def test_the_rules_name_the_numbers_of_the_code():
    text = " ".join(rules())
    assert f"“{OWN_WEIGHT}”" in text and f"less than {EVEN:g}," in text
    readings = {cell.reading for table in (5, 6) for cell in cells(table, "paper")}
    assert "fixed weight" in readings and "such as the fixed weight" in text
