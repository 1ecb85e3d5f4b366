from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from consentry.schemas.dataset import FieldPath
from consentry.transforms.nested_columns import (
    close_list,
    close_struct,
    column_at,
    masked_nulls,
    open_list,
    open_struct,
    type_at,
)
from hypothesis import given
from hypothesis import strategies as st

LISTS = [pa.list_(pa.int64()), pa.large_list(pa.int64()), pa.list_(pa.int64(), 2), pa.list_view(pa.int64())]


def doubled_lists(column: pa.Array) -> pa.Array:
    elements = open_list(column)
    return close_list(pa.field("item", pa.int64()), elements, pc.multiply(elements.values, 2), column)


@pytest.mark.parametrize("kind", LISTS, ids=str)
def test_lists_of_every_layout_open_and_close_in_slices(kind: pa.DataType) -> None:
    rows = [[1, 2], None, [3, None], [5, 6], None, [7, 8]]
    column = pa.array(rows, kind)
    for start in range(6):
        for stop in range(start, 7):
            closed = doubled_lists(column[start:stop])
            closed.validate(full=True)
            expected = [
                None if row is None else [None if n is None else 2 * n for n in row] for row in rows[start:stop]
            ]
            assert closed.to_pylist() == expected


def test_what_hides_under_a_null_is_neither_opened_nor_kept() -> None:
    hidden = pa.StructArray.from_arrays([pa.array(["a", "raw"])], names=["x"], mask=pa.array([False, True]))
    assert open_struct(hidden)[0].to_pylist() == ["a", None]
    offsets = pa.py_buffer(pa.array([0, 1, 2], pa.int32()).buffers()[1])
    listed = pa.Array.from_buffers(
        pa.list_(pa.string()), 2, [pa.py_buffer(b"\x01"), offsets], children=[pa.array(["a", "raw"])]
    )
    assert listed.to_pylist() == [["a"], None]
    assert open_list(listed).values.to_pylist() == ["a"]
    fixed = pa.FixedSizeListArray.from_arrays(pa.array(["a", "raw"]), 1, mask=pa.array([False, True]))
    assert open_list(fixed).values.to_pylist() == ["a", None]


@given(st.lists(st.none() | st.lists(st.none() | st.integers(-9, 9), max_size=4), max_size=12), st.data())
def test_owners_name_the_row_of_each_element(rows: list[list[int | None] | None], data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(rows)))
    column = pa.array(rows, pa.list_(pa.int64()))[start:]
    elements = open_list(column)
    expected = [place for place, row in enumerate(rows[start:]) for _ in row or ()]
    assert elements.owners(None).tolist() == expected


def test_structs_close_with_their_nulls() -> None:
    column = pa.array([{"a": 1, "b": 2}, None, {"a": None, "b": 3}])[1:]
    closed = close_struct([pa.field("b", pa.int64())], [open_struct(column)[1]], column)
    closed.validate(full=True)
    assert closed.to_pylist() == [None, {"b": 3}]


def test_a_column_is_found_through_structs_only() -> None:
    batch = pa.record_batch({"c": pa.array([{"id": "x"}, None]), "l": pa.array([[{"id": 1}], []])})
    assert column_at(batch, FieldPath.parse("c.id")).to_pylist() == ["x", None]
    assert type_at(batch.schema, FieldPath.parse("c.id")) == pa.string()
    for path in ("c.no", "no", "l[].id", "c.id.deeper"):
        assert column_at(batch, FieldPath.parse(path)) is None
        assert type_at(batch.schema, FieldPath.parse(path)) is None


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["a", "b"]), pa.array(["a", "b"], pa.string_view()), pa.array(["a", "b"]).dictionary_encode(),
        pa.array([1, 2]), pa.array([{"a": 1}, {"a": 2}]), pa.array([[1], [2]]), pa.array([b"a", b"b"], pa.binary(1)),
        pa.array([True, False]), pa.array([[("k", 1)], []], pa.map_(pa.string(), pa.int64())),
        pa.array([1000, 2000], pa.timestamp("ns", "UTC")), pa.array([1, 2], pa.float16()),
    ],
    ids=lambda column: str(column.type),
)  # fmt: skip
def test_rows_of_any_type_are_hidden(column: pa.Array) -> None:
    hidden = masked_nulls(column, np.array([True, False]))
    assert hidden.type == column.type
    assert hidden.to_pylist() == [None, column[1].as_py()]
