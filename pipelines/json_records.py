"""Reads single lines of JSON strictly, and tells in a word why one cannot become a record.

The standard is RFC 8259, with unique keys at every depth (section 4 leaves them open), without lone surrogates, and
with numbers that a column can hold exactly.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from enum import StrEnum
from typing import Any, NoReturn

import orjson
import pyarrow as pa

from ..schemas.record_columns import RESERVED_PREFIX

__all__ = ["MAX_DEPTH", "JsonFault", "checker", "load_record"]

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


Check = Callable[[Any], JsonFault | None]


class _FaultError(Exception):
    def __init__(self, fault: JsonFault) -> None:
        super().__init__(fault)
        self.fault = fault


def load_record(line: bytes) -> dict[str, Any] | JsonFault:
    """Returns the object on a line without its reserved keys, or what is wrong with it.

    >>> load_record(b'{"a": 1}')
    {'a': 1}
    >>> load_record(b'{"a": 1, "a": 2}')
    <JsonFault.DUPLICATE_KEY: 'duplicate_key'>
    """
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        return _fault_of(line)
    if not isinstance(value, dict):
        return JsonFault.NOT_AN_OBJECT
    walk = _Walk()
    if not walk.into(value, MAX_DEPTH):
        return JsonFault.TOO_DEEP
    # orjson keeps the last of several equal keys and turns long whole numbers into floats.
    if walk.large or line.count(b'":') != walk.keys or any(mark in line for mark in _AFTER_STRING):
        try:
            value = dict(_strictly(line))
        except _FaultError as error:
            return error.fault
    if _RESERVED in line or b"\\u" in line:
        return {key: child for key, child in value.items() if not key.startswith(RESERVED_PREFIX)}
    return value


_RESERVED = RESERVED_PREFIX.encode()
_AFTER_STRING = (b'" ', b'"\t', b'"\r')
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


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _FaultError(JsonFault.DUPLICATE_KEY)
    return found


def _whole(text: str) -> int:
    value = int(text) if len(text) <= 20 else INT_HIGH + 1
    if not INT_LOW <= value <= INT_HIGH:
        raise _FaultError(JsonFault.OUT_OF_RANGE)
    return value


def _real(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise _FaultError(JsonFault.OUT_OF_RANGE)
    return value


def _no_constant(_: str) -> NoReturn:
    raise _FaultError(JsonFault.INVALID_JSON)


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_int=_whole, parse_float=_real, parse_constant=_no_constant)


def _fault_of(line: bytes) -> JsonFault:
    """Returns why orjson does not take a line."""
    try:
        line.decode()
    except UnicodeDecodeError:
        return JsonFault.INVALID_UTF8
    try:
        _strictly(line)
    except RecursionError:
        return JsonFault.TOO_DEEP
    except _FaultError as error:
        return error.fault
    except ValueError:
        return JsonFault.INVALID_JSON
    # Python takes lone surrogates, and goes deeper than orjson before it gives up.
    return JsonFault.TOO_DEEP if max(line.count(b"["), line.count(b"{")) > MAX_DEPTH else JsonFault.INVALID_JSON


def checker(kind: pa.DataType) -> Check:
    """Returns a function that tells why a value of ``json`` does not fit a column of this type; None where it fits."""
    if pa.types.is_struct(kind):
        return _struct_check({field.name: checker(field.type) for field in kind})
    if pa.types.is_list(kind):
        return _list_check(checker(kind.value_type))
    if pa.types.is_floating(kind):
        return _float_check
    exact = {pa.string(): str, pa.int64(): int, pa.bool_(): bool}.get(kind, type(None))
    return lambda value: None if value is None or type(value) is exact else JsonFault.WRONG_TYPE


def _struct_check(children: dict[str, Check]) -> Check:
    def check(value: Any) -> JsonFault | None:
        if value is None:
            return None
        if type(value) is not dict:
            return JsonFault.WRONG_TYPE
        for name, child in value.items():
            fault = children[name](child) if name in children else JsonFault.WRONG_TYPE
            if fault is not None:
                return fault
        return None

    return check


def _list_check(element: Check) -> Check:
    def check(value: Any) -> JsonFault | None:
        if value is None:
            return None
        if type(value) is not list:
            return JsonFault.WRONG_TYPE
        return next((fault for child in value if (fault := element(child)) is not None), None)

    return check


def _float_check(value: Any) -> JsonFault | None:
    if value is None or type(value) is float:
        return None
    if type(value) is not int:
        return JsonFault.WRONG_TYPE
    return None if -EXACT_IN_FLOAT <= value <= EXACT_IN_FLOAT else JsonFault.OUT_OF_RANGE
