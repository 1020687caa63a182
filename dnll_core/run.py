"""`train(experiment, seed)`: from the names in an experiment to objects, to the trainer, to a `Run`.

run = train(Experiment(dataset="digits", labels=20, method="dnll", m=3, selection="epm"), seed=0)
run.accuracy, run.history, run.predict(images), run.embed(images)
"""

from __future__ import annotations

import contextlib
import importlib
import platform
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated

from pydantic import Field
from torch import Tensor

from dnll_core import results
from dnll_core.augment import Augmentation
from dnll_core.bars import Runs
from dnll_core.common import FORMAT, today
from dnll_core.config import ConfigError, Experiment
from dnll_core.data.dataset import Dataset
from dnll_core.data.domain import load_pair
from dnll_core.data.load import load_data
from dnll_core.data.placing import training_data
from dnll_core.data.splits import split_labels
from dnll_core.device import ALONE, choose_compute, one_run, own_random_state, usual_torch
from dnll_core.evaluation import accuracy
from dnll_core.fields import OWN, read
from dnll_core.learner import Learner
from dnll_core.memory import out_of_memory
from dnll_core.methods import build_method, heads
from dnll_core.methods.base import Observer
from dnll_core.methods.declared import Pixels
from dnll_core.models import build_network
from dnll_core.observers import together, transfer_observer
from dnll_core.provenance import made
from dnll_core.resume import exclusive
from dnll_core.signals import Stop
from dnll_core.trainer import Trainer
from dnll_core.trial import as_config_error, batches_in_words, checked_images, if_it_fits, try_once, warn_if_cut_short


@dataclass
class Run:
    """A finished run: its curve, its numbers, and its trained networks. It pickles, with its images.

    Attributes:
        history: one dict for each epoch: "epoch", "step", "seconds", "loss", the method's metrics, and where evaluated
            "validation" and "test": {"submodels": [accuracy 0...1, ...], "ensemble": accuracy}, and so "within" it.
        final: the last epoch: {"validation" and "test": {"mean", "submodels", "ensemble"}}.
        provenance: device, precision, versions, hashes, seconds.
    """

    experiment: Experiment
    seed: int
    history: list[dict]
    provenance: dict
    trainer: Trainer = field(repr=False)

    @property
    def final(self) -> dict[str, dict]:
        return results.final_numbers(self.history)

    @property
    def accuracy(self) -> float:
        """Test accuracy 0...1 of the last epoch, mean of the submodels. (Validation, if there is no test set.)"""
        final = self.final
        return final["test" if "test" in final else "validation"]["mean"]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the columns of `predict`."""
        return self.trainer.learner.data.classes

    def predict(self, images: Tensor) -> Tensor:
        """Class probabilities: (N, C, H, W) uint8 -> (N, K) float32 on the CPU, mean over the submodels.

        Waits while another thread trains. Raises TypeError or ValueError for other images, see `trial.checked_images`.
        """
        return self.predict_each(images).mean(0)

    def predict_each(self, images: Tensor) -> Tensor:
        """As `predict`, but of each submodel by itself: (S, N, K)."""
        return self._of_images(self.trainer.predict, images).cpu()

    def embed(self, images: Tensor) -> Tensor:
        """The last hidden layer of the first submodel: as `predict`, but -> (N, F) float32 (Figure 5)."""
        return self._of_images(self.trainer.embed, images).cpu()

    def _of_images(self, of: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        learner = self.trainer.learner
        with ALONE, usual_torch(), learner.compute.own_threads():
            return of(checked_images(images, learner.data.labelled.shape[1:]))

    def record(self) -> dict:
        """The run as plain JSON values, see `results`."""
        record = {"format": FORMAT, "experiment": self.experiment.to_dict(), "seed": self.seed}
        best = {"accuracy": results.accuracies([{"history": self.history}], "test", "best")[0]}
        told = {"final": self.final, "best_on_test": best, "history": self.history}
        return record | self.provenance | told

    def save_record(self, folder: str | Path = "runs/records") -> Path:
        """Writes the record as JSON, atomically, and returns its path; see `results.save` for what it refuses."""
        return results.save(self.record(), folder)

    def save_model(self, folder: str | Path) -> Path:
        """Writes the networks and what they need to read images, for `load_model`; returns the folder's path.

        With a temperature that is fitted on validation images, see `own.model.model_of`.
        """
        # by its name, as a run needs nothing of that room, which so is no part of `provenance.source_hash`
        return importlib.import_module("dnll_core.own.model").model_of(self).save(folder)


def train(
    experiment: Experiment,
    seed: int = 0,
    *,
    checkpoint: str | Path | None = None,
    checkpoint_minutes: float = 5.0,
    device: str = "auto",
    precision: str = "auto",
    root: str | Path | None = None,
    progress: bool | Runs = True,
    measure: bool = False,
    observer: Observer | None = None,
    pool: str = "auto",
    capture: bool = True,
    load: Callable[..., Dataset] = load_data,
    should_stop: Callable[[float], bool] | None = None,
) -> Run:
    """Trains one experiment with one seed. The seed fixes initialisation, label split, batches and every other draw.

    One run at a time: torch's global generator and number of threads belong to the process, so in a second thread
    `train` waits until the first has ended. Processes do not wait for each other; start them with "spawn", as several
    threads may hang in one that was forked from another that has used several.

    Args:
        checkpoint: a folder. If it holds a checkpoint of this very run, training continues from there: bit for bit on
            a CPU with the same code, torch, processor, number of threads and precision, else nearly so, and the record
            lists each sitting. Other threads or precision are a warning; other images, another experiment or seed, and
            a device of another kind an error. It is brought up to date every `checkpoint_minutes`, at the end, and
            when training stops, and may be deleted when the run is saved. A finished one gives its networks back.
        device, precision: see `device.choose_compute`.
        root: folder of the data sets; the default is that of `load_data`.
        progress: a bar, where somebody watches (see `bars.bar_is_off`). `bars.Runs` makes it one of several runs.
        measure: add to the history how often the labels that submodels pass are wrong, and more, see `measure`. It
            looks at the true labels of the unlabelled images, which training never sees, and changes no draw.
        observer: called after each iteration with its `Batch` and `Output` (see `methods.base`), where it may look at
            everything, and at the networks in `output.method`, but change nothing and draw no random number of torch's
            global generator. It returns None, or 0-dim tensors by names that are not taken: the history then has their
            means over each epoch. A checkpoint holds nothing of it. On CUDA, iterations are then not replayed.
        pool: where the unlabelled images lie: "device", or "host", from where batches are fetched ahead, without a copy
            of the data set; "auto" takes the device if they fit twice into what is free there. Changes no result.
        capture: on CUDA, replay iterations as a graph (`captured`). False runs them plainly, to debug.
        load: in the place of `load_data`, with its arguments, for example one that remembers.
        should_stop: see `Trainer.fit`.

    Raises:
        ConfigError: if experiment and data do not fit. DataError, CheckpointError, TrainingDiverged: see there.
        KeyboardInterrupt: at Ctrl-C, SIGTERM, SIGHUP or `should_stop`, when the checkpoint is written. A later Ctrl-C
            (see `signals.TOGETHER`) does not wait for that: the checkpoint before, if there is one, stays.
    """
    if not isinstance(experiment, Experiment):
        kind = type(experiment).__name__
        stale = "one of before a reload; restart the kernel" if kind == Experiment.__name__ else kind
        raise ConfigError(f"train takes an Experiment, not {stale}.")
    if observer is not None and not callable(observer):
        raise ConfigError(f"observer takes a function of a Batch and an Output, not {observer!r}.")
    seed = read("seed", Annotated[int, Field(ge=0), OWN], seed)
    checkpoint_minutes = read("checkpoint_minutes", Annotated[float, Field(ge=0), OWN], checkpoint_minutes)
    places = {"device": device, "precision": precision, "root": root, "pool": pool}
    seen = {"measure": measure, "observer": observer}
    with one_run(), usual_torch():
        trainer, provenance = prepare(experiment, seed, **places, **seen, progress=progress, load=load)
        trainer.may_capture &= capture
        warn_if_cut_short(trainer.learner)
        compute = trainer.learner.compute
        lock = contextlib.nullcontext() if checkpoint is None else exclusive(checkpoint)
        room = out_of_memory(f"{batches_in_words(experiment)}: training", compute.device)
        with lock as trainer.keep, own_random_state(compute.device, seed), compute.own_threads(), room:
            if checkpoint is not None:
                trainer.load(checkpoint)
            trainer.fit(checkpoint, checkpoint_minutes, progress, should_stop)
            images, labels = trainer.learner.data.held_out["test"]
            if experiment.source is not None and len(images) > 0:
                # the authors' add-on code tests on noisy images; this says what that costs
                strong, check = trainer.learner.views["strong"], Stop(should_stop).check
                provenance["test_on_strong_view"] = accuracy(trainer.predict(images, strong, check), labels)
        if trainer.captured is not None:
            provenance["capture_seconds"] = round(trainer.captured.seconds, 2)
    batch = experiment.labelled_batch + experiment.unlabelled_batch
    provenance |= made(trainer.sittings) | {
        "seconds": round(trainer.seconds, 2),
        "images_per_second": round(batch * trainer.step / trainer.seconds, 1),
        "finished": trainer.finished or today(),
    }
    return Run(experiment, seed, trainer.history, provenance, trainer)


@usual_torch()
def prepare(
    experiment: Experiment,
    seed: int,
    *,
    device: str = "auto",
    precision: str = "auto",
    root: str | Path | None = None,
    progress: bool = True,
    measure: bool = False,
    observer: Observer | None = None,
    pool: str = "auto",
    dataset: Dataset | None = None,
    load: Callable[..., Dataset] = load_data,
) -> tuple[Trainer, dict]:
    """Everything of a run but the training: the trainer at iteration 0, and the run's provenance.

    Args:
        dataset: images to use in the place of those that the experiment names, for benchmarks.
    """
    e = experiment
    compute = choose_compute(device, precision, e.network)  # first: a device that is not there needs no data
    with compute.own_threads(), out_of_memory(f"{batches_in_words(e)}: what a run begins with", compute.device):
        if dataset is None:
            dataset = load(e.dataset, root, size=e.size, progress=progress)
        source = None if e.source is None else load(e.source, root, size=e.size, progress=progress)
        with own_random_state(compute.device, seed, "initialisation"), as_config_error():
            if source is None:
                split = split_labels(dataset, e.labels, seed, include_labelled=e.include_labelled)
                truth = dataset.y_train[split.unlabelled]
            else:
                truth = dataset.y_train  # of the pool, which is the whole target; seen by `measure` alone
                dataset, split = load_pair(source, dataset, e.labels, seed)
            classes = dataset.num_classes
            build = partial(build_network, e.network, classes, dataset.channels, dataset.size, heads(e), e.dropout)
            pixels = Pixels((dataset.channels, *dataset.size), dataset.mean, dataset.std)
            make = partial(build_method, e, build, classes, len(split.unlabelled), pixels)
            method = if_it_fits(make, e, pixels.shape, compute.device)
            strengths = {"noise_std": e.noise_std, "crop_padding": e.crop_padding, "translation": e.translation}
            strengths["jitter"] = (e.jitter, e.jitter, e.jitter, e.jitter_hue)
            view = partial(Augmentation, mean=dataset.mean, std=dataset.std, **strengths)
            views = {"weak": view(e.weak), "strong": view(e.strong), "plain": view("identity")}
            data = training_data(dataset, split, compute.device, pool)
            learner = Learner(method, e, data, views, compute, seed)
            try_once(learner)
    trainer = Trainer(learner)
    observers = [transfer_observer(truth.to(compute.device))] if measure else []
    observers += [] if observer is None else [observer]
    trainer.observer = together(observers, method) if observers else None
    provenance = {"labels_sha256": split.hash(), "python": platform.python_version()}
    return trainer, provenance | made(trainer.sittings) | dataset.about_images()
