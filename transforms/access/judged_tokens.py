"""Judges tokens that are asked for, many at once, by the rules of CONTRACTS in their order.

One look-up in the vault, one question to the ledger's snapshot and one to the data keys serve a whole lot; whether an
entry exists comes last. One token is a lot of one: there is no other way to a value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

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
        refusable = depends_on_ledger(self.policy.basis(lot.request.purpose))
        # Where customers cannot refuse, "does not permit" could only mean an erased one; that is told as absent.
        closed = Rule.SUBJECT_DOES_NOT_PERMIT if refusable else Rule.NO_ENTRY
        absent = Rule.NOT_PERMITTED_OR_ABSENT if refusable and lot.subjects is None else Rule.NO_ENTRY
        rules, asked = self._before_the_vault(lot, spelled, closed)
        usable = self._usable(lot, domain, {row: token for row in asked if (token := spelled[row]) is not None})
        for row in asked:
            rules[row] = _told_by(usable[row], absent)
        opened = self._opened({row: usable[row] for row in asked if rules[row] is Rule.PERMITTED}, rules)
        return Judged(
            rules=rules,
            values=[opened.get(row) for row in range(len(rules))],
            owners=[
                tuple(sorted({entry.subject_ref for entry in usable[row]})) if rule is Rule.PERMITTED else ()
                for row, rule in enumerate(rules)
            ],
            spelled=spelled,
            domain=domain,
        )

    def _before_the_vault(self, lot: Lot, spelled: Sequence[str | None], closed: Rule) -> tuple[list[Rule], list[int]]:
        """Returns the rules of rows that are refused without a look into the vault, and the other rows."""
        rules = [Rule.PERMITTED if token is not None else Rule.NOT_A_TOKEN for token in spelled]
        if lot.subjects is not None:
            permitting = self.consent.permitting(lot.request.purpose, lot.subjects)
            rules = [
                rule if subject in permitting else closed
                for rule, subject in zip(rules, lot.subjects, strict=True)
            ]  # fmt: skip
        return rules, [row for row, rule in enumerate(rules) if rule is Rule.PERMITTED]

    def _usable(self, lot: Lot, domain: TokenDomain, tokens: dict[int, str]) -> dict[int, list[VaultEntry]]:
        """Returns each row's entries: the named customer's, or without a name all of them if every customer permits."""
        found = self.vault.find_many(domain.name, list(dict.fromkeys(tokens.values())), lot.key_version)
        if lot.subjects is not None:
            subjects = lot.subjects
            return {
                row: [entry for entry in found.get(token, ()) if entry.subject_ref == subjects[row]]
                for row, token in tokens.items()
            }
        held = (entry.subject_ref for entries in found.values() for entry in entries)
        permitting = self.consent.permitting(lot.request.purpose, held)
        open_ = {
            token: entries
            for token, entries in found.items()
            if all(entry.subject_ref in permitting for entry in entries)
        }
        return {row: open_.get(token, []) for row, token in tokens.items()}

    def _opened(self, usable: dict[int, list[VaultEntry]], rules: list[Rule]) -> dict[int, str]:
        """Returns the values by row; a row whose value does not open gets its rule."""
        # Rows with one token have one entry object, which is opened once.
        entries = {id(found[0]): found[0] for found in usable.values()}
        opened = dict(zip(entries, self.vault.open_values(list(entries.values())), strict=True))
        values: dict[int, str] = {}
        for row, found in usable.items():
            value = opened[id(found[0])]
            if value is None:
                rules[row] = Rule.INTEGRITY
            else:
                values[row] = value
        return values


def _refused(lot: Lot, rule: Rule, spelled: Sequence[str | None]) -> Judged:
    count = len(lot.tokens)
    return Judged(rules=[rule] * count, values=[None] * count, owners=[()] * count, spelled=spelled, domain=None)


def _told_by(entries: Sequence[VaultEntry], absent: Rule) -> Rule:
    if not entries:
        return absent
    if len(entries) > 1 and len({entry.key_version for entry in entries}) > 1:
        return Rule.AMBIGUOUS_VERSION
    return Rule.PERMITTED
