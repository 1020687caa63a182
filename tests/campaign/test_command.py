"""A campaign runs what is missing in the order that tells most, stops in time, and goes on here or elsewhere."""

import contextlib
import errno
import io
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from campaign.test_tasks import FAST, LONGER, final, inline, task_of
from fabricated import record
from PIL import Image

from dnll_core import provenance, results, train
from dnll_core.campaign import command, notebooks, plan, pool, tasks
from dnll_core.campaign.notebooks import RunsFailed, run_cells
from dnll_core.campaign.plan import _images_of, missing, rename_checkpoints, table_tasks
from dnll_core.campaign.tasks import checkpoint_step
from dnll_core.campaign.worker import CHECKPOINTS, attempt
from dnll_core.checkpoint import save_checkpoint
from dnll_core.config import ConfigError, Experiment
from dnll_core.device import Compute
from dnll_core.resume import exclusive
from dnll_core.signals import STOP_SIGNALS
from dnll_core.study import records, tables
from dnll_core.study.experiments import CAMPAIGNS, Campaign
from dnll_core.trainer import Trainer


@pytest.fixture
def here(monkeypatch):
    """Runs in this process instead of in workers."""
    monkeypatch.setattr(command, "processes", lambda workers, what: contextlib.nullcontext(inline(workers)))


@pytest.fixture
def tiny(monkeypatch, here):
    """A campaign of one run, see `LONGER`."""
    monkeypatch.setitem(CAMPAIGNS, "tiny", Campaign(lambda: [LONGER]))
    return train(LONGER, 0, progress=False).record()


def names(planned):
    return [(task.config.method, task.seed) for task in planned]


# -- what is run -------------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_records_what_is_missing_and_reports_failures(monkeypatch, tmp_path, capsys):
    """In a worker process."""
    good, bad = FAST, FAST.replace(labels=21)
    monkeypatch.setitem(CAMPAIGNS, "tiny", Campaign(lambda: [bad, good]))
    with pytest.raises(SystemExit, match=r"supervised on digits, seed 0:(.|\n)*labels"):
        command.main(["tiny", "--seeds", "2", "--out", str(tmp_path)])
    assert "2 of 4 runs recorded" in capsys.readouterr().out
    records = results.load(tmp_path / "tiny")
    assert [(record["experiment"], record["seed"]) for record in records] == [(good.to_dict(), 0), (good.to_dict(), 1)]
    assert final(records[1]) == final(train(FAST, 1, progress=False).record())
    assert missing([task_of(FAST, tmp_path / "tiny", seed) for seed in range(3)]) == [
        task_of(FAST, tmp_path / "tiny", 2)
    ]


def test_several_campaigns_in_one_command(monkeypatch, here, tmp_path, capsys):
    monkeypatch.setitem(CAMPAIGNS, "one", Campaign(lambda: [FAST]))
    monkeypatch.setitem(CAMPAIGNS, "two", Campaign(lambda: [FAST.replace(lr=0.1)]))
    command.main(["two", "one", "--seeds", "1", "--out", str(tmp_path)])
    assert len(results.load(tmp_path / "one")) == len(results.load(tmp_path / "two")) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"[1/2] {task_of(FAST.replace(lr=0.1), tmp_path).name} begun")
    assert "% on test images" in lines[1]


@dataclass
class StandIn:
    name: str
    experiment: Experiment
    priority: int
    runs: int = 1


def test_tables_go_by_seed_then_priority_then_the_order_given(monkeypatch, tmp_path):
    a, b, c, shared = (FAST.replace(lr=lr) for lr in (0.1, 0.2, 0.3, 0.4))
    stand_ins = {
        1: [StandIn("a", a, 2), StandIn("shared", shared, 3)],
        4: [StandIn("b", b, 2), StandIn("also shared", shared, 1), StandIn("c", c, 2)],
    }
    monkeypatch.setattr(plan, "cells", lambda table, profile, dataset: stand_ins[table])
    planned = table_tasks([4, 1], "short", 2, tmp_path)
    order = [("Table 4: also shared", shared), ("Table 4: b", b), ("Table 4: c", c), ("Table 1: a", a)]
    assert [(task.title, task.config) for task in planned] == 2 * order
    assert [task.seed for task in planned] == 4 * [0] + 4 * [1]
    assert {task.folder for task in planned} == {tmp_path / "tables"}


def test_every_cell_has_a_seed_before_any_has_the_next(monkeypatch, tmp_path):
    a, b, c = (FAST.replace(lr=lr) for lr in (0.1, 0.2, 0.3))
    stand_ins = [StandIn("a", a, 2, runs=3), StandIn("b", b, 1, runs=1), StandIn("c", c, 3, runs=2)]
    monkeypatch.setattr(plan, "cells", lambda table, profile, dataset: stand_ins)
    planned = [(task.title[-1], task.seed) for task in table_tasks([4], "laptop", None, tmp_path)]
    assert planned == [("b", 0), ("a", 0), ("c", 0), ("a", 1), ("c", 1), ("a", 2)]
    every = [(task.title[-1], task.seed) for task in table_tasks([4], "laptop", 2, tmp_path)]
    assert every == [(name, seed) for seed in (0, 1) for name in "bac"]


def test_all_tables_have_their_cells_and_their_seeds(tmp_path):
    for profile, seeds in (("quick", 1), ("paper", 3)):
        options = command.parser().parse_args(
            ["--profile", profile, "--tables", *map(str, tables.TABLES), "--out", str(tmp_path)]
        )
        planned = command.planned(options)
        wanted = {cell.experiment for table in tables.TABLES for cell in tables.cells(table, profile)}
        assert len(planned) == seeds * len(wanted)
        assert {task.config for task in planned} == wanted
        assert {task.seed for task in planned} == set(range(seeds))
        assert len({task.name for task in planned}) == len(planned)


def test_another_data_set_in_the_place_of_the_profiles():
    options = ["--tables", "4", "--profile", "paper", "--dataset", "usps"]
    planned = command.planned(command.parser().parse_args(options))
    assert {task.config.dataset for task in planned} == {"usps"}


def test_dry_run_runs_nothing_and_adds_up_what_is_known(monkeypatch, tmp_path, capsys):
    known, unknown = FAST, FAST.replace(unlabelled_batch=123)
    monkeypatch.setitem(CAMPAIGNS, "tiny", Campaign(lambda: [known, unknown]))
    monkeypatch.setattr(command.estimates, "seconds_left", lambda t, _: 40.0 if t.config == known else None)
    command.main(["tiny", "--seeds", "2", "--dry-run", "--out", str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["40", "s", task_of(known, tmp_path).name]
    assert lines[1].split() == ["not", "known", task_of(unknown, tmp_path).name]
    assert lines[4] == "4 runs: 80 s for 2 of them one after the other, not known for 2"
    assert not list(tmp_path.iterdir())


def test_runs_that_a_campaign_names_are_told_apart(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(CAMPAIGNS, "tiny", Campaign(lambda: {"one": FAST, "the other": FAST.replace(lr=0.2)}))
    command.main(["tiny", "--seeds", "2", "--dry-run", "--out", str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    assert [line.endswith(f"  {name}") for line, name in zip(lines, ["one", "the other"] * 2)] == [True] * 4


def test_dry_run_with_the_real_records(tmp_path, capsys):
    command.main(["quickstart", "--tables", "1", "--seeds", "1", "--dry-run", "--out", str(tmp_path)])
    out = capsys.readouterr().out
    assert out.count("seed200") == 3 * 4  # four methods, three numbers of labels
    assert out.count("seed0") == len(tables.cells(1))
    assert "Table 1: DNLL" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["quikstart"], r"campaign='quikstart' is not known. Did you mean 'quickstart'"),
        (["--tables", "8"], r"table=8 is not known"),
        (["--tables", "1", "--profile", "papper"], r"profile='papper' is not known. Did you mean 'paper'"),
        (["--tables", "2", "--profile", "laptop"], r"Table 2 has no profile 'laptop'"),
        (["--tables", "4", "--dataset", ""], r"dataset='' is not known.* Accepted: digits, .*, folder:PATH"),
        (["--tables", "1", "--dataset", "folder:"], r"dataset='folder:' is not known"),  # not the folder one is in
        (["quickstart", "--dataset", "mnist"], r"--profile and --dataset are for --tables"),
        (["quickstart", "--profile", "paper"], r"--profile and --dataset are for --tables"),
        ([], r"name a campaign \(quickstart, .*\), or --tables"),
    ],
)
def test_what_is_not_known_is_named(tmp_path, arguments, message):
    with pytest.raises(SystemExit, match=message):
        command.main([*arguments, "--out", str(tmp_path)])


def test_a_folder_that_cannot_be_written_to(tiny, tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(SystemExit, match=r"--out .*file cannot be written to"):
        command.main(["tiny", "--out", str(tmp_path / "file")])


# -- what is recorded --------------------------------------------------------------------------------------------------


def test_a_field_younger_than_a_record_counts_with_its_default(tmp_path):
    fields = FAST.to_dict()
    older = {name: value for name, value in fields.items() if name != "threshold"}
    results.save(record(older, 0), tmp_path)
    assert missing([task_of(FAST, tmp_path)]) == []
    assert len(records.recorded(FAST, tmp_path)) == 1
    assert records.recorded(FAST.replace(threshold=0.5), tmp_path) == []


def test_records_of_another_version_and_unreadable_ones(tmp_path):
    fields = FAST.to_dict()
    results.save(record({**fields, "field_of_the_future": 1}, 0), tmp_path / "quickstart")
    assert len(missing([task_of(FAST, tmp_path / "quickstart")])) == 1
    assert records.recorded(FAST, tmp_path) == []
    (tmp_path / "quickstart" / "broken-seed0.json").write_text("{", encoding="utf-8")
    with pytest.raises(SystemExit, match=r"broken-seed0.json is not a readable run record"):
        command.main(["quickstart", "--out", str(tmp_path), "--dry-run"])


def test_campaigns_with_different_folders_share_nothing(tiny, tmp_path):
    begun = task_of(LONGER, tmp_path / "first" / "tiny")
    attempt((begun, 0.0, ""))
    command.main(["tiny", "--seeds", "1", "--out", str(tmp_path / "second")])
    assert checkpoint_step(begun.checkpoint) == 1
    [recorded] = results.load(tmp_path / "second")
    assert final(recorded) == final(tiny)


def test_a_record_under_the_name_of_another_run_is_named(tiny, tmp_path):
    task = task_of(LONGER, tmp_path / "tiny")
    results.save(record(FAST, 0), tmp_path / "tiny").rename(tmp_path / "tiny" / f"{task.name}.json")
    with pytest.raises(results.RecordError, match=f"{task.name}.json is not the record of that run but of another"):
        missing([task])


def test_records_of_a_folder_that_has_changed_are_not_taken_for_it(here, tmp_path, monkeypatch):
    photos = tmp_path / "photos"
    for k in range(2):
        (photos / str(k)).mkdir(parents=True)
        for i in range(6):
            Image.fromarray(torch.full((8, 8), 40 * i + k, dtype=torch.uint8).numpy()).save(
                photos / str(k) / f"{i}.png"
            )
    e = FAST.replace(dataset=f"folder:{photos}", labels=None, unlabelled_batch=2, labelled_batch=2, weak="identity")
    monkeypatch.setitem(CAMPAIGNS, "own", Campaign(lambda: [e]))
    arguments = ["own", "--seeds", "1", "--out", str(tmp_path / "out")]
    command.main(arguments)
    _images_of.cache_clear()
    assert missing(command.planned(command.parser().parse_args(arguments))) == []
    (photos / "0" / "0.png").rename(photos / "0" / "new.png")
    _images_of.cache_clear()
    with pytest.raises(SystemExit, match=r"photos is .*; the records in .* are of .*Name another --out"):
        command.main(arguments)


@pytest.mark.parametrize("digest", ["as it was", "other"])
def test_the_digest_of_a_folders_images_is_compared_where_it_is_known(tmp_path, monkeypatch, digest):
    e = FAST.replace(dataset="folder:photos")
    images = {"summary": "photos: 2 for training, 2 for testing", "digest": "as it was"}
    results.save(record(e, 0) | {"images": images}, tmp_path)
    now = SimpleNamespace(summary=lambda: images["summary"], digest=digest)
    monkeypatch.setattr(plan, "load_data", lambda *_, **__: now)
    _images_of.cache_clear()
    refused = pytest.raises(ConfigError, match=r"photos is .*; the records in .* are of other images. Name another")
    with refused if digest == "other" else contextlib.nullcontext():
        assert missing([task_of(e.replace(dataset="folder:/moved/photos"), tmp_path)]) == []
    _images_of.cache_clear()


def test_a_folder_has_one_name_wherever_the_command_is_called(tmp_path, monkeypatch):
    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path)
    for spelt in ("photos", "photos/", f"{tmp_path}/./photos"):
        options = command.parser().parse_args(["--tables", "4", "--dataset", f"folder:{spelt}"])
        assert {task.config.dataset for task in command.planned(options)} == {f"folder:{tmp_path / 'photos'}"}


def test_everything_recorded_and_failures_of_one_cause(tiny, tmp_path, capsys):
    for _ in range(2):
        command.main(["tiny", "--seeds", "1", "--out", str(tmp_path)])
    assert capsys.readouterr().out.splitlines()[-1] == f"all 1 runs are recorded in {tmp_path}"
    told = command.by_cause(["a, seed 0: no data: there", "b: other", "a, seed 1: no data: there"])
    assert told == ["a, seed 0: no data: there\n(1 more failed for the same reason)", "b: other"]


def test_a_package_with_uncommitted_changes_records_nothing_unless_told(tiny, tmp_path, committed, capsys):
    arguments = ["tiny", "--seeds", "1", "--out", str(tmp_path / "out")]
    committed("0123456789ab+")
    with pytest.raises(SystemExit, match=r"uncommitted changes(.|\n)*git worktree add(.|\n)*--uncommitted"):
        command.main(arguments)
    assert not (tmp_path / "out").exists()
    command.main([*arguments, "--dry-run"])  # records nothing
    command.main([*arguments, "--uncommitted"])
    assert len(results.load(tmp_path / "out")) == 1
    command.main(arguments)  # nor does this one, for nothing is missing
    assert "all 1 runs are recorded" in capsys.readouterr().out


def test_outside_a_git_checkout_a_campaign_goes_on_and_says_so_once(tiny, tmp_path, committed, capsys):
    committed(None)
    command.main(["tiny", "--seeds", "2", "--out", str(tmp_path)])
    assert capsys.readouterr().out.count("the records will carry no commit") == 1
    assert len(results.load(tmp_path)) == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_sigterm_and_sighup_are_one_interrupt(tiny, tmp_path, monkeypatch, number):
    stopped = []

    def terminated(*_, **__):
        try:
            os.kill(os.getpid(), number)
            pytest.fail("it went on")
        except KeyboardInterrupt:
            for again in (signal.SIGTERM, signal.SIGHUP):  # while runs are stopped
                os.kill(os.getpid(), again)
            stopped.append(True)
            raise

    monkeypatch.setattr(command, "run_tasks", terminated)
    before = signal.getsignal(number)
    with pytest.raises(SystemExit, match="interrupted; the same command goes on"):
        command.main(["tiny", "--out", str(tmp_path)])
    assert stopped == [True]
    assert signal.getsignal(number) == before


def _interrupted_before(number):
    command.as_program(lambda: os.kill(os.getpid(), number))


def _interrupted_after(number):
    try:
        command.as_program(lambda: sys.exit(3))
    finally:
        os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", STOP_SIGNALS)
@pytest.mark.parametrize(("when", "status"), [(_interrupted_before, 1), (_interrupted_after, 3)])
def test_a_signal_before_a_command_takes_them_is_a_message_and_after_it_none(capfd, number, when, status):
    process = multiprocessing.get_context("fork").Process(target=when, args=(number,))
    process.start()
    process.join(30)
    assert process.exitcode == status
    told = capfd.readouterr()
    assert (told.err, told.out) == (f"{command.INTERRUPTED}\n" if status == 1 else "", "")


class Gone(io.StringIO):
    """A terminal that was closed."""

    def write(self, text):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    flush = close = lambda self: self.write("")


def test_a_terminal_that_is_gone_costs_no_record(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdout", Gone())
    command.main(["tiny", "--seeds", "2", "--out", str(tmp_path)])
    assert len(results.load(tmp_path / "tiny")) == 2


SCRIPT = """
import sys
from dnll_core.campaign import command
from dnll_core.study.experiments import CAMPAIGNS, Campaign
from dnll_core.config import Experiment

if __name__ == "__main__":
    endless = Experiment(method="supervised", labels=20, labelled_batch=20, epochs=1_000_000, eval_every=1000)
    CAMPAIGNS["endless"] = Campaign(lambda: [endless])
    command.main(["endless", "--seeds", "2", "--workers", "2", "--uncommitted", "--out", sys.argv[1]])
"""


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_all_processes_stops_the_runs_with_their_checkpoints(tmp_path, number):
    """As GNU timeout, systemd and Slurm send it, and the kernel when a terminal is closed; some of them twice."""
    (tmp_path / "endless.py").write_text(SCRIPT, encoding="utf-8")
    words = [sys.executable, str(tmp_path / "endless.py"), str(tmp_path / "out")]
    environment = {**os.environ, "PYTHONPATH": str(provenance.PACKAGE.parent)}
    with open(tmp_path / "log.txt", "wb") as log:
        campaign = subprocess.Popen(words, stdout=log, stderr=log, env=environment, start_new_session=True)
    try:
        checkpoints, deadline = [], time.monotonic() + 120
        while len(checkpoints) < 2:  # both workers have begun
            assert campaign.poll() is None and time.monotonic() < deadline
            checkpoints = [path.parent for path in (tmp_path / "out").glob("*/.checkpoints/*/.lock")]
            time.sleep(0.05)
        time.sleep(1)
        for _ in range(2):
            os.killpg(campaign.pid, number)
        assert campaign.wait(60) == 1
        assert [checkpoint_step(folder) > 0 for folder in checkpoints] == [True, True]
        printed = (tmp_path / "log.txt").read_text(encoding="utf-8")
        assert "interrupted; the same command goes on" in printed
        assert "Traceback" not in printed
        with pytest.raises(ProcessLookupError):  # nobody is left
            while time.monotonic() < deadline:
                os.killpg(campaign.pid, 0)
                time.sleep(0.05)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(campaign.pid, signal.SIGKILL)


def test_a_run_of_another_campaign_is_left_to_it(tiny, tmp_path, capsys):
    with exclusive(task_of(LONGER, tmp_path / "tiny").checkpoint / ".campaign"):
        command.main(["tiny", "--seeds", "1", "--out", str(tmp_path)])
    assert "0 of 1 runs recorded" in (out := capsys.readouterr().out)
    assert "1 left to another campaign that is running them" in out


# -- checkpoints under other names -------------------------------------------------------------------------------------

OLD = "digits-20-dnll-0123abcd-seed0"


def begun_by_another_version(folder, step=5):
    """A checkpoint whose experiment lacks a field, under the name that it had then."""
    fields = {name: value for name, value in LONGER.to_dict().items() if name != "threshold"}
    save_checkpoint(folder / CHECKPOINTS / OLD, {}, {"experiment": fields, "seed": 0, "step": step})


def test_the_images_of_a_pair_of_folders_are_those_of_its_record(tmp_path):
    """Also where the files of both are called the same."""
    for title, shade in (("here", 0), ("there", 100)):
        for i in range(10):
            path = tmp_path / title / f"class{i % 2}" / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (8, 8), shade + 5 * i).save(path)
    folders = {"source": f"folder:{tmp_path / 'here'}", "dataset": f"folder:{tmp_path / 'there'}"}
    e = FAST.replace(**folders, labels=4, size=8, labelled_batch=4, unlabelled_batch=4)
    train(e, 0, progress=False).save_record(tmp_path / "out")
    assert missing([task_of(e, tmp_path / "out")]) == []
    _images_of.cache_clear()
    Image.new("L", (8, 8), 250).save(tmp_path / "here" / "class0" / "0.png")
    with pytest.raises(ConfigError, match="other images"):
        missing([task_of(e, tmp_path / "out")])


def test_a_checkpoint_gets_the_name_that_its_run_has_now(tmp_path):
    begun_by_another_version(tmp_path)
    damaged = tmp_path / CHECKPOINTS / "digits-20-dnll-0123abcd-seed1"
    damaged.mkdir()
    (damaged / "checkpoint.safetensors").write_bytes(b"damaged")
    for _ in range(2):  # a second time changes nothing
        rename_checkpoints(tmp_path)
        assert {path.name for path in (tmp_path / CHECKPOINTS).iterdir()} == {task_of(LONGER, "").name, damaged.name}
    assert checkpoint_step(task_of(LONGER, tmp_path).checkpoint) == 5


def test_a_checkpoint_in_use_or_whose_name_is_taken_keeps_its_own(tmp_path):
    begun_by_another_version(tmp_path)
    old, new = tmp_path / CHECKPOINTS / OLD, task_of(LONGER, tmp_path).checkpoint
    for held in (old, old / ".campaign"):
        with exclusive(held):
            rename_checkpoints(tmp_path)
        assert old.exists() and not new.exists()
    save_checkpoint(new, {}, {"experiment": LONGER.to_dict(), "seed": 0, "step": 7})
    rename_checkpoints(tmp_path)
    assert (checkpoint_step(old), checkpoint_step(new)) == (5, 7)


@pytest.mark.parametrize("how", ["command", "cells"])
def test_a_run_goes_on_from_a_checkpoint_under_another_name(tiny, tmp_path, monkeypatch, how):
    task = task_of(LONGER, tmp_path / "tiny")
    attempt((task, 0.0, ""))
    task.checkpoint.rename(task.checkpoint.with_name(OLD))
    arguments = ["tiny", "--seeds", "1", "--out", str(tmp_path)]
    steps, step = [], Trainer.train_step
    monkeypatch.setattr(Trainer, "train_step", lambda self, i: steps.append(i) or step(self, i))
    if how == "cells":
        monkeypatch.setattr(notebooks, "processes", lambda workers, what: contextlib.nullcontext(inline()))
        run_cells({"a": LONGER}, out=task.folder)
    else:
        command.main(arguments)
    [recorded] = results.load(task.folder)
    assert final(recorded) == final(tiny)
    assert len(steps) == recorded["history"][-1]["step"] - 1
    assert not any((task.folder / CHECKPOINTS).iterdir())


# -- stopping and going on ---------------------------------------------------------------------------------------------


def test_minutes_end_before_they_are_over(monkeypatch, tiny, tmp_path, capsys):
    asked = []

    def stopped(planned, workers, stop_at, **_):
        asked.append(stop_at)
        return tasks.Report(unfinished=list(planned))

    monkeypatch.setattr(command, "run_tasks", stopped)
    monkeypatch.setattr(command.time, "time", lambda: 1000.0)
    for minutes, reserve in ((1, 6), (25, 30)):
        command.main(["tiny", "--seeds", "2", "--minutes", str(minutes), "--out", str(tmp_path)])
        assert asked.pop() == 1000 + 60 * minutes - reserve
        assert "2 left when the time was over; the same command goes on" in capsys.readouterr().out
    command.main(["tiny", "--out", str(tmp_path)])
    assert asked == [None]


def test_a_campaign_goes_on_bit_for_bit_on_another_machine(monkeypatch, tiny, tmp_path):
    """Stopped in the middle of its second run, by way of its folder alone, as the README says."""
    arguments = ["tiny", "--seeds", "2", "--out"]
    real, orders = tasks.attempt, []

    def stop_in_the_second(order):
        orders.append(order)
        task, _, name = order
        return real((task, 0.0 if len(orders) == 2 else None, name))

    with monkeypatch.context() as patch:
        patch.setattr(tasks, "attempt", stop_in_the_second)
        command.main([*arguments, str(tmp_path / "here")])
    assert len(results.load(tmp_path / "here" / "tiny")) == 1
    subprocess.run(["tar", "czf", "runs.tar.gz", "here"], cwd=tmp_path, check=True)
    (tmp_path / "there").mkdir()
    subprocess.run(["tar", "xzf", "../runs.tar.gz"], cwd=tmp_path / "there", check=True)
    shutil.rmtree(tmp_path / "here")

    steps, step = [], Trainer.train_step
    monkeypatch.setattr(Trainer, "train_step", lambda self, i: steps.append(self.step) or step(self, i))
    command.main([*arguments, str(tmp_path / "there" / "here")])
    assert steps[0] == 1
    first, second = results.load(tmp_path / "there")
    assert final(first) == final(tiny)
    assert final(second) == final(train(LONGER, 1, progress=False).record())


def test_ctrl_c_and_a_dead_worker_are_messages(monkeypatch, tiny, tmp_path):
    for error, message in ((KeyboardInterrupt(), "the same command goes on"), (pool.WorkerDied("died"), "died")):

        def end(*_, error=error, **__):
            raise error

        monkeypatch.setattr(command, "run_tasks", end)
        with pytest.raises(SystemExit, match=message):
            command.main(["tiny", "--out", str(tmp_path)])


# -- for notebooks -----------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_run_cells_gives_what_a_campaign_records(monkeypatch, tmp_path):
    """In worker processes; and a campaign's records serve it as its own."""
    named = {"one": LONGER, "two": FAST}
    found = run_cells(named, seeds=2)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(CAMPAIGNS, "tiny", Campaign(lambda: [*named.values()]))
    monkeypatch.setattr(command, "processes", lambda workers, what: contextlib.nullcontext(inline()))
    command.main(["tiny", "--seeds", "2"])
    assert {name: len(group) for name, group in found.items()} == {"one": 2, "two": 2}
    for name, experiment in named.items():
        recorded = records.recorded(experiment, tmp_path / "runs" / "campaign" / "tiny")
        assert [final(record) for record in found[name]] == [final(record) for record in recorded]
    monkeypatch.setattr(tasks, "attempt", lambda order: pytest.fail("trained again"))
    again = run_cells(named, seeds=1, out="runs/campaign/tiny")
    assert [final(record) for record in again["one"]] == [final(found["one"][0])]


@pytest.mark.long
def test_run_cells_writes_only_where_it_is_told_to_and_goes_on(monkeypatch, here, tmp_path):
    monkeypatch.chdir(tmp_path)
    expected = run_cells({"a": LONGER})
    assert not list(tmp_path.iterdir())
    attempt((task_of(LONGER, tmp_path / "out"), 0.0, ""))
    assert final(run_cells({"a": LONGER}, out="out")["a"][0]) == final(expected["a"][0])
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.long
def test_run_cells_says_what_has_no_record(here, tmp_path):
    with pytest.raises(RunsFailed, match="labels=21"):
        run_cells({"bad": FAST.replace(labels=21), "good": FAST}, out=tmp_path)
    assert len(results.load(tmp_path)) == 1
    with (
        exclusive(task_of(LONGER, tmp_path).checkpoint / ".campaign"),
        pytest.raises(RunsFailed, match="another campaign is running it"),
    ):
        run_cells({"a": LONGER}, out=tmp_path)


@pytest.mark.parametrize(("device", "expected"), [("cpu", 2), ("cuda", 1)])
def test_run_cells_takes_two_processes_on_a_cpu_and_one_elsewhere(monkeypatch, device, expected):
    asked = []

    def processes(workers, what):
        asked.append(workers)
        return contextlib.nullcontext(inline())

    monkeypatch.setattr(notebooks, "processes", processes)
    monkeypatch.setattr(notebooks, "choose_compute", lambda: Compute(torch.device(device), "float32", None))
    monkeypatch.delenv(notebooks.WORKERS, raising=False)
    run_cells({"a": FAST})
    run_cells({"a": FAST}, workers=3)
    monkeypatch.setenv(notebooks.WORKERS, "5")
    run_cells({"a": FAST})
    run_cells({"a": FAST}, workers=3)
    assert asked == [expected, 3, 5, 3]
    monkeypatch.setenv(notebooks.WORKERS, "many")
    with pytest.raises(ConfigError, match="DNLL_WORKERS"):
        run_cells({"a": FAST})


def test_without_dask_its_options_say_how_to_get_it(monkeypatch, tiny, tmp_path):
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.delitem(sys.modules, "dnll_core.campaign.dask_pool", raising=False)
    for option in (["--dask", "2"], ["--scheduler", "tcp://nowhere:1"]):
        with pytest.raises(SystemExit, match=r"need Dask: pip install '\.\[dask\]'"):
            command.main(["tiny", *option, "--out", str(tmp_path)])
