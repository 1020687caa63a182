"""Disks that are full, read-only or gone, for a moment or for good."""

import contextlib
import errno
import os
import resource
import shutil
import signal
import subprocess
import warnings
from pathlib import Path

import pytest
from attacks.children import SMALL, answer_of, differences, lasting, run_of
from attacks.ledger import FULL, Attempts, times

from dnll_core import Experiment, train
from dnll_core.campaign.pool import processes
from dnll_core.campaign.tasks import run_tasks
from dnll_core.campaign.worker import Task
from dnll_core.checkpoint import CheckpointError, load_checkpoint
from dnll_core.resume import InUse, exclusive

FIELDS = SMALL | {"method": "dnll", "epochs": 2}
STEPS = 2 * (1077 // SMALL["unlabelled_batch"])


@pytest.fixture(scope="module")
def undisturbed():
    return lasting(train(Experiment(**FIELDS), 0, progress=False))


@pytest.fixture
def small_disk(tmp_path):
    """A function: kilobytes -> a disk of that size; needs the rights to mount one."""
    disks = []

    def made(kilobytes):
        place = tmp_path / f"disk {len(disks)}"
        place.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", place], capture_output=True, check=False
        )
        if done.returncode:
            pytest.skip("no rights to mount a disk")
        disks.append(place)
        return place

    yield made
    for place in disks:
        subprocess.run(["umount", "--lazy", place], check=True)


def at_step(step, do):
    """An observer that does something once, in the middle of an iteration."""
    seen = []

    def observe(batch, output):
        seen.append(1)
        if len(seen) == step:
            do()

    return observe


def disturbed(folder, step, do, warned, undisturbed):
    """Trains with a disturbance; it must end as an undisturbed run. warned: whether something must be said."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        run = run_of(FIELDS, folder, observer=at_step(step, do))
    assert differences(undisturbed, lasting(run)) == []
    said = [str(one.message) for one in told if str(folder) in str(one.message)]
    assert bool(said) == warned, said
    assert all("no checkpoint was written" in one for one in said)
    return run


def fill(disk):
    """Leaves no room at all."""
    with contextlib.suppress(OSError), open(disk / "fills it", "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    assert os.statvfs(disk).f_bavail == 0


@pytest.mark.parametrize("step", (1, 7, STEPS)[: times(3, 0)])
def test_a_disk_that_is_full(step, small_disk, undisturbed, attempt):
    with attempt("disk", f"full from iteration {step} on"):
        disk = small_disk(8000)
        disturbed(disk / "run", step, lambda: fill(disk), warned=True, undisturbed=undisturbed)
    with attempt("disk", f"full at iteration {step}, then with room again"):
        disk = small_disk(8000)
        fill(disk)
        run = disturbed(disk / "run", step, (disk / "fills it").unlink, warned=step > 1, undisturbed=undisturbed)
        assert load_checkpoint(disk / "run")[1]["step"] == STEPS == run.trainer.step
    with attempt("disk", f"killed while it is full, from iteration {step} on"):
        disk = small_disk(8000)
        assert answer_of(killed_on_a_full_disk, disk, min(step, STEPS - 2))[0] == "signal"
        (disk / "fills it").unlink()
        assert differences(undisturbed, lasting(run_of(FIELDS, disk / "run"))) == []


@pytest.mark.skipif(not FULL, reason="make test-long")
def test_a_disk_that_is_read_only_for_a_while(small_disk, undisturbed, attempt):
    with attempt("disk", "read-only between two sittings"):
        disk = small_disk(8000)
        assert answer_of(killed_at, disk / "run", 5)[0] == "signal"
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        for place in ("run", "another"):
            with pytest.raises(CheckpointError, match=f"{place}' cannot be written to: .*Read-only"):
                run_of(FIELDS, disk / place)
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
        assert differences(undisturbed, lasting(run_of(FIELDS, disk / "run"))) == []


def killed_at(folder, step, before=lambda *seen: None):
    """In a child."""
    kill = at_step(step, lambda: os.kill(os.getpid(), signal.SIGKILL))
    warnings.simplefilter("ignore")
    run_of(FIELDS, folder, observer=lambda *seen: (before(*seen), kill(*seen))[1])


def killed_on_a_full_disk(disk, step):
    """In a child."""
    killed_at(disk / "run", STEPS - 1, at_step(step, lambda: fill(disk)))


@pytest.mark.parametrize("size", (0, 1000, 50_000)[: times(3, 0)])
def test_files_that_may_not_become_large(size, undisturbed, attempt, tmp_path):
    """As `ulimit -f` has it."""
    with attempt("disk", f"files of at most {size} bytes"):
        end, told = answer_of(limited, size, tmp_path)
        assert end == "ended", told
        run, said = told
        assert differences(undisturbed, run) == [] and said


def limited(size, folder):
    """In a child: all that a run leaves, and whether it was said that its checkpoint was not written."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        run = run_of(FIELDS, folder)
    return lasting(run), any("no checkpoint was written" in str(one.message) for one in told)


@pytest.mark.parametrize("step", (2, 7, STEPS)[: times(3, 1)])
def test_a_folder_that_is_deleted(step, undisturbed, attempt, tmp_path):
    with attempt("disk", f"deleted at iteration {step}"):
        folder = tmp_path / "run"
        disturbed(folder, step, lambda: shutil.rmtree(folder), warned=False, undisturbed=undisturbed)
        assert load_checkpoint(folder)[1]["step"] == STEPS
    with attempt("disk", f"deleted at iteration {step}, and in use by another process then"):
        folder, other = tmp_path / "other", contextlib.ExitStack()

        def take():
            shutil.rmtree(folder)
            other.enter_context(exclusive(folder))

        with other, pytest.raises(InUse, match="another process is training with the checkpoint in"):
            run_of(FIELDS, folder, observer=at_step(step, take))
        assert load_checkpoint(folder) is None
    with attempt("disk", f"a file in its place at iteration {step}"):
        folder = tmp_path / "file"

        def replace():
            shutil.rmtree(folder)
            folder.write_text("not a folder", encoding="utf-8")

        disturbed(folder, step, replace, warned=True, undisturbed=undisturbed)


def test_a_record_or_model_for_which_there_is_no_room(small_disk, attempt):
    run = train(Experiment(**FIELDS), 0, progress=False)
    for what, save in (("record", run.save_record), ("model", run.save_model)):
        with attempt("disk", f"full when a {what} is saved"):
            disk = small_disk(400)
            fill(disk)
            with pytest.raises(OSError, match="No space left on device") as error:
                save(disk / "here")
            assert str(disk / "here") in str(error.value) and error.value.errno == errno.ENOSPC
            assert not (disk / "here").exists() or not any((disk / "here").iterdir())
            (disk / "fills it").unlink()
            assert Path(save(disk / "here")).exists()


@pytest.mark.skipif(not FULL, reason="make test-long")
def test_a_campaign_on_a_full_disk(small_disk, attempt):
    with attempt("disk", "full when a campaign would record"):
        disk = small_disk(4000)
        tasks = [Task(Experiment(**FIELDS), seed, disk / "records") for seed in range(2)]
        (disk / "records").mkdir()
        fill(disk)
        with processes(1, "the campaign") as pool:
            report = run_tasks(tasks, pool, progress=False)
        assert not report.recorded and len(report.failures) == 2
        assert all("No space left" in failure for failure in report.failures), report.failures
        (disk / "fills it").unlink()
        with processes(1, "the campaign") as pool:
            assert len(run_tasks(tasks, pool, progress=False).recorded) == 2


def test_what_cannot_be_tried_here_is_not_counted():
    attempts = Attempts()
    with pytest.raises(pytest.skip.Exception), attempts("disk", "skipped"):
        pytest.skip("no rights to mount a disk")
    with attempts("disk", "failed"):
        raise ValueError
    assert attempts.counts["disk"][:2] == [1, 0] and len(attempts.failures) == 1
