"""Many runs, recorded: the only way in which training records reach `data/results`.

    python -m dnll_core.campaign quickstart --workers 2 --out data/results
    python -m dnll_core.campaign --profile short --tables 4 1 2 --minutes 25    # the paper's tables, see `cells`
    python -m dnll_core.campaign --profile paper --tables 5 --dry-run           # what would be run, and for how long

Runs that are recorded already are left out and unfinished ones go on from their checkpoints, so a campaign that was
interrupted, or whose --minutes were over, is continued by the same command; a run that fails is reported at the end and
the others go on. It also goes on by the same command on another machine to which the folder of --out was copied.
A record names the commit that made it, so nothing is recorded while the package has uncommitted changes. Long runs are
started from a worktree, whose files nobody edits meanwhile: git worktree add ../dnll-runs HEAD.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from tqdm import tqdm

from dnll_core import results
from dnll_core.bars import in_words
from dnll_core.campaign import estimates
from dnll_core.campaign.plan import campaign_tasks, missing, rename_checkpoints, table_tasks
from dnll_core.campaign.pool import Pool, WorkerDied, processes
from dnll_core.campaign.tasks import Report, run_tasks
from dnll_core.campaign.worker import Task
from dnll_core.common import NoHome, positive, program, tell, unknown, user_path
from dnll_core.config import ConfigError
from dnll_core.provenance import commit
from dnll_core.signals import STOP_SIGNALS, Flag, interrupt_once, stop_signals
from dnll_core.study import tables
from dnll_core.study.experiments import CAMPAIGNS

INTERRUPTED = "interrupted; the same command goes on"

# -- the command -------------------------------------------------------------------------------------------------------


def parser() -> argparse.ArgumentParser:
    made = program("dnll_core.campaign", __doc__)
    what = made.add_argument_group("what is run").add_argument
    what("names", nargs="*", metavar="NAME", help=f"any of: {', '.join(CAMPAIGNS)}")
    what("--tables", nargs="+", type=int, default=[], metavar="N", help="of the paper: 1 to 6, in this order")
    what("--profile", help=f"size of the tables' runs: {', '.join(tables.PROFILES)} (default quick)")
    what("--dataset", help="of the tables' runs, in the place of the profile's")
    usual = ", ".join(f"{seeds} if {profile}" for profile, seeds in tables.SEEDS.items())
    what("--seeds", type=positive, metavar="N", help=f"how many of each (default: a campaign's; of tables {usual})")
    what("--dry-run", action="store_true", help="print what would be run, and how long it takes by the records")
    add_where(made, Path("runs/campaign"), "folder of the records' folders")
    return made


def add_where(made: argparse.ArgumentParser, out: Path, what: str) -> None:
    """The options that say where runs take place, and for how long. out: the default of --out, which is `what`."""
    where = made.add_argument_group("where")
    where.add_argument("--out", type=user_path, default=out, help=f"{what} (default {out})")
    where.add_argument("--minutes", type=positive, metavar="N", help="stop, with checkpoints, before they are over")
    pools = where.add_mutually_exclusive_group().add_argument
    pools("--workers", type=positive, default=1, metavar="N", help="processes, one thread each (default 1)")
    pools("--dask", type=positive, metavar="N", help="Dask worker processes on this machine instead")
    pools("--scheduler", metavar="ADDRESS", help="the workers of a Dask scheduler instead, tcp://HOST:PORT")
    where.add_argument("--uncommitted", action="store_true", help="record though the package has uncommitted changes")


def planned(options: argparse.Namespace) -> list[Task]:
    """All runs that the command names, recorded or not."""
    out, tasks = options.out.resolve(), []
    dataset = options.dataset
    if not options.tables and (dataset is not None or options.profile is not None):
        raise ConfigError("--profile and --dataset are for --tables; a named campaign has its own.")
    if dataset is not None and dataset.startswith("folder:") and dataset != "folder:":
        folder = user_path(dataset.removeprefix("folder:")).resolve()  # one name, wherever it is called from
        if not os.path.isdir(folder):  # a dry run reads no images
            raise ConfigError(f"--dataset {dataset}: there is no folder {folder}.")
        dataset = f"folder:{folder}"
    for name in options.names:
        if name not in CAMPAIGNS:
            raise ConfigError(unknown("campaign", name, CAMPAIGNS))
        tasks += campaign_tasks(name, options.seeds, out)
    if options.tables:
        tasks += table_tasks(options.tables, options.profile or "quick", options.seeds, out, dataset)
    elif not options.names:
        raise ConfigError(f"name a campaign ({', '.join(CAMPAIGNS)}), or --tables.")
    return tasks


def describe(tasks: list[Task], out: Path) -> str:
    """One line for each run, with the time to expect, judged by records and benchmarks, and what they come to."""
    known = estimates.measured({results.root(), out.resolve()})
    seconds = [estimates.seconds_left(task, known) for task in tasks]
    lines = [f"{in_words(s):>9}  {task.name}  {task.title}".rstrip() for task, s in zip(tasks, seconds)]
    times = [s for s in seconds if s is not None]
    total = f"{len(tasks)} runs: {in_words(sum(times))} for {len(times)} of them one after the other"
    return "\n".join([*lines, f"{total}, not known for {len(tasks) - len(times)}"])


def check_commit(uncommitted: bool) -> None:
    """Says so if records will carry no commit.

    Raises:
        ConfigError: if the package differs from the commit that records would name, unless that is wanted.
    """
    made_by = commit()
    if made_by is None:
        say("this is no git checkout: the records will carry no commit")
    elif made_by.endswith("+") and not uncommitted:
        raise ConfigError(
            f"the package has uncommitted changes, so nobody could repeat these runs from commit {made_by[:-1]}. "
            "Commit the changes; or go to a clean copy with `git worktree add ../dnll-runs HEAD` and start there; or "
            f"pass --uncommitted, and the records will name {made_by}."
        )


@contextlib.contextmanager
def pool_of(options: argparse.Namespace, what: str) -> Iterator[Pool]:
    """The pool that the command's options name. what: is carried out there, for messages."""
    if options.dask is None and options.scheduler is None:
        with processes(options.workers, what) as pool:
            yield pool
        return
    try:
        from dnll_core.campaign.dask_pool import local_pool, remote_pool  # an extra, which not everybody has
    except ModuleNotFoundError as error:
        if error.name not in ("dask", "distributed"):
            raise
        raise ConfigError("--dask and --scheduler need Dask: pip install '.[dask]'") from None
    with local_pool(options.dask) if options.scheduler is None else remote_pool(options.scheduler) as pool:
        yield pool


def say(text: str) -> None:
    """A line above the bar, at once also in a log file. A terminal that is gone must not cost records."""
    with contextlib.suppress(OSError):
        tqdm.write(text)
        sys.stdout.flush()


def main(arguments: list[str] | None = None) -> None:
    started, options = time.time(), parser().parse_args(arguments)
    with ends_with_messages():
        _main(options, started)


def as_program(main: Callable[[], None]) -> None:
    """Carries out all that this process does. What stop signals do within, `main` says.

    Before and after, where there is nothing to stop, they are no traceback: the first one ends the process with one
    line, and those that come while Python ends are ignored, so that its message and its exit status stay.
    """
    for number in STOP_SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # ignored on purpose
            signal.signal(number, _leave)
    try:
        main()
    finally:
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)


def _leave(number: int, frame: object) -> None:
    os.write(2, f"{INTERRUPTED}\n".encode())  # print could be what was interrupted
    os._exit(1)


@contextlib.contextmanager
def ends_with_messages(*further: type[Exception]) -> Iterator[None]:
    """Errors that explain themselves, and `further`, end the program with their message.

    SIGTERM and SIGHUP inside the block, as schedulers send them and closed terminals, are one KeyboardInterrupt: runs
    then stop with their checkpoints. Further signals are ignored meanwhile, but for Ctrl-C.
    """
    with contextlib.suppress(AttributeError):  # a name that the terminal cannot show must not end a campaign
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with stop_signals(interrupt_once(Flag())):
            yield
    except (ConfigError, NoHome, results.RecordError, WorkerDied, *further) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _main(options: argparse.Namespace, started: float) -> None:
    planned_runs = planned(options)
    tasks = missing(planned_runs)
    if options.dry_run:
        tell(describe(tasks, options.out))
        return
    if tasks:
        check_commit(options.uncommitted)
    with writable("--out", options.out):
        for folder in sorted({task.folder for task in planned_runs}):
            folder.mkdir(parents=True, exist_ok=True)
            rename_checkpoints(folder)
    if not tasks:
        print(f"all {len(planned_runs)} runs are recorded in {options.out}")
        return
    what = ", ".join([*options.names, *(f"table {table}" for table in options.tables)])
    with pool_of(options, what) as pool:
        report = run_tasks(tasks, pool, stop_at=deadline(options, started), say=say)
    print_report(report, len(tasks), options.out)
    exit_with(report.failures)


def print_report(report: Report, begun: int, out: Path) -> None:
    """One line on what became of so many runs, below their own lines."""
    parts = [f"{len(report.recorded)} of {begun} runs recorded in {out}, {len(report.failures)} failed"]
    if report.unfinished:
        parts.append(f"{len(report.unfinished)} left when the time was over; the same command goes on")
    if report.elsewhere:
        parts.append(f"{len(report.elsewhere)} left to another campaign that is running them")
    say("; ".join(parts))


def exit_with(failures: list[str]) -> None:
    """Ends the program with the messages of what failed, if anything did."""
    if failures:
        sys.exit("\n".join(by_cause(failures)))


@contextlib.contextmanager
def writable(option: str, place: Path) -> Iterator[None]:
    """A place that cannot be written to inside the block is the option's fault, and the message says so."""
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{option} {place} cannot be written to: {error}.") from None


def by_cause(failures: list[str]) -> list[str]:
    """Messages "<run>: <cause>", each cause once, with the number of further runs that failed for it."""
    causes = Counter(message.partition(": ")[2] for message in failures)
    first = {message.partition(": ")[2]: message for message in reversed(failures)}
    return [
        first[cause] + (f"\n({n - 1} more failed for the same reason)" if n > 1 else "") for cause, n in causes.items()
    ]


def deadline(options: argparse.Namespace, started: float) -> float | None:
    """`time.time()` by which runs have stopped: a little before the command's minutes are over, to record."""
    return None if options.minutes is None else started + 60 * options.minutes - min(30.0, 6.0 * options.minutes)
