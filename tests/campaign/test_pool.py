"""Worker processes: a worker that dies, what Ctrl-C leaves undone, and data that are loaded once."""

import math
import os
import signal
import subprocess
import sys
import threading

import pytest

from dnll_core.campaign import pool
from dnll_core.campaign.worker import record_of, shared_data
from dnll_core.config import Experiment
from dnll_core.results import PACKAGE


@pytest.mark.long
def test_each_task_has_its_own_outcome():
    with pool.processes(2, "factorials") as workers:
        futures = [workers.submit(math.factorial, n) for n in (5, 3, 4)]
        assert [future.result() for future in futures] == [120, 6, 24]


def test_a_worker_that_dies_is_an_error_and_not_a_wait_for_ever():
    with (
        pytest.raises(pool.WorkerDied, match="a worker process of doomed died"),
        pool.processes(1, "doomed") as workers,
    ):
        for future in [workers.submit(os._exit, 1) for _ in range(2)]:
            future.result()


def test_after_an_interrupt_a_worker_begins_nothing(monkeypatch):
    begun = []

    def task(number):
        begun.append(number)
        if number == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(pool, "_interrupted", threading.Event())
    pool._unless_interrupted(task, 1)
    for number in (2, 3):
        with pytest.raises(KeyboardInterrupt):
            pool._unless_interrupted(task, number)
    assert begun == [1, 2]


def test_ctrl_c_interrupts_a_task_and_not_a_worker_that_waits_for_one(monkeypatch):
    def press(_=None):
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(pool, "_interrupted", threading.Event())
    before = signal.getsignal(signal.SIGINT)
    try:
        pool._outlive_interrupts()
        with pytest.raises(KeyboardInterrupt):
            pool._unless_interrupted(press, None)
        pool._interrupted.clear()
        press()  # between two tasks: nothing is raised
        with pytest.raises(KeyboardInterrupt):
            pool._unless_interrupted(pytest.fail, "begun")
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # by nohup, for example
        pool._outlive_interrupts()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_runs_of_a_process_share_their_data():
    fast = Experiment(method="supervised", labels=20, labelled_batch=20, unlabelled_batch=512, epochs=1)
    shared_data.cache_clear()
    first, second = (record_of(fast, 0) for _ in range(2))
    assert shared_data.cache_info().misses == 1
    assert shared_data.cache_info().hits == 1
    assert first["final"] == second["final"]


ORPHANS = """
import time
from dnll_core.campaign.pool import interrupted, processes

def train(_):
    print("at work", flush=True)
    while not interrupted():
        time.sleep(0.01)
    print("stopped", flush=True)

if __name__ == "__main__":
    with processes(1, "orphans") as pool:
        pool.submit(train, None).result()
"""


def test_workers_end_with_their_parent(tmp_path):
    """Also when it is killed: else they would train on for nobody, and hold the checkpoints of their runs."""
    (tmp_path / "orphans.py").write_text(ORPHANS)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(PACKAGE.parent)])}
    command = [sys.executable, str(tmp_path / "orphans.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout.readline() == "at work\n"
        parent.kill()
        parent.wait()
        assert parent.stdout.read() == "stopped\n"  # the end of the output: nobody holds it any more
