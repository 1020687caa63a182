"""When a progress bar shows: terminals and JupyterLab, nowhere else."""

import argparse
import sys

import pytest

from dnll_core.common import bar_is_off, positive, progress_bar


@pytest.mark.parametrize(
    ("kernel", "server", "wanted", "expected"),
    [
        (False, False, True, None),  # tqdm then asks whether the output is a terminal
        (True, False, True, True),  # papermill, nbclient, nbval: their kernels' output claims to be a terminal
        (True, True, True, False),
        (True, True, False, True),
        (False, False, False, True),
    ],
)
def test_where_bars_show(kernel, server, wanted, expected, monkeypatch):
    modules = {name: module for name, module in sys.modules.items() if name != "ipykernel"}
    monkeypatch.setattr(sys, "modules", modules | ({"ipykernel": object()} if kernel else {}))
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    if server:
        monkeypatch.setenv("JPY_SESSION_NAME", "notebook.ipynb")
    assert bar_is_off(wanted) is expected


def test_a_silent_bar_writes_nothing(capsys):
    with progress_bar(10, 0, True) as bar:  # pytest captures the output, so it is no terminal
        bar.update(10)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("text", ["0", "-1", "0.5", "many", ""])
def test_a_count_of_the_command_line_says_what_it_takes(text):
    with pytest.raises(argparse.ArgumentTypeError, match=f"takes a whole number from 1, not '{text}'"):
        positive(text)
