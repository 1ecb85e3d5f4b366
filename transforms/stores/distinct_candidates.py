"""Candidates for the vault as columns, and which of them are distinct entries.

A run meets each customer's value over and over; what is sealed and stored is told apart here, for whole columns.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from ...schemas.vault_entry import EntryKey
from ..crypto.cmac_columns import ColumnCmac

__all__ = ["CandidateIds", "Candidates", "Distinct", "Identified", "StoredEntries", "distinct"]

Words = np.ndarray[Any, np.dtype[np.uint64]]
Rows = np.ndarray[Any, np.dtype[np.int64]]
Bools = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """Raw values of one field that the vault may hold, without nulls; never a Beam element, never pickled.

    Attributes:
        domain: Token domain.
        key_version: Version of the ``token`` key set that made the tokens.
        tokens: ``string``, canonical tokens.
        values: ``string``, canonical values.
        refs: ``fixed_size_binary(16)``, subject references.
        event_times: ``int64``, microseconds UTC, each permitted.
    """

    domain: str
    key_version: int
    tokens: pa.StringArray
    values: pa.StringArray
    refs: pa.FixedSizeBinaryArray
    event_times: Rows

    def since(self, oldest: int) -> Candidates:
        """Returns the candidates with this event time or a later one."""
        return self.only(self.event_times >= oldest)

    def only(self, chosen: Bools) -> Candidates:
        """Returns the chosen candidates."""
        if chosen.all():
            return self
        mask = pa.array(chosen)
        return replace(
            self,
            tokens=self.tokens.filter(mask),
            values=self.values.filter(mask),
            refs=self.refs.filter(mask),
            event_times=self.event_times[chosen],
        )

    def __repr__(self) -> str:
        return f"<Candidates: {len(self.tokens)} of domain {self.domain}; tokens and values hidden>"


@dataclass(frozen=True, slots=True)
class Identified:
    """Candidates with the ids of their entries.

    Attributes:
        candidates: ``n`` of them.
        ids: ``uint64 (n, 2)``.
    """

    candidates: Candidates
    ids: Words

    def __len__(self) -> int:
        return len(self.ids)

    def only(self, chosen: Bools) -> Identified:
        """Returns the chosen candidates."""
        return self if chosen.all() else Identified(self.candidates.only(chosen), self.ids[chosen])


class CandidateIds:
    """128-bit ids of entries within this process, from AES-CMAC by a key of its own.

    An id is the sum of two MACs and the subject reference, itself a MAC: of the token, and of domain and key version.
    All have keys that nobody outside knows, so that no one can make two entries meet.

    For all threads: a cipher context must not be shared, so each thread has one.
    """

    def __init__(self) -> None:
        self._key = os.urandom(16)
        self._of_thread = threading.local()

    def of(self, candidates: Candidates) -> Identified:
        """Returns the candidates with their ids."""
        if not hasattr(self._of_thread, "cmac"):
            self._of_thread.cmac = ColumnCmac(self._key)
        cmac: ColumnCmac = self._of_thread.cmac
        # What stands before a domain's name is in no token, so that the two kinds of message differ.
        field = pa.array([f"\0{candidates.key_version} {candidates.domain}".encode()], pa.binary())
        words = cmac.digest(candidates.tokens).view(np.uint64)
        words ^= cmac.digest(field).view(np.uint64)
        words ^= _words(candidates.refs)
        return Identified(candidates, words)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEntries:
    """Entries of one field that the vault holds, as columns without the sealed values.

    Attributes:
        domain: Token domain.
        key_version: Version of the ``token`` key set.
        tokens: ``n`` of them.
        subjects: ``16 n`` bytes, their subject references.
        event_times: ``n`` instants, microseconds UTC.
    """

    domain: str
    key_version: int
    tokens: Sequence[str]
    subjects: bytes
    event_times: Sequence[int]

    def without_values(self) -> Candidates:
        """Returns the entries as candidates whose values are not known."""
        count = len(self.tokens)
        return Candidates(
            domain=self.domain,
            key_version=self.key_version,
            tokens=pa.array(self.tokens, pa.string()),
            values=pa.nulls(count, pa.string()),
            refs=pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), count, [None, pa.py_buffer(self.subjects)]),
            event_times=np.array(self.event_times, np.int64),
        )


def _words(refs: pa.FixedSizeBinaryArray) -> Words:
    """Returns references without nulls as ``uint64 (n, 2)``."""
    data = np.frombuffer(refs.buffers()[1] or b"", np.uint64)
    return data[2 * refs.offset : 2 * (refs.offset + len(refs))].reshape(-1, 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Distinct:
    """Distinct entries among candidates.

    Attributes:
        ids: ``uint64 (n, 2)``.
        event_times: ``int64 (n,)``: the latest of each entry.
        counts: ``int64 (n,)``: how many candidates each entry is made of.
        parts: The candidates that they come from.
        part: ``int64 (n,)``: place among ``parts``.
        row: ``int64 (n,)``: row in the part.
    """

    ids: Words
    event_times: Rows
    counts: Rows
    parts: Sequence[Candidates]
    part: Rows
    row: Rows

    def __len__(self) -> int:
        return len(self.event_times)

    def only(self, chosen: Bools) -> Distinct:
        """Returns the chosen entries."""
        return Distinct(
            ids=self.ids[chosen],
            event_times=self.event_times[chosen],
            counts=self.counts[chosen],
            parts=self.parts,
            part=self.part[chosen],
            row=self.row[chosen],
        )

    def matching(self, others: Distinct) -> Distinct:
        """Returns the entries that are among others."""
        wanted = set(map(tuple, others.ids.tolist()))
        return self.only(np.array([tuple(each) in wanted for each in self.ids.tolist()], np.bool_))

    def entry_keys(self) -> list[EntryKey]:
        """Returns the key of each entry, in order."""
        found: list[EntryKey] = []
        for place, rows in self._by_part():
            part = self.parts[place]
            tokens, refs = part.tokens.take(rows).to_pylist(), part.refs.take(rows).to_pylist()
            found += [
                EntryKey(part.domain, token, part.key_version, ref) for token, ref in zip(tokens, refs, strict=True)
            ]
        return found

    def values(self, chosen: Rows) -> list[str]:
        """Returns the raw values of entries, in order.

        Args:
            chosen: Rows of this object, ascending.
        """
        found: list[str] = []
        for place, rows in self.only(_mask(chosen, len(self)))._by_part():
            found += self.parts[place].values.take(rows).to_pylist()
        return found

    @property
    def refs(self) -> pa.FixedSizeBinaryArray:
        """The subject references, in order."""
        found = [self.parts[place].refs.take(rows) for place, rows in self._by_part()]
        return pa.concat_arrays(found) if found else pa.array([], pa.binary(16))

    def by_domain(self, chosen: Bools) -> Iterator[tuple[str, Rows]]:
        """Yields each domain with the rows of its chosen entries."""
        for place, part in enumerate(self.parts):
            rows = np.flatnonzero(chosen & (self.part == place))
            if len(rows):
                yield part.domain, rows

    def _by_part(self) -> Iterator[tuple[int, pa.Array]]:
        """Yields each part that has entries here with their rows in it; parts stand in ascending order."""
        if not len(self):
            return
        places, starts = np.unique(self.part, return_index=True)
        for place, start, stop in zip(places.tolist(), starts, [*starts[1:], len(self)], strict=True):
            yield place, pa.array(self.row[start:stop])


def distinct(identified: Sequence[Identified]) -> Distinct:
    """Returns each entry once, with the latest of its event times."""
    parts = [part for part in identified if len(part)]
    sizes = [len(part) for part in parts]
    words = np.concatenate([part.ids for part in parts]) if parts else np.empty((0, 2), np.uint64)
    times = np.concatenate([part.candidates.event_times for part in parts]) if parts else np.empty(0, np.int64)
    order, first = _grouped(words)
    latest = np.maximum.reduceat(times[order], first) if len(first) else times
    kept = order[first]
    in_place = np.argsort(kept)
    kept = kept[in_place]
    part = np.repeat(np.arange(len(parts)), sizes)[kept]
    starts = np.cumsum([0, *sizes])[:-1].astype(np.int64)
    return Distinct(
        ids=words[kept],
        event_times=latest[in_place],
        counts=np.diff(first, append=len(order))[in_place],
        parts=[each.candidates for each in parts],
        part=part,
        row=kept - starts[part],
    )


def _grouped(ids: Words) -> tuple[Rows, Rows]:
    """Returns an order in which equal ids stand together, and where each group begins in it."""
    order = np.argsort(ids[:, 0])
    first_words = ids[order, 0]
    alike = first_words[1:] == first_words[:-1]
    if (ids[order[1:], 1] != ids[order[:-1], 1])[alike].any():  # one first word for two ids
        order = np.lexsort((ids[:, 1], ids[:, 0]))
        alike = (ids[order[1:]] == ids[order[:-1]]).all(axis=1)
    return order, np.flatnonzero(np.concatenate([[len(order) > 0], ~alike])[: len(order)])


def _mask(rows: Rows, length: int) -> Bools:
    found = np.zeros(length, np.bool_)
    found[rows] = True
    return found
