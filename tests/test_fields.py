"""What every parameter takes, and what it makes of it, against the rules told once more, plainly."""

import dataclasses
import decimal
import fractions
import math

import numpy as np
import pytest

from dnll_core.bench.subject import Setting
from dnll_core.config import ConfigError, Experiment
from dnll_core.methods.classical import CLASSIFIERS, Classical

REFUSED = object()


def each(names, value):
    return dict.fromkeys(names.split(), value)


OPTIONAL = ("source", "labels", "size", "dropout")
FLAGS = ("include_labelled", "label_updates_bn", "shared_bn", "nesterov", "own_networks", "ccn_corrects")
VIEWS = {"auto", "identity", "noise", "crop+flip", "noise+crop", "crop + flip"}
SETS = {"digits", "mnist", "folder:x", "folder:a:b"}
WORDS = {
    **each("dataset source", SETS),
    **each("weak strong", VIEWS),
    "network": {"auto", "cnn13", "wrn28-2", "cnn3", "small", "cnn6"},
    "method": {"supervised", "mean-teacher+dnll", "dnll"},  # of VALUES
    "selection": {"ep", "epm"},
    "teaching": {"both", "mutual", "self"},
    "reduction": {"sum", "mean"},
    "epm_accumulation": {"ema", "epoch"},
    "label_mode": {"train", "eval"},
    "consistency_view": {"strong", "weak"},
}
LOWEST = {  # of whole numbers
    **each("labels size m vat_iterations labelled_batch unlabelled_batch epochs eval_every evaluations", 1),
    **each("lp_every lp_neighbours rounds ccl_passes", 1),
    **each("translation crop_padding", 0),
}
HIGHEST = {
    "size": 1024,
    **each("vat_iterations rounds ccl_passes", 100),
    "epochs": 10**6,
    **each("labelled_batch unlabelled_batch", 2**16),
}
LEAST = 5e-324  # above 0
BOUNDS = {
    **{name: (low, HIGHEST.get(name, math.inf)) for name, low in LOWEST.items()},
    **each("noise_std", (0, 1000)),
    **each("lam ramp_epochs consistency_scale consistency_ramp_epochs stabilisation_scale", (0, math.inf)),
    **each("stabilisation_ramp_epochs logit_distance vat_entropy weight_decay", (0, math.inf)),
    **each("vat_xi sharpening lr sntg_margin", (LEAST, math.inf)),
    **each("vat_eps tnar_tangent tnar_zeta sntg_weight dmt_gamma cot_scale dif_scale adversarial_eps", (0, math.inf)),
    **each("ccl_strength", (0, math.inf)),
    **each("lp_gamma", (LEAST, 1000)),
    **each("mixup_alpha", (0, 1000)),
    **each("jitter threshold stable_threshold fixmatch_threshold", (0, 1)),
    **each("jitter_hue", (0, 0.5)),
    **each("dropout lp_alpha", (0, 0.999)),
    **each("lp_start", (0, 0.99)),
    **each("tnar_start", (0.01, 0.99)),
    **each("ensemble_decay", (0, 0.9999)),
    **each("epm_decay teacher_decay momentum ema_decay", (0, 0.99999)),
}
VALUES = [
    *("3", " 3 ", "1e2", "1e-3", "0.5", "0", "-1", "2.5", "1_000", "0x10", "nan", "inf", "-inf", "1e400", "", "None"),
    *("true", "TRUE", " False ", "yes", "on", "none", " NONE ", "null", "nil", "auto", " auto ", "Auto"),
    *("digits", " digits ", "digit", "mnist", "mnist:x", "folder", "folder:", "folder:x", "folder:a:b", "minst"),
    *("identity", "noise", "noize", "crop+flip", " crop + flip ", "flip+flip", "noise+crop", "identity+noise", "crop+"),
    *("cnn13", "wrn28-2", "cnn3", "small", "cnn6", "cnn12", "supervised", "mean-teacher+dnll", "vat+dnll", "dnl"),
    *("ep", " epm ", "EPM", "both", "mutual", "self", "sum", "mean", "ema", "epoch", "train", "eval", "strong", "weak"),
    *(True, False, None, 0, -1, 1, 2.5, 3.0, -0.0, 0.05, 0.04999, 0.5, 0.50001, 1.00001, LEAST, -LEAST, 1e300, 65537),
    *(0.999, 0.99901, 0.9999, 0.99991, 0.99999, 0.999991, math.inf, -math.inf, math.nan, 2**53 + 1, 10**400),
    *(np.int64(3), np.int64(-2), np.float32(0.5), np.float64(2.5), np.float64("nan"), np.str_("ep"), np.bool_(True)),
    *(np.array(3), np.array([1, 2]), decimal.Decimal("0.5"), fractions.Fraction(1, 2), 1j, b"3", b"ep", [], [3], {}),
    *((3,), {"m": 3}, {1}, object, "x" * 100_000, "9" * 5000, list(range(10_000)), "+".join(["crop"] * 1000)),
]


def taken(name, value):
    """What a field of an experiment makes of a value."""
    text = value.strip() if isinstance(value, str) else None
    if name in OPTIONAL and (value is None or (text is not None and text.lower() in ("none", "null"))):
        return None
    if name in FLAGS:
        truth = bool(value) if isinstance(value, bool | np.bool_) else text and text.lower()
        return {"true": True, "false": False, True: True, False: False}.get(truth, REFUSED)
    if name in WORDS:
        return text if text in WORDS[name] else REFUSED
    try:
        number = math.nan if isinstance(value, bool | np.bool_) else float(value)
    except (TypeError, ValueError, OverflowError):
        return REFUSED
    low, high = BOUNDS[name]  # a KeyError: a new field, which belongs above
    whole = name not in LOWEST or number % 1 == 0
    if not math.isfinite(number) or not whole or not low <= number <= high:
        return REFUSED
    return int(number) if name in LOWEST else number


def same(got, expected):
    return type(got) is type(expected) and got == expected


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Experiment)])
def test_every_field_of_an_experiment(name):
    beside = {"method": "supervised", "nesterov": False} | ({"dataset": "svhn"} if name == "source" else {})
    stands_for = {"network": "small", "weak": "identity", "strong": "noise"}  # "auto", on the digits
    for value in VALUES:
        expected = taken(name, value)
        if expected is REFUSED:
            with pytest.raises(ConfigError, match=rf"^{name}\b") as error:
                Experiment(**{**beside, name: value})
            message = str(error.value)
            assert len(message) < 500
            if name not in ("weak", "strong"):  # those name the operation
                text = repr(value.strip() if isinstance(value, str) else value)[:90]
                assert text in message or float(value) == float(message.split()[-1].strip("."))  # as it was read
            if name in BOUNDS:
                assert all(str(bound) in message for bound in BOUNDS[name] if bound not in (LEAST, math.inf))
            elif name in ("network", "selection", "teaching"):
                assert all(word in message for word in WORDS[name])
        else:
            got = getattr(Experiment(**{**beside, name: value}), name)
            assert same(got, stands_for[name] if expected == "auto" else expected), (name, value, got)


COUNTED = [(3, 3), (np.int64(3), 3), (np.uint8(7), 7), (2**53 + 1, 2**53 + 1)]
NO_COUNT = ["3", "none", "", 3.0, 2.5, 0, -1, True, np.bool_(True), np.float64(3), math.nan, np.array(3), b"3", [3], {}]
HALF = [(0.5, 0.5), (np.float32(0.5), 0.5), (fractions.Fraction(1, 2), 0.5)]
NO_HALF = ["0.5", "", True, np.bool_(True), -0.1, math.nan, math.inf, 10**400, np.array(0.5), [1]]
NO_HALF += [decimal.Decimal("0.5")]


@pytest.mark.parametrize(
    ("method", "name", "accepted", "refused"),
    [
        ("label-spreading", "labels", [*COUNTED, (None, None)], NO_COUNT),
        ("label-spreading", "dataset", [("usps", "usps"), ("folder:x", "folder:x")], ["usp", " usps", "folder:", 3]),
        ("label-spreading", "method", [], ["label-spredding", "dnll", "", 3, None, [1]]),
        ("label-spreading", "kernel", [("rbf", "rbf")], ["rbff", " rbf", "", 3, None, [1], b"rbf"]),
        ("label-spreading", "neighbours", COUNTED, [*NO_COUNT, None]),
        ("label-spreading", "gamma", [*HALF, (4, 4.0), (np.int64(4), 4.0)], [*NO_HALF, 0, None]),
        ("label-spreading", "alpha", HALF, [*NO_HALF, 0, 1, None]),
        ("label-spreading", "base", [], ["logistic"]),
        ("self-training", "base", [("logistic", "logistic")], ["svm", 3, None, [1]]),
        ("self-training", "threshold", [*HALF, (0, 0.0), (None, None)], [*NO_HALF, 1]),
        ("self-training", "k_best", COUNTED, NO_COUNT),
        ("self-training", "c", [*HALF, (4, 4.0)], [*NO_HALF, 0, None]),
        ("self-training", "settings", [], [(), 3]),
    ],
)
def test_every_field_of_a_classical_run(method, name, accepted, refused):
    for value, expected in accepted:
        config = Classical(**{"method": method, name: value})
        assert same(config.to_dict()[name], expected), (value, config)
        assert Classical(**config.to_dict()) == config
    for value in refused:
        with pytest.raises(ConfigError, match=rf"\b{name}\b"):
            Classical(**{"method": method, name: value})


def test_what_a_classical_run_was_not_told_is_not_in_its_name():
    assert Classical("self-training").settings == ()
    assert all(Classical(name).to_dict() == {"method": name, "dataset": "digits", "labels": 20} for name in CLASSIFIERS)


@pytest.mark.parametrize("name", ["threads", "unlabelled"])
def test_counts_of_a_benchmark(name):
    setting = Setting(Experiment())
    for value in (2, "2", " 2 ", np.int64(2), decimal.Decimal(2)):
        assert same(getattr(setting.replace(**{name: value}), name), 2)
    for value in (0, -1, 2.0, True, "0", "-1", "2.0", "1e2", "none", "", math.nan, [2], b"2"):
        with pytest.raises(ConfigError, match=rf"\b{name}\b"):
            setting.replace(**{name: value})


@pytest.mark.parametrize(
    ("name", "accepted", "near"),
    [("pool", ["auto", "device", "host", "mapped"], "maped"), ("step", ["fast", "uncaptured", "plain"], "plane")],
)
def test_places_of_a_benchmark(name, accepted, near):
    setting = Setting(Experiment())
    for value in accepted:
        assert getattr(setting.replace(**{name: value}), name) == value
    for value in (near, accepted[0].upper(), f" {accepted[0]}", "", None, 3, [accepted[0]]):
        with pytest.raises(ConfigError, match=rf"\b{name}\b"):
            setting.replace(**{name: value})
    with pytest.raises(ConfigError, match=f"Did you mean '{accepted[-1]}'"):
        setting.replace(**{name: near})
