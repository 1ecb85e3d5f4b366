"""Schemas of PostgreSQL: one for each tenant and store, versioned, made and brought up to date by scripts.

A schema of its own for each keeps tenants apart whatever a statement says, lets ``pg_dump --schema`` save data keys
apart from the vault, and gives privileges by store. Its table ``store`` says what it is and which version it has.
"""

from __future__ import annotations

import hashlib
from contextlib import closing
from importlib import resources
from typing import TYPE_CHECKING

from ...schemas.errors import StoreError
from ...schemas.store_uri import told_store
from .postgres_connection import OPENING_SECONDS, Server, connect, missing, server_of, told

if TYPE_CHECKING:
    from .postgres_connection import Connection

__all__ = [
    "ROLES",
    "check_version",
    "databases_of_roles",
    "grant_roles",
    "lock_key",
    "migrate",
    "migrate_store",
    "quoted",
    "role_of",
    "schema_of",
    "store_version",
]

VERSIONS = {"vault": 2, "data_keys": 1, "ledger": 1, "access_log": 1}
"""The version of each schema that this program works with; a script leads to each."""
ROLES = ("writer", "reader", "eraser", "auditor")
MAY_CONNECT = """
SELECT WHERE has_database_privilege(%(role)s, current_database(), 'CONNECT')
AND has_database_privilege(%(role)s, current_database(), 'TEMPORARY')
"""
"""Rows that are looked up or added go through temporary tables."""
ELSEWHERE = """
SELECT DISTINCT datname::text FROM pg_shdepend JOIN pg_database ON pg_database.oid = dbid
JOIN pg_roles ON refclassid = 'pg_authid'::regclass AND refobjid = pg_roles.oid
WHERE rolname = ANY(%s) AND datname <> current_database() ORDER BY 1
"""
LONGEST_TENANT = 32
"""In a name; PostgreSQL cuts names off after 63 bytes, and cut names could meet."""


def schema_of(store: str, tenant: str) -> str:
    """Returns the name of the schema of a tenant's store; no two tenants share one.

    >>> schema_of("vault", "shop")
    'consentry_vault_shop'
    """
    return f"consentry_{store}_{_short(tenant)}"


def role_of(role: str, tenant: str) -> str:
    """Returns the name of a group role of a tenant; roles are the same in all databases of a server.

    >>> role_of("reader", "shop")
    'consentry_reader_shop'
    """
    return f"consentry_{role}_{_short(tenant)}"


def quoted(name: str) -> str:
    """Returns a name as it stands in statements."""
    return '"' + name.replace('"', '""') + '"'


def lock_key(schema: str) -> int:
    """Returns the number of the lock that writers of a store take."""
    return int.from_bytes(hashlib.sha256(schema.encode()).digest()[:8], "big", signed=True)


def check_version(connection: Connection, server: Server, store: str) -> None:
    """Refuses a store that is missing, or that is not of this program's version.

    Raises:
        StoreError: It is; ``StoreMissingError`` where it is missing.
    """
    version, known = _version(connection, server, store), VERSIONS[store]
    if version is None:
        raise missing(server, store)
    if version < known:
        raise StoreError(
            f"{server.place}: the {told_store(store)} has schema version {version}, this program needs {known}; "
            "run `consentry vault migrate`"
        )
    if version > known:
        raise StoreError(
            f"{server.place}: the {told_store(store)} has schema version {version}, this program knows {known}; "
            "update it"
        )


def migrate(connection: Connection, server: Server, store: str) -> tuple[int, int]:
    """Makes a store or brings it up to date, all or nothing, and returns its version before and after; 0: none.

    Raises:
        StoreError: It is of a newer program, or the database does not keep its texts as UTF-8.
    """
    schema, known = schema_of(store, server.tenant), VERSIONS[store]
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (lock_key(schema),))
        before = _version(connection, server, store) or 0
        if before >= known:
            check_version(connection, server, store)
            return before, before
        if connection.info.parameter_status("server_encoding") != "UTF8":
            raise StoreError(f"{server.place}: keeps its texts in another way than UTF-8; make a database with UTF8")
        connection.execute(f"SET LOCAL search_path = {quoted(schema)}, pg_temp")
        if before == 0:
            connection.execute(f"CREATE SCHEMA {quoted(schema)}")
            connection.execute("CREATE TABLE store (kind text NOT NULL, version integer NOT NULL)")
            connection.execute("INSERT INTO store VALUES (%s, 0)", (store,))
        for version in range(before + 1, known + 1):
            connection.execute(_script(f"postgres_{store}_{version}.sql", schema).encode())
        connection.execute("UPDATE store SET version = %s", (known,))
    return before, known


def grant_roles(connection: Connection, server: Server, store: str) -> None:
    """Makes the tenant's group roles where they are missing, and gives each what it needs of a store and no more."""
    schema = schema_of(store, server.tenant)
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (lock_key("roles"),))
        connection.execute(f"SET LOCAL search_path = {quoted(schema)}, pg_temp")
        for role in ROLES:
            name = role_of(role, server.tenant)
            if not connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (name,)).fetchall():
                connection.execute(f"CREATE ROLE {quoted(name)} NOLOGIN".encode())
            if not connection.execute(MAY_CONNECT, {"role": name}).fetchall():
                database = quoted(connection.info.dbname)
                connection.execute(f"GRANT CONNECT, TEMPORARY ON DATABASE {database} TO {quoted(name)}".encode())
        script = _script(f"postgres_{store}_roles.sql", schema)
        for role in ROLES:
            script = script.replace("{" + role + "}", quoted(role_of(role, server.tenant)))
        connection.execute(script.encode())


def store_version(uri: str, store: str) -> int:
    """Returns the version of a store's schema, 0 where there is none; errors as for ``migrate_store``."""
    server = server_of(uri, store=store)
    with closing(connect(server, store=store, patience=OPENING_SECONDS)) as connection, told(server, store, connection):
        return _version(connection, server, store) or 0


def migrate_store(uri: str, store: str, *, roles: bool) -> tuple[int, int]:
    """Makes a store or brings it up to date, and returns its version before and after; 0: there was none.

    Args:
        uri: ``postgresql://…`` with the tenant, and a user that may make schemas.
        store: Name of the store.
        roles: Whether the tenant's group roles are made. Where there are, they get their privileges in any case.

    Raises:
        StoreError: The server cannot be reached or does not let the user do it, or the store is of a newer program.
        ConfigError: The URI cannot be used.
    """
    server = server_of(uri, store=store)
    with closing(connect(server, store=store, patience=OPENING_SECONDS)) as connection, told(server, store, connection):
        before, after = migrate(connection, server, store)
        if roles or _has_roles(connection, server):  # a release may need other privileges than the one before
            grant_roles(connection, server, store)
    return before, after


def databases_of_roles(uri: str, store: str) -> tuple[str, ...]:
    """Returns the other databases of a store's server in which the tenant's group roles have privileges, too.

    Roles belong to a server: who is in one has it in all of these, as where a test beside it has the same tenant.
    """
    server = server_of(uri, store=store)
    names = [role_of(role, server.tenant) for role in ROLES]
    with closing(connect(server, store=store, patience=OPENING_SECONDS)) as connection, told(server, store, connection):
        return tuple(name for (name,) in connection.execute(ELSEWHERE, (names,)).fetchall())


def _has_roles(connection: Connection, server: Server) -> bool:
    names = [role_of(role, server.tenant) for role in ROLES]
    row = connection.execute("SELECT count(*) FROM pg_roles WHERE rolname = ANY(%s)", (names,)).fetchone()
    return row == (len(ROLES),)


def _short(tenant: str) -> str:
    """Returns a tenant as part of a name. No tenant has a tilde, so that a shortened one is like no other."""
    if len(tenant) <= LONGEST_TENANT:
        return tenant
    return f"{tenant[:15]}~{hashlib.sha256(tenant.encode()).hexdigest()[:16]}"


def _version(connection: Connection, server: Server, store: str) -> int | None:
    from psycopg import errors

    table = f"{quoted(schema_of(store, server.tenant))}.store"
    if connection.execute("SELECT to_regclass(%s)", (table,)).fetchone() == (None,):
        return None
    try:
        row = connection.execute(f"SELECT kind, version FROM {table}".encode()).fetchone()  # noqa: S608
    except errors.UndefinedTable:
        return None
    if row is None or row[0] != store:
        raise StoreError(
            f"{server.place}: the schema of the {told_store(store)} is something else; restore it from a backup"
        )
    return int(row[1])


def _script(name: str, schema: str) -> str:
    script = resources.files(__package__).joinpath("migrations", name).read_text(encoding="utf-8")
    return script.replace("{schema}", quoted(schema))
