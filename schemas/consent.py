"""Consent events and instants.

An instant is an ``int``: microseconds since 1970-01-01T00:00:00Z. Texts are RFC 3339 with an offset.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

__all__ = ["ConsentEvent", "Decision", "format_instant", "parse_instant"]

RFC_3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?"
    r"(?P<offset>[Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])?"
)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


class Decision(StrEnum):
    """What a data subject said about a purpose."""

    GRANTED = "granted"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentEvent:
    """One decision of one data subject about one purpose.

    Attributes:
        subject: The subject's id as the datasets spell it; hidden in ``repr``.
        purpose: A purpose of the policy.
        decision: Granted or withdrawn.
        effective_at: Since when it holds.
        recorded_at: When it was recorded; None until the ledger sets it.
        source: Where it was said.
        evidence: What proves it, or None.
    """

    subject: str
    purpose: str
    decision: Decision
    effective_at: int
    source: str
    recorded_at: int | None = None
    evidence: str | None = None

    def __repr__(self) -> str:
        return f"ConsentEvent(purpose={self.purpose!r}, decision={self.decision.value!r})"


def parse_instant(text: str) -> int:
    """Returns the microseconds of an RFC 3339 instant.

    Args:
        text: Date, time and offset, or ``Z``; decimals of a second beyond the sixth are cut off.

    Raises:
        ValueError: Not an instant, or one without an offset. The text is not quoted.

    >>> parse_instant("1970-01-01T01:00:00.5+01:00")
    500000
    >>> parse_instant("2026-03-01T09:00:00")
    Traceback (most recent call last):
    ValueError: an instant needs an offset, as 2026-03-01T09:00:00Z
    """
    parts = RFC_3339.fullmatch(text)
    if parts is None:
        raise ValueError("not an instant; write it as 2026-03-01T09:00:00Z")
    if parts["offset"] is None:
        raise ValueError("an instant needs an offset, as 2026-03-01T09:00:00Z")
    try:
        instant = (datetime.fromisoformat(text.upper()) - EPOCH) // MICROSECOND
        # An offset can lead out of the years that can be written again.
        format_instant(instant)
    except (ValueError, OverflowError):
        raise ValueError("not an instant of the calendar; write it as 2026-03-01T09:00:00Z") from None
    return instant


def format_instant(instant: int) -> str:
    """Returns RFC 3339 in UTC, with microseconds only where they are not zero.

    Raises:
        OverflowError: Outside the years 1 to 9999.

    >>> format_instant(500000)
    '1970-01-01T00:00:00.500000Z'
    """
    return (EPOCH + instant * MICROSECOND).isoformat().replace("+00:00", "Z")
