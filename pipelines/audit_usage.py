"""Tells how what is collected is used: detokenizations from the access log, permissions from the consent ledger.

Of the access log it takes counts by purpose, role, actor and token domain, and no token and no customer. Of the ledger
it takes how many subjects permit a purpose, at the end of each month.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa

from ..schemas.audit_use import (
    AccessCount,
    AccessDay,
    AccessUse,
    ConsentCoverage,
    ConsentMonth,
    PurposeUse,
)
from ..schemas.consent import format_instant
from ..schemas.dataset import FieldPath
from ..schemas.info_types import Basis
from ..schemas.policy import Policy
from ..schemas.project import Project
from ..transforms.crypto.subject_references import REFERENCE_BYTES, subject_references
from ..transforms.nested_columns import column_at
from ..transforms.stores.access_log import AccessRecord, open_access_log
from ..transforms.stores.consent_ledger import ConsentLedger, open_ledger
from ..transforms.stores.data_keys import open_data_keys
from .audit_names import told_person
from .keyring_files import open_vault_keys

__all__ = ["access_use", "consent_coverage", "purpose_uses"]

COUNTS = 200
MONTHS = 24
ALLOWED = "allowed"
UNKNOWN = "(not in the policy)"
REFUSABLE = (Basis.CONSENT, Basis.LEGITIMATE_INTEREST)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def access_use(project: Project, policy: Policy) -> AccessUse:
    """Returns what the access log of a project tells.

    Raises:
        StoreError: The log is missing or cannot be read.
        IntegrityError: An entry was changed, moved or taken out.
    """
    counts: Counter[_Access] = Counter()
    days: Counter[tuple[str, bool]] = Counter()
    entries, since = 0, None
    with closing(open_access_log(project.access_log)) as log:
        log.verify()
        for record in log.records():
            entries += 1
            since = record.at if since is None else min(since, record.at)
            counts[_access(record, project, policy)] += 1
            days[format_instant(record.at)[:10], record.decision == ALLOWED] += 1
    allowed: Counter[str] = Counter()
    for access, count in counts.items():
        if access.decision == ALLOWED:
            allowed[access.domain] += count
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return AccessUse(
        entries=entries,
        since=None if since is None else format_instant(since),
        counts=tuple(
            AccessCount(
                purpose=access.purpose,
                role=access.role,
                actor=access.actor,
                domain=access.domain,
                decision=access.decision,
                count=count,
            )
            for access, count in ordered[:COUNTS]
        ),
        days=tuple(
            AccessDay(day=day, allowed=days[day, True], refused=days[day, False])
            for day in sorted({day for day, _ in days})
        ),
        allowed=dict(sorted(allowed.items())),
        info_types={name: domain.info_types for name, domain in policy.token_domains.items()},
    )


@dataclass(frozen=True, slots=True, order=True)
class _Access:
    purpose: str
    role: str
    actor: str
    domain: str
    decision: str


def _access(record: AccessRecord, project: Project, policy: Policy) -> _Access:
    return _Access(
        purpose=_known(record.purpose, policy.purposes),
        role=_known(record.role, policy.roles),
        actor=record.actor if record.actor in (project.actors or {}) else told_person(record.actor),
        domain=_known(record.domain, policy.token_domains),
        decision=record.decision,
    )


def _known(name: str, names: Collection[str]) -> str:
    """What somebody typed is told only where it is a name of the policy."""
    return name if name in names else UNKNOWN


def purpose_uses(
    policy: Policy, accesses: AccessUse | None, *, collects: dict[str, list[str]], distributes: dict[str, list[str]]
) -> tuple[PurposeUse, ...]:
    """Returns the purposes of a policy with the columns held for each.

    Args:
        policy: Read and checked.
        accesses: What the access log tells, or None.
        collects: Purpose to the told paths that it permits keeping.
        distributes: Purpose to the told paths that it permits giving out.
    """
    counts: Counter[tuple[str, bool]] = Counter()
    for count in accesses.counts if accesses else ():
        counts[count.purpose, count.decision == ALLOWED] += count.count
    return tuple(
        PurposeUse(
            name=name,
            basis=purpose.basis.value,
            says=purpose.says,
            collects=tuple(collects.get(name, ())),
            distributes=tuple(distributes.get(name, ())),
            allowed=counts[name, True],
            refused=counts[name, False],
        )
        for name, purpose in policy.purposes.items()
    )


def consent_coverage(
    project: Project, policy: Policy, *, batches: Sequence[pa.RecordBatch], subject: FieldPath | None, now: int
) -> ConsentCoverage | None:
    """Returns how many subjects permit what they may refuse; None where nothing can be refused or nobody is known.

    Args:
        project: Names keyring and ledger.
        policy: Read and checked.
        batches: Of the sample.
        subject: Path of the subject's id in them; None: all subjects of the ledger are asked about.
        now: The last instant.

    Raises:
        PrivacyError: The keys cannot be unwrapped, or the ledger cannot be read.
    """
    purposes = {name: purpose.basis for name, purpose in policy.purposes.items() if purpose.basis in REFUSABLE}
    if not purposes:
        return None
    keys = open_vault_keys(project)
    with (
        closing(open_data_keys(project.data_keys, keys)) as data_keys,
        closing(open_ledger(project.ledger, keys, data_keys)) as ledger,
    ):
        references = set() if subject is None else _sampled(batches, subject, keys.reference_key)
        of = "sample" if references else "ledger"
        references = references or ledger.changed_subjects(after=0, since=now, until=now)
        if not references:
            return None
        return ConsentCoverage(
            subjects=len(references),
            of=of,
            ledger_position=ledger.position(),
            purposes={name: basis.value for name, basis in purposes.items()},
            months=tuple(_months(ledger, purposes, sorted(references), now)),
        )


def _sampled(batches: Sequence[pa.RecordBatch], subject: FieldPath, key: bytes) -> set[bytes]:
    found: set[bytes] = set()
    for batch in batches:
        column = column_at(batch, subject)
        if column is not None:
            found |= set(subject_references(column, key).to_pylist())
    return found - {None}


def _months(
    ledger: ConsentLedger, purposes: dict[str, Basis], references: Sequence[bytes], now: int
) -> Iterator[ConsentMonth]:
    snapshot = ledger.snapshot()
    located = snapshot.locate(pa.array(references, pa.binary(REFERENCE_BYTES)))
    known = np.ones(len(located), np.bool_)
    for instant in _instants(ledger, now):
        at = np.full(len(located), instant, np.int64)
        shares = {
            name: float(snapshot.permits(name, basis, located, at, known).mean()) for name, basis in purposes.items()
        }
        yield ConsentMonth(at=format_instant(instant), permits=shares)


def _instants(ledger: ConsentLedger, now: int) -> list[int]:
    """Returns the begins of months up to now, and now, from the first month in which something took effect."""
    begins = [now]
    month = (EPOCH + timedelta(microseconds=now)).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    while len(begins) <= MONTHS:
        begin = (month - EPOCH) // timedelta(microseconds=1)
        if begin < now:
            begins.append(begin)
        if not ledger.changed_subjects(after=ledger.position(), since=-(2**62), until=begin):
            break
        month = (month - timedelta(days=1)).replace(day=1)
    return begins[::-1]
