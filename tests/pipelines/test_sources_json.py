"""JSON Lines: every line is a row or a rejected line, with values exactly as ``json`` reads them."""

from __future__ import annotations

import gzip
import json
import math
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
from oracles.source_rows import Read, read_all

TEXT = pa.string()


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
        (b'{"s": 1}', "wrong_type"),
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
    assert (rejected.parsed is not None) == (reason == "wrong_type" or line == b'{"f": 9007199254740993}')
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
    lines = [{"card": str(number) if number % 10 else number, "x": None} for number in range(1, 1001)]
    read = read_all(write(orders, *lines))
    assert read.types == {"card": TEXT, "x": pa.null()}
    assert read.rejected == [(number, "wrong_type") for number in range(10, 1001, 10)]
    assert next(line.parsed for each in read.batches for line in each.rejected) == {"card": 10, "x": None}
    assert len(read.rows) == 900


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
ALIKE = st.fixed_dictionaries(
    {"a": st.integers(-9, 9), "b": st.text(max_size=9)},
    optional={"c": st.lists(st.fixed_dictionaries({"x": st.floats(-9, 9), "y": st.none()}), max_size=3)},
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
            data = data.replace(b"1", draw(st.sampled_from([b"NaN", b"-Infinity", b"01", b"1e999", b"1.0"])))
        case 4:
            data = data.replace(b'"c"', b'"a"')
        case 5:
            data = draw(st.sampled_from([b"", b" ", b"\r"]))
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
    numbered = dict(enumerate(data.split(b"\n"), 1))
    filled = {number: line for number, line in numbered.items() if line.strip(b" \t\r")}
    rejected = dict(read.rejected)
    assert sorted([*read.positions, *rejected]) == sorted(filled)
    assert read.positions == sorted(read.positions)
    kind = pa.struct(list(read.types.items()))
    for position, row in zip(read.positions, read.rows, strict=True):
        assert row == shaped(plain(json.loads(filled[position])), kind)
    for position, reason in rejected.items():
        assert reason in fitting_reasons(filled[position], kind), (filled[position], reason)


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(messy_lines(), max_size=40), block=st.integers(20, 2000))
def test_blocks_and_single_lines_are_read_alike(tmp_path: Path, lines: list[bytes], block: int) -> None:
    path = tmp_path / "messy.jsonl"
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch, block=block)
        fast = everything(b"\n".join(lines), path)
        patch.setattr(json_blocks, "_parsed", lambda *_: "")
        slow = everything(b"\n".join(lines), path)
    assert dict(fast.types) == dict(slow.types)
    assert (fast.positions, fast.rejected, fast.raw) == (slow.positions, slow.rejected, slow.raw)
    assert fast.rows == [{name: row[name] for name in fast.types} for row in slow.rows]


def plain(record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if not key.startswith("__consentry_")}


def shaped(value: Any, kind: pa.DataType) -> Any:
    """The value as a row of this type shows it."""
    if value is None or pa.types.is_null(kind):
        return None
    if pa.types.is_struct(kind):
        assert value.keys() <= {field.name for field in kind}
        return {field.name: shaped(value.get(field.name), field.type) for field in kind}
    if pa.types.is_list(kind):
        return [shaped(each, kind.value_type) for each in value]
    return value


def fits(value: Any, kind: pa.DataType) -> bool:
    if value is None:
        return True
    if pa.types.is_null(kind):
        return value == {}
    if pa.types.is_struct(kind):
        children = {field.name: field.type for field in kind}
        return isinstance(value, dict) and all(
            name in children and fits(child, children[name]) for name, child in value.items()
        )
    if pa.types.is_list(kind):
        return isinstance(value, list) and all(fits(each, kind.value_type) for each in value)
    wanted = {TEXT: (str,), pa.bool_(): (bool,), pa.int64(): (int,), pa.float64(): (int, float)}[kind]
    return isinstance(value, wanted) and (kind == pa.bool_() or not isinstance(value, bool))


def fitting_reasons(line: bytes, kind: pa.DataType) -> set[str]:
    """The reasons that an independent look at a line allows; none if it should be a row."""
    pairs: list[bool] = []
    numbers: list[Any] = []

    def unique(found: list[tuple[str, Any]]) -> dict[str, Any]:
        pairs.append(len(dict(found)) == len(found))
        return dict(found)

    def constant(_: str) -> Any:
        raise ValueError

    def number(text: str) -> Any:
        numbers.append(int(text) if text.lstrip("-").isdigit() else float(text))
        return numbers[-1]

    try:
        text = line.decode()
    except UnicodeDecodeError:
        return {"invalid_utf8"}
    try:
        value = json.loads(
            text, object_pairs_hook=unique, parse_int=number, parse_float=number, parse_constant=constant
        )
        json.dumps(value, ensure_ascii=False).encode()
    except ValueError:
        return {"invalid_json", "duplicate_key", "number_out_of_range"}
    if not isinstance(value, dict):
        return {"not_an_object"}
    found = set() if all(pairs) else {"duplicate_key"}
    if any(math.isinf(each) if isinstance(each, float) else not -(2**63) <= each < 2**63 for each in numbers):
        found.add("number_out_of_range")
    if found:
        return found
    rounded = any(isinstance(each, int) and abs(each) > 2**53 for each in numbers)
    return ({"number_out_of_range"} if rounded else set()) | (set() if fits(plain(value), kind) else {"wrong_type"})


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
        assert row == shaped(json.loads(orders[position - 1]), pa.struct(list(read.types.items())))


def batches_of(path: Path) -> Iterator[Any]:
    sources = plan_sources([str(path)])
    for split in sources.splits:
        for read in read_split(pickle.loads(pickle.dumps(split)), sources.schema):
            yield read.batch.serialize(), [(line.position, line.reason, line.raw) for line in read.rejected]


@pytest.mark.usefixtures("small_blocks")
def test_a_split_that_is_read_again_gives_the_same_batches(orders: Path) -> None:
    write(orders, *({"a": number if number % 7 else "x"} for number in range(500)))
    assert list(batches_of(orders)) == list(batches_of(orders))
