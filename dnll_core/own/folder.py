"""From a folder of images to a trained model: how long, with what settings, and how good it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch

from dnll_core.bars import Runs
from dnll_core.bench.timing import seconds_of_an_iteration
from dnll_core.config import Experiment
from dnll_core.data.dataset import Dataset
from dnll_core.data.entries import outside
from dnll_core.data.folders import Tables
from dnll_core.data.folds import folds
from dnll_core.data.load import load_data
from dnll_core.data.splits import split_labels
from dnll_core.methods import own_network
from dnll_core.own.model import FEW, Model, model_of
from dnll_core.run import Run, prepare, train
from dnll_core.study.calibration import temperature_of
from dnll_core.study.folders import STEPS, lengths, settings
from dnll_core.study.statistics import confusion_of, share_of

UNBALANCED = 3  # times as many labels of one class as of another
RARE = (
    "Negative labels are drawn evenly from the other classes, so a rare class is ruled out more often for each of its "
    "images; look at the accuracy of each class"
)


@dataclass
class Trained:
    """A model, the run of its last training, what was said, and true against predicted classes as a table."""

    model: Model
    run: Run
    lines: list[str]
    confusion: pd.DataFrame


def experiment_for(dataset: Dataset, name: str, steps: int = STEPS, **changes) -> Experiment:
    """The experiment of a folder, on all its labels. name: "folder:PATH". changes: other fields."""
    split = split_labels(dataset, None, 0)
    fields = {"dataset": name, "labels": None, "size": dataset.size[0]} | settings(dataset.num_classes)
    return Experiment(**fields | lengths(len(split.labelled), len(split.unlabelled), steps) | changes)


def train_folder(
    folder: str | Path,
    *,
    labels: Tables = None,
    out: str | Path | None = None,
    every_label: bool = False,
    seed: int = 0,
    size: int = 32,
    steps: int = STEPS,
    progress: bool = True,
    say: Callable[[str], None] = print,
    device: str = "auto",
    **changes,
) -> Trained:
    """Trains on a folder and returns the model with what is known of it.

    Args:
        folder, labels: see data/README.md; of a table of labels, or several, the path.
        out: where the model is written, with checkpoints from which the same call goes on.
        every_label: train on all labels, validation and test images among them. How good that is, and the temperature,
            come from trainings without a part of the labels each, see `data.folds`.
        size: pixels of a side. steps: iterations at least. say: takes each line of what is said meanwhile.
        changes: other fields of `Experiment`, such as method or weak.

    Raises DataError, ConfigError, CheckpointError and TrainingDiverged: see there.
    """
    name, lines = f"folder:{folder}", []

    def tell(line: str) -> None:
        lines.append(line)
        say(line)

    if out is not None:
        outside(out, folder)
    dataset = load_data(name, size=size, progress=progress, labels=labels)
    lines += dataset.notes
    parts = [*folds(dataset, seed)] if every_label else [("model", dataset)]
    experiment = experiment_for(parts[-1][1], name, steps, **changes)
    how = {"device": device, "progress": Runs([1.0] * len(parts), wanted=progress)}
    tell(_plan(experiment, parts, seed, device))
    counts = dataset.y_train[dataset.y_train >= 0].bincount(minlength=dataset.num_classes)
    if counts.max() >= UNBALANCED * counts.min():
        most, least = (f"{counts[k]} labels of {dataset.classes[k]}" for k in (counts.argmax(), counts.argmin()))
        tell(f"unbalanced: {most}, {least}. {RARE}")
    truth, answers = [], []
    for part, images in parts:
        own = experiment_for(images, name, steps, **changes)
        place = None if out is None else Path(out) / "checkpoint" / part
        run = train(own, seed, checkpoint=place, load=lambda *_, images=images, **__: images, **how)
        if len(images.x_test):
            truth.append(images.y_test)
            answers.append(run.predict_each(images.x_test))
    y, each = torch.cat(truth), torch.cat(answers, dim=1)
    p = each.mean(0).argmax(1)
    counted = {f"{len(parts) - 1} stratified splits": (int((y == p).sum()), len(y))} if every_label else {}
    model = model_of(run, accuracy=counted)
    if every_label:
        model.card = dataclasses.replace(model.card, temperature=temperature_of(each, y), fitted_on=len(y))
    for held_out, (right, n) in model.card.accuracy.items():
        tell(f"accuracy, {held_out}: {share_of(right, n)}")
    fitted = model.card.fitted_on
    few = f", which are few: at least {FEW} would tell more, as all labels do (--all)" if fitted < FEW else ""
    tell(f"temperature {model.card.temperature:.2f}, fitted on {fitted} images{few}")
    confusion = confusion_of(y, p, dataset.classes)
    for title in dataset.classes:
        tell(f"  {title}: {share_of(int(confusion.loc[title, title]), int(confusion.loc[title].sum()))}")
    if out is not None:
        model.save(out)
    return Trained(model, run, lines, confusion)


def _plan(e: Experiment, parts: list[tuple[str, Dataset]], seed: int, device: str) -> str:
    """The line before training: what is used, for how many steps, and about how many minutes."""
    images = parts[-1][1]
    trainer, _ = prepare(e, seed, device=device, dataset=images, progress=False)
    learner = trainer.learner
    total, held_out = learner.clock.total_steps, learner.data.held_out
    minutes = len(parts) * total * seconds_of_an_iteration(trainer) * 1.1 / 60
    about = (
        f"about {minutes:.0f} minutes" if minutes >= 1.5 else "about a minute" if minutes > 0.5 else "under a minute"
    )
    flips = "" if "flip" in e.weak + e.strong else ", no flips (weak='crop+flip' adds them)"
    colour = "grey" if images.channels == 1 else "colour"
    without = int((images.y_train < 0).sum())
    pool = f"{without} without a label" if without else "none without a label, so that the labelled ones serve as such"
    network = "networks of its own" if own_network(e.to_dict()) else f"network {e.network}"
    several = f"{len(parts) - 1} trainings to measure, then one with all labels, each of " if len(parts) > 1 else ""
    return (
        f"{len(learner.data.labelled)} labelled images, {len(held_out['validation'][0])} for validation, "
        f"{len(held_out['test'][0])} to test with, {pool}; {images.size[0]}x{images.size[1]} pixels in {colour}; "
        f"{e.method}, {network}; views {e.weak} and {e.strong}{flips}; {several}{total} steps, "
        f"{about} on {learner.compute.describe()}"
    )
