"""Writes what the README shows from the records: its results table, between two markers, and the figures.

python -m dnll_core.figures.report        # or: make figures
"""

from __future__ import annotations

import argparse
import re
import statistics
from pathlib import Path

from dnll_core import results
from dnll_core.bench import suite
from dnll_core.common import atomic_file
from dnll_core.config import Experiment
from dnll_core.data.load import load_data
from dnll_core.figures import curves, images, style
from dnll_core.figures.scorecard import scorecard_figure
from dnll_core.figures.tables import points_of_cells
from dnll_core.methods.classical import CLASSIFIERS, Classical
from dnll_core.paper.misprints import MISPRINTS
from dnll_core.provenance import PACKAGE
from dnll_core.study import scorecard
from dnll_core.study.experiments import QUICKSTART_LABELS, adaptation, methods, quickstart
from dnll_core.study.markdown import recorded_groups, unsearched_note
from dnll_core.study.records import NAMES, Records, recorded
from dnll_core.study.statistics import interval, percent, provenance_of
from dnll_core.study.tables import SETUP, Cell, cells

ROOT = PACKAGE.parent


def quickstart_records(labels: int = 20) -> dict[str, list[dict]]:
    """Method of the quickstart -> its records on so many digits, best mean test accuracy last."""
    return campaign_records("quickstart", quickstart(labels=labels))


def quickstart_table() -> str:
    """The methods of the quickstart by number of labels, DNLL's lead over each, and where the numbers come from."""
    by_labels = {labels: quickstart_records(labels) for labels in QUICKSTART_LABELS}
    heads = [f"{labels} labels" for labels in by_labels]
    lines = [f"| test accuracy (%) | {' | '.join(heads)} | seconds a run | n |", "|---" * (len(heads) + 3) + "|"]
    leads = [f"| DNLL's lead (points) | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for name in by_labels[QUICKSTART_LABELS[0]]:
        own = [groups[name] for groups in by_labels.values()]
        shown = [_with_worst(results.accuracies(records)) for records in own]
        seconds = [record["seconds"] for records in own for record in records]
        took = f"{statistics.fmean(seconds):.1f}" if seconds else "–"
        n = "–".join(map(str, sorted({len(records) for records in own})))
        lines.append(f"| {style.METHODS[name].label} | {' | '.join(shown)} | {took} | {n} |")
        if name != "dnll":
            cells = [_lead(groups["dnll"], groups[name]) for groups in by_labels.values()]
            leads.append(f"| over {style.METHODS[name].label} | {' | '.join(cells)} |")
    everything = [record for groups in by_labels.values() for records in groups.values() for record in records]
    return "\n".join([*lines, "", *leads, "", f"<sub>{provenance_of(everything)}</sub>"])


def _with_worst(values: list[float]) -> str:
    return f"{percent(values, 1)}, worst {100 * min(values):.1f}" if values else "not recorded"


def _lead(ours: list[dict], theirs: list[dict]) -> str:
    """Mean difference in points on the splits that both have, with its 95 % interval."""
    a, b = ({record["seed"]: 100 * results.accuracies([record])[0] for record in group} for group in (ours, theirs))
    points = [a[seed] - b[seed] for seed in a.keys() & b.keys()]
    return f"{statistics.fmean(points):+.1f} ± {interval(points):.1f}" if len(points) > 1 else "not recorded"


def groups_table(groups: dict[str, list[dict]]) -> str:
    """Key of METHODS -> records, as a table in Markdown with its provenance below; "not recorded" where there are none.

    A method without epochs has no best one.
    """
    lines = [
        "| method | test accuracy, last epoch (%) | best epoch on test (%) | seconds a run | n |",
        "|---|---|---|---|---|",
    ]
    for name, records in groups.items():
        label = style.METHODS[name].label
        if not records:
            lines.append(f"| {label} | not recorded | – | – | 0 |")
            continue
        final, best = (percent(results.accuracies(records, which=which), 1) for which in ("final", "best"))
        best = best if "history" in records[0] else "–"
        seconds = sum(record["seconds"] for record in records) / len(records)
        lines.append(f"| {label} | {final} | {best} | {seconds:.1f} | {len(records)} |")
    everything = [record for records in groups.values() for record in records]
    return "\n".join([*lines, "", f"<sub>{provenance_of(everything)}</sub>"])


def campaign_records(campaign: str, experiments: dict[str, Experiment | Classical]) -> dict[str, list[dict]]:
    """Name of the experiment -> its records below `data/results/<campaign>`, best mean test accuracy last."""
    groups = {name: recorded(e, results.root() / campaign) for name, e in experiments.items()}
    return dict(sorted(groups.items(), key=lambda item: statistics.fmean(results.accuracies(item[1]) or [0.0])))


def paper_table(folder: Path | None = None) -> str:
    """Every number of DNLL in Tables 1-6: recorded ones beside the paper's, the others by table, with the reason."""
    lines = [
        "| the paper's | cell, profile | paper (%) | last epoch (%) | best on test (%) | n | device |",
        "|---|---|---|---|---|---|---|",
    ]
    for number, (dataset, network) in SETUP.items():
        what = f"Table {number}: {NAMES[dataset]}, {NAMES[network]}"
        ours = [cell for cell in cells(number, "paper") if cell.method == "dnll" and cell.printed is not None]
        ours.sort(key=_by_labels)
        found = recorded_groups(number, folder)
        for profile, groups in found.items():
            own = [cell for cell in groups if cell.method == "dnll" and cell.printed is not None and groups[cell]]
            own.sort(key=_by_labels)
            for cell, (name, row) in zip(own, scorecard.compared(own, folder).iterrows()):
                beside = (row["paper (%)"], row["last epoch (%)"], row["best on test (%)"], row["n"], row["device"])
                mark = "" if cell.as_in_paper else f" ({scorecard.SMALLER})"
                lines.append(" | ".join(map(str, (f"| {what}", f"{name}, {profile}{mark}", *beside))) + " |")
        if not found:
            printed = ", ".join(dict.fromkeys(f"{cell.printed:.2f}" for cell in ours))
            why = "; ".join(dict.fromkeys(scorecard.missing_because(cell) for cell in ours))
            lines.append(f"| {what} | {len(ours)} cells | {printed} | not recorded: {why} | – | 0 | – |")
    return "\n".join(lines)


def _by_labels(cell: Cell) -> tuple:
    return cell.labels or 0, cell.experiment.m, cell.experiment.selection  # of Table 5 by m, then EP before EPM


def laptop_groups(folder: Path | None = None) -> dict[Cell, list[dict]]:
    """The cells of Table 4 at profile "laptop" with their records."""
    records = Records(folder or results.root() / "tables")
    return {cell: list(records.of(cell.experiment).values()) for cell in cells(4, "laptop")}


def laptop_table(folder: Path | None = None) -> str:
    """Table 4 at profile "laptop": a line for each method, a column for each number of labels; caveats below."""
    groups = laptop_groups(folder)
    labels = sorted({cell.labels for cell in groups})
    lines = [f"| last epoch (%) | {' | '.join(f'{n} labels' for n in labels)} | n | seconds a run |"]
    lines.append("|---" * (len(labels) + 3) + "|")
    for method, caveat in dict.fromkeys((cell.method, cell.caveat) for cell in groups):
        of = {cell.labels: records for cell, records in groups.items() if cell.method == method}
        shown = [percent(results.accuracies(of[n])) if of[n] else "not recorded" for n in labels]
        every = [record for records in of.values() for record in records]
        counts = "...".join(dict.fromkeys(str(k) for k in (min(map(len, of.values())), max(map(len, of.values())))))
        seconds = f"{statistics.fmean(record['seconds'] for record in every):.0f}" if every else "–"
        name = style.METHODS[method].label + (f" ({caveat})" if caveat else "")
        lines.append(f"| {name} | {' | '.join(shown)} | {counts} | {seconds} |")
    everything = [record for records in groups.values() for record in records]
    return "\n".join([*lines, "", unsearched_note(), "", f"<sub>{provenance_of(everything)}</sub>"])


def misprint_table() -> str:
    """Every entry of `misprints.MISPRINTS`, in Markdown. "Computed" means that a test recomputes the contradiction."""
    lines = ["| where | as printed | what is right | how we know |", "|---|---|---|---|"]
    for m in MISPRINTS:
        lines.append(f"| {m.where} | {m.printed} | {m.correct} | {'computed' if m.check else 'read'} |")
    return "\n".join(lines)


def render(text: str, blocks: dict[str, str]) -> str:
    """Replaces what stands between `<!-- name -->` and `<!-- end name -->` for each block.

    Raises:
        ValueError: if a marker is missing.
    """
    for name, block in blocks.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end {name} -->)", re.DOTALL)
        if not pattern.search(text):
            raise ValueError(f"the markers <!-- {name} --> and <!-- end {name} --> are missing")
        text = pattern.sub(lambda match, block=block: f"{match[1]}{block}\n{match[2]}", text)
    return text


def readme() -> str:
    """The README as it should be."""
    blocks = {
        "quickstart table": quickstart_table(),
        "paper table": paper_table(),
        "laptop table": laptop_table(),
        "methods table": groups_table(campaign_records("methods", methods())),
        "adaptation table": groups_table(campaign_records("adaptation", adaptation("usps", "mnist"))),
        "speed table": suite.aims_table(),
        "misprints": misprint_table(),
    }
    return render((ROOT / "README.md").read_text(), blocks)


def draw_figures(folder: Path) -> list[Path]:
    """Draws every figure of `figures/` into `folder`. Returns their paths."""
    groups = quickstart_records()
    networks = {name: groups[name] for name in groups if name not in CLASSIFIERS and groups[name]}
    levels = {name: results.mean_sd(results.accuracies(groups[name]))[0] for name in CLASSIFIERS if groups[name]}
    digits = load_data("digits")
    three = images.channels_last(digits.x_train[digits.y_train == 3][0])
    figures = {
        "idea.png": images.idea(three, digits.classes, 3, 0.7),
        "quickstart_curves.png": curves.lines(curves.curves(networks), levels),
        "table4_laptop.png": points_of_cells(laptop_groups()),
        "scorecard.png": scorecard_figure(scorecard.rows()),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in figures.items():
        style.save(figure, folder / name)
    return [folder / name for name in figures]


def main(arguments: list[str] | None = None) -> None:
    about = __doc__.split("\n\n")[0]
    parser = argparse.ArgumentParser("python -m dnll_core.figures.report", description=about)
    parser.parse_args(arguments)
    if not (ROOT / "README.md").is_file():
        parser.error(f"it writes the README and figures/ of a clone of the repository, and {ROOT} is none")
    text = readme()
    with atomic_file(ROOT / "README.md") as file:
        file.write(text.encode())
    for path in [ROOT / "README.md", *draw_figures(ROOT / "figures")]:
        print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
