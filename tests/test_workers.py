"""Worker processes: order, a worker that dies, and what Ctrl-C leaves undone."""

import math
import os
import threading

import pytest

from dnll_core import workers


def test_outcomes_come_in_the_order_of_the_tasks():
    assert list(workers.spread(math.factorial, [5, 3, 4], 2, "factorials")) == [120, 6, 24]


def test_a_worker_that_dies_is_an_error_and_not_a_wait_for_ever():
    with pytest.raises(workers.WorkerDied, match="a worker process of doomed died"):
        list(workers.spread(os._exit, [1, 1], 1, "doomed"))


def test_after_an_interrupt_a_worker_begins_nothing(monkeypatch):
    begun = []

    def task(number):
        begun.append(number)
        if number == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(workers, "_interrupted", threading.Event())
    workers._unless_interrupted(task, 1)
    for number in (2, 3):
        with pytest.raises(KeyboardInterrupt):
            workers._unless_interrupted(task, number)
    assert begun == [1, 2]
