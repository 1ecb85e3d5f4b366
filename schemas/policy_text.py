"""Has a policy explain itself, in whole sentences, to customers, to staff and to engineers.

Every sentence is made from the policy, so what people are told and what is enforced cannot differ.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .customer_text import customer_text
from .dataset import Dataset, FieldPath, Plain
from .info_types import (
    Basis,
    Format,
    GeneralizeRule,
    InfoType,
    MaskRule,
    OnDrift,
    Sight,
    TokenizeRule,
)
from .policy import Policy
from .wording import coarseness, join_words, plain_name, quoted_reason, time_span

__all__ = ["explain_policy"]


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
            lines = customer_text(policy)
        case "staff":
            lines = _for_staff(policy)
        case "engineer":
            lines = _for_engineers(policy)
        case _:
            raise ValueError("the audience is customer, staff or engineer")
    return "\n".join(lines) + "\n"


def _for_staff(policy: Policy) -> Iterator[str]:
    yield "# What you may see, and what to say\n"
    for role, definition in policy.roles.items():
        yield f"## {plain_name(role).capitalize()}\n"
        yield f"You work for: {join_words(quoted_reason(policy, purpose) for purpose in definition.purposes)}\n"
        yield from _sights(policy, role, definition.purposes)
    yield "## When you are refused\n"
    yield "The answer says which rule refused and what you may offer instead. Say it in your own words:\n"
    for name, purpose in policy.purposes.items():
        if purpose.basis is Basis.CONSENT:
            yield f"* For {plain_name(name)} you may ask the customer: “May we? {purpose.says}”"
            yield "  A yes counts from then on. It brings nothing back that was deleted before."
        elif purpose.basis is Basis.LEGITIMATE_INTEREST:
            yield f"* For {plain_name(name)} the customer may have objected. Accept it; do not ask again."
    yield "* Another purpose of your role may allow it, but only if it is truly what you are doing."
    yield "* If your role does not see it, pass the customer on to a role that does."
    yield "* You never need the value to find an order: search by the token."
    yield "* A refusal does not tell whether we hold a value at all. Do not guess, and do not promise."
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
    yield "* Of everything else you see tokens only.\n" if shown else "* You see no raw values: work with tokens.\n"


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
        yield "| path | info type | treatment | format | token domain | collect | distribute | see | does not fit |"
        yield "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
        for path in dataset.fields:
            yield _row(policy, dataset, path)
        yield ""
    yield "## Token domains\n"
    for domain in policy.token_domains.values():
        way = "surrogates, not reversible" if domain.rule.format in {Format.EMAIL, Format.SURROGATE} else "reversible"
        vault = f"the vault may hold values for {join_words(domain.distribute, 'or')}" if domain.distribute else ""
        yield f"* `{domain.name}`: format {domain.rule.format}, {way}; {vault or 'the vault holds nothing of it'}."
    yield f"\nRecords that fail are sealed and stay readable for {time_span(policy.dead_letters.retain)}."


def _row_rule(dataset: Dataset) -> str:
    if not dataset.collect:
        return "No record is dropped whole."
    return f"A record whose subject permits none of {join_words(dataset.collect)} is dropped and counted."


def _drift_rule(dataset: Dataset) -> str:
    match dataset.on_drift:
        case OnDrift.DROP:
            return "Undeclared columns are dropped, kept ones that hold sensitive values redacted, and both listed."
        case OnDrift.PROTECT_AS_FOUND:
            return "Undeclared columns, and kept ones that hold sensitive values, are treated as what is found in them."
        case OnDrift.DEAD_LETTER:
            return "Records with undeclared columns, or with sensitive values in kept ones, become dead letters."


def _row(policy: Policy, dataset: Dataset, path: FieldPath) -> str:
    rule = dataset.fields[path]
    if rule in tuple(Plain):
        return _table_row(f"`{path}`", "", rule)
    info = policy.info_types[rule]
    swapped = info if isinstance(info, TokenizeRule) else None
    return _table_row(
        f"`{path}`",
        rule,
        _treatment(info),
        swapped.format.value if swapped else "",
        swapped.domain if swapped else "",
        ", ".join(info.collect),
        ", ".join(info.distribute),
        ", ".join(f"{role}: {sight}" for role, sight in info.see.items()),
        info.on_invalid.value if isinstance(info, TokenizeRule | GeneralizeRule) else "",
    )


def _table_row(*cells: str) -> str:
    filled = [*cells, *[""] * (9 - len(cells))]
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') or '–' for cell in filled)} |"


def _treatment(rule: InfoType) -> str:
    match rule:
        case GeneralizeRule():
            return f"generalize to {coarseness(rule)}"
        case MaskRule():
            side = "last" if rule.show_last is not None else "first"
            return f"mask all but the {side} {rule.show_last if side == 'last' else rule.show_first}"
        case _:
            return rule.action
