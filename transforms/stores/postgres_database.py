"""A store on a PostgreSQL server: one connection to one schema, shared by the threads of a process.

One connection, because a process works on a store one piece after the other anyway (vault and ledger have locks of
their own), and each connection costs the server memory for as long as a worker lives. What is done outside of a
transaction is done again on a new connection if the old one broke; a transaction that broke was undone, and says so.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, TypeVar

from ...schemas.errors import StoreError, StoreLostError
from ...schemas.store_uri import told_store
from .postgres_connection import OPENING_SECONDS, RECONNECTING_SECONDS, Server, connect, server_of, told
from .postgres_schema import check_version, lock_key, migrate, quoted, schema_of

if TYPE_CHECKING:
    from .postgres_connection import Connection

__all__ = ["PostgresDatabase"]

Result = TypeVar("Result")
PATIENCE_SECONDS = 30.0
TRIES = 4
# Rows are looked up by key however many are wanted: a plan made for a guess of their number could read all instead.
SESSION = """
SET search_path = {schema}, pg_temp;
SET client_min_messages = warning;
SET default_transaction_isolation = 'read committed';
SET lock_timeout = '{patience}ms';
SET idle_in_transaction_session_timeout = '15min';
SET tcp_keepalives_idle = 30; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3;
SET work_mem = '64MB'; SET temp_buffers = '64MB';
SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off;
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off';
"""
SIZE = """
SELECT coalesce(sum(pg_total_relation_size(oid)), 0) FROM pg_class
WHERE relnamespace = quote_ident(%s)::regnamespace AND relkind = 'r'
"""


class PostgresDatabase:
    """The connection to one store.

    Args:
        uri: ``postgresql://…`` with the tenant.
        store: Which tables it has: one of ``postgres_schema.VERSIONS``.
        create: Whether a missing store is made; without it a missing store is an error, because an empty ledger in
            its place would permit what customers refused.

    Raises:
        StoreError: The server cannot be reached, or the store is missing, or of another version.
        ConfigError: The URI cannot be used.
    """

    def __init__(self, uri: str, *, store: str, create: bool = False) -> None:
        self._server: Server = server_of(uri, store=store)
        self._store = store
        self._schema = schema_of(store, self._server.tenant)
        self._lock = threading.RLock()
        self._closed = False
        self._connection: Connection | None = None
        self._opened = False
        self._create = create
        self._persistently(lambda connection: None)

    def close(self) -> None:
        """Closes the connection."""
        with self._lock:
            self._closed = True
            if self._connection is not None:
                self._connection.close()

    def run(self, work: Callable[[Connection], Result]) -> Result:
        """Does what may be done twice: within the transaction that is open, else each statement by itself.

        Args:
            work: Its statements see one state only if it has one, or a transaction is open.
        """
        with self._lock:
            if self._in_transaction():
                with self._told():
                    return work(self._usable())
            return self._persistently(work)

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Yields the connection in a transaction that no other writer is in; an exception undoes it."""
        with self._transaction("pg_advisory_xact_lock") as connection:
            yield connection

    @contextmanager
    def adding(self) -> Iterator[Connection]:
        """Yields the connection in a transaction that only others of its kind are in; an exception undoes it."""
        with self._transaction("pg_advisory_xact_lock_shared") as connection:
            yield connection

    def size(self) -> int:
        """Returns the bytes of the store's tables and indexes."""
        (size,), *_ = self.run(lambda connection: connection.execute(SIZE, (self._schema,)).fetchall())
        return int(size)

    @contextmanager
    def _transaction(self, lock: str) -> Iterator[Connection]:
        with self._lock:
            if self._in_transaction():  # then it is a part of the outer one
                with self._told():
                    yield self._usable()
                return
            # The lock comes first: each later statement sees what the writers before have written.
            begin = f"BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SELECT {lock}({lock_key(self._schema)})"
            self._persistently(lambda connection: connection.execute(begin.encode()))
            connection = self._usable()
            try:
                with self._told():
                    yield connection
                    self._commit(connection)
            finally:
                self._undo()

    def _commit(self, connection: Connection) -> None:
        """Commits. PostgreSQL does not call it an error when it undoes a transaction, as after a failed statement."""
        if connection.execute("COMMIT").statusmessage != "COMMIT":
            raise StoreError(
                f"{self._server.place}: the {told_store(self._store)} undid a transaction that had failed; run again"
            )

    def _undo(self) -> None:
        """Undoes what is neither committed nor undone yet; a connection on which that fails is given up."""
        import psycopg

        if self._in_transaction():
            try:
                self._usable().execute("ROLLBACK")
            except psycopg.Error:
                self._give_up()

    def _in_transaction(self) -> bool:
        from psycopg.pq import TransactionStatus

        connection = self._connection
        if connection is None or connection.closed:
            return False
        return connection.info.transaction_status in (TransactionStatus.INTRANS, TransactionStatus.INERROR)

    def _persistently(self, work: Callable[[Connection], Result]) -> Result:
        for left in reversed(range(TRIES)):
            try:
                if self._connection is None or self._connection.closed:
                    self._open()
                with self._told():
                    return work(self._usable())
            except StoreLostError:
                self._undo()
                if not left:
                    raise
            except BaseException:
                self._undo()
                raise
        raise AssertionError("the last try returns or raises")

    def _usable(self) -> Connection:
        assert self._connection is not None
        return self._connection

    def _open(self) -> None:
        if self._closed:
            raise StoreError(f"{self._server.place}: the {told_store(self._store)} was closed; open it again")
        patience = RECONNECTING_SECONDS if self._opened else OPENING_SECONDS
        self._connection = connect(self._server, store=self._store, patience=patience)
        try:
            with self._told():
                self._prepare(self._connection, create=self._create and not self._opened)
        except BaseException:
            self._give_up()
            raise
        self._opened = True

    def _prepare(self, connection: Connection, *, create: bool) -> None:
        if create:
            migrate(connection, self._server, self._store)
        check_version(connection, self._server, self._store)
        patience = int(1000 * PATIENCE_SECONDS)
        connection.execute(SESSION.format(schema=quoted(self._schema), patience=patience).encode())

    def _give_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _told(self) -> AbstractContextManager[None]:
        return told(self._server, self._store, self._connection)
