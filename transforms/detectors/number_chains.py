"""Chains: groups of digits with nothing but separators between them, found in a whole text by numpy.

Cards, telephone numbers and personal numbers are written so. A chain may hold several values, and words may part what
belongs together: who reads it tries runs of groups.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ..values.byte_rows import Bools, Bytes, Int64s
from .joined_text import WORD, JoinedText, Span
from .number_words import PHONE

__all__ = ["LISTED_WITHIN", "Chain", "chains"]

JOINS = np.zeros(256, np.bool_)
JOINS[list(b" .-/()_")] = True
IN_WORDS = np.zeros(256, np.bool_)
IN_WORDS[list(WORD)] = True
WIDEST = 3
"""Separators in a row that keep groups together, as in ``+44 (0) 20``."""
CARD_SHORTEST, CARD_LONGEST = 13, 19
SHORTEST = 7
"""Digits of the shortest value."""
LISTED_WITHIN = 12
"""Bytes between two telephone numbers of a list."""
WORD_BEFORE, WORD_BEHIND = 48, 24
"""Bytes around a telephone number within which a word for it may stand, and some more."""
LAID_OUT = range(9, 15), range(2, 6)
"""Digits and groups of chains that may be telephone numbers by their layout alone."""
FAR = 30
"""Groups between a number and a word outside its chain, so that the word says nothing of it."""


class Chain(NamedTuple):
    """Groups of digits.

    Attributes:
        groups: Where each begins and ends.
        text: The text of the chain, with its separators.
        cards: Groups from which 13 to 19 digits pass Luhn.
        persons: Groups from which nine or ten digits are laid out like numbers of persons.
        phones: Groups from which a telephone number may begin, those of a list apart: after a plus or two zeros, near
            a word for it, or as the first of a layout.
    """

    groups: Sequence[Span]
    text: bytes
    cards: Sequence[int]
    persons: Sequence[int]
    phones: Sequence[int]

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
    """Yields the chains of a text with seven digits and more in which there may be a value."""
    digits = np.zeros(len(text.array) + 2, np.bool_)
    np.less(text.array - ord("0"), 10, out=digits[1:-1])
    edges = np.flatnonzero(digits[1:] != digits[:-1])
    starts, ends = edges[::2], edges[1::2]
    if not len(starts):
        return
    first = np.flatnonzero(np.concatenate(([True], ~_joined(text, ends[:-1], starts[1:]))))
    last = np.append(first[1:], len(starts))
    sums = np.concatenate(([0], np.cumsum(ends - starts)))
    firsts, limits = np.repeat(first, last - first), np.repeat(last, last - first)
    values = text.array[digits[1:-1]] - ord("0")
    flags = (
        _pass_luhn(values, sums, limits),
        _persons(ends - starts, limits),
        _phones(text, starts, ends, sums, firsts, limits),
    )
    worth = np.logical_or.reduceat(flags[0] | flags[1], first) | _listed(
        np.logical_or.reduceat(flags[2], first), starts[first[1:]] - ends[last[:-1] - 1]
    )
    chosen = np.flatnonzero(worth & (sums[last] - sums[first] >= SHORTEST))
    first, last = first[chosen], last[chosen]
    begins, stops = starts.tolist(), ends.tolist()
    marks = [_marks(flagged, firsts, first, last) for flagged in flags]
    for one, other, cards, persons, phones in zip(first.tolist(), last.tolist(), *marks, strict=True):
        groups = tuple(zip(begins[one:other], stops[one:other], strict=True))
        yield Chain(groups, text.data[groups[0][0] : groups[-1][1]], cards, persons, phones)


def _marks(flagged: Bools, firsts: Int64s, first: Int64s, last: Int64s) -> Iterator[Sequence[int]]:
    """Returns for each chain which of its groups are flagged, counted from its first."""
    places = np.flatnonzero(flagged)
    within = tuple((places - firsts[places]).tolist())  # of tuples the empty ones cost nothing
    edges = zip(np.searchsorted(places, first).tolist(), np.searchsorted(places, last).tolist(), strict=True)
    return (within[one:other] for one, other in edges)


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
    groups = np.flatnonzero(sums[limits] - sums[:-1] >= CARD_SHORTEST)
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


def _phones(text: JoinedText, starts: Int64s, ends: Int64s, sums: Int64s, firsts: Int64s, limits: Int64s) -> Bools:
    """Returns from which groups a telephone number may begin, those apart that only stand in a list.

    Args:
        text: Where the groups are.
        starts: ``(n,)`` where each begins.
        ends: ``(n,)`` where each ends.
        sums: ``(n + 1,)`` digits before each.
        firsts: ``(n,)`` the first group of each one's chain.
        limits: ``(n,)`` the end of each one's chain.
    """
    padded = np.concatenate((np.zeros(2, np.uint8), text.array, np.zeros(2, np.uint8)))
    lead, lead_of_it = padded[starts + 1], padded[starts]
    plus = (lead == ord("+")) | ((lead == ord("(")) & (lead_of_it == ord("+")))
    zeros = (padded[starts + 2] == ord("0")) & (padded[starts + 3] == ord("0"))
    groups = np.arange(len(starts))
    digits, size, final = sums[limits] - sums[firsts], limits - firsts, sums[limits] - sums[limits - 1]
    laid_out = (groups == firsts) & _within(digits, LAID_OUT[0]) & _within(size, LAID_OUT[1])
    laid_out &= (padded[starts + 2] == ord("0")) | ((final == 4) & (digits <= 11))
    near = (groups - firsts < FAR) | (limits - groups <= FAR)
    named = near & PHONE.stand_in(text, starts - WORD_BEFORE, ends[limits - 1] + WORD_BEHIND)
    apart = ~IN_WORDS[padded[starts[firsts] + 1]]
    found: Bools = (sums[limits] - sums[groups] >= SHORTEST) & (plus | zeros | (apart & (laid_out | named)))
    return found


def _listed(phones: Bools, gaps: Int64s) -> Bools:
    """Returns which chains may have a telephone number, those in a list behind one that may have one too.

    Args:
        phones: ``(n,)`` which may have one by themselves.
        gaps: ``(n - 1,)`` bytes between each two.
    """
    close = np.flatnonzero(gaps <= LISTED_WITHIN)
    found = phones.copy()
    while len(close := close[found[close] & ~found[close + 1]]):
        found[close + 1] = True
        close = close + 1
        close = close[close < len(gaps)]
        close = close[gaps[close] <= LISTED_WITHIN]
    return found


def _within(values: Int64s, bounds: range) -> Bools:
    found: Bools = (values >= bounds.start) & (values < bounds.stop)
    return found


def _joined(text: JoinedText, ends: Int64s, starts: Int64s) -> Bools:
    """Returns which gaps between groups consist of separators."""
    gaps = starts - ends
    joined: Bools = (gaps <= WIDEST) & JOINS[text.array[ends]]
    for place in range(1, WIDEST):
        wide = np.flatnonzero(joined & (gaps > place))
        joined[wide] = JOINS[text.array[ends[wide] + place]]
    return joined
