"""The vault: raw values, sealed under their subjects' data keys, held only while a purpose permits it.

The vault follows the ledger. It keeps which position, instant and rules its entries have been judged by, and before
every write, publication and detokenization judges again what has news, in the transaction of that act. So a
withdrawal, late ones included, purges what lost its last permission, even under a running job.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence

from ...schemas.vault_entry import VaultEntry
from ..crypto.key_sets import VaultKeys
from .consent_ledger import ConsentLedger
from .data_keys import DataKeys
from .distinct_candidates import Candidates
from .entry_columns import EntryColumns
from .open_tables import open_vault_table
from .sealed_values import SealedValues
from .vault_following import followed, has_news
from .vault_judge import Rules
from .vault_table import Applied, SealedEntry, VaultTable, note_purge, persistently
from .vault_versions import TokenMove, VaultVersions
from .vault_writing import Moment, VaultWriter, Written

__all__ = ["Applied", "Candidates", "Rules", "SealedEntry", "TokenMove", "Vault", "VaultTable", "Written", "open_vault"]


class Vault:
    """The vault of a tenant; shared by threads.

    Args:
        table: Where entries are.
        keys: Of the tenant.
        data_keys: The subjects' keys.
    """

    def __init__(self, table: VaultTable, keys: VaultKeys, data_keys: DataKeys) -> None:
        self._table = table
        self._lock = threading.RLock()
        self._sealed = SealedValues(keys.tenant, data_keys)
        self._writer = VaultWriter(table, self._sealed)
        self._versions = VaultVersions(table, self._sealed, self._lock)

    def close(self) -> None:
        """Closes the store."""
        self._table.close()

    def find(self, domain: str, token: str, key_version: int | None = None) -> list[VaultEntry]:
        """Returns the entries of a token, of one key version or of all.

        Raises:
            StoreError: The vault cannot be read.
        """
        return [entry for entry in self._table.find(domain, token) if key_version in (None, entry.key_version)]

    def find_many(self, domain: str, tokens: Sequence[str], key_version: int | None = None) -> EntryColumns:
        """Returns the entries of tokens, of one key version or of all, in any order.

        Args:
            domain: Of the tokens.
            tokens: Each once.
            key_version: None: all.

        Raises:
            StoreError: The vault cannot be read.
        """
        # In order, so that a store larger than its cache reads each of its pages once.
        entries = EntryColumns.of(self._table.find_many(domain, sorted(tokens)))
        if key_version is None:
            return entries
        return entries.take([row for row, version in enumerate(entries.key_versions) if version == key_version])

    def open_values(self, entries: Iterable[VaultEntry]) -> list[str | None]:
        """Returns the canonical value of each entry, as ``open_value`` does, with one look-up of the data keys.

        Returns:
            None for an entry that was changed or moved, or whose data key was, or is gone.

        Raises:
            StoreError: The data keys cannot be read.
        """
        return self._sealed.open_each(EntryColumns.of(entries))

    def open_value(self, entry: VaultEntry) -> str:
        """Returns the canonical value of an entry.

        Raises:
            IntegrityError: The entry or its data key was changed, moved or destroyed.
        """
        return self._sealed.open(entry)

    def entries_of(self, reference: bytes) -> list[VaultEntry]:
        """Returns all entries of a subject.

        Raises:
            StoreError: The vault cannot be read.
        """
        keys = [key for entries in self._table.judged([reference]) for key, _ in entries]
        found = {entry.key: entry for key in keys for entry in self._table.find(key.domain, key.token)}
        return [found[key] for key in keys if key in found]

    def remove_subject(self, reference: bytes) -> int:
        """Removes all entries of a subject for good, and returns how many there were.

        Raises:
            StoreError: The vault cannot be written.
        """
        with self._lock, self._table.writing():
            keys = [key for entries in self._table.judged([reference]) for key, _ in entries]
            self._table.delete(keys)
            note_purge(self._table, len(keys))
        self._table.forget_deleted(at_once=True)
        return len(keys)

    def follow(self, ledger: ConsentLedger, rules: Rules, now: int) -> int:
        """Judges again what has news in the ledger, has come into effect, or is under new rules.

        Args:
            ledger: Of the same tenant.
            rules: Of the policy in force.
            now: Microseconds UTC.

        Returns:
            How many entries lost their last permission and were removed.

        Raises:
            IntegrityError: The ledger is not the one that was followed so far, or an older state of it.
            StoreError: Vault or ledger cannot be used.
        """
        with self._lock:
            if not has_news(self._table, ledger, rules, now):
                return 0
            removed = persistently(lambda: self._followed(ledger, rules, now))
            if removed:
                self._table.forget_deleted(at_once=False)
            return removed

    def sweep(self, oldest: Mapping[str, int]) -> int:
        """Removes the values whose time is over, and returns how many.

        Args:
            oldest: By token domain, the earliest event time that is kept.
        """
        with self._lock:
            removed = persistently(lambda: self._swept(oldest))
        if removed:
            self._table.forget_deleted(at_once=False)
        return removed

    def rebuild_owed(self) -> None:
        """Leaves nothing in large files either of what was removed, by whomever, for which there was no time then.

        Raises:
            StoreError: The vault cannot be written.
        """
        with self._lock:
            if self._table.owes():
                self._table.forget_deleted(at_once=True)

    def _swept(self, oldest: Mapping[str, int]) -> int:
        with self._table.writing():
            removed = self._table.delete_older(oldest)
            note_purge(self._table, removed)
            return removed

    def counts(self) -> dict[tuple[str, int], int]:
        """Returns how many entries there are of each domain and key version of the ``token`` key set."""
        return {(domain, key_version): count for domain, key_version, count in self._table.counts()}

    def copy_version(self, domain: str, old: int, new: int, move: TokenMove) -> int:
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
        return self._versions.copy(domain, old, new, move)

    def replace_version(
        self, domain: str, old: int, new: int, move: TokenMove, *, is_needed: Callable[[], bool]
    ) -> tuple[int, int]:
        """Copies the entries of one key version to another, as ``copy_version`` does, and then removes the old ones.

        Args:
            domain: Token domain.
            old: Key version of the entries.
            new: Key version of their copies.
            move: From ``old`` to ``new``.
            is_needed: Asked in the transaction that removes, in which nobody adds: whether they must stay after all.

        Returns:
            How many entries were added, and how many were removed.

        Raises:
            IntegrityError: As ``copy_version``.
            StoreError: The vault cannot be used.
        """
        return self._versions.replace(domain, old, new, move, is_needed=is_needed)

    def forget_removed(self) -> bool:
        """Leaves nothing in the files of the values that were removed, by whomever.

        Returns:
            Whether it could: not while another program reads an older state of the store.
        """
        with self._lock:
            return self._table.forget_deleted(at_once=True)

    def write(
        self,
        candidates: Sequence[Candidates],
        *,
        ledger: ConsentLedger,
        rules: Rules,
        now: int,
        clock: int | None = None,
    ) -> Written:
        """Seals and adds what is new among the candidates and still permitted, whatever they were decided by.

        Doing it again, in any order and by any number of programs, leaves one entry for each key.

        Args:
            candidates: Raw values with their tokens; permitted when they were decided.
            ledger: As for ``follow``, which comes first.
            rules: As for ``follow``.
            now: Microseconds UTC, the instant of the run's decisions.
            clock: The time now; default ``now``. The vault holds only what is permitted at both.

        Raises:
            IntegrityError: As ``follow``; or a data key was changed.
            StoreError: Vault, ledger or data keys cannot be used.
        """
        moment = Moment(ledger, rules, now, now if clock is None else clock)
        with self._lock:
            self.follow(ledger, rules, moment.clock)
            return self._writer.write(candidates, moment)

    def _followed(self, ledger: ConsentLedger, rules: Rules, now: int) -> int:
        with self._table.writing():
            return followed(self._table, ledger, rules, now)


def open_vault(uri: str, keys: VaultKeys, data_keys: DataKeys, *, create: bool = False) -> Vault:
    """Returns the vault of a project.

    Args:
        uri: ``sqlite:FILE`` or ``postgresql://…``.
        keys: Of the tenant.
        data_keys: Open, of the same project.
        create: Whether a missing store is made.

    Raises:
        StoreError: The store is missing, damaged, locked or cannot be reached.
        ConfigError: The URI names no store.
    """
    return Vault(open_vault_table(uri, create=create), keys, data_keys)
