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
    assert copied(batch.slice(1, 1)).to_pylist() == batch.slice(1, 1).to_pylist()


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


SHARED = {
    "no views": pa.array([], pa.string_view()),
    "null views": pa.nulls(3, pa.binary_view()),
    "no list views": pa.array([], pa.list_view(pa.string_view())),
    "null list views": pa.nulls(3, pa.large_list_view(pa.int8())),
    "no words": pa.nulls(3, pa.dictionary(pa.int8(), pa.string())),
    "a null word": pa.DictionaryArray.from_arrays(pa.array([0, 1, None], pa.uint8()), pa.array([None, "x", "y", "z"])),
    "lists as words": pa.DictionaryArray.from_arrays(pa.array([0, 2], pa.int8()), pa.array([[1], [2], [3]])),
    "views in maps": pa.array([[("a", 1)], None], pa.map_(pa.string_view(), pa.int8())),
}


@pytest.mark.parametrize("name", SHARED)
def test_odd_columns_of_shared_parts_come_back(name: str) -> None:
    batch = pa.record_batch({"a": SHARED[name]})
    found = copied(batch)
    found.validate(full=True)
    assert found.schema.equals(batch.schema)
    assert found.to_pylist() == batch.to_pylist()


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


ROW = st.tuples(st.none() | st.text(max_size=20), st.none() | st.lists(st.integers(-9, 9), max_size=3))


@given(rows=st.lists(ROW, max_size=9), start=st.integers(0, 9), length=st.integers(0, 9))
@settings(deadline=None)
def test_every_slice_comes_back(rows: list[tuple[Any, Any]], start: int, length: int) -> None:
    texts, lists = [row[0] for row in rows], [row[1] for row in rows]
    plain, numbers = pa.array(texts, pa.string()), pa.array(lists, pa.list_(pa.int64()))
    words, views = plain.dictionary_encode(), plain.cast(pa.string_view())
    offsets = pa.array(range(len(rows) + 1), pa.int32())
    columns = {
        "plain": plain,
        "numbers": numbers,
        "words": words,
        "views": views,
        "number_views": pa.array(lists, pa.list_view(pa.int64())),
        "listed": pa.ListArray.from_arrays(offsets, words),
        "struct": pa.StructArray.from_arrays([words, views], ["a", "b"], mask=plain.is_null()),
        "pairs": pa.FixedSizeListArray.from_arrays(pa.concat_arrays([views, views]), 2),
    }
    batch = pa.record_batch(columns)
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
BIG |= {
    "words of a view": BIG["view"].dictionary_encode(),
    "bytes of a view": BIG["text"].cast(pa.binary_view()),
    "dictionaries in structs": pa.StructArray.from_arrays([BIG["dictionary"], BIG["view"]], ["a", "b"]),
    "dictionaries in lists": pa.ListArray.from_arrays(pa.array(range(ROWS + 1), pa.int32()), BIG["dictionary"]),
    "views in list views": pa.ListViewArray.from_arrays(
        pa.array(range(ROWS), pa.int32()), pa.array([1] * ROWS, pa.int32()), BIG["view"]
    ),
}


@pytest.mark.parametrize("name", BIG)
def test_a_slice_encodes_no_more_than_the_rows_that_it_shows(name: str) -> None:
    batch = pa.record_batch({"a": BIG[name]})
    coder = RecordBatchCoder()
    whole, part = len(coder.encode(batch)), len(coder.encode(batch.slice(ROWS // 2, ROWS // 100)))
    assert part < whole / 50 + 1024
    found = copied(batch.slice(ROWS // 2, ROWS // 100))
    found.validate(full=True)
    assert found.schema.equals(batch.schema)
    assert found.to_pylist() == batch.slice(ROWS // 2, ROWS // 100).to_pylist()


@pytest.mark.parametrize("name", BIG)
def test_a_coder_takes_batches_of_different_schemas_in_turn(name: str) -> None:
    coder = RecordBatchCoder()
    for batch in (
        pa.record_batch({"a": [1]}),
        pa.record_batch({"a": BIG[name]}).slice(3, 2),
        pa.record_batch({"b": [1]}),
    ):
        assert coder.decode(coder.encode(batch)).to_pylist() == batch.to_pylist()


def test_the_order_of_words_that_have_one_stays() -> None:
    column = pa.DictionaryArray.from_arrays(
        pa.array([2, 0, None, 2, 1]), pa.array(["low", "mid", "high"]), ordered=True
    )
    found = copied(pa.record_batch({"a": column}).slice(0, 2))["a"]
    assert found.type == column.type
    assert (found.dictionary.to_pylist(), found.to_pylist()) == (["low", "high"], ["high", "low"])


@pytest.mark.parametrize("name", BIG)
def test_what_was_a_slice_encodes_to_the_same_bytes_again(name: str) -> None:
    part = pa.record_batch({"a": BIG[name]}).slice(ROWS // 2, ROWS // 100)
    assert RecordBatchCoder().encode(copied(part)) == RecordBatchCoder().encode(part)


@pytest.mark.parametrize("name", [name for name in BIG if "list_view" not in name.replace(" ", "_")])
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
