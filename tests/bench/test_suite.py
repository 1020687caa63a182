"""The recorded benchmarks: settings of the suite, the one rule by which records are read, and the README's table."""

import json

import pytest
from fabricated import record, sitting

from dnll_core.bench import command, measure, timing
from dnll_core.bench.report import load_benchmarks
from dnll_core.bench.subject import Setting
from dnll_core.bench.suite import NEEDS_GPU, ROUNDS, SUITE, machine, main, run
from dnll_core.config import Experiment
from dnll_core.figures.report import speed_table
from dnll_core.results import RecordError, root, save


@pytest.fixture(autouse=True)
def small_products(monkeypatch):
    monkeypatch.setattr(timing, "CEILING_SIZES", {"cpu": (64, 1)})


def test_the_suite_is_of_settings():
    assert SUITE.keys() >= {*ROUNDS, *NEEDS_GPU}
    for settings in SUITE.values():
        assert next(iter(settings)) == "dnll"
        assert all(type(setting) is Setting for setting in settings.values())
        assert len(set(settings.values())) == len(settings)
    table7 = SUITE["table7"]["dual-student"].experiment
    assert (table7.network, table7.labelled_batch, table7.unlabelled_batch) == ("cnn13", 50, 50)
    assert [setting.unlabelled for setting in SUITE["growth"].values()] == [10**power for power in (4, 5, 6, 7)]


def test_committed_benchmarks_are_of_the_suites_settings():
    """By name, network, batch and pool: other settings of an experiment have changed their defaults since."""
    for name, found in load_benchmarks().items():
        benchmark = next(key for key in SUITE if name.startswith(f"{key}-"))
        assert found["settings"].keys() == SUITE[benchmark].keys()
        for key, setting in found["settings"].items():
            mine = SUITE[benchmark][key]
            fields = ("dataset", "network", "method", "labelled_batch", "unlabelled_batch")
            assert [setting["experiment"][f] for f in fields] == [getattr(mine.experiment, f) for f in fields]
            assert setting["unlabelled"] == mine.unlabelled


def setting(train, **more):
    e = {"dataset": "cifar10", "network": "cnn13", "labelled_batch": 50, "unlabelled_batch": 50}
    about = {"experiment": e, "device": "NVIDIA H200", "precision": "bfloat16", "train": train, "inference": [0.1]}
    return about | {"flops": 6e9, "ceiling": {"flops_per_second": 1e12, "size": 8}} | more


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"settings": 3}', '{"settings": {}}', '{"settings": {"dnll": {}}}'])
def test_a_damaged_record_is_named(tmp_path, text):
    (tmp_path / "plain-here.json").write_text(text, encoding="utf-8")
    with pytest.raises(RecordError, match=r"plain-here\.json is not a readable benchmark"):
        load_benchmarks(tmp_path)


def test_a_benchmark_is_sealed_and_one_that_was_changed_is_named(tmp_path):
    path = tmp_path / "plain-here.json"
    measure.save({"settings": {"dnll": setting([0.04, 0.05], inference=[0.1, 0.1])}}, path)
    assert load_benchmarks(tmp_path)[path.stem]["settings"]["dnll"]["train"] == [0.04, 0.05]
    whole = path.read_bytes()
    for old, new in ((b"0.04", b"0.05"), (b"6000000000.0", b"7000000000.0"), (b"cnn13", b"cnn31"), (b"sha2", b"sha3")):
        assert old in whole
        path.write_bytes(whole.replace(old, new))
        with pytest.raises(RecordError, match=r"plain-here\.json is not a readable benchmark .*another SHA-256"):
            load_benchmarks(tmp_path)


@pytest.mark.parametrize("time", [-0.04, 0, float("inf"), "0.04", None])
@pytest.mark.parametrize("kind", ["train", "inference"])
def test_times_of_a_benchmark_without_a_seal_are_numbers_of_seconds(tmp_path, kind, time):
    (tmp_path / "here.json").write_text(
        json.dumps({"settings": {"dnll": setting([0.04, 0.05]) | {kind: [0.1, time]}}}), encoding="utf-8"
    )
    with pytest.raises(RecordError, match=r"here\.json is not a readable benchmark"):
        load_benchmarks(tmp_path)


def test_the_readme_shows_every_machine_beside_the_paper(tmp_path):
    assert speed_table(tmp_path).splitlines()[2:] == ["| the paper | 143.0 | 1.99 | 0.99 |"]
    (tmp_path / "bench").mkdir()
    for name, device, ours in (("table7-a", "AMD", 0.006), ("table7-b", "NVIDIA", 0.009), ("plain-a", "AMD", 1.0)):
        times = {"dnll": ours, "mean-teacher": 0.004, "dual-student": 0.008}
        settings = {method: setting([time] * 3, device=device, inference=[0.1] * 3) for method, time in times.items()}
        (tmp_path / "bench" / f"{name}.json").write_text(json.dumps({"settings": settings}), encoding="utf-8")
    for seed, seconds in ((0, 3.0), (1, 4.0)):
        made = record(
            {"method": "dnll", "dataset": "digits", "labels": 20}, seed, 0.9, sittings=[sitting(device="AMD")]
        )
        save(made | {"seconds": seconds}, tmp_path / "quickstart")
    assert speed_table(tmp_path).splitlines()[3:] == [
        "| AMD, bfloat16 | 6.00 | 1.50 (1.50 to 1.50) | 0.75 (0.75 to 0.75) |",
        "| NVIDIA, bfloat16 | 9.00 | 2.25 (2.25 to 2.25) | 1.12 (1.12 to 1.12) |",
        "",
        "A run of DNLL in the quickstart with 20 labels takes 3.5 s (AMD; mean of 2 runs).",
    ]


def test_the_readme_shows_what_is_recorded():
    assert speed_table() in (root().parent.parent / "README.md").read_text(encoding="utf-8")


def test_the_command_writes_a_record(tmp_path, monkeypatch, capsys):
    e = Experiment(dataset="digits", labels=20, network="small", labelled_batch=4, unlabelled_batch=6)
    monkeypatch.setitem(SUITE, "small", {"dnll": Setting(e, unlabelled=60)})
    monkeypatch.setitem(ROUNDS, "small", 2)
    main(["small", "--out", str(tmp_path)])
    assert list(load_benchmarks(tmp_path)) == [f"small-{machine()}"]
    assert "iteration, ms" in capsys.readouterr().out
    assert run("small", step="uncaptured")["settings"]["dnll"]["step"] == "uncaptured"
    with pytest.raises(SystemExit):
        main(["tabel7"])
    assert "Did you mean 'table7'" in capsys.readouterr().err


def test_a_benchmark_without_rounds_and_a_folder_for_a_file_are_refused(tmp_path, capsys):
    record = json.loads(next((root() / "bench").glob("table7-*.json")).read_text(encoding="utf-8"))
    record.pop("sha256", None)
    next(iter(record["settings"].values()))["train"] = []
    (tmp_path / "table7-none.json").write_text(json.dumps(record | {"format": 1}), encoding="utf-8")
    with pytest.raises(RecordError, match=r"table7-none.json is not a readable benchmark"):
        load_benchmarks(tmp_path)
    with pytest.raises(SystemExit):
        command.main(["--json", str(tmp_path)])
    assert "takes a file, not the folder" in capsys.readouterr().err
