"""`Experiment`: the paper's defaults, conversion of strings, and errors that help."""

import dataclasses
import json
import pickle
import typing

import numpy as np
import pytest

from dnll_core.config import ConfigError, Experiment


def test_defaults_are_the_papers():
    e = Experiment(dataset="cifar10", labels=4000)
    assert (e.lr, e.weight_decay, e.momentum, e.labelled_batch + e.unlabelled_batch) == (0.03, 5e-4, 0.9, 256)
    assert (e.m, e.selection, e.teaching, e.reduction) == (1, "ep", "both", "sum")


@pytest.mark.parametrize(
    ("dataset", "network", "expected"),
    [
        ("mnist", "auto", ("cnn13", "identity", "identity")),
        ("cifar10", "auto", ("cnn13", "identity", "noise")),
        ("cifar10", "wrn28-2", ("wrn28-2", "crop+flip", "crop+flip+jitter")),
        ("svhn", "auto", ("wrn28-2", "identity", "translate_x")),
        ("digits", "auto", ("small", "identity", "noise")),
    ],
)
def test_auto_is_section_4_2(dataset, network, expected):
    e = Experiment(dataset=dataset, labels=20, network=network)
    assert (e.network, e.weak, e.strong) == expected


def test_frozen_and_keyword_only():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Experiment().lr = 1.0
    with pytest.raises(TypeError):
        Experiment("digits")


def test_equal_experiments_are_one():
    e = Experiment(m=3)
    assert e == Experiment(m="3") == e.replace(m=2).replace(m=3) == pickle.loads(pickle.dumps(e))
    assert len({e, Experiment(m="3"), e.replace(m=2)}) == 2


def test_defaults_are_what_their_fields_make_of_them():
    """pydantic does not look at them."""
    e = Experiment()
    told = Experiment(**e.to_dict())
    for field in dataclasses.fields(Experiment):
        assert repr(getattr(told, field.name)) == repr(getattr(e, field.name)), field.name


def test_json_round_trip():
    e = Experiment(m=3, selection="epm", dropout=0.25, labels=None)
    assert Experiment(**json.loads(json.dumps(e.to_dict()))) == e
    assert e.replace(m=2).m == 2


@pytest.mark.parametrize(
    ("given", "field", "value"),
    [
        ({"include_labelled": "false"}, "include_labelled", False),
        ({"nesterov": "True"}, "nesterov", True),
        ({"weight_decay": "1e-3"}, "weight_decay", 1e-3),
        ({"labels": "50"}, "labels", 50),
        ({"labels": 50.0}, "labels", 50),
        ({"labels": "none"}, "labels", None),
        ({"dropout": "null"}, "dropout", None),
        ({"lr": 1}, "lr", 1.0),
        ({"nesterov": np.False_}, "nesterov", False),
    ],
)
def test_strings_as_papermill_sends_them(given, field, value):
    result = getattr(Experiment(**given), field)
    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"lerning_rate": 0.1}, r"field='lerning_rate' is not known.*Accepted: dataset"),
        ({"selecton": "ep"}, r"field='selecton' is not known. Did you mean 'selection'\?"),
        ({"selection": "epmm"}, r"selection='epmm' is not known. Did you mean 'epm'\? Accepted: ep, epm"),
        ({"method": "dnl"}, r"Did you mean 'dnll'"),
        ({"teaching": "cross"}, r"teaching='cross' is not known.*Accepted: both, mutual, self"),
        ({"nesterov": "no"}, r"nesterov takes true or false, not 'no'"),
        ({"nesterov": 1}, r"nesterov takes true or false, not 1"),
        ({"labels": "many"}, r"labels takes a whole number from 1 or None, not 'many'"),
        ({"labels": 2.5}, r"labels takes a whole number from 1 or None, not 2.5"),
        ({"labels": True}, r"labels takes a whole number from 1 or None, not True"),
        ({"lr": "fast"}, r"lr takes a number above 0, not 'fast'"),
        ({"lr": float("nan")}, r"lr takes a number above 0, not nan"),
        ({"lr": 0}, r"lr takes a number above 0, not 0"),
        ({"m": 0}, r"m takes a whole number from 1, not 0\."),
        ({"noise_std": -0.1}, r"noise_std takes a number from 0 to 1000, not -0.1\."),
        ({"noise_std": float("inf")}, r"noise_std takes a number from 0 to 1000, not inf"),
        ({"crop_padding": -1}, r"crop_padding takes a whole number from 0, not -1\."),
        ({"crop_padding": 1.5}, r"crop_padding takes a whole number from 0, not 1.5"),
        ({"translation": -2}, r"translation takes a whole number from 0, not -2\."),
        ({"translation": True}, r"translation takes a whole number from 0, not True"),
        ({"jitter": -0.4}, r"jitter takes a number from 0 to 1, not -0.4"),
        ({"dropout": 1.0}, r"dropout takes a number from 0 to 0.999 or None, not 1.0"),
        ({"dropout": -0.1}, r"dropout takes .* not -0.1"),
        ({"dropout": float("nan")}, r"dropout takes .* not nan"),
        ({"labels": 0}, r"labels takes a whole number from 1 or None, not 0\."),
        ({"lr": float("-inf")}, r"lr takes a number above 0, not -inf"),
        ({"epochs": float("inf")}, r"epochs takes a whole number from 1 to 1000000, not inf"),
        ({"weak": 3}, r"weak takes text, not 3"),
        ({"vat_xi": "0"}, r"vat_xi takes a number above 0, not '?0"),
        ({"mixup_alpha": 0.01, "method": "mixmatch"}, r"mixup_alpha takes a number from 0.05 to 1000, not 0.01\."),
        ({"momentum": 1}, r"momentum takes a number from 0 to 0.99999, not 1\."),
        ({"ensemble_decay": 1}, r"ensemble_decay takes a number from 0 to 0.9999, not 1\."),
        ({"threshold": 1.1}, r"threshold takes a number from 0 to 1, not 1.1\."),
        ({"eval_every": 0, "labels": 0}, r"labels takes"),  # the first field that is wrong
        ({"jitter_hue": 0.6}, r"jitter_hue takes a number from 0 to 0.5, not 0.6"),
        ({"ema_decay": 1.0}, r"ema_decay takes a number from 0 to 0.99999, not 1.0"),
        ({"momentum": 0.0}, r"nesterov=True needs momentum above 0"),
        ({"lam": 0.0}, r"method='dnll' with lam=0"),
        ({"dataset": 3}, r"dataset takes text, not 3"),
        ({"dataset": ""}, r"dataset='' is not known.* Accepted: digits, .*, folder:PATH"),
        ({"dataset": "folder:"}, r"dataset='folder:' is not known. Did you mean 'folder:PATH'"),
        ({"dataset": "mnist", "source": ""}, r"source='' is not known"),
        ({"dataset": "minst"}, r"dataset='minst' is not known. Did you mean 'mnist'"),
        ({"strong": "noize"}, r"strong: .*'noize' is not known. Did you mean 'noise'"),
    ],
)
def test_errors_name_what_they_got_and_what_is_accepted(given, message):
    with pytest.raises(ConfigError, match=message):
        Experiment(**given)


def test_the_names_are_those_of_the_modules_that_own_them():
    from dnll_core import config, models
    from dnll_core.data.sets import NAMES

    assert {*config.AUTO} == {*NAMES, "folder"}
    assert set(typing.get_args(typing.get_type_hints(Experiment)["network"])) == {*models.NETWORKS, "auto"}
