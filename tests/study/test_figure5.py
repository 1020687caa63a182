"""Figure 5's record holds what the networks of the recorded runs say, measured by independent means."""

import json

import numpy as np
import pytest
import torch
from sklearn.metrics import silhouette_score

from dnll_core import figures, load_data, results, train
from dnll_core.config import Experiment
from dnll_core.study.embeddings import EMBEDDED, fewest_labels, load_figure5, main, record_of
from dnll_core.study.records import Records
from dnll_core.study.tables import cells

TINY = Experiment(labels=20, labelled_batch=20, unlabelled_batch=256, epochs=1)


@pytest.fixture(scope="module")
def made():
    data = load_data("digits")
    images, labels = data.x_test[:60], data.y_test[:60].numpy()
    runs = {name: train(TINY.replace(method=name), 0, progress=False) for name in EMBEDDED}
    return runs, images, labels, record_of(runs, images, labels, perplexity=5)


def test_measures_and_errors_are_of_the_first_submodel(made):
    runs, images, labels, record = made
    for name, run in runs.items():
        one, network = record["representations"][name], next(iter(run.trainer.predictors().values())).eval()
        with torch.no_grad():
            logits, hidden = network(run.trainer.plain(images, run.trainer.learner.generator), return_features=True)
        assert one["hidden"]["silhouette"] == pytest.approx(silhouette_score(hidden.numpy(), labels), abs=1e-3)
        assert one["wrong"] == np.flatnonzero(logits.argmax(1).numpy() != labels).tolist()
        assert one["map"]["silhouette"] == pytest.approx(silhouette_score(np.array(one["points"]), labels))
        assert one["final"] == run.final


def test_it_is_plain_json_and_a_damaged_file_is_named(made, tmp_path):
    *_, record = made
    path = tmp_path / "figure5.json"
    path.write_text(json.dumps(record), encoding="utf-8")
    assert load_figure5(path) == record
    assert len(figures.embedding.figure(record).axes) == 4
    path.write_text(path.read_text(encoding="utf-8")[:100], encoding="utf-8")
    with pytest.raises(results.RecordError, match=r"figure5.json is not a readable record of Figure 5"):
        load_figure5(path)
    with pytest.raises(SystemExit, match="profile='laptp' is not known"):
        main(["--profile", "laptp"])


def test_the_fewest_labels_and_of_several_readings_the_first():
    chosen = fewest_labels(cells(4, "paper"))
    assert (chosen["dnll"].labels, chosen["dnll"].reading) == (20, "literal")
    assert set(EMBEDDED) <= set(chosen)


def test_committed_records_are_of_recorded_runs():
    records = Records()
    for path in (results.root() / "embeddings").glob("*.json"):
        for one in load_figure5(path)["representations"].values():
            if "experiment" in one:
                assert records.of(Experiment(**one["experiment"]))[0]["final"] == one["final"], path
