"""What is shown of a value that may be seen masked: never the whole of it, and of short values nothing."""

from __future__ import annotations

from ...schemas.info_types import Format
from .phone_rules import calling_code_length

__all__ = ["masked", "masked_text"]

SHOWN, LEAST_FOR_END, LONGEST = 4, 12, 120
PARTING = frozenset(" .-/:@_(),+")
"""Signs that no value is told by."""
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


def masked_text(text: str) -> str:
    """Returns the masked form of a text of any kind: all as asterisks but what parts its pieces.

    Of twelve and more letters and digits that end in four digits, these are shown, as of a card; of longer texts than a
    report has room for, the begin.

    >>> masked_text("4111 1111 1111 1111"), masked_text("kim@example.com"), masked_text("p$ss")
    ('**** **** **** 1111', '***@*******.***', '****')
    """
    places = [place for place, sign in enumerate(text) if sign.isalnum()]
    end = places[-SHOWN:]
    shown = frozenset(end if len(places) >= LEAST_FOR_END and "".join(text[place] for place in end).isdigit() else ())
    return "".join(
        sign if place in shown or sign in PARTING else "*" for place, sign in enumerate(text[:LONGEST])
    )  # fmt: skip


def _starred(value: str, *, first: int, last: int) -> str:
    # Where what is shown would be more than half, nothing is.
    if 2 * (first + last) > len(value):
        return "*" * len(value)
    return value[:first] + "*" * (len(value) - first - last) + value[len(value) - last :]
