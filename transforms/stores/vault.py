"""The vault: raw values, sealed under their subjects' data keys, held only while a purpose permits it.

The vault follows the ledger. It keeps which position, instant and rules its entries have been judged by, and before
every write, publication and detokenization judges again what has news, in the transaction of that act. So a
withdrawal, late ones included, purges what lost its last permission, even under a running job.

An envelope's associated data binds tenant, domain, key version, token and subject reference: entries cannot be
swapped. Not bound: the event time, which a later permitted record moves.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa

from ...schemas.errors import IntegrityError
from ...schemas.info_types import Basis
from ...schemas.vault_entry import EntryKey, VaultEntry
from ..crypto.envelope import associated_data, open_sealed, seal
from ..crypto.key_sets import VaultKeys
from .consent_ledger import ConsentLedger
from .consent_snapshot import ConsentSnapshot
from .data_keys import DataKeys
from .distinct_candidates import CandidateIds, Candidates, Distinct, distinct
from .hash_chain import START
from .known_entries import KnownEntries
from .sqlite_database import sqlite_path

__all__ = ["Applied", "Candidates", "Rules", "Vault", "VaultTable", "Written", "open_vault"]

STORE = "vault"

Rules = Mapping[str, Sequence[tuple[str, Basis]]]
"""By token domain: the purposes of which one must permit, with their bases. A domain without any holds nothing."""


class Applied(NamedTuple):
    """What the entries have been judged by: ledger position and its link, instant, digest of the rules."""

    position: int
    head: bytes
    at: int
    rules: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What came of a write, in distinct entries.

    Attributes:
        written: New ones.
        refreshed: There already, and judged by a later event time from now on.
        present: There already, unchanged.
        refused: Not written: the ledger, as it is now, permits them no more.
    """

    written: int = 0
    refreshed: int = 0
    present: int = 0
    refused: int = 0


class VaultTable(Protocol):
    """Where entries are; what a backend implements."""

    def close(self) -> None:
        """Closes the connection."""
        ...

    def writing(self) -> AbstractContextManager[object]:
        """A transaction with no other writer."""
        ...

    def applied(self) -> Applied | None:
        """Returns what the entries have been judged by; None: nothing yet."""
        ...

    def set_applied(self, applied: Applied) -> None:
        """Notes what the entries have been judged by."""
        ...

    def find(self, domain: str, token: str) -> list[VaultEntry]:
        """Returns the entries of a token, of all versions and subjects."""
        ...

    def event_times(self, keys: Sequence[EntryKey]) -> list[int | None]:
        """Returns for each key the event time of its entry, None where there is none."""
        ...

    def insert(self, entries: Sequence[tuple[EntryKey, int, bytes]]) -> None:
        """Adds entries that are not there: key, event time, sealed value."""
        ...

    def refresh(self, times: Sequence[tuple[EntryKey, int]]) -> None:
        """Sets the event times of entries."""
        ...

    def judged(self, subjects: Iterable[bytes] | None) -> Iterator[list[tuple[EntryKey, int]]]:
        """Yields keys and event times of the subjects' entries (None: of all), some thousand at a time."""
        ...

    def delete(self, keys: Sequence[EntryKey]) -> None:
        """Removes entries."""
        ...

    def forget_deleted(self) -> None:
        """Leaves nothing of what was removed in the files."""
        ...


class Vault:
    """The vault of a tenant; shared by threads.

    Args:
        table: Where entries are.
        keys: Of the tenant.
        data_keys: The subjects' keys.
    """

    def __init__(self, table: VaultTable, keys: VaultKeys, data_keys: DataKeys) -> None:
        self._table = table
        self._tenant = keys.tenant
        self._data_keys = data_keys
        self._ids = CandidateIds()
        self._known = KnownEntries()
        self._known_as_of: Applied | None = None
        self._bound_to: dict[tuple[str, int], bytes] = {}
        self._lock = threading.RLock()

    def close(self) -> None:
        """Closes the store."""
        self._table.close()

    def find(self, domain: str, token: str, key_version: int | None = None) -> list[VaultEntry]:
        """Returns the entries of a token, of one key version or of all.

        Raises:
            StoreError: The vault cannot be read.
        """
        return [entry for entry in self._table.find(domain, token) if key_version in (None, entry.key_version)]

    def open_value(self, entry: VaultEntry) -> str:
        """Returns the canonical value of an entry.

        Raises:
            IntegrityError: The entry or its data key was changed, moved or destroyed.
        """
        key = self._data_keys.keys_for([entry.subject_ref], create=False).get(entry.subject_ref)
        if key is None:
            raise IntegrityError("vault: the data key of an entry's subject is gone, so its value cannot be opened")
        return open_sealed(key, entry.sealed, self._bound(entry.key)).decode()

    def follow(self, ledger: ConsentLedger, rules: Rules, now: int) -> int:
        """Judges again what has news in the ledger, has come into effect, or is under new rules.

        Args:
            ledger: Of the same tenant.
            rules: Of the policy in force.
            now: Microseconds UTC.

        Returns:
            How many entries lost their last permission and were removed.

        Raises:
            IntegrityError: The ledger is not the one that was followed so far, or an older state of it.
            StoreError: Vault or ledger cannot be used.
        """
        with self._lock:
            digest = _digest(rules)
            if not self._has_news(ledger, digest, now):
                return 0
            with self._table.writing():
                removed = self._followed(ledger, rules, digest, now)
            if removed:
                self._table.forget_deleted()
            return removed

    def write(
        self,
        candidates: Sequence[Candidates],
        *,
        ledger: ConsentLedger,
        rules: Rules,
        now: int,
        clock: int | None = None,
    ) -> Written:
        """Seals and adds what is new among the candidates and still permitted, whatever they were decided by.

        Doing it again, in any order and by any number of programs, leaves one entry for each key.

        Args:
            candidates: Raw values with their tokens; permitted when they were decided.
            ledger: As for ``follow``, which comes first.
            rules: As for ``follow``.
            now: Microseconds UTC, the instant of the run's decisions.
            clock: The time now; default ``now``. The vault holds only what is permitted at both.

        Raises:
            IntegrityError: As ``follow``; or a data key was changed.
            StoreError: Vault, ledger or data keys cannot be used.
        """
        wanted = distinct(candidates, self._ids)
        clock = now if clock is None else clock
        with self._lock:
            self.follow(ledger, rules, clock)
            applied = self._table.applied()
            if self._known_as_of != applied:
                self._known.clear()
                self._known_as_of = applied
            fresh = wanted.only(~self._known.holds(wanted.ids, wanted.event_times))
            known = len(wanted) - len(fresh)
            if not len(fresh):
                return Written(present=known)
            with self._table.writing():
                self._followed(ledger, rules, _digest(rules), clock)
                written = self._written(fresh, ledger.snapshot(), rules, now=now, clock=clock)
            self._known_as_of = self._table.applied()
            return Written(
                written=written.written,
                refreshed=written.refreshed,
                present=written.present + known,
                refused=written.refused,
            )

    def _has_news(self, ledger: ConsentLedger, digest: str, now: int) -> bool:
        applied = self._table.applied()
        if applied is None or applied.rules != digest or applied.position != ledger.position():
            return True
        if ledger.head(applied.position) != applied.head:
            raise _another_ledger()
        return bool(ledger.changed_subjects(after=applied.position, since=applied.at, until=now))

    def _followed(self, ledger: ConsentLedger, rules: Rules, digest: str, now: int) -> int:
        """Judges again inside the caller's transaction."""
        snapshot = ledger.snapshot()
        applied = self._table.applied()
        if applied is not None and ledger.head(applied.position) != applied.head:
            raise _another_ledger()
        at = now if applied is None else max(now, applied.at)
        removed = 0
        for entries in self._table.judged(_affected(ledger, applied, digest, at)):
            lost = _lost(entries, snapshot, rules, {now, at})
            self._table.delete(lost)
            removed += len(lost)
        latest = Applied(snapshot.position, ledger.head(snapshot.position) or START, at, digest)
        if latest != applied:
            self._table.set_applied(latest)
        if removed:
            self._known.clear()
        return removed

    def _written(self, fresh: Distinct, snapshot: ConsentSnapshot, rules: Rules, *, now: int, clock: int) -> Written:
        keys = fresh.entry_keys()
        stored = self._table.event_times(keys)
        there = np.array([time is not None for time in stored], np.bool_)
        held = np.array([0 if time is None else time for time in stored], np.int64)
        older = there & (held < fresh.event_times)
        changes = ~there | older
        permitted = changes.copy()
        for domain, rows in fresh.by_domain(changes):
            refs, times = fresh.refs.take(pa.array(rows)), fresh.event_times[rows]
            for instant in {now, clock}:
                permitted[rows] &= snapshot.permits_one_of(rules.get(domain, ()), refs, times, instant)
        sealed = self._sealed(fresh, keys, np.flatnonzero(~there & permitted))
        refreshed = np.flatnonzero(older & permitted)
        times = fresh.event_times.tolist()
        self._table.insert([(keys[row], times[row], envelope) for row, envelope in sealed.items()])
        self._table.refresh([(keys[row], times[row]) for row in refreshed.tolist()])
        done = there & ~older
        done[list(sealed)] = True
        done[refreshed] = True
        self._known.note(fresh.ids[done], fresh.event_times[done])
        return Written(
            written=len(sealed),
            refreshed=len(refreshed),
            present=int((there & ~older).sum()),
            refused=int(len(fresh) - done.sum()),
        )

    def _sealed(self, fresh: Distinct, keys: Sequence[EntryKey], rows: Any) -> dict[int, bytes]:
        """Returns the sealed values of new entries by row; none for subjects that were erased meanwhile."""
        data_keys = self._data_keys.keys_for([keys[row].subject_ref for row in rows.tolist()], create=True)
        entries: dict[int, bytes] = {}
        for row, value in zip(rows.tolist(), fresh.values(rows), strict=True):
            key = keys[row]
            if key.subject_ref in data_keys:
                entries[row] = seal(data_keys[key.subject_ref], value.encode(), self._bound(key))
        return entries

    def _bound(self, key: EntryKey) -> bytes:
        field = (key.domain, key.key_version)
        if field not in self._bound_to:
            self._bound_to[field] = associated_data("vault-entry", self._tenant, *field)
        return self._bound_to[field] + associated_data(key.token, key.subject_ref)


def open_vault(uri: str, keys: VaultKeys, data_keys: DataKeys, *, create: bool = False) -> Vault:
    """Returns the vault of a project.

    Args:
        uri: ``sqlite:FILE``.
        keys: Of the tenant.
        data_keys: Open, of the same project.
        create: Whether a missing store is made.

    Raises:
        StoreError: The store is missing, damaged or locked.
        ConfigError: The URI names no store of this version.
    """
    from .sqlite_vault import SqliteVaultTable

    return Vault(SqliteVaultTable(sqlite_path(uri, store=STORE), create=create), keys, data_keys)


def _affected(ledger: ConsentLedger, applied: Applied | None, digest: str, at: int) -> set[bytes] | None:
    """Returns the subjects whose entries are to be judged again; None: all."""
    if applied is None:  # nothing was ever written
        return set()
    if applied.rules != digest:
        return None
    return ledger.changed_subjects(after=applied.position, since=applied.at, until=at)


def _lost(
    entries: Sequence[tuple[EntryKey, int]], snapshot: ConsentSnapshot, rules: Rules, instants: set[int]
) -> list[EntryKey]:
    """Returns the entries that no purpose permits at one of the instants."""
    permitted = np.ones(len(entries), np.bool_)
    domains = np.array([key.domain for key, _ in entries], object)
    refs = pa.array([key.subject_ref for key, _ in entries], pa.binary(16))
    times = np.array([time for _, time in entries], np.int64)
    for domain in set(domains):
        rows = np.flatnonzero(domains == domain)
        for instant in instants:
            permitted[rows] &= snapshot.permits_one_of(
                rules.get(domain, ()), refs.take(pa.array(rows)), times[rows], instant
            )
    return [entries[row][0] for row in np.flatnonzero(~permitted).tolist()]


def _digest(rules: Rules) -> str:
    told = (
        associated_data(domain, *(each for purpose in purposes for each in purpose))
        for domain, purposes in sorted(rules.items())
    )
    return hashlib.sha256(b"".join(associated_data(each) for each in told)).hexdigest()


def _another_ledger() -> IntegrityError:
    return IntegrityError(
        "vault: has followed another ledger than this, or a newer state of it; restore the newest ledger",
        reason="ledger_rolled_back",
    )
