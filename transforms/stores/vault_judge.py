"""Whether the vault may hold a value: a purpose of its domain must permit, at its event time and at each instant asked.

The same judgement lets values in and puts them out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ...schemas.info_types import Basis
from ...schemas.vault_entry import EntryKey
from ..crypto.envelope import associated_data
from .consent_snapshot import Bools, ConsentSnapshot, Rows
from .distinct_candidates import Candidates, Distinct

__all__ = ["Judge", "Rules", "digest_of"]

Rules = Mapping[str, Sequence[tuple[str, Basis]]]
"""By token domain: the purposes of which one must permit, with their bases. A domain without any holds nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """Judges by one state of the ledger.

    Attributes:
        snapshot: What the ledger knows.
        rules: Of the policy in force.
        instants: Microseconds UTC: a value must be permitted at all of them.
    """

    snapshot: ConsentSnapshot
    rules: Rules
    instants: frozenset[int]

    def permits(self, domain: str, refs: pa.FixedSizeBinaryArray, event_times: Rows) -> Bools:
        """Returns which values of a domain may be held, given their subjects and event times."""
        permitted = np.ones(len(event_times), np.bool_)
        for instant in self.instants:
            purposes = self.rules.get(domain, ())
            permitted &= self.snapshot.permits_one_of(purposes, refs, event_times, instant)
        return permitted

    def permits_each(self, candidates: Candidates) -> Bools:
        """Returns which candidates may be held."""
        return self.permits(candidates.domain, candidates.refs, candidates.event_times)

    def permits_distinct(self, entries: Distinct, chosen: Bools) -> Bools:
        """Returns which of the chosen entries may be held; False for the others."""
        permitted = np.zeros(len(entries), np.bool_)
        refs = entries.refs
        for domain, rows in entries.by_domain(chosen):
            permitted[rows] = self.permits(domain, refs.take(pa.array(rows)), entries.event_times[rows])
        return permitted

    def lost(self, entries: Sequence[tuple[EntryKey, int]]) -> list[EntryKey]:
        """Returns those of some entries, given with their event times, that may be held no more."""
        rows_of: dict[str, list[int]] = {}
        for row, (key, _) in enumerate(entries):
            rows_of.setdefault(key.domain, []).append(row)
        found: list[EntryKey] = []
        for domain, rows in rows_of.items():
            refs = pa.array([entries[row][0].subject_ref for row in rows], pa.binary(16))
            times = np.array([entries[row][1] for row in rows], np.int64)
            permitted = self.permits(domain, refs, times)
            found += [entries[row][0] for row, kept in zip(rows, permitted.tolist(), strict=True) if not kept]
        return found


def digest_of(rules: Rules) -> str:
    """Returns a digest that two sets of rules share only if they are alike."""
    return hashlib.sha256(b"".join(_told(rules))).hexdigest()


def _told(rules: Rules) -> Iterable[bytes]:
    for domain, purposes in sorted(rules.items()):
        yield associated_data(associated_data(domain, *(part for purpose in purposes for part in purpose)))
