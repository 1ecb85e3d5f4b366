"""What detection says of a column: which entity its values are, how sure that is, and why."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from .info_types import Entity

__all__ = ["ColumnKind", "ColumnType", "Leak"]


class ColumnKind(StrEnum):
    """What sort of column it is."""

    ENTITY = "ENTITY"
    """Its values are one entity, whole."""
    MIXED = "MIXED"
    """Its values are several entities, none of which makes up enough of it."""
    FREE_TEXT = "FREE_TEXT"
    """Sentences, in which anything may stand; every row is to be searched."""
    ORDINARY = "ORDINARY"
    """Nothing sensitive makes up the column; ``leaks`` tells what strayed into it."""
    EMPTY = "EMPTY"
    """No value to judge by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """Values of an entity in a column that is not of it.

    Attributes:
        entity: What they are.
        count: In how many of the rows whose values were searched.
        share: ``count`` by these rows.
    """

    entity: Entity
    count: int
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnType:
    """The verdict on one column, from a sample of its distinct values that are not null.

    Attributes:
        kind: The sort of column.
        entity: The entity of an ``ENTITY`` column, else None.
        share: Of the sample that validates whole as ``entity``, or as any entity where the column is mixed; 0 to 1.
        chance: The share that random values of this look would reach.
        sample: How many distinct values were looked at.
        evidence: Why, in a sentence for people; values in it are masked.
        examples: A few of the values, masked.
        leaks: What else was found in it, most frequent first.
    """

    kind: ColumnKind
    entity: Entity | None = None
    share: float = 0.0
    chance: float = 0.0
    sample: int = 0
    evidence: str = ""
    examples: tuple[str, ...] = ()
    leaks: tuple[Leak, ...] = ()
