"""Our numbers beside the paper's: a table's cells (`compared`), every printed number (`rows`), every claim (`claims`).

    compared(cells(5, "paper"))
    rows()["verdict"].value_counts()
    [(claim.text, claim.check(Records()).verdict) for claim in claims()]

Ours is the last epoch, mean of the submodels, mean ± standard deviation over the recorded seeds; beside it stands the
best epoch of the better submodel on the test set, which is what the authors' scripts print. What is not recorded says
so and why. The paper's numbers are means of three runs without a deviation.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from dnll_core import results
from dnll_core.bench import report
from dnll_core.common import user_path
from dnll_core.config import Experiment
from dnll_core.paper.tables import NUMBERS, OURS, SECONDS, Key
from dnll_core.provenance import where_made
from dnll_core.study.claims import claims
from dnll_core.study.records import NAMES, Records, benchmark, recorded
from dnll_core.study.rivals import READINGS, RIVALS, boxes
from dnll_core.study.settings import NAMED, TITLES
from dnll_core.study.statistics import accuracy_of, percent
from dnll_core.study.tables import SETUP, TABLES, Cell, cells, profiles_of

POINTS = 0.5  # a cell is green if ours is no further below the paper's than this or our standard deviation ...
TIME = 0.05  # ... and a time if its ratio to Mean Teacher's exceeds the paper's by no more than this share
SMALLER = "smaller network"  # how a number is marked that cannot reach or miss the paper's


def compared(of_table: Iterable[Cell], folder: str | Path | None = None) -> pd.DataFrame:
    """One row for each cell, by its name.

    Columns: "n"; "last epoch (%)" and "best on test (%)", mean ± sd over the recorded seeds; "paper (%)" and
    "difference (points)", numbers, NaN where there is none; "seconds a run"; "device"; "why not": why there
    is no record. folder: None for the one of the campaign's tables, below `results.root()`.

    Raises:
        RecordError: naming a file below `folder` that cannot be read.
    """
    records, lines = Records(folder or results.root() / "tables"), []
    for cell in of_table:
        group = list(records.of(cell.experiment).values())
        line = {"cell": cell.name, "n": len(group), "last epoch (%)": "not recorded", "best on test (%)": "–"}
        line |= {"paper (%)": cell.printed, "difference (points)": None, "seconds a run": None, "device": "–"}
        if group:
            ours, _ = accuracy_of(group)
            line["last epoch (%)"] = percent(results.accuracies(group))
            line["best on test (%)"] = percent(results.accuracies(group, which="best"))
            if cell.printed is not None:
                line["difference (points)"] = round(ours - cell.printed, 2)
            line["seconds a run"] = round(statistics.fmean(record["seconds"] for record in group), 1)
            line["device"] = ", ".join(sorted({each["device"] for record in group for each in where_made(record)}))
        lines.append(line | {"why not": "" if group else missing_because(cell)})
    columns = ["cell", "n", "last epoch (%)", "best on test (%)", "paper (%)", "difference (points)", "seconds a run"]
    frame = pd.DataFrame(lines, columns=[*columns, "device", "why not"]).set_index("cell")
    numbers = ["paper (%)", "difference (points)", "seconds a run"]
    return frame.astype(dict.fromkeys(numbers, float))


def missing_because(cell: Cell) -> str:
    """Why a cell is likely to have no record: what it takes to run it."""
    e = cell.experiment
    if e.network in ("cnn13", "wrn28-2"):
        images = " and a download of SVHN" if e.dataset == "svhn" else ""
        return f"needs a GPU{images}: {e.epochs} epochs of {NAMES[e.network]}"
    return "not run yet; a CPU is enough"


# -- every number of the paper -----------------------------------------------------------------------------------------


def rows(folder: str | Path | None = None) -> pd.DataFrame:
    """One row for each number of Tables 1-7, and for each reading of it that has a cell of its own.

    Columns: table, dataset, network, row (the paper's name), labels, selection, m, printed, cell, reading, profile,
    n, ours, sd, difference, verdict, why. Accuracies are in percent. In Table 7 `printed` and `ours` are times as
    multiples of Mean Teacher's on the same machine, `selection` says which, and `sd` is empty.

    Verdicts: "green" if ours is at least the paper's minus 0.5 points, or minus our standard deviation where that is
    larger; of times, if the lower end of our ratio's interval is at most 5 % above the paper's ratio. "red" otherwise.
    SMALLER, without a difference, where the network or the size of the images is not the paper's: such a number
    answers its questions, not its percentages. "missing", with the reason in `why`. "reference" for what Table 7 is a
    multiple of. "not attempted" for the rivals that we do not run, and for the paper's "-" there is no row.
    Ours is of the longest profile with records in `folder`/tables, never of "quick", which has other images; times are
    of `folder`/bench. None: `results.root()`.
    """
    where = user_path(folder or results.root())
    records = Records(where / "tables")  # another campaign may have runs of the same experiment, with seeds of its own
    by_key: dict[Key, dict[str, list[Cell]]] = {}  # each reading of a number: its cells, the longest profile first
    for table in TABLES:
        for cell in (cell for profile in profiles_of(table)[:-1] for cell in cells(table, profile)):
            if cell.printed is not None:
                by_key.setdefault(key_of(cell), {}).setdefault(cell.name, []).append(cell)
    lines, filled = [], boxes()
    for key, printed in NUMBERS.items():
        if printed is None:
            continue
        row = key._asdict() | {"row": key.method, "printed": printed}
        attempted = {name: _ours(records, of_profiles) for name, of_profiles in by_key.get(key, {}).items()}
        own = [
            row | {"cell": name, "reading": by_key[key][name][0].reading} | ours
            for name, ours in attempted.items()
            if ours["n"] or by_key[key][name][0].profile == "paper"
        ]
        if (key.table, key.method, key.labels) in filled:
            own = [row | _box(filled[key.table, key.method, key.labels], printed, where)]
        lines += own or [row | {"n": 0, "verdict": "not attempted", "why": _not_attempted(key.method)}]
    columns = ["table", "dataset", "network", "row", "labels", "selection", "m", "printed", "cell", "reading"]
    columns += ["profile", "n", "ours", "sd", "difference", "verdict", "why"]
    frame = pd.DataFrame([*lines, *_times(Records(where))], columns=columns)
    types = dict.fromkeys(("printed", "ours", "sd", "difference"), float) | {"labels": "Int64", "m": "Int64", "n": int}
    return frame.astype(types | dict.fromkeys(("network", "selection", "cell", "reading", "profile"), object))


def key_of(cell: Cell) -> Key:
    """The key of `paper.tables.NUMBERS` that a cell with a printed number stands for."""
    e = cell.experiment
    if cell.table == 5:
        return Key(5, *SETUP[5], OURS, cell.labels, e.selection, e.m)
    if cell.table == 6:
        return Key(6, *SETUP[6], cell.printed_as.split()[0], cell.labels, e.selection)
    return Key(cell.table, *SETUP[cell.table], cell.printed_as, cell.labels)


def verdict(ours: float, sd: float, printed: float) -> str:
    """ "green" or "red", all in percent; see `rows`. sd: NaN of a single run."""
    return "green" if ours >= printed - max(POINTS, 0 if sd != sd else sd) else "red"


def _ours(records: Records, of_profiles: Sequence[Cell]) -> dict:
    """What the records have for a number, of the first of the profiles' cells with any."""
    for cell in of_profiles:
        group = list(records.of(cell.experiment).values())
        if not group:
            continue
        ours, sd = accuracy_of(group)
        mine = {"profile": cell.profile, "n": len(group), "ours": ours, "sd": sd, "why": cell.note}
        if not cell.as_in_paper:
            return mine | {"verdict": SMALLER}
        return mine | {"verdict": verdict(ours, sd, cell.printed), "difference": ours - cell.printed}
    return {"n": 0, "verdict": "missing", "why": missing_because(of_profiles[0])}


def _box(e: Experiment, printed: float, where: Path) -> dict:
    """Of a system with a network of its own, which is what the printed number is of."""
    group, passes = recorded(e, where), f"its published networks, {e.epochs} passes over the unlabelled images"
    box = {"cell": f"{TITLES[e.method]} {e.labels}", "profile": "paper", "n": len(group)}
    if not group:
        needs = "needs a GPU" if e.method == "triple-gan" else "not run yet; a CPU is enough"  # for its convolutions
        return box | {"verdict": "missing", "why": f"{needs}: {passes}"}
    ours, sd = accuracy_of(group)
    compared = {"verdict": verdict(ours, sd, printed), "difference": ours - printed}
    return box | {"ours": ours, "sd": sd, "why": passes} | compared


def _not_attempted(row: str) -> str:
    name = next((name for name, method in NAMED.items() if method.row == row), None)
    if name in READINGS:
        return f"not attempted: {row}. No code is public; {TITLES[name]} is our reading, and no reading fills a box"
    smaller = f", but on smaller images ({TITLES[name]})" if name in RIVALS else ""
    return f"not attempted: {row}{smaller}"


def _times(records: Records) -> list[dict]:
    """Table 7 as ratios to Mean Teacher, for seconds on one machine say nothing about seconds on another."""
    names = {"Mean Teacher": "mean-teacher", "Dual Student": "dual-student", OURS: "dnll"}
    timed = benchmark(records, *names.values())
    lines = []
    for (kind, method), seconds in SECONDS.items():
        printed = seconds / SECONDS[kind, "Mean Teacher"]
        line = {"table": 7, "dataset": "cifar10", "row": method, "labels": 4000, "selection": kind, "printed": printed}
        line |= {"n": 0, "verdict": "missing", "why": "no benchmark is recorded: python -m dnll_core.bench"}
        if timed is not None:
            settings = dict(zip(names.values(), timed))
            own, base = (settings[names[name]] for name in (method, "Mean Teacher"))
            ours, low, _ = report.ratio(own[kind], base[kind])
            line |= {"network": own["experiment"]["network"], "n": len(own[kind]), "ours": ours}
            line |= {"verdict": "green" if low <= (1 + TIME) * printed else "red", "difference": ours - printed}
            line["why"] = f"{seconds} s there, {statistics.median(own[kind]):.3f} s on {own['device']}"
        lines.append(line | ({"verdict": "reference"} if method == "Mean Teacher" else {}))
    return lines


def findings(folder: str | Path | None = None) -> pd.DataFrame:
    """Every claim with what was found.

    Columns: claim, with the data and the network that it was judged on; section; difference, which speaks for the claim
    where it is positive; low, high, the ends of its 95 % interval; unit; n; verdict; data; evidence.
    """
    records, lines = Records(folder), []
    for claim in claims():
        finding = claim.check(records)
        words = ", ".join(filter(None, (claim.text, finding.data)))
        lines.append({"claim": words, "section": claim.section, **vars(finding)})
    columns = ["claim", "section", "difference", "low", "high", "unit", "n", "verdict", "data", "evidence"]
    return pd.DataFrame(lines, columns=columns).astype(dict.fromkeys(("difference", "low", "high"), float))


def tally(numbers: pd.DataFrame, claimed: pd.DataFrame) -> str:
    """How many of the paper's numbers are reached, and how many of its claims hold, as two items of Markdown.

    A run that stands in several tables, as does the paper's 94.29, counts once.

    Args:
        numbers: of `rows`.
        claimed: of `findings`.
    """
    recorded = numbers[numbers["verdict"].isin(["green", "red"])]
    accuracies, times = recorded[recorded["table"] < 7], recorded[recorded["table"] == 7]
    of_dnll = (accuracies["row"] == OURS) | accuracies["table"].isin((5, 6))  # whose rows are ways of DNLL
    rivals = accuracies[~of_dnll]
    whose = ", ".join(dict.fromkeys(rivals[rivals["verdict"] == "green"]["row"]))
    kinds = (
        ("accuracies of DNLL", accuracies[of_dnll].drop_duplicates(["printed", "ours"])),
        (f"of its rivals ({whose})" if whose else "of its rivals", rivals),
        ("times relative to Mean Teacher's, where less is as good", times),
    )
    reached = ", ".join(f"{sum(of['verdict'] == 'green')} of {len(of)} {kind}" for kind, of in kinds)
    others, judged = numbers["verdict"].value_counts(), claimed["verdict"].value_counts()
    words = {"holds": "hold", "does not hold": "do not", "undecided": "are undecided", "not recorded": "not recorded"}
    failed = claimed[claimed["verdict"] == "does not hold"]["claim"]
    return (
        f"- **Numbers** that reach the paper's (a run that stands in several tables counts once): {reached}. "
        f"{others.get(SMALLER, 0)} are of a smaller network and not compared, "
        f"{others.get('missing', 0)} have no record yet.\n"
        f"- **Claims**: {', '.join(f'{judged[name]} {word}' for name, word in words.items() if name in judged)}. "
        f"Not supported: {'; '.join(f'“{claim}”' for claim in failed) or 'none'}."
    )
