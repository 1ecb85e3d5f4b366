"""Puts whole numbers that stand in columns of text between quotes, so that Arrow reads them as they are spelled.

Some producers write an id now as text and now as a number. Arrow's parser takes no number into a column of text, and
to look at each such line alone takes ten times as long. The text is changed only where that cannot be wrong: behind a
name that belongs to one column, of text, and to no field within a list. In a line that is JSON, ``"name": 17`` then is
that column's value, for within a string the quotes would be escaped; one that is no JSON does not become so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pyarrow as pa

from ..transforms.nested_columns import is_list
from .line_tables import LineTable, Longs

__all__ = ["quoted", "text_columns"]

_WHOLE_NUMBER = rb"(-?(?:0|[1-9][0-9]*+))[ \t\r]*+[,}]"
_BACKSLASH = ord("\\")


def text_columns(schema: pa.Schema) -> frozenset[str]:
    """Returns the names that belong to one column, of text and outside of lists, and that JSON spells as they are.

    >>> address = pa.struct([("id", pa.string()), ("postcode", pa.string())])
    >>> sorted(text_columns(pa.schema([("id", pa.string()), ("shipping", address), ("seen", pa.int64())])))
    ['postcode']
    """
    fields = list(_fields(schema, in_list=False))
    names = [name for name, _ in fields]
    return frozenset(
        name for name, is_text in fields if is_text and names.count(name) == 1 and not set(name) & {'"', "\\"}
    )


def _fields(fields: pa.Schema | pa.StructType, *, in_list: bool) -> Iterator[tuple[str, bool]]:
    """Yields the names of fields at all depths, and whether each is a column of text outside of lists."""
    for field in fields:
        kind, listed = field.type, in_list
        yield field.name, kind == pa.string() and not in_list
        while is_list(kind):
            kind, listed = kind.value_type, True
        if pa.types.is_struct(kind):
            yield from _fields(kind, in_list=listed)


def quoted(lines: LineTable, name: str) -> tuple[LineTable, Longs]:
    """Returns the lines with the whole numbers behind a name between quotes, and the places of lines that have one.

    Args:
        lines: Of a block.
        name: One of ``text_columns``.
    """
    pattern = re.compile(rb'"%b"[ \t\r]*+:[ \t\r]*+%b' % (re.escape(name.encode()), _WHOLE_NUMBER))
    # A name behind a backslash is the end of another name.
    spans = [hit.span(1) for hit in pattern.finditer(lines.data) if lines.data[hit.start() - 1] != _BACKSLASH]
    marks = np.array(spans, np.int64).reshape(-1)
    bounds = [0, *marks.tolist(), len(lines.data)]
    data = b'"'.join([lines.data[start:end] for start, end in pairwise(bounds)])
    shifted = replace(
        lines,
        data=data,
        starts=lines.starts + np.searchsorted(marks, lines.starts),
        ends=lines.ends + np.searchsorted(marks, lines.ends),
    )
    return shifted, lines.places_of(marks[::2])
