"""The table of accesses in PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .access_log_table import AppendLink
from .access_records import AccessRecord, LoggedAccess
from .hash_chain import START
from .postgres_database import PostgresDatabase

__all__ = ["PostgresAccessLogTable"]

COLUMNS = ", ".join(AccessRecord._fields)
TYPES = ("int8", "int8", "text", "text", "text", "text", "bytea", "bytea", "text", "text", "text", "bytea")
CHUNK = 10_000
LAST = "SELECT position, chain FROM entries ORDER BY position DESC LIMIT 1"
COPY = f"COPY entries (position, {COLUMNS}, chain) FROM STDIN (FORMAT BINARY)"
AFTER = f"SELECT position, chain, {COLUMNS} FROM entries WHERE position > %s ORDER BY position LIMIT {CHUNK}"  # noqa: S608


class PostgresAccessLogTable:
    """An ``AccessLogTable`` in one schema of a PostgreSQL database.

    Args:
        uri: ``postgresql://…`` with the tenant.
        create: Whether a missing store is made.
    """

    def __init__(self, uri: str, *, create: bool = False) -> None:
        self._database = PostgresDatabase(uri, store="access_log", create=create)

    def close(self) -> None:
        """Closes the connection."""
        self._database.close()

    def size(self) -> int:
        """Returns the bytes that it takes."""
        return self._database.size()

    def last(self) -> tuple[int, bytes] | None:
        """Returns position and link of the last entry."""
        row = self._database.run(lambda connection: connection.execute(LAST, binary=True).fetchone())
        return None if row is None else (row[0], row[1])

    def append(self, link: AppendLink) -> None:
        """Adds what ``link`` makes of position and link of the last entry, with no other writer between."""
        with self._database.writing() as connection:
            entries = link(*(self.last() or (0, START)))
            with connection.cursor() as cursor, cursor.copy(COPY) as copy:
                copy.set_types(TYPES)
                for entry in entries:
                    copy.write_row((entry.position, *entry.record, entry.chain))

    def link(self, position: int) -> bytes | None:
        """Returns the link of an entry; None where there is none."""
        asked = "SELECT chain FROM entries WHERE position = %s"
        row = self._database.run(lambda each: each.execute(asked, (position,), binary=True).fetchone())
        return None if row is None else bytes(row[0])

    def entries(self, after: int = 0) -> Iterator[list[LoggedAccess]]:
        """Yields the entries after a position in order, some thousand at a time."""
        position = after
        while rows := self._after(position):
            yield [_entry(row) for row in rows]
            position = rows[-1][0]

    def _after(self, position: int) -> list[tuple[Any, ...]]:
        return self._database.run(lambda each: each.execute(AFTER, (position,), binary=True).fetchall())


def _entry(row: tuple[Any, ...]) -> LoggedAccess:
    position, chain, *values = row
    return LoggedAccess(position, AccessRecord(*values), chain)
