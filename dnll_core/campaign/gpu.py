"""Some minutes on a rented GPU by one command: what tells most first, and everything in one file to bring home.

    python -m dnll_core.campaign.gpu --minutes 12 --out DIR                     # or: make gpu MINUTES=12 OUT=DIR
    python -m dnll_core.campaign.gpu --minutes 3 --out DIR --profile quick      # to try it out, on any CPU

First the tests that need a GPU, for 80 s at most; if they do not pass, no iteration is captured from there on. Then the
benchmarks of Table 7 and of WRN-28-2. Then cells of the tables that neither DIR nor data/results has: DNLL, the tables
in turn; supervised-only; the others by priority. One is begun only if its estimate fits into what is left. The same
command with the same DIR goes on where this one ended.

DIR/results.tar.gz holds log, benchmarks and records; it is renewed every minute and after each step.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib.util
import itertools
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
import traceback
from pathlib import Path

import torch

from dnll_core import results
from dnll_core.bench import suite
from dnll_core.bench.measure import save
from dnll_core.bench.report import describe
from dnll_core.campaign.archive import Archive
from dnll_core.campaign.command import as_program, check_commit, ends_with_messages
from dnll_core.campaign.estimates import Expected
from dnll_core.campaign.plan import TABLES as TABLE_RECORDS
from dnll_core.campaign.plan import missing, rename_checkpoints, table_tasks
from dnll_core.campaign.pool import Pool, WorkerDied, processes
from dnll_core.campaign.tasks import run_tasks
from dnll_core.campaign.worker import Task, shared_data
from dnll_core.common import atomic_file, positive, program, user_path
from dnll_core.config import ConfigError
from dnll_core.data.errors import DataError
from dnll_core.datafiles import from_json, read_whole
from dnll_core.provenance import COMMIT, PACKAGE, commit, source_hash
from dnll_core.study.tables import PROFILES, TABLES

TESTS = PACKAGE.parent / "tests"  # of a clone
TESTS_SECONDS = 80.0  # at most
BENCHMARKS = {"quick": ("small",)}  # by profile; of the others:
OWN_BENCHMARKS = ("table7", "wrn28-2")
FIRST = ("dnll", "supervised")  # without the second the others cannot be read


def tests_pass(archive: Archive, seconds: float) -> bool:
    """Whether the tests that need a GPU pass in so many seconds, in a process of their own; the folder remembers it."""
    note, about = archive.out / "tests.json", {"source_sha256": source_hash(), "device": suite.machine()}
    if note.exists() and about.items() <= (told := from_json(read_whole(note))).items():
        archive.say(f"{note} says that the tests {'passed' if told['passed'] else 'did not pass'} before")
        return told["passed"]
    if not TESTS.is_dir():
        archive.say(f"there are no tests at {TESTS}, so iterations run uncaptured; a clone of the repository has them")
        return False
    files = [str(path) for path in sorted(TESTS.rglob("test_*.py")) if "mark.gpu" in path.read_text(encoding="utf-8")]
    workers = ["-n", str(min(6, os.cpu_count() or 1))] if importlib.util.find_spec("xdist") else []
    words = [sys.executable, "-m", "pytest", "-m", "gpu", "-p", "no:cacheprovider", *workers, *files]
    printed, code = archive.out / "tests.txt", None
    with open(printed, "wb") as file:
        process = subprocess.Popen(
            words, cwd=TESTS.parent, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = process.wait(seconds)
        finally:
            if process.poll() is None:  # it and the workers that it started
                os.killpg(process.pid, signal.SIGKILL) if hasattr(os, "killpg") else process.kill()
                process.wait()
    lines = printed.read_text(encoding="utf-8", errors="replace").splitlines()
    told = [line for line in lines if line.startswith(("FAILED", "ERROR"))] + lines[-1:]
    archive.say("\n  ".join(["the tests that need a GPU" + (", stopped: too slow" if code is None else ""), *told]))
    with atomic_file(note) as file:
        file.write(json.dumps(about | {"passed": code == 0}).encode())
    return code == 0


def run_benchmarks(archive: Archive, names: tuple[str, ...], capture: bool) -> None:
    """Those that the folder does not have; uncaptured under another name, because their times are others."""
    for name in names:
        path = archive.out / "bench" / f"{name}-{'' if capture else 'uncaptured-'}{suite.machine()}.json"
        if path.exists():
            continue
        try:
            record = suite.run(name, **{} if capture else {"step": "uncaptured"})
            save(record, path)
            text = describe(record)
        except Exception:  # the cells do not depend on it
            text = traceback.format_exc()
        archive.say(f"benchmark {name}\n{text}")
        archive.pack()


# -- the cells ---------------------------------------------------------------------------------------------------------


def in_order(numbers: list[int], profile: str, seeds: int | None, out: Path) -> list[Task]:
    """The runs of some tables. Of each method of FIRST one table's best, the next one's, ...; then the others."""
    apart = [table_tasks([number], profile, seeds, out) for number in numbers]
    ordered = []
    for method in FIRST:
        of_tables = [[task for task in tasks if task.config.method == method] for tasks in apart]
        ordered += [task for turn in itertools.zip_longest(*of_tables) for task in turn if task is not None]
    return list({task.name: task for task in ordered + table_tasks(numbers, profile, seeds, out)}.values())


def why_absent(images: tuple[str, int | None]) -> str:
    """In a worker: loads (data set, size) for its runs; "", or why it cannot be had."""
    socket.setdefaulttimeout(10.0)  # a machine without a way out must not wait for it
    try:
        shared_data(images[0], None, size=images[1], progress=False)  # as `train` asks for it
    except DataError as error:
        return str(error).partition("\n")[0]
    return ""


def run_cells(archive: Archive, left: list[Task], pool: Pool, expected: Expected, stop_at: float) -> bool:
    """Takes cells from `left` as long as one fits. False if the worker cannot be trusted any more."""
    while left:
        for task in left:
            seconds = expected.seconds(task, pool)
            if seconds is not None and time.time() + seconds < stop_at:
                break
        else:
            break
        left.remove(task)
        archive.say(f"{task.title}, seed {task.seed}: begun, {seconds:.0f} s of {stop_at - time.time():.0f} s")
        report = run_tasks([task], pool, stop_at=stop_at, progress=False)
        for _, record in report.recorded:
            rows = [row["test"]["submodels"] for row in record["history"] if "test" in row][::-5][::-1]
            curve = " ".join(f"{100 * statistics.fmean(submodels):.1f}" for submodels in rows)
            how = "captured" if "capture_seconds" in record else "not captured"
            archive.say(f"{task.title}: {record['seconds']:.1f} s, {how}; % at each fifth evaluated epoch: {curve}")
        for what in (*report.failures, *["not ended in time, no record"] * len(report.unfinished)):
            archive.say(f"{task.title}: {what}")
        archive.pack()
        if any("CUDA" in failure for failure in report.failures):
            return False
    return True


# -- the command -------------------------------------------------------------------------------------------------------


def session(archive: Archive, options: argparse.Namespace) -> None:
    """Tests, benchmarks and cells, as the command names them, before its minutes are over."""
    stop_at = archive.began + 60 * options.minutes - min(10.0, 6.0 * options.minutes)  # the rest is for ending in order
    archive.say(f"{options.minutes:g} minutes on {suite.machine()}, torch {torch.__version__}, commit {options.commit}")
    if options.commit is None:
        archive.say("records will not say of which commit they are: see --commit")
    if not torch.cuda.is_available():
        archive.say("there is no CUDA device: the tests that need one skip themselves")
        if options.profile != "quick":
            archive.say(f"benchmarks and cells of profile {options.profile} are skipped; --profile quick runs on a CPU")
            tests_pass(archive, min(TESTS_SECONDS, stop_at - time.time()))
            return
    plan = options.tables, options.profile, options.seeds
    rename_checkpoints(archive.out / TABLE_RECORDS)
    new = {task.name for task in missing(in_order(*plan, results.root()))}
    left = [task for task in missing(in_order(*plan, archive.out)) if task.name in new]
    capture, complete = None, False
    for _ in range(3):  # workers, one after the other
        with contextlib.suppress(WorkerDied), processes(1, "the cells") as pool:
            sets = dict.fromkeys((task.config.dataset, task.config.size) for task in left)
            absent = {of: pool.submit(why_absent, of) for of in sets}  # meanwhile
            if capture is None:
                capture = tests_pass(archive, min(TESTS_SECONDS, stop_at - time.time()))
                if not capture:
                    archive.say("they did not pass: iterations are not captured from here on, which is slower")
                archive.pack()
                run_benchmarks(archive, BENCHMARKS.get(options.profile, OWN_BENCHMARKS), capture)
                left = [dataclasses.replace(task, capture=capture) for task in left]
                expected = Expected(archive.out, capture)
            for (dataset, size), future in absent.items():
                if why := future.result():
                    archive.say(f"no cells of {dataset}: {why}")
                    left = [t for t in left if (t.config.dataset, t.config.size) != (dataset, size)]
            complete = run_cells(archive, left, pool, expected, stop_at)
        if complete:
            break
        archive.say("a worker was lost")
    for kind, error in expected.timed.items():
        if isinstance(error, Exception):
            archive.say(f"iterations of {kind} could not be timed: {type(error).__name__}: {error}")
    archive.say(f"{len(left)} cells not begun" + "".join(f"; {task.title}, seed {task.seed}" for task in left))


def parser() -> argparse.ArgumentParser:
    made = program("dnll_core.campaign.gpu", __doc__)
    option = made.add_argument
    option("--minutes", type=float, default=12.0, metavar="N", help="of this command, all in all (default 12)")
    option("--out", type=user_path, default=Path("runs/gpu"), metavar="DIR", help="of everything (default runs/gpu)")
    option("--archive", type=user_path, metavar="FILE", help="in the place of DIR/results.tar.gz")
    option(
        "--tables",
        nargs="+",
        type=int,
        choices=TABLES,
        default=[4, 1, 2],
        metavar="N",
        help="of the paper (default 4 1 2)",
    )
    option("--profile", choices=PROFILES, default="short", help="size of the runs (default short)")
    option("--seeds", type=positive, metavar="N", help="0, 1, ... of each cell (default: those of the profile)")
    what = f"that the files were copied from, where git cannot say it; or set {COMMIT}"
    option("--commit", metavar="ID", help=what)
    option("--uncommitted", action="store_true", help="record though the package has uncommitted changes")
    return made


def main(arguments: list[str] | None = None) -> None:
    made = parser()
    options = made.parse_args(arguments)
    if not options.minutes > 0:
        made.error(f"--minutes takes a number above 0, not {options.minutes!r}")
    with ends_with_messages(OSError, ValueError):
        given = options.commit
        if given is not None:
            os.environ[COMMIT] = given  # workers inherit it
            commit.cache_clear()
        options.commit = commit()
        if given is not None and not options.commit.startswith(given[:12]):
            raise ConfigError(f"--commit {given}: this is a checkout of {options.commit}; leave --commit out.")
        check_commit(options.uncommitted)
        out = options.out.resolve()
        archive = Archive(out, (options.archive or out / "results.tar.gz").resolve())
        with archive.renewed():
            try:
                session(archive, options)
            except KeyboardInterrupt:
                archive.say("interrupted")
                raise
            except Exception as error:  # the log is what comes home
                archive.say(str(error) if isinstance(error, ConfigError) else traceback.format_exc())
                raise
    print(f"bring home {archive.path}")


if __name__ == "__main__":
    as_program(main)
