"""The table of accesses in SQLite."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple
from pathlib import Path

from .access_log import AccessRecord, AppendLink, LoggedAccess
from .hash_chain import START
from .sqlite_database import SqliteDatabase

__all__ = ["SqliteAccessLogTable"]

COLUMNS = "at, actor, role, purpose, domain, token_ref, subject_ref, decision, rule, shown"
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

    def last(self) -> tuple[int, bytes] | None:
        """Returns position and link of the last entry."""
        with self._database.reading() as connection:
            row: tuple[int, bytes] | None = connection.execute(
                "SELECT position, chain FROM entries ORDER BY position DESC LIMIT 1"
            ).fetchone()
            return row

    def append(self, link: AppendLink) -> None:
        """Adds what ``link`` makes of position and link of the last entry, with no other writer between."""
        with self._database.writing() as connection:
            entries = link(*(self.last() or (0, START)))
            rows = [(entry.position, *astuple(entry.record), entry.chain) for entry in entries]
            connection.executemany(
                f"INSERT INTO entries (position, {COLUMNS}, chain) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
                rows,
            )

    def entries(self) -> Iterator[list[LoggedAccess]]:
        """Yields all entries in order, some thousand at a time."""
        position = 0
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
    names = COLUMNS.split(", ")
    record = AccessRecord(**dict(zip(names, values, strict=True)))  # type: ignore[arg-type]
    return LoggedAccess(position=position, record=record, chain=chain)  # type: ignore[arg-type]
