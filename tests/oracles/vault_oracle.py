"""A slow, separate reading of CONTRACTS on the vault: what it holds after each thing that happens to it.

Plain lists and loops, nothing shared with the product. The present moves forward only: a clock that lags behind what
the vault was told before does not turn it back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from oracles.consent_oracle import Entry, Erased, permits_one_of, without_repeats


@dataclass(frozen=True)
class Row:
    """A raw value that comes to the vault with its token."""

    domain: str
    version: int
    token: str
    value: str
    subject: str
    event_time: int

    @property
    def key(self) -> tuple[str, int, str, str]:
        """What makes an entry one."""
        return self.domain, self.version, self.token, self.subject


@dataclass
class VaultModel:
    """A ledger and the vault that follows it."""

    bases: dict[str, str]
    history: list[Entry] = field(default_factory=list)
    held: list[Row] = field(default_factory=list)
    present: int | None = None

    def hear(self, entries: Sequence[Entry]) -> None:
        """The ledger takes in entries; the vault does not know yet."""
        self.history = without_repeats([*self.history, *entries])

    def permitted(self, row: Row, rules: dict[str, list[str]], now: int) -> bool:
        """Whether the vault may hold a row at an instant."""
        purposes = rules.get(row.domain, [])
        return permits_one_of(self.bases, self.history, row.subject, purposes, row.event_time, now)

    def follow(self, rules: dict[str, list[str]], clock: int) -> int:
        """The vault applies what is newer; returns how many entries were purged."""
        self.present = clock if self.present is None else max(self.present, clock)
        before = len(self.held)
        self.held = [row for row in self.held if self.permitted(row, rules, self.present)]
        return before - len(self.held)

    def write(self, rows: Sequence[Row], rules: dict[str, list[str]], *, now: int, clock: int) -> int:
        """The vault takes what is permitted; returns how many keys are new."""
        self.follow(rules, clock)
        before = len(self.held)
        for row in rows:
            if any(isinstance(entry, Erased) and entry.subject == row.subject for entry in self.history):
                continue
            if not self.permitted(row, rules, now) or not self.permitted(row, rules, self.present or clock):
                continue
            same = [other for other in self.held if other.key == row.key]
            if not same:
                self.held.append(row)
            elif same[0].event_time < row.event_time:
                self.held[self.held.index(same[0])] = row
        return len(self.held) - before
