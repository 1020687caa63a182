"""Data files of the package as types that check them: what does not fit is refused by file, table and field."""

from __future__ import annotations

import dataclasses
import json
import tomllib
import typing
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from dnll_core.common import shown
from dnll_core.fields import ConfigError, refusal

T = TypeVar("T")


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
