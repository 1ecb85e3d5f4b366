"""Leaves nothing of what was removed in the files of an embedded store, or says that it cannot yet."""

from __future__ import annotations

from .sqlite_database import SqliteDatabase, sqlite_path

__all__ = ["forget_removed"]

EMBEDDED = "sqlite:"


def forget_removed(uri: str, store: str) -> None:
    """Empties the write-ahead log of an embedded store, where removed rows stand until then; the file has none.

    On a server, data keys that are destroyed are rewritten at once; removed entries of the vault stand in its pages
    until it reuses them, and in its own logs and backups: noise, once their data key is destroyed.

    Args:
        uri: Of the store.
        store: Which one it is, as ``vault``.

    Raises:
        StoreError: Another program reads an older state for longer than we wait.
    """
    if not uri.startswith(EMBEDDED):
        return
    database = SqliteDatabase(sqlite_path(uri, store=store), store=store)
    try:
        if not database.forget_deleted():
            raise database.locked()
    finally:
        database.close()
