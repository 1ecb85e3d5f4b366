"""Erasures as their journal has them: how far each is, and what a legal obligation holds back. They name nobody."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

__all__ = ["ErasureCase", "ErasureState", "HeldBack"]


class ErasureState(StrEnum):
    """How far an erasure is; each state stands for what is done, in this order."""

    REQUESTED = "requested"
    FROZEN = "frozen"
    SHREDDED = "shredded"
    REDACTED = "redacted"
    VERIFIED = "verified"
    CERTIFIED = "certified"


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasureCase:
    """One erasure.

    Attributes:
        id: Of the case.
        subject: 16 bytes, keyed reference.
        state: How far it is.
        requested_at: Microseconds UTC.
        account: What was asked and what came of it so far: JSON, nothing that names a person.
        certificate: Its text, once there is one.
    """

    id: str
    subject: bytes
    state: ErasureState
    requested_at: int
    account: Mapping[str, Any] = field(default_factory=dict)
    certificate: str | None = None

    @property
    def outputs(self) -> tuple[str, ...]:
        """The outputs that were named."""
        return tuple(self.account.get("outputs", ()))

    def has_reached(self, state: ErasureState) -> bool:
        """Whether a state is done."""
        order = list(ErasureState)
        return order.index(self.state) >= order.index(state)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldBack:
    """Values of one token domain that a legal obligation keeps, sealed under a key of their own.

    Attributes:
        domain: Token domain.
        until: Microseconds UTC, when their key is destroyed.
        sealed: Envelope.
    """

    domain: str
    until: int
    sealed: bytes
