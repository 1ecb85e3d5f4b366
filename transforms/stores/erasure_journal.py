"""The journal of erasures: how far each is, the marks of the erased, and what a legal obligation holds back, sealed.

It names nobody. An erasure that was interrupted goes on from the state that stands here; a state is written only when
all of it is done and on the disk.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from ...schemas.erasure import ErasureCase, ErasureState, HeldBack
from .sqlite_database import sqlite_path

__all__ = [
    "ErasureCase",
    "ErasureJournal",
    "ErasureState",
    "ErasureTable",
    "HeldBack",
    "erasures_exist",
    "open_erasures",
]

STORE = "erasures"


class ErasureTable(Protocol):
    """Where erasures are; what a backend implements."""

    def close(self) -> None:
        """Closes the connection."""
        ...

    def case_of(self, subject: bytes) -> ErasureCase | None:
        """Returns the erasure of a subject."""
        ...

    def cases(self) -> list[ErasureCase]:
        """Returns all erasures, the oldest first."""
        ...

    def put(self, case: ErasureCase, marks: Collection[bytes], held: Sequence[HeldBack] | None) -> None:
        """Writes a case, adds marks of its subject, and puts what is held back in the place of what was."""
        ...

    def marks(self) -> dict[bytes, set[bytes]]:
        """Returns all marks by subject."""
        ...

    def held(self, subject: bytes) -> list[HeldBack]:
        """Returns what is held back of a subject."""
        ...


class ErasureJournal:
    """The erasures of a tenant.

    Args:
        table: Where they are.
    """

    def __init__(self, table: ErasureTable) -> None:
        self._table = table

    def close(self) -> None:
        """Closes the store."""
        self._table.close()

    def case_of(self, subject: bytes) -> ErasureCase | None:
        """Returns the erasure of a subject; None where there is none."""
        return self._table.case_of(subject)

    def cases(self) -> list[ErasureCase]:
        """Returns all erasures, the oldest first."""
        return self._table.cases()

    def put(
        self, case: ErasureCase, *, marks: Collection[bytes] = (), held: Sequence[HeldBack] | None = None
    ) -> ErasureCase:
        """Writes a case and what belongs to it, all or nothing, and returns it.

        Args:
            case: New, or a later state of one that is there.
            marks: Of its subject, added to those that are there.
            held: What is held back from now on; None: what was.
        """
        self._table.put(case, marks, held)
        return case

    def marks(self) -> dict[bytes, set[bytes]]:
        """Returns all marks by subject; one without marks has an empty set."""
        return self._table.marks()

    def held(self, subject: bytes) -> list[HeldBack]:
        """Returns what is held back of a subject."""
        return self._table.held(subject)


def erasures_exist(uri: str) -> bool:
    """Whether a project has a journal of erasures; the first erasure makes it.

    Args:
        uri: ``sqlite:FILE``.

    Raises:
        ConfigError: The URI names no store of this version.
    """
    path = sqlite_path(uri, store=STORE)
    return path.exists() and path.stat().st_size > 0  # an empty file is what a look at it by other programs leaves


def open_erasures(uri: str, *, create: bool = False) -> ErasureJournal:
    """Returns the journal of a project.

    Args:
        uri: ``sqlite:FILE``.
        create: Whether a missing store is made.

    Raises:
        StoreError: The store is missing, damaged or locked.
        ConfigError: The URI names no store of this version.
    """
    from .sqlite_erasures import SqliteErasureTable

    return ErasureJournal(SqliteErasureTable(sqlite_path(uri, store=STORE), create=create))
