"""The tables of the vault in SQLite."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from ...schemas.vault_entry import EntryKey, VaultEntry
from .distinct_candidates import StoredEntries
from .entry_columns import EntryColumns
from .leftovers import forget_removed_of, note_removal, owes_rebuild
from .sqlite_database import SqliteDatabase, in_portions
from .vault_table import Applied, SealedEntry

__all__ = ["SqliteVaultTable"]

KEY = "domain, token, key_version, subject"
CHUNK = 20_000
PORTION = 400
# CROSS JOIN keeps the order: each wanted key is looked up, however many subjects share a token.
KNOWN = (
    f"WITH wanted (place, {KEY}) AS (VALUES {{}}) "  # noqa: S608
    f"SELECT place, event_time FROM wanted CROSS JOIN entries USING ({KEY})"
)
OF_VERSION = (
    "SELECT token, subject, event_time, sealed FROM entries WHERE domain = ? AND key_version = ? "
    "AND (token, subject) > (?, ?) ORDER BY token, subject LIMIT ?"
)
FOUND = "SELECT domain, key_version, token, subject, event_time, sealed FROM entries WHERE domain = ? AND token IN ({})"
SPLIT = "\x1f"
"""Stands between tokens; none has a control character."""
# Tokens as hexadecimal: SQLite's texts end at a zero byte, and those that were not written by us may hold one.
SOME = (
    "SELECT domain, key_version, group_concat(hex(token) || '1F', ''), group_concat(hex(subject), ''), "  # noqa: S608
    f"group_concat(event_time) FROM (SELECT {KEY}, event_time FROM entries ORDER BY {KEY} LIMIT ?) "
    "GROUP BY domain, key_version"
)


class SqliteVaultTable:
    """A ``VaultTable`` in one SQLite file.

    Args:
        path: The file.
        create: Whether a missing file is made.
    """

    def __init__(self, path: Path, *, create: bool = False) -> None:
        self._database = SqliteDatabase(path, store="vault", create=create)

    def close(self) -> None:
        """Closes the connection."""
        self._database.close()

    def size(self) -> int:
        """Returns the bytes that it takes."""
        return self._database.size()

    def writing(self) -> AbstractContextManager[object]:
        """A transaction with no other writer."""
        return self._database.writing()

    def adding(self) -> AbstractContextManager[object]:
        """As ``writing``: SQLite has one writer at a time."""
        return self._database.writing()

    def owes(self) -> bool:
        """Whether something that was removed may still be in the files."""
        return owes_rebuild(self._database)

    def forget_deleted(self, *, at_once: bool) -> bool:
        """Leaves nothing of what was removed in the files; returns whether it could, else that stays owed."""
        return forget_removed_of(self._database, at_once=at_once)

    def applied(self) -> Applied | None:
        """Returns what the entries have been judged by; None: nothing yet."""
        with self._database.reading() as connection:
            row = connection.execute("SELECT position, head, at, rules, purges FROM applied").fetchone()
            return None if row is None else Applied(*row)

    def set_applied(self, applied: Applied) -> None:
        """Notes what the entries have been judged by."""
        with self._database.writing() as connection:
            connection.execute("INSERT OR REPLACE INTO applied VALUES (1, ?, ?, ?, ?, ?)", applied)

    def find(self, domain: str, token: str) -> list[VaultEntry]:
        """Returns the entries of a token, of all versions and subjects."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT key_version, subject, event_time, sealed FROM entries WHERE domain = ? AND token = ?",
                (domain, token),
            )
            return [
                VaultEntry(
                    domain=domain,
                    token=token,
                    key_version=key_version,
                    subject_ref=subject,
                    event_time=event_time,
                    sealed=sealed,
                )
                for key_version, subject, event_time, sealed in rows
            ]

    def of_version(self, domain: str, key_version: int, *, after: tuple[str, bytes], most: int) -> list[VaultEntry]:
        """Returns entries of a domain and key version behind a token and subject, in their order."""
        with self._database.reading() as connection:
            rows = connection.execute(OF_VERSION, (domain, key_version, *after, most)).fetchall()
        return [
            VaultEntry(
                domain=domain,
                token=token,
                key_version=key_version,
                subject_ref=subject,
                event_time=event_time,
                sealed=sealed,
            )
            for token, subject, event_time, sealed in rows
        ]

    def delete_version(self, domain: str, key_version: int) -> int:
        """Removes the entries of a domain and key version, and returns how many."""
        with self._database.writing() as connection:
            asked = "DELETE FROM entries WHERE domain = ? AND key_version = ?"
            removed = connection.execute(asked, (domain, key_version)).rowcount
            note_removal(connection, removed)
            return removed

    def find_many(self, domain: str, tokens: Sequence[str]) -> EntryColumns:
        """Returns the entries of some tokens of a domain, of all versions and subjects, in any order."""
        with self._database.reading() as connection:
            return EntryColumns.joined(in_portions(connection, FOUND, tokens, domain))

    def event_times(self, keys: Sequence[EntryKey]) -> list[int | None]:
        """Returns for each key the event time of its entry, None where there is none."""
        found: list[int | None] = [None] * len(keys)
        order = sorted(range(len(keys)), key=keys.__getitem__)
        with self._database.reading() as connection:
            for start in range(0, len(keys), PORTION):
                portion = order[start : start + PORTION]
                wanted = [value for place in portion for value in (place, *keys[place])]
                asked = KNOWN.format(", ".join(["(?, ?, ?, ?, ?)"] * len(portion)))
                for place, event_time in connection.execute(asked, wanted).fetchall():
                    found[place] = event_time
        return found

    def insert(self, entries: Sequence[SealedEntry]) -> tuple[int, int]:
        """Adds entries that are not there, and returns how many; none can be added by others meanwhile."""
        with self._database.writing() as connection:
            connection.executemany(
                f"INSERT INTO entries ({KEY}, event_time, sealed) VALUES (?, ?, ?, ?, ?, ?)",  # noqa: S608
                # In order, so that each page of a store larger than its cache is read and written once.
                ((*key, event_time, sealed) for key, event_time, sealed in sorted(entries)),
            )
        return len(entries), 0

    def refresh(self, times: Sequence[tuple[EntryKey, int]]) -> int:
        """Sets the event times of entries that have an earlier one, and returns how many had."""
        with self._database.writing() as connection:
            cursor = connection.executemany(
                "UPDATE entries SET event_time = ?5 "
                "WHERE domain = ?1 AND token = ?2 AND key_version = ?3 AND subject = ?4 AND event_time < ?5",
                ((*key, time) for key, time in times),
            )
            return max(cursor.rowcount, 0)  # -1 where there was nothing to do

    def judged(self, subjects: Iterable[bytes] | None) -> Iterator[list[tuple[EntryKey, int]]]:
        """Yields keys and event times of the subjects' entries (None: of all), some thousand at a time.

        Each portion is read to its end before it is yielded, so that entries of it may be deleted.
        """
        if subjects is None:
            for portion in self._in_order("NULL"):
                yield [(EntryKey(*key), time) for *key, time, _ in portion]
            return
        found: list[tuple[EntryKey, int]] = []
        with self._database.reading() as connection:
            for subject in subjects:
                rows = connection.execute(f"SELECT {KEY}, event_time FROM entries WHERE subject = ?", (subject,))  # noqa: S608
                found += [(EntryKey(*key), time) for *key, time in rows]
                if len(found) >= CHUNK:
                    yield found
                    found = []
        if found:
            yield found

    def stored(self) -> Iterator[list[SealedEntry]]:
        """Yields all entries in the order of the bytes of their keys, some thousand at a time."""
        for rows in self._in_order("sealed"):
            yield [(EntryKey(*key), time, sealed) for *key, time, sealed in rows]

    def counts(self) -> list[tuple[str, int, int]]:
        """Returns domain, key version and number of entries of each field."""
        with self._database.reading() as connection:
            asked = "SELECT domain, key_version, count(*) FROM entries GROUP BY 1, 2 ORDER BY 1, 2"
            rows: list[tuple[str, int, int]] = connection.execute(asked).fetchall()
            return rows

    def some(self, most: int) -> list[StoredEntries]:
        """Returns entries as columns, by domain and key version; all, where there are no more than ``most``.

        Each field comes as one row: a row for each entry would hand Python's lock to other threads as often.
        """
        with self._database.reading() as connection:
            rows: list[tuple[Any, ...]] = connection.execute(SOME, (most,)).fetchall()
        return [entries for row in rows if (entries := _columns(*row)) is not None]

    def delete(self, keys: Sequence[EntryKey]) -> None:
        """Removes entries."""
        with self._database.writing() as connection:
            connection.executemany(
                "DELETE FROM entries WHERE domain = ? AND token = ? AND key_version = ? AND subject = ?", keys
            )
            note_removal(connection, len(keys))

    def delete_older(self, oldest: Mapping[str, int]) -> int:
        """Removes the entries of domains with an earlier event time than given, and returns how many."""
        with self._database.writing() as connection:
            asked = "DELETE FROM entries WHERE domain = ? AND event_time < ?"
            removed = sum(connection.execute(asked, each).rowcount for each in oldest.items())
            note_removal(connection, removed)
            return removed

    def _in_order(self, sealed: str) -> Iterator[list[tuple[Any, ...]]]:
        after: tuple[Any, ...] = ("", "", 0, b"")
        while True:
            with self._database.reading() as connection:
                portion = connection.execute(
                    f"SELECT {KEY}, event_time, {sealed} FROM entries WHERE ({KEY}) > (?, ?, ?, ?) "  # noqa: S608
                    f"ORDER BY {KEY} LIMIT {CHUNK}",
                    after,
                ).fetchall()
            if not portion:
                return
            yield portion
            after = portion[-1][:4]


def _columns(domain: str, key_version: int, tokens: str, subjects: str, event_times: str) -> StoredEntries | None:
    """Returns a row of ``SOME`` as columns; None where they do not fit together, which only changed entries do."""
    try:
        parts = bytes.fromhex(tokens).decode().split(SPLIT)[:-1]
        times = [int(time) for time in event_times.split(",")]
    except ValueError:
        return None
    refs = bytes.fromhex(subjects)
    if not len(refs) == 16 * len(parts) == 16 * len(times):
        return None
    return StoredEntries(domain=domain, key_version=key_version, tokens=parts, subjects=refs, event_times=times)
