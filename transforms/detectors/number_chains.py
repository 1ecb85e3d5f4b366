"""Chains: groups of digits with nothing but separators between them, found in a whole text by numpy.

Cards, telephone numbers and personal numbers are written so. A chain may hold several values, and words may part what
belongs together: who reads it tries runs of groups.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from .joined_text import JoinedText, Span

__all__ = ["Chain", "chains"]

JOINS = np.zeros(256, np.bool_)
JOINS[list(b" .-/()+")] = True
WIDEST = 3
"""Separators in a row that keep groups together, as in ``+44 (0) 20``."""
SHORTEST = 7
"""Digits of the shortest value."""


class Chain(NamedTuple):
    """Groups of digits.

    Attributes:
        groups: Where each begins and ends.
        text: The text of the chain, with its separators.
    """

    groups: list[Span]
    text: bytes

    @property
    def start(self) -> int:
        """Where the chain begins."""
        return self.groups[0][0]

    @property
    def end(self) -> int:
        """Behind its last digit."""
        return self.groups[-1][1]

    def cut(self, first: int, last: int) -> bytes:
        """Returns the text of a run of groups, both included."""
        shift = self.start
        return self.text[self.groups[first][0] - shift : self.groups[last][1] - shift]

    def sizes(self, first: int, last: int) -> tuple[int, ...]:
        """Returns the digits of each group of a run."""
        return tuple(end - start for start, end in self.groups[first : last + 1])


def chains(text: JoinedText) -> Iterator[Chain]:
    """Yields the chains of a text with seven digits and more."""
    digits = np.zeros(len(text.bytes) + 2, np.bool_)
    np.less(text.bytes - ord("0"), 10, out=digits[1:-1])
    edges = np.flatnonzero(digits[1:] != digits[:-1])
    starts, ends = edges[::2], edges[1::2]
    if not len(starts):
        return
    first = np.flatnonzero(np.concatenate(([True], ~_joined(text, ends[:-1], starts[1:]))))
    last = np.append(first[1:], len(starts))
    sums = np.concatenate(([0], np.cumsum(ends - starts)))
    long = sums[last] - sums[first] >= SHORTEST
    begins, stops = starts.tolist(), ends.tolist()
    for one, other in zip(first[long].tolist(), last[long].tolist(), strict=True):
        groups = list(zip(begins[one:other], stops[one:other], strict=True))
        yield Chain(groups, text.data[groups[0][0] : groups[-1][1]])


def _joined(text: JoinedText, ends: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Returns which gaps between groups consist of separators."""
    gaps = starts - ends
    joined = (gaps <= WIDEST) & JOINS[text.bytes[ends]]
    for place in range(1, WIDEST):
        wide = np.flatnonzero(joined & (gaps > place))
        joined[wide] = JOINS[text.bytes[ends[wide] + place]]
    return joined
