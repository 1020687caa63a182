"""A model to keep: networks as safetensors beside a card in JSON. Reading one executes nothing of it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
import torch
from pydantic import Field
from pydantic.dataclasses import dataclass as checked_dataclass
from safetensors.torch import save
from torch import Tensor, nn

from dnll_core.augment import Augmentation
from dnll_core.checkpoint import copied
from dnll_core.checks import opened, sealed
from dnll_core.common import atomic_file, brief, user_path
from dnll_core.data.errors import DataError
from dnll_core.data.images import as_trained, read_any
from dnll_core.datafiles import MOST_JSON, read_whole, tensors_of
from dnll_core.device import ALONE, Compute, choose_compute, usual_torch
from dnll_core.evaluation import in_batches
from dnll_core.fields import RULES, Count, OrNone, Positive, Real, Whole, checked
from dnll_core.memory import check_room, out_of_memory
from dnll_core.methods import Pixels, heads, own_network
from dnll_core.models import NETWORKS, build_network
from dnll_core.provenance import commit
from dnll_core.run import Run
from dnll_core.study.calibration import at_temperature, temperature_of
from dnll_core.trial import checked_images

CARD, WEIGHTS = "model.json", "model.safetensors"
FEW = 30  # images, of which a temperature says little
Side = Annotated[Whole, Field(ge=1, le=4096)]


class ModelError(RuntimeError):
    """A folder that holds no model, or one that is damaged."""


@checked
@checked_dataclass(frozen=True, kw_only=True, config=RULES)
class Card:
    """What is known of a model beside its weights; `model.json` holds it.

    size: height and width in pixels. bits: see `Dataset.bits`. mean, std: of the pixels / 255 of each channel.
    predictors: the networks, in the order of the weights. temperature: see `calibration`; fitted on `fitted_on` images.
    accuracy: of the networks together: name of the images -> [right answers, images].
    """

    format: Literal[1, 2] = 2  # 1 has no SHA-256 of itself, so that another digit in it is not noticed
    classes: tuple[str, ...]
    size: tuple[Side, Side]
    channels: Count
    bits: OrNone[Annotated[Whole, Field(ge=8, le=16)]] = None
    mean: tuple[Real, ...]
    std: tuple[Positive, ...]
    network: Literal[tuple(NETWORKS)]
    heads: Literal[1, 2] = 1
    predictors: Annotated[tuple[str, ...], Field(min_length=1, max_length=2)]
    method: str
    labels: Count
    temperature: Positive = 1.0
    fitted_on: int = 0
    precision: Literal["float32", "bfloat16"] = "float32"
    accuracy: dict[str, tuple[int, int]] = dataclasses.field(default_factory=dict)
    experiment: dict = dataclasses.field(default_factory=dict)
    seed: int = 0
    versions: dict[str, str] = dataclasses.field(default_factory=dict)
    weights_sha256: str = ""


@dataclass
class Model:
    """Trained networks, and how images become their input. `load_model` reads one, `model_of` makes one of a run."""

    card: Card = dataclasses.field(repr=False)
    networks: nn.ModuleList = dataclasses.field(repr=False)
    compute: Compute

    @property
    def classes(self) -> tuple[str, ...]:
        return self.card.classes

    def predict(self, what: object, progress: bool = False) -> pd.DataFrame:
        """One row for each image, in their order: "class", its "probability", and "margin" to that of the next class.

        what: see `read`. The index, "file", has the names of files, relative to a folder that was given, or numbers.

        Raises TypeError, ValueError or DataError for what is no image; DataError names all files that cannot be read.
        """
        names, images = self.read(what, progress)
        return self.answers(names, self.probabilities(images))

    def answers(self, names: Sequence, probabilities: Tensor) -> pd.DataFrame:
        """The table of `predict`, from probabilities (N, K)."""
        best, kinds = probabilities.topk(2, dim=1)
        told = {"class": [self.classes[k] for k in kinds[:, 0].tolist()], "probability": best[:, 0].tolist()}
        return pd.DataFrame(told | {"margin": (best[:, 0] - best[:, 1]).tolist()}, pd.Index(names, name="file"))

    def read(self, what: object, progress: bool = False) -> tuple[list, Tensor]:
        """Names, and images (N, C, H, W) uint8 as training read its own.

        what: a path of an image or of a folder, which is searched at any depth; an image of Pillow; an array (H, W) or
            (H, W, 3), uint8 or, grey, uint16, of any size; a list of these; or a tensor (N, C, H, W) uint8 at its size.
        """
        if isinstance(what, Tensor):
            images = checked_images(what, torch.Size((self.card.channels, *self.card.size)))
            return list(range(len(images))), images
        if len({*self.card.size}) > 1:
            raise DataError("the networks were trained on arrays of {}x{}; give a tensor".format(*self.card.size))
        names, pictures = read_any(what, self.card.size[0], progress)
        found = dict(zip(map(str, names), pictures)) if len({*names}) == len(names) else dict(enumerate(pictures))
        return names, as_trained(found, self.card.size, self.card.channels, self.card.bits)

    def probabilities(self, images: Tensor, temperature: float | None = None) -> Tensor:
        """(N, C, H, W) uint8 -> (N, K) float32 on the CPU, of all networks, at the card's or another temperature."""
        each = torch.stack([torch.softmax(logits, dim=-1) for logits in self._outputs(images)])
        return at_temperature(each.cpu(), self.card.temperature if temperature is None else temperature)

    def embed(self, images: Tensor) -> Tensor:
        """The last hidden layer of the first network: (N, C, H, W) uint8 -> (N, F) float32 on the CPU."""
        return self._outputs(images, hidden=True)[0].cpu()

    def _outputs(self, images: Tensor, hidden: bool = False) -> list[Tensor]:
        images = checked_images(images, torch.Size((self.card.channels, *self.card.size)))
        view, device = Augmentation("identity", self.card.mean, self.card.std), self.compute.device
        some = self.networks[:1] if hidden else self.networks
        if not len(images):
            return [torch.zeros(0, some[0].hidden if hidden else len(self.classes))] * len(some)
        with ALONE, usual_torch(), self.compute.own_threads(), out_of_memory(f"size={self.card.size}", device):
            how = (images, view, torch.Generator(device), self.compute)
            return [in_batches(network, *how, network.features if hidden else None) for network in some]

    def save(self, folder: str | Path) -> Path:
        """Writes `model.safetensors` and `model.json` into a folder, each whole or not at all, and returns its path."""
        folder, data = user_path(folder), save(copied(self.networks.state_dict()))
        card = dataclasses.replace(self.card, weights_sha256=hashlib.sha256(data).hexdigest())
        told = (json.dumps(sealed(dataclasses.asdict(card)), indent=1) + "\n").encode()
        for name, content in ((WEIGHTS, data), (CARD, told)):
            with atomic_file(folder / name) as file:
                file.write(content)
        return folder


def model_of(run: Run, calibrate: bool = True, accuracy: dict[str, tuple[int, int]] | None = None) -> Model:
    """The model of a finished run. Its networks are the run's own, not copies.

    calibrate: fit a temperature on the validation images, if there are any. accuracy: more of `Card.accuracy`.
    """
    learner, trainer, found, temperature, fitted_on = run.trainer.learner, run.trainer, {}, 1.0, 0
    for name, (images, labels) in learner.data.held_out.items():
        if len(images):
            each, labels = run.predict_each(images), labels.cpu()
            found[name] = int((each.mean(0).argmax(1) == labels).sum()), len(labels)
            if name == "validation" and calibrate:
                temperature, fitted_on = temperature_of(each, labels), len(labels)
    networks, (channels, *size) = trainer.predictors(), learner.data.labelled.shape[1:]
    card = Card(
        classes=run.classes,
        size=tuple(size),
        channels=channels,
        bits=learner.data.bits,
        mean=trainer.plain.mean,
        std=trainer.plain.std,
        network=run.experiment.network,
        heads=heads(run.experiment),
        predictors=tuple(networks),
        method=run.experiment.method,
        labels=len(learner.data.labelled),
        temperature=temperature,
        fitted_on=fitted_on,
        precision=learner.compute.precision,
        accuracy=found | (accuracy or {}),
        experiment=run.experiment.to_dict() | {"dataset": run.experiment.dataset.partition(":")[0]},
        seed=run.seed,
        versions={"commit": commit() or "unknown", "torch": torch.__version__, "python": platform.python_version()},
    )
    return Model(card, nn.ModuleList(networks.values()), learner.compute)


def load_model(folder: str | Path, device: str = "auto") -> Model:
    """The model in a folder. device: see `device.choose_compute`.

    Raises:
        ModelError: if there is none, or it is not what was written.
    """
    folder = user_path(folder)
    try:
        told = opened(read_whole(folder / CARD))
        told = {name: tuple(value) if isinstance(value, list) else value for name, value in told.items()}
        told["accuracy"] = {name: tuple(value) for name, value in told.get("accuracy", {}).items()}
        card = Card(**told)
        if {len(card.mean), len(card.std)} != {card.channels} or len(card.classes) < 2:
            raise ValueError(f"mean and std are not of {card.channels} channels, or it has less than two classes")
        pixels = Pixels((card.channels, *card.size), card.mean, card.std)
        own = own_network(card.experiment | {"method": card.method})
        make = (card.network, len(card.classes), card.channels, card.size, card.heads)
        with usual_torch(), torch.device("meta"):  # takes no memory, of which a card may ask for any
            networks = nn.ModuleList(own(pixels, make[1]) if own else build_network(*make) for _ in card.predictors)
        held = sum(value.nbytes for value in networks.state_dict().values())  # some networks grow with the image
        check_room(2 * held, f"size={card.size}, method={card.method!r}: reading a model")
        data = read_whole(folder / WEIGHTS, held + MOST_JSON)
        if hashlib.sha256(data).hexdigest() != card.weights_sha256:
            raise ValueError(f"{WEIGHTS} has another SHA-256 than {CARD} says")
        networks.load_state_dict(tensors_of(data)[0], assign=True)
    except FileNotFoundError as error:
        raise ModelError(f"{folder} holds no model: {error.filename} is not there") from None
    except (OSError, ValueError, TypeError, AttributeError, RuntimeError, ArithmeticError) as error:
        advice = "Train it anew, or put a whole copy in its place."
        raise ModelError(f"the model in {folder} cannot be used: {brief(error)}. {advice}") from None
    compute = choose_compute(device, card.precision, card.network)
    networks = networks.float().to(compute.device, memory_format=torch.channels_last).eval().requires_grad_(False)
    return Model(card, networks, compute)
