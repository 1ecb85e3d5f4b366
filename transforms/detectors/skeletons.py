"""Skeletons: text as detectors read it, one byte for each character that can matter, with the way back.

A skeleton has ASCII where people mean ASCII: full-width and other Unicode digits become ``0`` to ``9``, all spaces a
space, all dashes a dash, Latin letters lose their accents. What is not seen is left out: zero-width characters, soft
hyphens, direction marks, combining marks. Other letters become one byte for scripts that write words apart and
another for those that do not, since a number may touch those. So disguises fall away before any pattern is tried,
patterns are patterns of bytes, and places in a skeleton are places of characters.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..values.byte_rows import ByteRows, Bytes, Int64s

__all__ = ["BREAK", "SEPARATOR", "Skeletons", "folded", "skeletons"]

SEPARATOR = 0
BREAK = bytes([SEPARATOR])
LETTER = 0xE0
"""A letter of a script that writes words apart, without a Latin base."""
SYMBOL = 0xA0
"""Any other character."""
OMITTED = 0xFF

SIGNS = {sign: 0x80 + place for place, sign in enumerate("電話番号携帯連絡先内線生年月日誕卡カードパスワフनमबसरकजइल")}
"""Bytes of characters that make up the words around values in scripts without words apart, and in Devanagari."""

TABLE_END = 0x20000
TAGS = range(0xE0000, 0xE01F0)
JOINED_SCRIPTS = (range(0x0E00, 0x1000), range(0x1780, 0x1800), range(0x3040, 0xA4D0), range(0xF900, 0xFB00))
"""Thai to Myanmar, Khmer, and those of China and Japan: words are not written apart."""
POINTS = {0x00B7: ".", 0x2024: ".", 0x2044: "/", 0x2212: "-", 0x2032: "'"}


@dataclass(frozen=True, slots=True)
class Skeletons:
    """The skeletons of some rows of a column.

    Attributes:
        rows: ``int64 (n,)``: their places in the column.
        data: The bytes of all skeletons, one after the other.
        offsets: ``int64 (n + 1,)`` places in ``data``.
        places: For each byte, the place of its character in its text; None: each byte is a character.
    """

    rows: Int64s
    data: Bytes
    offsets: Int64s
    places: Int64s | None

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, chosen: Int64s) -> Skeletons:
        """Returns some of the skeletons, in the given order."""
        starts, lengths = self.offsets[chosen], np.diff(self.offsets)[chosen]
        offsets = np.concatenate(([0], np.cumsum(lengths)))
        wanted = np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1])
        places = None if self.places is None else self.places[wanted]
        return Skeletons(self.rows[chosen], self.data[wanted], offsets, places)


def skeletons(column: pa.Array) -> Iterator[Skeletons]:
    """Yields the skeletons of a column: of the texts in ASCII, then of the others.

    Args:
        column: ``string`` or ``large_string``; nulls have no skeleton.
    """
    rows = ByteRows.of(column)
    everything = np.flatnonzero(rows.valid)
    if not len(rows.data) or int(rows.data.max()) < 0x80:
        if len(everything) == len(rows):
            yield Skeletons(everything, rows.data, rows.offsets, None)
        elif len(everything):
            yield Skeletons(everything, rows.data, np.append(rows.starts[everything], len(rows.data)), None)
        return
    foreign = rows.any_of(rows.data >= 0x80)
    plain = np.flatnonzero(rows.valid & ~foreign)
    if len(plain):
        texts = ByteRows.of(column.take(pa.array(plain)))
        yield Skeletons(plain, texts.data, texts.offsets, None)
    others = np.flatnonzero(foreign)
    yield _folded(others, column.take(pa.array(others)))


def folded(text: str) -> bytes:
    """Returns the skeleton of one text.

    >>> folded("Tél\u00a0４１\u200b１1")
    b'Tel 4111'
    """
    if text.isascii():
        return text.encode()
    return bytes(byte for character in text if (byte := _byte(character)) != OMITTED)


def _folded(rows: Int64s, column: pa.Array) -> Skeletons:
    text = ByteRows.of(column).data.tobytes().decode("utf-8", "surrogatepass")
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    folded = _table().take(np.minimum(points, TABLE_END))
    folded[(points >= TAGS.start) & (points < TAGS.stop)] = OMITTED
    lengths = pc.utf8_length(column).to_numpy(zero_copy_only=False).astype(np.int64)
    ends = np.cumsum(lengths)
    kept = np.flatnonzero(folded != OMITTED)
    owners = np.repeat(np.arange(len(rows)), lengths)[kept]
    offsets = np.searchsorted(kept, np.concatenate(([0], ends)))
    return Skeletons(rows, folded[kept], offsets, kept - (ends - lengths)[owners])


@cache
def _table() -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The byte of each code point; made at first use, since it takes a tenth of a second."""
    table = np.full(TABLE_END + 1, SYMBOL, np.uint8)
    for point in range(TABLE_END):
        table[point] = _byte(chr(point))
    return table


def _byte(character: str) -> int:
    point = ord(character)
    if point < 0x80:
        return point
    if character in SIGNS:
        return SIGNS[character]
    if point >= TABLE_END:
        return OMITTED if point in TAGS else SYMBOL
    if point in POINTS:
        return ord(POINTS[point])
    category = unicodedata.category(character)
    if category in ("Cf", "Mn", "Me"):
        return OMITTED
    if category == "Nd":
        return ord("0") + unicodedata.decimal(character)
    if category == "Pd":
        return ord("-")
    if category[0] in "ZC":
        return {"Zl": ord("\n"), "Zp": ord("\n"), "Zs": ord(" "), "Cc": ord(" ")}.get(category, SYMBOL)
    base = unicodedata.normalize("NFKD", character)[0]
    if " " < base < "\x7f" and (category[0] == "L" or 0xFF00 < point < 0xFFF0):
        return ord(base)
    if category[0] == "L" and not any(point in script for script in JOINED_SCRIPTS):
        return LETTER
    return SYMBOL
