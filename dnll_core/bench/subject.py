"""What a benchmark measures: a `Setting`, and the trainer of a real run made ready for it, on random images.

subject = Subject(Setting(Experiment(dataset="cifar10", labels=4000)))
subject.train_seconds()
"""

from __future__ import annotations

import contextlib
import dataclasses
import statistics
import tempfile
import time
from collections.abc import Iterator
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import BeforeValidator, Field
from pydantic.dataclasses import dataclass
from torch import nn

from dnll_core.bench.timing import Timer, to_last_stage
from dnll_core.captured import try_to_capture
from dnll_core.common import unknown
from dnll_core.config import ConfigError, Experiment
from dnll_core.data.dataset import Dataset, dataset_of
from dnll_core.data.sets import NAMES, SETS
from dnll_core.device import own_random_state
from dnll_core.evaluation import BATCH as EVALUATION_BATCH
from dnll_core.fields import RULES, checked
from dnll_core.models import Dropout
from dnll_core.run import prepare
from dnll_core.trainer import Trainer

HELD_OUT = 100  # images to predict in the timed evaluation; elsewhere than on a CPU they are repeated
# 1, 2, ... or its text
Number = Annotated[int, Field(ge=1), BeforeValidator(lambda x: int(t) if (t := str(x).strip()).isdecimal() else x)]


@checked
@dataclass(frozen=True, config=RULES)
class Setting:
    """What is measured, and where. Raises ConfigError for an unknown field, or a value that it does not take."""

    experiment: Experiment
    device: object = "auto"  # what `device.choose_compute` takes
    precision: object = "auto"  # likewise
    threads: Number | None = None  # on a CPU; None takes as many as a run would
    unlabelled: Number = 10_000  # M, images in the pool
    pool: Literal["auto", "device", "host", "mapped"] = "auto"  # see `run.train`; "mapped": the host's, memory-mapped
    step: Literal["fast", "uncaptured", "plain"] = "fast"  # `train`'s; without CUDA graph; that, after `make_plain`

    def replace(self, **changes) -> Setting:
        """A copy with some fields changed, those of the experiment too; values may be given as text.

        Raises:
            ConfigError: for an unknown field, or a value that it does not take.
        """
        places = [field.name for field in dataclasses.fields(self)][1:]  # without the experiment
        names = [*(field.name for field in dataclasses.fields(Experiment)), *places]
        for name in changes:
            if name not in names:
                raise ConfigError(unknown("field", name, names))
        own = {name: changes.pop(name) for name in places if name in changes}
        return dataclasses.replace(self, experiment=self.experiment.replace(**changes), **own)


def in_turn(first: Setting, *others: dict) -> dict[str, Setting]:
    """Settings to be measured in turn, by name: the first, and for each of `others` the same with these changes.

    Raises:
        ConfigError: for a change that `Setting.replace` does not take, or two settings of one name.
    """
    settings = {first.experiment.method: first}
    for changes in others:
        name = changes["method"] if list(changes) == ["method"] else ", ".join(f"{k}={v}" for k, v in changes.items())
        if name in settings:
            raise ConfigError(f"{name!r} is there twice; each setting to compare must be another one.")
        settings[name] = first.replace(**changes)
    return settings


def synthetic(experiment: Experiment, unlabelled: int, seed: int = 0) -> Dataset:
    """Random uint8 images of the data set's shape: the experiment's labelled ones, M without a label, HELD_OUT to test.

    Raises:
        ConfigError: for a data set whose shape is not known beforehand.
    """
    e = experiment
    if e.source is not None:
        raise ConfigError(f"source={e.source!r}: a benchmark has random images, of one domain; leave source out.")
    if e.dataset not in SETS:
        raise ConfigError(unknown("dataset", e.dataset, NAMES))
    shape, classes = SETS[e.dataset].image, SETS[e.dataset].classes
    shape, k = shape if e.size is None else (e.size, e.size, *shape[2:]), len(classes)
    each = -(-(e.labels or 4000) // k)  # labelled images of a class; a split sets a tenth apart for validation
    labels = np.repeat(np.arange(k), each + max(1, each // 9))
    random = np.random.default_rng(seed)
    arrays = {
        "x_train": random.integers(0, 256, (len(labels) + unlabelled, *shape), dtype=np.uint8),
        "y_train": np.concatenate([labels, np.full(unlabelled, -1)]),
        "x_test": random.integers(0, 256, (HELD_OUT, *shape), dtype=np.uint8),
        "y_test": np.arange(HELD_OUT) % k,
    }
    channels = shape[2] if len(shape) == 3 else 1
    return dataset_of(f"synthetic {e.dataset}", arrays, classes, (0.5,) * channels, (0.25,) * channels)


def in_a_file(data: Dataset) -> Dataset:
    """The same with the training images memory-mapped, in a file that is gone when they are."""
    images = data.x_train.numpy()
    with tempfile.TemporaryFile() as file:
        mapped = np.memmap(file, np.uint8, "w+", shape=images.shape)
    mapped[:] = images
    return dataclasses.replace(data, x_train=torch.from_numpy(mapped))


class Subject:
    """A setting made ready to be measured: the trainer of a real run, on random images."""

    def __init__(self, setting: Setting, seed: int = 0):
        self.setting, e = setting, setting.experiment
        data = synthetic(e, setting.unlabelled, seed)
        pool = "host" if setting.pool == "mapped" else setting.pool
        if setting.pool == "mapped":
            data = in_a_file(data)
        where = {"device": setting.device, "precision": setting.precision, "pool": pool}
        self.trainer, self.provenance = prepare(e, seed, **where, progress=False, dataset=data)
        self.learner = self.trainer.learner
        if setting.threads is not None and self.learner.device.type == "cpu":
            self.learner.compute = dataclasses.replace(self.learner.compute, threads=setting.threads)
            self.provenance["device"] = self.learner.compute.describe()
        if setting.step == "plain":
            make_plain(self.trainer)
        self.trainer.step = to_last_stage(self.learner)
        self.timer = Timer(self.learner.device)
        if setting.step == "fast" and self.learner.device.type == "cuda":
            with own_random_state(self.learner.device, seed):
                self.trainer.captured = try_to_capture(self.learner)
        self.network = next(iter(self.trainer.predictors().values()))
        pool = self.learner.data.unlabelled
        index = torch.arange(e.labelled_batch + e.unlabelled_batch) % len(pool)
        self.images = pool[index].to(self.learner.device)  # from wherever the pool lies

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """Uses the setting's number of threads inside the block.

        Only where that is a change: at each one torch's CPU library forgets its prepared kernels, which would be timed.
        """
        compute = self.learner.compute
        if compute.threads in (None, torch.get_num_threads()):
            yield
            return
        with compute.own_threads():
            self.step()
            yield

    @contextlib.contextmanager
    def uncaptured(self) -> Iterator[None]:
        """Iterations run plainly inside the block, so that they can be looked into."""
        captured, self.trainer.captured = self.trainer.captured, None
        try:
            yield
        finally:
            self.trainer.captured = captured

    def step(self) -> None:
        """One more iteration. After the last of the epoch its first comes again."""
        self.trainer.train_step(self.trainer.step % self.learner.steps_per_epoch)
        self.trainer.step += 1

    def infer(self) -> None:
        """uint8 images, as many as in a training batch, to the logits of one submodel."""
        with torch.no_grad(), self.learner.compute.autocast():
            self.network(self.trainer.plain(self.images, self.learner.generator))

    def train_seconds(self, burst: int = 1) -> float:
        """Seconds of one iteration, mean over `burst` of them."""
        with self.at_work():
            return self.timer.seconds(self.step, burst)

    def inference_seconds(self, burst: int = 1) -> float:
        """Seconds of one `infer`, mean over `burst` of them."""
        with self.at_work():
            self.network.eval()
            try:
                return self.timer.seconds(self.infer, burst)
            finally:
                self.network.train()

    def evaluation(self) -> dict:
        """{"images", "seconds"} of predicting held-out images with everything that is evaluated."""
        images, _ = self.learner.data.held_out["test"]
        if self.learner.device.type != "cpu":  # a full batch, and warm
            images = images.repeat(EVALUATION_BATCH // HELD_OUT, 1, 1, 1)
            self.trainer.predict(images)
        with self.at_work():
            return {"images": len(images), "seconds": self.timer.seconds(lambda: self.trainer.predict(images))}

    def epoch(self) -> dict:
        """{"iterations", "plan"}: how many an epoch has, and the seconds between two, for batches and hooks."""
        steps = self.learner.steps_per_epoch
        following = (self.learner.stages.starts[-1] // steps + 1) * steps
        with self.at_work():
            plan = statistics.median(self.timer.seconds(lambda: self.learner.begin(following)) for _ in range(3))
        return {"iterations": steps, "plan": plan}

    def host_seconds(self) -> float:
        """Seconds until the host has launched an iteration, whose end on the device it does not wait for."""
        self.timer.wait()
        started = time.perf_counter()
        self.step()
        return time.perf_counter() - started


def make_plain(trainer: Trainer) -> None:
    """Takes back what makes the step of an unbegun trainer fast: memory format and dropout become PyTorch's default."""
    for module in list(trainer.learner.method.modules()):
        for name, child in module.named_children():
            if type(child) is Dropout:
                setattr(module, name, nn.Dropout(child.p))
    trainer.learner.method.to(memory_format=torch.contiguous_format)
    data = trainer.learner.data
    data.labelled = data.labelled.contiguous()
    if isinstance(data.unlabelled, torch.Tensor):
        data.unlabelled = data.unlabelled.contiguous()
