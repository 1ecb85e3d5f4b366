"""The tables of wrapped data keys in PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...schemas.errors import StoreError
from .postgres_database import PostgresDatabase
from .postgres_staging import WANTED, Staging

if TYPE_CHECKING:
    import psycopg

    from .postgres_connection import Connection

    Cursor = psycopg.Cursor[tuple[Any, ...]]

__all__ = ["PostgresDataKeyTable"]

CHUNK = 20_000
DAY_KEYS = "day_keys"
STAGING = Staging(
    columns=(("subject", "bytea"), ("wrapped", "bytea"), ("old", "bytea"), ("day", "text"), ("expires_at", "bigint"))
)
BEHIND = f"subject > (SELECT subject FROM {WANTED})"  # noqa: S608
AFTER = f"SELECT subject, wrapped FROM subject_keys WHERE {BEHIND} ORDER BY subject LIMIT {CHUNK}"  # noqa: S608
FIND = f"SELECT subject, subject_keys.wrapped FROM {WANTED} JOIN subject_keys USING (subject)"  # noqa: S608
PLACES = (
    f"SELECT DISTINCT subject_keys.tableoid::regclass::text FROM {WANTED} JOIN subject_keys USING (subject) "  # noqa: S608
    "ORDER BY 1"
)
# In one order, so that two programs that add the same keys wait for each other in one direction only.
ADD = (
    f"INSERT INTO subject_keys SELECT subject, wrapped FROM {WANTED} "  # noqa: S608
    "ORDER BY subject ON CONFLICT (subject) DO NOTHING"
)
HEADERS = (
    "SELECT substring(wrapped FROM 1 FOR 2), count(*) FROM (SELECT wrapped FROM subject_keys WHERE wrapped IS NOT NULL "
    "UNION ALL SELECT wrapped FROM day_keys) AS keys GROUP BY 1"
)
WRAPPED = f"SELECT subject, wrapped FROM subject_keys WHERE {BEHIND} AND wrapped IS NOT NULL ORDER BY subject LIMIT %s"  # noqa: S608
REPLACE = (
    f"UPDATE subject_keys SET wrapped = changed.wrapped FROM {WANTED} AS changed "  # noqa: S608
    "WHERE subject_keys.subject = changed.subject AND subject_keys.wrapped = changed.old"
)
ALL_PLACES = "SELECT DISTINCT tableoid::regclass::text FROM subject_keys UNION SELECT 'day_keys' ORDER BY 1"
DESTROY = (
    f"INSERT INTO subject_keys (subject) SELECT subject FROM {WANTED} ORDER BY subject "  # noqa: S608
    "ON CONFLICT (subject) DO UPDATE SET wrapped = NULL WHERE subject_keys.wrapped IS NOT NULL"
)
ADD_DAY = f"INSERT INTO day_keys SELECT day, expires_at, wrapped FROM {WANTED} ON CONFLICT (day) DO NOTHING"  # noqa: S608
SHORTEN_DAY = (
    f"UPDATE day_keys SET expires_at = changed.expires_at, wrapped = changed.wrapped FROM {WANTED} AS changed "  # noqa: S608
    "WHERE day_keys.day = changed.day AND day_keys.expires_at > changed.expires_at"
)
REPLACE_DAY = (
    f"UPDATE day_keys SET wrapped = changed.wrapped FROM {WANTED} AS changed "  # noqa: S608
    "WHERE day_keys.day = changed.day AND day_keys.wrapped = changed.old"
)

Row = tuple[Any, ...]
"""Of the staging table; what a statement does not use is None."""


class PostgresDataKeyTable:
    """A ``DataKeyTable`` in one schema of a PostgreSQL database.

    After keys are removed, the rest of their table or partition is put into a new file, and the old one is given back
    to the file system. The write-ahead log still has what was written, for as long as it is kept.

    Args:
        uri: ``postgresql://…`` with the tenant.
        create: Whether a missing store is made.
    """

    def __init__(self, uri: str, *, create: bool = False) -> None:
        self._database = PostgresDatabase(uri, store="data_keys", create=create)

    def close(self) -> None:
        """Closes the connection."""
        self._database.close()

    def size(self) -> int:
        """Returns the bytes that it takes."""
        return self._database.size()

    def subject_keys(self, references: Sequence[bytes]) -> dict[bytes, bytes | None]:
        """Returns the wrapped keys of those subjects that have a row; None: destroyed."""
        found: dict[bytes, bytes | None] = {}
        for portion in _portions(references):
            found.update(self._looked_up(_subjects(portion), FIND))
        return found

    def add_subject_keys(self, wrapped: Mapping[bytes, bytes]) -> int:
        """Adds keys of subjects that have no row, and returns how many; others stay as they are.

        Where a connection broke, what was added before counts as not added: it is read again.
        """
        portions = _portions(list(wrapped))
        return sum(self._do([_row(ref, wrapped[ref]) for ref in portion], ADD) for portion in portions)

    def destroy_subject_keys(self, references: Sequence[bytes]) -> None:
        """Removes keys for good and keeps that they are destroyed, also of subjects that had no row."""
        places: set[str] = set()
        # With none, too: who may not do it is told so then, before anything else is done.
        for portion in _portions(list(dict.fromkeys(references))) or [[]]:
            self._do(_subjects(portion), DESTROY)
            places |= {place for (place,) in self._looked_up(_subjects(portion), PLACES)}
        # Even where they were destroyed before: a program may have died, or been held up by a reader, before this.
        for place in sorted(places):
            self._forget(place)

    def day_key(self, day: str) -> tuple[int, bytes] | None:
        """Returns when the key of a day expires, and the wrapped key."""
        rows = self._rows("SELECT expires_at, wrapped FROM day_keys WHERE day = %s", day)
        return (rows[0][0], rows[0][1]) if rows else None

    def add_day_key(self, day: str, expires_at: int, wrapped: bytes) -> None:
        """Adds the key of a day that has none."""
        self._do([(None, wrapped, None, day, expires_at)], ADD_DAY)

    def shorten_day_key(self, day: str, expires_at: int, wrapped: bytes) -> None:
        """Sets an earlier expiry, with the same key wrapped for it."""
        self._do([(None, wrapped, None, day, expires_at)], SHORTEN_DAY)

    def remove_day_keys(self, upto: int) -> int:
        """Removes for good the keys that expire at or before an instant, and returns how many."""
        asked = b"DELETE FROM day_keys WHERE expires_at <= %s"
        removed = self._database.run(lambda each: each.execute(asked, (upto,)).rowcount)
        # Even where nothing was: another program may have been held up by a reader after it removed some.
        self._forget(DAY_KEYS)
        return removed

    def stored(self) -> Iterator[list[tuple[bytes, bytes | None]]]:
        """Yields all subjects and wrapped keys in the order of the subjects, some thousand at a time."""
        after = b""
        while rows := self._looked_up(_subjects([after]), AFTER):
            yield [(subject, wrapped) for subject, wrapped in rows]
            after = rows[-1][0]

    def counts(self) -> tuple[int, int]:
        """Returns how many subjects have a key, and of how many it is destroyed."""
        ((every, living),) = self._rows("SELECT count(*), count(wrapped) FROM subject_keys")
        return living, every - living

    def day_keys(self) -> list[tuple[str, int, bytes]]:
        """Returns day, expiry and wrapped key of all days that have one, in order."""
        rows = self._rows("SELECT day, expires_at, wrapped FROM day_keys ORDER BY day")
        return [(day, expires_at, wrapped) for day, expires_at, wrapped in rows]

    def headers(self) -> dict[bytes, int]:
        """Returns how many keys begin with each two bytes, which tell the version that wraps them."""
        return {bytes(header): count for header, count in self._rows(HEADERS)}

    def wrapped_subjects(self, after: bytes, most: int) -> list[tuple[bytes, bytes]]:
        """Returns reference and wrapped key of the first subjects behind a reference that have a key, in order."""
        return [(subject, wrapped) for subject, wrapped in self._looked_up(_subjects([after]), WRAPPED, most)]

    def replace_subject_keys(self, wrapped: Sequence[tuple[bytes, bytes, bytes]]) -> int:
        """Sets wrapped keys, given as (reference, old, new), where they still are the old ones; returns how many."""
        return self._do([_row(reference, new, old) for reference, old, new in wrapped], REPLACE)

    def replace_day_key(self, day: str, old: bytes, new: bytes) -> bool:
        """Sets the wrapped key of a day if it still is ``old``, and returns whether it was."""
        return self._do([(None, new, old, day, None)], REPLACE_DAY) == 1

    def forget_deleted(self) -> bool:
        """Leaves nothing in the tables' files of what was removed or replaced; returns whether it could."""
        try:
            for (place,) in self._rows(ALL_PLACES):
                self._forget(place)
        except StoreError:
            return False
        return True

    def _rows(self, asked: str, *values: Any) -> list[tuple[Any, ...]]:
        return self._database.run(lambda each: each.execute(asked.encode(), values, binary=True).fetchall())

    def _looked_up(self, wanted: Sequence[Row], asked: str, *values: Any) -> list[tuple[Any, ...]]:
        return self._database.run(lambda each: self._sent(each, wanted, asked, values).fetchall())

    def _do(self, wanted: Sequence[Row], asked: str) -> int:
        return self._database.run(lambda each: self._sent(each, wanted, asked, ()).rowcount)

    def _sent(self, connection: Connection, wanted: Sequence[Row], asked: str, values: Sequence[Any]) -> Cursor:
        """Returns what a statement gives that works with rows that were sent before it, in one transaction."""
        with connection.transaction():
            STAGING.send(connection, wanted)
            return connection.execute(asked.encode(), values, binary=True)

    def _forget(self, place: str) -> None:
        """Leaves nothing of removed keys in the files of a table; fails where a reader is in the way for too long."""

        def forget(connection: Connection) -> None:
            if place == DAY_KEYS:
                connection.execute("SELECT forget_days()")
            else:
                connection.execute("SELECT forget_destroyed(%s::regclass)", (place,))

        self._database.run(forget)


def _row(subject: bytes, wrapped: bytes | None = None, old: bytes | None = None) -> Row:
    return subject, wrapped, old, None, None


def _subjects(references: Sequence[bytes]) -> list[Row]:
    return [_row(reference) for reference in references]


def _portions(references: Sequence[bytes]) -> list[list[bytes]]:
    return [list(references[start : start + CHUNK]) for start in range(0, len(references), CHUNK)]
