"""Words around a value that tell what it is, in the languages that orders come in; matched on skeletons, lower case."""

from __future__ import annotations

import re
from collections.abc import Iterable

from .joined_text import pattern
from .skeletons import folded

__all__ = ["Words", "words"]

PARTED = re.compile(rb"[0-9]{4}|\n\s*[^\s]|[a-z\xe0]{3}[.!?]\s|[=<>|0-9][^\n]*\n")


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

    def last(self, text: bytes) -> int:
        """Returns where the last of the words ends in a lower-case text, or -1."""
        end = -1
        for match in self._pattern.finditer(text):
            end = match.end()
        return end

    def governing(self, before: bytes) -> int:
        """Returns where the last of the words ends that says something of what follows, or -1.

        A word says nothing across another number, a sentence's end, or a line with something in it.
        """
        end = self.last(before)
        return -1 if end >= 0 and PARTED.search(before[end:]) else end

    def first(self, text: bytes) -> int:
        """Returns where the first of the words begins in a lower-case text, or -1."""
        match = self._pattern.search(text)
        return -1 if match is None else match.start()

    def name(self, text: bytes) -> str:
        """Returns the last of the words in a text; not itself where it has other letters than ASCII."""
        found = b""
        for match in self._pattern.finditer(text):
            found = match.group()
        return found.decode().strip(" _") if found.isascii() else "…"


def words(whole: str, begun: str = "") -> Words:
    """Returns words listed with spaces between them; ``_`` stands for a space, a dash or nothing within one."""
    return Words(whole.split(), begun.split())


def _edge(letter: str) -> str:
    """Where a word of ASCII letters begins or ends, underscores apart; words of other letters touch what they like."""
    return r"(?:\b|_)" if folded(letter).isalnum() else ""


def _spelled(word: str) -> str:
    return re.escape(folded(word).decode("latin-1")).replace("_", "[ _-]?")
