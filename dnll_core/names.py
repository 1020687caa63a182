"""The name of a run: that of its record's file and of its checkpoint's folder."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from dnll_core.common import digest_of
from dnll_core.config import METHODS, Experiment

READABLE = 40  # characters of a data set's name; a file system takes 255 in all


def experiment_name(experiment: dict) -> str:
    """`<dataset>-<labels>-<method>-<id>` of an experiment's fields; the id tells all other fields apart.

    Only what differs from the defaults of `Experiment` makes the id, so a field that is added later changes no name. A
    method of scikit-learn has only what it was given. A folder of images counts with its own name and not with where it
    is, so it may move.
    """
    fields = {name: _unplaced(value) if name in ("source", "dataset") else value for name, value in experiment.items()}
    defaults = {}
    if fields["method"] in METHODS:
        defaults = {field.name: field.default for field in dataclasses.fields(Experiment)}
    told = {name: value for name, value in fields.items() if name not in defaults or value != defaults[name]}
    sets = [fields[name] for name in ("source", "dataset") if fields.get(name)]
    short = [re.sub(r"[^A-Za-z0-9]+", "-", name.removeprefix("folder:")).strip("-")[:READABLE] for name in sets]
    names = [name.strip("-") or "folder" for name in short]
    return "-".join([*names, str(fields["labels"]), fields["method"], digest_of(told)[:8]])


def run_name(experiment: dict, seed: int) -> str:
    """`<experiment_name>-seed<seed>`: the name of a run's record and of its checkpoint."""
    return f"{experiment_name(experiment)}-seed{seed}"


def _unplaced(dataset: str | None) -> str | None:
    """A data set's name; of "folder:PATH" the last part of the path alone."""
    if dataset is None or not dataset.startswith("folder:"):
        return dataset
    path = dataset.removeprefix("folder:")
    return f"folder:{Path(path).name or Path(path)}"
