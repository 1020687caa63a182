"""Records: what a run writes, what is read back, and the committed ones against their own configuration."""

import dataclasses
import errno
import hashlib
import json
import math
import pickle
import random
import resource
import statistics
import subprocess
from pathlib import Path

import fabricated
import guard
import pytest
from fabricated import sitting

from dnll_core import Experiment, common, load_data, names, provenance, results, train
from dnll_core.config import ConfigError
from dnll_core.data import data_root, split_labels
from dnll_core.methods import classical
from dnll_core.methods.classical import Classical, run_classical
from dnll_core.names import experiment_name, run_name
from dnll_core.provenance import COMMIT, OF_A_SITTING, PACKAGE, commit, made, source_hash, where_made
from dnll_core.results import RecordError
from dnll_core.study.experiments import CAMPAIGNS
from dnll_core.study.records import config_of
from dnll_core.study.searches import REPORTED
from dnll_core.study.statistics import provenance_of

FAST = {"labels": 20, "labelled_batch": 20, "unlabelled_batch": 512, "epochs": 2, "lr": 0.1}
COMMITTED = sorted(p for p in results.root().rglob("*-seed*.json") if "search" not in p.parts)
TRIALS = sorted((results.root() / "search").rglob("*-seed*.json"))


@pytest.fixture(scope="module")
def run():
    return train(Experiment(**FAST), 3)


def test_record_round_trip(run, tmp_path):
    path = run.save_record(tmp_path)
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
    assert (record["source_sha256"], record["source_of"]) == (source_hash("run"), "run")
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
    (tmp_path / "digits-seed0.json").write_text(content, encoding="utf-8")
    with pytest.raises(RecordError, match=r"digits-seed0\.json is not a readable run record"):
        results.load(tmp_path)


# -- damage ------------------------------------------------------------------------------------------------------------


def test_a_flipped_bit_is_named_or_changes_nothing(run, tmp_path):
    path = run.save_record(tmp_path)
    whole, [record] = path.read_bytes(), results.load(tmp_path)
    draw, named = random.Random(0), 0
    for bit in draw.sample(range(8 * len(whole)), 500):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        results._parsed.cache_clear()  # the same file, as long, perhaps within a tick of the clock
        try:
            assert results.load(tmp_path) == [record], bit
        except RecordError as error:
            assert path.name in str(error)
            named += 1
    assert named > 400


def put(value, *place):
    """How a record gets a value at a place, for example put(8.8, "final", "test", "mean")."""

    def change(record):
        for key in place[:-1]:
            record = record[key]
        record[place[-1]] = value

    return change


def renamed(old, new, *place):
    def change(record):
        for key in place:
            record = record[key]
        record[new] = record.pop(old)

    return change


DAMAGE = [
    (put(8.892, "final", "test", "mean"), r"final test: 8.892 is no accuracy, which is a number 0...1"),
    (put(0.5, "final", "test", "mean"), r"final test: its mean is 0.5, and not that of its submodels"),
    (put(True, "final", "test", "ensemble"), r"final test: True is no accuracy"),
    (put(float("nan"), "history", 0, "test", "ensemble"), r"epoch 1 of its history: test: nan is no accuracy"),
    (put([0.5], "history", 0, "test", "submodels"), r"epoch 1 of its history: test: its submodels are \[0.5\]"),
    (put(0.123, "history", -1, "test", "ensemble"), r"final test is not what its last epoch says"),
    (put(-1.0, "seconds"), r"it has -1.0 seconds"),
    (put(-1, "seed"), r"its seed is -1"),
    (put(0.5, "seed"), r"its seed is 0.5"),
    (put(0, "experiment", "labels"), r"its experiment has labels=0"),
    (put(0, "experiment", "eval_every"), r"its experiment has eval_every=0"),
    (put(5, "experiment", "source"), r"its experiment has source=5"),
    (put(3, "history", 0, "epoch"), r"epoch 1 of its history: it says epoch 3 and step 16"),
    (put(5, "history", 1, "within"), r"epoch 2 of its history: what it says of evaluations within it is 5"),
    (
        put([{"step": 16}], "history", 1, "within"),
        r"epoch 2 of its history: an evaluation within it says step 16, after step 16",
    ),
    (
        put([{"step": 17}, {"step": 32}], "history", 1, "within"),
        r"epoch 2 of its history: an evaluation within it says step 32, after step 17",
    ),
    (put([{"step": 17, "seed": 3}], "history", 1, "within"), r"epoch 2 .*: an evaluation within it says 'seed'"),
    (put([{"step": 17, "test": {}}], "history", 1, "within"), r"epoch 2 of its history: test does not hold"),
    (put([{}], "history", 1, "within"), r"epoch 2 of its history: an evaluation within it has no 'step'"),
    (put(0, "history", 1, "step"), r"epoch 2 of its history: it says epoch 2 and step 0"),
    (put(1.5, "best_on_test", "accuracy"), r"best_on_test: 1.5 is no accuracy"),
    (put(3, "format"), r"its format is 3, and this version reads 1 to 2"),
    (renamed("test", "tesu", "final"), r"its final accuracies are not of validation or test images"),
    (renamed("test", "tesu", "history", 3), r"epoch 4 of its history: it has no 'test'"),
    (renamed("step", "stfp", "history", 3), r"epoch 4 of its history: it has no 'step'"),
    (renamed("history", "hirtory"), r"it has no 'history'"),
    (renamed("device", "devicf"), r"it has no 'device'"),
    (renamed("ensemble", "ensfmble", "final", "test"), r"final test does not hold ensemble, mean, submodels"),
    (renamed("lam", "lal", "experiment"), r"its experiment has the unknown field 'lal'"),
    (renamed("method", "mfthod", "experiment"), r"its experiment has no 'method'"),
    (put("dnlm", "experiment", "method"), r"its method is 'dnlm'"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGE, ids=[message for _, message in DAMAGE])
def test_what_no_record_of_format_1_can_say_is_named(tmp_path, damage, message):
    old = next(path for path in COMMITTED if path.parent.name == "methods" and "-20-dnll-" in path.name)
    record = json.loads(old.read_bytes())
    damage(record)
    (tmp_path / old.name).write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(
        RecordError, match=rf"{old.name} is not a readable run record \({message}.*; delete it or restore"
    ):
        results.load(tmp_path)


@pytest.mark.parametrize(
    ("damage", "message"), [(put([], "sittings"), "no list"), (renamed("sittings", "sitings"), "'sittings'")]
)
def test_what_is_no_record_is_not_written(run, tmp_path, damage, message):
    record = run.record()
    damage(record)
    with pytest.raises(RecordError, match=rf"is not written, .*{message}"):
        results.save(record, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("sets", [("dataset",), ("source", "dataset")])
def test_a_folder_of_images_may_have_the_longest_name_there_is(sets, tmp_path):
    """The record's name, longer yet while it is written, is a file's too; two that differ at the end are two runs."""
    paths = []
    for last in "ab":
        places = {name: f"folder:/{name[0] + 'x' * 253 + last}" for name in sets}
        paths.append(results.save(fabricated.record(Experiment(labels=None, **places), 10**9), tmp_path))
    assert sorted(paths) == sorted(tmp_path.iterdir())
    assert len(set(paths)) == len(results.load(tmp_path)) == 2


def test_a_record_that_cannot_be_written_is_an_error_that_names_it(run, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(OSError, match=r"digits-20-dnll-\w+-seed3\.json") as caught:
            run.save_record(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.errno == errno.EFBIG
    assert not list(tmp_path.iterdir())


# -- where it was made -------------------------------------------------------------------------------------------------


def test_a_run_and_a_classical_one_say_where_they_were_made(run):
    made_by = {"run": run.record(), "methods.classical": run_classical("label-spreading", "digits", 20, 0)}
    for module, record in made_by.items():
        [only] = record["sittings"]
        assert only.keys() == {*OF_A_SITTING, "source_of"}
        assert record["source_of"] == only["source_of"] == module
        for key in ("device", "precision", "torch", "commit", "source_sha256", "seconds"):
            assert only[key] == record[key]
        assert only["iterations"] == (record["history"][-1]["step"] if "history" in record else 1)


def test_parts_that_differ_are_all_named():
    sittings = [sitting(), sitting(device="NVIDIA H200", commit=None, threads=None), sitting()]
    said = made(sittings)
    assert said["device"] == "a device, then NVIDIA H200"
    assert said["commit"] == "0123456789ab, then no commit"
    assert said["torch"] == "2.14"
    assert made([sitting(commit=None)])["commit"] is None
    line = provenance_of([fabricated.record(Experiment(), 0, sittings=sittings)])
    assert line.startswith("1 run; device NVIDIA H200, a device; precision float32;")
    assert "commit 0123456789ab, None; 30 s in all" in line


def test_a_record_of_format_1_has_one_part():
    old = json.loads(COMMITTED[-1].read_bytes())
    [only] = where_made(old)
    assert only.keys() == set(OF_A_SITTING)
    assert (only["device"], only["seconds"]) == (old["device"], old["seconds"])
    assert only["iterations"] == old["history"][-1]["step"]
    assert only["processor"] is None


ELSEWHERE = {"device": "b", "processor": "b", "torch": "2.15", "precision": "b", "threads": 2, "commit": "b"}
ELSEWHERE |= {"source_sha256": "b"}


@pytest.mark.parametrize("key", ELSEWHERE)
def test_a_record_made_elsewhere_is_not_replaced(tmp_path, key):
    path = results.save(fabricated.record(Experiment(), 0, 0.5), tmp_path)
    results.save(fabricated.record(Experiment(), 0, 0.6, sittings=[sitting(seconds=3.0), sitting()]), tmp_path)
    before = path.read_bytes()
    other = fabricated.record(Experiment(), 0, 0.7, sittings=[sitting(), sitting(**{key: ELSEWHERE[key]})])
    with pytest.raises(RecordError, match=rf"{path.name} is there, and kept: its {key} is .*, then {ELSEWHERE[key]}\."):
        results.save(other, tmp_path)
    assert path.read_bytes() == before


def test_a_record_of_format_1_made_elsewhere_is_not_replaced(tmp_path):
    new = fabricated.record(Experiment(), 0, 0.5)
    old = {key: value for key, value in new.items() if key != "sittings"} | {"format": 1}
    path = tmp_path / f"{run_name(new['experiment'], 0)}.json"
    path.write_text(json.dumps(old | {"torch": "2.11"}), encoding="utf-8")
    with pytest.raises(RecordError, match=r"its torch is 2\.11, and this one's 2\.14"):
        results.save(new, tmp_path)
    path.write_text(json.dumps(old), encoding="utf-8")
    results.save(new, tmp_path)
    assert results.load(tmp_path) == [new]


def test_what_is_there_and_no_record_of_this_run_is_not_replaced(run, tmp_path):
    path = run.save_record(tmp_path)
    path.write_text("{", encoding="utf-8")
    with pytest.raises(RecordError, match=rf"{path.name} is not a readable run record"):
        run.save_record(tmp_path)
    results.save(fabricated.record(Experiment(), 0), tmp_path / "other").replace(path)
    with pytest.raises(RecordError, match=rf"{path.name} is there, and kept: it is of another run"):
        run.save_record(tmp_path)


def test_a_record_of_other_images_is_not_replaced(tmp_path):
    """Two folders of one name have runs of one name."""
    e = Experiment(dataset="folder:/a/pets", labels=None)
    images = [{"summary": "folder:0123: 7 for training, 2 for testing", "digest": digest * 64} for digest in "ab"]
    first, second = (fabricated.record(e, 0, 0.5) | {"images": each} for each in images)
    path = results.save(first, tmp_path)
    with pytest.raises(
        RecordError, match=r"and kept: it is of other images than this one: .*SHA-256 a{12}, and .* b{12}\."
    ):
        results.save(second, tmp_path)
    assert results.load(tmp_path) == [json.loads(json.dumps(first | {"format": 2}))]
    assert results.save(first, tmp_path) == path
    digits = fabricated.record(Experiment(), 0) | {"labels_sha256": "a" * 64}
    results.save(digits, tmp_path)
    with pytest.raises(RecordError, match="it is of other images"):
        results.save(digits | {"labels_sha256": "b" * 64}, tmp_path)


@pytest.fixture
def commit_in(monkeypatch):
    """What a record would say if the package were in that folder."""

    def ask(package):
        monkeypatch.setattr(provenance, "PACKAGE", package)
        commit.cache_clear()
        return commit()

    yield ask
    monkeypatch.undo()
    commit.cache_clear()


def test_a_commit_is_that_of_the_package_and_not_of_the_project_around_it(tmp_path, commit_in, monkeypatch):
    def git(*words):
        who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        done = subprocess.run(("git", "-C", tmp_path, *who, *words), check=True, capture_output=True, encoding="utf-8")
        return done.stdout.strip()

    monkeypatch.delenv(COMMIT, raising=False)
    installed, inside, top = (tmp_path / p / "dnll_core" for p in (".venv/site-packages", "src", "."))
    for package in (installed, inside, top):
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("", encoding="utf-8")
    (tmp_path / ".gitignore").write_text(".venv/\n", encoding="utf-8")
    git("init", "-q")
    git("add", ".gitignore", "src")
    git("commit", "-qm", "theirs")
    assert [commit_in(package) for package in (installed, inside, top)] == [None] * 3  # the last is not tracked
    monkeypatch.setenv(COMMIT, "0123456789abcdef")
    assert commit_in(installed) == "0123456789ab"
    git("add", "dnll_core")
    git("commit", "-qm", "ours")
    assert commit_in(top) == git("rev-parse", "HEAD")[:12]
    (top / "__init__.py").write_text("changed", encoding="utf-8")
    assert commit_in(top) == git("rev-parse", "HEAD")[:12] + "+"


# -- where they lie ----------------------------------------------------------------------------------------------------


def test_records_are_looked_for_in_the_environment_then_the_clone_then_here(tmp_path, monkeypatch):
    clone = Path(__file__).resolve().parent.parent
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DNLL_RESULTS", raising=False)
    assert results.root() == clone / "data" / "results"  # wherever one stands
    installed = tmp_path / "site-packages" / "dnll_core"
    installed.mkdir(parents=True)
    (tmp_path / "data" / "results").mkdir(parents=True)  # no clone's
    monkeypatch.setattr(common, "__file__", str(installed / "common.py"))
    assert results.root() == tmp_path / "data" / "results"
    monkeypatch.chdir(installed)
    assert results.root() == installed / "data" / "results"
    monkeypatch.chdir(clone / "notebooks")
    assert results.root() == clone / "data" / "results"
    monkeypatch.setenv("DNLL_RESULTS", str(tmp_path / "kept"))
    results.save(fabricated.record(Experiment(), 3), tmp_path / "kept")
    assert results.root() == tmp_path / "kept"
    assert [record["seed"] for record in results.load()] == [3]


# -- names -------------------------------------------------------------------------------------------------------------


def test_the_id_of_a_run_tells_what_differs_from_the_defaults():
    told = {"m": 3, "network": "small", "weak": "identity", "strong": "noise"}  # the last three were "auto"
    identity = hashlib.sha256(json.dumps(dict(sorted(told.items()))).encode()).hexdigest()[:8]
    assert run_name(Experiment(m=3).to_dict(), 7) == f"digits-20-dnll-{identity}-seed7"


def test_a_field_that_is_added_changes_no_name(monkeypatch):
    known = guard.experiments_named()
    later = dataclasses.make_dataclass(
        "Later", [("invented", float, 0.5)], bases=(Experiment,), kw_only=True, frozen=True
    )
    monkeypatch.setattr(names, "Experiment", later)
    frozen = json.loads((Path(__file__).parent / "named_experiments.json").read_text(encoding="utf-8"))
    for name, fields in known.items():
        ours = "network" in fields  # a method of scikit-learn has fields of its own
        assert run_name(fields | {"invented": 0.5} if ours else fields, 0) == frozen[name]
    e = Experiment().to_dict()
    assert experiment_name(e | {"invented": 0.25}) != experiment_name(e)


def test_a_setting_of_scikit_learns_methods_counts_as_it_was_given():
    plain = Classical("self-training")
    given = [plain, plain.replace(k_best=50), plain.replace(threshold=0.0), plain.replace(base="logistic")]
    assert len({experiment_name(config.to_dict()) for config in given}) == 4


def test_a_folder_keeps_its_names_when_it_moves():
    def name(path):
        return run_name(Experiment(dataset=f"folder:{path}").to_dict(), 0)

    assert name("/a/pets") == name("b/c/pets/") == name("pets")
    assert name("pets").startswith("pets-20-dnll-")
    assert len({name("pets"), name("Pets"), name("pet s"), name("pets2")}) == 4
    assert name("/a/...").startswith("folder-20-dnll-")
    long, other = (name("/a/" + "ab " * 66 + end) for end in "xy")
    assert long.startswith("ab-" * 13 + "a-20-dnll-")
    assert long != other


def test_committed_records_have_the_names_of_their_runs():
    """As they are, and filled with the defaults of fields that are younger."""
    for path in [*COMMITTED, *TRIALS]:
        record = json.loads(path.read_text(encoding="utf-8"))
        assert path.stem == run_name(config_of(record["experiment"]).to_dict(), record["seed"])
        assert path.stem == run_name(record["experiment"], record["seed"])


# -- what they say -----------------------------------------------------------------------------------------------------


def test_accuracies():
    group = [fabricated.run(0.85, 0.8, apart=0.1), fabricated.run(0.5, 0.6, seed=1)]
    group[0]["final"]["test"]["ensemble"] = 0.75
    assert results.accuracies(group) == pytest.approx([0.8, 0.6])
    assert results.accuracies(group, which="best") == pytest.approx([0.95, 0.61])
    assert results.accuracies(group, which="ensemble") == [0.75, 0.6]
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
        ({"labels": 0}, r"labels takes a whole number from 1 or None, not 0"),
        ({"labels": True}, r"labels takes a whole number"),
        ({"neighbours": 3}, r"field='neighbours' is not known.*Accepted: base, threshold, k_best"),
        ({"base": "svm"}, r"base='svm' is not known"),
        ({"threshold": 1.0}, r"threshold takes a number from 0 and below 1 or None, not 1.0"),
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


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("self-training", {"base": "logistic", "c": 1, "threshold": 0.5, "k_best": None}),
        ("label-spreading", {"kernel": "rbf", "gamma": 4, "alpha": 0.9}),
        ("label-spreading", {"neighbours": 5}),
    ],
)
def test_equal_settings_of_a_classical_method_have_one_name_that_json_can_write(method, settings):
    import numpy as np

    plain = Classical(method, **settings)
    for kind in (float, np.float32, np.float64, np.int64):
        whole = {"c", "gamma"} | ({"neighbours"} if kind is np.int64 else set())
        other = {name: kind(value) if name in whole else value for name, value in settings.items()}
        same = Classical(method, **other)
        assert same == plain
        assert run_name(same.to_dict(), 0) == run_name(plain.to_dict(), 0)
        assert json.loads(json.dumps(same.to_dict())) == plain.to_dict()


@pytest.mark.parametrize("value", [10**400, [1], {}, float("nan"), "much"])
@pytest.mark.parametrize("setting", ["gamma", "alpha", "kernel"])
def test_settings_that_label_spreading_cannot_take_are_named(setting, value):
    with pytest.raises(ConfigError, match=setting):
        Classical("label-spreading", **{setting: value})


def test_self_training_with_its_defaults_is_recorded_under_the_name_of_its_task(tmp_path, monkeypatch):
    monkeypatch.setattr(classical, "SMALL_POOL", 100)
    config = Classical("self-training", "digits", labels=20)
    record = run_classical(seed=0, **config.to_dict())
    assert run_name(record["experiment"], 0) == run_name(config.to_dict(), 0)
    used = classical.SelfTraining(k_best=1077 // 20).build()
    data = load_data("digits")
    expected = classical.predict(classical.fit(used, data, split_labels(data, 20, 0)), data.x_test)
    assert record["final"]["test"]["mean"] == pytest.approx((expected == data.y_test.numpy()).mean())


def test_the_quickstarts_campaign_is_recorded_whole_and_holds_nothing_else():
    """All methods on the same splits, so that differences can be taken."""
    runs = CAMPAIGNS["quickstart"].named()
    names = {run_name(config.to_dict(), seed) for _, config in runs for seed in REPORTED}
    assert {path.stem for path in (results.root() / "quickstart").glob("*.json")} == names


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_committed_record(path: Path):
    """The label split is rebuilt from the configuration, and the headline from the curve."""
    record = json.loads(path.read_text(encoding="utf-8"))
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
        record = json.loads(path.read_text(encoding="utf-8"))
        assert "test" not in record["final"], path
        assert "best_on_test" not in record, path
        assert not any("test" in row for row in record.get("history", ())), path


def test_a_trial_of_a_search_is_no_result(run, tmp_path):
    path = run.save_record(tmp_path / "search" / "laptop-dnll")
    assert results.load(tmp_path) == []
    assert len(results.load(path.parent)) == 1  # whoever names the folder means it


def test_a_copy_is_not_another_run(run, tmp_path):
    path = run.save_record(tmp_path / "quickstart")
    hidden = path.parent / ".ipynb_checkpoints"
    hidden.mkdir()
    for copy in (hidden / f"{path.stem}-checkpoint.json", hidden / path.name, path.with_name(f"{path.stem} (1).json")):
        copy.write_bytes(path.read_bytes())
    assert len(results.load(tmp_path)) == 1
    assert len(results.load(hidden)) == 1  # whoever names the folder means it


def test_a_variable_that_names_no_folder_is_refused_by_name(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    for name, ask in {"DNLL_RESULTS": results.root, "DNLL_DATA": data_root}.items():
        for wrong in (str(tmp_path / "file"), "~nobody-of-this-name/results"):
            monkeypatch.setenv(name, wrong)
            with pytest.raises(ValueError, match=f"{name}='{wrong}' is no folder; accepted: one that is there, or can"):
                ask()
        monkeypatch.setenv(name, str(tmp_path / "later"))
        assert ask() == tmp_path / "later"
        monkeypatch.setenv(name, "./~x")  # a folder of that name, here
        assert ask() == Path.cwd() / "~x"
        monkeypatch.setenv(name, "")
        assert ask().is_relative_to(PACKAGE.parent / "data")
