"""What a search for leaks found, as people and programs read it: counts, places, masked forms, never a value."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .verify import Check, check_of

__all__ = ["CANARY", "Bound", "Leak", "LeakReport", "Place", "ScannedColumn"]

CANARY = "CANARY"
FREQUENCY = 0.001
MISSED = 0.05
CERTAIN = 0.999999
"""More is not stated of a sample."""

SEALED = "dead_letters/: sealed, so nobody can read a value there without the keys, and this search neither"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a leak is.

    Attributes:
        file: Path below the output; of a canary in a name, the file that has it.
        row: In the file, from 1; None for a name.
        masked: The value with letters and digits hidden, or how a canary is written.
    """

    file: str
    row: int | None
    masked: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """Values of one kind in one column.

    Attributes:
        column: Path; hidden where the name itself is the leak.
        kind: An entity, ``NOT_A_TOKEN``, ``NOT_REDACTED`` or ``CANARY``.
        values: How many.
        says: What it means and what to do, in one sentence.
        places: The first of them.
    """

    column: str
    kind: str
    values: int
    says: str
    places: tuple[Place, ...]

    def as_json(self) -> dict[str, Any]:
        """Returns the leak as ``verify --scan --json`` prints it."""
        places = [{"file": place.file, "row": place.row, "masked": place.masked} for place in self.places]
        return {"column": self.column, "kind": self.kind, "values": self.values, "says": self.says, "places": places}


@dataclass(frozen=True, slots=True, kw_only=True)
class ScannedColumn:
    """A column that was looked at.

    Attributes:
        column: Path.
        action: Its treatment, by its marks.
        values: How many it has, without nulls.
        checked: How they were checked, in words.
        kept_on_purpose: How many of each entity the policy lets stand there, because an info type that keeps finds it.
    """

    column: str
    action: str | None
    values: int
    checked: str
    kept_on_purpose: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """How much was looked at, and what that can miss.

    Attributes:
        rows: Looked at.
        rows_total: Of the output.
        groups: Row groups that rows were taken from.
        groups_total: All row groups.
    """

    rows: int
    rows_total: int
    groups: int
    groups_total: int

    @property
    def complete(self) -> bool:
        """Whether every row was looked at."""
        return self.rows == self.rows_total

    @property
    def seen_with(self) -> float:
        """With which probability a leak in 0.1 % of the rows was seen."""
        return 1.0 if self.complete else min(1 - (1 - FREQUENCY) ** self.rows, CERTAIN)

    @property
    def missed_below(self) -> float:
        """The share of rows above which a leak was seen with 95 % probability."""
        return 0.0 if self.complete else 1 - MISSED ** (1 / self.rows) if self.rows else 1.0

    @property
    def says(self) -> str:
        """The bound in words."""
        if self.complete:
            return f"every one of the {self.rows:,} rows was looked at"
        seen, missed = math.floor(self.seen_with * 1e5) / 1e3, math.ceil(self.missed_below * 1e5) / 1e3
        return (
            f"{self.rows:,} of {self.rows_total:,} rows were looked at, from {self.groups:,} of {self.groups_total:,} "
            f"row groups, the same ones each time; a leak in 0.1 % of the rows is seen with a probability of "
            f"{seen:.3f} %, one in {missed:.3f} % of them with 95 %, if it is spread over the files; what lies in one "
            "stretch alone can be missed"
        )

    def as_json(self) -> dict[str, Any]:
        """Returns the bound as ``verify --scan --json`` prints it."""
        return {
            "rows": self.rows, "rows_total": self.rows_total, "groups": self.groups, "groups_total": self.groups_total,
            "complete": self.complete, "frequency": FREQUENCY, "seen_with": self.seen_with,
            "missed_below": self.missed_below, "says": self.says,
        }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class LeakReport:
    """What a search found.

    Attributes:
        bound: How much was looked at.
        columns: What was looked at.
        leaks: What was found, canaries last.
        canaries: How many were searched for; None: none given.
    """

    bound: Bound
    columns: tuple[ScannedColumn, ...]
    leaks: tuple[Leak, ...]
    canaries: int | None

    def checks(self) -> tuple[Check, ...]:
        """Returns the search as checks of ``verify``."""
        found = [leak for leak in self.leaks if leak.kind != CANARY]
        kept = sum(sum(each.kept_on_purpose.values()) for each in self.columns)
        purposely = f" but {kept:,} values that the policy keeps on purpose" if kept else ""
        fine = f"{len(self.columns)} columns hold nothing in clear{purposely}: {self.bound.says}"
        checks = [check_of("scan", [*_told(found), *([self.bound.says] if found else [])], fine)]
        if self.canaries is not None:
            planted = [leak for leak in self.leaks if leak.kind == CANARY]
            checks.append(check_of("canaries", _told(planted), f"{self.canaries} canaries, none of them in the rows"))
        return tuple(checks)

    def as_json(self) -> dict[str, Any]:
        """Returns what is added to the document of ``verify --json``."""
        columns = [
            {
                "column": each.column,
                "action": each.action,
                "values": each.values,
                "checked": each.checked,
                "kept_on_purpose": dict(each.kept_on_purpose),
            }
            for each in self.columns
        ]
        return {
            "leaks": [leak.as_json() for leak in self.leaks],
            "scan": {**self.bound.as_json(), "columns": columns, "not_scanned": [SEALED]},
        }


def _told(leaks: Sequence[Leak]) -> list[str]:
    by_column: dict[str, dict[str, int]] = {}
    for leak in leaks:
        by_column.setdefault(leak.column, {})[leak.kind] = leak.values
    return [f"{column} holds {_counted(kinds)}" for column, kinds in by_column.items()]


def _counted(kinds: Mapping[str, int]) -> str:
    return ", ".join(f"{values:,} × {kind}" for kind, values in kinds.items())
