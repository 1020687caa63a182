"""The state that is carried to another machine: complete or refused, small, and nothing that is further is replaced."""

import io
import json
import os
import zipfile

import pytest
import torch

from dnll_core import checkpoint
from dnll_core.campaign import carry
from dnll_core.campaign.carry import CarryError, pack, read, unpack
from dnll_core.campaign.worker import CHECKPOINTS
from dnll_core.checkpoint import begin, load_checkpoint, save_checkpoint
from dnll_core.models import build_network

RUN = "digits-20-dnll-0123abcd-seed0"
OTHER = "digits-20-mean-teacher+dnll-0123abcd-seed12"


def write_record(folder, name=RUN, value=1):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps({"value": value}))


def write_checkpoint(folder, name=RUN, step=7, size=100):
    values = torch.arange(size, dtype=torch.float32) + step
    save_checkpoint(folder / CHECKPOINTS / name, {"a": values}, {"step": step})


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_round_trip(tmp_path):
    here, there, place = tmp_path / "here", tmp_path / "there", tmp_path / "carry"
    write_record(here / "tables")
    write_checkpoint(here / "tables", OTHER)
    write_record(here / "adaptation-full", OTHER)
    assert pack([here / "tables", here / "adaptation-full"], place) == []
    assert unpack(read(place), there) == []
    places_of_locks = {path: data for path, data in contents(there).items() if path.name == ".lock"}
    assert contents(here).items() == contents(there).items() - places_of_locks.items()
    tensors, info = load_checkpoint(there / "tables" / CHECKPOINTS / OTHER)
    assert info == {"step": 7}
    assert tensors["a"].tolist() == [7.0 + i for i in range(100)]
    assert unpack(read(place), there) == []  # once more changes nothing


def test_a_checkpoint_that_was_only_begun_is_not_carried(tmp_path):
    place = tmp_path / "tables" / CHECKPOINTS / RUN
    place.mkdir(parents=True)
    begin(place)
    assert pack([tmp_path / "tables"], tmp_path / "carry") == []
    assert read(tmp_path / "carry") == {}


def test_a_process_killed_while_it_unpacks_leaves_no_lost_manifest(tmp_path, monkeypatch):
    write_checkpoint(tmp_path / "here" / "tables")
    pack([tmp_path / "here" / "tables"], tmp_path / "carry")
    files, real = read(tmp_path / "carry"), carry.atomic_file

    def killed_at_the_manifest(path):
        if path.name == checkpoint.MANIFEST:
            raise KeyboardInterrupt
        return real(path)

    monkeypatch.setattr(carry, "atomic_file", killed_at_the_manifest)
    with pytest.raises(KeyboardInterrupt):
        unpack(files, tmp_path / "there")
    place = tmp_path / "there" / "tables" / CHECKPOINTS / RUN
    assert list(place.glob("part-*.pt"))
    assert load_checkpoint(place) is None
    monkeypatch.undo()
    assert unpack(files, tmp_path / "there") == []
    assert load_checkpoint(place)[1] == {"step": 7}


def test_nothing_to_unpack(tmp_path):
    assert read(tmp_path / "nowhere") == {}


def test_a_run_of_the_largest_network_fits_into_a_few_small_files(tmp_path):
    """Two CNN-13 with their momentum, which no compression makes smaller."""
    one = sum(value.numel() for value in build_network("cnn13", 10, 3, (32, 32), 1).state_dict().values())
    values = torch.randint(256, (4 * 4 * one,), dtype=torch.uint8)
    save_checkpoint(tmp_path / "tables" / CHECKPOINTS / RUN, {"a": values}, {"step": 7})
    assert pack([tmp_path / "tables"], tmp_path / "carry") == []
    sizes = [path.stat().st_size for path in (tmp_path / "carry").iterdir()]
    assert len(sizes) <= 8
    assert max(sizes) < 16_000_000
    assert sum(sizes) < 64_000_000
    assert unpack(read(tmp_path / "carry"), tmp_path / "there") == []
    assert torch.equal(load_checkpoint(tmp_path / "there" / "tables" / CHECKPOINTS / RUN)[0]["a"], values)


def test_what_does_not_fit_is_left_out_and_named(monkeypatch, tmp_path):
    folder = tmp_path / "tables"
    write_record(folder, "digits-20-dnll-ffffffff-seed3")
    write_checkpoint(folder, RUN, size=5000)
    write_checkpoint(folder, OTHER)
    monkeypatch.setattr(carry, "ROOM", 10_000)
    [message] = pack([folder], tmp_path / "carry")
    assert message.startswith(f"the checkpoint of {RUN} was left out")
    assert {name.split("/")[-2] for name in read(tmp_path / "carry")} == {"tables", OTHER}
    before = contents(tmp_path / "carry")
    monkeypatch.setattr(carry, "ROOM", 10)
    with pytest.raises(CarryError, match=r"the records alone take .* they stay where they are"):
        pack([folder], tmp_path / "carry")
    assert contents(tmp_path / "carry") == before


def test_the_checkpoint_that_was_written_last_comes_first_and_none_of_a_recorded_run(monkeypatch, tmp_path):
    folder = tmp_path / "tables"
    for i, name in enumerate((OTHER, RUN, "digits-20-dnll-ffffffff-seed3")):
        write_checkpoint(folder, name, size=1000)
        os.utime(folder / CHECKPOINTS / name / checkpoint.MANIFEST, (i, i))
    write_record(folder, "digits-20-dnll-ffffffff-seed3")
    monkeypatch.setattr(carry, "ROOM", 10_000)
    [message] = pack([folder], tmp_path / "carry")
    assert OTHER in message
    names = {name.split("/")[2] for name in read(tmp_path / "carry") if CHECKPOINTS in name}
    assert names == {RUN}


def test_a_damaged_or_incomplete_set_is_refused_and_nothing_is_changed(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "PART_BYTES", 1000)
    write_record(tmp_path / "tables")
    write_checkpoint(tmp_path / "tables", OTHER, size=1000)
    place = tmp_path / "carry"
    pack([tmp_path / "tables"], place)
    part = sorted(place.glob("part-*.pt"))[1]
    data = part.read_bytes()
    part.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(CarryError, match=rf"{part.name} is damaged .* Nothing was unpacked .* empty it to go on"):
        read(place)
    part.unlink()
    with pytest.raises(CarryError, match=f"{part.name} is missing"):
        read(place)
    (place / checkpoint.MANIFEST).unlink()
    with pytest.raises(CarryError, match=r"checkpoint\.json is missing"):
        read(place)


def test_a_folder_of_something_else_is_refused(tmp_path):
    write_checkpoint(tmp_path / "tables")
    with pytest.raises(CarryError, match="is not of a set, but of a run"):
        read(tmp_path / "tables" / CHECKPOINTS / RUN)


@pytest.mark.parametrize("name", ["../outside-seed0.json", "/tmp/a-seed0.json", "tables/notes.txt", f"../{RUN}.json"])
def test_a_set_writes_nowhere_else(tmp_path, name):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, "{}")
    save_checkpoint(tmp_path, {"archive": torch.frombuffer(bytearray(buffer.getvalue()), dtype=torch.uint8)}, {})
    with pytest.raises(CarryError, match="which is no part of a campaign"):
        read(tmp_path)


def test_what_is_further_or_other_stays(tmp_path):
    here, there, place = tmp_path / "here", tmp_path / "there", tmp_path / "carry"
    write_record(here / "tables", RUN, value=1)
    write_record(there / "tables", RUN, value=2)
    write_checkpoint(here / "tables", OTHER, step=7)
    pack([here / "tables"], place)
    for step, expected in ((9, 9), (3, 7)):
        write_checkpoint(there / "tables", OTHER, step=step)
        [message] = unpack(read(place), there)
        assert "another record of the same run" in message
        tensors, info = load_checkpoint(there / "tables" / CHECKPOINTS / OTHER)
        assert info == {"step": expected}
        assert tensors["a"][0] == expected
    assert len(list((there / "tables" / CHECKPOINTS / OTHER).glob("part-*.pt"))) == 1
    assert json.loads((there / "tables" / f"{RUN}.json").read_text()) == {"value": 2}
    write_record(there / "tables", OTHER)  # the run has ended there
    write_checkpoint(there / "tables", OTHER, step=3)
    unpack(read(place), there)
    assert load_checkpoint(there / "tables" / CHECKPOINTS / OTHER)[1] == {"step": 3}


def test_a_checkpoint_in_use_is_not_replaced(tmp_path):
    write_checkpoint(tmp_path / "here" / "tables")
    pack([tmp_path / "here" / "tables"], tmp_path / "carry")
    folder = tmp_path / "there" / "tables" / CHECKPOINTS / RUN
    with checkpoint.exclusive(folder / ".campaign"):
        [message] = unpack(read(tmp_path / "carry"), tmp_path / "there")
    assert f"the checkpoint of {RUN} was not unpacked: another process is training" in message
    assert load_checkpoint(folder) is None


def test_a_checkpoint_that_is_replaced_while_it_is_packed_is_packed_whole(monkeypatch, tmp_path):
    folder = tmp_path / "tables"
    write_checkpoint(folder, step=1)
    load, replaced = json.loads, []

    def replace_once(text):
        found = load(text)
        if not replaced:
            replaced.append(True)
            write_checkpoint(folder, step=2)
        return found

    monkeypatch.setattr(carry.json, "loads", replace_once)
    pack([folder], tmp_path / "carry")
    unpack(read(tmp_path / "carry"), tmp_path / "there")
    tensors, info = load_checkpoint(tmp_path / "there" / "tables" / CHECKPOINTS / RUN)
    assert (info["step"], float(tensors["a"][0])) == (2, 2.0)


def test_a_place_that_cannot_be_written_to(tmp_path):
    (tmp_path / "carry").write_text("")
    with pytest.raises(CarryError, match=r"the state could not be packed into .*carry"):
        pack([tmp_path], tmp_path / "carry")


def test_a_copy_of_a_record_and_a_damaged_checkpoint_are_left_out_and_named(tmp_path):
    write_record(tmp_path / "tables")
    write_record(tmp_path / "tables", f"{RUN} (1)")
    write_checkpoint(tmp_path / "tables", OTHER)
    third = OTHER.replace("seed12", "seed13")
    write_checkpoint(tmp_path / "tables", third)
    for damaged in ("", "{", '{"content": {}}'):
        (tmp_path / "tables" / CHECKPOINTS / third / checkpoint.MANIFEST).write_text(damaged)
        messages = pack([tmp_path / "tables"], tmp_path / "carry")
        assert len(messages) == 2
        assert f"{RUN} (1).json was left out" in messages[0]
        assert f"the checkpoint of {third} was left out" in messages[1]
        assert {name.split("/")[-1].split(".json")[0] for name in read(tmp_path / "carry")} >= {RUN, "checkpoint"}
        assert unpack(read(tmp_path / "carry"), tmp_path / "there") == []


def test_a_set_that_is_no_archive_is_refused(tmp_path):
    save_checkpoint(tmp_path, {"archive": torch.zeros(10, dtype=torch.uint8)}, {})
    with pytest.raises(CarryError, match=r"is damaged .*Nothing was unpacked"):
        read(tmp_path)


def test_a_carried_checkpoint_with_a_broken_manifest_is_not_unpacked(tmp_path):
    name = f"tables/{CHECKPOINTS}/{RUN}"
    [message] = unpack({f"{name}/part-00-ab.pt": b"x", f"{name}/checkpoint.json": b"{"}, tmp_path)
    assert "was not unpacked: it is damaged" in message
    assert not (tmp_path / name / "checkpoint.json").exists()
