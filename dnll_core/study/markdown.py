"""Groups of records and printed numbers as Markdown, for notebooks and the README."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from dnll_core import results
from dnll_core.checks import opened
from dnll_core.common import user_path
from dnll_core.paper.tables import NUMBERS, OURS
from dnll_core.study import scorecard
from dnll_core.study.records import Records
from dnll_core.study.settings import AS_RECORDED, NOT_SEARCHED, chosen_changes
from dnll_core.study.statistics import percent, provenance_of
from dnll_core.study.tables import Cell, cells, profiles_of

Groups = Mapping[Cell, Sequence[dict]]


# -- tables in Markdown ------------------------------------------------------------------------------------------------


def markdown(table: pd.DataFrame | Sequence[Mapping[str, object]]) -> str:
    """A table in Markdown; numbers with two decimals, NaN and None as "–".

    Args:
        table: a frame, whose index is the first column, or its lines, at least one, with the same keys.
    """
    if isinstance(table, pd.DataFrame):
        head = [table.index.name or "", *map(str, table.columns)]
        rows = [[str(name), *row] for name, row in zip(table.index, table.itertuples(index=False))]
    else:
        head, rows = list(table[0]), [line.values() for line in table]
    lines = [f"| {' | '.join(map(_shown, row))} |" for row in rows]
    return "\n".join([f"| {' | '.join(head)} |", "|---" * len(head) + "|", *lines])


def with_provenance(table: pd.DataFrame | Sequence[Mapping[str, object]], records: Iterable[dict], *notes: str) -> str:
    """`markdown`, then notes, then where the numbers come from, in small print."""
    return "\n\n".join([markdown(table), *notes, f"<sub>{provenance_of(list(records))}</sub>"])


def seconds_of(records: Sequence[dict], decimals: int = 1) -> str:
    """Mean seconds of a run, "–" without one."""
    return f"{statistics.fmean(r['seconds'] for r in records):.{decimals}f}" if records else "–"


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
        lines.append(line | {"seconds a run": seconds_of(group), "paper (%)": cell.printed})
    frame = pd.DataFrame(lines).set_index("cell").astype({"paper (%)": float})
    if frame["paper (%)"].isna().all():
        frame = frame.drop(columns="paper (%)")
    return with_provenance(frame, itertools.chain(*groups.values()))


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
    if not (looked_for := user_path(folder or results.root() / "tables")).is_dir():
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
    [chosen] = {chosen_changes(method)["weight_decay"] for method in AS_RECORDED}
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
    printed = _printed(table)
    shown = printed.map(_shown).where(printed != printed.max(), printed.map("**{:.2f}**".format))
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
