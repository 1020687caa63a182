"""The search ranks by validation accuracy, records every trial, and gives each method as many trials."""

import json

import pytest

from dnll_core import results, train
from dnll_core.campaign import search
from dnll_core.campaign.search import SEEDS, main
from dnll_core.config import Experiment
from dnll_core.study.experiments import adaptation, quickstart
from dnll_core.study.searches import ADAPTATION_CHOSEN, METHODS
from dnll_core.study.settings import LAPTOP_CHOSEN, LAPTOP_START, SEARCHES


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
