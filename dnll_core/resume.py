"""What the rest of a run depends on: its tensors, and its checkpoint, from which it goes on bit for bit on a CPU."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dnll_core.checkpoint import CheckpointError, load_checkpoint, save_checkpoint

if TYPE_CHECKING:
    from dnll_core.trainer import Trainer


def state(trainer: Trainer) -> dict[str, Tensor]:
    """Every tensor that the rest of the run depends on, by name; not copied."""
    tensors = {f"method.{name}": value for name, value in trainer.method.state_dict().items()}
    if trainer.average is not None:
        tensors |= {f"average.{name}": value for name, value in trainer.average.state_dict().items()}
    for i, p in enumerate(trainer.parameters):
        tensors[f"momentum.{i}"] = trainer.optimizer.state[p].get("momentum_buffer", torch.zeros_like(p))
    tensors |= {f"sum.{name}": value for name, value in trainer.sums.items()}
    tensors |= {"losses": trainer.losses, "clock": trainer.clock.step}
    tensors |= {"rng.generator": trainer.generator.get_state(), "rng.cpu": torch.get_rng_state()}
    if trainer.device.type == "cuda":
        tensors["rng.cuda"] = torch.cuda.get_rng_state(trainer.device)
    return tensors


@torch.no_grad()
def restore(trainer: Trainer, tensors: dict[str, Tensor]) -> None:
    """Puts back what `state` gave, in place: this keeps the memory format, and with it the order of summation."""
    modules = {"method": trainer.method} | ({"average": trainer.average} if trainer.average is not None else {})
    for prefix, module in modules.items():
        for name, value in module.state_dict().items():
            value.copy_(tensors[f"{prefix}.{name}"])
    for i, p in enumerate(trainer.parameters):
        momentum = trainer.optimizer.state[p].setdefault("momentum_buffer", torch.empty_like(p))
        momentum.copy_(tensors[f"momentum.{i}"])
    trainer.losses.copy_(tensors["losses"])
    trainer.clock.step.copy_(tensors["clock"])
    trainer.clear_sums()
    for name, value in tensors.items():
        if name.startswith("sum."):
            trainer.sums.setdefault(name[4:], torch.zeros_like(value, device=trainer.device)).copy_(value)
    trainer.generator.set_state(tensors["rng.generator"])
    torch.set_rng_state(tensors["rng.cpu"])
    if trainer.device.type == "cuda":
        torch.cuda.set_rng_state(tensors["rng.cuda"], trainer.device)


def save(trainer: Trainer, folder: str | Path) -> None:
    """Writes everything that the rest of the run depends on."""
    standing = {"step": trainer.step, "seconds": trainer.seconds, "history": trainer.history, "counts": trainer.counts}
    standing |= {"source": trainer.source, "earlier_sources": trainer.earlier_sources}
    save_checkpoint(folder, state(trainer), _identity(trainer) | standing)


def load(trainer: Trainer, folder: str | Path) -> bool:
    """Continues from the checkpoint in `folder`; False if there is none.

    Raises:
        CheckpointError: if it is damaged or belongs to another experiment, seed, split or device.
    """
    found = load_checkpoint(folder)
    if found is None:
        return False
    tensors, info = found
    for name, mine in _identity(trainer).items():
        if info.get(name) != mine:
            raise CheckpointError(
                f"the checkpoint in {folder} belongs to another run: {_difference(name, info.get(name), mine)}. "
                "Give this run another folder, or delete that one."
            )
    restore(trainer, tensors)
    trainer.step, trainer.seconds, trainer.history = info["step"], info["seconds"], info["history"]
    trainer.counts = info["counts"]
    other = [info["source"]] if info.get("source", trainer.source) != trainer.source else []
    trainer.earlier_sources = info.get("earlier_sources", []) + other
    if trainer.step % trainer.steps_per_epoch:
        trainer.plan_epoch(trainer.step // trainer.steps_per_epoch)
    return True


def _identity(trainer: Trainer) -> dict:
    """What a checkpoint must share with a run to continue it bit for bit."""
    return {
        "experiment": trainer.experiment.to_dict(),
        "seed": trainer.seed,
        "split": trainer.data.split,
        "device": trainer.device.type,
        "precision": trainer.compute.precision,
        "threads": trainer.compute.threads,
    }


def _difference(name: str, theirs, mine) -> str:
    if isinstance(theirs, dict) and isinstance(mine, dict):
        changed = [f"{k} was {theirs.get(k)!r}, is {mine.get(k)!r}" for k in mine if theirs.get(k) != mine.get(k)]
        return f"{name}: {'; '.join(changed)}"
    return f"{name} was {theirs!r}, is {mine!r}"
