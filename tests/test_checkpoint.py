"""Checkpoints: exact round trip, small parts, atomic replacement, clear errors, and no code run on reading."""

import json

import pytest
import torch

from dnll_core import checkpoint
from dnll_core.checkpoint import CheckpointError, exclusive, load_checkpoint, save_checkpoint


def tensors():
    g = torch.Generator().manual_seed(0)
    return {
        "weight": torch.randn(64, 3, 3, 3, generator=g).to(memory_format=torch.channels_last),
        "half": torch.randn(10, generator=g).bfloat16(),
        "counts": torch.arange(5),
        "scalar": torch.tensor(1.5),
        "empty": torch.zeros(0, 4),
        "bytes": torch.randint(256, (5000,), dtype=torch.uint8, generator=g),
    }


def test_round_trip_in_small_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "PART_BYTES", 1000)  # a tensor larger than a part is cut
    save_checkpoint(tmp_path, tensors(), {"step": 3, "history": [{"loss": 0.1}]})
    loaded, info = load_checkpoint(tmp_path)
    assert info == {"step": 3, "history": [{"loss": 0.1}]}
    assert loaded.keys() == tensors().keys()
    for name, value in tensors().items():
        assert loaded[name].dtype == value.dtype
        assert torch.equal(loaded[name], value)
    parts = list(tmp_path.glob("part-*.pt"))
    assert len(parts) > 5


def test_parts_stay_below_16_mb(tmp_path):
    save_checkpoint(tmp_path, {"a": torch.zeros(9_000_000), "b": torch.zeros(100)}, {})
    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    assert max(sizes) < 16_000_000
    assert load_checkpoint(tmp_path)[0]["a"].shape == (9_000_000,)


def test_a_second_save_replaces_the_first_and_leaves_nothing_behind(tmp_path):
    save_checkpoint(tmp_path, {"a": torch.zeros(3)}, {"step": 1})
    save_checkpoint(tmp_path, {"a": torch.ones(3)}, {"step": 2})
    loaded, info = load_checkpoint(tmp_path)
    assert info["step"] == 2
    assert loaded["a"].tolist() == [1, 1, 1]
    assert len(list(tmp_path.iterdir())) == 2


def test_a_crash_while_writing_keeps_the_checkpoint_before(tmp_path, monkeypatch):
    save_checkpoint(tmp_path, {"a": torch.zeros(3)}, {"step": 1})
    real = checkpoint.atomic_file

    def fail_at_the_manifest(path):
        if path.name == checkpoint.MANIFEST:
            raise OSError("disk full")
        return real(path)

    monkeypatch.setattr(checkpoint, "atomic_file", fail_at_the_manifest)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(tmp_path, {"a": torch.ones(3)}, {"step": 2})
    loaded, info = load_checkpoint(tmp_path)
    assert info["step"] == 1
    assert loaded["a"].tolist() == [0, 0, 0]


def test_no_checkpoint(tmp_path):
    assert load_checkpoint(tmp_path / "nowhere") is None


def test_damage_is_named(tmp_path):
    save_checkpoint(tmp_path, tensors(), {})
    [part] = tmp_path.glob("part-*.pt")
    data = part.read_bytes()
    part.write_bytes(data[:-100])
    with pytest.raises(CheckpointError, match=rf"{part.name} is damaged.*Delete the folder"):
        load_checkpoint(tmp_path)
    part.unlink()
    with pytest.raises(CheckpointError, match=f"{part.name} is missing"):
        load_checkpoint(tmp_path)
    (tmp_path / checkpoint.MANIFEST).write_text("{")
    with pytest.raises(CheckpointError, match=r"checkpoint.json is damaged"):
        load_checkpoint(tmp_path)


def test_reading_runs_no_code(tmp_path):
    """A part that would call a function when unpickled is refused, even with a manifest that vouches for it."""
    import hashlib
    import io
    import pathlib

    class Payload:
        def __reduce__(self):
            return pathlib.Path.touch, (tmp_path / "executed",)

    buffer = io.BytesIO()
    torch.save({"a@0": Payload()}, buffer)
    (tmp_path / "part.pt").write_bytes(buffer.getvalue())
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    content = {"info": {}, "shapes": {"a": [1]}, "parts": [{"file": "part.pt", "sha256": digest}]}
    manifest = {"sha256": checkpoint._digest(content), "content": content}
    (tmp_path / checkpoint.MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match=r"part.pt is damaged"):
        load_checkpoint(tmp_path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("place", ["info", "shapes", "parts"])
def test_a_changed_manifest_is_damaged(tmp_path, place):
    save_checkpoint(tmp_path, tensors(), {"step": 3})
    path = tmp_path / checkpoint.MANIFEST
    manifest = json.loads(path.read_text())
    manifest["content"][place] = {}
    path.write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match=r"checkpoint.json is damaged \(its content has another SHA-256\)"):
        load_checkpoint(tmp_path)


def test_a_folder_is_for_one_process(tmp_path):
    place = tmp_path / "new"
    with exclusive(place), pytest.raises(CheckpointError, match="another process is training"), exclusive(place):
        pass
    with exclusive(place):
        pass


def test_a_place_that_cannot_be_written_to_is_refused_at_once(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="file' cannot be written to"), exclusive(tmp_path / "file"):
        pass
    with pytest.raises(CheckpointError, match="checkpoint='' is no folder"), exclusive(""):
        pass
