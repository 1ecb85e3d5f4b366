"""Leaves nothing of what was removed in the files of an embedded store, or says that it cannot yet.

SQLite overwrites a row that is removed (``secure_delete``), but not the copies of it that it may have left in a page
when the page was split, as happens to a few of a thousand rows. So a file from which something was removed is rebuilt
from the rows that are there. Stores note in a table that they owe it, in the transaction that removes: who dies before
it is rebuilt leaves that to the next.
"""

from __future__ import annotations

import sqlite3

from .sqlite_database import SqliteDatabase, sqlite_path

__all__ = ["forget_removed", "forget_removed_of", "note_removal", "owes_rebuild"]

EMBEDDED = "sqlite:"


def note_removal(connection: sqlite3.Connection, rows: int) -> None:
    """Notes inside the caller's transaction that rows were removed or replaced, if any were."""
    if rows > 0:
        connection.execute("UPDATE leftovers SET removals = removals + 1")


def owes_rebuild(database: SqliteDatabase) -> bool:
    """Whether something was removed from a store since its file was last rebuilt."""
    removals, rebuilt = _counted(database)
    return removals > rebuilt


def forget_removed_of(database: SqliteDatabase, *, at_once: bool = True) -> bool:
    """Empties the write-ahead log, and rebuilds the file if something was removed from it since it last was.

    Args:
        database: Of a store that notes removals.
        at_once: Whether also a large file is rebuilt, which takes a while; else that stays owed.

    Returns:
        Whether nothing is left: not while another program reads an older state, or writes, for longer than we wait.
    """
    removals, rebuilt = _counted(database)
    if removals == rebuilt:
        return database.forget_deleted()
    if not at_once and not database.is_small():
        database.forget_deleted()
        return False
    if not database.rebuild():
        return False
    with database.writing() as connection:
        connection.execute("UPDATE leftovers SET rebuilt = max(rebuilt, ?)", (removals,))
    return True


def _counted(database: SqliteDatabase) -> tuple[int, int]:
    with database.reading() as connection:
        found: tuple[int, int] = connection.execute("SELECT removals, rebuilt FROM leftovers").fetchone()
        return found


def forget_removed(uri: str, store: str) -> None:
    """Leaves nothing of what was removed in the files of an embedded store.

    On a server, data keys that are destroyed are rewritten at once; removed entries of the vault stand in its pages
    until it reuses them, and in its own logs and backups: noise, once their data key is destroyed.

    Args:
        uri: Of the store.
        store: Which one it is, as ``vault``.

    Raises:
        StoreError: Another program reads an older state, or writes, for longer than we wait.
    """
    if not uri.startswith(EMBEDDED):
        return
    database = SqliteDatabase(sqlite_path(uri, store=store), store=store)
    try:
        if not forget_removed_of(database):
            raise database.locked()
    finally:
        database.close()
