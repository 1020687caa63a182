"""Which images to label next, chosen by a model."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd
from torch import Tensor

from dnll_core.common import user_path
from dnll_core.data.entries import folded, images_of
from dnll_core.data.errors import DataError
from dnll_core.own.model import Model
from dnll_core.study.choosing import choose


def to_label(
    model: Model,
    folder: str | Path,
    n: int = 10,
    rule: str = "centres",
    known: Iterable[str] = (),
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
