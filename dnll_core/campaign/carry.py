"""The state of a campaign in few, small files, to be carried to another machine.

    pack([Path("runs/campaign/tables")], Path("carry"))      # here
    unpack(read(Path("carry")), Path("runs/campaign"))       # there

The set is stored as a checkpoint is: a few files of less than 16 MB, named by their content, and a manifest with their
SHA-256 that is replaced last, so a folder always holds one complete set, or says that it does not.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import zipfile
from collections.abc import Iterable
from pathlib import Path

import torch

from dnll_core.campaign.tasks import checkpoint_step
from dnll_core.campaign.worker import CHECKPOINTS
from dnll_core.checkpoint import (
    MANIFEST,
    PART_BYTES,
    CheckpointError,
    begin,
    exclusive,
    load_checkpoint,
    save_checkpoint,
)
from dnll_core.common import atomic_file

ROOM = 4 * PART_BYTES  # bytes in all: twice CNN-13 with momentum takes 50 MB, so a set is five files or fewer
RECORD = re.compile(r"[\w+-]+/[\w+-]+-seed\d+\.json")
OF_CHECKPOINT = re.compile(rf"([\w+-]+/{re.escape(CHECKPOINTS)}/[\w+-]+-seed\d+)/(checkpoint\.json|part-\w+-\w+\.pt)")


class CarryError(RuntimeError):
    """A set that is damaged or incomplete, or that does not fit."""


def pack(folders: Iterable[Path], place: Path) -> list[str]:
    """Replaces the set in `place` by the records in `folders` and the checkpoints of their unfinished runs.

    Checkpoints are taken as long as there is room, the one that was written last first.

    Args:
        folders: with the records of a campaign each, all in one folder.

    Returns:
        Messages: what was left out.

    Raises:
        CarryError: if the records alone do not fit, or it cannot be written; what was in `place` is then still there.
    """
    left_out, buffer = [], io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for folder in folders:
            for path in sorted(folder.glob("*-seed*.json")):
                if RECORD.fullmatch(name := f"{folder.name}/{path.name}"):
                    archive.writestr(name, path.read_bytes())
                else:
                    left_out.append(f"{path} was left out: it has not the name of a record.")
        if buffer.tell() > ROOM:
            raise CarryError(
                f"the records alone take {buffer.tell()} bytes, and {ROOM} can be carried; they stay where they are."
            )
        for folder in _unfinished(folders):
            files = _complete(folder)
            if not files or not OF_CHECKPOINT.fullmatch(
                f"{folder.parent.parent.name}/{CHECKPOINTS}/{folder.name}/{MANIFEST}"
            ):
                left_out.append(f"the checkpoint of {folder.name} was left out: it is damaged, or has gone.")
                continue
            taken = buffer.tell() + sum(len(data) + 500 for data in files.values())  # with their names, twice
            if taken > ROOM:
                left_out.append(f"the checkpoint of {folder.name} was left out: {taken} bytes of {ROOM} at most.")
                continue
            for name, data in files.items():  # weights do not become smaller
                path = f"{folder.parent.parent.name}/{CHECKPOINTS}/{folder.name}/{name}"
                archive.writestr(path, data, zipfile.ZIP_STORED)
    data = torch.frombuffer(bytearray(buffer.getvalue()), dtype=torch.uint8)
    try:
        save_checkpoint(place, {"archive": data}, {"left_out": left_out})
    except OSError as error:
        raise CarryError(f"the state could not be packed into {place}: {error}.") from None
    return left_out


def read(place: Path) -> dict[str, bytes]:
    """Relative path -> content of the set in `place`; empty if there is none.

    Raises:
        CarryError: if it is damaged or incomplete.
    """
    remedy = f"Nothing was unpacked or changed; copy the whole set to {place} again, or empty it to go on without."
    try:
        found = load_checkpoint(place)
        if found is not None and found[0].keys() != {"archive"}:
            raise CheckpointError(f"{place / MANIFEST} is not of a set, but of a run.")
    except CheckpointError as error:
        raise CarryError(f"{re.split(' Delete the folder| Put it back', str(error))[0]} {remedy}") from None
    if found is None:
        return {}
    try:
        with zipfile.ZipFile(io.BytesIO(found[0]["archive"].numpy().tobytes())) as archive:
            files = {name: archive.read(name) for name in archive.namelist()}
    except zipfile.BadZipFile as error:
        raise CarryError(f"{place} is damaged ({error}). {remedy}") from None
    for name in files:
        if not RECORD.fullmatch(name) and not OF_CHECKPOINT.fullmatch(name):
            raise CarryError(f"{place} holds {name!r}, which is no part of a campaign. {remedy}")
    return files


def unpack(files: dict[str, bytes], out: Path) -> list[str]:
    """Writes the files of a set below `out`. What is there stays: other records, and checkpoints that are further.

    Returns:
        Messages: what was not unpacked, and why.
    """
    messages = []
    checkpoints: dict[str, dict[str, bytes]] = {}
    for name, data in files.items():
        if match := OF_CHECKPOINT.fullmatch(name):
            checkpoints.setdefault(match[1], {})[match[2]] = data
        elif not (out / name).exists():
            with atomic_file(out / name) as file:
                file.write(data)
        elif (out / name).read_bytes() != data:
            messages.append(f"{out / name} is another record of the same run than the one carried here, and stays.")
    for name, parts in checkpoints.items():
        folder = out / name
        try:
            step = _step(parts)
            if not (folder.parent.parent / f"{folder.name}.json").exists() and step > checkpoint_step(folder):
                with exclusive(folder / ".campaign"):
                    _write(parts, folder)
        except CheckpointError as error:
            messages.append(f"the checkpoint of {folder.name} was not unpacked: {error}")
    return messages


def _unfinished(folders: Iterable[Path]) -> list[Path]:
    """The checkpoints whose record is not there, the latest first."""
    found = [path for folder in folders for path in folder.glob(f"{CHECKPOINTS}/*/{MANIFEST}")]
    found = [path for path in found if not (path.parents[2] / f"{path.parent.name}.json").exists()]
    found = [path for path in found if any(path.parent.glob("part-*.pt"))]  # else nothing was saved yet
    return [path.parent for path in sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)]


def _complete(folder: Path) -> dict[str, bytes]:
    """The files of a checkpoint that may be replaced while it is read; empty if it has gone or is damaged."""
    for _ in range(5):
        with contextlib.suppress(FileNotFoundError):
            manifest = (folder / MANIFEST).read_bytes()
            try:
                parts = [part["file"] for part in json.loads(manifest)["content"]["parts"]]
            except (ValueError, KeyError, TypeError):
                return {}
            return {name: (folder / name).read_bytes() for name in parts} | {MANIFEST: manifest}
    return {}


def _step(parts: dict[str, bytes]) -> int:
    try:
        return json.loads(parts[MANIFEST])["content"]["info"]["step"]
    except (ValueError, KeyError, TypeError):
        raise CheckpointError("it is damaged.") from None


def _write(parts: dict[str, bytes], folder: Path) -> None:
    """A checkpoint's files in the place of those that are there, the manifest last."""
    begin(folder)
    before = set(folder.glob("part-*.pt"))
    for name in sorted(parts, key=lambda name: name == MANIFEST):
        with atomic_file(folder / name) as file:
            file.write(parts[name])
    for path in before - {folder / name for name in parts}:
        path.unlink()
