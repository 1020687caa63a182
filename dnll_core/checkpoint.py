"""Checkpoints: a folder with `checkpoint.json` and parts of tensors, each below 16 MB.

`checkpoint.json` names its parts with their SHA-256 and is replaced atomically after they are on disk, so the folder
always holds one complete checkpoint: a crash while writing leaves the one before. The first save begins with a manifest
without parts, so parts without a manifest mean that it was lost, never that a run was killed early. Reading executes no
code: the parts are loaded with `weights_only=True`, the rest is JSON.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import pickle
from collections.abc import Iterator
from pathlib import Path

import torch
from filelock import Timeout
from torch import Tensor

from dnll_core.common import atomic_file, digest_of, locked

MANIFEST = "checkpoint.json"
PART_BYTES = 15_000_000  # a tensor is cut into slices of at most this size, and parts are filled up to it


class CheckpointError(RuntimeError):
    """A checkpoint that is damaged, incomplete, or belongs to another run."""


class InUse(CheckpointError):
    """A checkpoint folder that another process holds."""


def save_checkpoint(folder: str | Path, tensors: dict[str, Tensor], info: dict) -> None:
    """Writes a checkpoint over the one in `folder`, atomically.

    Args:
        folder: made if it is missing.
        tensors: name -> tensor, on any device.
        info: plain JSON values.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    begin(folder)
    _remove_all_but(_named(folder), folder)  # what a killed process did not finish takes room
    try:
        parts = [_write_part(folder, number, part) for number, part in enumerate(_parts(tensors))]
        _write_manifest(folder, info, {name: list(tensor.shape) for name, tensor in tensors.items()}, parts)
    finally:  # the parts before, or, if it failed, those just written: the next save needs their room
        _remove_all_but(_named(folder), folder)


def begin(folder: Path) -> None:
    """Writes a manifest without parts, if there is none: from here on its loss can be told from a first save."""
    if not (folder / MANIFEST).exists():
        _write_manifest(folder, {}, {}, [])


def _write_part(folder: Path, number: int, tensors: dict[str, Tensor]) -> dict[str, str]:
    buffer = io.BytesIO()
    torch.save(tensors, buffer)
    data = buffer.getvalue()
    digest = hashlib.sha256(data).hexdigest()
    name = f"part-{number:02d}-{digest[:12]}.pt"  # named by content: never the file that the old manifest needs
    with atomic_file(folder / name) as file:
        file.write(data)
    return {"file": name, "sha256": digest}


def _write_manifest(folder: Path, info: dict, shapes: dict, parts: list[dict]) -> None:
    content = {"info": info, "shapes": shapes, "parts": parts}
    with atomic_file(folder / MANIFEST) as file:
        file.write(json.dumps({"sha256": digest_of(content), "content": content}).encode())


def _named(folder: Path) -> set[str] | None:
    """The parts that the manifest in `folder` names; None if it cannot be read."""
    try:
        return {part["file"] for part in json.loads((folder / MANIFEST).read_bytes())["content"]["parts"]}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _remove_all_but(needed: set[str] | None, folder: Path) -> None:
    for path in [] if needed is None else [*folder.glob("part-*.pt"), *folder.glob(".*.tmp")]:
        if path.name not in needed:
            with contextlib.suppress(OSError):
                path.unlink()


def load_checkpoint(folder: str | Path) -> tuple[dict[str, Tensor], dict] | None:
    """The checkpoint in `folder` as (tensors on the CPU, info), or None if there is none.

    Raises:
        CheckpointError: naming the file that is missing or damaged.
    """
    path = Path(folder) / MANIFEST
    if not path.exists():
        if any(path.parent.glob("part-*.pt")):
            raise CheckpointError(
                f"{path} is missing, and the parts beside it cannot be read without it. Put it back, or delete the "
                f"folder {folder} to start the run anew."
            )
        return None
    try:
        manifest = json.loads(path.read_bytes())
        content = manifest["content"]
        if digest_of(content) != manifest["sha256"]:
            raise ValueError("its content has another SHA-256")
        if not content["parts"]:
            return None  # the first save did not come to its end
        slices: dict[str, list[Tensor]] = {}
        for part in content["parts"]:
            path = Path(folder) / part["file"]
            data = path.read_bytes()
            if hashlib.sha256(data).hexdigest() != part["sha256"]:
                raise ValueError(f"its {len(data)} bytes have another SHA-256")
            for name, tensor in torch.load(io.BytesIO(data), weights_only=True, map_location="cpu").items():
                slices.setdefault(name.rsplit("@", 1)[0], []).append(tensor)
        tensors = {name: torch.cat(slices[name]).view(shape) for name, shape in content["shapes"].items()}
        return tensors, content["info"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, pickle.UnpicklingError) as error:
        problem = "is missing" if isinstance(error, FileNotFoundError) else f"is damaged ({str(error).splitlines()[0]})"
        raise CheckpointError(f"{path} {problem}. Delete the folder {folder} to start the run anew.") from None


@contextlib.contextmanager
def exclusive(folder: str | Path) -> Iterator[None]:
    """Keeps a checkpoint folder for one process: makes it, checks that it can be written to, and locks it.

    Raises:
        CheckpointError: if it cannot be used; InUse if another process trains there.
    """
    if not str(folder):
        raise CheckpointError("checkpoint='' is no folder; give a path, or None for no checkpoint.")
    try:
        lock = locked(Path(folder) / ".lock")
    except Timeout:
        raise InUse(f"another process is training with the checkpoint in {folder}.") from None
    except OSError as error:
        raise CheckpointError(f"checkpoint={str(folder)!r} cannot be written to: {error}.") from None
    with lock:
        yield


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
