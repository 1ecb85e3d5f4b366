"""The group roles of a server: each can do what its work takes, by every operation of every store, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest
from consentry.schemas.errors import StoreError
from consentry.schemas.store_uri import of_tenant
from consentry.schemas.vault_entry import EntryKey
from consentry.transforms.stores.access_log import LoggedAccess
from consentry.transforms.stores.known_output_table import KnownOutput
from consentry.transforms.stores.postgres_access_log import PostgresAccessLogTable
from consentry.transforms.stores.postgres_data_keys import PostgresDataKeyTable
from consentry.transforms.stores.postgres_ledger import PostgresLedgerTable
from consentry.transforms.stores.postgres_outputs import PostgresOutputTable
from consentry.transforms.stores.postgres_schema import ROLES, databases_of_roles, migrate_store, role_of
from consentry.transforms.stores.postgres_vault import PostgresVaultTable
from consentry.transforms.stores.vault import Applied
from oracles.store_place import record_of
from servers.postgres import Postgres

DENIED = "does not let this user do that; give the user the role that may"
WRITER, READER, ERASER, AUDITOR = ROLES
VAULT = (WRITER, READER, ERASER)
EVERYBODY = ROLES
OUTPUT = KnownOutput(place="/out", run="r", dataset="orders", published=True, versions={"card": 1}, noted_at=1)
SUBJECT, KEY = bytes(16), EntryKey("card", "t1", 1, bytes(16))


def applied(position: int) -> Applied:
    return Applied(position, bytes(32), position, "rules", position)


def used(context: Any) -> None:
    with context:
        pass


def every(portions: Iterator[Any]) -> list[Any]:
    return list(portions)


Operations = dict[str, tuple[tuple[str, ...], Callable[[Any], Any]]]
OPERATIONS: dict[type[Any], Operations] = {
    PostgresVaultTable: {
        "size": (VAULT, lambda table: table.size()),
        "writing": (VAULT, lambda table: used(table.writing())),
        "adding": (VAULT, lambda table: used(table.adding())),
        "forget_deleted": (VAULT, lambda table: table.forget_deleted(at_once=True)),
        "owes": (VAULT, lambda table: not table.owes()),
        "applied": (VAULT, lambda table: table.applied()),
        "set_applied": (VAULT, lambda table: table.set_applied(applied(9))),
        "find": (VAULT, lambda table: table.find("card", "t1")),
        "find_many": (VAULT, lambda table: table.find_many("card", ["t1"])),
        "of_version": (VAULT, lambda table: table.of_version("card", 1, after=("", b""), most=9)),
        "event_times": (VAULT, lambda table: table.event_times([KEY])),
        "judged": (VAULT, lambda table: every(table.judged([SUBJECT])) + every(table.judged(None))),
        "stored": (VAULT, lambda table: every(table.stored())),
        "some": (VAULT, lambda table: table.some(9)),
        "counts": (VAULT, lambda table: table.counts()),
        "insert": ((WRITER,), lambda table: table.insert([(KEY._replace(token="new"), 1, b"sealed")])),
        "refresh": ((WRITER,), lambda table: table.refresh([(KEY, 7)])),
        "delete": (VAULT, lambda table: table.delete([KEY])),
        "delete_version": (VAULT, lambda table: table.delete_version("card", 1)),
        "delete_older": (VAULT, lambda table: table.delete_older({"card": 1})),
    },
    PostgresOutputTable: {
        "is_complete": ((WRITER, ERASER), lambda table: table.is_complete or True),
        "put": ((WRITER,), lambda table: table.put(OUTPUT)),
        "remove": ((WRITER,), lambda table: table.remove("/out")),
        "all": ((WRITER, ERASER), lambda table: table.all()),
        "take_over": ((), lambda table: table.take_over([OUTPUT], complete=False)),
    },
    PostgresDataKeyTable: {
        "size": (VAULT, lambda table: table.size()),
        "subject_keys": (VAULT, lambda table: table.subject_keys([SUBJECT])),
        "stored": (VAULT, lambda table: every(table.stored())),
        "counts": (VAULT, lambda table: table.counts()),
        "wrapped_subjects": (VAULT, lambda table: table.wrapped_subjects(b"", 9)),
        "add_subject_keys": ((WRITER,), lambda table: table.add_subject_keys({b"\1" * 16: b"key"})),
        "replace_subject_keys": ((ERASER,), lambda table: table.replace_subject_keys([(SUBJECT, b"key", b"new")])),
        "destroy_subject_keys": ((ERASER,), lambda table: table.destroy_subject_keys([SUBJECT, b"\2" * 16])),
        "headers": ((WRITER, ERASER), lambda table: table.headers()),
        "day_key": ((WRITER, ERASER), lambda table: table.day_key("2026-01-01")),
        "day_keys": ((WRITER, ERASER), lambda table: table.day_keys()),
        "add_day_key": ((WRITER, ERASER), lambda table: table.add_day_key("2026-01-02", 9, b"key")),
        "shorten_day_key": ((WRITER, ERASER), lambda table: table.shorten_day_key("2026-01-01", 8, b"key")),
        "replace_day_key": ((WRITER, ERASER), lambda table: table.replace_day_key("2026-01-01", b"key", b"new")),
        "remove_day_keys": ((WRITER, ERASER), lambda table: table.remove_day_keys(9)),
        "forget_deleted": ((ERASER,), lambda table: table.forget_deleted()),
    },
    PostgresLedgerTable: {
        "size": (EVERYBODY, lambda table: table.size()),
        "writing": (EVERYBODY, lambda table: used(table.writing())),
        "last": (EVERYBODY, lambda table: table.last()),
        "link": (EVERYBODY, lambda table: table.link(1)),
        "after": (EVERYBODY, lambda table: every(table.after(0))),
        "known": (EVERYBODY, lambda table: table.known([SUBJECT])),
        "of_subject": (EVERYBODY, lambda table: table.of_subject(SUBJECT)),
        "insert": ((WRITER, ERASER), lambda table: table.insert([(table.last()[0] + 1, *entry(b"\1"))])),
    },
    PostgresAccessLogTable: {
        "size": (EVERYBODY, lambda table: table.size()),
        "last": (EVERYBODY, lambda table: table.last()),
        "link": (EVERYBODY, lambda table: table.link(1)),
        "append": ((READER, ERASER), lambda table: table.append(following)),
        "entries": ((ERASER, AUDITOR), lambda table: every(table.entries())),
    },
}
KINDS = {
    PostgresVaultTable: "vault",
    PostgresOutputTable: "vault",
    PostgresDataKeyTable: "data_keys",
    PostgresLedgerTable: "ledger",
    PostgresAccessLogTable: "access_log",
}


def entry(event_id: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    return event_id * 16, SUBJECT, b"entry", bytes(32)


def following(position: int, head: bytes) -> list[LoggedAccess]:
    return [LoggedAccess(position + 1, record_of(1), bytes(32))]


@pytest.fixture
def database(postgres: Postgres) -> Iterator[str]:
    """A database with all stores, something in each, and a user for each role."""
    name = postgres.new_database()
    uri = of_tenant(postgres.uri(name), "shop")
    with postgres.connect() as connection:
        for kind in GRANTS:
            migrate_store(uri, kind, roles=True)
        for role in ROLES:
            connection.execute(f"DROP ROLE IF EXISTS the_{role}".encode())
            connection.execute(f"CREATE ROLE the_{role} LOGIN IN ROLE {role_of(role, 'shop')}".encode())
    with closing(PostgresVaultTable(uri)) as vault:
        vault.set_applied(applied(3))
        vault.insert([(KEY, 1, b"sealed")])
    with closing(PostgresDataKeyTable(uri)) as keys:
        keys.add_subject_keys({SUBJECT: b"key"})
        keys.add_day_key("2026-01-01", 9, b"key")
    with closing(PostgresLedgerTable(uri)) as ledger:
        ledger.insert([(1, *entry(b"\0"))])
    with closing(PostgresAccessLogTable(uri)) as log:
        log.append(following)
    yield name
    postgres.drop_database(name)
    with postgres.connect() as connection:
        for role in ROLES:
            connection.execute(f"DROP ROLE the_{role}".encode())


@pytest.mark.parametrize("kind", OPERATIONS, ids=KINDS.get)
def test_the_table_of_operations_names_every_one(kind: type[Any]) -> None:
    public = {name for name in vars(kind) if not name.startswith("_")}
    assert public == {*OPERATIONS[kind], "close"}


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("kind", OPERATIONS, ids=KINDS.get)
def test_a_role_can_do_what_its_work_takes_and_nothing_else(
    postgres: Postgres, database: str, kind: type[Any], role: str
) -> None:
    uri = of_tenant(postgres.uri(database, f"the_{role}"), "shop")
    done = {}
    for name, (allowed, operation) in OPERATIONS[kind].items():
        try:
            with closing(kind(uri)) as table:
                done[name] = operation(table) is not False
        except StoreError as error:
            assert DENIED in str(error) and error.exit_code == 3, (name, error)
            done[name] = False
        assert done[name] == (role in allowed), name


GRANTS = {
    "vault": {
        "store": {"SELECT": VAULT},
        "entries": {"SELECT": VAULT, "DELETE": VAULT, "INSERT": (WRITER,)},
        "entries.event_time": {"UPDATE": (WRITER,)},
        "applied": {"SELECT": VAULT},
        "note_applied": {"EXECUTE": VAULT},
        "outputs": {"SELECT": (WRITER, ERASER), "INSERT": (WRITER,), "DELETE": (WRITER,)},
        "outputs_listed": {"SELECT": (WRITER, ERASER)},
    },
    "data_keys": {
        "store": {"SELECT": VAULT},
        "subject_keys": {"SELECT": VAULT, "INSERT": (WRITER,)},
        "subject_keys.subject": {"INSERT": (ERASER,)},
        "subject_keys.wrapped": {"UPDATE": (ERASER,)},
        "day_keys": {
            "SELECT": (WRITER, ERASER),
            "INSERT": (WRITER, ERASER),
            "UPDATE": (WRITER,),
            "DELETE": (WRITER, ERASER),
        },
        "day_keys.expires_at": {"UPDATE": (ERASER,)},
        "day_keys.wrapped": {"UPDATE": (ERASER,)},
        "check_fresh_snapshots": {"EXECUTE": (WRITER, ERASER)},
        "forget_days": {"EXECUTE": (WRITER, ERASER)},
        "forget_destroyed": {"EXECUTE": (ERASER,)},
    },
    "ledger": {
        "store": {"SELECT": EVERYBODY},
        "entries": {"SELECT": EVERYBODY, "INSERT": (WRITER, ERASER)},
    },
    "access_log": {
        "store": {"SELECT": EVERYBODY},
        "entries": {"SELECT": (ERASER, AUDITOR), "INSERT": (READER, ERASER)},
        "entries.position": {"SELECT": (WRITER, READER)},
        "entries.chain": {"SELECT": (WRITER, READER)},
    },
}
GRANTED = """
WITH schema AS (SELECT oid, nspacl FROM pg_namespace WHERE nspname = %(schema)s), granted AS (
    SELECT relname::text AS name, acl.* FROM pg_class, aclexplode(relacl) AS acl
        WHERE relnamespace = (SELECT oid FROM schema)
    UNION ALL SELECT relname || '.' || attname, acl.* FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid,
        aclexplode(attacl) AS acl WHERE relnamespace = (SELECT oid FROM schema)
    UNION ALL SELECT proname, acl.* FROM pg_proc,
        aclexplode(coalesce(proacl, acldefault('f', proowner))) AS acl WHERE pronamespace = (SELECT oid FROM schema)
    UNION ALL SELECT 'schema', acl.* FROM schema, aclexplode(nspacl) AS acl
)
SELECT name, privilege_type, is_grantable, coalesce(rolname, 'PUBLIC') FROM granted LEFT JOIN pg_roles
ON pg_roles.oid = grantee WHERE grantee <> grantor
"""


@pytest.mark.parametrize("kind", GRANTS)
def test_the_catalogue_of_the_server_has_these_grants_and_no_others(
    postgres: Postgres, database: str, kind: str
) -> None:
    wanted = {
        (name, privilege, False, role_of(role, "shop"))
        for name, privileges in GRANTS[kind].items()
        for privilege, roles in privileges.items()
        for role in roles
    }
    wanted |= {("schema", "USAGE", False, role_of(role, "shop")) for role in GRANTS[kind]["store"]["SELECT"]}
    with postgres.connect(database) as connection:
        found = connection.execute(GRANTED, {"schema": f"consentry_{kind}_shop"}).fetchall()
    assert set(found) == wanted


def test_functions_that_act_as_the_owner_look_nowhere_else(postgres: Postgres, database: str) -> None:
    with postgres.connect(database) as connection:
        found = connection.execute(
            "SELECT nspname, proconfig FROM pg_proc JOIN pg_namespace ON pg_namespace.oid = pronamespace "
            "WHERE prosecdef AND nspname LIKE 'consentry%'"
        ).fetchall()
    assert len(found) == 3
    assert all(settings == [f"search_path={schema}, pg_temp"] for schema, settings in found)


@pytest.mark.parametrize(
    "back",
    [
        applied(3)._replace(position=2),
        applied(3)._replace(at=2),
        applied(3)._replace(purges=2),
        applied(3)._replace(head=b"\1" * 32),
        applied(3)._replace(at=9, position=2),
    ],
)
@pytest.mark.parametrize("role", [*VAULT, "owner"])
def test_what_the_vault_has_applied_never_goes_back(
    postgres: Postgres, database: str, role: str, back: Applied
) -> None:
    user = role if role == "owner" else f"the_{role}"
    with closing(PostgresVaultTable(of_tenant(postgres.uri(database, user), "shop"))) as table:
        with pytest.raises(StoreError, match="failed"):
            table.set_applied(back)
        assert table.applied() == applied(3)
        table.set_applied(applied(3)._replace(at=5, rules="other"))
        table.set_applied(applied(4)._replace(at=5))
        assert table.applied() == applied(4)._replace(at=5)


def test_nobody_with_a_role_writes_what_was_applied_by_hand(postgres: Postgres, database: str) -> None:
    for role in ROLES:
        with psycopg.connect(postgres.uri(database, f"the_{role}"), autocommit=True) as connection:
            for statement in ("UPDATE %s SET position = 99", "DELETE FROM %s", "INSERT INTO %s SELECT * FROM %s"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(statement.replace("%s", "consentry_vault_shop.applied").encode())


def test_an_update_takes_privileges_away_that_an_older_release_gave(postgres: Postgres, database: str) -> None:
    uri = of_tenant(postgres.uri(database), "shop")
    with postgres.connect(database) as connection:
        connection.execute("DROP FUNCTION consentry_vault_shop.note_applied")
        connection.execute("DROP TABLE consentry_vault_shop.outputs, consentry_vault_shop.outputs_listed")
        connection.execute("UPDATE consentry_vault_shop.store SET version = 1")
        given = f"GRANT INSERT, UPDATE ON consentry_vault_shop.applied TO {role_of(READER, 'shop')}"
        connection.execute(given.encode())
    assert migrate_store(uri, "vault", roles=False) == (1, 2)
    test_nobody_with_a_role_writes_what_was_applied_by_hand(postgres, database)
    with closing(PostgresVaultTable(of_tenant(postgres.uri(database, "the_reader"), "shop"))) as table:
        table.set_applied(applied(5))


def test_it_is_told_where_else_on_the_server_the_roles_of_a_tenant_count(postgres: Postgres, database: str) -> None:
    uri = of_tenant(postgres.uri(database), "shop")
    other = postgres.new_database()
    assert other not in databases_of_roles(uri, "vault")
    migrate_store(of_tenant(postgres.uri(other), "shop"), "ledger", roles=True)
    assert other in databases_of_roles(uri, "vault")
    with closing(PostgresLedgerTable(of_tenant(postgres.uri(other, "the_auditor"), "shop"))) as table:
        assert table.last() is None, "who is in a role is in it everywhere"
    postgres.drop_database(other)
    assert other not in databases_of_roles(uri, "vault")
