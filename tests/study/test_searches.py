"""Perturbed runs differ in rounding alone, drawn candidates are balanced and always the same, a file says it all."""

from collections import Counter

import numpy as np
import pytest
import torch

from dnll_core.config import ConfigError, Experiment
from dnll_core.methods.classical import Classical
from dnll_core.run import prepare
from dnll_core.study.searches import Search, chosen, drawn, perturbed, read

SHORT = Experiment(labels=20, labelled_batch=20, unlabelled_batch=256, epochs=1, lr=0.1)


@pytest.mark.parametrize("lr", [0.1, 0.03, 1.0, 1e-3])
def test_a_perturbed_learning_rate_is_n_units_in_the_last_place_higher(lr):
    start = SHORT.replace(lr=lr)
    assert perturbed(start, 0) == start
    for n in (1, 2, 40):
        own = perturbed(start, n)
        assert own.replace(lr=lr) == start
        bits = np.float32([lr, own.lr]).view(np.int32)  # neighbouring floats are neighbouring integers
        assert bits[1] - bits[0] == n
        assert np.float32(own.lr) == own.lr  # exact, so that it is the same on every machine
    config = Classical("label-spreading")
    assert perturbed(config, 0) == config


def test_what_cannot_be_perturbed_drawn_or_searched_is_named():
    for n in (-1, 1.5, True, "1"):
        with pytest.raises(ConfigError, match=r"n takes a whole number from 0, not"):
            perturbed(SHORT, n)
    with pytest.raises(ConfigError, match="label-spreading has no learning rate"):
        perturbed(Classical("label-spreading"), 1)
    for levels in ([], [{"m": m} for m in (1, 2, 3)]):
        with pytest.raises(ConfigError, match="has 1 to 2 levels"):
            drawn("a test", 2, levels)
    with pytest.raises(ConfigError, match=r"what was chosen, \{'m': 2\}, is none of the candidates"):
        Search(SHORT, [{}, {"m": 3}], chosen={"m": 2})
    for wrong in ({"candidates": []}, {"seeds": range(0)}, {"perturbations": 0}):
        with pytest.raises(ConfigError, match="a search needs at least one"):
            Search(**{"start": SHORT, "candidates": [{}]} | wrong)


def test_after_one_step_the_weights_differ_by_rounding():
    weights = []
    for n in (0, 1):
        trainer, _ = prepare(perturbed(SHORT, n), 0, device="cpu", progress=False)
        trainer.learner.plan_epoch(0)
        before = [p.detach().clone() for p in trainer.learner.optimisers.parameters]
        trainer.train_step(0)
        steps = [p.detach() - b for p, b in zip(trainer.learner.optimisers.parameters, before)]
        weights.append(torch.cat([p.detach().flatten() for p in trainer.learner.optimisers.parameters]))
    largest = max(float(step.abs().max()) for step in steps)
    apart = float((weights[0] - weights[1]).abs().max())
    assert 0 < apart < 1e-5 * largest


def test_drawn_candidates_have_every_level_equally_often():
    factors = (
        [{"m": m} for m in (1, 3, 5)],
        [{"lr": lr} for lr in (0.03, 0.1)],
        [{"weak": "noise", "lam": 2.0}, {"lam": 1.0}],
    )
    found = drawn("a test", 12, *factors)
    assert Counter(c["m"] for c in found) == {1: 4, 3: 4, 5: 4}
    assert Counter(c["lr"] for c in found) == {0.03: 6, 0.1: 6}
    assert all(("weak" in c) == (c["lam"] == 2.0) for c in found)
    assert Counter(c["lam"] for c in found) == {2.0: 6, 1.0: 6}
    assert found == drawn("a test", 12, *factors)
    assert found != drawn("another", 12, *factors)


def test_the_runs_of_a_candidate_are_its_seeds_and_their_perturbations():
    search = Search(SHORT, [{"m": 3}], range(7, 9), perturbations=2)
    trial = SHORT.replace(m=3)
    assert search.runs({"m": 3}) == [(perturbed(trial, n), seed) for seed in (7, 8) for n in (0, 1)]


FILE = """
[changes.firm]
lam = 3
weak = "noise"

[searches.first]
start = { labels = 50, dropout = 0.5 }
trials = [{ m = [1, 3], lam = [1, 2] }, { changes = "firm", lam = 5 }, { dropout = "none" }]
chosen = { m = 3, lam = 2 }

[searches.second]
after = "first"
start = { method = "mean-teacher+dnll" }
seeds = "300-301"
trials = [{}]

[searches.third]
like = "first"
draw = 4
factors = [[{ m = [1, 3] }], [{ lr = 0.1 }, { lr = [0.2, 0.3] }]]
"""


def written(tmp_path, text):
    path = tmp_path / "some.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_of_searches_says_what_is_tried(tmp_path):
    first, second, third = read(written(tmp_path, FILE)).values()
    assert first.start == Experiment(labels=50, dropout=0.5) and first.seeds == range(100, 104)
    by_hand = [{"m": 1, "lam": 1.0}, {"m": 1, "lam": 2.0}, {"m": 3, "lam": 1.0}, {"m": 3, "lam": 2.0}]
    assert first.candidates == [*by_hand, {"lam": 5.0, "weak": "noise"}, {"dropout": None}]
    assert {type(changes["lam"]) for changes in first.candidates[:5]} == {float}  # as the field has it
    assert second.start == Experiment(labels=50, dropout=0.5, m=3, lam=2.0, method="mean-teacher+dnll")
    assert second.seeds == range(300, 302) and second.chosen is None
    assert third.start == first.start
    assert third.candidates == drawn("third", 4, [{"m": 1}, {"m": 3}], [{"lr": 0.1}, {"lr": 0.2}, {"lr": 0.3}])


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (
            "chosen = { m = 3",
            "chosen = { m = 5",
            "in [searches.first] what was chosen, {'m': 5, 'lam': 2.0}, is",
        ),
        ("m = [1, 3], lam", "n = [1, 3], lam", "in [searches.first] field='n' is not known"),
        ("lam = 5", 'lam = "much"', "in [searches.first] lam takes a number from 0, not 'much'"),
        ('"firm", lam', '"frim", lam', "in [searches.first] changes='frim' is not known. Did you mean 'firm'?"),
        ('after = "first"', 'after = "third"', "in [searches.second] the search above='third' is not known"),
        (
            'after = "first"',
            'after = "first"\nlike = "first"',
            "in [searches.second] a search is like another or",
        ),
        ('seeds = "300-301"', 'seeds = "300 to 301"', "in [searches.second] seeds takes one, or FIRST-LAST, not"),
        ("draw = 4", "drawn = 4", "in [searches.third] field='drawn' is not known. Did you mean 'draw'?"),
        ("trials = [{}]", "", "in [searches.second] a search needs at least one candidate"),
        ("m = [1, 3], lam", "m = [], lam", "in [searches.first] m = [] has no value to try"),
        ("labels = 50", "labels = [50]", "in [searches.first] start.labels"),
        ("lam = 5", "lam = 2026-01-31", "in [searches.first] lam takes a number from 0, not '2026-01-31'"),
        ("lam = 2 }", "lam = [1, 2] }", "in [searches.first] chosen takes one value of each field, not"),
        ("draw = 4", "draw = 2", "in [searches.third] a factor of 2 candidates has 1 to 2 levels"),
    ],
)
def test_what_a_file_of_searches_may_not_say_is_named(tmp_path, old, new, told):
    assert FILE.count(old) == 1
    with pytest.raises(ConfigError) as refused:
        read(written(tmp_path, FILE.replace(old, new)))
    assert f"some.toml: {told}" in str(refused.value)


def test_nothing_is_taken_from_a_search_that_chose_nothing():
    with pytest.raises(ConfigError, match=r"'digits-dnll-1': nothing was chosen by this search alone"):
        chosen("digits-dnll-1")


def test_what_was_chosen_is_one_of_the_searches():
    with pytest.raises(ConfigError, match=r"search='digits-dnll-9' is not known. Did you mean 'digits-dnll"):
        chosen("digits-dnll-9")
