"""What made a record: the package's commit and source, and for each part (sitting) of a run the machine it was on.

A run that was stopped and went on, perhaps elsewhere, has several parts. Records of format 1 do not know them: all of
such a run counts as made where it ended.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

import torch

from dnll_core.device import processor

PACKAGE = Path(__file__).parent
COMMIT = "DNLL_COMMIT"
PLACE = ("device", "processor", "torch", "precision", "threads", "commit")  # what makes two parts comparable
OF_A_PART = (*PLACE, "source_sha256", "iterations", "seconds")


def part(device: str, precision: str, threads: int | None, iterations: int | None, seconds: float | None) -> dict:
    """One part of a run that this process has carried out, as plain JSON values with the keys OF_A_PART.

    Args:
        device: as `Compute.describe` says it.
        threads: on a CPU; None elsewhere.
        iterations: in this part; 1 of a method without iterations. None, as `seconds`, of training that diverged.
    """
    here = {"device": device, "processor": processor(), "torch": torch.__version__, "precision": precision}
    made_by = {"threads": threads, "commit": commit(), "source_sha256": source_hash()}
    return here | made_by | {"iterations": iterations, "seconds": seconds}


def made(parts: list[dict]) -> dict:
    """What a record says of all its parts: {"parts", "device", "precision", "torch", "commit"}.

    Where the parts differ, all values in their order: "AMD EPYC, 1 thread, then NVIDIA H200".
    """
    said = {"parts": parts}
    for key in ("device", "precision", "torch", "commit"):
        values = list(dict.fromkeys(each[key] for each in parts))
        none = "no commit" if key == "commit" else f"unknown {key}"
        said[key] = values[0] if len(values) == 1 else ", then ".join(value or none for value in values)
    return said


def where_made(record: dict) -> list[dict]:
    """The parts of a record of any format; what one of format 1 does not tell is None."""
    if "parts" in record:
        return record["parts"]
    steps = record["history"][-1].get("step") if record.get("history") else 1
    return [{**dict.fromkeys(OF_A_PART), **{key: record.get(key) for key in OF_A_PART}, "iterations": steps}]


def elsewhere(mine: dict, theirs: dict) -> str:
    """How the places differ in which two records were made, in words; "" if they do not, as far as both tell."""
    told = [key for key in PLACE if all(_tells(record, key) for record in (mine, theirs))]
    places = [_distinct(tuple(each[key] for key in told) for each in where_made(record)) for record in (theirs, mine)]
    if set(places[0]) == set(places[1]):
        return ""
    return " and ".join(
        f"{whose} was made on " + ", then ".join(_said(told, place) for place in of_record)
        for whose, of_record in zip(("it", "this one"), places)
    )


def _tells(record: dict, key: str) -> bool:
    return "parts" in record or key in record


def _distinct(values: Iterable[tuple]) -> list[tuple]:
    return list(dict.fromkeys(values))


def _said(keys: list[str], values: tuple) -> str:
    return "(" + ", ".join(f"{key} {value}" for key, value in zip(keys, values)) + ")"


@functools.cache
def source_hash() -> str:
    """SHA-256 over the package's Python files, in the order of their paths."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        digest.update(path.relative_to(PACKAGE).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


@functools.cache
def commit() -> str | None:
    """The commit of the checkout that this package is, with "+" where the package differs from it.

    A copy that is installed into somebody's own project lies inside a repository too, but is no part of it. Without a
    checkout, the environment variable COMMIT may say of which commit the files are a copy; else it is None.

    Raises:
        ValueError: if that variable holds no commit.
    """

    def git(*words: str) -> str:
        return subprocess.run(("git", *words), cwd=PACKAGE, capture_output=True, text=True, check=True).stdout.strip()

    try:
        if git("rev-parse", "--show-prefix") == f"{PACKAGE.name}/":
            git("ls-files", "--error-unmatch", "--", "__init__.py")
            head = git("rev-parse", "--short=12", "HEAD")
            return head + ("+" if git("status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.CalledProcessError):
        pass
    given = os.environ.get(COMMIT, "")
    if given and not re.fullmatch("[0-9a-f]{7,40}", given):
        raise ValueError(f"{COMMIT}={given!r} is no commit; accepted: 7 to 40 hexadecimal digits.")
    return given[:12] or None
