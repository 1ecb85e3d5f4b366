"""Remembers, within one process, entries that the vault is known to hold, so that a rerun need not ask it again.

A table of fixed size in numpy, looked up for whole columns at once. It may forget an entry, which costs one question
to the vault; it never claims one that was not noted (short of a collision of 128-bit MACs).
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["UNKNOWN", "KnownEntries"]

SLOTS = 1 << 20
"""32 MiB of memory."""
UNKNOWN = np.iinfo(np.int64).min
"""Earlier than all event times."""

Words = np.ndarray[Any, np.dtype[np.uint64]]
Times = np.ndarray[Any, np.dtype[np.int64]]
Rows = np.ndarray[Any, np.dtype[np.uint64]]


class KnownEntries:
    """Ids of entries, each with an event time that it has at least. Each id has two slots that it may stand in.

    Args:
        slots: A power of two.
    """

    def __init__(self, slots: int = SLOTS) -> None:
        self._mask = np.uint64(slots - 1)
        # Id, time and padding of a slot lie within one line of the processor's cache, and are fetched as one item.
        self._slots = np.zeros((slots, 4), np.uint64)
        self._items = self._slots.view("V32")[:, 0]
        self._filled: list[Rows] = []
        self._few = slots // 64

    def clear(self) -> None:
        """Forgets all; where little was noted, in the time that little takes."""
        if sum(map(len, self._filled)) > self._few:
            self._slots[:] = 0
        else:
            for places in self._filled:
                self._slots[places] = 0
        self._filled.clear()

    def times(self, ids: Words) -> Times:
        """Returns the event time that each entry is known to have at least, ``UNKNOWN`` where it is not known.

        Args:
            ids: ``uint64 (n, 2)``, as from a MAC; not zero.
        """
        found = self._times_in(ids, 0)
        rest = np.flatnonzero(found == UNKNOWN)
        if len(rest):
            found[rest] = self._times_in(ids[rest], 1)
        return found

    def note(self, ids: Words, times: Times) -> None:
        """Remembers entries; of two that want one slot, one stays."""
        first, second = self._places(ids, 0), self._places(ids, 1)
        there = self._slots[first]
        taken = there[:, :2].any(axis=1) & (there[:, :2] != ids).any(axis=1)
        places = np.where(taken, second, first)
        # One entry for each slot: with several, numpy does not say that ids and times are of the same one.
        places, rows = np.unique(places, return_index=True)
        self._slots[places, :2] = ids[rows]
        self._slots[places, 2] = times[rows].view(np.uint64)
        if sum(map(len, self._filled)) <= self._few:
            self._filled.append(places)

    def _times_in(self, ids: Words, side: int) -> Times:
        kept = self._items[self._places(ids, side)].view(np.uint64).reshape(-1, 4)
        same = (kept[:, 0] == ids[:, 0]) & (kept[:, 1] == ids[:, 1])
        return np.where(same, kept[:, 2].view(np.int64), UNKNOWN)

    def _places(self, ids: Words, side: int) -> Rows:
        return ids[:, side] & self._mask
