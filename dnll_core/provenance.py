"""What made a record: the package's commit and source, and for each sitting of a run the machine it was on.

A run that was stopped and went on, perhaps elsewhere, has several sittings. Records of format 1 do not know them: all
of such a run counts as made where it ended.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import subprocess
from pathlib import Path

import torch

from dnll_core.device import processor

PACKAGE = Path(__file__).parent
COMMIT = "DNLL_COMMIT"
# what makes two sittings comparable; the source, because a commit with "+" says little
PLACE = ("device", "processor", "torch", "precision", "threads", "commit", "source_sha256")
OF_A_SITTING = (*PLACE, "iterations", "seconds")


def sitting(device: str, precision: str, threads: int | None, iterations: int | None, seconds: float | None) -> dict:
    """One sitting of a run that this process has carried out, as plain JSON values with the keys OF_A_SITTING.

    Args:
        device: as `Compute.describe` says it.
        threads: on a CPU; None elsewhere.
        iterations: in this sitting; 1 of a method without iterations. None, as `seconds`, of training that diverged.
    """
    here = {"device": device, "processor": processor(), "torch": torch.__version__, "precision": precision}
    made_by = {"threads": threads, "commit": commit(), "source_sha256": source_hash()}
    return here | made_by | {"iterations": iterations, "seconds": seconds}


def made(sittings: list[dict]) -> dict:
    """What a record says of all its sittings: {"sittings", "device", "precision", "torch", "commit", "source_sha256"}.

    Where the sittings differ, each value once, in order: "AMD EPYC, 1 thread, then NVIDIA H200".
    """
    said = {"sittings": sittings}
    for key in ("device", "precision", "torch", "commit", "source_sha256"):
        values = list(dict.fromkeys(each[key] for each in sittings))
        none = "no commit" if key == "commit" else f"unknown {key}"
        said[key] = values[0] if len(values) == 1 else ", then ".join(value or none for value in values)
    return said


def where_made(record: dict) -> list[dict]:
    """The sittings of a record of any format; what one of format 1 does not tell is None."""
    if "sittings" in record:
        return record["sittings"]
    steps = record["history"][-1].get("step") if record.get("history") else 1
    return [{**dict.fromkeys(OF_A_SITTING), **{key: record.get(key) for key in OF_A_SITTING}, "iterations": steps}]


def difference(mine: dict, theirs: dict) -> str:
    """How two records of one name differ in their images or in where they were made, in words; "" if in neither."""
    images = [record.get("images", record.get("labels_sha256")) for record in (theirs, mine)]
    if None not in images and type(images[0]) is type(images[1]) and images[0] != images[1]:
        return "it is of other images than this one: {}, and {}".format(*map(_images_in_words, images))
    for key in PLACE:
        there, here = (_told(record, key) for record in (theirs, mine))
        if there is not None and here is not None and set(there) != set(here):
            return f"its {key} is {', then '.join(map(str, there))}, and this one's {', then '.join(map(str, here))}"
    return ""


def _told(record: dict, key: str) -> list | None:
    """The distinct values of a key in a record's sittings, in order; None if the record says nothing of it."""
    if "sittings" not in record and key not in record:
        return None
    return list(dict.fromkeys(sitting[key] for sitting in where_made(record)))


def _images_in_words(images: dict | str) -> str:
    return f"{images['summary']}, SHA-256 {images['digest'][:12]}" if isinstance(images, dict) else images[:60]


@functools.cache
def source_hash() -> str:
    """SHA-256 over the package's files, in the order of their paths, as they are when it is first asked for.

    Of its Python files and its data; a version without files of data has the hash of its Python files.
    """
    digest = hashlib.sha256()
    for path in sorted(p for p in PACKAGE.rglob("*") if p.suffix in (".py", ".toml", ".csv")):
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
