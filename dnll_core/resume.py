"""Whether a run may go on from a checkpoint, and what it says of the sittings before."""

from __future__ import annotations

from pathlib import Path

from dnll_core.checkpoint import CheckpointError
from dnll_core.provenance import OF_A_SITTING


def check_same_run(folder: str | Path, theirs: dict, mine: dict) -> None:
    """Lets the run `mine` continue the checkpoint in `folder`, whose info is `theirs`, or raises an error.

    Args:
        mine: "experiment" (its fields), "seed", "images" (a digest) and "files" (of a folder, name -> digest), "split"
            (a hash) and "device" (its kind). What theirs lacks, as one of an earlier version may, is not compared.

    Raises:
        CheckpointError: with the way out.
    """
    for name in ("experiment", "seed", "images", "split", "device"):
        one, other = theirs.get(name, mine[name]), mine[name]
        if name == "experiment" and "images" in theirs:  # else only its place tells which folder it was
            one, other = _without_places(one), _without_places(other)
        if one == other:
            continue
        if name == "images":
            changes = _changed_files(theirs.get("files", {}), mine["files"]) or f"their SHA-256 was {one}, is {other}"
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


def _without_places(fields: dict) -> dict:
    """An experiment's fields without the places of folders: what is in them is compared by its digest."""
    places = {name: str(fields.get(name)).partition(":")[0] for name in ("dataset", "source")}
    return fields | places


def _changed_files(before: dict[str, str], now: dict[str, str], most: int = 3) -> str:
    """Which files came, went or changed, by number and the first names; "" if none did."""
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


def sittings_of(info: dict) -> list[dict]:
    """The sittings that a checkpoint knows; in one of an earlier version all of the run is one."""
    if "sittings" in info:
        return info["sittings"]
    sources = [*info.get("earlier_sources", []), *([info["source"]] if "source" in info else [])]
    sources = ", then ".join(sources)
    told = {"source_sha256": sources, "device": "unknown device", "torch": "unknown torch", "iterations": info["step"]}
    same = {name: info.get(name) for name in ("precision", "threads", "seconds")}
    return [dict.fromkeys(OF_A_SITTING) | told | same]
