"""What is measured for users with images of their own: reliability, what to label next, foreign images, few photos.

Each study runs several seeds, in as many processes as are asked for; what is done is kept beside `--out`, and the same
command goes on. A record is one JSON file in `data/results/own`.

  python -m dnll_core.study.own_images labelling foreign --workers 2 --out data/results/own
  python -m dnll_core.study.own_images photos --workers 2 --out data/results/own   (CIFAR-10)
"""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import statistics
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from dnll_core.checks import opened_file, sealed
from dnll_core.common import atomic_file, positive, program, today, user_path
from dnll_core.config import Experiment
from dnll_core.data.dataset import Dataset
from dnll_core.data.load import load_data
from dnll_core.data.splits import split_labels, stable_random
from dnll_core.datafiles import from_json, read_whole
from dnll_core.provenance import sitting
from dnll_core.results import root
from dnll_core.run import Run, train
from dnll_core.study.calibration import at_temperature, calibration_error, reliability, temperature_of
from dnll_core.study.choosing import RULES, choose
from dnll_core.study.experiments import quickstart
from dnll_core.study.folders import lengths, settings

SEEDS = tuple(range(200, 220))
LABELLED, NEXT = 20, 10  # digits with a label, and those that are labelled next
PHOTOS, POOLS, TESTED = 12, (60, 600), 300  # of a class: with a label, tested on; unlabelled ones in all


def _accuracy(run: Run) -> float:
    """Of the submodels' mean probabilities, which is what a model answers."""
    return run.final["test"]["ensemble"]


def _trained(experiment: Experiment, images: Dataset, seed: int) -> Run:
    return train(experiment, seed, progress=False, load=lambda *_, **__: images)


def pooled(dataset: Dataset, labelled: Tensor, pool: Tensor, classes: int | None = None) -> Dataset:
    """A data set whose images to train with are some with their label and others without, all by index."""
    y = torch.cat([dataset.y_train[labelled], torch.full((len(pool),), -1)])
    x = dataset.x_train[torch.cat([labelled, pool])]
    titles = dataset.classes[: classes or dataset.num_classes]
    tested = dataset.y_test < len(titles)
    test = {"x_test": dataset.x_test[tested], "y_test": dataset.y_test[tested]}
    return dataclasses.replace(dataset, x_train=x, y_train=y, classes=titles, validates=False, **test)


def labelling(seed: int) -> dict:
    """Digits with 20 labels: how reliable probabilities are, and what ten more labels bring, by how they are chosen."""
    dataset, experiment = load_data("digits"), quickstart(labels=LABELLED)["dnll"]
    split = split_labels(dataset, LABELLED, seed)
    run = train(experiment, seed, progress=False)
    each = {name: (run.trainer.predict(x), y) for name, (x, y) in run.trainer.learner.data.held_out.items()}
    temperature, (tested, y) = temperature_of(*each["validation"]), each["test"]
    found = {
        "temperature": temperature,
        "fitted_on": len(each["validation"][1]),
        "accuracy": {"before": _accuracy(run)},
    }
    for name, t in (("before", 1.0), ("after", temperature)):
        p = at_temperature(tested, t)
        found[name] = {
            "error": calibration_error(p, y),
            "bins": [of if of[0] else (0, None, None) for of in reliability(p, y)],
        }
        found[name]["median confidence"] = float(p.max(1).values.median())
    pool = dataset.x_train[split.unlabelled]
    seen = run.trainer.predict(pool).mean(0), run.trainer.embed(pool)
    for rule in RULES:
        chosen = torch.zeros(len(pool), dtype=torch.bool)
        chosen[choose(rule, NEXT, *seen, seed=seed)] = True
        images = pooled(dataset, torch.cat([split.labelled, split.unlabelled[chosen]]), split.unlabelled[~chosen])
        found["accuracy"][rule] = _accuracy(_trained(experiment.replace(labels=None), images, seed))
    return found


def foreign(seed: int) -> dict:
    """Digits 0-4 with four labels each; the pool has the rest of these, or the digits 5-9 as well.

    "cleaned": the half of that mixed pool of which the run before had the greater margins. "auc": how well the margin
    tells images of the classes from others.
    """
    dataset, experiment = load_data("digits"), quickstart()["dnll"].replace(labels=None)
    order = torch.from_numpy(stable_random("foreign", seed).permutation(len(dataset.y_train)))
    y = dataset.y_train[order]
    labelled = torch.cat([order[y == k][: LABELLED // 5] for k in range(5)])
    inside = torch.cat([order[y == k][LABELLED // 5 :] for k in range(5)])
    mixed = torch.cat([inside, order[y >= 5]])
    found = {"images of the classes": len(inside), "foreign images": len(mixed) - len(inside), "accuracy": {}}
    supervised = quickstart()["supervised"].replace(labels=None)
    plans = {"supervised": (supervised, inside), "classes alone": (experiment, inside), "mixed": (experiment, mixed)}
    for name, (plan, pool) in plans.items():
        run = _trained(plan, pooled(dataset, labelled, pool, 5), seed)
        found["accuracy"][name] = _accuracy(run)
    best = run.trainer.predict(dataset.x_train[mixed]).mean(0).topk(2, dim=1).values
    margin = best[:, 0] - best[:, 1]
    found["auc"] = float(roc_auc_score((torch.arange(len(mixed)) < len(inside)).numpy(), margin.numpy()))
    kept = mixed[margin > margin.median()]
    found["accuracy"]["cleaned"] = _accuracy(_trained(experiment, pooled(dataset, labelled, kept, 5), seed))
    return found


def photos(seed: int) -> dict:
    """Three classes of CIFAR-10, drawn for each seed, twelve labelled images each: DNLL against supervised-only."""
    dataset, found = load_data("cifar10"), {"accuracy": {}, "seconds": {}}
    draw = stable_random("photos", seed)
    kinds = sorted(draw.permutation(10)[:3].tolist())
    found["classes"] = [dataset.classes[k] for k in kinds]
    of = [torch.from_numpy(draw.permutation((dataset.y_train == k).numpy().nonzero()[0])) for k in kinds]
    tested = torch.cat([(dataset.y_test == k).nonzero()[:TESTED, 0] for k in kinds])
    renamed = torch.full((10,), -1)
    renamed[kinds] = torch.arange(3)
    three = {
        "y_train": renamed[dataset.y_train],
        "y_test": renamed[dataset.y_test[tested]],
        "classes": found["classes"],
    }
    three = dataclasses.replace(dataset, x_test=dataset.x_test[tested], **three)
    for n in POOLS:
        pool = torch.cat([indices[PHOTOS : PHOTOS + n // 3] for indices in of])
        images = pooled(three, torch.cat([indices[:PHOTOS] for indices in of]), pool)
        for method in ("supervised", "dnll"):
            fields = {"dataset": "folder:photos", "labels": None, "method": method}
            run = _trained(Experiment(**fields | settings(3) | lengths(3 * PHOTOS, n)), images, seed)
            found["accuracy"][f"{method}, {n}"] = _accuracy(run)
            found["seconds"][f"{method}, {n}"] = run.provenance["seconds"]
    return found


STUDIES: dict[str, Callable[[int], dict]] = {"labelling": labelling, "foreign": foreign, "photos": photos}
SEEDS_OF = {"labelling": SEEDS, "foreign": SEEDS[:10], "photos": SEEDS}


def _part(name: str, seed: int, folder: Path) -> dict:
    """What one seed gives, from its file if that was written by the same source."""
    path, torch_threads = folder / f"{name}-{seed}.json", torch.get_num_threads()
    torch.set_num_threads(1)
    made = sitting("CPU, 1 thread", "float32", 1, None, None, "study.own_images")
    if path.is_file():
        there = from_json(read_whole(path))
        if there["made"] == made:
            return there
    found = {"seed": seed, "made": made, "found": STUDIES[name](seed)}
    with atomic_file(path) as file:
        file.write(json.dumps(found).encode())
    torch.set_num_threads(torch_threads)
    return found


def measure(name: str, workers: int = 1, parts: Path = Path("runs/own")) -> dict:
    """The record of a study. parts: folder of what single seeds gave."""
    seeds = SEEDS_OF[name]
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        done = list(pool.map(_part, [name] * len(seeds), seeds, [parts] * len(seeds)))
    made = done[0]["made"]
    told = {key: made[key] for key in ("processor", "torch", "precision", "commit", "source_sha256", "source_of")}
    runs = [{"seed": part["seed"], **part["found"]} for part in done]
    return {"study": name, **told, "finished": today(), "runs": runs}


def recorded(name: str) -> dict | None:
    """The committed record of a study, or None. Raises RecordError if it is damaged."""
    path = root() / "own" / f"{name}.json"
    return opened_file(path) if path.is_file() else None


def accuracies(record: dict, name: str) -> list[float]:
    """Accuracies 0...1 by seed."""
    return [run["accuracy"][name] for run in record["runs"]]


def leads(record: dict, name: str, other: str) -> list[float]:
    """Points by which one is ahead of the other, by seed."""
    return [100 * (a - b) for a, b in zip(accuracies(record, name), accuracies(record, other))]


def errors(record: dict, when: str) -> float:
    """Mean expected calibration error 0...1, "before" or "after" the temperature."""
    return statistics.fmean(run[when]["error"] for run in record["runs"])


def main() -> None:
    """Runs the command line."""
    parser = program("dnll_core.study.own_images", __doc__)
    parser.add_argument("names", nargs="+", choices=STUDIES, metavar="STUDY", help=f"of {', '.join(STUDIES)}")
    parser.add_argument("--workers", type=positive, default=1, help="processes, with one thread each (1)")
    parser.add_argument("--out", type=user_path, default=Path("runs/own"), help="folder of the records (runs/own)")
    options = parser.parse_args()
    for name in options.names:
        record = measure(name, workers=options.workers, parts=options.out.parent / f".{options.out.name}-parts")
        with atomic_file(options.out / f"{name}.json") as file:
            file.write((json.dumps(sealed(record), indent=1) + "\n").encode())
        print(f"written: {options.out / name}.json", flush=True)


if __name__ == "__main__":
    main()
