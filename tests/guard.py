"""Whether a change of the code changed a number: the same machine computes the same experiments at two commits.

    python tests/guard.py now.json                         # in each of two checkouts, on one machine
    python tests/guard.py --compare old.json new.json data/results/guard.json

Every named experiment is listed with its run name. Runs are compared by the SHA-256 of their weights and by their
history, to the last bit. Records of other machines cannot serve: another processor rounds otherwise.
"""

import argparse
import contextlib
import hashlib
import importlib
import json
import sys
import tempfile
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from dnll_core import Experiment, train  # noqa: E402
from dnll_core.device import choose_compute  # noqa: E402

# twenty iterations: a pass over the unlabelled digits
STEPS = {"labels": 20, "labelled_batch": 20, "unlabelled_batch": 53, "epochs": 1, "m": 3, "selection": "epm"}
CLASSICAL = ("self-training", "label-spreading")


def module(*names):
    """The first of these modules that exists: the code moves between the commits that are compared."""
    for name in names:
        try:
            return importlib.import_module(f"dnll_core.{name}")
        except ModuleNotFoundError:
            continue
    raise ModuleNotFoundError(names)


def fields_of(config) -> dict:
    """At old commits a campaign's run is a dict by itself, or a classical one is."""
    return config if isinstance(config, dict) else config.to_dict()


def named() -> dict[str, str]:
    """Name -> run name, of every experiment that the project names."""
    run_name = module("names", "results").run_name
    return {name: run_name(fields, 0) for name, fields in sorted(experiments_named().items())}


def experiments_named() -> dict[str, dict]:
    """Name -> fields, of every experiment that the project names."""
    tables, experiments = module("study.tables", "cells"), module("study.experiments", "experiments")
    settings, plan = module("study.settings", "searches"), module("study.experiments", "plan")
    found = {}
    for profile in tables.PROFILES:
        for table in tables.TABLES:
            with contextlib.suppress(ValueError):  # a profile may lack a table
                for cell in tables.cells(table, profile):
                    found[f"{profile} table {table} {cell.name}"] = cell.experiment.to_dict()
    for name, campaign in plan.CAMPAIGNS.items():
        for i, (_, run) in enumerate(campaign.named()):
            found[f"campaign {name} {i}"] = fields_of(run)
    for name, search in settings.SEARCHES.items():
        start, trials = search if isinstance(search, tuple) else (search.start, search.candidates)
        for i, changes in enumerate(trials):
            trial = {**start, **changes} if isinstance(start, dict) else start.replace(**changes)
            found[f"search {name} {i}"] = fields_of(trial)
    for name in ("quickstart", "transfers", "methods", "addons", "adaptation", "limits", "collapses"):
        for key, experiment in getattr(experiments, name)().items():
            found[f"{name} {key}"] = experiment.to_dict()
    return found


def cases() -> dict[str, tuple[Experiment, dict]]:
    """Name -> experiment and what `train` is told beside it."""
    settings = module("study.settings", "searches")
    found = {f"digits {name}": (e.replace(epochs=30), {}) for name, e in settings.METHODS.items()}
    for network in ("small", "cnn3", "cnn13", "wrn28-2"):
        for precision in ("float32", "bfloat16"):
            small = {"size": 12} if network == "cnn3" else {"size": 16} if network != "small" else {}
            e = Experiment(network=network, **STEPS, **small)
            found[f"20 steps {network} {precision}"] = (e, {"precision": precision})
    base = Experiment(**STEPS).replace(epochs=3)
    views = {"weak": "translate+noise", "strong": "translate+randaugment+cutout+noise"}
    found |= {
        "pool on the host": (base, {"pool": "host"}),
        "a source": (base.replace(source="digits-source", dataset="digits-target", labels=None), {}),
        "labelled images in the pool": (base.replace(include_labelled=True), {}),
        "EPM by epoch": (base.replace(epm_accumulation="epoch"), {}),
        "average of the weights": (base.replace(ema_decay=0.9), {}),
        "what submodels pass": (base, {"measure": True}),
        "all operations": (base.replace(**views), {}),
        "colour, crop and flip": (base.replace(weak="crop+flip", strong="crop+flip+jitter", size=10), {}),
        "resumed in the middle of an epoch": (base, {"resumed": 31}),
    }
    return found


def digest(run) -> str:
    method = getattr(run.trainer, "method", None) or run.trainer.learner.method
    sha = hashlib.sha256()
    for name, value in method.state_dict().items():
        sha.update(name.encode() + value.contiguous().numpy().tobytes())
    return sha.hexdigest()


def carried_out(experiment: Experiment, how: dict) -> dict:
    stop_after = how.pop("resumed", None)
    where = {"device": "cpu", "progress": False, **how}
    with tempfile.TemporaryDirectory() as folder:
        if stop_after is not None:
            seen = iter(range(1, stop_after + 1))
            try:
                train(experiment, 0, checkpoint=folder, should_stop=lambda _: next(seen) == stop_after, **where)
                raise AssertionError("the run was to be stopped")
            except KeyboardInterrupt:
                where["checkpoint"] = folder
        run = train(experiment, 0, **where)
    history = [{key: value for key, value in row.items() if key != "seconds"} for row in run.history]
    return {"weights": digest(run), "history": history, "final": run.final, "labels": run.provenance["labels_sha256"]}


def computed() -> dict:
    torch.set_num_threads(1)
    run_name, runs = module("names", "results").run_name, {}
    for name, (experiment, how) in cases().items():
        print(name, flush=True)
        runs[name] = {"experiment": run_name(experiment.to_dict(), 0), **carried_out(experiment, dict(how))}
    classical = module("methods.classical", "classical")
    for method in CLASSICAL:
        record = classical.run_classical(method=method, dataset="digits", labels=20, seed=0)
        runs[f"digits {method}"] = {"final": record["final"], "experiment": record["experiment"]}
    return {
        "commit": module("provenance", "results").commit(),
        "machine": f"{choose_compute('cpu').describe()}, {torch.backends.cpu.get_cpu_capability()}",
        "torch": torch.__version__,
        "named": named(),
        "runs": runs,
    }


def compared(old: dict, new: dict) -> dict:
    """The outcome that is committed."""
    for key in ("machine", "torch"):
        if old[key] != new[key]:
            raise SystemExit(f"{key}: {old[key]!r} and {new[key]!r}; one machine must compute both")
    names = sorted(old["named"])  # what only the new one names cannot differ
    changed = [name for name in names if old["named"][name] != new["named"].get(name)]
    runs = {
        name: {"seed": 0, "equal": run == new["runs"].get(name), "experiment": run["experiment"]}
        for name, run in old["runs"].items()
    }
    about = {"old": old["commit"], "new": new["commit"], "machine": old["machine"], "torch": old["torch"]}
    return {**about, "named": len(names), "named that differ": changed, "runs": runs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--compare", action="store_true", help="old, new, outcome")
    options = parser.parse_args()
    if not options.compare:
        warnings.simplefilter("error")
        options.files[0].write_text(json.dumps(computed(), indent=1), encoding="utf-8")
        return
    old, new = (json.loads(path.read_text(encoding="utf-8")) for path in options.files[:2])
    outcome = compared(old, new)
    options.files[2].write_text(json.dumps(outcome, indent=1) + "\n", encoding="utf-8")
    unequal = [name for name, run in outcome["runs"].items() if not run["equal"]]
    print(
        f"{len(outcome['runs'])} runs, not equal: {unequal}; {outcome['named']} names, not equal: "
        f"{outcome['named that differ']}"
    )


if __name__ == "__main__":
    main()
