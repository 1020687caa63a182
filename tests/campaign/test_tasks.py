"""The loop over runs: records, failures, locks, time that is over, Ctrl-C, and checkpoints that go on bit for bit."""

import errno
import functools
import os
import shutil
import signal
import threading
import time
from concurrent.futures import Future

import pytest
import torch
from fabricated import record

from dnll_core import results, train
from dnll_core.campaign import pool, tasks, worker
from dnll_core.campaign.pool import Pool, TaskLost, WorkerDied
from dnll_core.campaign.tasks import checkpoint_step, run_tasks
from dnll_core.campaign.worker import CHECKPOINTS, Outcome, Task, attempt
from dnll_core.config import Experiment
from dnll_core.resume import exclusive
from dnll_core.run import prepare
from dnll_core.trainer import Trainer

FAST = Experiment(method="supervised", labels=20, labelled_batch=20, unlabelled_batch=512, epochs=1)
LONGER = FAST.replace(epochs=3, unlabelled_batch=256, method="dnll")


def inline(size=1):
    """A pool that carries a task out where it is submitted."""

    def submit(function, task):
        future = Future()
        try:
            future.set_result(function(task))
        except BaseException as error:
            future.set_exception(error)
        return future

    return Pool(submit, lambda: size, lambda campaign: None)


def task_of(experiment, folder, seed=0):
    return Task(experiment, seed, folder)


def final(record):
    """What must not depend on where and when a run took place."""
    history = [{key: value for key, value in row.items() if key != "seconds"} for row in record["history"]]
    return record["final"], record["labels_sha256"], history


def lasting(record):
    """All of a record but when it took place and how long it took."""
    history = [{key: value for key, value in row.items() if key != "seconds"} for row in record["history"]]
    sittings = [{**sitting, "seconds": None} for sitting in record["sittings"]]
    timed = dict.fromkeys(("seconds", "images_per_second", "finished"))
    return {**record, "history": history, "sittings": sittings} | timed


def test_records_are_written_and_a_failure_does_not_end_the_others(tmp_path):
    good, bad = (task_of(e, tmp_path) for e in (FAST, FAST.replace(labels=21)))
    lines = []
    report = run_tasks([bad, good], inline(), say=lines.append)
    [(task, record)] = report.recorded
    assert task is good
    assert final(record) == final(train(FAST, 0, progress=False).record())
    assert results.load(tmp_path) == [record]
    [failure] = report.failures
    assert failure.startswith("supervised on digits, seed 0:")
    assert "labels=21" in failure
    assert [line.split(" ")[0] for line in lines] == ["[1/2]", "[1/2]", "[2/2]", "[2/2]"]
    assert "failed" in lines[1]
    assert "% on test images" in lines[3]
    assert not any((tmp_path / CHECKPOINTS).iterdir())


def test_an_error_that_explains_itself_is_a_message_and_another_one_a_traceback(monkeypatch, tmp_path):
    failure = attempt((task_of(FAST.replace(lr=1e30, epochs=3), None), None, "")).failure
    assert "the loss stopped being finite at iteration" in failure
    assert "Traceback" not in failure
    monkeypatch.setattr(worker, "record_of", lambda *_: 1 / 0)
    assert "Traceback" in attempt((task_of(FAST, None), None, "")).failure
    for too_much in (lambda *_: bytearray(1 << 60), lambda *_: torch.empty(1 << 60, dtype=torch.uint8)):
        monkeypatch.setattr(worker, "record_of", too_much)
        failure = attempt((task_of(FAST, None), None, "")).failure
        assert failure.startswith("supervised on digits, seed 0: the run takes more memory than there is; ")
        assert failure.endswith(" Run the same command again, with fewer --workers.")


def test_without_a_folder_nothing_is_written(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    report = run_tasks([task_of(FAST, None)], inline())
    assert len(report.recorded) == 1
    assert not list(tmp_path.iterdir())


def test_a_run_that_another_campaign_is_running_is_tried_again_at_the_end(monkeypatch, tmp_path):
    first, second, third = (task_of(FAST, tmp_path, seed) for seed in range(3))
    order = []
    other = exclusive(first.checkpoint / ".campaign")
    always = exclusive(third.checkpoint / ".campaign")

    def fake(config, seed, *_):
        order.append(seed)
        if seed == 1:
            other.__exit__(None, None, None)  # the other campaign stops
        return record(config, seed)

    monkeypatch.setattr(worker, "record_of", fake)
    other.__enter__()
    with always:
        report = run_tasks([first, second, third], inline())
    assert order == [1, 0]
    assert [task.seed for task, _ in report.recorded] == [1, 0]
    assert report.elsewhere == [third]
    assert report.failures == []
    assert {record["seed"] for record in results.load(tmp_path)} == {0, 1}


def test_a_run_that_was_recorded_meanwhile_is_not_repeated(monkeypatch, tmp_path):
    results.save(record(FAST, 0), tmp_path)
    monkeypatch.setattr(worker, "record_of", lambda *_: pytest.fail("trained again"))
    lines = []
    report = run_tasks([task_of(FAST, tmp_path)], inline(), say=lines.append)
    assert report == tasks.Report()
    assert "recorded by another campaign" in lines[0]
    assert not any((tmp_path / CHECKPOINTS).iterdir())


def test_a_run_whose_time_is_over_stops_with_a_checkpoint_and_goes_on_bit_for_bit(tmp_path):
    task = task_of(LONGER, tmp_path)
    assert attempt((task, 0.0, "")) == Outcome()  # long over: after the first iteration
    assert checkpoint_step(task.checkpoint) == 1
    report = run_tasks([task], inline())
    [(_, record)] = report.recorded
    assert final(record) == final(train(LONGER, 0, progress=False).record())
    assert not task.checkpoint.exists()


def test_no_run_is_begun_when_the_time_is_over(monkeypatch, tmp_path):
    monkeypatch.setattr(worker, "record_of", lambda *_: pytest.fail("begun"))
    todo = [task_of(FAST, tmp_path, seed) for seed in range(2)]
    assert run_tasks(todo, inline(), stop_at=0.0).unfinished == todo


def test_the_longest_iteration_must_fit_into_the_time_that_is_left(monkeypatch):
    asked = {}

    def fake(config, seed, measure, checkpoint, should_stop, capture):
        asked.update({ahead: should_stop(ahead) for ahead in (5.0, 50.0)})
        raise KeyboardInterrupt

    monkeypatch.setattr(worker, "record_of", fake)
    monkeypatch.setattr(worker.time, "time", lambda: 1000.0)
    assert attempt((task_of(FAST, None), 1020.0, "")) == Outcome()
    assert asked == {5.0: False, 50.0: True}


def test_the_trainer_says_how_long_the_longest_iteration_took():
    ahead = []
    train(FAST, 0, progress=False, should_stop=lambda longest: ahead.append(longest))
    trainer, _ = prepare(FAST, 0, progress=False)
    assert 0.0 in ahead  # within the evaluation: has the time come?
    ahead = [seconds for seconds in ahead if seconds != 0.0]
    assert len(ahead) == trainer.learner.clock.total_steps
    assert ahead == sorted(ahead)
    assert ahead[0] > 0


def test_a_campaign_that_is_interrupted_elsewhere_stops_its_own_runs_alone(monkeypatch, tmp_path):
    monkeypatch.setattr(pool, "_stopped", set())
    task = task_of(LONGER, tmp_path)
    pool.stop_campaign("mine")
    assert attempt((task, None, "mine")) == Outcome()
    assert checkpoint_step(task.checkpoint) == 1
    assert attempt((task, None, "another")).record is not None


def test_ctrl_c_reaches_the_pool_and_lets_go_of_everything(monkeypatch, tmp_path):
    """The run that ended by then is recorded, the other one keeps its checkpoint."""
    ended, begun = task_of(FAST, tmp_path), task_of(LONGER, tmp_path)
    interrupted, futures = [], []

    def submit(function, order):
        futures.append((Future(), order))
        if len(futures) == 2:
            futures[0][0].set_exception(KeyboardInterrupt())  # what a worker answers to Ctrl-C
        return futures[-1][0]

    def interrupt(campaign):
        interrupted.append(campaign)
        futures[1][0].set_result(attempt(futures[1][1]))

    attempt((begun, 0.0, ""))
    with pytest.raises(KeyboardInterrupt):
        run_tasks([begun, ended], Pool(submit, lambda: 2, interrupt))
    assert interrupted == [futures[0][1][2]]
    assert [record["experiment"]["method"] for record in results.load(tmp_path)] == ["supervised"]
    assert checkpoint_step(begun.checkpoint) == 1
    with exclusive(begun.checkpoint / ".campaign"):
        pass


def test_a_run_that_was_cut_off_goes_on_from_its_checkpoint(monkeypatch, tmp_path):
    """It is finished, not repeated, and its checkpoint goes when its record is there."""
    task, steps = task_of(LONGER, tmp_path), []
    step = Trainer.train_step

    def cut_off(self, i):
        steps.append(i)
        if len(steps) == 6:
            raise KeyboardInterrupt
        return step(self, i)

    monkeypatch.setattr(Trainer, "train_step", cut_off)
    monkeypatch.setattr(worker, "train", functools.partial(train, checkpoint_minutes=0))
    with pytest.raises(KeyboardInterrupt):
        run_tasks([task], inline())
    assert results.load(tmp_path) == []
    assert checkpoint_step(task.checkpoint) == 5
    run_tasks([task], inline())
    trainer, _ = prepare(LONGER, 0, progress=False)
    assert len(steps) == trainer.learner.clock.total_steps + 1  # the step that was cut off came twice
    [record] = results.load(tmp_path)
    assert final(record) == final(train(LONGER, 0, progress=False).record())
    assert not any((tmp_path / CHECKPOINTS).iterdir())


def test_a_run_that_fails_keeps_a_checkpoint_that_it_had(monkeypatch, tmp_path):
    task = task_of(LONGER, tmp_path)
    attempt((task, 0.0, ""))
    monkeypatch.setattr(worker, "record_of", lambda *_: 1 / 0)
    assert len(run_tasks([task], inline()).failures) == 1
    assert checkpoint_step(task.checkpoint) == 1


def test_a_record_that_cannot_be_written_is_a_failure_and_the_run_is_not_lost(monkeypatch, tmp_path):
    task = task_of(LONGER, tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(results, "to_json", full)
        [failure] = run_tasks([task], inline()).failures
    path = tmp_path / f"{task.name}.json"
    record = train(LONGER, 0, progress=False).record()
    assert failure.startswith(f"{task.name}: {100 * record['final']['test']['mean']:.2f} % on test images, ")
    assert f" s, but its record could not be written to {path} (No space left on device); " in failure
    assert failure.endswith("its checkpoint holds the whole run, so the same command records it without training")
    expected = final(record)
    monkeypatch.setattr(Trainer, "train_step", lambda *_: pytest.fail("trained again"))
    [(_, record)] = run_tasks([task], inline()).recorded
    assert final(record) == expected


def full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("step", "says"),
    [
        (0, "it has no checkpoint, so the same command runs it again"),
        (1, "its checkpoint is of iteration 1 of 12, so the same command goes on"),
    ],
)
def test_a_disk_without_room_for_record_and_checkpoint_is_no_promise(monkeypatch, tmp_path, step, says):
    task = task_of(LONGER, tmp_path)
    if step:
        attempt((task, 0.0, ""))
    monkeypatch.setattr(results, "to_json", full)
    monkeypatch.setattr(Trainer, "save", full)
    with pytest.warns(UserWarning, match="no checkpoint was written"):
        [failure] = run_tasks([task], inline()).failures
    assert " % on test images" in failure
    assert failure.endswith(says)


# -- workers that die, or are not there --------------------------------------------------------------------------------


def lost(function, task):
    future = Future()
    future.set_exception(TaskLost("a worker process died"))
    return future


def test_a_run_whose_worker_dies_is_a_failure_that_says_where_it_goes_on(tmp_path):
    first, second = task_of(LONGER, tmp_path), task_of(FAST, tmp_path)
    attempt((first, 0.0, ""))
    submit = inline().submit
    dies_once = Pool(lambda f, order: (lost if order[0] is first else submit)(f, order), lambda: 1, lambda name: None)
    report = run_tasks([first, second], dies_once)
    assert [task for task, _ in report.recorded] == [second]
    [failure] = report.failures
    assert failure == (
        f"{first.name}: its worker process died (out of memory?); it goes on from iteration 1 when the same command is "
        "run again, with fewer --workers if memory is short"
    )
    assert checkpoint_step(first.checkpoint) == 1


def test_a_run_that_had_come_further_when_its_worker_died_goes_on_at_once(tmp_path):
    """As those of hours do on machines that may be taken away at any time."""
    task, lines = task_of(LONGER, tmp_path), []

    def submit(function, order):
        step = checkpoint_step(task.checkpoint)
        if step == 3:
            return inline().submit(function, order)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(worker, "interrupted", lambda campaign: True)
            attempt((task, None, ""))  # one iteration
        return lost(function, order)

    report = run_tasks([task], Pool(submit, lambda: 1, lambda name: None), say=lines.append)
    [(_, record)] = report.recorded
    assert report == tasks.Report(recorded=report.recorded)
    assert [s["iterations"] for s in record["sittings"]] == [1, 1, 1, 9]
    assert final(record) == final(train(LONGER, 0, progress=False).record())
    told = [line.split(" ", 2)[2] for line in lines]
    assert told[:-1] == ["begun", *(f"goes on from iteration {n}" for n in (1, 2, 3))]


def test_a_run_waits_for_a_worker_that_is_at_it_still(monkeypatch, tmp_path):
    """One whose campaign was killed, or which lost its scheduler, ends its iteration first."""
    task = task_of(FAST, tmp_path)
    with exclusive(task.checkpoint), pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "LEAVING", 0.0)
        assert "another process is training" in attempt((task, None, "")).failure
        pool.stop_campaign("stopped")
        patch.setattr(worker, "LEAVING", 60.0)
        assert attempt((task, None, "stopped")) == Outcome()
    held = exclusive(task.checkpoint)
    held.__enter__()
    timer = threading.Timer(0.2, held.__exit__, (None, None, None))
    timer.start()
    assert attempt((task, None, "")).record is not None
    timer.join()


def test_where_nothing_works_the_others_stop_with_their_checkpoints_first(tmp_path):
    other, last, orders = task_of(LONGER, tmp_path), task_of(FAST, tmp_path), []

    def submit(function, order):
        orders.append((Future(), order))
        if order[0] is last:
            orders[-1][0].set_exception(WorkerDied("nothing works"))
        return orders[-1][0]

    def interrupt(campaign):
        if not orders[0][0].done():
            orders[0][0].set_result(attempt((other, 0.0, campaign)))

    with pytest.raises(WorkerDied, match="nothing works"):
        run_tasks([other, last], Pool(submit, lambda: 2, interrupt))
    assert checkpoint_step(other.checkpoint) == 1


class Empty:
    """A pool whose workers are gone, so that nobody works on what it takes. size: how many come, look by look."""

    def __init__(self, *size):
        self.sizes, self.interrupted = iter(size), []
        self.pool = Pool(lambda function, task: Future(), lambda: next(self.sizes, 0), self.interrupted.append)


def test_that_no_worker_is_left_is_said_once_and_ctrl_c_does_not_wait_for_one(monkeypatch, tmp_path):
    monkeypatch.setattr(tasks, "SLICE", 0.01)
    empty, lines = Empty(1), []

    def say(line):
        lines.append(line)
        if "no worker" in line:
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()

    with pytest.raises(KeyboardInterrupt):
        run_tasks([task_of(FAST, tmp_path)], empty.pool, say=say)
    assert [line for line in lines if "worker" in line] == [
        "no worker is left at the scheduler; waiting for one (Ctrl-C ends the campaign in order)"
    ]
    assert len(empty.interrupted) == 1


def test_the_time_ends_a_campaign_that_has_no_worker(monkeypatch, tmp_path):
    monkeypatch.setattr(tasks, "SLICE", 0.01)
    todo = [task_of(FAST, tmp_path, seed) for seed in range(2)]
    report = run_tasks(todo, Empty(1).pool, stop_at=time.time() + 0.2)
    assert report == tasks.Report(unfinished=todo)
    with exclusive(todo[0].checkpoint / ".campaign"):
        pass


def test_when_a_worker_is_there_again_the_campaign_goes_on(monkeypatch, tmp_path):
    monkeypatch.setattr(tasks, "SLICE", 0.01)
    sizes, lines = iter([0, 0, 1]), []
    pool = Pool(inline().submit, lambda: next(sizes, 1), lambda campaign: None)
    assert len(run_tasks([task_of(FAST, tmp_path)], pool, say=lines.append).recorded) == 1
    assert lines[1] == "1 workers are there again"


@pytest.mark.parametrize("name", ["checkpoint.safetensors", "part-00-0123456789ab.pt"])
def test_a_checkpoint_that_cannot_be_read_is_a_failure_and_kept(tmp_path, name):
    """Whoever it belongs to may have a whole copy, or the version that wrote it."""
    task = task_of(LONGER, tmp_path)
    task.checkpoint.mkdir(parents=True)
    (task.checkpoint / name).write_bytes(b"something")
    for _ in range(2):
        [failure] = run_tasks([task], inline()).failures
        assert str(task.checkpoint) in failure and "Delete the" in failure and "Traceback" not in failure
        assert (task.checkpoint / name).read_bytes() == b"something"
    shutil.rmtree(task.checkpoint)
    assert len(run_tasks([task], inline()).recorded) == 1


def test_a_folder_that_cannot_be_written_to_is_a_failure(tmp_path):
    (tmp_path / CHECKPOINTS).write_text("a file in the place of a folder", encoding="utf-8")
    report = run_tasks([task_of(FAST, tmp_path)], inline())
    assert report.elsewhere == report.recorded == []
    [failure] = report.failures
    assert "cannot be written to" in failure
