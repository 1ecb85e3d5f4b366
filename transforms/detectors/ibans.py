"""International bank account numbers (ISO 13616): a known country, its length and characters, and check digits."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...schemas.info_types import Entity
from ..values.iban_countries import CLASSES, iban_country
from .findings import Finding
from .joined_text import JoinedText, pattern

__all__ = ["ibans", "is_iban"]

IBAN = pattern(r"[A-Za-z]{2}[0-9]{2}(?:[ -]?[0-9A-Za-z]){11,40}")
SEPARATORS = b" -"


def ibans(text: JoinedText) -> Iterator[Finding]:
    """Yields account numbers, plain or in groups, in either case."""
    for start, end in text.spans(IBAN):
        if not text.begins(start):
            continue
        country = iban_country(text.data[start : start + 2].decode().upper())
        if country is None:
            continue
        stop = _stop(text.data, start, end, country.length)
        if stop is None or not text.whole(start, stop):
            continue
        written = text.data[start:stop]
        compact = bytes(byte for byte in written if byte not in SEPARATORS).upper()
        if (written.isupper() or written.islower()) and is_iban(compact):
            reason = f"{country.length} characters of an account number of {country.code}, check digits valid"
            yield Finding(start, stop, Entity.IBAN, 0.99, reason)


def _stop(data: bytes, start: int, end: int, length: int) -> int | None:
    """Returns where so many characters end, separators apart; None: there are not so many."""
    seen = 0
    for place in range(start, end):
        seen += data[place] not in SEPARATORS
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
