"""Labels in a table: what is read, whose images they are, and what is refused."""

import re
import shutil
import unicodedata

import pytest
import torch
from PIL import Image

from dnll_core.data import DataError, load_data
from dnll_core.data.labels import Labels, read_labels


def paint(folder, names, first=1):
    """A grey image for each name, each of a level of its own: name -> level."""
    levels = {name: 3 * i for i, name in enumerate(names, start=first)}
    for name, level in levels.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (6, 5), level).save(folder / name)
    return levels


def write(path, rows, header="file,class", encoding="utf-8"):
    path.write_text("\n".join([header, *rows]) + "\n", encoding=encoding)
    return path


def loaded(folder, labels=None):
    return load_data(f"folder:{folder}", size=6, progress=False, labels=labels)


def classes_by_level(dataset, which=("train", "test")):
    """Level -> class, or None: whatever image it is."""
    found = {}
    for part in which:
        images, labels = getattr(dataset, f"x_{part}"), getattr(dataset, f"y_{part}")
        for image, k in zip(images[:, 0, 0, 0].tolist(), labels.tolist()):
            assert image not in found
            found[image] = None if k < 0 else dataset.classes[k]
    return found


def expected(levels, told):
    """The same of names and the classes of some of them."""
    return {level: told.get(name) for name, level in levels.items()}


CATS, DOGS, OTHERS = ([f"{title} {i}.png" for i in range(n)] for title, n in (("cat", 7), ("dog", 10), ("other", 4)))
TOLD = dict.fromkeys(CATS, "cat") | dict.fromkeys(DOGS, "dog")


@pytest.fixture
def flat(tmp_path):
    """21 images in one folder, and their levels."""
    return tmp_path / "flat", paint(tmp_path / "flat", [*CATS, *DOGS, *OTHERS])


@pytest.fixture
def table(tmp_path):
    return write(tmp_path / "labels.csv", [f"{name},{title}" for name, title in TOLD.items()])


# -- reading a table ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mark", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("names", [("file", "class"), ("filename", "label"), ("Path", " CLASS "), ("image", "Label")])
def test_a_table_is_read_whatever_divides_it(tmp_path, mark, encoding, names):
    path = tmp_path / "labels.csv"
    header, rows = mark.join(["who", names[1], "note", names[0]]), []
    for row in (("me", "cat", "", "a.png"), ("you", "", "?", "b.png"), ("me", " big dog ", "", " in\\c.png ")):
        rows.append(mark.join(row))
    write(path, rows, header, encoding)
    assert read_labels([path]) == Labels(((path, 2, "a.png", "cat"), (path, 4, "in/c.png", "big dog")))


def test_quotes_empty_lines_and_short_rows(tmp_path):
    path = write(tmp_path / "labels.csv", ['"a, b.png","cat, black"', "", "c.png", '"d""e.png",dog', "\u2009f.png,dog"])
    assert read_labels([path]).rows == (
        (path, 2, "a, b.png", "cat, black"),
        (path, 5, 'd"e.png', "dog"),
        (path, 6, "f.png", "dog"),
    )


def test_windows_line_ends(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_bytes("file;class\r\nä.png;Kätzchen\r\n".encode("utf-8-sig"))
    assert read_labels([path]).rows == ((path, 2, "ä.png", "Kätzchen"),)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("file,class\nGröße.png,cat\n".encode("cp1252"), "is not in UTF-8 .* save it as 'CSV UTF-8'"),
        ("file,class\na.png,cat\n".encode("utf-16"), "is not in UTF-8"),
        (b"", "has the columns none, and no 'file'"),
        (b"a.png,cat\nb.png,dog\n", "has the columns a.png, cat, and no 'file': file,class"),
        (b"file,kind\na.png,cat\n", "has the columns file, kind, and no 'class'"),
        (b"file,class\n", "has no row with a class; fill in the column 'class'"),
        (b"file,label\na.png,\nb.png, \n", "has no row with a class; fill in the column 'label'"),
        (b"file,class\na.png,cat\n,dog\n", "line 3: 'dog' is of no file"),
    ],
)
def test_what_is_no_table_of_labels(tmp_path, content, message):
    path = tmp_path / "labels.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        read_labels([path])
    assert str(error.value).startswith(str(path))


def test_a_table_that_is_not_there(flat, tmp_path):
    for path in (tmp_path / "nowhere.csv", tmp_path):
        with pytest.raises(DataError, match=f"{path} cannot be read"):
            loaded(flat[0], path)


def test_classes_of_one_name(tmp_path):
    path = write(tmp_path / "labels.csv", ["a.png,cat", "b.png,dog", "c.png,Cat"])
    with pytest.raises(DataError, match=r"line 4: 'Cat', and 'cat' in .*, line 2; which of the two"):
        read_labels([path]).classes()
    write(path, ["a.png,e\u0301te\u0301", "b.png,dog", "c.png,été"])
    assert read_labels([path]).classes() == ("dog", "été")


# -- a folder without class folders ------------------------------------------------------------------------------------


def test_a_flat_folder_and_a_table(flat, table):
    folder, levels = flat
    dataset = loaded(folder, table)
    assert dataset.classes == ("cat", "dog")
    assert classes_by_level(dataset) == expected(levels, TOLD)
    assert dataset.y_train.tolist() == [0] * 6 + [1] * 8 + [-1] * 4
    assert dataset.y_test.tolist() == [0] * 1 + [1] * 2  # a fifth of 7 and of 10
    assert {*dataset.files} == {*levels}
    assert {name: entry.split()[1:] for name, entry in dataset.files.items()} == {
        name: [TOLD[name]] if name in TOLD else [] for name in levels
    }


def test_rows_without_a_class_and_files_that_no_row_names_have_no_label(flat, tmp_path):
    folder, levels = flat
    some = {name: title for name, title in TOLD.items() if not name.endswith(("5.png", "6.png"))}
    left = [name for name in levels if name not in some]
    rows = [f"{name},{title}" for name, title in some.items()] + [f"{name}," for name in left[:3]]
    dataset = loaded(folder, write(tmp_path / "labels.csv", rows))
    assert classes_by_level(dataset) == expected(levels, some)
    assert (dataset.y_train < 0).sum() == len(left) == 8


@pytest.mark.parametrize("where", ["the folder", "the table", "nowhere"])
def test_a_file_is_named_relative_to_the_folder_or_to_the_table(flat, tmp_path, where):
    folder, levels = flat
    prefix = {"the folder": "", "the table": "../flat/", "nowhere": f"{folder}/"}[where]
    (tmp_path / "tables").mkdir()
    path = write(tmp_path / "tables" / "l.csv", [f"{prefix}{name},{title}" for name, title in TOLD.items()])
    assert classes_by_level(loaded(folder, path)) == expected(levels, TOLD)


@pytest.mark.parametrize("on_disk", ["NFC", "NFD"])
@pytest.mark.parametrize("in_table", ["NFC", "NFD"])
@pytest.mark.parametrize("beside", [True, False])
def test_umlauts_however_they_are_coded(tmp_path, on_disk, in_table, beside):
    """Of the folder, its files and classes. beside: files are named relative to the table."""
    told = {f"Bär/{title} Größe {i}.png": title for title in ("Kätzchen", "Hündchen") for i in range(4)}
    disk = {name: unicodedata.normalize(on_disk, name) for name in [*told, "übrig.png"]}
    folder = tmp_path / unicodedata.normalize(on_disk, "Fotos für uns")
    levels = dict(zip(disk, paint(folder, disk.values()).values()))
    prefix = "Fotos für uns/" if beside else ""
    rows = [unicodedata.normalize(in_table, f"{prefix}{name},{title}") for name, title in told.items()]
    dataset = loaded(folder, write(tmp_path / "Übersicht.csv", rows))
    assert dataset.classes == ("Hündchen", "Kätzchen")
    assert classes_by_level(dataset) == expected(levels, told)
    assert {*dataset.files} == {*levels}


def test_paths_of_windows(tmp_path):
    told = {f"in/deep/{title}{i}.png": title for title in ("cat", "dog") for i in range(3)}
    levels = paint(tmp_path / "flat", told)
    rows = [f"{name},{title}".replace("/", "\\") for name, title in told.items()]
    assert classes_by_level(loaded(tmp_path / "flat", write(tmp_path / "l.csv", rows))) == expected(levels, told)


def test_folders_within_a_flat_folder_are_no_classes(tmp_path):
    told = {f"{day}/{i}.png": "cat" if i % 2 else "dog" for day in ("monday", "tuesday/early") for i in range(5)}
    levels = paint(tmp_path / "flat", [*told, "top.png", "train/x.png", "unlabelled/y.png"])
    (tmp_path / "flat" / "notes.txt").write_text("of the zoo", encoding="utf-8")
    path = write(tmp_path / "flat" / "labels.csv", [f"{name},{title}" for name, title in told.items()])
    dataset = loaded(tmp_path / "flat", path)
    assert dataset.classes == ("cat", "dog")
    assert classes_by_level(dataset) == expected(levels, told)
    assert any("beside the images: 2 (labels.csv, notes.txt)" in note for note in dataset.notes)


def test_a_folder_of_tests_beside(flat, table):
    folder, levels = flat
    tests = paint(folder, ["test/cat/1.png", "test/dog/1.png", "test/dog/2.png"], first=50)
    dataset = loaded(folder, table)
    assert dataset.y_test.tolist() == [0, 1, 1]
    assert classes_by_level(dataset, ["train"]) == expected(levels, TOLD)
    assert classes_by_level(dataset, ["test"]) == expected(tests, {name: name[5:8] for name in tests})


def test_too_few_of_a_class(flat, tmp_path):
    rows = [f"{name},dog" for name in DOGS]
    with pytest.raises(DataError, match=r"l\.csv has 1 classes \(dog\); at least 2 are needed"):
        loaded(flat[0], write(tmp_path / "l.csv", rows))
    with pytest.raises(DataError, match=r"l\.csv: 'cat' has 2 images; at least 3 are needed"):
        loaded(flat[0], write(tmp_path / "l.csv", [*rows, *(f"{name},cat" for name in CATS[:2])]))


def test_files_that_are_not_there_are_named_with_their_lines(flat, tmp_path):
    rows = [f"{name},{title}" for name, title in TOLD.items()]
    path = write(tmp_path / "l.csv", [rows[0], "cta 1.png,cat", *rows[1:], "gone.png,dog"])
    with pytest.raises(DataError) as error:
        loaded(flat[0], path)
    said = str(error.value)
    assert "names 2 of 19 files that are no images" in said
    assert re.search(r"cta 1\.png \(\S.*, line 3\), gone\.png \(\S.*, line 20\)", said)


def test_a_file_with_two_classes(flat, table):
    first = table.read_text(encoding="utf-8")
    table.write_text(f"{first}{CATS[1]},cat\n", encoding="utf-8")  # twice the same is no contradiction
    assert classes_by_level(loaded(flat[0], table)) == expected(flat[1], TOLD)
    table.write_text(f"{first}./{CATS[1]},dog\n", encoding="utf-8")
    with pytest.raises(DataError, match=rf"\./{CATS[1]} is 'cat' in .*, line 3 and 'dog' in .*, line 19"):
        loaded(flat[0], table)


def test_two_spellings_of_a_class(flat, table):
    text = table.read_text(encoding="utf-8")
    table.write_text(text.replace(f"{CATS[3]},cat", f"{CATS[3]},Cat"), encoding="utf-8")
    with pytest.raises(DataError, match=r"line 5: 'Cat', and 'cat' in .*, line 2"):
        loaded(flat[0], table)


def test_a_table_of_no_folder(table):
    for name in ("digits", "cifar10"):
        with pytest.raises(ValueError, match=f"labels=.* goes with a folder alone, and not with '{name}'"):
            load_data(name, labels=table)


def test_another_label_is_another_data_set(flat, table):
    """Of the same files: a run does not go on with labels that were changed, and a process reads the folder anew."""
    first = loaded(flat[0], table)
    assert loaded(flat[0], table).digest == first.digest
    text = table.read_text(encoding="utf-8")
    table.write_text(text.replace(f"{DOGS[9]},dog", f"{DOGS[9]},cat"), encoding="utf-8")
    changed = loaded(flat[0], table)
    assert changed.digest != first.digest
    assert {name for name in first.files if first.files[name] != changed.files[name]} == {DOGS[9]}
    rows = text.splitlines()
    write(table, [*rows[:0:-1]])  # in another order
    assert loaded(flat[0], table).digest == first.digest
    write(table, rows[1:-1])
    assert loaded(flat[0], table).digest not in (first.digest, changed.digest)


# -- a folder with class folders, and more labels ----------------------------------------------------------------------


@pytest.fixture
def sorted_folder(tmp_path):
    """Class folders of seven cats and ten dogs, and six images in `unlabelled`."""
    names = [f"cat/{i}.png" for i in range(7)] + [f"dog/{i}.png" for i in range(10)]
    names += [f"unlabelled/{i}.png" for i in range(6)]
    return tmp_path / "pets", paint(tmp_path / "pets", names)


def by_folder(levels):
    return {name: name[:3] for name in levels if not name.startswith("unl")}


def test_a_table_labels_images_without_a_label(sorted_folder, tmp_path):
    folder, levels = sorted_folder
    before = loaded(folder)
    more = {"unlabelled/1.png": "dog", "unlabelled/4.png": "cat", "unlabelled/5.png": "dog"}
    rows = [f"{name},{title.upper()}" for name, title in more.items()] + ["cat/3.png,CAT", "unlabelled/2.png,"]
    after = loaded(folder, write(tmp_path / "label.csv", rows))
    assert after.classes == before.classes == ("cat", "dog")
    assert classes_by_level(before) == expected(levels, by_folder(levels))
    assert classes_by_level(after) == expected(levels, by_folder(levels) | more)
    assert after.y_train.tolist() == [0] * 7 + [1] * 10 + [-1] * 3
    assert after.digest != before.digest
    assert torch.equal(after.x_test, before.x_test) and torch.equal(after.y_test, before.y_test)
    assert after.name == before.name
    changed = loaded(folder, write(tmp_path / "label.csv", [rows[0].replace("DOG", "CAT"), *rows[1:]]))
    assert changed.digest not in (before.digest, after.digest)
    assert torch.equal(changed.x_test, before.x_test)
    no_more = loaded(folder, write(tmp_path / "label.csv", ["cat/3.png,cat"]))
    assert no_more.digest == before.digest


@pytest.mark.parametrize("name", ["Unlabelled", "unlabelled ", "UNLABELED\u3000"])
def test_labels_that_were_exchanged_are_another_data_set(sorted_folder, tmp_path, name):
    """However the folder of images without a label is spelled."""
    folder, _ = sorted_folder
    (folder / "unlabelled").rename(folder / name)
    first = loaded(folder, write(tmp_path / "label.csv", [f"{name}/1.png,cat", f"{name}/2.png,dog"]))
    other = loaded(folder, write(tmp_path / "label.csv", [f"{name}/1.png,dog", f"{name}/2.png,cat"]))
    assert first.y_train.tolist() == other.y_train.tolist() and first.digest != other.digest


def test_a_table_against_a_class_folder(sorted_folder, tmp_path):
    folder, _ = sorted_folder
    with pytest.raises(DataError, match=r"cat/2\.png is in the folder of class 'cat', and .*label\.csv says 'dog'"):
        loaded(folder, write(tmp_path / "label.csv", ["unlabelled/0.png,cat", "cat/2.png,dog"]))
    (folder / "test/cat").mkdir(parents=True)
    shutil.copy(folder / "cat/0.png", folder / "test/cat/new.png")
    paint(folder, ["test/dog/new.png"], first=60)
    with pytest.raises(DataError, match=r"test/cat/new\.png is in the folder of class 'cat', and .* says 'dog'"):
        loaded(folder, write(tmp_path / "label.csv", ["test/cat/new.png,dog"]))


def test_a_class_that_no_folder_has(sorted_folder, tmp_path):
    with pytest.raises(
        DataError, match=r"label\.csv: class='dgo' is not known\. Did you mean 'dog'\? Accepted: cat, dog"
    ):
        loaded(sorted_folder[0], write(tmp_path / "label.csv", ["unlabelled/0.png,dgo"]))


def test_a_file_that_no_folder_has(sorted_folder, tmp_path):
    with pytest.raises(DataError, match=r"names 1 of 2 files .*: 0\.png \(.*, line 3\)\. A file is"):
        loaded(sorted_folder[0], write(tmp_path / "label.csv", ["unlabelled/0.png,dog", "0.png,dog"]))


def test_several_tables_are_one(tmp_path):
    folder = tmp_path / "flat"
    folder.mkdir()
    for i in range(8):
        Image.new("L", (8, 8), 20 * i).save(folder / f"{i}.png")
    first = write(tmp_path / "first.csv", ["0.png,cat", "1.png,cat", "2.png,cat", "3.png,dog"])
    second = write(tmp_path / "second.csv", ["4.png,dog", "5.png,dog", "3.png,dog"])
    dataset = load_data(f"folder:{folder}", size=8, progress=False, labels=[first, second])
    assert dataset.classes == ("cat", "dog")
    assert len(dataset.y_test) + int((dataset.y_train >= 0).sum()) == 6 and int((dataset.y_train < 0).sum()) == 2
    third = write(tmp_path / "third.csv", ["3.png,cat"])
    with pytest.raises(DataError, match=r"3\.png is 'dog' in .*first\.csv, line 5 and 'cat' in .*third\.csv, line 2"):
        load_data(f"folder:{folder}", size=8, progress=False, labels=[first, third])


def test_a_quotation_mark_that_stays_open(tmp_path):
    path = write(tmp_path / "labels.csv", ["0.png,cat", '"1.png,cat', "2.png,dog"])
    with pytest.raises(DataError, match="quotation mark"):
        read_labels([path])
