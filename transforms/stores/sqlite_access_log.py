"""The table of accesses in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from .access_log_table import AppendLink
from .access_records import LINK_BYTES, REFERENCE_BYTES, AccessAnswer, AccessRecord, LinkedRun, LoggedAccess
from .hash_chain import START
from .sqlite_database import SqliteDatabase

__all__ = ["SqliteAccessLogTable"]

COLUMNS = ", ".join(AccessRecord._fields)
LAST = "SELECT position, chain FROM entries ORDER BY position DESC LIMIT 1"
INSERT = f"INSERT INTO entries (position, {COLUMNS}, chain) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
CHUNK = 10_000
NO_REFERENCE = bytes(REFERENCE_BYTES)
FEW = 16
"""Records that are added one by one."""
MOST_KINDS = 256
"""Of answers; one is told by a byte."""
# A statement for each record would spend most of its time on handing over what is the same in all of them.
INSERT_RUN = f"""
WITH RECURSIVE places (place) AS (SELECT 0 UNION ALL SELECT place + 1 FROM places WHERE place + 1 < :size)
INSERT INTO entries (position, {COLUMNS}, chain) SELECT
    :position + place, :at, :actor, :role, :purpose, :domain,
    substr(:token_refs, {REFERENCE_BYTES} * place + 1, {REFERENCE_BYTES}),
    CASE substr(:known, place + 1, 1) WHEN x'01'
    THEN substr(:subject_refs, {REFERENCE_BYTES} * place + 1, {REFERENCE_BYTES}) END,
    {{decision}}, {{rule}}, {{shown}},
    substr(:chain, {LINK_BYTES} * place + 1, {LINK_BYTES})
FROM places
"""  # noqa: S608


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
            for run in link(*(self.last() or (0, START))).runs:
                _insert(connection, run)

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


def _insert(connection: sqlite3.Connection, linked: LinkedRun) -> None:
    """Adds a run. What cannot be stored is refused by the table, hence record by record."""
    run = linked.run
    kinds = {answer: kind for kind, answer in enumerate(dict.fromkeys(run.answers))}
    if len(run) < FEW or len(kinds) > MOST_KINDS or not linked.is_even:
        connection.executemany(INSERT, linked.rows())
        return
    told = {f"{name}{kind}": value for answer, kind in kinds.items() for name, value in answer._asdict().items()}
    parameters = {
        "size": len(run),
        "position": linked.position,
        "at": run.at,
        "actor": run.actor,
        "role": run.role,
        "purpose": run.purpose,
        "domain": run.domain,
        "token_refs": b"".join(run.token_refs),
        "known": bytes(subject is not None for subject in run.subject_refs),
        "subject_refs": b"".join(subject or NO_REFERENCE for subject in run.subject_refs),
        "kinds": bytes(map(kinds.__getitem__, run.answers)),
        "chain": b"".join(linked.chain),
    }
    connection.execute(_insert_run(len(kinds)), parameters | told)


@cache
def _insert_run(kinds: int) -> str:
    """Returns the statement that adds a run with so many kinds of answers."""

    def of_kind(name: str) -> str:
        cases = " ".join(f"WHEN x'{kind:02x}' THEN :{name}{kind}" for kind in range(kinds))
        return f"CASE substr(:kinds, place + 1, 1) {cases} END"

    return INSERT_RUN.format(**{name: of_kind(name) for name in AccessAnswer._fields})


def _entry(row: tuple[object, ...]) -> LoggedAccess:
    position, chain, *values = row
    return LoggedAccess(position, AccessRecord(*values), chain)  # type: ignore[arg-type]
