"""A slow, separate reading of CONTRACTS on consent: what is one event, and what permits.

Plain lists and loops, nothing shared with the product. A history is the list of what a ledger took in, in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Said:
    """One decision of a subject about a purpose."""

    subject: str
    purpose: str
    decision: str
    effective_at: int
    source: str = "form"


@dataclass(frozen=True)
class Erased:
    """The erasure of a subject."""

    subject: str


Entry = Said | Erased


def without_repeats(entries: Sequence[Entry]) -> list[Entry]:
    """What a ledger holds after all entries were offered to it: alike in the five parts is one event."""
    kept: list[Entry] = []
    for entry in entries:
        if not any(entry == other for other in kept):
            kept.append(entry)
    return kept


def permits(bases: dict[str, str], history: Sequence[Entry], subject: str | None, purpose: str, at: int | None) -> bool:
    """Whether a subject permits a purpose of a policy at an instant, by all that the history says."""
    if subject is None or at is None:
        return False
    for entry in history:
        if isinstance(entry, Erased) and entry.subject == subject:
            return False
    if purpose not in bases:
        return False
    basis = bases[purpose]
    if basis in ("contract", "legal_obligation"):
        return True
    latest: int | None = None
    decisions: list[str] = []
    for entry in history:
        if not isinstance(entry, Said) or entry.subject != subject or entry.purpose != purpose:
            continue
        if entry.effective_at > at:
            continue
        if latest is None or entry.effective_at > latest:
            latest, decisions = entry.effective_at, [entry.decision]
        elif entry.effective_at == latest:
            decisions.append(entry.decision)
    if basis == "legitimate_interest":
        return "withdrawn" not in decisions
    if basis == "consent":
        return decisions != [] and "withdrawn" not in decisions
    raise AssertionError(basis)


def permits_record(
    bases: dict[str, str], history: Sequence[Entry], subject: str | None, purpose: str, event_time: int | None, now: int
) -> bool:
    """Whether one purpose permits a record: at its event time and at now."""
    then = permits(bases, history, subject, purpose, event_time)
    today = permits(bases, history, subject, purpose, now)
    return then and today


def permits_one_of(
    bases: dict[str, str],
    history: Sequence[Entry],
    subject: str | None,
    purposes: Sequence[str],
    event_time: int | None,
    now: int,
) -> bool:
    """Whether a list of purposes permits a record: one and the same of them at both instants."""
    found = False
    for purpose in purposes:
        found = found or permits_record(bases, history, subject, purpose, event_time, now)
    return found
