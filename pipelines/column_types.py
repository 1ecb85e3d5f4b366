"""Finds the type that the columns of several files have together, and brings columns to it without loss.

Whole numbers widen, ``float32`` becomes ``float64``, structs take each other's fields, strings and binaries take the
wider offsets; null gives way to anything. All else that differs is a conflict. Whole numbers of 64 bits beside
``float64`` become ``float64``, and a number that it cannot hold exactly is an error when it is read.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from ..schemas.errors import InputError
from ..schemas.record_columns import POSITION, RESERVED_PREFIX
from ..transforms.nested_columns import close_struct, is_list, open_list, open_struct

__all__ = ["conform", "joint_schema", "joint_type"]

_SIGNED = (pa.int8(), pa.int16(), pa.int32(), pa.int64())
_UNITS = ("s", "ms", "us", "ns")


def joint_schema(schemas: Iterable[tuple[str, pa.Schema]]) -> pa.Schema:
    """Returns the columns of all files in the order of first appearance, and ``POSITION`` last.

    Args:
        schemas: Of each file, with its name. Reserved columns are left out: they could forge permissions.

    Raises:
        InputError: Two files disagree about a column, or one has two columns of a name.
    """
    types: dict[str, pa.DataType] = {}
    origins: dict[str, str] = {}
    for file, schema in schemas:
        _check_unique(file, schema)
        for field in schema:
            if field.name.startswith(RESERVED_PREFIX):
                continue
            known = types.setdefault(field.name, field.type)
            joint = joint_type(known, field.type)
            if joint is None:
                raise InputError(_conflict(field.name, origins[field.name], known, file, field.type))
            types[field.name] = joint
            if field.name not in origins or pa.types.is_null(known):
                origins[field.name] = file
    fields = [pa.field(name, _without_empty_structs(kind)) for name, kind in types.items()]
    return pa.schema([*fields, pa.field(POSITION, pa.int64())])


def _check_unique(file: str, schema: pa.Schema) -> None:
    names = schema.names
    twice = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
    if twice is not None:
        raise InputError(f"{file}: has two columns named '{twice}'; give each a name of its own")


def _conflict(column: str, first: str, known: pa.DataType, second: str, found: pa.DataType) -> str:
    return (
        f"column '{column}' is {known} in {first} and {found} in {second}; "
        "protect the two files apart, or write them with one type"
    )


def joint_type(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """Returns the type that holds the values of both, or None where there is none.

    >>> joint_type(pa.int32(), pa.int64())
    DataType(int64)
    >>> joint_type(pa.int64(), pa.string()) is None
    True
    """
    if one == other:
        return one
    if pa.types.is_null(one) or pa.types.is_null(other):
        return other if pa.types.is_null(one) else one
    if pa.types.is_struct(one) and pa.types.is_struct(other):
        return _joint_struct(one, other)
    if is_list(one) and is_list(other):
        return _joint_list(one, other)
    return _joint_number(one, other) or _joint_text(one, other) or _joint_instant(one, other)


def _joint_struct(one: pa.StructType, other: pa.StructType) -> pa.DataType | None:
    types = {field.name: field.type for field in one}
    for field in other:
        joint = joint_type(types.setdefault(field.name, field.type), field.type)
        if joint is None:
            return None
        types[field.name] = joint
    return pa.struct(list(types.items()))


def _joint_list(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    element = joint_type(one.value_type, other.value_type)
    if element is None:
        return None
    large = pa.types.is_large_list(one) or pa.types.is_large_list(other)
    return pa.large_list(element) if large else pa.list_(element)


def _joint_number(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    kinds = (one, other)
    if all(pa.types.is_decimal(kind) for kind in kinds):
        return _joint_decimal(one, other)
    if not all(pa.types.is_integer(kind) or pa.types.is_floating(kind) for kind in kinds):
        return None
    if any(pa.types.is_floating(kind) for kind in kinds):
        return pa.float64()
    if all(pa.types.is_unsigned_integer(kind) for kind in kinds):
        return one if one.bit_width > other.bit_width else other
    # A signed type holds an unsigned one of half its width.
    bits = max(kind.bit_width * (2 if pa.types.is_unsigned_integer(kind) else 1) for kind in kinds)
    return next((kind for kind in _SIGNED if kind.bit_width == bits), None)


def _joint_decimal(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    scale = max(one.scale, other.scale)
    precision = max(one.precision - one.scale, other.precision - other.scale) + scale
    if precision > 76:
        return None
    return pa.decimal128(precision, scale) if precision <= 38 else pa.decimal256(precision, scale)


def _joint_text(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    kinds = [kind.value_type if pa.types.is_dictionary(kind) else kind for kind in (one, other)]
    if all(pa.types.is_string(kind) or _is_wide_string(kind) for kind in kinds):
        return pa.large_string() if any(pa.types.is_large_string(kind) for kind in kinds) else pa.string()
    if all(pa.types.is_binary(kind) or _is_wide_binary(kind) for kind in kinds):
        return pa.large_binary() if any(pa.types.is_large_binary(kind) for kind in kinds) else pa.binary()
    return None


def _is_wide_string(kind: pa.DataType) -> bool:
    return bool(pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_wide_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def _joint_instant(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    if not (pa.types.is_timestamp(one) and pa.types.is_timestamp(other) and one.tz == other.tz):
        return None
    return one if _UNITS.index(one.unit) > _UNITS.index(other.unit) else other


def _without_empty_structs(kind: pa.DataType) -> pa.DataType:
    # A struct without fields cannot be written as Parquet and says no more than null.
    if pa.types.is_struct(kind):
        fields = [field.with_type(_without_empty_structs(field.type)) for field in kind]
        return pa.struct(fields) if fields else pa.null()
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_without_empty_structs(kind.value_type)))
    if pa.types.is_large_list(kind):
        return pa.large_list(kind.value_field.with_type(_without_empty_structs(kind.value_type)))
    return kind


def conform(column: pa.Array | None, field: pa.Field, rows: int, file: str) -> pa.Array:
    """Returns a column of one file as the joint type; a column that the file does not have is null.

    Args:
        column: As parsed, or None.
        field: Of the joint schema.
        rows: How many.
        file: Named in the error.

    Raises:
        InputError: A number does not fit.
    """
    if column is None:
        return pa.nulls(rows, field.type)
    if column.type == field.type:
        return column
    try:
        return _cast(column, field.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        text = (
            f"{file}: column '{field.name}' holds values that do not fit {field.type}, its type beside the other files"
        )
    raise InputError(f"{text}; protect this file apart from them")


def _cast(column: pa.Array, kind: pa.DataType) -> pa.Array:
    if pa.types.is_null(kind):
        return pa.nulls(len(column), kind)
    # Arrow casts no struct without fields to null, and lists of nulls not even to lists of nulls (25.0).
    if pa.types.is_struct(column.type) and pa.types.is_struct(kind) and _has_null(kind):
        return _cast_struct(column, kind)
    if is_list(column.type) and is_list(kind) and _has_null(kind):
        return _cast_list(column, kind)
    return column.cast(kind)


def _cast_list(column: pa.Array, kind: pa.DataType) -> pa.Array:
    elements = open_list(column)
    large = pa.types.is_large_list(kind)
    offsets = pa.array(np.concatenate([[0], np.cumsum(elements.lengths)]), pa.int64() if large else pa.int32())
    made = pa.LargeListArray if large else pa.ListArray
    values = _cast(elements.values, kind.value_type)
    return made.from_arrays(offsets, values, type=kind, mask=column.is_null() if column.null_count else None)


def _cast_struct(column: pa.StructArray, kind: pa.StructType) -> pa.Array:
    own = dict(zip((field.name for field in column.type), open_struct(column), strict=True))
    children = [
        _cast(own[field.name], field.type) if field.name in own else pa.nulls(len(column), field.type) for field in kind
    ]
    return close_struct(list(kind), children, column)


def _has_null(kind: pa.DataType) -> bool:
    """Whether there is a null type in it."""
    if pa.types.is_struct(kind):
        return any(_has_null(field.type) for field in kind)
    return _has_null(kind.value_type) if is_list(kind) else bool(pa.types.is_null(kind))
