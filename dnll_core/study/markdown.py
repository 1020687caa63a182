"""Groups of records and printed numbers as Markdown, for notebooks and the README."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from dnll_core import results
from dnll_core.common import user_path
from dnll_core.paper.tables import NUMBERS, OURS
from dnll_core.study import scorecard
from dnll_core.study.laptop import every_label
from dnll_core.study.records import Records
from dnll_core.study.statistics import from_to, lead, paired, percent, provenance_of, with_minus
from dnll_core.study.tables import Cell, cells, line_names, profiles_of

Groups = Mapping[Cell, Sequence[dict]]
WHICH = {"final": "last epoch (%)", "best": "best on test (%)", "ensemble": "ensemble, last epoch (%)"}


# -- text and tables in Markdown ---------------------------------------------------------------------------------------


def Markdown(text: str):
    """Text as a notebook shows it, with true minus signs."""
    from IPython import display  # there is a notebook; commands need none

    return display.Markdown(with_minus(text))


def markdown(table: pd.DataFrame | Sequence[Mapping[str, object]]) -> str:
    """A table in Markdown: numbers with two decimals, without any in a column of whole ones; NaN and None as "–".

    Args:
        table: a frame, whose index is the first column, or its lines, at least one, with the same keys.
    """
    if isinstance(table, pd.DataFrame):
        head = [table.index.name or "", *map(str, table.columns)]
        columns = [[*map(str, table.index)], *(list(column) for _, column in table.items())]
    else:
        head, columns = list(table[0]), [[line[name] for line in table] for name in table[0]]
    lines = [f"| {' | '.join(row)} |" for row in zip(*map(_shown, columns))]
    return "\n".join([f"| {' | '.join(head)} |", "|---" * len(head) + "|", *lines])


def with_provenance(table: pd.DataFrame | Sequence[Mapping[str, object]], records: Iterable[dict], *notes: str) -> str:
    """`markdown`, then notes, then where the numbers come from, in small print."""
    return "\n\n".join([markdown(table), *notes, f"<sub>{provenance_of(list(records))}</sub>"])


def seconds_of(records: Sequence[dict], decimals: int = 1) -> str:
    """Mean seconds of a run, "–" without one."""
    return f"{statistics.fmean(r['seconds'] for r in records):.{decimals}f}" if records else "–"


def _shown(column: Sequence[object]) -> list[str]:
    absent = [value is None or value is pd.NA or value != value for value in column]
    numbers = [value for value, is_absent in zip(column, absent) if isinstance(value, float) and not is_absent]
    decimals = 0 if all(map(float.is_integer, numbers)) else 2
    texts = (f"{value:.{decimals}f}" if isinstance(value, float) else str(value) for value in column)
    return ["–" if is_absent else with_minus(text) for text, is_absent in zip(texts, absent)]


def results_table(groups: Groups) -> str:
    """Runs that were just made, a line for each cell: both protocols, the ensemble, and the paper's number if it fits.

    Accuracies in percent, mean ± sd over the seeds; see `results.accuracies` for the protocols.
    """
    lines = []
    for cell, group in sorted(groups.items(), key=lambda item: in_order(item[0])):
        line = {"cell": cell.name, "n": len(group)}
        line |= {name: percent(results.accuracies(group, which=which)) for which, name in WHICH.items()}
        printed = "–" if cell.printed is None else f"{cell.printed:.2f}"
        lines.append(line | {"seconds a run": seconds_of(group), "paper (%)": printed})
    frame = pd.DataFrame(lines).set_index("cell")
    if all(cell.printed is None for cell in groups):
        frame = frame.drop(columns="paper (%)")
    return with_provenance(frame, itertools.chain(*groups.values()))


def in_order(cell: Cell) -> tuple:
    """A key to sort the cells of a table by: labels; in Table 5 then m, in Table 6 then self before mutual learning."""
    e, ours = cell.experiment, cell.table in (5, 6)
    return (cell.labels or 0, ours and e.m, ours and e.teaching != "self", ours and e.selection)


def by_labels(groups: Groups, which: str = "final", beside_paper: bool = False) -> list[dict[str, str]]:
    """A line for each method and reading, a column for each number of labels, n, and passes if they differ, or seconds.

    Args:
        groups: of one table and profile.
        which: see `results.accuracies`.
        beside_paper: below each method that has numbers in the paper stand these.

    Raises:
        ValueError: without groups.
    """
    rows, columns = _rows_and_columns(groups)
    what, lines = WHICH[which], []
    long = len({cell.experiment.epochs for cell in groups}) > 1
    for name, of in rows.items():
        runs = {n: groups[cell] for n, cell in of.items()}
        shown = {column: percent(results.accuracies(runs.get(n, []), which=which)) for column, n in columns.items()}
        seconds = seconds_of([*itertools.chain(*runs.values())], 0)
        passes = from_to(cell.experiment.epochs for cell in of.values())
        took = {"passes": passes} if long else {"seconds a run": seconds}
        beside = {"n": from_to(map(len, runs.values())), **took} if which == "final" else {}
        lines.append({what: name, **shown, **beside})
        printed = {n: cell.printed for n, cell in of.items() if cell.printed is not None}
        if printed and beside_paper:
            theirs = {column: f"{printed[n]:.2f}" if n in printed else "–" for column, n in columns.items()}
            lines.append({what: f"*{name}, the paper*", **theirs, **dict.fromkeys(beside, "–")})
    return lines


def ensembles(groups: Groups) -> list[dict[str, str]]:
    """The lines of `by_labels` for the mean of both submodels' probabilities, of methods that have two."""
    pairs = {cell: of for cell, of in groups.items() if any(len(r["final"]["test"]["submodels"]) > 1 for r in of)}
    return by_labels(pairs, "ensemble") if pairs else []


def leads_by_labels(groups: Groups) -> list[dict[str, str]]:
    """How far DNLL is ahead of each other line of `by_labels`, seed by seed.

    A line is compared with DNLL in the same reading; where the table has none like it, with the one that learns from
    such views, and that is said; where it has none either, with its first. Whether that is recorded makes no
    difference. Lines that share two seeds with it in no column are left out; of fewer than three each is shown.

    Raises:
        ValueError: without groups.
    """
    rows, columns = _rows_and_columns(groups)
    names, lines = _names(groups), []
    every = [cell for cell in names if cell.method == "dnll"]
    for name, of in rows.items():
        beside = {n: own for n, cell in of.items() if (own := _to_compare(cell, every)) is not None}
        found = {n: [*paired(groups.get(own, []), groups[of[n]]).values()] for n, own in beside.items()}
        if next(iter(of.values())).method != "dnll" and any(len(points) > 1 for points in found.values()):
            ahead = {column: lead(found.get(n, []), 2) for column, n in columns.items()}
            n, own = next(iter(beside.items()))
            said = own.reading not in (every[0].reading, of[n].reading)
            line = f"{names[own]} over {name}" if said else f"over {name}"
            lines.append({"DNLL's lead, seed by seed (points, ± half a 95 % interval)": line} | ahead)
    return lines


def _to_compare(cell: Cell, every: Sequence[Cell]) -> Cell | None:
    """Of DNLL's cells the one with as many labels and the same reading, else such views, else the first."""

    def how_unlike(own: Cell) -> tuple[bool, bool]:
        return own.reading != cell.reading, _learnt_from(own) != _learnt_from(cell)

    return min((own for own in every if own.labels == cell.labels), key=how_unlike, default=None)


def _learnt_from(cell: Cell) -> str:
    """The views that a method learns from: of unlabelled images, if it learns from them."""
    return cell.experiment.weak if cell.method == "supervised" else cell.experiment.strong


def _rows_and_columns(groups: Groups) -> tuple[dict[str, dict[int | None, Cell]], dict[str, int | None]]:
    """What a line of a table is called -> number of labels -> its cell; what a column is called -> number of labels."""
    rows: dict[str, dict[int | None, Cell]] = {}
    for cell, name in _names(groups).items():
        if cell in groups:
            rows.setdefault(name, {})[cell.labels] = cell
    return rows, {f"{cell.labels or 'all'} labels": cell.labels for cell in sorted(groups, key=in_order)}


def _names(groups: Groups) -> dict[Cell, str]:
    """What the line of each cell of the groups' table is called, recorded or not, in the order of the lines.

    Raises:
        ValueError: without groups.
    """
    if not groups:
        raise ValueError("a table takes at least one cell.")
    first = next(iter(groups))
    return line_names(sorted(cells(first.table, first.profile, first.experiment.dataset), key=in_order))


def recorded_groups(table: int, folder: str | Path | None = None) -> dict[str, dict[Cell, list[dict]]]:
    """Profile -> cell -> its records below `folder`, for the profiles of a table that have any, the longest first.

    folder: None for the one of the campaign's tables, below `results.root()`.

    Raises:
        RecordError: naming a file that cannot be read.
    """
    records, found = Records(folder or results.root() / "tables"), {}
    for profile in profiles_of(table)[:-1]:
        groups = {cell: list(records.of(cell.experiment).values()) for cell in cells(table, profile)}
        if any(groups.values()):
            found[profile] = groups
    return found


def recorded_table(table: int, folder: str | Path | None = None) -> str:
    """The records of the longer profiles beside the paper's numbers; below each, what is not recorded, and why.

    Tables 1-4 have a line for each method and a column for each number of labels, once for the last epoch and once for
    the best one; Tables 5 and 6 a line for each cell.
    """
    parts, recorded = [], recorded_groups(table, folder)
    if not (looked_for := user_path(folder or results.root() / "tables")).is_dir():
        parts.append(results.none_of(f"Table {table}", looked_for))
    for profile in profiles_of(table)[:-1]:
        groups = recorded.get(profile, {})
        found = {cell: groups[cell] for cell in sorted(groups, key=in_order) if groups[cell]}
        left = [cell for cell in cells(table, profile) if cell not in found]
        because = "; ".join(sorted({scorecard.missing_because(cell) for cell in left}))
        because += f". `python -m dnll_core.campaign --tables {table} --profile {profile}`"
        if not found:
            parts.append(f"**Profile {profile}**: not recorded: {because}")
            continue
        parts.append(f"**Profile {profile}**")
        if table in (5, 6):
            frame = scorecard.compared(found, folder)
            frame["seconds a run"] = frame["seconds a run"].map("{:.1f}".format)
            parts.append(markdown(frame.drop(columns=["device", "why not"]).dropna(axis="columns", how="all")))
        else:
            parts += [markdown(by_labels(found, beside_paper=True)), markdown(by_labels(found, "best"))]
            parts += [markdown(lines) for lines in (ensembles(found), leads_by_labels(found)) if lines]
        if left:
            others = sum(cell.printed is None for cell in left)
            what = [f"{n} {of}" for n, of in ((len(left) - others, "of the paper's numbers"), (others, "others")) if n]
            parts.append(f"Not recorded ({', '.join(what)}): {because}")
        parts.append(f"<sub>{provenance_of([*itertools.chain(*found.values())])}</sub>")
    return "\n\n".join(parts)


def laptop_groups(table: int, folder: str | Path | None = None) -> dict[Cell, list[dict]]:
    """The cells of Table 1 or 4 at profile "laptop", each with its records; without any where there are none."""
    return recorded_groups(table, folder).get("laptop") or {cell: [] for cell in cells(table, "laptop")}


def laptop_table(table: int, folder: str | Path | None = None) -> str:
    """A line for each method, a column for each number of labels, then DNLL's leads."""
    groups = laptop_groups(table, folder)
    if not any(groups.values()):
        return "Not recorded yet."
    notes = [markdown(lines) for lines in (leads_by_labels(groups), ensembles(groups)) if lines]
    own_folder = results.root() / "every-label"
    every = [*Records(own_folder).of(every_label()).values()] if table == 1 and folder is None else []
    if every:
        known = percent(results.accuracies(every))
        notes.append(
            f"Supervised-only with {every_label().labels:,} labels, all but those of the validation images, in as many "
            f"passes and the settings that were chosen for 1000: {known} % (n = {len(every)})."
        )
    return with_provenance(by_labels(groups), itertools.chain(*groups.values(), every), *notes)


def printed_table(table: int) -> str:
    """Table 1, 2, 3 or 4 as the paper prints it, in Markdown; the best of each column in bold."""
    printed = _printed(table)
    shown = printed.map("{:.2f}".format).where(printed != printed.max(), printed.map("**{:.2f}**".format))
    shown = shown.where(printed.notna())
    return markdown(shown.rename(columns="{} labels".format).rename_axis(f"the paper's Table {table}"))


def standing(table: int, labels: int) -> tuple[int, int, str, float]:
    """Where DNLL stands in a column of Table 1, 2, 3 or 4.

    Returns:
        Its rank, of how many methods with a number, the best of the others, and DNLL's lead on it in points.
    """
    column = _printed(table)[labels].dropna()
    others = column.drop(OURS)
    return (
        1 + int((others > column[OURS]).sum()),
        len(column),
        others.idxmax(),
        round(float(column[OURS] - others.max()), 2),
    )


def _printed(table: int) -> pd.DataFrame:
    """(methods, labels) of a table as the paper prints it, NaN for its "-"."""
    rows: dict[str, dict[int, float | None]] = {}
    for key, value in NUMBERS.items():
        if key.table == table:
            rows.setdefault(key.method, {})[key.labels] = value
    return pd.DataFrame(rows).T.astype(float)
