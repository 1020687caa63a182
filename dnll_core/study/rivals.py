"""The systems that the paper quotes in Tables 1 to 4, as named experiments."""

from __future__ import annotations

from dnll_core.config import Experiment
from dnll_core.study.searches import SEARCHES, chosen
from dnll_core.study.settings import METHODS, NAMED, at_length, chosen_changes, laptop

# Systems of Tables 1 and 2 that came later -> what each is compared with in `rivals`.
RIVALS = {
    "pi-model+sntg": "pi-model",
    "label-propagation": "supervised",
    "mean-teacher+lp": "mean-teacher",
    "curriculum-labeling": "supervised",
    "dmt": "curriculum-labeling",
    "co-training": "two-networks",
}
# Our readings of systems without published code, likewise.
READINGS = {
    "tssdl": "pi-model",
    "mean-teacher+tssdl": "mean-teacher",
    "filtering-ccl": "mean-teacher",
    "temperature-ccl": "mean-teacher",
    "ccn": "two-networks",
}
IN_ROUNDS = ("curriculum-labeling", "dmt")


def rivals(dataset: str = "digits") -> dict[str, Experiment]:
    """RIVALS beside what they add to, supervised-only and DNLL, as the searches chose; on the digits READINGS, too.

    "two-networks" is Deep Co-Training without its two losses, and without unlabelled images in its batch norm, as they
    teach nothing. "..., long" has rounds as long as the runs of the others, in the place of as many passes in all. The
    search of DMT chose another mixup than that of Curriculum Labeling: "dmt, mixed alike" has the latter's. "ccn,
    uncorrected" is what CCN is without its corrector.

    Args:
        dataset: "mnist" with 100 labels and "cifar10" with 4000 are for two CPU cores: what was chosen on the digits,
            on top of `settings.laptop` and of the first search on CIFAR-10; what Table 4 has, as searched on MNIST.
    """
    names = ["supervised", "dnll", "pi-model", "mean-teacher", *RIVALS]
    if dataset == "digits":
        found = {name: METHODS[name] for name in (*names, *READINGS)}
        found["ccn, uncorrected"] = found["ccn"].replace(ccn_corrects=False)
    elif dataset == "mnist":
        found = {name: laptop(name, "mnist").replace(labels=100, labelled_batch=50) for name in names}
        every = 6  # epochs: graphs of so many images take a third of a run then, and most of it if made each epoch
    else:
        start = at_length(SEARCHES["cifar10-gate"].start, 9).replace(labels=4000)
        kept = {"weight_decay": start.weight_decay, "strong": start.strong, "weak": start.weak, "lr": start.lr}
        found = {name: start.replace(**{"m": 1, **chosen_changes(name), **kept}) for name in names}
        found["supervised"] = start
        found["dnll"] = start.replace(method="dnll", m=3, lam=3.0)
        every = 2
    if dataset != "digits":
        found |= {name: found[name].replace(lp_every=every) for name in ("label-propagation", "mean-teacher+lp")}
    long = {
        f"{name}, long": at_length(found[name], (1 + found[name].rounds) * found[name].epochs) for name in IN_ROUNDS
    }
    two = found["co-training"].replace(cot_scale=0.0, dif_scale=0.0, shared_bn=False)
    alike = found["dmt"].replace(mixup_alpha=found["curriculum-labeling"].mixup_alpha)
    return found | {"two-networks": two, "dmt, mixed alike": alike} | long


def gans() -> dict[str, Experiment]:
    """Table 4's systems that make images, as they were published for MNIST, by name and number of labels.

    ImprovedGAN with 100 labels at its published length of 180,000 iterations, else at a third. "..., our network"
    has the classifier and images of Table 4 at profile "laptop". With 20 and 50 labels the learning rate is that of the
    first public version of its code, as the search "gan-few" chose; "..., lr 0.003" has the later one. Triple GAN at a
    tenth of its 600,000. Views are plain, as noise would tell real images from made ones.
    """
    own = {"dataset": "mnist", "weak": "identity", "labels": 100, "include_labelled": True, "labelled_batch": 100}
    own |= {"ramp_epochs": 0.0}
    adam = own | {"lr": 0.003, "ema_decay": 0.9999, "unlabelled_batch": 200, "method": "improved-gan"}
    whole = Experiment(epochs=606, eval_every=20, **adam)
    third = {"epochs": 202, "eval_every": 10}
    small = laptop("supervised", "mnist").replace(**adam | third, own_networks=False)
    few = {f"improved-gan {labels}": chosen("gan-few").replace(labels=labels, **third) for labels in (20, 50)}
    few["improved-gan 20, lr 0.003"] = few["improved-gan 20"].replace(lr=0.003)
    game = {"lr": 0.001, "ema_decay": 0.99, "unlabelled_batch": 500, "shared_bn": False, "method": "triple-gan"}
    triple = Experiment(epochs=509, eval_every=10, **own | game)
    return {"improved-gan 100": whole, "improved-gan 100, our network": small, **few, "triple-gan 100": triple}


def tangents() -> dict[str, Experiment]:
    """TNAR beside VAT on CIFAR-10 at 16x16 pixels with 4000 labels, for the classifier as many passes as `rivals` has.

    Weights as published, lengths not: VAT's is the shorter one, which did better in short trials, TNAR's are defaults.
    """
    vat = rivals("cifar10")["supervised"].replace(method="vat", vat_eps=1.0, vat_entropy=1.0)
    return {"vat": vat, "tnar": vat.replace(method="tnar", epochs=2 * vat.epochs, tnar_start=0.5)}


def making_images() -> dict[str, Experiment]:
    """Both GANs and TNAR on the digits, with the others' network for a classifier; nothing was chosen for them."""
    start = METHODS["supervised"].replace(own_networks=False, shared_bn=False, strong="identity")
    fields = {"lr": 0.003, "ramp_epochs": 0.0, "weak": "identity"}
    found = {name: start.replace(method=name, **fields) for name in ("improved-gan", "triple-gan")}
    return found | {"tnar": METHODS["vat"].replace(method="tnar", vat_entropy=1.0)}


def boxes() -> dict[tuple[int, str, int], Experiment]:
    """Table, row and labels of cells that these systems fill -> the run, with the networks of the quoted papers."""
    return {(4, NAMED[e.method].row, e.labels): e for name, e in gans().items() if "," not in name}
