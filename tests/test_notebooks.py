"""What nbval cannot see: that the committed notebooks check something, and can be read by everyone."""

import ast
import json
import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import papermill
import pytest
from PIL import Image

from dnll_core.config import ConfigError
from dnll_core.figures.style import WIDGET

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
ABSOLUTE = re.compile(r"(?<![\w.:/])/(?:home|root|work|tmp|usr|Users|mnt|opt)/|[A-Z]:\\\\")


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return json.loads(request.param.read_text(encoding="utf-8")) | {"path": request.param}


def source(cell):
    return "".join(cell["source"])


def code_cells(notebook):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code" and source(cell).strip()]


def test_there_are_notebooks():
    assert NOTEBOOKS


def test_no_cell_is_skipped(notebook):
    for cell in code_cells(notebook):
        text = source(cell).upper() + " ".join(cell["metadata"].get("tags", [])).upper().replace("-", "_")
        assert "NBVAL_SKIP" not in text
        assert "NBVAL_RAISES_EXCEPTION" not in text


def names(node, context):
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, context)}


def outcome_of(cell):
    """The names to which a cell gives a value, functions aside; those that it shows, if there are none."""
    inside = {n for d in ast.walk(cell) if isinstance(d, (ast.FunctionDef, ast.Lambda)) for n in ast.walk(d)}
    targets = [t for n in ast.walk(cell) if isinstance(n, ast.Assign) and n not in inside for t in n.targets]
    return {name for target in targets for name in names(target, ast.Store)} or names(cell, ast.Load)


def asserts(cell):
    return [node for node in ast.walk(cell) if isinstance(node, ast.Assert)]


def checks(following, wanted):
    """Whether a cell asserts something of these names, or of what it computes from them."""
    known, before = set(wanted), None
    while known != before:
        before = set(known)
        for node in ast.walk(following):
            if isinstance(node, (ast.Assign, ast.AugAssign)) and names(node.value, ast.Load) & before:
                known |= names(node, ast.Store)
            if isinstance(node, (ast.For, ast.comprehension)) and names(node.iter, ast.Load) & before:
                known |= names(node.target, ast.Store)
    return any(names(check.test, ast.Load) & known for check in asserts(following))


@pytest.mark.parametrize(
    ("cell", "following", "expected"),
    [
        ("x = f()", "assert x > 1", True),
        ("x = f()", "y = [2 * a for a in x]\nfor z in y:\n    assert z > 1", True),
        ("x = f()\nshow(y)", "assert y > 1", False),
        ("def g():\n    y = 1\n\n\nx = g()", "assert y > 1", False),
        ("x = f()", "y = g(x)\nassert z > 1", False),
        ("show(x)", "assert x > 1", True),
    ],
)
def test_a_check_is_of_what_a_cell_gives(cell, following, expected):
    assert checks(ast.parse(following), outcome_of(ast.parse(cell))) == expected


def test_what_is_ignored_is_asserted(notebook):
    cells = code_cells(notebook)
    for cell, following in zip(cells, [*cells[1:], None]):
        assert "NBVAL_" not in source(cell)  # a tag says it without a line of code
        if "nbval-ignore-output" in cell["metadata"].get("tags", []):
            where, wanted = source(cell)[:90], outcome_of(ast.parse(source(cell)))
            assert following is not None, where
            assert checks(ast.parse(source(following)), wanted), f"after {where!r}: no assert of {sorted(wanted)}"


def only_asserts(tree):
    """Whether a cell does nothing but check: asserts, and what they are computed from."""

    def fits(node):
        if isinstance(node, (ast.For, ast.If, ast.With)):
            return all(map(fits, [*node.body, *getattr(node, "orelse", [])]))
        return isinstance(node, (ast.Assert, ast.Assign, ast.AugAssign))

    return bool(asserts(tree)) and all(map(fits, tree.body))


def test_what_only_checks_is_folded(notebook):
    """In JupyterLab and in the book: a reader need not open it. What a later cell reads stays in sight."""
    trees = [ast.parse(source(cell)) for cell in code_cells(notebook)]
    for i, (cell, tree) in enumerate(zip(code_cells(notebook), trees)):
        later = set().union(*(names(following, ast.Load) for following in trees[i + 1 :]))
        folded = cell["metadata"].get("jupyter", {}).get("source_hidden", False)
        assert folded == ("hide-input" in cell["metadata"].get("tags", [])), source(cell)[:90]
        if only_asserts(tree) and not names(tree, ast.Store) & later:
            assert folded, source(cell)[:90]


def cannot_fail(test):
    """Whether the text of a check alone says that it always holds."""
    if isinstance(test, ast.BoolOp):
        parts = map(cannot_fail, test.values)
        return any(parts) if isinstance(test.op, ast.Or) else all(parts)
    if isinstance(test, ast.Tuple) or not names(test, ast.Load):  # a tuple is true; a constant is what it is
        return True
    if re.fullmatch(r"len\(.*\) (>= 0|> -1)|0 <= len\(.*\)", ast.unparse(test)):
        return True
    sides = []
    if isinstance(test, ast.Compare) and all(isinstance(op, (ast.Eq, ast.Is, ast.LtE, ast.GtE)) for op in test.ops):
        sides = [test.left, *test.comparators]
    elif isinstance(test, ast.Call) and ast.unparse(test.func).endswith(("close", "equal")):
        sides = test.args[:2]
    return len(sides) > 1 and len({ast.unparse(side) for side in sides}) == 1


@pytest.mark.parametrize(
    "text",
    [
        *("True", "(x, 'message')", "1 + 1 == 2", "f(x) == f(x)", "x is x", "x <= x", "len(x) >= 0"),
        *("isclose(a.b, a.b)", "torch.equal(x[0], x[0])", "x or True", "a == a and b == b"),
    ],
)
def test_a_tautology_is_found(text):
    assert cannot_fail(ast.parse(text, mode="eval").body)


@pytest.mark.parametrize("text", ["x", "x == y", "f(x) < f(x)", "len(x) >= 1", "isclose(a, b)", "x == x and y == 2"])
def test_an_honest_check_is_no_tautology(text):
    assert not cannot_fail(ast.parse(text, mode="eval").body)


def test_each_assert_can_fail(notebook):
    for cell in code_cells(notebook):
        for check in asserts(ast.parse(source(cell))):
            assert not cannot_fail(check.test), ast.unparse(check)


def test_one_cell_of_literal_parameters_that_papermill_finds(notebook):
    [cell] = [cell for cell in notebook["cells"] if "parameters" in cell["metadata"].get("tags", [])]
    body = ast.parse(source(cell)).body
    for node in body:
        assert isinstance(node, ast.Assign)
        ast.literal_eval(node.value)
    assigned = [name for node in body for target in node.targets for name in names(target, ast.Store)]
    assert [*papermill.inspect_notebook(notebook["path"])] == assigned


def test_outputs_are_committed_from_one_clean_run(notebook):
    counts = [cell["execution_count"] for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))
    for cell in code_cells(notebook):
        assert not any(output["output_type"] == "error" for output in cell["outputs"])


def test_all_outputs_are_of_one_environment():
    """Else two pages could show different numbers for what their texts call the same runs."""
    made = {path.stem: json.loads(path.read_text(encoding="utf-8"))["metadata"]["made"] for path in NOTEBOOKS}
    for name, by in made.items():
        assert re.fullmatch("[0-9a-f]{12}", str(by.pop("commit"))), name  # "+" would be uncommitted code
        assert {"processor", "python", "torch", "numpy", "scikit-learn"} <= {*by}
    assert len({json.dumps(by, sort_keys=True) for by in made.values()}) == 1, made


def test_what_is_imported_from_the_package_is_there(notebook):
    for cell in code_cells(notebook):
        for node in ast.walk(ast.parse(source(cell))):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("dnll_core"):
                exec(ast.unparse(node), {})


def test_size(notebook):
    assert notebook["path"].stat().st_size < 600_000


def test_images_have_alt_text(notebook):
    for cell in code_cells(notebook):
        for output in cell["outputs"]:
            if "image/png" in output.get("data", {}):
                alt = output.get("metadata", {}).get("image/png", {}).get("alt", "")
                assert not re.search(r"\{\w*\}", alt), alt  # a name that was not filled in
                assert len(alt) > 20, f"an image without alt text in {source(cell)[:60]!r}"
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            assert not re.search(r"!\[\s*\]\(|<img(?![^>]*\balt=)", source(cell))


def test_alt_texts_stand_in_a_folded_cell(notebook):
    """Each picture has its own, by a name; where a text is in the code that draws, nobody wants to read that code."""
    named, used = [], []
    for cell in code_cells(notebook):
        for node in ast.walk(ast.parse(source(cell))):
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "alts":
                named += [*ast.literal_eval(node.value)]
                assert cell["metadata"]["jupyter"]["source_hidden"]
            elif isinstance(node, ast.Subscript) and ast.unparse(node.value) == "alts":
                used.append(ast.literal_eval(node.slice))
            elif isinstance(node, ast.Call) and re.search(r"(^|\.)show$", ast.unparse(node.func)):
                assert ast.unparse(node.args[1]).startswith("alts["), ast.unparse(node)[:90]
    assert len({*used}) == len(used)
    assert {*named} == {*used}


def test_no_absolute_paths_and_no_papermill_stamps(notebook):
    for cell in notebook["cells"]:
        texts = [source(cell)]
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            texts += ["".join(output.get("text", ""))]
            texts += ["".join(value) for kind, value in data.items() if kind.startswith("text/")]
        for text in texts:
            assert not ABSOLUTE.search(text), ABSOLUTE.search(text)
    assert "papermill" not in notebook["metadata"]


def test_a_notebook_with_widgets_has_a_stand_in_for_when_it_is_opened_without_its_kernel(notebook):
    shows = any(re.search(r"theory\.explore\(|widgets_to_label\(", source(cell)) for cell in code_cells(notebook))
    models = notebook["metadata"].get("widgets", {}).get("application/vnd.jupyter.widget-state+json", {"state": {}})
    assert (WIDGET in models["state"]) == shows


def test_cells_are_short(notebook):
    for cell in code_cells(notebook):
        assert len(source(cell).splitlines()) <= 40, source(cell)[:60]


def test_links_between_files_lead_somewhere(notebook):
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            for target in re.findall(r"\]\(([^)#:]+?)\)", source(cell)):
                assert (notebook["path"].parent / target).exists(), target


def headings(path):
    """The headings of a notebook, in order, "## 2. An image and its views" as it stands."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    texts = [source(cell) for cell in cells if cell["cell_type"] == "markdown"]
    return [line for text in texts for line in text.split("\n") if re.match("##? ", line)]


def test_headings_have_one_form(notebook):
    number = notebook["path"].name[:2]
    _, *about = source(notebook["cells"][0]).splitlines()
    told = [re.match(r"\*\*(.*?)\*\*: |- \*\*(You .*?)\*\*|$", line) for line in about]
    assert [line[1] for line in told if line[1]] == ["Paper", "Time", "Files written"]
    assert [line[2] for line in told if line[2]][-1] == "You need"
    title, parameters, *sections = headings(notebook["path"])
    assert title.startswith(f"# {number} · ")
    assert parameters == "## Parameters"
    numbered = [line for line in sections if line != "## References"]
    assert [line.split(" ")[1] for line in numbered] == [f"{i}." for i in range(1, len(numbered) + 1)]
    assert [line.split(". ")[1] for line in numbered[-2:]] == ["Exercises", "Takeaways"]
    assert sections[:-1] == numbered[: len(sections) - 1]  # references, if any, come last


# (notebook, section) that texts refer to from elsewhere -> what its heading says
MEANT = {
    ("02", "2"): "An image and its views",
    ("02", "4"): "The Error Perception Mechanism",
    ("02", "5"): "The loss of a negative label, and why it is a weak push",
    ("02", "6"): "Who learns from whom",
    ("04", "4"): "The recorded results beside the paper's",
    ("07", "5"): "The recorded result",
    ("13", "6"): "Quotes that differ from their source",
    ("16", "5"): "Which method when, and what DNLL buys",
    ("17", "4"): "Do the submodels become one?",
}
LINK = r"\[?[Nn]otebook\s\[?(\d\d)\]?(?:\([^)]*\))?"


def test_sections_of_other_notebooks_are_those_that_are_meant():
    found = set()
    for path in (*NOTEBOOKS, ROOT / "README.md", ROOT / "data" / "README.md"):
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".ipynb":
            text = "\n".join(source(cell) for cell in json.loads(text)["cells"])
        found |= set(re.findall(rf"{LINK}(?:,|'s)?\s\(?section\s(\d+)", text))
        for numbers, notebook in re.findall(rf"[Ss]ections? (\d+(?:(?:, | and )\d+)*)\s(?:of|in)\s{LINK}", text):
            found |= {(notebook, number) for number in re.findall(r"\d+", numbers)}
    assert found == MEANT.keys()
    for (number, section), heading in MEANT.items():
        [path] = [path for path in NOTEBOOKS if path.name.startswith(number)]
        assert f"## {section}. {heading}" in headings(path)


def test_the_map_of_the_paper_leads_to_every_notebook():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = text.partition("\n## Map of the paper\n")[2].partition("\n## ")[0].strip().split("\n")[2:]
    last = [row.split(" | ")[-1].removesuffix(" |") for row in rows]
    linked = [re.findall(r"\[(\d\d)\]\(notebooks/(\d\d)_", cell) for cell in last]
    assert all(
        re.findall(r"\d\d", re.sub(r"\(.*?\)", "", cell)) == [n for n, _ in pairs] for cell, pairs in zip(last, linked)
    )
    assert all(shown == target for pairs in linked for shown, target in pairs)
    assert {shown for pairs in linked for shown, _ in pairs} == {path.name[:2] for path in NOTEBOOKS}


# -- notebook 00 on images of one's own -------------------------------------------------------------------------------


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path)


def few(folder):
    """Noise with a tint by class: four test images, and unlabelled ones."""
    random = np.random.RandomState(0)
    for k, (title, n) in enumerate((("cat", 12), ("dog", 12), ("unlabelled", 10))):
        for i in range(n):
            pixels = random.randint(160, size=(8, 8, 3))
            pixels[:, :, k] += 90
            save(folder / title / f"{i}.png", pixels)


def fewest(folder):
    """The fewest images that a folder may have, of classes with long names that nobody could mistake."""
    for title, colour in (("a bright summer day on the beach", (250, 230, 200)), ("night", (5, 10, 40))):
        for i in range(3):
            save(folder / title / f"{i}.png", np.full((8, 8, 3), colour) + i)


@pytest.mark.parametrize(
    ("write", "parameters", "told"),
    [
        pytest.param(
            few,
            {"labels": "4", "epochs": "1", "m": "none"},
            "4 labelled, 24 unlabelled, 2 validation, 4 test",
            marks=pytest.mark.long,
        ),
        (fewest, {"labels": "none", "epochs": "10"}, "2 labelled, 2 unlabelled, 2 validation, 2 test"),
    ],
    ids=["few", "fewest"],
)
def test_the_quickstart_runs_on_a_folder_of_few_images(write, parameters, told, tmp_path):
    write(tmp_path / "own")
    given = {"dataset": f"folder:{tmp_path / 'own'}", "seeds": "1", "selection": "none", **parameters}
    done = papermill.execute_notebook(ROOT / "notebooks" / "00_quickstart.ipynb", None, given, progress_bar=False)
    outputs = [output for cell in done.cells for output in cell.get("outputs", [])]
    text = "".join(output.get("text", "") for output in outputs)
    assert told in text
    [said] = [output["text"] for output in outputs if output.get("name") == "stderr"]
    assert said.startswith(f"{tmp_path / 'own'}: 2 classes (")  # what was read, and no warning
    assert said.count("\n") == 1
    pictures = sum("image/png" in output.get("data", {}) for output in outputs)
    assert ("t-SNE needs four test images, and there are 2" in text) == (write is fewest)
    assert pictures + text.count("No picture: ") == 5
    if write is fewest:
        assert "No picture: the two networks give the same answer to each of the 2 test images." in text


# -- notebook 02 with other parameters --------------------------------------------------------------------------------


def until(name, cell_id, **parameters):
    """The names that a notebook's cells up to one have given, with these parameters."""
    path = ROOT / "notebooks" / name
    namespace = {"__name__": "__main__"}
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            exec(source(cell), namespace)
        if "parameters" in cell["metadata"].get("tags", []):
            namespace |= parameters
        if cell.get("id") == cell_id:
            return namespace
    raise AssertionError(f"{name} has no cell {cell_id}")


@pytest.mark.parametrize("given", [0, -1, "two"])
def test_the_number_of_runs_of_algorithm_1_is_a_count(given):
    with pytest.raises(ConfigError, match=f"seeds_alone takes a whole number from 1, not {given!r}"):
        until("02_method.ipynb", "method-05", seeds_alone=given)


def test_the_method_is_shown_with_so_many_labels_that_an_epoch_is_one_step():
    plt.switch_backend("agg")
    found = until("02_method.ipynb", "method-26", labels=1000, seeds_alone="2", epochs=8)
    assert found["length"] == 1 and found["seeds_alone"] == 2
    assert [step for step, _ in found["looks"]] == [*range(1, 9)]
