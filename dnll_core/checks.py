"""What a file of results must hold, so that no damaged or foreign one counts as a result: its seal, and of a run more.

Format 2 has a SHA-256 of its content; of format 1 `check_record` finds what is impossible, and not a digit that became
another one.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import statistics
from collections.abc import Iterable, Iterator
from pathlib import Path

from dnll_core.common import FORMAT, MOST, brief, digest_of, shown
from dnll_core.config import METHODS, Experiment
from dnll_core.datafiles import from_json, read_whole
from dnll_core.provenance import OF_A_SITTING

ACCURACIES = frozenset({"submodels", "ensemble"})
SETS = ("validation", "test")
OF_A_RUN = {"experiment", "seed", "method", "source", "dataset", "labels", "network"}  # no row of its history says it
OF_A_RUN |= {"m", "selection", "teaching"}
PRINTED = ("device", "processor", "precision", "torch", "commit", "python", "finished")  # below tables, as they are
# A notebook that shows it takes none of it for a tag or a link.
PLAIN = re.compile(r"((?!\]\(|://|www\.)[^<\x00-\x1f]){0,300}")


class RecordError(ValueError):
    """A file that is not a readable record."""


def sealed(content: dict) -> dict:
    """`content` as JSON gives it back, with its format, and with the SHA-256 of all the rest as "sha256"."""
    content = json.loads(json.dumps({**content, "format": FORMAT}))  # tuples become lists, and keys text
    content.pop("sha256", None)
    return content | {"sha256": digest_of(content)}


def opened(data: bytes) -> dict:
    """The content of a JSON file of results, without its SHA-256, which is checked. Format 1 has none.

    Raises:
        ValueError: saying what is wrong with it.
    """
    content = from_json(data)
    if not isinstance(content, dict):
        raise ValueError("it is no JSON object")
    version = content.get("format", 1)
    if type(version) is not int or not 1 <= version <= FORMAT:
        raise ValueError(f"its format is {version!r}, and this version reads 1 to {FORMAT}")
    told = content.pop("sha256", None)
    if (version > 1 or told is not None) and told != digest_of(content):
        raise ValueError("its content has another SHA-256 than it says, so it was changed since it was written")
    _check_printed(content)
    return content


def opened_file(path: Path) -> dict:
    """As `opened`, of a file that anybody may have made.

    Raises:
        RecordError: naming it.
    """
    try:
        return opened(read_whole(path))
    except (OSError, ValueError) as error:
        raise RecordError(f"{path} cannot be read ({brief(error)}); delete it or restore it.") from None


def _check_printed(content: dict) -> None:
    for part in _parts(content):
        for name in PRINTED:
            if isinstance(part.get(name), str) and not PLAIN.fullmatch(part[name]):
                raise ValueError(f"its {name} is {shown(part[name])}")


def _parts(content: dict) -> Iterator[dict]:
    """A record, and the objects in it that may say where a part of it was made: its sittings or settings."""
    yield content
    for value in content.values():
        inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        yield from (part for part in inside if isinstance(part, dict))


def check_record(record: dict) -> None:
    """Raises ValueError, saying what is wrong, for a record that cannot be one of a run."""
    _keys(record, "it", ("format", "experiment", "seed", "final", "torch", "commit", "source_sha256"))
    _check_experiment(record)
    if type(record["seed"]) is not int or record["seed"] < 0:  # of any size
        raise ValueError(f"its seed is {record['seed']!r}")
    diverged = "diverged" in record
    if not diverged:
        _keys(record, "it", ("device", "precision", "seconds"))
        _seconds(record["seconds"], "it")
    for name in ("device", "precision", "torch", "commit", "source_sha256", "source_of"):
        if not isinstance(record.get(name), str | None):
            raise ValueError(f"its {name} is {record[name]!r}")
    if record["format"] > 1:
        _check_sittings(record, diverged)
    final = record["final"]
    if not isinstance(final, dict) or not final.keys() <= set(SETS) or bool(final) == diverged:
        raise ValueError("its final accuracies are not of validation or test images")
    for name, scores in final.items():
        _accuracies(scores, f"final {name}", ACCURACIES | {"mean"})
        if not math.isclose(scores["mean"], statistics.fmean(scores["submodels"]), abs_tol=1e-9):
            raise ValueError(f"final {name}: its mean is {scores['mean']!r}, and not that of its submodels")
    if "best_on_test" in record:
        _share(record["best_on_test"]["accuracy"], "best_on_test")
    if "test_on_strong_view" in record:
        _accuracies(record["test_on_strong_view"], "test_on_strong_view")
    if "history" in record:
        _check_history(record)
    elif record["experiment"]["method"] in METHODS and not diverged:
        raise ValueError("it has no 'history'")


def check_so_far(info: dict) -> None:
    """Raises ValueError, saying what is wrong, for what a checkpoint says of a run if no run can have come to it."""
    for name, kind in (("counts", dict), ("history", list), ("finished", str | None)):
        if not isinstance(info[name], kind):
            raise ValueError(f"its {name} is {shown(info[name])}")
    if not all(_whole(count, 0) for count in info["counts"].values()):
        raise ValueError(f"its counts are {shown(info['counts'])}")
    _seconds(info["seconds"], "it")
    _check_sittings(info, diverged=False)
    _check_printed(info)
    step = 0
    for epoch, row in enumerate(info["history"], start=1):
        _check_epoch(row, epoch, step, dict.fromkeys(SETS), due=False)
        step = row["step"]
    _check_within(info.get("within", []), step, info["step"] + 1, dict.fromkeys(SETS))


def _check_experiment(record: dict) -> None:
    fields = record["experiment"]
    _keys(fields, "its experiment", ("dataset", "labels", "method"))
    fits = {name: isinstance(fields[name], str) for name in ("dataset", "method")}
    fits["source"] = isinstance(fields.get("source"), str | None)
    fits["labels"] = fields["labels"] is None or _whole(fields["labels"], 1)
    fits |= {name: _whole(fields.get(name, 1), 1) for name in ("eval_every", "m")}
    for name, fit in fits.items():
        if not fit:
            raise ValueError(f"its experiment has {name}={fields[name]!r}")
    if record["format"] > 1:
        return  # the digest vouches for fields of a later version
    if fields["method"] in METHODS:
        strange = fields.keys() - {field.name for field in dataclasses.fields(Experiment)}
        if strange:
            raise ValueError(f"its experiment has the unknown field {min(strange)!r}")
    elif "history" in record:
        raise ValueError(f"its method is {fields['method']!r}")


def _check_sittings(record: dict, diverged: bool) -> None:
    _keys(record, "it", ("sittings",))
    if not isinstance(record["sittings"], list) or not record["sittings"]:
        raise ValueError("its sittings are no list")
    for sitting in record["sittings"]:
        _keys(sitting, "a sitting", OF_A_SITTING)
        if diverged and sitting["iterations"] is sitting["seconds"] is None:
            continue
        for name in ("device", "processor", "precision", "torch", "commit", "source_sha256"):
            if not isinstance(sitting[name], str | None):
                raise ValueError(f"a sitting's {name} is {shown(sitting[name])}")
        _seconds(sitting["seconds"], "a sitting")
        if not _whole(sitting["iterations"], 0) or sitting["iterations"] > MOST:
            raise ValueError(f"a sitting has {sitting['iterations']!r} iterations")


def _check_history(record: dict) -> None:
    """One row for each epoch; those that are due have accuracies of the same sets and submodels as the final ones."""
    history, final = record["history"], record["final"]
    if not isinstance(history, list) or not history:
        raise ValueError("its history is no list of epochs")
    every, step = record["experiment"].get("eval_every", 1), 0
    submodels = {name: len(scores["submodels"]) for name, scores in final.items()}
    for epoch, row in enumerate(history, start=1):
        try:
            _check_epoch(row, epoch, step, submodels, due=epoch % every == 0 or epoch == len(history))
        except ValueError as error:
            raise ValueError(f"epoch {epoch} of its history: {error}") from None
        step = row["step"]
    for name, scores in final.items():
        if any(history[-1][name][key] != scores[key] for key in ACCURACIES):
            raise ValueError(f"final {name} is not what its last epoch says")


def _check_epoch(row: dict, epoch: int, before: int, submodels: dict[str, int | None], due: bool) -> None:
    """submodels: how many each held-out set has accuracies of; None if that is not known."""
    _keys(row, "it", ("epoch", "step"))
    if row["epoch"] != epoch or not _whole(row["step"], before + 1):
        raise ValueError(f"it says epoch {row['epoch']!r} and step {row['step']!r}, after step {before}")
    if "seconds" in row:
        _seconds(row["seconds"], "it")
    _check_within(row.get("within", []), before, row["step"], submodels)
    for name, value in row.items():
        if name != "within" and (not isinstance(value, int | float | dict | None) or name in OF_A_RUN):
            raise ValueError(f"it says {shown(name)}: {shown(value)}")
    for name, number in submodels.items():
        if name in row:
            _accuracies(row[name], name, ACCURACIES, number)
        elif due:
            raise ValueError(f"it has no {name!r}")


def _check_within(rows: list, before: int, end: int, submodels: dict[str, int | None]) -> None:
    """The evaluations within an epoch, after step `before` and before step `end`."""
    if not isinstance(rows, list):
        raise ValueError(f"what it says of evaluations within it is {shown(rows)}")
    for row in rows:
        _keys(row, "an evaluation within it", ("step",))
        if strange := row.keys() - {"step", *SETS, "target"}:
            raise ValueError(f"an evaluation within it says {shown(min(strange))}")
        if not _whole(row["step"], before + 1) or row["step"] >= end:
            raise ValueError(f"an evaluation within it says step {row['step']!r}, after step {before}")
        before = row["step"]
        for name, number in submodels.items():
            if name in row:
                _accuracies(row[name], name, ACCURACIES, number)


def _accuracies(scores: dict, where: str, keys: frozenset = ACCURACIES, submodels: int | None = None) -> None:
    if not isinstance(scores, dict) or scores.keys() != keys:
        raise ValueError(f"{where} does not hold {', '.join(sorted(keys))}")
    each = scores["submodels"]
    if not isinstance(each, list) or not each or (submodels is not None and len(each) != submodels):
        raise ValueError(f"{where}: its submodels are {each!r}")
    for value in each:
        _share(value, where)
    for key in keys:
        if key != "submodels":
            _share(scores[key], where)


def _share(value: object, where: str) -> None:
    if type(value) not in (float, int) or not 0 <= value <= 1:
        raise ValueError(f"{where}: {value!r} is no accuracy, which is a number 0...1")


def _seconds(value: object, where: str) -> None:
    if type(value) not in (float, int) or not 0 <= value < MOST:
        raise ValueError(f"{where} has {value!r} seconds")


def _whole(value: object, lowest: int) -> bool:
    return type(value) is int and lowest <= value < MOST


def _keys(found: object, what: str, wanted: Iterable[str]) -> None:
    if not isinstance(found, dict):
        raise ValueError(f"{what} is no JSON object")
    for key in wanted:
        if key not in found:
            raise ValueError(f"{what} has no {key!r}")
