"""The words that policies are written in: closed sets of names, time spans, and the base of all written models."""

from __future__ import annotations

import re
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, Strict

__all__ = [
    "Basis",
    "Count",
    "Duration",
    "Entity",
    "Format",
    "InvalidReason",
    "KeptDigits",
    "Name",
    "OnDrift",
    "OnInvalid",
    "Sight",
    "Written",
    "parse_duration",
]

UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
LONGEST = timedelta(days=36_500)


class Basis(StrEnum):
    """Lawful bases (GDPR Art. 6(1) a, b, c, f)."""

    CONSENT = "consent"
    CONTRACT = "contract"
    LEGAL_OBLIGATION = "legal_obligation"
    LEGITIMATE_INTEREST = "legitimate_interest"


class Format(StrEnum):
    """Token formats."""

    PAN = "pan"
    DIGITS = "digits"
    ALPHANUMERIC = "alphanumeric"
    SSN = "ssn"
    PHONE = "phone"
    IBAN = "iban"
    EMAIL = "email"
    SURROGATE = "surrogate"


class Sight(StrEnum):
    """How much of a value a role sees."""

    FULL = "full"
    MASKED = "masked"


class OnInvalid(StrEnum):
    """What becomes of a value that does not fit its format."""

    REDACT = "redact"
    DEAD_LETTER = "dead_letter"


class OnDrift(StrEnum):
    """What becomes of columns that the dataset does not declare, and of values that contradict it."""

    DROP = "drop"
    PROTECT_AS_FOUND = "protect_as_found"
    DEAD_LETTER = "dead_letter"


class Entity(StrEnum):
    """What detection can find."""

    CREDIT_CARD = "CREDIT_CARD"
    IBAN = "IBAN"
    EMAIL = "EMAIL"
    PHONE = "PHONE"
    US_SSN = "US_SSN"
    US_ITIN = "US_ITIN"
    IP_ADDRESS = "IP_ADDRESS"
    MAC_ADDRESS = "MAC_ADDRESS"
    UK_NINO = "UK_NINO"
    UK_NHS = "UK_NHS"
    CRYPTO = "CRYPTO"
    URL_WITH_CREDENTIALS = "URL_WITH_CREDENTIALS"
    SECRET = "SECRET"  # noqa: S105 - the name of an entity
    DATE_OF_BIRTH = "DATE_OF_BIRTH"
    PERSON = "PERSON"
    STREET_ADDRESS = "STREET_ADDRESS"


class InvalidReason(StrEnum):
    """Why a value does not fit its format; stable codes that manifests count."""

    NOT_DIGITS = "not_digits"
    WRONG_LENGTH = "wrong_length"
    CHECKSUM_FAILED = "checksum_failed"
    DOMAIN_TOO_SMALL = "domain_too_small"
    WRONG_CHARACTERS = "wrong_characters"
    UNKNOWN_COUNTRY = "unknown_country"
    NOT_A_PHONE = "not_a_phone"
    NOT_AN_EMAIL = "not_an_email"
    NOT_A_DATE = "not_a_date"
    NOT_A_NUMBER = "not_a_number"
    NOT_AN_IP = "not_an_ip"
    EMPTY = "empty"
    WRONG_TYPE = "wrong_type"
    NOT_TEXT = "not_text"


def parse_duration(value: Any) -> timedelta:
    """Returns the time that a text as ``7d``, ``12h``, ``90m`` or ``2w`` names.

    Raises:
        ValueError: Not such a text, zero, or more than a hundred years.

    >>> parse_duration("7d")
    datetime.timedelta(days=7)
    """
    if isinstance(value, timedelta):
        return value
    match = re.fullmatch(r"([1-9][0-9]{0,6})([mhdw])", value) if isinstance(value, str) else None
    found = timedelta(**{UNITS[match[2]]: int(match[1])}) if match else None
    if found is None or found > LONGEST:
        raise ValueError("no time span; write a number and m, h, d or w, as 7d")
    return found


def _duration_text(value: timedelta) -> str:
    minutes = int(value.total_seconds()) // 60
    for unit, size in (("d", 1440), ("h", 60)):
        if minutes % size == 0:
            return f"{minutes // size}{unit}"
    return f"{minutes}m"


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(_duration_text, return_type=str),
    Field(json_schema_extra={"type": "string", "pattern": "^[1-9][0-9]*[mhdw]$", "examples": ["7d", "12h"]}),
]
Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,63}$")]
"""A name that people give: purposes, roles, info types, token domains, datasets."""


Count = Annotated[int, Strict()]
"""A whole number; ``true`` and ``"4"`` are none."""


def _kept(value: Any) -> Any:
    # True and False equal 1 and 0, and Literal would take False for 0.
    if isinstance(value, bool) or value not in (0, 4):
        raise ValueError("keep_last is 4 or 0; first digits are never kept, and fewer than four leave too few values")
    return value


KeptDigits = Annotated[Literal[0, 4], BeforeValidator(_kept)]


class Written(BaseModel):
    """Base of all that people write in YAML: frozen, unknown keys refused, values not repeated in errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
