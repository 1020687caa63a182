"""Groups of records and printed numbers as Markdown, for notebooks and the README."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from dnll_core import results
from dnll_core.common import opened
from dnll_core.paper.tables import LABELS, NUMBERS, OURS
from dnll_core.study import scorecard
from dnll_core.study.records import Records
from dnll_core.study.searches import chosen_changes
from dnll_core.study.settings import LAPTOP_FURTHER, NOT_SEARCHED
from dnll_core.study.statistics import percent, provenance_of
from dnll_core.study.tables import Cell, cells, profiles_of

Groups = Mapping[Cell, Sequence[dict]]


# -- tables in Markdown ------------------------------------------------------------------------------------------------


def markdown(frame: pd.DataFrame) -> str:
    """A frame with its index as a table in Markdown; numbers with two decimals, NaN and None as "–"."""
    head = [frame.index.name or "", *map(str, frame.columns)]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name, row in zip(frame.index, frame.itertuples(index=False)):
        lines.append(f"| {' | '.join([str(name), *map(_shown, row)])} |")
    return "\n".join(lines)


def _shown(value: object) -> str:
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return "–"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def results_table(groups: Groups) -> str:
    """Runs that were just made, a line for each cell: both protocols, the ensemble, and the paper's number if it fits.

    Accuracies in percent, mean ± sd over the seeds; see `results.accuracies` for the protocols.
    """
    lines = []
    for cell, group in groups.items():
        line = {"cell": cell.shown, "n": len(group)}
        for name, which in (("last epoch", "final"), ("best on test", "best"), ("ensemble, last epoch", "ensemble")):
            line[f"{name} (%)"] = percent(results.accuracies(group, which=which)) if group else "–"
        line["seconds a run"] = f"{statistics.fmean(r['seconds'] for r in group):.1f}" if group else "–"
        lines.append(line | {"paper (%)": cell.printed})
    frame = pd.DataFrame(lines).set_index("cell").astype({"paper (%)": float})
    if frame["paper (%)"].isna().all():
        frame = frame.drop(columns="paper (%)")
    everything = [record for group in groups.values() for record in group]
    return f"{markdown(frame)}\n\n<sub>{provenance_of(everything)}</sub>"


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
    """The records of the longer profiles beside the paper's numbers, and what is not recorded, with the reason.

    A cell stands there if it has a record, or a number of the paper; the others are counted below. Of the profiles
    without any record, the paper's stands there as a table if no other does.
    """
    parts, recorded, longer = [], recorded_groups(table, folder), profiles_of(table)[:-1]
    if not (looked_for := Path(folder or results.root() / "tables")).is_dir():
        parts.append(results.none_of(f"Table {table}", looked_for))
    for profile in longer:
        of_profile = sorted(cells(table, profile), key=lambda cell: cell.labels or 0)  # stable: then by priority
        reasons = {scorecard.missing_because(cell) for cell in of_profile if not recorded.get(profile, {}).get(cell)}
        because = f"{'; '.join(sorted(reasons))}. `python -m dnll_core.campaign --tables {table} --profile {profile}`"
        if profile not in recorded and (recorded or profile != longer[0]):
            parts.append(f"**Profile {profile}**: not recorded: {because}")
            continue
        frame = scorecard.compared(of_profile, folder).drop(columns="why not")
        frame = frame.rename(index={cell.name: cell.shown for cell in of_profile})
        shown = frame[(frame["n"] > 0) | frame["paper (%)"].notna()]
        left = len(frame) - len(shown)
        if not recorded:  # columns of dashes
            shown = shown[["n", "last epoch (%)", "paper (%)"]]
        parts.append(f"**Profile {profile}**\n\n{markdown(shown)}")
        if reasons:
            what = ["where it says so above"] * bool((shown["n"] == 0).any())
            what += [f"{left} cells without a number in the paper"] * bool(left)
            parts.append(f"Not recorded ({', and '.join(what)}): {because}")
        group = [record for of_cell in recorded.get(profile, {}).values() for record in of_cell]
        if group:
            parts.append(f"<sub>{provenance_of(group)}</sub>")
    return "\n\n".join(parts)


def unsearched_note() -> str:
    """What to say below a table with cells that are NOT_SEARCHED: what they ran without, and what that may mean."""
    [chosen] = {chosen_changes(method)["weight_decay"] for method in LAPTOP_FURTHER}
    trials = opened((results.root() / "search" / "laptop-start.json").read_bytes())["trials"]
    without, with_it = (
        next(trial["mean"] for trial in trials if trial["changes"] == changes)
        for changes in ({}, {"weight_decay": chosen})
    )
    return (
        f"Methods {NOT_SEARCHED} ran without the weight decay of {chosen:g} that their searches on the digits chose; "
        f"in a search on MNIST it cost DNLL {100 * (without - with_it):.1f} points of validation accuracy, so what it "
        "would do to them is not known."
    )


def printed_table(table: int) -> str:
    """Table 1, 2, 3 or 4 as the paper prints it, in Markdown; the best of each column in bold."""
    rows: dict[str, dict[int, float | None]] = {}
    for key, value in NUMBERS.items():
        if key.table == table:
            rows.setdefault(key.method, {})[key.labels] = value
    best = {labels: max(row[labels] or 0 for row in rows.values()) for labels in LABELS[table]}
    lines = [f"| the paper's Table {table} | {' | '.join(f'{n} labels' for n in LABELS[table])} |"]
    lines.append("|---" * (len(LABELS[table]) + 1) + "|")
    for method, row in rows.items():
        shown = ["–" if v is None else f"**{v:.2f}**" if v == best[n] else f"{v:.2f}" for n, v in row.items()]
        lines.append(f"| {method} | {' | '.join(shown)} |")
    return "\n".join(lines)


def standing(table: int, labels: int) -> tuple[int, int, str, float]:
    """Where DNLL stands in a column of Table 1, 2, 3 or 4.

    Returns:
        Its rank, of how many methods with a number, the best of the others, and DNLL's lead on it in points.
    """
    column = {
        key.method: value
        for key, value in NUMBERS.items()
        if key.table == table and key.labels == labels and value is not None
    }
    own = column.pop(OURS)
    rival = max(column, key=column.get)
    rank = 1 + sum(value > own for value in column.values())
    return rank, len(column) + 1, rival, round(own - column[rival], 2)
