"""The vault: raw values, sealed under their subjects' data keys, held only while a purpose permits it.

The vault follows the ledger. It keeps which position, instant and rules its entries have been judged by, and before
every write, publication and detokenization judges again what has news, in the transaction of that act. So a
withdrawal, late ones included, purges what lost its last permission, even under a running job.

An envelope's associated data binds tenant, domain, key version, token and subject reference: entries cannot be
swapped. Not bound: the event time, which a later permitted record moves.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
import pyarrow as pa

from ...schemas.errors import IntegrityError, StoreLostError
from ...schemas.vault_entry import EntryKey, VaultEntry
from ..crypto.envelope import associated_data, bytes_field, open_each, open_sealed, seal, text_field, text_fields
from ..crypto.key_sets import VaultKeys
from .consent_ledger import ConsentLedger
from .consent_snapshot import ConsentSnapshot
from .data_keys import DataKeys
from .distinct_candidates import CandidateIds, Candidates, Distinct, Identified, Rows, StoredEntries, distinct
from .hash_chain import START
from .known_entries import UNKNOWN, KnownEntries
from .open_tables import open_vault_table
from .vault_judge import Judge, Rules, digest_of

__all__ = ["Applied", "Candidates", "Rules", "SealedEntry", "Vault", "VaultTable", "Written", "open_vault"]

MANY = 20_000
"""Candidates of which the vault is not asked one by one."""
PORTION = 20_000
"""Entries that are copied in one transaction."""
BEFORE_ALL = ("", b"")
TRIES = 3
"""How often a transaction is done that broke with its connection; a store waits for its server by itself."""

SealedEntry = tuple[EntryKey, int, bytes]
"""Key, event time, sealed value."""
Result = TypeVar("Result")


class Applied(NamedTuple):
    """What the entries have been judged by: ledger position and its link, instant, digest of the rules.

    ``purges`` counts how often entries were removed, so that who remembers entries learns of it.
    """

    position: int
    head: bytes
    at: int
    rules: str
    purges: int


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


class _Moment(NamedTuple):
    """By what a write is judged: arguments of ``Vault.write``."""

    ledger: ConsentLedger
    rules: Rules
    now: int
    clock: int


class TokenMove(Protocol):
    """Takes the tokens of a domain from one key version to another."""

    def moved(self, tokens: pa.StringArray) -> pa.StringArray:
        """Returns the new tokens; null where one is none of the old version."""
        ...

    def check(self, tokens: pa.StringArray, values: pa.StringArray) -> None:
        """Raises what stops the move where old tokens are not those of their values."""
        ...


class VaultTable(Protocol):
    """Where entries are; what a backend implements."""

    def close(self) -> None:
        """Closes the connection."""
        ...

    def size(self) -> int:
        """Returns the bytes that it takes."""
        ...

    def writing(self) -> AbstractContextManager[object]:
        """A transaction with no other writer."""
        ...

    def adding(self) -> AbstractContextManager[object]:
        """A transaction with no other writer but such as add, too: what was applied stays, and nothing is removed."""
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

    def find_many(self, domain: str, tokens: Sequence[str]) -> list[VaultEntry]:
        """Returns the entries of some tokens of a domain, of all versions and subjects, in any order."""
        ...

    def event_times(self, keys: Sequence[EntryKey]) -> list[int | None]:
        """Returns for each key the event time of its entry, None where there is none."""
        ...

    def insert(self, entries: Sequence[SealedEntry]) -> tuple[int, int]:
        """Adds entries that are not there.

        Returns:
            How many were added; and how many another writer had added meanwhile, with an earlier time, refreshed now.
        """
        ...

    def refresh(self, times: Sequence[tuple[EntryKey, int]]) -> int:
        """Sets the event times of entries that have an earlier one, and returns how many had."""
        ...

    def judged(self, subjects: Iterable[bytes] | None) -> Iterator[list[tuple[EntryKey, int]]]:
        """Yields keys and event times of the subjects' entries (None: of all), some thousand at a time."""
        ...

    def stored(self) -> Iterator[list[SealedEntry]]:
        """Yields all entries in the order of the bytes of their keys, some thousand at a time."""
        ...

    def counts(self) -> list[tuple[str, int, int]]:
        """Returns domain, key version and number of entries of each field."""
        ...

    def some(self, most: int) -> Iterable[StoredEntries]:
        """Returns entries as columns, by domain and key version; all, where there are no more than ``most``."""
        ...

    def of_version(self, domain: str, key_version: int, *, after: tuple[str, bytes], most: int) -> list[VaultEntry]:
        """Returns entries of a domain and key version behind a token and subject, in their order."""
        ...

    def delete_version(self, domain: str, key_version: int) -> int:
        """Removes the entries of a domain and key version, and returns how many."""
        ...

    def delete(self, keys: Sequence[EntryKey]) -> None:
        """Removes entries."""
        ...

    def delete_older(self, oldest: Mapping[str, int]) -> int:
        """Removes the entries of domains with an earlier event time than given, and returns how many."""
        ...

    def forget_deleted(self) -> bool:
        """Leaves nothing of what was removed in the files; returns whether it could, else it is made up for later."""
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
        self._recalled = False
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

    def find_many(
        self, domain: str, tokens: Sequence[str], key_version: int | None = None
    ) -> dict[str, list[VaultEntry]]:
        """Returns the entries of tokens, of one key version or of all; of each token by key version and subject.

        Args:
            domain: Of the tokens.
            tokens: Each once.
            key_version: None: all.

        Returns:
            By token; those without an entry are not there.

        Raises:
            StoreError: The vault cannot be read.
        """
        found: dict[str, list[VaultEntry]] = {}
        # In order, so that a store larger than its cache reads each of its pages once.
        for entry in self._table.find_many(domain, sorted(tokens)):
            if key_version is None or key_version == entry.key_version:
                found.setdefault(entry.token, []).append(entry)
        for entries in found.values():
            if len(entries) > 1:
                entries.sort(key=lambda entry: (entry.key_version, entry.subject_ref))
        return found

    def open_values(self, entries: Sequence[VaultEntry]) -> list[str | None]:
        """Returns the canonical value of each entry, as ``open_value`` does, with one look-up of the data keys.

        Returns:
            None for an entry that was changed or moved, or whose data key was, or is gone.

        Raises:
            StoreError: The data keys cannot be read.
        """
        keys = self._keys_of([entry.subject_ref for entry in entries])
        tokens = text_fields([entry.token for entry in entries])
        opened = open_each(
            [keys.get(entry.subject_ref) for entry in entries],
            [entry.sealed for entry in entries],
            [
                self._bound_field(entry.domain, entry.key_version) + token + bytes_field(entry.subject_ref)
                for entry, token in zip(entries, tokens, strict=True)
            ],
        )
        return [None if value is None else value.decode() for value in opened]

    def _keys_of(self, subjects: Sequence[bytes]) -> Mapping[bytes, bytes]:
        """Returns the data keys of subjects; one that was changed is not there, and costs the others nothing."""
        try:
            return self._data_keys.keys_for(sorted(set(subjects)), create=False)
        except IntegrityError:
            if len(set(subjects)) == 1:
                return {}
        half = len(subjects) // 2
        return {**self._keys_of(subjects[:half]), **self._keys_of(subjects[half:])}

    def open_value(self, entry: VaultEntry) -> str:
        """Returns the canonical value of an entry.

        Raises:
            IntegrityError: The entry or its data key was changed, moved or destroyed.
        """
        key = self._data_keys.keys_for([entry.subject_ref], create=False).get(entry.subject_ref)
        if key is None:
            raise IntegrityError("vault: the data key of an entry's subject is gone, so its value cannot be opened")
        return open_sealed(key, entry.sealed, self._bound(entry.key)).decode()

    def entries_of(self, reference: bytes) -> list[VaultEntry]:
        """Returns all entries of a subject.

        Raises:
            StoreError: The vault cannot be read.
        """
        keys = [key for entries in self._table.judged([reference]) for key, _ in entries]
        found = {entry.key: entry for key in keys for entry in self._table.find(key.domain, key.token)}
        return [found[key] for key in keys if key in found]

    def remove_subject(self, reference: bytes) -> int:
        """Removes all entries of a subject for good, and returns how many there were.

        Raises:
            StoreError: The vault cannot be written.
        """
        with self._lock, self._table.writing():
            keys = [key for entries in self._table.judged([reference]) for key, _ in entries]
            self._table.delete(keys)
            applied = self._table.applied()
            if keys and applied is not None:
                self._table.set_applied(applied._replace(purges=applied.purges + 1))
        self._table.forget_deleted()
        return len(keys)

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
            if not self._has_news(ledger, rules, now):
                return 0
            removed = _persistently(lambda: self._followed_alone(ledger, rules, now))
            if removed:
                self._table.forget_deleted()
            return removed

    def sweep(self, oldest: Mapping[str, int]) -> int:
        """Removes the values whose time is over, and returns how many.

        Args:
            oldest: By token domain, the earliest event time that is kept.
        """
        with self._lock:
            removed = _persistently(lambda: self._swept(oldest))
        if removed:
            self._table.forget_deleted()
        return removed

    def _swept(self, oldest: Mapping[str, int]) -> int:
        with self._table.writing():
            removed = self._table.delete_older(oldest)
            self._note_purge(removed)
            return removed

    def counts(self) -> dict[tuple[str, int], int]:
        """Returns how many entries there are of each domain and key version of the ``token`` key set."""
        return {(domain, key_version): count for domain, key_version, count in self._table.counts()}

    def copy_version(self, domain: str, old: int, new: int, move: TokenMove) -> int:
        """Seals the entries of one key version for their tokens under another, beside the old ones.

        Doing it again, also after it was interrupted, adds only what is missing.

        Args:
            domain: Token domain.
            old: Key version of the entries.
            new: Key version of their copies.
            move: From ``old`` to ``new``.

        Returns:
            How many entries were added.

        Raises:
            IntegrityError: An entry was changed, or its token is none of the version; what was copied stays.
            StoreError: The vault cannot be used.
        """
        added, after = 0, BEFORE_ALL
        while True:
            # Read and written in one transaction: what is purged meanwhile must not come back as a copy.
            with self._lock, self._table.writing():
                entries = self._table.of_version(domain, old, after=after, most=PORTION)
                if not entries:
                    return added
                added += self._copied(entries, new, move)
                after = entries[-1].token, entries[-1].subject_ref

    def replace_version(
        self, domain: str, old: int, new: int, move: TokenMove, *, is_needed: Callable[[], bool]
    ) -> tuple[int, int]:
        """Copies the entries of one key version to another, as ``copy_version`` does, and then removes the old ones.

        Args:
            domain: Token domain.
            old: Key version of the entries.
            new: Key version of their copies.
            move: From ``old`` to ``new``.
            is_needed: Asked in the transaction that removes, in which nobody adds: whether they must stay after all.

        Returns:
            How many entries were added, and how many were removed.

        Raises:
            IntegrityError: As ``copy_version``.
            StoreError: The vault cannot be used.
        """
        added, removed = self.copy_version(domain, old, new, move), 0
        with self._lock, self._table.writing():
            if not is_needed():
                added += self.copy_version(domain, old, new, move)  # what was written since
                removed = self._table.delete_version(domain, old)
                self._note_purge(removed)
        if removed:
            self._table.forget_deleted()
        return added, removed

    def forget_removed(self) -> bool:
        """Leaves nothing in the files of the values that were removed, by whomever.

        Returns:
            Whether it could: not while another program reads an older state of the store.
        """
        with self._lock:
            return self._table.forget_deleted()

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
        parts = [self._ids.of(part) for part in candidates if len(part.tokens)]
        clock = now if clock is None else clock
        with self._lock:
            self.follow(ledger, rules, clock)
            self._remember_as_of(self._table.applied())
            fresh = distinct(parts := self._not_known(parts))
            moment = _Moment(ledger, rules, now, clock)
            passes = _persistently(lambda: self._write_fresh(fresh, parts, moment)) if len(fresh) else []
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

    def _note_purge(self, removed: int) -> None:
        """Tells those who remember entries that some are gone, inside the caller's transaction."""
        applied = self._table.applied()
        if removed and applied is not None:
            self._table.set_applied(applied._replace(purges=applied.purges + 1))

    def _copied(self, entries: Sequence[VaultEntry], new: int, move: TokenMove) -> int:
        """Adds the copies of entries that are not there, inside the caller's transaction."""
        tokens = move.moved(pa.array([entry.token for entry in entries], pa.string())).to_pylist()
        if None in tokens:
            raise IntegrityError(
                f"vault: domain {entries[0].domain!r} has an entry whose token is none of key version "
                f"{entries[0].key_version}; restore the vault, or the keyring that made it"
            )
        keys = [
            EntryKey(entry.domain, token, new, entry.subject_ref) for entry, token in zip(entries, tokens, strict=True)
        ]
        pairs = list(zip(entries, keys, self._table.event_times(keys), strict=True))
        self._table.refresh(
            [(key, entry.event_time) for entry, key, time in pairs if time is not None and time < entry.event_time]
        )
        missing = [(entry, key) for entry, key, time in pairs if time is None]
        added, _ = self._table.insert(self._resealed(missing, move))
        return added

    def _resealed(self, missing: Sequence[tuple[VaultEntry, EntryKey]], move: TokenMove) -> list[SealedEntry]:
        """Returns entries sealed for other keys; none for subjects that were erased: their values are noise."""
        data_keys = self._data_keys.keys_for([entry.subject_ref for entry, _ in missing], create=False)
        opened = [
            (entry, key, data_key, open_sealed(data_key, entry.sealed, self._bound(entry.key)))
            for entry, key in missing
            if (data_key := data_keys.get(entry.subject_ref)) is not None
        ]
        tokens = pa.array([entry.token for entry, *_ in opened], pa.string())
        move.check(tokens, pa.array([value.decode() for *_, value in opened], pa.string()))
        return [
            (key, entry.event_time, seal(data_key, value, self._bound(key))) for entry, key, data_key, value in opened
        ]

    def _write_fresh(self, fresh: Distinct, parts: Sequence[Identified], moment: _Moment) -> list[_Kept]:
        """Writes what may be held, in one transaction: beside others who do, if the vault has followed the ledger.

        Else it follows it first, alone: what is removed must not be added meanwhile by an older judgement.
        """
        ledger, rules, clock = moment.ledger, moment.rules, moment.clock
        with self._table.adding():
            snapshot, as_of = ledger.snapshot(), self._table.applied()
            if as_of is not None and clock <= as_of.at and not self._has_news(ledger, rules, clock):
                return self._judged_and_kept(fresh, parts, moment, snapshot)
        with self._table.writing():
            removed = self._followed(ledger, rules, clock)
            passes = self._judged_and_kept(fresh, parts, moment, ledger.snapshot())
        if removed:
            self._table.forget_deleted()
        return passes

    def _judged_and_kept(
        self, fresh: Distinct, parts: Sequence[Identified], moment: _Moment, snapshot: ConsentSnapshot
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

    def _has_news(self, ledger: ConsentLedger, rules: Rules, now: int) -> bool:
        applied = self._table.applied()
        if applied is None or applied.rules != digest_of(rules) or applied.position != ledger.position():
            return True
        if ledger.head(applied.position) != applied.head:
            raise _another_ledger()
        return bool(ledger.changed_subjects(after=applied.position, since=applied.at, until=now))

    def _followed_alone(self, ledger: ConsentLedger, rules: Rules, now: int) -> int:
        with self._table.writing():
            return self._followed(ledger, rules, now)

    def _followed(self, ledger: ConsentLedger, rules: Rules, now: int) -> int:
        """Judges again inside the caller's transaction. Time never goes back: a clock that lags counts for nothing."""
        snapshot, digest = ledger.snapshot(), digest_of(rules)
        before = self._table.applied()
        if before is not None and ledger.head(before.position) != before.head:
            raise _another_ledger()
        at = now if before is None else max(now, before.at)
        judge = Judge(snapshot=snapshot, rules=rules, instants=frozenset({at}))
        removed = 0
        for entries in self._table.judged(_affected(ledger, before, digest, at)):
            lost = judge.lost(entries)
            self._table.delete(lost)
            removed += len(lost)
        purges = (0 if before is None else before.purges) + bool(removed)
        latest = Applied(snapshot.position, ledger.head(snapshot.position) or START, at, digest, purges)
        if latest != before:
            self._table.set_applied(latest)
        return removed

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
        field = self._bound_field(key.domain, key.key_version)
        return field + text_field(key.token) + bytes_field(key.subject_ref)

    def _bound_field(self, domain: str, key_version: int) -> bytes:
        found = self._bound_to.get((domain, key_version))
        if found is None:
            found = associated_data("vault-entry", self._tenant, domain, key_version)
            self._bound_to[domain, key_version] = found
        return found


def open_vault(uri: str, keys: VaultKeys, data_keys: DataKeys, *, create: bool = False) -> Vault:
    """Returns the vault of a project.

    Args:
        uri: ``sqlite:FILE`` or ``postgresql://…``.
        keys: Of the tenant.
        data_keys: Open, of the same project.
        create: Whether a missing store is made.

    Raises:
        StoreError: The store is missing, damaged, locked or cannot be reached.
        ConfigError: The URI names no store.
    """
    return Vault(open_vault_table(uri, create=create), keys, data_keys)


def _persistently(work: Callable[[], Result]) -> Result:
    """Returns what a transaction comes to, done again if its connection broke: it was undone, or all it does is done.

    Raises:
        StoreLostError: It broke each time.
    """
    for left in reversed(range(TRIES)):
        try:
            return work()
        except StoreLostError:
            if not left:
                raise
    raise AssertionError("the last try returns or raises")


def _affected(ledger: ConsentLedger, applied: Applied | None, digest: str, at: int) -> set[bytes] | None:
    """Returns the subjects whose entries are to be judged again; None: all."""
    if applied is None:  # nothing was ever written
        return set()
    if applied.rules != digest:
        return None
    return ledger.changed_subjects(after=applied.position, since=applied.at, until=at)


def _another_ledger() -> IntegrityError:
    return IntegrityError(
        "vault: has followed another ledger than this, or a newer state of it; restore the newest ledger",
        reason="ledger_rolled_back",
    )
