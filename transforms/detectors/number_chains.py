"""Chains: groups of digits with nothing but separators between them, found in a whole text by numpy.

Cards, telephone numbers and personal numbers are written so. A chain may hold several values, and words may part what
belongs together: who reads it tries runs of groups.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ..values.byte_rows import Bools, Bytes, Int64s
from .joined_text import JoinedText, Span

__all__ = ["Chain", "chains"]

JOINS = np.zeros(256, np.bool_)
JOINS[list(b" .-/()_")] = True
WIDEST = 3
"""Separators in a row that keep groups together, as in ``+44 (0) 20``."""
CARD_SHORTEST, CARD_LONGEST = 13, 19
SHORTEST = 7
"""Digits of the shortest value."""


class Chain(NamedTuple):
    """Groups of digits.

    Attributes:
        groups: Where each begins and ends.
        text: The text of the chain, with its separators.
        cards: Groups from which 13 to 19 digits pass Luhn.
        persons: Groups from which nine or ten digits are laid out like numbers of persons.
    """

    groups: list[Span]
    text: bytes
    cards: list[int]
    persons: list[int]

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
    digits = np.zeros(len(text.array) + 2, np.bool_)
    np.less(text.array - ord("0"), 10, out=digits[1:-1])
    edges = np.flatnonzero(digits[1:] != digits[:-1])
    starts, ends = edges[::2], edges[1::2]
    if not len(starts):
        return
    first = np.flatnonzero(np.concatenate(([True], ~_joined(text, ends[:-1], starts[1:]))))
    last = np.append(first[1:], len(starts))
    sums = np.concatenate(([0], np.cumsum(ends - starts)))
    limits = np.repeat(last, last - first)
    values = text.array[digits[1:-1]] - ord("0")
    cards, persons = np.flatnonzero(_pass_luhn(values, sums, limits)), np.flatnonzero(_persons(ends - starts, limits))
    long = np.flatnonzero(sums[last] - sums[first] >= SHORTEST)
    first, last = first[long], last[long]
    marks = [np.searchsorted(flagged, edge).tolist() for flagged in (cards, persons) for edge in (first, last)]
    begins, stops = starts.tolist(), ends.tolist()
    for one, other, *bounds in zip(first.tolist(), last.tolist(), *marks, strict=True):
        groups = list(zip(begins[one:other], stops[one:other], strict=True))
        yield Chain(
            groups,
            text.data[groups[0][0] : groups[-1][1]],
            (cards[bounds[0] : bounds[1]] - one).tolist(),
            (persons[bounds[2] : bounds[3]] - one).tolist(),
        )


def _pass_luhn(values: Bytes, sums: Int64s, limits: Int64s) -> Bools:
    """Returns from which groups a run of them has 13 to 19 digits that pass Luhn.

    Args:
        values: All digits of the text.
        sums: ``(n + 1,)`` digits before each group.
        limits: ``(n,)`` the end of each group's chain.
    """
    doubled = np.where(values > 4, 2 * values - 9, 2 * values)
    even = np.arange(len(values)) % 2 == 0
    totals = np.zeros((2, len(values) + 1), np.int64)
    np.cumsum(np.where(even, doubled, values), out=totals[0, 1:])
    np.cumsum(np.where(even, values, doubled), out=totals[1, 1:])
    passes: Bools = np.zeros(len(limits), np.bool_)
    groups = np.arange(len(limits))
    for step in range(1, CARD_LONGEST + 1):
        groups = groups[groups + step <= limits[groups]]
        starts, stops = sums[groups], sums[groups + step]
        groups = groups[stops - starts <= CARD_LONGEST]
        starts, stops = sums[groups], sums[groups + step]
        parity = stops % 2
        right: Bools = (totals[parity, stops] - totals[parity, starts]) % 10 == 0
        passes[groups[right & (stops - starts >= CARD_SHORTEST)]] = True
    return passes


def _persons(sizes: Int64s, limits: Int64s) -> Bools:
    """Returns from which groups there are nine digits, or ten, in one group or in three as in numbers of persons."""
    padded = np.append(sizes, (0, 0))
    second, third = padded[1:-1], padded[2:]
    grouped = (sizes == 3) & ((second == 2) | (second == 3)) & (third == 4) & (np.arange(len(sizes)) + 3 <= limits)
    found: Bools = grouped | (sizes == 9) | (sizes == 10)
    return found


def _joined(text: JoinedText, ends: Int64s, starts: Int64s) -> Bools:
    """Returns which gaps between groups consist of separators."""
    gaps = starts - ends
    joined: Bools = (gaps <= WIDEST) & JOINS[text.array[ends]]
    for place in range(1, WIDEST):
        wide = np.flatnonzero(joined & (gaps > place))
        joined[wide] = JOINS[text.array[ends[wide] + place]]
    return joined
