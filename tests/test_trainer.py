"""The loop: batches, evaluation, exact resume (also after SIGKILL), Ctrl-C, divergence, and isolation."""

import contextlib
import copy
import dataclasses
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

from dnll_core import Experiment, evaluation, load_data, provenance, resume, train
from dnll_core import trainer as trainer_module
from dnll_core.checkpoint import CheckpointError, load_checkpoint, read_info, save_checkpoint
from dnll_core.config import ConfigError
from dnll_core.device import own_random_state
from dnll_core.learner import permuted_batches
from dnll_core.provenance import source_hash
from dnll_core.run import prepare
from dnll_core.signals import STOP_SIGNALS
from dnll_core.trainer import Trainer, TrainingDiverged

FAST = {"labels": 20, "labelled_batch": 20, "unlabelled_batch": 256, "epochs": 3, "m": 3, "selection": "epm", "lr": 0.1}


def curve(run):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in run.history]


def weights(run):
    return {name: value.clone() for name, value in run.trainer.learner.method.state_dict().items()}


def same(run, other):
    assert curve(run) == curve(other)
    mine, theirs = weights(run), weights(other)
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def press_ctrl_c_at(step, experiment, folder, begun=False, signals=(signal.SIGINT,), **kwargs):
    """Trains with a checkpoint folder and sends SIGINT, or these signals, in the middle of iteration `step`.

    begun: go on from the checkpoint that is there.
    """
    trainer, _ = prepare(experiment, 0, progress=False, **kwargs)

    def press(batch, output):
        if trainer.step + 1 == step:
            for number in signals:
                os.kill(os.getpid(), number)

    trainer.observer = press
    with (
        own_random_state(trainer.learner.device, 0),
        pytest.raises(KeyboardInterrupt, match=f"after iteration {step} of"),
    ):
        if begun:
            trainer.load(folder)
        trainer.fit(folder, every_minutes=1e9, progress=False)


def test_permuted_batches_cover_everything_equally():
    g = torch.Generator().manual_seed(0)
    batches = permuted_batches(10, 4, 5, g)
    assert batches.shape == (5, 4)
    assert torch.bincount(batches.flatten(), minlength=10).tolist() == [2] * 10
    assert sorted(batches.flatten()[:10].tolist()) == list(range(10))
    small = permuted_batches(3, 7, 3, g)  # a batch larger than the set
    assert torch.bincount(small.flatten()).tolist() == [7, 7, 7]


def test_same_seed_same_run_and_another_seed_another():
    e = Experiment(**FAST)
    first, again, other = train(e, 0), train(e, 0), train(e, 1)
    same(first, again)
    assert curve(first) != curve(other)
    assert first.provenance["labels_sha256"] != other.provenance["labels_sha256"]


@pytest.mark.parametrize("step", [4, 5, 9])  # 1077 images in batches of 256 make 4 iterations an epoch
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_resume_equals_uninterrupted(tmp_path, step, precision):
    e = Experiment(**FAST, dropout=0.3, strong="translate+noise", epm_accumulation="epoch", ema_decay=0.9)
    whole = train(e, 0, precision=precision)
    press_ctrl_c_at(step, e, tmp_path, precision=precision)
    assert load_checkpoint(tmp_path)[1]["step"] == step
    same(whole, train(e, 0, precision=precision, checkpoint=tmp_path))


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_gives_its_handler_back(tmp_path, number):
    before = [signal.getsignal(each) for each in STOP_SIGNALS]
    press_ctrl_c_at(2, Experiment(**FAST), tmp_path, [number])
    assert [signal.getsignal(each) for each in STOP_SIGNALS] == before


def test_schedulers_send_several_signals_and_the_run_goes_on_bit_for_bit(tmp_path):
    """As GNU timeout, Slurm and a closed terminal do. The last iteration is not spared."""
    e = Experiment(**FAST)
    press_ctrl_c_at(5, e, tmp_path, 2 * [signal.SIGTERM, signal.SIGHUP])
    press_ctrl_c_at(12, e, tmp_path / "last", 2 * [signal.SIGTERM])
    assert load_checkpoint(tmp_path)[1]["step"] == 5
    whole = train(e, 0)
    same(whole, train(e, 0, checkpoint=tmp_path))
    same(whole, train(e, 0, checkpoint=tmp_path / "last"))


def test_ctrl_c_pressed_several_times_in_a_row_is_one(tmp_path):
    e = Experiment(**FAST)
    press_ctrl_c_at(5, e, tmp_path, 5 * [signal.SIGINT])
    assert load_checkpoint(tmp_path)[1]["step"] == 5
    same(train(e, 0), train(e, 0, checkpoint=tmp_path))


def test_a_second_ctrl_c_stops_at_once(monkeypatch, tmp_path):
    monkeypatch.setattr("dnll_core.signals.TOGETHER", 0.0)
    trainer, _ = prepare(Experiment(**FAST), 0, progress=False)
    trainer.observer = lambda *_: [os.kill(os.getpid(), signal.SIGINT) for _ in range(2)]
    with pytest.raises(KeyboardInterrupt) as stopped:
        trainer.fit(tmp_path, progress=False)
    assert str(stopped.value) == ""
    assert trainer.step == 0
    assert load_checkpoint(tmp_path) is None


@pytest.mark.parametrize("epoch", [1, 3])  # of 3
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_signal_cuts_an_evaluation_short_and_the_run_goes_on_with_it(tmp_path, epoch, precision):
    e = Experiment(**FAST, dropout=0.3, strong="translate+noise", epm_accumulation="epoch", ema_decay=0.9)
    trainer, _ = prepare(e, 0, progress=False, precision=precision)
    plain, evaluated, predicted = trainer.plain, [], []

    def view(images, generator):
        evaluated.append(trainer.step)
        if trainer.step == 4 * epoch:
            os.kill(os.getpid(), signal.SIGTERM)
        return plain(images, generator)

    trainer.plain = view
    for network in trainer.predictors().values():
        network.register_forward_hook(lambda *_: predicted.append(trainer.step))
    with own_random_state(trainer.learner.device, 0), pytest.raises(KeyboardInterrupt, match="its checkpoint is in"):
        trainer.fit(tmp_path, every_minutes=1e9, progress=False)
    assert evaluated.count(4 * epoch) == 1
    assert 4 * epoch not in predicted
    standing = load_checkpoint(tmp_path)[1]
    assert (standing["step"], len(standing["history"])) == (4 * epoch, epoch - 1)
    assert set(standing["counts"].values()) == {4}
    whole = train(e, 0, precision=precision)
    same(whole, train(e, 0, precision=precision, checkpoint=tmp_path))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_evaluations_within_an_epoch_say_where_the_run_is_and_change_nothing(tmp_path, precision):
    e = Experiment(**FAST, dropout=0.3, strong="translate+noise", epm_accumulation="epoch", ema_decay=0.9, eval_every=2)
    plain, often = (train(e.replace(evaluations=n), 0, precision=precision) for n in (1, 3))
    found = [row.pop("within", []) for row in often.history]
    same(plain, often)
    assert [[row["step"] for row in rows] for rows in found] == [[], [5, 6], [9, 10]]  # 4 iterations an epoch
    for rows in found[1:]:
        for row in rows:
            press_ctrl_c_at(row["step"], e, tmp_path / str(row["step"]), precision=precision)
            trainer, _ = prepare(e, 0, progress=False, precision=precision)
            with own_random_state(trainer.learner.device, 0):
                trainer.load(tmp_path / str(row["step"]))
                assert row == {"step": row["step"]} | trainer.evaluate()


def test_more_evaluations_than_iterations_are_one_after_each():
    run = train(Experiment(**FAST).replace(epochs=1, evaluations=1000), 0)
    assert [row["step"] for row in run.history[0]["within"]] == [1, 2, 3]


def test_an_evaluation_within_an_epoch_that_is_cut_short_is_made_when_the_run_goes_on(tmp_path):
    e = Experiment(**FAST, evaluations=3)
    whole = train(e, 0)
    for step in (5, 6):
        folder, asked = tmp_path / str(step), []
        trainer, _ = prepare(e, 0, progress=False)

        def stop(ahead, trainer=trainer, step=step, asked=asked):
            asked.extend([trainer.step] if ahead == 0.0 else [])
            return asked != [] and asked[-1] == step and ahead == 0.0

        with own_random_state(trainer.learner.device, 0), pytest.raises(KeyboardInterrupt):
            trainer.fit(folder, every_minutes=1e9, progress=False, should_stop=stop)
        standing = load_checkpoint(folder)[1]
        assert standing["step"] == step and [row["step"] for row in standing["within"]] == [5][: step - 5]
        same(whole, train(e, 0, checkpoint=folder))


def test_a_loss_that_is_not_finite_is_found_before_an_evaluation_within_the_epoch():
    e = Experiment(**FAST).replace(lr=1e18, unlabelled_batch=53)  # twenty iterations an epoch
    told = []
    for n in (1, 2):
        with pytest.raises(TrainingDiverged, match="the loss stopped being finite at iteration") as error:
            train(e.replace(evaluations=n), 0)
        told.append(str(error.value))
    assert told[0] == told[1]


def test_who_asks_to_stop_is_heard_in_an_evaluation(tmp_path):
    e, batches = Experiment(**FAST), []

    def stop(ahead):
        batches.extend([ahead] if ahead == 0.0 else [])
        return len(batches) == 3  # and never again

    with pytest.raises(KeyboardInterrupt, match="after iteration 4 of 12"):
        train(e, 0, checkpoint=tmp_path, should_stop=stop)
    assert len(batches) == 3
    same(train(e, 0), train(e, 0, checkpoint=tmp_path))


def test_the_evaluation_after_training_can_be_stopped_too(tmp_path, monkeypatch):
    e = Experiment(**FAST).replace(dataset="digits-target", source="digits-source", epochs=1, strong="noise")
    whole, views, predict = train(e, 0).record(), [], Trainer.predict

    def seen(self, images, view=None, check=None):
        views.append(view)
        return predict(self, images, view, check)

    monkeypatch.setattr(Trainer, "predict", seen)
    with pytest.raises(KeyboardInterrupt):
        train(e, 0, checkpoint=tmp_path, should_stop=lambda ahead: views != [] and views[-1] is not None)
    record = train(e, 0, checkpoint=tmp_path).record()
    assert record["test_on_strong_view"] == whole["test_on_strong_view"]


def test_predictions_do_not_depend_on_how_many_images_go_through_a_network_at_a_time(monkeypatch):
    run = train(Experiment(**FAST), 0)
    images = run.trainer.learner.data.unlabelled
    strong, state = run.trainer.learner.views["strong"], run.trainer.learner.generator.get_state()
    found = []
    for size in (evaluation.CPU_BATCH, 10**6):
        monkeypatch.setattr(evaluation, "CPU_BATCH", size)
        run.trainer.learner.generator.set_state(state)
        found.append((run.trainer.predict(images), run.trainer.predict(images, strong)))
    assert len(images) > 1000
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])


def test_a_finished_checkpoint_holds_the_trained_networks(tmp_path):
    e = Experiment(**FAST)
    first = train(e, 0, checkpoint=tmp_path)
    same(first, train(e, 0, checkpoint=tmp_path))


def test_a_record_lists_each_sitting(tmp_path, monkeypatch):
    """What was true while each was trained, also when the code has changed since; the sums are the run's."""
    e = Experiment(**FAST)
    with monkeypatch.context() as there:
        there.setattr(provenance, "source_hash", lambda of: "another")
        there.setattr(provenance, "commit", lambda: "0123456789ab")
        there.setattr(torch, "__version__", "1.0")
        press_ctrl_c_at(2, e, tmp_path)
        press_ctrl_c_at(3, e, tmp_path, begun=True)
    run = train(e, 0, checkpoint=tmp_path)
    record, whole = run.record(), train(e, 0).record()
    third = record["sittings"][2]
    assert [sitting["iterations"] for sitting in record["sittings"]] == [2, 1, run.trainer.step - 3]
    assert sum(sitting["seconds"] for sitting in record["sittings"]) == pytest.approx(record["seconds"], abs=0.02)
    places = [{k: v for k, v in one.items() if k not in ("iterations", "seconds")} for one in record["sittings"]]
    assert places[0] == places[1]
    [alone] = whole["sittings"]
    assert places[2] == {k: v for k, v in alone.items() if k not in ("iterations", "seconds")}
    differing = {k for k in places[0] if places[0][k] != places[2][k]}
    assert differing == {"source_sha256", "commit", "torch"}
    assert alone.keys() == {*places[0], "iterations", "seconds"}
    assert alone["iterations"] == third["iterations"] + 3
    assert record["torch"] == f"1.0, then {torch.__version__}"
    assert record["source_sha256"] == f"another, then {source_hash('run')}"
    assert record["device"] == whole["device"]
    monkeypatch.setattr(trainer_module, "today", lambda: "another day")
    monkeypatch.setattr(provenance, "source_hash", lambda of: "a third")
    again = train(e, 0, checkpoint=tmp_path).record()  # of a finished run: nothing was trained
    assert again == record | {"images_per_second": again["images_per_second"]}


def test_a_run_goes_on_with_other_threads_and_its_record_says_so(tmp_path):
    e = Experiment(**FAST | {"network": "wrn28-2", "labelled_batch": 8, "unlabelled_batch": 256, "epochs": 1})
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        press_ctrl_c_at(2, e, tmp_path)
        torch.set_num_threads(1)
        with pytest.warns(UserWarning, match=r"with threads 1, and so far had 2.*OMP_NUM_THREADS=2 keeps"):
            record = train(e, 0, checkpoint=tmp_path).record()
        torch.set_num_threads(2)
        with warnings.catch_warnings(action="error"):  # there is nothing left to go on with
            assert train(e, 0, checkpoint=tmp_path).record()["sittings"] == record["sittings"]
    finally:
        torch.set_num_threads(before)
    assert [sitting["threads"] for sitting in record["sittings"]] == [2, 1]
    assert "2 threads, then " in record["device"]
    assert record["device"].endswith(", 1 thread")


def test_a_run_goes_on_in_another_precision_and_its_record_says_so(tmp_path):
    e = Experiment(**FAST)
    press_ctrl_c_at(5, e, tmp_path, precision="bfloat16")
    with pytest.warns(UserWarning, match=r"precision float32, and so far had bfloat16.* precision=bfloat16 keeps"):
        record = train(e, 0, checkpoint=tmp_path, precision="float32").record()
    assert record["precision"] == "bfloat16, then float32"


def pictures(folder, names):
    """A folder of small grey images, each with pixels of its own."""
    for i, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (8, 8), np.uint8)).save(path)


CATS = [f"{kind}/{i}.png" for kind in ("cat", "dog") for i in range(8)] + [f"unlabelled/{i:02}.png" for i in range(40)]


def changed_cats(folder, change):
    if change == "came":
        pictures(folder, ["unlabelled/new.png"])
    elif change == "went":
        (folder / "unlabelled/03.png").unlink()
    elif change == "changed":
        pictures(folder, ["unlabelled/05.png"])
    elif change == "exchanged":
        (folder / "cat/0.png").rename(folder / "cat/x.png")
        (folder / "dog/0.png").rename(folder / "cat/0.png")
        (folder / "cat/x.png").rename(folder / "dog/0.png")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("came", r"1 came \(unlabelled/new\.png\)"),
        ("went", r"1 went \(unlabelled/03\.png\)"),
        ("changed", r"1 changed \(unlabelled/05\.png\)"),
        ("exchanged", r"2 changed \(cat/0\.png, dog/0\.png\)"),
    ],
)
def test_a_checkpoint_goes_on_with_its_own_images_only(tmp_path, change, said):
    pictures(tmp_path / "pets", CATS)
    e = cats(tmp_path / "pets")
    press_ctrl_c_at(3, e, tmp_path / "checkpoint")
    changed_cats(tmp_path / "pets", change)
    with pytest.raises(CheckpointError, match=rf"the images have changed.*: {said}\. Put them back"):
        train(e, 0, checkpoint=tmp_path / "checkpoint")


def test_of_very_many_images_the_digest_tells_that_they_have_changed(tmp_path, monkeypatch):
    pictures(tmp_path / "pets", CATS)
    letters = len(ascii(dict(load_data(f"folder:{tmp_path / 'pets'}", size=8, progress=False).files)))
    monkeypatch.setattr(resume, "NAMED_FILES", letters)
    press_ctrl_c_at(3, cats(tmp_path / "pets"), tmp_path / "named")
    assert len(read_info(tmp_path / "named")["files"]) == len(CATS)
    monkeypatch.setattr(resume, "NAMED_FILES", letters - 1)
    press_ctrl_c_at(3, cats(tmp_path / "pets"), tmp_path / "checkpoint")
    assert read_info(tmp_path / "checkpoint")["files"] == {}
    changed_cats(tmp_path / "pets", "changed")
    for folder in ("named", "checkpoint"):
        with pytest.raises(CheckpointError, match=r"the images have changed.*: their SHA-256 was [0-9a-f]{64}, is"):
            train(cats(tmp_path / "pets"), 0, checkpoint=tmp_path / folder)
    pictures(tmp_path / "pets", CATS)
    same(train(cats(tmp_path / "pets"), 0, checkpoint=tmp_path / "checkpoint"), train(cats(tmp_path / "pets"), 0))


def cats(folder):
    fields = {"labels": 4, "size": 8, "network": "small", "weak": "identity", "strong": "noise", "epochs": 3}
    return Experiment(dataset=f"folder:{folder}", labelled_batch=4, unlabelled_batch=8, **fields)


def test_a_folder_that_moved_goes_on(tmp_path):
    pictures(tmp_path / "pets", CATS)
    whole = train(cats(tmp_path / "pets"), 0)
    press_ctrl_c_at(3, cats(tmp_path / "pets"), tmp_path / "checkpoint")
    (tmp_path / "pets").rename(tmp_path / "animals")
    run = train(cats(tmp_path / "animals"), 0, checkpoint=tmp_path / "checkpoint")
    same(run, whole)
    assert run.record()["images"] == whole.record()["images"]


def test_a_checkpoint_of_other_arrays_is_refused(tmp_path):
    e = Experiment(**FAST)
    press_ctrl_c_at(3, e, tmp_path)

    def load(*args, **kwargs):
        return dataclasses.replace(load_data(*args, **kwargs), digest="another")

    with pytest.raises(CheckpointError, match=r"the images have changed.*: their SHA-256 was [0-9a-f]{64}, is another"):
        train(e, 0, checkpoint=tmp_path, load=load)


def test_a_checkpoint_of_another_kind_of_device_says_how_to_go_on(tmp_path):
    e = Experiment(**FAST)
    press_ctrl_c_at(3, e, tmp_path)
    tensors, info = load_checkpoint(tmp_path)
    save_checkpoint(tmp_path, tensors, info | {"device": "cuda"})
    with pytest.raises(CheckpointError, match=r"was begun on cuda, and this is cpu.*Go on with device='cuda'"):
        train(e, 0, checkpoint=tmp_path)


def test_training_inside_an_observer_is_refused():
    e = Experiment(**FAST)
    with pytest.raises(ConfigError, match="cannot be called while this thread trains already"):
        train(e, 0, observer=lambda batch, output: train(e, 1))
    same(train(e, 0), train(e, 0))


def test_runs_in_two_threads_are_as_alone():
    e = Experiment(**FAST, dropout=0.3)
    alone = [train(e, seed, progress=False) for seed in (0, 1)]
    with ThreadPoolExecutor(2) as threads:
        together = list(threads.map(lambda seed: train(e, seed, progress=False), (0, 1)))
    for run, other in zip(alone, together):
        same(run, other)


@contextlib.contextmanager
def other_state(name):
    """Torch as a notebook may have left it."""
    undo = {
        "dtype": lambda: torch.set_default_dtype(torch.float32),
        "device": lambda: torch.set_default_device(None),
        "gradients": lambda: torch.set_grad_enabled(True),
        "precision": lambda: torch.set_float32_matmul_precision("highest"),
        "deterministic": lambda: torch.use_deterministic_algorithms(False),
        "anomalies": lambda: torch.autograd.set_detect_anomaly(False),
    }
    with torch.inference_mode(name == "inference"):
        try:
            if name == "dtype":
                torch.set_default_dtype(torch.float64)
            elif name == "device":
                torch.set_default_device("meta")
            elif name == "gradients":
                torch.set_grad_enabled(False)
            elif name == "precision":
                torch.set_float32_matmul_precision("medium")
            elif name == "deterministic":
                torch.use_deterministic_algorithms(True)
            elif name == "anomalies":
                torch.autograd.set_detect_anomaly(True)
            yield
        finally:
            undo.get(name, lambda: None)()


@pytest.mark.filterwarnings("ignore:Anomaly Detection has been enabled")
@pytest.mark.parametrize("method", ["dnll", "vat", "mean-teacher"])
@pytest.mark.parametrize(
    "name", ["dtype", "device", "gradients", "inference", "precision", "deterministic", "anomalies"]
)
def test_torchs_global_state_changes_nothing(tmp_path, name, method):
    e, x = Experiment(**FAST | {"epochs": 2}, method=method, ema_decay=0.5, dropout=0.2), load_data("digits").x_test
    alone = train(e, 0)
    press_ctrl_c_at(3, e, tmp_path)
    with other_state(name):
        before = torch.get_default_dtype(), torch.get_default_device(), torch.is_grad_enabled()
        run, resumed = train(e, 0, measure=True), train(e, 0, checkpoint=tmp_path)
        predicted, embedded = run.predict(x), run.embed(x)
        assert (torch.get_default_dtype(), torch.get_default_device(), torch.is_grad_enabled()) == before
    assert [row["test"] for row in run.history] == [row["test"] for row in alone.history]
    same(alone, resumed)
    assert torch.equal(predicted, alone.predict(x))
    assert torch.equal(embedded, alone.embed(x))


@pytest.mark.parametrize("network", ["small", "cnn3", "wrn28-2"])
def test_a_run_pickles(network):
    e = Experiment(**FAST | {"epochs": 1}, network=network, size=8)
    x = load_data("digits").x_test[:50]
    run = train(e, 0, measure=True, observer=lambda batch, output: None)
    for again in (pickle.loads(pickle.dumps(run)), copy.deepcopy(run)):
        assert torch.equal(again.predict(x), run.predict(x))
        assert torch.equal(again.embed(x), run.embed(x))
        assert again.record() == run.record()
        same(run, again)


def test_an_experiment_of_before_a_reload_says_so():
    code = """
    import importlib
    import dnll_core.config
    from dnll_core import train
    importlib.reload(dnll_core.config)
    train(dnll_core.config.Experiment())
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, encoding="utf-8")
    assert "ConfigError: train takes an Experiment, not one of before a reload; restart the kernel." in done.stderr


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    e = Experiment(**FAST)
    train(e, 0, checkpoint=tmp_path)
    with pytest.raises(CheckpointError, match=r"belongs to another run: seed was 0, is 1"):
        train(e, 1, checkpoint=tmp_path)
    with pytest.raises(CheckpointError, match=r"experiment: lr was 0.1, is 0.05"):
        train(e.replace(lr=0.05), 0, checkpoint=tmp_path)


def test_divergence_is_an_error_that_says_where_and_keeps_the_checkpoint(tmp_path):
    e = Experiment(**FAST)
    trainer, _ = prepare(e, 0, progress=False)
    trainer.save(tmp_path)

    def poison(batch, output):
        if trainer.step == 5:
            with torch.no_grad():
                next(trainer.learner.method.parameters()).fill_(torch.nan)

    trainer.observer = poison
    with pytest.raises(TrainingDiverged, match=r"iteration 7 \(epoch 2\)"):
        trainer.fit(tmp_path, every_minutes=1e9, progress=False)
    assert load_checkpoint(tmp_path)[1]["step"] == 0


def test_predictions_that_are_no_numbers_are_not_scored():
    trainer, _ = prepare(Experiment(**FAST), 0, progress=False)
    head = next(iter(trainer.predictors().values())).heads[0]
    with torch.no_grad():
        head.weight.fill_(torch.finfo().max)  # finite; sums of hidden units times it are not
    with pytest.raises(TrainingDiverged, match=r"the predictions stopped being finite at iteration 0 \(epoch 0\)"):
        trainer.evaluate()


def test_training_leaves_the_global_random_state_alone():
    torch.manual_seed(123)
    expected = torch.rand(3)
    torch.manual_seed(123)
    train(Experiment(**FAST), 0)
    assert torch.equal(torch.rand(3), expected)


def test_evaluation_against_a_loop():
    run = train(Experiment(**FAST), 0)
    trainer = run.trainer
    images, labels = trainer.learner.data.held_out["test"]
    accuracies, mixed = [], 0
    nets = [net.eval() for net in trainer.predictors().values()]
    with torch.no_grad():
        for net in nets:
            right = 0
            for x, y in zip(images, labels, strict=True):
                right += int(net(trainer.plain(x[None], trainer.learner.generator)).argmax() == y)
            accuracies.append(right / len(labels))
        for x, y in zip(images, labels, strict=True):
            p = sum(net(trainer.plain(x[None], trainer.learner.generator)).softmax(1) for net in nets)
            mixed += int(p.argmax() == y)
    assert run.history[-1]["test"]["submodels"] == pytest.approx(accuracies)
    assert run.history[-1]["test"]["ensemble"] == pytest.approx(mixed / len(labels))
    assert run.accuracy == pytest.approx(sum(accuracies) / 2)
    assert run.predict(images[:7]).shape == (7, 10)
    assert run.embed(images[:7]).shape == (7, nets[0].hidden)


def test_one_optimiser_step_equals_one_for_each_submodel():
    """Lines 15-16 of Algorithm 1 with two optimisers, against the trainer's one step on the sum."""
    e = Experiment(**FAST)
    trainer, _ = prepare(e, 0, progress=False, precision="float32")
    reference, _ = prepare(e, 0, progress=False, precision="float32")
    trainer.learner.plan_epoch(0)
    trainer.train_step(0)
    reference.learner.plan_epoch(0)
    batch = reference.learner.draw_batch(0)
    output = reference.learner.method.compute(batch, reference.learner.clock, reference.learner.generator)
    for net in reference.learner.method.base.submodels:
        gradients = torch.autograd.grad(output.loss, list(net.parameters()), retain_graph=True)
        for p, g in zip(net.parameters(), gradients, strict=True):  # first step of SGD with Nesterov momentum
            g = g + e.weight_decay * p.detach()
            p.data -= e.lr * (g + e.momentum * g)
    for p, q in zip(trainer.learner.method.parameters(), reference.learner.method.parameters(), strict=True):
        torch.testing.assert_close(p, q, atol=1e-6, rtol=1e-5)


def test_ema_of_weights_is_what_is_evaluated():
    e = Experiment(**FAST, ema_decay=0.5)
    trainer, _ = prepare(e, 0, progress=False)
    start = [p.detach().clone() for p in trainer.learner.method.parameters()]
    trainer.learner.plan_epoch(0)
    trainer.train_step(0)
    for first, mean, p in zip(
        start, trainer.learner.average.parameters(), trainer.learner.method.parameters(), strict=True
    ):
        torch.testing.assert_close(mean, (first + p) / 2)
    assert next(iter(trainer.predictors().values())) is trainer.learner.average.base.submodels[0]


def test_wrong_arguments_of_train():
    with pytest.raises(ValueError, match="train takes an Experiment, not str"):
        train("digits")
    with pytest.raises(ValueError, match="seed takes a whole number from 0, not -1"):
        train(Experiment(), -1)
    with pytest.raises(ValueError, match="precision='fp16' is not known; accepted: auto, float32, bfloat16"):
        train(Experiment(), precision="fp16")
    with pytest.raises(ValueError, match="device='tpu' cannot be used here"):
        train(Experiment(), device="tpu")


def test_a_checkpoint_of_another_split_is_refused(tmp_path):
    e = Experiment(**FAST)
    trainer, _ = prepare(e, 0, progress=False)
    trainer.learner.data.split = "another"
    trainer.save(tmp_path)
    with pytest.raises(CheckpointError, match="split was 'another'"):
        train(e, 0, checkpoint=tmp_path)


def test_measuring_from_the_middle_of_an_epoch_averages_what_was_seen(tmp_path):
    e = Experiment(**FAST)
    press_ctrl_c_at(3, e, tmp_path)
    late, whole = train(e, 0, checkpoint=tmp_path, measure=True), train(e, 0, measure=True)
    assert late.history[0]["weak accuracy"] + late.history[0]["wrong labels"] == pytest.approx(1, abs=1e-5)
    assert late.history[1] == whole.history[1] | {"seconds": late.history[1]["seconds"]}


def test_a_full_disk_does_not_end_a_run(tmp_path, monkeypatch):
    from dnll_core import trainer

    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(trainer, "save_checkpoint", full)
    with pytest.warns(UserWarning, match=r"No space left on device.*training goes on"):
        run = train(Experiment(**FAST), 0, checkpoint=tmp_path)
    same(run, train(Experiment(**FAST), 0))


def test_an_ignored_ctrl_c_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        trainer, _ = prepare(Experiment(**FAST), 0, progress=False)
        trainer.observer = lambda *_: os.kill(os.getpid(), signal.SIGINT)
        trainer.fit(progress=False)
        assert trainer.step == trainer.learner.clock.total_steps
    finally:
        signal.signal(signal.SIGINT, before)


def test_prediction_that_fails_leaves_the_networks_as_they_were():
    run = train(Experiment(**FAST), 0)
    with pytest.raises(TypeError, match="uint8"):
        run.predict(torch.zeros(2, 1, 8, 8))
    assert all(net.training for net in run.trainer.predictors().values())


def test_streams_of_one_seed_are_unrelated():
    from dnll_core.common import stream_seed

    purposes = ["initialisation", "dropout", "views and negatives", "batches of epoch 0", "batches of epoch 1"]
    seeds = {stream_seed(seed, purpose) for seed in range(20) for purpose in purposes}
    assert len(seeds) == 100
    assert stream_seed(0, "dropout") == stream_seed(0, "dropout")
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_autocast_of_the_callers_is_refused():
    with (
        torch.autocast("cpu", torch.bfloat16),
        pytest.raises(ConfigError, match=r"inside torch\.autocast"),
    ):
        train(Experiment(epochs=1), 0, progress=False)
