"""Says what a change of policy means for customers, staff and engineers, and whether it loosens or tightens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from .dataset import Dataset, FieldPath, Plain
from .info_types import Basis, InfoType, Sight, TokenizeRule
from .policy import Policy
from .policy_text import join_words, plain_name

__all__ = ["Change", "Effect", "diff_policies"]

# How much of a value a treatment lets through, from nothing to all.
OPENNESS = {"drop": 0, "redact": 1, "scan": 1, "tokenize": 2, "mask": 3, "generalize": 3, "keep": 4}
# How much a basis asks of the customer: the more, the tighter.
ASKING = {Basis.LEGAL_OBLIGATION: 0, Basis.CONTRACT: 0, Basis.LEGITIMATE_INTEREST: 1, Basis.CONSENT: 2}
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
            says = f"A {plain_name(name)} may now ask for {_listed(after - before)}."
            yield _change(path, "staff", Effect.LOOSENS, says)
        if before - after:
            says = f"A {plain_name(name)} may no longer ask for {_listed(before - after)}."
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
    yield from _sights(f"{path}.see", name, before, after)
    yield from _retention(f"{path}.retain", name, before, after)
    if isinstance(before, TokenizeRule) and isinstance(after, TokenizeRule):
        yield from _tokens(path, before, after)
    elif before.action == after.action and _parameters(before) != _parameters(after):
        says = f"The {plain_name(name)} is made coarser or finer than before: compare the two lines."
        yield _change(path, "engineer", Effect.CHANGES, says)


def _parameters(rule: InfoType) -> dict[str, Any]:
    general = {"action", "collect", "distribute", "see", "finds", "retain"}
    return rule.model_dump(mode="json", exclude=general)


def _purpose_list(path: str, name: str, done: str, before: tuple[str, ...], after: tuple[str, ...]) -> Iterator[Change]:
    added, removed = set(after) - set(before), set(before) - set(after)
    if added:
        says = f"Your {plain_name(name)} may now also be {done} for {_listed(added)}."
        yield _change(path, "customer", Effect.LOOSENS, says)
    if removed:
        says = f"Your {plain_name(name)} may no longer be {done} for {_listed(removed)}."
        yield _change(path, "customer", Effect.TIGHTENS, says)


def _sights(path: str, name: str, before: InfoType, after: InfoType) -> Iterator[Change]:
    rank = {None: 0, Sight.MASKED: 1, Sight.FULL: 2}
    words = {None: "sees nothing", Sight.MASKED: "sees a masked form", Sight.FULL: "sees all"}
    for role in _names(before.see, after.see):
        was, now = before.see.get(role), after.see.get(role)
        if was is not now:
            says = f"Of the {plain_name(name)}, a {plain_name(role)} now {words[now]}; before: {words[was]}."
            yield _change(f"{path}.{role}", "staff", _toward(-rank[was], -rank[now]), says)


def _retention(path: str, name: str, before: InfoType, after: InfoType) -> Iterator[Change]:
    if before.retain == after.retain:
        return
    longer = after.retain is None or (before.retain is not None and after.retain > before.retain)
    how = "as long as a purpose permits" if after.retain is None else f"for {after.retain.days} days at most"
    says = f"Your {plain_name(name)} is now kept in the vault {how}."
    yield _change(path, "customer", Effect.LOOSENS if longer else Effect.TIGHTENS, says)


def _tokens(path: str, before: TokenizeRule, after: TokenizeRule) -> Iterator[Change]:
    for key in ("domain", "format", "keep_last", "alphabet", "separators", "region", "email_domain"):
        if getattr(before, key) != getattr(after, key):
            says = "New tokens differ from those already written; the two do not join. Protect again what must join."
            yield _change(f"{path}.{key}", "engineer", Effect.CHANGES, says)
    if before.on_invalid is not after.on_invalid:
        says = f"A value that does not fit its format now goes this way: {after.on_invalid}."
        yield _change(f"{path}.on_invalid", "engineer", Effect.CHANGES, says)


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
        says = f"Records that failed can be opened for {after.total_seconds() / 86400:g} days; before: "
        yield _change("dead_letters.retain", "customer", effect, says + f"{before.total_seconds() / 86400:g}.")


def _names(before: Any, after: Any) -> list[Any]:
    """Keys of both, in the order in which people wrote them."""
    return list(dict.fromkeys([*before, *after]))
