"""Writes to the vault: of what comes again and again, only what is new and still permitted, once.

What is known to be held is remembered, until something is removed or judged anew by whomever.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from ...schemas.vault_entry import EntryKey
from .consent_ledger import ConsentLedger
from .consent_snapshot import ConsentSnapshot
from .distinct_candidates import CandidateIds, Candidates, Distinct, Identified, Rows, distinct
from .known_entries import UNKNOWN, KnownEntries
from .sealed_values import SealedValues
from .vault_following import followed, has_news
from .vault_judge import Judge, Rules
from .vault_table import Applied, VaultTable, persistently

__all__ = ["Moment", "VaultWriter", "Written"]

MANY = 20_000
"""Candidates of which the vault is not asked one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What came of a write; each candidate is counted once.

    Attributes:
        written: New entries.
        refreshed: Entries that were there and are judged by a later event time from now on.
        present: Candidates whose entry was there already, or was written or refreshed for another of them.
        refused: Candidates that are not held: the ledger, as it is now, permits them no more.
    """

    written: int = 0
    refreshed: int = 0
    present: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """What came of some entries: how many were written and refreshed, those now held, those that may not be."""

    written: int
    refreshed: int
    held: Distinct
    refused: Distinct


class Moment(NamedTuple):
    """By what a write is judged: arguments of ``Vault.write``."""

    ledger: ConsentLedger
    rules: Rules
    now: int
    clock: int


class VaultWriter:
    """Writes to a vault that has followed the ledger; for one thread at a time.

    Args:
        table: Where entries are.
        sealed: Seals their values.
    """

    def __init__(self, table: VaultTable, sealed: SealedValues) -> None:
        self._table = table
        self._sealed_values = sealed
        self._ids = CandidateIds()
        self._known = KnownEntries()
        self._known_as_of: Applied | None = None
        self._recalled = False

    def write(self, candidates: Sequence[Candidates], moment: Moment) -> Written:
        """Seals and adds what is new among the candidates and still permitted, as ``Vault.write`` says."""
        parts = [self._ids.of(part) for part in candidates if len(part.tokens)]
        self._remember_as_of(self._table.applied())
        fresh = distinct(parts := self._not_known(parts))
        passes = persistently(lambda: self._write_fresh(fresh, parts, moment)) if len(fresh) else []
        for kept in passes:
            self._known.note(kept.held.ids, kept.held.event_times)
        written, refreshed = sum(kept.written for kept in passes), sum(kept.refreshed for kept in passes)
        refused = int(fresh.counts.sum() - sum(kept.held.counts.sum() for kept in passes))
        everything = sum(len(part.tokens) for part in candidates)
        return Written(
            written=written,
            refreshed=refreshed,
            present=everything - written - refreshed - refused,
            refused=refused,
        )

    def _write_fresh(self, fresh: Distinct, parts: Sequence[Identified], moment: Moment) -> list[_Kept]:
        """Writes what may be held, in one transaction: beside others who do, if the vault has followed the ledger.

        Else it follows it first, alone: what is removed must not be added meanwhile by an older judgement.
        """
        ledger, rules, clock = moment.ledger, moment.rules, moment.clock
        with self._table.adding():
            snapshot, as_of = ledger.snapshot(), self._table.applied()
            if as_of is not None and clock <= as_of.at and not has_news(self._table, ledger, rules, clock):
                return self._judged_and_kept(fresh, parts, moment, snapshot)
        with self._table.writing():
            removed = followed(self._table, ledger, rules, clock)
            passes = self._judged_and_kept(fresh, parts, moment, ledger.snapshot())
        if removed:
            self._table.forget_deleted(at_once=False)
        return passes

    def _judged_and_kept(
        self, fresh: Distinct, parts: Sequence[Identified], moment: Moment, snapshot: ConsentSnapshot
    ) -> list[_Kept]:
        """Judges by a state of the ledger, and writes, inside the caller's transaction."""
        as_of = self._table.applied()
        self._remember_as_of(as_of)
        instants = frozenset({moment.now, moment.clock if as_of is None else as_of.at})
        return self._keep(fresh, parts, Judge(snapshot=snapshot, rules=moment.rules, instants=instants))

    def _not_known(self, parts: Sequence[Identified]) -> list[Identified]:
        """Returns the candidates that are not known to be held with their event time or a later one."""
        times = [self._known.times(part.ids) for part in parts]
        strangers = sum(int((each == UNKNOWN).sum()) for each in times)
        if strangers >= MANY and not self._recalled:
            self._recall(most=strangers)
            times = [self._known.times(part.ids) for part in parts]
        return [part.only(each < part.candidates.event_times) for part, each in zip(parts, times, strict=True)]

    def _recall(self, most: int) -> None:
        """Reads as many entries, to know them: cheaper than to ask for each."""
        self._recalled = True
        for entries in self._table.some(most):
            part = self._ids.of(entries.without_values())
            self._known.note(part.ids, part.candidates.event_times)

    def _remember_as_of(self, applied: Applied | None) -> None:
        """Forgets what is known to be held if something was removed, or judged anew, since it was noted."""
        if self._known_as_of != applied:
            self._known.clear()
            self._known_as_of = applied
            self._recalled = False

    def _keep(self, fresh: Distinct, parts: Sequence[Identified], judge: Judge) -> list[_Kept]:
        """Writes what is new and permitted, inside the caller's transaction."""
        first = self._kept(fresh, judge)
        if not len(first.refused):
            return [first]
        # The latest of an entry's event times may have lost its permission, and an earlier one not.
        permitted = distinct([part.only(judge.permits_each(part.candidates)) for part in parts])
        return [first, self._kept(permitted.matching(first.refused), judge)]

    def _kept(self, fresh: Distinct, judge: Judge) -> _Kept:
        keys, times = fresh.entry_keys(), fresh.event_times.tolist()
        stored = self._stored_times(fresh, keys)
        there = stored != UNKNOWN
        older = there & (stored < fresh.event_times)
        permitted = judge.permits_distinct(fresh, ~there | older)
        sealed = self._sealed(fresh, keys, np.flatnonzero(~there & permitted))
        refreshed = np.flatnonzero(older & permitted)
        written, met = self._table.insert([(keys[row], times[row], envelope) for row, envelope in sealed.items()])
        held = there & ~older
        held[list(sealed)] = True
        held[refreshed] = True
        return _Kept(
            written=written,
            refreshed=met + self._table.refresh([(keys[row], times[row]) for row in refreshed.tolist()]),
            # What is there may be judged by a later time than this one, which the next need not ask for again.
            held=replace(fresh, event_times=np.where(there & ~older, stored, fresh.event_times)).only(held),
            refused=fresh.only(~held),
        )

    def _stored_times(self, fresh: Distinct, keys: Sequence[EntryKey]) -> Rows:
        """Returns the event time that each entry has at least, ``UNKNOWN`` where it is not there."""
        stored = self._known.times(fresh.ids)
        asked = np.flatnonzero(stored == UNKNOWN).tolist()
        found = self._table.event_times([keys[row] for row in asked])
        stored[asked] = [UNKNOWN if time is None else time for time in found]
        return stored

    def _sealed(self, fresh: Distinct, keys: Sequence[EntryKey], rows: np.ndarray) -> dict[int, bytes]:
        """Returns the sealed values of new entries by row; none for subjects that were erased meanwhile."""
        chosen = rows.tolist()
        sealed = self._sealed_values.seal([keys[row] for row in chosen], fresh.values(rows))
        return {row: value for row, value in zip(chosen, sealed, strict=True) if value is not None}
