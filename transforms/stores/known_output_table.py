"""The table of outputs that are known, and what their tokens need: beside the vault, so that who shares it sees all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from ...schemas.store_uri import POSTGRESQL
from .sqlite_database import sqlite_path

__all__ = ["KnownOutput", "KnownOutputTable", "open_known_output_table"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownOutput:
    """An output, or a run that makes one.

    Attributes:
        place: Absolute path, or URI.
        run: Id of the run that made it.
        dataset: What its records are.
        published: False while its run is at work.
        versions: By token domain, the key version of its tokens.
        noted_at: Microseconds UTC.
        also: Domains and versions that it may have besides, while its tokens are being moved.
        machine: Name of the machine that a path is of, if it is another than this.
    """

    place: str
    run: str
    dataset: str
    published: bool
    versions: Mapping[str, int]
    noted_at: int
    also: frozenset[tuple[str, int]] = frozenset()
    machine: str = ""

    @property
    def needs(self) -> frozenset[tuple[str, int]]:
        """All domains and versions that its tokens are of, or may be."""
        return frozenset(self.versions.items()) | self.also

    @property
    def told(self) -> str:
        """Where it is, for people."""
        return f"{self.place} on {self.machine}" if self.machine else self.place


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
