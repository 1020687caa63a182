"""What is run: `Experiment`, a frozen dataclass that holds every choice which changes the mathematics.

    Experiment(dataset="digits", labels=20, method="dnll", m=3, selection="epm")

The line of a field says all of it: its type with bounds or choices (see `fields`), its default, and its source: [paper]
is stated in the paper, [ours] is a choice where the paper is silent. Values may arrive as text ("false", "1e-3",
"none"): papermill's command line sends them so.
Where a run happens (device, precision, threads, folders) is not part of an experiment: it must not change the result's
meaning, and belongs to `train`.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator
from pydantic.dataclasses import dataclass

from dnll_core.augment import parse
from dnll_core.common import unknown
from dnll_core.fields import RULES, ConfigError, Count, Flag, NonNegative, OrNone, Positive, Real, Share, Whole, checked

METHODS = (
    *("supervised", "mutual-learning", "dnll", "mean-teacher", "dual-student", "pi-model", "temporal-ensembling"),
    *("vat", "pseudo-label", "mixmatch", "fixmatch", "mean-teacher+dnll", "dual-student+dnll"),
    *("pi-model+sntg", "label-propagation", "mean-teacher+lp", "curriculum-labeling", "dmt", "co-training"),
    *("tssdl", "mean-teacher+tssdl", "filtering-ccl", "temperature-ccl", "ccn", "improved-gan", "triple-gan", "tnar"),
)

# Data set -> (network, weak view, strong view), from section 4.2 of the paper for MNIST, CIFAR-10 with CNN-13 and SVHN.
# Section 4.2 leaves MNIST's input unchanged; dropout inside CNN-13 is then the only difference between two views.
AUTO = {
    **dict.fromkeys(("digits", "digits-source", "digits-target"), ("small", "identity", "noise")),
    "mnist": ("cnn13", "identity", "identity"),
    "usps": ("cnn13", "identity", "noise"),
    "cifar10": ("cnn13", "identity", "noise"),
    "svhn": ("wrn28-2", "identity", "translate_x"),
    "folder": ("wrn28-2", "crop", "crop+jitter"),  # a flip may make another class of an image: "p" and "q"
}
# Section 4.2, WRN-28-2 on CIFAR-10: crop and flip are weak, colour jitter strong; jitter comes on top of crop and flip
# [ours: whether the strong view is also cropped and flipped is not stated].
AUTO_WRN_CIFAR = ("crop+flip", "crop+flip+jitter")


def _images(name: str, info: ValidationInfo) -> str:
    kind, _, path = name.partition(":")
    if kind not in AUTO or (kind == "folder") != bool(path):
        names = [name for name in AUTO if name != "folder"]
        raise ConfigError(unknown(info.field_name, name, [*names, "folder:PATH"]))
    return name


def _view(spec: str, info: ValidationInfo) -> str:
    try:
        if spec != "auto":
            parse(spec)
    except ValueError as error:
        raise ConfigError(f"{info.field_name}: {error}") from None
    return spec


Images = Annotated[str, AfterValidator(_images)]
View = Annotated[str, AfterValidator(_view)]
Batch = Annotated[Whole, Field(ge=1, le=2**16)]


@checked
@dataclass(frozen=True, kw_only=True, config=RULES)
class Experiment:
    """One configuration of data, method and optimisation; with a seed it determines a run.

    Raises:
        ConfigError: for an unknown field, a value of the wrong type or out of range, or an impossible combination.
    """

    # -- data ----------------------------------------------------------------------------------------------------------
    dataset: Images = "digits"  # a name of `data.sets.NAMES`, or "folder:PATH"
    source: OrNone[Images] = None  # [paper 4.8] domain adaptation: where labelled images come from; others: `dataset`
    labels: OrNone[Count] = 20  # labelled images, balanced over the classes; None: every training image with a label
    include_labelled: Flag = False  # [paper 4.3] "the rest" is unlabelled; True adds the labelled images to the pool
    size: OrNone[Annotated[Whole, Field(ge=1, le=1024)]] = None  # pixels; resized to size x size (cubic); None: as is

    # -- network -------------------------------------------------------------------------------------------------------
    network: Literal["auto", "cnn13", "wrn28-2", "cnn3", "small", "cnn6"] = "auto"  # see AUTO
    dropout: OrNone[Annotated[Real, Field(ge=0, le=0.999)]] = None  # None: the network's (CNN-13, CNN-3: 0.5; else 0)

    # -- views, section 4.2 --------------------------------------------------------------------------------------------
    weak: View = "auto"  # operations joined by "+", see augment.py; "auto": section 4.2 for the data set and network
    strong: View = "auto"
    noise_std: Annotated[Real, Field(ge=0, le=1000)] = 0.15  # [ours] of the pixels' standard deviations; lineage: 0.15
    translation: Annotated[Whole, Field(ge=0)] = 2  # [ours] pixels; unstated; the paper's reference for SVHN uses 2
    crop_padding: Annotated[Whole, Field(ge=0)] = 4  # [ours] pixels; unstated; the usual CIFAR-10 crop
    jitter: Share = 0.4  # [ours] strength of brightness, contrast and saturation; unstated
    jitter_hue: Annotated[Real, Field(ge=0, le=0.5)] = 0.1  # [ours] strength of hue, of the colour circle; unstated

    # -- method --------------------------------------------------------------------------------------------------------
    method: Literal[METHODS] = "dnll"
    m: Count = 1  # [paper 3.3.1] "m is one by default"; Table 5 is best at 3
    selection: Literal["ep", "epm"] = "ep"  # [paper 3.3.1] equal probability; "epm" is section 3.3.2
    teaching: Literal["both", "mutual", "self"] = "both"  # [paper Eqs. 18-19] cross + self; mutual: cross (Algorithm 1)
    threshold: Share = 0.0  # mutual-learning, pseudo-label: confidence that a label needs to be passed on; 0 passes all
    lam: NonNegative = 1.0  # [ours] lambda of Eqs. 20-21, unstated
    ramp_epochs: NonNegative = 5.0  # [ours] lambda grows as exp(-5 (1 - t)^2) over these epochs; unstated; 0: no ramp
    reduction: Literal["sum", "mean"] = "sum"  # [paper Eq. 9] over an image's negatives; the authors' add-on code: mean
    epm_accumulation: Literal["ema", "epoch"] = "ema"  # [paper 3.3.2] "may use EMA"; epoch: the whole epoch before
    epm_decay: Annotated[Real, Field(ge=0, le=0.99999)] = 0.9  # [ours] of the EMA, a batch; unstated
    label_mode: Literal["train", "eval"] = "train"  # [ours] mode of the networks while they label the weak views
    label_updates_bn: Flag = False  # [ours] whether that pass updates the running batch-norm statistics
    shared_bn: Flag = True  # [ours] labelled and strong views share one forward pass, so one batch-norm batch

    # -- the methods that DNLL is compared with; where one weight is enough it is lam, with ramp_epochs ----------------
    # a decay is the share of the old average that is kept: one of 1 would never move
    consistency_view: Literal["strong", "weak"] = "strong"  # mean-teacher, pi-model: second view; published: new draw
    consistency_scale: NonNegative = 10.0  # mean-teacher, dual-student: [authors' add-on code], lambda_1; tssdl, ccl
    consistency_ramp_epochs: NonNegative = 5.0  # [authors' add-on code] these; the same form as ramp_epochs
    teacher_decay: Annotated[Real, Field(ge=0, le=0.99999)] = 0.999  # mean-teacher: a step [Tarvainen & Valpola sec. 3]
    stabilisation_scale: NonNegative = 100.0  # dual-student: [its code, CIFAR-10] lambda_2
    stabilisation_ramp_epochs: NonNegative = 5.0  # dual-student: [its code]
    stable_threshold: Share = 0.8  # dual-student: [its code, CIFAR-10] confidence of a stable sample; 0.6 on MNIST
    logit_distance: NonNegative = 0.01  # dual-student: [its code] cost of the distance between the two heads' logits
    ensemble_decay: Annotated[Real, Field(ge=0, le=0.9999)] = 0.6  # temporal-ensembling: alpha, an epoch [its paper]
    vat_eps: NonNegative = 6.0  # vat, tnar: length of a perturbation, normalised pixels [Oliver et al. 2018, CIFAR-10]
    vat_xi: Positive = 0.1  # both: [ours] length in the finite difference; at the published 1e-6 float32 rounds it away
    vat_iterations: Annotated[Whole, Field(ge=1, le=100)] = 1  # both: power iterations [Miyato et al., section 4]
    vat_entropy: NonNegative = 0.0  # both: weight of the entropy term beside it; 1 is "VAT + EntMin" of its paper
    sharpening: Positive = 0.5  # mixmatch: temperature T [its paper, section 4]
    mixup_alpha: Annotated[Real, Field(ge=0, le=1000)] = 0.75  # mixmatch, dmt, curriculum-labeling: Beta; 0: no mixup
    fixmatch_threshold: Share = 0.95  # fixmatch: confidence that a pseudo-label needs [its paper, section 4]
    sntg_weight: NonNegative = 40.0  # pi-model+sntg: of pairs [its code, CIFAR-10: 0.4 of consistency's 100]; tssdl
    sntg_margin: Positive = 1.0  # pi-model+sntg: that different classes keep [its code]; tssdl: the same distance
    lp_start: Annotated[Real, Field(ge=0, le=0.99)] = (
        0.1  # label-propagation, +lp, tssdl: [ours] of the run, before labels
    )
    lp_every: Count = 1  # these: epochs from graph to graph [label propagation's code]
    lp_neighbours: Count = 50  # these: of an image in the graph [label propagation's code]
    lp_gamma: Annotated[Real, Field(gt=0, le=1000)] = 3.0  # label-propagation, +lp: power of the similarity [its code]
    lp_alpha: Annotated[Real, Field(ge=0, le=0.999)] = 0.99  # both: share of a label from along the graph [its code]
    rounds: Annotated[Whole, Field(ge=1, le=100)] = 5  # curriculum-labeling, dmt: with unlabelled images [its code]
    dmt_gamma: NonNegative = 4.0  # dmt: how sharply the network weighs stored labels [its code]; 0: curriculum-labeling
    cot_scale: NonNegative = 10.0  # co-training: of agreement [its paper]
    dif_scale: NonNegative = 0.5  # co-training: of resistance to the other's adversarial images [its paper]
    adversarial_eps: NonNegative = 0.08  # co-training: normalised pixels, 0.02 of 0...1 [its authors]
    ccl_passes: Annotated[Whole, Field(ge=1, le=100)] = 4  # filtering-ccl, temperature-ccl: of the teacher [ours]
    ccl_strength: NonNegative = 0.5  # both: share left out at first; heat of the least certain beyond 1 [ours]
    ccn_corrects: Flag = True  # ccn; False: mutual consistency, and a corrector that nobody listens to [ours]
    own_networks: Flag = True  # improved-gan, triple-gan: the published classifier; False: `network`
    tnar_start: Annotated[Real, Field(ge=0.01, le=0.99)] = 0.2  # tnar: share of the VAE [its code: 121 of 622 epochs]
    tnar_tangent: NonNegative = 2.0  # tnar: [ours] length along the manifold, in latent space; 0: without
    tnar_zeta: NonNegative = 0.01  # tnar: [ours] how strictly the rest is across it; both published in other units

    # -- optimisation, section 4.2 -------------------------------------------------------------------------------------
    lr: Positive = 0.03  # [paper]
    weight_decay: NonNegative = 5e-4  # [paper]
    momentum: Annotated[Real, Field(ge=0, le=0.99999)] = 0.9  # [paper]
    nesterov: Flag = True  # [ours] unstated; the authors' add-on code uses it
    labelled_batch: Batch = 128  # [paper] batch 256; half of it labelled is [ours], after the 50 + 50 of section 4.9
    unlabelled_batch: Batch = 128
    epochs: Annotated[Whole, Field(ge=1, le=10**6)] = 100  # [ours] passes over the unlabelled images; add-on code: 100
    ema_decay: Annotated[Real, Field(ge=0, le=0.99999)] = 0.0  # [ours] a step; above 0 averaged weights are evaluated
    eval_every: Count = 1  # epochs between evaluations; the last epoch is always evaluated
    evaluations: Count = 1  # of each epoch that is evaluated: the last at its end, the others evenly within it

    @field_validator("*", mode="before")
    @classmethod
    def _strip(cls, value: object) -> object:
        return value.strip() if isinstance(value, str) else value

    def __post_init__(self):
        # a record says what ran, not "auto"
        network, weak, strong = AUTO.get(self.dataset.split(":")[0], AUTO["folder"])
        if self.dataset == "cifar10" and self.network == "wrn28-2":
            weak, strong = AUTO_WRN_CIFAR
        for name, value in {"network": network, "weak": weak, "strong": strong}.items():
            if getattr(self, name) == "auto":
                object.__setattr__(self, name, value)
        sets = (self.dataset, self.source)
        families = {name.split("-")[0] if name and name.startswith("digits") else name for name in sets}
        if self.source is not None and len(families) == 1 and set(sets) != {"digits-source", "digits-target"}:
            raise ConfigError(
                f"source={self.source!r} and dataset={self.dataset!r} share images, so labels of the target would be "
                "among those of the source; domain adaptation needs two data sets without common images."
            )
        if self.source is not None and self.include_labelled:
            raise ConfigError("include_labelled=True does not go with source: the pool is the target's images alone.")
        if self.nesterov and self.momentum == 0:
            raise ConfigError("nesterov=True needs momentum above 0; set nesterov=False for plain SGD.")
        mixes = self.method in ("mixmatch", "curriculum-labeling", "dmt")
        if mixes and self.mixup_alpha < 0.05 and (self.mixup_alpha > 0 or self.method == "mixmatch"):
            least = "" if self.method == "mixmatch" else "0 or "  # float32 fails to draw from Beta below 0.05
            raise ConfigError(f"mixup_alpha takes {least}a number from 0.05 to 1000, not {self.mixup_alpha:g}.")
        halved = {"co-training": "labelled_batch", "improved-gan": "unlabelled_batch"}.get(self.method)
        if halved and getattr(self, halved) < 4:
            told = f"{halved}={getattr(self, halved)} with method={self.method!r}"
            raise ConfigError(f"{told}: two networks or turns take a half each, of two images at least; give it 4.")
        if self.method.endswith("dnll") and self.lam == 0:
            plain = self.method.removesuffix("+dnll").replace("dnll", "supervised")
            raise ConfigError(f"method={self.method!r} with lam=0 has no negative labels; use method={plain!r}.")

    def replace(self, **changes) -> Experiment:
        """A copy with some fields changed. A change of data set or network resolves "auto" fields only if told to."""
        return Experiment(**{**self.to_dict(), **changes})

    def to_dict(self) -> dict:
        """The fields as plain JSON values; `Experiment(**d)` gives the same experiment back."""
        return dataclasses.asdict(self)
