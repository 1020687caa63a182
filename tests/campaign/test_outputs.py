"""What `make outputs` stores: executed copies that say what they were executed with, all of them or none."""

import json

import pytest

from dnll_core.campaign import outputs


@pytest.fixture
def notebooks(tmp_path, monkeypatch):
    """Three notebooks: 01 prints in two goes how many threads it has, 02 what is in the way of 03, 12 is timed."""
    monkeypatch.setattr(outputs, "NOTEBOOKS", tmp_path)
    monkeypatch.setattr(outputs, "COPIES", tmp_path / "runs" / "outputs")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    threads = "import os\nprint('one'); print(os.environ.get('OMP_NUM_THREADS'))"
    for name, code in {"01_a": threads, "02_b": "1 / 0", "12_c": threads}.items():
        cell = {"cell_type": "code", "id": "a", "execution_count": None, "metadata": {}, "outputs": [], "source": code}
        page = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
        (tmp_path / f"{name}.ipynb").write_text(json.dumps(page), encoding="utf-8")
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
        outputs.main(["--uncommitted"])
    assert {path: path.read_bytes() for path in notebooks.glob("*.ipynb")} == before


def test_a_number_that_does_not_exist_is_named(notebooks):
    with pytest.raises(SystemExit, match=r"notebook=.03. is not known.*01, 02, 12"):
        outputs.main(["03", "--uncommitted"])


def test_what_it_was_made_with():
    made = outputs.made()
    assert {*made} >= {"commit", "processor", "python", "torch"} and all(made[name] for name in outputs.VERSIONS)
