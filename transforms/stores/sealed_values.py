"""The values of entries: sealed under their subjects' data keys, and opened again.

An envelope's associated data binds tenant, domain, key version, token and subject reference: entries cannot be
swapped. Not bound: the event time, which a later permitted record moves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ...schemas.errors import IntegrityError
from ...schemas.vault_entry import EntryKey, VaultEntry
from ..crypto.envelope import (
    associated_data,
    bytes_field,
    bytes_fields,
    open_each,
    open_sealed,
    seal,
    text_field,
    text_fields,
)
from .data_keys import DataKeys
from .entry_columns import EntryColumns
from .vault_table import SealedEntry

__all__ = ["SealedValues"]

Check = Callable[[Sequence[str], Sequence[str]], None]
"""Raises what stops a move of entries, given their tokens and values."""


class SealedValues:
    """Seals and opens the values of a tenant's entries.

    Args:
        tenant: Bound to each.
        data_keys: The subjects' keys.
    """

    def __init__(self, tenant: str, data_keys: DataKeys) -> None:
        self._tenant = tenant
        self._data_keys = data_keys
        self._fields: dict[tuple[str, int], bytes] = {}

    def open(self, entry: VaultEntry) -> str:
        """Returns the canonical value of an entry.

        Raises:
            IntegrityError: The entry or its data key was changed, moved or destroyed.
        """
        key = self._data_keys.keys_for([entry.subject_ref], create=False).get(entry.subject_ref)
        if key is None:
            raise IntegrityError("vault: the data key of an entry's subject is gone, so its value cannot be opened")
        return open_sealed(key, entry.sealed, self._bound(entry.key)).decode()

    def open_each(self, entries: EntryColumns) -> list[str | None]:
        """Returns the canonical value of each entry, as ``open`` does, with one look-up of the data keys.

        Returns:
            None for an entry that was changed or moved, or whose data key was, or is gone.

        Raises:
            StoreError: The data keys cannot be read.
        """
        subjects = entries.subject_refs
        keys = self._keys_of(subjects)
        opened = open_each(list(map(keys.get, subjects)), entries.sealed, self._bound_each(entries))
        return [None if value is None else value.decode() for value in opened]

    def seal(self, keys: Sequence[EntryKey], values: Sequence[str]) -> list[bytes | None]:
        """Returns the sealed value of each new entry; None for a subject that was erased meanwhile."""
        data_keys = self._data_keys.keys_for([key.subject_ref for key in keys], create=True)
        return [
            None
            if (data_key := data_keys.get(key.subject_ref)) is None
            else seal(data_key, value.encode(), self._bound(key))
            for key, value in zip(keys, values, strict=True)
        ]

    def resealed(self, moves: Sequence[tuple[VaultEntry, EntryKey]], check: Check) -> list[SealedEntry]:
        """Returns entries sealed for other keys; none for subjects that were erased: their values are noise.

        Args:
            moves: Entries, each with its new key.
            check: Called with tokens and values before any is sealed; what it raises passes.

        Raises:
            IntegrityError: An entry or a data key was changed or moved.
        """
        data_keys = self._data_keys.keys_for([entry.subject_ref for entry, _ in moves], create=False)
        opened = [
            (entry, key, data_key, open_sealed(data_key, entry.sealed, self._bound(entry.key)))
            for entry, key in moves
            if (data_key := data_keys.get(entry.subject_ref)) is not None
        ]
        check([entry.token for entry, *_ in opened], [value.decode() for *_, value in opened])
        return [
            (key, entry.event_time, seal(data_key, value, self._bound(key))) for entry, key, data_key, value in opened
        ]

    def _keys_of(self, subjects: Sequence[bytes]) -> Mapping[bytes, bytes]:
        """Returns the data keys of subjects; one that was changed is not there, and costs the others nothing."""
        try:
            return self._data_keys.keys_for(sorted(set(subjects)), create=False)
        except IntegrityError:
            if len(set(subjects)) == 1:
                return {}
        half = len(subjects) // 2
        return {**self._keys_of(subjects[:half]), **self._keys_of(subjects[half:])}

    def _bound_each(self, entries: EntryColumns) -> list[bytes]:
        fields = list(zip(entries.domains, entries.key_versions, strict=True))
        heads = {field: self._field(*field) for field in set(fields)}
        columns = zip(fields, text_fields(entries.tokens), bytes_fields(entries.subject_refs), strict=True)
        return [heads[field] + token + subject for field, token, subject in columns]

    def _bound(self, key: EntryKey) -> bytes:
        return self._field(key.domain, key.key_version) + text_field(key.token) + bytes_field(key.subject_ref)

    def _field(self, domain: str, key_version: int) -> bytes:
        found = self._fields.get((domain, key_version))
        if found is None:
            found = associated_data("vault-entry", self._tenant, domain, key_version)
            self._fields[domain, key_version] = found
        return found
