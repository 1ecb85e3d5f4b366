"""The entries of one version of the ``token`` key set, sealed again for their tokens under another."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import pyarrow as pa

from ...schemas.errors import IntegrityError
from ...schemas.vault_entry import EntryKey, VaultEntry
from .sealed_values import SealedValues
from .vault_table import VaultTable, note_purge

__all__ = ["TokenMove", "VaultVersions"]

PORTION = 20_000
"""Entries that are copied in one transaction."""
BEFORE_ALL = ("", b"")


class TokenMove(Protocol):
    """Takes the tokens of a domain from one key version to another."""

    def moved(self, tokens: pa.StringArray) -> pa.StringArray:
        """Returns the new tokens; null where one is none of the old version."""
        ...

    def check(self, tokens: pa.StringArray, values: pa.StringArray) -> None:
        """Raises what stops the move where old tokens are not those of their values."""
        ...


class VaultVersions:
    """Moves entries of a vault between key versions.

    Args:
        table: Where entries are.
        sealed: Opens and seals their values.
        lock: Of the vault.
    """

    def __init__(self, table: VaultTable, sealed: SealedValues, lock: threading.RLock) -> None:
        self._table = table
        self._sealed = sealed
        self._lock = lock

    def copy(self, domain: str, old: int, new: int, move: TokenMove) -> int:
        """Seals the entries of one key version for their tokens under another, beside the old ones.

        Doing it again, also after it was interrupted, adds only what is missing.

        Args:
            domain: Token domain.
            old: Key version of the entries.
            new: Key version of their copies.
            move: From ``old`` to ``new``.

        Returns:
            How many entries were added.

        Raises:
            IntegrityError: An entry was changed, or its token is none of the version; what was copied stays.
            StoreError: The vault cannot be used.
        """
        added, after = 0, BEFORE_ALL
        while True:
            # Read and written in one transaction: what is purged meanwhile must not come back as a copy.
            with self._lock, self._table.writing():
                entries = self._table.of_version(domain, old, after=after, most=PORTION)
                if not entries:
                    return added
                added += self._copied(entries, new, move)
                after = entries[-1].token, entries[-1].subject_ref

    def replace(
        self, domain: str, old: int, new: int, move: TokenMove, *, is_needed: Callable[[], bool]
    ) -> tuple[int, int]:
        """Copies the entries of one key version to another, as ``copy`` does, and then removes the old ones.

        Args:
            domain: Token domain.
            old: Key version of the entries.
            new: Key version of their copies.
            move: From ``old`` to ``new``.
            is_needed: Asked in the transaction that removes, in which nobody adds: whether they must stay after all.

        Returns:
            How many entries were added, and how many were removed.

        Raises:
            IntegrityError: As ``copy``.
            StoreError: The vault cannot be used.
        """
        added, removed = self.copy(domain, old, new, move), 0
        with self._lock, self._table.writing():
            if not is_needed():
                added += self.copy(domain, old, new, move)  # what was written since
                removed = self._table.delete_version(domain, old)
                note_purge(self._table, removed)
        if removed:
            self._table.forget_deleted(at_once=True)
        return added, removed

    def _copied(self, entries: Sequence[VaultEntry], new: int, move: TokenMove) -> int:
        """Adds the copies of entries that are not there, inside the caller's transaction."""
        tokens = move.moved(pa.array([entry.token for entry in entries], pa.string())).to_pylist()
        if None in tokens:
            raise IntegrityError(
                f"vault: domain {entries[0].domain!r} has an entry whose token is none of key version "
                f"{entries[0].key_version}; restore the vault, or the keyring that made it"
            )
        keys = [
            EntryKey(entry.domain, token, new, entry.subject_ref) for entry, token in zip(entries, tokens, strict=True)
        ]
        pairs = list(zip(entries, keys, self._table.event_times(keys), strict=True))
        self._table.refresh(
            [(key, entry.event_time) for entry, key, time in pairs if time is not None and time < entry.event_time]
        )
        missing = [(entry, key) for entry, key, time in pairs if time is None]
        added, _ = self._table.insert(self._sealed.resealed(missing, partial(_checked, move)))
        return added


def _checked(move: TokenMove, tokens: Sequence[str], values: Sequence[str]) -> None:
    move.check(pa.array(tokens, pa.string()), pa.array(values, pa.string()))
