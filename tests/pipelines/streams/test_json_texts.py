"""Rows as JSON: what orjson makes of them, and one text for one value whatever batch it comes in."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import orjson
import pyarrow as pa
import pytest
from consentry.pipelines.streams.json_texts import json_texts
from hypothesis import given
from hypothesis import strategies as st

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
ITEM = st.none() | st.fixed_dictionaries({"sku": st.none() | TEXTS, "count": st.none() | st.integers(-9, 9)})
ROW = st.fixed_dictionaries({
    "id": st.none() | TEXTS,
    "n": st.none() | st.integers(-(2**63), 2**63 - 1),
    "f": st.none() | st.floats(),
    "b": st.none() | st.booleans(),
    "to": st.none() | st.fixed_dictionaries({"city": st.none() | TEXTS}),
    'odd "name"\n': st.none() | TEXTS,
    "items": st.none() | st.lists(ITEM, max_size=3),
    "words": st.none() | st.lists(st.none() | st.floats() | st.none(), max_size=3),
})  # fmt: skip
SCHEMA = pa.schema([
    ("id", pa.string()),
    ("n", pa.int64()),
    ("f", pa.float64()),
    ("b", pa.bool_()),
    ("to", pa.struct([("city", pa.string())])),
    ('odd "name"\n', pa.large_string()),
    ("items", pa.list_(pa.struct([("sku", pa.string()), ("count", pa.int32())]))),
    ("words", pa.large_list(pa.float32())),
])  # fmt: skip


def without_nothing(value: Any) -> Any:
    """The value as it should be read: no member without a value, and no number that is none."""
    if isinstance(value, dict):
        return {name: told for name, each in value.items() if (told := without_nothing(each)) is not None}
    if isinstance(value, list):
        return [without_nothing(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@given(rows=st.lists(ROW, min_size=1, max_size=8), start=st.integers(0, 7))
def test_a_row_is_the_object_that_orjson_reads(rows: list[dict[str, Any]], start: int) -> None:
    whole = pa.RecordBatch.from_pylist(rows, schema=SCHEMA)
    batch = whole.slice(min(start, len(rows) - 1))
    found = json_texts(batch)
    for text, row in zip(found, batch.to_pylist(), strict=True):
        assert orjson.loads(text) == without_nothing(row)
        assert json.loads(text) == without_nothing(row)
        assert list(orjson.loads(text)) == [name for name in SCHEMA.names if name in orjson.loads(text)]
    assert found == [text for at in range(batch.num_rows) for text in json_texts(batch.slice(at, 1))]


@given(number=st.integers(-(2**53), 2**53))
def test_a_whole_number_has_one_text_whether_decimals_came_or_not(number: int) -> None:
    assert json_texts(pa.record_batch({"n": [float(number)]})) == json_texts(pa.record_batch({"n": [number]}))


def test_a_column_that_is_not_known_yet_changes_nothing() -> None:
    before = pa.record_batch({"id": ["o-1"], "to": [{"city": "Ulm"}]})
    after = pa.record_batch(
        {
            "id": ["o-1", "o-2"],
            "to": [{"city": "Ulm", "street": None}, {"city": "Ulm", "street": "x"}],
            "paid": [None, 1.5],
        }
    )
    assert json_texts(before)[0] == json_texts(after)[0] == b'{"id":"o-1","to":{"city":"Ulm"}}'


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (pa.array([datetime(2026, 3, 1, 9, tzinfo=UTC)], pa.timestamp("ms", "UTC")), '"2026-03-01T09:00:00.000Z"'),
        (pa.array([datetime(2026, 3, 1, 9)], pa.timestamp("us")), '"2026-03-01T09:00:00.000000"'),
        (pa.array([date(2026, 3, 1)]), '"2026-03-01"'),
        (pa.array([time(9, 30)], pa.time32("s")), '"09:30:00"'),
        (pa.array([Decimal("1.50")]), "1.50"),
        (pa.array([b"\xff\x00"]), '"/wA="'),
        (pa.array(["a"]).dictionary_encode(), '"a"'),
        (pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())), '[["k",1]]'),
        (pa.array([1.5], pa.float16()), "1.5"),
        (pa.array([2**64 - 1], pa.uint64()), "18446744073709551615"),
        (pa.array([1e300]), "1e+300"),
        (pa.array([[[1], None, []]]), "[[1],null,[]]"),
        (pa.array([[1, 2]], pa.list_(pa.int8(), 2)), "[1,2]"),
        (pa.array([{}], pa.struct([])), "{}"),
    ],
)
def test_values_of_all_types_have_a_text(values: pa.Array, text: str) -> None:
    found = json_texts(pa.record_batch({"v": values}))
    assert found == [f'{{"v":{text}}}'.encode()]
    orjson.loads(found[0])


def test_rows_without_columns_and_columns_without_rows_are_no_trouble() -> None:
    assert json_texts(pa.RecordBatch.from_pylist([], schema=SCHEMA)) == []
    assert json_texts(pa.record_batch({"v": pa.nulls(2)})) == [b"{}", b"{}"]
