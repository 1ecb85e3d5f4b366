"""What the ledger knew at one position, and the one permission rule over it, for whole columns of records.

This is ``permits`` of CONTRACTS, used by batch, streams and detokenization alike. A decision is a function of the
instants asked for and of the entries up to the position, and of nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from ...schemas.info_types import Basis
from .consent_columns import ERASED, GRANTED, ConsentColumns, Words, reference_words

__all__ = ["NOBODY", "STRANGER", "ConsentSnapshot"]

STRANGER = -1
"""Located: a subject of whom the ledger knows nothing. Arrays by subject end with a row for it."""

NOBODY = -2
"""Located: no subject id at all."""

Rows = np.ndarray[Any, np.dtype[np.int64]]
Bools = np.ndarray[Any, np.dtype[np.bool_]]


class ConsentSnapshot:
    """The consent of all subjects as of one position of the ledger; immutable, shared by threads.

    It has two layers where it builds on an earlier snapshot: that one's, and a small one of what is newer. Both answer
    together, with what one of all entries would say.

    Args:
        columns: The ledger's entries up to the position.
        base: A snapshot of the first of these entries, whose old layer is shared; None: all are sorted anew.
    """

    def __init__(self, columns: ConsentColumns, *, base: ConsentSnapshot | None = None) -> None:
        self.position = len(columns)
        if base is None:
            self._old, self._new = _Layer(columns), _Layer(ConsentColumns.empty())
        else:
            self._old, self._new = base._old, _Layer(columns.behind(base._old.entries))
        self._place_in_old = np.append(self._old.find(self._new.words.T), STRANGER)

    def locate(self, refs: pa.FixedSizeBinaryArray) -> Rows:
        """Returns for each subject reference its place among the subjects, or ``STRANGER``, or ``NOBODY`` where null.

        Args:
            refs: ``fixed_size_binary(16)``.
        """
        wanted = reference_words(refs)
        # Places in the old layer come first; who is in the new one has a place there, whether in the old one or not.
        places, newer = self._old.find(wanted), self._new.find(wanted)
        places = np.where(newer == STRANGER, places, newer + self._old.subjects)
        if refs.null_count:
            places[~np.asarray(refs.is_valid())] = NOBODY
        return places

    def is_erased(self, refs: pa.FixedSizeBinaryArray) -> bool:
        """Returns whether all of some subjects are erased."""
        located = self.locate(refs)
        newer = np.where(located >= self._old.subjects, located - self._old.subjects, STRANGER)
        older = np.where(newer == STRANGER, np.maximum(located, STRANGER), self._place_in_old[newer])
        return bool((self._old.erased[older] | self._new.erased[newer]).all())

    def permits(self, purpose: str, basis: Basis, located: Rows, at: Rows, has_time: Bools) -> Bools:
        """Returns whether each subject permits a purpose at an instant.

        Args:
            purpose: Name of the purpose.
            basis: Its lawful basis.
            located: What ``locate`` gave, ``(n,)``.
            at: Microseconds UTC, ``(n,)``.
            has_time: False where there is no instant: then nothing is permitted, whatever the basis.
        """
        newer = np.where(located >= self._old.subjects, located - self._old.subjects, STRANGER)
        older = np.where(newer == STRANGER, np.maximum(located, STRANGER), self._place_in_old[newer])
        possible: Bools = has_time & (located != NOBODY) & ~self._old.erased[older] & ~self._new.erased[newer]
        if basis in (Basis.CONTRACT, Basis.LEGAL_OBLIGATION):
            return possible
        latest = _later(self._old.latest(purpose, older, at), self._new.latest(purpose, newer, at))
        if latest is None:
            return possible & (basis is Basis.LEGITIMATE_INTEREST)
        return possible & np.where(latest.said, latest.granted, basis is Basis.LEGITIMATE_INTEREST)

    def permits_record(
        self, purpose: str, basis: Basis, located: Rows, event_time: Rows, has_time: Bools, now: int
    ) -> Bools:
        """Returns whether each record is permitted: at its event time and at ``now``."""
        then = self.permits(purpose, basis, located, event_time, has_time)
        if basis in (Basis.CONTRACT, Basis.LEGAL_OBLIGATION):
            return then
        return then & self.permits(purpose, basis, located, np.full(len(located), now, np.int64), has_time)

    def permits_one_of(
        self, purposes: Iterable[tuple[str, Basis]], refs: pa.FixedSizeBinaryArray, event_time: Rows, now: int
    ) -> Bools:
        """Returns whether one of the purposes permits each record, at its event time and at ``now``."""
        located = self.locate(refs)
        known = np.ones(len(located), np.bool_)
        found = np.zeros(len(located), np.bool_)
        for purpose, basis in purposes:
            found |= self.permits_record(purpose, basis, located, event_time, known, now)
        return found


class _Latest(NamedTuple):
    """The latest decision of each subject at or before an instant: whether there is one, of when, and which."""

    said: Bools
    times: Rows
    granted: Bools


def _later(old: _Latest | None, new: _Latest | None) -> _Latest | None:
    """Returns the later of two decisions for each row; of two of one instant, a withdrawal wins."""
    if old is None or new is None:
        return old if new is None else new
    newer = new.said & (~old.said | (new.times > old.times))
    tied = old.said & new.said & (new.times == old.times)
    return _Latest(
        old.said | new.said,
        np.where(newer, new.times, old.times),
        np.where(newer, new.granted, old.granted & (new.granted | ~tied)),
    )


class _Layer:
    """Some entries, by subject.

    Args:
        columns: The entries.

    Attributes:
        entries: How many there are.
        words: ``uint64 (2, subjects)``: references, sorted.
        subjects: How many subjects there are.
        erased: ``(subjects + 1,)``; the last one is a stranger.
    """

    def __init__(self, columns: ConsentColumns) -> None:
        self.entries = len(columns)
        order = np.lexsort((columns.subjects[:, 1], columns.subjects[:, 0]))
        words = columns.subjects[order]
        first = np.ones(len(words), np.bool_)
        first[1:] = (words[1:] != words[:-1]).any(axis=1)
        self.words = np.ascontiguousarray(words[first].T)
        self.subjects: int = self.words.shape[1]
        owners = np.empty(len(words), np.int64)
        owners[order] = np.cumsum(first) - 1
        self.erased = np.zeros(self.subjects + 1, np.bool_)
        self.erased[owners[columns.decisions == ERASED]] = True
        # References are MACs and thus spread evenly: their first bits tell where to look, to a place or two.
        bits = max(1, self.subjects.bit_length())
        self._shift = np.uint64(64 - bits)
        self._begins = np.searchsorted(self.words[0], np.arange(1 << bits, dtype=np.uint64) << self._shift)
        # Two references with one first word are no more likely than a collision of hashes, but must not be mixed up.
        self._alike = bool((self.words[0, 1:] == self.words[0, :-1]).any())
        self._timelines = {
            name: _timeline(owners, columns, rows, self.subjects)
            for code, name in enumerate(columns.names)
            if name and len(rows := np.flatnonzero(columns.purposes == code))
        }

    def find(self, wanted: Words) -> Rows:
        """Returns the places of references, given as ``(n, 2)``, among the subjects, ``STRANGER`` for others."""
        places: Rows = np.full(len(wanted), STRANGER, np.int64)
        if self.subjects:
            found = self._searched(wanted)
            hit = (self.words[0, found] == wanted[:, 0]) & (self.words[1, found] == wanted[:, 1])
            places[hit] = found[hit]
        return places

    def latest(self, purpose: str, places: Rows, at: Rows) -> _Latest | None:
        """Returns the latest decisions about a purpose; None: there are none about it at all."""
        timeline = self._timelines.get(purpose)
        return None if timeline is None else _latest(timeline, places, at)

    def _searched(self, wanted: Words) -> Rows:
        last = self.subjects - 1
        found: Rows = np.minimum(self._begins[wanted[:, 0] >> self._shift], last)
        behind = np.flatnonzero(self.words[0, found] < wanted[:, 0])
        while len(behind):
            behind = behind[found[behind] < last]
            found[behind] += 1
            behind = behind[self.words[0, found[behind]] < wanted[behind, 0]]
        while self._alike:
            behind = (found < last) & (self.words[0, found] == wanted[:, 0]) & (self.words[1, found] < wanted[:, 1])
            if not behind.any():
                break
            found = found + behind
        return found


@dataclass(frozen=True, slots=True)
class _Timeline:
    """The decisions about one purpose: those of subject ``s`` are ``starts[s]`` to ``starts[s + 1]``, by time."""

    starts: Rows
    times: Rows
    granted: Bools


def _timeline(owners: Rows, columns: ConsentColumns, rows: Rows, subjects: int) -> _Timeline:
    """Sorts the decisions about one purpose; of several at one instant, a withdrawal wins."""
    owner, times = owners[rows], columns.effective_at[rows]
    granted = columns.decisions[rows] == GRANTED
    order = np.lexsort((times, owner))
    owner, times, granted = owner[order], times[order], granted[order]
    first = np.ones(len(rows), np.bool_)
    first[1:] = (owner[1:] != owner[:-1]) | (times[1:] != times[:-1])
    at = np.flatnonzero(first)
    if len(at) < len(rows):
        granted = np.logical_and.reduceat(granted, at)
    starts = np.zeros(subjects + 2, np.int64)
    np.cumsum(np.bincount(owner[at], minlength=subjects + 1), out=starts[1:])
    return _Timeline(starts, times[at], granted)


def _latest(timeline: _Timeline, places: Rows, at: Rows) -> _Latest:
    """Returns the latest decision at or before each instant."""
    # A stranger's place is -1: the end of all decisions, hence none.
    first = low = timeline.starts[places]
    high = timeline.starts[np.where(places < 0, STRANGER, places + 1)]
    while True:
        open_ = low < high
        if not open_.any():
            break
        middle = (low + high) >> 1
        past = open_ & (timeline.times[np.minimum(middle, len(timeline.times) - 1)] <= at)
        low = np.where(past, middle + 1, low)
        high = np.where(open_ & ~past, middle, high)
    found = np.maximum(low - 1, 0)
    return _Latest(low > first, timeline.times[found], timeline.granted[found])
