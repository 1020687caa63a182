"""What is tried before a run begins: it changes nothing, and what cannot work is refused by field and value."""

import dataclasses
import functools
import hashlib
import json
import re
import warnings
from types import SimpleNamespace

import guard
import numpy as np
import pytest
import torch

from dnll_core import Experiment, load_data, train
from dnll_core.config import METHODS, ConfigError
from dnll_core.data.sets import SETS
from dnll_core.device import own_random_state
from dnll_core.run import prepare as prepare_run
from dnll_core.trial import checked_images, try_once, warn_if_cut_short

prepare = functools.partial(prepare_run, load=functools.cache(load_data))  # resizing is most of the time of a tiny run

FAST = {"labels": 20, "labelled_batch": 20, "unlabelled_batch": 256, "epochs": 1}
STAGES = {"rounds": 2, "lp_start": 0.5, "tnar_start": 0.5}  # few enough for some iterations
TINY = {"network": "small", "size": 4, "labels": 20, "epochs": 1, "weak": "identity", "strong": "noise", **STAGES}


def digest(tensors):
    whole = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        whole.update(f"{name}{value.dtype}{value.stride()}".encode() + value.contiguous().view(-1).numpy().tobytes())
    return whole.hexdigest()


def at_least_four(method, labelled, unlabelled):
    """Some methods take at least four of these, two for each network."""
    return labelled + 3 * (method == "co-training"), unlabelled + 3 * (method == "improved-gan")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("sizes", [(1, 2), (2, 1), (20, 256)])  # (1, 2) and (2, 1) of 4x4 pixels: methods are tried too
def test_it_changes_and_draws_nothing(method, sizes):
    small = 1 in sizes and method not in ("improved-gan", "triple-gan", "tnar")  # which make images of 8x8
    sizes, size = at_least_four(method, *sizes), 4 if small else 8
    how = {"dropout": 0.3, "own_networks": False, "labelled_batch": sizes[0], "unlabelled_batch": sizes[1]}
    e = Experiment(**TINY | {"size": 8} | how, method=method)
    learner = prepare(e, 0, progress=False)[0].learner
    learner.plan_epoch(0)
    learner.iterate(0)  # momentum and statistics are there
    learner.data = dataclasses.replace(learner.data, labelled=load_data("digits", size=size).x_train[:20])
    before = digest(learner.state())
    modes = [module.training for module in learner.method.modules()]
    hooks = [len(module._forward_pre_hooks) for module in learner.method.modules()]
    try:
        try_once(learner)
    except ConfigError as error:
        assert "batch" in str(error)
    assert digest(learner.state()) == before
    assert [module.training for module in learner.method.modules()] == modes
    assert [len(module._forward_pre_hooks) for module in learner.method.modules()] == hooks
    assert torch.get_num_threads() == 1


def first_of_each_stage(learner):
    for step in learner.stages.starts:
        learner.clock.step.fill_(step)
        learner.begin(step)
        learner.iterate(step % learner.steps_per_epoch)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("method", METHODS)
def test_a_batch_of_one_is_refused_where_an_iteration_would_fail_and_nowhere_else(method, mode, shared):
    for labelled, unlabelled in ((1, 1), (1, 2), (2, 1), (2, 2)):
        labelled, unlabelled = at_least_four(method, labelled, unlabelled)
        sizes = {"labelled_batch": labelled, "unlabelled_batch": unlabelled}
        e = Experiment(**TINY, method=method, label_mode=mode, shared_bn=shared, **sizes)
        refused = None
        try:
            trainer, _ = prepare(e, 0, progress=False)
        except ConfigError as error:
            refused = str(error)
            larger = prepare(
                e.replace(**{name: 2 for name in sizes if re.search(rf"\b{name}=1", refused)}), 0, progress=False
            )
            trainer = prepare(e.replace(labelled_batch=max(2, labelled), unlabelled_batch=max(2, unlabelled)), 0)[0]
            trainer.learner.experiment = e  # as it would have gone on
            assert "4x4" in refused
            assert "must be at least 2" in refused
            assert larger
        if refused:
            with pytest.raises(ValueError, match="more than 1 value per channel"):
                first_of_each_stage(trainer.learner)
        else:
            first_of_each_stage(trainer.learner)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"labelled_batch": 1, "method": "supervised"}, r"labelled_batch=1: network='small' leaves one of 4x4 pixels"),
        ({"labelled_batch": 1, "unlabelled_batch": 1, "shared_bn": False}, r"labelled_batch=1 and unlabelled_batch=1:"),
        ({"size": 3}, r"size=\(3, 3\) is too small for network='small': at least 4x4"),
        ({"size": 8, "weak": "flip+crop", "crop_padding": 8}, r"^weak='flip\+crop' .* crop_padding=8: .* be 0\.\.\.7"),
        ({"size": 8, "strong": "translate", "translation": 9}, r"^strong='translate' .* translation=9: .* 0\.\.\.7"),
        ({"size": 8, "strong": "translate_x", "translation": 10**30}, r"translation=1000000.* be 0\.\.\.7"),
        ({"m": 10}, r"m=10 is out of range: with K=10 classes it must be 1\.\.\.9"),
        ({"epochs": 10**6, "unlabelled_batch": 50}, r"epochs=1000000 of 21 iterations .* from 1 to 798915"),
        ({"dataset": "digits-target", "source": "digits-source", "labels": 25}, r"labels=25 cannot be divided"),
        ({"dataset": "digits-target", "source": "digits-source", "labels": 10_000}, r"labels=10000 is more than"),
    ],
)
def test_what_cannot_work_is_refused_by_field_and_value(fields, message):
    with pytest.raises(ConfigError, match=message):
        prepare(Experiment(**TINY | fields), 0, progress=False)


def test_a_method_with_networks_of_its_own_is_named_in_their_place():
    fields = {"size": 12, "method": "triple-gan", "labelled_batch": 2, "unlabelled_batch": 1}
    with pytest.raises(ConfigError, match=r"unlabelled_batch=1: method='triple-gan' leaves one of 12x12 pixels"):
        prepare(Experiment(**TINY | fields), 0, progress=False)


def test_views_that_a_method_does_not_take_are_not_tried():
    prepare(Experiment(**TINY | {"strong": "translate"}, translation=10, method="supervised"), 0, progress=False)
    pair = {"dataset": "digits-target", "source": "digits-source", "strong": "translate", "translation": 10}
    with pytest.raises(ConfigError, match="translation=10"):  # `train` looks at this view of the test images in the end
        prepare(Experiment(**TINY | pair, method="supervised"), 0, progress=False)


def test_two_classes_and_every_method():
    digits = load_data("digits")
    two = {name: getattr(digits, name)[getattr(digits, f"y_{name[2:]}") < 2] for name in ("x_train", "x_test")}
    two |= {name: getattr(digits, name)[getattr(digits, name) < 2] for name in ("y_train", "y_test")}
    data = dataclasses.replace(digits, name="two", classes=digits.classes[:2], **two)
    for method in METHODS:
        e = Experiment(**FAST | {"unlabelled_batch": 64}, **STAGES, method=method)
        assert train(e, 0, load=lambda *a, **k: data).predict(digits.x_test[:3]).shape == (3, 2)
    with pytest.raises(ConfigError, match=r"m=2 is out of range: with K=2 classes it must be 1\.\.\.1"):
        train(Experiment(**FAST, m=2), 0, load=lambda *a, **k: data)


# -- a pool that cuts training short -----------------------------------------------------------------------------------


def of_sizes(e, labelled, pool):
    steps = max(1, pool // e.unlabelled_batch)
    data = SimpleNamespace(labelled=range(labelled), unlabelled=range(pool))
    clock = SimpleNamespace(total_steps=steps * e.epochs)
    return SimpleNamespace(experiment=e, data=data, steps_per_epoch=steps, clock=clock)


def test_a_pool_that_leaves_the_labelled_images_few_passes_is_a_warning():
    digits = load_data("digits")
    e = Experiment(labels=None, labelled_batch=64, unlabelled_batch=64, epochs=2)
    known = torch.arange(len(digits.y_train)) >= 6
    few = dataclasses.replace(digits, y_train=torch.where(known, digits.y_train, -1))
    said = r"2 epochs.* 6 unlabelled images, are 2 iterations and only 0.12 passes over the \d+ labelled .*epochs=35 "
    for method in ("dnll", "supervised"):
        with pytest.warns(UserWarning, match=said) as seen:
            train(e.replace(method=method), 0, load=lambda *a, **k: few)
        assert [warning.filename for warning in seen] == [__file__]  # once, where `train` was called
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(e, 0)  # every image has a label: the pool is the labelled images
        train(e.replace(include_labelled=True), 0, load=lambda *a, **k: few)


def test_experiments_with_a_name_do_not_warn():
    tried = 0
    for name, fields in guard.experiments_named().items():
        if fields["method"] in guard.CLASSICAL:
            continue
        e = Experiment(**fields)
        free = SETS[e.source or e.dataset].free
        labelled = e.labels or free
        pool = SETS[e.dataset].train if e.source else free if e.include_labelled else free - labelled or labelled
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                warn_if_cut_short(of_sizes(e, labelled, pool))
            except UserWarning as warning:
                raise AssertionError(name) from warning
        tried += 1
    assert tried > 100


# -- images that are given to networks ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run():
    return train(Experiment(**FAST), 0)


@pytest.fixture(scope="module")
def images():
    return load_data("digits").x_test[:4]


def test_images_in_numpy_are_taken_as_they_lie(run, images):
    upside_down = images.numpy()[:, :, ::-1]
    assert torch.equal(run.predict(upside_down), run.predict(images.flip(2)))
    read_only = images.numpy().copy()
    read_only.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(run.embed(read_only), run.embed(images))


def test_no_image_has_no_predictions(run, images):
    assert run.predict(images[:0]).shape == (0, 10)
    assert run.embed(images[:0].numpy()).shape == (0, run.embed(images).shape[1])


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (lambda x: x / 255, TypeError, r"images are torch.float32; accepted are \(N, 1, 8, 8\) uint8, .* 0\.\.\.255"),
        (lambda x: x.numpy() / 255, TypeError, "images are float64; .*round"),
        (lambda x: x.int(), TypeError, "images are torch.int32"),
        (lambda x: x > 9, TypeError, "images are torch.bool"),
        (lambda x: x.to_sparse(), TypeError, "images are torch.sparse_coo on cpu; .*dense"),
        (lambda x: x.to("meta"), TypeError, "on meta; .*with its data"),
        (list, TypeError, r"images are a list; .*torch\.stack"),
        (lambda x: "x.png", TypeError, "images are of type str"),
        (lambda x: x[0], ValueError, r"shape \(1, 8, 8\).*images\[None\]"),
        (lambda x: x[0, 0], ValueError, r"shape \(8, 8\)"),
        (lambda x: x.permute(0, 2, 3, 1), ValueError, r"shape \(4, 8, 8, 1\).*Channels come first"),
        (lambda x: x.expand(4, 3, 8, 8), ValueError, "trained on 1 channel, and these have 3"),
        (lambda x: x.repeat(1, 1, 2, 2), ValueError, "trained on 8x8 pixels, and these are 16x16"),
        (lambda x: x[..., :2], ValueError, "trained on 8x8 pixels, and these are 8x2"),
        (lambda x: x[:0].view(0), ValueError, r"shape \(0,\)"),
    ],
)
def test_other_images_are_refused_with_what_they_are_and_what_is_accepted(run, images, change, error, said):
    for call in (run.predict, run.embed):
        with pytest.raises(error, match=said):
            call(change(images))


def test_images_of_a_tensor_are_not_copied(images):
    assert checked_images(images, images.shape[1:]) is images
    assert isinstance(checked_images(images.numpy(), images.shape[1:]), torch.Tensor)
    assert np.shares_memory(images.numpy(), images)


def test_the_history_of_a_run_is_that_without_the_trial(monkeypatch):
    def rows():
        history = train(Experiment(**FAST, dropout=0.3), 0).history
        return json.dumps([{key: value for key, value in row.items() if key != "seconds"} for row in history])

    tried = rows()
    monkeypatch.setattr("dnll_core.run.try_once", lambda learner: None)
    assert rows() == tried


def test_a_trial_leaves_the_callers_random_state_alone():
    trainer, _ = prepare(Experiment(**TINY | {"size": 8}, labelled_batch=2, unlabelled_batch=2), 0, progress=False)
    with own_random_state(torch.device("cpu"), 0):
        before = torch.get_rng_state()
        try_once(trainer.learner)
        assert torch.equal(torch.get_rng_state(), before)
