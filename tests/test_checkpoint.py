"""Checkpoints: exact round trip, small parts, atomic replacement, clear errors, and no code run on reading."""

import contextlib
import errno
import fcntl
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import warnings

import pytest
import torch

from dnll_core import checkpoint
from dnll_core.checkpoint import CheckpointError, exclusive, load_checkpoint, save_checkpoint
from dnll_core.common import digest_of, locked


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


@pytest.fixture
def room(monkeypatch):
    """A disk of so many bytes for the folder of a file that is written: {"bytes": n}."""
    disk, real = {"bytes": 10**9}, checkpoint.atomic_file

    @contextlib.contextmanager
    def limited(path):
        with real(path) as file:
            yield file
            file.flush()
            if sum(each.stat().st_size for each in path.parent.iterdir()) > disk["bytes"]:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(checkpoint, "atomic_file", limited)
    return disk


def test_a_moment_without_room_costs_no_later_save(tmp_path, room, monkeypatch):
    """On a disk with room for the old and the new checkpoint, what a failed save wrote must not take the room."""
    monkeypatch.setattr(checkpoint, "PART_BYTES", 10_000)
    save_checkpoint(tmp_path, {"a": torch.zeros(10_000)}, {"step": 0})
    size = sum(path.stat().st_size for path in tmp_path.iterdir())
    before = {path.name for path in tmp_path.iterdir()}
    for step in (1, 2):
        room["bytes"] = 1.7 * size
        with pytest.raises(OSError, match="No space left"):
            save_checkpoint(tmp_path, {"a": torch.full((10_000,), float(step))}, {"step": step})
        assert {path.name for path in tmp_path.iterdir()} == before
        assert load_checkpoint(tmp_path)[1] == {"step": 0}
    room["bytes"] = 2.2 * size
    save_checkpoint(tmp_path, {"a": torch.full((10_000,), 3.0)}, {"step": 3})
    loaded, info = load_checkpoint(tmp_path)
    assert (info["step"], loaded["a"][0]) == (3, 3)


def test_what_a_killed_process_left_has_gone_before_the_next_save(tmp_path, room):
    save_checkpoint(tmp_path, {"a": torch.zeros(10_000)}, {"step": 0})
    size = sum(path.stat().st_size for path in tmp_path.iterdir())
    for name in ("part-00-0123456789ab.pt", ".part-00-0123456789ab.pt.00.tmp"):
        (tmp_path / name).write_bytes(bytes(size))
    room["bytes"] = 2.2 * size
    save_checkpoint(tmp_path, {"a": torch.ones(10_000)}, {"step": 1})
    assert load_checkpoint(tmp_path)[1] == {"step": 1}
    assert len(list(tmp_path.iterdir())) == 2


def test_no_checkpoint(tmp_path):
    assert load_checkpoint(tmp_path / "nowhere") is None


def test_a_process_killed_during_its_first_save_leaves_no_checkpoint_and_no_error(tmp_path, monkeypatch):
    """Whichever write is the last one that the process came to."""
    real = checkpoint.atomic_file
    monkeypatch.setattr(checkpoint, "PART_BYTES", 10_000)
    monkeypatch.setattr(checkpoint, "_remove_all_but", lambda *_: None)  # a killed process cleans nothing up
    for last in range(4):
        written = []

        def killed_after(path, last=last, written=written):
            if len(written) == last:
                raise KeyboardInterrupt
            written.append(path)
            return real(path)

        folder = tmp_path / str(last)
        monkeypatch.setattr(checkpoint, "atomic_file", killed_after)
        with pytest.raises(KeyboardInterrupt):
            save_checkpoint(folder, {"a": torch.zeros(7000)}, {"step": 1})
        assert len(list(folder.iterdir())) == last
        assert load_checkpoint(folder) is None
        monkeypatch.setattr(checkpoint, "atomic_file", real)
        save_checkpoint(folder, {"a": torch.zeros(7000)}, {"step": 2})
        assert load_checkpoint(folder)[1] == {"step": 2}


def test_a_manifest_that_is_gone_is_an_error_and_no_new_beginning(tmp_path):
    save_checkpoint(tmp_path, tensors(), {})
    (tmp_path / checkpoint.MANIFEST).unlink()
    with pytest.raises(CheckpointError, match=r"checkpoint\.json is missing, and the parts beside it.*Put it back, or"):
        load_checkpoint(tmp_path)


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
    manifest = {"sha256": digest_of(content), "content": content}
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


# -- locks -------------------------------------------------------------------------------------------------------------


def test_a_folder_is_for_one_process(tmp_path):
    place = tmp_path / "new"
    with exclusive(place), pytest.raises(checkpoint.InUse, match="another process is training"), exclusive(place):
        pass
    with exclusive(place):
        pass


HOLDS = """
import sys, time
from dnll_core.common import locked
with locked(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def test_the_lock_of_a_killed_process_is_free_at_once(tmp_path):
    with subprocess.Popen([sys.executable, "-c", HOLDS, str(tmp_path / ".lock")], stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(checkpoint.InUse), exclusive(tmp_path):
            pass
        holder.kill()
        holder.wait()
        with exclusive(tmp_path):
            pass


def test_a_child_does_not_keep_the_lock_of_its_parent(tmp_path):
    """Nor does its end take the lock from it."""
    pause = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    with exclusive(tmp_path):
        pause.start()
    try:
        with exclusive(tmp_path):
            pause.kill()
            pause.join()
            with pytest.raises(checkpoint.InUse), exclusive(tmp_path):
                pass
    finally:
        pause.kill()


def test_who_waits_for_a_lock_gets_it_when_it_is_free(tmp_path):
    with subprocess.Popen([sys.executable, "-c", HOLDS, str(tmp_path / "lock")], stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        began = time.monotonic()
        threading.Timer(0.5, holder.kill).start()
        with locked(tmp_path / "lock", wait=True):
            assert time.monotonic() - began > 0.4
            assert holder.wait(10) == -signal.SIGKILL


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL])
@pytest.mark.parametrize("wait", [False, True])
def test_a_file_system_without_locks_is_said_and_used(tmp_path, monkeypatch, code, wait):
    def flock(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.warns(UserWarning, match=r"no locks.*nothing keeps two processes"), locked(tmp_path / "lock", wait):
        (tmp_path / "written").touch()


@pytest.mark.parametrize("code", [errno.EAGAIN, errno.EACCES])
def test_a_lock_that_is_held_is_in_use(tmp_path, monkeypatch, code):
    def flock(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", flock)
    with warnings.catch_warnings(action="error"), pytest.raises(checkpoint.InUse), exclusive(tmp_path):
        pass


def test_a_place_that_cannot_be_written_to_is_refused_at_once(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="file' cannot be written to"), exclusive(tmp_path / "file"):
        pass
    with pytest.raises(CheckpointError, match="checkpoint='' is no folder"), exclusive(""):
        pass
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / ".lock").symlink_to("/nowhere/at/all")
    with pytest.raises(CheckpointError, match="link' cannot be written to"), exclusive(tmp_path / "link"):
        pass

    def read_only(*_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "open", read_only)
    with pytest.raises(CheckpointError, match=r"cannot be written to: .*Read-only"), exclusive(tmp_path):
        pass
