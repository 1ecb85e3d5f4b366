"""What the rules of a policy say of values: what they may be, what is left of them, and whether they fit."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from ..schemas.dataset import Plain
from ..schemas.info_types import (
    DropRule,
    Entity,
    Format,
    GeneralizeRule,
    InfoType,
    IpPrefix,
    KeepRule,
    MaskRule,
    RedactRule,
    TokenizeRule,
)
from ..transforms.values.digits import canonical_digits
from ..transforms.values.email import canonical_email
from ..transforms.values.iban import canonical_iban
from ..transforms.values.pan import canonical_pan
from ..transforms.values.phone import canonical_phone
from ..transforms.values.ssn import canonical_ssn
from .audit_suggestions import formats_entity

__all__ = ["Rule", "domain_of", "expected_entities", "is_in_clear", "leaves_nothing", "misfitting"]

Rule = InfoType | Plain

IN_CLEAR = (KeepRule, MaskRule, GeneralizeRule)


def leaves_nothing(rule: Rule) -> bool:
    """Returns whether nothing of a value leaves."""
    return rule in (Plain.DROP, Plain.REDACT) or isinstance(rule, DropRule | RedactRule)


def is_in_clear(rule: Rule) -> bool:
    """Returns whether parts of a value can be read afterwards."""
    return rule is Plain.KEEP or isinstance(rule, IN_CLEAR)


def expected_entities(rule: Rule) -> frozenset[Entity]:
    """Returns what values under a rule may be; none where the rule does not say."""
    match rule:
        case Plain():
            return frozenset()
        case TokenizeRule():
            return formats_entity(rule.format) | set(rule.finds)
        case GeneralizeRule(to=IpPrefix()):
            return frozenset({Entity.IP_ADDRESS, *rule.finds})
        case GeneralizeRule(to="year" | "month" | "day"):
            return frozenset({Entity.DATE_OF_BIRTH, *rule.finds})
        case _:
            return frozenset(rule.finds)


def domain_of(rule: InfoType) -> str | None:
    """Returns the token domain of an info type; None where it has none."""
    return rule.domain if isinstance(rule, TokenizeRule) else None


def misfitting(rule: TokenizeRule, texts: pa.StringArray) -> float:
    """Returns the share of values that cannot be tokenized by a rule."""
    texts = texts.drop_null()
    texts = texts.filter(pc.not_equal(pc.utf8_trim_whitespace(texts), ""))
    match rule.format:
        case Format.PAN:
            canonical = canonical_pan(texts)
        case Format.IBAN:
            canonical = canonical_iban(texts)
        case Format.EMAIL:
            canonical = canonical_email(texts)
        case Format.PHONE:
            canonical = canonical_phone(texts, region=rule.region)
        case Format.SSN:
            canonical = canonical_ssn(texts)
        case Format.DIGITS:
            canonical = canonical_digits(texts)
        case Format.ALPHANUMERIC | Format.SURROGATE:
            return 0.0
    return int((canonical.reasons != 0).sum()) / len(texts) if len(texts) else 0.0
