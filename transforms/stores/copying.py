"""Copies a store from one place to another, whatever keeps them, and proves that both hold the same.

Needs no key: what is sealed, wrapped and chained is copied byte by byte. A copy that was broken off goes on where it
was. Nothing is ever removed from the target, so that a copy in the wrong direction destroys nothing: a target that
holds what the source does not is refused in the end.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from ...schemas.errors import IntegrityError, StoreError
from ..crypto.envelope import associated_data
from .access_log import AccessLog, AccessLogTable, AppendLink
from .access_records import LinkedAccesses, LoggedAccess
from .consent_entry import EVENT_ID_AT, SUBJECT_AT
from .consent_ledger import LedgerTable, StoredEntry
from .data_keys import DataKeyTable
from .hash_chain import START, broken_chain, links
from .open_tables import open_access_log_table, open_data_key_table, open_ledger_table, open_vault_table
from .vault import VaultTable

__all__ = ["Copied", "copy_store"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """What came of a copy.

    Attributes:
        entries: What both hold now.
        copied: How many of them were not there before.
        digest: SHA-256 over all of them, or the last link of their chain; the same on both sides.
    """

    entries: int
    copied: int
    digest: str


def copy_store(store: str, source: str, target: str) -> Copied:
    """Copies a store and returns what came of it. Nothing else may write to either meanwhile.

    Args:
        store: ``vault``, ``data_keys``, ``ledger`` or ``access_log``.
        source: URI of the one that is there.
        target: URI of the other; made if it is missing.

    Raises:
        StoreError: One cannot be used, or the target holds what the source does not.
        IntegrityError: A chain is broken, or the two are not the same in the end.
    """
    opening, copying = _WAYS[store]
    with closing(opening(source, create=False)) as one, closing(opening(target, create=True)) as other:
        copied: Copied = copying(one, other)
    return copied


def _copy_vault(source: VaultTable, target: VaultTable) -> Copied:
    with source.writing():
        applied, there = source.applied(), target.applied()
        if there is not None and (applied is None or (there.position, there.at) > (applied.position, applied.at)):
            raise _in_use("vault")
        if applied is not None:  # first: whoever finds half a copy judges it by what is newer
            target.set_applied(applied)
        copied = 0
        for entries in source.stored():
            times = target.event_times([key for key, _, _ in entries])
            new = [entry for entry, time in zip(entries, times, strict=True) if time is None]
            with target.adding():
                if target.applied() != applied:  # somebody works with it: what it has judged since must not come back
                    raise _in_use("vault")
                copied += target.insert(new)[0]
                target.refresh([(key, at) for (key, at, _), time in zip(entries, times, strict=True) if time])
        return _same("vault", _digest(map(_vault_rows, source.stored())), _vault_digest(target), copied)


def _vault_digest(table: VaultTable) -> tuple[int, str]:
    return _digest(map(_vault_rows, table.stored()))


def _vault_rows(entries: Iterable[tuple[Any, int, bytes]]) -> list[bytes]:
    return [associated_data(*key, event_time, sealed) for key, event_time, sealed in entries]


def _copy_data_keys(source: DataKeyTable, target: DataKeyTable) -> Copied:
    copied = 0
    for keys in source.stored():
        there = target.subject_keys([subject for subject, _ in keys])
        copied += len(keys) - len(there)
        target.add_subject_keys({subject: key for subject, key in keys if key is not None})
        gone = [subject for subject, key in keys if key is None and there.get(subject, b"") is not None]
        if gone:
            target.destroy_subject_keys(gone)
    for day, expires_at, wrapped in source.day_keys():
        copied += target.day_key(day) is None
        target.add_day_key(day, expires_at, wrapped)
        target.shorten_day_key(day, expires_at, wrapped)
    return _same("data_keys", _data_key_digest(source), _data_key_digest(target), copied)


def _data_key_digest(table: DataKeyTable) -> tuple[int, str]:
    days = [associated_data("day", *each) for each in table.day_keys()]
    return _digest([*([_key_row(*each) for each in keys] for keys in table.stored()), days])


def _key_row(subject: bytes, key: bytes | None) -> bytes:
    return associated_data("subject", subject, *((0,) if key is None else (1, key)))


def _copy_ledger(source: LedgerTable, target: LedgerTable) -> Copied:
    with source.writing():
        position, head = target.last() or (0, START)
        if position and source.link(position) != head:
            raise _in_use("ledger")
        copied = 0
        for rows in source.after(position):
            with target.writing():
                target.insert([_ledger_entry(*row) for row in rows])
            copied += len(rows)
        return _same("ledger", _ledger_chain(source), _ledger_chain(target), copied)


def _ledger_entry(position: int, packed: bytes | None, link: bytes) -> StoredEntry:
    if packed is None:
        raise broken_chain("ledger", position)
    event_id, subject = packed[EVENT_ID_AT : EVENT_ID_AT + 16], packed[SUBJECT_AT : SUBJECT_AT + 16]
    return StoredEntry(position, event_id, subject, packed, link)


def _ledger_chain(table: LedgerTable) -> tuple[int, str]:
    count, head = 0, START
    for rows in table.after(0):
        for position, packed, link in rows:
            count += 1
            if position != count or packed is None or [link] != links(head, [packed]):
                raise broken_chain("ledger", count)
            head = link
    return count, head.hex()


def _copy_access_log(source: AccessLogTable, target: AccessLogTable) -> Copied:
    position, head = target.last() or (0, START)
    copied, met = 0, position == 0
    for entries in source.entries():
        met = met or any(entry.position == position and entry.chain == head for entry in entries)
        new = [entry for entry in entries if entry.position > position]
        if new and not met:
            break
        if new:
            target.append(_as_they_are(new))
            copied += len(new)
    if not met:
        raise _in_use("access_log")
    return _same("access_log", _access_chain(source), _access_chain(target), copied)


def _as_they_are(entries: list[LoggedAccess]) -> AppendLink:
    def following(position: int, head: bytes) -> LinkedAccesses:
        _, body, chain = entries[0].as_row()
        if entries[0].position != position + 1 or body is None or links(head, [body]) != [chain]:
            raise broken_chain("access_log", position + 1)
        return LinkedAccesses.of(entries)

    return following


def _access_chain(table: AccessLogTable) -> tuple[int, str]:
    verified = AccessLog(table).verify()
    return verified.entries, verified.head.hex()


def _digest(portions: Iterable[Iterable[bytes]]) -> tuple[int, str]:
    digest, count = hashlib.sha256(), 0
    for portion in portions:
        for row in portion:
            digest.update(associated_data(row))
            count += 1
    return count, digest.hexdigest()


def _same(store: str, one: tuple[int, str], other: tuple[int, str], copied: int) -> Copied:
    if one != other:
        raise IntegrityError(
            f"{store}: FROM has {one[0]} entries and TO {other[0]}, and they are not the same; stop whatever uses "
            "them, copy into an empty TO, and do not use this one"
        )
    return Copied(entries=one[0], copied=copied, digest=one[1])


def _in_use(store: str) -> StoreError:
    return StoreError(f"{store}: TO has gone on by itself, so nothing was copied; name an empty TO", exit_code=2)


_WAYS: dict[str, tuple[Callable[..., Any], Callable[[Any, Any], Copied]]] = {
    "vault": (open_vault_table, _copy_vault),
    "data_keys": (open_data_key_table, _copy_data_keys),
    "ledger": (open_ledger_table, _copy_ledger),
    "access_log": (open_access_log_table, _copy_access_log),
}
