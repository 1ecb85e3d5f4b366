"""Consent events from files and forms into the ledger, and back out for people.

A file is taken whole or not at all: one faulty event refuses the file and names every fault by line, so that a
mistyped withdrawal can never be lost among good lines. Taking a file again adds nothing.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..schemas.consent import ConsentEvent, Decision, format_instant, parse_instant
from ..schemas.errors import InputError, IntegrityError, StoreDamagedError
from .consent_records import FIELDS, REQUIRED, FaultyError, consent_records

if TYPE_CHECKING:
    from ..schemas.policy import Policy
    from ..schemas.project import Project
    from ..transforms.stores.consent_ledger import Appended

__all__ = [
    "ConsentState",
    "LedgerReport",
    "consent_event",
    "consent_state",
    "import_consents",
    "read_consents",
    "record_consents",
    "verify_ledger",
]

FAULTS_SHOWN = 20
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentState:
    """One customer's events, and what each purpose permits; rows as ``--json`` prints them."""

    purposes: list[dict[str, Any]]
    events: list[dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerReport:
    """Whether the ledger is what was recorded, and what was found, in one sentence."""

    ok: bool
    detail: str
    entries: int | None = None
    head: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Returns the document of ``consent verify --json``."""
        found = {"entries": self.entries, "head": self.head} if self.ok else {}
        return {"ok": self.ok, "detail": self.detail, **found}


def import_consents(
    project: Project, files: Sequence[Path], *, now: int, progress: Callable[[int, int], None]
) -> Appended:
    """Appends the events of ``files`` to the project's ledger.

    Args:
        project: Its policy names the purposes.
        files: ``.jsonl``, ``.json``, ``.ndjson``, ``.csv`` or ``.parquet``.
        now: Microseconds UTC; the time of recording of events that name none.
        progress: Called with events read, and with 0 while their number is unknown.

    Raises:
        InputError: A file cannot be read or holds a faulty event; nothing of any file is recorded.
    """
    from ..schemas.policy_file import read_policy

    policy = read_policy(project.policy)
    events: list[ConsentEvent] = []
    for path in files:
        events += read_consents(path, policy)
        progress(len(events), 0)
    result = record_consents(project, events, now=now, policy=policy)
    progress(len(events), len(events))
    return result


def read_consents(path: Path, policy: Policy) -> list[ConsentEvent]:
    """Returns the events of one file.

    Raises:
        InputError: With up to 20 faults as ``file:line: field: rule; hint``; values are not quoted.
    """
    events: list[ConsentEvent] = []
    faults: list[str] = []
    for line, record in consent_records(path):
        try:
            events.append(consent_event(record, policy.purposes))
        except FaultyError as fault:
            faults.append(f"{path}:{line}: {fault}")
    if faults:
        more = f"\n… and {len(faults) - FAULTS_SHOWN} more" if len(faults) > FAULTS_SHOWN else ""
        raise InputError("\n".join(faults[:FAULTS_SHOWN]) + more + "\nnothing was recorded; repair the file")
    return events


def record_consents(
    project: Project, events: Iterable[ConsentEvent], *, now: int, policy: Policy | None = None
) -> Appended:
    """Appends events and lets the vault follow at once, so that a withdrawal purges without waiting for a run.

    Raises:
        InputError: A purpose is not in the policy, or a subject or source is blank.
    """
    from ..schemas.policy_file import read_policy
    from .checkpoints import Checkpoints
    from .desk import distribution_rules, open_stores

    policy = policy or read_policy(project.policy)
    events = list(events)
    for event in events:
        if event.purpose not in policy.purposes:
            raise InputError(f"--purpose: {_unknown_purpose(event.purpose, policy.purposes)}")
        for name in ("subject", "source"):
            if not getattr(event, name).strip():
                raise InputError(f"--{name}: is blank; every event names its {name}")
    with open_stores(project) as stores:
        appended = stores.ledger.append(events, now=now)
        stores.vault.follow(stores.ledger, distribution_rules(policy), now)
        position = stores.ledger.position()
    with Checkpoints(project, clock=lambda: now) as checkpoints:
        checkpoints.appended("ledger", position)
    return appended


def consent_event(record: Mapping[str, Any] | FaultyError, purposes: Mapping[str, object]) -> ConsentEvent:
    """Returns the event of one record.

    Args:
        record: As ``consent_records`` gives it.
        purposes: Those of the policy.

    Raises:
        FaultyError: It is none.
    """
    if isinstance(record, FaultyError):
        raise record
    unknown = sorted(str(key) for key in record.keys() - FIELDS)
    if unknown:
        raise FaultyError(f"event: unknown fields; write only {', '.join(sorted(FIELDS))}", "unknown_field")
    for field in REQUIRED:
        value = record.get(field)
        if value is None or (isinstance(value, str) and not value.strip()):
            raise FaultyError(f"{field}: is missing; every event needs {', '.join(REQUIRED)}", "missing_field")
    purpose = _text(record, "purpose")
    if purpose not in purposes:
        raise FaultyError(f"purpose: {_unknown_purpose(purpose, purposes)}", "unknown_purpose")
    if record["decision"] not in tuple(Decision):
        raise FaultyError("decision: unknown; write granted or withdrawn", "unknown_decision")
    recorded = record.get("recorded_at")
    return ConsentEvent(
        subject=_text(record, "subject"),
        purpose=purpose,
        decision=Decision(record["decision"]),
        effective_at=_instant(record["effective_at"], "effective_at"),
        recorded_at=None if recorded is None else _instant(recorded, "recorded_at"),
        source=_text(record, "source"),
        evidence=None if record.get("evidence") is None else _text(record, "evidence"),
    )


def consent_state(project: Project, subject: str, *, at: int) -> ConsentState:
    """Returns what the ledger knows of ``subject``, and what each purpose of the policy permits at ``at``."""
    import numpy as np
    import pyarrow as pa

    from ..schemas.policy_file import read_policy
    from ..transforms.crypto.subject_references import subject_reference
    from .desk import open_stores

    policy = read_policy(project.policy)
    with open_stores(project) as stores:
        reference = subject_reference(subject, stores.keys.reference_key)
        snapshot = stores.ledger.snapshot()
        located = snapshot.locate(pa.array([reference], pa.binary(16)))
        instant, known = np.array([at], np.int64), np.array([True])
        purposes = [
            {
                "purpose": name,
                "basis": purpose.basis.value,
                "permitted": bool(snapshot.permits(name, purpose.basis, located, instant, known)[0]),
            }
            for name, purpose in policy.purposes.items()
        ]
        events = [_as_row(event) for event in stores.ledger.events_of(subject)]
    return ConsentState(purposes=purposes, events=events)


def verify_ledger(project: Project, *, now: int) -> LedgerReport:
    """Recomputes the ledger's chain, and has the vault follow it, which keeps the last link that it has seen.

    Raises:
        PrivacyError: Keys, policy or another store cannot be used; a damaged ledger is a report.
    """
    from ..schemas.policy_file import read_policy
    from ..transforms.stores.consent_ledger import open_ledger
    from ..transforms.stores.data_keys import open_data_keys
    from ..transforms.stores.vault import open_vault
    from .desk import check_stores, distribution_rules
    from .keyring_files import open_vault_keys

    rules = distribution_rules(read_policy(project.policy))
    keys = open_vault_keys(project)
    check_stores(project)
    with (
        closing(open_data_keys(project.data_keys, keys)) as data_keys,
        closing(open_vault(project.vault, keys, data_keys)) as vault,
    ):
        try:
            with closing(open_ledger(project.ledger, keys, data_keys)) as ledger:
                checked = ledger.verify()
                vault.follow(ledger, rules, now)
        except (IntegrityError, StoreDamagedError) as error:
            return LedgerReport(ok=False, detail=str(error))
    head = checked.head.hex()
    detail = f"The chain of {checked.entries:,} entries is whole; its head is {head}"
    return LedgerReport(ok=True, detail=detail, entries=checked.entries, head=head)


def _text(record: Mapping[str, Any], field: str) -> str:
    value = record[field]
    if isinstance(value, int) and not isinstance(value, bool) and field == "subject":
        return str(value)
    if not isinstance(value, str):
        raise FaultyError(f"{field}: is not text; write it in quotes", "wrong_type")
    return value


def _instant(value: Any, field: str) -> int:
    if isinstance(value, datetime) and value.tzinfo is not None:
        # Against an epoch in UTC: Python ignores the zone, and with it summer time, between instants of one zone.
        return (value - EPOCH) // MICROSECOND
    try:
        return parse_instant(value)
    except (ValueError, TypeError, AttributeError):
        fault = f"{field}: no instant with an offset; write it as 2026-03-01T09:00:00Z"
        raise FaultyError(fault, "instant_invalid") from None


def _unknown_purpose(purpose: str, purposes: Iterable[str]) -> str:
    """The purpose itself is not quoted: in a file with shifted columns it could be anything."""
    near = difflib.get_close_matches(purpose, list(purposes), n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"the policy knows: {', '.join(sorted(purposes))}"
    return f"unknown purpose; {hint}"


def _as_row(event: ConsentEvent) -> dict[str, Any]:
    return {
        "purpose": event.purpose,
        "decision": str(event.decision),
        "effective_at": format_instant(event.effective_at),
        "recorded_at": None if event.recorded_at is None else format_instant(event.recorded_at),
        "source": event.source,
        "evidence": event.evidence,
    }
