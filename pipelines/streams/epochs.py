"""An epoch: the stretch of a stream that is processed in one go, settled before it is, so that it can be done again.

What an epoch reads, the instant and the ledger position of its decisions and the key version of its tokens are
written down first. Done again after a crash, it gives the same tokens and the same books.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from .sources import Part

__all__ = ["Epoch", "EpochAccount", "EpochState", "ends_of"]


class EpochState(StrEnum):
    """How far an epoch is."""

    OPEN = "open"
    SEALED = "sealed"
    DONE = "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """What an epoch has settled on.

    Attributes:
        number: From 1.
        parts: What it reads.
        consents: What was read of the consent topic just before; read again only for events that were faulty.
        now: Microseconds UTC, the instant of its decisions; never before that of the epoch before it.
        ledger_position: The last consent event that its decisions know.
        key_version: Of the tokens.
        started_at: Microseconds UTC by the clock.
    """

    number: int
    parts: tuple[Part, ...]
    consents: tuple[Part, ...] = ()
    now: int
    ledger_position: int
    key_version: int
    started_at: int

    @property
    def name(self) -> str:
        """Part of the names of its files."""
        return f"epoch-{self.number:09d}"

    def dumps(self) -> str:
        """Returns the epoch as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def loads(cls, text: str) -> Epoch:
        """Returns the epoch that ``dumps`` wrote."""
        found: dict[str, Any] = json.loads(text)
        for name in ("parts", "consents"):
            found[name] = tuple(Part(**part) for part in found[name])
        return cls(**found)


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochAccount:
    """What an epoch came to, in numbers for people.

    Attributes:
        number: Of the epoch.
        records: That it read.
        out: Rows that left.
        dropped: Without permission for the dataset.
        dead_lettered: Sealed, with a reason.
        lag: Records that were left waiting when it began.
        seconds: From its beginning until it was sealed.
        sealed_at: Microseconds UTC, by the clock.
    """

    number: int
    records: int
    out: int
    dropped: int
    dead_lettered: int
    lag: int
    seconds: float
    sealed_at: int


def ends_of(parts: Iterable[Part]) -> Mapping[str, int]:
    """Returns the offsets behind some parts, by partition."""
    return {part.partition: part.end for part in parts}
