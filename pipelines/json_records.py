"""Reads single lines of JSON strictly, and tells in a word why one cannot become a record.

The standard is RFC 8259, with unique keys at every depth (section 4 leaves them open), without lone surrogates, and
with numbers that a column can hold exactly. A column of text takes whole numbers, too, as they are spelled.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from enum import StrEnum
from typing import Any, NoReturn

import orjson
import pyarrow as pa

from ..schemas.record_columns import RESERVED_PREFIX

__all__ = ["EXACT_IN_FLOAT", "MAX_DEPTH", "Digits", "JsonFault", "load_record", "record_fitter"]

MAX_DEPTH = 64
"""Levels of lists and objects in a record, itself included."""

EXACT_IN_FLOAT = 2**53
INT_LOW, INT_HIGH = -(2**63), 2**63 - 1


class JsonFault(StrEnum):
    """Why a line cannot become a row."""

    INVALID_JSON = "invalid_json"
    NOT_AN_OBJECT = "not_an_object"
    DUPLICATE_KEY = "duplicate_key"
    INVALID_UTF8 = "invalid_utf8"
    WRONG_TYPE = "wrong_type"
    OUT_OF_RANGE = "number_out_of_range"
    TOO_DEEP = "too_deep"
    TOO_LONG = "line_too_long"
    TOO_MANY_FIELDS = "too_many_fields"


Record = dict[str, Any]
Fit = Callable[[Any], Any]


class Digits(str):
    """A whole number as spelled, where an integer of 64 bits would not give the spelling back: a longer one, or -0."""

    __slots__ = ()


class _FaultError(Exception):
    def __init__(self, fault: JsonFault) -> None:
        super().__init__(fault)
        self.fault = fault


def load_record(line: bytes) -> Record | JsonFault:
    """Returns the object on a line without its reserved keys, or what is wrong with it.

    Whole numbers are ``int`` or ``Digits``, so that none has lost a digit.

    >>> load_record(b'{"a": 1, "b": 11111111111111111111}')
    {'a': 1, 'b': '11111111111111111111'}
    >>> load_record(b'{"a": 1, "a": 2}')
    <JsonFault.DUPLICATE_KEY: 'duplicate_key'>
    """
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        value = _without_orjson(line)
        if isinstance(value, JsonFault):
            return value
    if not isinstance(value, dict):
        return JsonFault.NOT_AN_OBJECT
    walk = _Walk()
    if not walk.into(value, MAX_DEPTH):
        return JsonFault.TOO_DEEP
    # orjson keeps the last of several equal keys, turns long whole numbers into floats, and -0 into 0.
    if (
        walk.large
        or line.count(b'":') != walk.keys
        or any(mark in line for mark in _AFTER_STRING)
        or (b"-0" in line and _MINUS_ZERO.search(line))
    ):
        try:
            value = dict(_strictly(line))
        except _FaultError as error:
            return error.fault
    if _RESERVED in line or b"\\u" in line:
        return {key: child for key, child in value.items() if not key.startswith(RESERVED_PREFIX)}
    return value


_RESERVED = RESERVED_PREFIX.encode()
_AFTER_STRING = (b'" ', b'"\t', b'"\r')
_MINUS_ZERO = re.compile(rb"-0[ \t\r]*[,}\]]")
_LARGE = float(2**63)


class _Walk:
    """Counts keys at all depths and looks out for large numbers."""

    __slots__ = ("keys", "large")

    def __init__(self) -> None:
        self.keys = 0
        self.large = False

    def into(self, value: Any, depth: int) -> bool:
        """Goes through an object or a list; returns False where it has more than ``depth`` levels."""
        if not depth:
            return False
        children = value
        if type(value) is dict:
            self.keys += len(value)
            children = value.values()
        for child in children:
            kind = type(child)
            if kind is dict or kind is list:
                if not self.into(child, depth - 1):
                    return False
            elif (kind is float or kind is int) and not -_LARGE < child < _LARGE:
                self.large = True
        return True


def _strictly(line: bytes) -> Any:
    return _DECODER.decode(line.decode())


def _unique(pairs: list[tuple[str, Any]]) -> Record:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _FaultError(JsonFault.DUPLICATE_KEY)
    return found


def _whole(text: str) -> int | Digits:
    if text == "-0" or len(text) > 20:
        return Digits(text)
    value = int(text)
    return value if INT_LOW <= value <= INT_HIGH else Digits(text)


def _real(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise _FaultError(JsonFault.OUT_OF_RANGE)
    return value


def _no_constant(_: str) -> NoReturn:
    raise _FaultError(JsonFault.INVALID_JSON)


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_int=_whole, parse_float=_real, parse_constant=_no_constant)


def _without_orjson(line: bytes) -> Any | JsonFault:
    """Returns the value on a line that orjson does not take, or what is wrong with it."""
    try:
        line.decode()
    except UnicodeDecodeError:
        return JsonFault.INVALID_UTF8
    try:
        value = _strictly(line)
    except RecursionError:
        return JsonFault.TOO_DEEP
    except _FaultError as error:
        return error.fault
    except ValueError:
        return JsonFault.INVALID_JSON
    # Python takes whole numbers of any length, and so does this; but lone surrogates and more levels, too.
    try:
        orjson.loads(_MANY_DIGITS.sub(b"0", line))
    except orjson.JSONDecodeError:
        return JsonFault.TOO_DEEP if max(line.count(b"["), line.count(b"{")) > MAX_DEPTH else JsonFault.INVALID_JSON
    return value


_MANY_DIGITS = re.compile(rb"[0-9]{300,}")


def record_fitter(columns: pa.Schema) -> Callable[[Record], Record | JsonFault]:
    """Returns a function that gives records as ``pyarrow.array`` takes them for some columns, or tells why it cannot.

    >>> fitted = record_fitter(pa.schema([("id", pa.string())]))
    >>> fitted({"id": 17}), fitted({"id": 1.5})
    ({'id': '17'}, <JsonFault.WRONG_TYPE: 'wrong_type'>)
    """
    fit = _struct_fit(columns)

    def fitted(record: Record) -> Record | JsonFault:
        try:
            found: Record = fit(record)
        except _FaultError as error:
            return error.fault
        return found

    return fitted


def _fit_of(kind: pa.DataType) -> Fit:
    if pa.types.is_struct(kind):
        return _struct_fit(kind)
    if pa.types.is_list(kind):
        return _list_fit(kind.value_type)
    return _FITS.get(kind, _as_nothing)


_EXACT = {pa.string(): str, pa.int64(): int, pa.float64(): float, pa.bool_(): bool}


def _struct_fit(fields: pa.Schema | pa.StructType) -> Fit:
    # Most values are of the type that needs no more than a look.
    columns = {field.name: (_EXACT.get(field.type), _fit_of(field.type)) for field in fields}

    def fit(value: Any) -> Any:
        if value is None:
            return None
        if type(value) is not dict or not value.keys() <= columns.keys():
            raise _FaultError(JsonFault.WRONG_TYPE)
        fitted = {}
        for name, child in value.items():
            exact, fit_child = columns[name]
            fitted[name] = child if type(child) is exact else fit_child(child)
        return fitted

    return fit


def _list_fit(element: pa.DataType) -> Fit:
    fit_child = _fit_of(element)

    def fit(value: Any) -> Any:
        if value is None:
            return None
        if type(value) is not list:
            raise _FaultError(JsonFault.WRONG_TYPE)
        return [fit_child(child) for child in value]

    return fit


def _as_text(value: Any) -> str | None:
    if value is None or type(value) is str:
        return value
    if type(value) is int or type(value) is Digits:
        return str(value)
    raise _FaultError(JsonFault.WRONG_TYPE)


def _as_integer(value: Any) -> int | None:
    if value is None or type(value) is int:
        return value
    if type(value) is not Digits:
        raise _FaultError(JsonFault.WRONG_TYPE)
    if value != "-0":
        raise _FaultError(JsonFault.OUT_OF_RANGE)
    return 0


def _as_float(value: Any) -> float | None:
    if value is None or type(value) is float:
        return value
    if type(value) is int and -EXACT_IN_FLOAT <= value <= EXACT_IN_FLOAT:
        return value
    if type(value) is not int and type(value) is not Digits:
        raise _FaultError(JsonFault.WRONG_TYPE)
    if value != "-0":
        raise _FaultError(JsonFault.OUT_OF_RANGE)
    return -0.0


def _as_boolean(value: Any) -> bool | None:
    if value is None or type(value) is bool:
        return value
    raise _FaultError(JsonFault.WRONG_TYPE)


def _as_nothing(value: Any) -> None:
    if value is not None:
        raise _FaultError(JsonFault.WRONG_TYPE)


_FITS: dict[pa.DataType, Fit] = {
    pa.string(): _as_text, pa.int64(): _as_integer, pa.float64(): _as_float, pa.bool_(): _as_boolean,
}  # fmt: skip
