"""Who may write checkpoints to a folder, and whether a run may go on from the one that is there."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import Timeout
from torch import Tensor

from dnll_core.checkpoint import CheckpointError, place_of
from dnll_core.checks import check_so_far
from dnll_core.common import brief, locked
from dnll_core.device import Compute
from dnll_core.learner import Learner

NAMED_FILES = 2**24  # letters of a folder's names; a checkpoint has no room for many more, and has their digest anyway


class InUse(CheckpointError):
    """A checkpoint folder that another process holds."""


@contextlib.contextmanager
def exclusive(folder: str | Path) -> Iterator[Callable[[], None]]:
    """Keeps a checkpoint folder for one process: makes it, checks that it can be written to, and locks it.

    Yields what is called before each checkpoint: it takes the lock anew where the folder, and the lock in it, was
    deleted meanwhile, for then another process could train there too.

    Raises:
        CheckpointError: if it cannot be used; InUse if another process trains there.
    """
    if not str(folder):
        raise CheckpointError("checkpoint='' is no folder; give a path, or None for no checkpoint.")
    path, mine = place_of(folder) / ".lock", ()
    with contextlib.ExitStack() as held:

        def keep() -> None:
            nonlocal mine
            if mine == _file_at(path):
                return
            try:
                held.enter_context(locked(path))
            except Timeout:
                raise InUse(f"another process is training with the checkpoint in {folder}.") from None
            except OSError as error:
                raise CheckpointError(f"checkpoint={str(folder)!r} cannot be written to: {error}.") from None
            mine = _file_at(path)

        keep()
        yield keep


def _file_at(path: Path) -> tuple[int, int] | None:
    """Which file it is; None where there is none, as where the file system has no locks."""
    with contextlib.suppress(OSError):
        return path.stat().st_dev, path.stat().st_ino
    return None


def check_same_run(folder: str | Path, theirs: dict, mine: dict) -> None:
    """Lets the run `mine` continue the checkpoint in `folder`, whose info is `theirs`, or raises an error.

    Args:
        mine: "experiment" (its fields), "seed", "images" (a digest) and "files" (of a folder, name -> digest), "split"
            (a hash) and "device" (its kind).

    Raises:
        CheckpointError: with the way out.
    """
    for name in ("experiment", "seed", "images", "split", "device"):
        one, other = theirs[name], mine[name]
        if name == "experiment":
            one, other = _without_places(one), _without_places(other)
        if one == other:
            continue
        if name == "images":
            changes = _changed_files(theirs["files"], mine["files"]) or f"their SHA-256 was {one}, is {other}"
            raise CheckpointError(
                f"the images have changed since the run in {folder} was begun: {changes}. Put them back as they were "
                "to go on, or give the run with these images another folder, where it begins anew."
            )
        if name == "device":
            raise CheckpointError(
                f"the run in {folder} was begun on {one}, and this is {other}, where its random numbers do not go on. "
                f"Go on with device={one!r}, or give this run another folder, where it begins anew."
            )
        raise CheckpointError(
            f"the checkpoint in {folder} belongs to another run: {_difference(name, one, other)}. "
            "Give this run another folder, or delete that one."
        )


def identity_of(learner: Learner) -> dict:
    """What a checkpoint must share with a run that continues it."""
    files = learner.data.files
    return {
        "experiment": learner.experiment.to_dict(),
        "seed": learner.seed,
        "images": learner.data.images,
        "files": dict(files) if len(ascii(dict(files))) <= NAMED_FILES else {},
        "split": learner.data.split,
        "device": learner.device.type,
    }


def check_standing(info: dict, tensors: dict[str, Tensor], steps: int, total: int) -> None:
    """Raises ValueError if a run of so many iterations an epoch, and in all, cannot stand where its checkpoint says."""
    check_so_far(info)
    sums = [tensors[f"sum.{name}"] for name in info["counts"]]
    if not all(value.is_floating_point() and value.numel() in (1, 2) for value in sums):
        raise ValueError("its sums are no numbers")
    step, epochs = info["step"], len(info["history"])
    whole = step // steps
    if type(step) is not int or not 0 <= step <= total or epochs not in (whole, whole - (step % steps == 0)):
        raise ValueError(f"it says {epochs} epochs and step {step}, of {total} with {steps} in an epoch")


def warn_of_rounding(folder: str | Path, before: dict, now: Compute, stacklevel: int) -> None:
    """Warns if the run goes on with other threads or in another precision than in the sitting `before`."""
    for name, keep in (("threads", "OMP_NUM_THREADS"), ("precision", "precision")):
        theirs, mine = before[name], getattr(now, name)
        if theirs is not None and theirs != mine:
            warnings.warn(
                f"the run in {folder} goes on with {name} {mine}, and so far had {theirs}. Rounding differs, so it "
                f"will not end bit for bit as with {theirs}; its record names both. {keep}={theirs} keeps it.",
                stacklevel=stacklevel,
            )


@contextlib.contextmanager
def as_checkpoint_error(folder: str | Path) -> Iterator[None]:
    """What goes wrong when a run takes over what a checkpoint holds, as a CheckpointError that names its folder."""
    try:
        yield
    except (CheckpointError, Warning):
        raise
    except Exception as error:  # whatever the values are, the remedy is the same
        raise CheckpointError(
            f"the checkpoint in {folder} holds what no run has written ({type(error).__name__}: {brief(error)}). "
            "Delete the folder to start the run anew, or put a whole copy in its place."
        ) from None


def _without_places(fields: dict) -> dict:
    """An experiment's fields without the places of folders: what is in them is compared by its digest."""
    places = {name: str(fields.get(name)).partition(":")[0] for name in ("dataset", "source")}
    return fields | places


def _changed_files(before: dict[str, str], now: dict[str, str], most: int = 3) -> str:
    """Which files came, went or changed, by number and the first names; "" if none did, or they were too many."""
    if not before or not now:
        return ""
    changes = {
        "came": sorted(now.keys() - before.keys()),
        "went": sorted(before.keys() - now.keys()),
        "changed": sorted(name for name in before.keys() & now.keys() if before[name] != now[name]),
    }
    return ", ".join(
        f"{len(names)} {what} ({', '.join(names[:most])}{', ...' * (len(names) > most)})"
        for what, names in changes.items()
        if names
    )


def _difference(name: str, theirs: object, mine: object) -> str:
    if isinstance(theirs, dict) and isinstance(mine, dict):
        changed = [f"{k} was {theirs.get(k)!r}, is {mine.get(k)!r}" for k in mine if theirs.get(k) != mine.get(k)]
        return f"{name}: {'; '.join(changed)}"
    return f"{name} was {theirs!r}, is {mine!r}"
