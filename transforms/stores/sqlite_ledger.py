"""The table of consent entries in SQLite."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from .consent_ledger import LedgerEntry
from .sqlite_database import SqliteDatabase

__all__ = ["SqliteLedgerTable"]

COLUMNS = "position, event_id, subject, purpose, decision, effective_at, recorded_at, sealed, chain"
CHUNK = 50_000


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

    def after(self, position: int) -> Iterator[list[LedgerEntry]]:
        """Yields the entries after a position, chunk by chunk, each chunk read in a transaction of its own.

        Entries never change, so chunks read one after the other are one state up to the last of them.
        """
        while True:
            with self._database.reading() as connection:
                rows = connection.execute(
                    f"SELECT {COLUMNS} FROM entries WHERE position > ? ORDER BY position LIMIT {CHUNK}",  # noqa: S608
                    (position,),
                ).fetchall()
            if not rows:
                return
            yield list(map(LedgerEntry._make, rows))
            position = rows[-1][0]

    def known(self, event_ids: Sequence[bytes]) -> set[bytes]:
        """Returns those of the ids that are there."""
        with self._database.reading() as connection:
            found: set[bytes] = set()
            for event_id in event_ids:
                if connection.execute("SELECT 1 FROM entries WHERE event_id = ?", (event_id,)).fetchone():
                    found.add(event_id)
            return found

    def insert(self, entries: Sequence[LedgerEntry]) -> None:
        """Adds entries."""
        with self._database.writing() as connection:
            connection.executemany(f"INSERT INTO entries ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", entries)  # noqa: S608

    def of_subject(self, reference: bytes) -> list[LedgerEntry]:
        """Returns the entries of one subject, in order."""
        with self._database.reading() as connection:
            rows = connection.execute(
                f"SELECT {COLUMNS} FROM entries WHERE subject = ? ORDER BY position",  # noqa: S608
                (reference,),
            )
            return list(map(LedgerEntry._make, rows))
