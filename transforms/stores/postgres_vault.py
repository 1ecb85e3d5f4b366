"""The tables of the vault in PostgreSQL, partitioned by hash of the domain.

Many rows, and whatever names a subject, go to the server by COPY into a temporary table (``postgres_staging``); a
statement then looks them up, adds, refreshes or removes them. Rows are taken in the order of their keys, so that two
writers that meet on some wait for each other in one direction only.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from typing import TYPE_CHECKING, Any

from ...schemas.vault_entry import EntryKey, VaultEntry
from .distinct_candidates import StoredEntries
from .postgres_database import PostgresDatabase
from .postgres_staging import WANTED, Staging
from .vault_table import Applied, SealedEntry

if TYPE_CHECKING:
    from .postgres_connection import Connection

__all__ = ["PostgresVaultTable"]

KEY = "domain, token, key_version, subject"
CHUNK = 20_000
SPLIT = "\x1f"
"""Stands between tokens; none has a control character."""
STAGING = Staging(
    columns=(
        ("place", "integer"),
        ("domain", "text"),
        ("token", "text"),
        ("key_version", "integer"),
        ("subject", "bytea"),
        ("event_time", "bigint"),
        ("sealed", "bytea"),
    )
)
SAME = " AND ".join(f"entries.{column} = wanted.{column}" for column in KEY.split(", "))
INSERT = (
    f"INSERT INTO entries ({KEY}, event_time, sealed) SELECT {KEY}, event_time, sealed FROM {WANTED} "  # noqa: S608
    f"ORDER BY {KEY} ON CONFLICT ({KEY}) DO NOTHING"
)
REFRESH = (
    f"UPDATE entries SET event_time = wanted.event_time FROM {WANTED} "  # noqa: S608
    f"WHERE {SAME} AND entries.event_time < wanted.event_time"
)
DELETE = f"DELETE FROM entries USING {WANTED} WHERE {SAME}"  # noqa: S608
# Each field comes as one row of three values, however many entries it has.
SOME = (
    "SELECT domain, key_version, string_agg(token, E'\\x1f'), string_agg(subject, ''), "  # noqa: S608
    f"string_agg(int8send(event_time), '') FROM (SELECT {KEY}, event_time FROM entries LIMIT %s) AS portion "
    "GROUP BY domain, key_version"
)
FOUND = f"SELECT {KEY}, event_time, sealed FROM entries WHERE domain = %s AND token = ANY(%s) ORDER BY {KEY}"  # noqa: S608
OF_VERSION = (
    f"SELECT {KEY}, event_time, sealed FROM entries WHERE domain = %s AND key_version = %s "  # noqa: S608
    f"AND (token, subject) > (SELECT token, subject FROM {WANTED}) ORDER BY token, subject LIMIT %s"
)
OF_SUBJECTS = (
    "SELECT entries.domain, entries.token, entries.key_version, entries.subject, entries.event_time "  # noqa: S608
    f"FROM {WANTED} JOIN entries ON entries.subject = wanted.subject"
)
NOTED = "SELECT note_applied(%s, %s, %s, %s, %s)"


class PostgresVaultTable:
    """A ``VaultTable`` in one schema of a PostgreSQL database.

    What is removed is gone for every reader, but not from the server's disks: see ``forget_deleted``.

    Args:
        uri: ``postgresql://…`` with the tenant.
        create: Whether a missing store is made.
    """

    def __init__(self, uri: str, *, create: bool = False) -> None:
        self._database = PostgresDatabase(uri, store="vault", create=create)

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
        """A transaction with no other writer but such as add, too."""
        return self._database.adding()

    def owes(self) -> bool:
        """Nothing that anything could be done about."""
        return False

    def forget_deleted(self, *, at_once: bool) -> bool:
        """Does nothing: the server cleans up by itself, soon, as the tables' settings say, but overwrites nothing.

        A removed entry stands in its page until VACUUM has freed the place and another row has taken it, and in the
        write-ahead log until that is recycled; sealed, under a data key that outlives a withdrawal and not an erasure.
        """
        return True

    def applied(self) -> Applied | None:
        """Returns what the entries have been judged by; None: nothing yet."""
        asked = "SELECT position, head, at, rules, purges FROM applied"
        row = self._database.run(lambda connection: connection.execute(asked).fetchone())
        return None if row is None else Applied(*row)

    def set_applied(self, applied: Applied) -> None:
        """Notes what the entries have been judged by; the server lets it go forward only."""
        with self._database.writing() as connection:
            connection.execute(NOTED, applied)

    def find(self, domain: str, token: str) -> list[VaultEntry]:
        """Returns the entries of a token, of all versions and subjects."""
        asked = f"SELECT {KEY}, event_time, sealed FROM entries WHERE domain = %s AND token = %s"  # noqa: S608
        rows = self._database.run(lambda connection: connection.execute(asked, (domain, token)).fetchall())
        return [_entry(*row) for row in rows]

    def find_many(self, domain: str, tokens: Sequence[str]) -> list[VaultEntry]:
        """Returns the entries of some tokens of a domain, of all versions and subjects; each token's by these two."""
        rows = self._database.run(lambda each: each.execute(FOUND, (domain, list(tokens)), binary=True).fetchall())
        return [_entry(*row) for row in rows]

    def of_version(self, domain: str, key_version: int, *, after: tuple[str, bytes], most: int) -> list[VaultEntry]:
        """Returns entries of a domain and key version behind a token and subject, in their order."""
        behind = [(None, None, after[0], None, after[1], None, None)]
        return [_entry(*row) for row in self._looked_up(behind, OF_VERSION, domain, key_version, most)]

    def delete_version(self, domain: str, key_version: int) -> int:
        """Removes the entries of a domain and key version, and returns how many."""
        with self._database.writing() as connection:
            asked = "DELETE FROM entries WHERE domain = %s AND key_version = %s"
            return connection.execute(asked, (domain, key_version)).rowcount

    def event_times(self, keys: Sequence[EntryKey]) -> list[int | None]:
        """Returns for each key the event time of its entry, None where there is none."""
        found: list[int | None] = [None] * len(keys)
        if not keys:
            return found
        with self._database.adding() as connection:
            STAGING.send(connection, ((place, *key, None, None) for place, key in enumerate(keys)))
            asked = f"SELECT place, entries.event_time FROM {WANTED} JOIN entries ON {SAME}"  # noqa: S608
            for place, event_time in connection.execute(asked, binary=True):
                found[place] = event_time
        return found

    def insert(self, entries: Sequence[SealedEntry]) -> tuple[int, int]:
        """Adds entries that are not there: key, event time, sealed value.

        Returns:
            How many were added; and how many another writer had added meanwhile, with an earlier time, refreshed now.
        """
        if not entries:
            return 0, 0
        with self._database.adding() as connection:
            STAGING.send(connection, ((None, *key, event_time, sealed) for key, event_time, sealed in entries))
            added = connection.execute(INSERT).rowcount
            refreshed = 0 if added == len(entries) else connection.execute(REFRESH).rowcount
            return added, refreshed

    def refresh(self, times: Sequence[tuple[EntryKey, int]]) -> int:
        """Sets the event times of entries that have an earlier one, and returns how many had."""
        if not times:
            return 0
        with self._database.adding() as connection:
            STAGING.send(connection, ((None, *key, event_time, None) for key, event_time in sorted(times)))
            return connection.execute(REFRESH).rowcount

    def judged(self, subjects: Iterable[bytes] | None) -> Iterator[list[tuple[EntryKey, int]]]:
        """Yields keys and event times of the subjects' entries (None: of all), some thousand at a time."""
        if subjects is None:
            for rows in self._in_order("NULL::bytea"):
                yield [(EntryKey(*key), event_time) for *key, event_time, _ in rows]
            return
        waiting = iter(subjects)
        while portion := list(islice(waiting, CHUNK)):
            rows = self._of_subjects(portion)
            for start in range(0, len(rows), CHUNK):
                yield [(EntryKey(*key), event_time) for *key, event_time in rows[start : start + CHUNK]]

    def stored(self) -> Iterator[list[SealedEntry]]:
        """Yields all entries in the order of their keys, some thousand at a time."""
        for rows in self._in_order("sealed"):
            yield [(EntryKey(*key), event_time, sealed) for *key, event_time, sealed in rows]

    def some(self, most: int) -> list[StoredEntries]:
        """Returns entries as columns, by domain and key version; all, where there are no more than ``most``."""
        rows = self._database.run(lambda connection: connection.execute(SOME, (most,), binary=True).fetchall())
        return [entries for row in rows if (entries := _columns(*row)) is not None]

    def delete(self, keys: Sequence[EntryKey]) -> None:
        """Removes entries."""
        if not keys:
            return
        with self._database.writing() as connection:
            STAGING.send(connection, ((None, *key, None, None) for key in keys))
            connection.execute(DELETE)

    def delete_older(self, oldest: Mapping[str, int]) -> int:
        """Removes the entries of domains with an earlier event time than given, and returns how many."""
        with self._database.writing() as connection:
            asked = "DELETE FROM entries WHERE domain = %s AND event_time < %s"
            return sum(connection.execute(asked, each).rowcount for each in oldest.items())

    def counts(self) -> list[tuple[str, int, int]]:
        """Returns domain, key version and number of entries of each field."""
        asked = "SELECT domain, key_version, count(*) FROM entries GROUP BY 1, 2 ORDER BY 1, 2"
        rows: list[tuple[str, int, int]] = self._database.run(lambda connection: connection.execute(asked).fetchall())
        return rows

    def _of_subjects(self, subjects: list[bytes]) -> list[tuple[Any, ...]]:
        wanted = [(None, None, None, None, subject, None, None) for subject in subjects]
        return self._looked_up(wanted, OF_SUBJECTS)

    def _looked_up(self, wanted: Sequence[tuple[Any, ...]], asked: str, *values: Any) -> list[tuple[Any, ...]]:
        """Returns the rows of a statement that looks rows up that were sent."""

        def look(connection: Connection) -> list[tuple[Any, ...]]:
            with connection.transaction():
                STAGING.send(connection, wanted)
                return connection.execute(asked.encode(), values, binary=True).fetchall()

        return self._database.run(look)

    def _in_order(self, sealed: str) -> Iterator[list[tuple[Any, ...]]]:
        after: tuple[Any, ...] = ("", "", 0, b"")
        asked = (
            f"SELECT {KEY}, event_time, {sealed} FROM entries WHERE ({KEY}) > (SELECT {KEY} FROM {WANTED}) "  # noqa: S608
            f"ORDER BY {KEY} LIMIT {CHUNK}"
        )
        while rows := self._looked_up([(None, *after, None, None)], asked):
            yield rows
            after = rows[-1][:4]


def _entry(domain: str, token: str, key_version: int, subject: bytes, event_time: int, sealed: bytes) -> VaultEntry:
    return VaultEntry(
        domain=domain,
        token=token,
        key_version=key_version,
        subject_ref=subject,
        event_time=event_time,
        sealed=sealed,
    )


def _columns(domain: str, key_version: int, tokens: str, subjects: bytes, times: bytes) -> StoredEntries | None:
    """Returns a row of ``SOME`` as columns; None where they do not fit together, which only changed entries do."""
    parts = tokens.split(SPLIT)
    if not len(subjects) == 16 * len(parts) == 2 * len(times):
        return None
    event_times = struct.unpack(f">{len(parts)}q", times)
    return StoredEntries(
        domain=domain, key_version=key_version, tokens=parts, subjects=subjects, event_times=event_times
    )
