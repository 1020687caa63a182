"""The files around the package: one list of dependencies, and a package that ships what it needs."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
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
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


def test_conda_environment_installs_the_project_and_adds_nothing():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
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
    book, conf = names(EXTRAS["book"]), imported(ast.parse((ROOT / "notebooks/conf.py").read_text(encoding="utf-8")))
    browser, long = names(EXTRAS["browser"]), names(EXTRAS["long"])
    package = {
        path: imported(ast.parse(path.read_text(encoding="utf-8"))) for path in (ROOT / "dnll_core").rglob("*.py")
    }
    adapter = package.pop(ROOT / "dnll_core" / "campaign" / "dask_pool.py")
    lessons = {path: imported(ast.parse(code_of(path))) for path in (ROOT / "notebooks").glob("*.ipynb")}
    tests = {
        path: imported(ast.parse(path.read_text(encoding="utf-8")))
        for path in (*ROOT.glob("*.py"), *ROOT.glob("tests/**/*.py"))
    }
    ours = {"dnll_core", *(path.stem for path in tests), *(path.parent.name for path in ROOT.glob("tests/*/*.py"))}
    for path, found in (package | lessons).items():
        assert found - ours <= needed, f"{path.name} imports {found - ours - needed}"
    assert dask <= adapter and adapter - ours <= needed | dask
    in_a_browser = [tests.pop(ROOT / "tests" / name) for name in ("needed.py", "test_browser.py")]
    assert all(browser <= found and found - ours <= needed | test | browser for found in in_a_browser)
    for path, found in tests.items():
        undeclared = found - ours - needed - dask - test - book - long
        assert not undeclared, f"{path.name} imports {undeclared}"
    used = set().union(*package.values(), *lessons.values())
    assert needed <= used, f"nothing imports {needed - used}"
    assert test - used.union(*tests.values()) == RUN.keys()
    assert conf - {"dnll_core"} <= book and long <= set().union(*tests.values())
    assert book - conf.union(*tests.values()) == {"furo"}  # which the configuration names


def test_text_is_utf_8_whatever_the_locale():
    """Of files and of other programs: what names no encoding is read and written in the locale's."""
    for path in (*ROOT.glob("*.py"), *ROOT.glob("dnll_core/**/*.py"), *ROOT.glob("tests/**/*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                *owner, name = ast.unparse(node.func).rsplit(".", 1)
                told = {keyword.arg for keyword in node.keywords}
                text = bool(told & {"text", "universal_newlines"}) or (owner and name in ("read_text", "write_text"))
                if name in ("open", "fdopen") and owner not in (["Image"], ["tarfile"]):
                    text = not any(isinstance(mode, ast.Constant) and "b" in str(mode.value) for mode in node.args[1:])
                assert not text or "encoding" in told, f"{path}:{node.lineno}: {ast.unparse(node)}"


def test_the_extra_is_imported_where_it_is_asked_for():
    """Whatever else imports the adapter does so within a function, and never as it is imported itself."""
    for path in (ROOT / "dnll_core").rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            assert "dask_pool" not in ast.unparse(node) or isinstance(node, ast.FunctionDef | ast.Expr), path


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The path of a wheel that is built from a copy of the package."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "dnll_core", folder / "dnll_core", ignore=shutil.ignore_patterns("__pycache__"))
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", "wheels", "."]
    subprocess.run(build, cwd=folder, check=True, capture_output=True)
    [path] = (folder / "wheels").glob("*.whl")
    return path


def test_a_wheel_holds_every_file_of_the_package(wheel):
    source = {path.relative_to(ROOT).as_posix() for path in (ROOT / "dnll_core").rglob("*") if path.is_file()}
    source = {name for name in source if "__pycache__" not in name}
    assert {Path(name).suffix for name in source} == {".py", ".csv", ".toml"}
    assert source == {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("dnll_core/")}


ELSEWHERE = """
from pathlib import Path
from dnll_core import Experiment, figures, load_data, results, train
from dnll_core.study import markdown, scorecard

assert Path(results.__file__).is_relative_to(SITE)
images = load_data("digits").x_test
run = train(Experiment(dataset="digits", labels=20, epochs=1), seed=0, progress=False)
assert run.predict(images[:5]).shape == (5, 10)
run.save_record()
[record] = results.load("runs")
three = figures.images.channels_last(images[0])
figures.style.save(figures.images.idea(three, tuple("0123456789"), 3, 0.7), "idea.png")
figures.style.save(figures.theory.set_pairs(5, 2), "theory.png")
figures.style.save(figures.curves.curves({"": {"dnll": [record]}}), "curves.png")
figures.style.save(figures.tables.points_of_cells(markdown.laptop_groups(4)), "table4.png")
assert set(scorecard.rows()["verdict"]) == {"missing", "reference", "not attempted"}
here = str(Path.cwd() / "data" / "results")
assert here in markdown.recorded_table(4)
try:
    figures.curves.curves({"": {"dnll": results.load()}})
except results.RecordError as error:
    assert here in str(error) and "dnll_core.campaign" in str(error)
else:
    raise AssertionError
"""


@pytest.mark.long
def test_a_wheel_works_in_an_empty_folder(wheel, tmp_path):
    site, here = tmp_path / "site-packages", tmp_path / "here"
    here.mkdir()
    zipfile.ZipFile(wheel).extractall(site)  # all that installing a package of pure Python does
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DNLL_")}

    def python(*words):
        told = {"env": environment | {"PYTHONPATH": str(site)}, "cwd": here, "capture_output": True, "text": True}
        return subprocess.run([sys.executable, *words], **told)

    done = python("-c", f"SITE = {str(site)!r}\n{ELSEWHERE}")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in here.iterdir()} == {"runs", "idea.png", "theory.png", "curves.png", "table4.png"}
    done = python("-m", "dnll_core.campaign", "--tables", "4", "--profile", "quick", "--dry-run")
    assert "6 runs" in done.stdout, done.stderr
    done = python("-m", "dnll_core.figures.report")
    assert done.returncode == 2 and "of a clone of the repository" in done.stderr
    assert {path.name for path in site.iterdir() if path.name != "dnll_core"} == {"dnll_core-0.1.0.dist-info"}


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize("which", ["", "99", "0?", "*", "00 01", "0"])
def test_make_says_which_notebooks_there_are(which):
    words = ["make", "--silent", "notebook", f"N={which}", "READY="]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 2
    assert done.stdout.startswith(f"N={which} names no notebook. There are: 00_quickstart.ipynb 01_theory.ipynb ")


def test_a_push_runs_the_test_command_of_the_readme():
    [job] = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))["jobs"].values()
    [command] = [step["run"] for step in job["steps"] if "run" in step]
    [python] = [step["with"]["python-version"] for step in job["steps"] if "python-version" in step.get("with", {})]
    assert f"\n{command} " in (ROOT / "README.md").read_text(encoding="utf-8")
    assert PROJECT["requires-python"] == f">={python}"
    target, _, name = command.partition(" ")
    assert target == "make" and f"\n{name}: " in (ROOT / "Makefile").read_text(encoding="utf-8")
