"""Writes what the README shows from the records: its results table, between two markers, and the figures.

python -m dnll_core.figures.report        # or: make figures
"""

from __future__ import annotations

import itertools
import re
import statistics
from pathlib import Path

from matplotlib.figure import Figure

from dnll_core import results
from dnll_core.bench.report import frame, load_benchmarks, milliseconds, spread
from dnll_core.checks import opened_file
from dnll_core.common import atomic_file, program, tell
from dnll_core.config import Experiment
from dnll_core.data.load import load_data
from dnll_core.figures import curves, images, own, style
from dnll_core.figures.in_short import in_short
from dnll_core.figures.scorecard import scorecard_figure
from dnll_core.figures.tables import points_of_cells
from dnll_core.methods.classical import CLASSIFIERS, Classical
from dnll_core.paper import OURS, SECONDS
from dnll_core.paper.misprints import MISPRINTS
from dnll_core.paper.tables import NUMBERS
from dnll_core.provenance import PACKAGE
from dnll_core.study import scorecard
from dnll_core.study.experiments import QUICKSTART_LABELS, adaptation, methods, quickstart
from dnll_core.study.markdown import (
    in_order,
    laptop_groups,
    laptop_table,
    markdown,
    recorded_groups,
    seconds_of,
    with_provenance,
)
from dnll_core.study.own_images import recorded as recorded_study
from dnll_core.study.records import NAMES, recorded
from dnll_core.study.rivals import IN_ROUNDS, READINGS, RIVALS, rivals
from dnll_core.study.settings import NAMED
from dnll_core.study.statistics import lead, paired, percent
from dnll_core.study.tables import SETUP, cells

ROOT = PACKAGE.parent


def quickstart_records(labels: int = 20) -> dict[str, list[dict]]:
    """Method of the quickstart -> its records on so many digits, best mean test accuracy last."""
    return campaign_records("quickstart", quickstart(labels=labels))


def quickstart_table() -> str:
    """The methods of the quickstart by number of labels, DNLL's lead over each, and where the numbers come from."""
    of_labels = {f"{labels} labels": quickstart_records(labels) for labels in QUICKSTART_LABELS}
    lines, leads = [], []
    for name in of_labels[f"{QUICKSTART_LABELS[0]} labels"]:
        own, label = {heading: groups[name] for heading, groups in of_labels.items()}, style.METHODS[name].label
        seconds = seconds_of([record for records in own.values() for record in records])
        n = "–".join(map(str, sorted({len(records) for records in own.values()})))
        shown = {heading: _with_worst(results.accuracies(records)) for heading, records in own.items()}
        lines.append({"test accuracy (%)": label} | shown | {"seconds a run": seconds, "n": n})
        if name != "dnll":
            ahead = {heading: _lead(groups["dnll"], groups[name]) for heading, groups in of_labels.items()}
            leads.append({"DNLL's lead (points, ± half a 95 % interval)": f"over {label}"} | ahead)
    everything = (record for groups in of_labels.values() for records in groups.values() for record in records)
    return with_provenance(lines, everything, markdown(leads))


def _with_worst(values: list[float]) -> str:
    return f"{percent(values, 1)}, worst {100 * min(values):.1f}" if values else "not recorded"


def _lead(ours: list[dict], theirs: list[dict]) -> str:
    return lead([*paired(ours, theirs).values()])


def groups_table(groups: dict[str, list[dict]]) -> str:
    """Key of METHODS -> records, as a table in Markdown with its provenance below; "not recorded" where there are none.

    A method without epochs has no best one.
    """
    lines = []
    for name, records in groups.items():
        final, best = (percent(results.accuracies(records, which=which), 1) for which in ("final", "best"))
        line = {"method": style.METHODS[name].label, "test accuracy, last epoch (%)": final}
        line["best epoch on test (%)"] = best if any("history" in record for record in records) else "–"
        lines.append(line | {"seconds a run": seconds_of(records), "n": len(records)})
    return with_provenance(lines, itertools.chain(*groups.values()))


def campaign_records(campaign: str, experiments: dict[str, Experiment | Classical]) -> dict[str, list[dict]]:
    """Name of the experiment -> its records below `data/results/<campaign>`, best mean test accuracy last."""
    groups = {name: recorded(e, results.root() / campaign) for name, e in experiments.items()}
    return dict(sorted(groups.items(), key=lambda item: statistics.fmean(results.accuracies(item[1]) or [0.0])))


def passes(experiment: Experiment) -> str:
    """The length of a run in passes over the unlabelled images: "75", or "75, 12.5 a round"."""
    in_rounds = experiment.method in IN_ROUNDS
    return f"{experiment.epochs}" + f", {experiment.epochs / (1 + experiment.rounds):.3g} a round" * in_rounds


def rivals_table(folder: Path | None = None) -> str:
    """RIVALS and what they add to: length, accuracies, and what the addition makes of the same splits."""
    names = {"digits": "digits, 20 labels", "mnist": "MNIST, 100", "cifar10": "CIFAR-10, 4000"}
    at, lines, everything = {}, [], []
    for dataset in names:
        where = (folder or results.root()) / ("rivals" if dataset == "digits" else f"rivals-{dataset}")
        at[dataset] = {name: recorded(e, where) for name, e in rivals(dataset).items()}
    for name, e in rivals().items():
        own, plain = {dataset: groups.get(name) for dataset, groups in at.items()}, name.partition(", ")[0]
        base = (RIVALS | READINGS).get(plain)
        beside = at["digits"].get(f"{base}{name.removeprefix(plain)}", at["digits"].get(base))  # long beside long
        difference = "–" if base is None else _lead(own["digits"], beside)
        line = {"method": style.label_of(name), "passes": passes(e)}
        for dataset, group in own.items():  # readings run on the digits alone
            line[f"{names[dataset]} (%)"] = "–" if group is None else percent(results.accuracies(group), 1)
        line |= {
            "adds to": "–" if base is None else style.label_of(base),
            "points (± half a 95 % interval)": difference,
        }
        found = [group for group in own.values() if group is not None]
        lines.append(line | {"n": ", ".join(str(len(group)) for group in found)})
        everything += itertools.chain(*found)
    return with_provenance(lines, everything)


def systems_table() -> str:
    """The systems of Tables 1-4: which method here is which, and what it was made after."""
    named = {(method.row or method.title).casefold(): name for name, method in NAMED.items()}
    in_tables: dict[str, list[int]] = {}  # by row; one that is misprinted in a table stands under its name
    for key in NUMBERS:
        if key.table <= 4 and key.method != OURS:
            in_tables.setdefault(key.method, []).append(key.table)
    lines = []
    for row, tables in in_tables.items():
        name = named.get(row.casefold())
        found = "code, not the authors'" if name == "co-training" else "code"
        after = "quoted alone" if name is None else "our reading" if name in READINGS else found
        here = f"`{name}`" if name else "–"
        told = ", ".join(map(str, dict.fromkeys(tables)))
        lines.append({"row of the paper": row, "tables": told, "here": here, "made after": after})
    return markdown(lines)


def paper_table(folder: Path | None = None) -> str:
    """Every number of DNLL in Tables 1-6: recorded ones beside the paper's, the others by table, with the reason."""
    lines, missing = [], {"best on test (%)": "–", "n": 0, "device": "–"}
    for number, (dataset, network) in SETUP.items():
        what = {"the paper's": f"Table {number}: {NAMES[dataset]}, {NAMES[network]}"}
        ours = [cell for cell in cells(number, "paper") if cell.method == "dnll" and cell.printed is not None]
        found = recorded_groups(number, folder)
        for profile, groups in found.items():
            own = [cell for cell in groups if cell.method == "dnll" and cell.printed is not None and groups[cell]]
            own.sort(key=in_order)
            for cell, (name, row) in zip(own, scorecard.compared(own, folder).iterrows()):
                mark = "" if cell.as_in_paper else f" ({scorecard.SMALLER})"
                beside = row[["paper (%)", "last epoch (%)", "best on test (%)", "n", "device"]].map(str)
                lines.append(what | {"cell, profile": f"{name}, {profile}{mark}"} | dict(beside))
        if not found:
            printed = ", ".join(dict.fromkeys(f"{cell.printed:.2f}" for cell in sorted(ours, key=in_order)))
            why = "; ".join(dict.fromkeys(scorecard.missing_because(cell) for cell in ours))
            beside = {"paper (%)": printed, "last epoch (%)": f"not recorded: {why}"} | missing
            lines.append(what | {"cell, profile": f"{len(ours)} cells"} | beside)
    return markdown(lines)


def speed_table(folder: Path | None = None) -> str:
    """DNLL's iteration beside those of Table 7's other methods, on each machine recorded; a run of the quickstart."""
    folder = folder or results.root()
    others = {"mean-teacher": "Mean Teacher", "dual-student": "Dual Student"}  # as Table 7 names them
    printed = {name: SECONDS["train", name] for name in (OURS, *others.values())}
    ratios = [f"{printed[OURS] / printed[name]:.2f}" for name in others.values()]
    lines = [
        "| a training iteration as in Table 7 | DNLL (ms) | ÷ Mean Teacher | ÷ Dual Student |",
        "|---|---|---|---|",
        f"| the paper | {milliseconds(printed[OURS])} | {' | '.join(ratios)} |",
    ]
    for name, record in load_benchmarks(folder / "bench").items():
        if name.startswith("table7-"):
            ours = [frame(record, to=other).loc["dnll"] for other in others]
            shown = ["{:.2f} ({:.2f} to {:.2f})".format(*row[[*spread("ratio")]]) for row in ours]
            where = ", ".join(ours[0][["device", "precision"]])
            lines.append(f"| {where} | {milliseconds(ours[0]['train'])} | {' | '.join(shown)} |")
    records = results.load(folder / "quickstart", method="dnll", dataset="digits", labels=20)
    if records:
        seconds = statistics.fmean(record["seconds"] for record in records)
        where = ", ".join(dict.fromkeys(record["device"] for record in records))
        told = f"A run of DNLL in the quickstart with 20 labels takes {seconds:.1f} s"
        lines += ["", f"{told} ({where}; mean of {len(records)} runs)."]
    return "\n".join(lines)


def misprint_table() -> str:
    """Every entry of `misprints.MISPRINTS`, in Markdown. "Computed" means that a test recomputes the contradiction."""
    how = {True: "computed", False: "read"}
    return markdown(
        [
            {"where": m.where, "as printed": m.printed, "what is right": m.correct, "how we know": how[bool(m.check)]}
            for m in MISPRINTS
        ]
    )


def reliability_table(folder: Path | None = None) -> str:
    """What was tried to break it, what its user finds then, and how often that held; see `make test-long`."""
    path = (folder or results.root()) / "reliability.json"
    if not path.is_file():
        return "Not recorded: `make test-long` makes the record."
    found = opened_file(path)
    heads = {"what": "what happens", "then": "what you find", "tried": "tried", "survived": "held"}
    lines = [{head: str(attack[key]) for key, head in heads.items()} for attack in found["attacks"]]
    where = f"{found['device']}, {found['cores']} cores; torch {found['torch']}, Python {found['python']}"
    not_tried = "; ".join(f"{what} ({why})" for what, why in found["not_tried"].items())
    made = f"{found['seconds'] / 60:.0f} minutes; commit {found['commit'] or 'unknown'}; {found['finished']}"
    tries = "One try is one kill, file, value, folder or signal; under Dask, one run."
    return f"{markdown(lines)}\n\n<sub>{tries} {where}; {made}. Not tried: {not_tried}.</sub>"


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
        "in short": in_short(),
        "tally": scorecard.tally(scorecard.rows(), scorecard.findings()),
        "quickstart table": quickstart_table(),
        "paper table": paper_table(),
        "mnist table": laptop_table(4),
        "cifar10 table": laptop_table(1),
        "methods table": groups_table(campaign_records("methods", methods())),
        "systems table": systems_table(),
        "rivals table": rivals_table(),
        "adaptation table": groups_table(campaign_records("adaptation", adaptation("usps", "mnist"))),
        "speed table": speed_table(),
        "photos table": own.photos_table(),
        "labelling table": own.labelling_table(),
        "misprints": misprint_table(),
        "reliability table": reliability_table(),
    }
    return render((ROOT / "README.md").read_text(encoding="utf-8"), blocks)


def figures() -> dict[str, Figure]:
    """File name -> every figure of `figures/`, from the records of today."""
    groups = quickstart_records()
    networks = {name: groups[name] for name in groups if name not in CLASSIFIERS and groups[name]}
    levels = {name: results.mean_sd(results.accuracies(groups[name]))[0] for name in CLASSIFIERS if groups[name]}
    digits = load_data("digits")
    three = images.channels_last(digits.x_train[digits.y_train == 3][0])
    small = {f"table{table}_laptop.png": laptop_groups(table) for table in (1, 4)}
    drawn = {name: points_of_cells(groups) for name, groups in small.items() if any(groups.values())} | {
        "idea.png": images.idea(three, digits.classes, 3, 0.7),
        "quickstart_curves.png": curves.curves({"": networks}, levels=levels),
        "scorecard.png": scorecard_figure(scorecard.rows()),
    }
    record = recorded_study("labelling")
    return drawn | ({} if record is None else {"reliability.png": own.reliability(record)})


def main(arguments: list[str] | None = None) -> None:
    parser = program("dnll_core.figures.report", __doc__)
    parser.parse_args(arguments)
    if not (ROOT / "README.md").is_file():
        parser.error(f"it writes the README and figures/ of a clone of the repository, and {ROOT} is none")
    text = readme()
    with atomic_file(ROOT / "README.md") as file:
        file.write(text.encode())
    tell("wrote README.md")
    for name, figure in figures().items():
        style.save(figure, ROOT / "figures" / name)
        tell(f"wrote figures/{name}")


if __name__ == "__main__":
    main()
