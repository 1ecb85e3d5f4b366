"""Consent entries as columns: what decisions need of them, without what is sealed.

Some 60 bytes for each entry, with room for new ones and an index by time, so that a ledger of millions of events is a
few hundred megabytes at most.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

__all__ = ["ERASED", "GRANTED", "WITHDRAWN", "ConsentColumns", "GrowingColumns", "reference_words"]

WITHDRAWN, GRANTED, ERASED = 0, 1, 2
"""Codes of decisions."""

SHARE, LEAST_UNSORTED = 32, 1_000
"""Instants are sorted anew when more entries than this, and than such a share of the sorted ones, are not."""

_ARRAYS = ("subjects", "purposes", "decisions", "effective_at")

Words = np.ndarray[Any, np.dtype[np.uint64]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentColumns:
    """Consent entries in the order of their positions, from position 1 on.

    Attributes:
        subjects: ``uint64 (n, 2)``: subject references as two words.
        purposes: ``uint16 (n,)``: places in ``names``.
        decisions: ``uint8 (n,)``: codes.
        effective_at: ``int64 (n,)``: microseconds UTC.
        names: The purposes that occur; an erasure's is empty.
    """

    subjects: Words
    purposes: np.ndarray[Any, np.dtype[np.uint16]]
    decisions: np.ndarray[Any, np.dtype[np.uint8]]
    effective_at: np.ndarray[Any, np.dtype[np.int64]]
    names: tuple[str, ...]

    @classmethod
    def empty(cls) -> ConsentColumns:
        """Returns columns of no entries."""
        return cls(
            subjects=np.empty((0, 2), np.uint64),
            purposes=np.empty(0, np.uint16),
            decisions=np.empty(0, np.uint8),
            effective_at=np.empty(0, np.int64),
            names=(),
        )

    def __len__(self) -> int:
        return len(self.decisions)

    def upto(self, position: int) -> ConsentColumns:
        """Returns the entries up to a position; nothing is copied."""
        return ConsentColumns(
            subjects=self.subjects[:position],
            purposes=self.purposes[:position],
            decisions=self.decisions[:position],
            effective_at=self.effective_at[:position],
            names=self.names,
        )

    def behind(self, position: int) -> ConsentColumns:
        """Returns the entries behind a position; nothing is copied."""
        return ConsentColumns(
            subjects=self.subjects[position:],
            purposes=self.purposes[position:],
            decisions=self.decisions[position:],
            effective_at=self.effective_at[position:],
            names=self.names,
        )

    def changed_subjects(self, *, after: int, since: int, until: int) -> set[bytes]:
        """Returns the references of subjects with news: entries after a position, or that took effect meanwhile.

        Args:
            after: The position up to which entries are known.
            since: The instant up to which entries have taken effect already.
            until: The instant now.
        """
        news = np.zeros(len(self), np.bool_)
        news[after:] = True
        news |= (self.effective_at > since) & (self.effective_at <= until)
        return _references(self.subjects[news])


class GrowingColumns:
    """The columns of a ledger as it grows; used under the ledger's lock.

    A few new entries cost what they are, not what there is: arrays have room behind the last entry, and instants are
    sorted anew only when the entries that are not have become a share of all. Columns once given out do not change.
    """

    def __init__(self) -> None:
        self._room = self._columns = ConsentColumns.empty()
        self._by_time = np.empty(0, np.int64)
        self._times = np.empty(0, np.int64)

    def __len__(self) -> int:
        return len(self._columns)

    def columns(self) -> ConsentColumns:
        """Returns all entries; nothing is copied."""
        return self._columns

    def extend(self, part: ConsentColumns) -> None:
        """Adds entries; their names are those of all so far, and new ones behind them."""
        start, end = len(self), len(self) + len(part)
        if end > len(self._room):
            self._room = _with_room(self._columns, end + end // 2)
        for name in _ARRAYS:
            getattr(self._room, name)[start:end] = getattr(part, name)
        self._columns = replace(self._room.upto(end), names=part.names)

    def changed_subjects(self, *, after: int, since: int, until: int) -> set[bytes]:
        """Returns what ``ConsentColumns.changed_subjects`` would, without looking at all entries."""
        if len(self) - len(self._by_time) > max(LEAST_UNSORTED, len(self._by_time) // SHARE):
            self._by_time = np.argsort(self._columns.effective_at, kind="stable")
            self._times = self._columns.effective_at[self._by_time]
        known = len(self._by_time)
        first, last = np.searchsorted(self._times, (since, until), side="right").tolist()
        subjects = self._columns.subjects
        rest = self._columns.behind(known).changed_subjects(after=max(after - known, 0), since=since, until=until)
        return rest | _references(subjects[self._by_time[first:last]]) | _references(subjects[after:known])


def reference_words(refs: pa.FixedSizeBinaryArray) -> Words:
    """Returns references of 16 bytes as ``uint64 (n, 2)``, in the order of their bytes; anything where null."""
    data = np.frombuffer(refs.buffers()[1] or b"", ">u8", 2 * len(refs), 16 * refs.offset)
    return data.astype(np.uint64).reshape(-1, 2)


def _with_room(columns: ConsentColumns, size: int) -> ConsentColumns:
    """Returns a copy with room for entries behind those that there are."""
    room = {name: np.empty((size, *getattr(columns, name).shape[1:]), getattr(columns, name).dtype) for name in _ARRAYS}
    for name, array in room.items():
        array[: len(columns)] = getattr(columns, name)
    return ConsentColumns(**room, names=columns.names)


def _references(words: Words) -> set[bytes]:
    raw = np.ascontiguousarray(words.astype(">u8")).view("V16").ravel()
    return {bytes(each) for each in np.unique(raw).tolist()}
