"""Connections to PostgreSQL: how one is made, for how long it is tried, and what failures are called.

What the server or libpq says never passes: it may quote values, statements and names of users. Of the URI, errors tell
host, port and database. Importing this module does not import psycopg, which is an extra.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...schemas.errors import (
    ConfigError,
    PrivacyError,
    StoreDamagedError,
    StoreError,
    StoreLostError,
    StoreMissingError,
)
from ...schemas.store_uri import told_store, uri_problem, without_tenant

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[tuple[Any, ...]]

__all__ = ["Server", "connect", "failure", "is_lost", "missing", "server_of", "told"]

OPENING_SECONDS = 10.0
"""For how long a server is waited for by who opens a store."""
RECONNECTING_SECONDS = 300.0
"""For how long by who had it open: a restart or a change of servers is over by then."""
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 5.0

DEFAULTS = {
    "connect_timeout": 10,
    "fallback_application_name": "consentry",
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
"""So that a server that is gone without a word is noticed within a minute."""

LOST_CLASSES = ("08", "40")
LOST_STATES = ("57P01", "57P02", "57P03", "57P05", "25P03", "53300")
"""The connection broke, the server restarts or is full, or two transactions stood in each other's way."""
PASSING = (
    "starting up",
    "not yet accepting connections",
    "shutting down",
    "recovery mode",
    "too many clients",
    "remaining connection slots",
)
"""What a server says that will take connections again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Where a store is.

    Attributes:
        place: For people: host, port and database, nothing else of the URI.
        tenant: Whose store it is.
        parameters: Of libpq.
    """

    place: str
    tenant: str
    parameters: Mapping[str, Any] = field(repr=False)


def server_of(uri: str, *, store: str) -> Server:
    """Returns the server that a ``postgresql://…`` URI names.

    Raises:
        ConfigError: It holds a password, names no tenant, or libpq cannot read it; or the extra is missing.
    """
    problem = uri_problem(uri)
    if problem is not None:
        raise ConfigError(f"{store}: {problem.rule}; {problem.hint}")
    libpq, tenant = without_tenant(uri)
    if not tenant:
        raise ConfigError(f"{store}: names no tenant; add tenant=NAME to the URI, as a project does by itself")
    try:
        from psycopg import ProgrammingError
        from psycopg.conninfo import conninfo_to_dict
    except ImportError:
        raise ConfigError(
            f"{store}: postgresql:// needs an extra that is not installed; pip install 'consentry[postgres]'"
        ) from None
    try:
        parameters = conninfo_to_dict(libpq)
    except ProgrammingError:
        raise ConfigError(f"{store}: libpq cannot read the URI; write postgresql://HOST:PORT/DATABASE?…") from None
    return Server(place=_place(parameters), tenant=tenant, parameters={**DEFAULTS, **parameters})


def connect(server: Server, *, store: str, patience: float) -> Connection:
    """Returns a new connection, in which each statement is a transaction of its own.

    Args:
        server: That is asked.
        store: For messages.
        patience: Seconds for which a server is tried that does not answer.

    Raises:
        StoreError: It cannot be had.
    """
    import psycopg

    deadline = time.monotonic() + patience
    for pause in _pauses():
        try:
            return psycopg.connect("", autocommit=True, **server.parameters)
        except psycopg.Error as error:
            if not _may_pass(error) or time.monotonic() + pause > deadline:
                refused = _refused(error, server, store)
            else:
                time.sleep(pause)
                continue
        raise refused
    raise AssertionError("pauses have no end")


@contextmanager
def told(server: Server, store: str, connection: Connection | None) -> Iterator[None]:
    """Turns what psycopg raises into errors that may be told."""
    import psycopg

    try:
        yield
    except psycopg.Error as error:
        failed = failure(error, connection, server, store)
    else:
        return
    raise failed from None


def failure(error: psycopg.Error, connection: Connection | None, server: Server, store: str) -> PrivacyError:
    """Returns what to say of a failure, without anything that psycopg says."""
    place, state = f"{server.place}: the {told_store(store)}", error.sqlstate or ""
    if is_lost(error, connection):
        return StoreLostError(f"{place} lost its connection, or another program came in between; run again")
    if state == "42501":
        return StoreError(
            f"{place} does not let this user do that; give the user the role that may, which "
            "`consentry vault migrate --roles` makes"
        )
    if state == "55P03":
        return StoreError(f"{place} is locked by another program; try again when it is done")
    if state == "25006":
        return StoreError(f"{place} cannot be opened for writing: the server is read-only; name the primary one")
    if state in ("53100", "53200"):
        return StoreError(f"{place}: no space is left for the {told_store(store)}; make room and run again")
    if state.startswith("XX"):
        return StoreDamagedError(f"{place} is damaged; restore it from a backup")
    return StoreError(f"{place} failed ({type(error).__name__}); see that its server and tables are sound")


def missing(server: Server, store: str) -> StoreMissingError:
    """Returns the error that says that the database has no such store."""
    return StoreMissingError(
        f"{server.place}: the {told_store(store)} is missing; restore it, or make the stores of a new project with "
        "`consentry vault migrate`"
    )


def is_lost(error: psycopg.Error, connection: Connection | None) -> bool:
    """Returns whether the same can be tried again on a new connection."""
    state = error.sqlstate or ""
    if state[:2] in LOST_CLASSES or state in LOST_STATES:
        return True
    return connection is not None and connection.closed


def _place(parameters: Mapping[str, Any]) -> str:
    if "service" in parameters:
        return f"postgresql service {parameters['service']}"
    host = str(parameters.get("host") or parameters.get("hostaddr") or "")
    port = f":{parameters['port']}" if "port" in parameters else ""
    return f"postgresql://{host}{port}/{parameters.get('dbname', '')}"


def _pauses() -> Iterator[float]:
    """Yields longer and longer pauses, none like another program's: all of them come back at once otherwise."""
    pause = FIRST_PAUSE
    while True:
        yield pause * random.uniform(0.5, 1.0)  # noqa: S311 - nothing secret
        pause = min(2 * pause, LONGEST_PAUSE)


def _may_pass(error: psycopg.Error) -> bool:
    """Returns whether a server that could not be connected to may answer later."""
    said = str(error)
    return "FATAL" not in said or any(reason in said for reason in PASSING)


def _refused(error: psycopg.Error, server: Server, store: str) -> StoreError:
    """Returns why there is no connection, as far as libpq tells it in a way that can be told on."""
    place, said = f"{server.place}: the {told_store(store)}", str(error)
    if getattr(error.pgconn, "needs_password", False):
        return StoreError(
            f"{place} asks for a password and libpq finds none; set PGPASSWORD or PGPASSFILE, or write ~/.pgpass",
            exit_code=2,
        )
    if "password authentication failed" in said:
        return StoreError(f"{place} refuses user or password; see PGUSER, PGPASSWORD and ~/.pgpass", exit_code=2)
    if "FATAL" in said and "does not exist" in said:
        return StoreMissingError(f"{place}: the server has no such database or user; name the right ones")
    if "certificate" in said or "SSL" in said:
        return StoreError(f"{place}: no secure connection can be made; see sslmode, sslrootcert and the server's key")
    return StoreError(
        f"{place} cannot be reached; see that the server runs and lets this machine and user in",
        reason="store_unreachable",
    )
