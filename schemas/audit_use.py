"""How what is collected is used, as an audit tells it: purposes, detokenizations, and what customers permit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = [
    "AccessCount",
    "AccessDay",
    "AccessUse",
    "ConsentCoverage",
    "ConsentMonth",
    "PurposeUse",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class PurposeUse:
    """A purpose of the policy, what is held for it, and how often it was the reason of a detokenization."""

    name: str
    basis: str
    says: str
    collects: tuple[str, ...]
    distributes: tuple[str, ...]
    allowed: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessCount:
    """Entries of the access log that have all of this in common."""

    purpose: str
    role: str
    actor: str
    domain: str
    decision: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessDay:
    """The entries of one day, UTC."""

    day: str
    allowed: int
    refused: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessUse:
    """What the access log tells: no token and no customer.

    Attributes:
        entries: All of them.
        since: The instant of the first; None where there is none.
        counts: Most frequent first, the rest left out.
        days: Each day with an entry, in order.
        allowed: Values given out, by token domain.
        info_types: Token domain to the info types that share it.
    """

    entries: int
    since: str | None
    counts: tuple[AccessCount, ...]
    days: tuple[AccessDay, ...]
    allowed: Mapping[str, int]
    info_types: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentMonth:
    """At an instant, the share of subjects that permit each purpose."""

    at: str
    permits: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentCoverage:
    """How many subjects permit what customers may refuse.

    Attributes:
        subjects: How many were asked about.
        of: ``sample`` where they are those of the sampled rows, ``ledger`` where they are all that the ledger knows.
        ledger_position: Entries of the ledger that were read.
        purposes: Name to lawful basis.
        months: In order; the last is the instant of the audit.
    """

    subjects: int
    of: str
    ledger_position: int
    purposes: Mapping[str, str]
    months: tuple[ConsentMonth, ...]
