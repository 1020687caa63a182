"""The speed table: every benchmark of the suite is a valid one, and readings are what the records say."""

import json

import pytest
from fabricated import record, sitting

from dnll_core.bench import measure, timing
from dnll_core.bench.command import parser, settings_of
from dnll_core.bench.report import load_benchmarks
from dnll_core.bench.suite import SUITE, TARGETS, aims_table, digits_row, load_suite, machine, main
from dnll_core.results import RecordError, save


@pytest.fixture(autouse=True)
def small_products(monkeypatch):
    monkeypatch.setattr(timing, "CEILING_SIZES", {"cpu": (64, 1)})


@pytest.mark.parametrize("name", SUITE)
def test_arguments_make_settings(name):
    settings = settings_of(parser().parse_args(SUITE[name].split()))
    assert next(iter(settings)) == "dnll"


def test_targets_read_records_that_the_suite_writes():
    assert {t.record for t in TARGETS} == set(SUITE)


def setting(train, **more):
    e = {"dataset": "cifar10", "network": "wrn28-2", "labelled_batch": 128, "unlabelled_batch": 128}
    about = {"experiment": e, "device": "NVIDIA H200", "precision": "bfloat16", "train": train, "inference": [0.1]}
    about |= {"flops": 6e9, "host": 0.001, "ceiling": {"flops_per_second": 1e12, "size": 8}}
    about |= {"parts": {"batch and views": 1.0, "forward": 49.0}}
    return about | more


def growth(memory=int(70e6)):
    rows = [{"unlabelled": 10**k, "train": [0.1 * k / 4], "epoch": 1.0, "image": 64, "memory": memory} for k in (4, 6)]
    return {"device": "AMD EPYC, 1 thread", "sizes": rows}


def read(what, gpu, record):
    [target] = [t for t in TARGETS if t.what.startswith(what) and t.gpu == gpu]
    return target.read(record)


def test_readings():
    slow, fast = setting([0.04, 0.04, 0.04]), setting([0.004, 0.004, 0.004])
    assert read("CNN-13, 50 + 50 (paper", True, {"settings": {"dnll": fast}}) == ("4.00 ms", True)
    assert read("CNN-13, 50 + 50 (paper", True, {"settings": {"dnll": slow}}) == ("40.00 ms", False)
    # 6 GFLOP in 4 ms are 1.5 TFLOP/s of 1
    assert read("CNN-13, 256", True, {"settings": {"dnll": fast}}) == ("150% of 1 TFLOP/s", True)
    assert read("CNN-13, 256", True, {"settings": {"dnll": slow}}) == ("15% of 1 TFLOP/s", False)
    assert read("WRN-28-2: images", True, {"settings": {"dnll": fast}}) == ("128,000 images/s", False)
    pair = {"settings": {"dnll": setting([0.006] * 3), "mean-teacher": fast}}
    assert read("DNLL / Mean", True, pair) == ("1.50 (1.50 to 1.50); Mean Teacher 4.00 ms", True)
    plain = {"settings": {"dnll": fast, "step=plain, precision=float32": dict(slow)}}
    plain["settings"]["step=plain, precision=float32"]["ceiling"] = {"flops_per_second": 0.4e12, "size": 8}
    text = "10.0 times (10.0 to 10.0); large products gain 2.5 times"
    assert read("CNN-13, 50 + 50, two", False, plain) == (text, True)
    assert read("CNN-13: views", True, {"settings": {"dnll": fast}}) == ("2.0%", True)
    drawn = setting([1.0], parts={"batch and views": 1.0, "label draw": 2.0, "forward": 47.0})
    assert read("WRN-28-2: views", False, {"settings": {"dnll": drawn}}) == ("6.0%", False)
    assert read("the host", True, {"settings": {"dnll": fast}}) == ("launched in 1.00 ms, 25% of the iteration", True)
    host = {"settings": {"dnll": slow, "pool=host": setting([0.046] * 3), "pool=mapped": setting([0.04] * 3)}}
    assert read("images in host", False, host) == ("1.15 times (1.15 to 1.15)", False)
    assert read("images in a memory", False, host) == ("1.00 times (1.00 to 1.00)", True)
    assert read("time of an", False, growth())[1] is False  # half as much again
    assert read("memory", False, growth()) == ("64 bytes an image and 6.0 more: the order of an epoch takes 8", False)
    assert read("memory", False, growth(int(64.5e6)))[1] is True
    assert read("memory", False, growth(None)) == ("not known on this system", False)


def test_the_table_says_what_is_not_measured_and_on_what(tmp_path):
    lines = aims_table(tmp_path).splitlines()
    assert len(lines) == 2 + len(TARGETS) + 1
    assert all("| not measured | – |" in line for line in lines[2:])
    (tmp_path / "bench").mkdir()
    table7 = {"settings": {"dnll": setting([0.004]), "mean-teacher": setting([0.004])}}
    (tmp_path / "bench" / "table7-nvidia-h200.json").write_text(json.dumps(table7))
    (tmp_path / "bench" / "growth-amd.json").write_text(json.dumps(growth()))
    text = aims_table(tmp_path)
    assert "| CNN-13, 50 + 50 (paper: 143 ms) | 5 ms | 4.00 ms | yes | NVIDIA H200 |" in text
    assert "| memory for M images of 8x8 | the images and a constant | 64 bytes an image and 6.0 more: " in text


@pytest.mark.parametrize("text", ["{", "[]", '{"settings": 3}', '{"settings": {"dnll": {}}}'])
def test_a_damaged_record_is_named(tmp_path, text):
    (tmp_path / "plain-here.json").write_text(text)
    with pytest.raises(RecordError, match=r"plain-here\.json is not a readable benchmark"):
        load_suite(tmp_path)


def test_a_benchmark_is_sealed_and_one_that_was_changed_is_named(tmp_path):
    path = tmp_path / "plain-here.json"
    measure.save({"settings": {"dnll": setting([0.04, 0.05])}}, path)
    assert load_suite(tmp_path)["plain", True]["settings"] == load_benchmarks(tmp_path)[path.stem]["settings"]
    whole = path.read_bytes()
    for old, new in ((b"0.04", b"0.05"), (b"6000000000.0", b"7000000000.0"), (b"forw", b"fork"), (b"sha2", b"sha3")):
        assert old in whole
        path.write_bytes(whole.replace(old, new))
        for load in (load_suite, load_benchmarks):
            with pytest.raises(RecordError, match=r"plain-here\.json is not a readable benchmark .*another SHA-256"):
                load(tmp_path)


@pytest.mark.parametrize("time", [-0.04, 0, float("inf"), "0.04", None])
def test_times_of_a_benchmark_without_a_seal_are_numbers_of_seconds(tmp_path, time):
    for damaged in ({"settings": {"dnll": setting([0.04, time])}}, growth() | {"sizes": [{"train": [time]}]}):
        (tmp_path / "growth-here.json").write_text(json.dumps(damaged))
        with pytest.raises(RecordError, match=r"growth-here\.json is not a readable benchmark"):
            load_suite(tmp_path)


def test_when_the_digits_pass_93_percent(tmp_path):
    experiment = {"method": "dnll", "dataset": "digits", "labels": 20}
    curves = {0: (0.90, 0.94, 0.96), 1: (0.91, 0.93, 0.95)}
    for seed, curve in curves.items():
        made = record(experiment, seed, curve[-1], curve, sittings=[sitting(device="a laptop")])
        for i, row in enumerate(made["history"], 1):
            row["seconds"] = 2.0 * i + seed
        save(made, tmp_path)
    row = digits_row(tmp_path)
    assert "after 4.5 s; 95.5 % at the end, after 6.5 s (2 seeds) | yes | a laptop |" in row


def test_the_command_writes_a_record(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(
        SUITE, "small", "--dataset digits --network small --labelled-batch 4 --unlabelled-batch 6 --unlabelled 60"
    )
    main(["small", "--out", str(tmp_path)])
    [path] = tmp_path.glob("*.json")
    assert path.stem == f"small-{machine()}"
    assert "training iteration" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["tabel7"])
    assert "Did you mean 'table7'" in capsys.readouterr().err
