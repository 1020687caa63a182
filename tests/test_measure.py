"""The measured shares against loops over single images, and that measuring changes nothing."""

import pytest
import torch

from dnll_core import Experiment, train
from dnll_core.evaluation import transfer_observer
from dnll_core.methods.base import Batch, Output

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


def test_against_a_loop():
    truth, index, o = torch.tensor([3, 0, 1, 2, 3, 1, 0]), [6, 0, 3, 2, 2, 5], output()
    seen = transfer_observer(truth)(batch(index), o)
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
    some = transfer_observer(torch.tensor([3, -1, 1, -1, 3, 1]))(batch(index), o)
    for logits in (o.teacher_logits, o.student_logits, o.negatives, o.targets):
        logits[:] = [value[[0, 2, 4, 5]] for value in logits]
    rest = transfer_observer(torch.tensor([3, 1, 3, 1]))(batch([0, 1, 2, 3]), o)
    for name in ("wrong labels", "wrong sets", "wrong negatives", "weak accuracy", "strong accuracy"):
        assert some[name].item() == pytest.approx(rest[name].item()), name


def test_unused_images():
    empty, full = torch.zeros(6, 4), torch.ones(6, 4)
    seen = transfer_observer(torch.zeros(6, dtype=torch.long))(batch(range(6)), output([empty, full]))
    assert seen["used"] == 0
    assert seen["same target"] == 0


def test_measuring_changes_nothing():
    plain, measured = train(Experiment(**FAST), 0), train(Experiment(**FAST), 0, measure=True)
    assert [row["test"] for row in plain.history] == [row["test"] for row in measured.history]
    assert [row["loss"] for row in plain.history] == [row["loss"] for row in measured.history]


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
