"""Stores on a real PostgreSQL: whole or not at all through restarts, tenants apart, roles with least privileges."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg
import pytest
from consentry.schemas.errors import (
    AccessLogError,
    ConfigError,
    PrivacyError,
    StoreError,
    StoreLostError,
    StoreMissingError,
)
from consentry.schemas.store_uri import of_tenant, told_store
from consentry.transforms.stores import postgres_connection, postgres_database, postgres_schema
from consentry.transforms.stores.access_log import AccessLog, open_access_log
from consentry.transforms.stores.consent_ledger import ConsentLedger, open_ledger
from consentry.transforms.stores.data_keys import DataKeys, open_data_keys
from consentry.transforms.stores.postgres_database import PostgresDatabase
from consentry.transforms.stores.postgres_schema import VERSIONS, migrate_store, role_of, schema_of
from consentry.transforms.stores.vault import Vault, open_vault
from oracles.consent_oracle import Said
from oracles.store_place import Place, candidates_of, event_of, record_of, rules_of, vault_keys
from oracles.vault_oracle import Row
from servers.postgres import Postgres

STORES = ["vault", "data_keys", "ledger", "access_log"]
RULES = rules_of({"card": ["support"]}, {"support": "consent"})
CANARY = "CANARY-4111111111111111"


@pytest.fixture
def database(postgres: Postgres) -> Iterator[str]:
    name = postgres.new_database()
    yield name
    postgres.drop_database(name)


@pytest.fixture
def uri(postgres: Postgres, database: str) -> str:
    return of_tenant(postgres.uri(database), "shop")


@pytest.fixture
def store(uri: str) -> Iterator[PostgresDatabase]:
    with closing(PostgresDatabase(uri, store="data_keys", create=True)) as opened:
        yield opened


def add(store: PostgresDatabase, day: str) -> None:
    with store.writing() as connection:
        connection.execute("INSERT INTO day_keys VALUES (%s, 1, '')", (day,))


def days(store: PostgresDatabase) -> list[str]:
    asked = "SELECT day FROM day_keys ORDER BY day"
    return [day for (day,) in store.run(lambda connection: connection.execute(asked).fetchall())]


# Opening


@pytest.mark.parametrize("kind", STORES)
def test_a_missing_store_is_not_made_unasked(uri: str, kind: str) -> None:
    with pytest.raises(
        StoreMissingError, match=f"the {told_store(kind)} is missing; restore it, or make the stores of a new"
    ) as e:
        PostgresDatabase(uri, store=kind)
    assert e.value.exit_code == 2
    PostgresDatabase(uri, store=kind, create=True).close()
    PostgresDatabase(uri, store=kind).close()
    PostgresDatabase(uri, store=kind, create=True).close()


@pytest.mark.parametrize(
    ("version", "says"),
    [
        (3, "has schema version 3, this program knows 2; update it"),
        (1, "has schema version 1, this program needs 2; run `consentry vault migrate`"),
    ],
)
@pytest.mark.parametrize("create", [True, False])
def test_a_store_of_another_version_is_refused(
    postgres: Postgres, database: str, uri: str, version: int, says: str, create: bool
) -> None:
    PostgresDatabase(uri, store="vault", create=True).close()
    with postgres.connect(database) as connection:
        connection.execute(f"UPDATE consentry_vault_shop.store SET version = {version}".encode())
    if version == 1 and create:
        return  # it is brought up to date
    with pytest.raises(StoreError, match=f"the vault {says}"):
        PostgresDatabase(uri, store="vault", create=create)


def test_a_script_leads_to_each_version_all_or_nothing(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    PostgresDatabase(uri, store="vault", create=True).close()
    scripts = {"postgres_vault_3.sql": "CREATE TABLE more (n integer)", "postgres_vault_4.sql": "SELECT nonsense"}
    monkeypatch.setattr(postgres_schema, "_script", lambda name, schema: scripts[name])
    monkeypatch.setitem(postgres_schema.VERSIONS, "vault", 4)
    with pytest.raises(StoreError, match="needs 4; run `consentry vault migrate`"):
        PostgresDatabase(uri, store="vault")
    with pytest.raises(StoreError, match="failed"):
        migrate_store(uri, "vault", roles=False)
    scripts["postgres_vault_4.sql"] = "INSERT INTO more VALUES (7)"
    monkeypatch.setattr(postgres_schema, "_has_roles", lambda connection, server: False)
    assert migrate_store(uri, "vault", roles=False) == (2, 4)
    assert migrate_store(uri, "vault", roles=False) == (4, 4)
    with closing(PostgresDatabase(uri, store="vault")) as store:
        assert store.run(lambda connection: connection.execute("SELECT n FROM more").fetchall()) == [(7,)]


def test_programs_that_make_the_same_stores_at_once_all_get_them(uri: str, postgres: Postgres, database: str) -> None:
    made: list[object] = []

    def make() -> None:
        for kind in STORES:
            with closing(PostgresDatabase(uri, store=kind, create=True)):
                made.append(kind)

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 16


def test_tenants_in_one_database_never_meet(postgres: Postgres, database: str) -> None:
    names = ["shop", "Shop", "shop.b", "shop-b", "x" * 64, "x" * 63 + "y"]
    opened = [
        PostgresDatabase(of_tenant(postgres.uri(database), name), store="data_keys", create=True) for name in names
    ]
    for name, store in zip(names, opened, strict=True):
        assert days(store) == []
        add(store, name)
    assert [days(store) for store in opened] == [[name] for name in names]
    schemas = {schema_of(kind, name) for kind in STORES for name in names}
    assert len(schemas) == len(STORES) * len(names) and all(len(schema.encode()) <= 63 for schema in schemas)
    for store in opened:
        store.close()


@pytest.mark.parametrize(
    ("database", "user", "says", "code"),
    [
        ("none", "owner", "the server has no such database or user; name the right ones", 2),
        ("postgres", "nobody_here", "the server has no such database or user; name the right ones", 2),
        ("postgres", "needs_password", "asks for a password and libpq finds none; set PGPASSWORD or PGPASSFILE", 2),
    ],
)
def test_a_server_that_refuses_is_told_without_names(
    postgres: Postgres, database: str, user: str, says: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PGPASSWORD", raising=False)
    with postgres.connect() as connection:
        connection.execute("DROP ROLE IF EXISTS needs_password")
        connection.execute("CREATE ROLE needs_password LOGIN PASSWORD 'right'")
    with pytest.raises(StoreError, match=says) as caught:
        PostgresDatabase(of_tenant(postgres.uri(database, user), "shop"), store="ledger")
    assert caught.value.exit_code == code and user not in str(caught.value)
    monkeypatch.setenv("PGPASSWORD", CANARY)
    if user == "needs_password":
        with pytest.raises(StoreError, match=r"refuses user or password; see PGUSER, PGPASSWORD") as caught:
            PostgresDatabase(of_tenant(postgres.uri(database, user), "shop"), store="ledger")
        assert CANARY not in str(caught.value)
        monkeypatch.setenv("PGPASSWORD", "right")
        with pytest.raises(StoreMissingError, match="the ledger is missing"):
            PostgresDatabase(of_tenant(postgres.uri(database, user), "shop"), store="ledger")


def test_no_server_is_told_after_some_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_database, "OPENING_SECONDS", 0.2)
    with pytest.raises(StoreError, match="postgresql:///nowhere/shop: the vault cannot be reached; see that the"):
        PostgresDatabase("postgresql://me@/shop?host=/nowhere&tenant=shop", store="vault")


@pytest.mark.parametrize("uri", ["postgresql://u:secret@h/d?tenant=shop", "postgresql://h/d?password=secret&tenant=s"])
def test_a_password_in_a_uri_is_refused_before_anything_is_asked(uri: str) -> None:
    with pytest.raises(ConfigError, match="vault: holds a password; let libpq find it") as caught:
        PostgresDatabase(uri, store="vault")
    assert "secret" not in str(caught.value)


def test_a_uri_that_names_nobody_or_nonsense_is_refused() -> None:
    with pytest.raises(ConfigError, match="vault: names no tenant"):
        PostgresDatabase("postgresql://h/d", store="vault")
    with pytest.raises(ConfigError, match="vault: libpq cannot read the URI"):
        PostgresDatabase("postgresql://h/d?nonsense=1&tenant=shop", store="vault")


def test_without_the_extra_it_is_told_how_to_get_it() -> None:
    code = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from consentry.transforms.stores.access_log import open_access_log\n"
        "try: open_access_log('postgresql://h/d?tenant=shop')\n"
        "except Exception as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == (
        "access_log: postgresql:// needs an extra that is not installed; pip install 'consentry[postgres]'"
    )


# Transactions


class SlipError(Exception):
    """An error of who uses the store."""


def test_a_transaction_is_whole_or_not_at_all(store: PostgresDatabase, uri: str) -> None:
    with closing(PostgresDatabase(uri, store="data_keys")) as beside:
        with store.writing():
            add(store, "a")
            assert days(store) == ["a"] and days(beside) == []
        assert days(beside) == ["a"]
        with pytest.raises(SlipError), store.writing():
            add(store, "b")
            raise SlipError
        with pytest.raises(StoreError, match=r"the store of data keys failed \(UniqueViolation\)"), store.writing():
            add(store, "c")
            add(store, "c")
        assert days(store) == days(beside) == ["a"]


def test_a_failure_that_somebody_swallowed_does_not_pass_for_done(store: PostgresDatabase) -> None:
    with pytest.raises(StoreError, match="undid a transaction that had failed"), store.writing():
        add(store, "a")
        with pytest.raises(StoreError):
            add(store, "a")
    assert days(store) == []


def test_what_the_server_says_is_not_passed_on(store: PostgresDatabase) -> None:
    with pytest.raises(StoreError) as caught, store.writing() as connection:
        connection.execute("INSERT INTO secret_table VALUES ('4242')")
    assert "secret_table" not in str(caught.value) and "4242" not in str(caught.value)
    assert caught.value.__cause__ is None and caught.value.__suppress_context__


def test_writers_wait_for_each_other_and_adders_do_not(store: PostgresDatabase, uri: str, impatient: None) -> None:
    with (
        closing(PostgresDatabase(uri, store="data_keys")) as one,
        closing(PostgresDatabase(uri, store="data_keys")) as two,
    ):
        with one.adding(), two.adding():
            pass
        for outer, inner in ((one.writing, two.writing), (one.writing, two.adding), (one.adding, two.writing)):
            with (
                outer(),
                pytest.raises(StoreError, match="the store of data keys is locked by another program"),
                inner(),
            ):
                pass
        with one.writing():
            assert days(two) == []


def test_threads_share_a_connection_without_mixing_transactions(store: PostgresDatabase) -> None:
    failures: list[BaseException] = []

    def work(name: str) -> None:
        try:
            for number in range(20):
                with pytest.raises(SlipError), store.writing():
                    add(store, f"{name}{number}-undone")
                    raise SlipError
                add(store, f"{name}{number}")
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert days(store) == sorted(f"{name}{number}" for name in "abc" for number in range(20))


def test_commits_are_on_the_disk_whatever_is_usual_in_the_database(postgres: Postgres, database: str, uri: str) -> None:
    asked = "SELECT current_setting('synchronous_commit')"
    for usual, here in (("off", "on"), ("local", "local"), ("remote_apply", "remote_apply")):
        with postgres.connect() as connection:
            connection.execute(f"ALTER DATABASE {database} SET synchronous_commit = {usual}".encode())
        with closing(PostgresDatabase(uri, store="vault", create=True)) as store:
            assert store.run(lambda connection: connection.execute(asked).fetchall()) == [(here,)]


# A server that goes away


@contextmanager
def away(postgres: Postgres, seconds: float) -> Iterator[None]:
    """The server loses its power now, and is back after some time."""
    postgres.crash()
    back = threading.Timer(seconds, postgres.start)
    back.start()
    try:
        yield
    finally:
        back.join()


def test_what_is_asked_while_the_server_is_away_is_answered_when_it_is_back(
    store: PostgresDatabase, postgres: Postgres
) -> None:
    add(store, "a")
    with away(postgres, 1.0):
        assert days(store) == ["a"]
    with away(postgres, 0.5):
        add(store, "b")
    assert days(store) == ["a", "b"]


def test_a_transaction_that_loses_its_server_is_undone_and_says_so(store: PostgresDatabase, postgres: Postgres) -> None:
    with pytest.raises(StoreLostError, match="lost its connection"), store.writing():
        add(store, "a")
        with away(postgres, 0.1):
            pass
        add(store, "b")
    assert days(store) == []
    add(store, "c")
    assert days(store) == ["c"]


def test_a_server_that_stays_away_ends_the_waiting(
    store: PostgresDatabase, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_database, "RECONNECTING_SECONDS", 0.3)
    postgres.crash()
    try:
        started = time.monotonic()
        with pytest.raises(StoreError, match="the store of data keys cannot be reached"):
            days(store)
        assert time.monotonic() - started < 30
    finally:
        postgres.start()
    assert days(store) == []


def test_a_session_that_an_administrator_ends_is_begun_anew(
    store: PostgresDatabase, postgres: Postgres, database: str
) -> None:
    with postgres.connect() as connection:
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (database,))
    assert days(store) == []


class Office:
    """Stores of the tenant for a user of the database."""

    def __init__(self, uri: str, *, create: bool = False) -> None:
        keys = vault_keys()
        self.data_keys: DataKeys = open_data_keys(uri, keys, create=create)
        self.ledger: ConsentLedger = open_ledger(uri, keys, self.data_keys, create=create)
        self.vault: Vault = open_vault(uri, keys, self.data_keys, create=create)
        self.place = Place("sqlite", "")

    def close(self) -> None:
        for store in (self.vault, self.ledger, self.data_keys):
            store.close()

    def hear(self, subject: str, decision: str = "granted", at: int = 1) -> None:
        self.ledger.append([event_of(Said(subject, "support", decision, at, "form"))], now=1)

    def write(self, *tokens: str, subject: str = "ana", now: int = 20) -> Any:
        rows = [Row("card", 1, token, CANARY, subject, 10) for token in tokens]
        return self.vault.write(candidates_of(rows, self.place), ledger=self.ledger, rules=RULES, now=now)

    def values(self, token: str) -> list[str]:
        return [self.vault.open_value(entry) for entry in self.vault.find("card", token)]


@pytest.fixture
def office(uri: str) -> Iterator[Office]:
    with closing(Office(uri, create=True)) as opened:
        yield opened


def test_a_write_whose_server_is_away_in_the_middle_is_done_in_the_end(office: Office, postgres: Postgres) -> None:
    office.hear("ana")
    office.write("t0")
    insert, times = office.vault._table.insert, []

    def insert_twice(entries: Any) -> Any:
        times.append(len(entries))
        if len(times) == 1:
            insert(entries)
            with away(postgres, 0.3):
                pass
        return insert(entries)

    office.vault._table.insert = insert_twice  # type: ignore[method-assign]
    assert office.write(*(f"t{number}" for number in range(50))).written == 49
    assert times == [49, 49]
    assert all(office.values(f"t{number}") == [CANARY] for number in range(50))


# Programs that are killed, and programs at the same time


def test_programs_killed_in_the_middle_leave_whole_transactions_and_no_lock(
    postgres: Postgres, database: str, programs: Any, tmp_path: Any
) -> None:
    from oracles.store_process import tasks_of

    with Place(postgres.uri(database), tmp_path) as place:
        place.ledger().append([event_of(Said(f"s{n}", "support", "granted", 1, "form")) for n in range(50)], now=1)
        rows = [Row("card", 1, f"t{n}", CANARY, f"s{n % 50}", 10) for n in range(4000)]
        plain = [[each.domain, each.version, each.token, each.value, each.subject, each.event_time] for each in rows]
        batches = [plain[start : start + 250] for start in range(0, len(rows), 250)]
        asked = {"do": "write", "rules": {"card": ["support"]}, "bases": {"support": "consent"}, "now": 30}
        for patience in (0.05, 0.2, 0.5):
            with tasks_of(place, {**asked, "batches": batches}) as program:
                time.sleep(patience)
                program.kill()
            (held,) = place.rows("vault", "SELECT count(*) FROM entries")[0]
            assert held % 250 == 0
            waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted"
            for _ in range(100):
                if place.rows("vault", waiting) == [(0,)]:
                    break
                time.sleep(0.05)
            assert place.rows("vault", waiting) == [(0,)]
        one, two = programs.do(place, {**asked, "batches": batches}, {**asked, "batches": batches[::-1]})
        assert one["written"] + two["written"] == 4000 - held
        assert place.rows("vault", "SELECT count(*) FROM entries") == [(4000,)]
        vault = place.vault()
        assert all(
            vault.open_value(entry) == CANARY for n in range(0, 4000, 97) for entry in vault.find("card", f"t{n}")
        )


def test_nothing_that_was_withdrawn_stays_however_writes_and_withdrawals_meet(uri: str, office: Office) -> None:
    """Writers go on while customers withdraw one after the other; in the end the vault is as the ledger says."""
    subjects = [f"s{number}" for number in range(30)]
    for subject in subjects:
        office.hear(subject)
    office.write("first", subject="s0")
    failures: list[BaseException] = []

    def write(start: int) -> None:
        try:
            with closing(Office(uri)) as mine:
                for turn in range(8):
                    for subject in subjects[start::2]:
                        mine.write(f"t{turn}", f"u{turn}", subject=subject, now=20 + turn)
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=write, args=(start,)) for start in (0, 1, 0)]
    for thread in threads:
        thread.start()
    for subject in subjects[::3]:
        office.hear(subject, "withdrawn", 15)
        office.vault.follow(office.ledger, RULES, 30)
    for thread in threads:
        thread.join()
    assert failures == []
    office.vault.follow(office.ledger, RULES, 40)
    gone = {office.place.reference(subject) for subject in subjects[::3]}
    held = {entry.subject_ref for turn in range(8) for entry in office.vault.find("card", f"t{turn}")}
    assert held == {office.place.reference(subject) for subject in subjects} - gone


# What is left


def test_statistics_of_the_server_keep_no_sealed_value_and_no_key(
    office: Office, postgres: Postgres, database: str
) -> None:
    office.hear("ana")
    office.write(*(f"t{number}" for number in range(500)))
    office.data_keys.keys_for([number.to_bytes(16, "big") for number in range(3000)], create=True)
    with postgres.connect(database) as connection:
        connection.execute("ANALYZE")
        seen = connection.execute("SELECT attname FROM pg_stats WHERE schemaname LIKE 'consentry%'").fetchall()
    assert ("subject",) in seen
    assert not {("sealed",), ("wrapped",), ("entry",)} & set(seen)


def test_raw_values_and_keys_never_reach_the_server(office: Office, postgres: Postgres, database: str) -> None:
    office.hear("ana")
    office.write("t1")
    assert office.values("t1") == [CANARY]
    keys = office.data_keys.keys_for([office.place.reference("ana")], create=False)
    with pytest.raises(PrivacyError):
        office.write("\0")
    stored = postgres.at_rest() + postgres.log.read_bytes()
    assert b"t1" in stored
    assert CANARY.encode() not in stored and not any(key in stored for key in keys.values())


# Who may do what


@pytest.fixture
def roles(postgres: Postgres, database: str, office: Office, uri: str) -> Iterator[dict[str, str]]:
    """URIs of users, each of one role; everything was made by an administrator who is no superuser."""
    open_access_log(uri, create=True).close()
    for kind in STORES:
        migrate_store(uri, kind, roles=True)
    uris: dict[str, str] = {}
    with postgres.connect() as connection:
        for role in postgres_schema.ROLES:
            connection.execute(f"DROP ROLE IF EXISTS a_{role}".encode())
            connection.execute(f"CREATE ROLE a_{role} LOGIN IN ROLE {role_of(role, 'shop')}".encode())
            uris[role] = of_tenant(postgres.uri(database, f"a_{role}"), "shop")
    yield uris
    with postgres.connect() as connection:
        for role in postgres_schema.ROLES:
            connection.execute(f"DROP ROLE a_{role}".encode())


DENIED = "does not let this user do that; give the user the role that may"


@contextmanager
def denied() -> Iterator[None]:
    with pytest.raises(StoreError, match=DENIED):
        yield


def test_the_writer_writes_and_cannot_destroy_forge_or_read_the_log(roles: dict[str, str], office: Office) -> None:
    with closing(Office(roles["writer"])) as writer:
        writer.hear("ana")
        assert writer.write("t1", "t2").written == 2
        assert writer.values("t1") == [CANARY]
        writer.hear("ana", "withdrawn", 5)
        assert writer.vault.follow(writer.ledger, RULES, 21) == 2
        writer.data_keys.day_key("2026-01-01", expires_at=100)
        writer.data_keys.day_key("2026-01-01", expires_at=90)
        assert writer.data_keys.sweep(95) == 1
        with denied():
            writer.data_keys.destroy([writer.place.reference("ana")])
        assert set(writer.data_keys.keys_for([writer.place.reference("ana")], create=False))
        with closing(open_access_log(roles["writer"])) as log:
            for attempt in (log.verify, lambda: list(log.records())):
                with denied():
                    attempt()
            with pytest.raises(AccessLogError, match=DENIED):
                log.append([record_of(1)])


def test_the_desk_reads_and_logs_and_cannot_add_values_or_read_the_log(roles: dict[str, str], office: Office) -> None:
    office.hear("ana")
    office.hear("bob")
    office.write("t1")
    with closing(Office(roles["reader"])) as desk, closing(open_access_log(roles["reader"])) as log:
        assert desk.values("t1") == [CANARY]
        log.append([record_of(1)])
        log.append([record_of(2), record_of(3)])
        for attempt in (log.verify, lambda: list(log.records())):
            with denied():
                attempt()
        with denied():
            desk.write("t2", subject="bob")
        with denied():
            desk.hear("cid")
        with denied():
            desk.data_keys.destroy([desk.place.reference("ana")])
        with denied():
            desk.data_keys.day_key("2026-01-01", expires_at=100)
        office.hear("ana", "withdrawn", 5)
        assert desk.vault.follow(desk.ledger, RULES, 21) == 1
    with closing(open_access_log(roles["auditor"])) as read:
        assert read.verify().entries == 3


def test_the_eraser_destroys_and_cannot_add_values_or_change_the_past(roles: dict[str, str], office: Office) -> None:
    office.hear("ana")
    office.hear("bob")
    office.write("t1")
    reference = office.place.reference("ana")
    with closing(Office(roles["eraser"])) as eraser:
        for ends in (1000, 40):  # what a legal obligation holds back has a key, and is released
            eraser.data_keys.day_key("hold:e-1:card", expires_at=ends)
        assert eraser.data_keys.sweep(40) == 1
        eraser.data_keys.destroy([reference])
        eraser.ledger.record_erasure(reference, at=30)
        assert eraser.vault.follow(eraser.ledger, RULES, 31) == 1
        with denied():
            eraser.write("t2", subject="bob")
        with closing(open_access_log(roles["eraser"])) as log:
            assert list(log.records()) == []
            log.append([record_of(1)])
    assert office.data_keys.keys_for([reference], create=True) == {}


def test_the_auditor_verifies_and_sees_no_value_and_no_key(roles: dict[str, str], office: Office) -> None:
    office.hear("ana")
    with pytest.raises(StoreError, match=DENIED):
        open_data_keys(roles["auditor"], vault_keys())
    with pytest.raises(StoreError, match=DENIED):
        open_vault(roles["auditor"], vault_keys(), office.data_keys)
    with closing(open_ledger(roles["auditor"], vault_keys(), office.data_keys)) as ledger:
        assert ledger.verify().entries == 1
        with denied():
            ledger.append([event_of(Said("ana", "support", "granted", 9, "form"))], now=1)


STATEMENTS = {
    "UPDATE consentry_vault_shop.entries SET sealed = ''": (),
    "UPDATE consentry_vault_shop.entries SET event_time = 1": ("writer",),
    "UPDATE consentry_vault_shop.entries SET token = ''": (),
    "TRUNCATE consentry_vault_shop.entries": (),
    "SELECT wrapped FROM consentry_data_keys_shop.day_keys": ("writer", "eraser"),
    "DELETE FROM consentry_data_keys_shop.subject_keys": (),
    "UPDATE consentry_data_keys_shop.subject_keys SET subject = ''": (),
    "TRUNCATE consentry_data_keys_shop.subject_keys": (),
    "UPDATE consentry_ledger_shop.entries SET chain = ''": (),
    "DELETE FROM consentry_ledger_shop.entries": (),
    "TRUNCATE consentry_ledger_shop.entries": (),
    "UPDATE consentry_access_log_shop.entries SET actor = ''": (),
    "DELETE FROM consentry_access_log_shop.entries": (),
    "TRUNCATE consentry_access_log_shop.entries": (),
    "SELECT actor FROM consentry_access_log_shop.entries": ("eraser", "auditor"),
    "SELECT position, chain FROM consentry_access_log_shop.entries": ("writer", "reader", "eraser", "auditor"),
    "UPDATE consentry_vault_shop.store SET version = 9": (),
    "ALTER TABLE consentry_ledger_shop.entries DISABLE TRIGGER USER": (),
    "DROP TABLE consentry_vault_shop.entries": (),
    "CREATE TABLE consentry_vault_shop.mine (n integer)": (),
    "SELECT consentry_data_keys_shop.forget_days()": ("writer", "eraser"),
    "SELECT consentry_data_keys_shop.forget_destroyed('consentry_data_keys_shop.subject_keys_0')": ("eraser",),
}


@pytest.mark.parametrize("role", postgres_schema.ROLES)
def test_a_role_has_these_privileges_and_no_others(roles: dict[str, str], role: str) -> None:
    for statement, allowed in STATEMENTS.items():
        with psycopg.connect(roles[role].replace("&tenant=shop", ""), autocommit=True) as connection:
            try:
                connection.execute(statement.encode())
                done = True
            except psycopg.errors.InsufficientPrivilege:
                done = False
        assert done == (role in allowed), statement


def test_nobody_brings_a_destroyed_key_back_or_rewrites_another_table(
    office: Office, postgres: Postgres, database: str
) -> None:
    reference = office.place.reference("ana")
    office.data_keys.destroy([reference])
    with postgres.connect(database) as connection:
        for statement in (
            "UPDATE consentry_data_keys_shop.subject_keys SET wrapped = '\\x00'",
            "DELETE FROM consentry_data_keys_shop.subject_keys",
        ):
            with pytest.raises(psycopg.errors.RaiseException, match="a destroyed key stays destroyed"):
                connection.execute(statement.encode())
        with pytest.raises(psycopg.errors.RaiseException, match="no table of keys"):
            connection.execute("SELECT consentry_data_keys_shop.forget_destroyed('consentry_vault_shop.entries_0')")


@pytest.mark.parametrize("call", ["forget_days()", "forget_destroyed('consentry_data_keys_shop.subject_keys_0')"])
def test_tables_are_not_rewritten_by_a_snapshot_from_before(
    office: Office, postgres: Postgres, database: str, call: str
) -> None:
    """It would bring back the keys that somebody destroyed since."""
    office.data_keys.destroy([office.place.reference("ana")])
    with postgres.connect(database) as connection:
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        with pytest.raises(psycopg.errors.RaiseException, match="only in a transaction that reads what is committed"):
            connection.execute(f"SELECT consentry_data_keys_shop.{call}".encode())


def test_a_database_that_reads_old_snapshots_by_default_changes_nothing(
    office: Office, postgres: Postgres, database: str
) -> None:
    with postgres.connect() as connection:
        asked = f"ALTER DATABASE {database} SET default_transaction_isolation = 'repeatable read'"
        connection.execute(asked.encode())
    references = [office.place.reference(name) for name in ("ana", "bob")]
    keys = office.place.data_keys()
    keys.keys_for(references, create=True)
    keys.destroy(references[:1])
    assert list(office.place.data_keys().keys_for(references, create=True)) == references[1:]


def test_an_administrator_without_all_power_can_make_everything(postgres: Postgres, database: str) -> None:
    with postgres.connect() as connection:
        connection.execute("DROP ROLE IF EXISTS admin")
        connection.execute("CREATE ROLE admin LOGIN CREATEROLE")
        connection.execute(f"GRANT CREATE ON DATABASE {database} TO admin".encode())
    uri = of_tenant(postgres.uri(database, "admin"), "shop2")
    assert [migrate_store(uri, kind, roles=True) for kind in STORES] == [(0, VERSIONS[kind]) for kind in STORES]
    with closing(Office(uri)) as office:
        office.hear("ana")
        assert office.write("t1").written == 1
        office.data_keys.destroy([office.place.reference("ana")])
    postgres.drop_database(database)
    with postgres.connect() as connection:
        for role in postgres_schema.ROLES:
            connection.execute(f'DROP ROLE "{role_of(role, "shop2")}"'.encode())
        connection.execute("DROP ROLE admin")


def test_the_log_is_refused_when_its_server_is_away_and_nothing_is_shown(
    uri: str, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_database, "RECONNECTING_SECONDS", 0.2)
    log: AccessLog = open_access_log(uri, create=True)
    log.append([record_of(1)])
    postgres.crash()
    try:
        with pytest.raises(AccessLogError, match=r"cannot be reached.*; without a written log nothing is shown"):
            log.append([record_of(2)])
    finally:
        postgres.start()
    log.append([record_of(3)])
    assert [record.at for record in log.records()] == [record_of(1).at, record_of(3).at]
    log.close()


assert postgres_connection.RECONNECTING_SECONDS > 120, "a server may be away for minutes"
