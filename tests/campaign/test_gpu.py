"""The command for a rented GPU, whole, on a CPU: tests, benchmark and cells are tiny, and the order is the real one."""

import contextlib
import json
import os
import signal
import tarfile
import time
from types import SimpleNamespace

import pytest
from campaign.test_command import StandIn
from campaign.test_tasks import FAST, inline

from dnll_core import provenance, results
from dnll_core.bench import suite
from dnll_core.campaign import archive, estimates, gpu, plan, worker
from dnll_core.campaign.archive import Archive
from dnll_core.campaign.tasks import Report
from dnll_core.data.errors import DataError
from dnll_core.provenance import COMMIT, commit

DNLL, MUTUAL = FAST.replace(method="dnll"), FAST.replace(method="mutual-learning")
# by priority, a table's first supervised-only comes before DNLL with fewer labels
CELLS = {
    4: [StandIn("other", MUTUAL, 5), StandIn("a", DNLL, 10), StandIn("b", DNLL.replace(lr=0.1), 11)],
    1: [StandIn("c", DNLL.replace(lr=0.2), 1), StandIn("d", FAST, 12), StandIn("e", DNLL.replace(lr=0.3), 13)],
    2: [StandIn("f", DNLL.replace(lr=0.4), 2), StandIn("g", FAST.replace(lr=0.1), 3)],
}
ORDER = ["4: a", "1: c", "2: f", "4: b", "1: e", "1: d", "2: g", "4: other"]


@pytest.fixture
def whole(monkeypatch, tmp_path):
    """A function that runs the command and returns its log; and what it trained with, in a list."""
    pools, trained, real = [], [], worker.train
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_gpu_of_it.py").write_text(
        "import pytest\n@pytest.mark.gpu\ndef test(): pass", encoding="utf-8"
    )
    (tmp_path / "tests" / "test_else.py").write_text("def test(): assert False", encoding="utf-8")
    monkeypatch.setattr(gpu, "TESTS", tmp_path / "tests")
    monkeypatch.setattr(gpu.importlib.util, "find_spec", lambda name: None)  # no workers for one test
    monkeypatch.setenv("DNLL_RESULTS", str(tmp_path / "recorded"))
    monkeypatch.setattr(gpu, "processes", lambda *_: pools.append(1) or contextlib.nullcontext(inline()))
    monkeypatch.setattr(plan, "cells", lambda table, profile, dataset: CELLS[table])
    monkeypatch.setattr(estimates, "AROUND", 0.0)
    monkeypatch.setattr(gpu, "check_commit", lambda uncommitted: None)  # whoever works on it has changes
    monkeypatch.setattr(worker, "train", lambda *args, **where: trained.append(where) or real(*args, **where))
    monkeypatch.setitem(suite.SUITE, "small", {"dnll": suite.SUITE["small"]["dnll"].replace(unlabelled=100)})
    monkeypatch.setitem(suite.ROUNDS, "small", 1)

    def run(*arguments, minutes=5, profile="quick"):
        gpu.main(["--minutes", str(minutes), "--out", str(tmp_path / "out"), "--profile", profile, *arguments])
        return (tmp_path / "out" / "log.txt").read_text(encoding="utf-8")

    run.pools, run.trained, run.out = pools, trained, tmp_path / "out"
    return run


@pytest.fixture
def trial(monkeypatch, whole):
    """The same without what takes long and is no cell."""
    monkeypatch.setattr(gpu, "tests_pass", lambda *_: True)
    monkeypatch.setitem(gpu.BENCHMARKS, "quick", ())
    return whole


def packed(path):
    with tarfile.open(path) as file:
        return {member.name: file.extractfile(member).read() for member in file}


def begun(log):
    return [line.split("] Table ")[1].split(", seed")[0] for line in log.splitlines() if ": begun" in line]


def test_the_whole_command(whole):
    log = whole()
    assert "there is no CUDA device" in log and "1 passed" in log and "0 cells not begun" in log
    assert begun(log) == ORDER
    assert [where["capture"] for where in whole.trained] == [True] * len(ORDER)
    records = results.load(whole.out / "tables")
    assert len(records) == len(ORDER)
    files = packed(whole.out / "results.tar.gz")
    names = {"log.txt", "tests.txt", f"bench/small-{suite.machine()}.json"}
    assert files.keys() == names | {f"tables/{path.name}" for path in (whole.out / "tables").glob("*.json")}
    assert files["log.txt"].decode() == log
    assert json.loads(files[f"bench/small-{suite.machine()}.json"])["settings"]["dnll"]["step"] == "fast"
    assert log.count("% at each fifth evaluated epoch") == len(ORDER)
    # once more: everything is there already
    log = whole()[len(log) :]
    assert "passed before" in log and "benchmark" not in log and begun(log) == []


def test_failing_tests_lead_to_the_plain_step(whole):
    bad = "import pytest\n@pytest.mark.gpu\ndef test(): assert False"
    (gpu.TESTS / "test_gpu_of_it.py").write_text(bad, encoding="utf-8")
    log = whole("--tables", "1")
    assert "FAILED" in log and "iterations are not captured from here on" in log
    assert begun(log) == ["1: c", "1: e", "1: d"]
    assert [where["capture"] for where in whole.trained] == [False] * 3
    [benchmark] = (whole.out / "bench").iterdir()
    assert benchmark.name == f"small-uncaptured-{suite.machine()}.json"
    assert json.loads(benchmark.read_text(encoding="utf-8"))["settings"]["dnll"]["step"] == "uncaptured"
    assert "did not pass before" in whole("--tables", "1")


@pytest.mark.long
def test_tests_that_take_too_long_are_ended(whole):
    slow = f"time.sleep(4)\n    open({str(gpu.TESTS / 'x')!r}, 'w')"
    (gpu.TESTS / "test_gpu_of_it.py").write_text(
        f"import pytest, time\n@pytest.mark.gpu\ndef test():\n    {slow}", encoding="utf-8"
    )
    whole.out.mkdir()
    assert not gpu.tests_pass(Archive(whole.out, whole.out / "a"), 1.0)
    time.sleep(4)
    assert not (gpu.TESTS / "x").exists()


def test_a_cell_that_does_not_fit_is_not_begun(trial, monkeypatch):
    long = StandIn("long", DNLL.replace(epochs=10**6), 0)
    monkeypatch.setitem(CELLS, 4, [long, *CELLS[4]])
    log = trial("--tables", "4")
    assert begun(log) == ["4: a", "4: b", "4: other"]
    assert "1 cells not begun; Table 4: long, seed 0" in log


def test_records_of_this_device_and_folder_tell_how_long_a_cell_takes(trial, monkeypatch):
    def refuse(order):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(estimates, "iteration_seconds", refuse)
    log = trial("--tables", "4")
    assert begun(log) == [] and "could not be timed: RuntimeError: out of memory" in log
    results.save(worker.record_of(DNLL.replace(lr=0.5), 0), trial.out / "tables")
    log = trial("--tables", "4")[len(log) :]
    assert begun(log) == ["4: a", "4: b"]


def test_what_is_recorded_in_the_repository_is_left_out(trial):
    results.save(worker.record_of(DNLL, 0), results.root() / "tables")
    assert begun(trial("--tables", "4")) == ["4: b", "4: other"]


def test_without_a_gpu_the_large_profiles_are_skipped(trial):
    log = trial(profile="short")
    assert "cells of profile short are skipped; --profile quick runs on a CPU" in log
    assert not trial.pools and not trial.trained
    assert {"log.txt"} == packed(trial.out / "results.tar.gz").keys()


def test_cells_whose_images_are_not_there_are_left_out(trial, monkeypatch):
    def load(name, *_, **__):
        if name == "mnist":
            raise DataError("mnist could not be downloaded\nfrom there")

    monkeypatch.setattr(gpu, "shared_data", load)
    monkeypatch.setitem(CELLS, 4, [StandIn("m", DNLL.replace(dataset="mnist"), 0), *CELLS[4]])
    log = trial("--tables", "4")
    assert "no cells of mnist: mnist could not be downloaded\n" in log
    assert begun(log) == ["4: a", "4: b", "4: other"]


def test_after_a_cuda_error_a_fresh_worker_goes_on(trial, monkeypatch):
    real, calls = gpu.run_tasks, []

    def broken_first(planned, pool, **where):
        calls.append(planned)
        return Report(failures=["RuntimeError: CUDA error"]) if len(calls) == 1 else real(planned, pool, **where)

    monkeypatch.setattr(gpu, "run_tasks", broken_first)
    log = trial("--tables", "4")
    assert len(trial.pools) == 2 and "Table 4: a: RuntimeError: CUDA error" in log
    assert begun(log) == ["4: a", "4: b", "4: other"] and len(results.load(trial.out / "tables")) == 2


def test_sigterm_leaves_a_valid_archive(trial, monkeypatch):
    real, calls = gpu.run_tasks, []

    def terminated_in_the_second(planned, pool, **where):
        calls.append(planned)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
            pytest.fail("it went on")
        return real(planned, pool, **where)

    monkeypatch.setattr(gpu, "run_tasks", terminated_in_the_second)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit, match="interrupted; the same command goes on"):
        trial("--tables", "4")
    assert signal.getsignal(signal.SIGTERM) == before
    files = packed(trial.out / "results.tar.gz")
    assert "interrupted" in files["log.txt"].decode()
    assert sum(name.startswith("tables/") for name in files) == 1


def test_an_unforeseen_end_is_in_the_log_that_comes_home(trial, monkeypatch):
    monkeypatch.setattr(gpu, "run_cells", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        trial()
    assert "ZeroDivisionError" in packed(trial.out / "results.tar.gz")["log.txt"].decode()


def test_what_is_no_number_of_minutes_is_named(trial, capsys):
    with pytest.raises(SystemExit):
        trial(minutes=0)
    assert "--minutes takes a number above 0, not 0.0" in capsys.readouterr().err


# -- the archive -------------------------------------------------------------------------------------------------------


def test_the_archive_is_renewed_while_nothing_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "RENEWED_AFTER", 0.05)
    made = Archive(tmp_path / "out", tmp_path / "elsewhere" / "home.tar.gz")
    with made.renewed():
        for word in ("first", "second"):
            made.say(word)
            waited = time.monotonic() + 30
            while not made.path.exists() or word not in packed(made.path)["log.txt"].decode():
                assert time.monotonic() < waited
                time.sleep(0.02)
    assert [path.name for path in made.path.parent.iterdir()] == ["home.tar.gz"]


def test_the_archive_has_no_checkpoints_and_a_size(tmp_path, monkeypatch, capsys):
    made = Archive(tmp_path, tmp_path / "results.tar.gz")
    made.say("one")
    noise = os.urandom(50_000)
    for name in ("a-seed0.json", "b-seed0.json", ".checkpoints/b-seed0/checkpoint.safetensors"):
        (tmp_path / "tables" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tables" / name).write_bytes(noise)
    made.pack()
    assert packed(made.path).keys() == {"log.txt", "tables/a-seed0.json", "tables/b-seed0.json"}
    monkeypatch.setattr(archive, "AT_MOST", 100_000)
    made.pack()
    assert packed(made.path).keys() == {"log.txt", "tables/a-seed0.json"}
    assert made.path.stat().st_size < 100_000
    assert "b-seed0.json has no room" in capsys.readouterr().out


# -- the commit --------------------------------------------------------------------------------------------------------


@pytest.fixture
def no_git(monkeypatch):
    def absent(*_, **__):
        raise OSError("no git")

    monkeypatch.setattr(provenance.subprocess, "run", absent)
    monkeypatch.delenv(COMMIT, raising=False)
    commit.cache_clear()
    yield
    monkeypatch.undo()
    commit.cache_clear()


def test_records_carry_the_commit_that_the_files_are_a_copy_of(no_git, trial):
    assert "records will not say of which commit" in trial("--tables", "2")
    trial("--tables", "1", "--commit", "0123456789abcdef")
    commits = {record["experiment"]["lr"]: record["commit"] for record in results.load(trial.out / "tables")}
    assert commits == {0.4: None, 0.1: None, 0.2: "0123456789ab", 0.3: "0123456789ab", FAST.lr: "0123456789ab"}


def test_what_is_no_commit_is_named(no_git, trial):
    with pytest.raises(SystemExit, match="DNLL_COMMIT='HEAD' is no commit; accepted: 7 to 40 hexadecimal digits"):
        trial("--commit", "HEAD")


def test_a_checkout_knows_its_commit_better(trial, monkeypatch):
    monkeypatch.setenv(COMMIT, "")
    answers = {"--show-prefix": "dnll_core/\n", "HEAD": "abcdef012345\n"}
    monkeypatch.setattr(
        provenance.subprocess, "run", lambda words, **_: SimpleNamespace(stdout=answers.get(words[-1], ""))
    )
    commit.cache_clear()
    with pytest.raises(SystemExit, match="this is a checkout of abcdef012345"):
        trial("--commit", "0123456789abcdef")
    monkeypatch.undo()
    commit.cache_clear()


def test_every_test_that_needs_a_gpu_is_marked():
    """Whoever skips a test without CUDA marks it, for the command to find it."""
    unmarked = [
        path.name
        for path in gpu.TESTS.rglob("test_*.py")
        if "needs a CUDA device" in (text := path.read_text(encoding="utf-8")) and "mark.gpu" not in text
    ]
    assert unmarked == []
