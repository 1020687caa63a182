"""Runs on Dask workers: the same records, also where a worker is killed, and errors that say what is missing."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from types import SimpleNamespace

import pytest
import torch
from campaign.test_tasks import FAST, LONGER, lasting, task_of
from needed import needed

from dnll_core import provenance, results, train
from dnll_core.campaign import pool as pool_module
from dnll_core.campaign.pool import WorkerDied
from dnll_core.campaign.tasks import Report, checkpoint_step, run_tasks
from dnll_core.campaign.worker import CHECKPOINTS
from dnll_core.config import ConfigError
from dnll_core.signals import STOP_SIGNALS, Flag

needed("distributed", extra="dask")
import distributed  # noqa: E402

from dnll_core.campaign import dask_pool  # noqa: E402 - it needs Dask

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def pool():
    with dask_pool.local_pool(2) as pool:
        yield pool


def test_records_are_those_of_local_runs_though_a_worker_is_killed(pool, tmp_path):
    flag = str(tmp_path / "killed")

    def doom():
        """The first of the workers that comes to the eighth iteration of a run is killed there."""
        from dnll_core.trainer import Trainer

        step = Trainer.train_step

        def once(self, i):
            if self.step == 7 and not os.path.exists(flag):
                open(flag, "x", encoding="utf-8").close()
                os.kill(os.getpid(), signal.SIGKILL)
            return step(self, i)

        Trainer.train_step = once

    distributed.default_client().run(doom)
    todo = [task_of(LONGER, tmp_path / "out"), *(task_of(FAST, tmp_path / "out", seed) for seed in range(3))]
    report = run_tasks(todo, pool)
    assert os.path.exists(flag)
    assert (report.failures, report.unfinished, report.elsewhere) == ([], [], [])
    found = {(record["experiment"]["method"], record["seed"]): record for record in results.load(tmp_path / "out")}
    assert len(found) == 4
    for task in todo:
        expected = train(task.config, task.seed, progress=False).record()
        assert lasting(found[task.config.method, task.seed]) == lasting(expected)
    assert not any((tmp_path / "out" / CHECKPOINTS).iterdir())


def test_ctrl_c_stops_the_runs_of_the_workers_with_their_checkpoints(pool, tmp_path):
    """Only the campaign's process gets the signal. Without it the run would take days."""
    task = task_of(LONGER.replace(epochs=1_000_000, eval_every=1000), tmp_path)

    def press():
        while not (task.checkpoint / ".lock").exists():  # of the checkpoint: the worker has begun
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        run_tasks([task], pool)
    thread.join()
    assert checkpoint_step(task.checkpoint) >= 1
    assert run_tasks([task_of(FAST, None)], pool).failures == []  # the next campaign is not stopped


ENDLESS = LONGER.replace(epochs=1_000_000, eval_every=1000)


def test_a_signal_to_a_worker_stops_its_run_with_the_checkpoint(tmp_path):
    """As it comes to all processes of a group. Nothing is told to the campaign's process."""
    task = task_of(ENDLESS, tmp_path)
    with dask_pool.local_pool(1) as pool:
        client = distributed.default_client()
        [before] = client.run(os.getpid).values()  # one, not as many as there are cores

        def send():
            while not (task.checkpoint / ".lock").exists():
                time.sleep(0.01)
            time.sleep(0.5)
            for number in STOP_SIGNALS:
                os.kill(before, number)

        thread = threading.Thread(target=send)
        thread.start()
        report = run_tasks([task], pool)
        thread.join()
        assert report == Report(unfinished=[task])
        assert checkpoint_step(task.checkpoint) >= 1
        assert [*client.run(os.getpid).values()] == [before]


def test_the_status_page_is_for_this_machine_alone(pool):
    def listening():
        import psutil

        found = psutil.Process().net_connections(kind="tcp")
        return {connection.laddr.ip for connection in found if connection.status == psutil.CONN_LISTEN}

    everywhere = listening().union(*distributed.default_client().run(listening).values())
    assert everywhere <= {"127.0.0.1", "::1"}


def test_without_any_worker_that_is_said_and_ctrl_c_ends_the_campaign(tmp_path):
    task, said = task_of(ENDLESS, tmp_path), []
    quiet = {"cls": distributed.Scheduler, "options": {"dashboard_address": "127.0.0.1:0"}}

    def say(line):
        if "no worker is left at the scheduler" in line:
            said.append(time.monotonic())
            os.kill(os.getpid(), signal.SIGINT)

    def kill(worker):
        while not (task.checkpoint / ".lock").exists():
            time.sleep(0.01)
        worker.kill()
        said.append(time.monotonic())

    with distributed.SpecCluster(scheduler=quiet) as cluster:
        words = [sys.executable, "-m", "distributed.cli.dask_worker", cluster.scheduler_address]
        words += ["--no-nanny", "--nthreads", "1", "--no-dashboard", "--local-directory", str(tmp_path / "dask")]
        environment = {**os.environ, "PYTHONPATH": str(provenance.PACKAGE.parent)}
        with subprocess.Popen(words, env=environment, stderr=subprocess.DEVNULL) as worker:
            thread = threading.Thread(target=kill, args=(worker,))
            thread.start()
            with pytest.raises(KeyboardInterrupt), dask_pool.remote_pool(cluster.scheduler_address) as remote:
                run_tasks([task], remote, say=say)
            ended = time.monotonic()
            thread.join()
    died, told = said
    assert told - died < 10
    assert ended - told < 10


def test_the_workers_of_a_scheduler(pool, tmp_path):
    address = distributed.default_client().scheduler.address
    with dask_pool.remote_pool(address) as remote:
        report = run_tasks([task_of(FAST, tmp_path)], remote)
    assert report == Report(recorded=report.recorded)
    assert results.load(tmp_path) == [report.recorded[0][1]]


def test_workers_of_another_version_are_refused(pool):
    def become_another():
        provenance.source_hash = lambda: "another"

    def become_oneself():
        import importlib

        importlib.reload(provenance)

    client = distributed.default_client()
    client.run(become_another)  # also of those that come when a campaign has begun
    try:
        with pytest.raises(WorkerDied, match="other versions of the package, whose results may differ, are at: tcp://"):
            run_tasks([task_of(FAST, None)], pool)
        with (
            pytest.raises(WorkerDied, match="other versions of the package, whose results may differ, are at: tcp://"),
            dask_pool.remote_pool(client.scheduler.address),
        ):
            pass
    finally:
        client.run(become_oneself)


def test_a_scheduler_that_is_not_there_or_has_no_worker(monkeypatch):
    monkeypatch.setattr(dask_pool, "ANSWER", 0.5)
    quiet = {"dashboard_address": ":0"}  # any free port
    for address in ("tcp://127.0.0.1:1", "nonsense://x"):
        with (
            pytest.raises(ConfigError, match=f"no Dask scheduler answers at '{address}'"),
            dask_pool.remote_pool(address),
        ):
            pass
    with (
        distributed.SpecCluster(scheduler={"cls": distributed.Scheduler, "options": quiet}) as empty,
        pytest.raises(ConfigError, match="has no worker; start one with `dask worker`"),
        dask_pool.remote_pool(empty.scheduler_address),
    ):
        pass


@pytest.mark.parametrize("when", ["before", "during"])
def test_a_scheduler_that_ends_is_a_message(when):
    future, status = Future(), "closed" if when == "before" else "running"
    client = SimpleNamespace(status=status, nthreads=lambda: {"worker": 1}, run=lambda *_, **__: None)
    client.get_executor = lambda **_: SimpleNamespace(submit=lambda *_: future)
    future.cancel()  # as Dask does it
    lines = []
    with pytest.raises(WorkerDied, match="the Dask scheduler is gone"):
        run_tasks([task_of(FAST, None)], dask_pool._pool(client), say=lines.append)
    assert not any("failed" in line for line in lines)


def test_a_run_that_worker_after_worker_died_of_is_a_failure_that_says_how_it_goes_on(pool):
    """Dask gives it up after some of them, see its `allowed-failures`."""

    def doom():
        from dnll_core.trainer import Trainer

        Trainer.train_step = lambda self, i: os.kill(os.getpid(), signal.SIGKILL)

    client = distributed.default_client()
    before = set(client.run(os.getpid).values())
    client.run(doom)
    client.cluster.scheduler.allowed_failures, usual = 1, client.cluster.scheduler.allowed_failures
    try:
        [failure] = run_tasks([task_of(FAST, None)], pool).failures
    finally:
        client.cluster.scheduler.allowed_failures = usual
    assert "its worker process died (out of memory?); it goes on from iteration 0 when the same command" in failure
    client.wait_for_workers(2, timeout=60)
    assert not before & set(client.run(os.getpid).values())  # Dask has replaced both


def test_each_worker_of_a_machine_with_gpus_has_its_own(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ConfigError, match=r"3 Dask workers on 2 GPU\(s\)"), dask_pool.local_pool(3):
        pass
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    monkeypatch.setattr(pool_module, "_interrupted", Flag())
    try:
        dask_pool._OfThisMachine(["3", "5"]).setup(SimpleNamespace(name=1))
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "5"
        for number in STOP_SIGNALS:
            pool_module._interrupted = Flag()
            os.kill(os.getpid(), number)
            assert pool_module.interrupted()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
