"""Entries of the vault as columns: an object for each of thousands would cost as much as to find them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Self

from ...schemas.vault_entry import VaultEntry

__all__ = ["EntryColumns"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryColumns:
    """Some entries; the attributes are those of ``VaultEntry``, in the same order, with an item for each entry."""

    domains: Sequence[str]
    key_versions: Sequence[int]
    tokens: Sequence[str]
    subject_refs: Sequence[bytes]
    event_times: Sequence[int]
    sealed: Sequence[bytes]

    @classmethod
    def of(cls, entries: Iterable[VaultEntry]) -> EntryColumns:
        """Returns entries as columns; what is columns already stays as it is."""
        if isinstance(entries, EntryColumns):
            return entries
        return cls.joined([list(entries)])

    @classmethod
    def joined(cls, portions: Iterable[Sequence[tuple[str, int, str, bytes, int, bytes]]]) -> Self:
        """Returns portions of rows, whose values are in the order of ``VaultEntry``, as columns."""
        columns: list[list[object]] = [[] for _ in VaultEntry._fields]
        for rows in portions:
            for column, values in zip(columns, zip(*rows, strict=True), strict=False):  # no rows: no columns
                column += values
        return cls(**dict(zip((field.name for field in fields(cls)), columns, strict=True)))  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(self.tokens)

    def __iter__(self) -> Iterator[VaultEntry]:
        columns = (self.domains, self.key_versions, self.tokens, self.subject_refs, self.event_times, self.sealed)
        return map(VaultEntry._make, zip(*columns, strict=True))

    def __repr__(self) -> str:
        return f"<EntryColumns: {len(self)} entries; tokens and values hidden>"

    def take(self, rows: Sequence[int]) -> EntryColumns:
        """Returns the entries at some places, in their order."""
        if len(rows) == len(self) and rows == list(range(len(self))):
            return self
        return EntryColumns(
            domains=[self.domains[row] for row in rows],
            key_versions=[self.key_versions[row] for row in rows],
            tokens=[self.tokens[row] for row in rows],
            subject_refs=[self.subject_refs[row] for row in rows],
            event_times=[self.event_times[row] for row in rows],
            sealed=[self.sealed[row] for row in rows],
        )
