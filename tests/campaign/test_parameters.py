"""A misspelt notebook parameter stops before anything runs."""

import base64
from pathlib import Path

import pytest

from dnll_core.campaign.parameters import main

NOTEBOOK = str(Path(__file__).parents[2] / "notebooks" / "00_quickstart.ipynb")
SPELLINGS = {  # papermill's ways to give a parameter
    "-p": ["-p", "{}", "50"],
    "-r": ["-r", "{}", "50"],
    "glued": ["-p{}", "50"],
    "--parameters": ["--parameters", "{}", "50"],
    "--parameters_raw": ["--parameters_raw", "{}", "50"],
    "-y": ["-y", "{}: 50"],
    "--parameters_yaml": ["--parameters_yaml={}: 50"],
}


def test_valid_names_pass(tmp_path):
    main([NOTEBOOK])
    main([NOTEBOOK, "-p", "labels", "50", "-r", "dataset", "mnist", "--log-level", "ERROR", "--stdout-file", "-"])
    main([NOTEBOOK, str(tmp_path / "out.ipynb"), "--no-progress-bar", "-y", "{labels: 50, seeds: 1}", "-y", ""])


@pytest.mark.parametrize("words", SPELLINGS.values(), ids=SPELLINGS)
def test_a_misspelt_name_is_an_error(words):
    main([NOTEBOOK, *(word.format("labels") for word in words)])
    with pytest.raises(SystemExit, match=r"parameter='label' is not known\. Did you mean 'labels'\? Accepted: dataset"):
        main([NOTEBOOK, *(word.format("label") for word in words)])


@pytest.mark.parametrize("flag", ["-f", "--parameters_file", "-b", "--parameters_base64"])
@pytest.mark.parametrize("text", ["seeds: 1\nlables: 50", '{"seeds": 1, "lables": 50}'], ids=["yaml", "json"])
def test_also_in_a_file_or_in_base64(flag, text, tmp_path):
    def given(text):
        if flag in ("-f", "--parameters_file"):
            file = tmp_path / "mine.yaml"
            file.write_text(text, encoding="utf-8")
            return str(file)
        return base64.b64encode(text.encode()).decode()

    main([NOTEBOOK, flag, given(text.replace("lables", "labels"))])
    with pytest.raises(SystemExit, match=r"parameter='lables' is not known\. Did you mean 'labels'\?"):
        main([NOTEBOOK, flag, given(text)])


def test_what_cannot_be_read_is_named(tmp_path):
    absent, broken = tmp_path / "absent.yaml", tmp_path / "broken.yaml"
    broken.write_text("seeds: [", encoding="utf-8")
    for words, message in (
        (["-f", str(absent)], r"--parameters_file '.*absent\.yaml' cannot be read: .*No such file"),
        (["-f", str(broken)], r"--parameters_file '.*broken\.yaml' cannot be read: "),
        (["-b", "&&&abc"], "--parameters_base64 '&&&abc' cannot be read: "),
        (["-y", "labels"], r"--parameters_yaml takes names with values \('labels: 50'\), not 'labels'\."),
        (["-p", "labels"], "'-p' requires 2 arguments"),
        (["--parameter", "labels", "50"], "(?i)no such option.*--parameter"),
    ):
        with pytest.raises(SystemExit, match=message):
            main([NOTEBOOK, *words])
    for notebook, message in (("no.ipynb", "No such file"), (str(broken), "JSON")):
        with pytest.raises(SystemExit, match=f"{notebook} cannot be read as a notebook: .*{message}"):
            main([notebook, "-p", "labels", "50"])
