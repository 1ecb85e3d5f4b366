"""Makes rows again of records that were sealed as JSON, with columns that lead to those of an output.

Each record is judged by itself and by the output, never by the records that happen to be beside it: so the same record
has the same fate however often it is tried. A field that the output keeps has the output's type, one that it treats as
text is text, and what the output does not have is as JSON has it.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from ..schemas.dataset import EACH, FieldPath
from ..schemas.errors import ConfigError
from ..schemas.record_columns import POSITION
from ..transforms.nested_columns import is_list
from .column_types import joint_schema
from .json_records import EXACT_IN_FLOAT, Digits, JsonFault, Record
from .json_types import MAX_PATHS, JsonTypes

__all__ = ["first_difference", "record_batches", "record_columns"]

ACTION = b"consentry.action"
PREFIX = "consentry."
TEXT_BEFORE = (b"tokenize", b"mask")
"""Actions that make text of whatever was there."""


def record_batches(
    records: Sequence[Record], written: pa.Schema | None, fits: Callable[[pa.Schema], None]
) -> Iterator[pa.RecordBatch | tuple[int, JsonFault]]:
    """Yields batches of records that have the same columns, and the places of records that fit none.

    Args:
        records: As ``load_record`` gives them.
        written: Columns of the output's data files with their metadata; None where it has no such file.
        fits: Raises ``ConfigError`` where rows of a schema cannot be decided about at all.

    Returns:
        In each batch, ``POSITION`` is the place of the record among ``records``, from 0.
    """
    groups: dict[pa.Schema, list[tuple[int, Record]]] = {}
    for place, record in enumerate(records):
        columns = record_columns(record, written)
        fitted = _fitted(record, columns)
        if isinstance(fitted, JsonFault):
            yield place, fitted
        else:
            groups.setdefault(columns, []).append((place, fitted))
    for columns, members in groups.items():
        yield from _batches(columns, members, fits)


def _batches(
    columns: pa.Schema, members: Sequence[tuple[int, Record]], fits: Callable[[pa.Schema], None]
) -> Iterator[pa.RecordBatch | tuple[int, JsonFault]]:
    try:
        fits(columns)
        rows = pa.array([record for _, record in members], pa.struct(list(columns)))
    except (ConfigError, pa.ArrowException, OverflowError, TypeError, ValueError):
        if len(members) == 1:
            yield members[0][0], JsonFault.WRONG_TYPE
            return
        middle = len(members) // 2
        yield from _batches(columns, members[:middle], fits)
        yield from _batches(columns, members[middle:], fits)
        return
    batch = pa.RecordBatch.from_struct_array(rows)
    positions = pa.array([place for place, _ in members], pa.int64())
    yield batch.append_column(pa.field(POSITION, pa.int64()), positions)


def record_columns(record: Record, written: pa.Schema | None) -> pa.Schema:
    """Returns the columns of one record: those of the output, then what else it has a value for."""
    types = JsonTypes()
    types.add(record, 1)
    if types.paths() > MAX_PATHS:
        types = JsonTypes()  # data in the names of fields: the output's columns alone, which it will not fit
    own = joint_schema((("", types.arrow_schema()),))
    own = pa.schema([field for field in own if field.name != POSITION])
    return pa.schema(list(_joined(() if written is None else written, own)))


def _joined(written: Any, own: Any) -> Iterator[pa.Field]:
    found = {field.name: field for field in own}
    for field in written:
        own_field = found.pop(field.name, None)
        yield pa.field(field.name, _input_type(field, None if own_field is None else own_field.type), field.nullable)
    yield from (field for field in found.values() if not pa.types.is_null(field.type))


def _input_type(field: pa.Field, own: pa.DataType | None) -> pa.DataType:
    kind = field.type
    action = (field.metadata or {}).get(ACTION)
    if action is not None:
        loose = own is not None and action in TEXT_BEFORE and own in (pa.float64(), pa.bool_())
        return own if loose else kind
    if pa.types.is_struct(kind):
        return pa.struct(list(_joined(kind, own if own is not None and pa.types.is_struct(own) else ())))
    if is_list(kind):
        below = own.value_type if own is not None and is_list(own) else None
        element = pa.field("item", _input_type(kind.value_field, below), kind.value_field.nullable)
        return pa.large_list(element) if pa.types.is_large_list(kind) else pa.list_(element)
    return kind


class _MisfitError(Exception):
    def __init__(self, fault: JsonFault) -> None:
        super().__init__(fault)
        self.fault = fault


def _fitted(record: Record, columns: pa.Schema) -> Record | JsonFault:
    """Returns a record as ``pyarrow.array`` takes it for its columns, or what does not fit."""
    try:
        found: Record = _struct(record, columns)
    except _MisfitError as error:
        return error.fault
    return found


def _struct(value: Any, fields: Any) -> Any:
    if type(value) is not dict:
        raise _MisfitError(JsonFault.WRONG_TYPE)
    names = {field.name for field in fields}
    if any(name not in names and not _holds_nothing(child) for name, child in value.items()):
        raise _MisfitError(JsonFault.WRONG_TYPE)
    return {field.name: _value(value.get(field.name), field) for field in fields}


def _holds_nothing(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_holds_nothing, value.values()))
    return all(map(_holds_nothing, value)) if isinstance(value, list) else value is None


def _value(value: Any, field: pa.Field) -> Any:
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    if value is None:
        if not field.nullable:
            raise _MisfitError(JsonFault.WRONG_TYPE)
        return None
    if pa.types.is_struct(kind):
        return _struct(value, kind)
    if is_list(kind):
        if type(value) is not list:
            raise _MisfitError(JsonFault.WRONG_TYPE)
        return [_value(child, kind.value_field) for child in value]
    if pa.types.is_map(kind):
        return [_entry(child, kind) for child in _taken(value, type(value) is list)]
    return _scalar(value, kind)


def _entry(value: Any, kind: pa.MapType) -> tuple[Any, Any]:
    """Returns an entry of a map, which is sealed as a list of two."""
    key, item = _taken(value, type(value) is list and len(value) == 2)
    return _value(key, kind.key_field), _value(item, kind.item_field)


def _scalar(value: Any, kind: pa.DataType) -> Any:
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _taken(str(value), type(value) in (str, int, Digits))
    if pa.types.is_boolean(kind):
        return _taken(value, type(value) is bool)
    if pa.types.is_null(kind):
        return _taken(None, _holds_nothing(value))
    if pa.types.is_integer(kind):
        return _number(value, whole=True)
    if pa.types.is_floating(kind):
        return _number(value, whole=False)
    return _of_text(value, kind)


def _taken(value: Any, fits: bool) -> Any:
    if not fits:
        raise _MisfitError(JsonFault.WRONG_TYPE)
    return value


def _number(value: Any, *, whole: bool) -> Any:
    if type(value) is Digits:
        if value != "-0":
            raise _MisfitError(JsonFault.OUT_OF_RANGE)
        return 0 if whole else -0.0
    if whole or type(value) is float:
        return _taken(value, type(value) is (int if whole else float))
    return _taken(float(value), type(value) is int and abs(value) <= EXACT_IN_FLOAT)


def _of_text(value: Any, kind: pa.DataType) -> Any:
    """Returns a value of a type that JSON has not, from the text that it was sealed as."""
    if type(value) is not str:
        raise _MisfitError(JsonFault.WRONG_TYPE)
    try:
        if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
            return base64.b64decode(value, validate=True)
        return pa.scalar(value).cast(kind).as_py()
    except (pa.ArrowException, ValueError, OverflowError):
        raise _MisfitError(JsonFault.WRONG_TYPE) from None


def first_difference(written: pa.Schema, made: pa.Schema) -> tuple[str, str] | None:
    """Returns the first field that two outputs have not alike, and how it differs in words; None: they are alike."""
    before, after = dict(_leaves(written)), dict(_leaves(made))
    for path, field in after.items():
        if path not in before:
            return path, "the output has no such field, and the policy would write one now"
        if (said := _difference(before[path], field)) is not None:
            return path, said
    missing = next((path for path in before if path not in after), None)
    if missing is not None:
        return missing, "the policy would write no such field now"
    return None if list(before) == list(after) else (next(iter(after)), "its place among the fields is another")


def _difference(before: pa.Field, after: pa.Field) -> str | None:
    old, new = _marks(before), _marks(after)
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            return f"its {name.replace('_', ' ')} was {old.get(name, 'none')} and is {new.get(name, 'none')} now"
    if before.type != after.type:
        return f"its type was {before.type} and is {after.type} now"
    return None


def _marks(field: pa.Field) -> dict[str, str]:
    metadata = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
    return {key.removeprefix(PREFIX): value for key, value in metadata.items() if key.startswith(PREFIX)}


def _leaves(schema: pa.Schema) -> Iterator[tuple[str, pa.Field]]:
    for field in schema:
        yield from _leaves_of(field, FieldPath((field.name,)))


def _leaves_of(field: pa.Field, path: FieldPath) -> Iterator[tuple[str, pa.Field]]:
    if ACTION in (field.metadata or {}):
        yield str(path), field
    elif pa.types.is_struct(field.type):
        for child in field.type:
            yield from _leaves_of(child, path.child(child.name))
    elif is_list(field.type):
        yield from _leaves_of(field.type.value_field, path.child(EACH))
    else:
        yield str(path), field
