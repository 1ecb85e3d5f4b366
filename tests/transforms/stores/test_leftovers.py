"""Nothing of a removed row is left in an embedded store's files, in whatever order rows came and went."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from consentry.schemas.vault_entry import EntryKey
from consentry.transforms.stores import sqlite_database
from consentry.transforms.stores.leftovers import forget_removed
from consentry.transforms.stores.sqlite_data_keys import SqliteDataKeyTable
from consentry.transforms.stores.sqlite_database import SqliteDatabase
from consentry.transforms.stores.sqlite_vault import SqliteVaultTable
from consentry.transforms.stores.vault_table import Applied, SealedEntry

PIECE = 8
SIZES = (40, 60, 90, 200, 1500)
SEEDS = range(5)
Order = Callable[[random.Random, list[SealedEntry]], object]
ORDERS: dict[str, Order] = {
    "as they come": lambda chance, rows: chance.shuffle(rows),
    "sorted": lambda _, rows: rows.sort(),
    "backwards": lambda _, rows: rows.sort(reverse=True),
    "by time": lambda _, rows: rows.sort(key=lambda row: row[1]),
}


def entry(chance: random.Random) -> SealedEntry:
    key = EntryKey("payment_card", f"{chance.randrange(10**16):016}", 1, chance.randbytes(16))
    return key, 1_700_000_000_000_000 + chance.randrange(10**9), chance.randbytes(chance.choice(SIZES))


def entries(chance: random.Random, count: int = 800) -> list[SealedEntry]:
    return [entry(chance) for _ in range(count)]


def written(table: SqliteVaultTable, rows: Sequence[SealedEntry], chance: random.Random) -> None:
    size = chance.choice((7, 100, 2000))
    for start in range(0, len(rows), size):
        table.insert(rows[start : start + size])


def left(folder: Path, secrets: Sequence[bytes]) -> int:
    """How many pieces of the secrets are in the files of a folder, at any place."""
    held = b"".join(path.read_bytes() for path in folder.iterdir())
    pieces = b"".join(secret[: len(secret) // PIECE * PIECE] for secret in secrets)
    windows = np.concatenate(
        [np.frombuffer(held[at:][: (len(held) - at) // PIECE * PIECE], "<u8") for at in range(PIECE)]
    )
    return int(np.isin(np.frombuffer(pieces, "<u8"), windows).sum())


@pytest.mark.parametrize("order", ORDERS.values(), ids=list(ORDERS))
@pytest.mark.parametrize("seed", SEEDS)
def test_no_piece_of_a_removed_value_is_left(tmp_path: Path, seed: int, order: Order) -> None:
    chance = random.Random(seed)
    with closing(SqliteVaultTable(tmp_path / "vault.db", create=True)) as table:
        for _ in range(2):
            rows = entries(chance)
            order(chance, rows)
            written(table, rows, chance)
            gone = chance.sample(rows, len(rows) // 2)
            table.delete([key for key, _, _ in gone])
            assert table.forget_deleted(at_once=True)
            assert left(tmp_path, [sealed for _, _, sealed in gone]) == 0
            held = b"".join(path.read_bytes() for path in tmp_path.iterdir())
            assert not [key.token for key, _, _ in gone if key.token.encode() in held]
        assert sum(count for *_, count in table.counts()) == 800


@pytest.mark.parametrize("seed", SEEDS)
def test_no_piece_of_a_destroyed_key_is_left(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    with closing(SqliteDataKeyTable(tmp_path / "data_keys.db", create=True)) as table:
        keys = {chance.randbytes(16): chance.randbytes(chance.choice((40, 62, 120))) for _ in range(2000)}
        for start in range(0, len(keys), size := chance.choice((1, 50, 2000))):
            table.add_subject_keys(dict(list(keys.items())[start : start + size]))
        gone, replaced = (chance.sample(list(keys), 500) for _ in range(2))
        table.destroy_subject_keys(gone)
        assert left(tmp_path, [keys[reference] for reference in gone]) == 0
        table.replace_subject_keys([(each, keys[each], chance.randbytes(62)) for each in replaced])
        assert table.forget_deleted()
        assert left(tmp_path, [keys[reference] for reference in {*gone, *replaced}]) == 0


def test_overwriting_alone_leaves_pieces(tmp_path: Path) -> None:
    """Why files are rebuilt. Should this fail one day, SQLite does it all, and rebuilding can go."""
    found = 0
    for seed in SEEDS:
        chance, folder = random.Random(seed), tmp_path / str(seed)
        rows = entries(chance)
        with closing(SqliteVaultTable(folder / "vault.db", create=True)) as table:
            written(table, rows, chance)
            table.delete([key for key, _, _ in rows[::2]])
        with closing(SqliteDatabase(folder / "vault.db", store="vault")) as database:
            assert database.forget_deleted()
        found += left(folder, [sealed for _, _, sealed in rows[::2]])
    assert found


def owed(path: Path) -> bool:
    with closing(sqlite3.connect(path)) as connection:
        ((removals, rebuilt),) = connection.execute("SELECT removals, rebuilt FROM leftovers").fetchall()
    return bool(removals > rebuilt)


def test_who_dies_before_the_file_is_rebuilt_leaves_that_to_the_next(tmp_path: Path) -> None:
    path, rows = tmp_path / "vault.db", entries(random.Random(1))
    with closing(SqliteVaultTable(path, create=True)) as table:
        written(table, rows, random.Random(1))
        assert not owed(path)
        table.delete([key for key, _, _ in rows[::2]])
    assert owed(path)
    forget_removed(f"sqlite:{path}", "vault")
    assert not owed(path) and left(tmp_path, [sealed for _, _, sealed in rows[::2]]) == 0


def test_a_large_file_is_rebuilt_by_who_may_take_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_database, "SMALL_BYTES", 0)
    path, rows = tmp_path / "vault.db", entries(random.Random(2))
    with closing(SqliteVaultTable(path, create=True)) as table:
        written(table, rows, random.Random(2))
        assert table.forget_deleted(at_once=False), "nothing was removed"
        table.delete([key for key, _, _ in rows[::2]])
        assert not table.forget_deleted(at_once=False) and owed(path) and table.owes()
        assert table.forget_deleted(at_once=True) and not owed(path) and not table.owes()
        assert left(tmp_path, [sealed for _, _, sealed in rows[::2]]) == 0


def test_what_is_removed_by_another_while_the_file_is_rebuilt_stays_owed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, rows = tmp_path / "vault.db", entries(random.Random(3))
    with closing(SqliteVaultTable(path, create=True)) as table, closing(SqliteVaultTable(path)) as other:
        written(table, rows, random.Random(3))
        table.delete([rows[0][0]])
        rebuild = SqliteDatabase.rebuild

        def rebuild_and_lose(database: SqliteDatabase) -> bool:
            done = rebuild(database)
            other.delete([rows[1][0]])
            return done

        monkeypatch.setattr(SqliteDatabase, "rebuild", rebuild_and_lose)
        assert table.forget_deleted(at_once=True) and owed(path)
        monkeypatch.undo()
        assert table.forget_deleted(at_once=True) and not owed(path)


@pytest.mark.parametrize("begin", ["BEGIN", "BEGIN IMMEDIATE"], ids=["reads an older state", "writes"])
def test_a_file_that_another_program_uses_is_not_said_to_be_clean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begin: str
) -> None:
    monkeypatch.setattr(sqlite_database, "PATIENCE_SECONDS", 0.1)
    path, rows = tmp_path / "vault.db", entries(random.Random(4), 50)
    with closing(SqliteVaultTable(path, create=True)) as table:
        written(table, rows, random.Random(4))
        table.delete([rows[0][0]])
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute(begin)
            other.execute("SELECT * FROM entries").fetchall()
            assert not table.forget_deleted(at_once=True) and owed(path)
        assert table.forget_deleted(at_once=True) and not owed(path)


def test_a_store_of_an_older_version_owes_what_it_may_have_left(tmp_path: Path) -> None:
    path = tmp_path / "vault.db"
    with closing(SqliteVaultTable(path, create=True)) as table:
        table.set_applied(Applied(1, b"", 1, "", 1))
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("DROP TABLE leftovers; PRAGMA user_version = 1")
    with closing(SqliteVaultTable(path)):
        assert owed(path)
