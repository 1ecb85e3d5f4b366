"""The desk: the one way from a token back to a value, for a purpose that policy and customer allow.

The rules are asked in the order of CONTRACTS; whether a value exists comes last, so that nobody learns it who may not
see it. The desk reads the vault and nothing else: it holds no key that inverts a token. Every answer is in the access
log before it is given; where the log cannot be written, nothing is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Self

from ...schemas.errors import ConfigError
from ...schemas.info_types import Format, Sight, TokenizeRule
from ...schemas.policy import Policy
from ..stores.access_log import AccessLog
from ..stores.consent_ledger import ConsentLedger
from ..stores.consent_snapshot import ConsentSnapshot
from ..stores.vault import Vault
from .accesses import Accesses, accesses_of, runs_in_order
from .answers import Answer, AnsweredColumn, Asked
from .explain import Actors, Option, Request, Rule, kept_digits, options_for, says_for, standing_refusal
from .holding import distribution_rules, oldest_kept
from .judged_tokens import NOBODY, ConsentNow, Judged, Lot, TokenJudge

__all__ = ["Answer", "AnsweredColumn", "Asked", "Desk", "distribution_rules", "oldest_kept"]


class Desk:
    """Answers requests for values; open one with ``pipelines.desk.open_desk``.

    Args:
        policy: Roles, purposes and who sees what.
        vault: Where values are.
        ledger: What customers permit, asked anew at each call.
        access_log: Takes every answer before it is given.
        actors: The roles of each actor; None where the project names none. That an actor is who it says is for
            the caller to know.
        canonical_tokens: The canonical spelling of each token of a rule, None where the text cannot be one.
        mask: The masked form of a value of a format.
        reference_subjects: The keyed reference of each subject id, None where the id is blank.
        reference_tokens: A keyed reference of (domain, text) of each text for the log, which never holds the text.
        clock: The time now, microseconds UTC.
        logged: Called with the position of the newest log entry, behind each append.
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
        canonical_tokens: Callable[[TokenizeRule, Sequence[str]], list[str | None]],
        mask: Callable[[Format, str], str],
        reference_subjects: Callable[[Sequence[str]], list[bytes | None]],
        reference_tokens: Callable[[str, Sequence[str]], list[bytes]],
        clock: Callable[[], int],
        logged: Callable[[int], None] = lambda _position: None,
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self._policy = policy
        self._vault = vault
        self._ledger = ledger
        self._access_log = access_log
        self._actors = actors
        self._canonical_tokens = canonical_tokens
        self._mask = mask
        self._reference_subjects = reference_subjects
        self._reference_tokens = reference_tokens
        self._clock = clock
        self._logged = logged
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
        groups: dict[tuple[str, int | None, bool], list[int]] = {}
        for place, each in enumerate(asked):
            groups.setdefault((each.domain, each.key_version, each.known), []).append(place)
        lots = [
            self._lot(
                Request(
                    domain=domain, purpose=purpose, role=role, actor=actor, subject=subject, known_domain=known
                ),
                [asked[place].token for place in places],
                None if subject is None else [subject] * len(places),
                key_version,
            )
            for (domain, key_version, known), places in groups.items()
        ]  # fmt: skip
        places = [place for each in groups.values() for place in each]
        judge, judged = self._judged(lots, places, actor=actor)
        answers = [answer for lot, found in zip(lots, judged, strict=True) for answer in self._told(judge, lot, found)]
        in_order = dict(zip(places, answers, strict=True))
        return tuple(in_order[place] for place in range(len(asked)))

    def detokenize_column(
        self,
        domain: str,
        tokens: Sequence[str],
        *,
        purpose: str,
        role: str,
        actor: str,
        subjects: str | Sequence[str] | None = None,
        key_version: int | None = None,
    ) -> AnsweredColumn:
        """Returns the answers for many tokens as columns, as ``detokenize`` gives them one by one.

        Args:
            domain: Token domain of all tokens.
            tokens: In any spelling that the format accepts.
            purpose: What the values are needed for.
            role: The role in which the actor asks.
            actor: Who asks.
            subjects: The customer whose permission decides, one for all tokens or one for each; a blank one permits
                nothing. Without it, all whose value it is must permit.
            key_version: Only values of this key version.

        Raises:
            PrivacyError: As ``detokenize``; nothing is shown.
        """
        named = None if subjects is None else ""
        request = Request(domain=domain, purpose=purpose, role=role, actor=actor, subject=named)
        each = [subjects] * len(tokens) if isinstance(subjects, str) else subjects
        lot = self._lot(request, tokens, each, key_version)
        _, (judged,) = self._judged([lot], range(len(tokens)), actor=actor)
        return AnsweredColumn(
            values=self._shown(lot, judged),
            rules=judged.rules,
            says={rule: says_for(rule, request, self._policy) for rule in dict.fromkeys(judged.rules)},
            standing=judged.domain is None and bool(tokens),
        )

    def _lot(
        self, request: Request, tokens: Sequence[str], subjects: Sequence[str] | None, key_version: int | None
    ) -> Lot:
        if subjects is None:
            return Lot(request=request, tokens=tokens, key_version=key_version)
        known = list(dict.fromkeys(subjects))
        references = dict(zip(known, self._reference_subjects(known), strict=True))
        named = [references[subject] or NOBODY for subject in subjects]
        return Lot(request=request, tokens=tokens, subjects=named, key_version=key_version)

    def _judged(self, lots: Sequence[Lot], places: Sequence[int], *, actor: str) -> tuple[TokenJudge, list[Judged]]:
        """Judges lots at one instant, and logs it all, in the order of the places of their tokens."""
        if not actor.strip():
            raise ConfigError("--actor: is blank; name who asks, because the access log must say it")
        now = self._clock()
        self._vault.follow(self._ledger, self._rules, now)
        judge = TokenJudge(
            policy=self._policy,
            actors=self._actors,
            vault=self._vault,
            consent=ConsentNow(self._policy, self._current_snapshot(), now),
            canonical_tokens=self._canonical_tokens,
        )
        judged = [judge.judge(lot) for lot in lots]
        accesses = [self._accesses(lot, found, now) for lot, found in zip(lots, judged, strict=True)]
        position = self._access_log.append_runs(runs_in_order(accesses, places))
        if position:
            self._logged(position)
        return judge, judged

    def _current_snapshot(self) -> ConsentSnapshot:
        if self._snapshot is None or self._snapshot.position != self._ledger.position():
            self._snapshot = self._ledger.snapshot()
        return self._snapshot

    def _accesses(self, lot: Lot, judged: Judged, now: int) -> Accesses:
        typed = [token or text for token, text in zip(judged.spelled, lot.tokens, strict=True)]
        return accesses_of(lot, judged, self._reference_tokens(lot.request.domain, typed), at=now)

    def _shown(self, lot: Lot, judged: Judged) -> Sequence[str | None]:
        """Returns the values as the role may see them."""
        domain = judged.domain
        if domain is None or domain.see[lot.request.role] is Sight.FULL:
            return judged.values
        return [None if value is None else self._mask(domain.rule.format, value) for value in judged.values]

    def _told(self, judge: TokenJudge, lot: Lot, judged: Judged) -> Iterator[Answer]:
        """Yields the answers of a lot, whose customer is one for all."""
        request, domain = lot.request, judged.domain
        told: dict[tuple[Rule, str | None], tuple[str, tuple[Option, ...]]] = {}
        rows = zip(lot.tokens, judged.rules, judged.spelled, self._shown(lot, judged), strict=True)
        for typed, rule, token, value in rows:
            allowed = rule is Rule.PERMITTED
            digits = None if domain is None or token is None else kept_digits(domain, token)
            if (rule, digits) not in told:
                told[rule, digits] = self._explained(judge, lot, rule, None if domain is None else digits)
            says, options = told[rule, digits]
            yield Answer(
                domain=request.domain,
                token=typed,
                decision="allowed" if allowed else "refused",
                value=value,
                shown=domain.see[request.role] if allowed and domain is not None else None,
                rule=rule,
                says=says,
                options=options,
            )

    def _explained(self, judge: TokenJudge, lot: Lot, rule: Rule, digits: str | None) -> tuple[str, tuple[Option, ...]]:
        def permitted(purpose: str) -> bool:
            return lot.subjects is None or bool(judge.consent.permitting(purpose, lot.subjects[:1]))

        standing = standing_refusal(lot.request, self._policy, self._actors) is not None
        options = options_for(
            rule,
            lot.request,
            self._policy,
            actors=self._actors,
            permitted=(lambda _purpose: True) if standing else permitted,
            last_digits=digits,
        )
        return says_for(rule, lot.request, self._policy), options
