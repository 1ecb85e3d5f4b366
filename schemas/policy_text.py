"""Has a policy explain itself, in whole sentences, to customers, to staff and to engineers.

Every sentence is made from the policy, so what people are told and what is enforced cannot differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from .dataset import Dataset, FieldPath, Plain
from .info_types import (
    Basis,
    Bucket,
    DropRule,
    Format,
    GeneralizeRule,
    InfoType,
    IpPrefix,
    KeepRule,
    MaskRule,
    OnDrift,
    Prefix,
    RedactRule,
    ScanRule,
    Sight,
    TokenizeRule,
)
from .policy import Policy

__all__ = ["explain_policy", "join_words", "plain_name"]

REFUSABLE = {Basis.CONSENT, Basis.LEGITIMATE_INTEREST}


def explain_policy(policy: Policy, audience: str) -> str:
    """Returns the policy in words, as Markdown.

    Args:
        policy: A checked policy.
        audience: ``customer``, ``staff`` or ``engineer``.

    Raises:
        ValueError: Another audience.
    """
    match audience:
        case "customer":
            lines = _for_customers(policy)
        case "staff":
            lines = _for_staff(policy)
        case "engineer":
            lines = _for_engineers(policy)
        case _:
            raise ValueError("the audience is customer, staff or engineer")
    return "\n".join(lines) + "\n"


def plain_name(name: str) -> str:
    """A name of the policy as a person would say it.

    >>> plain_name("birth_date")
    'birth date'
    """
    return name.replace("_", " ")


def join_words(words: Iterable[str], last: str = "and") -> str:
    """Joins words as a sentence does.

    >>> join_words(["a", "b", "c"])
    'a, b and c'
    """
    found = list(words)
    return found[0] if len(found) == 1 else f"{', '.join(found[:-1])} {last} {found[-1]}" if found else "nothing"


def _for_customers(policy: Policy) -> Iterator[str]:
    yield "# What we do with your data\n"
    yield "## Why we hold data\n"
    for name, purpose in policy.purposes.items():
        yield f"* {purpose.says} {_basis_for_customers(purpose.basis)}"
        kept = _kept_for(policy, name)
        if kept:
            yield f"  For this we keep: {join_words(kept)}."
    yield "\n## What becomes of each piece\n"
    for name, rule in policy.info_types.items():
        yield f"* **Your {plain_name(name)}.** {_treatment_for_customers(policy, rule)}"
    yield "\n## What you may refuse\n"
    yield from _refusals(policy)
    yield "\nWhat is not named here we do not keep. Records that we cannot read are locked away, and can no longer be"
    yield f"opened by anyone after {_days(policy)}. You may ask at any time what we hold about you, and have it erased."


def _basis_for_customers(basis: Basis) -> str:
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


def _treatment_for_customers(policy: Policy, rule: InfoType) -> str:
    match rule:
        case TokenizeRule() if rule.distribute:
            uses = join_words((_says(policy, purpose) for purpose in rule.distribute), "or")
            return (
                "We work with a stand-in that tells nothing about it. The real value lies in a locked vault, "
                f"only while one of these reasons allows it: {uses}"
            )
        case TokenizeRule():
            return "We keep only a stand-in that tells nothing about it, and never the real value."
        case RedactRule() | DropRule():
            return "We do not keep it."
        case MaskRule():
            return "We keep only a few characters of it."
        case GeneralizeRule():
            return f"We keep only {_coarseness(rule)}."
        case KeepRule():
            return "We keep it as it is."
        case ScanRule():
            return "We do not keep what you write there, because it could name people."


def _says(policy: Policy, purpose: str) -> str:
    return f"“{policy.purposes[purpose].says}”"


def _coarseness(rule: GeneralizeRule) -> str:
    match rule.to:
        case Bucket(bucket=width):
            return f"which step of {width:g} it falls into"
        case Prefix(prefix=count):
            return f"its first {count} characters" if count > 1 else "its first character"
        case IpPrefix(ip_prefix=bits):
            return f"the network it belongs to (the first {bits} bits)"
        case "year":
            return "the year"
        case "month":
            return "the year and month"
        case _:
            return "the day"


def _refusals(policy: Policy) -> Iterator[str]:
    refusable = [name for name, purpose in policy.purposes.items() if purpose.basis in REFUSABLE]
    if not refusable:
        yield "Everything above rests on our contract with you or on the law, so there is nothing to refuse."
    for name in refusable:
        verb = "say no to" if policy.purposes[name].basis is Basis.CONSENT else "object to"
        yield f"* You may {verb} {_says(policy, name)} {_consequence(policy, name)}"


def _consequence(policy: Policy, purpose: str) -> str:
    def alone(purposes: Sequence[str]) -> bool:
        return purpose in purposes and not any(
            other != purpose and policy.basis(other) not in REFUSABLE for other in purposes
        )

    gone = [f"your {plain_name(name)}" for name, rule in policy.info_types.items() if alone(rule.collect)]
    unseen = [f"your {plain_name(name)}" for name, rule in policy.info_types.items() if alone(rule.distribute)]
    parts = []
    if gone:
        parts.append(f"we then stop collecting {join_words(gone)}")
    if unseen:
        parts.append(f"we then delete {join_words(unseen)} from the vault, and nobody here can see it")
    if not parts:
        return "Nothing that other reasons require is lost by it."
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


def _days(policy: Policy) -> str:
    hours = int(policy.dead_letters.retain.total_seconds() // 3600)
    return f"{hours // 24} days" if hours >= 48 else f"{max(hours, 1)} hours"


def _for_staff(policy: Policy) -> Iterator[str]:
    yield "# What you may see, and what to say\n"
    for role, definition in policy.roles.items():
        yield f"## {plain_name(role).capitalize()}\n"
        yield f"You work for: {join_words(_says(policy, purpose) for purpose in definition.purposes)}\n"
        yield from _sights(policy, role, definition.purposes)
    yield "## When you are refused\n"
    yield "* The answer says which rule refused and what you may offer: read it to the customer in your own words."
    for name, purpose in policy.purposes.items():
        if purpose.basis is Basis.CONSENT:
            yield f"* For {plain_name(name)} you may ask the customer: “May we? {purpose.says}”"
            yield "  A yes counts from then on. It brings nothing back that was deleted before."
        elif purpose.basis is Basis.LEGITIMATE_INTEREST:
            yield f"* For {plain_name(name)} the customer may have objected. Accept it; do not ask again."
    yield "* You never need the value to find an order: search by the token."
    yield "\nEvery request is logged with your name, your role and the purpose, whether it was allowed or not."


def _sights(policy: Policy, role: str, purposes: Sequence[str]) -> Iterator[str]:
    shown = False
    for domain in policy.token_domains.values():
        useful = [purpose for purpose in purposes if purpose in domain.distribute]
        sight = domain.see.get(role)
        if sight is None or not useful:
            continue
        shown = True
        how = "in full" if sight is Sight.FULL else "masked"
        conditions = join_words((_condition(policy, purpose) for purpose in useful), "or")
        yield f"* You see the {plain_name(domain.name)} {how} {conditions}."
    yield "" if shown else "* You see no raw values: work with tokens.\n"


def _condition(policy: Policy, purpose: str) -> str:
    match policy.basis(purpose):
        case Basis.CONSENT:
            return f"for {plain_name(purpose)} if the customer said yes"
        case Basis.LEGITIMATE_INTEREST:
            return f"for {plain_name(purpose)} unless the customer objected"
        case _:
            return f"for {plain_name(purpose)}"


def _for_engineers(policy: Policy) -> Iterator[str]:
    yield f"# Policy {policy.digest[:12]}\n"
    for name, dataset in policy.datasets.items():
        yield f"## Dataset {name}\n"
        yield f"The subject is `{dataset.subject}`; consent is asked as of `{dataset.event_time}` and now, whichever"
        yield f"is stricter. {_row_rule(dataset)} {_drift_rule(dataset)}\n"
        yield "| path | info type | treatment | token domain | collect | distribute |"
        yield "| --- | --- | --- | --- | --- | --- |"
        for path in dataset.fields:
            yield _row(policy, dataset, path)
        yield ""
    yield "## Token domains\n"
    for domain in policy.token_domains.values():
        way = "surrogates, not reversible" if domain.rule.format in {Format.EMAIL, Format.SURROGATE} else "reversible"
        vault = f"the vault may hold values for {join_words(domain.distribute, 'or')}" if domain.distribute else ""
        yield f"* `{domain.name}`: format {domain.rule.format}, {way}; {vault or 'the vault holds nothing of it'}."
    yield f"\nRecords that fail are sealed and stay readable for {_days(policy)}."


def _row_rule(dataset: Dataset) -> str:
    if not dataset.collect:
        return "No record is dropped whole."
    return f"A record whose subject permits none of {join_words(dataset.collect)} is dropped and counted."


def _drift_rule(dataset: Dataset) -> str:
    match dataset.on_drift:
        case OnDrift.DROP:
            return "Undeclared columns are dropped and listed."
        case OnDrift.PROTECT_AS_FOUND:
            return "Undeclared columns are treated as what is found in them."
        case OnDrift.DEAD_LETTER:
            return "Records with undeclared columns become dead letters."


def _row(policy: Policy, dataset: Dataset, path: FieldPath) -> str:
    rule = dataset.fields[path]
    if rule in tuple(Plain):
        return f"| `{path}` | – | {rule} | – | – | – |"
    info = policy.info_types[rule]
    domain = info.domain if isinstance(info, TokenizeRule) else "–"
    collect, distribute = (", ".join(names) or "–" for names in (info.collect, info.distribute))
    return f"| `{path}` | {rule} | {_treatment(info)} | {domain} | {collect} | {distribute} |"


def _treatment(rule: InfoType) -> str:
    match rule:
        case TokenizeRule():
            return f"tokenize as {rule.format}, else {rule.on_invalid}"
        case GeneralizeRule():
            return f"generalize to {_coarseness(rule)}, else {rule.on_invalid}"
        case MaskRule():
            side = "last" if rule.show_last is not None else "first"
            return f"mask all but the {side} {rule.show_last if side == 'last' else rule.show_first}"
        case _:
            return rule.action
