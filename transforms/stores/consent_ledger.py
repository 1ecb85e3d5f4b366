"""The consent ledger: what customers said, append-only, hash-chained and pseudonymous.

An entry holds a keyed subject reference; source, evidence and the subject's id are sealed under the subject's data
key, so that erasing a subject makes them noise while the chain over the stored form stays whole. Entries are read and
their links checked once in a process; from then on the ledger answers from columns in memory and reads only what is
new.
"""

from __future__ import annotations

import hashlib
import json
import struct
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import pyarrow as pa

from ...schemas.consent import ConsentEvent, Decision
from ...schemas.errors import InputError, IntegrityError, StoreError
from ..crypto.cmac_columns import ColumnCmac
from ..crypto.envelope import associated_data, open_sealed, seal
from ..crypto.key_sets import VaultKeys
from ..crypto.subject_references import subject_reference, subject_references
from .consent_columns import ERASED, GRANTED, WITHDRAWN, ConsentColumns, GrowingColumns
from .consent_entry import TAG_BYTES, ConsentEntry, columns_of, tags_of
from .consent_snapshot import ConsentSnapshot
from .data_keys import DataKeys
from .hash_chain import START, Verified, broken_chain, links
from .ledger_table import LedgerTable, StoredEntry
from .open_tables import open_ledger_table

__all__ = ["Appended", "ConsentLedger", "KnownSubjects", "LedgerTable", "StoredEntry", "open_ledger"]

STORE = "ledger"
CHUNK = 20_000
SHARE, LEAST_NEWER = 32, 1_000
"""All entries are sorted anew when more than this, and than such a share of those sorted, are newer."""
KEPT = 2
"""Snapshots that are kept: that of a run, and the newest, by which the vault judges."""
KEPT_HEADS = 1_000
"""Links of positions to which this process has read, the newest; of others the store is asked."""

CODES = {Decision.WITHDRAWN: WITHDRAWN, Decision.GRANTED: GRANTED}
DECISIONS = {code: decision for decision, code in CODES.items()}

_IDENTITY = struct.Struct(">16sqBI")
_encoded = json.JSONEncoder(ensure_ascii=True).encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Appended:
    """What came of an append: events added, and events that were known already."""

    added: int
    known: int


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class KnownSubjects:
    """Whom the ledger has events of.

    Attributes:
        references: 16 bytes each, of the living.
        ids: As their events wrote them, in the same order.
        erased: References of the erased, whose ids nobody can read.
    """

    references: tuple[bytes, ...]
    ids: tuple[str, ...]
    erased: frozenset[bytes]

    def __repr__(self) -> str:
        return f"<KnownSubjects: {len(self.ids)} living, {len(self.erased)} erased; ids hidden>"


class ConsentLedger:
    """The ledger of a tenant; shared by threads.

    Args:
        table: Where entries are.
        keys: The reference key, and the key of event ids.
        data_keys: The subjects' keys, under which source, evidence and id are sealed.
    """

    def __init__(self, table: LedgerTable, keys: VaultKeys, data_keys: DataKeys) -> None:
        self._table = table
        self._bound_to = associated_data("consent-event", keys.tenant)
        self._reference_key = keys.reference_key
        self._ids = ColumnCmac(keys.derive_root("consent-event"))
        self._tags = ColumnCmac(keys.derive_root("consent-entry"))
        self._data_keys = data_keys
        self._lock = threading.RLock()
        self._columns = GrowingColumns()
        self._heads: dict[int, bytes] = {0: START}
        self._names: dict[bytes, int] = {}
        self._base = ConsentSnapshot(ConsentColumns.empty())
        self._snapshots: dict[int, ConsentSnapshot] = {}

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
            position, head = self._table.last() or (0, START)
            while chunk := list(islice(stream, CHUNK)):
                entries = self._new_entries(chunk, now)
                position, head = self._insert(entries, position, head)
                added += len(entries)
                known += len(chunk) - len(entries)
        return Appended(added=added, known=known)

    def record_erasure(self, reference: bytes, at: int) -> None:
        """Adds that a subject was erased: from then on nothing of theirs is permitted. Again is no change."""
        (event_id,) = self._event_ids([associated_data("erased", reference)])
        erasure = ConsentEntry(
            event_id=event_id,
            subject=reference,
            purpose="",
            decision=ERASED,
            effective_at=at,
            recorded_at=at,
            sealed=b"",
        )
        with self._lock, self._table.writing():
            if not self._table.known([event_id]):
                self._insert([erasure], *(self._table.last() or (0, START)))

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
            if wanted not in self._snapshots:
                if len(self._snapshots) == KEPT:
                    del self._snapshots[next(iter(self._snapshots))]
                self._snapshots[wanted] = self._new_snapshot(columns.upto(wanted))
            return self._snapshots[wanted]

    def head(self, position: int) -> bytes | None:
        """Returns the link of the entry at a position that this process has read to; None where there is none."""
        with self._lock:
            if position > len(self._read()):
                return None
            if position == 0:
                return START
            return self._heads.get(position) or self._table.link(position)

    def changed_subjects(self, *, after: int, since: int, until: int) -> set[bytes]:
        """Returns the subjects of entries after a position, and of those that took effect in (since, until]."""
        with self._lock:
            self._read()
            return self._columns.changed_subjects(after=after, since=since, until=until)

    def events_of(self, subject: str) -> list[ConsentEvent]:
        """Returns the events of one subject in the order of recording; an erased subject's are unreadable.

        Raises:
            IntegrityError: A sealed part was changed.
        """
        reference = subject_reference(subject, self._reference_key)
        if reference is None:
            return []
        entries = [self._believed(*row, reference) for row in self._table.of_subject(reference)]
        key = self._data_keys.keys_for([reference], create=False).get(reference)
        return [self._event(subject, entry, key) for entry in entries if entry.decision != ERASED]

    def known_subjects(self) -> KnownSubjects:
        """Returns whom the ledger has events of, with the ids of the living opened; memory grows with their number.

        Raises:
            IntegrityError: An entry or a sealed part was changed.
        """
        ids: dict[bytes, str] = {}
        erased: set[bytes] = set()
        count, head = 0, START
        with self._lock:
            for rows in self._table.after(0):
                count, head = self._checked(rows, count, head)
                entries = [ConsentEntry.parse(packed) for _, packed, _ in rows if packed is not None]
                erased |= {entry.subject for entry in entries if entry.decision == ERASED}
                ids |= self._ids_in(entry for entry in entries if entry.sealed and entry.subject not in ids)
        living = {reference: subject for reference, subject in ids.items() if reference not in erased}
        return KnownSubjects(references=tuple(living), ids=tuple(living.values()), erased=frozenset(erased))

    def _ids_in(self, entries: Iterable[ConsentEntry]) -> dict[bytes, str]:
        """Returns the ids of subjects by reference, each from one of the entries; none of those without a key."""
        one: dict[bytes, ConsentEntry] = {}
        for entry in entries:
            one.setdefault(entry.subject, entry)
        keys = self._data_keys.keys_for(list(one), create=False)
        found = {
            reference: self._opened(entry, keys[reference])[2] for reference, entry in one.items() if reference in keys
        }
        references = subject_references(pa.array(found.values(), pa.string()), self._reference_key).to_pylist()
        if references != list(found):
            raise IntegrityError("ledger: a consent event names another subject than it is of; restore the ledger")
        return found

    def verify(self) -> Verified:
        """Recomputes the whole chain.

        Raises:
            IntegrityError: An entry was changed, moved or taken out; names the first.
        """
        count, head = 0, START
        with self._lock:
            self._still_there()
            for rows in self._table.after(0):
                count, head = self._checked(rows, count, head)
        return Verified(entries=count, head=head)

    def _read(self) -> ConsentColumns:
        """Reads and checks what is new, and returns all columns."""
        self._still_there()
        count = len(self._columns)
        parts, head = [], self._heads[count]
        for rows in self._table.after(count):
            count, head = self._checked(rows, count, head)
            parts.append(columns_of([packed for _, packed, _ in rows if packed is not None], self._names))
        for part in parts:
            self._columns.extend(part)
        self._heads[count] = head
        while len(self._heads) > KEPT_HEADS:  # a stream reads on for months
            del self._heads[next(iter(self._heads))]
        return self._columns.columns()

    def _new_snapshot(self, columns: ConsentColumns) -> ConsentSnapshot:
        """Returns the snapshot of some entries, built on the base where few are newer."""
        newer = len(columns) - self._base.position
        if newer < 0:
            return ConsentSnapshot(columns)
        if newer > max(LEAST_NEWER, self._base.position // SHARE):
            self._base = ConsentSnapshot(columns)
            return self._base
        return ConsentSnapshot(columns, base=self._base)

    def _believed(self, position: int, packed: bytes, subject: bytes) -> ConsentEntry:
        """Returns the entry at a position, if it bears our tag and is of the subject."""
        if isinstance(packed, bytes) and len(packed) > TAG_BYTES:
            with self._lock:
                (tag,) = tags_of([packed[:-TAG_BYTES]], position, self._tags)
            if packed[-TAG_BYTES:] == tag and (entry := ConsentEntry.parse(packed)).subject == subject:
                return entry
        raise broken_chain(STORE, position)

    def _still_there(self) -> None:
        """Refuses a ledger whose end is no more what this process has read."""
        count = len(self._columns)
        if count and self._table.link(count) != self._heads[count]:
            raise broken_chain(STORE, count)

    def _checked(self, rows: Sequence[tuple[int, bytes | None, bytes]], count: int, head: bytes) -> tuple[int, bytes]:
        """Returns position and link of the last row, if all follow on ``count`` and ``head`` and bear our tags."""
        sha256, first, entries = hashlib.sha256, count + 1, []
        for place, packed, link in rows:
            count += 1
            if not isinstance(packed, bytes) or place != count:
                raise broken_chain(STORE, count)
            head = sha256(head + packed).digest()
            if head != link:
                raise broken_chain(STORE, count)
            entries.append(packed)
        tags = tags_of([packed[:-TAG_BYTES] for packed in entries], first, self._tags)
        for place, (packed, tag) in enumerate(zip(entries, tags, strict=True), first):
            if packed[-TAG_BYTES:] != tag:
                raise broken_chain(STORE, place)
        return count, head

    def _insert(self, entries: Sequence[ConsentEntry], position: int, head: bytes) -> tuple[int, bytes]:
        """Adds entries behind a position, and returns position and link of the last."""
        bodies = [entry.body() for entry in entries]
        tags = tags_of(bodies, position + 1, self._tags)
        packed = [body + tag for body, tag in zip(bodies, tags, strict=True)]
        chain = links(head, packed)
        self._table.insert(
            [
                StoredEntry(place, entry.event_id, entry.subject, stored, link)
                for place, (entry, stored, link) in enumerate(zip(entries, packed, chain, strict=True), position + 1)
            ]
        )
        return position + len(entries), chain[-1] if chain else head

    def _new_entries(self, events: Sequence[ConsentEvent], now: int) -> list[ConsentEntry]:
        """Returns the entries of the events that are not known."""
        try:
            return self._entries(events, now)
        except (UnicodeEncodeError, pa.ArrowInvalid):
            raise InputError(
                "subject, purpose or source of a consent event is no text but half of a character; repair the event"
            ) from None

    def _entries(self, events: Sequence[ConsentEvent], now: int) -> list[ConsentEntry]:
        subjects = pa.array([event.subject for event in events], pa.string())
        references = subject_references(subjects, self._reference_key).to_pylist()
        if None in references:
            raise InputError("subject: is blank in a consent event; every event names its subject")
        ids = self._event_ids(list(map(_identity, references, events)))
        seen = self._table.known(ids)
        new: dict[bytes, int] = {}
        for row, event_id in enumerate(ids):
            if event_id not in seen:
                new.setdefault(event_id, row)
        keys = self._data_keys.keys_for(sorted({references[row] for row in new.values()}), create=True)
        return [
            self._entry(events[row], event_id, references[row], keys.get(references[row]), now)
            for event_id, row in new.items()
        ]

    def _entry(
        self, event: ConsentEvent, event_id: bytes, reference: bytes, key: bytes | None, now: int
    ) -> ConsentEntry:
        # Without a key the subject is erased, and source, evidence and id are not kept at all.
        told = b"" if key is None else _encoded([event.source, event.evidence, event.subject]).encode()
        return ConsentEntry(
            event_id=event_id,
            subject=reference,
            purpose=event.purpose,
            decision=CODES[event.decision],
            effective_at=event.effective_at,
            recorded_at=now if event.recorded_at is None else event.recorded_at,
            sealed=b"" if key is None else seal(key, told, self._bound(event_id)),
        )

    def _event_ids(self, identities: list[bytes]) -> list[bytes]:
        digests = self._ids.digest(pa.array(identities, pa.binary())).tobytes()
        return [digests[start : start + 16] for start in range(0, len(digests), 16)]

    def _bound(self, event_id: bytes) -> bytes:
        return self._bound_to + event_id

    def _opened(self, entry: ConsentEntry, key: bytes) -> list[str]:
        """Returns source, evidence (or None) and subject id of an entry."""
        opened: list[str] = json.loads(open_sealed(key, entry.sealed, self._bound(entry.event_id)))
        return opened

    def _event(self, subject: str, entry: ConsentEntry, key: bytes | None) -> ConsentEvent:
        source, evidence = "[erased]", None
        if key is not None and entry.sealed:
            source, evidence, _ = self._opened(entry, key)
        return ConsentEvent(
            subject=subject,
            purpose=entry.purpose,
            decision=DECISIONS[entry.decision],
            effective_at=entry.effective_at,
            recorded_at=entry.recorded_at,
            source=source,
            evidence=evidence,
        )


def open_ledger(uri: str, keys: VaultKeys, data_keys: DataKeys, *, create: bool = False) -> ConsentLedger:
    """Returns the ledger of a project.

    Args:
        uri: ``sqlite:FILE`` or ``postgresql://…``.
        keys: Of the tenant.
        data_keys: Open, of the same project.
        create: Whether a missing store is made.

    Raises:
        StoreError: The store is missing, damaged, locked or cannot be reached.
        ConfigError: The URI names no store.
    """
    return ConsentLedger(open_ledger_table(uri, create=create), keys, data_keys)


def _identity(reference: bytes, event: ConsentEvent) -> bytes:
    """Returns what makes an event one, such that two different events never look alike."""
    purpose = event.purpose.encode()
    head = _IDENTITY.pack(reference, event.effective_at, CODES[event.decision], len(purpose))
    return head + purpose + event.source.encode("utf-8", "surrogatepass")
