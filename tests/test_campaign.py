"""A campaign records what is missing, goes on after a run that fails, and says which one it was."""

import functools

import pytest

from dnll_core import campaign, experiments, results, train, workers
from dnll_core.config import Experiment
from dnll_core.run import prepare
from dnll_core.trainer import Trainer

FAST = Experiment(method="supervised", labels=20, labelled_batch=20, unlabelled_batch=512, epochs=1)


def test_records_what_is_missing_and_reports_failures(monkeypatch, tmp_path, capsys):
    good, bad = FAST.to_dict(), FAST.replace(labels=21).to_dict()
    monkeypatch.chdir(tmp_path)  # checkpoints go below runs/
    monkeypatch.setitem(campaign.CAMPAIGNS, "tiny", lambda: [bad, good])
    with pytest.raises(SystemExit, match=r"supervised on digits, seed 0:(.|\n)*labels"):
        campaign.main(["tiny", "--seeds", "2", "--out", str(tmp_path)])
    assert "2 runs recorded" in capsys.readouterr().out
    records = results.load(tmp_path / "tiny")
    assert [(record["experiment"], record["seed"]) for record in records] == [(good, 0), (good, 1)]
    assert campaign.missing([good], 3, tmp_path / "tiny") == [(good, 2, str(tmp_path / "tiny"))]


def test_a_field_younger_than_a_record_counts_with_its_default(tmp_path):
    fields = FAST.to_dict()
    older = {name: value for name, value in fields.items() if name != "threshold"}
    results.save({"experiment": older, "seed": 0}, tmp_path)
    assert campaign.missing([fields], 1, tmp_path) == []
    assert len(experiments.recorded(FAST, tmp_path)) == 1
    assert experiments.recorded(FAST.replace(threshold=0.5), tmp_path) == []


def test_dry_run_runs_nothing(tmp_path, capsys):
    campaign.main(["quickstart", "--seeds", "1", "--dry-run", "--out", str(tmp_path)])
    assert capsys.readouterr().out.count("seed 0") == 4
    assert not list(tmp_path.iterdir())


def test_unknown_campaign():
    with pytest.raises(SystemExit, match=r"campaign='quikstart' is not known. Did you mean 'quickstart'"):
        campaign.main(["quikstart"])


def test_an_interrupted_run_goes_on_from_its_checkpoint(monkeypatch, tmp_path):
    """A run that was cut off is finished, not repeated, and its checkpoint goes when its record is there."""
    e = FAST.replace(epochs=3, unlabelled_batch=256)
    folder, steps = tmp_path / "tiny", []
    monkeypatch.setattr(campaign, "CHECKPOINTS", tmp_path / "checkpoints")
    step = Trainer.train_step

    def cut_off(self, i):
        steps.append(i)
        if len(steps) == 6:
            raise KeyboardInterrupt
        return step(self, i)

    monkeypatch.setattr(Trainer, "train_step", cut_off)
    save_often = functools.partial(train, checkpoint_minutes=0)
    monkeypatch.setattr(workers, "train", save_often)
    task = (e.to_dict(), 0, str(folder))
    with pytest.raises(KeyboardInterrupt):
        campaign.run_one(task)
    assert results.load(folder) == []
    assert campaign.run_one(task) is None
    trainer, _ = prepare(e, 0, progress=False)
    assert len(steps) == trainer.clock.total_steps + 1  # the step that was cut off came twice
    [record] = results.load(folder)
    assert record["final"] == train(e, 0, progress=False).record()["final"]
    assert not any((tmp_path / "checkpoints" / "tiny").iterdir())


def test_records_of_another_version_and_unreadable_ones(tmp_path):
    fields = FAST.to_dict()
    results.save({"experiment": {**fields, "field_of_the_future": 1}, "seed": 0}, tmp_path / "quickstart")
    assert len(campaign.missing([fields], 1, tmp_path / "quickstart")) == 1
    assert experiments.recorded(FAST, tmp_path) == []
    (tmp_path / "quickstart" / "broken-seed0.json").write_text("{")
    with pytest.raises(SystemExit, match=r"broken-seed0.json is not a readable run record"):
        campaign.main(["quickstart", "--out", str(tmp_path), "--dry-run"])


def test_a_run_that_was_recorded_meanwhile_is_not_repeated(monkeypatch, tmp_path):
    results.save({"experiment": FAST.to_dict(), "seed": 0}, tmp_path)
    monkeypatch.setattr(campaign, "record_of", lambda *_: pytest.fail("trained again"))
    assert campaign.run_one((FAST.to_dict(), 0, str(tmp_path))) is None
