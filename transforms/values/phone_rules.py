"""Numbering plans: country calling codes (ITU-T E.164, annex) and the frequent shapes of numbers of some countries.

The shapes are deliberately narrow: they settle what people mostly write, and only where the answer is sure to be that
of ``phonenumbers`` (a test compares the two); all else is left to it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["CODE_LENGTHS", "PLANS", "REGIONS", "SHAPES", "Region", "calling_code_length"]

LONG_CODES = """
211 212 213 216 218 220-269 290 291 297-299 350-359 370-378 380-383 385-387 389 420 421 423 500-509 590-599 670
672-683 685-692 800 808 850 852 853 855 856 870 878 880-883 886 888 960-968 970-977 979 992-996 998
"""
UNASSIGNED = {219, 259, 379, 384, 388}
SHORT_CODES = "1 7 20 27 30-34 36 39-41 43-49 51-58 60-66 81 82 84 86 90-95 98"


def _span(text: str) -> range:
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


def _code_lengths() -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    lengths = np.zeros(1000, np.int64)
    for part in LONG_CODES.split():
        lengths[list(_span(part))] = 3
    lengths[list(UNASSIGNED)] = 0
    for part in SHORT_CODES.split():
        for code in _span(part):
            width = 10 ** (3 - len(str(code)))
            lengths[code * width : (code + 1) * width] = len(str(code))
    return lengths


CODE_LENGTHS = _code_lengths()
"""For each three digits, how many of them are a country calling code; 0 where none begins so."""


def calling_code_length(digits: str) -> int:
    """Returns how many digits at the start of an E.164 number, without its plus, are the country calling code, or 0.

    >>> [calling_code_length(digits) for digits in ("14155550100", "447700900123", "351912345678", "999")]
    [1, 2, 3, 0]
    """
    head = digits[:3]
    return int(CODE_LENGTHS[int(head)]) if len(head) == 3 and head.isascii() and head.isdigit() else 0


@dataclass(frozen=True, slots=True)
class Region:
    """How numbers are written inside a country.

    Attributes:
        code: Country calling code.
        abroad: What is dialled before a calling code; empty where it is not simple.
        trunk: What is dialled before an area code; empty where there is none.
        bare: Whether numbers without the trunk prefix are settled too.
    """

    code: int
    abroad: str
    trunk: str
    bare: bool


REGIONS = {
    "US": Region(1, "011", "1", True),
    "CA": Region(1, "011", "1", True),
    "GB": Region(44, "00", "0", False),
    "DE": Region(49, "00", "0", False),
    "FR": Region(33, "00", "0", False),
    "ES": Region(34, "00", "", True),
    "IT": Region(39, "00", "", True),
    "PL": Region(48, "00", "", True),
    "JP": Region(81, "010", "0", False),
    "IN": Region(91, "00", "0", True),
    "BR": Region(55, "", "0", True),
    "AU": Region(61, "0011", "0", False),
    "NL": Region(31, "00", "0", False),
    "BE": Region(32, "00", "0", False),
    "CH": Region(41, "00", "0", False),
    "AT": Region(43, "00", "0", False),
    "SE": Region(46, "00", "0", False),
    "PT": Region(351, "00", "", True),
    "DK": Region(45, "00", "", True),
    "NO": Region(47, "00", "", True),
}

# Per calling code: first digits of the national number, and the lengths that it may have with them.
PLANS: dict[int, tuple[tuple[str, tuple[int, ...]], ...]] = {
    1: (("23456789", (10,)),),
    44: (("1237", (10,)),),
    49: (("123456789", (7, 8, 9, 10, 11)),),
    33: (("123456789", (9,)),),
    34: (("6789", (9,)),),
    39: (("0", (8, 9, 10, 11)), ("3", (9, 10))),
    48: (("123456789", (9,)),),
    81: (("123456789", (9, 10)),),
    91: (("6789", (10,)),),
    55: (("12345678", (10, 11)),),
    61: (("23478", (9,)),),
    31: (("123456789", (9,)),),
    32: (("123456789", (8, 9)),),
    41: (("23456789", (9,)),),
    43: (("123456789", (7, 8, 9, 10, 11)),),
    45: (("23456789", (8,)),),
    46: (("123456789", (7, 8, 9)),),
    47: (("2345679", (8,)),),
    351: (("2369", (9,)),),
    353: (("123456789", (8, 9)),),
    30: (("26", (10,)),),
    36: (("123456789", (8, 9)),),
    40: (("237", (9,)),),
    420: (("234567", (9,)),),
    421: (("23459", (9,)),),
    7: (("349", (10,)),),
    90: (("2345", (10,)),),
    27: (("12345678", (9,)),),
    65: (("3689", (8,)),),
    852: (("235679", (8,)),),
    64: (("2346789", (8, 9)),),
    972: (("5", (9,)),),
    966: (("5", (9,)),),
    971: (("5", (9,)),),
    380: (("3456", (9,)),),
}  # fmt: skip


def _shapes() -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    shapes = np.zeros((1000, 10), np.int64)
    for code, plans in PLANS.items():
        for firsts, lengths in plans:
            for first in firsts:
                shapes[code, int(first)] |= sum(1 << length for length in lengths)
    return shapes


SHAPES = _shapes()
"""For each calling code and first digit of a national number, bit ``n`` is set where length ``n`` is settled."""
