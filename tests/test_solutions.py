"""Each exercise of a notebook has a solution, and the code of the solutions runs.

A solution is code to add at the end of its notebook. To run it there would take as long as the notebooks do. So of each
notebook those statements are run which give a value to a name that a solution reads, or to one that these read, and so
on; every training on the way is cut to one epoch. What comes out is no result: the test says that names exist, that
arguments fit, and that nothing fails.
"""

import ast
import builtins
import json
import re
import symtable
from pathlib import Path

import matplotlib
import pytest

import dnll_core.campaign.notebooks
from dnll_core import train
from dnll_core.campaign import parameters
from dnll_core.study.settings import at_length

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))
HEADING = re.compile(r"^##(#?) (?:\d+\. )?(.*)$", re.MULTILINE)
SOLUTION = re.compile(r"<details><summary>Solution</summary>\n\n(.*?)\n\n</details>", re.DOTALL)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
# Notebook -> parameters in the place of its own, so that what its solutions need is made in seconds.
SMALL = {
    "03": {"methods": "dnll,supervised", "seeds": 3},
    "04": {"methods": "dnll"},
    "09": {"images": 100},
    "14": {"steps": 16},
}


def cells(path, kind):
    return [
        "".join(c["source"]) for c in json.loads(path.read_text(encoding="utf-8"))["cells"] if c["cell_type"] == kind
    ]


def exercises(path):
    """Title -> text of each exercise of a notebook."""
    text, found = "\n".join(cells(path, "markdown")), {}
    parts = HEADING.split(text)[1:]
    inside = False
    for deeper, title, body in zip(parts[::3], parts[1::3], parts[2::3]):
        inside = inside if deeper else title == "Exercises"
        if inside and deeper:
            found[title] = body
    return found


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_each_exercise_has_one_solution(path):
    assert exercises(path)
    for title, text in exercises(path).items():
        assert len(SOLUTION.findall(text)) == text.count("<details>") == 1, title


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_exercises_are_numbered_and_their_code_is_marked_as_code(path):
    """Else the code of a solution would not be run below: Python is in blocks that say so, commands in others."""
    part = re.split(r"^## ", "\n".join(cells(path, "markdown")), flags=re.MULTILINE)
    [text] = [each for each in part if re.match(r"\d+\. Exercises\n", each)]
    headings = [f"### {i}. {title}" for i, title in enumerate(exercises(path), 1)]
    assert re.findall(r"^###.*$", text, re.MULTILINE) == headings
    fence = ""
    for line in text.split("\n"):
        if line.lstrip().startswith(("```", "~~~")):
            assert line in (["```"] if fence else ["```", "```python"])
            fence = "" if fence else line
        elif fence == "```":
            assert re.match("(make|papermill|dnll) ", line), line
        elif not fence:
            assert not re.match(r"(import|from \w+ import|print\(|[\w, ]+ = )", line), line
    assert not fence


def solutions(path):
    """The Python code of a notebook's solutions, by the exercise's title."""
    code = {}
    for title, text in exercises(path).items():
        blocks = [block for kind, block in FENCE.findall("\n".join(SOLUTION.findall(text))) if kind == "python"]
        if blocks:
            code[title] = "\n".join(blocks)
    return code


def commands(path):
    """(notebook, its words of parameters) of each command in a notebook's text that runs a notebook with others."""
    for text in cells(path, "markdown"):
        for name, words in re.findall(r"papermill notebooks/(\w+)\.ipynb \S+((?: -p [\w.]+ [^\s`]+)+)", text):
            yield name, words.split()
        for words in re.findall(r'make quickstart ARGS="([^"]+)"', text):
            yield "00_quickstart", words.split()
        for number, words in re.findall(r'make notebook N=(\d\d) ARGS="([^"]+)"', text):
            yield next(p.stem for p in NOTEBOOKS if p.stem.startswith(number)), words.split()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_commands_name_parameters_that_exist(path):
    for name, words in commands(path):
        parameters.main([str(path.with_name(f"{name}.ipynb")), *words])


# -- what a solution needs of its notebook ----------------------------------------------------------------------------


class WithoutAsserts(ast.NodeTransformer):
    """They are of whole trainings."""

    def visit_Assert(self, node):
        return ast.Pass()


def names(statement):
    """(names that a statement gives a value or changes, names that it reads), as far as its text tells."""
    top = symtable.symtable(ast.unparse(statement), "", "exec")
    changed = {s.get_name() for s in top.get_symbols() if s.is_assigned() or s.is_imported()}
    read, scopes = {s.get_name() for s in top.get_symbols() if s.is_referenced()}, [*top.get_children()]
    while scopes:
        scope = scopes.pop()
        read |= {s.get_name() for s in scope.get_symbols() if s.is_global() and s.is_referenced()}
        scopes += scope.get_children()
    for node in ast.walk(statement):
        if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):  # which symbols call assigned alone
            read.add(node.target.id)
        store = isinstance(node, ast.Subscript | ast.Attribute) and isinstance(node.ctx, ast.Store)
        call = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
        target = node if store else node.value.func if call else None
        while isinstance(target, ast.Subscript | ast.Attribute | ast.Call):  # x[0] = ..., x.y = ..., x.append(...)
            target = target.func if isinstance(target, ast.Call) else target.value
        if isinstance(target, ast.Name) and (store or isinstance(node.value.func, ast.Attribute)):
            changed.add(target.id)
    return changed, read - vars(builtins).keys()


def needed(statements, wanted):
    """Those statements, in order, without which the wanted names would not be what they are at the end."""
    kept, wanted = [], set(wanted)
    for statement in reversed(statements):
        changed, read = names(statement)
        if changed & wanted:
            kept.append(statement)
            if isinstance(statement, ast.Assign | ast.FunctionDef | ast.Import | ast.ImportFrom):
                wanted -= changed - read
            wanted |= read
    return kept[::-1]


BY_HAND = """a = 1
b = 5
c = []
c.append(a)
d = [e for e in c]
b = 2
b += a
print(d)
x = d[0] = b
def f(): return b
if g := x: d += 1
"""


@pytest.mark.parametrize(
    ("wanted", "lines"),
    [
        ("f", "a = 1|b = 2|b += a|def f():"),
        ("d", "a = 1|c = []|c.append(a)|d = [e for e in c]|b = 2|b += a|x = d[0] = b|if (g := x):"),
        ("g", "a = 1|c = []|c.append(a)|d = [e for e in c]|b = 2|b += a|x = d[0] = b|if (g := x):"),
    ],
)
def test_what_is_needed_by_hand(wanted, lines):
    found = needed(ast.parse(BY_HAND).body, {wanted})
    assert [ast.unparse(statement).split("\n")[0] for statement in found] == lines.split("|")


@pytest.fixture
def short(monkeypatch):
    """Cuts every training to an epoch, and what would start processes to three seeds in this one."""
    prepare = dnll_core.run.prepare

    def cut(experiment, seed, **how):
        batch = {"unlabelled_batch": 128} if experiment.dataset == "digits" else {}  # eight iterations
        return prepare(at_length(experiment, 1).replace(**batch), seed, **how)

    def few(experiments, seeds=1, **how):
        return {name: [train(e, seed).record() for seed in range(min(seeds, 3))] for name, e in experiments.items()}

    monkeypatch.setattr(dnll_core.run, "prepare", cut)
    monkeypatch.setattr(dnll_core.campaign.notebooks, "run_cells", few)


@pytest.mark.parametrize("path", [path for path in NOTEBOOKS if solutions(path)], ids=lambda path: path.stem)
def test_the_code_of_the_solutions_runs(path, short, monkeypatch):
    monkeypatch.chdir(path.parent)  # where a notebook's kernel stands
    matplotlib.use("agg")
    given, code = SMALL.get(path.stem[:2], {}), solutions(path)
    statements = [s for text in cells(path, "code") for s in WithoutAsserts().visit(ast.parse(text)).body]
    wanted = set().union(*(names(ast.parse(text))[1] for text in code.values()))
    namespace = {"__name__": "__main__"}
    for statement in needed(statements, wanted):
        exec(compile(ast.fix_missing_locations(ast.Module([statement], [])), f"<{path.stem}>", "exec"), namespace)
        namespace |= {name: value for name, value in given.items() if name in names(statement)[0]}
    for title, text in code.items():
        exec(compile(text, f"<{title}>", "exec"), dict(namespace))  # without what other solutions make
