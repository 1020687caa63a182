"""What the notebooks of the paper's tables share: checked parameters, their runs, and tables in Markdown.

    chosen = chosen_cells(4, profile, dataset, epochs=epochs)
    groups = run_groups(chosen, seeds=seeds, workers=workers, out=out)  # cell -> its records
    Markdown(results_table(groups))
    Markdown(recorded_table(4))                                         # the full-scale records, or why there are none

The cells are those of `cells.cells` and the runs those of a campaign, so a notebook has the campaign's numbers.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.datasets import load_sample_image
from torch import Tensor, cat, from_numpy, uint8
from torch.nn.functional import avg_pool2d

from dnll_core import results, scorecard
from dnll_core.campaign import run_cells
from dnll_core.cells import Cell, cells
from dnll_core.common import unknown
from dnll_core.config import ConfigError
from dnll_core.findings import Records
from dnll_core.paper import LABELS, NUMBERS, OURS
from dnll_core.recipes import at_length
from dnll_core.scorecard import percent

TABLES = results.RESULTS / "tables"
RECORDED = ("paper", "short", "laptop")  # profiles that have records, the longest first

Groups = Mapping[Cell, Sequence[dict]]


# -- parameters --------------------------------------------------------------------------------------------------------


def count(name: str, value: object, optional: bool = False) -> int | None:
    """A parameter that counts something, as an int; `optional` also takes None, or "none" as papermill sends it.

    Raises:
        ConfigError: for anything else than a whole number from 1.
    """
    if optional and (value is None or str(value).lower() in ("none", "null")):
        return None
    whole = str(value).isdecimal() if isinstance(value, str) else isinstance(value, int) and not isinstance(value, bool)
    if not whole or int(value) < 1:
        none = " or None" if optional else ""
        raise ConfigError(f"{name} takes a whole number from 1{none}, not {value!r}.")
    return int(value)


def text(value: object) -> str | None:
    """A parameter that is a name or nothing: papermill's command line sends "none" for None."""
    return None if value is None or str(value).lower() in ("none", "null", "") else str(value)


def names(value: object) -> list[str] | None:
    """A parameter that is a list, or one text with commas, or a single thing; None for nothing."""
    if isinstance(value, list | tuple):
        return [str(item).strip() for item in value]
    found = text(value)
    return None if found is None else [item.strip() for item in found.split(",")]


def chosen_cells(
    table: int,
    profile: str = "quick",
    dataset: str | None = None,
    *,
    methods: str | Sequence[str] | None = None,
    epochs: int | None = None,
) -> list[Cell]:
    """The cells that a notebook runs, the most informative first.

    Args:
        methods: keys of `plots.METHODS`, a list or in one text with commas; None: all that the profile has.
        epochs: of a trial, in the place of the profile's, with ramps in proportion. It is then another experiment than
            the campaign's, and its cells say so in their profile.

    Raises:
        ConfigError: for parameters that do not exist or do not fit; see also `cells.cells`.
    """
    found = cells(table, profile, text(dataset))
    wanted, known = names(methods), list(dict.fromkeys(cell.method for cell in found))
    if wanted is not None:
        for name in wanted or [""]:
            if name not in known:
                raise ConfigError(unknown("methods", name, known))
        found = [cell for cell in found if cell.method in wanted]
    passes = count("epochs", epochs, optional=True)
    return found if passes is None else [shortened(cell, passes) for cell in found]


def shortened(cell: Cell, epochs: int) -> Cell:
    """The cell in another number of epochs; itself if that is its own."""
    if cell.experiment.epochs == epochs:
        return cell
    experiment = at_length(cell.experiment, epochs)
    return dataclasses.replace(cell, experiment=experiment, profile=f"trial of the {cell.profile}")


def with_labels(cell: Cell, labels: int) -> Cell:
    """The cell with another number of labels, which no table has; its batch of labelled images grows with it to 64."""
    name = " ".join(str(labels) if word == str(cell.labels) else word for word in cell.name.split())
    experiment = cell.experiment.replace(labels=labels, labelled_batch=min(labels, 64))
    return dataclasses.replace(cell, name=name, labels=labels, experiment=experiment, printed=None, printed_as=None)


def with_strong_view(cell: Cell, spec: str) -> Cell:
    """The cell with another strong view (see `augment.parse`), which no table has.

    Raises:
        ConfigError: for a view that does not exist.
    """
    experiment = cell.experiment.replace(strong=spec)
    changes = {"name": f"{cell.name} {spec}", "reading": spec, "role": "variant", "printed": None, "printed_as": None}
    return dataclasses.replace(cell, experiment=experiment, note=f"strong view: {spec}", **changes)


def checked_runs(seeds: int = 1, workers: int | None = None, out: str | Path | None = None) -> dict:
    """The parameters that say how `run_groups` runs, checked before anything is run.

    Raises:
        ConfigError: for seeds or workers that are not counts.
    """
    return {"seeds": count("seeds", seeds), "workers": count("workers", workers, optional=True), "out": text(out)}


def run_groups(chosen: Iterable[Cell], **how) -> dict[Cell, list[dict]]:
    """Cell -> its records, of runs made now (or recorded in `out`). how: of `checked_runs`.

    Raises:
        RunsFailed, WorkerDied, RecordError: see `campaign.run_cells`.
    """
    chosen = list(chosen)
    records = run_cells({cell.name: cell.experiment for cell in chosen}, **how)
    return {cell: records[cell.name] for cell in chosen}


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
        line = {"cell": cell.name, "n": len(group)}
        for name, which in (("last epoch", "final"), ("best on test", "best"), ("ensemble, last epoch", "ensemble")):
            line[f"{name} (%)"] = percent(results.accuracies(group, which=which)) if group else "–"
        line["seconds a run"] = f"{statistics.fmean(r['seconds'] for r in group):.1f}" if group else "–"
        lines.append(line | {"paper (%)": cell.printed})
    frame = pd.DataFrame(lines).set_index("cell").astype({"paper (%)": float})
    if frame["paper (%)"].isna().all():
        frame = frame.drop(columns="paper (%)")
    everything = [record for group in groups.values() for record in group]
    return f"{markdown(frame)}\n\n<sub>{results.provenance_of(everything)}</sub>"


def recorded_groups(table: int, folder: str | Path = TABLES) -> dict[str, dict[Cell, list[dict]]]:
    """Profile -> cell -> its records below `folder`, for the profiles of a table that have any, the longest first.

    Raises:
        RecordError: naming a file that cannot be read.
    """
    records, found = Records(folder), {}
    for profile in _profiles_of(table):
        groups = {cell: list(records.of(cell.experiment).values()) for cell in cells(table, profile)}
        if any(groups.values()):
            found[profile] = groups
    return found


def recorded_table(table: int, folder: str | Path = TABLES) -> str:
    """The records of the longer profiles beside the paper's numbers, and what is not recorded, with the reason.

    A cell stands there if it has a record, or a number of the paper; the others are counted below. Of the profiles
    without any record, the paper's stands there as a table if no other does.
    """
    parts, recorded = [], recorded_groups(table, folder)
    for profile in _profiles_of(table):
        of_profile = sorted(cells(table, profile), key=lambda cell: cell.labels or 0)  # stable: then by priority
        reasons = {scorecard.missing_because(cell) for cell in of_profile if not recorded.get(profile, {}).get(cell)}
        because = f"{'; '.join(sorted(reasons))}. `python -m dnll_core.campaign --tables {table} --profile {profile}`"
        if profile not in recorded and (recorded or profile != _profiles_of(table)[0]):
            parts.append(f"**Profile {profile}**: not recorded: {because}")
            continue
        frame = scorecard.compared(of_profile, folder).drop(columns="why not")
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
            parts.append(f"<sub>{results.provenance_of(group)}</sub>")
    return "\n\n".join(parts)


def _profiles_of(table: int) -> list[str]:
    return [profile for profile in RECORDED if profile != "laptop" or table == 4]


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


# -- pictures ----------------------------------------------------------------------------------------------------------


def colour_images(n: int = 8) -> Tensor:
    """Small colour photographs to augment, (n, 3, 32, 32) uint8, cut from the two that come with scikit-learn."""
    squares = []
    for name in ("china.jpg", "flower.jpg"):
        photo = from_numpy(load_sample_image(name).copy()).permute(2, 0, 1)[None].float()  # (1, 3, 427, 640)
        squares += [photo[..., y : y + 192, x : x + 192] for y in (0, 192) for x in (0, 192, 384)]
    of_both = [squares[5 * i % len(squares)] for i in range(n)]  # 5 and 12 have no common factor: all of them in turn
    return cat([avg_pool2d(square, 6).round().to(uint8) for square in of_both])


def shown_views(views: Tensor, mean: Sequence[float], std: Sequence[float]) -> np.ndarray:
    """Normalised views (N, C, H, W) float32 as `imshow` wants them: (N, H, W) or (N, H, W, 3) in [0, 1]."""
    pixels = views * views.new_tensor(std).view(1, -1, 1, 1) + views.new_tensor(mean).view(1, -1, 1, 1)
    array = pixels.clamp(0, 1).permute(0, 2, 3, 1).numpy()
    return array[..., 0] if array.shape[-1] == 1 else array
