"""Checkpoints: exact round trip, atomic replacement, any damage is named, no code run on reading, and locks."""

import contextlib
import errno
import fcntl
import json
import multiprocessing
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
import warnings

import pytest
import torch
from safetensors.torch import load, save

from dnll_core import checkpoint
from dnll_core.checkpoint import FILE, CheckpointError, load_checkpoint, read_info, save_checkpoint
from dnll_core.common import atomic_file, locked
from dnll_core.resume import InUse, exclusive


def tensors():
    g = torch.Generator().manual_seed(0)
    square = torch.randn(4, 4, generator=g)
    return {
        "weight": torch.randn(64, 3, 3, 3, generator=g).to(memory_format=torch.channels_last),
        "bfloat16": torch.randn(10, generator=g).bfloat16(),
        "float16": torch.randn(10, generator=g).half(),
        "float64": torch.randn(2, 3, generator=g, dtype=torch.float64),
        "counts": torch.arange(5),
        "mask": torch.tensor([True, False]),
        "scalar": torch.tensor(1.5),
        "empty": torch.zeros(0, 4),
        "bytes": torch.randint(256, (5000,), dtype=torch.uint8, generator=g),
        "not finite": torch.tensor([torch.nan, torch.inf, -0.0]),
        "square": square,
        "transposed": square.T,
        "row": square[1],
        "expanded": torch.ones(1).expand(3),
        "learnt": torch.nn.Parameter(torch.ones(2)),
    }


INFO = {"step": 3, "history": [{"loss": 0.1, "é": None}], "seconds": 1e-300}


def test_round_trip(tmp_path):
    """Also of tensors that share memory, or whose values do not lie in their order."""
    save_checkpoint(tmp_path / "new", tensors(), INFO)
    loaded, info = load_checkpoint(tmp_path / "new")
    assert info == INFO == read_info(tmp_path / "new")
    assert loaded.keys() == tensors().keys()
    for name, value in tensors().items():
        assert (loaded[name].dtype, loaded[name].shape) == (value.dtype, value.shape)
        mine, theirs = (each.detach().contiguous().view(-1).view(torch.uint8) for each in (loaded[name], value))
        assert torch.equal(mine, theirs)
        assert loaded[name].is_contiguous()


def test_without_tensors(tmp_path):
    save_checkpoint(tmp_path, {}, {"step": 5})
    assert load_checkpoint(tmp_path) == ({}, {"step": 5})


def test_a_second_save_replaces_the_first_and_leaves_nothing_behind(tmp_path):
    save_checkpoint(tmp_path, {"a": torch.zeros(3)}, {"step": 1})
    save_checkpoint(tmp_path, {"a": torch.ones(3)}, {"step": 2})
    loaded, info = load_checkpoint(tmp_path)
    assert info["step"] == 2
    assert loaded["a"].tolist() == [1, 1, 1]
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_no_checkpoint(tmp_path):
    assert load_checkpoint(tmp_path / "nowhere") is None
    assert load_checkpoint(tmp_path) is None
    assert read_info(tmp_path) == {}


# -- writing that does not come to its end -----------------------------------------------------------------------------


@pytest.mark.parametrize("function", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), OSError(errno.EIO, "broken"), KeyboardInterrupt()])
def test_a_save_that_fails_keeps_the_checkpoint_before_and_costs_no_later_one(tmp_path, monkeypatch, function, error):
    """A KeyboardInterrupt is a second Ctrl-C."""

    def fail(*_):
        raise error

    save_checkpoint(tmp_path, {"a": torch.zeros(3)}, {"step": 1})
    for _ in range(2):
        with monkeypatch.context() as patch, pytest.raises(type(error)):
            patch.setattr(os, function, fail)
            save_checkpoint(tmp_path, {"a": torch.ones(3)}, {"step": 2})
        assert load_checkpoint(tmp_path)[1] == {"step": 1}
        assert [path.name for path in tmp_path.iterdir()] == [FILE]
    save_checkpoint(tmp_path, {"a": torch.ones(3)}, {"step": 3})
    assert load_checkpoint(tmp_path)[1] == {"step": 3}


def test_a_file_that_may_not_become_so_large(tmp_path):
    """RLIMIT_FSIZE; the error names the file."""
    save_checkpoint(tmp_path, {"a": torch.zeros(3)}, {"step": 1})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(OSError, match=FILE) as failed:
            save_checkpoint(tmp_path, {"a": torch.zeros(100_000)}, {"step": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert failed.value.errno == errno.EFBIG
    assert load_checkpoint(tmp_path)[1] == {"step": 1}
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_none_is_written_that_would_not_be_read(tmp_path):
    """In the header of a file every letter of these names takes seven bytes."""
    save_checkpoint(tmp_path, {"a": torch.zeros(3)}, {"step": 1})
    names = {f"{'動' * 400}{i}": "" for i in range(20_000)}
    with pytest.raises(CheckpointError, match=f"{FILE} would have more than 50 MB of epochs and names of files"):
        save_checkpoint(tmp_path, {"a": torch.zeros(3)}, {"step": 2, "files": names})
    assert load_checkpoint(tmp_path)[1] == {"step": 1}


@pytest.mark.parametrize("letter", ["a", "動", "😀"])
def test_any_name_that_a_file_may_have(tmp_path, letter):
    path = tmp_path / (letter * (251 // len(letter.encode())) + ".csv")
    with atomic_file(path) as file:
        file.write(b"whole")
    assert [each.read_bytes() for each in tmp_path.iterdir()] == [b"whole"] and path.exists()


def test_a_moment_without_room_costs_no_later_save(tmp_path, monkeypatch):
    """On a disk with room for the old and the new checkpoint, what a failed or killed save wrote must not take it."""
    real, room = checkpoint.atomic_file, 10**9

    @contextlib.contextmanager
    def limited(path):
        with real(path) as file:
            yield file
            file.flush()
            if sum(each.stat().st_size for each in path.parent.iterdir()) > room:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(checkpoint, "atomic_file", limited)
    save_checkpoint(tmp_path, {"a": torch.zeros(10_000)}, {"step": 0})
    size = (tmp_path / FILE).stat().st_size
    (tmp_path / f".{FILE}.0123.tmp").write_bytes(bytes(size))  # by a killed process
    for step in (1, 2):
        room = 1.7 * size
        with pytest.raises(OSError, match=f"No space left.*{FILE}"):
            save_checkpoint(tmp_path, {"a": torch.ones(10_000)}, {"step": step})
        assert [path.name for path in tmp_path.iterdir()] == [FILE]
        assert load_checkpoint(tmp_path)[1] == {"step": 0}
    room = 2.2 * size
    save_checkpoint(tmp_path, {"a": torch.ones(10_000)}, {"step": 3})
    assert load_checkpoint(tmp_path)[1] == {"step": 3}


SAVES = """
import sys, torch
from dnll_core.checkpoint import save_checkpoint
step = int(sys.argv[2])
while True:
    step += 1
    save_checkpoint(sys.argv[1], {"a": torch.full((300_000,), float(step))}, {"step": step})
    print(step, flush=True)
"""


def test_a_process_that_is_killed_while_it_saves_leaves_a_whole_checkpoint(tmp_path):
    last, chance = 0, random.Random(0)
    for _ in range(2):
        words = [sys.executable, "-c", SAVES, str(tmp_path), str(last)]
        with subprocess.Popen(words, stdout=subprocess.PIPE, encoding="utf-8") as process:
            said = [int(process.stdout.readline()) for _ in range(3)]
            time.sleep(chance.uniform(0, 0.03))
            process.kill()
            said += map(int, process.stdout.read().split())
        loaded, info = load_checkpoint(tmp_path)
        assert info["step"] in (said[-1], said[-1] + 1)
        assert torch.equal(loaded["a"], torch.full((300_000,), float(info["step"])))
        last = info["step"]
    save_checkpoint(tmp_path, {}, {})
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


# -- damage ------------------------------------------------------------------------------------------------------------


def refused(folder, why=""):
    """Whether the checkpoint in `folder` is an error that names its file and the remedy."""
    read_info(folder)  # raises nothing
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(folder)
    message = str(error.value)
    assert message.startswith(f"{folder / FILE} cannot be read (") and why in message
    assert message.endswith(f"Delete the folder {folder} to start the run anew, or put a whole copy in its place.")
    return True


def test_every_flipped_bit_of_a_header_is_found(tmp_path):
    save_checkpoint(tmp_path, {"a": torch.ones(2), "empty": torch.ones(0), "0": torch.tensor(1.0)}, {"step": 3})
    whole = (tmp_path / FILE).read_bytes()
    for bit in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        (tmp_path / FILE).write_bytes(damaged)
        assert refused(tmp_path), bit
    (tmp_path / FILE).write_bytes(whole)
    assert load_checkpoint(tmp_path)[1] == {"step": 3}


def test_other_damage_is_found(tmp_path):
    save_checkpoint(tmp_path, tensors(), INFO)
    whole, chance = (tmp_path / FILE).read_bytes(), random.Random(0)
    assert len(whole) > 10_000
    for _ in range(100):
        at, length = chance.randrange(len(whole)), chance.randrange(1, 100)
        damages = {
            "flip": whole[:at] + bytes([whole[at] ^ 1 << chance.randrange(8)]) + whole[at + 1 :],
            "cut": whole[:at],
            "gap": whole[:at] + whole[at + length :],
            "zeros": whole[:at] + bytes(min(length, len(whole) - at)) + whole[at + length :],
            "more": whole[:at] + chance.randbytes(length) + whole[at:],
        }
        for damaged in damages.values():
            (tmp_path / FILE).write_bytes(damaged)
            assert damaged == whole or refused(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04 of another kind",
        b"[" * 100_000,
        (2**63 - 1).to_bytes(8, "little") + b"{}",
        (100_000).to_bytes(8, "little") + b"[" * 100_000,
        save({"a": torch.ones(3)}),
        save({"a": torch.ones(3)}, {"format": "pt"}),
        save({"a": torch.ones(3)}, {"info": "{}", "sha256": "0" * 64}),
    ],
    ids=["empty", "archive", "brackets", "long header", "deep header", "no metadata", "foreign", "other digest"],
)
def test_a_file_of_another_kind(tmp_path, content):
    (tmp_path / FILE).write_bytes(content)
    assert refused(tmp_path)


def test_other_things_in_the_place_of_the_file(tmp_path):
    (tmp_path / "folder" / FILE).mkdir(parents=True)
    assert refused(tmp_path / "folder", "IsADirectoryError")
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / FILE).symlink_to("nowhere")
    assert refused(tmp_path / "link", "FileNotFoundError")


def test_what_is_in_it_cannot_be_exchanged(tmp_path):
    """Each part of it changes the digest, also where the file itself is whole."""
    save_checkpoint(tmp_path, {"a": torch.ones(2, 3), "b": torch.zeros(2, 3)}, {"step": 3})
    data = (tmp_path / FILE).read_bytes()
    told = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    a, b = (load(data)[name] for name in "ab")
    for changed in (
        save({"a": b, "b": a}, told),
        save({"a": a, "c": b}, told),
        save({"a": a}, told),
        save({"a": a.view(3, 2), "b": b}, told),
        save({"a": a.view(torch.int32), "b": b}, told),
        save({"a": a, "b": b}, told | {"info": '{"step": 4}'}),
        save({"a": a, "b": b}, told | {"sha256": told["sha256"].upper()}),
    ):
        (tmp_path / FILE).write_bytes(changed)
        assert refused(tmp_path, "its content has another SHA-256 than it says")
    (tmp_path / FILE).write_bytes(save({"a": a, "b": b}, told))
    assert load_checkpoint(tmp_path)[1] == {"step": 3}


def test_reading_runs_no_code(tmp_path):
    """A file that would call a function when unpickled is refused."""
    import pathlib

    class Payload:
        def __reduce__(self):
            return pathlib.Path.touch, (tmp_path / "executed",)

    torch.save({"a": Payload()}, tmp_path / FILE)
    assert refused(tmp_path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("names", [["checkpoint.json"], ["part-00-0123456789ab.pt"], ["checkpoint.json", "part-00.pt"]])
def test_one_of_an_earlier_version_is_called_that(tmp_path, names):
    for name in names:
        (tmp_path / name).write_bytes(b"{}")
    with pytest.raises(CheckpointError, match=r"was written by an earlier version.*Delete the folder.*or finish"):
        load_checkpoint(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {*names}


# -- locks -------------------------------------------------------------------------------------------------------------


def test_a_folder_is_for_one_process(tmp_path):
    place = tmp_path / "new"
    with exclusive(place), pytest.raises(InUse, match="another process is training"), exclusive(place):
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
        with pytest.raises(InUse), exclusive(tmp_path):
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
            with pytest.raises(InUse), exclusive(tmp_path):
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
    with warnings.catch_warnings(action="error"), pytest.raises(InUse), exclusive(tmp_path):
        pass


def test_a_place_that_cannot_be_written_to_is_refused_at_once(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("", encoding="utf-8")
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
