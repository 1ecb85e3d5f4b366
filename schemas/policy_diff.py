"""Says what a change of policy means for customers, staff and engineers, and whether it loosens or tightens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from .dataset import Dataset, FieldPath, Plain
from .info_types import (
    Basis,
    Bucket,
    GeneralizeRule,
    InfoType,
    IpPrefix,
    MaskRule,
    OnInvalid,
    Prefix,
    Sight,
    TokenizeRule,
)
from .policy import Policy
from .policy_checks import shared_meaning
from .wording import coarseness, join_words, plain_name, time_span, with_article

__all__ = ["Change", "Effect", "diff_policies"]

# How much of a value a treatment lets through, from nothing to all.
OPENNESS = {"drop": 0, "redact": 1, "tokenize": 2, "scan": 3, "mask": 3, "generalize": 3, "keep": 4}
# How much a basis asks of the customer: the more, the tighter.
ASKING = {Basis.LEGAL_OBLIGATION: 0, Basis.CONTRACT: 0, Basis.LEGITIMATE_INTEREST: 1, Basis.CONSENT: 2}
COARSE = ("year", "month", "day")
UNDECLARED = "undeclared, hence dropped"


class Effect(StrEnum):
    """Whether more is collected or seen than before, less, or the same otherwise."""

    LOOSENS = "loosens"
    TIGHTENS = "tightens"
    CHANGES = "changes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change, for one audience.

    Attributes:
        path: Where in the policy.
        audience: customer, staff or engineer.
        effect: Whether it loosens or tightens.
        says: What it means, a sentence.
    """

    path: str
    audience: str
    effect: Effect
    says: str

    def __str__(self) -> str:
        return f"{self.effect.value:9} {self.audience:9} {self.path}: {self.says}"

    def as_json(self) -> dict[str, Any]:
        """The change as ``--json`` prints it."""
        return {"path": self.path, "audience": self.audience, "effect": self.effect.value, "says": self.says}


def diff_policies(old: Policy, new: Policy) -> tuple[Change, ...]:
    """Returns what changes from ``old`` to ``new``; nothing for policies that mean the same."""
    return (
        *_purposes(old, new),
        *_roles(old, new),
        *_info_types(old, new),
        *_datasets(old, new),
        *_dead_letters(old, new),
    )


def _change(path: str, audience: str, effect: Effect, says: str) -> Change:
    return Change(path=path, audience=audience, effect=effect, says=says)


def _purposes(old: Policy, new: Policy) -> Iterator[Change]:
    for name in _names(old.purposes, new.purposes):
        path = f"purposes.{name}"
        before, after = old.purposes.get(name), new.purposes.get(name)
        if before is None and after is not None:
            yield _change(path, "customer", Effect.LOOSENS, f"There is a new reason for holding data: “{after.says}”")
        elif before is not None and after is None:
            says = f"Data is no longer held for this reason: “{before.says}”"
            yield _change(path, "customer", Effect.TIGHTENS, says)
        elif before is not None and after is not None:
            if before.basis is not after.basis:
                effect = _toward(ASKING[before.basis], ASKING[after.basis])
                says = (
                    f"The basis was {plain_name(before.basis)} and is {plain_name(after.basis)}. {_asks(after.basis)}"
                )
                yield _change(f"{path}.basis", "customer", effect, says)
            if before.says != after.says:
                yield _change(f"{path}.says", "customer", Effect.CHANGES, f"The reason now reads: “{after.says}”")


def _asks(basis: Basis) -> str:
    match basis:
        case Basis.CONSENT:
            return "Customers are asked first; silence is a no."
        case Basis.LEGITIMATE_INTEREST:
            return "Customers are not asked, but may object."
        case _:
            return "Customers can no longer refuse it."


def _toward(before: int, after: int) -> Effect:
    return Effect.CHANGES if before == after else Effect.TIGHTENS if after > before else Effect.LOOSENS


def _roles(old: Policy, new: Policy) -> Iterator[Change]:
    for name in _names(old.roles, new.roles):
        before = set(old.roles[name].purposes) if name in old.roles else set()
        after = set(new.roles[name].purposes) if name in new.roles else set()
        path = f"roles.{name}"
        if after - before:
            says = f"{_role(name)} may now ask for {_listed(after - before)}."
            yield _change(path, "staff", Effect.LOOSENS, says)
        if before - after:
            says = f"{_role(name)} may no longer ask for {_listed(before - after)}."
            yield _change(path, "staff", Effect.TIGHTENS, says)


def _listed(names: set[str]) -> str:
    return join_words(plain_name(name) for name in sorted(names))


def _info_types(old: Policy, new: Policy) -> Iterator[Change]:
    for name in _names(old.info_types, new.info_types):
        path = f"info_types.{name}"
        before, after = old.info_types.get(name), new.info_types.get(name)
        if before is None and after is not None:
            effect = Effect.LOOSENS if OPENNESS[after.action] > 1 else Effect.CHANGES
            says = f"Your {plain_name(name)} is now known to the policy: {after.action}."
            yield _change(path, "customer", effect, says)
        elif before is not None and after is None:
            says = f"Your {plain_name(name)} is no longer collected under this name."
            yield _change(path, "customer", Effect.TIGHTENS, says)
        elif before is not None and after is not None:
            yield from _info_type(path, name, before, after)


def _info_type(path: str, name: str, before: InfoType, after: InfoType) -> Iterator[Change]:
    if before.action != after.action:
        effect = _toward(-OPENNESS[before.action], -OPENNESS[after.action])
        says = f"Your {plain_name(name)} was treated by {before.action} and is now treated by {after.action}."
        yield _change(f"{path}.action", "customer", effect, says)
    yield from _purpose_list(f"{path}.collect", name, "kept, even as a token,", before.collect, after.collect)
    yield from _purpose_list(f"{path}.distribute", name, "given out", before.distribute, after.distribute)
    yield from _vaulted(f"{path}.distribute", before, after)
    yield from _sights(f"{path}.see", name, before, after)
    yield from _retention(f"{path}.retain", name, before, after)
    if isinstance(before, TokenizeRule) and isinstance(after, TokenizeRule):
        yield from _tokens(path, before, after)
    yield from _detail(path, name, before, after)
    yield from _fitting(f"{path}.on_invalid", before, after)
    yield from _finding(f"{path}.finds", name, before, after)


def _detail(path: str, name: str, before: InfoType, after: InfoType) -> Iterator[Change]:
    match before, after:
        case GeneralizeRule(to=was), GeneralizeRule(to=now) if was != now:
            effect = _toward(*_fineness(was, now))
            says = f"Of your {plain_name(name)} is now kept {coarseness(after)}; before: {coarseness(before)}."
            yield _change(f"{path}.to", "customer", effect, says)
        case MaskRule(), MaskRule() if _shown(before) != _shown(after):
            (was_side, was_count), (now_side, now_count) = _shown(before), _shown(after)
            effect = _toward(-was_count, -now_count) if was_side == now_side else Effect.CHANGES
            says = f"Of your {plain_name(name)}, the {now_side} {now_count} characters now stay in clear; "
            yield _change(path, "customer", effect, f"{says}before: the {was_side} {was_count}.")


def _fineness(was: Any, now: Any) -> tuple[int, int]:
    """Numbers that fall where the value gets finer; equal where the two ways cannot be compared."""
    if isinstance(was, str) and isinstance(now, str):
        return -COARSE.index(was), -COARSE.index(now)
    match was, now:
        case Bucket(bucket=before), Bucket(bucket=after):
            return (0, 1) if after > before else (1, 0)
        case (Prefix(prefix=before), Prefix(prefix=after)) | (IpPrefix(ip_prefix=before), IpPrefix(ip_prefix=after)):
            return -before, -after
        case _:
            return 0, 0


def _shown(rule: MaskRule) -> tuple[str, int]:
    return ("last", rule.show_last) if rule.show_last is not None else ("first", rule.show_first or 0)


def _fitting(path: str, before: InfoType, after: InfoType) -> Iterator[Change]:
    was, now = getattr(before, "on_invalid", None), getattr(after, "on_invalid", None)
    if was and now and was is not now:
        kept = "goes to the dead letters" if now is OnInvalid.DEAD_LETTER else "is redacted"
        yield _change(path, "engineer", Effect.CHANGES, f"A value that does not fit its format now {kept}.")


def _finding(path: str, name: str, before: InfoType, after: InfoType) -> Iterator[Change]:
    added, removed = set(after.finds) - set(before.finds), set(before.finds) - set(after.finds)
    if added:
        says = f"What detection finds as {join_words(sorted(added))} is now treated as {plain_name(name)}."
        yield _change(path, "engineer", Effect.CHANGES, says)
    if removed:
        says = f"What detection finds as {join_words(sorted(removed))} is no longer treated as {plain_name(name)}."
        yield _change(path, "engineer", Effect.CHANGES, says)


def _purpose_list(path: str, name: str, done: str, before: tuple[str, ...], after: tuple[str, ...]) -> Iterator[Change]:
    added, removed = set(after) - set(before), set(before) - set(after)
    if added:
        says = f"Your {plain_name(name)} may now also be {done} for {_listed(added)}."
        yield _change(path, "customer", Effect.LOOSENS, says)
    if removed:
        says = f"Your {plain_name(name)} may no longer be {done} for {_listed(removed)}."
        yield _change(path, "customer", Effect.TIGHTENS, says)


def _vaulted(path: str, before: InfoType, after: InfoType) -> Iterator[Change]:
    """What a change of ``distribute`` does to the vault, which holds a value only while a purpose permits it."""
    if set(after.distribute) - set(before.distribute):
        says = "More raw values enter the vault; what was protected before is not there. Protect again what is needed."
        yield _change(path, "engineer", Effect.LOOSENS, says)
    if set(before.distribute) - set(after.distribute):
        says = "Fewer raw values enter the vault, and nobody is shown a value for what was taken out."
        yield _change(path, "engineer", Effect.TIGHTENS, says)


def _sights(path: str, name: str, before: InfoType, after: InfoType) -> Iterator[Change]:
    rank = {None: 0, Sight.MASKED: 1, Sight.FULL: 2}
    words = {None: "sees nothing", Sight.MASKED: "sees a masked form", Sight.FULL: "sees all"}
    for role in _names(before.see, after.see):
        was, now = before.see.get(role), after.see.get(role)
        if was is not now:
            says = (
                f"Of the {plain_name(name)}, {with_article(plain_name(role))} now {words[now]}; before: {words[was]}."
            )
            yield _change(f"{path}.{role}", "staff", _toward(-rank[was], -rank[now]), says)


def _role(name: str) -> str:
    """A role as the begin of a sentence."""
    told = with_article(plain_name(name))
    return told[0].upper() + told[1:]


def _retention(path: str, name: str, before: InfoType, after: InfoType) -> Iterator[Change]:
    if before.retain == after.retain:
        return
    longer = after.retain is None or (before.retain is not None and after.retain > before.retain)
    how = "as long as a purpose permits" if after.retain is None else f"for {time_span(after.retain)} at most"
    says = f"Your {plain_name(name)} is now kept in the vault {how}."
    yield _change(path, "customer", Effect.LOOSENS if longer else Effect.TIGHTENS, says)


def _tokens(path: str, before: TokenizeRule, after: TokenizeRule) -> Iterator[Change]:
    for key in ("domain", "format", "keep_last", "alphabet", "separators", "region", "email_domain"):
        if shared_meaning(before, key) != shared_meaning(after, key):
            says = "New tokens differ from those already written; the two do not join. Protect again what must join."
            yield _change(f"{path}.{key}", "engineer", _token_effect(key, before, after), says)


def _token_effect(key: str, before: TokenizeRule, after: TokenizeRule) -> Effect:
    """Whether tokens show more of a value than before, as far as one parameter says so."""
    match key:
        case "keep_last":
            return _toward(-before.kept_digits, -after.kept_digits)
        case "email_domain":
            return _toward(before.hashes_email_domain, after.hashes_email_domain)
        case _:
            return Effect.CHANGES


def _datasets(old: Policy, new: Policy) -> Iterator[Change]:
    for name in _names(old.datasets, new.datasets):
        path = f"datasets.{name}"
        before, after = old.datasets.get(name), new.datasets.get(name)
        if before is None:
            yield _change(path, "engineer", Effect.LOOSENS, "This dataset can be protected now.")
        elif after is None:
            yield _change(path, "engineer", Effect.TIGHTENS, "This dataset can no longer be protected.")
        else:
            yield from _dataset(path, old, new, before, after)


def _dataset(path: str, old: Policy, new: Policy, before: Dataset, after: Dataset) -> Iterator[Change]:
    for key in ("subject", "event_time", "on_drift"):
        was, now = getattr(before, key), getattr(after, key)
        if was != now:
            yield _change(f"{path}.{key}", "engineer", Effect.CHANGES, f"It was {was} and is {now}.")
    added, removed = set(after.collect) - set(before.collect), set(before.collect) - set(after.collect)
    if added or removed:
        loosens = (added and before.collect) or not after.collect
        says = f"Whole records are kept for: {_listed(set(after.collect)) if after.collect else 'any reason'}."
        yield _change(f"{path}.collect", "customer", Effect.LOOSENS if loosens else Effect.TIGHTENS, says)
    for field in _names(before.fields, after.fields):
        yield from _field(f"{path}.fields.{field}", field, (old, before), (new, after))


def _field(
    path: str, field: FieldPath, before: tuple[Policy, Dataset], after: tuple[Policy, Dataset]
) -> Iterator[Change]:
    was, now = before[1].rule_for(field), after[1].rule_for(field)
    if was == now:
        return
    effect = _toward(-_openness(before[0], was), -_openness(after[0], now))
    says = f"The field was treated as {was or UNDECLARED}, and is now {now or UNDECLARED}."
    yield _change(path, "engineer", effect, says)


def _openness(policy: Policy, rule: str | None) -> int:
    if rule is None:
        return 0
    return OPENNESS[rule if rule in tuple(Plain) else policy.info_types[rule].action]


def _dead_letters(old: Policy, new: Policy) -> Iterator[Change]:
    before, after = old.dead_letters.retain, new.dead_letters.retain
    if before != after:
        effect = Effect.LOOSENS if after > before else Effect.TIGHTENS
        says = f"Records that failed can be opened for {time_span(after)}; before: {time_span(before)}."
        yield _change("dead_letters.retain", "customer", effect, says)


def _names(before: Any, after: Any) -> list[Any]:
    """Keys of both, in the order in which people wrote them."""
    return list(dict.fromkeys([*before, *after]))
