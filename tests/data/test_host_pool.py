"""Images that stay in host memory arrive as if they lay on the device."""

import pickle
import threading

import numpy as np
import pytest
import torch

from dnll_core import Experiment, train
from dnll_core.config import ConfigError
from dnll_core.data.host_pool import AHEAD, HostPool
from dnll_core.learner import permuted_batches
from dnll_core.run import prepare

CPU = torch.device("cpu")
FAST = {"labels": 20, "labelled_batch": 20, "unlabelled_batch": 256, "epochs": 3}


def images_of(layout, n=50, tmp_path=None):
    shape = (n, 3, 5, 4)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    if layout == "channels last":
        return images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    if layout == "mapped":
        mapped = np.memmap(tmp_path / "images", np.uint8, "w+", shape=shape)
        mapped[:] = images.numpy()
        return torch.from_numpy(mapped)
    return images


@pytest.mark.parametrize("layout", ["contiguous", "channels last", "mapped"])
def test_batches_are_the_rows_that_the_plan_names(layout, tmp_path):
    images, rows = images_of(layout, tmp_path=tmp_path), torch.randperm(50)[:40]
    pool, expected = HostPool(images, rows, CPU), images[rows]
    for epoch in range(2):
        plan = permuted_batches(40, 7, 12, torch.Generator().manual_seed(epoch))
        pool.start(plan)
        for i in [*range(12), 3, 4, 11, 0, 1]:  # in order, then as after a resume
            batch = pool.fetch(i)
            assert torch.equal(batch, expected[plan[i]])
            assert batch.stride()[1:] == expected[:7].stride()[1:]  # the memory format stays
    assert len(pool) == 40
    assert torch.equal(pool[::9], expected[::9])


def test_a_batch_stays_while_the_next_ones_are_gathered():
    pool = HostPool(images_of("contiguous"), torch.arange(50), CPU)
    plan = permuted_batches(50, 5, 40, torch.Generator().manual_seed(0))
    pool.start(plan)
    for i in range(40):
        batch = pool.fetch(i)
        for future in list(pool._pending.values()):
            future.result()  # as far ahead as it goes
        assert torch.equal(batch, pool.images[plan[i]]) and len(pool._pending) <= AHEAD


def test_gathering_happens_on_another_thread(monkeypatch):
    pool, seen = HostPool(images_of("contiguous"), torch.arange(50), CPU), set()
    gather = pool._gather
    monkeypatch.setattr(pool, "_gather", lambda i: (seen.add(threading.current_thread().name), gather(i)))
    pool.start(permuted_batches(50, 5, 10, torch.Generator().manual_seed(0)))
    pool.fetch(0)
    assert seen and threading.current_thread().name not in seen


@pytest.mark.parametrize("method", ["dnll", "temporal-ensembling", "supervised"])
def test_training_does_not_depend_on_where_images_lie(method):
    e = Experiment(method=method, **FAST)
    runs = [train(e, 0, pool=pool, progress=False) for pool in ("device", "host")]
    one, other = ([{**row, "seconds": None} for row in run.history] for run in runs)
    assert one == other
    for a, b in zip(*(run.trainer.learner.method.state_dict().values() for run in runs)):
        assert torch.equal(a, b)


def test_domain_adaptation_from_the_host_with_a_resume_in_the_middle_of_an_epoch(tmp_path):
    e = Experiment(source="digits-source", dataset="digits-target", unlabelled_batch=64, epochs=2, labels=None)
    whole = train(e, 0, progress=False)
    trainer, _ = prepare(e, 0, progress=False, pool="host")
    trainer.learner.plan_epoch(0)
    for i in range(3):
        trainer.train_step(i)
        trainer.step += 1
    assert trainer.learner.steps_per_epoch > 3
    trainer.save(tmp_path)
    resumed = train(e, 0, progress=False, pool="host", checkpoint=tmp_path)
    assert whole.history[-1]["target"] == resumed.history[-1]["target"]
    assert whole.final == resumed.final


def test_an_unknown_place():
    with pytest.raises(ConfigError, match=r"pool='disk'.*auto, device, host"):
        train(Experiment(**FAST), 0, pool="disk")


def test_a_run_with_a_pool_on_the_host_pickles():
    run = train(Experiment(**FAST), 0, pool="host", progress=False)
    pool = run.trainer.learner.data.unlabelled
    again = pickle.loads(pickle.dumps(run))
    assert torch.equal(again.trainer.learner.data.unlabelled[:5], pool[:5])
    images = pool[:20]
    assert torch.equal(again.predict(images), run.predict(images))
