"""The audit: what an input holds, why, who used it, what nobody needs, and what nobody declared.

``Audit`` is all that a report says; its JSON is the document of ``consentry audit --json``. It holds no value of a
record: examples are masked, and a name that could be a value is told as ``(hidden)``. Shares are 0 to 1, instants
RFC 3339 in UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from .audit_use import AccessUse, ConsentCoverage, PurposeUse

__all__ = [
    "AUDIT_VERSION",
    "Audit",
    "AuditColumn",
    "AuditInputs",
    "AuditSampling",
    "AuditedFile",
    "Change",
    "Found",
    "FoundLeak",
    "Reason",
    "Suggestion",
    "Treatment",
    "Verdict",
    "VerdictKind",
    "Volume",
]

AUDIT_VERSION = 1


class VerdictKind(StrEnum):
    """What an audit says of a column."""

    DECLARED = "declared"
    """The policy names it, and its values do not contradict that."""
    UNDECLARED = "undeclared"
    """The policy does not name it, so `consentry protect` does as ``on_drift`` says."""
    CONTRADICTED = "contradicted"
    """The policy takes it for something that its values are not."""
    NOT_NEEDED = "not_needed"
    """Nobody seems to need it, or its raw values."""


class Reason(StrEnum):
    """Why; stable codes."""

    NO_PURPOSE = "no_purpose"
    NEVER_DETOKENIZED = "never_detokenized"
    CONSTANT = "constant"
    EMPTY = "empty"
    DUPLICATE_OF = "duplicate_of"
    OTHER_ENTITY = "other_entity"
    KEPT_IN_CLEAR = "kept_in_clear"
    STRAY_VALUES = "stray_values"
    DOES_NOT_FIT = "does_not_fit"
    SENSITIVE = "sensitive"
    ORDINARY = "ordinary"


class Change(StrEnum):
    """How a suggestion changes the policy."""

    ADD = "add"
    """The lines go right below ``line``, or into the mapping that ``place`` names."""
    REPLACE = "replace"
    """The lines take the place of the entry that begins in ``line``."""
    CREATE = "create"
    """The lines are a whole policy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """Lines for the policy.

    Attributes:
        place: Where in the document, as ``datasets.orders.fields``.
        change: How.
        lines: YAML, indented as the policy is.
        line: The line of the policy file that they go below, or whose entry they replace; None where there is no
            line of its own.
        says: What they do, in a sentence.
    """

    place: str
    change: Change
    lines: str
    line: int | None = None
    says: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What an audit says of a column, and why.

    Attributes:
        verdict: The kind.
        reason: Code; None for ``declared``.
        says: In a sentence.
        other: The path that it duplicates, or None.
        suggestions: What to change.
    """

    verdict: VerdictKind
    reason: Reason | None = None
    says: str = ""
    other: str | None = None
    suggestions: tuple[Suggestion, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """How much of a column the sample held.

    Attributes:
        places: Values and nulls in the sample; the elements of all lists where the path passes one.
        nulls: Of them, blank texts included.
        distinct: Different values among the others, counted exactly in the sample.
    """

    places: int
    nulls: int
    distinct: int

    @property
    def filled(self) -> float:
        """The share of places with a value."""
        return (self.places - self.nulls) / self.places if self.places else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundLeak:
    """Values of an entity in a column that is not of it."""

    entity: str
    count: int
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What detection found in a column; see ``ColumnType``."""

    kind: str
    entity: str | None = None
    share: float = 0.0
    chance: float = 0.0
    sample: int = 0
    evidence: str = ""
    examples: tuple[str, ...] = ()
    leaks: tuple[FoundLeak, ...] = ()

    @property
    def entities(self) -> tuple[str, ...]:
        """All entities that are in the column, its own first."""
        own = (self.entity,) if self.entity else ()
        return (*own, *(leak.entity for leak in self.leaks if leak.entity != self.entity))


@dataclass(frozen=True, slots=True, kw_only=True)
class Treatment:
    """What the policy does with a column.

    Attributes:
        info_type: Name of the info type; None for ``keep``, ``drop`` and ``redact``.
        action: What becomes of the value.
        collect: Purposes of which one must permit keeping anything of it.
        distribute: Purposes of which one must permit giving the raw value out.
        see: What each role sees.
        role: ``subject`` or ``event_time`` where the dataset names it so.
    """

    info_type: str | None
    action: str
    collect: tuple[str, ...] = ()
    distribute: tuple[str, ...] = ()
    see: Mapping[str, str]
    role: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditColumn:
    """One column, or one path into nested records.

    Attributes:
        path: As the policy writes it; names that could be values are ``(hidden)``.
        type: Of the values.
        volume: How much there is.
        found: What it is.
        treatment: What the policy does with it; None where it is not declared.
        verdicts: At least one.
    """

    path: str
    type: str
    volume: Volume
    found: Found
    treatment: Treatment | None
    verdicts: tuple[Verdict, ...]

    def verdict(self, kind: VerdictKind) -> Verdict | None:
        """Returns the first verdict of a kind, or None."""
        return next((each for each in self.verdicts if each.verdict is kind), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditedFile:
    """A file of the input; folders are not told, and a name that could be a value is not either."""

    name: str
    format: str
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditInputs:
    """What was audited.

    Attributes:
        files: The first of them.
        file_count: All of them.
        bytes: As stored.
        rows: In all files; an estimate unless ``rows_exact``.
        rows_exact: Whether the format or a full reading told.
        sampled: Rows that were looked at.
        unreadable: Lines among them that are no record.
    """

    files: tuple[AuditedFile, ...]
    file_count: int
    bytes: int
    rows: int
    rows_exact: bool
    sampled: int
    unreadable: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditSampling:
    """How the rows were drawn, and what that can miss.

    Attributes:
        seed: Of the draw: the same input gives the same sample.
        parts: Parts of the input that rows were drawn from.
        parts_total: All parts.
        complete: Whether every row was looked at.
        frequency: A share of rows.
        seen_with: The probability of having seen a kind of value that is in that share of rows.
        missed_below: A kind of value in at least this share of rows was seen with 95 % probability.
        says: All this in sentences.
    """

    seed: int
    parts: int
    parts_total: int
    complete: bool
    frequency: float
    seen_with: float
    missed_below: float
    says: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """All that a report says.

    Attributes:
        made_at: The instant of the audit.
        dataset: The dataset of the policy that the input was held against, or None.
        policy: SHA-256 of the policy, or None.
        inputs: What was audited.
        sampling: How.
        columns: In the order of the input.
        purposes: Of the policy.
        accesses: From the access log, or None.
        coverage: From the consent ledger, or None.
        proposal: A dataset for an input that none was named for, and a whole policy where there is none.
        notes: What could not be looked at, and why.
    """

    made_at: str
    dataset: str | None
    policy: str | None
    inputs: AuditInputs
    sampling: AuditSampling
    columns: tuple[AuditColumn, ...]
    purposes: tuple[PurposeUse, ...] = ()
    accesses: AccessUse | None = None
    coverage: ConsentCoverage | None = None
    proposal: tuple[Suggestion, ...] = ()
    notes: tuple[str, ...] = ()

    def having(self, kind: VerdictKind) -> tuple[AuditColumn, ...]:
        """Returns the columns with a verdict of a kind."""
        return tuple(column for column in self.columns if column.verdict(kind) is not None)

    @property
    def sensitive(self) -> tuple[AuditColumn, ...]:
        """The columns that hold something sensitive, as a whole or here and there."""
        return tuple(column for column in self.columns if column.found.entities or column.found.kind == "MIXED")

    @property
    def exposed(self) -> tuple[AuditColumn, ...]:
        """The columns that hold something sensitive and are not declared, or are declared as something else."""
        wrong = {VerdictKind.UNDECLARED, VerdictKind.CONTRADICTED}
        return tuple(
            column
            for column in self.sensitive
            if any(each.verdict in wrong and each.reason is not Reason.ORDINARY for each in column.verdicts)
        )

    def as_json(self) -> dict[str, Any]:
        """Returns the document of ``consentry audit --json``."""
        return {"audit": AUDIT_VERSION, **asdict(self)}
