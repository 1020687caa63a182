"""Runs that go on elsewhere: with other threads, in another precision, from a copy of their folder."""

import contextlib
import shutil
import warnings

import pytest
import torch
from attacks.children import SMALL, answer_of, differences, lasting, run_of
from attacks.ledger import times

from dnll_core import Experiment, train

FIELDS = SMALL | {"method": "dnll", "network": "wrn28-2", "epochs": 1, "labelled_batch": 4, "unlabelled_batch": 200}
PLACES = [((1, "float32"), (1, "bfloat16")), ((1, "float32"), (2, "float32")), ((2, "float32"), (1, "float32"))]


@pytest.mark.parametrize(("first", "then"), PLACES[: times(3, 0)])
def test_a_run_goes_on_elsewhere(first, then, attempt, tmp_path):
    with attempt("moved", f"from {first} to {then}"):
        end, told = answer_of(some_iterations, tmp_path / "here", *first, seconds=300)
        assert end == "ended", told
        shutil.move(tmp_path / "here", tmp_path / "there")
        with warnings.catch_warnings(record=True) as said, threads(then[0]):
            warnings.simplefilter("always")
            run = run_of(FIELDS, tmp_path / "there", precision=then[1])
        sittings = run.record()["sittings"]
        assert [sitting["precision"] for sitting in sittings] == [first[1], then[1]]
        assert sum(sitting["iterations"] for sitting in sittings) == run.trainer.step
        assert any("goes on with" in str(one.message) for one in said)
        assert run.history[-1]["loss"] < 1e3


@contextlib.contextmanager
def threads(number):
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    yield
    torch.set_num_threads(before)


def some_iterations(folder, number, precision):
    """In a child, as on another machine."""
    torch.set_num_threads(number)
    seen = []
    try:
        run_of(FIELDS, folder, precision=precision, should_stop=lambda ahead: seen.append(1) or len(seen) > 2)
    except KeyboardInterrupt:
        return len(seen)


def test_a_copy_goes_on_bit_for_bit(attempt, tmp_path):
    with attempt("moved", "a copy of the folder"):
        fields = SMALL | {"method": "dnll"}
        with pytest.raises(KeyboardInterrupt):
            seen = []
            run_of(fields, tmp_path / "here", should_stop=lambda ahead: seen.append(1) or len(seen) > 5)
        shutil.copytree(tmp_path / "here", tmp_path / "there")
        run = run_of(fields, tmp_path / "there")
        assert differences(lasting(run), lasting(train(Experiment(**fields), 0, progress=False))) == []
        assert len(run.record()["sittings"]) == 2
