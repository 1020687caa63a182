"""What is run: `Experiment`, a frozen dataclass that holds every choice which changes the mathematics.

    Experiment(dataset="digits", labels=20, method="dnll", m=3, selection="epm")

Each default carries its source beside it: [paper] is stated in the paper, [ours] is a choice where the paper is silent.
Where a run happens (device, precision, threads, folders) is not part of an experiment: it must not change the result's
meaning, and belongs to `train`. Values may arrive as strings ("false", "1e-3", "none"): papermill's command line sends
them so; they are converted by the field's type or refused.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from dataclasses import dataclass

from dnll_core.augment import parse
from dnll_core.common import unknown

CHOICES: dict[str, tuple[str, ...]] = {
    "network": ("auto", "cnn13", "wrn28-2", "cnn3", "small", "cnn6"),
    "method": (
        "supervised",
        "mutual-learning",
        "dnll",
        "mean-teacher",
        "dual-student",
        "pi-model",
        "temporal-ensembling",
        "vat",
        "pseudo-label",
        "mixmatch",
        "fixmatch",
        "mean-teacher+dnll",
        "dual-student+dnll",
    ),
    "selection": ("ep", "epm"),
    "teaching": ("both", "mutual", "self"),
    "reduction": ("sum", "mean"),
    "epm_accumulation": ("ema", "epoch"),
    "label_mode": ("train", "eval"),
    "consistency_view": ("strong", "weak"),
}

# (lowest, highest) -> the numbers between them; a decay of 1 would never move.
_RANGES = {
    (1, math.inf): "labels size m vat_iterations labelled_batch unlabelled_batch epochs eval_every",
    (0, math.inf): "noise_std translation crop_padding lam ramp_epochs consistency_scale consistency_ramp_epochs lr "
    "stabilisation_scale stabilisation_ramp_epochs logit_distance vat_eps vat_xi vat_entropy sharpening weight_decay",
    (0, 1): "jitter threshold stable_threshold fixmatch_threshold",
    (0, 0.5): "jitter_hue",
    (0, 0.999): "dropout",
    (0, 0.9999): "ensemble_decay",
    (0, 0.99999): "epm_decay teacher_decay momentum ema_decay",
    (0.05, math.inf): "mixup_alpha",  # below, float32 cannot hold the Gamma variables
}
_BOUNDS = {name: bounds for bounds, names in _RANGES.items() for name in names.split()}
_POSITIVE = ("vat_eps", "vat_xi", "sharpening", "lr")  # the lowest itself, 0, is not allowed

# Data set -> (network, weak view, strong view), from section 4.2 of the paper for MNIST, CIFAR-10 with CNN-13 and SVHN.
# Section 4.2 leaves MNIST's input unchanged; dropout inside CNN-13 is then the only difference between two views.
AUTO = {
    "digits": ("small", "identity", "noise"),
    "digits-source": ("small", "identity", "noise"),
    "digits-target": ("small", "identity", "noise"),
    "mnist": ("cnn13", "identity", "identity"),
    "usps": ("cnn13", "identity", "noise"),
    "cifar10": ("cnn13", "identity", "noise"),
    "svhn": ("wrn28-2", "identity", "translate_x"),
    "folder": ("wrn28-2", "crop+flip", "crop+flip+jitter"),
}
# Section 4.2, WRN-28-2 on CIFAR-10: crop and flip are weak, colour jitter strong; jitter comes on top of crop and flip
# [ours: whether the strong view is also cropped and flipped is not stated].
AUTO_WRN_CIFAR = ("crop+flip", "crop+flip+jitter")


class ConfigError(ValueError):
    """A field of an experiment that does not exist, or a value that the field does not take."""


def _checked_names(cls: type) -> type:
    """Makes an unknown field an error that names the nearest valid one, instead of dataclass's plain TypeError."""
    generated = cls.__init__

    @functools.wraps(generated)
    def __init__(self, **settings):
        names = [field.name for field in dataclasses.fields(cls)]
        for name in settings:
            if name not in names:
                raise ConfigError(unknown("field", name, names))
        generated(self, **settings)

    cls.__init__ = __init__
    return cls


@_checked_names
@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One configuration of data, method and optimisation; with a seed it determines a run.

    Raises:
        ConfigError: for an unknown field, a value of the wrong type or out of range, or an impossible combination.
    """

    # -- data ----------------------------------------------------------------------------------------------------------
    dataset: str = "digits"  # a name of `data.sets.NAMES`, or "folder:PATH"
    source: str | None = None  # [paper 4.8] domain adaptation: where labelled images come from; the others: `dataset`
    labels: int | None = 20  # labelled images, balanced over the classes; None: every training image that has a label
    include_labelled: bool = False  # [paper 4.3] "the rest" is unlabelled; True adds the labelled images to the pool
    size: int | None = None  # pixels; images are resized to size x size (cubic); None: as they come

    # -- network -------------------------------------------------------------------------------------------------------
    network: str = "auto"  # see AUTO
    dropout: float | None = None  # None: the network's own (0.5 in CNN-13 and CNN-3, none elsewhere)

    # -- views, section 4.2 --------------------------------------------------------------------------------------------
    weak: str = "auto"  # operations joined by "+", see augment.py; "auto": section 4.2 for the data set and network
    strong: str = "auto"
    noise_std: float = 0.15  # [ours] unstated; the lineage's networks use 0.15. In standard deviations of the pixels
    translation: int = 2  # [ours] pixels; unstated; the reference that the paper cites for SVHN uses 2
    crop_padding: int = 4  # [ours] pixels; unstated; the usual CIFAR-10 crop
    jitter: float = 0.4  # [ours] strength of brightness, contrast and saturation; unstated
    jitter_hue: float = 0.1  # [ours] strength of hue, a share of the colour circle; unstated

    # -- method --------------------------------------------------------------------------------------------------------
    method: str = "dnll"
    m: int = 1  # [paper 3.3.1] "m is one by default"; Table 5 is best at 3
    selection: str = "ep"  # [paper 3.3.1] equal probability; "epm" is section 3.3.2
    teaching: str = "both"  # [paper Eqs. 18-19] cross + self; "mutual": cross only, as Algorithm 1 prints; "self"
    threshold: float = 0.0  # mutual-learning, pseudo-label: confidence that a label needs to be passed on; 0 passes all
    lam: float = 1.0  # [ours] lambda of Eqs. 20-21, unstated
    ramp_epochs: float = 5.0  # [ours] lambda grows as exp(-5 (1 - t)^2) over these epochs; unstated; 0: no ramp
    reduction: str = "sum"  # [paper Eq. 9] over the negatives of an image; the authors' add-on code takes the mean
    epm_accumulation: str = "ema"  # [paper 3.3.2] "may use EMA"; "epoch": the finished sum of the epoch before
    epm_decay: float = 0.9  # [ours] decay per batch of the EMA; unstated
    label_mode: str = "train"  # [ours] mode of the networks while they label the weak views
    label_updates_bn: bool = False  # [ours] whether that pass updates the running batch-norm statistics
    shared_bn: bool = True  # [ours] labelled and strong views share one forward pass, so one batch-norm batch

    # -- the methods that DNLL is compared with; where one weight is enough it is lam, with ramp_epochs ----------------
    consistency_view: str = "strong"  # mean-teacher, pi-model: second view, another draw as published; or "weak"
    consistency_scale: float = 10.0  # mean-teacher, dual-student: [authors' add-on code] both; Dual Student, lambda_1
    consistency_ramp_epochs: float = 5.0  # [authors' add-on code] both; the same form as ramp_epochs
    teacher_decay: float = 0.999  # mean-teacher: share of the old average kept a step [Tarvainen & Valpola, section 3]
    stabilisation_scale: float = 100.0  # dual-student: [its code, CIFAR-10] lambda_2
    stabilisation_ramp_epochs: float = 5.0  # dual-student: [its code]
    stable_threshold: float = 0.8  # dual-student: [its code, CIFAR-10] confidence of a stable sample; 0.6 on MNIST
    logit_distance: float = 0.01  # dual-student: [its code] cost of the distance between the two heads' logits
    ensemble_decay: float = 0.6  # temporal-ensembling: alpha, share of the old average kept an epoch [its paper]
    vat_eps: float = 6.0  # vat: length of the perturbation in normalised pixels [Oliver et al. 2018, CIFAR-10]
    vat_xi: float = 0.1  # vat: [ours] length in the finite difference; at the published 1e-6 float32 rounds it away
    vat_iterations: int = 1  # vat: power iterations [Miyato et al., section 4]
    vat_entropy: float = 0.0  # vat: weight of the entropy term beside it; 1 is "VAT + EntMin" of its paper
    sharpening: float = 0.5  # mixmatch: temperature T [its paper, section 4]
    mixup_alpha: float = 0.75  # mixmatch: of the Beta distribution [its paper, section 4]
    fixmatch_threshold: float = 0.95  # fixmatch: confidence that a pseudo-label needs [its paper, section 4]

    # -- optimisation, section 4.2 -------------------------------------------------------------------------------------
    lr: float = 0.03  # [paper]
    weight_decay: float = 5e-4  # [paper]
    momentum: float = 0.9  # [paper]
    nesterov: bool = True  # [ours] unstated; the authors' add-on code uses it
    labelled_batch: int = 128  # [paper] batch 256; half of it labelled is [ours], after the 50 + 50 of section 4.9
    unlabelled_batch: int = 128
    epochs: int = 100  # [ours] passes over the unlabelled images; unstated; the authors' add-on code runs 100
    ema_decay: float = 0.0  # [ours] 0: none; above, the weights' average with this decay a step is evaluated instead
    eval_every: int = 1  # epochs between evaluations; the last epoch is always evaluated

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = _convert(field.name, getattr(self, field.name), _TYPES[field.name])
            object.__setattr__(self, field.name, value)
        self._resolve_auto()
        self._check()

    def _resolve_auto(self) -> None:
        """Replaces "auto" by what it stands for, so that a record says what ran."""
        network, weak, strong = AUTO.get(self.dataset.split(":")[0], AUTO["folder"])
        if self.network == "auto":
            object.__setattr__(self, "network", network)
        if self.dataset == "cifar10" and self.network == "wrn28-2":
            weak, strong = AUTO_WRN_CIFAR
        if self.weak == "auto":
            object.__setattr__(self, "weak", weak)
        if self.strong == "auto":
            object.__setattr__(self, "strong", strong)

    def _check(self) -> None:
        for name, valid in CHOICES.items():
            value = getattr(self, name)
            if value not in valid:
                raise ConfigError(unknown(name, value, valid))
        sets = (self.dataset, self.source)
        for name, value in zip(("dataset", "source"), sets):
            kind, _, path = (value or "digits").partition(":")
            if kind not in AUTO or (kind == "folder") != bool(path):
                names = [name for name in AUTO if name != "folder"]
                raise ConfigError(unknown(name, value, [*names, "folder:PATH"]))
        families = {name.split("-")[0] if name and name.startswith("digits") else name for name in sets}
        if self.source is not None and len(families) == 1 and set(sets) != {"digits-source", "digits-target"}:
            raise ConfigError(
                f"source={self.source!r} and dataset={self.dataset!r} share images, so labels of the target would be "
                "among those of the source; domain adaptation needs two data sets without common images."
            )
        if self.source is not None and self.include_labelled:
            raise ConfigError("include_labelled=True does not go with source: the pool is the target's images alone.")
        for name in ("weak", "strong"):
            try:
                parse(getattr(self, name))
            except ValueError as error:
                raise ConfigError(f"{name}: {error}") from None
        for name, value in self.to_dict().items():
            if value is None or name not in _BOUNDS:
                continue
            low, high = _BOUNDS[name]
            if not low <= value <= high or (value == 0 and name in _POSITIVE):
                sign = "more than" if name in _POSITIVE else "at least"
                top = "" if high == math.inf else f" and at most {high}"
                raise ConfigError(f"{name}={value!r} is out of range: it must be {sign} {low}{top}.")
        if self.nesterov and self.momentum == 0:
            raise ConfigError("nesterov=True needs momentum above 0; set nesterov=False for plain SGD.")
        if self.method.endswith("dnll") and self.lam == 0:
            plain = self.method.removesuffix("+dnll").replace("dnll", "supervised")
            raise ConfigError(f"method={self.method!r} with lam=0 has no negative labels; use method={plain!r}.")

    def replace(self, **changes) -> Experiment:
        """A copy with some fields changed. A change of data set or network resolves "auto" fields only if told to."""
        return Experiment(**{**self.to_dict(), **changes})

    def to_dict(self) -> dict:
        """The fields as plain JSON values; `Experiment(**d)` gives the same experiment back."""
        return dataclasses.asdict(self)


_TYPES = typing.get_type_hints(Experiment)


def _convert(name: str, value, wanted):
    """`value` as the field's type; strings are read as papermill writes them. Never a silent change of meaning."""
    options = typing.get_args(wanted) if isinstance(wanted, types.UnionType) else (wanted,)
    text = value.strip() if isinstance(value, str) else None
    if type(None) in options and (value is None or (text is not None and text.lower() in ("none", "null"))):
        return None
    kind = next(option for option in options if option is not type(None))
    label = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}[kind]
    expected = label + (" or none" if type(None) in options else "")
    try:
        if kind is bool:
            return value if isinstance(value, bool) else {"true": True, "false": False}[text.lower()]
        if isinstance(value, bool) or (kind is str and text is None):
            raise ValueError
        if kind is str:
            return text
        number = float(value)
        if not math.isfinite(number) or (kind is int and number != int(number)):
            raise ValueError
        return kind(number)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        raise ConfigError(f"{name} takes {expected}, not {value!r}.") from None
