"""Judges tokens that are asked for, many at once, by the rules of CONTRACTS in their order.

One look-up in the vault, one question to the ledger's snapshot and one to the data keys serve a whole lot; whether an
entry exists comes last. One token is a lot of one: there is no other way to a value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Generic, TypeVar

import numpy as np
import pyarrow as pa

from ...schemas.info_types import TokenizeRule
from ...schemas.policy import Policy, TokenDomain
from ..stores.consent_snapshot import ConsentSnapshot
from ..stores.entry_columns import EntryColumns
from ..stores.vault import Vault
from .explain import Actors, Request, Rule, depends_on_ledger, standing_refusal

__all__ = ["NOBODY", "ConsentNow", "Judged", "Lot", "TokenJudge"]

NOBODY = b""
"""Reference of a customer whose id is blank: permits nothing."""

_K = TypeVar("_K")
"""A token, None where the text is none; with the reference of the customer where one is named for it."""


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
    """What became of a lot; all sequences have an item for each of its ``n`` tokens.

    Attributes:
        rules: That decided.
        values: In full; None where refused.
        owners: Reference of the customer whose value is given out; None where refused.
        further: References of the others, by the place of the token, where a value is that of several customers.
        spelled: The canonical token, None where the text is none, or the policy does not know the domain.
        domain: As the policy has it; None where a rule refused that asks neither token nor customer.
    """

    rules: Sequence[Rule]
    values: Sequence[str | None]
    owners: Sequence[bytes | None]
    further: Mapping[int, Sequence[bytes]]
    spelled: Sequence[str | None]
    domain: TokenDomain | None

    def __repr__(self) -> str:
        return f"<Judged: {len(self.rules)} tokens; tokens and values hidden>"


class _Verdicts(Generic[_K]):
    """What becomes of each of some keys.

    Args:
        rules: That decide, as long as there are no entries to be shown.
    """

    def __init__(self, rules: dict[_K, Rule]) -> None:
        self.rules = rules
        self.values: dict[_K, str | None] = {}
        self.owners: dict[_K, bytes] = {}
        self.further: dict[_K, Sequence[bytes]] = {}

    def permit(self, keys: Sequence[_K], values: Sequence[str | None], owners: Sequence[bytes]) -> None:
        """Gives values out; refuses those that could not be opened."""
        self.rules.update(dict.fromkeys(keys, Rule.PERMITTED))
        self.values.update(zip(keys, values, strict=True))
        self.owners.update(zip(keys, owners, strict=True))
        if None in values:
            for key in [key for key, value in zip(keys, values, strict=True) if value is None]:
                self.rules[key] = Rule.INTEGRITY
                del self.owners[key]
                self.further.pop(key, None)

    def told(self, keys: Sequence[_K], spelled: Sequence[str | None], domain: TokenDomain) -> Judged:
        """Returns what became of tokens, each of which has its key."""
        further = self.further
        return Judged(
            rules=list(map(self.rules.__getitem__, keys)),
            values=list(map(self.values.get, keys)),
            owners=list(map(self.owners.get, keys)),
            further={place: further[key] for place, key in enumerate(keys) if key in further} if further else {},
            spelled=spelled,
            domain=domain,
        )


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

    def permits_each(self, purpose: str, references: Sequence[bytes]) -> list[bool]:
        """Returns whether each of ``references`` permits ``purpose`` now; ``NOBODY`` does not."""
        if not references:
            return []
        located = self._snapshot.locate(pa.array([reference or None for reference in references], pa.binary(16)))
        at = np.full(len(references), self._now, dtype=np.int64)
        known = np.ones(len(references), dtype=bool)
        permits: list[bool] = self._snapshot.permits(
            purpose, self._policy.basis(purpose), located, at, known
        ).tolist()  # fmt: skip
        return permits

    def permitting(self, purpose: str, references: Iterable[bytes]) -> set[bytes]:
        """Returns those of ``references`` that permit ``purpose`` now."""
        asked = list(dict.fromkeys(references))
        return set(compress(asked, self.permits_each(purpose, asked)))


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
            return self._of_tokens(lot, domain, spelled).told(spelled, spelled, domain)
        named = list(zip(spelled, lot.subjects, strict=True))
        return self._of_customers(lot, domain, named).told(named, spelled, domain)

    def _of_tokens(self, lot: Lot, domain: TokenDomain, spelled: Sequence[str | None]) -> _Verdicts[str | None]:
        """Returns what becomes of each token where no customer is named, so that all whose value it is must permit."""
        absent = Rule.NOT_PERMITTED_OR_ABSENT if self._refusable(lot) else Rule.NO_ENTRY
        rules: dict[str | None, Rule] = dict.fromkeys(spelled, absent)
        asked = [token for token in rules if token is not None]
        rules[None] = Rule.NOT_A_TOKEN
        found = self.vault.find_many(domain.name, asked, lot.key_version)
        permitted = self.consent.permits_each(lot.request.purpose, found.subject_refs)
        return self._settled(_Verdicts(rules), found, found.tokens, permitted)

    def _of_customers(
        self, lot: Lot, domain: TokenDomain, keys: Sequence[tuple[str | None, bytes]]
    ) -> _Verdicts[tuple[str | None, bytes]]:
        """Returns what becomes of each token for the customer named for it, who alone decides."""
        # Where customers cannot refuse, "does not permit" could only mean an erased one; that is told as absent.
        closed = Rule.SUBJECT_DOES_NOT_PERMIT if self._refusable(lot) else Rule.NO_ENTRY
        permitting = self.consent.permitting(lot.request.purpose, [subject for _, subject in keys])
        rules: dict[tuple[str | None, bytes], Rule] = {}
        for token, subject in dict.fromkeys(keys):
            absent = Rule.NOT_A_TOKEN if token is None else Rule.NO_ENTRY
            rules[token, subject] = absent if subject in permitting else closed
        asked = {token: None for token, subject in rules if token is not None and subject in permitting}
        found = self.vault.find_many(domain.name, list(asked), lot.key_version)
        entry_keys = list(zip(found.tokens, found.subject_refs, strict=True))
        wanted = [key in rules and key[1] in permitting for key in entry_keys]
        return self._settled(_Verdicts(rules), found, entry_keys, wanted)

    def _settled(
        self, verdicts: _Verdicts[_K], found: EntryColumns, keys: Sequence[_K], may_be_shown: Sequence[bool]
    ) -> _Verdicts[_K]:
        """Returns verdicts with what becomes of keys that have entries, all of which may be shown.

        Args:
            verdicts: So far.
            found: Entries.
            keys: Of each entry.
            may_be_shown: Whether each may be.
        """
        rows = {key: row for row, key in enumerate(keys)}
        several = _places_of(keys) if len(rows) < len(keys) else {}
        for key, places in several.items():
            rows[key] = min(places, key=found.subject_refs.__getitem__)
            if not all(may_be_shown[place] for place in places):
                del rows[key]
            elif len({found.key_versions[place] for place in places}) > 1:
                verdicts.rules[key] = Rule.AMBIGUOUS_VERSION
                del rows[key]
            else:
                owners = sorted({found.subject_refs[place] for place in places})
                verdicts.further[key] = owners[1:]
        shown = {key: row for key, row in rows.items() if may_be_shown[row]}
        entries = found.take(list(shown.values()))
        verdicts.permit(list(shown), self.vault.open_values(entries), entries.subject_refs)
        return verdicts

    def _refusable(self, lot: Lot) -> bool:
        return depends_on_ledger(self.policy.basis(lot.request.purpose))


def _refused(lot: Lot, rule: Rule, spelled: Sequence[str | None]) -> Judged:
    count = len(lot.tokens)
    nothing = [None] * count
    return Judged(rules=[rule] * count, values=nothing, owners=nothing, further={}, spelled=spelled, domain=None)


def _places_of(keys: Sequence[_K]) -> dict[_K, list[int]]:
    """Returns the places of each key that has several."""
    found: dict[_K, list[int]] = {}
    for place, key in enumerate(keys):
        found.setdefault(key, []).append(place)
    return {key: places for key, places in found.items() if len(places) > 1}
