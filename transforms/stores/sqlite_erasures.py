"""The tables of erasures in SQLite."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path

from ...schemas.erasure import ErasureCase, ErasureState, HeldBack
from .leftovers import forget_removed_of, note_removal
from .sqlite_database import SqliteDatabase

__all__ = ["SqliteErasureTable"]

COLUMNS = "id, subject, state, requested_at, account, certificate"


class SqliteErasureTable:
    """An ``ErasureTable`` in one SQLite file. Nothing is left in it of what is removed.

    Args:
        path: The file.
        create: Whether a missing file is made.
    """

    def __init__(self, path: Path, *, create: bool = False) -> None:
        self._database = SqliteDatabase(path, store="erasures", create=create)

    def close(self) -> None:
        """Closes the connection."""
        self._database.close()

    def case_of(self, subject: bytes) -> ErasureCase | None:
        """Returns the erasure of a subject."""
        with self._database.reading() as connection:
            row = connection.execute(f"SELECT {COLUMNS} FROM cases WHERE subject = ?", (subject,)).fetchone()  # noqa: S608
        return None if row is None else _case(row)

    def cases(self) -> list[ErasureCase]:
        """Returns all erasures, the oldest first."""
        with self._database.reading() as connection:
            rows = connection.execute(f"SELECT {COLUMNS} FROM cases ORDER BY requested_at, id").fetchall()  # noqa: S608
        return [_case(row) for row in rows]

    def put(self, case: ErasureCase, marks: Collection[bytes], held: Sequence[HeldBack] | None) -> None:
        """Writes a case, adds marks of its subject, and puts what is held back in the place of what was."""
        account = json.dumps(case.account, sort_keys=True)
        row = (case.id, case.subject, case.state, case.requested_at, account, case.certificate)
        with self._database.writing() as connection:
            connection.execute(f"INSERT OR REPLACE INTO cases ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)", row)  # noqa: S608
            connection.executemany(
                "INSERT OR IGNORE INTO marks VALUES (?, ?)", [(mark, case.subject) for mark in marks]
            )
            if held is not None:
                removed = connection.execute("DELETE FROM held WHERE subject = ?", (case.subject,)).rowcount
                note_removal(connection, removed)
                connection.executemany(
                    "INSERT INTO held (subject, domain, until, sealed) VALUES (?, ?, ?, ?)",
                    [(case.subject, each.domain, each.until, each.sealed) for each in held],
                )
        if held is not None and not forget_removed_of(self._database):
            raise self._database.locked()

    def marks(self) -> dict[bytes, set[bytes]]:
        """Returns all marks by subject."""
        with self._database.reading() as connection:
            found: dict[bytes, set[bytes]] = {
                subject: set() for (subject,) in connection.execute("SELECT subject FROM cases")
            }
            for mark, subject in connection.execute("SELECT mark, subject FROM marks"):
                found.setdefault(subject, set()).add(mark)
        return found

    def held(self, subject: bytes) -> list[HeldBack]:
        """Returns what is held back of a subject."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT domain, until, sealed FROM held WHERE subject = ? ORDER BY domain", (subject,)
            ).fetchall()
        return [HeldBack(domain=domain, until=until, sealed=sealed) for domain, until, sealed in rows]


def _case(row: tuple[str, bytes, str, int, str, str | None]) -> ErasureCase:
    case_id, subject, state, requested_at, account, certificate = row
    return ErasureCase(
        id=case_id,
        subject=subject,
        state=ErasureState(state),
        requested_at=requested_at,
        account=json.loads(account),
        certificate=certificate,
    )
