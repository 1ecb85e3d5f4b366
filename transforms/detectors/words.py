"""Words around a value that tell what it is, in the languages that orders come in; matched on skeletons, lower case.

A text is searched once for each set of words; what stands beside a value is then looked up by its place.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable

import numpy as np

from ..values.byte_rows import Bools, Int64s
from .joined_text import JoinedText, Span, pattern, spans_in
from .skeletons import folded

__all__ = ["Words", "told", "words"]

PARTED = re.compile(rb"[0-9]{4}|\n\s*[^\s]|[a-z\xe0]{3}[.!?]\s|(?<=[a-z\xe0]{3})[!?] |[=<>|0-9][^\n]*\n")
LABEL = re.compile(
    rb"[^0-9a-z]*(?:(?:no|nr|num|number|numbers|numero|numer|nummer|id|ids|code|ref|reference|is|was|are|with|ist|lautet|est|es|"
    rb"e|to|de|do|da|di|del|du|des|of|for|von|pour|confirmation|n)[^0-9a-z]+){0,4}"
)
CLOSE = 12


class Words:
    """A set of words and beginnings of words.

    Args:
        whole: Words that stand alone.
        begun: Beginnings of words.
    """

    def __init__(self, whole: Iterable[str], begun: Iterable[str]) -> None:
        # The longest first: of two that begin in one place, the first wins.
        parts = [_edge(word[:1]) + _spelled(word) + _edge(word[-1:]) for word in sorted(whole, key=len, reverse=True)]
        parts += [_edge(word[:1]) + _spelled(word) for word in begun]
        self._pattern = pattern("|".join(parts))

    def within(self, text: bytes) -> Span | None:
        """Returns where the last of the words is in a lower-case text; None: there is none."""
        found = None
        for span in spans_in(self._pattern, text):
            found = span
        return found

    def last_before(self, text: JoinedText, place: int, width: int = 40) -> Span | None:
        """Returns where the last of the words is that ends at most so many bytes before a place of its row."""
        starts, ends = text.places(self._pattern)
        last = bisect_right(ends, place) - 1
        if last < 0 or ends[last] <= place - width or text.parted(ends[last], place):
            return None
        return None if text.data[ends[last] : ends[last] + 1] == b"@" else (starts[last], ends[last])

    def governing(self, text: JoinedText, place: int, width: int = 40) -> int:
        """Returns where the last of the words before a place ends that says something of what follows, or -1.

        A word says nothing across another number, a sentence's end, or a line with something in it.
        """
        found = self.last_before(text, place, width)
        return -1 if found is None or PARTED.search(text.lower, found[1], place) else found[1]

    def labelling(self, text: JoinedText, place: int) -> int:
        """Returns where the last of the words ends that is a label of what follows, close to it, or -1."""
        end = self.governing(text, place)
        return end if end < 0 or place - end <= CLOSE or LABEL.fullmatch(text.lower, end, place) else -1

    def follows(self, text: JoinedText, place: int, width: int) -> bool:
        """Returns whether one of the words is in ``text.after(place, width)``."""
        starts, ends = text.places(self._pattern)
        first = bisect_left(starts, place)
        if first == len(starts) or ends[first] > place + width:
            return False
        return ends[first] <= place + len(text.after(place, width))

    def stand_in(self, text: JoinedText, starts: Int64s, ends: Int64s) -> Bools:
        """Returns in which parts of a text one of the words may be, rows apart."""
        firsts, lasts = text.places(self._pattern)
        if not firsts:
            return np.zeros(len(starts), np.bool_)
        places = np.searchsorted(np.array(lasts), starts, side="right")
        found: Bools = np.append(firsts, np.iinfo(np.int64).max)[places] < ends
        return found

    def name_before(self, text: JoinedText, place: int) -> str:
        """Returns the last of the words before a place; not itself where it has other letters than ASCII."""
        found = self.last_before(text, place)
        return "" if found is None else told(text.lower[slice(*found)])


def told(word: bytes) -> str:
    """Returns a word as a reason may tell it."""
    return word.decode().strip(" _") if word.isascii() else "…"


def words(whole: str, begun: str = "") -> Words:
    """Returns words listed with spaces between them; ``_`` stands for a space, a dash or nothing within one."""
    return Words(whole.split(), begun.split())


def _edge(letter: str) -> str:
    """Where a word of ASCII letters begins or ends, underscores apart; words of other letters touch what they like."""
    return r"(?:\b|_)" if folded(letter).isalnum() else ""


def _spelled(word: str) -> str:
    return re.escape(folded(word).decode("latin-1")).replace("_", "[ _-]?")
