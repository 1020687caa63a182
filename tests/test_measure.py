"""The measured shares against loops over single images, what an observer sees, and that looking changes nothing."""

import dataclasses

import pytest
import torch

from dnll_core import Experiment, load_data, train
from dnll_core.config import ConfigError
from dnll_core.methods.base import Batch, Output
from dnll_core.observers import transfer_observer

FAST = {"labels": 20, "labelled_batch": 20, "unlabelled_batch": 256, "epochs": 2, "m": 3, "lr": 0.1}


def output(targets=None):
    g = torch.Generator().manual_seed(0)
    logits = [torch.randn(6, 4, generator=g) for _ in range(4)]
    negatives = [(torch.rand(6, 4, generator=g) < 0.5).float() for _ in range(2)]
    for labels in negatives:
        labels[:, 0] = 1
    return Output(
        torch.tensor(0.0),
        [],
        student_logits=logits[:2],
        teacher_logits=logits[2:],
        negatives=negatives,
        targets=list(negatives) if targets is None else targets,
    )


def batch(index):
    return Batch((), torch.tensor([]), (), torch.tensor(index))


def means(seen):
    """What the history would have of one iteration."""
    return {name: value if value.ndim == 0 else value[0] / value[1] for name, value in seen.items()}


def test_against_a_loop():
    truth, index, o = torch.tensor([3, 0, 1, 2, 3, 1, 0]), [6, 0, 3, 2, 2, 5], output()
    seen = means(transfer_observer(truth)(batch(index), o))
    y = [int(truth[i]) for i in index]
    names = ("wrong labels", "wrong sets", "wrong negatives", "strong accuracy")
    counts = dict.fromkeys(names, 0.0)
    for s in range(2):
        for i, true in enumerate(y):
            counts["wrong labels"] += int(o.teacher_logits[s][i].argmax()) != true
            counts["strong accuracy"] += int(o.student_logits[s][i].argmax()) == true
            marked = [k for k in range(4) if o.negatives[s][i][k]]
            counts["wrong sets"] += true in marked
            counts["wrong negatives"] += marked.count(true) / len(marked)
    for name, count in counts.items():
        assert seen[name].item() == pytest.approx(count / 12), name
    agree = [o.teacher_logits[0][i].argmax() == o.teacher_logits[1][i].argmax() for i in range(6)]
    assert seen["agreement"].item() == pytest.approx(sum(map(int, agree)) / 6)
    same = [torch.equal(o.negatives[0][i], o.negatives[1][i]) for i in range(6)]
    assert seen["same target"].item() == pytest.approx(sum(same) / 6)
    assert seen["used"].item() == 1
    assert seen["weak accuracy"] + seen["wrong labels"] == pytest.approx(1)


def test_images_without_a_known_class_are_left_out():
    o, index = output(), [0, 1, 2, 3, 4, 5]
    some = means(transfer_observer(torch.tensor([3, -1, 1, -1, 3, 1]))(batch(index), o))
    for logits in (o.teacher_logits, o.student_logits, o.negatives, o.targets):
        logits[:] = [value[[0, 2, 4, 5]] for value in logits]
    rest = means(transfer_observer(torch.tensor([3, 1, 3, 1]))(batch([0, 1, 2, 3]), o))
    for name in ("wrong labels", "wrong sets", "wrong negatives", "weak accuracy", "strong accuracy"):
        assert some[name].item() == pytest.approx(rest[name].item()), name


@pytest.mark.parametrize("method", ["dnll", "fixmatch"])
def test_shares_are_of_the_images_of_the_epoch_whose_class_is_known(method):
    digits, e = load_data("digits"), Experiment(**FAST | {"unlabelled_batch": 16, "epochs": 1}, method=method)
    few = digits.y_train.clone()
    few[torch.rand(len(few), generator=torch.Generator().manual_seed(0)) < 0.9] = -1  # of many batches none is known
    events, hidden = [], dataclasses.replace(digits, name="mine", y_train=few)

    def note(batch, output):
        own = truth[batch.index]
        events.extend(bool(p == y) for logits in output.teacher_logits for p, y in zip(logits.argmax(1), own) if y >= 0)

    run = train(e, 0, load=lambda *a, **k: hidden)
    pool, images = run.trainer.learner.data.unlabelled, digits.x_train
    places = [int((images == image).flatten(1).all(1).nonzero()[0]) for image in pool]
    truth = few[places]
    [row] = train(e, 0, load=lambda *a, **k: hidden, measure=True, observer=note).history
    assert 0 < len(events) < 400 * len(run.trainer.predictors())
    assert row["weak accuracy"] == pytest.approx(sum(events) / len(events), abs=2e-6)
    assert row["weak accuracy"] + row["wrong labels"] == pytest.approx(1, abs=2e-6)


def test_where_no_class_is_known_there_is_no_share(tmp_path):
    digits, e = load_data("digits"), Experiment(**FAST | {"labels": None, "epochs": 1})
    known = torch.arange(len(digits.y_train)) < 600  # and all of them are labelled
    data = dataclasses.replace(digits, y_train=torch.where(known, digits.y_train, -1))
    [row] = train(e, 0, load=lambda *a, **k: data, measure=True, checkpoint=tmp_path).history
    assert "agreement" in row
    assert not {"weak accuracy", "strong accuracy", "wrong labels", "wrong sets", "wrong negatives"} & row.keys()
    assert train(e, 0, load=lambda *a, **k: data, checkpoint=tmp_path).history == [row]


def test_an_observer_may_return_a_sum_and_over_how_many_it_is():
    often = []

    def odd(batch, output):
        often.append(len(often))
        return {"odd": torch.tensor([float(often[-1]), 1.0]) * (often[-1] % 2), "none": torch.zeros(2)}

    row, other = train(Experiment(**FAST), 0, observer=odd).history
    assert row["odd"] == 2  # of 0, 1, 2, 3
    assert other["odd"] == 6  # of 4, 5, 6, 7
    assert "none" not in row | other


def test_unused_images():
    empty, full = torch.zeros(6, 4), torch.ones(6, 4)
    seen = transfer_observer(torch.zeros(6, dtype=torch.long))(batch(range(6)), output([empty, full]))
    assert seen["used"] == 0
    assert seen["same target"] == 0


def test_measuring_changes_nothing():
    plain, measured = train(Experiment(**FAST), 0), train(Experiment(**FAST), 0, measure=True)
    assert [row["test"] for row in plain.history] == [row["test"] for row in measured.history]
    assert [row["loss"] for row in plain.history] == [row["loss"] for row in measured.history]


def end_of(run):
    """All that a run has computed: its curve without times, and its weights."""
    rows = [{name: value for name, value in row.items() if name != "seconds"} for row in run.history]
    return rows, run.trainer.learner.method.state_dict()


def assert_equal_ends(one, other):
    (rows, weights), (other_rows, other_weights) = end_of(one), end_of(other)
    assert rows == other_rows
    assert all(torch.equal(value, other_weights[name]) for name, value in weights.items())


@pytest.mark.parametrize("method", ["dnll", "mean-teacher", "supervised"])
def test_an_observer_that_returns_nothing_changes_nothing(method):
    e, seen = Experiment(**FAST, method=method, dropout=0.1), []

    def look(batch, output):
        seen.append((batch.targets.clone(), float(output.loss)))

    observed = train(e, 0, observer=look)
    assert_equal_ends(train(e, 0), observed)
    assert len(seen) == observed.trainer.step
    steps = len(seen) // e.epochs
    mean_of_first_epoch = sum(loss for _, loss in seen[:steps]) / steps
    assert observed.history[0]["loss"] == pytest.approx(mean_of_first_epoch, abs=1e-5)
    assert sorted(seen[0][0].tolist()) == sorted(2 * list(range(10)))  # all labels, two of each class


def test_what_an_observer_returns_is_averaged_over_the_epoch():
    e, losses, often = Experiment(**FAST), [], []

    def note(batch, output):
        losses.append(float(output.loss.detach()))
        found = {"noted": output.loss, "first": torch.tensor(len(losses) == 1)}  # with a gradient; and a truth value
        return found if len(losses) % 2 else {"noted": output.loss}

    def count(batch, output):
        often.append(output.loss.requires_grad)
        return None if len(often) % 2 else {"even": output.loss}

    history = train(e, 0, observer=note).history
    steps = len(losses) // 2
    assert history[0]["noted"] == pytest.approx(sum(losses[:steps]) / steps, abs=1e-5) == history[0]["loss"]
    assert history[0]["first"] == pytest.approx(1 / ((steps + 1) // 2), abs=1e-6)  # of the iterations that had it
    even = [loss for i, loss in enumerate(losses[:steps]) if i % 2]
    assert train(e, 0, observer=count).history[0]["even"] == pytest.approx(sum(even) / len(even), abs=1e-5)


def test_an_observer_beside_the_measurements():
    e = Experiment(**FAST)
    measured = train(e, 0, measure=True)
    both = train(e, 0, measure=True, observer=lambda batch, output: {"mine": output.targets[0].sum(1).mean()})
    for row in both.history:
        assert row.pop("mine") == pytest.approx(6)  # m = 3 of either submodel
    assert_equal_ends(measured, both)
    silent = train(e, 0, measure=True, observer=lambda batch, output: None)
    assert_equal_ends(measured, silent)


def first_weight(method):
    return float(next(method.teacher.parameters()).flatten()[0])


def test_an_observer_sees_the_networks_after_the_step():
    weights = []
    run = train(
        Experiment(**FAST, method="mean-teacher"),
        0,
        observer=lambda batch, output: weights.append(first_weight(output.method)),
    )
    assert weights[-1] == first_weight(run.trainer.learner.method)
    assert weights[0] != weights[-1]


@pytest.mark.parametrize("name", ["loss", "epoch", "test", "negative", "wrong sets"])
def test_an_observer_takes_no_name_of_the_history(name):
    with pytest.raises(ConfigError, match=name):
        train(Experiment(**FAST), 0, measure=True, observer=lambda batch, output: {name: output.loss})


@pytest.mark.parametrize("returned", [5, "x", {"a": 0.5}, {1: torch.ones(())}, {"a": torch.ones(3)}, [torch.ones(())]])
def test_what_an_observer_returns_must_be_numbers_by_name(returned):
    with pytest.raises(ConfigError, match=r"returns None or a dict of 0-dim tensors by name, or pairs, not "):
        train(Experiment(**FAST), 0, observer=lambda batch, output: returned)


def test_an_observer_is_a_function():
    with pytest.raises(ConfigError, match=r"observer takes a function .* not 5"):
        train(Experiment(**FAST), 0, observer=5)


@pytest.mark.parametrize("selection", ["ep", "epm"])
def test_equal_probability_obeys_theorem_3_1_and_both_have_one_target(selection):
    history = train(Experiment(**FAST, selection=selection), 0, measure=True).history
    for row in history:
        assert row["wrong sets"] == pytest.approx(3 * row["wrong negatives"], abs=5e-6)  # rounded to six digits
        assert row["same target"] == 1  # Eqs. 18-19: both learn from the same sum
        if selection == "ep":
            n = 2 * 1024  # draws in an epoch; five standard errors
            expected = row["wrong labels"] * 3 / 9
            assert row["wrong sets"] == pytest.approx(expected, abs=5 * (expected / n) ** 0.5)
