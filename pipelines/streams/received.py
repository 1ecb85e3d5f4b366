"""Messages that were received and are not processed yet, sealed, in one SQLite file of a stream's private folder.

For a topic that cannot be read twice: what is acknowledged there lies here, under a sequence number of its own, and
can be read again until it is processed. Each payload is an AES-256-GCM envelope, bound to tenant, subscription and
number, under a key of the day that it came, from the store of data keys. So a crash costs nothing, and a forgotten
copy of this file is noise when that key is destroyed: after ``RETAIN``, for as long as Pub/Sub itself would keep a
message at most. A key derived from the vault's could be read for ever.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, Protocol

import numpy as np

from ...schemas.errors import RecordsGoneError, SecretError
from ...schemas.project import Project
from ...transforms.crypto.envelope import associated_data, open_many, seal_many
from ...transforms.dead_letters import key_period
from ...transforms.stores.data_keys import open_data_keys
from ...transforms.stores.sqlite_database import SqliteDatabase
from ..keyring_files import open_vault_keys
from ..publication import FILE_SCHEME, STREAM
from .sources import Messages

__all__ = ["RECEIVED", "KeysOfReceived", "Received", "ReceivedStore", "StoreOpener", "received_in"]

RECEIVED = "received.db"
STORE = "received"
RETAIN = timedelta(days=31)
KEPT_IDS = 4_000_000
"""Ids of messages that are remembered; what comes again does so within minutes, or when the stream starts again."""
MOST_STORED = 200_000
MOST_BYTES = 256 << 20
STRETCH = 10_000
STRETCH_BYTES = 32 << 20


class KeysOfReceived(Protocol):
    """Keys of days; ``DataKeys`` has them."""

    def close(self) -> None:
        """Closes the store of keys."""
        ...

    def day_key(self, day: str, *, expires_at: int) -> bytes:
        """Returns the key of a day, made when it is first asked for."""
        ...

    def find_day_key(self, day: str, *, at: int) -> bytes | None:
        """Returns the key of a day, or None where it is destroyed, or is to be by now."""
        ...


class Received(NamedTuple):
    """A raw message.

    Attributes:
        id: That its topic gave it; the same each time it comes, and never another message's.
        value: Its bytes.
    """

    id: str
    value: bytes

    def __repr__(self) -> str:
        return "<Received: value hidden>"

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise SecretError("received messages hold raw values and cannot be copied")


class ReceivedStore:
    """What came from one subscription; shared by the threads of a process, and of no other one.

    Args:
        path: The file; made where there is none.
        subscription: Its full name.
        tenant: Of the project.
        data_keys: Seal and open; closed with it.
        clock: Microseconds UTC.
        kept_ids: Ids that are remembered.

    Raises:
        StoreError: The file is damaged, of something else, or cannot be opened.
    """

    def __init__(
        self,
        path: Path,
        *,
        subscription: str,
        tenant: str,
        data_keys: KeysOfReceived,
        clock: Callable[[], int],
        kept_ids: int = KEPT_IDS,
    ) -> None:
        self._subscription = subscription
        self._tenant = tenant
        self._data_keys = data_keys
        self._clock = clock
        self._kept_ids = kept_ids
        self._database = SqliteDatabase(path, store=STORE, create=True)
        try:
            self._number, self._next = self._registered()
            self._stored, self._bytes = self._counted(self._next)
        except BaseException:
            self._database.close()
            raise

    def close(self) -> None:
        """Closes the file and the keys."""
        self._database.close()
        self._data_keys.close()

    @property
    def first(self) -> int:
        """Number of the oldest payload that is kept, or of the next that comes."""
        return self._next - self._stored

    @property
    def end(self) -> int:
        """Number of the next payload that comes."""
        return self._next

    @property
    def has_room(self) -> bool:
        """Whether more may be taken in before some is processed."""
        return self._stored < MOST_STORED and self._bytes < MOST_BYTES

    def add(self, messages: Sequence[Received]) -> None:
        """Keeps those messages that never came before; they are on the disk when this returns.

        Raises:
            StoreError: The file cannot be written; none of them is kept.
        """
        period, expires_at = key_period(self._clock(), RETAIN)
        day = f"{STORE} {period}"
        key = self._data_keys.day_key(day, expires_at=expires_at)
        with self._database.writing() as connection:
            new = self._new_of(connection, messages)
            numbers = range(self._next, self._next + len(new))
            sealed = seal_many(key, [message.value for message in new], [self._bound(number) for number in numbers])
            connection.executemany(
                "INSERT INTO payloads VALUES (?, ?, ?, ?)",
                [(self._number, number, day, each) for number, each in zip(numbers, sealed, strict=True)],
            )
            connection.execute("UPDATE subscriptions SET next = ? WHERE number = ?", (numbers.stop, self._number))
        self._next = numbers.stop
        self._stored += len(new)
        self._bytes += sum(map(len, sealed))

    def read(self, start: int, end: int) -> Iterator[Messages]:
        """Yields the payloads of a stretch in order, some thousand at a time.

        Raises:
            IntegrityError: One was changed or moved.
            RecordsGoneError: One is not there, or its key is destroyed.
        """
        while start < end:
            rows = self._rows(start, end)
            values = self._opened(start, rows)
            yield Messages(self._subscription, values, np.arange(start, start + len(rows), dtype=np.int64))
            start += len(rows)

    def forget(self, before: int) -> None:
        """Removes the payloads below a number for good; ids of messages stay known."""
        stored, size = self._counted(before)
        with self._database.writing() as connection:
            connection.execute("DELETE FROM payloads WHERE subscription = ? AND sequence < ?", (self._number, before))
            connection.execute(
                "DELETE FROM taken WHERE subscription = ? AND sequence < ?",
                (self._number, min(before, self._next - self._kept_ids)),
            )
        self._stored -= stored
        self._bytes -= size
        self._database.forget_deleted()

    def _registered(self) -> tuple[int, int]:
        with self._database.writing() as connection:
            connection.execute("INSERT OR IGNORE INTO subscriptions (name, next) VALUES (?, 0)", (self._subscription,))
            found: tuple[int, int] = connection.execute(
                "SELECT number, next FROM subscriptions WHERE name = ?", (self._subscription,)
            ).fetchone()
        return found

    def _counted(self, before: int) -> tuple[int, int]:
        """Returns how many payloads are kept below a number, and their bytes."""
        query = (
            "SELECT count(*), coalesce(sum(length(sealed)), 0) FROM payloads WHERE subscription = ? AND sequence < ?"
        )
        with self._database.reading() as connection:
            found: tuple[int, int] = connection.execute(query, (self._number, before)).fetchone()
        return found

    def _new_of(self, connection: sqlite3.Connection, messages: Sequence[Received]) -> list[Received]:
        """Notes the ids of messages under the numbers that they get, and returns those that never came before."""
        new: list[Received] = []
        for message in messages:
            row = (self._number, message.id, self._next + len(new))
            if connection.execute("INSERT OR IGNORE INTO taken VALUES (?, ?, ?)", row).rowcount:
                new.append(message)
        return new

    def _rows(self, start: int, end: int) -> list[tuple[str, bytes]]:
        """Returns day and envelope of payloads from ``start`` on: as many as lie side by side and are not too big."""
        query = (
            "SELECT sequence, period, sealed FROM payloads WHERE subscription = ? AND sequence >= ? AND sequence < ? "
            "ORDER BY sequence LIMIT ?"
        )
        rows: list[tuple[str, bytes]] = []
        size = 0
        with self._database.reading() as connection:
            for number, day, sealed in connection.execute(query, (self._number, start, end, STRETCH)):
                if number != start + len(rows) or size >= STRETCH_BYTES:
                    break
                rows.append((day, sealed))
                size += len(sealed)
        if not rows:
            raise RecordsGoneError(
                f"{self._subscription}: message {start} is no longer in {RECEIVED}; restore the private folder of the "
                "output from one backup, or begin a new --out"
            )
        return rows

    def _opened(self, start: int, rows: Sequence[tuple[str, bytes]]) -> list[bytes]:
        """Returns the payloads in envelopes whose numbers begin at ``start``."""
        values: list[bytes] = []
        for day, same in groupby(rows, key=lambda row: row[0]):
            key = self._data_keys.find_day_key(day, at=self._clock())
            if key is None:
                raise RecordsGoneError(
                    f"{self._subscription}: message {start + len(values)} waited for {RETAIN.days} days, and "
                    "its key is destroyed; begin a new --out"
                )
            sealed = [envelope for _, envelope in same]
            first = start + len(values)
            values += open_many(key, sealed, [self._bound(first + row) for row in range(len(sealed))])
        return values

    def _bound(self, number: int) -> bytes:
        return associated_data(STORE, self._tenant, self._subscription, number)


StoreOpener = Callable[[str], ReceivedStore]
"""Opens what came from a subscription, by its full name."""


def received_in(
    project: Project, out: str, *, clock: Callable[[], int] = lambda: time.time_ns() // 1000
) -> StoreOpener:
    """Returns what opens stores in the private folder of an output; it may be called while the output is locked.

    Args:
        project: Names the store of data keys, and the keyring and KEK that open it.
        out: Folder of the output.
        clock: Microseconds UTC.
    """

    def opened(subscription: str) -> ReceivedStore:
        return ReceivedStore(
            Path(out.removeprefix(FILE_SCHEME)).resolve() / STREAM / RECEIVED,
            subscription=subscription,
            tenant=project.tenant,
            data_keys=open_data_keys(project.data_keys, open_vault_keys(project)),
            clock=clock,
        )

    return opened
