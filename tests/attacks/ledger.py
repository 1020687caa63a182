"""What is tried to break the project, how often, and what held: `make test-long` records it, `make test` tries a few.

A test of this folder takes the fixture `attempt`, and counts in it each thing that it tries:

    with attempt("killed", f"{method}, kill {n}"):
        ...  # an error in here is one that did not survive; the test goes on with the next, and fails at its end
"""

from __future__ import annotations

import contextlib
import os
import platform
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from dnll_core.checks import sealed
from dnll_core.common import atomic_file, today
from dnll_core.device import choose_compute
from dnll_core.provenance import commit
from dnll_core.results import to_json

FULL = os.environ.get("DNLL_ATTACKS") == "full"
SEED = 20230104  # of all that hypothesis draws
RECORD = Path(__file__).parents[2] / "data" / "results" / "reliability.json"

# name -> (what happens, what its user finds then), in the order of the README's table
ATTACKS = {
    "killed": (
        "A run is killed, at any moment",
        "With `checkpoint=`, the same call goes on from the last checkpoint (one every five minutes) and ends as if "
        "nothing had happened; on a CPU with the same software, bit for bit.",
    ),
    "damaged": (
        "A file is damaged: checkpoint, record, benchmark, model or prepared data set",
        "An error that names the file or its folder; what was changed is never used.",
    ),
    "disk": (
        "The disk is full, the folder is deleted, or it is read-only at the start",
        "Full: a warning; training goes on and ends the same, and the next checkpoint is tried after five minutes and "
        "at the end. Deleted: the folder is made anew. Read-only, or taken by another process: an error that names it. "
        "No room for a record or model: an error, and no half file.",
    ),
    "parameters": (
        "Parameters at the ends of what they take, or drawn at random",
        "At the ends: two iterations run, or a message names the field. Drawn: an `Experiment`, or a message that "
        "names the field. What surely does not fit into memory is refused at once, with what it takes and what is "
        "free.",
    ),
    "numbers": (
        "Weights and images at the ends of what numbers can be; ten thousand iterations of two methods",
        "Every method stays finite for two iterations, or a message says that training diverged; memory stays within "
        "16 MB.",
    ),
    "folder": (
        "A folder of images is tiny, has odd files, or changes between two calls",
        "Every method trains, or the message names the field or file. Over other images a run does not go on: the "
        "message says which files changed.",
    ),
    "moved": (
        "A run goes on in a copied folder, with other threads, or in another precision",
        "From a copy, bit for bit. With other threads or another precision, a warning, and the record lists each "
        "sitting, which is a start of the run.",
    ),
    "stranger": (
        "A file made by an attacker",
        "It is refused with an error that names it, or read as what it says it is; no code in it runs. At most a "
        "minute, and 1 GB beside the program.",
    ),
    "signal": (
        "A campaign gets Ctrl-C, once or five times within a second, SIGTERM, SIGHUP, or ends by `timeout`",
        "It ends within 30 seconds with one line; runs that had begun to train have checkpoints, and the same command "
        "goes on. Ctrl-C again within two seconds counts as the same; a later one stops at once and keeps the "
        "checkpoint before.",
    ),
    "worker": (
        "A process of a campaign dies: killed, crashed, or out of memory",
        "The other runs go on, the last line says what to do, and the same command does the rest. Where the campaign "
        "itself is killed, its workers end, too.",
    ),
    "together": (
        "Two campaigns share a folder, or two processes use a data set for the first time at once",
        "Each run is carried out once, by one of them; the data set is prepared once, and both read it.",
    ),
    "scheduler": (
        "One of two Dask workers is killed every 20 seconds and started again, and the scheduler once",
        "Runs go on with the workers that are there; after the scheduler's end the same command goes on.",
    ),
}
NOT_TRIED = {
    "a GPU": "the machine has none",
    "power loss": "needs a machine that one may switch off",
    "Windows and macOS": "no machine",
    "network file systems, several machines": "no machine",
}


def times(full: int, sample: int) -> int:
    """How often a thing is tried: by `make test-long`, and by `make test`."""
    return full if FULL else sample


class Attempts:
    """What one test tries."""

    def __init__(self):
        self.counts: dict[str, list] = {}  # attack -> tried, survived, seconds
        self.failures: list[str] = []

    @contextlib.contextmanager
    def __call__(self, attack: str, case: object) -> Iterator[None]:
        """One attempt. attack: of ATTACKS. case: what tells it from the others, for a message."""
        assert attack in ATTACKS
        counts, began = self.counts.setdefault(attack, [0, 0, 0.0]), time.perf_counter()
        counts[0] += 1
        try:
            yield
            counts[1] += 1
        except pytest.skip.Exception:
            counts[0] -= 1
            raise
        except (Exception, pytest.fail.Exception):
            self.failures.append(f"{attack}, {case}:\n{traceback.format_exc()}")
        finally:
            counts[2] += time.perf_counter() - began


class Ledger:
    """A pytest plugin that adds up what all tests tried, in all worker processes, and records it if FULL."""

    def __init__(self):
        self.counts = {name: [0, 0, 0.0] for name in ATTACKS}
        self.not_tried = {
            what: why for what, why in NOT_TRIED.items() if what != "a GPU" or not torch.cuda.is_available()
        }
        self.began = time.perf_counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and "attacks/" in report.nodeid:
            self.not_tried[report.nodeid.split("::")[-1]] = report.longrepr[2].removeprefix("Skipped: ")
        for key, value in report.user_properties if report.when == "teardown" else ():
            if key == "attempts":
                for name, counts in value.items():
                    self.counts[name] = [a + b for a, b in zip(self.counts[name], counts, strict=True)]

    def pytest_terminal_summary(self, terminalreporter) -> None:
        terminalreporter.section(f"attacks; hypothesis draws with seed {SEED}")
        for name, (tried, survived, seconds) in self.counts.items():
            terminalreporter.write_line(f"{name:12} {tried:5} tried, {survived:5} survived, {seconds:7.1f} s")
        if all(tried for tried, _, _ in self.counts.values()):
            with atomic_file(RECORD) as file:
                file.write((to_json(sealed(self.content())) + "\n").encode())
            terminalreporter.write_line(f"recorded in {RECORD}")
        else:
            terminalreporter.write_line("not recorded, as not all were tried")

    def content(self) -> dict:
        compute = choose_compute()
        return {
            "attacks": [
                {"what": ATTACKS[name][0], "then": ATTACKS[name][1], "tried": tried, "survived": survived}
                for name, (tried, survived, _) in self.counts.items()
            ],
            "not_tried": self.not_tried,
            "hypothesis_seed": SEED,
            "device": compute.describe(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "commit": commit(),
            "seconds": round(time.perf_counter() - self.began),
            "finished": today(),
        }
