"""What made a record: the package's commit and source, and for each sitting of a run the machine it was on.

A run that was stopped and went on, perhaps elsewhere, has several sittings. Records of format 1 do not know them: all
of such a run counts as made where it ended.
"""

from __future__ import annotations

import ast
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
WHOLE = "the package"  # what "source_sha256" is of in records that do not say "source_of"
DATA = ("*.toml", "*.csv")
OF_A_SITTING = (*PLACE, "iterations", "seconds")


def sitting(
    device: str,
    precision: str,
    threads: int | None,
    iterations: int | None,
    seconds: float | None,
    source_of: str = "run",
) -> dict:
    """One sitting of a run that this process has carried out: JSON values with the keys OF_A_SITTING and "source_of".

    Args:
        device: as `Compute.describe` says it.
        threads: on a CPU; None elsewhere.
        iterations: in this sitting; 1 of a method without iterations. None, as `seconds`, of training that diverged.
        source_of: the module that carried it out, see `source_hash`.
    """
    here = {"device": device, "processor": processor(), "torch": torch.__version__, "precision": precision}
    made_by = {"threads": threads, "commit": commit(), "source_sha256": source_hash(source_of), "source_of": source_of}
    return here | made_by | {"iterations": iterations, "seconds": seconds}


def made(sittings: list[dict]) -> dict:
    """What a record says of all its sittings: "sittings", and of these "device" and the other keys below.

    Where the sittings differ, each value once, in order: "AMD EPYC, 1 thread, then NVIDIA H200".
    """
    said = {"sittings": sittings}
    for key in ("device", "precision", "torch", "commit", "source_sha256", "source_of"):
        values = list(dict.fromkeys(({"source_of": WHOLE} | each)[key] for each in sittings))
        if values == [WHOLE]:
            continue  # all began before records said it
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
def source_hash(of: str | None = None) -> str:
    """SHA-256 over files of the package, in the order of their paths, as they are when it is first asked for.

    of: a module, "run", "methods.classical" or "bench.measure": the files that decide what it computes. None: all
    Python files, which is what records have that do not say "source_of".
    """
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py") if of is None else closure(of)):
        digest.update(path.relative_to(PACKAGE).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def closure(of: str) -> set[Path]:
    """The files that decide what a module computes: its own, those of all modules that it imports, the packages that
    these are in, and the data files (DATA) that lie beside them. The face of the package itself decides nothing.
    """
    paths = {".".join(path.relative_to(PACKAGE).with_suffix("").parts): path for path in PACKAGE.rglob("*.py")}
    paths = {name.removesuffix(".__init__"): path for name, path in paths.items()}
    found, left = {}, [of]
    while left:
        name = left.pop()
        if name in paths and name not in found:
            found[name] = paths[name]
            left += [name.rpartition(".")[0], *_imported(paths[name].read_bytes())]
    folders = {path.parent for path in found.values()}
    beside = {path for folder in folders for kind in DATA for path in folder.glob(kind) if path.is_file()}
    return {*found.values()} | beside


@functools.cache
def _imported(source: bytes) -> list[str]:
    """What may be a module of the package among the names that a file imports, wherever in the file."""
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom) and node.module]
    within = [node for node in nodes if f"{node.module}.".startswith(f"{PACKAGE.name}.")]
    names = [f"{node.module}{end}" for node in within for end in ("", *(f".{alias.name}" for alias in node.names))]
    return [name.partition(".")[2] for name in names]


@functools.cache
def commit() -> str | None:
    """The commit of the checkout that this package is, with "+" where the package differs from it.

    A copy that is installed into somebody's own project lies inside a repository too, but is no part of it. Without a
    checkout, the environment variable COMMIT may say of which commit the files are a copy; else it is None.

    Raises:
        ValueError: if that variable holds no commit.
    """

    def git(*words: str) -> str:
        return os.fsdecode(subprocess.run(("git", *words), cwd=PACKAGE, capture_output=True, check=True).stdout).strip()

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
