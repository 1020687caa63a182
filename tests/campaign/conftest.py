"""The tests of this folder record whatever the state of the checkout is; those of that rule name a commit."""

import pytest

from dnll_core.campaign import command


@pytest.fixture(autouse=True)
def committed(monkeypatch):
    """The command is told that the package is at a commit. Returns how to tell it something else."""

    def tell(commit):
        monkeypatch.setattr(command, "commit", lambda: commit)

    tell("0123456789ab")
    return tell
