"""Campaigns on Dask's workers under fire: workers that are killed all the time, a scheduler that is killed once."""

import itertools
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from attacks.ledger import FULL
from attacks.test_campaigns import MESSAGE, WITHIN, Crew, as_one_sitting, key, script
from campaign.test_tasks import LONGER
from needed import needed

from dnll_core import results
from dnll_core.provenance import PACKAGE

needed("distributed", extra="dask")

pytestmark = pytest.mark.skipif(not FULL, reason="takes minutes")

METHODS, SEEDS = ("supervised", "dnll", "mean-teacher", "pseudo-label"), 10
RUNS = [LONGER.replace(method=method, epochs=80, eval_every=20) for method in METHODS]
KILLED_EVERY = 20.0  # seconds
GONE = "the Dask scheduler is gone; run the same command again."


class Cluster:
    """A scheduler and two workers, each a process of its own, and each started again at once when it ends."""

    def __init__(self, folder: Path):
        folder.mkdir()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address, self.over, self.kills = f"tcp://127.0.0.1:{port}", threading.Event(), {}
        quiet = ["--no-dashboard", "--host", "127.0.0.1"]
        worker = [
            "dask_worker",
            self.address,
            "--no-nanny",
            "--nthreads",
            "1",
            "--local-directory",
            str(folder),
            *quiet,
        ]
        scheduler = ["dask_scheduler", "--port", str(port), *quiet]
        self.words, self.log = {"scheduler": scheduler, 1: worker, 2: worker}, folder / "log.txt"
        self.processes = {who: self._start(who) for who in self.words}
        self.keeper = threading.Thread(target=self._keep)
        self.keeper.start()

    def _start(self, who: str | int) -> subprocess.Popen:
        words = [sys.executable, "-m", f"distributed.cli.{self.words[who][0]}", *self.words[who][1:]]
        environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
        with open(self.log, "ab") as log:
            return subprocess.Popen(words, env=environment, stdout=log, stderr=log)

    def _keep(self) -> None:
        while not self.over.wait(0.1):
            for who, process in self.processes.items():
                if process.poll() is not None:
                    self.processes[who] = self._start(who)

    def kill(self, who: str | int) -> None:
        self.processes[who].kill()
        self.kills[who] = self.kills.get(who, 0) + 1

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(self, *_) -> None:
        self.over.set()
        self.keeper.join()
        for process in self.processes.values():
            process.kill()
            process.wait(10)


def test_forty_runs_while_workers_and_scheduler_are_killed(attempt, tmp_path):
    began = time.monotonic()
    with Crew(tmp_path / "local", script=script(RUNS, SEEDS, "--workers", "2")) as crew:
        assert crew.process.wait(900) == 0, crew.printed
    expected = {(r["experiment"]["method"], r["seed"]): as_one_sitting(r) for r in records_in(crew.folder)}
    assert len(expected) == len(METHODS) * SEEDS
    halfway = time.monotonic()
    folder, commands, next_kill, victims = tmp_path / "cluster", [], None, itertools.cycle((1, 2))
    with Cluster(tmp_path / "dask") as cluster:
        while not commands or (commands[-1].process.returncode != 0 and len(commands) < 5):
            with Crew(folder, script=script(RUNS, SEEDS, "--scheduler", cluster.address)) as crew:
                commands.append(crew)
                while crew.process.poll() is None and time.monotonic() < halfway + 900:
                    time.sleep(0.1)
                    done = len(records_in(folder))
                    if next_kill is None or time.monotonic() > next_kill:
                        if next_kill is not None:
                            cluster.kill(next(victims))
                        next_kill = time.monotonic() + KILLED_EVERY
                    if done >= len(expected) // 2 and "scheduler" not in cluster.kills:
                        cluster.kill("scheduler")
    found = {(r["experiment"]["method"], r["seed"]): as_one_sitting(r) for r in records_in(folder)}
    print(
        f"local {halfway - began:.0f} s, cluster {time.monotonic() - halfway:.0f} s, killed {cluster.kills}, ", end=""
    )
    print(f"commands {[crew.process.returncode for crew in commands]}")
    for crew in commands:
        print(crew.printed)
    for run, record in expected.items():
        with attempt("scheduler", run):
            assert found.get(run) == record
    with attempt("scheduler", "what is said"):
        assert all("Traceback" not in crew.printed for crew in commands)
        assert GONE in [crew.printed.strip().splitlines()[-1] for crew in commands]
        assert all("the same command" in crew.printed.strip().splitlines()[-1] for crew in commands[:-1])


def records_in(folder: Path) -> list[dict]:
    return results.load(folder / "runs") if (folder / "runs").exists() else []


def test_a_cluster_of_this_machine_listens_to_it_alone_and_ends_in_order(attempt, tmp_path):
    with (
        attempt("scheduler", "who may connect"),
        Crew(tmp_path / "here", terminal=True, script=script(RUNS[:1], 2, "--dask", "2")) as crew,
    ):
        crew.wait_until(lambda: len(list(crew.folder.glob("at-work-*"))) == 2)
        everybody = [psutil.Process(crew.process.pid), *psutil.Process(crew.process.pid).children(recursive=True)]
        listening = [c.laddr.ip for p in everybody for c in p.net_connections("inet") if c.status == psutil.CONN_LISTEN]
        assert len(listening) >= 3  # the scheduler, its pages, workers
        assert set(listening) <= {"127.0.0.1", "::1"}
        key(crew, 5)
        assert crew.ended(WITHIN) == 1
        assert "Traceback" not in crew.printed
        assert crew.printed.strip().splitlines()[-1] == MESSAGE
        assert crew.steps and all(crew.steps)
