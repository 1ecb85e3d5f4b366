"""The table of accesses in SQLite."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from .access_log import AccessRecord, AppendLink, LoggedAccess
from .hash_chain import START
from .sqlite_database import SqliteDatabase

__all__ = ["SqliteAccessLogTable"]

COLUMNS = ", ".join(AccessRecord._fields)
LAST = "SELECT position, chain FROM entries ORDER BY position DESC LIMIT 1"
CHUNK = 10_000


class SqliteAccessLogTable:
    """An ``AccessLogTable`` in one SQLite file.

    Args:
        path: The file.
        create: Whether a missing file is made.
    """

    def __init__(self, path: Path, *, create: bool = False) -> None:
        self._database = SqliteDatabase(path, store="access_log", create=create)

    def close(self) -> None:
        """Closes the connection."""
        self._database.close()

    def size(self) -> int:
        """Returns the bytes that it takes."""
        return self._database.size()

    def append(self, link: AppendLink) -> None:
        """Adds what ``link`` makes of position and link of the last entry, with no other writer between."""
        with self._database.writing() as connection:
            entries = link(*(self.last() or (0, START)))
            rows = [(entry.position, *entry.record, entry.chain) for entry in entries]
            connection.executemany(
                f"INSERT INTO entries (position, {COLUMNS}, chain) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
                rows,
            )

    def last(self) -> tuple[int, bytes] | None:
        """Returns position and link of the last entry; None where there is none."""
        with self._database.reading() as connection:
            row: tuple[int, bytes] | None = connection.execute(LAST).fetchone()
            return row

    def link(self, position: int) -> bytes | None:
        """Returns the link of an entry; None where there is none."""
        with self._database.reading() as connection:
            row = connection.execute("SELECT chain FROM entries WHERE position = ?", (position,)).fetchone()
            return None if row is None else row[0]

    def entries(self, after: int = 0) -> Iterator[list[LoggedAccess]]:
        """Yields the entries after a position in order, some thousand at a time."""
        position = after
        while True:
            with self._database.reading() as connection:
                rows = connection.execute(
                    f"SELECT position, chain, {COLUMNS} FROM entries WHERE position > ? ORDER BY position LIMIT ?",  # noqa: S608
                    (position, CHUNK),
                ).fetchall()
            if not rows:
                return
            yield [_entry(row) for row in rows]
            position = rows[-1][0]


def _entry(row: tuple[object, ...]) -> LoggedAccess:
    position, chain, *values = row
    return LoggedAccess(position, AccessRecord(*values), chain)  # type: ignore[arg-type]
