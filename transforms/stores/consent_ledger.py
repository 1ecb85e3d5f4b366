"""The consent ledger: what customers said, append-only, hash-chained and pseudonymous.

An entry holds a keyed subject reference; source and evidence are sealed under the subject's data key, so that erasing
a subject makes them noise while the chain over the stored form stays whole. Entries are read and their links checked
once in a process; from then on the ledger answers from columns in memory and reads only what is new.
"""

from __future__ import annotations

import json
import struct
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple, Protocol

import numpy as np
import pyarrow as pa

from ...schemas.consent import ConsentEvent, Decision
from ...schemas.errors import InputError, StoreError
from ..crypto.cmac_columns import ColumnCmac
from ..crypto.envelope import associated_data, open_sealed, seal
from ..crypto.key_sets import VaultKeys
from ..crypto.subject_references import canonical_subjects, subject_references
from .consent_columns import ERASED, GRANTED, WITHDRAWN, ConsentColumns
from .consent_snapshot import ConsentSnapshot
from .data_keys import DataKeys
from .hash_chain import START, Verified, broken_chain, links
from .sqlite_database import sqlite_path

__all__ = ["Appended", "ConsentLedger", "LedgerEntry", "LedgerTable", "open_ledger"]

STORE = "ledger"
CHUNK = 20_000
ERASURE = "erased"
CODES = {Decision.WITHDRAWN.value: WITHDRAWN, Decision.GRANTED.value: GRANTED, ERASURE: ERASED}

_FIXED = struct.Struct(">qqq16s16sBI")


@dataclass(frozen=True, slots=True, kw_only=True)
class Appended:
    """What came of an append: events added, and events that were known already."""

    added: int
    known: int


class LedgerEntry(NamedTuple):
    """One row of the ledger; ``decision`` may also be ``erased``, ``chain`` is the entry's link."""

    position: int
    event_id: bytes
    subject: bytes
    purpose: str
    decision: str
    effective_at: int
    recorded_at: int
    sealed: bytes
    chain: bytes


class LedgerTable(Protocol):
    """Where entries are; what a backend implements."""

    def close(self) -> None:
        """Closes the connection."""
        ...

    def writing(self) -> AbstractContextManager[object]:
        """A transaction with no other writer."""
        ...

    def last(self) -> tuple[int, bytes] | None:
        """Returns position and link of the last entry."""
        ...

    def after(self, position: int) -> Iterator[list[LedgerEntry]]:
        """Yields the entries after a position, in order, some thousand at a time, as one state of the store."""
        ...

    def known(self, event_ids: Sequence[bytes]) -> set[bytes]:
        """Returns those of the ids that are there."""
        ...

    def insert(self, entries: Sequence[LedgerEntry]) -> None:
        """Adds entries."""
        ...

    def of_subject(self, reference: bytes) -> list[LedgerEntry]:
        """Returns the entries of one subject, in order."""
        ...


class ConsentLedger:
    """The ledger of a tenant; shared by threads.

    Args:
        table: Where entries are.
        keys: The reference key, and the key of event ids.
        data_keys: The subjects' keys, under which source and evidence are sealed.
    """

    def __init__(self, table: LedgerTable, keys: VaultKeys, data_keys: DataKeys) -> None:
        self._table = table
        self._tenant = keys.tenant
        self._reference_key = keys.reference_key
        self._ids = ColumnCmac(keys.derive_root("consent-event"))
        self._data_keys = data_keys
        self._lock = threading.RLock()
        self._columns = ConsentColumns.empty()
        self._heads: dict[int, bytes] = {0: START}
        self._names: dict[str, int] = {}
        self._snapshot: ConsentSnapshot | None = None

    def close(self) -> None:
        """Closes the store."""
        self._table.close()

    def position(self) -> int:
        """Returns the position of the newest entry, 0 where there is none.

        Raises:
            StoreError: The ledger cannot be read.
        """
        last = self._table.last()
        return 0 if last is None else last[0]

    def append(self, events: Iterable[ConsentEvent], *, now: int) -> Appended:
        """Adds the events that are not known yet, all of them or none.

        Args:
            events: In the order in which they become entries. Alike in subject, purpose, decision, effective_at and
                source is known.
            now: Microseconds UTC; the time of recording of events that name none.

        Raises:
            InputError: A subject is blank.
            StoreError: The ledger cannot be written.
        """
        added = known = 0
        stream = iter(events)
        with self._lock, self._table.writing():
            last = self._table.last()
            position, head = (0, START) if last is None else last
            while chunk := list(islice(stream, CHUNK)):
                entries = self._entries(chunk, position, head, now)
                self._table.insert(entries)
                added += len(entries)
                known += len(chunk) - len(entries)
                position, head = (entries[-1].position, entries[-1].chain) if entries else (position, head)
        return Appended(added=added, known=known)

    def record_erasure(self, reference: bytes, at: int) -> None:
        """Adds that a subject was erased: from then on nothing of theirs is permitted. Again is no change."""
        event_id = self._event_ids([associated_data(ERASURE, reference)])[0]
        with self._lock, self._table.writing():
            if self._table.known([event_id]):
                return
            position, head = self._table.last() or (0, START)
            erasure = LedgerEntry(position + 1, event_id, reference, "", ERASURE, at, at, b"", b"")
            self._table.insert(_linked([erasure], head))

    def snapshot(self, position: int | None = None) -> ConsentSnapshot:
        """Returns what the ledger knew at a position, by default the newest.

        Raises:
            IntegrityError: An entry was changed, moved or taken out.
            StoreError: The ledger cannot be read, or does not reach that far.
        """
        with self._lock:
            columns = self._read()
            wanted = len(columns) if position is None else position
            if wanted > len(columns):
                raise StoreError(f"ledger: has {len(columns)} entries, not {wanted}; restore the newest one")
            if self._snapshot is None or self._snapshot.position != wanted:
                self._snapshot = ConsentSnapshot(columns.upto(wanted))
            return self._snapshot

    def head(self, position: int) -> bytes | None:
        """Returns the link of the entry at a position that this process has read to; None where there is none."""
        with self._lock:
            self._read()
            if position not in self._heads and 0 < position <= len(self._columns):
                self._heads[position] = next(self._table.after(position - 1))[0].chain
            return self._heads.get(position)

    def changed_subjects(self, *, after: int, since: int, until: int) -> set[bytes]:
        """Returns the subjects of entries after a position, and of those that took effect in (since, until]."""
        with self._lock:
            return self._read().changed_subjects(after=after, since=since, until=until)

    def events_of(self, subject: str) -> list[ConsentEvent]:
        """Returns the events of one subject in the order of recording; an erased subject's are unreadable.

        Raises:
            IntegrityError: A sealed part was changed.
        """
        (reference,) = subject_references(pa.array([subject], pa.string()), self._reference_key).to_pylist()
        entries = [] if reference is None else self._table.of_subject(reference)
        key = self._data_keys.keys_for([reference], create=False).get(reference) if entries else None
        return [self._event(subject, entry, key) for entry in entries if entry.decision != ERASURE]

    def verify(self) -> Verified:
        """Recomputes the whole chain.

        Raises:
            IntegrityError: An entry was changed, moved or taken out; names the first.
        """
        count, head = 0, START
        for entries in self._table.after(0):
            count, head = _checked(entries, count, head)
        last = self._table.last()
        if last is not None and last[0] < count:
            raise broken_chain(STORE, count)
        return Verified(entries=count, head=head)

    def _read(self) -> ConsentColumns:
        """Reads and checks what is new, and returns all columns."""
        count = len(self._columns)
        if self.position() < count:
            raise broken_chain(STORE, count)
        parts, head = [self._columns], self._heads[count]
        for entries in self._table.after(count):
            count, head = _checked(entries, count, head)
            parts.append(self._as_columns(entries))
        if len(parts) > 1:
            self._columns = ConsentColumns.joined(parts)
            self._heads[count] = head
        return self._columns

    def _as_columns(self, entries: Sequence[LedgerEntry]) -> ConsentColumns:
        words = np.frombuffer(b"".join([entry.subject for entry in entries]), ">u8").astype(np.uint64).reshape(-1, 2)
        codes = [self._names.setdefault(entry.purpose, len(self._names)) for entry in entries]
        return ConsentColumns(
            subjects=words,
            purposes=np.array(codes, np.uint16),
            decisions=np.array([CODES[entry.decision] for entry in entries], np.uint8),
            effective_at=np.array([entry.effective_at for entry in entries], np.int64),
            names=tuple(self._names),
        )

    def _entries(self, events: Sequence[ConsentEvent], position: int, head: bytes, now: int) -> list[LedgerEntry]:
        """Returns the entries of the events that are new, linked."""
        subjects = pa.array([event.subject for event in events], pa.string())
        references = subject_references(canonical_subjects(subjects), self._reference_key).to_pylist()
        if None in references:
            raise InputError("subject: is blank in a consent event; every event names its subject")
        ids = self._event_ids(
            [
                associated_data(reference, event.purpose, event.decision.value, event.effective_at, event.source)
                for event, reference in zip(events, references, strict=True)
            ]
        )
        seen = self._table.known(ids)
        new: dict[bytes, int] = {}
        for row, event_id in enumerate(ids):
            if event_id not in seen:
                new.setdefault(event_id, row)
        keys = self._data_keys.keys_for(sorted({references[row] for row in new.values()}), create=True)
        rows: list[LedgerEntry] = []
        for event_id, row in new.items():
            event, reference = events[row], references[row]
            sealed = self._sealed(event, event_id, keys.get(reference))
            rows.append(
                LedgerEntry(
                    position=position + len(rows) + 1,
                    event_id=event_id,
                    subject=reference,
                    purpose=event.purpose,
                    decision=event.decision.value,
                    effective_at=event.effective_at,
                    recorded_at=now if event.recorded_at is None else event.recorded_at,
                    sealed=sealed,
                    chain=b"",
                )
            )
        return _linked(rows, head)

    def _event_ids(self, identities: list[bytes]) -> list[bytes]:
        digests = self._ids.digest(pa.array(identities, pa.binary()))
        return [bytes(digest) for digest in digests]

    def _sealed(self, event: ConsentEvent, event_id: bytes, key: bytes | None) -> bytes:
        if key is None:  # erased: there is no key, and there will be none
            return b""
        plaintext = json.dumps([event.source, event.evidence], ensure_ascii=False).encode("utf-8", "surrogatepass")
        return seal(key, plaintext, self._bound(event_id))

    def _bound(self, event_id: bytes) -> bytes:
        return associated_data("consent-event", self._tenant, event_id)

    def _event(self, subject: str, entry: LedgerEntry, key: bytes | None) -> ConsentEvent:
        source, evidence = "[erased]", None
        if key is not None and entry.sealed:
            plaintext = open_sealed(key, entry.sealed, self._bound(entry.event_id))
            source, evidence = json.loads(plaintext.decode("utf-8", "surrogatepass"))
        return ConsentEvent(
            subject=subject,
            purpose=entry.purpose,
            decision=Decision(entry.decision),
            effective_at=entry.effective_at,
            recorded_at=entry.recorded_at,
            source=source,
            evidence=evidence,
        )


def open_ledger(uri: str, keys: VaultKeys, data_keys: DataKeys, *, create: bool = False) -> ConsentLedger:
    """Returns the ledger of a project.

    Args:
        uri: ``sqlite:FILE``.
        keys: Of the tenant.
        data_keys: Open, of the same project.
        create: Whether a missing store is made.

    Raises:
        StoreError: The store is missing, damaged or locked.
        ConfigError: The URI names no store of this version.
    """
    from .sqlite_ledger import SqliteLedgerTable

    return ConsentLedger(SqliteLedgerTable(sqlite_path(uri, store=STORE), create=create), keys, data_keys)


def _body(entry: LedgerEntry) -> bytes:
    """Returns an entry as it is chained: fixed fields, length of the purpose, purpose, sealed bytes."""
    position, event_id, subject, purpose, decision, effective_at, recorded_at, sealed, _ = entry
    name = purpose.encode()
    fixed = _FIXED.pack(position, effective_at, recorded_at, event_id, subject, CODES[decision], len(name))
    return fixed + name + sealed


def _linked(entries: Sequence[LedgerEntry], head: bytes) -> list[LedgerEntry]:
    found = links(head, map(_body, entries))
    return [entry._replace(chain=link) for entry, link in zip(entries, found, strict=True)]


def _checked(entries: Sequence[LedgerEntry], count: int, head: bytes) -> tuple[int, bytes]:
    """Returns position and link of the last entry, if all follow on ``count`` and ``head``."""
    try:
        found = links(head, map(_body, entries))
    except (struct.error, TypeError, AttributeError, KeyError, ValueError):
        raise broken_chain(STORE, count + 1) from None
    for place, (entry, link) in enumerate(zip(entries, found, strict=True), start=count + 1):
        if entry.position != place or entry.chain != link:
            raise broken_chain(STORE, place)
    return count + len(entries), found[-1]
