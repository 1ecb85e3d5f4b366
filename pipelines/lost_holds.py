"""What a legal obligation holds back and nobody can open any more: its key is gone before its time.

The sealed values stand in the journal of erasures, their keys with the data keys: a store of data keys that was
restored from before the erasure does not have them. Looked for by their names alone, so it needs no key. Never imports
Beam.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from ..schemas.consent import format_instant
from ..schemas.project import Project
from ..transforms.stores.erasure_journal import erasures_exist, open_erasures
from ..transforms.stores.open_tables import open_data_key_table
from .held_values import FOREVER, hold_key_name

__all__ = ["HoldState", "hold_states"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldState:
    """What one erasure holds back of one token domain, and whether its key is there.

    Attributes:
        case: Id of the erasure.
        domain: Token domain.
        until: Microseconds UTC, when the key is destroyed.
        is_lost: Whether the key is gone although its time is not over.
    """

    case: str
    domain: str
    until: int
    is_lost: bool

    def as_json(self) -> dict[str, Any]:
        """Returns the state as ``vault status --json`` prints it."""
        until = None if self.until >= FOREVER else format_instant(self.until)
        return {"case": self.case, "what": self.domain, "until": until, "lost": self.is_lost}


def hold_states(project: Project, *, now: int) -> list[HoldState]:
    """Returns all that is held back and whose time is not over, by erasure.

    Args:
        project: Names the journal of erasures and the data keys.
        now: Microseconds UTC.

    Raises:
        StoreError: A store cannot be read.
    """
    if not erasures_exist(project.erasures):
        return []
    with closing(open_data_key_table(project.data_keys)) as table:
        stored = {name for name, _, _ in table.day_keys()}
    return list(_states(project, stored, now))


def _states(project: Project, stored: set[str], now: int) -> Iterator[HoldState]:
    with closing(open_erasures(project.erasures)) as journal:
        for case in journal.cases():
            for part in journal.held(case.subject):
                if part.until > now:
                    lost = hold_key_name(case.id, part.domain) not in stored
                    yield HoldState(case=case.id, domain=part.domain, until=part.until, is_lost=lost)
