"""Settles one type for every path of JSON records, from all records.

Whole and other numbers are ``int64`` and ``float64``; text stays text, whatever it looks like. Where records
contradict each other, the type that most values have wins, among equals the one seen first. A path without a value
is null. Whole numbers count as numbers also where a column of text will take them, so that what the majority is does
not depend on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Any

import numpy as np
import pyarrow as pa

from .json_records import Digits
from .line_tables import Bools, Longs

__all__ = ["MAX_PATHS", "JsonTypes"]

MAX_PATHS = 10_000
"""More of them mean that data stand in the keys."""


class JsonKind(StrEnum):
    """What a value can be, other than null."""

    TEXT = "string"
    NUMBER = "number"
    BOOLEAN = "boolean"
    OBJECT = "object"
    LIST = "list"


_KIND_OF = {
    str: JsonKind.TEXT,
    int: JsonKind.NUMBER,
    Digits: JsonKind.NUMBER,
    float: JsonKind.NUMBER,
    bool: JsonKind.BOOLEAN,
    dict: JsonKind.OBJECT,
    list: JsonKind.LIST,
}


class JsonTypes:
    """Counts what the values at one path are, and at the paths below it.

    A kind is counted together with the line where it was first seen, so that counts of parts of the input, merged
    in any order, give what counting all of it gives; only the order of fields follows the order of merging.
    """

    __slots__ = ("_element", "_fields", "_kinds", "_real")

    def __init__(self) -> None:
        self._kinds: dict[JsonKind, tuple[int, int]] = {}
        self._fields: dict[str, JsonTypes] = {}
        self._element: JsonTypes | None = None
        self._real = False

    def add(self, value: Any, line: int) -> None:
        """Counts a value that stands on ``line``, and what is in it."""
        if value is None:
            return
        kind = type(value)
        self._count(_KIND_OF[kind], 1, line)
        if kind is dict:
            for name, child in value.items():
                self._field(name).add(child, line)
        elif kind is list:
            element = self._elements()
            for child in value:
                element.add(child, line)
        elif kind is float:
            self._real = True

    def add_rows(self, rows: pa.RecordBatch, lines: Longs, quoted: Mapping[str, Bools]) -> None:
        """Counts rows of ``arrow_type``.

        Args:
            rows: As parsed.
            lines: On which line each stands, ascending.
            quoted: By the name of a column of text, the rows whose value there is a whole number.
        """
        self._count(JsonKind.OBJECT, rows.num_rows, int(lines[0]))
        for place, name in enumerate(rows.schema.names):
            self._field(name)._add_column(rows.column(place), lines, quoted.get(name), quoted)

    def _add_column(self, column: pa.Array, lines: Longs, numbers: Bools | None, quoted: Mapping[str, Bools]) -> None:
        kind = column.type
        if column.null_count == len(column) or pa.types.is_null(kind):
            return
        if numbers is not None:
            self._count_where(JsonKind.NUMBER, numbers, lines)
            self._count_where(JsonKind.TEXT, column.is_valid().to_numpy(zero_copy_only=False) & ~numbers, lines)
            return
        self._count_column(_kind_of_column(kind), column, lines)
        if pa.types.is_struct(kind):
            for place, field in enumerate(kind):
                self._field(field.name)._add_column(column.field(place), lines, quoted.get(field.name), quoted)
        elif pa.types.is_list(kind):
            below = np.repeat(lines, column.value_lengths().fill_null(0).to_numpy())
            self._elements()._add_column(column.flatten(), below, None, quoted)
        self._real |= kind == pa.float64()

    def _count_column(self, kind: JsonKind, column: pa.Array, lines: Longs) -> None:
        known = self._kinds.get(kind)
        if known is not None and known[1] <= lines[0]:
            self._count(kind, len(column) - column.null_count, int(lines[0]))
        else:
            self._count_where(kind, column.is_valid().to_numpy(zero_copy_only=False), lines)

    def _count_where(self, kind: JsonKind, values: Bools, lines: Longs) -> None:
        count = int(np.count_nonzero(values))
        if count:
            self._count(kind, count, int(lines[values.argmax()]))

    def merge(self, other: JsonTypes) -> None:
        """Adds the counts of another part of the input."""
        for kind, (count, line) in other._kinds.items():
            self._count(kind, count, line)
        for name, child in other._fields.items():
            self._field(name).merge(child)
        if other._element is not None:
            self._elements().merge(other._element)
        self._real |= other._real

    def _count(self, kind: JsonKind, count: int, line: int) -> None:
        known, first = self._kinds.get(kind, (0, line))
        self._kinds[kind] = (known + count, line if line < first else first)

    def _field(self, name: str) -> JsonTypes:
        child = self._fields.get(name)
        if child is None:
            child = self._fields[name] = JsonTypes()
        return child

    def _elements(self) -> JsonTypes:
        if self._element is None:
            self._element = JsonTypes()
        return self._element

    def paths(self) -> int:
        """Returns how many paths there are."""
        children: Iterable[JsonTypes] = self._fields.values()
        return 1 + sum(child.paths() for child in children) + (self._element.paths() if self._element else 0)

    def common(self, least: int) -> JsonTypes:
        """Returns the counts without those of paths that have fewer values than ``least``, and of what lies below."""
        kept = JsonTypes()
        kept._kinds, kept._real = dict(self._kinds), self._real
        kept._fields = {name: child.common(least) for name, child in self._fields.items() if child._values() >= least}
        if self._element is not None:
            kept._element = self._element.common(least)
        return kept

    def _values(self) -> int:
        return sum(count for count, _ in self._kinds.values())

    def variety(self) -> int:
        """Returns a number that grows with every kind of value that a path has not had before."""
        children: Iterable[JsonTypes] = self._fields.values()
        below = sum(child.variety() for child in children) + (self._element.variety() if self._element else 0)
        return 1 + len(self._kinds) + self._real + below

    def arrow_type(self) -> pa.DataType:
        """Returns the type that the values are parsed as.

        Objects without keys, and the elements of lists that hold only nulls, are a struct without fields.
        """
        if not self._kinds:
            return pa.null()
        kind = max(self._kinds, key=lambda each: (self._kinds[each][0], -self._kinds[each][1]))
        if kind is JsonKind.OBJECT:
            return pa.struct(list(self._arrow_fields()))
        if kind is JsonKind.LIST:
            element = self._elements().arrow_type()
            # Arrow's JSON parser makes lists of nulls with fewer nulls than it should; of empty structs it does not.
            return pa.list_(pa.struct([]) if pa.types.is_null(element) else element)
        if kind is JsonKind.NUMBER:
            return pa.float64() if self._real else pa.int64()
        return pa.string() if kind is JsonKind.TEXT else pa.bool_()

    def arrow_schema(self) -> pa.Schema:
        """Returns the fields of records."""
        return pa.schema(list(self._arrow_fields()))

    def _arrow_fields(self) -> Iterator[pa.Field]:
        return (pa.field(name, child.arrow_type()) for name, child in self._fields.items())


def _kind_of_column(kind: pa.DataType) -> JsonKind:
    if pa.types.is_struct(kind):
        return JsonKind.OBJECT
    return JsonKind.LIST if pa.types.is_list(kind) else _KIND_OF_TYPE[kind]


_KIND_OF_TYPE = {
    pa.string(): JsonKind.TEXT,
    pa.int64(): JsonKind.NUMBER,
    pa.float64(): JsonKind.NUMBER,
    pa.bool_(): JsonKind.BOOLEAN,
}
