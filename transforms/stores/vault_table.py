"""Where a vault keeps its entries: what a backend implements."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol, TypeVar

from ...schemas.errors import StoreLostError
from ...schemas.vault_entry import EntryKey, VaultEntry
from .distinct_candidates import StoredEntries

__all__ = ["Applied", "SealedEntry", "VaultTable", "note_purge", "persistently"]

SealedEntry = tuple[EntryKey, int, bytes]
"""Key, event time, sealed value."""
TRIES = 3
"""How often a transaction is done that broke with its connection; a store waits for its server by itself."""

Result = TypeVar("Result")


class Applied(NamedTuple):
    """What the entries have been judged by: ledger position and its link, instant, digest of the rules.

    ``purges`` counts how often entries were removed, so that who remembers entries learns of it.
    """

    position: int
    head: bytes
    at: int
    rules: str
    purges: int


class VaultTable(Protocol):
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

    def adding(self) -> AbstractContextManager[object]:
        """A transaction with no other writer but such as add, too: what was applied stays, and nothing is removed."""
        ...

    def applied(self) -> Applied | None:
        """Returns what the entries have been judged by; None: nothing yet."""
        ...

    def set_applied(self, applied: Applied) -> None:
        """Notes what the entries have been judged by."""
        ...

    def find(self, domain: str, token: str) -> list[VaultEntry]:
        """Returns the entries of a token, of all versions and subjects."""
        ...

    def find_many(self, domain: str, tokens: Sequence[str]) -> Iterable[VaultEntry]:
        """Returns the entries of some tokens of a domain, of all versions and subjects, in any order."""
        ...

    def event_times(self, keys: Sequence[EntryKey]) -> list[int | None]:
        """Returns for each key the event time of its entry, None where there is none."""
        ...

    def insert(self, entries: Sequence[SealedEntry]) -> tuple[int, int]:
        """Adds entries that are not there.

        Returns:
            How many were added; and how many another writer had added meanwhile, with an earlier time, refreshed now.
        """
        ...

    def refresh(self, times: Sequence[tuple[EntryKey, int]]) -> int:
        """Sets the event times of entries that have an earlier one, and returns how many had."""
        ...

    def judged(self, subjects: Iterable[bytes] | None) -> Iterator[list[tuple[EntryKey, int]]]:
        """Yields keys and event times of the subjects' entries (None: of all), some thousand at a time."""
        ...

    def stored(self) -> Iterator[list[SealedEntry]]:
        """Yields all entries in the order of the bytes of their keys, some thousand at a time."""
        ...

    def counts(self) -> list[tuple[str, int, int]]:
        """Returns domain, key version and number of entries of each field."""
        ...

    def some(self, most: int) -> Iterable[StoredEntries]:
        """Returns entries as columns, by domain and key version; all, where there are no more than ``most``."""
        ...

    def of_version(self, domain: str, key_version: int, *, after: tuple[str, bytes], most: int) -> list[VaultEntry]:
        """Returns entries of a domain and key version behind a token and subject, in their order."""
        ...

    def delete_version(self, domain: str, key_version: int) -> int:
        """Removes the entries of a domain and key version, and returns how many."""
        ...

    def delete(self, keys: Sequence[EntryKey]) -> None:
        """Removes entries."""
        ...

    def delete_older(self, oldest: Mapping[str, int]) -> int:
        """Removes the entries of domains with an earlier event time than given, and returns how many."""
        ...

    def owes(self) -> bool:
        """Whether something that was removed may still be in the files."""
        ...

    def forget_deleted(self, *, at_once: bool) -> bool:
        """Leaves nothing of what was removed in the files; returns whether it could, else that stays owed.

        Args:
            at_once: Whether it may take a while; else a large store's pages are left for the next who may.
        """
        ...


def note_purge(table: VaultTable, removed: int) -> None:
    """Tells those who remember entries that some are gone, inside the caller's transaction."""
    applied = table.applied()
    if removed and applied is not None:
        table.set_applied(applied._replace(purges=applied.purges + 1))


def persistently(work: Callable[[], Result]) -> Result:
    """Returns what a transaction comes to, done again if its connection broke: it was undone, or all it does is done.

    Raises:
        StoreLostError: It broke each time.
    """
    for left in reversed(range(TRIES)):
        try:
            return work()
        except StoreLostError:
            if not left:
                raise
    raise AssertionError("the last try returns or raises")
