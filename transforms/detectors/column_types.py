"""Settles what a column holds, from its values; its header is a prior and never beats what they say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ...schemas.column_type import ColumnKind, ColumnType, Leak
from ...schemas.info_types import Entity
from ..values.masking import masked_text
from .cards import card_brand
from .free_text import find_in_texts
from .headers import are_versions, promised
from .skeletons import folded
from .whole_values import CHANCE, NAMED, PROVEN, digits_of

__all__ = ["SAMPLE", "column_type"]

SAMPLE = 1000
"""Distinct values by which the type is judged."""
SEARCHED = 5000
"""Distinct values that are searched for what strayed into them."""
LONGEST = 4096
"""Code points of a value that are looked at."""

ACCEPTED = 0.8
MOST_ROWS = 0.5
"""Rows, not only distinct values, that an entity makes up: few strayed values may be most of the distinct ones."""
EXCESS = 0.2
"""How far a share must be above that of chance."""
SURPLUS = 0.08
"""As much above that of chance where numbers are only laid out like those of social security."""
EACH_OF_MIXED = 0.1
FEWEST_LEAKS, LEAKING = 2, 0.005
WORDS_OF_PROSE, PROSE = 4.0, 0.5
EXAMPLES = 3
SHOWN_LENGTH = 40


def column_type(values: pa.Array, header: str = "") -> ColumnType:
    """Returns what a column holds.

    Args:
        values: Strings, or integers and decimals as their digits; nulls and repeated values count for nothing. Of more
            than a thousand distinct values an even part is taken.
        header: Name of the column; empty where it has none.

    Returns:
        The verdict; its evidence names sample size, share and chance, and no value in clear.
    """
    searched = _sampled(_distinct(values), SEARCHED)
    if not len(searched):
        return ColumnType(kind=ColumnKind.EMPTY, evidence="It holds no value.")
    sample = _Sample(_sampled(searched, SAMPLE))
    if _is_prose(sample.texts):
        leaks = _leaks(searched, ())
        evidence = "Most values are sentences or documents."
        return ColumnType(kind=ColumnKind.FREE_TEXT, sample=len(sample.texts), evidence=evidence, leaks=leaks)
    named = promised(header)
    versions = are_versions(header, sample.texts)
    shares = {entity: share for entity, share in sample.shares(named).items() if entity not in versions}
    best = max(shares, key=lambda entity: (shares[entity], entity in named), default=None)
    if best is not None and _accepted(best, shares[best], named) and sample.row_share(best, named) >= MOST_ROWS:
        return _of_entity(best, shares[best], sample, named, _leaks(searched, (best,)))
    several = [entity for entity, share in shares.items() if entity in PROVEN and share >= EACH_OF_MIXED]
    together = min(1.0, sum(shares[entity] for entity in several))
    rows = sum(sample.row_share(entity, named) for entity in several)
    if len(several) > 1 and together >= ACCEPTED and rows >= MOST_ROWS:
        told = " and ".join(f"{entity.value} ({shares[entity]:.0%})" for entity in several)
        return sample.verdict(ColumnKind.MIXED, f"The values are {told}.", share=together, leaks=_leaks(searched, ()))
    return _ordinary(sample, shares, named, _leaks(searched, tuple(versions)))


class _Sample:
    """Distinct values, how often each occurs, and their skeletons."""

    def __init__(self, counted: pa.Table) -> None:
        self._values = counted["values"].to_pylist()
        self._counts = np.asarray(counted["counts"])
        self.texts = [folded(value).strip() for value in self._values]

    def shares(self, named: frozenset[Entity]) -> Mapping[Entity, float]:
        """Returns for each entity which share of the distinct values is of it, as a whole."""
        counts = {entity: sum(map(rule, self.texts)) for entity, rule in _rules(named).items()}
        return {entity: count / len(self.texts) for entity, count in counts.items() if count}

    def row_share(self, entity: Entity, named: frozenset[Entity]) -> float:
        """Returns which share of all rows with these values is of an entity."""
        passing = np.fromiter(map(_rules(named)[entity], self.texts), np.bool_, len(self.texts))
        return float(self._counts[passing].sum() / self._counts.sum())

    def verdict(self, kind: ColumnKind, evidence: str, **told: Any) -> ColumnType:
        """Returns a verdict with sample size and masked examples."""
        examples = tuple(masked_text(value.strip()[:SHOWN_LENGTH]) for value in self._values[:EXAMPLES])
        return ColumnType(kind=kind, sample=len(self.texts), evidence=evidence, examples=examples, **told)


def _rules(named: frozenset[Entity]) -> Mapping[Entity, Callable[[bytes], bool]]:
    return {**PROVEN, **{entity: rule for entity, rule in NAMED.items() if entity in named}}


def _distinct(values: pa.Array) -> pa.Table:
    """Returns the distinct values and how often each occurs."""
    counted = values.cast(pa.large_string()).drop_null().value_counts()
    texts = pc.utf8_slice_codeunits(counted.field("values"), 0, LONGEST)
    table = pa.table({"values": texts, "counts": counted.field("counts")})
    return table.filter(pc.not_equal(pc.utf8_trim_whitespace(texts), ""))


def _sampled(counted: pa.Table, most: int) -> pa.Table:
    if len(counted) <= most:
        return counted
    return counted.take(pa.array(np.linspace(0, len(counted) - 1, most).astype(np.int64)))


def _is_prose(texts: Sequence[bytes]) -> bool:
    """Returns whether values are sentences, or documents such as JSON."""
    documents = sum(text[:1] in (b"{", b"[") and text[-1:] in (b"}", b"]") for text in texts)
    words = [sum(word[:1].isalpha() or word[0] >= 0x80 for word in text.split()) for text in texts]
    long = sum(len(text) > 120 and b" " in text for text in texts)
    prose = sum(count >= WORDS_OF_PROSE for count in words) + long / 2
    return documents >= PROSE * len(texts) or prose >= PROSE * len(texts)


def _accepted(entity: Entity, share: float, named: frozenset[Entity]) -> bool:
    chance = _chance(entity, named)
    if entity is Entity.US_SSN and entity not in named and share < CHANCE[entity] + SURPLUS:
        return False
    return share >= ACCEPTED and (share - chance >= EXCESS or entity in named)


def _chance(entity: Entity, named: frozenset[Entity]) -> float:
    return CHANCE.get(entity, 0.0) if entity in named or entity not in NAMED else 0.0


def _of_entity(
    entity: Entity, share: float, sample: _Sample, named: frozenset[Entity], leaks: tuple[Leak, ...]
) -> ColumnType:
    chance = _chance(entity, named)
    told = f"{share:.0%} of {len(sample.texts)} distinct values are {entity.value}; chance would give {chance:.0%}"
    if entity in named:
        told += "; the header says so too"
    elif named:
        told += "; the header promises something else"
    return sample.verdict(ColumnKind.ENTITY, f"{told}.", entity=entity, share=share, chance=chance, leaks=leaks)


def _ordinary(
    sample: _Sample, shares: Mapping[Entity, float], named: frozenset[Entity], leaks: tuple[Leak, ...]
) -> ColumnType:
    best = max(shares.values(), default=0.0)
    told = f"No entity makes up the {len(sample.texts)} distinct values; the largest share is {best:.0%}"
    if named:
        told += f", though the header promises {' or '.join(sorted(entity.value for entity in named))}"
    for leak in leaks:
        told += f"; {leak.count} values hold {leak.entity.value}"
    return sample.verdict(ColumnKind.ORDINARY, f"{told}.", share=best, leaks=leaks)


def _leaks(searched: pa.Table, apart: Sequence[Entity]) -> tuple[Leak, ...]:
    """Returns what was found inside values, apart from what they are; chance passes of card checks do not count."""
    weights, total = searched["counts"].to_pylist(), pc.sum(searched["counts"]).as_py()
    counts: Counter[Entity] = Counter()
    for row, findings in find_in_texts(searched["values"].combine_chunks()):
        for entity in {finding.entity for finding in findings if finding.entity is not None}:
            counts[entity] += weights[row]
    if counts[Entity.CREDIT_CARD]:
        counts[Entity.CREDIT_CARD] -= _by_chance(searched)
    return tuple(
        Leak(entity=entity, count=count, share=count / total)
        for entity, count in counts.most_common()
        if entity not in apart and count >= max(FEWEST_LEAKS, LEAKING * total)
    )


def _by_chance(searched: pa.Table) -> int:
    """Returns how many values Luhn lets pass by chance, where they look like cards and are any numbers."""
    digits = [digits_of(folded(value).strip()) for value in searched["values"].to_pylist()]
    like_cards = [card_brand(each) is not None for each in digits]
    passing = [like and PROVEN[Entity.CREDIT_CARD](each) for each, like in zip(digits, like_cards, strict=True)]
    # A column of cards passes nearly always, one of any numbers once in ten: between them lies no real column.
    if sum(passing) >= sum(like_cards) / 2:
        return 0
    return sum(count for count, passes in zip(searched["counts"].to_pylist(), passing, strict=True) if passes)
