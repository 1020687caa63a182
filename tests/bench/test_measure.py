"""What a benchmark reports: counted work, settings in turn, statistics, an iteration's parts, records. Never a time."""

import itertools
import json
import sys

import numpy as np
import pytest
import torch
from torch import nn

from dnll_core import figures, load_data
from dnll_core.bench import timing
from dnll_core.bench.command import main
from dnll_core.bench.measure import PARTS, interleaved, measure, profile, save
from dnll_core.bench.report import (
    describe,
    frame,
    interval_name,
    load_benchmarks,
    milliseconds,
    quartiles,
    ratio,
    real_epoch,
    scaled,
    shown,
    slope,
)
from dnll_core.bench.subject import HELD_OUT, Setting, Subject, in_turn, synthetic
from dnll_core.bench.timing import Timer, count_flops
from dnll_core.config import ConfigError, Experiment
from dnll_core.data import split_labels
from dnll_core.results import RecordError

FAST = Setting(Experiment(labels=20, labelled_batch=4, unlabelled_batch=6), unlabelled=60)
B, U = 4, 6


def with_method(name):
    return FAST.replace(method=name)


@pytest.fixture(scope="module", autouse=True)
def small_products():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timing, "CEILING_SIZES", {"cpu": (64, 1)})
        yield


@pytest.fixture(scope="module")
def record():
    settings = {name: with_method(name) for name in ("dnll", "mean-teacher")}
    return measure(settings, 3, warmup=2, burst=2, profiled=1)


# -- what is measured --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "dataset, shape",
    [("digits", (1, 8, 8)), ("usps", (1, 16, 16)), ("mnist", (1, 28, 28)), ("cifar10", (3, 32, 32))],
)
@pytest.mark.parametrize("labels", [10, 50, 200])
def test_synthetic_data_have_the_shape_of_the_real_ones(dataset, shape, labels):
    data = synthetic(Experiment(dataset=dataset, labels=labels, network="small"), unlabelled=123)
    assert data.x_train.shape[1:] == data.x_test.shape[1:] == shape
    assert data.x_train.dtype == data.x_test.dtype == torch.uint8
    split = split_labels(data, labels, seed=3)
    assert (len(split.labelled), len(split.unlabelled)) == (labels, 123)
    assert len(data.mean) == len(data.std) == shape[0]


def test_synthetic_data_are_resized_and_take_all_labels():
    data = synthetic(Experiment(dataset="cifar10", labels=None, size=12), unlabelled=5)
    assert data.size == (12, 12)
    assert len(split_labels(data, None, 0).unlabelled) == 5


def test_a_data_set_without_a_known_shape():
    with pytest.raises(
        ConfigError, match=r"dataset='folder:x' is not known.*Accepted: digits, digits-source, digits-target, mnist,"
    ):
        synthetic(Experiment(dataset="folder:x"), 5)


def test_changes_reach_the_place_and_the_experiment():
    changed = FAST.replace(threads="2", precision="bfloat16", m="3", method="vat")
    assert (changed.threads, changed.precision) == (2, "bfloat16")
    assert (changed.experiment.m, changed.experiment.method) == (3, "vat")
    assert FAST.experiment.method == "dnll"


def test_threads_are_the_settings_own_and_given_back():
    subject = Subject(FAST.replace(threads=2))
    before, steps = torch.get_num_threads(), subject.trainer.step
    with subject.at_work():
        assert torch.get_num_threads() == 2
        assert subject.trainer.step == steps + 1  # prepared anew for this number of threads, before any timing
        with subject.at_work():
            assert subject.trainer.step == steps + 1
    assert torch.get_num_threads() == before
    assert subject.trainer.learner.compute.describe().endswith("2 threads")


@pytest.mark.parametrize(
    "network, steps, tolerance", [("small", 3, 1e-4), ("cnn3", 3, 1e-4), ("cnn13", 1, 1e-4), ("wrn28-2", 1, 1e-3)]
)
def test_the_plain_step_is_the_fast_one(network, steps, tolerance):
    """In float32, up to the order of sums; without dropout nothing else is drawn.

    In deep networks on ten images batch norm makes a difference grow tenfold with each step, so one is compared.
    """
    e = Experiment(dataset="cifar10", labels=20, network=network, dropout=0.0, labelled_batch=4, unlabelled_batch=6)
    fast, plain = (Subject(Setting(e, "cpu", "float32", 1, 60, step=step)) for step in ("fast", "plain"))
    for subject in (fast, plain):
        with subject.at_work():
            for _ in range(steps):
                subject.step()
    weights = next(p for p in fast.trainer.learner.optimisers.parameters if p.ndim == 4 and p.shape[1] > 1)
    assert weights.is_contiguous(memory_format=torch.channels_last)
    assert all(p.is_contiguous() for p in plain.trainer.learner.optimisers.parameters)
    for (name, a), b in zip(
        fast.trainer.learner.method.state_dict().items(), plain.trainer.learner.method.state_dict().values()
    ):
        assert torch.allclose(a.float(), b.float(), rtol=tolerance, atol=tolerance), name


def test_the_plain_step_has_pytorchs_dropout():
    e = Experiment(dataset="cifar10", labels=20, network="cnn13", labelled_batch=4, unlabelled_batch=6)
    trainer = Subject(Setting(e, "cpu", "float32", 1, 60, step="plain")).trainer
    kinds = {type(module) for module in trainer.learner.method.modules() if isinstance(module, nn.Dropout)}
    assert kinds == {nn.Dropout}
    assert all(m.p == 0.5 for m in trainer.learner.method.modules() if isinstance(m, nn.Dropout))
    assert trainer.learner.data.labelled.is_contiguous() and trainer.learner.data.unlabelled.is_contiguous()


def test_a_mapped_pool_holds_the_same_images():
    plain, mapped = (Subject(FAST.replace(pool=pool)).trainer.learner.data.unlabelled for pool in ("device", "mapped"))
    assert torch.equal(plain, mapped[:])


def test_an_epoch_starts_again_after_its_last_iteration():
    subject = Subject(FAST)
    for _ in range(2 * 10 + 1):
        subject.step()
    assert (subject.trainer.step, subject.trainer.learner.steps_per_epoch) == (21, 10)


def test_inference_is_one_submodel_in_evaluation_mode():
    subject, seen = Subject(FAST), []
    for name, network in subject.trainer.predictors().items():
        network.register_forward_pre_hook(
            lambda module, inputs, name=name: seen.append(
                (name, tuple(inputs[0].shape), module.training, torch.is_grad_enabled())
            )
        )
    subject.inference_seconds(2)
    assert seen == [("submodel 1", (B + U, 1, 8, 8), False, False)] * 2
    assert subject.network.training


# -- counted work ------------------------------------------------------------------------------------------------------


def test_flops_of_a_small_network_by_hand():
    """Two FLOPs for each multiply-add; backward once more for weights, and once for inputs that need a gradient."""
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.Flatten(), nn.Linear(180, 7)
    )
    x = torch.zeros(2, 3, 8, 8)
    first, second, linear = 2 * (2 * 4 * 64) * 27, 2 * (2 * 5 * 36) * 36, 2 * (2 * 7) * 180
    assert count_flops(lambda: network(x)) == first + second + linear
    # the pixels need no gradient
    assert count_flops(lambda: network(x).sum().backward()) == 2 * first + 3 * second + 3 * linear


@pytest.mark.parametrize(
    "method, networks, labelling",
    [("mean-teacher", 1, U), ("dnll", 2, U), ("dual-student", 2, B + U), ("supervised", 1, -3 * U)],
)
def test_flops_of_an_iteration_are_those_of_its_passes(method, networks, labelling):
    """Forward and backward of an image are three forward passes, its label is one; Pr is a product of its own."""
    subject = Subject(with_method(method))
    x = torch.zeros(1, 1, 8, 8)
    with torch.no_grad():
        one = count_flops(lambda: subject.network(x))
    first = 2 * 16 * 64 * 9  # of the first convolution, whose input needs no gradient
    learnt = B if method == "supervised" else B + U
    perception = 2 * 10 * 10 * B if method == "dnll" else 0  # Eq. 22: (K, B) times (B, K)
    assert count_flops(subject.step) == networks * ((3 * (B + U) + labelling) * one - learnt * first + perception)


@pytest.mark.parametrize("method", ["vat", "tnar", "co-training"])
def test_flops_are_counted_where_a_method_differentiates_by_what_a_network_is_given(method):
    subject = Subject(with_method(method))
    with torch.no_grad():
        one = count_flops(lambda: subject.network(torch.zeros(1, 1, 8, 8)))
    assert count_flops(subject.step) > (B + U) * one


# -- settings in turn, and statistics ----------------------------------------------------------------------------------


def test_settings_take_turns():
    calls, numbers = [], itertools.count()

    def work(name):
        calls.append(name)
        return next(numbers)

    times = interleaved({name: lambda name=name: work(name) for name in "abc"}, rounds=3)
    assert "".join(calls) == "abcabcabc"
    assert times == {"a": [0, 3, 6], "b": [1, 4, 7], "c": [2, 5, 8]}


def test_quartiles_are_numpys():
    times = np.random.default_rng(0).random(11).tolist()
    expected = np.percentile(times, 25), np.median(times), np.percentile(times, 75)
    assert quartiles(times) == pytest.approx(expected, abs=0)


def test_ratio_resamples_rounds_in_pairs():
    a = np.random.default_rng(0).random(9) + 0.5
    assert ratio(2 * a, a) == pytest.approx((2, 2, 2))  # unpaired, its interval would be wide
    b = np.random.default_rng(1).random(9) + 0.5
    value, low, high = ratio(a, b)
    assert value == np.median(a / b)
    assert low < value < high
    generator = np.random.default_rng(2)  # by a loop, with other draws
    rounds = [generator.integers(0, 9, 9) for _ in range(4000)]
    expected = np.quantile([np.median(a[i] / b[i]) for i in rounds], (0.025, 0.975))
    assert (low, high) == pytest.approx(expected, rel=0.03)


def test_few_rounds_give_a_range_and_say_so():
    assert ratio([2.0, 9.0, 4.0], [1.0, 3.0, 4.0]) == (2.0, 1.0, 3.0)
    assert interval_name(3) == "range of 3 rounds"
    assert interval_name(8) == "95 % bootstrap interval"


@pytest.mark.parametrize("others", [[1.0], [], [1.0, 2.0, 3.0]])
def test_ratio_of_unequal_lists(others):
    with pytest.raises(ValueError, match="two equally long lists of times"):
        ratio([1.0, 2.0] if others else [], others)


def test_slope_is_the_exponent():
    x = np.array([10, 100, 1000, 5000])
    assert slope(x, 3 * x**1.5) == pytest.approx(1.5)


def test_formats():
    texts = [milliseconds(seconds) for seconds in (0.00123, 0.0123, 0.123, 1.2345)]
    assert texts == ["1.23", "12.30", "123.0", "1234"]
    texts = [scaled(value, "FLOP") for value in (950, 1.73e12, 2.5e9, 4.04e3)]
    assert texts == ["950 FLOP", "1.73 TFLOP", "2.5 GFLOP", "4.04 kFLOP"]


def test_a_real_epoch_is_as_long_as_a_run_says():
    e = Experiment(labels=20, unlabelled_batch=50)
    data = load_data("digits")
    split = split_labels(data, 20, 0)
    held_out = len(split.validation) + len(data.y_test)
    assert real_epoch(e) == (len(split.unlabelled) // 50, held_out)
    assert real_epoch(Experiment(dataset="cifar10", labels=4000, unlabelled_batch=50)) == (820, 15_000)


# -- the parts of an iteration -----------------------------------------------------------------------------------------


class Ticks:
    """A clock that advances by one each time it is read."""

    def __init__(self):
        self.now = 0

    def perf_counter(self):
        self.now += 1
        return self.now


PASSES = {"dnll": (2, 2), "mean-teacher": (1, 1), "dual-student": (2, 2), "supervised": (0, 1), "ccn": (0, 4)}
PASSES |= {"improved-gan": (1, 3), "triple-gan": (4, 5)}  # without gradient and with, of all turns and networks


@pytest.mark.parametrize("method, passes", PASSES.items())
def test_parts_tile_the_iteration(monkeypatch, method, passes):
    subject, clock = Subject(with_method(method)), Ticks()
    monkeypatch.setattr(timing, "time", clock)
    parts = profile(subject, 2)
    assert list(parts) == list(PARTS)
    assert [len(values) for values in parts.values()] == [2] * len(PARTS)
    # each interval between two readings is one tick of one part: none is lost, none counted twice
    for i in range(2):
        assert sum(values[i] for values in parts.values()) == clock.now / 2 - 1
    assert (parts["label passes"][0], parts["forward"][0]) == passes
    draws = parts["label draw"][0]
    assert draws == (2 if method == "dnll" else 0)
    turns = len(subject.learner.method.turns())
    assert parts["losses"][0] == turns + sum(passes) + draws  # before, between and after the passes and draws
    expected = {"batch and views": 1, "backward": turns, "optimiser": turns, "after step": 1}
    assert {part: parts[part][0] for part in expected} == expected


def test_parts_are_within_the_whole():
    subject, parts = Subject(FAST), {}
    whole = Timer(torch.device("cpu")).seconds(lambda: parts.update(profile(subject, 1)))
    total = sum(values[0] for values in parts.values())
    assert 0 < total <= whole
    assert parts["forward"][0] > 0 and parts["backward"][0] > 0


@pytest.mark.parametrize("method", ["dnll", "triple-gan"])
def test_profiling_leaves_nothing_behind(method):
    subject = Subject(with_method(method))
    learner = subject.learner
    own = {*vars(learner)}, {*vars(learner.method)}
    profile(subject, 1)
    assert own == ({*vars(learner)}, {*vars(learner.method)})
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in learner.method.modules())
    for optimizer in learner.optimisers.each.values():
        assert not optimizer._optimizer_step_pre_hooks and not optimizer._optimizer_step_post_hooks


# -- devices -----------------------------------------------------------------------------------------------------------


def test_cuda_is_timed_by_its_events(monkeypatch):
    log, clock = [], itertools.count(step=500)

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self, stream):
            log.append(f"record on {stream}")
            self.at = next(clock)

        def synchronize(self):
            log.append("wait for the end")

        def elapsed_time(self, end):
            return end.at - self.at  # milliseconds

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"stream of {device}")
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: log.append(f"synchronize {device}"))
    seconds = Timer(torch.device("cuda:1")).seconds(lambda: log.append("work"), times=2)
    assert seconds == 0.25
    mark = "record on stream of cuda:1"
    assert log == ["synchronize cuda:1", mark, "work", "work", mark, "wait for the end"]


def test_products_take_the_precision_of_convolutions_on_cuda():
    matmul, conv = torch.backends.cuda.matmul, torch.backends.cudnn.conv
    before = matmul.fp32_precision
    with timing._products_like_convolutions(torch.device("cuda")):
        assert matmul.fp32_precision == conv.fp32_precision
    assert matmul.fp32_precision == before
    with timing._products_like_convolutions(torch.device("cpu")):
        assert matmul.fp32_precision == before


@pytest.mark.parametrize("system, factor", [("linux", 1024), ("darwin", 1)])
def test_peak_memory_in_bytes(monkeypatch, system, factor):
    if timing.resource is None:
        pytest.skip("no resource module here")
    usage = type("usage", (), {"ru_maxrss": 7000})
    monkeypatch.setattr(timing.resource, "getrusage", lambda who: usage)
    monkeypatch.setattr(sys, "platform", system)
    assert timing.peak_memory(torch.device("cpu")) == {"bytes": 7000 * factor, "of": "the process"}
    monkeypatch.setattr(timing, "resource", None)
    assert timing.peak_memory(torch.device("cpu")) is None


def test_the_ceiling_is_that_of_the_fastest_product(monkeypatch):
    seconds = iter([9, 4, 2, 4, 4, 4])  # the first is warm-up
    monkeypatch.setattr(Timer, "seconds", lambda self, work, times: next(seconds))
    assert timing.ceiling(Subject(FAST).trainer.learner.compute) == {"flops_per_second": 64**3, "size": 64}


# -- records and the report --------------------------------------------------------------------------------------------


def test_a_record_is_complete_and_survives_json(record, tmp_path):
    save(record, tmp_path / "new" / "digits.json")
    assert load_benchmarks(tmp_path / "new") == {"digits": record | {"format": 2}}
    assert json.loads(json.dumps(record)) == record
    for name, setting in record["settings"].items():
        assert Experiment(**setting["experiment"]) == with_method(name).experiment
        assert [len(setting[kind]) for kind in ("warmup", "train", "inference")] == [2, 3, 3]
        assert all(seconds > 0 for kind in ("warmup", "train", "inference") for seconds in setting[kind])
        assert setting["threads"] == 1 and setting["precision"] == "float32" and setting["unlabelled"] == 60
        assert setting["flops"] > 0 and setting["host"] is None and setting["memory"]["bytes"] > 2**20
    assert setting["evaluation"]["images"] == HELD_OUT and setting["evaluation"]["seconds"] > 0
    assert {"torch", "python", "commit", "source_sha256", "finished"} < record.keys()
    first, second = record["settings"].values()
    assert first["flops"] == pytest.approx(2 * second["flops"], rel=1e-3)


def test_a_block_is_as_many_iterations_as_asked_for(monkeypatch):
    steps, step = [], Subject.step
    monkeypatch.setattr(Subject, "step", lambda self: (steps.append(self), step(self)))
    measure({"dnll": FAST}, 2, warmup=1, burst=3, profiled=1)
    assert len(steps) == 1 + 1 + 2 * 3


def test_measuring_leaves_the_callers_random_state_alone():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    measure({"dnll": FAST}, 1, warmup=1, profiled=1)
    assert torch.equal(torch.rand(3), expected)


def test_a_frame_holds_what_the_record_says(record):
    rows = frame(record)
    assert list(rows.index) == ["dnll", "mean-teacher"]
    for name, setting in record["settings"].items():
        row, steps = rows.loc[name], setting["epoch"]["iterations"]
        assert [row[f"train{end}"] for end in (" low", "", " high")] == list(quartiles(setting["train"]))
        assert row["share"] == setting["flops"] / np.median(setting["train"]) / setting["ceiling"]["flops_per_second"]
        assert steps == 60 // U and row["epoch"] == setting["epoch"]["plan"] + steps * row["train"]
        assert sum(row[part] for part in PARTS) == pytest.approx(1)
        assert row["images"] == (B + U) / row["train"]
    base, other = (setting["train"] for setting in record["settings"].values())
    assert rows.loc["mean-teacher", ["ratio", "ratio low", "ratio high"]].tolist() == list(ratio(other, base))
    assert frame(record, to="mean-teacher").loc["dnll", "ratio"] == ratio(base, other)[0]
    assert rows["flops ratio"].tolist() == pytest.approx([1, 0.5], rel=1e-3)


def test_what_was_not_measured_is_a_dash():
    e = {"labelled_batch": 20, "unlabelled_batch": 64}
    sizes = {m: {"experiment": e, "unlabelled": m, "train": [0.02, 0.01, 0.03]} for m in (100, 1000)}
    sizes[1000]["epoch"] = {"iterations": 15, "plan": 0.5}
    texts = shown(frame({"settings": sizes}))
    assert texts["iteration, ms"].tolist() == ["20.00 (15.00 to 25.00)"] * 2
    assert texts["unlabelled"].tolist() == ["100", "1,000"]
    assert texts["epoch, s"].tolist() == ["–", "0.80"]
    assert set(texts["inference batch, ms"]) == set(texts["of the ceiling"]) == set(texts["forward"]) == {"–"}


def test_the_report_says_where_and_how_often(record):
    text = describe(record)
    for words in ("1 thread · float32 · torch " + torch.__version__, "3 rounds of 2 in a row", "range of 3 rounds"):
        assert words in text
    assert all(part in text for part in PARTS)
    assert "recording the graph" not in text  # there is none on a CPU
    setting, (iterations, held_out) = record["settings"]["dnll"], real_epoch(FAST.experiment)
    more = setting["evaluation"]["seconds"] / HELD_OUT * held_out / (iterations * np.median(setting["train"]))
    assert f"dnll: evaluating {held_out} images every {iterations} iterations, as on digits: {more:.0%} more" in text


def test_broken_records_are_named_and_none_is_no_error(tmp_path):
    assert load_benchmarks(tmp_path / "absent") == {}
    (tmp_path / "a.json").write_text('{"settings": {"dnll": {}}}', encoding="utf-8")
    with pytest.raises(RecordError, match=r"a\.json is not a readable benchmark"):
        load_benchmarks(tmp_path)


def test_settings_in_turn_are_named_by_their_changes():
    settings = in_turn(FAST, {"method": "vat"}, {"unlabelled": 600}, {"step": "plain", "m": 2})
    assert list(settings) == ["dnll", "vat", "unlabelled=600", "step=plain, m=2"]
    assert settings["unlabelled=600"] == FAST.replace(unlabelled=600)


def test_an_epoch_is_planned_whole():
    subject = Subject(FAST.replace(unlabelled=615))
    told = subject.epoch()
    assert told["iterations"] == 615 // U and told["plan"] > 0


# -- the command -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments, message",
    [
        ("--network cnn12", "network='cnn12' is not known. Did you mean 'cnn13'"),
        ("--method dnl", "method='dnl' is not known. Did you mean 'dnll'"),
        ("--device tpux", "device='tpux' cannot be used here"),
        ("--precision float8", "precision='float8' is not known; accepted: auto, float32, bfloat16"),
        ("--dataset cifar11", "dataset='cifar11' is not known. Did you mean 'cifar10'"),
        ("--dataset folder:x", "dataset='folder:x' is not known"),
        ("--dataset digits --network cnn13", "is too small for network='cnn13'"),
        ("--set mm=3", "field='mm' is not known. Did you mean 'm'"),
        ("--set m=many", "m takes a whole number from 1, not 'many'"),
        ("--compare method", "a change is written NAME=VALUE"),
        ("--compare thread=1", "field='thread' is not known. Did you mean 'threads'"),
        ("--compare threads=none", "threads takes a whole number from 1 or None, not 'none'"),
        ("--compare method=dnll", "'dnll' is there twice"),
    ],
)
def test_bad_input_is_a_message(arguments, message, capsys):
    with pytest.raises(SystemExit) as error:
        main(arguments.split())
    assert message in str(error.value)


def test_counts_start_at_one(capsys):
    with pytest.raises(SystemExit):
        main(["--iterations", "0"])
    assert "takes a whole number from 1, not '0'" in capsys.readouterr().err


def test_the_command_measures_compares_and_writes(tmp_path, capsys):
    batch = ["--labelled-batch", "4", "--unlabelled-batch", "6", "--unlabelled", "60"]
    small = ["--dataset", "digits", *batch, "--iterations", "1", "--warmup", "1", "--profiled", "1"]
    path = tmp_path / "bench.json"
    main([*small, "--set", "m=3", "--compare", "method=mean-teacher", "--json", str(path)])
    assert f"wrote {path}" in capsys.readouterr().out
    settings = json.loads(path.read_text(encoding="utf-8"))["settings"]
    assert list(settings) == ["dnll", "mean-teacher"]
    assert {setting["experiment"]["m"] for setting in settings.values()} == {3}
    blocked = tmp_path / "bench.json" / "inside.json"
    with pytest.raises(SystemExit, match=r"inside\.json could not be written"):
        main([*small, "--json", str(blocked)])


def test_help_reads_well(capsys):
    with pytest.raises(SystemExit) as leave:
        main(["--help"])
    text = capsys.readouterr().out
    assert leave.value.code == 0
    assert "python -m dnll_core.bench --compare" in text and "%(" not in text
    assert max(map(len, text.splitlines())) <= 120


# -- figures -----------------------------------------------------------------------------------------------------------

TIMES = {"mean-teacher": [0.1, 0.2, 0.4], "dnll": [0.3, 0.5, 0.6]}


def test_iterations_draw_every_time_and_the_median():
    figure = figures.speed.iterations({"training": TIMES})
    [axis], [legend] = figure.axes, figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["a time", "median, with its number", "quartiles"]
    drawn = [line.get_xdata().tolist() for line in axis.lines]
    assert drawn == [[200, 200], [100, 200, 400], [500, 500], pytest.approx([300, 500, 600])]
    assert [text.get_text() for text in axis.texts] == ["200.0", "500.0"]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["Mean Teacher", "DNLL"]
    assert axis.get_xlim()[0] == 0 and axis.get_xlim()[1] > 600


def test_parts_add_up_and_small_ones_are_drawn_as_one():
    amounts = {"label passes": 50, "forward": 100, "backward": 199, "losses": 3, "rest": 2}
    [axis] = figures.speed.parts({"counted": {"dnll": amounts}}, ["images"]).axes
    assert [bar.get_width() for bar in axis.patches] == [50, 100, 199, 5]
    assert axis.texts[-1].get_text() == "354"


def test_figure_8_says_what_is_not_recorded():
    paper = {"mean-teacher": (1.0, 88.0), "dnll": (2.0, 92.0)}
    one, two = ((1.0, 1.0, 1.0), [87.0, 89.0]), ((2.1, 2.0, 2.2), [])
    [axis] = figures.speed.trade(paper, {"mean-teacher": one, "dnll": two}).axes
    assert "our accuracy: not recorded" in [text.get_text() for text in axis.texts]
    heights = {float(y) for line in axis.lines for y in np.atleast_1d(line.get_ydata())}
    assert {88.0, 92.0, 87.0, 89.0} <= heights
    [axis] = figures.speed.trade(paper, {"mean-teacher": (one[0], []), "dnll": two}, "CIFAR-10").axes
    [strip], marks = axis.patches, [float(line.get_ydata()[0]) for line in axis.lines if line.get_marker() in "oP"]
    top = strip.get_y() + strip.get_height()
    below = [y for y in marks if y < top]
    assert len(below) == 2 and len(set(below)) == 1  # the strip has no heights: neither marks nor ticks tell one
    assert min(axis.get_yticks()) > top and axis.get_title("left") == "CIFAR-10"
    [axis] = figures.speed.trade(paper, {"mean-teacher": one, "dnll": (two[0], [91.0])}).axes
    assert "our accuracy: not recorded" not in [text.get_text() for text in axis.texts]


def test_growth_is_drawn_beside_proportionality():
    batch = {"labelled_batch": 1, "unlabelled_batch": 100}
    rows = {
        m: {"experiment": batch, "unlabelled": m, "train": [0.01, 0.02, 0.03], "epoch": {"iterations": m, "plan": 0.0}}
        for m in (100, 1000)
    }
    left, right = figures.speed.growth(frame({"settings": rows})).axes
    assert left.lines[0].get_ydata().tolist() == [20, 20]
    assert [line.get_ydata().tolist() for line in right.lines] == [[2, 20], [2, 20]]
