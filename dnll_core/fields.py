"""Types of parameters that pydantic checks, with what it refuses as a `ConfigError` in our words.

@checked
@dataclass(config=RULES)  # of pydantic
class Example:
    epochs: Annotated[Whole, Field(ge=1, le=300)] = 100

Example(epochs="50")  # Example(epochs=50)
Example(epochs=0)  # ConfigError: epochs takes a whole number from 1 to 300, not 0.
"""

from __future__ import annotations

import contextlib
import functools
import math
import numbers
import typing
from collections.abc import Callable, Iterator
from typing import Annotated, TypeVar

import numpy as np
from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from dnll_core.common import shown, unknown

T = TypeVar("T")


class ConfigError(ValueError):
    """A parameter that does not exist, or a value that it does not take."""


# -- types -------------------------------------------------------------------------------------------------------------


def _text(read_text: Callable[[str], object]) -> BeforeValidator:
    return BeforeValidator(lambda value: read_text(value) if isinstance(value, str) else value)


def _real(value: object) -> float:
    with contextlib.suppress(TypeError, ValueError, OverflowError):
        if not isinstance(value, bool | np.bool_) and math.isfinite(number := float(value)):
            return number
    raise ValueError("it takes a finite number")


def _whole(value: object) -> int:
    if not (number := _real(value)).is_integer():
        raise ValueError("it takes a whole number")
    return int(number)


def _own(value: object) -> int | float:
    with contextlib.suppress(OverflowError):
        if isinstance(value, numbers.Real) and not isinstance(value, bool):
            return int(value) if isinstance(value, numbers.Integral) else float(value)
    raise ValueError


RULES = ConfigDict(strict=True, extra="forbid")  # what is not of a field's type is refused, but for what follows
# These also read text as papermill's command line sends it: "false", "3", "1e-3", "none".
_BOOL = BeforeValidator(lambda value: bool(value) if isinstance(value, np.bool_) else value)
Flag = Annotated[bool, _BOOL, _text(lambda text: {"true": True, "false": False}.get(text.lower(), text))]
Whole = Annotated[int, BeforeValidator(_whole)]
Real = Annotated[float, BeforeValidator(_real)]  # finite
OrNone = Annotated[T | None, _text(lambda text: None if text.lower() in ("none", "null") else text)]
Count = Annotated[Whole, Field(ge=1)]
Positive = Annotated[Real, Field(gt=0)]
NonNegative = Annotated[Real, Field(ge=0)]
Share = Annotated[Real, Field(ge=0, le=1)]
OWN = BeforeValidator(_own)  # makes a number of any library, for example NumPy's, Python's own; text is refused
# 3, NumPy's 3 or "3", not 3.0
Digits = Annotated[int, Field(ge=1), OWN, _text(lambda text: int(text) if text.isdecimal() else text)]


# -- refusals ----------------------------------------------------------------------------------------------------------

_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", type(None): "or None"}
_BOUNDS = {"ge": "from", "gt": "above", "le": "to", "lt": "and below", "min_length": "of", "max_length": "to"}


def _takes(hint: object) -> Iterator[str]:
    """What a type takes, in words: "a whole number", "from 1", "or None"."""
    if isinstance(hint, type):
        yield _KINDS.get(hint, hint.__name__)
    for bound in hint.metadata if isinstance(hint, FieldInfo) else ():
        yield from (f"{word} {getattr(bound, name)}" for name, word in _BOUNDS.items() if hasattr(bound, name))
    for part in typing.get_args(hint):
        yield from _takes(part)


def refusal(error: ValidationError, hints: dict[str, object], depth: int = 0) -> Exception:
    """What pydantic found first, in our words. hints: the types of all parameters, by name; depth: of their names."""
    first = error.errors(include_url=False)[0]
    kind, place, value = first["type"], [*first["loc"][depth:], 0][0], first["input"]
    if isinstance(told := first.get("ctx", {}).get("error"), ConfigError):
        return told
    if kind == "unexpected_keyword_argument":
        return ConfigError(unknown("field", place, hints))
    if kind in ("missing", "unexpected_positional_argument", "multiple_argument_values"):  # as Python refuses a call
        return TypeError(f"{first['msg']}: {place}")
    name = place if isinstance(place, str) else list(hints)[place]
    if kind == "literal_error":
        return ConfigError(unknown(name, value, typing.get_args(hints[name])))
    return ConfigError(f"{name} takes {' '.join(_takes(hints[name]))}, not {shown(value)}.")


def checked(cls: type[T]) -> type[T]:
    """A pydantic dataclass whose refusals are ConfigErrors, which name the field, what it got and what it takes."""
    made = cls.__init__

    @functools.wraps(made)
    def __init__(self, /, *values, **named):
        try:
            made(self, *values, **named)
        except ValidationError as error:
            raise refusal(error, typing.get_type_hints(cls, include_extras=True)) from None

    cls.__init__ = __init__
    return cls


def read(name: str, kind: object, value: object) -> object:
    """`value` as a parameter of that type takes it. Raises ConfigError, which names all three, if it does not."""
    try:
        return TypeAdapter(kind, config=RULES).validate_python(value)
    except ValidationError as error:
        raise refusal(error, {name: kind}) from None
