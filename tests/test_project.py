"""The files around the package: one list of dependencies, and a package that ships what it needs."""

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


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


def test_every_import_is_a_declared_dependency():
    """A package that is imported but only there because another one needs it would break one day."""
    import ast
    import re

    lines = PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dask"]
    declared = {re.split(r"[><=\[ ]", line)[0] for line in lines}
    declared |= {"sklearn", "PIL", "IPython", "dnll_core"}  # modules of scikit-learn, pillow, and JupyterLab's kernel
    for path in (ROOT / "dnll_core").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module]
            for name in names:
                top = name.split(".")[0]
                assert top in declared or top in sys.stdlib_module_names, f"{path.name} imports {top}"


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
