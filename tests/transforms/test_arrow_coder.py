from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
from apache_beam.coders.typecoders import registry
from apache_beam.testing.util import assert_that, equal_to
from consentry.transforms.arrow_coder import RecordBatchCoder
from hypothesis import given, settings
from hypothesis import strategies as st

FN_API = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
COLUMNS = {
    "null": pa.nulls(3),
    "bool": pa.array([True, None, False]),
    "int8": pa.array([1, None, -1], pa.int8()),
    "uint64": pa.array([2**64 - 1, None, 0], pa.uint64()),
    "half": pa.array([np.float16(1.5), None, np.float16(-0.0)], pa.float16()),
    "double": pa.array([float("inf"), None, -0.0]),
    "decimal": pa.array([Decimal("1.10"), None, Decimal("-9.99")]),
    "date": pa.array([date(2026, 3, 1), None, date(1, 1, 1)]),
    "time": pa.array([1, None, 2], pa.time64("ns")),
    "instant": pa.array([datetime(2026, 3, 1, tzinfo=UTC), None, datetime(1969, 1, 1, tzinfo=UTC)]),
    "nanoseconds": pa.array([1_234_567_891, None, 3], pa.timestamp("ns", "Europe/Paris")),
    "duration": pa.array([1, None, 3], pa.duration("us")),
    "text": pa.array(["é", None, ""]),
    "large": pa.array(["é", None, ""], pa.large_string()),
    "view": pa.array(["longer than a view holds inline", None, "short"], pa.string_view()),
    "binary": pa.array([b"\xff", None, b""]),
    "fixed": pa.array([b"ab", None, b"cd"], pa.binary(2)),
    "dictionary": pa.array(["a", None, "b"]).dictionary_encode(),
    "struct": pa.array([{"a": 1, "b": [None]}, None, {"a": None, "b": None}]),
    "list": pa.array([[1, None], None, []]),
    "large_list": pa.array([["a"], None, []], pa.large_list(pa.string())),
    "pair": pa.array([[1, 2], None, [None, 3]], pa.list_(pa.int64(), 2)),
    "list_view": pa.array([[1], None, []], pa.list_view(pa.int64())),
    "map": pa.array([[("k", 1)], None, []], pa.map_(pa.string(), pa.int64())),
    "list of structs": pa.array([[{"a": {"b": "c"}}], None, [None]]),
}


def copied(batch: pa.RecordBatch) -> pa.RecordBatch:
    coder = RecordBatchCoder()
    return coder.decode(coder.encode(batch))


@pytest.mark.parametrize("name", COLUMNS)
def test_a_batch_comes_back_with_type_values_and_nulls(name: str) -> None:
    batch = pa.record_batch({"a": COLUMNS[name]})
    found = copied(batch)
    found.validate(full=True)
    assert found.schema.equals(batch.schema, check_metadata=True)
    assert found.equals(batch)
    assert copied(batch.slice(1, 1)).equals(batch.slice(1, 1))


def test_names_and_metadata_of_batch_and_fields_come_back() -> None:
    field = pa.field("a.b é", pa.int64(), nullable=False, metadata={"consentry.action": "keep"})
    batch = pa.RecordBatch.from_arrays(
        [pa.array([1])],
        schema=pa.schema(
            [
                field,
            ],
            {b"consentry.source": b"\xff.csv"},
        ),
    )
    found = copied(batch)
    assert found.schema.equals(batch.schema, check_metadata=True)
    assert found.schema.field(0).metadata == {b"consentry.action": b"keep"}
    assert found.schema.metadata == {b"consentry.source": b"\xff.csv"}


@pytest.mark.parametrize(
    "batch",
    [
        pa.record_batch({"a": pa.array([], pa.string())}),
        pa.RecordBatch.from_arrays([], schema=pa.schema([])),
        pa.record_batch({"a": [1], "b": [2]}).rename_columns(["a", "a"]),
        pa.RecordBatch.from_struct_array(pa.array([{}, {}], pa.struct([]))),
    ],
    ids=["no rows", "no columns", "one name twice", "rows without columns"],
)
def test_odd_batches_come_back(batch: pa.RecordBatch) -> None:
    found = copied(batch)
    assert found.equals(batch)
    assert found.num_rows == batch.num_rows


ROW = st.tuples(st.none() | st.text(max_size=5), st.none() | st.lists(st.integers(-9, 9), max_size=3))


@given(rows=st.lists(ROW, max_size=9), start=st.integers(0, 9), length=st.integers(0, 9))
@settings(deadline=None)
def test_every_slice_comes_back(rows: list[tuple[Any, Any]], start: int, length: int) -> None:
    texts, lists = [row[0] for row in rows], [row[1] for row in rows]
    batch = pa.record_batch({"a": pa.array(texts, pa.string()), "b": pa.array(lists, pa.list_(pa.int64()))})
    part = batch.slice(min(start, len(rows)), length)
    found = copied(part)
    found.validate(full=True)
    assert found.to_pylist() == part.to_pylist()


ROWS = 20_000
BIG = {
    "numbers": pa.array(np.arange(ROWS)),
    "bools": pa.array(np.arange(ROWS) % 3 == 0),
    "text": pa.array([f"value number {row:08d}" for row in range(ROWS)]),
    "nullable": pa.array([None if row % 2 else f"value number {row:08d}" for row in range(ROWS)]),
    "structs": pa.array([{"a": row, "b": f"value number {row:08d}"} for row in range(ROWS)]),
    "lists": pa.array([[f"value number {row:08d}"] * (row % 3) for row in range(ROWS)]),
    "pairs": pa.array([[row, row] for row in range(ROWS)], pa.list_(pa.int64(), 2)),
    "dictionary": pa.array([f"value number {row:08d}" for row in range(ROWS)]).dictionary_encode(),
    "view": pa.array([f"value number {row:08d}" for row in range(ROWS)], pa.string_view()),
    "list_view": pa.array([[row] for row in range(ROWS)], pa.list_view(pa.int64())),
}
WHOLE = {"dictionary", "view", "list_view"}
"""Layouts of which Arrow's IPC writes all, however little of it is shown."""


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name,
            marks=[pytest.mark.xfail(strict=True, reason="Arrow writes the parent whole")] if name in WHOLE else [],
        )
        for name in BIG
    ],
)
def test_a_slice_encodes_no_more_than_the_rows_that_it_shows(name: str) -> None:
    batch = pa.record_batch({"a": BIG[name]})
    coder = RecordBatchCoder()
    whole, part = len(coder.encode(batch)), len(coder.encode(batch.slice(ROWS // 2, ROWS // 100)))
    assert part < whole / 50 + 1024


@pytest.mark.parametrize("name", [name for name in BIG if name != "list_view"])
@pytest.mark.parametrize("rows", [200, ROWS])
def test_the_estimated_size_is_near_the_encoded_one(name: str, rows: int) -> None:
    batch = pa.record_batch({"a": BIG[name]}).slice(3, rows)
    coder = RecordBatchCoder()
    encoded = len(coder.encode(batch))
    assert abs(coder.estimate_size(batch) - encoded) < 1024 + encoded / 20


def test_a_batch_and_its_copy_encode_to_the_same_bytes() -> None:
    batch = pa.record_batch(COLUMNS)
    coder = RecordBatchCoder()
    assert coder.encode(batch) == coder.encode(copied(batch)) == coder.encode(batch.slice(0))


def test_decoding_copies_nothing() -> None:
    data = RecordBatchCoder().encode(pa.record_batch({"a": [1, 2, 3]}))
    buffer = RecordBatchCoder().decode(data)["a"].buffers()[1]
    start = pa.py_buffer(data).address
    assert start <= buffer.address < start + len(data)


def test_bytes_that_are_no_stream_are_refused() -> None:
    data = RecordBatchCoder().encode(pa.record_batch({"a": [1, 2, 3]}))
    for damaged in (b"", b"x", data[:40], data[:-40]):
        with pytest.raises((pa.ArrowInvalid, OSError, EOFError, StopIteration)):
            RecordBatchCoder().decode(damaged)


def test_beam_uses_it_for_record_batches() -> None:
    assert registry.get_coder(pa.RecordBatch) == RecordBatchCoder()
    assert registry.get_coder(pa.RecordBatch) != registry.get_coder(int)
    assert RecordBatchCoder().to_type_hint() is pa.RecordBatch
    assert hash(RecordBatchCoder()) == hash(RecordBatchCoder())
    assert isinstance(registry.get_coder(beam.typehints.Tuple[str, pa.RecordBatch]).value_coder(), RecordBatchCoder)


def test_beam_refuses_batches_as_keys() -> None:
    assert not RecordBatchCoder().is_deterministic()
    with pytest.raises(ValueError, match="deterministic"):
        RecordBatchCoder().as_deterministic_coder("GroupByKey")
    with pytest.raises(ValueError, match="deterministic"), beam.Pipeline(FN_API) as pipeline:
        batches = pipeline | beam.Create([1])
        keyed = batches | beam.Map(lambda number: (pa.record_batch({"a": [number]}), number)).with_output_types(
            tuple[pa.RecordBatch, int]
        )
        _ = keyed | beam.GroupByKey()


def test_batches_cross_a_shuffle_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[int] = []
    encode = RecordBatchCoder.encode

    def noted(self: RecordBatchCoder, value: pa.RecordBatch) -> bytes:
        encoded.append(value.num_rows)
        return encode(self, value)

    monkeypatch.setattr(RecordBatchCoder, "encode", noted)
    with beam.Pipeline(FN_API) as pipeline:
        found = (
            pipeline
            | beam.Create([2, 3])
            | beam.Map(lambda rows: pa.record_batch({"a": list(range(rows))})).with_output_types(pa.RecordBatch)
            | beam.Reshuffle()
            | beam.Map(lambda batch: batch["a"].to_pylist())
        )
        assert_that(found, equal_to([[0, 1], [0, 1, 2]]))
    assert sorted(encoded) == [2, 3]
