"""The files around the package: one list of dependencies, and a package that ships what it needs."""

import ast
import json
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DECLARED, EXTRAS = PROJECT["dependencies"], PROJECT["optional-dependencies"]
# A distribution -> its module of another name. IPython comes with JupyterLab's kernel.
MODULES = {"scikit-learn": "sklearn", "pillow": "PIL", "pyyaml": "yaml", "jupyterlab": "IPython"}
# What is run and not imported, and how.
RUN = {"pytest_xdist": "pytest -n", "nbval": "pytest --nbval", "ruff": "ruff check", "setuptools": "pip wheel"}


def names(lines: list[str]) -> set[str]:
    """Modules of these requirements."""
    declared = (re.split(r"[><=\[ ]", line)[0] for line in lines)
    return {MODULES.get(name, name.replace("-", "_")) for name in declared}


def imported(tree: ast.Module) -> set[str]:
    """Top-level packages that a file imports, wherever in it, but the standard library's."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(node.module.split(".")[0])
    return found - set(sys.stdlib_module_names)


def code_of(notebook: Path) -> str:
    cells = json.loads(notebook.read_text())["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


def test_conda_environment_installs_the_project_and_adds_nothing():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, pip, by_pip = environment["dependencies"]
    assert python == "python" + PROJECT["requires-python"]
    assert pip == "pip"
    assert by_pip == {"pip": ["-e .[test]"]}


def test_bounds_admit_the_oldest_supported_torch():
    bounds = dict(line.split(">=") for line in PROJECT["dependencies"])
    assert bounds["torch"] == "2.11"
    assert bounds["torchvision"] == "0.26"


def test_what_is_imported_is_declared_and_the_other_way_round():
    """A package that is only there because another one needs it breaks one day; one that nobody imports is a burden.

    The package and its notebooks need no extra, but for the one file that adapts it.
    """
    needed, dask, test = names(DECLARED), names(EXTRAS["dask"]), names(EXTRAS["test"]) - {"dnll_core"}
    package = {path: imported(ast.parse(path.read_text())) for path in (ROOT / "dnll_core").rglob("*.py")}
    adapter = package.pop(ROOT / "dnll_core" / "campaign" / "dask_pool.py")
    lessons = {path: imported(ast.parse(code_of(path))) for path in (ROOT / "notebooks").glob("*.ipynb")}
    tests = {path: imported(ast.parse(path.read_text())) for path in (*ROOT.glob("*.py"), *ROOT.glob("tests/**/*.py"))}
    ours = {"dnll_core", *(path.stem for path in tests), *(path.parent.name for path in ROOT.glob("tests/*/*.py"))}
    for path, found in (package | lessons).items():
        assert found - ours <= needed, f"{path.name} imports {found - ours - needed}"
    assert dask <= adapter and adapter - ours <= needed | dask
    for path, found in tests.items():
        assert found - ours <= needed | dask | test, f"{path.name} imports {found - ours - needed - dask - test}"
    used = set().union(*package.values(), *lessons.values())
    assert needed <= used, f"nothing imports {needed - used}"
    assert test - used.union(*tests.values()) == RUN.keys()


def test_the_extra_is_imported_where_it_is_asked_for():
    """Whatever else imports the adapter does so within a function, and never as it is imported itself."""
    for path in (ROOT / "dnll_core").rglob("*.py"):
        for node in ast.parse(path.read_text()).body:
            assert "dask_pool" not in ast.unparse(node) or isinstance(node, ast.FunctionDef | ast.Expr), path


def test_a_wheel_holds_every_file_of_the_package(tmp_path):
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "dnll_core", tmp_path / "dnll_core", ignore=shutil.ignore_patterns("__pycache__"))
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", "wheels", "."]
    subprocess.run(build, cwd=tmp_path, check=True, capture_output=True)
    [wheel] = (tmp_path / "wheels").glob("*.whl")
    source = {path.relative_to(ROOT).as_posix() for path in (ROOT / "dnll_core").rglob("*") if path.is_file()}
    source = {name for name in source if "__pycache__" not in name}
    assert {Path(name).suffix for name in source} == {".py", ".csv", ".toml"}
    assert source == {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("dnll_core/")}
