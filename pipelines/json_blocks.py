"""Finds the lines of a block of JSON Lines, and has Arrow parse those that it can be trusted with.

Arrow's parser is fast and lenient: it takes several objects on a line, NaN, and bytes that are no UTF-8, stops at a
NUL, and rounds whole numbers to floats. All that is checked around it. It is always given an explicit schema, for what
it infers is no good either: text becomes timestamps, long whole numbers become floats, and inference recurses once for
each level of nesting until the stack ends.

One bad line fails all that are parsed with it. Lines whose value contradicts the type of a column are sorted out by
a look at their text, others by the row that Arrow complains of or, if it names none, by halving. All this only decides
who reads a line; what becomes of it does not depend on it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from .json_records import EXACT_IN_FLOAT
from .text_blocks import is_utf8

__all__ = ["BY_LINE", "LineTable", "Longs", "count_lines", "lines_of", "parsed_parts"]

BY_LINE = 64
"""So many lines are left to be read one by one rather than divided again."""

PART_LINES = 1024
"""Among so many lines the bad ones are looked for one after the other."""

BLANK = b" \t\r"
NEWLINE, RETURN, OPEN, CLOSE = b"\n\r{}"

Longs = np.ndarray[Any, np.dtype[np.int64]]
Bools = np.ndarray[Any, np.dtype[np.bool_]]

_CONFLICT = re.compile(r"Column\(.*/([^/\[\]]+)\) changed from (?!null)\w+ to (\w+) in row")
_ROW = re.compile(r"in row ([0-9]{1,9})$")
_BEGINS = {"number": rb"[-0-9]", "string": rb'"', "boolean": rb"[tf]", "array": rb"\[", "object": rb"\{"}


@dataclass(frozen=True, slots=True)
class LineTable:
    """The lines of a block that are not blank.

    Attributes:
        data: The block.
        starts: First byte of each.
        ends: Behind its last byte, without the end of the line.
        numbers: Line numbers.
        sound: Whether it is UTF-8 without NUL between braces; what is not is no record.
    """

    data: bytes
    starts: Longs
    ends: Longs
    numbers: Longs
    sound: Bools

    def raw(self, place: int) -> bytes:
        """Returns the bytes of a line."""
        return self.data[self.starts[place] : self.ends[place]]

    def joined(self, places: Longs) -> pa.Buffer:
        """Returns the bytes of some lines, in ascending order, with their ends."""
        first, last = places[0], places[-1]
        if last - first + 1 == len(places):
            return pa.py_buffer(memoryview(self.data)[self.starts[first] : self.ends[last]])
        bounds = zip(self.starts[places].tolist(), self.ends[places].tolist(), strict=True)
        return pa.py_buffer(b"\n".join([self.data[start:end] for start, end in bounds]))


def count_lines(data: bytes) -> int:
    """Returns the number of lines, the last of which may have no end."""
    return data.count(b"\n") + (not data.endswith(b"\n"))


def lines_of(data: bytes, first: int) -> LineTable:
    """Returns the lines of a block that are not blank.

    Args:
        data: Whole lines, not empty.
        first: Number of the first one.
    """
    octets = np.frombuffer(data, np.uint8)
    stops = np.flatnonzero(octets == NEWLINE)
    if not data.endswith(b"\n"):
        stops = np.append(stops, len(data))
    starts = np.concatenate([[0], stops[:-1] + 1])
    ends = stops - ((stops > starts) & (octets[stops - 1] == RETURN))
    filled = ends > starts
    # An empty line has no first or last byte of its own; what is looked at instead is masked.
    sound = filled & (octets[np.minimum(starts, len(data) - 1)] == OPEN) & (octets[ends - 1] == CLOSE)
    _look_closer(data, starts, ends, filled, sound)
    numbers = np.arange(first, first + len(starts))
    return LineTable(data, starts[filled], ends[filled], numbers[filled], sound[filled])


def _look_closer(data: bytes, starts: Longs, ends: Longs, filled: Bools, sound: Bools) -> None:
    """Corrects ``filled`` and ``sound`` for lines with space around their text, and for bytes that are no text."""
    for place in np.flatnonzero(filled & ~sound):
        text = data[starts[place] : ends[place]].strip(BLANK)
        filled[place] = bool(text)
        sound[place] = text.startswith(b"{") and text.endswith(b"}")
    if b"\0" in data or not is_utf8(data):
        for place in np.flatnonzero(sound):
            text = data[starts[place] : ends[place]]
            sound[place] = text.isascii() or is_utf8(text)
            sound[place] &= b"\0" not in text


def parsed_parts(lines: LineTable, schema: Callable[[], pa.Schema]) -> Iterator[tuple[Longs, pa.RecordBatch | None]]:
    """Yields the sound lines in parts: their places, with their rows, or with None where each needs a look of its own.

    Args:
        lines: Of one block.
        schema: Gives the schema for the next part.
    """
    parts = [np.flatnonzero(lines.sound)]
    while parts:
        places = parts.pop()
        if not len(places):
            continue
        rows = _parsed(lines, places, schema())
        if isinstance(rows, pa.RecordBatch):
            yield places, rows
            continue
        alone, rest = _sorted_out(lines, places, rows)
        parts += rest
        if len(alone):
            yield alone, None


def _sorted_out(lines: LineTable, places: Longs, complaint: str) -> tuple[Longs, list[Longs]]:
    """Returns which of some lines need a look of their own, and parts of the others, the first one last."""
    if len(places) <= BY_LINE:
        return places, []
    odd = _contradicting(lines, places, complaint)
    if len(odd):
        return odd, [np.setdiff1d(places, odd, assume_unique=True)]
    if len(places) > PART_LINES:
        return places[:0], [places[at : at + PART_LINES] for at in range(0, len(places), PART_LINES)][::-1]
    row = _ROW.search(complaint)
    if row is None or int(row[1]) >= len(places):
        return places[:0], [places[len(places) // 2 :], places[: len(places) // 2]]
    at = int(row[1])
    if at < BY_LINE // 4:  # where bad lines are close together, asking again costs more than looking
        return places[:BY_LINE], [places[BY_LINE:]]
    return places[at : at + 1], [places[at + 1 :], places[:at]]


def _parsed(lines: LineTable, places: Longs, schema: pa.Schema) -> pa.RecordBatch | str:
    """Returns the rows of some lines, or what Arrow complains of.

    Each line is between braces, and a line break in a string is no JSON; so as many rows as lines are one on each.
    """
    data = lines.joined(places)
    try:
        table = pj.read_json(
            pa.BufferReader(data),
            pj.ReadOptions(use_threads=False, block_size=len(data) + 1),
            pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="error"),
        )
    except pa.ArrowInvalid as error:
        return str(error)
    except UnicodeDecodeError:
        return ""
    if table.num_rows != len(places):
        return ""
    rows = pa.RecordBatch.from_struct_array(table.to_struct_array().combine_chunks())
    return rows if all(_is_exact(column) for column in rows.columns) else ""


def _contradicting(lines: LineTable, places: Longs, complaint: str) -> Longs:
    """Returns the lines that seem to hold what Arrow complains of: another kind of value under the name of a column."""
    found = _CONFLICT.search(complaint)
    if found is None or found[2] not in _BEGINS:
        return places[:0]
    pattern = re.compile(rb'"%b"[ \t]*:[ \t]*%b' % (re.escape(found[1].encode()), _BEGINS[found[2]]))
    start, end = int(lines.starts[places[0]]), int(lines.ends[places[-1]])
    hits = np.array([hit.start() for hit in pattern.finditer(lines.data, start, end)], np.int64)
    return np.intersect1d(np.searchsorted(lines.starts, hits, side="right") - 1, places)


def _is_exact(column: pa.Array) -> bool:
    """Whether no float is so large that a whole number may have been rounded, nor no number at all."""
    kind = column.type
    if pa.types.is_struct(kind):
        return all(_is_exact(column.field(place)) for place in range(kind.num_fields))
    if pa.types.is_list(kind):
        return _is_exact(column.values)
    return not pa.types.is_floating(kind) or pc.all(pc.less(pc.abs(column), float(EXACT_IN_FLOAT))).as_py() is not False
