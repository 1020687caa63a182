"""What the paper prints, as data: its seven tables and the settings it states.

    accuracy(table=2, method="DNLL (Ours)", labels=4000)                  # 94.29, percent
    accuracy(table=5, method="DNLL (Ours)", labels=4000, selection="epm", m=3)
    NUMBERS[Key(1, "cifar10", "cnn13", "CCN", 1000)]                      # 87.95

Xu, Xiao, Hao, Dong, Qiu, Peng: Semi-Supervised Learning with Pseudo-Negative Labels for Image Classification
(arXiv 2301.03976; Knowledge-Based Systems 2023). `misprints` lists where it errs, `quotes` where other papers have
other numbers than it quotes. These are the paper's numbers, its rivals' included, and never ours.
All are accuracies on the test set in percent, means of three runs without a deviation (section 4.2), but Table 7's.

To compare with the paper: `tables/table1.csv` to `table7.csv` are its tables as printed, `tables/tables.toml` says what
their cells stand for, and `stated.toml` holds the settings.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import field
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic.dataclasses import dataclass

from dnll_core.common import unknown
from dnll_core.datafiles import read_toml
from dnll_core.fields import RULES, ConfigError

FOLDER = Path(__file__).parent
OURS = "DNLL (Ours)"


class Key(NamedTuple):
    """One cell of Tables 1-6. selection ("ep" or "epm") and m are None where the table does not say."""

    table: int
    dataset: str
    network: str
    method: str
    labels: int
    selection: str | None = None
    m: int | None = None


Fields = dict[Literal["dataset", "network", "method", "labels", "selection", "m", "time"], int | str]


@dataclass(frozen=True, config=RULES)
class Table:
    """What the cells of a printed table stand for: fields that all share, that a column gives, and that a row gives."""

    columns: dict[str, Fields]
    rows: dict[str, Fields] = field(default_factory=dict)  # a row that is not here is called after its method
    every: Fields = field(default_factory=dict)


@dataclass(frozen=True, config=RULES)
class Setting:
    section: str
    value: int | float | str | tuple[int, ...] | dict[str, int | str]


def cells(path: Path, table: Table) -> Iterator[tuple[Fields, bool, float | None]]:
    """The cells of a printed table, row by row: the fields, whether a dagger marks the row, and the number or None.

    Raises:
        ConfigError: naming file, row and column, what is there and what is accepted.
    """
    try:
        with open(path, encoding="utf-8", newline="") as file:
            [_corner, *columns], *rows = [line for line in csv.reader(file) if line] or [[""]]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path} is not CSV: {error}; accepted: text in UTF-8.") from None
    if columns != list(table.columns):
        raise ConfigError(f"{path}: its columns are {columns}; accepted: {[*table.columns]}.")
    seen = set()
    for printed, *texts in rows:
        name = printed.removesuffix("†")
        if name in seen:
            raise ConfigError(f"{path}: row {name!r} is there twice; accepted: once.")
        seen.add(name)
        if len(texts) != len(columns):
            raise ConfigError(f"{path}: row {name!r} has {len(texts)} numbers; accepted: {len(columns)}.")
        for column, text in zip(columns, texts):
            if text != "-" and not (re.fullmatch(r"\d+(\.\d+)?", text) and 0 <= float(text) <= 100):
                raise ConfigError(f"{path}: row {name!r}, column {column!r} is {text!r}; accepted: 0 to 100, or '-'.")
            fields = table.every | table.columns[column] | table.rows.get(name, {"method": name})
            yield fields, printed != name, None if text == "-" else float(text)
    if missing := table.rows.keys() - seen:
        raise ConfigError(f"{path}: there is no row {min(missing)!r}; its rows are {sorted(seen)}.")


_TABLES = {
    int(n.removeprefix("table")): t for n, t in read_toml(FOLDER / "tables" / "tables.toml", dict[str, Table]).items()
}
_CELLS = [(n, *cell) for n, table in _TABLES.items() for cell in cells(FOLDER / "tables" / f"table{n}.csv", table)]

NUMBERS: dict[Key, float | None] = {Key(n, **fields): value for n, fields, _dagger, value in _CELLS if n < 7}

LABELS = {n: tuple(column["labels"] for column in _TABLES[n].columns.values()) for n in (1, 2, 3, 4)}

DAGGERS = frozenset((n, fields["method"]) for n, fields, dagger, _value in _CELLS if dagger)
"""(table, method) of the rows that the paper copies from other papers."""

SECONDS: dict[tuple[str, str], float] = {(f["time"], f["method"]): value for n, f, _dagger, value in _CELLS if n == 7}
"""Table 7, seconds an iteration: ("train" or "inference", method) -> number."""

SETTINGS: dict[str, tuple[object, str]] = {
    name: (stated.value, stated.section)
    for name, stated in read_toml(FOLDER / "stated.toml", dict[str, Setting]).items()
}
"""name -> (value, section): what the paper states."""


def accuracy(table: int, method: str, labels: int, selection: str | None = None, m: int | None = None) -> float | None:
    """The accuracy in percent that Table 1-6 prints, None for its "-".

    Raises:
        KeyError: if the table has no such cell; the message names the first argument that does not fit.
    """
    cells = list(NUMBERS)
    wanted = {"table": table, "method": method, "labels": labels, "selection": selection, "m": m}
    for name, value in wanted.items():
        accepted = sorted({getattr(key, name) for key in cells}, key=str)
        cells = [key for key in cells if getattr(key, name) == value]
        if not cells:
            where = "Table 7 is SECONDS" if name == "table" else f"in Table {table}"
            raise KeyError(unknown(name, value, map(str, accepted)) + f" ({where})")
    return NUMBERS[cells[0]]
