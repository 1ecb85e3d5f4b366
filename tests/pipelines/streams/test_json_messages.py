"""Messages of JSON: each is a row or rejected, with the values that a file of them gives."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from consentry.pipelines.streams import json_messages
from consentry.pipelines.streams.json_messages import JsonMessages
from consentry.pipelines.streams.sources import Messages
from consentry.pipelines.streams.stream_columns import count_paths
from consentry.schemas.errors import SecretError
from consentry.schemas.record_columns import POSITION, SOURCE_KEY
from effort import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracles.source_rows import read_all

NONE = pa.schema([])
ORDERS = pa.schema([("id", pa.string()), ("paid", pa.int64()), ("to", pa.struct([("city", pa.string())]))])
FIRST = 100

Found = tuple[dict[int, dict[str, Any]], dict[int, str]]


def messages(*values: Any, first: int = FIRST) -> Messages:
    raw = [each if each is None or isinstance(each, bytes) else json.dumps(each).encode() for each in values]
    return Messages("orders/3", raw, np.arange(first, first + len(raw), dtype=np.int64))


def read(reader: JsonMessages, given_messages: Messages) -> Found:
    """Rows and reasons by offset; checks what holds of every batch."""
    rows: dict[int, dict[str, Any]] = {}
    reasons: dict[int, str] = {}
    raw = dict(zip(given_messages.offsets.tolist(), given_messages.values, strict=True))
    for found in reader.read(given_messages):
        assert found.batch.schema.metadata == {SOURCE_KEY: b"orders/3"}
        assert found.batch.schema.field(POSITION).type == pa.int64()
        found.batch.validate(full=True)
        for row in found.batch.to_pylist():
            assert row[POSITION] not in rows
            rows[row.pop(POSITION)] = row
        for line in found.rejected:
            assert line.position not in reasons
            assert line.raw == (raw[line.position] or b"")
            reasons[line.position] = line.reason
    assert not rows.keys() & reasons.keys()
    assert sorted([*rows, *reasons]) == given_messages.offsets.tolist()
    return rows, reasons


def read_values(columns: pa.Schema, *values: Any) -> tuple[list[dict[str, Any]], dict[int, str]]:
    rows, reasons = read(JsonMessages(columns), messages(*values))
    return list(rows.values()), {offset - FIRST: reason for offset, reason in reasons.items()}


def test_messages_become_rows_with_their_offsets() -> None:
    rows, reasons = read(JsonMessages(ORDERS), messages({"id": "a", "to": {"city": "Köln"}}, {"paid": 3}, first=7))
    assert rows == {
        7: {"id": "a", "paid": None, "to": {"city": "Köln"}},
        8: {"id": None, "paid": 3, "to": None},
    }
    assert not reasons


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "invalid_json"),
        (b"", "invalid_json"),
        (b" \r\n ", "invalid_json"),
        (b'{"id": "a"', "invalid_json"),
        (b'{"id": "a"}\n{"id": "b"}', "invalid_json"),
        (b'{"id": "a\nb"}', "invalid_json"),
        (b'{"id": "a\rb"}', "invalid_json"),
        (b'{"id": "a\r\nb", "paid": 11111111111111111111111}', "invalid_json"),
        (b'{"paid": NaN\n}', "invalid_json"),
        (b'[{"id": "a"}]', "not_an_object"),
        (b"\n[1,\n2]", "not_an_object"),
        (b'{"id": "a", "id": "b"}', "duplicate_key"),
        (b'{"id"\n: "a", "id"\n: "\\":"}', "duplicate_key"),
        (b'{"id": "\xff"}', "invalid_utf8"),
        (b'{"id":\n"\xff"}', "invalid_utf8"),
        (b'{"id": "a"}\0', "invalid_json"),
        (b'{"paid": 11111111111111111111}', "number_out_of_range"),
        (b'{"paid":\n11111111111111111111}', "number_out_of_range"),
        (b'{"paid": ' + b"[" * 70 + b"]" * 70 + b"}", "too_deep"),
        (b'{"paid":\n' + b"[" * 5000 + b"]" * 5000 + b"}", "too_deep"),
        (b'{"paid": "3"}', "wrong_type"),
        (b'{"to": ["Ulm"]}', "wrong_type"),
    ],
)
def test_what_can_be_no_row_is_rejected_and_its_neighbours_are_not(value: bytes | None, reason: str) -> None:
    rows, reasons = read_values(ORDERS, {"id": "before"}, value, {"id": "behind"})
    assert [row["id"] for row in rows] == ["before", "behind"]
    assert reasons == {1: reason}


def test_rejected_records_are_parsed_where_that_was_possible() -> None:
    found = list(JsonMessages(ORDERS).read(messages({"paid": "three"}, b"{", b'{"a": 1, "a": 2}')))
    assert [line.parsed for each in found for line in each.rejected] == [{"paid": "three"}, None, None]


def test_a_message_may_have_line_breaks_between_its_tokens() -> None:
    spread = json.dumps({"id": "a b", "to": {"city": "Ulm"}}, indent=2).replace("\n", "\r\n").encode()
    rows, reasons = read_values(ORDERS, spread, b'{"id": 1}\n', b'\n{"id":\n11111111111111111111111\n}')
    assert rows == [
        {"id": "a b", "paid": None, "to": {"city": "Ulm"}},
        {"id": "1", "paid": None, "to": None},
        {"id": "11111111111111111111111", "paid": None, "to": None},
    ]
    assert not reasons


def test_whole_numbers_in_columns_of_text_are_their_digits() -> None:
    rows, _ = read_values(ORDERS, {"id": "a"}, {"id": 17}, {"id": 2**80}, b'{"id": -0}')
    assert [row["id"] for row in rows] == ["a", "17", str(2**80), "-0"]


def test_reserved_names_are_left_out() -> None:
    rows, reasons = read_values(ORDERS, {"id": "a", POSITION: 5}, {"__consentry_permits:x": True})
    assert (rows[0]["id"], len(rows), reasons) == ("a", 2, {})


def test_messages_that_bring_a_new_field_come_in_a_batch_that_has_it() -> None:
    reader = JsonMessages(ORDERS)
    batches = [each.batch for each in reader.read(messages({"id": "a"}, {"id": "b", "gift": True}, {"id": "c"}))]
    assert [batch.schema.names for batch in batches] == [
        ["id", "paid", "to", POSITION],
        ["id", "paid", "to", "gift", POSITION],
    ]
    assert [batch[POSITION].to_pylist() for batch in batches] == [[100, 102], [101]]
    assert reader.columns == pa.schema([*ORDERS, ("gift", pa.bool_())])
    assert [each.batch.num_columns for each in reader.read(messages({"id": "d"}))] == [5]


@pytest.mark.parametrize(
    ("known", "value", "grown"),
    [
        (pa.null(), "text", pa.string()),
        (pa.null(), [{"a": 1}], pa.list_(pa.struct([("a", pa.int64())]))),
        (pa.int64(), 1.5, pa.float64()),
        (pa.struct([("a", pa.int64())]), {"b": 1}, pa.struct([("a", pa.int64()), ("b", pa.int64())])),
        (pa.list_(pa.null()), [1], pa.list_(pa.int64())),
        (pa.list_(pa.int64()), [1.5], pa.list_(pa.float64())),
        (pa.list_(pa.struct([("a", pa.null())])), [{"a": True}], pa.list_(pa.struct([("a", pa.bool_())]))),
    ],
)
def test_columns_take_what_takes_nothing_from_them(known: pa.DataType, value: Any, grown: pa.DataType) -> None:
    reader = JsonMessages(pa.schema([("x", known)]))
    _, reasons = read(reader, messages({"x": value}))
    assert not reasons
    assert reader.columns.field("x").type == grown


@pytest.mark.parametrize(
    ("known", "value"),
    [
        (pa.string(), 1.5), (pa.string(), True), (pa.string(), {"a": 1}), (pa.int64(), "1"), (pa.bool_(), 0),
        (pa.struct([("a", pa.int64())]), [1]), (pa.list_(pa.int64()), 1), (pa.list_(pa.int64()), ["a"]),
    ],
)  # fmt: skip
def test_what_is_known_is_not_taken_back_however_many_contradict(known: pa.DataType, value: Any) -> None:
    reader = JsonMessages(pa.schema([("x", known)]))
    rows, reasons = read(reader, messages(*[{"x": value}] * 5, {"x": None}))
    assert set(reasons.values()) == {"wrong_type"}
    assert len(rows) == 1
    assert reader.columns.field("x").type == known


def test_of_those_that_bring_a_new_field_the_majority_settles_its_type() -> None:
    reader = JsonMessages(ORDERS)
    rows, reasons = read(reader, messages({"n": True}, {"n": "a"}, {"n": "b"}, {"n": 4}))
    assert [row["n"] for row in rows.values()] == ["a", "b", "4"]
    assert reasons == {100: "wrong_type"}


def test_among_equals_the_first_settles_the_type_of_a_new_field() -> None:
    rows, reasons = read_values(ORDERS, {"n": True}, {"n": "a"})
    assert ([row["n"] for row in rows], reasons) == ([True], {1: "wrong_type"})


def test_a_new_field_in_a_record_that_contradicts_is_rejected_with_it() -> None:
    _, reasons = read_values(ORDERS, {"n": 1, "paid": "x"}, {"n": 2})
    assert reasons == {0: "wrong_type"}


def test_a_stream_may_begin_with_no_columns_and_no_messages() -> None:
    reader = JsonMessages(NONE)
    assert list(reader.read(messages())) == []
    rows, reasons = read(reader, messages({}, {"a": None}, {"a": {"b": []}}))
    assert len(rows) == 3
    assert not reasons


def test_a_reader_begun_with_the_columns_of_another_keeps_them() -> None:
    one = JsonMessages(NONE)
    read(one, messages({"a": {}, "b": [], "c": [{}], "d": None, "e": [1], "f": {"g": {}}}))
    two = JsonMessages(one.columns)
    assert two.columns == one.columns
    read(two, messages({"a": {}, "b": [], "c": [{}], "d": None, "e": [1], "f": {"g": {}}}))
    assert two.columns == one.columns


def test_too_many_fields_are_left_out_and_what_many_messages_have_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_messages, "MAX_PATHS", 20)
    reader = JsonMessages(ORDERS)
    flood = [{"id": "a", f"key-{number}": number} for number in range(50)]
    rows, reasons = read(reader, messages(*flood, {"gift": True}, {"gift": False}, {"id": 1.5}, {"id": "z"}))
    assert list(reasons.values()) == ["too_many_fields"] * 50 + ["wrong_type"]
    assert [row.get("gift") for row in rows.values()] == [None, True, False]
    assert count_paths(reader.columns) <= 20


def test_fields_that_pile_up_slowly_are_forgotten_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_messages, "MAX_PATHS", 20)
    reader = JsonMessages(ORDERS)
    known, refused = [], 0
    for number in range(100):
        _, reasons = read(reader, messages({"id": "a", f"key-{number}": number}, {"id": "b"}, first=2 * number))
        known.append(count_paths(reader.columns))
        refused += len(reasons)
    assert max(known) <= 20
    assert known.count(4) == refused
    assert 0 < refused < 10


def test_wide_records_come_in_batches_of_fewer_rows() -> None:
    reader = JsonMessages(NONE)
    wide = {f"f{number}": number for number in range(5000)}
    sizes = [each.batch.num_rows for each in reader.read(messages(*[wide] * 900)) if each.batch.num_rows]
    assert sum(sizes) == 900
    assert max(sizes) * 5000 <= 2**22


def test_a_reader_tells_no_values_and_makes_no_copies_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = b'{"id": "s3cret"}'
    block = json_messages._Block.of(messages(secret), 0, 1)
    look = json_messages._Look(block)
    assert "s3cret" not in repr(block) + repr(look)
    for each in (block, look):
        with pytest.raises(SecretError):
            pickle.dumps(each)


texts = st.text(max_size=5)
leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
values = st.recursive(
    leaves, lambda below: st.lists(below, max_size=3) | st.dictionaries(st.sampled_from("abc"), below, max_size=3),
    max_leaves=6,
)  # fmt: skip
objects = st.dictionaries(st.sampled_from(["a", "b", "c", "id", 'q"', "ä"]), values, max_size=4)


@st.composite
def any_messages(draw: st.DrawFn) -> bytes | None:
    match draw(st.integers(0, 9)):
        case 0:
            return draw(st.none() | st.binary(max_size=20))
        case 1:
            return json.dumps(draw(values)).encode()
        case 2:
            return json.dumps(draw(objects), indent=draw(st.integers(0, 2))).encode()
        case 3:
            text = bytearray(json.dumps(draw(objects)).encode())
            place = draw(st.integers(0, len(text) - 1))
            text[place : place + 1] = draw(st.sampled_from([b"", b"\n", b"\r", b"\0", b"{", b'"', b"\xff", b" "]))
            return bytes(text)
        case _:
            return json.dumps(draw(objects), ensure_ascii=draw(st.booleans())).encode()


@settings(max_examples=examples(400), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.lists(any_messages(), max_size=8), max_size=5),
    st.integers(20, 400),
    st.sampled_from([8, 30, 10_000]),
    st.sampled_from([NONE, ORDERS, pa.schema([("a", pa.null()), ("b", pa.list_(pa.null()))])]),
)
def test_every_message_is_a_row_or_rejected_once(
    chunks: list[list[bytes | None]], block: int, paths: int, columns: pa.Schema
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_messages, "BLOCK_BYTES", block)
        patch.setattr(json_messages, "MAX_PATHS", paths)
        reader, first = JsonMessages(columns), 0
        for chunk in chunks:
            rows, _ = read(reader, messages(*chunk, first=first))
            for offset, row in rows.items():
                assert same(json.loads(chunk[offset - first] or b"", parse_int=Whole), row), row
            first += len(chunk)
            assert count_paths(reader.columns) <= max(paths, count_paths(columns))


class Whole(int):
    """A whole number that knows its spelling."""

    def __new__(cls, text: str) -> Whole:
        made = super().__new__(cls, text)
        made.text = text  # type: ignore[attr-defined]
        return made


def same(value: Any, found: Any) -> bool:
    """Whether a row holds a value; what is empty may be null, and whole numbers may be text."""
    if isinstance(value, dict):
        rest = {name: child for name, child in (found or {}).items() if name not in value}
        return not any(filled(each) for each in rest.values()) and all(
            same(child, (found or {}).get(name)) for name, child in value.items()
        )
    if isinstance(value, list):
        return len(value) == len(found) and all(map(same, value, found))
    if isinstance(value, Whole) and isinstance(found, str):
        return bool(value.text == found)
    return bool(value == found) and isinstance(value, bool) == isinstance(found, bool)


def filled(value: Any) -> bool:
    return any(map(filled, value.values())) if isinstance(value, dict) else value is not None


items = st.fixed_dictionaries({}, optional={"sku": st.none() | texts, "count": st.none() | st.integers(-9, 2**62)})
orders = st.fixed_dictionaries(
    {},
    optional={
        "id": st.none() | texts,
        "paid": st.none() | st.floats(allow_nan=False, allow_infinity=False),
        "seen": st.none() | st.booleans(),
        "count": st.none() | st.integers(-(2**63), 2**63 - 1),
        "to": st.none() | st.fixed_dictionaries({}, optional={"city": st.none() | texts, "tags": st.lists(texts)}),
        "items": st.none() | st.lists(st.none() | items, max_size=3),
    },
)


@settings(max_examples=examples(150), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(orders, min_size=1, max_size=6), min_size=1, max_size=4))
def test_rows_are_those_of_a_file_of_the_same_records(tmp_path: Path, chunks: list[list[dict[str, Any]]]) -> None:
    path = tmp_path / "orders.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for chunk in chunks for record in chunk))
    of_file = read_all(path)
    reader, of_stream = JsonMessages(NONE), []
    for chunk in chunks:
        rows, reasons = read(reader, messages(*chunk))
        assert not reasons
        of_stream += [rows[offset] for offset in sorted(rows)]
    assert [pruned(row) for row in of_stream] == [pruned(row) for row in of_file.rows]


def pruned(value: Any) -> Any:
    """A value without what is null or empty, which a column that holds nothing else yet cannot tell."""
    if isinstance(value, dict):
        kept = {name: pruned(child) for name, child in value.items()}
        return {name: child for name, child in kept.items() if child is not None} or None
    return [pruned(each) for each in value] if isinstance(value, list) else value
