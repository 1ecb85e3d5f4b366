"""What staff see of a value who may see it masked: never the whole of it, and for short values nothing."""

from __future__ import annotations

from ...schemas.info_types import Format
from .phone_rules import calling_code_length

__all__ = ["masked"]

HIDDEN = "****"
"""For texts, whatever their length."""


def masked(format: Format, value: str) -> str:
    """Returns the masked form of a canonical value.

    Args:
        format: Of the value. Cards, social security and account numbers show their last four characters, phone numbers
            country and last two, email addresses first letter and domain, all others at most a quarter at the end.
        value: In canonical form.

    >>> masked(Format.PAN, "4111111111111111"), masked(Format.EMAIL, "ana@example.com")
    ('************1111', 'a***@example.com')
    >>> masked(Format.PHONE, "+447700900123"), masked(Format.SURROGATE, "c-17")
    ('+44********23', '****')
    """
    match format:
        case Format.PAN | Format.SSN:
            return _starred(value, first=0, last=4)
        case Format.IBAN:
            return _starred(value, first=2, last=4)
        case Format.PHONE:
            return _starred(value, first=1 + calling_code_length(value[1:]), last=2)
        case Format.EMAIL:
            local, _, domain = value.rpartition("@")
            return f"{local[:1] if len(local) > 1 else ''}***@{domain}"
        case Format.DIGITS | Format.ALPHANUMERIC:
            return _starred(value, first=0, last=min(4, len(value) // 4))
        case Format.SURROGATE:
            return HIDDEN + value[len(value) - min(4, len(value) // 8) :]
    raise TypeError(f"no masked form for format {format}")


def _starred(value: str, *, first: int, last: int) -> str:
    # Where what is shown would be more than half, nothing is.
    if 2 * (first + last) > len(value):
        return "*" * len(value)
    return value[:first] + "*" * (len(value) - first - last) + value[len(value) - last :]
