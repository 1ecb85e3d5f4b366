"""An embedded store: one SQLite file, opened safely and shared by the threads of a process.

Writes are durable when a transaction ends (``synchronous=FULL``), deleted rows are overwritten (``secure_delete``; see
``leftovers`` for the copies of them that this does not reach), and the file is readable by its owner alone. What SQLite
says about a failure never passes, only what to do about it.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

from ...schemas.errors import ConfigError, IntegrityError, PrivacyError, StoreDamagedError, StoreError
from ...schemas.store_uri import SQLITE, told_store

__all__ = ["SqliteDatabase", "in_portions", "schema_version", "sqlite_path"]

PATIENCE_SECONDS = 30.0
TURNS = {"vault": 20}
"""How many times as long a writer of some stores waits: those before it may each store some hundred thousand rows."""
PORTION = 500
CACHE_KIB = 32 * 1024
SMALL_BYTES = 16 << 20
APPLICATION_IDS = {
    "ledger": 0x436F4C31,
    "access_log": 0x436F4131,
    "data_keys": 0x436F4B31,
    "vault": 0x436F5631,
    "journal": 0x436F4A31,
    "received": 0x436F5231,
    "outputs": 0x436F4F31,
    "erasures": 0x436F4531,
}
VERSIONS = {"access_log": 2, "data_keys": 2, "vault": 2, "erasures": 2}
"""The version of each schema that this program works with, where it is not the first; a script leads to each."""


def sqlite_path(uri: str, *, store: str) -> Path:
    """Returns the file of a ``sqlite:PATH`` URI.

    Raises:
        ConfigError: Another kind of store. The URI is not quoted: it may hold a password.
    """
    scheme, _, rest = uri.partition(":")
    if scheme != SQLITE or not rest:
        raise ConfigError(f"{store}: unknown kind of store; write sqlite:FILE or postgresql://…")
    return Path(rest)


def schema_version(store: str) -> int:
    """Returns the version of a store's schema that this program works with."""
    return VERSIONS.get(store, 1)


class SqliteDatabase:
    """The connection to one store.

    Args:
        path: The file.
        store: Which tables it has: one of ``APPLICATION_IDS``.
        create: Whether a missing file is made; without it a missing store is an error, because an empty ledger in
            its place would permit what customers refused.

    Raises:
        StoreError: The file is missing, damaged, of another store or version, or cannot be opened.
    """

    def __init__(self, path: Path, *, store: str, create: bool = False) -> None:
        self._path = path
        self._store = store
        self._lock = threading.RLock()
        self._owing = False
        if create:
            self._make_file()
        elif not path.exists():
            raise StoreError(
                f"{path}: the {told_store(store)} is missing; restore it, or begin a project with `consentry init`"
            )
        with self._told():
            self._connection = sqlite3.connect(
                path, timeout=PATIENCE_SECONDS, isolation_level=None, check_same_thread=False
            )
        try:
            with self._told():
                self._prepare(create)
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Closes the connection; SQLite then empties its write-ahead log."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Yields the connection, for statements that see one state of the store."""
        with self._transaction("BEGIN") as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Yields the connection in a transaction that no other writer is in; an exception undoes it."""
        with self._transaction("BEGIN IMMEDIATE", turns=TURNS.get(self._store, 1)) as connection:
            yield connection

    def forget_deleted(self) -> bool:
        """Empties the write-ahead log, where pages with deleted rows stand until then.

        Returns:
            Whether it could: not while another program reads an older state for longer than we wait.
        """
        with self._lock, self._told():
            (busy, *_), *_ = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            self._owing = bool(busy)
            return not busy

    def rebuild(self) -> bool:
        """Writes the whole file anew, from the rows that are there.

        Takes some seconds for each million rows, and the file's size of temporary disk: in memory where that is little.

        Returns:
            Whether it could: not while another program writes, or reads an older state, for longer than we wait.
        """
        with self._lock, self._told():
            kind = "MEMORY" if self.is_small() else "FILE"
            self._connection.execute(f"PRAGMA temp_store = {kind}")
            try:
                self._connection.execute("VACUUM")
            except sqlite3.OperationalError as error:
                if not _is_busy(error):
                    raise
                return False
            finally:
                self._connection.execute("PRAGMA temp_store = MEMORY")
        return self.forget_deleted()

    def is_small(self) -> bool:
        """Whether the file is written anew within some tenths of a second."""
        return self.size() <= SMALL_BYTES

    def size(self) -> int:
        """Returns the bytes of the store's files."""
        names = (self._path, self._path.with_name(self._path.name + "-wal"))
        return sum(name.stat().st_size for name in names if name.exists())

    def locked(self) -> StoreError:
        """Returns the error that says that another program has the store."""
        return _locked(self._path, self._store)

    @contextmanager
    def _transaction(self, begin: str, *, turns: int = 1) -> Iterator[sqlite3.Connection]:
        with self._lock, self._told():
            inner = self._connection.in_transaction
            if inner:  # then it is a part of the outer one
                yield self._connection
                return
            self._begin(begin, turns)
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:  # neither committed nor undone by SQLite, as on a full disk
                    self._connection.execute("ROLLBACK")
            if self._owing:
                self._make_up()

    def _begin(self, begin: str, turns: int) -> None:
        """Begins, and waits for others so many times; in between, the program can be interrupted."""
        for left in reversed(range(turns)):
            try:
                self._connection.execute(begin)
            except sqlite3.OperationalError as error:
                if not left or not _is_busy(error):
                    raise
            else:
                return

    def _make_up(self) -> None:
        """Empties the write-ahead log that could not be emptied before, without waiting this time."""
        self._connection.execute("PRAGMA busy_timeout = 0").fetchall()
        try:
            self.forget_deleted()
        finally:
            self._connection.execute(f"PRAGMA busy_timeout = {int(1000 * PATIENCE_SECONDS)}").fetchall()

    def _make_file(self) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
        except OSError as error:
            raise StoreError(f"{self._path}: the {told_store(self._store)} cannot be made ({error.strerror})") from None

    def _prepare(self, create: bool) -> None:
        self._connection.execute("PRAGMA secure_delete = ON").fetchall()
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        self._connection.execute("PRAGMA temp_store = MEMORY")  # keys of look-ups never touch a disk
        known = schema_version(self._store)
        with self.writing() if create else self.reading() as connection:
            version = _pragma(connection, "user_version")
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if version == tables == 0 and create:
                connection.execute(f"PRAGMA application_id = {APPLICATION_IDS[self._store]}")
                version = self._brought_up(connection, version, known)
            application = _pragma(connection, "application_id")
        if application != APPLICATION_IDS[self._store]:
            raise StoreError(f"{self._path}: is no {told_store(self._store)} of Consentry; name the right file")
        if 0 < version < known:
            with self.writing() as connection:  # anew: another program may have come first
                version = self._brought_up(connection, _pragma(connection, "user_version"), known)
        if version != known:
            raise StoreError(f"{self._path}: has schema version {version}, this program knows {known}; update it")
        self._log_ahead()

    def _log_ahead(self) -> None:
        """Turns on the write-ahead log, for which SQLite, other than for all else, does not wait."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                self._connection.execute("PRAGMA journal_mode = WAL").fetchall()
                return
            except sqlite3.OperationalError as error:
                if not _is_busy(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    def _brought_up(self, connection: sqlite3.Connection, version: int, known: int) -> int:
        """Runs the scripts that lead from one version to another, and returns the version that then is."""
        for number in range(version + 1, known + 1):
            name = f"sqlite_{self._store}_{number}.sql"
            script = resources.files(__package__).joinpath("migrations", name).read_text(encoding="utf-8")
            statement = ""
            for line in script.splitlines():
                statement += line + "\n"
                if sqlite3.complete_statement(statement):
                    connection.execute(statement)
                    statement = ""
            connection.execute(f"PRAGMA user_version = {number}")
        return max(version, known)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            failure = _failure(error, self._path, self._store)
        else:
            return
        raise failure from None


def in_portions(connection: sqlite3.Connection, query: str, values: Sequence[Any], *before: Any) -> Iterator[list[Any]]:
    """Yields the rows of a query for many values, a portion for each some hundred values.

    Args:
        connection: In a transaction.
        query: With ``IN ({})`` where the values go.
        values: Of one column.
        before: Parameters of the query that stand before the values.
    """
    for start in range(0, len(values), PORTION):
        portion = values[start : start + PORTION]
        asked = query.format(", ".join("?" * len(portion)))
        yield connection.execute(asked, (*before, *portion)).fetchall()


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    (value,) = connection.execute(f"PRAGMA {name}").fetchone()
    return int(value)


def _is_busy(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _locked(path: Path, store: str) -> StoreError:
    return StoreError(f"{path}: the {told_store(store)} is locked by another program; try again when it is done")


def _failure(error: sqlite3.Error, path: Path, store: str) -> PrivacyError:
    if isinstance(error, sqlite3.OperationalError) and not hasattr(error, "sqlite_errorcode"):
        # Python's own, where text that is no UTF-8 stands in a column.
        return IntegrityError(
            f"{path}: the {told_store(store)} holds what was not stored there; restore it from a backup"
        )
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if _is_busy(error):
        return _locked(path, store)
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return StoreDamagedError(f"{path}: the {told_store(store)} is damaged; restore it from a backup")
    if code == sqlite3.SQLITE_FULL:
        return StoreError(f"{path}: no space is left for the {told_store(store)}; make room and run again")
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return StoreError(
            f"{path}: the {told_store(store)} cannot be opened for writing; check its permissions and its folder's"
        )
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    return StoreError(f"{path}: the {told_store(store)} failed ({name}); see that its disk and file are sound")
