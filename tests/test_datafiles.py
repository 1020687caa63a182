"""Data files become the types that check them, or are refused by file, table and field."""

import dataclasses
import re
from typing import Literal

import pydantic
import pytest

from dnll_core.config import ConfigError
from dnll_core.datafiles import MOST_PARTS, from_json, read_toml, read_whole
from dnll_core.fields import RULES, Count


@pydantic.dataclasses.dataclass(frozen=True, config=RULES)
class Row:
    count: Count
    pair: tuple[float, float] = (0.0, 1.0)
    kind: Literal["a", "b"] = "a"
    any: dict[str, object] = dataclasses.field(default_factory=dict)


def test_tables_of_a_toml_file(tmp_path):
    path = tmp_path / "rows.toml"
    path.write_text(
        '[second-1]\ncount = 2\npair = [1, 2.5]\n[first]\ncount = 1\nany = {x = [1, "y"], z = 1.0}\n', encoding="utf-8"
    )
    rows = read_toml(path, dict[str, Row])
    assert list(rows) == ["second-1", "first"]
    assert rows["second-1"] == Row(2, (1.0, 2.5))
    assert rows["first"].any == {"x": [1, "y"], "z": 1.0} and type(rows["first"].any["z"]) is float


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("count = 0", "in [one] count takes a whole number from 1, not 0."),
        ('count = "many"', "in [one] count takes a whole number from 1, not 'many'."),
        ("count = true", "not True."),
        ('count = 1\npair = [1, "2"]', "in [one] pair.1: Input should be a valid number, not '2'."),
        ("count = 1\npair = [1]", "in [one] pair.1: Field required"),
        ('count = 1\nkind = "c"', "in [one] kind='c' is not known. Accepted: a, b."),
        ("count = 1\nkinds = 1", "in [one] field='kinds' is not known. Did you mean 'kind'? Accepted: count, pair,"),
        ("pair = [1, 2]", "in [one] Field required: count"),
        ("count = 1\ncount = 2", "is not TOML: Cannot overwrite a value"),
    ],
)
def test_a_toml_file_that_does_not_fit_is_refused_by_file_table_and_field(tmp_path, text, told):
    path = tmp_path / "rows.toml"
    path.write_text(f"[one]\n{text}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=re.escape(told)) as refusal:
        read_toml(path, dict[str, Row])
    assert str(path) in str(refusal.value)


@pydantic.dataclasses.dataclass(frozen=True, config=RULES)
class Whole:
    rows: dict[str, Row]
    by_data: dict[str, dict[str, Count]]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("count = 1", "count = 0", "in [rows.one] count takes a whole number from 1, not 0."),
        ("count = 1", "count = 1\nnumber = 1", "in [rows.one] field='number' is not known."),
        ("b = 2", "b = 0", "by_data.a.b: Input should be greater than or equal to 1, not 0."),
        ("[by_data.a]", "[by_date.a]\n[by_data.a]", "field='by_date' is not known. Did you mean 'by_data'?"),
    ],
)
def test_a_toml_file_of_several_kinds_of_tables(tmp_path, old, new, told):
    path, text = tmp_path / "rows.toml", "[rows.one]\ncount = 1\n[by_data.a]\nb = 2\n"
    path.write_text(text, encoding="utf-8")
    assert read_toml(path, Whole) == Whole({"one": Row(1)}, {"a": {"b": 2}})
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(ConfigError, match=re.escape(told)) as refusal:
        read_toml(path, Whole)
    assert str(path) in str(refusal.value)


def test_a_toml_file_begins_with_a_mark_or_is_no_utf_8(tmp_path):
    path = tmp_path / "rows.toml"
    path.write_bytes("\ufeff[one]\r\ncount = 1\r\n".encode())  # as some editors save it
    assert read_toml(path, dict[str, Row]) == {"one": Row(1)}
    path.write_bytes("# é\n[one]\ncount = 1\n".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"rows.toml is not TOML: 'utf-8' codec can't decode byte 0xe9"):
        read_toml(path, dict[str, Row])


@pytest.mark.parametrize("value", ["9" * 5000, "[" * 3000 + "]" * 3000])
def test_a_value_that_is_too_much_is_refused_with_the_file(tmp_path, value):
    path = tmp_path / "rows.toml"
    path.write_text(f"[one]\ncount = {value}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"rows.toml"):
        read_toml(path, dict[str, Row])


def test_a_file_is_read_whole_or_not_at_all(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    assert read_whole(path, 10) == b"0123456789"
    with pytest.raises(ValueError, match="it has 0 MB, and 0 MB at most are read"):
        read_whole(path, 9)
    with pytest.raises(IsADirectoryError):
        read_whole(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_whole(tmp_path / "none")


def test_json_of_many_parts_or_levels():
    assert from_json("[" + "[]," * (MOST_PARTS - 2) + "[]]") == [[]] * (MOST_PARTS - 1)
    for text in ("[" + "[]," * MOST_PARTS + "[]]", b"[" + b"{}," * MOST_PARTS + b"{}]"):
        with pytest.raises(ValueError, match="it has more than 2,000,000 lists and objects"):
            from_json(text)
    with pytest.raises(ValueError, match="nested too deep"):
        from_json("[" * 100_000 + "]" * 100_000)
