"""Consent entries as columns: what decisions need of them, without what is sealed.

27 bytes for each entry, so that a ledger of millions of events is a few hundred megabytes at most.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

__all__ = ["ERASED", "GRANTED", "WITHDRAWN", "ConsentColumns", "reference_words"]

WITHDRAWN, GRANTED, ERASED = 0, 1, 2
"""Codes of decisions."""

Words = np.ndarray[Any, np.dtype[np.uint64]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentColumns:
    """Consent entries in the order of their positions, from position 1 on.

    Attributes:
        subjects: ``uint64 (n, 2)``: subject references as two words.
        purposes: ``uint16 (n,)``: places in ``names``.
        decisions: ``uint8 (n,)``: codes.
        effective_at: ``int64 (n,)``: microseconds UTC.
        names: The purposes that occur; an erasure's is empty.
    """

    subjects: Words
    purposes: np.ndarray[Any, np.dtype[np.uint16]]
    decisions: np.ndarray[Any, np.dtype[np.uint8]]
    effective_at: np.ndarray[Any, np.dtype[np.int64]]
    names: tuple[str, ...]

    @classmethod
    def empty(cls) -> ConsentColumns:
        """Returns columns of no entries."""
        return cls(
            subjects=np.empty((0, 2), np.uint64),
            purposes=np.empty(0, np.uint16),
            decisions=np.empty(0, np.uint8),
            effective_at=np.empty(0, np.int64),
            names=(),
        )

    @classmethod
    def joined(cls, parts: Sequence[ConsentColumns]) -> ConsentColumns:
        """Returns the entries of all parts, one after the other; the last part knows the most names."""
        return cls(
            subjects=np.concatenate([part.subjects for part in parts]),
            purposes=np.concatenate([part.purposes for part in parts]),
            decisions=np.concatenate([part.decisions for part in parts]),
            effective_at=np.concatenate([part.effective_at for part in parts]),
            names=parts[-1].names,
        )

    def __len__(self) -> int:
        return len(self.decisions)

    def upto(self, position: int) -> ConsentColumns:
        """Returns the entries up to a position; nothing is copied."""
        return ConsentColumns(
            subjects=self.subjects[:position],
            purposes=self.purposes[:position],
            decisions=self.decisions[:position],
            effective_at=self.effective_at[:position],
            names=self.names,
        )

    def changed_subjects(self, *, after: int, since: int, until: int) -> set[bytes]:
        """Returns the references of subjects with news: entries after a position, or that took effect meanwhile.

        Args:
            after: The position up to which entries are known.
            since: The instant up to which entries have taken effect already.
            until: The instant now.
        """
        news = np.zeros(len(self), np.bool_)
        news[after:] = True
        news |= (self.effective_at > since) & (self.effective_at <= until)
        return {bytes(each) for each in _unique_references(self.subjects[news])}


def reference_words(refs: pa.FixedSizeBinaryArray) -> Words:
    """Returns references of 16 bytes as ``uint64 (n, 2)``, in the order of their bytes; anything where null."""
    data = np.frombuffer(refs.buffers()[1] or b"", ">u8", 2 * len(refs), 16 * refs.offset)
    return data.astype(np.uint64).reshape(-1, 2)


def _unique_references(words: Words) -> Iterator[bytes]:
    raw = np.ascontiguousarray(words.astype(">u8")).view("V16").ravel()
    yield from np.unique(raw).tolist()
