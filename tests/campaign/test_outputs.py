"""What `make outputs` stores: executed copies that say what they were executed with, all of them or none."""

import json
import os
import time

import pytest

from dnll_core.campaign import outputs
from dnll_core.common import locked


def write(folder, name, code):
    cell = {"cell_type": "code", "id": "a", "execution_count": None, "metadata": {}, "outputs": [], "source": code}
    page = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    (folder / f"{name}.ipynb").write_text(json.dumps(page), encoding="utf-8")


@pytest.fixture
def notebooks(tmp_path, monkeypatch):
    """Three notebooks: 01 prints in two goes how many threads it has, 02 what is in the way of 03, 12 is timed."""
    monkeypatch.setattr(outputs, "NOTEBOOKS", tmp_path)
    monkeypatch.setattr(outputs, "COPIES", tmp_path / "runs" / "outputs")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    threads = "import os\nprint('one'); print(os.environ.get('OMP_NUM_THREADS'))"
    for name, code in {"01_a": threads, "02_b": "1 / 0", "12_c": threads}.items():
        write(tmp_path, name, code)
    return tmp_path


def page(folder, name):
    return json.loads((folder / f"{name}.ipynb").read_text(encoding="utf-8"))


def test_executed_copies_take_the_places_of_their_notebooks(notebooks, monkeypatch):
    monkeypatch.setattr(outputs, "made", lambda: {"commit": "0123456789ab"})
    outputs.main(["01", "12", "--uncommitted"])
    for name, threads in (("01_a", "1"), ("12_c", "None")):
        found = page(notebooks, name)
        assert found["metadata"]["made"] == {"commit": "0123456789ab"}
        [said] = found["cells"][0]["outputs"]  # one stream of both lines
        assert "".join(said["text"]) == f"one\n{threads}\n"
        assert "iopub.status.busy" not in json.dumps(found)  # no times of the run
    assert "made" not in page(notebooks, "02_b")["metadata"]


def test_one_that_fails_leaves_all_as_they_were(notebooks):
    before = {path: path.read_bytes() for path in notebooks.glob("*.ipynb")}
    with pytest.raises(SystemExit, match=r"(?s)No notebook was changed.*02_b.*ZeroDivisionError"):
        outputs.main(["01", "02", "--uncommitted"])
    assert {path: path.read_bytes() for path in notebooks.glob("*.ipynb")} == before


def test_one_that_somebody_edits_meanwhile_keeps_the_edit(notebooks):
    write(notebooks, "04_edited", "file = open('04_edited.ipynb', 'a'); file.write(' '); file.close()")
    other = (notebooks / "01_a.ipynb").read_bytes()
    with pytest.raises(SystemExit, match=r"(?s)No notebook was changed.*04_edited.ipynb was changed meanwhile"):
        outputs.main(["01", "04", "--uncommitted"])
    assert (notebooks / "04_edited.ipynb").read_text(encoding="utf-8").endswith("} ")
    assert (notebooks / "01_a.ipynb").read_bytes() == other


@pytest.mark.long
def test_a_stop_signal_ends_the_kernels_too(notebooks):
    alive = "while True: open('alive', 'w').close(); time.sleep(0.1)"
    write(notebooks, "05_hangs", f"import os, signal, time\nos.kill({os.getpid()}, signal.SIGTERM)\n{alive}")
    before = (notebooks / "05_hangs.ipynb").read_bytes()
    with pytest.raises(SystemExit, match="interrupted; no notebook was changed"):
        outputs.main(["05", "--uncommitted"])
    assert (notebooks / "05_hangs.ipynb").read_bytes() == before
    for _ in range(10):  # a kernel looks now and then whether who started it is there
        (notebooks / "alive").unlink(missing_ok=True)
        time.sleep(2)
        if not (notebooks / "alive").exists():
            return
    raise AssertionError("the kernel goes on")


def test_two_at_once_and_a_folder_that_cannot_be_made_are_refused(notebooks, monkeypatch):
    (notebooks / "runs" / "outputs").mkdir(parents=True)
    with locked(outputs.COPIES / ".lock"), pytest.raises(SystemExit, match=r"are being executed in .* already"):
        outputs.main(["01", "--uncommitted"])
    monkeypatch.setattr(outputs, "COPIES", notebooks / "01_a.ipynb" / "outputs")
    with pytest.raises(SystemExit, match=r"01_a.ipynb"):
        outputs.main(["01", "--uncommitted"])


def test_all_notebooks_of_a_number_are_executed(notebooks, monkeypatch):
    monkeypatch.setattr(outputs, "execute", lambda path: path.stem)
    write(notebooks, "01_a_copy", "print('two')")
    with pytest.raises(SystemExit, match=r"No notebook was changed.\n\n01_a\n\n01_a_copy$"):
        outputs.main(["01", "01", "--uncommitted"])


def test_a_number_that_does_not_exist_is_named(notebooks):
    with pytest.raises(SystemExit, match=r"notebook=.03. is not known.*01, 02, 12"):
        outputs.main(["03", "--uncommitted"])


def test_what_it_was_made_with():
    made = outputs.made()
    assert {*made} >= {"commit", "processor", "python", "torch"} and all(made[name] for name in outputs.VERSIONS)


def test_kernels_that_chose_the_same_port_start_again_at_most_twice(monkeypatch, tmp_path, capsys):
    begun = []

    class Process:
        def __init__(self, *command, **how):
            begun.append(command)
            self.returncode = len(begun) != 2  # fails but for the second time

        def communicate(self):
            return None, "zmq.error.ZMQError: Address already in use (addr='tcp://127.0.0.1:34487')" * self.returncode

    monkeypatch.setattr(outputs, "COPIES", tmp_path)
    monkeypatch.setattr(outputs, "made", dict)
    monkeypatch.setattr(outputs.subprocess, "Popen", Process)
    (tmp_path / "01_a.ipynb").write_text('{"metadata": {}}', encoding="utf-8")
    assert outputs.execute(tmp_path / "01_a.ipynb") == "" and len(begun) == 2
    assert capsys.readouterr().out == "01_a.ipynb: executed\n"
    assert outputs.execute(tmp_path / "01_a.ipynb").startswith("01_a.ipynb:\nzmq") and len(begun) == 2 + 3
    assert not outputs.RUNNING
