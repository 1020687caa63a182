"""What a record says of its source: the files that decide a result, as they are at the commit that it names."""

import hashlib
import json
import re
import shutil
import subprocess

import pytest
from test_house import imports_of, modules, name_of

from dnll_core import provenance
from dnll_core.results import root

ROOT = provenance.PACKAGE.parent
MADE_BY = ("run", "methods.classical", "bench.measure")


def digest(files):
    """Of {path in the package: content}."""
    content = b"".join(
        path.encode() + b"\0" + files[path] + b"\0" for path in sorted(files, key=lambda p: p.split("/"))
    )
    return hashlib.sha256(content).hexdigest()


def reached(start):
    """Modules that `start` imports, by the parser of the house's rules, and the packages that they are in."""
    paths, found, left = {name_of(path): path for path in modules()}, set(), [start]
    while left:
        name = left.pop()
        if name and name not in found:
            found.add(name)
            left += [*imports_of(paths[name]), name.rpartition(".")[0]]
    return {paths[name] for name in found}


@pytest.mark.parametrize("of", MADE_BY)
def test_the_hash_is_of_what_is_imported(of):
    python = {path for path in provenance.closure(of) if path.suffix == ".py"}
    assert python == reached(of)
    files = {path.relative_to(provenance.PACKAGE).as_posix(): path.read_bytes() for path in provenance.closure(of)}
    assert provenance.source_hash(of) == digest(files)


def test_data_files_of_the_method_are_hashed():
    data = {path for kind in provenance.DATA for path in (provenance.PACKAGE / "data").glob(kind)}
    assert data <= provenance.closure("run")


def test_no_other_file_changes_the_hash(tmp_path, monkeypatch):
    package = tmp_path / provenance.PACKAGE.name
    shutil.copytree(provenance.PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    before = {of: provenance.source_hash(of) for of in MADE_BY}
    inside = {of: {path.relative_to(provenance.PACKAGE) for path in provenance.closure(of)} for of in MADE_BY}
    monkeypatch.setattr(provenance, "PACKAGE", package)

    def changed():
        return {of for of in MADE_BY if provenance.source_hash.__wrapped__(of) != before[of]}

    assert changed() == set()
    for path in sorted(package.rglob("*.py")):
        whole = path.read_bytes()
        path.write_bytes(whole + b"\n# another line\n")
        assert changed() == {of for of in MADE_BY if path.relative_to(package) in inside[of]}, path
        path.write_bytes(whole)
    for path, expected in (("data/more.toml", {*MADE_BY}), ("figures/more.toml", set()), ("study/more.py", set())):
        (package / path).write_text("", encoding="utf-8")
        assert changed() == expected, path
        (package / path).unlink()


def git(*words, given=None):
    return subprocess.run(("git", *words), cwd=ROOT, input=given, capture_output=True, check=True).stdout


def history_is_here():
    try:
        return git("rev-parse", "--show-prefix", "--is-shallow-repository").split() == [b"false"]
    except (OSError, subprocess.CalledProcessError):
        return False


def recorded_sources():
    """Distinct (commits, hashes, of what) of the committed records, but those of changed trees, marked by a "+"."""
    found = set()

    def look(value):
        if isinstance(value, dict) and "source_sha256" in value and "sittings" not in value:
            said = (value[key] for key in ("commit", "source_sha256"))
            said = (*said, value.get("source_of", provenance.WHOLE))
            found.add(tuple(frozenset(re.split(", (?:then )?", values)) for values in said))
        for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            look(inner)

    for path in root().rglob("*.json"):
        look(json.loads(path.read_bytes()))
    return {one for one in found if not any(commit.endswith("+") for commit in one[0])}


def files_of(commits):
    """Commit -> {path in the package: content}, by one reading of all contents."""
    trees = {}
    for commit in commits:
        lines = git("ls-tree", "-r", "-z", commit, "--", provenance.PACKAGE.name).decode().split("\0")[:-1]
        names = [(line.split()[2], line.split("\t")[1].partition("/")[2]) for line in lines]
        trees[commit] = {path: blob for blob, path in names if path.endswith((".py", ".toml", ".csv"))}
    blobs = sorted({blob for tree in trees.values() for blob in tree.values()})
    answer, contents, at = git("cat-file", "--batch", given="\n".join(blobs).encode()), {}, 0
    for blob in blobs:
        head, _, _ = answer[at : at + 200].partition(b"\n")
        at += len(head) + 1
        contents[blob] = answer[at : at + int(head.split()[2])]
        at += int(head.split()[2]) + 1
    return {commit: {path: contents[blob] for path, blob in tree.items()} for commit, tree in trees.items()}


@pytest.mark.skipif(not history_is_here(), reason="needs a clone with its whole history")
def test_recorded_hashes_are_those_of_their_commits(tmp_path, monkeypatch):
    sources = recorded_sources()
    named = {commit for commits, _, _ in sources for commit in commits}
    history = git("rev-list", "HEAD").decode().split()  # which is all that a clone has
    lost = {commit for commit in named if not any(whole.startswith(commit) for whole in history)}
    assert not lost
    trees = files_of(named)
    assert len(trees) > 20

    def hash_of(commit, of):
        if of == provenance.WHOLE:
            return digest({path: content for path, content in trees[commit].items() if path.endswith(".py")})
        package = tmp_path / commit / provenance.PACKAGE.name
        for path, content in trees[commit].items():
            (package / path).parent.mkdir(parents=True, exist_ok=True)
            (package / path).write_bytes(content)
        monkeypatch.setattr(provenance, "PACKAGE", package)
        return provenance.source_hash.__wrapped__(of)

    for commits, hashes, made_by in sources:  # several of each: of runs that went on later, and of a search's trials
        of_commits = [{hash_of(commit, of) for of in made_by} for commit in commits]
        assert hashes <= set().union(*of_commits), commits
        assert all(any(one in hashes for one in each) for each in of_commits), commits
