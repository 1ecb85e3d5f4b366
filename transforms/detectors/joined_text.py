"""Skeletons of many rows as one text, which patterns compiled once search in one go, and what stands around a place."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import re2

from .findings import Finding
from .skeletons import BREAK, SEPARATOR, Skeletons

__all__ = ["WORD", "JoinedText", "Span", "digits_of", "first_in", "pattern", "spans_in"]

Span = tuple[int, int]

WORD = frozenset((string.ascii_letters + string.digits + "_").encode() + b"\xe0")
"""Bytes that make up words; a value begins and ends where no word does."""
UNANCHORED = re2._Anchor.UNANCHORED
PART = re.compile(rb"[\x00\n\t|;,\"]|[.!?](?:\s|$)")
"""Where a part of a sentence ends."""
LOWER = bytes(range(256)).lower()
OTHERS = bytes(byte for byte in range(256) if byte not in string.digits.encode())
WITHOUT_DIGITS = bytes.maketrans(string.digits.encode(), b"\x01" * 10)
LETTERS = string.ascii_letters.encode() + b"\xe0"
# What JSON writes for line breaks, tabs and quotes parts words as they do; as long as what it stands for.
ESCAPES = (
    *((written, space.rjust(2)) for written, space in ((b"\\n", b"\n"), (b"\\r", b""), (b"\\t", b""), (b'\\"', b'"'))),
    *((b"\\u00" + code, b" " * 6) for code in (b"3c", b"3e", b"26", b"27", b"a0", b"3C", b"3E", b"A0")),
)


def pattern(text: str) -> Any:
    """Returns a pattern over the bytes of skeletons that takes time in proportion to the text (RE2).

    Args:
        text: RE2 syntax, in ASCII and ``\\xNN``.
    """
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.max_mem = 64 << 20
    options.log_errors = False
    return re2.compile(text.encode("latin-1"), options)


def spans_in(wanted: Any, text: bytes, group: int = 0) -> Iterator[Span]:
    """Yields where a ``pattern`` matches; it matches no empty text.

    Asks the engine itself: google-re2's own iteration makes an object for each match, which costs as much again.
    """
    match, place, end = wanted._regexp.Match, 0, len(text)
    while True:
        spans = match(UNANCHORED, text, place, end)
        place = spans[0][1]
        if place < 0:
            return
        yield spans[group]


def first_in(wanted: Any, text: bytes, place: int) -> int:
    """Returns where the first match of a ``pattern`` from a place on begins, or -1."""
    start: int = wanted._regexp.Match(UNANCHORED, text, place, len(text))[0][0]
    return start


def digits_of(written: bytes) -> bytes:
    """Returns the ASCII digits of a text."""
    return written.translate(None, OTHERS)


class JoinedText:
    """Skeletons with a separator between each two, that no pattern matches.

    Args:
        skeletons: At least one.
    """

    def __init__(self, skeletons: Skeletons) -> None:
        self._skeletons = skeletons
        lengths = np.diff(skeletons.offsets)
        self._starts = skeletons.offsets[:-1] - skeletons.offsets[0] + np.arange(len(skeletons))
        data = np.full(int(lengths.sum()) + len(skeletons), SEPARATOR, np.uint8)
        text = skeletons.data[skeletons.offsets[0] : skeletons.offsets[-1]]
        if len(text):
            text = np.where(text == SEPARATOR, np.uint8(ord(" ")), text)
            data[np.arange(len(text)) + np.repeat(np.arange(len(skeletons)), lengths)] = text
        self.data = _unescaped(data.tobytes())
        self._places: dict[Any, tuple[list[int], list[int]]] = {}

    @cached_property
    def lower(self) -> bytes:
        """The text in lower case; places stay the same."""
        return self.data.translate(LOWER)

    @cached_property
    def _wordy(self) -> bytes:
        return self.lower.translate(WITHOUT_DIGITS)

    @cached_property
    def array(self) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """The text as an array."""
        return np.frombuffer(self.data, np.uint8)

    def spans(self, wanted: Any, group: int = 0) -> Iterator[Span]:
        """Yields where a ``pattern`` matches."""
        return spans_in(wanted, self.data, group)

    def places(self, wanted: Any) -> tuple[list[int], list[int]]:
        """Returns where a ``pattern`` begins and ends in the text in lower case, in which a digit is no part of a word.

        The text is searched once for each pattern.
        """
        found = self._places.get(wanted)
        if found is None:
            spans = list(spans_in(wanted, self._wordy))
            found = self._places[wanted] = ([start for start, _ in spans], [end for _, end in spans])
        return found

    def parted(self, start: int, end: int) -> bool:
        """Returns whether a row ends between two places."""
        return self.data.find(BREAK, start, end) >= 0

    def before(self, place: int, width: int = 40) -> bytes:
        """Returns what stands in front of a place in its row, in lower case."""
        first = max(0, place - width)
        text = self.lower[first:place]
        row = text.rfind(BREAK) + 1
        if not row and first and self.data[first - 1] in WORD:
            return text.lstrip(LETTERS)  # the rest of a word is no word
        return text[row:]

    def after(self, place: int, width: int = 20) -> bytes:
        """Returns what follows a place in its row and in the same part of a sentence, in lower case."""
        text = self.lower[place : place + width]
        cut = PART.search(text)
        return text if cut is None else text[: cut.start()]

    def begins(self, place: int) -> bool:
        """Returns whether no word reaches over a place from the left."""
        return place == 0 or self.data[place - 1] not in WORD

    def whole(self, start: int, end: int) -> bool:
        """Returns whether no word reaches over the ends of a span."""
        return self.begins(start) and self.data[end] not in WORD

    def in_rows(self, findings: Sequence[Finding]) -> Iterator[tuple[int, Finding]]:
        """Yields findings of this text with the row of the column that each is in, placed in that row's characters."""
        if not findings:
            return
        spans = np.array([finding[:2] for finding in findings])
        owners = np.searchsorted(self._starts, spans[:, 0], side="right") - 1
        spans -= self._starts[owners, None]
        if self._skeletons.places is not None:
            spans += self._skeletons.offsets[owners, None] - (0, 1)
            spans = self._skeletons.places[spans] + (0, 1)
        rows = self._skeletons.rows[owners].tolist()
        for row, (start, end), finding in zip(rows, spans.tolist(), findings, strict=True):
            yield row, Finding(start, end, *finding[2:])


def _unescaped(text: bytes) -> bytes:
    if b"\\" in text:
        for written, meant in ESCAPES:
            text = text.replace(written, meant)
    return text
