"""The table of consent entries in SQLite."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from .consent_entry import EVENT_ID_AT, SUBJECT_AT
from .ledger_table import StoredEntry
from .sqlite_database import SqliteDatabase, in_portions

__all__ = ["SqliteLedgerTable"]

CHUNK = 50_000
AFTER = f"""
    SELECT position,
           CASE WHEN event_id = substr(entry, {EVENT_ID_AT + 1}, 16) AND subject = substr(entry, {SUBJECT_AT + 1}, 16)
           THEN entry END,
           chain
    FROM entries WHERE position > ? ORDER BY position LIMIT ?
"""  # noqa: S608


class SqliteLedgerTable:
    """A ``LedgerTable`` in one SQLite file.

    Args:
        path: The file.
        create: Whether a missing file is made.
    """

    def __init__(self, path: Path, *, create: bool = False) -> None:
        self._database = SqliteDatabase(path, store="ledger", create=create)

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
        with self._database.reading() as connection:
            row: tuple[int, bytes] | None = connection.execute(
                "SELECT position, chain FROM entries ORDER BY position DESC LIMIT 1"
            ).fetchone()
            return row

    def link(self, position: int) -> bytes | None:
        """Returns the link of an entry; None where there is none."""
        with self._database.reading() as connection:
            row = connection.execute("SELECT chain FROM entries WHERE position = ?", (position,)).fetchone()
            return None if row is None else row[0]

    def after(self, position: int) -> Iterator[list[tuple[int, bytes | None, bytes]]]:
        """Yields position, packed entry and link of the entries after a position, each chunk in a transaction.

        Entries never change, so chunks read one after the other are one state up to the last of them. The packed
        entry is None where what the row is found by is not of that entry.
        """
        while True:
            with self._database.reading() as connection:
                rows: list[tuple[int, bytes | None, bytes]] = connection.execute(AFTER, (position, CHUNK)).fetchall()
            if not rows:
                return
            yield rows
            position = rows[-1][0]

    def known(self, event_ids: Sequence[bytes]) -> set[bytes]:
        """Returns those of the ids that are there."""
        with self._database.reading() as connection:
            rows = in_portions(connection, "SELECT event_id FROM entries WHERE event_id IN ({})", event_ids)
            return {event_id for portion in rows for (event_id,) in portion}

    def insert(self, entries: Sequence[StoredEntry]) -> None:
        """Adds entries."""
        with self._database.writing() as connection:
            connection.executemany(
                "INSERT INTO entries (position, event_id, subject, entry, chain) VALUES (?, ?, ?, ?, ?)", entries
            )

    def of_subject(self, reference: bytes) -> list[tuple[int, bytes]]:
        """Returns position and packed entry of the entries of one subject, in order."""
        with self._database.reading() as connection:
            rows: list[tuple[int, bytes]] = connection.execute(
                "SELECT position, entry FROM entries WHERE subject = ? ORDER BY position", (reference,)
            ).fetchall()
            return rows
