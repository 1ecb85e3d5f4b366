"""The tables of wrapped data keys in SQLite."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

from .leftovers import forget_removed_of, note_removal
from .sqlite_database import SqliteDatabase, in_portions

__all__ = ["SqliteDataKeyTable"]

CHUNK = 20_000
HEADERS = (
    "SELECT substr(wrapped, 1, 2) AS header, count(*) FROM (SELECT wrapped FROM subject_keys WHERE wrapped IS NOT NULL "
    "UNION ALL SELECT wrapped FROM day_keys) GROUP BY header"
)


class SqliteDataKeyTable:
    """A ``DataKeyTable`` in one SQLite file. Nothing is left in it of what is removed.

    Args:
        path: The file.
        create: Whether a missing file is made.
    """

    def __init__(self, path: Path, *, create: bool = False) -> None:
        self._database = SqliteDatabase(path, store="data_keys", create=create)

    def close(self) -> None:
        """Closes the connection."""
        self._database.close()

    def size(self) -> int:
        """Returns the bytes that it takes."""
        return self._database.size()

    def subject_keys(self, references: Sequence[bytes]) -> dict[bytes, bytes | None]:
        """Returns the wrapped keys of those subjects that have a row; None: destroyed."""
        with self._database.reading() as connection:
            asked = "SELECT subject, wrapped FROM subject_keys WHERE subject IN ({})"
            return dict(chain.from_iterable(in_portions(connection, asked, references)))

    def add_subject_keys(self, wrapped: Mapping[bytes, bytes]) -> int:
        """Adds keys of subjects that have no row, and returns how many; others stay as they are."""
        with self._database.writing() as connection:
            asked = "INSERT OR IGNORE INTO subject_keys VALUES (?, ?)"
            added = connection.executemany(asked, sorted(wrapped.items())).rowcount
            return max(added, 0)  # -1 where there was nothing to do

    def destroy_subject_keys(self, references: Sequence[bytes]) -> None:
        """Removes keys for good and keeps that they are destroyed, also of subjects that had no row."""
        with self._database.writing() as connection:
            connection.executemany(
                "INSERT INTO subject_keys VALUES (?, NULL) ON CONFLICT (subject) DO UPDATE SET wrapped = NULL",
                [(reference,) for reference in references],
            )
            note_removal(connection, len(references))
        self._forget()

    def day_key(self, day: str) -> tuple[int, bytes] | None:
        """Returns when the key of a day expires, and the wrapped key."""
        with self._database.reading() as connection:
            row: tuple[int, bytes] | None = connection.execute(
                "SELECT expires_at, wrapped FROM day_keys WHERE day = ?", (day,)
            ).fetchone()
            return row

    def add_day_key(self, day: str, expires_at: int, wrapped: bytes) -> None:
        """Adds the key of a day that has none."""
        with self._database.writing() as connection:
            connection.execute("INSERT OR IGNORE INTO day_keys VALUES (?, ?, ?)", (day, expires_at, wrapped))

    def shorten_day_key(self, day: str, expires_at: int, wrapped: bytes) -> None:
        """Sets an earlier expiry, with the same key wrapped for it."""
        with self._database.writing() as connection:
            replaced = connection.execute(
                "UPDATE day_keys SET expires_at = ?, wrapped = ? WHERE day = ? AND expires_at > ?",
                (expires_at, wrapped, day, expires_at),
            ).rowcount
            note_removal(connection, replaced)

    def remove_day_keys(self, upto: int) -> int:
        """Removes for good the keys that expire at or before an instant, and returns how many."""
        with self._database.writing() as connection:
            removed = connection.execute("DELETE FROM day_keys WHERE expires_at <= ?", (upto,)).rowcount
            note_removal(connection, removed)
        # Even where nothing was: another program may have been held up by a reader after it removed some.
        self._forget()
        return removed

    def headers(self) -> dict[bytes, int]:
        """Returns how many keys begin with each two bytes, which tell the version that wraps them."""
        with self._database.reading() as connection:
            return dict(connection.execute(HEADERS).fetchall())

    def wrapped_subjects(self, after: bytes, most: int) -> list[tuple[bytes, bytes]]:
        """Returns reference and wrapped key of the first subjects behind a reference that have a key, in order."""
        with self._database.reading() as connection:
            rows: list[tuple[bytes, bytes]] = connection.execute(
                "SELECT subject, wrapped FROM subject_keys WHERE subject > ? AND wrapped IS NOT NULL "
                "ORDER BY subject LIMIT ?",
                (after, most),
            ).fetchall()
            return rows

    def replace_subject_keys(self, wrapped: Sequence[tuple[bytes, bytes, bytes]]) -> int:
        """Sets wrapped keys, given as (reference, old, new), where they still are the old ones; returns how many."""
        with self._database.writing() as connection:
            cursor = connection.executemany(
                "UPDATE subject_keys SET wrapped = ?3 WHERE subject = ?1 AND wrapped = ?2", wrapped
            )
            note_removal(connection, cursor.rowcount)
            return max(cursor.rowcount, 0)  # -1 where there was nothing to do

    def replace_day_key(self, day: str, old: bytes, new: bytes) -> bool:
        """Sets the wrapped key of a day if it still is ``old``, and returns whether it was."""
        with self._database.writing() as connection:
            asked = "UPDATE day_keys SET wrapped = ? WHERE day = ? AND wrapped = ?"
            replaced = connection.execute(asked, (new, day, old)).rowcount
            note_removal(connection, replaced)
            return replaced == 1

    def forget_deleted(self) -> bool:
        """Leaves nothing in the files of what was removed or replaced; returns whether it could."""
        return forget_removed_of(self._database)

    def stored(self) -> Iterator[list[tuple[bytes, bytes | None]]]:
        """Yields all subjects and wrapped keys in the order of the subjects, some thousand at a time."""
        asked = "SELECT subject, wrapped FROM subject_keys WHERE subject > ? ORDER BY subject LIMIT ?"
        after = b""
        while True:
            with self._database.reading() as connection:
                rows: list[tuple[bytes, bytes | None]] = connection.execute(asked, (after, CHUNK)).fetchall()
            if not rows:
                return
            yield rows
            after = rows[-1][0]

    def counts(self) -> tuple[int, int]:
        """Returns how many subjects have a key, and of how many it is destroyed."""
        with self._database.reading() as connection:
            ((every, living),) = connection.execute("SELECT count(*), count(wrapped) FROM subject_keys").fetchall()
            return living, every - living

    def day_keys(self) -> list[tuple[str, int, bytes]]:
        """Returns day, expiry and wrapped key of all days that have one, in order."""
        with self._database.reading() as connection:
            asked = "SELECT day, expires_at, wrapped FROM day_keys ORDER BY day"
            rows: list[tuple[str, int, bytes]] = connection.execute(asked).fetchall()
            return rows

    def _forget(self) -> None:
        if not forget_removed_of(self._database):
            raise self._database.locked()
