"""Judges tokens that are asked for, many at once, by the rules of CONTRACTS in their order.

One look-up in the vault, one question to the ledger's snapshot and one to the data keys serve a whole lot; whether an
entry exists comes last. One token is a lot of one: there is no other way to a value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat

import numpy as np
import pyarrow as pa

from ...schemas.info_types import TokenizeRule
from ...schemas.policy import Policy, TokenDomain
from ...schemas.vault_entry import VaultEntry
from ..stores.consent_snapshot import ConsentSnapshot
from ..stores.vault import Vault
from .explain import Actors, Request, Rule, depends_on_ledger, standing_refusal

__all__ = ["NOBODY", "ConsentNow", "Judged", "Lot", "TokenJudge"]

NOBODY = b""
"""Reference of a customer whose id is blank: permits nothing."""

_Key = tuple[str | None, bytes | None]
"""A token, None where the text is none, and the reference of the customer named for it, None where none is."""
_Verdict = tuple[Rule, str | None, tuple[bytes, ...]]
"""The rule that decided, the value, and whose it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lot:
    """Tokens of one domain and key version.

    Attributes:
        request: Who asks for what; its ``subject`` tells whether customers are named, and where it is one, which.
        tokens: ``n`` of them, in any spelling that the format accepts.
        subjects: Keyed reference of the customer named for each token, ``NOBODY`` where the id is blank; None where no
            customers are named, so that all whose value it is must permit.
        key_version: Only values of this version; None: of any.
    """

    request: Request
    tokens: Sequence[str]
    subjects: Sequence[bytes] | None = None
    key_version: int | None = None

    def __repr__(self) -> str:
        return f"<Lot: {len(self.tokens)} of '{self.request.domain}'; tokens hidden>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What became of a lot; all have an item for each of its ``n`` tokens.

    Attributes:
        rules: That decided.
        values: In full; None where refused.
        owners: References of the customers whose value is given out; empty where refused.
        spelled: The canonical token, None where the text is none, or the policy does not know the domain.
        domain: As the policy has it; None where a rule refused that asks neither token nor customer.
    """

    rules: Sequence[Rule]
    values: Sequence[str | None]
    owners: Sequence[tuple[bytes, ...]]
    spelled: Sequence[str | None]
    domain: TokenDomain | None

    def __repr__(self) -> str:
        return f"<Judged: {len(self.rules)} tokens; tokens and values hidden>"


class ConsentNow:
    """What subjects permit at one instant.

    Args:
        policy: Has the bases of purposes.
        snapshot: What the ledger knows.
        now: Microseconds UTC.
    """

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
        return {reference for reference, permitted in zip(asked, permits.tolist(), strict=True) if permitted}


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenJudge:
    """Judges at one instant.

    Attributes:
        policy: Roles, purposes and who sees what.
        actors: The roles of each actor; None where the project names none.
        vault: Has followed the ledger.
        consent: What customers permit now.
        canonical_tokens: The canonical spelling of each token of a rule, None where the text cannot be one.
    """

    policy: Policy
    actors: Actors
    vault: Vault
    consent: ConsentNow
    canonical_tokens: Callable[[TokenizeRule, Sequence[str]], list[str | None]]

    def judge(self, lot: Lot) -> Judged:
        """Returns what becomes of each token of a lot.

        Raises:
            StoreError: Vault or data keys cannot be read.
        """
        domain = self.policy.token_domain(lot.request.domain)
        spelled = [None] * len(lot.tokens) if domain is None else self.canonical_tokens(domain.rule, lot.tokens)
        refusal = standing_refusal(lot.request, self.policy, self.actors)
        if refusal is not None or domain is None:
            return _refused(lot, refusal or Rule.UNKNOWN_DOMAIN, spelled)
        told = self._told(lot, domain, spelled)
        rows = [told[key] for key in _keys(lot, spelled)]
        return Judged(
            rules=[rule for rule, _, _ in rows],
            values=[value for _, value, _ in rows],
            owners=[owners for _, _, owners in rows],
            spelled=spelled,
            domain=domain,
        )

    def _told(self, lot: Lot, domain: TokenDomain, spelled: Sequence[str | None]) -> dict[_Key, _Verdict]:
        """Returns what becomes of each token, or of each token and customer where customers are named."""
        refusable = depends_on_ledger(self.policy.basis(lot.request.purpose))
        # Where customers cannot refuse, "does not permit" could only mean an erased one; that is told as absent.
        closed = Rule.SUBJECT_DOES_NOT_PERMIT if refusable else Rule.NO_ENTRY
        absent = Rule.NOT_PERMITTED_OR_ABSENT if refusable and lot.subjects is None else Rule.NO_ENTRY
        asked, told = self._before_the_vault(lot, spelled, closed)
        found = self.vault.find_many(domain.name, list({token for token, _ in asked}), lot.key_version)
        permitting = set[bytes]() if lot.subjects is not None else self._permitting(lot, found)
        usable: dict[_Key, list[VaultEntry]] = {}
        for token, subject in asked:
            entries = _usable(found.get(token, ()), subject, permitting)
            rule = _rule_of(entries, absent)
            told[token, subject] = (rule, None, ())
            if rule is Rule.PERMITTED:
                usable[token, subject] = entries
        values = self.vault.open_values([entries[0] for entries in usable.values()])
        for (key, entries), value in zip(usable.items(), values, strict=True):
            told[key] = (Rule.INTEGRITY, None, ()) if value is None else (Rule.PERMITTED, value, _owners(entries))
        return told

    def _before_the_vault(
        self, lot: Lot, spelled: Sequence[str | None], closed: Rule
    ) -> tuple[list[tuple[str, bytes | None]], dict[_Key, _Verdict]]:
        """Returns what has to be looked up, and what is refused without that."""
        permitting = None if lot.subjects is None else self.consent.permitting(lot.request.purpose, lot.subjects)
        asked, told = [], dict[_Key, _Verdict]()
        for token, subject in set(_keys(lot, spelled)):
            if permitting is not None and subject not in permitting:
                told[token, subject] = (closed, None, ())
            elif token is None:
                told[token, subject] = (Rule.NOT_A_TOKEN, None, ())
            else:
                asked.append((token, subject))
        return asked, told

    def _permitting(self, lot: Lot, found: Mapping[str, Sequence[VaultEntry]]) -> set[bytes]:
        """Returns which of the customers whose values were found permit the purpose."""
        held = [entry.subject_ref for entries in found.values() for entry in entries]
        return self.consent.permitting(lot.request.purpose, held)


def _keys(lot: Lot, spelled: Sequence[str | None]) -> Iterable[_Key]:
    """Returns token and named customer of each row."""
    return zip(spelled, repeat(None) if lot.subjects is None else lot.subjects, strict=False)


def _usable(entries: Sequence[VaultEntry], subject: bytes | None, permitting: set[bytes]) -> list[VaultEntry]:
    """Returns the named customer's entries, or without a name all of them if every customer permits."""
    if subject is not None:
        return [entry for entry in entries if entry.subject_ref == subject]
    for entry in entries:
        if entry.subject_ref not in permitting:
            return []
    return list(entries)


def _refused(lot: Lot, rule: Rule, spelled: Sequence[str | None]) -> Judged:
    count = len(lot.tokens)
    return Judged(rules=[rule] * count, values=[None] * count, owners=[()] * count, spelled=spelled, domain=None)


def _rule_of(entries: Sequence[VaultEntry], absent: Rule) -> Rule:
    if not entries:
        return absent
    if len(entries) > 1 and len({entry.key_version for entry in entries}) > 1:
        return Rule.AMBIGUOUS_VERSION
    return Rule.PERMITTED


def _owners(entries: Sequence[VaultEntry]) -> tuple[bytes, ...]:
    if len(entries) == 1:
        return (entries[0].subject_ref,)
    return tuple(sorted({entry.subject_ref for entry in entries}))
