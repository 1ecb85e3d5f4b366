"""The words of a report: what codes mean to people, and how numbers are written."""

from __future__ import annotations

from ..schemas.audit import Reason, VerdictKind
from ..schemas.info_types import Entity

__all__ = [
    "ACTIONS",
    "BASES",
    "BASES_SHORT",
    "KINDS",
    "TOLD",
    "TONES",
    "capital",
    "counted",
    "entity_name",
    "number",
    "percent",
    "size",
]

BASES = {
    "consent": "Customers are asked first",
    "contract": "Needed for the contract",
    "legal_obligation": "The law obliges us",
    "legitimate_interest": "Customers may object",
}
BASES_SHORT = {"consent": "consent", "legitimate_interest": "no objection"}

ACTIONS = {
    "tokenize": "Swapped for tokens",
    "keep": "Kept as it is",
    "drop": "Dropped",
    "redact": "Redacted",
    "mask": "Masked",
    "generalize": "Made coarser",
    "scan": "Searched, each finding treated",
}

KINDS = {
    "FREE_TEXT": "Free text",
    "MIXED": "Values of several kinds",
    "ORDINARY": "Nothing found",
    "EMPTY": "Empty",
}

TOLD = {
    Reason.NO_PURPOSE: "no purpose",
    Reason.NEVER_DETOKENIZED: "raw values never used",
    Reason.CONSTANT: "constant",
    Reason.EMPTY: "empty",
    Reason.DUPLICATE_OF: "a copy",
    Reason.OTHER_ENTITY: "something else",
    Reason.KEPT_IN_CLEAR: "kept in clear",
    Reason.STRAY_VALUES: "stray values",
    Reason.DOES_NOT_FIT: "does not fit",
    Reason.SENSITIVE: "undeclared",
    Reason.ORDINARY: "undeclared",
}
TONES = {
    VerdictKind.DECLARED: "good",
    VerdictKind.NOT_NEEDED: "idle",
    VerdictKind.CONTRADICTED: "alarm",
    VerdictKind.UNDECLARED: "alarm",
}

ENTITIES = {
    Entity.CREDIT_CARD: "card numbers",
    Entity.IBAN: "IBANs",
    Entity.EMAIL: "email addresses",
    Entity.PHONE: "phone numbers",
    Entity.US_SSN: "US social security numbers",
    Entity.US_ITIN: "US taxpayer numbers",
    Entity.IP_ADDRESS: "IP addresses",
    Entity.MAC_ADDRESS: "MAC addresses",
    Entity.UK_NINO: "UK national insurance numbers",
    Entity.UK_NHS: "NHS numbers",
    Entity.CRYPTO: "wallet addresses",
    Entity.URL_WITH_CREDENTIALS: "addresses with passwords",
    Entity.SECRET: "keys and other secrets",
    Entity.DATE_OF_BIRTH: "dates of birth",
    Entity.PERSON: "names of people",
    Entity.STREET_ADDRESS: "street addresses",
}


def entity_name(entity: str) -> str:
    """Returns an entity as people say it, in the plural.

    >>> entity_name("CREDIT_CARD"), entity_name("IP_ADDRESS")
    ('card numbers', 'IP addresses')
    """
    return ENTITIES[Entity(entity)]


def counted(count: int, one: str, many: str) -> str:
    """Returns a number in words and what it is of, as ``two columns``."""
    words = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
    number = words[count] if count < len(words) else f"{count:,}"
    return f"{number} {one if count == 1 else many}"


def capital(text: str) -> str:
    """Returns a text that begins a sentence."""
    return text[:1].upper() + text[1:]


def number(value: int) -> str:
    """Returns a number as people write it."""
    return f"{value:,}"


def percent(share: float) -> str:
    """Returns a share in percent; never 0 or 100 where it is only near."""
    if 0 < share < 0.001:
        return "under 0.1 %"
    if 0.999 < share < 1:
        return "over 99.9 %"
    return f"{100 * share:.0f} %" if share >= 0.0995 or not share else f"{100 * share:.1f} %"


def size(count: int) -> str:
    """Returns a count of bytes as people write it."""
    if count == 1:
        return "1 byte"
    told = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if told < 1000:
            return f"{told:,.0f} {unit}" if unit == "bytes" else f"{told:,.1f} {unit}"
        told /= 1000
    return f"{told:,.1f} TB"
