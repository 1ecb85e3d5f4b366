"""The desk: the one way from a token back to a value, for a purpose that policy and customer allow.

The rules are asked in the order of CONTRACTS; whether a value exists comes last, so that nobody learns it who may not
see it. The desk reads the vault and nothing else: it holds no key that inverts a token. Every answer is in the access
log before it is given; where the log cannot be written, nothing is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa

from ...schemas.errors import ConfigError, IntegrityError
from ...schemas.info_types import Basis, Format, Sight, TokenizeRule
from ...schemas.policy import Policy, TokenDomain
from ...schemas.vault_entry import VaultEntry
from ..stores.access_log import AccessLog, AccessRecord
from ..stores.consent_ledger import ConsentLedger
from ..stores.consent_snapshot import ConsentSnapshot
from ..stores.vault import Vault
from .explain import (
    Actors,
    Option,
    Request,
    Rule,
    depends_on_ledger,
    kept_digits,
    options_for,
    says_for,
    standing_refusal,
)

__all__ = ["Answer", "Asked", "Desk", "distribution_rules", "oldest_kept"]

Decision = Literal["allowed", "refused"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The answer for one token.

    Attributes:
        domain: The token domain asked for.
        token: The token as it was typed.
        decision: ``allowed`` or ``refused``.
        value: The value, in full or masked; None where refused.
        shown: ``full``, ``masked`` or None.
        rule: Code of the rule that decided.
        says: That rule as one sentence.
        options: What may be offered instead of a refused value.
    """

    domain: str
    token: str
    decision: Decision
    value: str | None
    shown: Sight | None
    rule: Rule
    says: str
    options: tuple[Option, ...]

    def __repr__(self) -> str:
        return f"<Answer: {self.decision} by {self.rule.value}; token and value hidden>"

    def as_json(self) -> dict[str, Any]:
        """Returns the answer as ``detokenize --json`` prints it."""
        return {
            "domain": self.domain,
            "token": self.token,
            "decision": self.decision,
            "value": self.value,
            "shown": None if self.shown is None else self.shown.value,
            "rule": self.rule.value,
            "says": self.says,
            "options": [{"option": option.option, "says": option.says} for option in self.options],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A token that is asked for.

    Attributes:
        domain: Its token domain; where ``known`` is False, the name of an info type that the policy does not tokenize.
        token: In any spelling that the format accepts.
        key_version: Only a value of this key version; None: of any.
        known: Whether the policy tells which domain is meant. If not, nothing is looked up.
    """

    domain: str
    token: str
    key_version: int | None = None
    known: bool = True

    def __repr__(self) -> str:
        return f"<Asked: of '{self.domain}'; token hidden>"


class Desk:
    """Answers requests for values; open one with ``pipelines.desk.open_desk``.

    Args:
        policy: Roles, purposes and who sees what.
        vault: Where values are.
        ledger: What customers permit, asked anew at each call.
        access_log: Takes every answer before it is given.
        actors: The roles of each actor; None where the project names none. That an actor is who it says is for
            the caller to know.
        canonical_token: The canonical spelling of a token of a rule, or None where the text cannot be one.
        mask: The masked form of a value of a format.
        reference_subject: The keyed reference of a subject id, or None where the id is blank.
        reference_token: A keyed reference of (domain, text) for the log, which never holds the text.
        clock: The time now, microseconds UTC.
        close: Closes what the desk works on.
    """

    def __init__(
        self,
        *,
        policy: Policy,
        vault: Vault,
        ledger: ConsentLedger,
        access_log: AccessLog,
        actors: Actors,
        canonical_token: Callable[[TokenizeRule, str], str | None],
        mask: Callable[[Format, str], str],
        reference_subject: Callable[[str], bytes | None],
        reference_token: Callable[[str, str], bytes],
        clock: Callable[[], int],
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self._policy = policy
        self._vault = vault
        self._ledger = ledger
        self._access_log = access_log
        self._actors = actors
        self._canonical_token = canonical_token
        self._mask = mask
        self._reference_subject = reference_subject
        self._reference_token = reference_token
        self._clock = clock
        self.close = close
        self._rules = distribution_rules(policy)
        self._snapshot: ConsentSnapshot | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def policy(self) -> Policy:
        """The policy that it answers by."""
        return self._policy

    def detokenize(
        self,
        domain: str,
        tokens: Sequence[str],
        *,
        purpose: str,
        role: str,
        actor: str,
        subject: str | None = None,
        key_version: int | None = None,
    ) -> tuple[Answer, ...]:
        """Returns an answer for each token, in order, all judged at one instant.

        Args:
            domain: Token domain of all tokens.
            tokens: In any spelling that the format accepts.
            purpose: What the values are needed for.
            role: The role in which the actor asks.
            actor: Who asks.
            subject: The customer whose permission decides; without it, all whose value it is must permit.
            key_version: Only values of this key version.

        Raises:
            ConfigError: The actor is blank.
            AccessLogError: The log cannot be written; nothing is shown.
            StoreError: Vault or ledger cannot be read; nothing is shown.
            IntegrityError: The ledger was changed; nothing is shown.
        """
        asked = [Asked(domain=domain, token=token, key_version=key_version) for token in tokens]
        return self.detokenize_each(asked, purpose=purpose, role=role, actor=actor, subject=subject)

    def detokenize_each(
        self, asked: Sequence[Asked], *, purpose: str, role: str, actor: str, subject: str | None = None
    ) -> tuple[Answer, ...]:
        """Returns an answer for each token, of any domains and key versions, as ``detokenize`` does.

        All are judged at one instant and logged in one go; each domain and key version is looked up once.
        """
        if not actor.strip():
            raise ConfigError("--actor: is blank; name who asks, because the access log must say it")
        now = self._clock()
        self._vault.follow(self._ledger, self._rules, now)
        groups: dict[tuple[str, int | None, bool], list[int]] = {}
        for place, each in enumerate(asked):
            groups.setdefault((each.domain, each.key_version, each.known), []).append(place)
        outcomes: dict[int, _Outcome] = {}
        for (domain, key_version, known), places in groups.items():
            request = Request(
                domain=domain, purpose=purpose, role=role, actor=actor, subject=subject, known_domain=known
            )
            tokens = [asked[place].token for place in places]
            found = self._outcomes(request, tokens, now=now, key_version=key_version)
            outcomes.update(zip(places, found, strict=True))
        ordered = [outcomes[place] for place in range(len(asked))]
        self._log(ordered, now=now)
        return tuple(outcome.answer for outcome in ordered)

    def _outcomes(
        self, request: Request, tokens: Sequence[str], *, now: int, key_version: int | None
    ) -> list[_Outcome]:
        refusal = standing_refusal(request, self._policy, self._actors)
        domain = self._policy.token_domain(request.domain)
        if refusal is not None or domain is None:
            return [self._refused(request, token, refusal or Rule.UNKNOWN_DOMAIN) for token in tokens]
        case = _Case(
            request=request,
            domain=domain,
            reference=None if request.subject is None else self._reference_subject(request.subject) or b"",
            refusable=depends_on_ledger(self._policy.basis(request.purpose)),
            consent=_ConsentNow(self._policy, self._current_snapshot(), now),
        )
        spelled = [(token, self._canonical_token(domain.rule, token)) for token in tokens]
        if case.reference is not None and not case.permitting([case.reference]):
            rule = Rule.SUBJECT_DOES_NOT_PERMIT if case.refusable else Rule.NO_ENTRY
            return [self._refused_case(case, *spelling, rule) for spelling in spelled]
        return self._judged(case, spelled, key_version)

    def _current_snapshot(self) -> ConsentSnapshot:
        if self._snapshot is None or self._snapshot.position != self._ledger.position():
            self._snapshot = self._ledger.snapshot()
        return self._snapshot

    def _judged(
        self, case: _Case, spelled: Sequence[tuple[str, str | None]], key_version: int | None
    ) -> list[_Outcome]:
        asked = {token for _, token in spelled if token is not None}
        found = {token: self._vault.find(case.domain.name, token, key_version) for token in asked}
        permitting = case.permitting({entry.subject_ref for entries in found.values() for entry in entries})
        return [
            self._refused_case(case, typed, token, Rule.NOT_A_TOKEN)
            if token is None
            else self._answered(case, typed, token, case.usable(found[token], permitting))
            for typed, token in spelled
        ]

    def _answered(self, case: _Case, typed: str, token: str, entries: Sequence[VaultEntry]) -> _Outcome:
        if not entries:
            hidden = case.reference is None and case.refusable
            rule = Rule.NOT_PERMITTED_OR_ABSENT if hidden else Rule.NO_ENTRY
            return self._refused_case(case, typed, token, rule)
        if len({entry.key_version for entry in entries}) > 1:
            return self._refused_case(case, typed, token, Rule.AMBIGUOUS_VERSION)
        try:
            value = self._vault.open_value(entries[0])
        except IntegrityError:
            return self._refused_case(case, typed, token, Rule.INTEGRITY)
        return self._allowed(case, typed, value, tuple(sorted({entry.subject_ref for entry in entries})))

    def _allowed(self, case: _Case, typed: str, value: str, subjects: tuple[bytes, ...]) -> _Outcome:
        shown = case.domain.see[case.request.role]
        answer = Answer(
            domain=case.domain.name,
            token=typed,
            decision="allowed",
            value=value if shown is Sight.FULL else self._mask(case.domain.rule.format, value),
            shown=shown,
            rule=Rule.PERMITTED,
            says=says_for(Rule.PERMITTED, case.request, self._policy),
            options=(),
        )
        return _Outcome(case.request, answer, subjects)

    def _refused_case(self, case: _Case, typed: str, token: str | None, rule: Rule) -> _Outcome:
        kept = None if token is None else kept_digits(case.domain, token)
        return self._refused(case.request, typed, rule, permitted=case.permitted, last_digits=kept)

    def _refused(self, request: Request, typed: str, rule: Rule, **known: Any) -> _Outcome:
        answer = Answer(
            domain=request.domain,
            token=typed,
            decision="refused",
            value=None,
            shown=None,
            rule=rule,
            says=says_for(rule, request, self._policy),
            options=options_for(rule, request, self._policy, actors=self._actors, **known),
        )
        return _Outcome(request, answer, ())

    def _log(self, outcomes: Sequence[_Outcome], *, now: int) -> None:
        self._access_log.append(
            [
                AccessRecord(
                    at=now,
                    actor=outcome.request.actor,
                    role=outcome.request.role,
                    purpose=outcome.request.purpose,
                    domain=outcome.request.domain,
                    token_ref=self._reference_token(outcome.request.domain, self._spelled(outcome)),
                    subject_ref=subject,
                    decision=outcome.answer.decision,
                    rule=outcome.answer.rule.value,
                    shown=None if outcome.answer.shown is None else outcome.answer.shown.value,
                )
                for outcome in outcomes
                for subject in outcome.subjects or (self._named(outcome.request),)
            ]
        )

    def _named(self, request: Request) -> bytes | None:
        return None if request.subject is None else self._reference_subject(request.subject)

    def _spelled(self, outcome: _Outcome) -> str:
        domain = self._policy.token_domain(outcome.request.domain)
        token = outcome.answer.token
        return (None if domain is None else self._canonical_token(domain.rule, token)) or token


def distribution_rules(policy: Policy) -> dict[str, tuple[tuple[str, Basis], ...]]:
    """Returns, for each token domain, the purposes that let the vault hold its values, with their bases."""
    return {
        name: tuple((purpose, policy.basis(purpose)) for purpose in domain.distribute)
        for name, domain in policy.token_domains.items()
    }


def oldest_kept(policy: Policy, now: int) -> dict[str, int]:
    """Returns, for each token domain with a ``retain``, the earliest event time of values that the vault may keep."""
    return {
        name: now - domain.retain // timedelta(microseconds=1)
        for name, domain in policy.token_domains.items()
        if domain.retain is not None
    }


@dataclass(frozen=True, slots=True)
class _Outcome:
    """An answer to a request, and the references of the customers whose value it shows."""

    request: Request
    answer: Answer
    subjects: tuple[bytes, ...]


class _ConsentNow:
    """What subjects permit at one instant."""

    def __init__(self, policy: Policy, snapshot: ConsentSnapshot, now: int) -> None:
        self._policy = policy
        self._snapshot = snapshot
        self._now = now

    def permitting(self, purpose: str, references: Iterable[bytes]) -> set[bytes]:
        """Returns those of ``references`` that permit ``purpose`` now."""
        asked = sorted({reference for reference in references if reference})
        if not asked:
            return set()
        located = self._snapshot.locate(pa.array(asked, pa.binary(16)))
        at = np.full(len(asked), self._now, dtype=np.int64)
        known = np.ones(len(asked), dtype=bool)
        permits = self._snapshot.permits(purpose, self._policy.basis(purpose), located, at, known)
        return {reference for reference, permitted in zip(asked, permits, strict=True) if permitted}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """A request that the policy allows, with the consent to judge it by.

    Attributes:
        request: The request.
        domain: Its token domain.
        reference: Of the customer named (empty where the name is blank), or None where none is named.
        refusable: Whether customers can refuse the purpose. Where they cannot, "does not permit" could only mean an
            erased customer; that is told as absent.
        consent: What customers permit now.
    """

    request: Request
    domain: TokenDomain
    reference: bytes | None
    refusable: bool
    consent: _ConsentNow

    def permitting(self, references: Iterable[bytes]) -> set[bytes]:
        """Returns those of ``references`` that permit the request's purpose now."""
        return self.consent.permitting(self.request.purpose, references)

    def permitted(self, purpose: str) -> bool:
        """Returns whether the customer named permits ``purpose`` now; True where none is named."""
        return self.reference is None or bool(self.consent.permitting(purpose, [self.reference]))

    def usable(self, entries: Sequence[VaultEntry], permitting: set[bytes]) -> list[VaultEntry]:
        """Returns the named customer's entries, or without a name all of them if every customer permits."""
        if self.reference is not None:
            return [entry for entry in entries if entry.subject_ref == self.reference]
        return list(entries) if all(entry.subject_ref in permitting for entry in entries) else []
