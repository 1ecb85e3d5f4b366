"""Judges tokens that are asked for, many at once, by the rules of CONTRACTS in their order.

One look-up in the vault, one question to the ledger's snapshot and one to the data keys serve a whole lot; whether an
entry exists comes last. One token is a lot of one: there is no other way to a value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

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

_K = TypeVar("_K", str | None, tuple[str | None, bytes])
"""A token, None where the text is none; with the reference of the customer where one is named for it."""
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
        if lot.subjects is None:
            told = self._of_tokens(lot, domain, spelled)
            rows = [told[token] for token in spelled]
        else:
            named = list(zip(spelled, lot.subjects, strict=True))
            told_to = self._of_customers(lot, domain, named)
            rows = [told_to[key] for key in named]
        return Judged(
            rules=[rule for rule, _, _ in rows],
            values=[value for _, value, _ in rows],
            owners=[owners for _, _, owners in rows],
            spelled=spelled,
            domain=domain,
        )

    def _of_tokens(self, lot: Lot, domain: TokenDomain, spelled: Sequence[str | None]) -> dict[str | None, _Verdict]:
        """Returns what becomes of each token where no customer is named, so that all whose value it is must permit."""
        absent = Rule.NOT_PERMITTED_OR_ABSENT if self._refusable(lot) else Rule.NO_ENTRY
        asked = {token for token in spelled if token is not None}
        told: dict[str | None, _Verdict] = dict.fromkeys(asked, (absent, None, ()))
        told[None] = (Rule.NOT_A_TOKEN, None, ())
        found = self.vault.find_many(domain.name, list(asked), lot.key_version)
        held = [entry.subject_ref for entries in found.values() for entry in entries]
        permitting = self.consent.permitting(lot.request.purpose, held)
        usable: dict[str | None, list[VaultEntry]] = {}
        for token, entries in found.items():
            if len(entries) == 1:
                if entries[0].subject_ref in permitting:
                    usable[token] = entries
            elif permitting.issuperset([entry.subject_ref for entry in entries]):
                usable[token] = entries
        told.update(self._opened(usable))
        return told

    def _of_customers(
        self, lot: Lot, domain: TokenDomain, keys: Sequence[tuple[str | None, bytes]]
    ) -> dict[tuple[str | None, bytes], _Verdict]:
        """Returns what becomes of each token for the customer named for it, who alone decides."""
        # Where customers cannot refuse, "does not permit" could only mean an erased one; that is told as absent.
        closed = Rule.SUBJECT_DOES_NOT_PERMIT if self._refusable(lot) else Rule.NO_ENTRY
        permitting = self.consent.permitting(lot.request.purpose, {subject for _, subject in keys})
        told: dict[tuple[str | None, bytes], _Verdict] = {}
        asked: list[tuple[str, bytes]] = []
        for token, subject in set(keys):
            if subject not in permitting:
                told[token, subject] = (closed, None, ())
            elif token is None:
                told[token, subject] = (Rule.NOT_A_TOKEN, None, ())
            else:
                told[token, subject] = (Rule.NO_ENTRY, None, ())
                asked.append((token, subject))
        found = self.vault.find_many(domain.name, list({token for token, _ in asked}), lot.key_version)
        usable: dict[tuple[str | None, bytes], list[VaultEntry]] = {}
        for token, subject in asked:
            if mine := [entry for entry in found.get(token, ()) if entry.subject_ref == subject]:
                usable[token, subject] = mine
        told.update(self._opened(usable))
        return told

    def _refusable(self, lot: Lot) -> bool:
        return depends_on_ledger(self.policy.basis(lot.request.purpose))

    def _opened(self, usable: Mapping[_K, Sequence[VaultEntry]]) -> dict[_K, _Verdict]:
        """Returns what becomes of those with entries that may be shown."""
        told: dict[_K, _Verdict] = {}
        single: dict[_K, Sequence[VaultEntry]] = {}
        for key, entries in usable.items():
            if len(entries) > 1 and len({entry.key_version for entry in entries}) > 1:
                told[key] = (Rule.AMBIGUOUS_VERSION, None, ())
            else:
                single[key] = entries
        values = self.vault.open_values([entries[0] for entries in single.values()])
        for (key, entries), value in zip(single.items(), values, strict=True):
            told[key] = (Rule.INTEGRITY, None, ()) if value is None else (Rule.PERMITTED, value, _owners(entries))
        return told


def _refused(lot: Lot, rule: Rule, spelled: Sequence[str | None]) -> Judged:
    count = len(lot.tokens)
    return Judged(rules=[rule] * count, values=[None] * count, owners=[()] * count, spelled=spelled, domain=None)


def _owners(entries: Sequence[VaultEntry]) -> tuple[bytes, ...]:
    if len(entries) == 1:
        return (entries[0].subject_ref,)
    return tuple(sorted({entry.subject_ref for entry in entries}))
