"""The rooms of the package, and that imports go one way: from the method outwards, never back."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "dnll_core"
# A file imports from the lines above its own, and from its own line only where that is a folder, without a circle.
FLOORS = [
    {"common", "signals"},
    {"bars"},
    {"fields"},
    {"datafiles"},
    {"paper", "config", "augment", "randaugment", "models", "negatives", "losses", "schedules", "device", "checkpoint"}
    | {"results", "names", "checks", "provenance", "colour", "memory"},
    {"data"},
    {"methods"},
    {"evaluation", "observers", "optimisers", "stages"},
    {"learner"},
    {"captured", "resume"},
    {"trainer", "trial"},
    {"run"},
    {"bench"},
    {"study"},
    {"campaign", "figures"},
    {"own"},
    {"__main__"},
]
# Within a floor of single files.
INSIDE = {("config", "augment"), ("augment", "randaugment"), ("augment", "colour"), ("randaugment", "colour")}
INSIDE |= {("results", "checks"), ("results", "names"), ("names", "config"), ("results", "provenance")}
INSIDE |= {("checks", "config"), ("checks", "provenance"), ("provenance", "device")}
INSIDE |= {("__main__", "own.command")}
# Read at one sitting: the method itself.
ONE_SITTING = """config fields augment models negatives losses schedules learner trainer evaluation checkpoint run
results data/sets data/load data/dataset data/splits methods/__init__ methods/base methods/dnll methods/supervised"""


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").as_posix().removesuffix("/__init__").replace("/", ".")


def imports_of(path: Path) -> set[str]:
    """Names of the package's own modules that a file imports, wherever in the file."""
    names = {name_of(p) for p in modules()}
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "dnll_core":
            base = node.module.removeprefix("dnll_core").lstrip(".")
            for alias in node.names:
                inner = f"{base}.{alias.name}".lstrip(".")
                found.add(inner if inner in names else base)
        assert not isinstance(node, ast.ImportFrom) or node.level == 0, f"{path}: a relative import"
        if isinstance(node, ast.Import):
            assert not any(alias.name.startswith("dnll_core") for alias in node.names), f"{path}: import dnll_core..."
    return found - {""}


def floor(module: str) -> int:
    room = module.split(".")[0]
    return next(i for i, rooms in enumerate(FLOORS) if room in rooms)


@pytest.mark.parametrize("path", [p for p in modules() if name_of(p) != "__init__"], ids=name_of)
def test_imports_go_one_way(path):
    mine = name_of(path)
    for other in imports_of(path):
        same_room = (PACKAGE / mine.split(".")[0]).is_dir() and other.split(".")[0] == mine.split(".")[0]
        assert floor(other) < floor(mine) or same_room or (mine, other) in INSIDE, f"{mine} imports {other}"


def test_there_is_no_circle():
    left = {name_of(p): imports_of(p) for p in modules()}
    left = {name: others - {name} for name, others in left.items()}
    while left:
        free = {name for name, others in left.items() if not others & left.keys()}
        assert free, f"each of these imports another of them: {sorted(left)}"
        left = {name: others for name, others in left.items() if name not in free}


def test_no_file_is_long():
    long = {name_of(p): n for p in modules() if (n := len(p.read_text(encoding="utf-8").splitlines())) > 300}
    assert long == {}


def test_nothing_needs_the_room_of_own_images():
    """By import, at least: `run` and the package itself name it, and import from it when asked to."""
    inside = [path for path in modules() if name_of(path).split(".")[0] == "own"]
    others = [path for path in modules() if path not in inside]
    assert {name_of(path) for path in others if any(o.split(".")[0] == "own" for o in imports_of(path))} == {"__main__"}
    named = {name_of(path) for path in others if "dnll_core.own" in path.read_text(encoding="utf-8")}
    assert named == {"__init__", "__main__", "run"}
    lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in inside)
    assert lines <= 700


def test_the_method_is_read_at_one_sitting():
    lines = sum(len((PACKAGE / f"{name}.py").read_text(encoding="utf-8").splitlines()) for name in ONE_SITTING.split())
    assert lines <= 3000
