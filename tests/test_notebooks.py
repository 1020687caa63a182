"""What nbval cannot see: that the committed notebooks check something, and can be read by everyone."""

import ast
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
ABSOLUTE = re.compile(r"(?<![\w.:/])/(?:home|root|work|tmp|usr|Users|mnt|opt)/|[A-Z]:\\\\")


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return json.loads(request.param.read_text()) | {"path": request.param}


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


def test_what_is_ignored_is_asserted(notebook):
    cells = code_cells(notebook)
    for cell, following in zip(cells, [*cells[1:], None]):
        if "NBVAL_IGNORE_OUTPUT" in source(cell):
            where = source(cell)[:60]
            assert following is not None, where
            asserts = [node for node in ast.walk(ast.parse(source(following))) if isinstance(node, ast.Assert)]
            assert asserts, f"the cell after {where!r} asserts nothing"


def test_one_cell_of_literal_parameters(notebook):
    [cell] = [cell for cell in notebook["cells"] if "parameters" in cell["metadata"].get("tags", [])]
    for node in ast.parse(source(cell)).body:
        assert isinstance(node, ast.Assign)
        ast.literal_eval(node.value)


def test_outputs_are_committed_from_one_clean_run(notebook):
    counts = [cell["execution_count"] for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))
    for cell in code_cells(notebook):
        assert not any(output["output_type"] == "error" for output in cell["outputs"])


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
                assert len(alt) > 20, f"an image without alt text in {source(cell)[:60]!r}"
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            assert not re.search(r"!\[\s*\]\(|<img(?![^>]*\balt=)", source(cell))


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


def test_cells_are_short(notebook):
    for cell in code_cells(notebook):
        assert len(source(cell).splitlines()) <= 40, source(cell)[:60]


def test_links_between_files_lead_somewhere(notebook):
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            for target in re.findall(r"\]\(([^)#:]+?)\)", source(cell)):
                assert (notebook["path"].parent / target).exists(), target
