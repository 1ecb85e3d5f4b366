"""Finds the lines of a block of JSON Lines, and those of them that may be records at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .text_blocks import is_utf8

__all__ = ["Bools", "LineTable", "Longs", "count_lines", "lines_of"]

BLANK = b" \t\r"
NEWLINE, RETURN, OPEN, CLOSE = b"\n\r{}"

GROUP = 32
"""So many lines are checked at once for bytes that are no text."""

Longs = np.ndarray[Any, np.dtype[np.int64]]
Bools = np.ndarray[Any, np.dtype[np.bool_]]
Octets = np.ndarray[Any, np.dtype[np.uint8]]


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

    data: bytes | bytearray
    starts: Longs
    ends: Longs
    numbers: Longs
    sound: Bools

    def raw(self, place: int) -> bytes:
        """Returns the bytes of a line."""
        return bytes(self.data[self.starts[place] : self.ends[place]])

    def span(self, places: Longs) -> memoryview:
        """Returns the bytes from the first to the last of some lines."""
        return memoryview(self.data)[self.starts[places[0]] : self.ends[places[-1]]]

    def places_of(self, marks: Longs) -> Longs:
        """Returns in which lines some bytes of the block stand."""
        return np.searchsorted(self.starts, marks, side="right") - 1


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
    _refuse_no_text(data, octets, starts, ends, sound)
    numbers = np.arange(first, first + len(starts))
    return LineTable(data, starts[filled], ends[filled], numbers[filled], sound[filled])


def _look_closer(data: bytes, starts: Longs, ends: Longs, filled: Bools, sound: Bools) -> None:
    """Corrects ``filled`` and ``sound`` for lines with space around their text."""
    for place in np.flatnonzero(filled & ~sound):
        text = data[starts[place] : ends[place]].strip(BLANK)
        filled[place] = bool(text)
        sound[place] = text.startswith(b"{") and text.endswith(b"}")


def _refuse_no_text(data: bytes, octets: Octets, starts: Longs, ends: Longs, sound: Bools) -> None:
    """Corrects ``sound`` for lines with bytes that are no text."""
    if b"\0" in data:
        sound[np.searchsorted(starts, np.flatnonzero(octets == 0), side="right") - 1] = False
    if is_utf8(data):
        return
    for first in range(0, len(starts), GROUP):
        group = range(first, min(first + GROUP, len(starts)))
        if not is_utf8(data[starts[group[0]] : ends[group[-1]]]):
            for place in group:
                sound[place] &= is_utf8(data[starts[place] : ends[place]])
