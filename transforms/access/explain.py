"""Why a value is shown or refused, in one sentence, and what may be offered instead.

Everything here follows from the request and the policy alone, and where a customer is named from that customer's
consent: never from what the vault holds. So no sentence and no list of options tells whether a value exists.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

from ...schemas.info_types import Basis, Format, Sight
from ...schemas.policy import Policy, TokenDomain

__all__ = [
    "Actors",
    "Option",
    "Request",
    "Rule",
    "depends_on_ledger",
    "kept_digits",
    "options_for",
    "says_for",
    "standing_refusal",
]

Actors = Mapping[str, tuple[str, ...]] | None
"""The roles of each actor; None where the project names no actors, so that anyone may claim any role."""


class Rule(StrEnum):
    """The rule that decided, in the order in which rules are asked."""

    ACTOR_LACKS_ROLE = "actor_lacks_role"
    ROLE_LACKS_PURPOSE = "role_lacks_purpose"
    UNKNOWN_DOMAIN = "unknown_domain"
    UNKNOWN_INFO_TYPE = "unknown_info_type"
    NOT_DISTRIBUTED = "not_distributed"
    ROLE_SEES_NOTHING = "role_sees_nothing"
    SUBJECT_DOES_NOT_PERMIT = "subject_does_not_permit"
    NOT_A_TOKEN = "not_a_token"  # noqa: S105 - a rule
    NOT_PERMITTED_OR_ABSENT = "not_permitted_or_absent"
    NO_ENTRY = "no_entry"
    AMBIGUOUS_VERSION = "ambiguous_version"
    INTEGRITY = "integrity"
    PERMITTED = "permitted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Who asks for what.

    Attributes:
        domain: The token domain; without ``known_domain`` the name of an info type that the policy does not tokenize.
        purpose: What for.
        role: In which role.
        actor: Who asks.
        subject: The customer named; None where none is.
        known_domain: Whether ``domain`` is meant as a token domain.
    """

    domain: str
    purpose: str
    role: str
    actor: str
    subject: str | None
    known_domain: bool = True


@dataclass(frozen=True, slots=True)
class Option:
    """One thing that may be done instead: a stable code, and a sentence."""

    option: str
    says: str


def standing_refusal(request: Request, policy: Policy, actors: Actors) -> Rule | None:
    """Returns the first rule that refuses whatever the token and the customer, or None.

    The order is that of CONTRACTS: the actor has the role, the role has the purpose, the info type distributes for
    it and lets the role see it.
    """
    if request.role not in policy.roles or not _has_role(actors, request.actor, request.role):
        return Rule.ACTOR_LACKS_ROLE
    if request.purpose not in policy.roles[request.role].purposes:
        return Rule.ROLE_LACKS_PURPOSE
    if not request.known_domain:
        return Rule.UNKNOWN_INFO_TYPE
    domain = policy.token_domain(request.domain)
    if domain is None:
        return Rule.UNKNOWN_DOMAIN
    if request.purpose not in domain.distribute:
        return Rule.NOT_DISTRIBUTED
    return None if request.role in domain.see else Rule.ROLE_SEES_NOTHING


def depends_on_ledger(basis: Basis) -> bool:
    """Returns whether customers can refuse a purpose of this basis at all."""
    return basis in (Basis.CONSENT, Basis.LEGITIMATE_INTEREST)


def says_for(rule: Rule, request: Request, policy: Policy) -> str:
    """Returns the rule that decided as one plain sentence."""
    domain, purpose, role = request.domain, request.purpose, request.role
    match rule:
        case Rule.ACTOR_LACKS_ROLE if role not in policy.roles:
            return f"The policy knows no role '{role}'."
        case Rule.ACTOR_LACKS_ROLE:
            return f"'{request.actor}' does not have the role '{role}'."
        case Rule.ROLE_LACKS_PURPOSE if purpose not in policy.purposes:
            return f"The policy knows no purpose '{purpose}'."
        case Rule.ROLE_LACKS_PURPOSE:
            return f"The role '{role}' does not work for the purpose '{purpose}'."
        case Rule.UNKNOWN_DOMAIN:
            return f"The policy knows no token domain '{domain}'."
        case Rule.UNKNOWN_INFO_TYPE:
            return f"The policy knows no info type '{domain}' whose values become tokens."
        case Rule.NOT_DISTRIBUTED if not _distribute(policy, domain):
            return f"Values of '{domain}' are never given back for any purpose: they are not kept."
        case Rule.NOT_DISTRIBUTED:
            return f"Values of '{domain}' are not given out for the purpose '{purpose}'."
        case Rule.ROLE_SEES_NOTHING:
            return f"The role '{role}' may not see values of '{domain}'."
        case Rule.SUBJECT_DOES_NOT_PERMIT:
            return f"The customer does not permit the purpose '{purpose}' at present."
        case Rule.NOT_A_TOKEN:
            return f"This is not a token of '{domain}'; raw values and tokens of other domains are not looked up."
        case Rule.NOT_PERMITTED_OR_ABSENT:
            return f"No value is held under this token, or a customer it belongs to does not permit '{purpose}'."
        case Rule.NO_ENTRY if request.subject is None:
            return "No value is held under this token."
        case Rule.NO_ENTRY:
            return "No value of this customer is held under this token."
        case Rule.AMBIGUOUS_VERSION:
            return "The token fits values of two key versions, so it does not say which is meant."
        case Rule.INTEGRITY:
            return "The stored value was changed or its key is gone, so it is not shown."
        case Rule.PERMITTED:
            return f"Shown for '{purpose}': {policy.purposes[purpose].says}"


def options_for(
    rule: Rule,
    request: Request,
    policy: Policy,
    *,
    actors: Actors,
    permitted: Callable[[str], bool] = lambda _purpose: True,
    last_digits: str | None = None,
) -> tuple[Option, ...]:
    """Returns what may be offered instead of the refused value; each would pass the rules it can know of.

    Args:
        rule: Why the request was refused.
        request: The request.
        policy: The policy.
        actors: The roles of each actor.
        permitted: Whether the named customer permits a purpose now; always true where none is named.
        last_digits: What the token itself keeps in clear, where it keeps anything.
    """
    own_purposes = _purpose_options(request, policy, permitted)
    own_roles = () if actors is None else actors.get(request.actor, ())
    others = _role_options(request, policy, without={request.role, *own_roles})
    match rule:
        case Rule.ACTOR_LACKS_ROLE:
            colleagues = _role_options(request, policy, without=own_roles)
            return (*_own_role_options(request, policy, own_roles), *colleagues)
        case Rule.ROLE_LACKS_PURPOSE | Rule.NOT_DISTRIBUTED:
            return (*own_purposes, *others, *_work_with_token(request, policy))
        case Rule.UNKNOWN_DOMAIN:
            known = sorted(name for name, domain in policy.token_domains.items() if domain.distribute)
            named = ", ".join(known) or "none"
            return (Option("another_domain", f"Domains whose values can be given back: {named}."),)
        case Rule.UNKNOWN_INFO_TYPE:
            named = ", ".join(sorted({name for each in policy.token_domains.values() for name in each.info_types}))
            says = (
                f"Info types whose values become tokens: {named or 'none'}. Ask who keeps the policy for the old name."
            )
            return (Option("check_info_type", says),)
        case Rule.ROLE_SEES_NOTHING:
            return (*others, *_work_with_token(request, policy))
        case Rule.SUBJECT_DOES_NOT_PERMIT | Rule.NOT_PERMITTED_OR_ABSENT:
            name = (Option("name_customer", "Name the customer: then only that customer's permission decides."),)
            asked = () if request.subject is not None else name
            return (*_masked(last_digits), *own_purposes, *asked, *_ask_customer(request, policy))
        case Rule.NO_ENTRY:
            return (*_masked(last_digits), Option("ask_customer", "Ask the customer for the value, if it is needed."))
        case Rule.NOT_A_TOKEN:
            return (Option("check_token", "Check the token for typing errors, and that it is of this domain."),)
        case Rule.AMBIGUOUS_VERSION:
            return (Option("give_key_version", "Give the key version; the column that held the token tells it."),)
        case Rule.INTEGRITY:
            return (*_masked(last_digits), Option("report", "Report this to who runs the vault: it needs a backup."))
        case Rule.PERMITTED:
            return ()


def kept_digits(domain: TokenDomain, token: str) -> str | None:
    """Returns the digits that a canonical card token keeps of the card, or None where it keeps none."""
    kept = domain.rule.kept_digits if domain.rule.format is Format.PAN else 0
    return token[-kept:] if kept else None


def _has_role(actors: Actors, actor: str, role: str) -> bool:
    return actors is None or role in actors.get(actor, ())


def _distribute(policy: Policy, domain: str) -> tuple[str, ...]:
    found = policy.token_domain(domain)
    return () if found is None else tuple(found.distribute)


def _shown(domain: TokenDomain, role: str) -> str:
    return "in full" if domain.see[role] is Sight.FULL else "masked"


def _useful_purposes(policy: Policy, domain: TokenDomain, role: str) -> list[str]:
    if role not in domain.see or role not in policy.roles:
        return []
    return [purpose for purpose in policy.roles[role].purposes if purpose in domain.distribute]


def _purpose_options(request: Request, policy: Policy, permitted: Callable[[str], bool]) -> tuple[Option, ...]:
    domain = policy.token_domain(request.domain)
    if domain is None:
        return ()
    return tuple(
        Option(
            "another_purpose",
            f"If it is needed for '{purpose}' ({policy.purposes[purpose].says}), ask for that: "
            f"the role '{request.role}' may see it {_shown(domain, request.role)}.",
        )
        for purpose in _useful_purposes(policy, domain, request.role)
        if purpose != request.purpose and permitted(purpose)
    )


def _role_options(request: Request, policy: Policy, *, without: Collection[str]) -> tuple[Option, ...]:
    domain = policy.token_domain(request.domain)
    if domain is None:
        return ()
    return tuple(
        Option(
            "another_role",
            f"Hand over to someone in the role '{role}', who may see it {_shown(domain, role)} "
            f"for '{request.purpose}'.",
        )
        for role in policy.roles
        if role not in without and request.purpose in _useful_purposes(policy, domain, role)
    )


def _own_role_options(request: Request, policy: Policy, own_roles: Collection[str]) -> tuple[Option, ...]:
    domain = policy.token_domain(request.domain)
    if domain is None:
        return ()
    return tuple(
        Option("own_role", f"Ask in your role '{role}', which may see it {_shown(domain, role)} for '{purpose}'.")
        for role in own_roles
        for purpose in _useful_purposes(policy, domain, role)
    )


def _work_with_token(request: Request, policy: Policy) -> tuple[Option, ...]:
    if policy.token_domain(request.domain) is None:
        return ()
    return (Option("use_token", "Work with the token: the same value has the same token in every table."),)


def _ask_customer(request: Request, policy: Policy) -> tuple[Option, ...]:
    purpose = policy.purposes[request.purpose]
    if purpose.basis is Basis.LEGITIMATE_INTEREST:
        return (
            Option(
                "ask_customer",
                f"Ask the customer whether the objection to '{request.purpose}' ({purpose.says}) still stands, "
                "and record the answer.",
            ),
        )
    return (
        Option(
            "ask_customer",
            f"Ask the customer to allow '{request.purpose}' ({purpose.says}), and record the answer; "
            "it holds for what is collected from then on.",
        ),
    )


def _masked(last_digits: str | None) -> tuple[Option, ...]:
    if last_digits is None:
        return ()
    return (Option("masked_form", f"The token itself keeps the last digits, which may be read out: {last_digits}."),)
