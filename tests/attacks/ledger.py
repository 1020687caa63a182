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
        "The same call goes on from the last checkpoint and ends as if nothing had happened, bit for bit.",
    ),
    "damaged": (
        "A file is damaged: checkpoint, record, benchmark, model or prepared data set",
        "An error names it and says what to do; nothing is read that was not written.",
    ),
    "disk": (
        "The disk is full, read-only, or the folder is deleted",
        "A warning; training goes on and ends the same, with a checkpoint as soon as there is room again. Before it "
        "began, or where another process has taken the folder, an error that names it.",
    ),
    "parameters": (
        "Parameters at the ends of what they take, or drawn at random",
        "A run, or before any work a message that names the field; what exceeds memory is refused with both numbers.",
    ),
    "numbers": (
        "Weights and images at the ends of what numbers can be; ten thousand iterations",
        "Every method stays finite or says that training diverged; memory stays as it was.",
    ),
    "folder": (
        "A folder of images is tiny, odd, or changes between two sittings",
        "Every method trains, or the message names the field or file; a run never goes on over other images.",
    ),
    "moved": (
        "A run goes on elsewhere: from a copy, with other threads, in another precision",
        "Bit for bit where all is the same; a warning where threads or precision are not; the record has each sitting.",
    ),
    "stranger": (
        "A file made by an attacker",
        "An error names it and says what to do, in seconds and within 1 GB of memory; nothing of it is run.",
    ),
    "signal": (
        "A campaign gets Ctrl-C, once or five times within a second, SIGTERM, SIGHUP, or ends by `timeout`",
        "It ends within seconds with one line; its runs have written checkpoints, and the same command goes on.",
    ),
    "worker": (
        "A process of a campaign dies: killed, crashed, or out of memory",
        "The other runs go on; a line says which one did not end, and the same command goes on with it.",
    ),
    "together": (
        "Two campaigns share a folder, or two processes use a data set for the first time at once",
        "Each run is carried out once, by one of them; the data set is prepared once, and both read it.",
    ),
    "scheduler": (
        "Workers of a Dask cluster are killed all the time, and its scheduler once",
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
        except (Exception, pytest.fail.Exception):
            self.failures.append(f"{attack}, {case}:\n{traceback.format_exc()}")
        finally:
            counts[2] += time.perf_counter() - began


class Ledger:
    """A pytest plugin that adds up what all tests tried, in all worker processes, and records it if FULL."""

    def __init__(self):
        self.counts = {name: [0, 0, 0.0] for name in ATTACKS}
        self.began = time.perf_counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
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
            "not_tried": NOT_TRIED,
            "hypothesis_seed": SEED,
            "device": compute.describe(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "commit": commit(),
            "seconds": round(time.perf_counter() - self.began),
            "finished": today(),
        }
