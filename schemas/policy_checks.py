"""What the parts of a policy say of each other: names must exist, domains agree, codes and PINs are never kept."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .dataset import Dataset, FieldPath, Plain
from .info_types import DropRule, RedactRule, TokenizeRule
from .policy import Policy

__all__ = ["Finding", "check_policy", "is_verification_code", "nearest", "shared_meaning"]

# Verification codes and PINs must not survive authorization (PCI DSS 4.0, requirement 3.3.1).
NEVER_KEPT = {
    "cvv",
    "cvc",
    "cvv2",
    "cvc2",
    "cid",
    "cav2",
    "csc",
    "cvn",
    "pin",
    "cardpin",
    "pinblock",
    "securitycode",
    "cardcvv",
    "cardcvc",
}
# What info types of one token domain must agree on.
SHARED = ("format", "keep_last", "alphabet", "separators", "region", "email_domain", "distribute", "see")


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that is broken at a place of the document.

    Attributes:
        place: Keys and indices from the root of the document.
        rule: What is broken.
        hint: What to write instead.
    """

    place: tuple[str | int, ...]
    rule: str
    hint: str


def check_policy(policy: Policy) -> tuple[Finding, ...]:
    """Returns everything that is wrong between the parts of a policy whose parts are sound."""
    return (
        *_roles(policy),
        *_info_types(policy),
        *_domains(policy),
        *(finding for name, dataset in policy.datasets.items() for finding in _dataset(policy, name, dataset)),
    )


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns a hint that names the nearest of ``known``, or all of them."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1)
    if near:
        return f"did you mean '{near[0]}'?"
    return f"write one of: {', '.join(known)}" if known else "define one first"


def _unknown(place: tuple[str | int, ...], names: Iterable[str], kind: str, known: Iterable[str]) -> Iterator[Finding]:
    known = set(known)
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name not in known:
            yield Finding((*place, index), f"unknown {kind} '{name}'", nearest(name, known))
        elif name in seen:
            yield Finding((*place, index), f"'{name}' stands twice", "name it once")
        seen.add(name)


def _roles(policy: Policy) -> Iterator[Finding]:
    for name, role in policy.roles.items():
        yield from _unknown(("roles", name, "purposes"), role.purposes, "purpose", policy.purposes)


def _info_types(policy: Policy) -> Iterator[Finding]:
    finders: dict[str, str] = {}
    for name, rule in policy.info_types.items():
        place = ("info_types", name)
        yield from _unknown((*place, "collect"), rule.collect, "purpose", policy.purposes)
        yield from _unknown((*place, "distribute"), rule.distribute, "purpose", policy.purposes)
        for role in rule.see:
            if role not in policy.roles:
                yield Finding((*place, "see", role), f"unknown role '{role}'", nearest(role, policy.roles))
        if rule.distribute and not isinstance(rule, TokenizeRule):
            hint = "take 'distribute' out, or use action: tokenize"
            yield Finding((*place, "distribute"), f"action {rule.action} stores no raw value to distribute", hint)
        if rule.see and not isinstance(rule, TokenizeRule):
            hint = "take 'see' out, or use action: tokenize"
            yield Finding((*place, "see"), f"action {rule.action} stores no raw value to see", hint)
        if rule.retain is not None and not isinstance(rule, TokenizeRule):
            hint = "take 'retain' out, or use action: tokenize"
            yield Finding((*place, "retain"), f"action {rule.action} stores no raw value to retain", hint)
        if name in tuple(Plain):
            yield Finding(place, f"'{name}' is a treatment, not a name", "choose another name for the info type")
        for index, entity in enumerate(rule.finds):
            if entity in finders:
                rule_text = f"{entity} is found by '{finders[entity]}' already"
                yield Finding((*place, "finds", index), rule_text, "let one info type find it")
            finders.setdefault(entity, name)


def _domains(policy: Policy) -> Iterator[Finding]:
    first: dict[str, tuple[str, TokenizeRule]] = {}
    for name, rule in policy.info_types.items():
        if not isinstance(rule, TokenizeRule):
            continue
        other, agreed = first.setdefault(rule.domain, (name, rule))
        for key in SHARED:
            if shared_meaning(rule, key) != shared_meaning(agreed, key):
                rule_text = f"differs in '{key}' from '{other}', which shares the domain '{rule.domain}'"
                yield Finding(("info_types", name, key), rule_text, "make them agree, or name another domain")


def shared_meaning(rule: TokenizeRule, key: str) -> object:
    """Returns what a key of a token domain means, equal where two spellings mean the same."""
    match key:
        case "distribute":
            return frozenset(rule.distribute)
        case "keep_last":
            return rule.kept_digits
        case "alphabet":
            return rule.numeral_alphabet
        case "separators":
            return frozenset(rule.kept_separators)
        case "email_domain":
            return rule.hashes_email_domain
        case _:
            return getattr(rule, key)


def _dataset(policy: Policy, name: str, dataset: Dataset) -> Iterator[Finding]:
    place = ("datasets", name)
    yield from _unknown((*place, "collect"), dataset.collect, "purpose", policy.purposes)
    for key, path in (("subject", dataset.subject), ("event_time", dataset.event_time)):
        if not path.is_scalar:
            yield Finding((*place, key), f"'{path}' passes a list, so a record has many", "name a path without []")
        elif dataset.rule_for(path) is None:
            yield from _misspelt((*place, key), path, dataset)
    for path, rule in dataset.fields.items():
        yield from _field(policy, (*place, "fields", str(path)), path, rule)


def _misspelt(place: tuple[str | int, ...], path: FieldPath, dataset: Dataset) -> Iterator[Finding]:
    """A subject that no field covers is dropped as all that is not named; a near miss is a slip of the pen."""
    near = difflib.get_close_matches(str(path), [str(field) for field in dataset.fields], n=1, cutoff=0.85)
    if near:
        hint = f"did you mean '{near[0]}'? Else add a line for '{path}' under fields"
        yield Finding(place, f"'{path}' is not under fields", hint)


def _field(policy: Policy, place: tuple[str | int, ...], path: FieldPath, rule: str) -> Iterator[Finding]:
    if rule not in tuple(Plain) and rule not in policy.info_types:
        known = [*policy.info_types, *(plain.value for plain in Plain)]
        yield Finding(place, f"unknown info type '{rule}'", nearest(rule, known))
        return
    kept = rule == Plain.KEEP or not isinstance(policy.info_types.get(rule, None), DropRule | RedactRule | None)
    if kept and is_verification_code(path):
        yield Finding(place, "verification codes and PINs are never kept, masked or tokenized", "write drop")


def is_verification_code(path: FieldPath) -> bool:
    """Returns whether the last name of a path is that of a card verification code or a PIN."""
    names = [step for step in path.steps if step is not None]
    return bool(names) and names[-1].lower().replace("_", "").replace("-", "") in NEVER_KEPT
