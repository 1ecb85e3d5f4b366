"""Where the entries of the consent ledger are: what a backend implements."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

__all__ = ["LedgerTable", "StoredEntry"]


class StoredEntry(NamedTuple):
    """One row of the ledger: what it is found by, its packed entry, and its link."""

    position: int
    event_id: bytes
    subject: bytes
    packed: bytes
    chain: bytes


class LedgerTable(Protocol):
    """Where entries are; what a backend implements."""

    def close(self) -> None:
        """Closes the connection."""
        ...

    def size(self) -> int:
        """Returns the bytes that it takes."""
        ...

    def writing(self) -> AbstractContextManager[object]:
        """A transaction with no other writer."""
        ...

    def last(self) -> tuple[int, bytes] | None:
        """Returns position and link of the last entry."""
        ...

    def link(self, position: int) -> bytes | None:
        """Returns the link of an entry; None where there is none."""
        ...

    def after(self, position: int) -> Iterator[list[tuple[int, bytes | None, bytes]]]:
        """Yields position, packed entry and link of the entries after a position, in order, some thousand at a time.

        The packed entry is None where what the row is found by is not of that entry.
        """
        ...

    def known(self, event_ids: Sequence[bytes]) -> set[bytes]:
        """Returns those of the ids that are there."""
        ...

    def insert(self, entries: Sequence[StoredEntry]) -> None:
        """Adds entries."""
        ...

    def of_subject(self, reference: bytes) -> list[tuple[int, bytes]]:
        """Returns position and packed entry of the entries of one subject, in order."""
        ...
