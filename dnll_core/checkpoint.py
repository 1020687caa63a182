"""Checkpoints: a folder with `checkpoint.json` and parts of tensors, each below 16 MB.

`checkpoint.json` names its parts with their SHA-256 and is replaced atomically after they are on disk, so the folder
always holds one complete checkpoint: a crash while writing leaves the one before. Reading executes no code: the parts
are loaded with `weights_only=True`, the rest is JSON.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
from pathlib import Path

import torch
from torch import Tensor

from dnll_core.common import atomic_file

MANIFEST = "checkpoint.json"
PART_BYTES = 15_000_000  # a tensor is cut into slices of at most this size, and parts are filled up to it


class CheckpointError(RuntimeError):
    """A checkpoint that is damaged, incomplete, or belongs to another run."""


def save_checkpoint(folder: str | Path, tensors: dict[str, Tensor], info: dict) -> None:
    """Writes a checkpoint over the one in `folder`, atomically.

    Args:
        folder: made if it is missing.
        tensors: name -> tensor, on any device.
        info: plain JSON values.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    old = {
        path.name for pattern in ("part-*.pt", ".*.tmp") for path in folder.glob(pattern)
    }  # .tmp: of a killed process
    parts = []
    for number, part in enumerate(_parts(tensors)):
        buffer = io.BytesIO()
        torch.save(part, buffer)
        data = buffer.getvalue()
        digest = hashlib.sha256(data).hexdigest()
        name = f"part-{number:02d}-{digest[:12]}.pt"  # named by content: never the file that the old manifest needs
        with atomic_file(folder / name) as file:
            file.write(data)
        parts.append({"file": name, "sha256": digest})
    shapes = {name: list(tensor.shape) for name, tensor in tensors.items()}
    manifest = {"info": info, "shapes": shapes, "parts": parts}
    with atomic_file(folder / MANIFEST) as file:
        file.write(json.dumps(manifest).encode())
    for name in old - {part["file"] for part in parts}:
        (folder / name).unlink(missing_ok=True)


def load_checkpoint(folder: str | Path) -> tuple[dict[str, Tensor], dict] | None:
    """The checkpoint in `folder` as (tensors on the CPU, info), or None if there is none.

    Raises:
        CheckpointError: naming the file that is missing or damaged.
    """
    path = Path(folder) / MANIFEST
    if not path.exists():
        return None
    advice = f"Delete the folder {folder} to start the run anew."
    try:
        manifest = json.loads(path.read_bytes())
        shapes, info, parts = manifest["shapes"], manifest["info"], manifest["parts"]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged ({error!r}). {advice}") from None
    slices: dict[str, list[Tensor]] = {}
    for part in parts:
        file = Path(folder) / part["file"]
        data = file.read_bytes() if file.exists() else None
        if data is None:
            raise CheckpointError(f"{file} is missing. {advice}")
        if hashlib.sha256(data).hexdigest() != part["sha256"]:
            raise CheckpointError(f"{file} is damaged: it has {len(data)} bytes with another SHA-256. {advice}")
        try:
            loaded = torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
        except (pickle.UnpicklingError, RuntimeError) as error:
            raise CheckpointError(f"{file} is damaged ({str(error).splitlines()[0]}). {advice}") from None
        for name, tensor in loaded.items():
            slices.setdefault(name.rsplit("@", 1)[0], []).append(tensor)
    return {name: torch.cat(slices[name]).view(shape) for name, shape in shapes.items()}, info


def _parts(tensors: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """Flat slices "name@i" of all tensors, packed in order into parts of at most PART_BYTES."""
    parts: list[dict[str, Tensor]] = [{}]
    room = PART_BYTES
    for name, tensor in tensors.items():
        flat = tensor.detach().cpu().contiguous().view(-1)
        per_slice = max(1, PART_BYTES // flat.element_size())
        pieces = flat.split(per_slice) if len(flat) else (flat,)
        for i, piece in enumerate(pieces):
            size = piece.numel() * piece.element_size()
            if size > room and parts[-1]:
                parts.append({})
                room = PART_BYTES
            parts[-1][f"{name}@{i}"] = piece.clone()  # a clone: torch.save would write a view's whole storage
            room -= size
    return parts
