"""The table of consent entries in PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from .consent_entry import EVENT_ID_AT, SUBJECT_AT
from .ledger_table import StoredEntry
from .postgres_database import PostgresDatabase
from .postgres_staging import WANTED, Staging

if TYPE_CHECKING:
    from .postgres_connection import Connection

__all__ = ["PostgresLedgerTable"]

CHUNK = 50_000
KNOWN_AT_ONCE = 20_000
AFTER = f"""
    SELECT position,
           CASE WHEN event_id = substr(entry, {EVENT_ID_AT + 1}, 16) AND subject = substr(entry, {SUBJECT_AT + 1}, 16)
           THEN entry END,
           chain
    FROM entries WHERE position > %s ORDER BY position LIMIT {CHUNK}
"""  # noqa: S608
COPY = "COPY entries (position, event_id, subject, entry, chain) FROM STDIN (FORMAT BINARY)"
TYPES = ("int8", "bytea", "bytea", "bytea", "bytea")
STAGING = Staging(columns=(("wanted", "bytea"),))
KNOWN = f"SELECT event_id FROM {WANTED} JOIN entries ON event_id = wanted.wanted"  # noqa: S608
OF_SUBJECT = f"SELECT position, entry FROM {WANTED} JOIN entries ON subject = wanted.wanted ORDER BY position"  # noqa: S608


class PostgresLedgerTable:
    """A ``LedgerTable`` in one schema of a PostgreSQL database.

    Args:
        uri: ``postgresql://…`` with the tenant.
        create: Whether a missing store is made.
    """

    def __init__(self, uri: str, *, create: bool = False) -> None:
        self._database = PostgresDatabase(uri, store="ledger", create=create)

    def close(self) -> None:
        """Closes the connection."""
        self._database.close()

    def size(self) -> int:
        """Returns the bytes that it takes."""
        return self._database.size()

    def writing(self) -> AbstractContextManager[object]:
        """A transaction with no other writer."""
        return self._database.writing()

    def last(self) -> tuple[int, bytes] | None:
        """Returns position and link of the last entry."""
        rows = self._rows("SELECT position, chain FROM entries ORDER BY position DESC LIMIT 1")
        return (rows[0][0], rows[0][1]) if rows else None

    def link(self, position: int) -> bytes | None:
        """Returns the link of an entry; None where there is none."""
        rows = self._rows("SELECT chain FROM entries WHERE position = %s", position)
        return rows[0][0] if rows else None

    def after(self, position: int) -> Iterator[list[tuple[int, bytes | None, bytes]]]:
        """Yields position, packed entry and link of the entries after a position, each chunk by itself.

        Entries never change, so chunks read one after the other are one state up to the last of them. The packed
        entry is None where what the row is found by is not of that entry.
        """
        while rows := self._rows(AFTER, position):
            yield [(place, packed, chain) for place, packed, chain in rows]
            position = rows[-1][0]

    def known(self, event_ids: Sequence[bytes]) -> set[bytes]:
        """Returns those of the ids that are there."""
        found: set[bytes] = set()
        for start in range(0, len(event_ids), KNOWN_AT_ONCE):
            found |= {each for (each,) in self._looked_up(event_ids[start : start + KNOWN_AT_ONCE], KNOWN)}
        return found

    def insert(self, entries: Sequence[StoredEntry]) -> None:
        """Adds entries."""
        with self._database.writing() as connection, connection.cursor() as cursor, cursor.copy(COPY) as copy:
            copy.set_types(TYPES)
            for entry in entries:
                copy.write_row(entry)

    def of_subject(self, reference: bytes) -> list[tuple[int, bytes]]:
        """Returns position and packed entry of the entries of one subject, in order."""
        return [(position, packed) for position, packed in self._looked_up([reference], OF_SUBJECT)]

    def _looked_up(self, wanted: Sequence[bytes], asked: str) -> list[tuple[Any, ...]]:
        def look(connection: Connection) -> list[tuple[Any, ...]]:
            with connection.transaction():
                STAGING.send(connection, ((each,) for each in wanted))
                return connection.execute(asked.encode(), binary=True).fetchall()

        return self._database.run(look)

    def _rows(self, asked: str, *values: Any) -> list[tuple[Any, ...]]:
        return self._database.run(lambda each: each.execute(asked.encode(), values, binary=True).fetchall())
