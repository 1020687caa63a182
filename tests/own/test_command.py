"""The whole way by the command line: train, predict, label, fill in, train again; and what is wrong with input."""

import contextlib
import csv
import io
import os
import re
import shutil
import subprocess
import sys

import pandas as pd
import pytest
from photos import pets
from PIL import Image

from dnll_core import load_model
from dnll_core.own.command import EXAMPLES, main
from dnll_core.own.model import CARD, WEIGHTS

CLASSES = ("getigerte Kätzchen", "hen", "Hündchen groß")


def dnll(*words, cwd):
    """Runs the program; returns its exit status, and what it wrote to both streams."""
    words = [sys.executable, "-m", "dnll_core", *map(str, words)]
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, encoding="utf-8")
    return done.returncode, done.stdout, done.stderr


def in_process(*words, cwd):
    """As `dnll`, in this process, which has imported all already."""
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.chdir(cwd), contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        main([*map(str, words)])
    return 0, out.getvalue(), errors.getvalue()


def rows_of(path):
    with open(path, encoding="utf-8", newline="") as file:
        return [*csv.DictReader(file)]


@pytest.fixture(scope="module")
def way(tmp_path_factory):
    """A folder of photos, and what each command of the whole way gave."""
    here = tmp_path_factory.mktemp("the whole way")
    folder = pets(here / "meine Tiere", counts=tuple((title, 6 + i) for i, title in enumerate(CLASSES)), without=7)
    (folder / CLASSES[0] / "00.png").rename(folder / CLASSES[0] / "Größe 1.png")
    (folder / "unlabelled" / "52.png").rename(folder / "unlabelled" / "schöne Grüße.png")
    quick, gave = ("--steps", 12, "--size", 16, "--weak", "identity", "--strong", "noise"), {}
    gave["train"] = dnll("train", folder, "--out", "modell 1", *quick, cwd=here)
    gave["predict"] = in_process("predict", "modell 1", folder, "--csv", "answers.csv", cwd=here)
    gave["label"] = in_process("label", "modell 1", folder, "-n", 4, cwd=here)
    rows = rows_of(here / "label.csv")
    with open(here / "label.csv", "w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, [*rows[0]])
        table.writeheader()
        table.writerows(row | {"class": CLASSES[i % 3] if i < 3 else ""} for i, row in enumerate(rows))
    gave["train again"] = in_process("train", folder, "--labels", "label.csv", "--out", "m2", *quick, cwd=here)
    return here, folder, gave, rows


def test_every_command_succeeds(way):
    for name, (status, _, errors) in way[2].items():
        assert status == 0, f"{name}: {errors}"
        assert "Traceback" not in errors


def test_what_training_writes(way):
    here, _, gave, _ = way
    written = {path.name for path in (here / "modell 1").iterdir()}
    assert written == {CARD, WEIGHTS, "checkpoint", "labelled.png", "confusion.csv", "report.txt"}
    report, out = (here / "modell 1" / "report.txt").read_text(encoding="utf-8"), gave["train"][1]
    assert "labelled images" in report and "accuracy, test: " in report and "temperature " in report
    assert "accuracy, test: " in out and out.rstrip().endswith("written to modell 1")
    confusion = pd.read_csv(here / "modell 1" / "confusion.csv", index_col=0)
    assert confusion.index.tolist() == confusion.columns.tolist() == sorted(CLASSES)
    assert confusion.to_numpy().sum() == 3
    with Image.open(here / "modell 1" / "labelled.png") as sheet:
        assert sheet.format == "PNG" and sheet.width > 100


def test_answers_of_all_files_the_most_doubtful_first(way):
    here, folder, _, _ = way
    rows = rows_of(here / "answers.csv")
    assert [*rows[0]] == ["file", "class", "probability", "margin"]
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*.png")}
    assert sorted(row["file"] for row in rows) == sorted(files) and len(files) == 6 + 7 + 8 + 7
    margins = [float(row["margin"]) for row in rows]
    assert margins == sorted(margins)
    answers = load_model(here / "modell 1").predict(folder)
    for row in rows:
        assert row["class"] == answers.loc[row["file"], "class"]
        assert float(row["probability"]) == pytest.approx(answers.loc[row["file"], "probability"], abs=1e-4)


def test_a_table_and_a_sheet_to_label(way):
    here, folder, gave, rows = way
    assert [*rows[0]] == ["file", "class", "guess", "probability", "margin"] and len(rows) == 4
    assert {row["class"] for row in rows} == {""} and {row["guess"] for row in rows} <= {*CLASSES}
    assert all((folder / row["file"]).is_file() and row["file"].startswith("unlabelled/") for row in rows)
    with Image.open(here / "label.png") as sheet:
        assert sheet.format == "PNG"
    assert "label.png" in gave["label"][1] and f"dnll train '{folder}' --labels label.csv" in gave["label"][1]


def test_filled_in_labels_are_trained_with(way):
    here, _, gave, _ = way
    cards = [load_model(here / name).card for name in ("modell 1", "m2")]
    assert cards[1].labels == cards[0].labels + 3
    assert cards[0].accuracy["test"][1] == cards[1].accuracy["test"][1]
    assert "4 without a label" in gave["train again"][1] and "7 without a label" in gave["train"][1]


# -- what is wrong with input ------------------------------------------------------------------------------------------


def refused(capsys, *words, notes=None):
    """The one line on stderr of a command that ends with status 2. notes: what lines begin with that may precede it."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main([*map(str, words)])
    assert ended.value.code == 2
    *before, line = capsys.readouterr().err.splitlines()
    assert all(notes is not None and note.startswith(f"{notes}: ") for note in before)
    assert line.startswith(f"dnll {words[0]}: ")
    return line


@pytest.mark.parametrize("words", [("train", "", "--out", "x"), ("predict", "x", ""), ("label", "x", "")])
def test_a_folder_without_a_name_is_not_the_one_that_one_is_in(words, capsys):
    with pytest.raises(SystemExit):
        main([*words])
    assert "argument folder: takes the path of a folder of images, not ''" in capsys.readouterr().err


def test_a_damaged_image(way, tmp_path, capsys):
    here, folder, _, _ = way
    shutil.copytree(folder, tmp_path / "pets")
    bad = tmp_path / "pets" / CLASSES[0] / "schlecht é.png"
    bad.write_bytes(b"no image")
    assert f"{bad} cannot be read as an image" in refused(capsys, "train", tmp_path / "pets", "--out", tmp_path / "m")
    assert not (tmp_path / "m").exists()
    assert f"{bad} cannot be read" in refused(capsys, "predict", here / "modell 1", tmp_path / "pets")


def test_no_model_and_no_images(way, tmp_path, capsys):
    here, folder, _, _ = way
    for name in ("predict", "label"):
        assert f"{tmp_path} holds no model" in refused(capsys, name, tmp_path, folder)
        assert "holds no image" in refused(capsys, name, here / "modell 1", tmp_path)
    assert f"folder '{tmp_path / 'x'}' is not there" in refused(
        capsys, "train", tmp_path / "x", "--out", tmp_path / "m"
    )


def test_an_unknown_class_in_a_table(way, tmp_path, capsys):
    _, folder, _, rows = way
    table = tmp_path / "l.csv"
    table.write_text(f"file,class\n{rows[0]['file']},henn\n", encoding="utf-8")
    line = refused(capsys, "train", folder, "--labels", table, "--out", tmp_path / "m")
    assert str(table) in line and "class='henn' is not known. Did you mean 'hen'?" in line
    assert f"{table} cannot be read" not in line
    line = refused(capsys, "train", folder, "--labels", tmp_path / "no.csv", "--out", tmp_path / "m")
    assert f"{tmp_path / 'no.csv'} cannot be read" in line


def test_a_filled_in_table_is_not_overwritten(way, capsys):
    here, folder, _, _ = way
    before = (here / "label.csv").read_bytes()
    line = refused(capsys, "label", here / "modell 1", folder, "--csv", here / "label.csv")
    assert f"{here / 'label.csv'} is there already" in line
    assert (here / "label.csv").read_bytes() == before


def test_what_is_known_is_not_asked_for_again(way, tmp_path, capsys):
    here, folder, _, rows = way
    words = ["label", here / "modell 1", folder, "-n", 50, "--rule", "margin", "--labels", here / "label.csv"]
    main([*map(str, words), "--csv", str(tmp_path / "more.csv")])
    more = {row["file"] for row in rows_of(tmp_path / "more.csv")}
    assert len(more) == 4 and not more & {row["file"] for row in rows[:3]} and rows[3]["file"] in more


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
def test_answers_are_not_written_into_a_pipe(way, tmp_path, capsys):
    """As /dev/stdout may be one: to look at what is there would wait for ever."""
    here, folder, _, _ = way
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SystemExit):
        main(["predict", str(here / "modell 1"), str(folder), "--csv", str(tmp_path / "pipe")])
    assert "pipe is there already, and no table of predictions" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform in ("darwin", "win32"), reason="names are Unicode there")
def test_names_that_are_no_utf_8(tmp_path, capsys):
    """As old archives leave them. Tables have them as the disk has them."""
    folder = pets(tmp_path / "pets", counts=(("cat", 6), ("dog", 6)))
    for old, new in ((b"unlabelled/50.png", b"unlabelled/caf\xe9.png"), (b"cat", b"k\xe4tzchen")):
        os.rename(os.fsencode(folder) + b"/" + old, os.fsencode(folder) + b"/" + new)
    quick = ("--steps", 12, "--size", 16, "--weak", "identity", "--strong", "noise")
    in_process("train", folder, "--out", "m", *quick, cwd=tmp_path)
    assert {"confusion.csv", "report.txt", "labelled.png"} < {path.name for path in (tmp_path / "m").iterdir()}
    in_process("predict", "m", folder, "--csv", "answers.csv", cwd=tmp_path)
    in_process("label", "m", folder, "-n", 5, cwd=tmp_path)
    for name in ("answers.csv", "label.csv"):
        assert b"unlabelled/caf\xe9.png," in (tmp_path / name).read_bytes()
    assert b"k\xe4tzchen" in (tmp_path / "answers.csv").read_bytes()
    words = ("train", folder, "--labels", tmp_path / "label.csv", "--out", tmp_path / "m2")
    with pytest.raises(SystemExit):
        main([*map(str, words)])
    assert re.search(r"label\.csv is not in UTF-8 .* names are not in UTF-8 need others first", capsys.readouterr().err)


def test_what_is_known_may_be_named_in_each_way_that_training_takes(way, tmp_path):
    here, folder, _, _ = way
    pool = sorted(f"unlabelled/{path.name}" for path in (folder / "unlabelled").iterdir())
    spellings = ("{}", "./{}", "x/../{}", f"{folder}/{{}}", f"{folder.name}/{{}}")
    lines = [f"{how.format(name)},{CLASSES[0]}" for how, name in zip(spellings, pool)]
    (here / "known.csv").write_text("\n".join(["file,class", *lines]), encoding="utf-8")
    words = ("label", "modell 1", folder, "-n", 50, "--rule", "margin", "--csv", tmp_path / "more.csv")
    in_process(*words, "--labels", "known.csv", cwd=here)
    assert sorted(row["file"] for row in rows_of(tmp_path / "more.csv")) == pool[5:]


def test_wrong_settings(way, tmp_path, capsys):
    _, folder, _, _ = way
    words = ("train", folder, "--out", tmp_path / "m")
    assert "weak: " in refused(capsys, *words, "--weak", "crop+fly", notes=folder)
    assert "network='tiny' is not known" in refused(capsys, *words, "--network", "tiny", notes=folder)
    for words in (["train", str(folder)], ["predict", "x"], ["guess"], []):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 2


@pytest.mark.parametrize("name", EXAMPLES)
def test_help_has_an_example(name, capsys):
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert f"example:\n  dnll {name} " in said and EXAMPLES[name] in said and f"usage: dnll {name}" in said


def test_help_of_all(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    said = capsys.readouterr().out
    assert all(f"\n    {name}" in said for name in EXAMPLES) and "dnll train pets --out pets.model" in said
