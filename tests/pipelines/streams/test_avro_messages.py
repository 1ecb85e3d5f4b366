"""Messages of Avro: each is a row or rejected, with and without a schema registry."""

from __future__ import annotations

import datetime as dt
import io
import json
import pickle
import random
import uuid
from collections.abc import Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import fastavro
import numpy as np
import pyarrow as pa
import pytest
from consentry.pipelines.streams.avro_messages import AvroMessages, avro_reader_maker
from consentry.pipelines.streams.schema_registry import SchemaRegistry
from consentry.pipelines.streams.sources import Messages
from consentry.schemas.errors import ConfigError, InputError, RunError, SecretError
from consentry.schemas.record_columns import POSITION, SOURCE_KEY
from hypothesis import given, settings
from hypothesis import strategies as st

NONE = pa.schema([])


def record(name: str = "Order", **fields: Any) -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": [{"name": each, "type": kind} for each, kind in fields.items()]}


ORDER = record(
    id="string",
    paid=["null", "long"],
    to=["null", record("Address", city="string")],
    items={"type": "array", "items": record("Item", sku="string", note=["null", "string"])},
)
TEA = {"id": "a", "paid": 3, "to": {"city": "Köln"}, "items": [{"sku": "TEA", "note": None}]}
BARE = {"id": "b", "paid": None, "to": None, "items": []}


def payload(schema: Any, value: Any, schema_id: int | None = None) -> bytes:
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(schema), value)
    return (b"" if schema_id is None else b"\0" + schema_id.to_bytes(4, "big")) + stream.getvalue()


def messages(*values: bytes | None, first: int = 0) -> Messages:
    return Messages("orders/3", values, np.arange(first, first + len(values), dtype=np.int64))


def read(reader: AvroMessages, given_messages: Messages) -> tuple[dict[int, dict[str, Any]], dict[int, str]]:
    rows: dict[int, dict[str, Any]] = {}
    reasons: dict[int, str] = {}
    raw = dict(zip(given_messages.offsets.tolist(), given_messages.values, strict=True))
    for found in reader.read(given_messages):
        assert found.batch.schema.metadata == {SOURCE_KEY: b"orders/3"}
        found.batch.validate(full=True)
        for row in found.batch.to_pylist():
            assert row[POSITION] not in rows
            rows[row.pop(POSITION)] = row
        for line in found.rejected:
            assert line.position not in reasons
            assert line.raw == (raw[line.position] or b"")
            reasons[line.position] = line.reason
    assert sorted([*rows, *reasons]) == given_messages.offsets.tolist()
    return rows, reasons


def read_one(kind: Any, value: Any, columns: pa.Schema = NONE) -> tuple[pa.DataType, Any]:
    """The type of a column, and its value or the reason why there is none."""
    schema = record(x=kind)
    reader = AvroMessages(schema, None, columns)
    raw = value if isinstance(value, bytes) and kind not in ("bytes",) else payload(schema, {"x": value})
    rows, reasons = read(reader, messages(raw))
    return reader.columns.field("x").type, rows[0]["x"] if rows else reasons[0]


def long(value: int) -> bytes:
    return payload("long", value)


def test_messages_become_rows_with_their_offsets() -> None:
    reader = AvroMessages(ORDER, None, NONE)
    rows, reasons = read(reader, messages(payload(ORDER, TEA), payload(ORDER, BARE), first=40))
    assert rows == {40: TEA, 41: BARE}
    assert not reasons
    assert reader.columns.field("items").type == pa.list_(pa.struct([("sku", pa.string()), ("note", pa.string())]))


NOON = dt.datetime(2026, 3, 1, 12, 0, 0, 1000, dt.UTC)
UTC = pa.timestamp("us", "UTC")
DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 6, "scale": 2}


@pytest.mark.parametrize(
    ("kind", "value", "column", "expected"),
    [
        ("int", 5, pa.int64(), 5),
        ("long", -(2**63), pa.int64(), -(2**63)),
        ("float", 0.5, pa.float64(), 0.5),
        ("double", 0.1, pa.float64(), 0.1),
        ("boolean", True, pa.bool_(), True),
        ("string", "ä", pa.string(), "ä"),
        ("bytes", b"\xff", pa.binary(), b"\xff"),
        ("null", None, pa.null(), None),
        (["null", "string"], None, pa.string(), None),
        (["string", "null"], "a", pa.string(), "a"),
        (["null", "int", "double"], 3, pa.float64(), 3.0),
        ({"type": "enum", "name": "Size", "symbols": ["S", "L"]}, "L", pa.string(), "L"),
        ({"type": "string", "logicalType": "uuid"}, str(uuid.UUID(int=7)), pa.string(), str(uuid.UUID(int=7))),
        ({"type": "long", "logicalType": "timestamp-millis"}, NOON, UTC, NOON),
        ({"type": "long", "logicalType": "timestamp-micros"}, NOON, UTC, NOON),
        (["null", {"type": "long", "logicalType": "timestamp-micros"}], NOON, UTC, NOON),
        ({"type": "long", "logicalType": "local-timestamp-millis"}, NOON.replace(tzinfo=None, microsecond=0),
         pa.string(), "2026-03-01T12:00:00"),
        ({"type": "int", "logicalType": "date"}, NOON.date(), pa.date32(), NOON.date()),
        ({"type": "int", "logicalType": "time-millis"}, dt.time(1, 2, 3), pa.time64("us"), dt.time(1, 2, 3)),
        ({"type": "long", "logicalType": "time-micros"}, dt.time(1, 2, 3, 4), pa.time64("us"), dt.time(1, 2, 3, 4)),
        (DECIMAL, Decimal("-12.34"), pa.decimal128(6, 2), Decimal("-12.34")),
        ({"type": "array", "items": ["null", DECIMAL]}, [None, Decimal("1.00")], pa.list_(pa.decimal128(6, 2)),
         [None, Decimal("1.00")]),
        ({"type": "map", "values": "long"}, {"k": 1}, pa.map_(pa.string(), pa.int64()), [("k", 1)]),
        ({"type": "map", "values": ["null", DECIMAL]}, {"k": None, "l": Decimal("1.00")},
         pa.map_(pa.string(), pa.decimal128(6, 2)), [("k", None), ("l", Decimal("1.00"))]),
        (record("Empty"), {}, pa.null(), None),
    ],
)  # fmt: skip
def test_types_become_columns(kind: Any, value: Any, column: pa.DataType, expected: Any) -> None:
    schema = record(x=kind)
    reader = AvroMessages(schema, None, NONE)
    rows, reasons = read(reader, messages(payload(schema, {"x": value})))
    assert not reasons
    assert (reader.columns.field("x").type, rows[0]["x"]) == (column, expected)


@pytest.mark.parametrize(
    ("kind", "raw"),
    [
        ({"type": "long", "logicalType": "timestamp-millis"}, long(2**62)),
        ({"type": "long", "logicalType": "timestamp-micros"}, long(-(2**62))),
        ({"type": "long", "logicalType": "local-timestamp-micros"}, long(2**62)),
        ({"type": "int", "logicalType": "date"}, long(2**30)),
        ({"type": "int", "logicalType": "time-millis"}, long(-1)),
        ({"type": "long", "logicalType": "time-micros"}, long(86_400_000_000)),
        (DECIMAL, payload("bytes", (10**6).to_bytes(4, "big"))),
        (DECIMAL, payload("bytes", b"\x01" * 5000)),
        (["long", "double"], payload(["long", "double"], 2**53 + 1)),
    ],
)
def test_numbers_that_their_column_cannot_hold_are_rejected(kind: Any, raw: bytes) -> None:
    assert read(AvroMessages(record(x=kind), None, NONE), messages(raw)) == ({}, {0: "number_out_of_range"})


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        ("nothing", "no valid Avro schema"),
        ({"type": "record"}, "no valid Avro schema"),
        ({"type": "array", "items": "null"}, "array of what takes no bytes"),
        ({"type": "array", "items": record("Empty")}, "array of what takes no bytes"),
        ({"type": "array", "items": record("Nulls", a="null", b="null")}, "array of what takes no bytes"),
        ({"type": "array", "items": {"type": "fixed", "name": "F", "size": 0}}, "array of what takes no bytes"),
        (["string", "long"], "union of different kinds"),
        (["null", record("A", a="int"), record("B", b="int")], "union of different kinds"),
        (["null", "Order"], "record within itself"),
        ({"type": "array", "items": "Order"}, "record within itself"),
        ({**DECIMAL, "precision": 90}, "more than 76 digits"),
    ],
)
def test_a_schema_that_makes_no_columns_is_refused(kind: Any, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        AvroMessages(record(x=kind), None, NONE)


def test_a_schema_that_is_no_record_is_refused() -> None:
    for schema in ("long", {"type": "array", "items": "long"}, ["null", ORDER], 5, [], {}):
        with pytest.raises(InputError, match=r"^Avro schema: is no"):
            AvroMessages(schema, None, NONE)


def test_a_schema_that_is_too_deep_or_unfolds_too_far_is_refused() -> None:
    deep: Any = "long"
    for number in range(100):
        deep = record(f"R{number}", x=deep)
    with pytest.raises(InputError, match="more than 64 levels"):
        AvroMessages(deep, None, NONE)
    fields = {"f0": record("L0", a="long")}
    for level in range(1, 20):
        names = {f"g{number}": f"L{level - 1}" for number in range(10)}
        fields[f"f{level}"] = record(f"L{level}", **names)
    with pytest.raises(InputError, match="more than 10000 fields"):
        AvroMessages(record(**fields), None, NONE)


def test_truncated_and_longer_messages_are_rejected_and_their_neighbours_are_not() -> None:
    whole = payload(ORDER, TEA)
    cuts = [whole[:end] for end in range(len(whole))]
    reader = AvroMessages(ORDER, None, NONE)
    rows, reasons = read(reader, messages(whole, *cuts, whole + b"\0", None, b"", whole))
    assert [row["id"] for row in rows.values()] == ["a", "a"]
    assert set(reasons.values()) == {"invalid_avro"}


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=40) | st.randoms(use_true_random=False), max_size=8))
def test_every_message_is_a_row_or_rejected_once(spoiled: list[bytes | random.Random]) -> None:
    whole = payload(ORDER, TEA)
    raw = []
    for each in spoiled:
        if isinstance(each, bytes):
            raw.append(each)
            continue
        text = bytearray(whole)
        text[each.randrange(len(text))] = each.randrange(256)
        raw.append(bytes(text))
    reader = AvroMessages(ORDER, None, NONE)
    read(reader, messages(*raw))


names = st.sampled_from("abcd")
simple = st.sampled_from(["int", "long", "double", "string", "bytes", "boolean"])
kinds: Any = (
    simple | simple.map(lambda each: ["null", each]) | simple.map(lambda each: {"type": "array", "items": each})
)
VALUES: dict[str, Any] = {
    "int": st.integers(-(2**31), 2**31 - 1), "long": st.integers(-(2**63), 2**63 - 1), "string": st.text(),
    "double": st.floats(allow_nan=False), "bytes": st.binary(), "boolean": st.booleans(),
}  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.data(), st.dictionaries(names, kinds, min_size=1))
def test_rows_are_what_was_written(data: st.DataObject, fields: dict[str, Any]) -> None:
    def value_of(kind: Any) -> Any:
        if isinstance(kind, list):
            return st.none() | VALUES[kind[1]]
        return st.lists(VALUES[kind["items"]], max_size=3) if isinstance(kind, dict) else VALUES[kind]

    records = st.fixed_dictionaries({name: value_of(kind) for name, kind in fields.items()})
    written = data.draw(st.lists(records, max_size=5))
    schema = record(**fields)
    rows, reasons = read(AvroMessages(schema, None, NONE), messages(*[payload(schema, each) for each in written]))
    assert list(rows.values()) == written
    assert not reasons


def test_known_columns_win_and_take_what_takes_nothing_from_them() -> None:
    known = pa.schema([("x", pa.string()), ("n", pa.int64()), ("old", pa.bool_())])
    schema = record(x=["null", "long"], n="double", new="string")
    reader = AvroMessages(schema, None, known)
    values = [{"x": 4, "n": 0.5, "new": "a"}, {"x": None, "n": 0.5, "new": "b"}]
    rows, reasons = read(reader, messages(*[payload(schema, each) for each in values]))
    assert reasons == {0: "wrong_type"}
    assert rows == {1: {"x": None, "n": 0.5, "old": None, "new": "b"}}
    assert reader.columns == pa.schema(
        [("x", pa.string()), ("n", pa.float64()), ("old", pa.bool_()), ("new", pa.string())]
    )


def test_whole_numbers_fit_known_floats_only_exactly() -> None:
    schema, known = record(n="long"), pa.schema([("n", pa.float64())])
    rows, reasons = read(AvroMessages(schema, None, known), messages(long(3), long(2**53 + 1)))
    assert (rows, reasons) == ({0: {"n": 3.0}}, {1: "number_out_of_range"})


def test_reserved_names_are_left_out() -> None:
    schema = record(id="string", __consentry_position="long", __consentry_subject="bytes")
    raw = payload(schema, {"id": "a", "__consentry_position": 9, "__consentry_subject": b"forged"})
    assert read(AvroMessages(schema, None, NONE), messages(raw)) == ({0: {"id": "a"}}, {})


class Registry:
    """A server of this process that answers as a schema registry does."""

    def __init__(self) -> None:
        self.answers: dict[int, dict[str, Any]] = {}
        self.asked: list[str] = []
        self.authorization: list[str | None] = []
        self.code = 200
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                registry.asked.append(self.path)
                registry.authorization.append(self.headers.get("Authorization"))
                found = registry.answers.get(int(self.path.rpartition("/")[2]))
                missing = {"error_code": 40403, "message": "Schema not found"}
                code = registry.code if registry.code != 200 else 200 if found else 404
                text = json.dumps(found or missing).encode() if registry.code == 200 else b"<html>"
                self.send_response(code)
                self.send_header("Content-Length", str(len(text)))
                if code == 302:
                    self.send_header("Location", "/schemas/ids/1")
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        Thread(target=self.server.serve_forever, daemon=True).start()

    def add(self, schema_id: int, schema: Any, **more: Any) -> None:
        self.answers[schema_id] = {"schema": schema if isinstance(schema, str) else json.dumps(schema), **more}

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def registry() -> Iterator[Registry]:
    running = Registry()
    yield running
    running.stop()


def test_schemas_are_fetched_once_and_rows_of_each_come_apart(registry: Registry) -> None:
    wider = record(id="string", gift="boolean")
    registry.add(1, ORDER)
    registry.add(70_000, wider)
    reader = AvroMessages(None, SchemaRegistry(registry.url), NONE)
    raw = [payload(ORDER, TEA, 1), payload(wider, {"id": "c", "gift": True}, 70_000), payload(ORDER, BARE, 1)]
    batches = [each.batch for each in reader.read(messages(*raw))]
    assert [batch[POSITION].to_pylist() for batch in batches] == [[0, 2], [1]]
    rows, reasons = read(reader, messages(*raw))
    assert [rows[place]["gift"] for place in range(3)] == [None, True, None]
    assert not reasons
    assert registry.asked == ["/schemas/ids/1", "/schemas/ids/70000"]


def test_unknown_ids_are_rejected_and_asked_for_once(registry: Registry) -> None:
    registry.add(1, ORDER)
    reader = AvroMessages(None, SchemaRegistry(registry.url), NONE)
    stray = payload(ORDER, BARE, 5)
    rows, reasons = read(reader, messages(payload(ORDER, TEA, 1), stray, stray))
    assert (list(rows), reasons) == ([0], {1: "unknown_schema", 2: "unknown_schema"})
    assert registry.asked.count("/schemas/ids/5") == 1


@pytest.mark.parametrize(
    ("schema", "more"),
    [
        ("{", {}),
        ("[" * 100_000, {}),
        ('"long"', {}),
        (record(x=["string", "long"]), {}),
        (ORDER, {"schemaType": "PROTOBUF"}),
        (ORDER, {"references": [{"name": "A", "subject": "a", "version": 1}]}),
    ],
)
def test_schemas_that_make_no_columns_reject_their_messages(registry: Registry, schema: Any, more: Any) -> None:
    registry.add(1, schema, **more)
    reader = AvroMessages(None, SchemaRegistry(registry.url), NONE)
    assert read(reader, messages(payload(ORDER, TEA, 1))) == ({}, {0: "unsupported_schema"})


def test_messages_without_a_header_are_of_the_given_schema(registry: Registry) -> None:
    registry.add(1, ORDER)
    raw = [payload(ORDER, TEA, 1), payload(ORDER, BARE), b"\0\0\0", payload(ORDER, TEA, 1)[:9]]
    rows, reasons = read(AvroMessages(ORDER, SchemaRegistry(registry.url), NONE), messages(*raw))
    assert (rows, reasons) == ({0: TEA, 1: BARE}, {2: "invalid_avro", 3: "invalid_avro"})
    rows, reasons = read(AvroMessages(None, SchemaRegistry(registry.url), NONE), messages(*raw))
    assert (list(rows), reasons[1]) == ([0], "invalid_avro")


def test_a_registry_that_cannot_be_reached_stops_the_run_and_is_asked_again(registry: Registry) -> None:
    registry.add(1, ORDER)
    registry.code = 503
    reader = AvroMessages(None, SchemaRegistry(registry.url.replace("//", "//ana:s3cret@")), NONE)
    with pytest.raises(RunError, match=r"^schema registry http://127\.0\.0\.1:\d+: answers with HTTP 503; check"):
        read(reader, messages(payload(ORDER, TEA, 1)))
    registry.code = 200
    assert read(reader, messages(payload(ORDER, TEA, 1))) == ({0: TEA}, {})
    assert registry.authorization == ["Basic YW5hOnMzY3JldA=="] * 2


def test_a_registry_that_is_not_there_stops_the_run(registry: Registry) -> None:
    registry.stop()
    reader = AvroMessages(None, SchemaRegistry(registry.url, seconds=2), NONE)
    with pytest.raises(RunError, match="cannot be reached"):
        read(reader, messages(payload(ORDER, TEA, 1)))


@pytest.mark.parametrize("code", [302, 401, 404])
def test_what_is_no_registry_stops_the_run_rather_than_reject_all(registry: Registry, code: int) -> None:
    registry.add(1, ORDER)
    registry.code = code
    with pytest.raises(RunError, match=f"answers with HTTP {code}"):
        read(AvroMessages(None, SchemaRegistry(registry.url), NONE), messages(payload(ORDER, TEA, 1)))
    assert len(registry.asked) == 1


def test_an_answer_without_a_schema_stops_the_run(registry: Registry) -> None:
    registry.answers[1] = {"scheme": "x"}
    with pytest.raises(RunError, match="does not answer as a schema registry"):
        read(AvroMessages(None, SchemaRegistry(registry.url), NONE), messages(payload(ORDER, TEA, 1)))


@pytest.mark.parametrize("url", ["file:///etc/hosts", "registry:8081", "http://", "ftp://host/"])
def test_a_registry_has_an_http_address(url: str) -> None:
    with pytest.raises(ConfigError, match="no http or https URL"):
        SchemaRegistry(url)


def test_a_registry_tells_no_password_and_makes_no_copies() -> None:
    registry = SchemaRegistry("https://ana:s3cret@host:8081/base/")
    assert repr(registry) == "SchemaRegistry('https://host:8081/base')"
    with pytest.raises(SecretError):
        pickle.dumps(registry)


def test_readers_are_made_of_a_file_and_share_what_is_fetched(registry: Registry, tmp_path: Path) -> None:
    registry.add(1, ORDER)
    path = tmp_path / "order.avsc"
    path.write_text(json.dumps(ORDER))
    make = avro_reader_maker(path, registry.url)
    for _ in range(2):
        rows, _ = read(make(NONE), messages(payload(ORDER, TEA, 1), payload(ORDER, BARE)))
        assert rows == {0: TEA, 1: BARE}
    assert len(registry.asked) == 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, r"cannot be read \(No such file"),
        ("{", "is no JSON"),
        ("[" * 99_999, "is no JSON"),
        ('"int"', "no record"),
    ],
)
def test_a_file_that_is_no_schema_is_refused(tmp_path: Path, text: str | None, problem: str) -> None:
    path = tmp_path / "order.avsc"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=rf"^order\.avsc: .*{problem}"):
        avro_reader_maker(path, None)
