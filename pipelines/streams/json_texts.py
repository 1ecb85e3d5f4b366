"""Rows as JSON texts, made column by column.

One value has one text, however rows came into batches: a field without a value is left out, and a whole number is
written the same whether its column holds decimals by now or not. So a record that is written again is the same bytes.
"""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from ...transforms.nested_columns import is_list, open_list, open_struct

__all__ = ["json_texts"]

_TO_ESCAPE = r'["\\\x00-\x1f]'
_EXACT = float(1 << 53)
"""Up to there floating point tells whole numbers apart."""


def json_texts(batch: pa.RecordBatch) -> list[bytes]:
    """Returns an object for each row, in UTF-8.

    Args:
        batch: Without views. Instants become ISO 8601, binary base64; what is no number (NaN, infinite) is left out.

    >>> json_texts(pa.record_batch({"id": ["o-1", None], "paid": [9.0, 9.5]}))
    [b'{"id":"o-1","paid":9}', b'{"paid":9.5}']
    """
    texts = _objects(batch.schema, batch.columns, batch.num_rows).cast(pa.binary())
    found: list[bytes] = texts.to_pylist()
    return found


def _objects(fields: Any, columns: list[pa.Array], rows: int) -> pa.StringArray:
    members = [_members(field.name, _texts(column)) for field, column in zip(fields, columns, strict=True)]
    if not members:
        return pa.array(["{}"] * rows, pa.string())
    joined = pc.ascii_rtrim(pc.binary_join_element_wise(*members, ""), ",")
    return pc.binary_join_element_wise("{", joined, "}", "")


def _members(name: str, texts: pa.StringArray) -> pa.StringArray:
    """Returns ``"name":text,``, and nothing where there is no value."""
    key = orjson.dumps(name).decode() + ":"
    return pc.fill_null(pc.binary_join_element_wise(key, texts, ",", ""), "")


def _texts(column: pa.Array) -> pa.StringArray:
    """Returns the text of each value; null where there is none."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _texts(column.dictionary_decode())
    if pa.types.is_null(kind):
        return pa.nulls(len(column), pa.string())
    if pa.types.is_struct(kind):
        objects = _objects(kind, open_struct(column), len(column))
        return pc.if_else(column.is_valid(), objects, pa.scalar(None, pa.string()))
    if is_list(kind):
        return _lists(column)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _quoted(column.cast(pa.string()))
    if pa.types.is_floating(kind):
        return _numbers(column.cast(pa.float64()))
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind):
        return column.cast(pa.string())
    if pa.types.is_timestamp(kind):
        told = pc.strftime(column, "%Y-%m-%dT%H:%M:%S" if kind.tz is None else "%Y-%m-%dT%H:%M:%SZ")
        return _quoted(told)
    if pa.types.is_date(kind) or pa.types.is_time(kind):
        return _quoted(column.cast(pa.string()))
    return pa.array([None if value is None else _other(value) for value in column.to_pylist()], pa.string())


def _lists(column: pa.Array) -> pa.StringArray:
    opened = open_list(column)
    texts = pc.fill_null(_texts(opened.values), "null")
    offsets = pa.array([0, *opened.lengths.cumsum().tolist()], pa.int32())
    joined = pc.binary_join(pa.ListArray.from_arrays(offsets, texts), ",")
    lists = pc.binary_join_element_wise("[", joined, "]", "")
    return pc.if_else(column.is_valid(), lists, pa.scalar(None, pa.string()))


def _quoted(column: pa.StringArray) -> pa.StringArray:
    escaped = pc.match_substring_regex(column, _TO_ESCAPE)
    quoted = pc.binary_join_element_wise('"', column, '"', "")
    if not pc.any(escaped).as_py():
        return quoted
    odd = [orjson.dumps(value).decode() for value in column.filter(escaped).to_pylist()]
    return pc.replace_with_mask(quoted, pc.fill_null(escaped, False), pa.array(odd, pa.string()))


def _numbers(column: pa.DoubleArray) -> pa.StringArray:
    nothing = pa.scalar(None, pa.float64())
    finite = pc.if_else(pc.is_finite(column), column, nothing)
    whole = pc.and_(pc.equal(pc.floor(finite), finite), pc.less_equal(pc.abs(finite), _EXACT))
    numbers = pc.if_else(whole, finite, nothing).cast(pa.int64()).cast(pa.string())
    return pc.coalesce(numbers, finite.cast(pa.string()))


def _other(value: Any) -> str:
    """Returns the text of a value of a rare type."""
    return orjson.dumps(value, default=_told, option=orjson.OPT_NON_STR_KEYS).decode()


def _told(value: Any) -> str:
    return b64encode(value).decode() if isinstance(value, bytes) else str(value)
