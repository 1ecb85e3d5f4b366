"""Opens nested Arrow columns down to their children and closes them again around new children.

A column is opened one level at a time. Children come out with the nulls of their parents applied, and without what
lies hidden outside of a slice or under a null, so a value that the column does not show is never looked at or kept.
Closing gives the parent back its offsets and its validity. No row becomes a Python object.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..schemas.dataset import EACH, FieldPath

__all__ = [
    "Elements",
    "close_list",
    "close_struct",
    "column_at",
    "is_list",
    "list_type",
    "masked_nulls",
    "numpy_bools",
    "open_list",
    "open_struct",
    "type_at",
    "validity_of",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Elements:
    """What lies in a list column.

    Attributes:
        values: All elements in order, one array.
        lengths: ``int64``, how many of them each list holds; 0 for null.
    """

    values: pa.Array
    lengths: np.ndarray[Any, np.dtype[np.int64]]

    def owners(self, rows: np.ndarray[Any, np.dtype[np.int64]] | None) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Returns for each element the row that it belongs to, given the rows of the lists (None: 0, 1, 2 …)."""
        return np.repeat(np.arange(len(self.lengths)) if rows is None else rows, self.lengths)


def is_list(kind: pa.DataType) -> bool:
    """Whether ``EACH`` can step into a column of this type."""
    return bool(
        pa.types.is_list(kind)
        or pa.types.is_large_list(kind)
        or pa.types.is_fixed_size_list(kind)
        or pa.types.is_list_view(kind)
        or pa.types.is_large_list_view(kind)
    )


def list_type(kind: pa.DataType, element: pa.Field) -> pa.DataType:
    """Returns the type of a list like ``kind`` of other elements; of a list view, the list of its size."""
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(element, kind.list_size)
    large = pa.types.is_large_list(kind) or pa.types.is_large_list_view(kind)
    return pa.large_list(element) if large else pa.list_(element)


def open_struct(column: pa.StructArray) -> list[pa.Array]:
    """Returns the children of a struct column, null wherever the struct is null."""
    return column.flatten() if column.null_count else [column.field(place) for place in range(column.type.num_fields)]


def close_struct(fields: Sequence[pa.Field], children: Sequence[pa.Array], like: pa.StructArray) -> pa.StructArray:
    """Returns a struct column of ``children``, null where ``like`` is."""
    kind = pa.struct(list(fields))
    return pa.Array.from_buffers(kind, len(like), [validity_of(like)], like.null_count, children=list(children))


def open_list(column: pa.Array) -> Elements:
    """Returns the elements of a list column of any list layout.

    The elements of a null in a fixed-size list are null, because the layout keeps their places.
    """
    if pa.types.is_fixed_size_list(column.type):
        return _fixed_elements(column)
    lengths = pc.fill_null(pc.list_value_length(column), 0)
    return Elements(values=column.flatten(), lengths=lengths.to_numpy(zero_copy_only=False).astype(np.int64))


def close_list(element: pa.Field, elements: Elements, values: pa.Array, like: pa.Array) -> pa.Array:
    """Returns a list column of new ``values`` in the places of ``elements``, null where ``like`` is.

    Args:
        element: Field of the new elements.
        elements: What ``open_list`` gave for ``like``.
        values: As many as ``elements.values``.
        like: The column as it was. List views become lists, otherwise the layout stays.
    """
    kind = list_type(like.type, element)
    buffers = [validity_of(like)]
    if not pa.types.is_fixed_size_list(kind):
        offsets = np.zeros(len(like) + 1, np.int64 if pa.types.is_large_list(kind) else np.int32)
        np.cumsum(elements.lengths, out=offsets[1:])
        buffers.append(pa.py_buffer(offsets))
    return pa.Array.from_buffers(kind, len(like), buffers, like.null_count, children=[values])


def column_at(batch: pa.RecordBatch, path: FieldPath) -> pa.Array | None:
    """Returns the column at a path through structs, null where a parent is; None where the batch has none."""
    column: pa.Array | None = None
    for depth, name in enumerate(path.steps):
        kind = batch.schema if depth == 0 else (column.type if column is not None else None)
        place = _place(kind, name)
        if place is None:
            return None
        column = batch.column(place) if column is None else open_struct(column)[place]
    return column


def type_at(schema: pa.Schema, path: FieldPath) -> pa.DataType | None:
    """Returns the type at a path through structs; None where the schema has none."""
    kind: pa.Schema | pa.DataType = schema
    for name in path.steps:
        place = _place(kind, name)
        if place is None:
            return None
        kind = kind.field(place).type
    return kind


def masked_nulls(column: pa.Array, hidden: np.ndarray[Any, np.dtype[np.bool_]]) -> pa.Array:
    """Returns ``column`` with null where ``hidden``; layouts without such a kernel are taken by index instead."""
    kind = column.type
    if pa.types.is_string_view(kind):
        return masked_nulls(column.cast(pa.string()), hidden).cast(kind)
    if pa.types.is_nested(kind) or pa.types.is_dictionary(kind):
        return column.take(pa.array(np.arange(len(column)), mask=hidden))
    return pc.if_else(pa.array(hidden), pa.scalar(None, kind), column)


def numpy_bools(column: pa.Array) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Returns an Arrow ``bool`` column as numpy, null as False."""
    filled = pc.fill_null(column, False) if column.null_count else column
    found: np.ndarray[Any, np.dtype[np.bool_]] = filled.to_numpy(zero_copy_only=False)
    return found


def validity_of(column: pa.Array) -> pa.Buffer | None:
    """Returns the validity bitmap of a column from its first row on, or None where no row is null."""
    if not column.null_count:
        return None
    return pa.py_buffer(np.packbits(column.is_valid().to_numpy(zero_copy_only=False), bitorder="little"))


def _place(kind: Any, name: str | None) -> int | None:
    if kind is None or name is EACH or not (isinstance(kind, pa.Schema) or pa.types.is_struct(kind)):
        return None
    place = kind.get_field_index(name)
    return place if place >= 0 else None


def _fixed_elements(column: pa.FixedSizeListArray) -> Elements:
    size = column.type.list_size
    values = column.values.slice(column.offset * size, len(column) * size)
    if column.null_count:
        values = masked_nulls(values, np.repeat(column.is_null().to_numpy(zero_copy_only=False), size))
    return Elements(values=values, lengths=np.full(len(column), size, np.int64))
