"""Figure 5 as numbers: the last hidden layer in two dimensions by t-SNE, and how well it keeps classes apart.

    hidden = run.embed(images)                       # (N, F), the last hidden layer
    points = project(hidden, perplexity=30, seed=0)  # (N, 2), for the eye
    measures(hidden, labels), measures(points, labels)

Both measures know the true labels of all N points and count no prediction, so they describe a representation, not a
classifier. Neither changes when all distances are scaled by a common factor.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike
from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_score
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from dnll_core import results
from dnll_core.common import atomic_file, brief, positive, program, unknown, user_path
from dnll_core.config import ConfigError
from dnll_core.data.errors import DataError
from dnll_core.data.load import load_data
from dnll_core.datafiles import from_json, read_whole
from dnll_core.run import Run, prepare, train
from dnll_core.study.tables import PROFILES, Cell, cells

STARTS = ("pca", "random")
NEIGHBOURS = 10


def project(points: ArrayLike, perplexity: float = 30.0, seed: int = 0, start: str = "pca") -> np.ndarray:
    """t-SNE [van der Maaten & Hinton 2008; section 4.6 names no settings]: (N, F) -> (N, 2) float32.

    Args:
        points: one row for each image; flattened if there are more than two dimensions.
        perplexity: the effective number of neighbours that a point attends to, below N. 30 is scikit-learn's default.
        seed: of the optimiser and of a random start.
        start: "pca" (the two leading components, scaled down) or "random".

    Raises:
        ValueError: if the perplexity is not in (0, N), or the start is not known.
    """
    points = _rows(points)
    if not 0 < perplexity < len(points):
        raise ValueError(f"perplexity={perplexity!r} must be above 0 and below the number of points, {len(points)}.")
    if start not in STARTS:
        raise ValueError(unknown("start", start, STARTS))
    return TSNE(init=start, perplexity=perplexity, random_state=seed).fit_transform(points)


def neighbour_accuracy(points: ArrayLike, labels: ArrayLike, k: int = NEIGHBOURS) -> float:
    """The share 0...1 of points whose class is the commonest among their k nearest others (leave one out).

    Of classes that are equally common among the k, the nearest one counts.

    Args:
        points: (N, ...), compared by Euclidean distance.
        labels: (N,) whole numbers from 0.

    Raises:
        ValueError: if k is not in 1...N-1, or the lengths differ.
    """
    points, labels = _rows(points), _labels(labels, len(points))
    if not 1 <= k < len(points):
        raise ValueError(f"k={k!r} is out of range: among {len(points)} points it must be 1...{len(points) - 1}.")
    nearest = NearestNeighbors(n_neighbors=k).fit(points).kneighbors(return_distance=False)  # (N, k), not the point
    votes = labels[nearest]
    weights = 1 + 0.5 ** (np.arange(k) + 2)  # the nearest outweighs all further ones, and all together half a vote
    tally = np.zeros((len(points), labels.max() + 1))
    np.add.at(tally, (np.arange(len(points))[:, None], votes), weights)
    return float((tally.argmax(1) == labels).mean())


def silhouette(points: ArrayLike, labels: ArrayLike) -> float:
    """The mean silhouette -1...1 [Rousseeuw 1987]: of each point (b - a)/max(a, b).

    a is its mean distance to the others of its class, b the smallest mean distance to another class. 1: tight classes
    far apart; 0: points on borders. It punishes a class that is several islands, even if none is mixed.

    Args:
        points: (N, ...). labels: (N,), two classes at least.

    Raises:
        ValueError: if there is a single class, or the lengths differ.
    """
    points = _rows(points)
    return float(silhouette_score(points, _labels(labels, len(points))))


def measures(points: ArrayLike, labels: ArrayLike, k: int = NEIGHBOURS) -> dict[str, float]:
    """{"neighbours": `neighbour_accuracy`, "silhouette": `silhouette`}."""
    return {"neighbours": neighbour_accuracy(points, labels, k), "silhouette": silhouette(points, labels)}


def _rows(points: ArrayLike) -> np.ndarray:
    points = np.asarray(points)
    return points.reshape(len(points), -1)


def _labels(labels: ArrayLike, n: int) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.shape != (n,):
        raise ValueError(f"labels have the shape {labels.shape}; {n} points need ({n},).")
    return labels


EMBEDDED = ("supervised", "dnll")  # the two of Figure 5
UNTRAINED = ("pixels", "a fresh network")  # what Figure 5 leaves out


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
    kept = ("source_sha256", "source_of", "commit", "device", "precision", "torch", "python", "finished")
    provenance = {key: first.provenance[key] for key in kept}
    about = {"seed": first.seed, "images": len(images), "perplexity": perplexity}
    return {**about, **provenance, "labels": labels.tolist(), "representations": found}


def load_figure5(path: str | Path) -> dict:
    """A record of `record_of`.

    Raises:
        RecordError: if the file is not one.
    """
    try:
        record = from_json(read_whole(user_path(path)))
        if set(UNTRAINED) <= set(record["representations"]) and len(record["labels"]) == record["images"]:
            return record
        raise ValueError("something is missing in it")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise results.RecordError(f"{path} is not a readable record of Figure 5 ({brief(repr(error))}).") from None


def main(arguments: list[str] | None = None) -> None:
    parser = program("dnll_core.study.embeddings", __doc__)
    parser.add_argument("--profile", default="laptop", help=f"of Table 4: {', '.join(PROFILES)} (default laptop)")
    parser.add_argument("--images", type=positive, default=2000, help="test images that are shown (default 2000)")
    parser.add_argument("--out", type=user_path, default=Path("runs/embeddings"), help="folder of the record")
    options = parser.parse_args(arguments)
    try:
        chosen = fewest_labels(cells(4, options.profile))
        experiment = chosen["dnll"].experiment
        data = load_data(experiment.dataset, size=experiment.size)
        runs = {name: train(chosen[name].experiment, seed=0) for name in EMBEDDED}
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
