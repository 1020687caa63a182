"""What a person types and sees: progress bars where somebody watches, paths with "~", commands and their options."""

import argparse
import contextlib
import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import fabricated
import IPython
import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell

from dnll_core import results, train
from dnll_core.bars import Bar, Runs, bar_is_off, in_words, watched
from dnll_core.bench import command as bench
from dnll_core.bench import measure
from dnll_core.bench.report import load_benchmarks
from dnll_core.campaign import command, gpu, search
from dnll_core.campaign.notebooks import run_cells
from dnll_core.checkpoint import CheckpointError, load_checkpoint, read_info, save_checkpoint
from dnll_core.common import positive, program, unknown, user_path
from dnll_core.config import METHODS, ConfigError, Experiment
from dnll_core.figures import style
from dnll_core.provenance import PACKAGE
from dnll_core.resume import exclusive
from dnll_core.signals import Stopped
from dnll_core.study.embeddings import UNTRAINED, load_figure5
from dnll_core.study.markdown import recorded_table
from dnll_core.study.records import Records


@pytest.mark.parametrize(
    ("got", "hint"),
    [("Mean Teacher", "'mean-teacher'"), ("pimodel", "'pi-model'"), ("gan", "'improved-gan'"), ("ladder", None)],
)
def test_a_name_is_suggested_only_if_it_is_close(got, hint):
    said = unknown("method", got, METHODS)
    assert said.startswith(f"method={got!r} is not known.") and said.endswith(f"Accepted: {', '.join(METHODS)}.")
    assert (f"Did you mean {hint}?" in said) if hint else ("Did you mean" not in said)


@pytest.mark.parametrize("lines", [1, 10_000])
def test_a_reader_that_goes_away_is_no_error(lines):
    script = f"from dnll_core.common import tell\ninput()\nfor _ in range({lines}): tell('a line')\nprint('the end')"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", script], cwd=PACKAGE.parent, **pipes) as talker:
        talker.stdout.close()
        talker.stdin.write(b"\n")
        talker.stdin.close()
        assert talker.stderr.read() == b""
        assert talker.wait() == 0


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
    for name in ("JPY_SESSION_NAME", "TQDM_DISABLE"):
        monkeypatch.delenv(name, raising=False)
    if server:
        monkeypatch.setenv("JPY_SESSION_NAME", "notebook.ipynb")
    assert bar_is_off(wanted) is expected
    monkeypatch.setenv("TQDM_DISABLE", "0")
    assert bar_is_off(wanted) is expected
    monkeypatch.setenv("TQDM_DISABLE", "1")
    assert bar_is_off(wanted) is True


def test_bars_show_in_vs_code_and_colab_but_not_in_what_they_start(monkeypatch):
    """Whatever is run in their terminals has their environment, papermill too; the kernel of a notebook has a sign."""
    monkeypatch.setitem(sys.modules, "ipykernel", object())
    for name in ("JPY_SESSION_NAME", "TQDM_DISABLE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("VSCODE_PID", "VSCODE_CWD", "TERM_PROGRAM", "COLAB_RELEASE_TAG"):
        monkeypatch.setenv(name, "1")
    shell = SimpleNamespace(user_ns={})
    monkeypatch.setattr(IPython, "get_ipython", lambda: shell)
    assert bar_is_off(True) is True
    shell.user_ns["__vsc_ipynb_file__"] = "mine.ipynb"
    assert bar_is_off(True) is False
    shell = type("Shell", (), {"__module__": "google.colab._shell", "user_ns": {}})()
    assert bar_is_off(True) is False


def test_a_silent_bar_writes_nothing(capsys):
    runs = Runs([1, 1])
    for _ in range(3):
        with runs.bar("dnll, seed 0", 10, 0) as bar:  # pytest captures the output, so it is no terminal
            bar.update(10)
    assert capsys.readouterr() == ("", "")


@pytest.fixture
def lab(monkeypatch):
    """A notebook that somebody watches. The outputs that its cells have: [output, ...], each the texts it had."""
    outputs, shell = [], SimpleNamespace(user_ns={"__vsc_ipynb_file__": "mine.ipynb"})

    def display(bundle, raw, display_id):
        assert raw and display_id
        outputs.append([bundle])
        return SimpleNamespace(update=lambda bundle, raw: outputs[-1].append(bundle))

    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    monkeypatch.setitem(sys.modules, "ipykernel", object())
    monkeypatch.setattr(IPython, "get_ipython", lambda: shell)
    monkeypatch.setattr("IPython.display.display", display)
    return outputs


def test_in_a_notebook_bars_are_html_and_leave_nothing(lab, capsys):
    assert list(watched(range(3), 3, "<images>")) == [0, 1, 2]
    with pytest.raises(RuntimeError), Bar(total=5, desc="runs", mininterval=0) as bar:
        bar.update(2)
        raise RuntimeError
    assert capsys.readouterr() == ("", "")
    for output in lab:
        assert all(bundle.keys() == {"text/html", "text/plain"} for bundle in output)  # no widget
        assert output[-1] == {"text/html": "", "text/plain": ""}
    images, runs = lab
    assert images[0]["text/plain"] == "<images> · 0 of 3"
    assert "&lt;images&gt; · 0 of 3" in images[0]["text/html"]
    assert re.fullmatch(r"runs · 2 of 5 · \d+ s left", runs[1]["text/plain"])
    assert '<progress value="0.400"' in runs[1]["text/html"]


def test_the_bar_of_several_runs_says_which_and_how_long_all_take(lab):
    runs = Runs([2, 1, 2, 1])
    with runs.bar("dnll, seed 0", 10, 0) as bar:
        bar._time = lambda: bar.start_t + 2 * bar.n
        bar.update(5)
        bar.set_postfix(validation="88.5%")
    # this one takes 20 seconds, so does one like it, and each of the other two half of that
    assert (
        lab[0][-2]["text/plain"] == "dnll, seed 0 · run 1 of 4 · 10 s left · about 50 s for all runs · validation=88.5%"
    )
    assert len(lab) == 1 and lab[0][-1]["text/plain"] == ""
    with runs.bar("supervised, seed 0", 10, 0):
        pass
    assert len(lab) == 1  # all are drawn at the same place


def test_time_left_is_that_of_runs_like_those_that_have_ended():
    runs = Runs([2, 1, 2, 1])
    assert runs.seconds_left(0, 10, 0, 0.0) is None
    runs.begun, runs.took = 2, {2: 40.0}
    assert runs.seconds_left(0, 10, 0, 0.0) is None
    assert runs.seconds_left(5, 10, 0, 5.0) == 5 + 40 + 10
    assert runs.seconds_left(5, 10, 4, 1.0) == 5 + 40 + 10  # from a checkpoint of iteration 4
    assert Runs().seconds_left(5, 10, 0, 5.0) is None


def test_more_runs_than_were_announced_and_a_single_one(lab):
    runs = Runs([1.0])
    for which in ("", " · run 2 of 2"):
        with runs.bar("dnll, seed 0", 10, 5) as bar:
            bar.update(5)
            assert bar.desc == f"dnll, seed 0{which}"
    assert Runs.of(runs) is runs
    assert not Runs.of(False).wanted


def test_a_run_that_failed_is_tried_again_under_its_number(lab):
    runs = Runs([1.0, 1.0])
    for fails in (True, False, False):
        with contextlib.suppress(RuntimeError), runs.bar("dnll, seed 0", 10, 0) as bar:
            if fails:
                raise RuntimeError
            bar.update(10)
    assert (runs.begun, runs.expected, bar.desc) == (2, [1.0, 1.0], "dnll, seed 0 · run 2 of 2")


def test_runs_of_which_nothing_was_announced_and_bars_without_an_end(lab):
    runs = Runs([])
    for which in ("", " · run 2 of 2"):
        with runs.bar("dnll, seed 0", None, 0) as bar:
            bar.update(5)
            bar.refresh()
            assert bar.desc == f"dnll, seed 0{which}"
    assert [*watched(iter("ab"), None, "images")] == ["a", "b"]
    lines = [bundle["text/plain"] for output in lab for bundle in output]
    assert "dnll, seed 0 · run 2 of 2" in lines and "images · 0" in lines
    assert not any("None" in line or " left" in line for line in lines)
    assert {x for output in lab for b in output for x in re.findall(r'value="(\S+)"', b["text/html"])} == {"0.000"}


def test_no_time_is_left_where_more_was_done_than_announced(lab):
    with Bar(total=5, desc="runs", mininterval=0) as bar:
        bar._time = lambda: bar.start_t + bar.n
        bar.update(5)
        bar.update(2)
        bar.refresh()
    assert [b["text/plain"] for b in lab[0] if b["text/plain"].startswith("runs · 7")][-1] == "runs · 7 of 5 · 0 s left"
    assert '<progress value="1.000"' in lab[0][-2]["text/html"]
    assert in_words(-0.0) == in_words(-3) == "0 s"


def test_training_shows_the_accuracy_on_validation_images_and_none_on_test_images(lab, monkeypatch):
    monkeypatch.setattr(Bar, "update", lambda self, n=1: Bar.refresh(self))  # each iteration, not ten a second
    train(RUN.replace(epochs=2), 0)
    [output] = lab
    said = [bundle["text/plain"] for bundle in output]
    assert all(line.startswith("supervised, seed 0") for line in said[:-1])
    assert re.search(r" · loss=\d\.\d+ · validation=\d+\.\d%$", said[-2])
    assert not any("test" in line for line in said)


def test_an_interruption_is_one_line_in_a_notebook():
    """IPython asks an error for this; what it shows of others are dozens of lines."""
    shell = InteractiveShell.instance()
    shown = []
    shell._showtraceback = lambda kind, error, lines: shown.extend(lines)
    try:
        for error in (Stopped("stopped after iteration 3 of 9"), Stopped()):
            try:
                raise error
            except KeyboardInterrupt:
                shell.showtraceback()
    finally:
        InteractiveShell.clear_instance()  # else tests after this one would be in a notebook
    assert shown == ["stopped after iteration 3 of 9", "stopped"]


@pytest.mark.parametrize("text", ["0", "-1", "0.5", "many", ""])
def test_a_count_of_the_command_line_says_what_it_takes(text):
    with pytest.raises(argparse.ArgumentTypeError, match=f"takes a whole number from 1, not '{text}'"):
        positive(text)


@pytest.mark.parametrize("digits", [16, 320, 5000])
def test_a_count_of_the_command_line_has_an_end(digits):
    """Of a larger one no float can be made, and of 5000 digits no int."""
    assert positive("1" + "0" * 15) == 10**15
    with pytest.raises(argparse.ArgumentTypeError, match="takes a whole number to 1,000,000,000,000,000, not '99"):
        positive("9" * digits)


def test_commands_need_no_docstring():
    """python -OO has none."""
    assert program("dnll_core.x", None).format_help().startswith("usage: python -m dnll_core.x")
    for path in PACKAGE.rglob("*.py"):
        for use in re.findall(r".*__doc__.*", path.read_text(encoding="utf-8")):
            assert re.search(r'program\("dnll_core[a-z0-9_.]*", __doc__\)', use), path


@pytest.mark.long
def test_a_command_starts_without_docstrings():
    words = [sys.executable, "-OO", "-m", "dnll_core.figures.report", "--help"]
    done = subprocess.run(words, cwd=PACKAGE.parent, capture_output=True, encoding="utf-8")
    assert done.stdout.startswith("usage: "), done.stderr


# -- paths -------------------------------------------------------------------------------------------------------------

RUN = Experiment(labels=20, method="supervised", labelled_batch=20, unlabelled_batch=512, epochs=1)
TIMES = {"settings": {"dnll": {"train": [0.04]}}}
BENCHMARK = next((results.root() / "bench").glob("*.json"))


@pytest.fixture
def home(monkeypatch, tmp_path):
    """An empty home folder, below which nobody is; the current folder stays empty."""
    (tmp_path / "home").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    yield tmp_path / "home"
    assert not any((tmp_path / "here").iterdir())


def take(folder):
    with exclusive(folder):
        pass


def draw(path):
    with style.canvas() as (figure, _):
        pass
    style.save(figure, path)


WRITERS = {
    "train": lambda path: train(RUN, checkpoint=path, progress=False),
    "exclusive": take,
    "save_checkpoint": lambda path: save_checkpoint(path, {"x": torch.ones(1)}, {}),
    "results.save": lambda path: results.save(fabricated.record(RUN, 0), path),
    "measure.save": lambda path: measure.save(TIMES, f"{path}/times.json"),
    "style.save": lambda path: draw(f"{path}/figure.png"),
}
READERS = {
    "load_checkpoint": (lambda path: load_checkpoint(path)[1], {"step": 3}),
    "read_info": (read_info, {"step": 3}),
    "results.load": (lambda path: len(results.load(path)), 1),
    "Records": (lambda path: [*Records(path).of(RUN)], [0]),
    "run_cells": (lambda path: [*run_cells({"it": RUN}, out=path, progress=False)], ["it"]),  # it is recorded
    "recorded_table": (lambda path: "no records" in recorded_table(4, path), False),
    "load_benchmarks": (lambda path: [*load_benchmarks(f"{path}/bench")], [BENCHMARK.stem]),
    "load_figure5": (lambda path: load_figure5(f"{path}/figure5.json")["images"], 0),
}


@pytest.mark.parametrize("name", WRITERS)
def test_what_is_written_below_a_tilde_is_in_the_home_folder(name, home):
    WRITERS[name]("~/there")
    assert any((home / "there").iterdir())


@pytest.mark.parametrize("name", READERS)
def test_what_is_read_below_a_tilde_is_in_the_home_folder(name, home):
    there = home / "there"
    save_checkpoint(there, {"x": torch.ones(1)}, {"step": 3})
    results.save(fabricated.record(RUN, 0), there)
    figure5 = {"representations": dict.fromkeys(UNTRAINED), "labels": [], "images": 0}
    (there / "bench").mkdir()
    (there / "bench" / BENCHMARK.name).write_bytes(BENCHMARK.read_bytes())
    (there / "figure5.json").write_text(json.dumps(figure5), encoding="utf-8")
    read, expected = READERS[name]
    assert read("~/there") == expected


OPTIONS = {
    "campaign": (command.parser(), "--out"),
    "search": (search.parser(), "--out"),
    "gpu": (gpu.parser(), "--out"),
    "archive": (gpu.parser(), "--archive"),
    "bench": (bench.parser(), "--json"),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options_take_a_tilde_and_say_in_words_where_there_is_no_home(name, home, capsys):
    parser, option = OPTIONS[name]
    words = ["some-search"] if name == "search" else []
    options = vars(parser.parse_args([*words, f"{option}=~/there"]))
    assert options[option.removeprefix("--")] == home / "there"
    with pytest.raises(SystemExit) as ended:
        parser.parse_args([*words, f"{option}=~nobody-of-this-name/there"])
    assert ended.value.code == 2
    assert f"argument {option}: '~nobody-of-this-name/there' begins with a home folder" in capsys.readouterr().err


def test_no_option_takes_a_path_as_it_stands():
    for path in PACKAGE.rglob("*.py"):
        assert "type=Path" not in path.read_text(encoding="utf-8"), path


def test_a_campaign_looks_for_a_folder_of_images_in_the_home_folder_and_says_if_it_is_not_there(home):
    wanted = ["--tables", "4", "--dry-run", "--dataset"]
    with pytest.raises(ConfigError, match=f"--dataset folder:~/pets: there is no folder {re.escape(str(home))}/pets"):
        command.planned(command.parser().parse_args([*wanted, "folder:~/pets"]))
    (home / "pets").mkdir()
    tasks = command.planned(command.parser().parse_args([*wanted, "folder:~/pets"]))
    assert {task.config.dataset for task in tasks} == {f"folder:{home / 'pets'}"}
    with pytest.raises(SystemExit, match="'~nobody-of-this-name/pets' begins with a home folder that is not there"):
        command.main([*wanted, "folder:~nobody-of-this-name/pets"])


def test_a_home_folder_that_is_not_there_is_an_error_that_says_so(home):
    nobody = "~nobody-of-this-name/there"
    for use in (take, load_checkpoint, lambda path: save_checkpoint(path, {}, {})):
        with pytest.raises(CheckpointError, match=f"checkpoint='{nobody}': '{nobody}' begins with a home folder"):
            use(nobody)
    for use in (results.load, Records, lambda path: results.save(fabricated.record(RUN, 0), path)):
        with pytest.raises(ValueError, match=f"'{nobody}' begins with a home folder"):
            use(nobody)


@pytest.mark.parametrize("path", ["~", "~/there", "./~x/there", "there", "/there", ""])
def test_a_path_is_the_same_when_it_is_asked_for_twice(path, home):
    once = user_path(path)
    assert user_path(once) == once
    assert once == (home / path[2:] if path[:1] == "~" else Path.cwd() / path if "~" in path else Path(path))
