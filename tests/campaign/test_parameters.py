"""A misspelt notebook parameter stops before anything runs."""

from pathlib import Path

import pytest

from dnll_core.campaign.parameters import main

NOTEBOOK = str(Path(__file__).parents[2] / "notebooks" / "00_quickstart.ipynb")


def test_valid_names_pass():
    main([NOTEBOOK])
    main([NOTEBOOK, "-p", "labels", "50", "-r", "dataset", "mnist", "--log-level", "ERROR"])


@pytest.mark.parametrize("flag", ["-p", "-r"])
def test_a_misspelt_name_is_an_error(flag):
    with pytest.raises(SystemExit, match=r"parameter='label' is not known. Did you mean 'labels'\? Accepted: dataset"):
        main([NOTEBOOK, flag, "label", "50"])
