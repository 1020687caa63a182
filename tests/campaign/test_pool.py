"""Worker processes: a worker that dies, what Ctrl-C leaves undone, and data that are loaded once."""

import contextlib
import errno
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from ctypes import c_byte
from types import SimpleNamespace

import pytest

from dnll_core import signals
from dnll_core.campaign import pool
from dnll_core.campaign.worker import record_of, shared_data
from dnll_core.config import Experiment
from dnll_core.data import prepared
from dnll_core.provenance import PACKAGE
from dnll_core.signals import STOP_SIGNALS, Flag, interrupt_once, stop_signals


@pytest.mark.long
def test_each_task_has_its_own_outcome():
    with pool.processes(2, "factorials") as workers:
        futures = [workers.submit(math.factorial, n) for n in (5, 3, 4)]
        assert [future.result() for future in futures] == [120, 6, 24]


@pytest.mark.long
def test_a_worker_that_dies_costs_its_own_task_and_is_replaced():
    with pool.processes(2, "doomed") as workers:
        sleeper, doomed = workers.submit(time.sleep, 5), workers.submit(os._exit, 1)
        with pytest.raises(pool.TaskLost, match="a worker process of doomed died"):
            doomed.result()
        assert workers.submit(math.factorial, 5).result() == 120
        assert sleeper.result() is None


def test_more_workers_than_files_may_be_open(monkeypatch):
    def no_more(*_, **__):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(pool, "ProcessPoolExecutor", no_more)
    told = pytest.raises(pool.WorkerDied, match=r"300 worker .* \(.*Too many open files\); take fewer --workers")
    with told, pool.processes(300, "factorials"):
        pass


@pytest.mark.long
def test_workers_that_die_one_after_the_other_are_the_end():
    with pool.processes(1, "doomed") as workers:
        errors = [type(workers.submit(os._exit, 1).exception()) for _ in range(2)]
        assert workers.submit(math.factorial, 5).result() == 120  # it works: they are counted anew
        errors += [type(workers.submit(os._exit, 1).exception()) for _ in range(3)]
        assert errors == [pool.TaskLost] * 4 + [pool.WorkerDied]
        with pytest.raises(pool.WorkerDied, match=r"4 worker processes of doomed died one after the other"):
            workers.submit(os._exit, 1).result()


def test_a_worker_that_imports_its_script_starts_no_others(monkeypatch):
    monkeypatch.setattr(multiprocessing.current_process(), "_inheriting", True, raising=False)
    with pytest.raises(pool.WorkerDied, match="below `if __name__ == '__main__':`"), pool.processes(1, "children"):
        pass


@pytest.mark.long
def test_a_script_without_a_guard_is_told_so(tmp_path):
    script = tmp_path / "mine.py"
    script.write_text(
        "import math\nfrom dnll_core.campaign import pool\n"
        "with pool.processes(2, 'mine') as workers:\n    workers.submit(math.factorial, 5).result()\n",
        encoding="utf-8",
    )
    environment = os.environ | {"PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, encoding="utf-8")
    told = "mine died before it was ready. A worker first imports the script that starts it, so a script does that"
    assert done.returncode != 0
    assert told in done.stderr.splitlines()[-1], done.stderr
    assert "memory" not in done.stderr


def test_after_an_interrupt_a_worker_begins_nothing(monkeypatch):
    begun = []

    def task(number):
        begun.append(number)
        if number == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(pool, "_interrupted", Flag())
    pool._unless_interrupted(task, 1)
    for number in (2, 3):
        with pytest.raises(KeyboardInterrupt):
            pool._unless_interrupted(task, number)
    assert begun == [1, 2]


@pytest.fixture
def handlers(monkeypatch):
    """Gives the handlers of this process back."""
    monkeypatch.setattr(pool, "_interrupted", Flag())
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_interrupts_a_task_and_not_a_worker_that_waits_for_one(handlers, number):
    def send(_=None):
        os.kill(os.getpid(), number)

    pool._begin({}, c_byte())
    with pytest.raises(KeyboardInterrupt):
        pool._unless_interrupted(send, None)
    pool._interrupted = Flag()
    send()  # between two tasks: nothing is raised
    with pytest.raises(KeyboardInterrupt):
        pool._unless_interrupted(pytest.fail, "begun")
    signal.signal(number, signal.SIG_IGN)  # by nohup, for example
    pool._begin({}, c_byte())
    assert signal.getsignal(number) is signal.SIG_IGN


@pytest.mark.parametrize("line", [1, 2, 3])
def test_a_signal_handler_may_be_interrupted_by_another_signal(line):
    """At any line of the setting of its flag: the second one's handler must not wait for the first one."""
    flag, lines = Flag(), []
    handle = interrupt_once(flag)

    def interrupt(frame, event, argument):
        if frame.f_code is type(flag).set.__code__ and event == "line":
            lines.append(frame.f_lineno)
            if len(lines) == line:
                with contextlib.suppress(KeyboardInterrupt):
                    handle(signal.SIGTERM, None)
        return interrupt

    def press():
        sys.settrace(interrupt)
        with contextlib.suppress(KeyboardInterrupt):
            handle(signal.SIGTERM, None)
        sys.settrace(None)

    thread = threading.Thread(target=press, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()
    assert flag.is_set()
    assert lines


def test_several_signals_are_one_interrupt_and_ctrl_c_is_always_one(monkeypatch):
    seen, now = [], 0.0
    monkeypatch.setattr(signals, "time", SimpleNamespace(monotonic=lambda: now))
    with stop_signals(interrupt_once(Flag())):
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGHUP, *3 * [signal.SIGINT], signal.SIGTERM):
            try:
                os.kill(os.getpid(), number)
            except KeyboardInterrupt:
                seen.append(number)
        now = signals.TOGETHER
        for number in (signal.SIGTERM, *3 * [signal.SIGINT]):
            try:
                os.kill(os.getpid(), number)
            except KeyboardInterrupt:
                seen.append(number)
    assert seen == [signal.SIGTERM, signal.SIGINT, signal.SIGINT]  # those within TOGETHER are one


def test_runs_of_a_process_share_their_data():
    fast = Experiment(method="supervised", labels=20, labelled_batch=20, unlabelled_batch=512, epochs=1)
    shared_data.cache_clear()
    first, second = (record_of(fast, 0) for _ in range(2))
    assert shared_data.cache_info().misses == 1
    assert shared_data.cache_info().hits == 1
    assert first["final"] == second["final"]


def _verified(_):
    """In a worker: what it knows to be verified."""
    return dict(prepared.VERIFIED)


@pytest.mark.long
def test_a_worker_takes_over_what_its_parent_has_verified(monkeypatch):
    known = {("a file.npz", 1, 2, 3): "its digest"}
    monkeypatch.setattr(pool, "VERIFIED", known)
    with pool.processes(1, "readers") as workers:
        assert workers.submit(_verified, None).result() == known


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
    (tmp_path / "orphans.py").write_text(ORPHANS, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(PACKAGE.parent)])}
    command = [sys.executable, str(tmp_path / "orphans.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8", env=environment) as parent:
        assert parent.stdout.readline() == "at work\n"
        parent.kill()
        parent.wait()
        assert parent.stdout.read() == "stopped\n"  # the end of the output: nobody holds it any more
