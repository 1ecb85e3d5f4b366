"""The table of known outputs in a SQLite file: all of this machine."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from ...schemas.known_output import KnownOutput
from .sqlite_database import SqliteDatabase

__all__ = ["SqliteOutputTable"]


class SqliteOutputTable:
    """A ``KnownOutputTable`` in a file; several programs may use it at a time.

    Args:
        path: Made where it is missing.
    """

    is_complete = True

    def __init__(self, path: Path) -> None:
        self._database = SqliteDatabase(path, store="outputs", create=True)

    def close(self) -> None:
        """Closes the store."""
        self._database.close()

    def put(self, output: KnownOutput) -> None:
        """Adds an output or a run; a published one takes the place of all that was published there before."""
        with self._database.writing() as connection:
            if output.published:
                _remove(connection, "place = ? AND published = 1", output.place)
            _remove(connection, "place = ? AND run = ?", output.place, output.run)
            connection.execute(
                "INSERT INTO outputs VALUES (?, ?, ?, ?, ?)",
                (output.place, output.run, output.dataset, output.published, output.noted_at),
            )
            connection.executemany(
                "INSERT INTO versions VALUES (?, ?, ?, ?)",
                [(output.place, output.run, domain, version) for domain, version in sorted(output.needs)],
            )

    def remove(self, place: str, run: str | None = None, machine: str = "") -> int:
        """Removes what is known of a place, or of one run there, and returns how many entries there were."""
        if machine:
            return 0
        with self._database.writing() as connection:
            if run is None:
                return _remove(connection, "place = ?", place)
            return _remove(connection, "place = ? AND run = ?", place, run)

    def all(self) -> tuple[KnownOutput, ...]:
        """Returns all outputs and runs by place."""
        with self._database.reading() as connection:
            outputs = connection.execute(
                "SELECT place, run, dataset, published, noted_at FROM outputs ORDER BY place, noted_at, run"
            ).fetchall()
            needs: dict[tuple[str, str], list[tuple[str, int]]] = {}
            asked = "SELECT place, run, domain, key_version FROM versions ORDER BY domain, key_version"
            for place, run, domain, version in connection.execute(asked).fetchall():
                needs.setdefault((place, run), []).append((domain, version))
        return tuple(
            KnownOutput(
                place=place,
                run=run,
                dataset=dataset,
                published=bool(published),
                versions=dict(reversed(needs.get((place, run), []))),
                noted_at=noted_at,
                also=frozenset(needs.get((place, run), [])),
            )
            for place, run, dataset, published, noted_at in outputs
        )


def _remove(connection: sqlite3.Connection, where: str, *values: str) -> int:
    chosen = connection.execute(f"SELECT place, run FROM outputs WHERE {where}", values).fetchall()  # noqa: S608
    for table in ("versions", "outputs"):
        connection.executemany(f"DELETE FROM {table} WHERE place = ? AND run = ?", chosen)  # noqa: S608
    return len(chosen)
