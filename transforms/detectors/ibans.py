"""International bank account numbers (ISO 13616): a known country, its length and characters, and check digits."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator
from functools import cache

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
IBAN = pattern(rf"\b(?:(?i:iban)_?)?((?i:{COUNTRIES}) ?[0-9]{{2}})(?:[ -]?[0-9A-Za-z]){{11}}")
SEPARATORS = b" -"
NUMBERS = [str(int(chr(byte), 36)) if chr(byte).isalnum() and byte < 128 else "" for byte in range(256)]
"""What a character counts as in the number whose remainder is checked."""


def ibans(text: JoinedText) -> Iterator[Finding]:
    """Yields account numbers, plain or in groups, in either case."""
    for start, _ in text.spans(IBAN, 1):
        if not text.begins(start) and text.data[start - 4 : start].lower() not in (b"iban", b"ban_"):
            continue
        country = iban_country(text.data[start : start + 2].decode().upper())
        if country is None:
            continue
        found = _characters(country.length).match(text.data, start)
        if found is None or text.data[found.end()] in WORD:
            continue
        written, stop = found.group(), found.end()
        compact = written.translate(None, SEPARATORS).upper()
        if len({written[2:], written[2:].upper(), written[2:].lower()}) < 3 and is_iban(compact):
            reason = f"{country.length} characters of an account number of {country.code}, check digits valid"
            yield Finding(start, stop, Entity.IBAN, 0.99, reason)


@cache
def _characters(length: int) -> re.Pattern[bytes]:
    """Returns a pattern of so many letters and digits with at most one separator between each two."""
    return re.compile(rb"[0-9A-Za-z](?:[ -]?[0-9A-Za-z]){%d}" % (length - 1))


def is_iban(compact: bytes) -> bool:
    """Returns whether upper-case text without separators is an account number with valid check digits (mod 97-10).

    >>> is_iban(b"DE89370400440532013000"), is_iban(b"DE88370400440532013000")
    (True, False)
    """
    country = iban_country(compact[:2].decode("ascii", "replace"))
    if country is None or len(compact) != country.length or not compact.isalnum():
        return False
    if int("".join(map(NUMBERS.__getitem__, compact[4:] + compact[:4]))) % 97 != 1:
        return False
    kinds = CLASSES[np.frombuffer(compact[4:], np.uint8)]
    return bool((kinds & np.array(country.kinds, np.uint8)).all())
