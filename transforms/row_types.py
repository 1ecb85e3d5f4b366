"""What Beam's rows are in Arrow, and what Arrow's are in Beam: types, and the values of rows.

A type that Arrow does not have (``Any``, a Python object) makes its column *loose*: nothing is known of it before its
values come, and what leaves of it is typed ``Any`` again.
"""

# Beam's type hints do not know `X | None`.
# ruff: noqa: UP045
# mypy: disable-error-code="attr-defined, no-untyped-call"
from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Optional

import apache_beam as beam
import pyarrow as pa
from apache_beam.portability import common_urns
from apache_beam.portability.api import schema_pb2
from apache_beam.typehints import Sequence as ListOf
from apache_beam.typehints.row_type import RowTypeConstraint
from apache_beam.typehints.schemas import typing_to_runner_api
from apache_beam.utils.timestamp import Timestamp

from .nested_columns import is_list

__all__ = ["columns_of", "plain_value", "row_value", "type_hint"]

ATOMIC: Mapping[int, pa.DataType] = {
    schema_pb2.BYTE: pa.int8(),
    schema_pb2.INT16: pa.int16(),
    schema_pb2.INT32: pa.int32(),
    schema_pb2.INT64: pa.int64(),
    schema_pb2.FLOAT: pa.float32(),
    schema_pb2.DOUBLE: pa.float64(),
    schema_pb2.BOOLEAN: pa.bool_(),
    schema_pb2.STRING: pa.string(),
    schema_pb2.BYTES: pa.binary(),
}
INSTANTS = frozenset(urn.urn for urn in (common_urns.timestamp, common_urns.millis_instant, common_urns.micros_instant))


def columns_of(element_type: Any) -> Mapping[str, pa.DataType | None]:
    """Returns the columns of a collection of rows, each with its Arrow type; None: loose.

    Args:
        element_type: Of the collection; empty for one that is none of rows.

    >>> columns_of(RowTypeConstraint.from_fields([("id", str), ("at", Timestamp), ("more", Any)]))
    {'id': DataType(string), 'at': TimestampType(timestamp[us, tz=UTC]), 'more': None}
    """
    is_row = isinstance(element_type, RowTypeConstraint)
    row: Any = element_type if is_row else RowTypeConstraint.from_user_type(element_type)
    if row is None:
        return {}
    return {field.name: _arrow_type(field.type) for field in typing_to_runner_api(row).row_type.schema.fields}


def _arrow_type(kind: schema_pb2.FieldType) -> pa.DataType | None:
    match kind.WhichOneof("type_info"):
        case "atomic_type":
            return ATOMIC.get(kind.atomic_type)
        case "array_type" | "iterable_type" as name:
            element = _arrow_type(getattr(kind, name).element_type)
            return None if element is None else pa.list_(element)
        case "row_type":
            inner = {field.name: _arrow_type(field.type) for field in kind.row_type.schema.fields}
            known = {name: each for name, each in inner.items() if each is not None}
            return pa.struct(list(known.items())) if known and len(known) == len(inner) else None
        case "logical_type" if kind.logical_type.urn in INSTANTS:
            return pa.timestamp("us", "UTC")
        case _:
            return None


def type_hint(kind: pa.DataType) -> Any:
    """Returns the type of a row's field that holds what an Arrow column holds; everything may be null.

    >>> type_hint(pa.timestamp("us", "UTC"))
    typing.Optional[apache_beam.utils.timestamp.Timestamp]
    """
    if pa.types.is_struct(kind):
        fields = [(field.name, type_hint(field.type)) for field in kind]
        return Optional[RowTypeConstraint.from_fields(fields)]
    if is_list(kind):
        return Optional[ListOf[type_hint(kind.value_type)]]
    return _leaf_hint(kind)


def _leaf_hint(kind: pa.DataType) -> Any:
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return Optional[str]
    if pa.types.is_boolean(kind):
        return Optional[bool]
    if pa.types.is_integer(kind):
        return Optional[int]
    if pa.types.is_floating(kind):
        return Optional[float]
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return Optional[bytes]
    return Optional[Timestamp] if pa.types.is_timestamp(kind) else Any


def plain_value(value: Any) -> Any:
    """Returns a row, and all rows in it, as dicts; Beam's instants as Python's."""
    if isinstance(value, beam.Row):
        return {name: plain_value(each) for name, each in value.as_dict().items()}
    if hasattr(value, "_asdict"):
        return {name: plain_value(each) for name, each in value._asdict().items()}
    if isinstance(value, Mapping):
        return {name: plain_value(each) for name, each in value.items()}
    if isinstance(value, Timestamp):
        return value.to_utc_datetime(has_tz=True)
    if isinstance(value, list | tuple):
        return [plain_value(each) for each in value]
    return value


def row_value(value: Any, kind: pa.DataType | None) -> Any:
    """Returns a plain value as a field of ``type_hint(kind)`` has it; as it is where ``kind`` is None.

    What is missing in a struct is null: a batch whose records all lack a field has no column for it.
    """
    if kind is None or value is None:
        return value
    if pa.types.is_struct(kind):
        return beam.Row(**{field.name: row_value(value.get(field.name), field.type) for field in kind})
    if is_list(kind):
        return [row_value(each, kind.value_type) for each in value]
    return _instant(value) if isinstance(value, datetime) else value


def _instant(value: datetime) -> Timestamp:
    return Timestamp.from_utc_datetime(value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC))
