"""The countries of the IBAN registry (ISO 13616): how long their account numbers are, and of what characters.

The registry is the copy that ``python-stdnum`` carries.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

import numpy as np

from .byte_rows import Bools, Bytes

__all__ = ["IbanCountry", "iban_country"]

DIGIT, UPPER = 1, 2
KINDS = {"n": DIGIT, "a": UPPER, "c": DIGIT | UPPER}
CLASSES = np.zeros(256, np.uint8)
CLASSES[ord("0") : ord("9") + 1] = DIGIT
CLASSES[ord("A") : ord("Z") + 1] = UPPER


@dataclass(frozen=True)
class IbanCountry:
    """What a country's basic bank account numbers (BBAN) look like.

    Attributes:
        code: Two letters (ISO 3166-1, and ``XK``).
        kinds: For each place of the BBAN which kinds of characters may stand there.
    """

    code: str
    kinds: tuple[int, ...]

    @property
    def length(self) -> int:
        """Characters of a whole IBAN."""
        return 4 + len(self.kinds)

    @property
    def is_decimal(self) -> bool:
        """Whether the BBAN has digits only."""
        return set(self.kinds) == {DIGIT}

    def fits(self, bban: Bytes) -> Bools:
        """Returns which rows of ``(values, length - 4)`` bytes have the right kind of character in every place."""
        fitting = CLASSES[bban] & np.array(self.kinds, np.uint8) != 0
        # Over short rows the second step is slow, and mostly all fit.
        return np.ones(len(bban), np.bool_) if fitting.all() else np.asarray(fitting.all(axis=1))


@cache
def iban_country(code: str) -> IbanCountry | None:
    """Returns the country of a two-letter code, or None where the registry has none.

    >>> country = iban_country("DE")
    >>> (country.length, country.is_decimal) if country else None
    (22, True)
    """
    from stdnum import numdb

    facts = numdb.get("iban").info(code)[0][1]
    parts = re.findall(r"(\d+)!([nac])", facts.get("bban", "")) if facts else []
    kinds = [KINDS[kind] for count, kind in parts for _ in range(int(count))]
    return IbanCountry(code, tuple(kinds)) if kinds else None
