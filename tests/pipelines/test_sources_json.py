"""JSON Lines: every line is a row or a rejected line, with values exactly as ``json`` reads them."""

from __future__ import annotations

import gzip
import json
import pickle
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from consentry.pipelines import json_blocks, json_lines, text_blocks
from consentry.pipelines.sources import plan_sources, read_split
from consentry.schemas.errors import InputError, RunError
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from oracles.json_rows import column_kinds, filled_lines, fitting_reasons, kinds_of, load, shaped
from oracles.source_rows import Read, read_all

TEXT = pa.string()
RANGE = "number_out_of_range"


def write(path: Path, *lines: Any, end: str = "\n") -> Path:
    texts = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    path.write_bytes(b"".join(text + end.encode() for text in texts))
    return path


@pytest.fixture
def orders(tmp_path: Path) -> Path:
    return tmp_path / "orders.jsonl"


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks, parts and ranges of a few lines, so that small files go all ways."""
    shrink(monkeypatch)


def shrink(patch: pytest.MonkeyPatch, *, block: int = 512) -> None:
    patch.setattr(text_blocks, "BLOCK_BYTES", block)
    patch.setattr(json_lines, "RANGE_BYTES", 4 * block)
    patch.setattr(json_blocks, "BY_LINE", 2)
    patch.setattr(json_blocks, "NEAR", 1)
    patch.setattr(json_blocks, "PART_LINES", 7)


def test_lines_become_rows_with_their_line_numbers(orders: Path) -> None:
    read = read_all(write(orders, {"id": 1, "to": {"city": "Köln"}}, {"id": 2, "items": [{"sku": "TEA"}]}))
    assert read.rows == [
        {"id": 1, "to": {"city": "Köln"}, "items": None},
        {"id": 2, "to": None, "items": [{"sku": "TEA"}]},
    ]
    assert read.positions == [1, 2]
    assert read.rejected == []


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"a": 1', "invalid_json"),
        (b"{}}", "invalid_json"),
        (b"nonsense", "invalid_json"),
        (b'{"a": 1} {"a": 2}', "invalid_json"),
        (b'{"a": 1}{"a": 2}', "invalid_json"),
        (b'{"a": 1} x}', "invalid_json"),
        (b"{'a': 1}", "invalid_json"),
        (b'{"a": 1,}', "invalid_json"),
        (b'{"a": NaN}', "invalid_json"),
        (b'{"f": NaN}', "invalid_json"),
        (b'{"f": Infinity}', "invalid_json"),
        (b'{"f": -Infinity}', "invalid_json"),
        (b'{"a": 01}', "invalid_json"),
        (b'{"a": +1}', "invalid_json"),
        (b'{"f": .5}', "invalid_json"),
        (b'{"s": "a\tb"}', "invalid_json"),
        (b'{"s": "a\rb"}', "invalid_json"),
        (b'{"s": "a\0b"}', "invalid_json"),
        (b'{"a": 1}\0}', "invalid_json"),
        (b"\0\0\0", "invalid_json"),
        (b'{"s": "\\x"}', "invalid_json"),
        (b'{"s": "\\ud800"}', "invalid_json"),
        (b'{"s": "\\udc00 x"}', "invalid_json"),
        (b'{"a": 1} // note', "invalid_json"),
        (b'\xef\xbb\xbf{"a": 1}', "invalid_json"),
        (b'{"s": "\xff"}', "invalid_utf8"),
        (b'{"s": "\xed\xa0\x80"}', "invalid_utf8"),
        (b'{"\xc3": 1}', "invalid_utf8"),
        (b"[1, 2]", "not_an_object"),
        (b"1", "not_an_object"),
        (b'"{}"', "not_an_object"),
        (b"null", "not_an_object"),
        (b'{"a": 1, "a": 1}', "duplicate_key"),
        (b'{"a": 1, "\\u0061": 1}', "duplicate_key"),
        (b'{"a":null,"a":null}', "duplicate_key"),
        (b'{"n": {"x": 1, "y": 2, "x": 3}}', "duplicate_key"),
        (b'{"l": [{"x": 1, "x": 1}]}', "duplicate_key"),
        (b'{"z" : 1, "z":":"}', "duplicate_key"),
        (b'{"a": "1"}', "wrong_type"),
        (b'{"a": true}', "wrong_type"),
        (b'{"s": 1.0}', "wrong_type"),
        (b'{"s": 1e3}', "wrong_type"),
        (b'{"s": -0.0}', "wrong_type"),
        (b'{"s": true}', "wrong_type"),
        (b'{"s": {}}', "wrong_type"),
        (b'{"s": [1]}', "wrong_type"),
        (b'{"s": 01}', "invalid_json"),
        (b'{"s": -}', "invalid_json"),
        (b'{"s": 1, "s": 1}', "duplicate_key"),
        (b'{"s": 1, "a": "1"}', "wrong_type"),
        (b'{"n": []}', "wrong_type"),
        (b'{"n": "x"}', "wrong_type"),
        (b'{"l": {}}', "wrong_type"),
        (b'{"l": "ab"}', "wrong_type"),
        (b'{"l": [[]]}', "wrong_type"),
        (b'{"n": {"x": "1"}}', "wrong_type"),
        (b'{"a": 9223372036854775808}', "number_out_of_range"),
        (b'{"a": -9223372036854775809}', "number_out_of_range"),
        (b'{"a": 1' + b"0" * 5000 + b"}", "number_out_of_range"),
        (b'{"f": 9007199254740993}', "number_out_of_range"),
        (b'{"f": 1e400}', "number_out_of_range"),
        (b'{"f": -1e400}', "number_out_of_range"),
        (b'{"d": ' + b"[" * 64 + b"]" * 64 + b"}", "too_deep"),
        (b'{"d": ' + b'{"d": ' * 200_000 + b"1" + b"}" * 200_001, "too_deep"),
        (b'{"d": ' + b"[" * 900_000, "too_deep"),
    ],
)
def test_a_line_that_is_no_record_is_rejected_for_a_reason_and_takes_no_other_with_it(
    orders: Path, line: bytes, reason: str
) -> None:
    good = {"a": 1, "s": "é", "f": 0.5, "n": {"x": 1}, "l": [{"x": 1}]}
    read = read_all(write(orders, *[good] * 100, line, *[good] * 100))
    assert read.rejected == [(101, reason)]
    assert read.rows == [good] * 200
    assert read.positions == [*range(1, 101), *range(102, 202)]
    (rejected,) = [line for each in read.batches for line in each.rejected]
    assert rejected.raw == line
    assert (rejected.parsed is not None) == (reason == "wrong_type" or (reason == RANGE and b"e" not in line))
    assert repr(rejected) == f"RejectedLine(position=101, reason='{reason}')"


@pytest.mark.parametrize(
    ("line", "record"),
    [
        (b'{"s": "\\ud83c\\udf81 \\u0000 \\u001f"}', {"s": "🎁 \0 \x1f"}),
        (b'{"s": "NaN, \\"Infinity\\""}', {"s": 'NaN, "Infinity"'}),
        (b'\t {"s": "x"} \r', {"s": "x"}),
        (b'{"s": "}\\n{"}', {"s": "}\n{"}),
        (b'{"i": 9223372036854775807}', {"i": 2**63 - 1}),
        (b'{"i": -9223372036854775808}', {"i": -(2**63)}),
        (b'{"f": 9007199254740992}', {"f": 2.0**53}),
        (b'{"f": 1e300}', {"f": 1e300}),
        (b'{"f": 123456789012345678901234567890.5}', {"f": 123456789012345678901234567890.5}),
        (b'{"f": 5e-324}', {"f": 5e-324}),
        (b'{"f": 1}', {"f": 1.0}),
        (b'{"s": "2026-01-01T00:00:00Z"}', {"s": "2026-01-01T00:00:00Z"}),
        (b'{"s" : "\\":"}', {"s": '":'}),
        (b'{"s": 4111111111111111}', {"s": "4111111111111111"}),
        (b'{"s": -5}', {"s": "-5"}),
        (b'{"s": -0}', {"s": "-0"}),
        (b'{"s": -0, "i": -0, "f": -0}', {"s": "-0", "i": 0, "f": 0.0}),
        (b'{"s"\t:\r 7 \t}', {"s": "7"}),
        (b'{"\\u0073": 7}', {"s": "7"}),
        (b'{"s": 18446744073709551616}', {"s": "18446744073709551616"}),
        (b'{"s": -9223372036854775809}', {"s": "-9223372036854775809"}),
        (b'{"s": 9007199254740993}', {"s": "9007199254740993"}),
        (b'{"s": 1' + b"0" * 5000 + b"}", {"s": "1" + "0" * 5000}),
        (b"{}", {}),
    ],
)
def test_a_line_that_is_unusual_json_is_a_row(orders: Path, line: bytes, record: dict[str, Any]) -> None:
    empty: dict[str, Any] = {"s": None, "i": None, "f": None}
    good = {"s": "x", "i": 1, "f": 0.5}
    for around in ([good], [good] * 200):
        read = read_all(write(orders, *around, line, *around))
        assert read.rejected == []
        assert read.rows == [*around, {**empty, **record}, *around]


def test_text_that_looks_like_something_else_stays_text(orders: Path) -> None:
    texts = ["2026-01-01", "2026-01-01T10:00:00Z", "2026-01-01 10:00:00", "00123", "1e5", "true", "null", ""]
    read = read_all(write(orders, *({"a": text} for text in texts)))
    assert read.types == {"a": TEXT}
    assert [row["a"] for row in read.rows] == texts


def test_a_field_that_appears_in_the_last_line_has_a_column(orders: Path) -> None:
    lines: list[Any] = [{"a": number, "n": {"x": 1}} for number in range(3000)]
    read = read_all(write(orders, *lines, {"a": 1, "late": "x", "n": {"y": [1.5]}}))
    assert list(read.types) == ["a", "n", "late"]
    assert read.types["n"] == pa.struct([("x", pa.int64()), ("y", pa.list_(pa.float64()))])
    assert read.rows[-1] == {"a": 1, "n": {"x": None, "y": [1.5]}, "late": "x"}


def test_the_type_of_most_values_wins_and_the_others_are_rejected_with_the_record(orders: Path) -> None:
    lines = [{"n": number if number % 10 else str(number), "x": None} for number in range(1, 1001)]
    read = read_all(write(orders, *lines))
    assert read.types == {"n": pa.int64(), "x": pa.null()}
    assert read.rejected == [(number, "wrong_type") for number in range(10, 1001, 10)]
    assert next(line.parsed for each in read.batches for line in each.rejected) == {"n": "10", "x": None}
    assert len(read.rows) == 900


@pytest.mark.parametrize("share", [2.5, 10, 300])
@pytest.mark.parametrize(
    "shape",
    [
        lambda value: {"card": value, "n": 1},
        lambda value: {"payment": {"card": {"number": value}}, "n": 1},
        lambda value: {"id": value, "items": [{"id": 1}, {"id": 2}]},
        lambda value: {"bill": {"zip": value}, "ship": {"zip": value}},
        lambda value: {"tags": ["a", value, "b"]},
        lambda value: {"items": [{"code": "x"}, {"code": value}]},
        lambda value: {'we"ird': value, "back\\slash": value, "back": "x"},
        lambda value: {"a.b/c*": value, "c*": "x"},
        lambda value: {"note": '"card": 5, "card":5}', '"card': 5, "card": value},
    ],
)
def test_whole_numbers_in_a_column_of_text_are_text_as_they_are_spelled(orders: Path, share: float, shape: Any) -> None:
    values = [number * 10**13 if number % share < 1 else f"c-{number}" for number in range(1, 2001)]
    read = read_all(write(orders, *map(shape, values)))
    assert read.rejected == []
    assert read.rows == [shape(str(value)) for value in values]


def test_a_column_of_whole_numbers_takes_no_text(orders: Path) -> None:
    lines = [{"n": number if number % 5 < 3 else str(number)} for number in range(1000)]
    read = read_all(write(orders, *lines))
    assert (read.types, len(read.rows)) == ({"n": pa.int64()}, 600)
    assert {reason for _, reason in read.rejected} == {"wrong_type"}


@pytest.mark.usefixtures("small_blocks")
def test_whole_numbers_that_will_be_text_count_as_numbers(orders: Path) -> None:
    texts, numbers = [{"a": "x", "b": {"c": "y"}}] * 100, [{"a": 1, "b": {"c": 2}}] * 100
    mixed = [line for pair in zip(texts, numbers, strict=True) for line in pair]
    assert read_all(write(orders, *mixed)).types == {"a": TEXT, "b": pa.struct([("c", TEXT)])}
    assert read_all(write(orders, *mixed, numbers[0])).types == {"a": pa.int64(), "b": pa.struct([("c", pa.int64())])}
    assert read_all(write(orders, *mixed[1:])).types == {"a": pa.int64(), "b": pa.struct([("c", pa.int64())])}
    assert read_all(write(orders, *mixed[1:], texts[0])).types == {"a": pa.int64(), "b": pa.struct([("c", pa.int64())])}
    assert read_all(write(orders, *texts, *numbers, numbers[0])).types["a"] == pa.int64()


@pytest.mark.usefixtures("small_blocks")
def test_a_name_that_gets_a_second_column_within_a_block_is_counted_right(orders: Path) -> None:
    lines: list[Any] = [{"a": {"id": str(n) if n % 3 else n}} for n in range(60)]
    lines += [{"a": {"id": n if n % 2 else "x"}, "b": {"id": n}} for n in range(60)]
    lines += [{"a": {"id": "x"}, "b": {"id": str(n) if n % 3 else n}} for n in range(400)]
    for start in range(0, 60, 7):
        read = everything(b"\n".join(json.dumps(line).encode() for line in lines[start:]), orders)
        ids = [line["b"]["id"] for line in lines[start:] if "b" in line]
        wanted = pa.int64() if sum(isinstance(each, int) for each in ids) * 2 >= len(ids) else TEXT
        assert read.types == {"a": pa.struct([("id", TEXT)]), "b": pa.struct([("id", wanted)])}


def test_of_two_types_that_come_equally_often_the_first_wins(orders: Path) -> None:
    assert read_all(write(orders, {"a": 1}, {"a": "x"})).types == {"a": pa.int64()}
    assert read_all(write(orders, {"a": None}, {"a": "x"}, {"a": 1})).types == {"a": TEXT}


def test_whole_and_other_numbers_together_are_floats_unless_one_would_be_rounded(orders: Path) -> None:
    read = read_all(write(orders, {"a": 1}, {"a": 2**53 + 1}, {"a": 1.5}, {"a": -(2**53)}))
    assert read.types == {"a": pa.float64()}
    assert [row["a"] for row in read.rows] == [1.0, 1.5, -(2.0**53)]
    assert read.rejected == [(2, "number_out_of_range")]
    assert read_all(write(orders, {"a": 1}, {"a": 2**53 + 1})).rows == [{"a": 1}, {"a": 2**53 + 1}]


def test_paths_without_a_value_are_null_and_objects_without_keys_too(orders: Path) -> None:
    read = read_all(write(orders, {"a": None, "b": {}, "c": [], "d": [{}], "e": {"f": {}}}, {"b": {}, "d": None}))
    assert read.types == {
        "a": pa.null(), "b": pa.null(), "c": pa.list_(pa.null()), "d": pa.list_(pa.null()),
        "e": pa.struct([("f", pa.null())]),
    }  # fmt: skip
    assert read.rows[0] == {"a": None, "b": None, "c": [], "d": [None], "e": {"f": None}}
    assert read.rejected == []


def test_records_without_any_field_are_rows(orders: Path) -> None:
    read = read_all(write(orders, {}, {}, {}))
    assert (read.types, read.positions, read.rows) == ({}, [1, 2, 3], [{}, {}, {}])


def test_blank_lines_are_counted_and_nothing_else(orders: Path) -> None:
    orders.write_bytes(b'\n\r\n  \t\n{"a": 1}\n\n\n{"a": 2}\r\n{"a": 3}')
    read = read_all(orders)
    assert ([row["a"] for row in read.rows], read.positions, read.rejected) == ([1, 2, 3], [4, 7, 8], [])


def test_a_byte_order_mark_is_no_part_of_the_first_record(orders: Path) -> None:
    orders.write_bytes(b'\xef\xbb\xbf{"a": 1}\n')
    assert read_all(orders).rows == [{"a": 1}]
    orders.write_bytes(b"\xef\xbb\xbf")
    assert read_all(orders).rows == []


def test_reserved_keys_are_dropped(orders: Path) -> None:
    forged = {"a": 1, "__consentry_permits:support": True, "__consentry_position": 7}
    escaped = b'{"\\u005f_consentry_position": 8, "a": 2}'
    read = read_all(write(orders, forged, escaped, {"a": 3}))
    assert (read.rows, read.positions) == ([{"a": 1}, {"a": 2}, {"a": 3}], [1, 2, 3])


def test_an_object_that_spreads_over_lines_makes_no_row(orders: Path) -> None:
    orders.write_bytes(b'{"a":\n1}\n{"a": 2} {"a": 3}\n{"a": {}\n}\n{"a": "x\n{y}"}\n')
    read = read_all(orders)
    assert read.rows == []
    assert [position for position, _ in read.rejected] == [1, 2, 3, 4, 5, 6, 7]


ARRAY = r"holds an array, and not JSON Lines; write one object on each line, for instance with jq -c '\.\[\]'"
OBJECT = (
    r"holds an object over several lines, and not JSON Lines; write one object on each line, for instance with jq -c"
)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (json.dumps([{"a": 1}, {"a": 2}], indent=2).encode(), ARRAY),
        (json.dumps([{"a": 1}, {"a": 2}]).encode(), ARRAY),
        (b'\xef\xbb\xbf \n\r\n[{"a": 1},\r\n {"a": 2}]\r\n', ARRAY),
        (b"[" + b'{"a": 1}, ' * 10_000 + b'{"a": 2}]\n', ARRAY),
        (json.dumps({"a": [1, 2]}, indent=2).encode(), OBJECT),
        (b'\n {\r\n "a": 1\r\n}', OBJECT),
    ],
)
@pytest.mark.parametrize("name", ["orders.json", "ORDERS.JSON.GZ"])
def test_a_json_file_that_is_one_document_is_an_error_that_says_so(
    tmp_path: Path, data: bytes, message: str, name: str
) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(data) if name.endswith("GZ") else data)
    with pytest.raises(InputError, match=rf"{name}: {message}") as caught:
        plan_sources([str(path)])
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("name", ["orders.json", "orders.jsonl", "orders.json.gz"])
@pytest.mark.parametrize("first", [b"[1, 2]", b"[]", b' [{"a": 1}] ', b'{"a":', b"{}}", b"", b"nonsense"])
def test_a_first_line_that_is_no_object_is_rejected_like_any_other(tmp_path: Path, first: bytes, name: str) -> None:
    data = first + b'\n{"a": 1}\n{"a": 2}\n'
    path = tmp_path / name
    path.write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    read = read_all(path)
    assert read.rows == [{"a": 1}, {"a": 2}]
    assert [position for position, _ in read.rejected] == ([1] if first else [])


def test_in_files_that_are_called_json_lines_every_line_is_for_itself(orders: Path) -> None:
    orders.write_text(json.dumps([{"a": 1}, {"a": 2}], indent=2))
    assert len(read_all(orders).rejected) == 8


def test_a_line_that_is_too_long_is_rejected_and_the_rest_is_read(
    orders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_blocks, "BLOCK_BYTES", 256)
    monkeypatch.setattr(text_blocks, "MAX_LINE", 1000)
    monkeypatch.setattr(text_blocks, "KEPT_OF_LONG_LINE", 20)
    fits = {"a": "y" * 990}
    for long in (991, 3000):
        read = read_all(write(orders, {"a": "1"}, {"a": "x" * long}, fits, {"a": "x" * long}))
        assert (read.rows, read.positions) == ([{"a": "1"}, fits], [1, 3])
        assert read.rejected == [(2, "line_too_long"), (4, "line_too_long")]
        assert read.raw == [b'{"a": "' + b"x" * 13] * 2


def test_more_fields_than_a_table_can_have_are_an_error(orders: Path) -> None:
    write(orders, *({f"customer-{number}": 1} for number in range(10_001)))
    with pytest.raises(InputError, match=r"orders\.jsonl: its records have more than 10000 different fields") as caught:
        plan_sources([str(orders)])
    assert "customer-" not in str(caught.value)


@pytest.mark.usefixtures("small_blocks")
def test_a_big_file_is_cut_into_splits_whose_line_numbers_go_on(orders: Path) -> None:
    lines: list[Any] = [{"a": number, "t": "x" * (number % 97)} for number in range(2000)]
    lines[5:5] = [b"", b"{"]
    read = read_all(write(orders, *lines))
    assert len(read.sources.splits) > 20
    assert [row["a"] for row in read.rows] == list(range(2000))
    assert read.positions == [*range(1, 6), *range(8, 2003)]
    assert read.rejected == [(7, "invalid_json")]
    assert sum(split.weight for split in read.sources.splits) == orders.stat().st_size
    assert all(len(pickle.dumps(split)) < 2000 for split in read.sources.splits)


def test_compressed_files_are_read_as_one_split(tmp_path: Path) -> None:
    path = tmp_path / "orders.json.gz"
    lines = [json.dumps({"a": number}).encode() + b"\n" for number in range(100)]
    path.write_bytes(gzip.compress(b"".join(lines[:50])) + gzip.compress(b"".join(lines[50:])))
    read = read_all(path)
    assert ([row["a"] for row in read.rows], len(read.sources.splits)) == (list(range(100)), 1)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InputError, match=r"orders.json.gz: is damaged or cut off; get a sound copy"):
        plan_sources([str(path)])
    path.write_bytes(b"plain text")
    with pytest.raises(InputError, match="is damaged or cut off"):
        plan_sources([str(path)])


def test_a_file_that_changes_after_planning_fails_the_run(orders: Path) -> None:
    sources = plan_sources([str(write(orders, {"a": 1}, {"a": 2}))])
    write(orders, {"a": 1})
    with pytest.raises(RunError, match=r"orders\.jsonl: changed while it was read; run again"):
        list(read_split(sources.splits[0], sources.schema))
    orders.unlink()
    with pytest.raises(RunError, match=r"orders\.jsonl: cannot be read \(FileNotFoundError\)"):
        list(read_split(sources.splits[0], sources.schema))


def test_several_files_have_one_type_for_each_path(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", {"a": 1, "b": "x"})
    write(tmp_path / "b.ndjson", {"a": 1.5, "c": [1]}, {"a": "x"})
    read = read_all(tmp_path)
    assert read.types == {"a": pa.float64(), "b": TEXT, "c": pa.list_(pa.int64())}
    assert read.rejected == [(2, "wrong_type")]


KEYS = st.sampled_from(["a", "b", "c", "é", "__consentry_x", "a b", ""])
NUMBERS = st.one_of(
    st.integers(-(2**70), 2**70), st.integers(-(2**53) - 2, 2**53 + 2), st.floats(allow_nan=False, allow_infinity=False)
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-5, 5), NUMBERS, st.text(max_size=6)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=5,
)
RECORDS = st.dictionaries(KEYS, VALUES, max_size=4)
IDS = st.one_of(st.integers(-5, 5), st.integers(-(2**70), 2**70))
ALIKE = st.fixed_dictionaries(
    {"a": st.integers(-9, 9), "b": st.text(max_size=9)},
    optional={
        "c": st.lists(st.fixed_dictionaries({"x": st.floats(-9, 9), "y": st.none()}), max_size=3),
        "d": st.fixed_dictionaries({"e": st.one_of(st.text(max_size=3), IDS)}, optional={"b": IDS}),
        "f": st.one_of(st.text(max_size=3), IDS),
    },
)


@st.composite
def messy_lines(draw: st.DrawFn) -> bytes:
    record = draw(st.one_of(ALIKE, ALIKE, RECORDS, VALUES))
    separators = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,", " : "), (",\t", "\t:\r")]))
    line = json.dumps(record, ensure_ascii=draw(st.booleans()), separators=separators)
    data = line.encode("utf-8", "surrogatepass").replace(b"\n", b"")
    match draw(st.integers(0, 11)):
        case 0:
            at = draw(st.integers(0, len(data)))
            data = data[:at] + draw(st.binary(max_size=3)).replace(b"\n", b"") + data[at:]
        case 1:
            data = data[: draw(st.integers(0, len(data)))]
        case 2:
            data += draw(st.sampled_from([b" ", b"\t\r", b"{}", b" {}", b",", b"}", b"\0"]))
        case 3:
            data = data.replace(b"1", draw(st.sampled_from([b"NaN", b"-Infinity", b"01", b"1e999", b"1.0", b"1e3"])))
        case 4:
            data = data.replace(b'"c"', b'"a"')
        case 5:
            data = draw(st.sampled_from([b"", b" ", b"\r"]))
        case 6:
            data = data.replace(b"1", b"-0")
    return data


def everything(data: bytes, path: Path, patch: pytest.MonkeyPatch | None = None) -> Read:
    path.write_bytes(data)
    return read_all(path)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(messy_lines(), max_size=40), end=st.sampled_from([b"\n", b"\r\n"]), block=st.integers(20, 400))
@example(lines=[b'{"a":', b"1}", b"{} {}"], end=b"\n", block=100)
@example(lines=[b'{"a":1}'] * 9 + [b'{"a":"1"}'], end=b"\n", block=100)
def test_rows_are_what_json_reads_and_every_other_line_is_rejected(
    tmp_path: Path, lines: list[bytes], end: bytes, block: int
) -> None:
    data = end.join(lines)
    path = tmp_path / "messy.jsonl"
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch, block=block)
        read = everything(data, path)
    filled = filled_lines(data)
    rejected = dict(read.rejected)
    assert sorted([*read.positions, *rejected]) == sorted(filled)
    assert read.positions == sorted(read.positions)
    kind = pa.struct(list(read.types.items()))
    for position, row in zip(read.positions, read.rows, strict=True):
        assert not fitting_reasons(filled[position], kind), filled[position]
        assert row == shaped(load(filled[position])[0], kind)
    for position, reason in rejected.items():
        assert reason in fitting_reasons(filled[position], kind), (filled[position], reason)
    wanted = column_kinds(data)
    found = dict(kinds_of(kind))
    # What is below a value that lost has no column; an object without keys, or a list of nulls, has no type.
    assert all(wanted[path] == name for path, name in found.items() if path in wanted)
    assert found.keys() - {()} <= wanted.keys()


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(messy_lines(), max_size=40), block=st.integers(20, 2000))
def test_blocks_and_single_lines_are_read_alike(tmp_path: Path, lines: list[bytes], block: int) -> None:
    path = tmp_path / "messy.jsonl"
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch, block=block)
        fast = everything(b"\n".join(lines), path)
        patch.setattr(json_blocks, "_parsed", lambda *_: json_blocks._Complaint())
        slow = everything(b"\n".join(lines), path)
    assert dict(fast.types) == dict(slow.types)
    assert (fast.positions, fast.rejected, fast.raw) == (slow.positions, slow.rejected, slow.raw)
    assert fast.rows == [{name: row[name] for name in fast.types} for row in slow.rows]


def test_random_spoiling_of_real_orders_loses_nothing(tmp_path: Path, small_blocks: None) -> None:
    rng = random.Random(7)
    orders = (Path(__file__).parents[2] / "examples/orders/orders.jsonl").read_bytes().splitlines()[:400]
    for place in rng.sample(range(len(orders)), 60):
        line = bytearray(orders[place])
        line[rng.randrange(len(line))] = rng.choice(b'\0\xff"{}[],:1a \\')
        orders[place] = bytes(line)
    read = everything(b"\n".join(orders), tmp_path / "orders.jsonl")
    assert len(read.rows) + len(read.rejected) == len(orders)
    assert sorted([*read.positions, *dict(read.rejected)]) == list(range(1, len(orders) + 1))
    for position, row in zip(read.positions, read.rows, strict=True):
        assert row == shaped(load(orders[position - 1])[0], pa.struct(list(read.types.items())))


def batches_of(path: Path) -> Iterator[Any]:
    sources = plan_sources([str(path)])
    for split in sources.splits:
        for read in read_split(pickle.loads(pickle.dumps(split)), sources.schema):
            yield read.batch.serialize(), [(line.position, line.reason, line.raw) for line in read.rejected]


@pytest.mark.usefixtures("small_blocks")
def test_a_split_that_is_read_again_gives_the_same_batches(orders: Path) -> None:
    write(orders, *({"a": number if number % 7 else "x"} for number in range(500)))
    assert list(batches_of(orders)) == list(batches_of(orders))
