"""Every method under extreme numbers, on the smallest folders of images, and for ten thousand iterations."""

import contextlib
import gc
import os
import warnings

import numpy as np
import psutil
import pytest
import torch
from attacks.children import SMALL, answer_of, names_one
from attacks.ledger import FULL, times
from photos import fill, pets

from dnll_core import Experiment, train
from dnll_core.checkpoint import CheckpointError
from dnll_core.config import METHODS
from dnll_core.data.errors import DataError
from dnll_core.fields import ConfigError
from dnll_core.run import prepare
from dnll_core.trainer import TrainingDiverged

SCALES = (0.0, 1e-38, 1e-20, 1e4, 1e15, 1e30, 3e38, float("inf"), float("nan"))


@pytest.mark.parametrize("method", METHODS[:: times(1, 99)])
def test_extreme_weights_are_never_a_silent_nan(method, attempt):
    """The last layer many times as large, black images, or images all white: finite, or TrainingDiverged."""
    for scale in SCALES:
        for pixels in (None, 0, 255):
            with attempt("numbers", f"{method}, last layer times {scale}, pixels {pixels}"):
                trainer, _ = prepare(Experiment(**SMALL | {"method": method}), 0, progress=False)
                learner = trainer.learner
                if pixels is not None:
                    learner.data.labelled.fill_(pixels)
                    learner.data.unlabelled = torch.full_like(learner.data.unlabelled, pixels)
                with torch.no_grad():
                    for name, value in learner.method.named_parameters():
                        if "heads" in name:
                            value.mul_(scale)
                with contextlib.suppress(TrainingDiverged):
                    for i in range(2):
                        learner.begin(i)
                        trainer.train_step(i)
                        trainer.step += 1
                        trainer.check_finite(i)
                    assert all(torch.isfinite(value).all() for value in learner.method.parameters())
                    assert torch.isfinite(learner.losses[:2]).all()


CORNERS = (
    {"labelled_batch": 4, "unlabelled_batch": 1},
    {"labelled_batch": 4, "unlabelled_batch": 300},
    {"labelled_batch": 200, "unlabelled_batch": 2},
    {"include_labelled": True, "labels": 2},
    {"labels": None, "epochs": 1, "ramp_epochs": 0},
    {"size": 9, "network": "wrn28-2", "labelled_batch": 4, "unlabelled_batch": 4},
)


@pytest.mark.parametrize("method", METHODS[:: times(1, 19)])
def test_a_folder_of_two_classes(method, attempt, tmp_path):
    pets(tmp_path / "pets", counts=(("cat", 6), ("dog", 6)), without=times(5, 3))
    small = SMALL | {"labels": 4, "size": 12, "network": "small", "epochs": 4, "lp_neighbours": 2, "rounds": 1}
    for corner in CORNERS[:: times(1, 3)]:
        with attempt("folder", f"{method}, {corner}"):
            fields = small | {"dataset": f"folder:{tmp_path / 'pets'}", "method": method, "m": 1} | corner
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    run = train(Experiment(**fields), 0, progress=False)
            except ConfigError as error:
                assert names_one(str(error), fields), error
            else:
                assert np.isfinite([row["loss"] for row in run.history]).all()
                assert (
                    run.predict(torch.zeros(1, *run.trainer.learner.data.labelled.shape[1:], dtype=torch.uint8))
                    .isfinite()
                    .all()
                )


CHANGES = {
    "an image came": lambda folder: fill(folder / "unlabelled", 1, 0, first=90),
    "an image went": lambda folder: next((folder / "unlabelled").iterdir()).unlink(),
    "an image changed": lambda folder: fill(folder / "cat", 1, 1),
    "all are grey now": lambda folder: [fill(folder / title, 6, 0, colour=False) for title in ("cat", "dog")],
    "classes exchanged": lambda folder: [
        (folder / a).rename(folder / b) for a, b in (("cat", "x"), ("dog", "cat"), ("x", "dog"))
    ],
    "a pipe among them": lambda folder: os.mkfifo(folder / "cat" / "pipe.png"),
    "a link to nowhere": lambda folder: (folder / "cat" / "link.png").symlink_to("nowhere"),
    "a folder among them": lambda folder: (folder / "cat" / "more").mkdir(),
    "a damaged image": lambda folder: (folder / "cat" / "00.png").write_bytes(b"\x89PNG\r\n\x1a\nno more"),
    "a class more": lambda folder: fill(folder / "hen", 6, 2),
    "no pool": lambda folder: [path.unlink() for path in (folder / "unlabelled").iterdir()],
}


@pytest.mark.parametrize("change", [*CHANGES][:: times(1, 5)])
def test_a_folder_that_changes_between_two_sittings(change, attempt, tmp_path):
    folder = pets(tmp_path / "pets", counts=(("cat", 6), ("dog", 6)))
    fields = SMALL | {"dataset": f"folder:{folder}", "labels": 4, "size": 12, "network": "small", "m": 1, "epochs": 2}
    train(Experiment(**fields), 0, checkpoint=tmp_path / "run", progress=False)
    CHANGES[change](folder)
    with attempt("folder", change):
        with pytest.raises((CheckpointError, DataError, ConfigError)) as error:
            train(Experiment(**fields), 0, checkpoint=tmp_path / "run", progress=False)
        assert str(tmp_path) in str(error.value) or "labels=4 cannot be divided among the 3 classes" in str(error.value)


def test_a_long_name(attempt, tmp_path):
    """The record of a folder has its name in its own."""
    for letters in (180, 200, 250)[-times(3, 1) :]:
        with attempt("folder", f"{letters} letters"):
            folder = pets(tmp_path / ("p" * letters), counts=(("cat", 6), ("dog", 6)))
            e = Experiment(**SMALL | {"dataset": f"folder:{folder}", "labels": 4, "size": 12, "m": 1, "epochs": 1})
            assert train(e, 0, progress=False).save_record(tmp_path / "records").exists()


@pytest.mark.skipif(not FULL, reason="make test-long: two minutes")
@pytest.mark.parametrize("method", ["dnll", "temporal-ensembling"])
def test_ten_thousand_iterations_need_no_more_memory(method, attempt, tmp_path):
    with attempt("numbers", f"{method}, 10,000 iterations"):
        end, told = answer_of(memory_of, method, tmp_path, seconds=900)
        assert end == "ended", told
        steps, sizes, files, threads = told
        assert steps == 10_000
        late = [size for step, size in sizes if step >= 2000]
        assert max(late) - min(late) < 16 * 2**20, sizes
        assert files == {".lock", "checkpoint.safetensors"} and threads < 12


def memory_of(method, folder):
    """In a child: iterations, (iteration, bytes in use) at some, files of the checkpoint, threads."""
    process, sizes, seen = psutil.Process(), [], []

    def observe(batch, output):
        seen.append(1)
        if len(seen) % 500 == 0:
            gc.collect()
            sizes.append((len(seen), process.memory_info().rss))

    fields = SMALL | {"method": method, "unlabelled_batch": 32, "epochs": 304}
    e = Experiment(**fields | {"labelled_batch": 20, "eval_every": 3})
    how = {"observer": observe, "pool": "host", "checkpoint": folder, "checkpoint_minutes": 0.02}
    stop = lambda ahead: len(seen) >= 10_000  # noqa: E731
    with contextlib.suppress(KeyboardInterrupt):
        train(e, 0, progress=False, should_stop=stop, **how)
    return len(seen), sizes, {path.name for path in folder.iterdir()}, process.num_threads()
