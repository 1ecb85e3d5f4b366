"""Columns in the layouts that Arrow's kernels work on, and without bytes that they do not show.

Views (of strings, binary, lists) become plain columns, because Arrow neither filters nor takes them. Compact columns
keep no byte that is hidden: not under a null, not in a dictionary's unused words. What leaves the pipeline is compact,
since files and messages carry buffers, not what they show. Trimmed columns keep their layout, and of the column that
they are a slice of, no more than they show.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .nested_columns import (
    Elements,
    close_list,
    close_struct,
    is_list,
    list_type,
    open_list,
    open_struct,
    validity_of,
)

__all__ = ["compact", "plain_batch", "plain_schema", "plain_type", "python_values", "shares_parts", "trimmed_batch"]


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Returns the type without views."""
    if pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_binary_view(kind):
        return pa.binary()
    if pa.types.is_dictionary(kind):
        return pa.dictionary(kind.index_type, plain_type(kind.value_type), kind.ordered)
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(plain_type(field.type)) for field in kind])
    if is_list(kind):
        return list_type(kind, kind.value_field.with_type(plain_type(kind.value_type)))
    if pa.types.is_map(kind):
        key, item = (field.with_type(plain_type(field.type)) for field in (kind.key_field, kind.item_field))
        return pa.map_(key, item, kind.keys_sorted)
    return kind


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """Returns the schema without views."""
    return pa.schema([field.with_type(plain_type(field.type)) for field in schema], schema.metadata)


def plain_batch(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Returns the batch without views; itself where it has none."""
    schema = plain_schema(batch.schema)
    if schema.equals(batch.schema):
        return batch
    columns = [_plain(column, field.type) for column, field in zip(batch.columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _plain(column: pa.Array, kind: pa.DataType) -> pa.Array:
    if column.type == kind:
        return column
    if pa.types.is_dictionary(kind):
        words = _plain(column.dictionary, kind.value_type)
        return pa.DictionaryArray.from_arrays(column.indices, words, ordered=kind.ordered)
    if pa.types.is_struct(kind):
        children = [_plain(child, field.type) for child, field in zip(open_struct(column), kind, strict=True)]
        return close_struct(list(kind), children, column)
    if is_list(kind):
        # Not by a cast: Arrow 25 loses elements of list views.
        elements = _all_elements(column) if pa.types.is_fixed_size_list(kind) else open_list(column)
        return close_list(kind.value_field, elements, _plain(elements.values, kind.value_type), column)
    return column.cast(kind)


def _all_elements(column: pa.FixedSizeListArray) -> Elements:
    """Returns the elements without hiding those of a null, which Arrow cannot do to views."""
    size = column.type.list_size
    values = column.values.slice(column.offset * size, len(column) * size)
    return Elements(values=values, lengths=np.full(len(column), size, np.int64))


def compact(column: pa.Array) -> pa.Array:
    """Returns the column, of a plain type, without hidden bytes; it copies only where there may be some."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        encoded = pc.dictionary_encode(column.dictionary_decode())
        return pa.DictionaryArray.from_arrays(
            encoded.indices.cast(kind.index_type), encoded.dictionary, ordered=kind.ordered
        )
    if pa.types.is_struct(kind):
        return close_struct(list(kind), [compact(child) for child in open_struct(column)], column)
    if is_list(kind):
        elements = open_list(column)
        return close_list(kind.value_field, elements, compact(elements.values), column)
    if not column.null_count:
        return column
    return column.take(pa.array(np.arange(len(column)), mask=column.is_null().to_numpy(zero_copy_only=False)))


def trimmed_batch(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Returns the batch, of the same schema, without what lies in its buffers for rows that it is not showing.

    Dictionaries and views stand beside the rows that use them, and Arrow writes them whole, however little of them a
    slice uses. Columns of other layouts are not touched.
    """
    return pa.RecordBatch.from_arrays([_trimmed(column) for column in batch.columns], schema=batch.schema)


def shares_parts(schema: pa.Schema) -> bool:
    """Whether batches of a schema can hold more than they show, so that ``trimmed_batch`` has something to do."""
    return any(_is_shared(field.type) for field in schema)


def _is_shared(kind: pa.DataType) -> bool:
    """Whether a column of this type has parts that slices share."""
    if pa.types.is_dictionary(kind) or _is_view(kind):
        return True
    if pa.types.is_struct(kind):
        return any(_is_shared(field.type) for field in kind)
    return is_list(kind) and (_is_list_view(kind) or _is_shared(kind.value_type))


def _is_view(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string_view(kind) or pa.types.is_binary_view(kind))


def _is_list_view(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind))


def _trimmed(column: pa.Array) -> pa.Array:
    kind = column.type
    if not _is_shared(kind):
        return column
    if pa.types.is_dictionary(kind):
        is_big = len(column.dictionary) > len(column) and not pa.types.is_nested(kind.value_type)
        return _trimmed_words(column) if is_big else column
    if _is_view(kind):
        return _trimmed_view(column)
    if pa.types.is_struct(kind):
        return close_struct(list(kind), [_trimmed(child) for child in open_struct(column)], column)
    if _is_list_view(kind):
        return _trimmed_list_view(column)
    elements = open_list(column)
    return close_list(kind.value_field, elements, _trimmed(elements.values), column)


def _trimmed_words(column: pa.DictionaryArray) -> pa.DictionaryArray:
    """Returns the column with the words that it uses, in their order."""
    kind, indices = column.type, column.indices
    used = np.unique(indices.drop_null().to_numpy())
    places = np.searchsorted(used, pc.fill_null(indices, 0).to_numpy())
    mask = indices.is_null().to_numpy(zero_copy_only=False) if indices.null_count else None
    words = _plain(column.dictionary, plain_type(kind.value_type)).take(pa.array(used)).cast(kind.value_type)
    return pa.DictionaryArray.from_arrays(pa.array(places, kind.index_type, mask=mask), words, ordered=kind.ordered)


def _trimmed_view(column: pa.Array) -> pa.Array:
    """Returns the column with bytes of its own, in one buffer; itself where it holds no more than it shows."""
    wide = pa.large_string() if pa.types.is_string_view(column.type) else pa.large_binary()
    held = sum(buffer.size for buffer in column.buffers()[2:])
    # A view is four 32-bit numbers, of which the first is the length.
    views = np.frombuffer(column.buffers()[1], np.int32).reshape(-1, 4)
    shown = views[column.offset : column.offset + len(column), 0].sum(dtype=np.int64)
    return column.cast(wide).cast(column.type) if held > shown else column


def _trimmed_list_view(column: pa.Array) -> pa.Array:
    kind, elements = column.type, open_list(column)
    if len(column.values) <= len(elements.values) and not _is_shared(kind.value_type):
        return column
    width = np.int64 if pa.types.is_large_list_view(kind) else np.int32
    starts = (np.cumsum(elements.lengths) - elements.lengths).astype(width)
    buffers = [validity_of(column), pa.py_buffer(starts), pa.py_buffer(elements.lengths.astype(width))]
    values = _trimmed(elements.values)
    return pa.Array.from_buffers(kind, len(column), buffers, column.null_count, children=[values])


def python_values(column: pa.Array) -> list[Any]:
    """Returns the values of a column as Python has them: nanoseconds cut to microseconds, where Python's clocks stop.

    Instants and durations that those clocks cannot tell come as their numbers.
    """
    column = _plain(column, plain_type(column.type))
    kind = _with_leaves(column.type, _in_microseconds)
    try:
        return list((column if kind == column.type else column.cast(kind, safe=False)).to_pylist())
    except (ValueError, OverflowError):
        return list(column.cast(_with_leaves(column.type, _as_number), safe=False).to_pylist())


def _in_microseconds(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        return pa.timestamp("us", kind.tz)
    if pa.types.is_duration(kind) and kind.unit == "ns":
        return pa.duration("us")
    return pa.time64("us") if pa.types.is_time64(kind) else kind


def _as_number(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_temporal(kind):
        return pa.int32() if pa.types.is_time32(kind) or pa.types.is_date32(kind) else pa.int64()
    return kind


def _with_leaves(kind: pa.DataType, change: Callable[[pa.DataType], pa.DataType]) -> pa.DataType:
    """Returns a plain type with its leaves changed; a dictionary of changed leaves becomes a column of them."""

    def changed(field: pa.Field) -> pa.Field:
        return field.with_type(_with_leaves(field.type, change))

    if pa.types.is_dictionary(kind):
        words = _with_leaves(kind.value_type, change)
        return kind if words == kind.value_type else words
    if pa.types.is_struct(kind):
        return pa.struct([changed(field) for field in kind])
    if is_list(kind):
        return list_type(kind, changed(kind.value_field))
    if pa.types.is_map(kind):
        return pa.map_(changed(kind.key_field), changed(kind.item_field), kind.keys_sorted)
    return change(kind)
