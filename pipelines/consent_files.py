"""Consent events from files and forms into the ledger, and back out for people.

A file is taken whole or not at all: one faulty event refuses the file and names every fault by line, so that a
mistyped withdrawal can never be lost among good lines. Taking a file again adds nothing.
"""

from __future__ import annotations

import csv
import difflib
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from ..schemas.consent import ConsentEvent, Decision, format_instant, parse_instant
from ..schemas.errors import InputError

if TYPE_CHECKING:
    from ..schemas.policy import Policy
    from ..schemas.project import Project
    from ..transforms.stores.consent_ledger import Appended
    from ..transforms.stores.hash_chain import Verified

__all__ = ["ConsentState", "consent_state", "import_consents", "read_consents", "record_consents", "verify_ledger"]

FIELDS = {"subject", "purpose", "decision", "effective_at", "recorded_at", "source", "evidence"}
REQUIRED = ("subject", "purpose", "decision", "effective_at", "source")
FAULTS_SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentState:
    """One customer's events, and what each purpose permits; rows as ``--json`` prints them."""

    purposes: list[dict[str, Any]]
    events: list[dict[str, Any]]


def import_consents(
    project: Project, files: Sequence[Path], *, now: int, progress: Callable[[int, int], None]
) -> Appended:
    """Appends the events of ``files`` to the project's ledger.

    Args:
        project: Its policy names the purposes.
        files: ``.jsonl``, ``.json``, ``.ndjson``, ``.csv`` or ``.parquet``.
        now: Microseconds UTC; the time of recording of events that name none.
        progress: Called with files done and their number.

    Raises:
        InputError: A file cannot be read or holds a faulty event; nothing of any file is recorded.
    """
    from ..schemas.policy_file import read_policy

    policy = read_policy(project.policy)
    events: list[ConsentEvent] = []
    for done, path in enumerate(files):
        progress(done, len(files))
        events += read_consents(path, policy)
    result = record_consents(project, events, now=now, policy=policy)
    progress(len(files), len(files))
    return result


def read_consents(path: Path, policy: Policy) -> list[ConsentEvent]:
    """Returns the events of one file.

    Raises:
        InputError: With up to 20 faults as ``file:line: field: rule; hint``; values are not quoted.
    """
    events: list[ConsentEvent] = []
    faults: list[str] = []
    for line, record in _records(path):
        try:
            events.append(_event(record, policy.purposes))
        except _FaultyError as fault:
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
        InputError: A purpose is not in the policy.
    """
    from ..schemas.policy_file import read_policy
    from .desk import distribution_rules, open_stores

    policy = policy or read_policy(project.policy)
    events = list(events)
    for event in events:
        if event.purpose not in policy.purposes:
            raise InputError(f"--purpose: {_unknown_purpose(event.purpose, policy.purposes)}")
    with open_stores(project) as stores:
        appended = stores.ledger.append(events, now=now)
        stores.vault.follow(stores.ledger, distribution_rules(policy), now)
    return appended


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


def verify_ledger(project: Project) -> Verified:
    """Recomputes the ledger's chain.

    Raises:
        IntegrityError: An entry was changed, moved or taken out.
    """
    from .desk import open_stores

    with open_stores(project) as stores:
        return stores.ledger.verify()


class _FaultyError(Exception):
    """One faulty event; the text names field, rule and hint."""


def _records(path: Path) -> Iterator[tuple[int, Any]]:
    try:
        if path.suffix in {".jsonl", ".json", ".ndjson"}:
            yield from _json_records(path)
        elif path.suffix == ".csv":
            text = io.StringIO(path.read_bytes().decode("utf-8-sig"), newline="")
            reader = csv.DictReader(text, strict=True)
            yield from ((reader.line_num, {key: value or None for key, value in row.items()}) for row in reader)
        elif path.suffix == ".parquet":
            import pyarrow.parquet as pq

            yield from enumerate(pq.read_table(path).to_pylist(), start=1)
        else:
            raise InputError(f"{path}: unknown kind of file; use .jsonl, .csv or .parquet")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or type(error).__name__})") from None
    except (UnicodeDecodeError, csv.Error, ValueError) as error:
        raise InputError(f"{path}: is not what its name says ({type(error).__name__}); nothing was recorded") from None


def _json_records(path: Path) -> Iterator[tuple[int, Any]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                try:
                    yield number, orjson.loads(line)
                except orjson.JSONDecodeError:
                    yield number, None


def _event(record: Any, purposes: Mapping[str, object]) -> ConsentEvent:
    if not isinstance(record, Mapping):
        raise _FaultyError("event: not a JSON object; write one event on each line")
    unknown = sorted(str(key) for key in record.keys() - FIELDS)
    if unknown:
        raise _FaultyError(f"event: unknown fields; write only {', '.join(sorted(FIELDS))}")
    for field in REQUIRED:
        if record.get(field) in (None, ""):
            raise _FaultyError(f"{field}: is missing; every event needs {', '.join(REQUIRED)}")
    purpose = _text(record, "purpose")
    if purpose not in purposes:
        raise _FaultyError(f"purpose: {_unknown_purpose(purpose, purposes)}")
    if record["decision"] not in tuple(Decision):
        raise _FaultyError("decision: unknown; write granted or withdrawn")
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


def _text(record: Mapping[str, Any], field: str) -> str:
    value = record[field]
    if isinstance(value, int) and not isinstance(value, bool) and field == "subject":
        return str(value)
    if not isinstance(value, str):
        raise _FaultyError(f"{field}: is not text; write it in quotes")
    return value


def _instant(value: Any, field: str) -> int:
    from datetime import datetime, timedelta

    if isinstance(value, datetime) and value.tzinfo is not None:
        epoch = datetime.fromtimestamp(0, tz=value.tzinfo)
        return (value - epoch) // timedelta(microseconds=1)
    try:
        return parse_instant(value)
    except (ValueError, TypeError, AttributeError):
        raise _FaultyError(f"{field}: no instant with an offset; write it as 2026-03-01T09:00:00Z") from None


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
