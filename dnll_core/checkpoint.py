"""Checkpoints: a folder with one safetensors file, beside which the next one is written before it takes its place.

So the folder always holds one complete checkpoint, whenever a process dies or a disk is full. The file has the tensors
by name; in its metadata are all the rest, as JSON, and a SHA-256 of both. Reading it executes no code.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from dnll_core.common import NoHome, atomic_file, brief, user_path
from dnll_core.datafiles import MOST_JSON, from_json, metadata_of, read_whole, tensors_of

FILE = "checkpoint.safetensors"
EARLIER = ("checkpoint.json", "part-*.pt")  # what earlier versions wrote


class CheckpointError(RuntimeError):
    """A checkpoint that is damaged, of an earlier version, or of another run."""


def save_checkpoint(folder: str | Path, tensors: dict[str, Tensor], info: dict) -> None:
    """Writes a checkpoint in the place of the one in `folder`, all or nothing.

    Args:
        folder: made if it is missing; see `common.user_path`.
        tensors: name -> tensor, on any device; some may share their memory.
        info: plain JSON values.

    Raises OSError if it cannot be written, CheckpointError if it could not be read. The one before is then still there.
    """
    path = place_of(folder) / FILE
    for left in path.parent.glob(f".{FILE}.*.tmp"):  # by a process that was killed: it takes room
        with contextlib.suppress(OSError):
            left.unlink()
    tensors, told = copied(tensors), json.dumps(info)
    data = save(tensors, {"info": told, "sha256": _digest(told, tensors)})
    if int.from_bytes(data[:8], "little") > MOST_JSON:
        raise CheckpointError(f"{path} would have more than {MOST_JSON / 1e6:.0f} MB of epochs and names of files")
    with atomic_file(path) as file:
        file.write(data)


def copied(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous copies on the CPU: safetensors takes no others."""
    own = {"device": "cpu", "memory_format": torch.contiguous_format, "copy": True}
    return {name: tensor.detach().to(**own) for name, tensor in tensors.items()}


def place_of(folder: str | Path) -> Path:
    try:
        return user_path(folder)
    except NoHome as error:
        raise CheckpointError(f"checkpoint={str(folder)!r}: {error}") from None


def _digest(info: str, tensors: dict[str, Tensor]) -> str:
    """SHA-256 of all that a checkpoint holds. tensors: contiguous, on the CPU."""
    digest = hashlib.sha256(info.encode())
    for name in sorted(tensors):
        digest.update(f"\0{name}\0{tensors[name].dtype}\0{list(tensors[name].shape)}\0".encode())
        digest.update(tensors[name].view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def load_checkpoint(folder: str | Path, most: int = 2**30) -> tuple[dict[str, Tensor], dict] | None:
    """The checkpoint in `folder` as (contiguous tensors on the CPU, info), or None if there is none.

    Raises:
        CheckpointError: if it cannot be read, is not what was written, was written by an earlier version, or has more
            than `most` bytes.
    """
    path = place_of(folder) / FILE
    if not os.path.lexists(path):  # a link to nowhere is there, and cannot be read
        if any(found for pattern in EARLIER for found in path.parent.glob(pattern)):
            raise CheckpointError(
                f"the checkpoint in {folder} was written by an earlier version ({', '.join(EARLIER)}). Delete the "
                "folder to start the run anew, or finish the run with that version."
            )
        return None
    try:
        tensors, told = tensors_of(read_whole(path, most))
        if told.get("sha256") != _digest(told.get("info", ""), tensors):
            raise ValueError("its content has another SHA-256 than it says")
        return tensors, from_json(told["info"])
    except Exception as error:  # whatever its readers raise, the remedy is the same
        raise CheckpointError(
            f"{path} cannot be read ({type(error).__name__}: {brief(error)}). Delete the folder {folder} to start the "
            "run anew, or put a whole copy in its place."
        ) from None


def read_info(folder: str | Path) -> dict:
    """The info of the checkpoint in `folder`, without its tensors and not verified; {} if there is none to be read."""
    with contextlib.suppress(OSError, ValueError, KeyError, CheckpointError):
        if (path := place_of(folder) / FILE).is_file():
            with open(path, "rb") as file:
                info = from_json(metadata_of(file)["info"])
            return info if isinstance(info, dict) else {}
    return {}
