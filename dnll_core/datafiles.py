"""Data files: those of the package, as types that check them, and those that anybody may have made, within bounds."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import stat
import tomllib
import typing
from pathlib import Path
from typing import BinaryIO, TypeVar

from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from dnll_core.common import shown
from dnll_core.fields import ConfigError, refusal

T = TypeVar("T")
# Bytes of a JSON text, and lists and objects in it: less than 1 GB of memory, and a history of 200,000 epochs.
MOST_JSON, MOST_PARTS = 3 * 2**24, 2 * 10**6


def read_toml(path: Path, kind: type[T]) -> T:
    """A TOML file as `kind`: a type with `RULES`, such as `Example` of `fields`, or a dict of them by tables' names.

    Raises ConfigError if it does not fit; it names file, table and field, what is there and what is accepted.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        content = json.dumps(content, default=str)  # only from JSON a list makes a tuple
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from None
    try:
        return TypeAdapter(kind).validate_json(content)
    except ValidationError as error:
        first, of, hints, depth = error.errors(include_url=False)[0], kind, {}, 0
        for i, part in enumerate(first["loc"]):
            if dataclasses.is_dataclass(of):
                hints, depth = typing.get_type_hints(of, include_extras=True), i
            of = typing.get_args(of)[1] if typing.get_origin(of) is dict else hints.get(part)
        place = [*map(str, first["loc"])]
        said = first["msg"].removeprefix("Value error, ")
        refused = f"{'.'.join(place[depth:])}: {said}, not {shown(first['input'])}."  # inside a field, or no table
        if hints and len(place) < depth + 2:
            refused = refusal(error, hints, depth)
        where = f"in [{'.'.join(place[:depth])}] " if depth else ""
        raise ConfigError(f"{path}: {where}{refused}") from None


def read_whole(path: str | os.PathLike, most: int = MOST_JSON) -> bytes:
    """The content of a file that anybody may have made: a pipe would keep its reader waiting, /dev/zero has no end.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is no file, or has more than `most` bytes.
    """
    seen = os.stat(path)
    if not stat.S_ISREG(seen.st_mode) and not stat.S_ISDIR(seen.st_mode):  # of a folder the system says so itself
        raise ValueError("it is no file")
    if seen.st_size > most:
        raise ValueError(f"it has {seen.st_size / 1e6:,.0f} MB, and {most / 1e6:,.0f} MB at most are read")
    with open(path, "rb") as file:
        return file.read(seen.st_size)


def from_json(text: str | bytes) -> object:
    """`json.loads`, of a text that anybody may have made.

    Raises:
        ValueError: if it is not JSON, is nested too deep, or has more than MOST_PARTS lists and objects.
    """
    marks = ("[", "{") if isinstance(text, str) else (b"[", b"{")
    if sum(map(text.count, marks)) > MOST_PARTS:
        raise ValueError(f"it has more than {MOST_PARTS:,} lists and objects")
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("its values are nested too deep") from None


def metadata_of(file: BinaryIO) -> dict[str, str]:
    """What a safetensors file that anybody may have made says beside its tensors. Reads as far as these begin.

    Raises:
        ValueError: if it has no such header, or one with more tensors than any network has.
    """
    length = int.from_bytes(file.read(8), "little")
    if length > MOST_JSON:
        raise ValueError(f"it claims a header of {length:,} bytes")
    header = from_json(file.read(length))
    told = header.get("__metadata__") if isinstance(header, dict) else None
    return told if isinstance(told, dict) and all(isinstance(value, str) for value in told.values()) else {}


def tensors_of(data: bytes) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors by name, on the CPU, and the metadata, of a safetensors file that anybody may have made.

    Raises:
        ValueError: if it is none.
    """
    told = metadata_of(io.BytesIO(data))
    try:
        return load(data), told
    except SafetensorError as error:
        raise ValueError(error) from None
