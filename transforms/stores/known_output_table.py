"""The table of outputs that are known, and what their tokens need: beside the vault, so that who shares it sees all."""

from __future__ import annotations

from typing import Protocol

from ...schemas.known_output import KnownOutput
from ...schemas.store_uri import POSTGRESQL
from .sqlite_database import sqlite_path

__all__ = ["KnownOutput", "KnownOutputTable", "open_known_output_table"]


class KnownOutputTable(Protocol):
    """Where the list is; what a backend implements. Each call is one transaction, and may be done twice."""

    @property
    def is_complete(self) -> bool:
        """Whether it has all outputs whose tokens are in the vault, as far as it can know."""
        ...

    def close(self) -> None:
        """Closes the connection."""
        ...

    def put(self, output: KnownOutput) -> None:
        """Adds an output or a run; a published one takes the place of all that was published there before."""
        ...

    def remove(self, place: str, run: str | None = None, machine: str = "") -> int:
        """Removes what is known of a place, or of one run there, and returns how many entries there were."""
        ...

    def all(self) -> tuple[KnownOutput, ...]:
        """Returns all outputs and runs by place."""
        ...


def open_known_output_table(uri: str) -> KnownOutputTable:
    """Returns the table: of a file, made where there is none, or beside a vault on a server.

    Raises:
        StoreError: It is damaged or locked, or the server cannot be reached.
        ConfigError: The URI names no store.
    """
    if uri.startswith(f"{POSTGRESQL}:"):
        from .postgres_outputs import PostgresOutputTable

        return PostgresOutputTable(uri)
    from .sqlite_outputs import SqliteOutputTable

    return SqliteOutputTable(sqlite_path(uri, store="outputs"))
