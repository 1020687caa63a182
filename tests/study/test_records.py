"""Records are parsed once a process, and one that is written meanwhile is seen."""

import json
import os
from collections import Counter

import pytest
from fabricated import record, write

from dnll_core import results
from dnll_core.config import Experiment
from dnll_core.figures import report
from dnll_core.methods.classical import Classical
from dnll_core.study import records
from dnll_core.study.records import Records, benchmark, config_of, recorded

A = Experiment(method="dnll", labels=20)
B = A.replace(m=3)


@pytest.fixture
def parses(monkeypatch):
    """Counts how often each text is parsed, in a process that has read none yet."""
    counts, loads = Counter(), json.loads

    def counted(text, *args, **kwargs):
        counts[bytes(text) if isinstance(text, bytes) else text] += 1
        return loads(text, *args, **kwargs)

    monkeypatch.setattr(json, "loads", counted)
    results._parsed.cache_clear()
    records._read.cache_clear()  # another test of this process may have read the same folder
    return counts


def test_a_record_under_an_older_name_counts_once(tmp_path):
    path = results.save(record(A, 0, 0.8), tmp_path)
    path.with_name("digits-20-old-seed0.json").write_bytes(path.read_bytes())
    assert [r["seed"] for r in recorded(A, tmp_path)] == [0]
    assert list(Records(tmp_path).of(A)) == [0]


def test_the_readme_parses_every_record_at_most_once(parses):
    report.readme()
    paths = sorted(results.root().rglob("*-seed*.json"))
    seen = [parses[path.read_bytes()] for path in paths]
    assert max(seen) == 1
    shown = {count for path, count in zip(paths, seen) if path.parent.name in ("quickstart", "methods", "tables")}
    assert shown == {1}  # it does read what it shows
    report.readme()
    assert [parses[path.read_bytes()] for path in paths] == seen


def test_a_folder_and_one_inside_share_what_is_read(parses, tmp_path):
    write(tmp_path / "tables", A, [0.9, 0.8])
    parses.clear()
    for folder in (tmp_path, tmp_path / "tables", str(tmp_path)):
        assert len(Records(folder).of(A)) == 2
    assert len(results.load(tmp_path)) == 2
    assert sum(parses.values()) == 2


def test_a_record_written_meanwhile_is_seen(tmp_path):
    assert Records(tmp_path).of(A) == {}
    write(tmp_path, A, [0.9])
    assert len(Records(tmp_path).of(A)) == 1
    write(tmp_path / "further", B, [0.9])
    assert len(Records(tmp_path).of(B)) == 1
    [path] = tmp_path.glob("*.json")
    before = path.stat()
    results.save(record(A, 0, 0.8), tmp_path)  # in the place of the other one, as long, and dated back
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    assert Records(tmp_path).of(A)[0]["final"]["test"]["ensemble"] == 0.8
    path.unlink()
    assert Records(tmp_path).of(A) == {}


def test_a_record_that_becomes_unreadable_is_named(tmp_path):
    write(tmp_path, A, [0.9])
    Records(tmp_path)
    [path] = tmp_path.glob("*.json")
    path.write_text("{", encoding="utf-8")
    for _ in range(2):
        with pytest.raises(results.RecordError, match=f"{path.name} is not a readable run record"):
            Records(tmp_path)


def test_who_changes_a_record_changes_it_for_himself(tmp_path):
    write(tmp_path, A, [0.9])
    results.load(tmp_path)[0]["seed"] = 7
    assert results.load(tmp_path)[0]["seed"] == 0


def test_the_configuration_of_a_record():
    spreading = Classical("label-spreading", "digits", labels=20)
    assert config_of(A.to_dict()) == A
    assert config_of(spreading.to_dict()) == spreading
    assert config_of(spreading.to_dict() | {"field_of_the_future": 1}) is None
    assert config_of(A.to_dict() | {"field_of_the_future": 1}) is None
    assert config_of({}) == Experiment()


# -- as a frame --------------------------------------------------------------------------------------------------------


def test_a_frame_has_a_row_for_each_evaluated_epoch_with_the_numbers_of_the_record():
    records = Records(results.root() / "methods")
    found = records.frame()
    rows = []
    for of_seed in records.runs.values():
        for each in of_seed.values():
            for row in each["history"]:
                if "test" in row:
                    one, two = each["experiment"], row["test"]["submodels"]
                    rows.append([one["method"], one["m"], each["seed"], row["epoch"], sum(two) / len(two)])
                    rows[-1] += [row["test"]["ensemble"], row["seconds"], row["loss"]]
    columns = ["method", "m", "seed", "epoch", "test", "test ensemble", "seconds", "loss"]
    assert len(rows) == len(found) > 1000
    assert found[columns].astype(object).to_numpy().tolist() == [pytest.approx(row) for row in rows]
    last = found.groupby(["experiment", "seed"])["test"].last()
    for (name, seed), accuracy in last.items():
        assert accuracy == pytest.approx(records.runs[name][seed]["final"]["test"]["mean"])


def test_a_frame_takes_runs_without_epochs_and_epochs_without_evaluation():
    spreading = Classical("label-spreading", "digits", labels=20)
    fitted = record(spreading, 1, 0.7)
    del fitted["history"]
    run = record(A, 0, 0.9, curve=[0.3, 0.5, 0.9], agreement=[0.1, 0.2, 0.3])
    del run["history"][1]["test"]
    run["history"][2]["target"] = {"information": 0.8}
    found = records.frame([fitted, run])
    assert found["method"].tolist() == ["label-spreading", "dnll", "dnll"]
    assert found["test"].tolist() == pytest.approx([0.7, 0.3, 0.9])
    assert found["epoch"].isna().tolist() == [True, False, False] and found["epoch"].tolist()[1:] == [1, 3]
    assert found["agreement"].tolist()[1:] == [0.1, 0.3]
    assert found["target information"].tolist()[2] == 0.8
    assert records.frame([]).empty and "test" in records.frame([])


def timed(folder, name, device, finished, **changes):
    """A benchmark of DNLL like Table 7's, told apart by its device."""
    batch = {"labelled_batch": 50, "unlabelled_batch": 50}
    e = Experiment(dataset="cifar10", labels=4000, network="cnn13", **batch).replace(**changes)
    setting = {"device": device, "precision": "float32", "experiment": e.to_dict(), "train": [0.1] * 10}
    (folder / "bench").mkdir(exist_ok=True)
    date = {"finished": finished} if finished else {}
    (folder / "bench" / f"{name}.json").write_text(
        json.dumps({"settings": {"dnll": setting}, **date}), encoding="utf-8"
    )


def test_of_several_benchmarks_a_gpus_then_the_newest_then_the_first_by_name(tmp_path):
    def found():
        settings = benchmark(Records(tmp_path), "dnll")
        return settings and settings[0]["device"]

    timed(tmp_path, "other", "GPU of other batches", "2026-12-31", unlabelled_batch=100)
    assert found() is None
    timed(tmp_path, "cpu", "a processor, 2 threads", "2026-12-31")
    assert found() == "a processor, 2 threads"
    timed(tmp_path, "a", "GPU without a date", None)
    assert found() == "GPU without a date"
    timed(tmp_path, "b", "GPU of October", "2026-10-09")
    assert found() == "GPU of October"
    timed(tmp_path, "d", "GPU of November, d", "2026-11-01")
    assert found() == "GPU of November, d"
    timed(tmp_path, "c", "GPU of November, c", "2026-11-01")
    assert found() == "GPU of November, c"
    assert benchmark(Records(tmp_path), "dnll", "mean-teacher") is None
