"""Everything that is held on one person, readable: a right of the data subject. Without outputs it never loads Beam.

Each vault value that is opened for it stands in the access log first, with the rule ``subject_export``; where the log
cannot be written, nothing is exported.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from ..schemas.consent import format_instant
from ..schemas.errors import ConfigError, IntegrityError
from ..schemas.policy import Policy
from ..schemas.policy_file import read_policy
from ..schemas.project import Project
from ..schemas.vault_entry import VaultEntry
from ..transforms.access.detokenize import distribution_rules
from ..transforms.crypto.cmac_columns import ColumnCmac
from ..transforms.crypto.envelope import associated_data
from ..transforms.crypto.key_sets import PublicKeys
from ..transforms.crypto.subject_references import subject_reference
from ..transforms.stores.access_log import AccessLog, AccessRecord, open_access_log
from ..transforms.stores.erasure_journal import erasures_exist, open_erasures
from .desk import STORES, Stores, check_stores, open_stores
from .held_values import FOREVER, legal_purposes

__all__ = ["SubjectExport", "export_subject"]

RULE = "subject_export"
ROLE, PURPOSE = "data_subject", "subject_access"
"""What the access log says of an export, which is for no purpose of the policy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectExport:
    """What is held on one person; ``document`` is raw, and for that person alone."""

    document: dict[str, Any]

    def __repr__(self) -> str:
        return "<SubjectExport: values hidden>"


def export_subject(
    project: Project, subject: str, *, actor: str, outputs: Sequence[str] = (), clock: Callable[[], int]
) -> SubjectExport:
    """Returns everything that is held on a person.

    Args:
        project: Names policy, keys and stores.
        subject: The raw id, as the datasets spell it.
        actor: Who exports; written to the access log.
        outputs: Outputs whose dead letters of the person are counted.
        clock: Microseconds UTC.

    Raises:
        ConfigError: Id or actor is blank, or an output is none.
        AccessLogError: The log cannot be written; nothing is exported.
        PrivacyError: Keys, stores or outputs cannot be used.
    """
    if not actor.strip():
        raise ConfigError("--actor: is blank; name who exports, because the access log must say it")
    policy = read_policy(project.policy)
    check_stores(project, (*STORES, "access_log"))
    now = clock()
    with open_stores(project) as stores, closing(open_access_log(project.access_log)) as log:
        reference = subject_reference(subject, stores.keys.reference_key)
        if reference is None:
            raise ConfigError("--subject: is blank; name the person by the id that the datasets have")
        stores.vault.follow(stores.ledger, distribution_rules(policy), now)
        refs = pa.array([reference], pa.binary(16))
        letters = _letters(project, outputs, reference)
        accesses = _accesses(log, reference)
        entries = stores.vault.entries_of(reference)
        opened = [_opened(stores, entry) for entry in entries]
        _log(log, stores, entries, opened, reference, actor=actor, at=now)
        document = {
            "subject": subject,
            "exported_at": format_instant(now),
            "erased": stores.ledger.snapshot().is_erased(refs),
            "values": [_value_json(policy, *each) for each in zip(entries, opened, strict=True)],
            "consent_events": [_event_json(event) for event in stores.ledger.events_of(subject)],
            "purposes": _purposes(policy, stores, refs, now),
            "accesses": accesses,
            "dead_letters": letters,
            "held_back": _held_back(project, policy, reference),
        }
        return SubjectExport(document={**document, "known": _is_known(document) or _has_key(stores, reference)})


def _is_known(document: dict[str, Any]) -> bool:
    """Whether anything is held or was asked; that somebody exported nothing before makes nobody known."""
    asked = [each for each in document["accesses"] if each["rule"] != RULE]
    held = ("erased", "values", "consent_events", "dead_letters", "held_back")
    return bool(asked) or any(document[name] for name in held)


def _has_key(stores: Stores, reference: bytes) -> bool:
    """Whether there is a data key of the person: dead letters of theirs may be in outputs that were not named."""
    return bool(stores.data_keys.keys_for([reference], create=False))


def _opened(stores: Stores, entry: VaultEntry) -> str | None:
    try:
        return stores.vault.open_value(entry)
    except IntegrityError:
        return None


def _value_json(policy: Policy, entry: VaultEntry, value: str | None) -> dict[str, Any]:
    domain = policy.token_domain(entry.domain)
    purposes = () if domain is None else domain.distribute
    return {
        "what": entry.domain,
        "value": value,
        "token": entry.token,
        "key_version": entry.key_version,
        "of": format_instant(entry.event_time),
        "for": [{"purpose": name, "says": policy.purposes[name].says} for name in purposes],
    }


def _event_json(event: Any) -> dict[str, Any]:
    return {
        "purpose": event.purpose,
        "decision": event.decision.value,
        "effective_at": format_instant(event.effective_at),
        "recorded_at": format_instant(event.recorded_at),
        "source": event.source,
        "evidence": event.evidence,
    }


def _purposes(policy: Policy, stores: Stores, refs: pa.FixedSizeBinaryArray, now: int) -> list[dict[str, Any]]:
    snapshot = stores.ledger.snapshot()
    located, at, timed = snapshot.locate(refs), np.full(1, now, np.int64), np.ones(1, np.bool_)
    return [
        {
            "purpose": name,
            "basis": purpose.basis.value,
            "says": purpose.says,
            "permitted": bool(snapshot.permits(name, purpose.basis, located, at, timed)[0]),
        }
        for name, purpose in policy.purposes.items()
    ]


def _accesses(log: AccessLog, reference: bytes) -> list[dict[str, Any]]:
    """Returns who asked for values of the person, before this export."""
    return [
        {
            "at": format_instant(each.at),
            "actor": each.actor,
            "role": each.role,
            "purpose": each.purpose,
            "what": each.domain,
            "decision": each.decision,
            "rule": each.rule,
            "shown": each.shown,
        }
        for each in log.records()
        if each.subject_ref == reference
    ]


def _held_back(project: Project, policy: Policy, reference: bytes) -> list[dict[str, Any]]:
    """Returns what a legal obligation holds back of an erased person: of what kind, for what, and until when."""
    if not erasures_exist(project.erasures):
        return []
    with closing(open_erasures(project.erasures)) as journal:
        return [
            {
                "what": part.domain,
                "purposes": list(legal_purposes(policy, part.domain)),
                "until": None if part.until >= FOREVER else format_instant(part.until),
            }
            for part in journal.held(reference)
        ]


def _log(
    log: AccessLog,
    stores: Stores,
    entries: Sequence[VaultEntry],
    opened: Sequence[str | None],
    reference: bytes,
    *,
    actor: str,
    at: int,
) -> None:
    references = ColumnCmac(stores.keys.derive_root("access-log"))

    def record(domain: str, token: str, shown: str | None) -> AccessRecord:
        token_ref = bytes(references.digest(pa.array([associated_data(domain, token)], pa.binary())))
        return AccessRecord(
            at=at,
            actor=actor,
            role=ROLE,
            purpose=PURPOSE,
            domain=domain,
            token_ref=token_ref,
            subject_ref=reference,
            decision="allowed",
            rule=RULE,
            shown=shown,
        )

    shown = [
        record(entry.domain, entry.token, None if value is None else "full")
        for entry, value in zip(entries, opened, strict=True)
    ]
    # Source and evidence of consents are shown in any case.
    log.append([record("", "", None), *shown])


def _letters(project: Project, outputs: Sequence[str], reference: bytes) -> list[dict[str, Any]]:
    """Returns the dead letters of the person in some outputs: where and why, never what."""
    if not outputs:
        return []
    from .letters import open_letter_output, stored_letters

    trust = PublicKeys.load(project.trust)
    found: Counter[tuple[str, str, str, str | None, int | None]] = Counter()
    for out in outputs:
        for letters in stored_letters(open_letter_output(out, trust)):
            for each in letters:
                if each.keys.subject == reference:
                    letter = each.letter
                    found[out, letter.stage, letter.reason, letter.source, letter.position] += 1
    return [
        {"output": out, "stage": stage, "reason": reason, "source": source, "position": position}
        for out, stage, reason, source, position in found.elements()
    ]
