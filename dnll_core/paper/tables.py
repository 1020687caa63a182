"""What the paper prints, as data: its seven tables and the settings it states. `misprints` lists where it errs.

    accuracy(table=2, method="DNLL (Ours)", labels=4000)                  # 94.29, percent
    accuracy(table=5, method="DNLL (Ours)", labels=4000, selection="epm", m=3)
    NUMBERS[Key(1, "cifar10", "cnn13", "CCN", 1000)]                      # 87.95

Xu, Xiao, Hao, Dong, Qiu, Peng: Semi-Supervised Learning with Pseudo-Negative Labels for Image Classification
(arXiv 2301.03976; Knowledge-Based Systems 2023). These are the paper's numbers, its rivals' included, and never ours.
All are accuracies on the test set in percent, means of three runs without a deviation (section 4.2), but Table 7's.
"""

from __future__ import annotations

from typing import NamedTuple

from dnll_core.common import unknown

OURS = "DNLL (Ours)"


class Key(NamedTuple):
    """One cell of Tables 1-6. selection ("ep" or "epm") and m are None where the table does not say."""

    table: int
    dataset: str
    network: str
    method: str
    labels: int
    selection: str | None = None
    m: int | None = None


LABELS = {1: (1000, 2000, 4000), 2: (1000, 4000), 3: (1000, 4000), 4: (20, 50, 100)}
_SETUP = {1: ("cifar10", "cnn13"), 2: ("cifar10", "wrn28-2"), 3: ("svhn", "wrn28-2"), 4: ("mnist", "cnn13")}
# A dagger marks numbers that the paper takes from other papers; None is the paper's "-".
_ROWS: dict[int, tuple[tuple[str | float | None, ...], ...]] = {
    1: (
        ("Π model†", 68.35, 82.43, 87.64),
        ("Temporal ensembling†", 76.69, 84.36, 87.84),
        ("Mean Teacher", 81.78, 85.67, 88.59),
        ("Π+SNTG†", 78.77, 85.35, 88.64),
        ("LP-SSDL†", 77.98, 84.34, 87.31),
        ("LP-SSDL-MT†", 83.07, 86.78, 89.39),
        ("Filtering CCL†", 81.78, 85.67, 88.59),
        ("Temperature CCL†", 83.01, 87.43, 89.37),
        ("TSSDL†", 78.87, 85.35, 89.10),
        ("TSSDL-MT†", 81.59, 86.46, 90.70),
        ("TNAR-VAE†", None, None, 91.15),
        ("DCT", None, None, 90.97),
        ("Dual Student", 85.83, 89.28, 91.11),
        ("CCN", 87.95, 89.63, 91.2),
        (OURS, 87.87, 90.65, 92.06),
    ),
    2: (
        ("VAT†", 81.36, 88.95),
        ("Mean Teacher†", 82.68, 89.64),
        ("CL", 90.61, 94.02),
        ("MixMatch", 92.25, 93.76),
        ("DMT", 91.51, 94.21),
        (OURS, 92.03, 94.29),
    ),
    3: (
        ("Pseudo-Labeling", 90.06, None),
        ("Π model", 92.46, None),
        ("VAT†", 94.02, 95.80),
        ("Mean Teacher†", 96.25, 96.61),
        (OURS, 96.41, 96.84),
    ),
    4: (
        ("ImprovedGAN†", 83.23, 97.79, 99.07),
        ("Triple GAN†", 95.19, 98.44, 99.09),
        ("Π model†", 93.68, 98.98, 99.11),
        ("Π+SNTG†", 98.64, 99.06, 93.34),
        (OURS, 99.19, 99.32, 99.54),
    ),
}
# Section 4.4 states CIFAR-10 with 4000 labels; the network of Tables 5 and 6 is not stated. WRN-28-2 is inferred: EPM
# at m = 3 and "ML" both equal Table 2's 94.29. So is m = 3 of Table 6: "ML w/o EPM" is Table 5's EP at m = 3.
_TABLE_5 = {"ep": (92.9, 93.76, 94.01, 93.78), "epm": (93.12, 93.84, 94.29, 93.77)}  # m = 1, 2, 3, 4
_TABLE_6 = {("SL", "ep"): 92.78, ("SL", "epm"): 93.03, ("ML", "ep"): 94.01, ("ML", "epm"): 94.29}

NUMBERS: dict[Key, float | None] = {
    Key(table, *_SETUP[table], name.rstrip("†"), labels): value
    for table, rows in _ROWS.items()
    for name, *values in rows
    for labels, value in zip(LABELS[table], values, strict=True)
}
NUMBERS |= {
    Key(5, "cifar10", "wrn28-2", OURS, 4000, selection, m): value
    for selection, values in _TABLE_5.items()
    for m, value in enumerate(values, start=1)
}
NUMBERS |= {Key(6, "cifar10", "wrn28-2", name, 4000, how, None): value for (name, how), value in _TABLE_6.items()}

DAGGERS = frozenset((table, row[0].rstrip("†")) for table, rows in _ROWS.items() for row in rows if "†" in row[0])
"""(table, method) of the rows that the paper copies from other papers."""

SECONDS: dict[tuple[str, str], float] = {
    ("train", "Mean Teacher"): 0.072,
    ("train", "Dual Student"): 0.145,
    ("train", OURS): 0.143,
    ("inference", "Mean Teacher"): 0.0183,
    ("inference", "Dual Student"): 0.0189,
    ("inference", OURS): 0.0184,
}
"""Table 7, seconds an iteration: CIFAR-10, 4000 labels, batch 50 + 50, "GTX 3060"; the network is not stated."""


def accuracy(table: int, method: str, labels: int, selection: str | None = None, m: int | None = None) -> float | None:
    """The accuracy in percent that Table 1-6 prints, None for its "-".

    Raises:
        KeyError: if the table has no such cell; the message names the first argument that does not fit.
    """
    cells = list(NUMBERS)
    wanted = {"table": table, "method": method, "labels": labels, "selection": selection, "m": m}
    for name, value in wanted.items():
        accepted = sorted({getattr(key, name) for key in cells}, key=str)
        cells = [key for key in cells if getattr(key, name) == value]
        if not cells:
            where = "Table 7 is SECONDS" if name == "table" else f"in Table {table}"
            raise KeyError(unknown(name, value, map(str, accepted)) + f" ({where})")
    return NUMBERS[cells[0]]


SETTINGS: dict[str, tuple[object, str]] = {
    "lr": (0.03, "4.2"),
    "weight_decay": (5e-4, "4.2"),
    "momentum": (0.9, "4.2"),
    "lr_schedule": ("cosine annealing", "4.2"),
    "batch_size": (256, "4.2"),
    "runs": (3, "4.2"),
    "m_default": (1, "3.3.1"),
    "m_compared": ((1, 2, 3, 4), "4.4"),
    "views.cifar10.cnn13": ({"weak": "original", "strong": "noise"}, "4.2"),
    "views.cifar10.wrn28-2": ({"weak": "random crop, random flip", "strong": "colour jitter"}, "4.2"),
    "views.svhn.wrn28-2": ({"weak": "original", "strong": "horizontal translation"}, "4.2"),
    "views.mnist.cnn13": ({"weak": "original", "strong": "original"}, "4.2"),
    "views.usps-mnist.cnn3": ({"augmentation": "noise", "resize": "cubic spline"}, "4.8"),
    "train_images": ({"cifar10": 50_000, "svhn": 73_257, "mnist": 60_000, "usps": 7_291}, "4.1, 4.8"),
    "test_images": ({"cifar10": 10_000, "svhn": 26_032, "mnist": 10_000}, "4.1"),
    "validation_per_class": ({"cifar10": 500, "svhn": 500, "mnist": 50}, "4.1"),
    "timing_batch": ({"labelled": 50, "unlabelled": 50}, "4.9"),
    "torch": ("1.10.2", "4.9"),
}
"""name -> (value, section): what the paper states. Lengths of training, λ, strengths of noise, jitter and translation,
the labelled share of a batch, the EMA's decay and the model whose accuracy is reported: it does not state."""
