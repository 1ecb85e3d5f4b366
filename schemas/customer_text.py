"""Tells customers, in whole sentences, what a policy keeps of them, why, and what they may refuse."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from .dataset import EACH, FieldPath, Plain
from .info_types import (
    Basis,
    DropRule,
    Format,
    GeneralizeRule,
    InfoType,
    KeepRule,
    MaskRule,
    RedactRule,
    ScanRule,
    TokenizeRule,
)
from .policy import Policy
from .wording import coarseness, join_words, plain_name, quoted_reason, time_span

__all__ = ["customer_text"]

REFUSABLE = {Basis.CONSENT, Basis.LEGITIMATE_INTEREST}


def customer_text(policy: Policy) -> Iterator[str]:
    """Yields the lines of what a customer needs to know."""
    yield "# What we do with your data\n"
    yield "## Why we hold data\n"
    for name, purpose in policy.purposes.items():
        yield f"* {purpose.says} {_basis(purpose.basis)}"
        kept = _kept_for(policy, name)
        if kept:
            yield f"  For this we keep: {join_words(kept)}."
    yield "\n## What becomes of each piece\n"
    for name, rule in policy.info_types.items():
        yield f"* **Your {plain_name(name)}.** {_treatment(policy, rule)}"
    yield from _kept_as_is(policy)
    yield "\n## What you may refuse\n"
    yield from _refusals(policy)
    retain = time_span(policy.dead_letters.retain)
    yield "\nA refusal counts from then on; stand-ins that we wrote before may stay."
    yield "What is not named here we do not keep. Records that we cannot read are locked away, and can no longer be"
    yield f"opened by anyone after {retain}. You may ask at any time what we hold about you, and have it erased as far"
    yield "as the law allows."


def _basis(basis: Basis) -> str:
    match basis:
        case Basis.CONSENT:
            return "We do this only if you say yes, and you may take your yes back at any time."
        case Basis.CONTRACT:
            return "We need this to keep our contract with you."
        case Basis.LEGAL_OBLIGATION:
            return "The law obliges us."
        case Basis.LEGITIMATE_INTEREST:
            return "We do this unless you object, which you may at any time."


def _kept_for(policy: Policy, purpose: str) -> list[str]:
    return [
        f"your {plain_name(name)}"
        for name, rule in policy.info_types.items()
        if purpose in (*rule.collect, *rule.distribute) and not isinstance(rule, DropRule | RedactRule)
    ]


def _treatment(policy: Policy, rule: InfoType) -> str:
    match rule:
        case TokenizeRule() if rule.distribute:
            uses = join_words((quoted_reason(policy, purpose) for purpose in rule.distribute), "or")
            limit = f", {time_span(rule.retain)} at most" if rule.retain else ""
            return (
                f"We work with {_stand_in(rule)}. The real value lies in a locked vault, "
                f"only while one of these reasons allows it{limit}: {uses}"
            )
        case TokenizeRule():
            return f"We keep only {_stand_in(rule)}, and never the real value."
        case RedactRule() | DropRule():
            return "We do not keep it."
        case MaskRule():
            return "We keep only a few characters of it."
        case GeneralizeRule():
            return f"We keep only {coarseness(rule)}."
        case KeepRule():
            return "We keep it as it is."
        case ScanRule():
            return "We keep what you write there, without the card numbers, addresses and the like that we find in it."


def _stand_in(rule: TokenizeRule) -> str:
    """What customers are told of a token; it must name all that the token shows of the value."""
    match rule.format:
        case Format.PAN if rule.kept_digits:
            return "a stand-in that shows its last four digits and nothing else of it"
        case Format.PHONE | Format.IBAN:
            return "a stand-in that shows its country and its length"
        case Format.EMAIL if not rule.hashes_email_domain:
            return "a stand-in that shows the part after the @"
        case Format.ALPHANUMERIC:
            return "a stand-in that shows its length and its punctuation"
        case Format.PAN | Format.DIGITS:
            return "a stand-in that shows its length"
        case _:
            return "a stand-in that tells nothing about it"


def _kept_as_is(policy: Policy) -> Iterator[str]:
    for name, dataset in policy.datasets.items():
        kept = [_spoken(path) for path, rule in dataset.fields.items() if rule == Plain.KEEP]
        if kept:
            yield f"* **Records of {plain_name(name)}.** We keep as it is: {join_words(kept)}."


def _spoken(path: FieldPath) -> str:
    return " ".join(plain_name(step) for step in path.steps if step is not EACH)


def _refusals(policy: Policy) -> Iterator[str]:
    refusable = [name for name, purpose in policy.purposes.items() if purpose.basis in REFUSABLE]
    if not refusable:
        yield "Everything above rests on our contract with you or on the law, so there is nothing to refuse."
    for name in refusable:
        verb = "say no to" if policy.purposes[name].basis is Basis.CONSENT else "object to"
        yield f"* You may {verb} {quoted_reason(policy, name)} {_consequence(policy, name)}"


def _consequence(policy: Policy, purpose: str) -> str:
    kept = {name: rule for name, rule in policy.info_types.items() if not isinstance(rule, DropRule | RedactRule)}
    records = {name: dataset.collect for name, dataset in policy.datasets.items()}
    sentences = [
        *_lost(policy, purpose, "We then keep no record at all of your {}", records),
        *_lost(policy, purpose, "We then no longer collect your {}", {name: kept[name].collect for name in kept}),
        *_lost(
            policy,
            purpose,
            "We then delete your {} from the vault, and nobody here can see it any more",
            {name: kept[name].distribute for name in kept},
        ),
        *_hidden(policy, purpose),
    ]
    return " ".join(sentences) or "What we keep then rests on our other reasons."


def _lost(policy: Policy, purpose: str, sentence: str, needs: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """What falls with a purpose: what rests on it alone, and what rests on it and on others that may be refused too."""
    lost: dict[tuple[str, ...], list[str]] = {}
    for name, purposes in needs.items():
        if purpose in purposes and all(policy.basis(other) in REFUSABLE for other in purposes):
            lost.setdefault(tuple(other for other in purposes if other != purpose), []).append(plain_name(name))
    for others, names in lost.items():
        unless = f", unless you allow it for {join_words(map(plain_name, others), 'or')}" if others else ""
        yield f"{sentence.format(join_words(names))}{unless}."


def _hidden(policy: Policy, purpose: str) -> Iterator[str]:
    """What stays in the vault for reasons that cannot be refused, but is no longer shown for this one."""
    names = [
        plain_name(name)
        for name, rule in policy.info_types.items()
        if purpose in rule.distribute and not all(policy.basis(other) in REFUSABLE for other in rule.distribute)
    ]
    if names:
        yield f"Your {join_words(names)} may stay in the vault for our other reasons, but we no longer use it for this."
