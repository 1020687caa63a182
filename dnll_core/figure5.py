"""Figure 5 on record: the last hidden layers of Table 4's runs with the fewest labels, as maps and as numbers.

    python -m dnll_core.figure5 --profile laptop --out data/results/embeddings

Run records keep no networks, so this trains seed 0 of supervised-only and DNLL again, as the campaign does, and writes
one JSON file: for each representation its t-SNE map, the measures of `embedding`, and which images are wrong.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from dnll_core import plots, results
from dnll_core.cells import PROFILES, Cell, cells
from dnll_core.common import atomic_file
from dnll_core.config import ConfigError
from dnll_core.console import positive
from dnll_core.data import load_data
from dnll_core.dataset import DataError
from dnll_core.embedding import measures, project
from dnll_core.plots_embedding import maps
from dnll_core.run import Run, prepare, train

METHODS = ("supervised", "dnll")  # the two of Figure 5
UNTRAINED = ("pixels", "a fresh network")  # what Figure 5 leaves out
FOLDER = results.RESULTS / "embeddings"


def fewest_labels(of_table: Iterable[Cell]) -> dict[str, Cell]:
    """Method -> its cell with the fewest labels; of several readings the first."""
    found: dict[str, Cell] = {}
    for cell in of_table:
        best = found.setdefault(cell.method, cell)
        if (cell.labels or 0) < (best.labels or 0):
            found[cell.method] = cell
    return found


def described(hidden: Tensor, labels: np.ndarray, perplexity: float) -> dict:
    """A representation (N, F) as a record has it: its map (N, 2), in a tenth of a unit, and the measures of both."""
    points = project(hidden, perplexity).round(1)
    return {"points": points.tolist(), "hidden": measures(hidden, labels), "map": measures(points, labels)}


def record_of(runs: Mapping[str, Run], images: Tensor, labels: np.ndarray, perplexity: float = 30.0) -> dict:
    """The record of Figure 5 from trained runs, by method.

    Args:
        images: (N, C, H, W) uint8, test images. labels: (N,) their classes.
        perplexity: of t-SNE.
    """
    first = next(iter(runs.values()))
    fresh, _ = prepare(first.experiment, first.seed, progress=False)
    found = {"pixels": described(images.flatten(1).float(), labels, perplexity)}
    found["a fresh network"] = described(fresh.embed(images).cpu(), labels, perplexity)
    for method, run in runs.items():
        answers = run.trainer.predict(images)[0].argmax(1).cpu().numpy()  # of the submodel that is embedded
        found[method] = described(run.embed(images), labels, perplexity)
        found[method] |= {
            "wrong": np.flatnonzero(answers != labels).tolist(),
            "experiment": run.experiment.to_dict(),
            "final": run.final,
            "seconds": run.provenance["seconds"],
        }
    kept = ("source_sha256", "commit", "device", "precision", "torch", "python", "finished")
    provenance = {key: first.provenance[key] for key in kept}
    about = {"seed": first.seed, "images": len(images), "perplexity": perplexity}
    return {**about, **provenance, "labels": labels.tolist(), "representations": found}


def load(path: str | Path) -> dict:
    """A record of `record_of`.

    Raises:
        RecordError: if the file is not one.
    """
    try:
        record = json.loads(Path(path).read_bytes())
        if set(UNTRAINED) <= set(record["representations"]) and len(record["labels"]) == record["images"]:
            return record
        raise ValueError("something is missing in it")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise results.RecordError(f"{path} is not a readable record of Figure 5 ({error!r}).") from None


def figure(record: dict) -> Figure:
    """The maps of a record side by side, wrong answers with a black edge, the measures below."""
    labels, panels, notes, wrong = np.array(record["labels"]), {}, {}, {}
    for name, one in record["representations"].items():
        title = name if name in UNTRAINED else plots.METHODS[name].label
        panels[title] = np.array(one["points"])
        notes[title] = (
            f"neighbours {one['hidden']['neighbours']:.1%}, in the map {one['map']['neighbours']:.1%}\n"
            f"silhouette {one['hidden']['silhouette']:.2f}, in the map {one['map']['silhouette']:.2f}"
        )
        if "wrong" in one:
            wrong[title] = np.isin(np.arange(len(labels)), one["wrong"])
    return maps(panels, labels, [str(k) for k in range(labels.max() + 1)], notes, wrong, columns=len(panels))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m dnll_core.figure5", description=__doc__.split("\n\n")[0])
    parser.add_argument("--profile", default="laptop", help=f"of Table 4: {', '.join(PROFILES)} (default laptop)")
    parser.add_argument("--images", type=positive, default=2000, help="test images that are shown (default 2000)")
    parser.add_argument("--out", type=Path, default=Path("runs/embeddings"), help="folder of the record")
    options = parser.parse_args(arguments)
    try:
        chosen = fewest_labels(cells(4, options.profile))
        experiment = chosen["dnll"].experiment
        data = load_data(experiment.dataset, size=experiment.size)
        runs = {name: train(chosen[name].experiment, seed=0) for name in METHODS}
    except (ConfigError, DataError) as error:
        sys.exit(str(error))
    shown = slice(0, options.images)
    record = record_of(runs, data.x_test[shown], data.y_test[shown].numpy())
    path = options.out / f"figure5-{experiment.dataset}-{options.profile}.json"
    with atomic_file(path) as file:
        file.write((json.dumps(record) + "\n").encode())
    print(f"written to {path}")


if __name__ == "__main__":
    main()
