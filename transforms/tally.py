"""Counts that balance the books of a run.

A count has a key of strings, the first of which says what is counted:

* ``rows``, outcome: ``distributable`` (a raw value may go to the vault), ``token_only``, ``redacted`` (no permission
  for any field that asks for one), ``no_subject``, and ``dropped`` (no permission for the dataset);
* ``field``, path, outcome: ``null``, ``kept``, ``masked``, ``generalized``, ``tokenized``, ``redacted``,
  ``redacted_no_permission``, ``redacted_invalid:REASON``, and beside these ``vault_candidate``;
* ``rejected``, stage, reason: rows that went to the dead letters;
* ``drift``, path as told: rows with a value at a path that the dataset does not declare;
* ``removed``, reason: rows and values that a later rewriting of the output removed;
* ``vault``, ``written`` | ``refreshed`` | ``present`` | ``refused``: entries.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import apache_beam as beam

__all__ = ["CombineTallies", "Key", "Tally", "merge"]

Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts by key; keys with a count of zero are left out."""

    counts: Mapping[Key, int] = field(default_factory=dict)

    def __getitem__(self, key: Key) -> int:
        return self.counts.get(key, 0)

    def under(self, *start: str) -> dict[Key, int]:
        """Returns the counts whose keys begin so, by the rest of the key.

        >>> Tally({("field", "card", "null"): 2, ("rows", "dropped"): 1}).under("field")
        {('card', 'null'): 2}
        """
        return {key[len(start) :]: count for key, count in self.counts.items() if key[: len(start)] == start}


def merge(tallies: Iterable[Tally]) -> Tally:
    """Returns the sum of all.

    >>> merge([Tally({("rows", "dropped"): 1}), Tally({("rows", "dropped"): 2})])
    Tally(counts={('rows', 'dropped'): 3})
    """
    total: dict[Key, int] = {}
    for tally in tallies:
        for key, count in tally.counts.items():
            if count:
                total[key] = total.get(key, 0) + count
    return Tally(total)


class CombineTallies(beam.CombineFn):
    """Sums tallies; an empty collection gives an empty tally."""

    def create_accumulator(self, *args: Any, **kwargs: Any) -> Tally:
        """Returns an empty tally."""
        return Tally()

    def add_input(self, mutable_accumulator: Tally, element: Tally, *args: Any, **kwargs: Any) -> Tally:
        """Returns the sum of two."""
        return merge((mutable_accumulator, element))

    def merge_accumulators(self, accumulators: Iterable[Tally], *args: Any, **kwargs: Any) -> Tally:
        """Returns the sum of many."""
        return merge(accumulators)

    def extract_output(self, accumulator: Tally, *args: Any, **kwargs: Any) -> Tally:
        """Returns the sum."""
        return accumulator
