"""Records: what a run writes, what is read back, and the committed ones against their own configuration."""

import json
import math
import pickle
import statistics
from pathlib import Path

import pytest

from dnll_core import Experiment, load_data, results, train
from dnll_core.config import ConfigError
from dnll_core.data import split_labels
from dnll_core.methods.classical import CLASSIFIERS, Classical, run_classical
from dnll_core.results import RecordError

FAST = {"labels": 20, "labelled_batch": 20, "unlabelled_batch": 512, "epochs": 2, "lr": 0.1}
COMMITTED = sorted(p for p in results.RESULTS.rglob("*-seed*.json") if "search" not in p.parts)
TRIALS = sorted((results.RESULTS / "search").rglob("*-seed*.json"))


@pytest.fixture(scope="module")
def run():
    return train(Experiment(**FAST), 3)


def test_record_round_trip(run, tmp_path):
    path = run.save(tmp_path)
    [read] = results.load(tmp_path)
    assert read == run.record()
    assert path.name.startswith("digits-20-dnll-")
    assert path.name.endswith("-seed3.json")
    assert [p.name for p in tmp_path.iterdir()] == [path.name]  # no temporary file stays
    assert results.load(tmp_path, method="supervised") == []
    assert Experiment(**read["experiment"]) == run.experiment


def test_record_holds_what_a_reader_needs(run):
    record = run.record()
    for key in ("labels_sha256", "source_sha256", "commit", "device", "precision", "torch", "seconds"):
        assert key in record
    assert record["images_per_second"] > 0
    assert record["labels_sha256"] == split_labels(load_data("digits"), 20, 3).hash()
    assert len(record["source_sha256"]) == 64
    last = record["history"][-1]
    assert record["final"]["test"]["mean"] == pytest.approx(statistics.fmean(last["test"]["submodels"]))
    best = max(a for row in record["history"] for a in row["test"]["submodels"])
    assert record["best_on_test"]["accuracy"] == best


def test_different_experiments_get_different_files(run, tmp_path):
    other = run.record()
    other["experiment"] = {**other["experiment"], "lr": 0.2}
    assert results.save(other, tmp_path) != results.save(run.record(), tmp_path)


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"experiment": 3'])
def test_an_unreadable_record_is_named(tmp_path, content):
    (tmp_path / "digits-seed0.json").write_text(content)
    with pytest.raises(RecordError, match=r"digits-seed0\.json is not a readable run record"):
        results.load(tmp_path)


def fake(final, curve):
    history = [{"epoch": i + 1, "test": {"submodels": list(pair), "ensemble": 0.5}} for i, pair in enumerate(curve)]
    return {"final": {"test": {"mean": final, "ensemble": 0.5}}, "history": history, "seconds": 2.0}


def test_accuracies():
    group = [fake(0.8, [(0.7, 0.9), (0.8, 0.8)]), fake(0.6, [(0.5, 0.5), (0.6, 0.6)])]
    assert results.accuracies(group) == [0.8, 0.6]
    assert results.accuracies(group, which="best") == [0.9, 0.6]
    assert results.accuracies(group, which="ensemble") == [0.5, 0.5]
    mean, sd = results.mean_sd([0.8, 0.6])
    assert (mean, sd) == (pytest.approx(0.7), pytest.approx(math.sqrt(0.02)))


def test_classical_records_fit_beside_runs(tmp_path):
    record = run_classical("label-spreading", "digits", 20, 0)
    results.save(record, tmp_path)
    [read] = results.load(tmp_path)
    assert results.accuracies([read]) == results.accuracies([read], which="best")
    assert read["labels_sha256"] == split_labels(load_data("digits"), 20, 0).hash()


def test_classical_against_scikit_learn_used_by_hand():
    import numpy as np
    from sklearn.semi_supervised import LabelSpreading

    data = load_data("digits")
    split = split_labels(data, 20, 1)
    x = data.x_train.reshape(len(data.x_train), -1).numpy() / np.float32(255)
    index = split.labelled.tolist() + split.unlabelled.tolist()
    targets = [int(data.y_train[i]) for i in split.labelled] + [-1] * len(split.unlabelled)
    model = LabelSpreading(kernel="knn", n_neighbors=7, max_iter=200).fit(x[index], targets)
    expected = (model.predict(data.x_test.reshape(500, -1).numpy() / np.float32(255)) == data.y_test.numpy()).mean()
    assert run_classical("label-spreading", "digits", 20, 1)["final"]["test"]["mean"] == pytest.approx(expected)


def test_unknown_classical_names():
    with pytest.raises(ValueError, match=r"method='label-spredding' is not known. Did you mean 'label-spreading'\?"):
        run_classical("label-spredding", "digits", 20, 0)
    with pytest.raises(ValueError, match=r"base='svm' is not known.*Accepted: logistic, neighbours"):
        run_classical("self-training", "digits", 20, 0, base="svm")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "self-trainig"}, r"method='self-trainig' is not known. Did you mean 'self-training'"),
        ({"dataset": "digit"}, r"dataset='digit' is not known. Did you mean 'digits'"),
        ({"dataset": "folder:"}, r"dataset='folder:' is not known"),
        ({"labels": 0}, r"labels takes a whole number from 1, or None, not 0"),
        ({"labels": True}, r"labels takes a whole number"),
        ({"neighbours": 3}, r"setting='neighbours' is not known.*Accepted: base, threshold, k_best"),
        ({"base": "svm"}, r"base='svm' is not known"),
        ({"threshold": 1.0}, r"threshold takes a number from 0, below 1, or None, not 1.0"),
        ({"k_best": 0.5}, r"k_best takes a whole number"),
        ({"k_best": None}, r"needs a threshold or k_best"),
        ({"method": "label-spreading", "neighbours": 0}, r"neighbours takes a whole number from 1, not 0"),
    ],
)
def test_what_a_classical_run_does_not_take_is_named(arguments, message):
    with pytest.raises(ConfigError, match=message):
        Classical(**{"method": "self-training", **arguments})


def test_a_classical_run_and_its_fields():
    config = Classical("self-training", "digits", labels=20, threshold=None, base="logistic")
    assert config.to_dict() == {
        "method": "self-training",
        "dataset": "digits",
        "labels": 20,
        "base": "logistic",
        "threshold": None,
    }
    assert Classical(**config.to_dict()) == config
    assert hash(config.replace(base="neighbours").replace(base="logistic")) == hash(config)
    assert config.replace(k_best=50) != config  # its record would have another name
    assert pickle.loads(pickle.dumps(config)) == config  # as it goes to a worker


def test_committed_records_of_classical_runs_are_those_of_the_campaign():
    for method in CLASSIFIERS:
        config = Classical(method, "digits", labels=20)
        recorded = results.load(results.RESULTS / "quickstart", method=method)
        assert recorded
        for record in recorded:
            assert Classical(**record["experiment"]) == config
            name = results.run_name(config.to_dict(), record["seed"])
            assert (results.RESULTS / "quickstart" / f"{name}.json").exists()


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_committed_record(path: Path):
    """The label split is rebuilt from the configuration, and the headline from the curve."""
    record = json.loads(path.read_text())
    e = record["experiment"]
    if e["dataset"] == "digits":  # the only data set that is always there
        assert record["labels_sha256"] == split_labels(load_data("digits"), e["labels"], record["seed"]).hash()
    if "history" in record:
        assert Experiment(**e).to_dict().items() >= e.items()
        history = record["history"]
        assert [row["epoch"] for row in history] == list(range(1, e["epochs"] + 1))
        assert record["final"] == results.final_numbers(history)
        assert record["best_on_test"]["accuracy"] == results.accuracies([record], which="best")[0]


def test_committed_trials_know_nothing_of_the_test_set():
    for path in TRIALS:
        record = json.loads(path.read_text())
        assert "test" not in record["final"], path
        assert "best_on_test" not in record, path
        assert not any("test" in row for row in record.get("history", ())), path


def test_a_trial_of_a_search_is_no_result(run, tmp_path):
    path = run.save(tmp_path / "search" / "laptop-dnll")
    assert results.load(tmp_path) == []
    assert len(results.load(path.parent)) == 1  # whoever names the folder means it


def test_a_copy_is_not_another_run(run, tmp_path):
    path = run.save(tmp_path / "quickstart")
    hidden = path.parent / ".ipynb_checkpoints"
    hidden.mkdir()
    for copy in (hidden / f"{path.stem}-checkpoint.json", hidden / path.name, path.with_name(f"{path.stem} (1).json")):
        copy.write_bytes(path.read_bytes())
    assert len(results.load(tmp_path)) == 1
    assert len(results.load(hidden)) == 1  # whoever names the folder means it
