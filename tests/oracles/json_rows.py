"""What a file of JSON Lines should become, told by Python's ``json`` alone, without any code of the reader.

Whole numbers are ``Whole``, which keeps the spelling.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

TEXT = pa.string()
BLANK = b" \t\r"


class Whole(int):
    """A whole number and how it was spelled."""

    text: str

    def __new__(cls, text: str) -> Whole:
        made = super().__new__(cls, text)
        made.text = text
        return made


def filled_lines(data: bytes) -> dict[int, bytes]:
    """The lines with something on them, by number."""
    return {number: line for number, line in enumerate(data.split(b"\n"), 1) if line.strip(BLANK)}


def load(line: bytes) -> tuple[Any, set[str]]:
    """The value on a line without reserved keys, and the reasons for which it cannot be a row whatever the columns."""
    reasons: set[str] = set()

    def unique(found: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(found)) < len(found):
            reasons.add("duplicate_key")
        return dict(found)

    def real(text: str) -> float:
        if math.isinf(float(text)):
            reasons.add("number_out_of_range")
        return float(text)

    def constant(_: str) -> Any:
        raise ValueError

    try:
        value = json.loads(
            line.decode(), object_pairs_hook=unique, parse_int=Whole, parse_float=real, parse_constant=constant
        )
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeDecodeError:
        return None, {"invalid_utf8"}
    except ValueError:  # which may stand behind what is also wrong
        return None, {"invalid_json", *reasons, "duplicate_key", "number_out_of_range"}
    if not isinstance(value, dict):
        return None, {"not_an_object", *reasons}
    return {key: child for key, child in value.items() if not key.startswith("__consentry_")}, reasons


def misfits(value: Any, kind: pa.DataType) -> Iterator[str]:
    """The reasons for which a value does not fit a column."""
    if value is None or (pa.types.is_null(kind) and value == {}):
        return
    if pa.types.is_struct(kind) and isinstance(value, dict):
        children = {field.name: field.type for field in kind}
        for name, child in value.items():
            yield from misfits(child, children[name]) if name in children else ("wrong_type",)
    elif pa.types.is_list(kind) and isinstance(value, list):
        for child in value:
            yield from misfits(child, kind.value_type)
    elif isinstance(value, Whole) and kind in (pa.int64(), pa.float64()):
        if not (-(2**63) <= value < 2**63 if kind == pa.int64() else abs(value) <= 2**53):
            yield "number_out_of_range"
    elif (type(value), kind) not in {(str, TEXT), (Whole, TEXT), (bool, pa.bool_()), (float, pa.float64())}:
        yield "wrong_type"


def fitting_reasons(line: bytes, kind: pa.DataType) -> set[str]:
    """The reasons for which a line may be rejected; none if it is a row."""
    value, reasons = load(line)
    return reasons or set(misfits(value, kind))


def shaped(value: Any, kind: pa.DataType) -> Any:
    """A value as a row of this type shows it."""
    if value is None or pa.types.is_null(kind):
        return None
    if pa.types.is_struct(kind):
        assert value.keys() <= {field.name for field in kind}
        return {field.name: shaped(value.get(field.name), field.type) for field in kind}
    if pa.types.is_list(kind):
        return [shaped(each, kind.value_type) for each in value]
    return value.text if kind == TEXT and isinstance(value, Whole) else value


KINDS = {str: "text", Whole: "number", float: "number", bool: "boolean", dict: "object", list: "list"}


def column_kinds(data: bytes) -> dict[tuple[str, ...], str]:
    """The kind that most values at each path have, among equals the one seen first; records count that can be rows."""
    counts: dict[tuple[str, ...], Counter[str]] = {}

    def count(value: Any, path: tuple[str, ...]) -> None:
        if value is None:
            return
        counts.setdefault(path, Counter())[KINDS[type(value)]] += 1
        named = value.items() if isinstance(value, dict) else []
        for name, child in [*named, *(("[]", each) for each in (value if isinstance(value, list) else []))]:
            count(child, (*path, name))

    for line in filled_lines(data).values():
        value, reasons = load(line)
        if not reasons:
            count(value, ())
    # A counter keeps the order of first appearance, and so does max.
    return {path: max(found, key=lambda kind: found[kind]) for path, found in counts.items()}


def kinds_of(kind: pa.DataType, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """The kinds of a type and of all in it, by path; none where it is null."""
    if pa.types.is_struct(kind):
        yield path, "object"
        for field in kind:
            yield from kinds_of(field.type, (*path, field.name))
    elif pa.types.is_list(kind):
        yield path, "list"
        yield from kinds_of(kind.value_type, (*path, "[]"))
    elif not pa.types.is_null(kind):
        yield path, {TEXT: "text", pa.bool_(): "boolean"}.get(kind, "number")
