"""Expected times come from records and benchmarks of the same kind, and nothing is said where there is none."""

import json
from dataclasses import replace

import fabricated
import pytest
from fabricated import sitting

from dnll_core import results
from dnll_core.bars import in_words
from dnll_core.campaign import estimates
from dnll_core.campaign.estimates import iterations, measured, seconds_left
from dnll_core.campaign.worker import Task
from dnll_core.checkpoint import save_checkpoint
from dnll_core.config import Experiment
from dnll_core.device import choose_compute, cpu_name
from dnll_core.methods.classical import Classical
from dnll_core.run import prepare

FAST = Experiment(labels=20, labelled_batch=20, unlabelled_batch=256, epochs=3)
HERE = choose_compute(network="small")
DEVICE = replace(HERE, threads=1).describe() if HERE.device.type == "cpu" else HERE.describe()


def record(experiment, seed, seconds, device=DEVICE, precision=HERE.precision):
    """Of 100 iterations."""
    sittings = [sitting(device=device, precision=precision, iterations=100, seconds=seconds)]
    return fabricated.record(experiment, seed, sittings=sittings)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"include_labelled": True},
        {"labels": None},
        {"unlabelled_batch": 4000},
        {"source": "digits-source", "dataset": "digits-target", "unlabelled_batch": 50},
    ],
)
def test_iterations_are_those_of_the_trainer(changes):
    experiment = FAST.replace(**changes)
    assert iterations(experiment) == prepare(experiment, 0, progress=False)[0].learner.clock.total_steps


def test_iterations_without_the_data_are_those_of_recorded_runs():
    recorded = results.load(results.root(), dataset="mnist")
    assert recorded
    for record in recorded:
        assert iterations(Experiment(**record["experiment"])) == record["history"][-1]["step"]


def test_iterations_of_the_paper():
    """Section 4.1: 50,000 images of CIFAR-10 less 5000 for validation and the labelled ones."""
    e = Experiment(dataset="cifar10", labels=4000, unlabelled_batch=128, epochs=100)
    assert iterations(e) == (50_000 - 5000 - 4000) // 128 * 100
    assert iterations(e.replace(include_labelled=True)) == 45_000 // 128 * 100
    assert iterations(e.replace(labels=None)) == 45_000 // 128 * 100
    assert iterations(Experiment(dataset="folder:nowhere", labels=None)) is None


def test_seconds_are_the_median_of_the_same_kind(tmp_path):
    for seed, seconds in enumerate((20.0, 10.0, 90.0)):
        results.save(record(FAST, seed, seconds), tmp_path)
    results.save(record(FAST.replace(lr=0.5), 0, 30.0), tmp_path)  # as fast, whatever the learning rate
    known = measured([tmp_path])
    assert seconds_left(Task(FAST, 7), known) == pytest.approx(0.25 * iterations(FAST))
    other = [{"unlabelled_batch": 128}, {"labelled_batch": 10}, {"method": "supervised"}, {"size": 16}]
    other += [{"network": "cnn6"}, {"ccl_passes": 8}, {"vat_iterations": 2}, {"evaluations": 2}]
    for changes in other:
        assert seconds_left(Task(FAST.replace(**changes), 0), known) is None
    assert seconds_left(Task(FAST.replace(labels=21), 0), known) is None


def test_networks_of_a_methods_own_are_another_kind(tmp_path):
    gan = FAST.replace(method="improved-gan")
    results.save(record(gan, 0, 20.0), tmp_path)
    known = measured([tmp_path])
    assert seconds_left(Task(gan.replace(network="cnn6"), 0), known) == pytest.approx(0.2 * iterations(gan))
    assert seconds_left(Task(gan.replace(own_networks=False), 0), known) is None


@pytest.mark.parametrize("where", [{"device": "another machine"}, {"precision": "float16"}])
def test_nothing_is_known_of_other_devices(tmp_path, where):
    results.save(record(FAST, 0, 20.0, **where), tmp_path)
    assert seconds_left(Task(FAST, 0), measured([tmp_path])) is None


def test_a_run_of_several_sittings_tells_of_each_machine_apart(tmp_path):
    here = {"device": DEVICE, "precision": HERE.precision}
    slow = {"device": "a slow machine", "precision": HERE.precision}
    sittings = [sitting(**slow, iterations=10, seconds=1000.0), sitting(**here, iterations=50, seconds=10.0)]
    sittings += [sitting(**slow, iterations=40, seconds=2000.0), sitting(**here, iterations=0, seconds=3.0)]
    results.save(fabricated.record(FAST, 0, sittings=sittings), tmp_path)
    known = measured([tmp_path])
    assert seconds_left(Task(FAST, 1), known) == pytest.approx(0.2 * iterations(FAST))
    assert known[estimates.kind_of(FAST, **slow)] == pytest.approx((100 + 50) / 2)
    assert len(known) == 2


def test_a_record_of_format_1_counts_as_one_part(tmp_path):
    known = [path for path in results.root().glob("methods/*-20-dnll-*seed0.json")]
    (tmp_path / known[0].name).write_bytes(known[0].read_bytes())
    [old] = results.load(tmp_path)
    assert list(measured([tmp_path]).values()) == [old["seconds"] / old["history"][-1]["step"]]


def test_a_checkpoint_counts_as_done(tmp_path):
    results.save(record(FAST, 0, 20.0), tmp_path)
    task = Task(FAST, 1, tmp_path)
    save_checkpoint(task.checkpoint, {}, {"step": 5})
    assert seconds_left(task, measured([tmp_path])) == pytest.approx(0.2 * (iterations(FAST) - 5))


def test_a_benchmark_counts_where_there_is_no_record(tmp_path):
    setting = {"experiment": FAST.to_dict(), "device": DEVICE, "precision": HERE.precision, "train": [0.5, 0.7, 0.5]}
    setting["inference"] = [0.1]
    otherwise = {"plain": {"step": "plain", "pool": "auto"}, "host": {"step": "fast", "pool": "host"}}
    others = {name: {**setting, **changes, "train": [9.0] * 3} for name, changes in otherwise.items()}
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "some.json").write_text(
        json.dumps({"settings": {"dnll": setting, **others}}), encoding="utf-8"
    )
    assert seconds_left(Task(FAST, 0), measured([tmp_path])) == pytest.approx(0.5 * iterations(FAST))
    results.save(record(FAST, 0, 20.0), tmp_path)
    assert seconds_left(Task(FAST, 0), measured([tmp_path])) == pytest.approx(0.2 * iterations(FAST))


def test_what_evaluation_adds_to_a_benchmarks_iterations(tmp_path):
    """By hand: so often in an epoch all held-out images of the digits, at 10 ms an image."""
    setting = {"experiment": FAST.to_dict(), "device": DEVICE, "precision": HERE.precision, "train": [0.5] * 3}
    setting |= {"inference": [0.1], "evaluation": {"images": 100, "seconds": 1.0}}
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "some.json").write_text(json.dumps({"settings": {"dnll": setting}}), encoding="utf-8")
    known = measured([tmp_path])
    for changes, times in (({}, 1), ({"evaluations": 3}, 3), ({"eval_every": 2}, 0.5)):
        e = FAST.replace(**changes)
        steps = iterations(e) // e.epochs
        held_out = sum(len(labels) for _, labels in prepare(e, 0)[0].learner.data.held_out.values())
        by_hand = e.epochs * (0.5 * steps + times * 0.01 * held_out)
        assert seconds_left(Task(e, 0), known) == pytest.approx(by_hand)


def test_methods_without_iterations_and_records_of_another_version(tmp_path):
    spreading = Classical("label-spreading", "digits", labels=20)
    fitted = fabricated.record(spreading, 0, sittings=[sitting(device=cpu_name(), iterations=1, seconds=3.0)])
    del fitted["history"]
    results.save(fitted, tmp_path)
    unknown = record(FAST, 0, 1.0)
    unknown["experiment"]["field_of_the_future"] = 1
    results.save(unknown, tmp_path)
    known = measured([tmp_path])
    assert len(known) == 1
    assert seconds_left(Task(spreading, 1), known) == 3.0
    assert seconds_left(Task(spreading.replace(labels=50), 1), known) is None


def test_committed_records_and_benchmarks_can_be_read():
    known = measured([results.root()])
    assert any(kind[0] == "cnn13" for kind in known)  # of Table 7's benchmark
    assert all(seconds > 0 for seconds in known.values())


def test_in_words():
    assert [in_words(s) for s in (None, 3.2, 150, 7200)] == ["not known", "3 s", "2 min", "2.0 h"]
    assert in_words(6.0 * 60) == "6 min"


@pytest.mark.parametrize("damage", ["{", "[]", '{"settings": {"a": {}}}'])
def test_a_damaged_benchmark_is_named(tmp_path, damage):
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "x.json").write_text(damage, encoding="utf-8")
    with pytest.raises(results.RecordError, match=r"x.json is not a readable benchmark"):
        estimates.measured([tmp_path])
