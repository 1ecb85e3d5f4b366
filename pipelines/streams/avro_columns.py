"""Which columns an Avro schema makes, and how its values are brought into them.

Whole numbers are ``int64`` and others ``float64``, as in JSON; text, enums and UUIDs are text; ``bytes`` and ``fixed``
binary; decimals, dates, times of day and instants what they are. A local time is no instant and becomes text. A map
has data for keys: no path leads into it, so it stays a map column, which a policy can only treat as a whole.

What no column can hold is refused with the schema: records within themselves, unions of different kinds, and arrays
of what takes no bytes, for a short message could hold any number of them.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pyarrow as pa
from fastavro import parse_schema
from fastavro.schema import SchemaParseException, UnknownType

from ..json_records import EXACT_IN_FLOAT, MAX_DEPTH
from ..json_types import MAX_PATHS
from .stream_columns import count_paths

__all__ = ["AvroSchema", "MisfitError", "UnsupportedSchemaError", "fitter", "too_many"]

EPOCH = dt.datetime(1970, 1, 1)
FIRST = (dt.datetime(1, 1, 1) - EPOCH) // dt.timedelta(microseconds=1)
LAST = (dt.datetime(9999, 12, 31, 23, 59, 59, 999999) - EPOCH) // dt.timedelta(microseconds=1)
DAY = 86_400_000_000

Fit = Callable[[Any], Any]
Take = Callable[[Any], Any]


class UnsupportedSchemaError(Exception):
    """A schema that makes no columns; the message names no values."""


class MisfitError(Exception):
    """A value that does not fit its column.

    Attributes:
        in_range: Whether only its kind is wrong.
    """

    def __init__(self, *, in_range: bool = True) -> None:
        super().__init__("a value does not fit its column")
        self.in_range = in_range


@dataclass(frozen=True, slots=True)
class _Kind:
    """A type of a schema.

    Attributes:
        column: That it makes.
        plain: The schema's text without logical types, as fastavro reads it.
        take: Gives values as ``pyarrow.array`` takes them; None: as they are.
        fields: Of a record.
        inner: Of an array or a map.
        size: Bytes that a value takes at least.
    """

    column: pa.DataType
    plain: Any
    take: Take | None = None
    fields: Mapping[str, _Kind] = field(default_factory=dict)
    inner: _Kind | None = None
    size: int = 1


class AvroSchema:
    """A schema of records, and the columns that it makes.

    Args:
        schema: As JSON.

    Raises:
        UnsupportedSchemaError: It is no Avro schema, or makes no columns.
    """

    def __init__(self, schema: Any) -> None:
        try:
            self._kind = _Walk().kind(parse_schema(schema, _write_hint=False), MAX_DEPTH)
            self.plain = parse_schema(self._kind.plain, _write_hint=False)
        except (SchemaParseException, UnknownType, LookupError, TypeError, ValueError, AttributeError, RecursionError):
            raise UnsupportedSchemaError("is no valid Avro schema") from None
        if not isinstance(self.plain, dict) or self.plain["type"] != "record":
            raise UnsupportedSchemaError("is no record")
        self.columns = pa.schema([(name, kind.column) for name, kind in self._kind.fields.items()])

    def fit_to(self, columns: pa.StructType) -> Fit | None:
        """Returns what brings records into columns; None where they are taken as they are."""
        return _struct_fit(self._kind, columns)


def fitter(schema: AvroSchema, columns: pa.Schema) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Returns a function that gives decoded records as ``pyarrow.array`` takes them for some columns.

    Args:
        schema: Of the records.
        columns: Have all that ``schema.columns`` have, maybe wider.

    The function raises ``MisfitError`` where a value does not fit.
    """
    return schema.fit_to(pa.struct(list(columns))) or (lambda record: record)


class _Walk:
    """Goes through a parsed schema."""

    def __init__(self) -> None:
        self._named: dict[str, Any] = {}
        self._open: set[str] = set()
        self._kinds = 0

    def kind(self, schema: Any, depth: int) -> _Kind:
        self._kinds += 1
        if not depth:
            raise UnsupportedSchemaError(f"has more than {MAX_DEPTH} levels; write flatter records")
        if self._kinds > MAX_PATHS:
            raise UnsupportedSchemaError(f"has more than {MAX_PATHS} fields; write fewer")
        if isinstance(schema, list):
            return self._union(schema, depth)
        if isinstance(schema, str):
            return _SIMPLE[schema] if schema in _SIMPLE else self._reference(schema, depth)
        kind = schema["type"]
        if isinstance(kind, (dict, list)):
            return self.kind(kind, depth)
        if kind in ("record", "error"):
            return self._record(schema, depth)
        if kind in ("array", "map"):
            return self._many(schema, depth)
        if kind in ("enum", "fixed"):
            self._named[schema["name"]] = schema
        return _leaf(schema)

    def _reference(self, name: str, depth: int) -> _Kind:
        if name in self._open:
            raise UnsupportedSchemaError("has a record within itself; write lists of records instead")
        known = self._named[name]
        found = self.kind(known, depth)
        return _Kind(found.column, name, found.take, found.fields, found.inner, found.size)

    def _record(self, schema: Any, depth: int) -> _Kind:
        name = schema["name"]
        self._named[name] = schema
        self._open.add(name)
        fields = {each["name"]: self.kind(each["type"], depth - 1) for each in schema["fields"]}
        self._open.remove(name)
        if len(fields) < len(schema["fields"]):
            raise UnsupportedSchemaError("has two fields of one name; rename one")
        column = pa.struct([(each, kind.column) for each, kind in fields.items()]) if fields else pa.null()
        plain = [{"name": each, "type": kind.plain} for each, kind in fields.items()]
        size = sum(kind.size for kind in fields.values())
        return _Kind(column, {"type": "record", "name": name, "fields": plain}, None, fields, None, size)

    def _many(self, schema: Any, depth: int) -> _Kind:
        is_map = schema["type"] == "map"
        inner = self.kind(schema["values" if is_map else "items"], depth - 1)
        if not inner.size and not is_map:
            raise UnsupportedSchemaError("has an array of what takes no bytes; leave it out")
        column = pa.map_(pa.string(), inner.column) if is_map else pa.list_(inner.column)
        plain = {"type": schema["type"], "values" if is_map else "items": inner.plain}
        return _Kind(column, plain, None, {}, inner)

    def _union(self, branches: list[Any], depth: int) -> _Kind:
        kinds = [self.kind(branch, depth) for branch in branches]
        filled = [kind for kind in kinds if kind.plain != "null"]
        plain = [kind.plain for kind in kinds]
        if not filled:
            return _Kind(pa.null(), plain)
        first = filled[0]
        if len(filled) == 1:
            return _Kind(first.column, plain, first.take, first.fields, first.inner)
        columns = {kind.column for kind in filled}
        if any(kind.take or kind.fields or kind.inner for kind in filled) or not (
            len(columns) == 1 or columns <= {pa.int64(), pa.float64()}
        ):
            raise UnsupportedSchemaError("has a union of different kinds; write a field for each")
        return _Kind(pa.float64() if len(columns) > 1 else first.column, plain, _as_float if len(columns) > 1 else None)


def _leaf(schema: Any) -> _Kind:
    kind, logical = schema["type"], schema.get("logicalType")
    plain = _plain_leaf(schema)
    size = schema["size"] if kind == "fixed" else 1
    if logical == "decimal" and kind in ("bytes", "fixed"):
        return _decimal(schema, plain, size)
    column, take = _LOGICAL.get((kind, logical), (None, None))
    if column is not None:
        return _Kind(column, plain, take)
    return _Kind(_COLUMNS[kind], plain, None, {}, None, 0 if kind == "null" else size)


def _plain_leaf(schema: Any) -> Any:
    kind = schema["type"]
    if kind == "enum":
        return {"type": "enum", "name": schema["name"], "symbols": schema["symbols"]}
    return {"type": "fixed", "name": schema["name"], "size": schema["size"]} if kind == "fixed" else kind


def _decimal(schema: Any, plain: Any, size: int) -> _Kind:
    precision, scale = schema["precision"], schema.get("scale", 0)
    if not 0 < precision <= 76 or not 0 <= scale <= precision:
        raise UnsupportedSchemaError("has a decimal of more than 76 digits; write it as text")
    column = pa.decimal128(precision, scale) if precision <= 38 else pa.decimal256(precision, scale)
    limit = 10**precision

    def take(value: bytes) -> Decimal:
        # Of more bytes than this no value fits, and Python's digits of many are slow.
        number = int.from_bytes(value, "big", signed=True) if len(value) <= 64 else limit
        if not -limit < number < limit:
            raise MisfitError(in_range=False)
        return Decimal((number < 0, tuple(map(int, str(abs(number)))), -scale))

    return _Kind(column, plain, take, {}, None, size)


def _instant(factor: int) -> Take:
    def take(value: int) -> int:
        if not FIRST <= value * factor <= LAST:
            raise MisfitError(in_range=False)
        return value * factor

    return take


def _local_text(factor: int) -> Take:
    instant = _instant(factor)

    def take(value: int) -> str:
        return (EPOCH + dt.timedelta(microseconds=instant(value))).isoformat()

    return take


def _time_of_day(factor: int) -> Take:
    def take(value: int) -> int:
        if not 0 <= value * factor < DAY:
            raise MisfitError(in_range=False)
        return value * factor

    return take


def _date(value: int) -> int:
    if not FIRST <= value * DAY <= LAST:
        raise MisfitError(in_range=False)
    return value


def _as_float(value: Any) -> float:
    if type(value) is int and not -EXACT_IN_FLOAT <= value <= EXACT_IN_FLOAT:
        raise MisfitError(in_range=False)
    return float(value)


_COLUMNS = {
    "null": pa.null(), "boolean": pa.bool_(), "int": pa.int64(), "long": pa.int64(), "float": pa.float64(),
    "double": pa.float64(), "string": pa.string(), "enum": pa.string(), "bytes": pa.binary(), "fixed": pa.binary(),
}  # fmt: skip
_SIMPLE = {
    name: _Kind(column, name, size=0 if name == "null" else 1)
    for name, column in _COLUMNS.items()
    if name not in ("enum", "fixed")
}
_UTC = pa.timestamp("us", "UTC")
_LOGICAL: Mapping[tuple[str, str | None], tuple[pa.DataType, Take | None]] = {
    ("int", "date"): (pa.date32(), _date),
    ("int", "time-millis"): (pa.time64("us"), _time_of_day(1000)),
    ("long", "time-micros"): (pa.time64("us"), _time_of_day(1)),
    ("long", "timestamp-millis"): (_UTC, _instant(1000)),
    ("long", "timestamp-micros"): (_UTC, _instant(1)),
    ("long", "local-timestamp-millis"): (pa.string(), _local_text(1000)),
    ("long", "local-timestamp-micros"): (pa.string(), _local_text(1)),
}


def _fit(kind: _Kind, target: pa.DataType) -> Fit | None:
    """Returns what brings values other than null into a column; None where they are taken as they are."""
    column = kind.column
    if pa.types.is_struct(column) and pa.types.is_struct(target):
        return _struct_fit(kind, target)
    if pa.types.is_list(column) and pa.types.is_list(target):
        return _list_fit(kind.inner, target.value_type)
    if pa.types.is_map(column):
        return _map_fit(kind.inner) if column == target else _refuse
    if column == target:
        return kind.take if not pa.types.is_null(column) else _nothing
    if pa.types.is_decimal(column) and pa.types.is_decimal(target):
        return kind.take
    if pa.types.is_null(column):
        return _nothing
    return _as_float if column == pa.int64() and target == pa.float64() else _refuse


def _refuse(_: Any) -> Any:
    raise MisfitError


def _nothing(_: Any) -> None:
    return None


def _struct_fit(kind: _Kind, target: pa.StructType) -> Fit | None:
    fits = dict(_fits_of(kind, target))
    if not fits:
        return None

    def fit(record: dict[str, Any]) -> dict[str, Any]:
        changed = {name: child(record[name]) for name, child in fits.items() if record[name] is not None}
        return {**record, **changed}

    return fit


def _fits_of(kind: _Kind, target: pa.StructType) -> Iterator[tuple[str, Fit]]:
    types = {each.name: each.type for each in target}
    for name, child in kind.fields.items():
        # Reserved names are no columns.
        found = _fit(child, types[name]) if name in types else None
        if found is not None:
            yield name, found


def _list_fit(inner: Any, target: pa.DataType) -> Fit | None:
    fit = _fit(inner, target)
    if fit is None:
        return None
    return lambda items: [None if item is None else fit(item) for item in items]


def _map_fit(inner: Any) -> Fit:
    fit = _fit(inner, inner.column) or (lambda value: value)
    return lambda items: [(key, None if item is None else fit(item)) for key, item in items.items()]


def too_many(columns: pa.Schema) -> bool:
    """Whether there are more paths than a stream may have."""
    return count_paths(columns) > MAX_PATHS
