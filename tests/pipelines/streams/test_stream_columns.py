"""How the columns of a stream grow, and what batches have of them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from consentry.pipelines.streams.stream_columns import cells_limit, count_paths, grown, plain_columns, stream_batch
from consentry.schemas.record_columns import POSITION, SOURCE_KEY
from hypothesis import given
from hypothesis import strategies as st

EMPTY = pa.struct([])

kinds = st.recursive(
    st.sampled_from([pa.null(), pa.string(), pa.int64(), pa.float64(), pa.bool_(), EMPTY]),
    lambda below: (
        st.builds(pa.list_, below)
        | st.dictionaries(st.sampled_from("abc"), below, max_size=3).map(lambda each: pa.struct(list(each.items())))
    ),
    max_leaves=5,
)
schemas = st.dictionaries(st.sampled_from("abc"), kinds, max_size=3).map(lambda each: pa.schema(list(each.items())))


@given(schemas, schemas)
def test_growing_twice_by_the_same_is_growing_once(known: pa.Schema, found: pa.Schema) -> None:
    once = grown(known, found)
    assert grown(once, found) == once
    assert set(once.names) == {*known.names, *found.names}
    assert once.names[: len(known.names)] == known.names


@pytest.mark.parametrize(
    ("known", "found", "expected"),
    [
        (pa.null(), EMPTY, EMPTY),
        (EMPTY, pa.int64(), pa.int64()),
        (pa.int64(), EMPTY, pa.int64()),
        (pa.int64(), pa.float64(), pa.float64()),
        (pa.float64(), pa.int64(), pa.float64()),
        (pa.string(), pa.int64(), pa.string()),
        (pa.int64(), pa.string(), pa.int64()),
        (pa.list_(EMPTY), pa.list_(pa.bool_()), pa.list_(pa.bool_())),
    ],
)
def test_what_is_known_stays_or_widens(known: pa.DataType, found: pa.DataType, expected: pa.DataType) -> None:
    assert grown(pa.schema([("x", known)]), pa.schema([("x", found)])).field("x").type == expected


def test_wide_columns_leave_room_for_fewer_rows() -> None:
    wide = pa.schema([(f"f{number}", pa.int64()) for number in range(1000)])
    assert cells_limit(wide) * count_paths(wide) <= 2**22
    assert cells_limit(pa.schema([])) > 10**6


def test_a_batch_tells_its_partition_and_offsets_and_has_no_reserved_columns() -> None:
    rows = pa.RecordBatch.from_pylist([{"a": 1, "__consentry_subject": "forged", "b": {}}])
    batch = stream_batch("orders/3", plain_columns(rows.schema), rows, np.array([12]))
    assert batch.schema.metadata == {SOURCE_KEY: b"orders/3"}
    assert batch.to_pylist() == [{"a": 1, "b": None, POSITION: 12}]
