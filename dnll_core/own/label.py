"""Which images to label next: chosen by a model, shown as a sheet, filled in as a table or by clicks."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from torch import Tensor

from dnll_core.common import atomic_file, user_path
from dnll_core.data.entries import folded
from dnll_core.data.errors import DataError
from dnll_core.data.images import images_of
from dnll_core.own.model import Model
from dnll_core.study.choosing import choose


def to_label(
    model: Model,
    folder: str | Path,
    n: int = 10,
    rule: str = "centres",
    known: Sequence[str] = (),
    progress: bool = False,
) -> tuple[pd.DataFrame, Tensor]:
    """The images of a folder to label next, as `Model.predict` tells of them, and their pixels (n, C, H, W).

    Not those in folders of the model's classes, nor in `test`. known: names of files that have a label already.

    Raises:
        DataError: if none is left.
    """
    root = user_path(folder)
    paths, names = images_of(root)
    elsewhere = {"test", *map(folded, model.classes)}
    top = {name: folded(name.partition("/")[0]) if "/" in name else "" for name in names}
    beside = {""} if {*top.values()} & {*map(folded, model.classes)} else set()  # is ignored by training, too
    has_one = {name for name in names if top[name] in elsewhere | beside} | {*known}
    left = [i for i, name in enumerate(names) if name not in has_one]
    if not left:
        raise DataError(f"every image of {root} has a label already")
    _, images = model.read([paths[i] for i in left], progress)
    probabilities = model.probabilities(images)
    chosen = choose(rule, n, probabilities, model.embed(images))
    return model.answers([names[left[i]] for i in chosen], probabilities[chosen]), images[chosen]


def write_table(answers: pd.DataFrame, path: str | Path, classes: Sequence[str | None] | None = None) -> Path:
    """Writes a CSV to fill in: file, class (empty, or as given), guess, probability, margin. Returns its path.

    Raises:
        DataError: if there is a file already, which may have been filled in.
    """
    path = user_path(path)
    if path.exists():
        raise DataError(f"{path} is there already, perhaps with labels in it; name another file")
    table = answers.rename(columns={"class": "guess"}).round({"probability": 4, "margin": 4})
    table.insert(0, "class", [title or "" for title in classes or [""] * len(table)])
    with atomic_file(path) as file:
        file.write(table.to_csv(quoting=csv.QUOTE_MINIMAL).encode())
    return path
