"""The search ranks by validation accuracy, records every trial, goes on, and gives each method as many trials."""

import contextlib
import dataclasses
import functools
import json
import statistics

import pytest
from campaign.test_tasks import inline
from fabricated import record

from dnll_core import results, train
from dnll_core.campaign import command, search, tasks, worker
from dnll_core.campaign.search import main
from dnll_core.campaign.tasks import Report
from dnll_core.campaign.worker import AFTERWARDS, CHECKPOINTS
from dnll_core.checks import opened
from dnll_core.config import Experiment
from dnll_core.methods.classical import CLASSIFIERS, Classical
from dnll_core.provenance import WHOLE, commit, source_hash
from dnll_core.study.experiments import adaptation, quickstart
from dnll_core.study.searches import CHOOSING, FIRST_SEEDS, REPORTED, SEARCHES, Search, chosen
from dnll_core.study.settings import (
    ADAPTATION_CHOSEN,
    EPOCHS,
    LAPTOP_CHOSEN,
    METHODS,
    NAMED,
    QUICKSTART,
    at_length,
    chosen_changes,
    laptop,
)
from dnll_core.study.tables import cells
from dnll_core.trainer import Trainer

BASE = Experiment(labels=20, labelled_batch=20, unlabelled_batch=512, epochs=1)


@pytest.fixture
def tiny(monkeypatch):
    """Sets the candidates of a search of this name, whose runs take place in this process."""
    monkeypatch.setattr(command, "processes", lambda workers, what: contextlib.nullcontext(inline(workers)))

    def candidates(*trials, start=BASE):
        monkeypatch.setitem(SEARCHES, "tiny", Search(start, list(trials)))

    return candidates


def searched(out, *arguments, seeds=1):
    main(["tiny", "--seeds", str(seeds), "--out", str(out), *arguments])
    return json.loads((out / "tiny.json").read_text(encoding="utf-8"))


def test_search_ranks_by_validation_accuracy(tiny, tmp_path):
    tiny({"lr": 1e-6}, {"lr": 0.1})
    record = searched(tmp_path, seeds=2)
    assert record["trials"][0]["mean"] >= record["trials"][1]["mean"]
    assert record["chosen"] == record["trials"][0]["changes"]
    assert record["seeds"] == list(FIRST_SEEDS[:2])
    for trial in record["trials"]:
        runs = [train(BASE.replace(**trial["changes"]), seed, progress=False) for seed in FIRST_SEEDS[:2]]
        assert trial["validation"] == [run.final["validation"]["mean"] for run in runs]


def test_a_timed_search_tells_the_seconds_of_each_run(monkeypatch, tiny, tmp_path):
    tiny({}, {"epochs": 2})
    assert all("seconds" not in trial for trial in searched(tmp_path)["trials"])
    monkeypatch.setitem(SEARCHES, "tiny", dataclasses.replace(SEARCHES["tiny"], timed=True))
    (tmp_path / "tiny.json").unlink()
    for trial in searched(tmp_path)["trials"]:
        ran = results.load(tmp_path / "tiny", epochs=trial["changes"].get("epochs", 1))
        assert trial["seconds"] == [record["seconds"] for record in ran]


@pytest.mark.long
def test_the_command_in_worker_processes(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(SEARCHES, "tiny", Search(BASE, [{}]))
    record = searched(tmp_path, "--workers", "2", seeds=4)
    assert record["chosen"] == {}
    assert len(record["trials"][0]["validation"]) == len(FIRST_SEEDS)
    assert "written to" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["tiny", "--workers", "0"])


def keys_of(value):
    if isinstance(value, dict):
        return set(value).union(*map(keys_of, value.values()))
    return set().union(*map(keys_of, value)) if isinstance(value, list) else set()


@pytest.mark.parametrize(
    "start", [BASE.replace(epochs=2, evaluations=3), Classical("label-spreading", "digits", labels=20)]
)
def test_what_a_search_writes_and_prints_knows_nothing_of_the_test_set(tiny, tmp_path, capsys, start):
    tiny({}, start=start)
    searched(tmp_path)
    [record] = results.load(tmp_path)
    assert record["final"].keys() == {"validation"}
    for path in tmp_path.rglob("*.json"):
        assert not [key for key in keys_of(json.loads(path.read_text(encoding="utf-8"))) if "test" in key], path
    shown = capsys.readouterr()
    assert "% on validation images" in shown.out
    assert "test" not in (shown.out + shown.err).replace(str(tmp_path), "")


def test_a_trial_that_diverges_comes_last_and_is_not_run_again(tiny, tmp_path, monkeypatch, capsys):
    tiny({"lr": 1e30}, {"lr": 0.1}, start=BASE.replace(unlabelled_batch=256))
    record = searched(tmp_path)
    assert record["chosen"] == {"lr": 0.1}
    assert record["trials"][1] == {"changes": {"lr": 1e30}, "mean": None, "sd": None, "diverged": 1}
    assert "diverged" in capsys.readouterr().out
    [diverged] = [r for r in results.load(tmp_path) if "diverged" in r]
    assert "stopped being finite" in diverged["diverged"]
    [sitting] = diverged["sittings"]
    assert (sitting["device"], sitting["threads"], sitting["seconds"]) == (diverged["device"], 1, None)
    assert not any((tmp_path / "tiny" / CHECKPOINTS).iterdir())
    monkeypatch.setattr(worker, "record_of", lambda *_: pytest.fail("run again"))
    before = (tmp_path / "tiny.json").read_bytes()
    (tmp_path / "tiny.json").unlink()
    searched(tmp_path)  # from the records alone
    assert (tmp_path / "tiny.json").read_bytes() == before


def test_the_record_of_a_search_is_sealed(tiny, tmp_path):
    tiny({"lr": 0.1})
    searched(tmp_path)
    path = tmp_path / "tiny.json"
    assert opened(path.read_bytes()) == search.summary("tiny", search.search_of("tiny", 1), tmp_path) | {"format": 2}
    with pytest.raises(ValueError, match="another SHA-256"):
        opened(path.read_bytes().replace(b'"lr": 0.1', b'"lr": 0.3'))


def test_a_search_that_was_cut_off_goes_on_and_finds_the_same(tiny, tmp_path, monkeypatch):
    """In the middle of its second run; no step of training is repeated but the one that was cut off."""
    tiny({"lr": 0.1}, {"lr": 0.03}, start=BASE.replace(epochs=3, unlabelled_batch=256))
    searched(tmp_path / "whole", seeds=2)
    step, steps = Trainer.train_step, []

    def cut_off(self, i):
        steps.append(i)
        if len(steps) == 20:
            raise KeyboardInterrupt
        return step(self, i)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_step", cut_off)
        patch.setattr(worker, "train", functools.partial(train, checkpoint_minutes=0))
        with pytest.raises(SystemExit, match="interrupted; the same command goes on"):
            searched(tmp_path / "parts", seeds=2)
        assert len(results.load(tmp_path / "parts")) == 1
        assert not (tmp_path / "parts" / "tiny.json").exists()
        assert len([*(tmp_path / "parts" / "tiny" / CHECKPOINTS).glob("*/checkpoint.safetensors")]) == 1
        searched(tmp_path / "parts", seeds=2)
    assert len(steps) == 4 * 12 + 1  # four runs of 12 iterations
    assert (tmp_path / "parts" / "tiny.json").read_bytes() == (tmp_path / "whole" / "tiny.json").read_bytes()


def test_minutes_bound_a_search_and_what_is_ready_is_written(tiny, tmp_path, monkeypatch, capsys):
    tiny({"lr": 0.1}, {"lr": 0.03})
    monkeypatch.setitem(SEARCHES, "tiny-2", Search(BASE, [{}]))
    real = worker.attempt
    monkeypatch.setattr(
        tasks, "attempt", lambda order: real((order[0], 0.0, "") if order[0].title == "tiny" else order)
    )
    main(["tiny", "--seeds", "1", "--out", str(tmp_path), "--minutes", "1"])
    out = capsys.readouterr().out
    assert "1 of 3 runs recorded" in out
    assert "2 left when the time was over; the same command goes on" in out
    assert "tiny: runs are missing, so nothing is chosen yet" in out
    assert [path.name for path in tmp_path.glob("*.json")] == ["tiny-2.json"]
    asked = []
    monkeypatch.setattr(search, "run_tasks", lambda left, pool, stop_at, **_: asked.append(stop_at) or Report())
    monkeypatch.setattr(search.time, "time", lambda: 1000.0)
    main(["tiny", "--seeds", "1", "--out", str(tmp_path), "--minutes", "40"])
    assert asked == [1000 + 60 * 40 - 30]


def test_a_search_refuses_a_package_with_uncommitted_changes(tiny, tmp_path, committed):
    tiny({})
    committed("0123456789ab+")
    with pytest.raises(SystemExit, match="uncommitted changes"):
        searched(tmp_path)
    assert not list(tmp_path.iterdir())
    assert searched(tmp_path, "--uncommitted")["chosen"] == {}


def test_a_search_takes_no_seed_of_another_stage_and_fewer_do_not_replace_its_summary(tiny, tmp_path):
    tiny({})
    with pytest.raises(SystemExit, match=r"--seeds takes at most 4 for tiny, not 5"):
        searched(tmp_path, seeds=5)
    searched(tmp_path, seeds=4)
    whole = (tmp_path / "tiny.json").read_bytes()
    searched(tmp_path, seeds=2)
    assert (tmp_path / "tiny.json").read_bytes() == whole
    for damaged in (b"{", b"[]", whole.replace(b'"tiny"', b'"tinx"')):  # written anew, from the records
        (tmp_path / "tiny.json").write_bytes(damaged)
        searched(tmp_path, seeds=4)
        assert (tmp_path / "tiny.json").read_bytes() == whole


def test_a_dry_run_of_a_search_names_every_run(tiny, tmp_path, capsys):
    tiny({}, {"lr": 0.1}, {"lr": BASE.lr})  # the first and the last are the same
    main(["tiny", "--seeds", "2", "--out", str(tmp_path), "--dry-run"])
    assert "4 runs" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "name", ["laptop-start", "digits-self-training-1", "digits-dnll-3", "adaptation-dnll", "methods-vat"]
)
def test_a_committed_search_is_the_summary_of_records_like_those_of_today(name, tmp_path):
    """Its records, made up from its own numbers, give it back."""
    committed = opened((results.root() / "search" / f"{name}.json").read_bytes())
    committed.pop("format", None)
    made = search.search_of(name)
    origin = {key: committed[key] for key in ("torch", "source_sha256", "commit")}
    for trial in committed["trials"]:
        for i, (config, seed) in enumerate(made.runs(trial["changes"])):
            made_up = record(config, seed) | origin
            if "diverged" in trial:
                del made_up["history"]
                made_up |= {"diverged": "the loss stopped being finite", "final": {}}
            else:
                scores = {"submodels": [trial["validation"][i]], "ensemble": 0.5}
                made_up["final"] = {"validation": scores | {"mean": trial["validation"][i]}}
                seen = {key: trial[key][i] for key in ("information", "agreement") if key in trial}
                made_up["history"] = [{"epoch": 1, "step": 10, "validation": scores, "target": seen}]
                made_up |= {AFTERWARDS: trial[AFTERWARDS][i]} if AFTERWARDS in trial else {}
            results.save(made_up, tmp_path / name)
    found = search.summary(name, made, tmp_path)
    assert list(found) == list(committed)
    assert found["base"].items() >= committed["base"].items()
    assert {**found, "base": 0} == {**committed, "base": 0}
    assert [list(trial) for trial in found["trials"]] == [list(trial) for trial in committed["trials"]]
    next((tmp_path / name).iterdir()).unlink()
    assert search.summary(name, made, tmp_path) is None


def test_a_search_that_went_on_at_another_commit_names_both(tiny, tmp_path):
    tiny({}, {"lr": 0.1})
    searched(tmp_path)
    path = next((tmp_path / "tiny").glob("*.json"))
    [other] = results.load(path.parent, lr=json.loads(path.read_text(encoding="utf-8"))["experiment"]["lr"])
    path.unlink()
    results.save(other | {"commit": "000000000000"}, path.parent)
    found = search.summary("tiny", search.search_of("tiny", 1), tmp_path)
    assert found["commit"] == f"000000000000, {commit()}"
    assert (found["source_sha256"], found["source_of"]) == (source_hash("run"), "run")
    del other["source_of"]  # as before hashes told what they are of
    path.unlink()
    old = {"source_sha256": "0" * 64, "sittings": [{**each, "source_sha256": "0" * 64} for each in other["sittings"]]}
    for each in old["sittings"]:
        del each["source_of"]
    results.save(other | old, path.parent)
    found = search.summary("tiny", search.search_of("tiny", 1), tmp_path)
    assert found["source_of"] == f"run, {WHOLE}" and "0" * 64 in found["source_sha256"]


def test_unknown_search(monkeypatch):
    with pytest.raises(SystemExit, match=r"search='quikstart' is not known. Did you mean"):
        main(["quikstart"])
    with pytest.raises(SystemExit, match=r"search='typo' is not known"):
        main(["quickstart", "typo"])


def test_every_method_gets_as_many_trials():
    trials = {name: len(search.candidates) for name, search in SEARCHES.items()}
    assert trials["quickstart-supervised-1"] == trials["quickstart-dnll-1"] == 12
    assert trials["quickstart-supervised-2"] == trials["quickstart-dnll-2"]
    for stage, number in ((1, 40), (2, 15), (3, 3)):
        of_stage = {n for name, n in trials.items() if name.startswith("digits-") and name.endswith(f"-{stage}")}
        assert of_stage - {trials["digits-dnll-3"]} <= {number}
    assert trials["digits-dnll-3"] == 4  # `searches.toml` says why
    assert {n for name, n in trials.items() if name.startswith("methods-")} == {12}
    assert {n for name, n in trials.items() if name.startswith("adaptation-")} == {8}
    assert {n for name, n in trials.items() if name.startswith("laptop-") and name != "laptop-start"} == {6}


def recorded_search(name):
    return json.loads((results.root() / "search" / f"{name}.json").read_text(encoding="utf-8"))


def of_digits(method):
    """The record of the search that a method of METHODS comes from."""
    return recorded_search(NAMED[method].digits)


@pytest.mark.parametrize("name", [name for name, search in SEARCHES.items() if search.chosen is not None])
def test_what_a_search_chose_is_the_best_of_its_record(name):
    record = recorded_search(name)
    assert record["chosen"] == record["trials"][0]["changes"] == SEARCHES[name].chosen
    config = chosen(name)
    kind = Classical if config.method in CLASSIFIERS else Experiment
    base = {field: value for field, value in record["base"].items() if field != "eval_every"}
    assert config == kind(**base | record["chosen"])


def test_the_addons_do_not_tune_their_base_again():
    for name in ("mean-teacher+dnll", "dual-student+dnll"):
        base = METHODS[name.removesuffix("+dnll")].to_dict()
        changed = {k for k, v in METHODS[name].to_dict().items() if v != base[k]}
        assert changed <= {"method", "m", "lam", "teaching"}, name


def test_domain_adaptation_uses_the_best_of_both_stages():
    for name, experiment in ADAPTATION_CHOSEN.items():
        of = "supervised" if name == "source-only" else name
        stages = [f"adaptation-{of}", f"adaptation-{of}-2"]
        best = max(stages, key=lambda stage: recorded_search(stage)["trials"][0]["mean"])
        assert experiment == chosen(best), name


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


@pytest.mark.parametrize("method", ["label-propagation", "pi-model+sntg", "dmt"])
def test_a_method_without_a_search_on_mnist_takes_what_the_digits_chose(method):
    """From the records of the searches alone."""
    record, start = of_digits(method), recorded_search("laptop-start")
    own = {name: record["base"][name] for name in chosen_changes(method)}
    fields = start["base"] | start["chosen"] | own | record["chosen"] | {"m": 1, "eval_every": 1}
    rule = at_length(Experiment(**fields), EPOCHS["laptop"]["mnist"])
    assert laptop(method, "mnist") == rule
    elsewhere = {"dataset": "usps", "size": None, "weak": "auto", "strong": "auto"}
    assert laptop(method, "usps") == rule.replace(**elsewhere)


def test_every_method_of_table_4_has_as_many_trials_on_mnist():
    assert {cell.method for cell in cells(4, "laptop")} == LAPTOP_CHOSEN.keys()
    assert {len(recorded_search(f"laptop-{method}")["trials"]) for method in LAPTOP_CHOSEN} == {6}


def test_trials_of_domain_adaptation_are_judged_without_target_labels(tiny, tmp_path):
    base = adaptation(epochs=1)["dnll"]
    tiny({"lr": 1e-6}, {"lr": 0.1}, start=base)
    record = searched(tmp_path)
    for trial in record["trials"]:
        seen = train(base.replace(**trial["changes"]), FIRST_SEEDS[0], progress=False)
        assert trial[AFTERWARDS] == [seen.final["test"]["mean"]]
        assert [trial["mean"]] == trial["information"] == [pytest.approx(seen.history[-1]["target"]["information"])]
        assert trial["sd"] is None
    assert record["trials"][0]["mean"] >= record["trials"][1]["mean"]


def test_the_quickstart_uses_what_the_last_stage_chose():
    assert quickstart() == {method: chosen(f"digits-{method}-3") for method in QUICKSTART}


def test_stages_of_the_quickstarts_searches_meet_on_no_split_and_report_on_none():
    stages = {name: set(search.seeds) for name, search in SEARCHES.items() if name.startswith("digits-")}
    assert {name.rsplit("-", 1)[0] for name in stages} == {f"digits-{method}" for method in QUICKSTART}
    for stage, seeds in ((1, CHOOSING[:4]), (2, CHOOSING[4:10]), (3, CHOOSING[10:])):
        assert all(own == set(seeds) for name, own in stages.items() if name.endswith(f"-{stage}"))
    for path in (results.root() / "search").glob("*.json"):
        assert not set(json.loads(path.read_text(encoding="utf-8"))["seeds"]) & set(REPORTED), path
    assert not set(CHOOSING) & set(REPORTED)


def test_trials_of_the_last_stages_are_ranked_by_mean_minus_one_sd():
    for method in QUICKSTART:
        trials = recorded_search(f"digits-{method}-3")["trials"]
        worth = [statistics.fmean(t["validation"]) - statistics.stdev(t["validation"]) for t in trials]
        assert worth == sorted(worth, reverse=True)
        runs = 40 if method in ("dnll", "supervised") else 10  # rounding does not move the others
        assert all(len(trial["validation"]) == runs for trial in trials)


def test_no_search_is_without_its_record():
    recorded = {path.stem for path in (results.root() / "search").glob("*.json")}
    assert recorded == set(SEARCHES)
