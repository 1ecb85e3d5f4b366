"""What a legal obligation holds back of an erased subject: their values of the token domains that it distributes.

They are taken out of the vault before everything else of the subject is shredded, and sealed under a key of the case
and domain, which is destroyed when their time is over. Nothing else opens them, and nobody sees them but for a purpose
with basis ``legal_obligation``, in a role that may see the domain; each such access is in the access log.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pyarrow as pa

from ..schemas.consent import parse_instant
from ..schemas.errors import ConfigError, StoreError
from ..schemas.info_types import Basis, Sight
from ..schemas.policy import Policy
from ..schemas.policy_file import read_policy
from ..schemas.project import Project
from ..transforms.access.explain import Request, standing_refusal
from ..transforms.crypto.cmac_columns import ColumnCmac
from ..transforms.crypto.envelope import associated_data, open_sealed, seal
from ..transforms.stores.access_log import AccessRecord, open_access_log
from ..transforms.stores.erasure_journal import ErasureCase, HeldBack, erasures_exist, open_erasures
from ..transforms.values.masking import masked
from .desk import Stores, open_stores

__all__ = [
    "FOREVER",
    "HeldAnswer",
    "held_back",
    "hold_key_name",
    "legal_purposes",
    "lost_words",
    "release_held",
    "show_held",
]

FOREVER = parse_instant("9999-12-31T23:59:59.999999Z")
RULE = "legal_hold"


def hold_key_name(case: str, domain: str) -> str:
    """Returns the name that the key of what a case holds back of a domain has among the day keys."""
    return f"hold:{case}:{domain}"


def lost_words(case: str, domain: str) -> str:
    """Returns what to say of something held back whose key is gone before its time."""
    return (
        f"erasure {case}: what is held back of '{domain}' cannot be opened, because its key is not among the data keys "
        "though its time is not over; if data_keys was restored from before the erasure, bring the newer one back"
    )


def legal_purposes(policy: Policy, domain: str) -> tuple[str, ...]:
    """Returns the purposes of basis ``legal_obligation`` that a token domain is distributed for."""
    found = policy.token_domain(domain)
    return () if found is None else tuple(
        purpose for purpose in found.distribute if policy.basis(purpose) is Basis.LEGAL_OBLIGATION
    )  # fmt: skip


def held_back(
    policy: Policy, stores: Stores, subject: bytes, case: str, *, until: int | None, now: int
) -> list[HeldBack]:
    """Returns what legal obligations hold back of a subject, sealed; one part for each token domain.

    Args:
        policy: In force.
        stores: Open.
        subject: Reference of the subject.
        case: Id of the erasure.
        until: Microseconds UTC, no longer than so; None: as long as the policy's ``retain`` says, or until released.
        now: Microseconds UTC.
    """
    values: dict[str, list[list[Any]]] = {}
    latest: dict[str, int] = {}
    for entry in stores.vault.entries_of(subject):
        if legal_purposes(policy, entry.domain):
            held = [entry.token, entry.key_version, stores.vault.open_value(entry), entry.event_time]
            values.setdefault(entry.domain, []).append(held)
            latest[entry.domain] = max(latest.get(entry.domain, entry.event_time), entry.event_time)
    parts = []
    for domain, held_values in values.items():
        ends = min(_retained(policy, domain, latest[domain]), FOREVER if until is None else until)
        if ends > now:
            key = stores.data_keys.day_key(hold_key_name(case, domain), expires_at=ends)
            sealed = seal(key, json.dumps(held_values).encode(), _bound(stores, case, domain), random=os.urandom)
            parts.append(HeldBack(domain=domain, until=ends, sealed=sealed))
    return parts


def release_held(stores: Stores, case: ErasureCase, held: Sequence[HeldBack], now: int) -> None:
    """Destroys the keys of what is held back."""
    for part in held:
        if stores.data_keys.find_day_key(hold_key_name(case.id, part.domain), at=now) is not None:
            stores.data_keys.day_key(hold_key_name(case.id, part.domain), expires_at=now)
    stores.data_keys.sweep(now)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldAnswer:
    """A value that is held back, as a role may see it."""

    domain: str
    token: str
    key_version: int
    value: str
    shown: str

    def __repr__(self) -> str:
        return f"<HeldAnswer: of domain {self.domain}; token and value hidden>"

    def as_json(self) -> dict[str, Any]:
        """Returns the answer as ``subject held --json`` prints it."""
        return {name: getattr(self, name) for name in self.__slots__}


def show_held(
    project: Project, case_id: str, *, purpose: str, role: str, actor: str, clock: Callable[[], int]
) -> list[HeldAnswer]:
    """Returns what is held back in a case that the role may see for the purpose, once the access log has it.

    Who may see nothing is told nothing: neither whether there is such a case, nor whether it holds anything.

    Args:
        project: Names policy, keys and stores.
        case_id: Of the erasure.
        purpose: Of basis ``legal_obligation``.
        role: In which the actor asks.
        actor: Who asks.
        clock: Microseconds UTC.

    Raises:
        ConfigError: The actor is blank.
        AccessLogError: The log cannot be written; nothing is shown.
        StoreError: Something that the role may see is held back, and its key is gone before its time.
        PrivacyError: Keys or stores cannot be used.
    """
    if not actor.strip():
        raise ConfigError("--actor: is blank; name who asks, because the access log must say it")
    policy = read_policy(project.policy)
    case, held = _case(project, case_id)
    with open_stores(project) as stores:
        answers: list[HeldAnswer] = []
        lost: list[str] = []
        for part in held:
            request = Request(domain=part.domain, purpose=purpose, role=role, actor=actor, subject=None)
            refusal = standing_refusal(request, policy, project.actors)
            ended = part.until <= clock()  # whether or not somebody has swept since
            if case is not None and refusal is None and not ended and purpose in legal_purposes(policy, part.domain):
                found = _answers(policy, stores, case, part, role, clock())
                answers += found or ()
                lost += [part.domain] if found is None else []
        asked = _Access(at=clock(), actor=actor, role=role, purpose=purpose, case=case_id)
        with closing(open_access_log(project.access_log)) as log:
            shown = [] if lost else answers
            log.append(asked.records(ColumnCmac(stores.keys.derive_root("access-log")), case, shown))
        if lost:
            raise StoreError("; ".join(lost_words(case_id, domain) for domain in lost), reason="hold_lost")
        return answers


def _case(project: Project, case_id: str) -> tuple[ErasureCase | None, list[HeldBack]]:
    """Returns a case and what it holds back; None and nothing where there is none."""
    if not erasures_exist(project.erasures):
        return None, []
    with closing(open_erasures(project.erasures)) as journal:
        case = next((each for each in journal.cases() if each.id == case_id), None)
        return case, [] if case is None else journal.held(case.subject)


def _answers(
    policy: Policy, stores: Stores, case: ErasureCase, part: HeldBack, role: str, now: int
) -> list[HeldAnswer] | None:
    """Returns what is held back of a domain, as the role may see it; None where its key is gone."""
    key = stores.data_keys.find_day_key(hold_key_name(case.id, part.domain), at=now)
    domain = policy.token_domain(part.domain)
    if key is None:
        return None
    if domain is None:
        return []
    held = json.loads(open_sealed(key, part.sealed, _bound(stores, case.id, part.domain)))
    sight = domain.see[role]
    return [
        HeldAnswer(
            domain=part.domain,
            token=token,
            key_version=key_version,
            value=value if sight is Sight.FULL else masked(domain.rule.format, value),
            shown=sight.value,
        )
        for token, key_version, value, _ in held
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Access:
    """A request for what is held back."""

    at: int
    actor: str
    role: str
    purpose: str
    case: str

    def records(
        self, references: ColumnCmac, case: ErasureCase | None, answers: Sequence[HeldAnswer]
    ) -> list[AccessRecord]:
        """Returns what the log says of it: each value that is shown, or that nothing was."""
        if not answers or case is None:
            return [self._record(references, "", self.case, None, None)]
        return [self._record(references, each.domain, each.token, case.subject, each.shown) for each in answers]

    def _record(
        self, references: ColumnCmac, domain: str, token: str, subject: bytes | None, shown: str | None
    ) -> AccessRecord:
        return AccessRecord(
            at=self.at,
            actor=self.actor,
            role=self.role,
            purpose=self.purpose,
            domain=domain,
            token_ref=bytes(references.digest(pa.array([associated_data(domain, token)], pa.binary()))),
            subject_ref=subject,
            decision="refused" if shown is None else "allowed",
            rule=RULE,
            shown=shown,
        )


def _retained(policy: Policy, domain: str, latest: int) -> int:
    """Returns until when the policy keeps values of a domain, the latest of which is from an instant."""
    found = policy.token_domain(domain)
    if found is None or found.retain is None:
        return FOREVER
    return latest + found.retain // timedelta(microseconds=1)


def _bound(stores: Stores, case: str, domain: str) -> bytes:
    return associated_data("held-back", stores.keys.tenant, case, domain)
