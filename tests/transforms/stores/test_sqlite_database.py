"""A store in an SQLite file: opened only if it is what it should be, written whole or not at all, told plainly."""

from __future__ import annotations

import os
import sqlite3
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from consentry.schemas.errors import ConfigError, StoreError
from consentry.schemas.store_uri import told_store
from consentry.transforms.stores import sqlite_database
from consentry.transforms.stores.sqlite_database import SqliteDatabase, sqlite_path
from oracles.store_place import Place

STORES = ["ledger", "access_log", "data_keys", "vault"]
NOBODY = 65_534
Open = Callable[..., SqliteDatabase]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def opened(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    monkeypatch.setattr(sqlite_database, "PATIENCE_SECONDS", 0.05)
    databases: list[SqliteDatabase] = []

    def open_database(store: str = "data_keys", *, create: bool = True, at: Path = path) -> SqliteDatabase:
        databases.append(SqliteDatabase(at, store=store, create=create))
        return databases[-1]

    yield open_database
    for database in databases:
        database.close()


def add(database: SqliteDatabase, day: str) -> None:
    with database.writing() as connection:
        connection.execute("INSERT INTO day_keys VALUES (?, 1, x'00')", (day,))


def days(database: SqliteDatabase) -> list[str]:
    with database.reading() as connection:
        return [day for (day,) in connection.execute("SELECT day FROM day_keys ORDER BY day")]


# Opening


@pytest.mark.parametrize("store", STORES)
def test_a_missing_store_is_not_made_unasked(opened: Open, path: Path, store: str) -> None:
    with pytest.raises(
        StoreError, match=f"the {told_store(store)} is missing; restore it, or begin a project with `consentry init`"
    ):
        opened(store, create=False)
    assert not path.exists()


@pytest.mark.parametrize("store", STORES)
def test_a_store_is_made_once_and_opened_again(opened: Open, path: Path, store: str) -> None:
    for create in (True, False, True):
        opened(store, create=create).close()
    assert path.stat().st_size > 0


def test_a_store_is_readable_by_its_owner_alone(opened: Open, path: Path) -> None:
    old = os.umask(0)
    try:
        add(opened(), "a")
    finally:
        os.umask(old)
    modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()}
    assert "store.db-wal" in modes and set(modes.values()) == {0o600}


def test_folders_of_a_new_store_are_made(opened: Open, tmp_path: Path) -> None:
    opened(at=tmp_path / "a" / "b" / "store.db")
    assert (tmp_path / "a" / "b" / "store.db").exists()


@pytest.mark.parametrize("create", [True, False])
@pytest.mark.parametrize("other", STORES)
def test_the_file_of_another_store_is_refused(opened: Open, path: Path, other: str, create: bool) -> None:
    store = STORES[STORES.index(other) - 1]
    opened(other).close()
    with pytest.raises(StoreError, match=f"is no {told_store(store)} of Consentry; name the right file"):
        opened(store, create=create)
    opened(other, create=False)


@pytest.mark.parametrize("create", [True, False])
def test_a_file_that_is_no_database_is_refused_and_left_alone(opened: Open, path: Path, create: bool) -> None:
    path.write_bytes(b"subject,purpose\nana,support\n" * 1000)
    before = path.read_bytes()
    with pytest.raises(StoreError, match="the ledger is damaged; restore it from a backup") as caught:
        opened("ledger", create=create)
    assert caught.value.reason == "store_damaged"
    assert path.read_bytes() == before


def test_an_empty_file_is_no_store(opened: Open, path: Path) -> None:
    path.touch()
    with pytest.raises(StoreError, match="is no ledger of Consentry"):
        opened("ledger", create=False)


@pytest.mark.parametrize("create", [True, False])
def test_a_database_of_another_program_is_refused_and_left_alone(opened: Open, path: Path, create: bool) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (value TEXT)")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="is no vault of Consentry; name the right file"):
        opened("vault", create=create)
    assert path.read_bytes() == before


@pytest.mark.parametrize("create", [True, False])
def test_a_store_of_a_newer_program_is_refused(opened: Open, path: Path, create: bool) -> None:
    opened("vault").close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 3")
    connection.close()
    with pytest.raises(StoreError, match="has schema version 3, this program knows 2; update it"):
        opened("vault", create=create)


@pytest.mark.parametrize("create", [True, False])
def test_a_folder_in_place_of_the_file_is_refused(opened: Open, path: Path, create: bool) -> None:
    path.mkdir()
    with pytest.raises(StoreError, match=r"the vault cannot be (made|opened)"):
        opened("vault", create=create)


def test_a_folder_that_cannot_be_made_is_told(opened: Open, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"the vault cannot be made \(.*\)"):
        opened("vault", at=tmp_path / "file" / "store.db")


@contextmanager
def somebody(path: Path) -> Iterator[None]:
    """Owner of a file and its folder is somebody who is not root, and that is who we are."""
    if os.geteuid() != 0:
        yield
        return
    for owned in (path, path.parent):
        os.chown(owned, NOBODY, NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize(("of_file", "of_folder"), [(0o000, 0o700), (0o400, 0o700), (0o600, 0o500)])
def test_a_store_without_permission_is_told(opened: Open, of_file: int, of_folder: int) -> None:
    with tempfile.TemporaryDirectory() as folder:  # pytest's own may be entered by their owner alone
        path = Path(folder) / "store.db"
        opened(at=path).close()
        with somebody(path):
            path.chmod(of_file)
            path.parent.chmod(of_folder)
            try:
                with pytest.raises(
                    StoreError, match="the store of data keys cannot be opened for writing; check its permissions"
                ):
                    add(opened(create=False, at=path), "a")
            finally:
                path.parent.chmod(0o700)


def test_a_store_cut_off_in_the_middle_is_told(opened: Open, path: Path) -> None:
    database = opened()
    with database.writing() as connection:
        connection.executemany("INSERT INTO day_keys VALUES (?, 1, zeroblob(200))", [(f"{n:04}",) for n in range(500)])
    database.close()
    with path.open("r+b") as file:
        file.seek(3 * 4096)
        file.write(os.urandom(4096 * 10))
    with pytest.raises(StoreError, match="the store of data keys is damaged; restore it from a backup") as caught:
        days(opened(create=False))
    assert caught.value.reason == "store_damaged"


@pytest.mark.parametrize("uri", ["", "sqlite:", "postgresql://u:secret@host/db", "/path/store.db", "SQLITE:x"])
def test_only_uris_of_files_are_taken(uri: str) -> None:
    with pytest.raises(
        ConfigError, match=r"ledger: unknown kind of store; write sqlite:FILE or postgresql://…"
    ) as caught:
        sqlite_path(uri, store="ledger")
    assert "secret" not in str(caught.value)


def test_a_path_may_hold_anything() -> None:
    assert sqlite_path("sqlite:a b/ü:%20?.db", store="vault") == Path("a b/ü:%20?.db")


# Transactions


class SlipError(Exception):
    """An error of who uses the store."""


def test_what_was_written_is_there_for_others(opened: Open) -> None:
    one, two = opened(), opened(create=False)
    add(one, "a")
    assert days(two) == days(one) == ["a"]


def test_an_exception_undoes_the_transaction(opened: Open) -> None:
    database = opened()
    add(database, "a")
    with pytest.raises(SlipError), database.writing() as connection:
        connection.execute("INSERT INTO day_keys VALUES ('b', 1, x'00')")
        raise SlipError
    add(database, "c")
    assert days(database) == ["a", "c"]


def test_an_inner_transaction_is_a_part_of_the_outer_one(opened: Open) -> None:
    database, beside = opened(), opened()
    with database.writing():
        add(database, "a")
        with database.reading():
            assert days(database) == ["a"]
        assert days(beside) == []
    assert days(beside) == ["a"]
    with pytest.raises(SlipError), database.writing():
        add(database, "b")
        raise SlipError
    assert days(beside) == days(database) == ["a"]


def test_an_inner_failure_undoes_the_outer_transaction(opened: Open) -> None:
    database = opened()
    with pytest.raises(StoreError, match=r"the store of data keys failed \(SQLITE_CONSTRAINT"), database.writing():
        add(database, "a")
        add(database, "a")
    assert days(database) == []
    add(database, "b")
    assert days(opened()) == ["b"]


def test_what_sqlite_says_is_not_passed_on(opened: Open) -> None:
    with pytest.raises(StoreError) as caught, opened().writing() as connection:
        connection.execute("INSERT INTO secret_table VALUES ('4111111111111111')")
    assert "secret_table" not in str(caught.value) and "4111" not in str(caught.value)
    assert caught.value.__cause__ is None and caught.value.__suppress_context__


def test_a_reader_sees_one_state(opened: Open) -> None:
    reader, writer = opened(), opened()
    add(writer, "a")
    with reader.reading():
        assert days(reader) == ["a"]
        add(writer, "b")
        assert days(reader) == ["a"]
    assert days(reader) == ["a", "b"]


def test_a_full_disk_undoes_the_transaction_and_is_told(opened: Open) -> None:
    database = opened()
    add(database, "a")
    with database.reading() as connection:
        connection.execute("PRAGMA max_page_count = 6").fetchall()
    rows = [(f"b{number}", 1, bytes(1000)) for number in range(100)]
    with (
        pytest.raises(StoreError, match="no space is left for the store of data keys; make room and run again"),
        database.writing() as connection,
    ):
        connection.executemany("INSERT INTO day_keys VALUES (?, ?, ?)", rows)
    assert days(database) == ["a"]
    with database.reading() as connection:
        connection.execute("PRAGMA max_page_count = 1000").fetchall()
    with database.writing() as connection:
        connection.executemany("INSERT INTO day_keys VALUES (?, ?, ?)", rows)
    assert len(days(opened())) == 101


def test_a_lock_of_another_program_is_told_after_some_patience(opened: Open) -> None:
    one, two = opened(), opened()
    with one.writing():
        with pytest.raises(
            StoreError, match="the store of data keys is locked by another program; try again when it is done"
        ):
            add(two, "a")
        assert days(two) == []
    add(two, "a")
    assert days(one) == ["a"]


def test_a_lock_is_waited_for(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_database, "PATIENCE_SECONDS", 20.0)
    one, two = opened(), opened()
    locked, release = threading.Event(), threading.Timer(0.2, lambda: done.set())
    done = threading.Event()

    def hold() -> None:
        with one.writing():
            locked.set()
            done.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    locked.wait(10)
    release.start()
    add(two, "a")
    holder.join()
    assert days(one) == ["a"]


def test_threads_share_a_connection_without_mixing_transactions(opened: Open) -> None:
    database, failures = opened(), list[BaseException]()

    def work(name: str) -> None:
        try:
            for number in range(20):
                with pytest.raises(SlipError), database.writing():
                    add(database, f"{name}{number}-undone")
                    raise SlipError
                add(database, f"{name}{number}")
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert days(database) == sorted(f"{name}{number}" for name in "abc" for number in range(20))


# On the disk


def settings(connection: sqlite3.Connection) -> dict[str, Any]:
    names = ("secure_delete", "synchronous", "journal_mode", "temp_store")
    return {name: connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names}


@pytest.mark.parametrize("create", [True, False])
def test_writes_are_durable_and_deletions_overwrite(opened: Open, create: bool) -> None:
    opened().close()
    with opened(create=create).reading() as connection:
        assert settings(connection) == {"secure_delete": 1, "synchronous": 2, "journal_mode": "wal", "temp_store": 2}


@pytest.mark.parametrize("count", [1, 3000])
def test_what_was_deleted_is_nowhere_in_the_files(opened: Open, path: Path, count: int) -> None:
    database, beside = opened(), opened()
    secrets = [os.urandom(24) for _ in range(count)]
    with database.writing() as connection:
        rows = [(f"{number * 7919 % 10007:05}", number, secret) for number, secret in enumerate(secrets)]
        connection.executemany("INSERT INTO day_keys VALUES (?, ?, ?)", rows)
    with beside.writing() as connection:
        connection.execute("DELETE FROM day_keys WHERE expires_at % 3 = 0")
    gone = set(secrets[::3])
    stored = b"".join(each.read_bytes() for each in path.parent.iterdir())
    assert gone & {stored[start : start + 24] for start in range(len(stored))}
    beside.forget_deleted()
    stored = b"".join(each.read_bytes() for each in path.parent.iterdir())
    parts = {part for secret in gone for part in (secret[:12], secret[12:])}
    assert not parts & {stored[start : start + 12] for start in range(len(stored))}


def test_after_closing_one_file_is_left(opened: Open, path: Path) -> None:
    database = opened()
    add(database, "a")
    database.close()
    assert [each.name for each in path.parent.iterdir()] == ["store.db"]


def test_programs_that_open_the_same_stores_at_once_all_get_them(tmp_path: Path, programs: Any) -> None:
    with Place("sqlite", tmp_path) as place:
        place.ledger(), place.vault(), place.access_log()
    for _ in range(5):
        assert programs.do(place, {"do": "create"}, {"do": "create"}) == [{"opened": 3}] * 2


def test_a_writer_of_the_vault_waits_for_several_that_store_much_and_each_longer_than_we_wait_elsewhere(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_database, "PATIENCE_SECONDS", 0.1)
    one, two = opened("vault"), opened("vault")
    locked = threading.Event()

    def hold() -> None:
        with one.writing():
            locked.set()
            time.sleep(0.5)

    holder = threading.Thread(target=hold)
    holder.start()
    locked.wait(10)
    with two.writing() as connection:
        assert connection.execute("PRAGMA busy_timeout").fetchone() == (100,)
    holder.join()


@pytest.mark.parametrize("made", [False, True], ids=["without tables yet", "without a write-ahead log yet"])
def test_a_store_that_another_program_is_just_making_is_waited_for(
    opened: Open, path: Path, monkeypatch: pytest.MonkeyPatch, made: bool
) -> None:
    if made:
        opened().close()
    monkeypatch.setattr(sqlite_database, "PATIENCE_SECONDS", 20.0)
    making = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    making.execute("PRAGMA journal_mode = DELETE").fetchall()
    making.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.2, lambda: making.execute("ROLLBACK"))
    release.start()
    try:
        database = opened(create=not made)
    finally:
        release.join()
        making.close()
    with database.reading() as connection:
        assert settings(connection)["journal_mode"] == "wal"
    add(database, "a")
