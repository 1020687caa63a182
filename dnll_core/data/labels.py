"""Labels in a table: a CSV with the columns `file` and `class`, as tools for labelling write it."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from dnll_core.common import as_on_disk, atomic_file, brief, shown, user_path
from dnll_core.data.entries import composed, folded
from dnll_core.data.errors import DataError, as_data_error, listed
from dnll_core.datafiles import read_whole

MOST_BYTES, MOST_ROWS, MOST_COLUMNS = 2**26, 10**6, 1000  # of one table: some 500 MB of memory
MOST_LOST = 1000  # files that are not there, after which no more are looked for
COLUMNS = {"file": ("file", "filename", "path", "image"), "class": ("class", "label")}


@dataclass(frozen=True)
class Labels:
    """Rows of tables with a class: (table, its line, file, class), as they stand there."""

    rows: tuple[tuple[Path, int, str, str], ...]

    @property
    def path(self) -> str:
        """Of the tables, in words."""
        return listed(list(dict.fromkeys(table for table, *_ in self.rows)))

    def classes(self) -> tuple[str, ...]:
        """The classes that it names, sorted.

        Raises:
            DataError: for two that differ in case, spaces or the coding of letters alone.
        """
        found: dict[str, tuple[str, str]] = {}
        for table, line, _, title in self.rows:
            where = f"{table}, line {line}"
            first, other = found.setdefault(folded(title), (where, title))
            if other != title:
                raise DataError(f"{where}: {shown(title)}, and {shown(other)} in {first}; which of the two?")
        return tuple(sorted(title for _, title in found.values()))

    def of_files(self, names: Collection[str], root: Path) -> dict[str, str]:
        """Name -> class, for the names (relative to `root`, see `composed`) that the table has.

        A file in it is relative to `root`, else to the table's own folder, or absolute.

        Raises:
            DataError: naming the lines of files that are not among the names, or that stand there twice.
        """
        found: dict[str, tuple[str, str]] = {}
        lost = []
        for table, line, file, title in self.rows:
            where = f"{table}, line {line}"
            name = _name_of(file, table, names, root)
            if name is None:
                lost.append(f"{brief(file)} ({where})")
                if len(lost) == MOST_LOST:
                    break
                continue
            before, other = found.setdefault(name, (where, title))
            if other != title:
                raise DataError(f"{file} is {shown(other)} in {before} and {shown(title)} in {where}")
        if lost:
            raise DataError(
                f"{self.path} names {'at least ' * (len(lost) == MOST_LOST)}{len(lost)} of {len(self.rows)} files that "
                f"are no images below {root}: "
                f"{listed(lost)}. A file is named relative to that folder."
            )
        return {name: title for name, (_, title) in found.items()}

    def among(self, names: Collection[str], root: Path) -> set[str]:
        """Those of the names, as of `of_files`, that rows are of; other rows are left alone."""
        return {_name_of(file, table, names, root) for table, _, file, _ in self.rows} - {None}


def _name_of(file: str, table: Path, names: Collection[str], root: Path) -> str | None:
    """Which of the names (relative to `root`) a file in a table is: relative to `root`, else to the table's folder."""
    places = [composed(os.path.join(base, file)) for base in (root, table.parent)]
    near = [Path(os.path.relpath(place, composed(str(root)))).as_posix() for place in places]
    return next((name for name in near if name in names), None)


def read_labels(paths: Sequence[Path]) -> Labels:
    """Tables of labels, as one."""
    return Labels(tuple(row for path in paths for row in _rows(path)))


def _rows(path: Path) -> list[tuple[Path, int, str, str]]:
    """A table of labels. Rows without a class are of images without a label. Commas, semicolons or tabs divide it.

    Raises:
        DataError: if it cannot be read as one, or no row has a class.
    """
    with as_data_error(path):
        data = read_whole(path, MOST_BYTES)
    head = data.partition(b"\n")[0]
    divider = max(",;\t", key=lambda sign: head.count(sign.encode()))
    if head.count(divider.encode()) >= MOST_COLUMNS:
        raise DataError(f"{path} has more than {MOST_COLUMNS} columns; keep file,class")
    lines = csv.reader(io.TextIOWrapper(io.BytesIO(data), "utf-8-sig", newline="\n"), delimiter=divider, strict=True)
    try:
        return _labelled(path, lines)
    except UnicodeDecodeError as error:
        told = f"{path} is not in UTF-8 ({error}); save it as 'CSV UTF-8'."
        raise DataError(f"{told} Files and classes whose names are not in UTF-8 need others first.") from None
    except csv.Error as error:
        raise DataError(f"{path}, up to line {lines.line_num}: {error}; is a quotation mark left open?") from None


def _labelled(path: Path, lines: Iterator[list[str]]) -> list[tuple[Path, int, str, str]]:
    header, places = [name.strip().lower() for name in next(lines, [])], {}
    for column, spellings in COLUMNS.items():
        found = [header.index(name) for name in spellings if name in header]
        if not found:
            told = brief(listed(header, 10)) or "none"
            raise DataError(f"{path} has the columns {told}, and no {column!r}: file,class")
        places[column] = found[0]
    rows = []
    for row in lines:
        line = lines.line_num
        cells = {column: row[place].strip() if place < len(row) else "" for column, place in places.items()}
        if cells["class"] and not cells["file"]:
            raise DataError(f"{path}, line {line}: {shown(cells['class'])} is of no file")
        if cells["class"]:
            rows.append((path, line, cells["file"].replace("\\", "/"), composed(cells["class"])))
        if len(rows) > MOST_ROWS:
            raise DataError(f"{path} has more than {MOST_ROWS:,} rows with a class; divide it into several tables")
    if not rows:
        raise DataError(f"{path} has no row with a class; fill in the column {header[places['class']]!r}")
    return rows


def write_table(answers: pd.DataFrame, path: str | Path, classes: Sequence[str | None] | None = None) -> Path:
    """Writes a CSV to fill in: file, class (empty, or as given), guess, probability, margin. Returns its path.

    Raises:
        DataError: if there is a file already, which may have been filled in.
    """
    path = user_path(path)
    if path.exists():
        raise DataError(f"{path} is there already, perhaps with labels in it; name another file")
    table = answers.rename(columns={"class": "guess"}).round({"probability": 4, "margin": 4})
    table.insert(0, "class", [title or "" for title in classes or [""] * len(table)])
    with atomic_file(path) as file:
        file.write(as_on_disk(table.to_csv(quoting=csv.QUOTE_MINIMAL)))
    return path
