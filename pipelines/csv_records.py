"""Finds where the records of CSV begin and end (RFC 4180), so that a broken one takes no other with it.

A quote at the beginning of a field opens it, and a field that is open may hold line breaks; elsewhere in a field a
quote is a character like any other. A record whose quote is never closed, or closed where no field ends, is broken:
its first line is given up, and the next line begins a record.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from .text_blocks import InputStream, TextBlock, line_blocks

__all__ = ["MAX_RECORD", "RecordBlock", "find_records", "record_blocks"]

MAX_RECORD = 16 * 2**20
"""A record that is open for longer is taken to be broken."""

NEWLINE, RETURN, QUOTE = b'\n\r"'

Longs = np.ndarray[Any, np.dtype[np.int64]]
Bools = np.ndarray[Any, np.dtype[np.bool_]]
Octets = np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordBlock:
    """Whole records, those on blank lines left out.

    Attributes:
        data: Their bytes.
        starts: First byte of each record.
        ends: Behind its last byte, without the end of the line.
        stops: Behind the end of its line.
        lines: How many lines of the block come before it.
        broken: Whether it is broken.
        line_count: Lines of the block.
        size: Bytes of the file that it takes.
        cut: ``data`` is the beginning of one line that is too long to be read.
    """

    data: bytes
    starts: Longs
    ends: Longs
    stops: Longs
    lines: Longs
    broken: Bools
    line_count: int
    size: int
    cut: bool = False

    def raw(self, place: int) -> bytes:
        """Returns the bytes of a record."""
        return self.data[self.starts[place] : self.ends[place]]


def record_blocks(stream: InputStream, start: int, end: int | None, *, delimiter: bytes) -> Iterator[RecordBlock]:
    """Yields the records from byte ``start``, where one begins, up to ``end``, or to the end of the file."""
    rest = b""
    for block in line_blocks(stream, start, end):
        if block.cut:
            yield from _all(rest, delimiter)
            yield _long_line(block)
            rest = b""
            continue
        data = rest + block.data
        stops, broken = find_records(data, delimiter=delimiter, final=False)
        used = int(stops[-1]) if len(stops) else 0
        if used:
            yield _block(data[:used], stops, broken)
        rest = data[used:]
    yield from _all(rest, delimiter)


def _all(data: bytes, delimiter: bytes) -> Iterator[RecordBlock]:
    if data:
        yield _block(data, *find_records(data, delimiter=delimiter, final=True))


def _long_line(block: TextBlock) -> RecordBlock:
    none = np.zeros(1, np.int64)
    whole = np.array([len(block.data)])
    return RecordBlock(
        data=block.data, starts=none, ends=whole, stops=whole, lines=none, broken=np.ones(1, bool),
        line_count=1, size=block.size, cut=True,
    )  # fmt: skip


def _block(data: bytes, stops: Longs, broken: Bools) -> RecordBlock:
    octets = np.frombuffer(data, np.uint8)
    starts = np.concatenate([[0], stops[:-1]])
    ends = stops - (octets[stops - 1] == NEWLINE)
    ends -= (ends > starts) & (octets[ends - 1] == RETURN)
    filled = ends > starts
    for place in np.flatnonzero(filled & (octets[starts] == RETURN)):
        filled[place] = bool(data[starts[place] : ends[place]].strip(b"\r"))
    newlines = np.flatnonzero(octets == NEWLINE)
    return RecordBlock(
        data=data, starts=starts[filled], ends=ends[filled], stops=stops[filled],
        lines=np.searchsorted(newlines, starts[filled]), broken=broken[filled],
        line_count=len(newlines) + (not data.endswith(b"\n")), size=len(data),
    )  # fmt: skip


def find_records(data: bytes, *, delimiter: bytes, final: bool) -> tuple[Longs, Bools]:
    """Returns where the lines of records end, and which records are broken.

    Args:
        data: Whole lines, not empty; begins with a record.
        delimiter: One byte.
        final: Nothing comes after ``data``; else a record that is open at its end is left out.
    """
    octets = np.frombuffer(data, np.uint8)
    newlines = np.flatnonzero(octets == NEWLINE) + 1
    if not data.endswith(b"\n"):
        newlines = np.append(newlines, len(data))
    if b'"' not in data:
        return newlines, np.zeros(len(newlines), bool)
    quotes = np.flatnonzero(octets == QUOTE)
    left_open = len(quotes) % 2 == 1
    if _well_placed(octets, quotes, ord(delimiter)) and not (left_open and (final or len(data) > MAX_RECORD)):
        stops = newlines[np.searchsorted(quotes, newlines) % 2 == 0]
        return stops, np.zeros(len(stops), bool)
    return _one_by_one(data, delimiter, final)


def _well_placed(octets: Octets, quotes: Longs, delimiter: int) -> bool:
    """Whether all quotes open or close fields in turn, so that a line break ends a record after an even number.

    Two quotes in a row within a field close and open it.
    """
    before = octets[np.maximum(quotes[0::2] - 1, 0)]
    opens = (before == delimiter) | (before == NEWLINE) | (before == QUOTE)
    opens[0] |= quotes[0] == 0
    last = len(octets) - 1
    closing = quotes[1::2]
    after = octets[np.minimum(closing + 1, last)]
    beyond = octets[np.minimum(closing + 2, last)]
    ends_line = (after == NEWLINE) | ((after == RETURN) & ((beyond == NEWLINE) | (closing + 1 == last)))
    closes = (after == delimiter) | (after == QUOTE) | ends_line
    return bool(opens.all() and closes.all())


def _one_by_one(data: bytes, delimiter: bytes, final: bool) -> tuple[Longs, Bools]:
    whole, open_at_end = _patterns(delimiter)
    stops: list[int] = []
    broken: list[bool] = []
    at = 0
    while at < len(data):
        found = whole.match(data, at)
        if found is None and not final and len(data) - at <= MAX_RECORD and open_at_end.match(data, at):
            break
        at = found.end() if found else (data.find(b"\n", at) + 1 or len(data))
        stops.append(at)
        broken.append(found is None)
    return np.array(stops, np.int64), np.array(broken, bool)


@cache
def _patterns(delimiter: bytes) -> tuple[re.Pattern[bytes], re.Pattern[bytes]]:
    """Returns a pattern of a whole record, and one of a record that is open at the end of the data."""
    mark = re.escape(delimiter)
    quoted = rb'"(?:[^"]++|"")*+'
    field = rb"(?:%b\"|[^\"%b\n][^%b\n]*+|)" % (quoted, mark, mark)
    whole = re.compile(rb"%b(?:%b%b)*+\r?(?:\n|\Z)" % (field, mark, field))
    return whole, re.compile(rb"(?:%b%b)*+%b\Z" % (field, mark, quoted))
