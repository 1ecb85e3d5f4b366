"""International bank account numbers (ISO 13616): a known country, its length and characters, and check digits."""

from __future__ import annotations

import string
from collections.abc import Iterator

import numpy as np

from ...schemas.info_types import Entity
from ..values.iban_countries import CLASSES, iban_country
from .findings import Finding
from .joined_text import WORD, JoinedText, pattern

__all__ = ["COUNTRIES", "ibans", "is_iban"]

COUNTRIES = "|".join(
    first + second
    for first in string.ascii_uppercase
    for second in string.ascii_uppercase
    if iban_country(first + second)
)
"""A pattern of the codes of all countries that have such numbers."""
IBAN = pattern(rf"\b(?:(?i:iban)_?)?((?i:{COUNTRIES}) ?[0-9]{{2}})")
LONGEST = 70
"""Characters of an account number with separators."""
SEPARATORS = b" -"
SIGNS = frozenset((string.ascii_letters + string.digits).encode())


def ibans(text: JoinedText) -> Iterator[Finding]:
    """Yields account numbers, plain or in groups, in either case."""
    for start, _ in text.spans(IBAN, 1):
        if not text.begins(start) and text.data[start - 4 : start].lower() not in (b"iban", b"ban_"):
            continue
        country = iban_country(text.data[start : start + 2].decode().upper())
        if country is None:
            continue
        stop = _stop(text.data, start, min(start + LONGEST, len(text.data)), country.length)
        if stop is None or text.data[stop] in WORD:
            continue
        written = text.data[start:stop]
        compact = bytes(byte for byte in written if byte not in SEPARATORS).upper()
        if len({written[2:], written[2:].upper(), written[2:].lower()}) < 3 and is_iban(compact):
            reason = f"{country.length} characters of an account number of {country.code}, check digits valid"
            yield Finding(start, stop, Entity.IBAN, 0.99, reason)


def _stop(data: bytes, start: int, end: int, length: int) -> int | None:
    """Returns where so many characters end, separators apart; None: there are not so many."""
    seen = 0
    for place in range(start, end):
        if data[place] in SEPARATORS:
            if data[place - 1] in SEPARATORS:
                return None
            continue
        if data[place] not in SIGNS:
            return None
        seen += 1
        if seen == length:
            return place + 1
    return None


def is_iban(compact: bytes) -> bool:
    """Returns whether upper-case text without separators is an account number with valid check digits (mod 97-10).

    >>> is_iban(b"DE89370400440532013000"), is_iban(b"DE88370400440532013000")
    (True, False)
    """
    country = iban_country(compact[:2].decode("ascii", "replace"))
    if country is None or len(compact) != country.length or not compact.isalnum():
        return False
    kinds = CLASSES[np.frombuffer(compact[4:], np.uint8)]
    if not (kinds & np.array(country.kinds, np.uint8)).all():
        return False
    number = "".join(str(int(chr(byte), 36)) for byte in compact[4:] + compact[:4])
    return int(number) % 97 == 1
