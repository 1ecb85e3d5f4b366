"""Writes the lines of policy that an audit suggests: indented as the policy is, with the line that they go to."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from ..schemas.audit import Change, Found, Suggestion
from ..schemas.column_type import ColumnKind
from ..schemas.dataset import EACH, FieldPath, Plain
from ..schemas.info_types import Basis, Entity, Format, InfoType, ScanRule, TokenizeRule
from ..schemas.policy import Policy
from ..schemas.policy_checks import is_verification_code

__all__ = [
    "PolicyLines",
    "Proposed",
    "formats_entity",
    "proposed_for",
    "proposed_subject",
    "rule_of",
    "sounds_personal",
    "starting_policy",
    "yaml_lines",
]

INDENT = 2

# What becomes of an entity that no info type of the policy finds: name of the info type, and its keys but for collect.
PROPOSALS: Mapping[Entity, tuple[str, dict[str, Any]]] = {
    Entity.CREDIT_CARD: ("card", {"action": "tokenize", "format": "pan", "domain": "card"}),
    Entity.IBAN: ("account", {"action": "tokenize", "format": "iban", "domain": "account"}),
    Entity.EMAIL: ("email", {"action": "tokenize", "format": "email", "domain": "email"}),
    Entity.PHONE: ("phone", {"action": "tokenize", "format": "phone", "domain": "phone"}),
    Entity.US_SSN: ("ssn", {"action": "tokenize", "format": "ssn", "domain": "ssn"}),
    Entity.US_ITIN: ("itin", {"action": "tokenize", "format": "ssn", "domain": "itin"}),
    Entity.IP_ADDRESS: ("network", {"action": "generalize", "to": {"ip_prefix": 24}}),
    Entity.MAC_ADDRESS: ("device", {"action": "tokenize", "format": "surrogate", "domain": "device"}),
    Entity.UK_NINO: ("nino", {"action": "tokenize", "format": "alphanumeric", "domain": "nino"}),
    Entity.UK_NHS: ("nhs_number", {"action": "tokenize", "format": "alphanumeric", "domain": "nhs_number"}),
    Entity.CRYPTO: ("wallet", {"action": "tokenize", "format": "surrogate", "domain": "wallet"}),
    Entity.URL_WITH_CREDENTIALS: ("url_with_credentials", {"action": "redact"}),
    Entity.SECRET: ("secret", {"action": "redact"}),
    Entity.DATE_OF_BIRTH: ("birth_date", {"action": "generalize", "to": "year"}),
    Entity.PERSON: ("name", {"action": "redact"}),
    Entity.STREET_ADDRESS: ("address", {"action": "redact"}),
}
NOTE = ("note", {"action": "scan"})
SUBJECT = ("customer_id", {"action": "tokenize", "format": "surrogate", "domain": "customer"})
WITHOUT_PURPOSE = {"redact", "drop"}

# What detection by form cannot find, but what people call it tells.
PERSONAL = re.compile(
    r"(?:^|[_.\s-])(?:(?:first|last|full|middle|maiden|given|family|sur|nick|card_?holder|holder|customer|user)?[_\s-]?name"
    r"|street|address\d?|line[12]|passport|password|pass_?code|gender|religion|ethnicity|nationality|salary|birth\w*|dob"
    r"|latitude|longitude|lat|lon|signature)$",
    re.IGNORECASE,
)

STARTING_POLICY = {
    "version": 1,
    "purposes": {"service": {"basis": "contract", "says": "To do what you asked us for."}},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposed:
    """A treatment for a path.

    Attributes:
        rule: An info type, or ``keep``, ``drop``, ``redact``.
        info_types: Info types that the policy has to get for it, by name.
    """

    rule: str
    info_types: Mapping[str, Mapping[str, Any]]


def starting_policy() -> Policy:
    """Returns the policy that a first proposal is built on: one purpose, and nothing declared."""
    return Policy.model_validate(STARTING_POLICY)


def proposed_for(policy: Policy, collect: tuple[str, ...], path: FieldPath, found: Found) -> Proposed:
    """Returns the treatment for what was found at a path.

    Args:
        policy: Whose info types are used where one ``finds`` the entity, or has its format and domain.
        collect: Purposes of the dataset.
        path: Verification codes and PINs are dropped, whatever was found.
        found: By detection.
    """
    if is_verification_code(path):
        return Proposed(rule=Plain.DROP.value, info_types={})
    if found.kind == ColumnKind.FREE_TEXT:
        known = next((name for name, rule in policy.info_types.items() if isinstance(rule, ScanRule)), None)
        return _proposed(policy, collect, known, *NOTE)
    if found.kind == ColumnKind.ENTITY and found.entity:
        entity = Entity(found.entity)
        known = next((name for name, rule in policy.info_types.items() if entity in rule.finds), None)
        return _proposed(policy, collect, known, *PROPOSALS[entity], finds=entity)
    if found.kind == ColumnKind.MIXED or found.leaks or sounds_personal(path):
        return Proposed(rule=Plain.REDACT.value, info_types={})
    return Proposed(rule=Plain.KEEP.value, info_types={})


def sounds_personal(path: FieldPath) -> bool:
    """Returns whether the last name of a path is one that people give to what describes a person.

    >>> [sounds_personal(FieldPath((name,))) for name in ("surname", "holder_name", "filename", "birth_date")]
    [True, True, False, True]
    """
    names = [step for step in path.steps if step is not EACH]
    return bool(names) and bool(PERSONAL.search(str(names[-1])))


def proposed_subject(policy: Policy, collect: tuple[str, ...]) -> Proposed:
    """Returns the treatment for a column of the subjects' ids."""
    return _proposed(policy, collect, None, *SUBJECT)


def _proposed(
    policy: Policy,
    collect: tuple[str, ...],
    known: str | None,
    name: str,
    keys: Mapping[str, Any],
    finds: Entity | None = None,
) -> Proposed:
    alike = (
        other
        for other, rule in policy.info_types.items()
        if isinstance(rule, TokenizeRule) and (rule.format, rule.domain) == (keys.get("format"), keys.get("domain"))
    )
    known = known or next(alike, None)
    if known is not None:
        return Proposed(rule=known, info_types={})
    if name in policy.info_types or keys.get("domain") in policy.token_domains:
        name = f"{name}_found"
        keys = {**keys, "domain": name} if "domain" in keys else keys
    needs = {} if keys["action"] in WITHOUT_PURPOSE else {"collect": [_purpose(policy, collect)]}
    found = {} if finds is None else {"finds": [finds.value]}
    return Proposed(rule=name, info_types={name: {**keys, **needs, **found}})


def _purpose(policy: Policy, collect: tuple[str, ...]) -> str:
    contracts = (name for name, purpose in policy.purposes.items() if purpose.basis is Basis.CONTRACT)
    return collect[0] if collect else next(contracts, next(iter(policy.purposes)))


class PolicyLines:
    """Makes suggestions for one policy file.

    Args:
        text: The file; None where there is none yet.
    """

    def __init__(self, text: str | None) -> None:
        self._root = None if text is None else yaml.compose(text, Loader=yaml.SafeLoader)

    def add(
        self, place: tuple[str, ...], entries: Mapping[str, Any], says: str, *, depth: int = 0
    ) -> Suggestion:  # fmt: skip
        """Returns lines for new entries of a mapping; what lies more than ``depth`` below stands in one line."""
        known = len(place)
        while known and self._mapping(place[:known]) is None:
            known -= 1
        below = self._mapping(place[:known])
        key = self._key(place[:known])
        block = below is not None and not below.flow_style and below.value
        indent = below.value[0][0].start_mark.column if below is not None and block else INDENT * known
        nested: Mapping[str, Any] = entries
        for step in reversed(place[known:]):
            nested = {step: nested}
        line = key.start_mark.line + 1 if key is not None and block else None
        lines = yaml_lines(nested, indent, depth=len(place) - known + depth)
        return Suggestion(place=".".join(place[:known]), change=Change.ADD, lines=lines, line=line, says=says)

    def replace(self, place: tuple[str, ...], entry: str, value: Any, says: str) -> Suggestion:
        """Returns lines for one entry of a mapping in the place of what it is."""
        key = self._key((*place, entry))
        mapping = self._mapping(place)
        block = key is not None and mapping is not None and not mapping.flow_style
        indent = key.start_mark.column if key is not None and block else INDENT * len(place)
        line = key.start_mark.line + 1 if key is not None and block else None
        lines = yaml_lines({entry: value}, indent, depth=0)
        return Suggestion(place=".".join(place), change=Change.REPLACE, lines=lines, line=line, says=says)

    def _mapping(self, place: tuple[str, ...]) -> yaml.MappingNode | None:
        node = self._root
        for step in place:
            node = next((value for key, value in _entries(node) if _means(key, step)), None)
        return node if isinstance(node, yaml.MappingNode) else None

    def _key(self, place: tuple[str, ...]) -> yaml.Node | None:
        parent = self._mapping(place[:-1])
        return next((key for key, _ in _entries(parent) if place and _means(key, place[-1])), None)


def _entries(node: yaml.Node | None) -> list[tuple[yaml.Node, yaml.Node]]:
    return list(node.value) if isinstance(node, yaml.MappingNode) else []


def _means(key: yaml.Node, step: str) -> bool:
    """Whether a key is a step of a place; paths may be spelled in several ways."""
    if key.value == step:
        return True
    try:
        return bool(re.search(r"[.\[\\]", step)) and str(FieldPath.parse(str(key.value))) == step
    except ValueError:
        return False


def yaml_lines(entries: Mapping[str, Any], indent: int, *, depth: int) -> str:
    """Returns entries as YAML lines, indented; what lies more than ``depth`` mappings below stands in one line."""
    lines = []
    for key, value in entries.items():
        start = " " * indent + _spelled(key)
        if depth and value and isinstance(value, Mapping):
            lines += [f"{start}:", yaml_lines(value, indent + INDENT, depth=depth - 1)]
        else:
            lines.append(f"{start}: {_flow(value)}")
    return "\n".join(lines)


def _flow(value: Any) -> str:
    text: str = yaml.safe_dump([value], default_flow_style=True, width=10**6, sort_keys=False, allow_unicode=True)
    return text.strip()[1:-1]


def _spelled(key: str) -> str:
    text: str = yaml.safe_dump({key: 0}, default_flow_style=False, width=10**6, allow_unicode=True)
    return json.dumps(key) if text.startswith("? ") else text.removesuffix(": 0\n")


def rule_of(rule: InfoType, *leaving_out: str) -> dict[str, Any]:
    """Returns an info type as a policy writes it, without some of its keys."""
    written = rule.model_dump(mode="json", exclude_defaults=True)
    first = ["action", *(key for key in type(rule).model_fields if key not in ("action", *_TREATED)), *_TREATED]
    return {key: written[key] for key in first if key in written and key not in leaving_out}


_TREATED = ("collect", "distribute", "see", "finds", "retain")


def formats_entity(format: Format) -> frozenset[Entity]:
    """Returns what values of a token format are; none where the format takes any text."""
    return {
        Format.PAN: frozenset({Entity.CREDIT_CARD}),
        Format.IBAN: frozenset({Entity.IBAN}),
        Format.EMAIL: frozenset({Entity.EMAIL}),
        Format.PHONE: frozenset({Entity.PHONE}),
        Format.SSN: frozenset({Entity.US_SSN, Entity.US_ITIN}),
    }.get(format, frozenset())
