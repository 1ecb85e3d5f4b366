"""Remembers, within one process, entries that the vault is known to hold, so that a rerun need not ask it again.

A table of fixed size in numpy, looked up for whole columns at once. It may forget an entry, which costs one question
to the vault; it never claims one that was not noted (short of a collision of 128-bit MACs).
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["KnownEntries"]

SLOTS = 1 << 20
"""24 MiB of memory."""

Words = np.ndarray[Any, np.dtype[np.uint64]]
Times = np.ndarray[Any, np.dtype[np.int64]]
Bools = np.ndarray[Any, np.dtype[np.bool_]]


class KnownEntries:
    """Ids of entries, each with the event time that it is judged by. Each id has two slots that it may stand in.

    Args:
        slots: A power of two.
    """

    def __init__(self, slots: int = SLOTS) -> None:
        self._mask = np.uint64(slots - 1)
        self._ids = np.zeros((slots, 2), np.uint64)
        self._times = np.zeros(slots, np.int64)

    def clear(self) -> None:
        """Forgets all."""
        self._ids[:] = 0

    def holds(self, ids: Words, times: Times) -> Bools:
        """Returns which entries are known with at least this event time.

        Args:
            ids: ``uint64 (n, 2)``, as from a MAC.
            times: ``int64 (n,)``.
        """
        found = np.zeros(len(ids), np.bool_)
        for places in self._places(ids):
            kept = self._ids[places]
            found |= (kept[:, 0] == ids[:, 0]) & (kept[:, 1] == ids[:, 1]) & (self._times[places] >= times)
        return found

    def note(self, ids: Words, times: Times) -> None:
        """Remembers entries; of two that want one slot, one stays."""
        first, second = self._places(ids)
        taken = self._ids[first].any(axis=1) & (self._ids[first] != ids).any(axis=1)
        places = np.where(taken, second, first)
        # One entry for each slot: with several, numpy does not say that ids and times are of the same one.
        places, rows = np.unique(places, return_index=True)
        self._ids[places] = ids[rows]
        self._times[places] = times[rows]

    def _places(self, ids: Words) -> tuple[Words, Words]:
        return ids[:, 0] & self._mask, ids[:, 1] & self._mask
