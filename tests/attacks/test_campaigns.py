"""Campaigns on this machine under fire: signals of all kinds, workers that die, and two who do the same at once."""

import contextlib
import fcntl
import functools
import itertools
import multiprocessing
import os
import random
import select
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest
from attacks.ledger import FULL, times
from campaign.test_tasks import LONGER, lasting

from data import test_data
from dnll_core import results
from dnll_core.campaign.tasks import checkpoint_step
from dnll_core.campaign.worker import CHECKPOINTS
from dnll_core.config import Experiment
from dnll_core.data import load_data, prepared
from dnll_core.provenance import PACKAGE

SEEDS, WORKERS = 3, 2
WITHIN = 30  # seconds, on a busy machine; an iteration takes a hundredth of one
RUN = LONGER.replace(epochs=20, eval_every=10)
SCRIPT = """
import os
from pathlib import Path

import torch

from dnll_core.campaign import command
from dnll_core.config import Experiment
from dnll_core.study.experiments import CAMPAIGNS, Campaign
from dnll_core.trainer import Trainer

step = Trainer.train_step

def at_work(self, i):
    Path(f"at-work-{os.getpid()}").touch()
    DOOM
    return step(self, i)

Trainer.train_step = at_work  # workers import this script

if __name__ == "__main__":
    CAMPAIGNS["many"] = Campaign(lambda: [Experiment(**fields) for fields in RUNS], range(SEEDS))
    command.as_program(lambda: command.main(["many", "--uncommitted", *WORDS]))
"""


def script(runs: Sequence[Experiment], seeds: int, *words: str, doom: str = "pass") -> str:
    """A command of these runs with so many seeds. words: further options. doom: is carried out at each iteration."""
    values = {"RUNS": repr([run.to_dict() for run in runs]), "SEEDS": str(seeds), "WORDS": repr(words), "DOOM": doom}
    return functools.reduce(lambda text, name: text.replace(name, values[name]), values, SCRIPT)


RUNS = script([RUN], SEEDS, "--workers", str(WORKERS))
MESSAGE = "interrupted; the same command goes on"


class Crew:
    """A campaign as one starts it, in a session of its own.

    folder: it runs there, so two of them in one folder share their records. terminal: it has one of its own, where
    Ctrl-C is a key. before: what stands before the command. script: what it runs.
    """

    def __init__(self, folder: Path, terminal: bool = False, before: tuple[str, ...] = (), script: str = RUNS):
        folder.mkdir(exist_ok=True)
        name = f"{time.monotonic_ns()}"
        (folder / f"{name}.py").write_text(script, encoding="utf-8")
        self.folder, self.log, self.hung_up, self.keys = folder, folder / f"{name}.txt", threading.Event(), None
        how = {"cwd": folder, "env": {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}, "start_new_session": True}
        words = [*before, sys.executable, str(folder / f"{name}.py")]
        if not terminal:
            with open(self.log, "wb") as log:
                self.process = subprocess.Popen(words, **how, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            return
        self.keys, screen = os.openpty()
        how |= dict.fromkeys(("stdin", "stdout", "stderr"), screen)
        self.process = subprocess.Popen(words, **how, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        os.close(screen)
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self) -> None:
        with open(self.log, "wb") as log, contextlib.suppress(OSError):  # the end of the last who had it open
            while not self.hung_up.is_set():
                if select.select([self.keys], [], [], 0.05)[0]:
                    log.write(os.read(self.keys, 4096))
                    log.flush()
        os.close(self.keys)

    @property
    def printed(self) -> str:
        """Without what the terminal echoes of a key."""
        return self.log.read_text(encoding="utf-8", errors="replace").replace("^C", "")

    @property
    def steps(self) -> list[int]:
        """At which iteration the checkpoints of runs are that have no record yet."""
        return [checkpoint_step(run) for run in self.folder.glob(f"runs/campaign/many/{CHECKPOINTS}/*")]

    def workers(self) -> list[psutil.Process]:
        found = []
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.process.pid).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):  # or a zombie
                    found += [child] if "spawn_main" in " ".join(child.cmdline()) else []
        return found

    def at_work(self) -> list[psutil.Process]:
        """The workers that have come to a first iteration."""
        return [worker for worker in self.workers() if (self.folder / f"at-work-{worker.pid}").exists()]

    def wait_until(self, what) -> None:
        deadline = time.monotonic() + 90
        while not what():
            assert self.process.poll() is None and time.monotonic() < deadline, self.printed
            time.sleep(0.02)

    def ended(self, within: float = 300) -> int:
        """Its exit status, when all of its processes have ended, which may take so many seconds."""
        deadline = time.monotonic() + within
        try:
            status = self.process.wait(within)
        except subprocess.TimeoutExpired:
            pytest.fail(f"it goes on: {self.printed}")
        while psutil.pid_exists(self.process.pid) or self._group():
            assert time.monotonic() < deadline, f"orphans: {self._group()}"
            time.sleep(0.05)
        return status

    def _group(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
                if os.getsid(process.pid) == self.process.pid and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def __enter__(self) -> "Crew":
        return self

    def __exit__(self, *_) -> None:
        for process in self._group():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait(10)
        self.hung_up.set()
        if self.keys is not None:
            self.reader.join()


def as_one_sitting(record: dict) -> dict:
    """All of a record but when it took place, how long it took, and in how many sittings."""
    sittings = record["sittings"]
    places = [{**each, "iterations": None, "seconds": None} for each in sittings]
    assert places == len(places) * places[:1]
    return lasting({**record, "sittings": [places[0] | {"iterations": sum(each["iterations"] for each in sittings)}]})


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> list[dict]:
    with Crew(tmp_path_factory.mktemp("undisturbed")) as crew:
        assert crew.process.wait(300) == 0, crew.printed
    return [as_one_sitting(record) for record in results.load(crew.folder / "runs")]


def goes_on(folder: Path, undisturbed: list[dict]) -> None:
    """The same command ends it, and the records are those of a campaign that nothing happened to."""
    with Crew(folder) as crew:
        assert crew.process.wait(300) == 0, crew.printed
    assert "Traceback" not in crew.printed
    assert [as_one_sitting(record) for record in results.load(folder / "runs")] == undisturbed
    assert not any((folder / "runs" / "campaign" / "many" / CHECKPOINTS).iterdir())


# -- signals -----------------------------------------------------------------------------------------------------------


def key(crew: Crew, presses: int = 1) -> None:
    for _ in range(presses):
        with contextlib.suppress(OSError):  # it has ended
            os.write(crew.keys, b"\x03")
        time.sleep(random.uniform(0.01, 0.2))


def to_process(crew: Crew, number: int) -> None:
    crew.process.send_signal(number)


def to_all(crew: Crew, number: int) -> None:
    for _ in range(2):  # some send it twice
        with contextlib.suppress(ProcessLookupError):
            os.killpg(crew.process.pid, number)


SIGNALS = {
    "Ctrl-C": (True, key),
    "Ctrl-C five times": (True, lambda crew: key(crew, 5)),
    "SIGINT to the process": (False, lambda crew: to_process(crew, signal.SIGINT)),
    "SIGTERM to the process": (False, lambda crew: to_process(crew, signal.SIGTERM)),
    "SIGTERM to all": (False, lambda crew: to_all(crew, signal.SIGTERM)),
    "SIGHUP to all": (False, lambda crew: to_all(crew, signal.SIGHUP)),
    "the terminal is closed": (True, lambda crew: crew.hung_up.set()),
    "timeout": (False, lambda crew: to_process(crew, signal.SIGALRM)),  # its clock
}


@pytest.mark.skipif(not FULL, reason="takes minutes")
def test_signals(attempt, tmp_path, undisturbed):
    """Each way twice on one campaign, which then goes on to its end."""
    for n, how in enumerate([*SIGNALS, *["Ctrl-C five times"] * 3]):
        terminal, send = SIGNALS[how]
        for when in ("starting", "training"):
            moment = random.Random(f"{n}, {when}").uniform(0.1, 1)
            with attempt("signal", f"{how}, {when}, {moment:.2f} s"):
                before = ("timeout", "1000") if how == "timeout" else ()
                with Crew(tmp_path / str(n), terminal, before) as crew:
                    crew.wait_until(crew.workers if when == "starting" else lambda: len(crew.at_work()) == WORKERS)
                    time.sleep(moment)
                    send(crew)
                    status = crew.ended(WITHIN)
                assert status == (124 if before else 1), crew.printed
                assert "Traceback" not in crew.printed
                if how != "the terminal is closed":
                    assert crew.printed.strip().splitlines()[-1] == MESSAGE
                    assert crew.printed.count(MESSAGE) == 1
                if when == "training":
                    assert crew.steps and all(crew.steps)
                    goes_on(crew.folder, undisturbed)


# -- processes that die ------------------------------------------------------------------------------------------------

ONCE = "if self.step == 20 and not os.path.exists('doomed'): open('doomed', 'x').close(); "
DEATHS = {
    "SIGKILL": lambda crew: crew.at_work()[0].send_signal(signal.SIGKILL),
    "SIGSEGV": lambda crew: crew.at_work()[1].send_signal(signal.SIGSEGV),
    "SIGABRT": lambda crew: crew.at_work()[0].send_signal(signal.SIGABRT),
    "os._exit": ONCE + "os._exit(0)",
    "out of memory": ONCE + "bytearray(1 << 60)",
    "out of memory, in torch": ONCE + "torch.empty(1 << 60, dtype=torch.uint8)",
    "the campaign itself": lambda crew: crew.process.kill(),
}


@pytest.mark.skipif(not FULL, reason="takes minutes")
def test_processes_that_die(attempt, tmp_path, undisturbed):
    for n, how in enumerate([*DEATHS, "the campaign itself"]):
        what, moment, folder = DEATHS[how], random.Random(n).uniform(0, 1), tmp_path / str(n)
        with attempt("worker", f"{how}, {moment:.2f} s"):
            doom = what if isinstance(what, str) else "pass"
            with Crew(folder, script=script([RUN], SEEDS, "--workers", str(WORKERS), doom=doom)) as crew:
                if not isinstance(what, str):
                    crew.wait_until(lambda: len(crew.at_work()) == WORKERS)
                    time.sleep(moment)
                    what(crew)
                if how == "the campaign itself":
                    assert crew.ended(WITHIN) == -signal.SIGKILL
                else:
                    assert crew.ended() == 1, crew.printed
                    assert "memory" in crew.printed.strip().splitlines()[-1]
                    assert "same command" in crew.printed.strip().splitlines()[-1]
                    assert len(results.load(folder / "runs")) == SEEDS - 1
                assert "Traceback" not in crew.printed
                goes_on(folder, undisturbed)


# -- at once -----------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not FULL, reason="takes minutes")
@pytest.mark.parametrize("killed", [False, True])
def test_two_campaigns_share_a_folder(attempt, tmp_path, undisturbed, killed):
    for n in range(2):
        with attempt("together", f"two campaigns, {n}"), Crew(tmp_path / str(n)) as one, Crew(tmp_path / str(n)) as two:
            if killed:
                one.wait_until(one.at_work)
                one.process.kill()
            else:
                assert one.process.wait(300) == 0, one.printed
            assert two.process.wait(300) == 0, two.printed
            if not killed:
                assert (one.printed + two.printed).count(" begun") == SEEDS
            assert "Traceback" not in one.printed + two.printed
            goes_on(tmp_path / str(n), undisturbed)


originals = test_data.originals  # a fixture


def first_use(root: Path, name: str, barrier) -> None:
    real = prepared._read_originals

    def noted(*where) -> dict:
        with open(root / "prepared", "a", encoding="utf-8") as file:
            file.write("once ")
        time.sleep(0.1)
        return real(*where)

    prepared._read_originals = noted
    barrier.wait(60)
    load_data(name, root, progress=False)


def test_two_processes_use_a_data_set_for_the_first_time(attempt, tmp_path, originals):
    """Forked, so that they know the small originals."""
    fork = multiprocessing.get_context("fork")
    for name, n in itertools.product(test_data.PREPARED, range(times(4, 1))):
        root = tmp_path / f"{name}{n}"
        with attempt("together", f"{name}, {n}"):
            arrays = originals(name, root / "raw" / name / ("MNIST/raw" if name == "mnist" else ""))
            barrier = fork.Barrier(2)
            both = [fork.Process(target=first_use, args=(root, name, barrier)) for _ in range(2)]
            for each in both:
                each.start()
            for each in both:
                each.join(60)
            assert [each.exitcode for each in both] == [0, 0]
            assert (root / "prepared").read_text(encoding="utf-8") == "once "
            test_data.assert_holds(load_data(name, root, download=False, progress=False), arrays)
