"""The search ranks by validation accuracy, records every trial, and gives each method as many trials."""

import json

import pytest

from dnll_core import results, train
from dnll_core.campaign import search
from dnll_core.campaign.search import SEEDS, main
from dnll_core.config import Experiment
from dnll_core.study.experiments import adaptation, quickstart
from dnll_core.study.searches import ADAPTATION_CHOSEN, METHODS, chosen_changes
from dnll_core.study.settings import (
    AS_RECORDED,
    LAPTOP_CHOSEN,
    LAPTOP_EPOCHS,
    LAPTOP_FURTHER,
    LAPTOP_START,
    SEARCHES,
    at_length,
    laptop,
)
from dnll_core.study.tables import cells


def test_search_ranks_by_validation_accuracy(monkeypatch):
    base = Experiment(labels=20, labelled_batch=20, unlabelled_batch=512, epochs=1)
    monkeypatch.setitem(SEARCHES, "tiny", (base, [{"lr": 1e-6}, {"lr": 0.1}]))
    record = search.search("tiny", seeds=(0, 1))
    assert len(record["trials"]) == 2
    assert record["trials"][0]["mean"] >= record["trials"][1]["mean"]
    assert record["chosen"] == record["trials"][0]["changes"]
    for trial in record["trials"]:
        expected = [train(base.replace(**trial["changes"]), seed).final["validation"]["mean"] for seed in (0, 1)]
        assert trial["validation"] == pytest.approx(expected)
    assert "test" not in json.dumps(record["trials"])


def test_the_command_writes_its_record(monkeypatch, tmp_path, capsys):
    base = Experiment(labels=20, labelled_batch=20, unlabelled_batch=512, epochs=1)
    monkeypatch.setitem(SEARCHES, "tiny", (base, [{}]))
    main(["tiny", "--out", str(tmp_path)])
    record = json.loads((tmp_path / "tiny.json").read_text())
    assert record["chosen"] == {}
    assert len(record["trials"][0]["validation"]) == len(SEEDS)
    assert "written to" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["tiny", "--workers", "0"])


def test_a_trial_that_diverges_comes_last_and_does_not_end_the_search(monkeypatch):
    base = Experiment(labels=20, labelled_batch=20, unlabelled_batch=256, epochs=1)
    monkeypatch.setitem(SEARCHES, "tiny", (base, [{"lr": 1e30}, {"lr": 0.1}]))
    record = search.search("tiny", seeds=(0,))
    assert record["chosen"] == {"lr": 0.1}
    assert record["trials"][1] == {"changes": {"lr": 1e30}, "mean": None, "sd": None, "diverged": 1}


def test_unknown_search(monkeypatch):
    with pytest.raises(SystemExit, match=r"search='quikstart' is not known. Did you mean"):
        main(["quikstart"])
    with pytest.raises(SystemExit, match=r"search='typo' is not known"):
        main(["quickstart", "typo"])


def test_every_method_gets_as_many_trials():
    trials = {name: len(candidates) for name, (_, candidates) in SEARCHES.items()}
    assert trials["quickstart-supervised-1"] == trials["quickstart-dnll-1"] == 12
    assert trials["quickstart-supervised-2"] == trials["quickstart-dnll-2"]
    assert {n for name, n in trials.items() if name.startswith("methods-")} == {12}
    assert {n for name, n in trials.items() if name.startswith("adaptation-")} == {8}
    assert {n for name, n in trials.items() if name.startswith("laptop-") and name != "laptop-start"} == {6}


def recorded_search(name):
    return json.loads((results.RESULTS / "search" / f"{name}.json").read_text())


def of_digits(method):
    """The record of the search that a method of METHODS comes from."""
    stems = {"supervised": "quickstart-supervised-1", "dnll": "quickstart-dnll-1"}
    return recorded_search(stems.get(method, f"methods-{method}"))


def chosen_by(name):
    record = json.loads((results.RESULTS / "search" / f"{name}.json").read_text())
    return Experiment(**{**record["base"], **record["chosen"], "eval_every": 1})


def test_methods_use_what_the_searches_chose():
    stems = {name: f"methods-{name}" for name in METHODS}
    stems |= {"supervised": "quickstart-supervised-1", "dnll": "quickstart-dnll-1"}
    for name, experiment in METHODS.items():
        assert experiment == chosen_by(stems[name]), name
        if name.endswith("+dnll"):  # the base is not tuned again
            base = METHODS[name.removesuffix("+dnll")].to_dict()
            changed = {k for k, v in experiment.to_dict().items() if v != base[k]}
            assert changed <= {"method", "m", "lam", "teaching"}, name


def test_domain_adaptation_uses_the_best_of_both_stages():
    for name, experiment in ADAPTATION_CHOSEN.items():
        of = "supervised" if name == "source-only" else name
        stages = [f"adaptation-{of}", f"adaptation-{of}-2"]
        tops = [json.loads((results.RESULTS / "search" / f"{stage}.json").read_text())["trials"][0] for stage in stages]
        best = max(zip(tops, stages), key=lambda pair: pair[0]["mean"])[1]
        assert experiment == chosen_by(best), name


def test_the_laptops_table_uses_what_its_searches_chose():
    assert chosen_by("laptop-start") == LAPTOP_START
    for name, experiment in LAPTOP_CHOSEN.items():
        assert experiment == chosen_by(f"laptop-{name}"), name


@pytest.mark.parametrize("method", METHODS)
def test_what_a_search_of_the_digits_chose_is_taken_whole(method):
    """Put on the start that all methods have in common, on which fields it is, the choice is there again."""
    record, changes = of_digits(method), chosen_changes(method)
    assert record["chosen"].items() <= changes.items()
    tried = {name for trial in record["trials"] for name in trial["changes"]}
    assert tried <= changes.keys()
    common = Experiment(**{**of_digits("dnll")["base"], "strong": "noise"}).to_dict()  # with fields added later, too
    start = Experiment(**record["base"]).to_dict()
    own = {name for name, value in start.items() if value != common[name]} - {"eval_every"}
    assert changes.keys() == tried | own
    assert Experiment(**{**common, "eval_every": 1, **changes}) == METHODS[method]


def further(method):
    """What the rule gives a method without a search on MNIST, from the records of the searches alone."""
    record, start = of_digits(method), recorded_search("laptop-start")
    fields = start["base"] | start["chosen"] | {"method": method, "m": 1, "eval_every": 1} | record["chosen"]
    fields["teaching"] = record["base"]["teaching"]  # mutual learning's own, the others' default
    if method == "vat":
        fields["vat_eps"] *= 14 / 8
    return at_length(Experiment(**fields), LAPTOP_EPOCHS)


@pytest.mark.parametrize("method", LAPTOP_FURTHER)
def test_a_method_without_a_search_on_mnist_takes_what_the_digits_chose_but_in_its_recorded_cells(method):
    rule = further(method)
    assert rule.weight_decay == 5e-3  # what was lost
    elsewhere = {"dataset": "usps", "size": None, "weak": "auto", "strong": "auto"}
    assert laptop(method, "usps") == rule.replace(**elsewhere)
    assert laptop(method, "mnist") == rule.replace(**AS_RECORDED[method])
    ran = {cell.labels: cell.experiment.to_dict() for cell in cells(4, "laptop") if cell.method == method}
    recorded = results.load(results.RESULTS / "tables", dataset="mnist", method=method, network="small")
    assert {record["experiment"]["labels"]: record["experiment"] for record in recorded} == ran
    assert len(recorded) == len(ran) == 3


def test_the_departure_from_the_rule_covers_all_its_methods_and_no_other():
    assert set(AS_RECORDED) == set(LAPTOP_FURTHER)
    assert not set(LAPTOP_FURTHER) & set(LAPTOP_CHOSEN)


def test_trials_of_domain_adaptation_are_judged_without_target_labels(monkeypatch):
    base = adaptation(epochs=1)["dnll"]
    monkeypatch.setitem(SEARCHES, "tiny", (base, [{"lr": 1e-6}, {"lr": 0.1}]))
    record = search.search("tiny", seeds=(0,))
    for trial in record["trials"]:
        seen = train(base.replace(**trial["changes"]), 0, progress=False)
        assert [trial["mean"]] == trial["information"] == [pytest.approx(seen.history[-1]["target"]["information"])]
        assert trial["sd"] is None
    assert record["trials"][0]["mean"] >= record["trials"][1]["mean"]


def test_the_quickstart_uses_what_the_search_chose():
    """The settings in `study.experiments.quickstart` are the winner of the last recorded stage."""
    for method, experiment in quickstart().items():
        record = json.loads((results.RESULTS / "search" / f"quickstart-{method}-2.json").read_text())
        chosen = Experiment(**{**record["base"], **record["chosen"], "eval_every": 1})
        assert experiment == chosen


def test_self_training_uses_what_the_search_chose_and_no_search_is_without_its_record():
    import inspect

    from dnll_core.methods.classical import self_training

    record = json.loads((results.RESULTS / "search" / "quickstart-self-training.json").read_text())
    defaults = {name: p.default for name, p in inspect.signature(self_training).parameters.items()}
    assert defaults == record["chosen"]
    recorded = {path.stem for path in (results.RESULTS / "search").glob("*.json")}
    assert recorded == set(SEARCHES)
