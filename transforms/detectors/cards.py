"""Payment card numbers (ISO/IEC 7812): digits of an issuer's range, of its length, that pass Luhn."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from ...schemas.info_types import Entity
from .findings import Finding
from .joined_text import WORD, JoinedText, digits_of
from .number_chains import Chain
from .number_words import CARD, NO_CARD, SERIAL
from .words import Words

__all__ = ["card_brand", "cards", "luhn"]

SHORTEST, LONGEST = 13, 19
ACCOUNT = re.compile(rb"[A-Za-z]{2}[0-9]{2}[ -]$")
"""The country and check digits of an account number."""
OF_ITS_OWN = re.compile(rb"[0-9]{2}")
LIST = re.compile(rb"[^0-9A-Za-z]{0,3}(?:[0-9][0-9 -]{6,24}[,;/&][ \n]?)+(?:and |or |und |et |y |e )?")
"""More numbers of the kind that a word names."""
LONG_LIST = 120
EXPIRY = re.compile(
    rb"[|,;: /]{1,2}(?:(?:exp(?:iry|ires|\.)?|valid (?:thru|until|to)|g.ltig bis)[ .:]{0,2})?"
    rb"(?:0[1-9]|1[0-2]) ?[|/] ?(?:20)?[2-4][0-9]\b"
)
NEXT = re.compile(rb"[^0-9a-z]{1,4}[a-z\xe0][a-z\xe0. ]{1,20}[.:=#]{0,2} {0,2}[0-9]{4}")
"""Behind a number: a word that belongs to another one."""
FEW_DIGITS = frozenset(b"0123456789")
VALUES = bytes.maketrans(b"0123456789", bytes(range(10)))
DOUBLED = bytes.maketrans(b"0123456789", bytes((0, 2, 4, 6, 8, 1, 3, 5, 7, 9)))

# First and last value of a number's first six digits, lengths, brand, and whether ranges so wide need a word.
RANGES = (
    (400000, 499999, (16,), "Visa", False),
    (400000, 499999, (13, 19), "Visa", True),
    (510000, 559999, (16,), "Mastercard", False),
    (222100, 272099, (16,), "Mastercard", False),
    (340000, 349999, (15,), "American Express", False),
    (370000, 379999, (15,), "American Express", False),
    (601100, 601199, (16,), "Discover", False),
    (644000, 659999, (16,), "Discover", False),
    (601100, 601199, (17, 18, 19), "Discover", True),
    (644000, 659999, (17, 18, 19), "Discover", True),
    (300000, 305999, (14, 16), "Diners Club", False),
    (309500, 309599, (14, 16), "Diners Club", False),
    (360000, 369999, (14,), "Diners Club", False),
    (380000, 399999, (14, 16), "Diners Club", False),
    (352800, 358999, (16,), "JCB", False),
    (352800, 358999, (17, 18, 19), "JCB", True),
    (620000, 629999, (16,), "UnionPay", False),
    (810000, 817199, (16,), "UnionPay", True),
    (620000, 629999, (17, 18, 19), "UnionPay", True),
    (220000, 220499, (16,), "Mir", False),
    (500000, 509999, (16,), "Maestro", False),
    (560000, 589999, (16,), "Maestro", False),
    (600000, 699999, (16,), "Maestro", True),
    (500000, 509999, (13, 14, 15, 17, 18, 19), "Maestro", True),
    (560000, 699999, (13, 14, 15, 17, 18, 19), "Maestro", True),
)
LAYOUTS = {(4, 4, 4, 4), (4, 6, 5), (4, 6, 4), (4, 4, 4, 4, 3), (4, 4, 4, 4, 2), (4, 4, 4, 4, 1), (4, 5, 6), (6, 13)}
LAYOUTS |= {(4, 4, 4, 3), (4, 4, 5), (4, 4, 4, 1), (8, 8), (6, 10), (4, 4, 4, 2)}
EMBOSSED = {(4, 4, 4, 4), (4, 6, 5)}
"""Layouts that hardly an order or account number has."""
PROVING = {(4, 4, 5), (4, 4, 4, 4, 3)}
"""Layouts that nothing else has, so that the rarest numbers need no word in them."""


def cards(text: JoinedText, chain: Chain) -> Iterator[Finding]:
    """Yields the card numbers in a chain."""
    behind = 0
    for first in chain.cards:
        found = _card_from(text, chain, first) if first >= behind else None
        if found is not None:
            behind, finding = found[0] + 1, found[1]
            yield finding


def _card_from(text: JoinedText, chain: Chain, first: int) -> tuple[int, Finding] | None:
    total = 0
    for last in range(first, len(chain.groups)):
        total += chain.groups[last][1] - chain.groups[last][0]
        if total > LONGEST:
            return None
        if total >= SHORTEST:
            finding = _card(text, chain, first, last)
            if finding is not None:
                return last, finding
    return None


def _card(text: JoinedText, chain: Chain, first: int, last: int) -> Finding | None:
    digits = digits_of(chain.cut(first, last))
    brand = card_brand(digits)
    if brand is None or not luhn(digits) or _longer(chain, first, last):
        return None
    start, end = chain.groups[first][0], chain.groups[last][1]
    named = CARD.governing(text, start)
    near = named >= 0 or _named_behind(text, end)
    sizes = chain.sizes(first, last)
    name, needs_word = brand
    if _other(text, start, end, named, embossed=sizes in EMBOSSED and not needs_word):
        return None
    if not _whole(text, start, end, named - start if named >= 0 else None):
        return None
    if not near and ((needs_word and sizes not in PROVING) or not _proves_itself(text, chain, first, last)):
        return None
    word = f", after the word '{CARD.name_before(text, start)}'" if named >= 0 else ", beside a word for cards"
    reason = f"{len(digits)} digits, {name} range, Luhn valid{word if near else ''}"
    return Finding(start, end, Entity.CREDIT_CARD, 0.99 if near else 0.95, reason)


def _named_behind(text: JoinedText, end: int) -> bool:
    """Returns whether a word for cards, which is no label of another number, or an expiry date follows."""
    if EXPIRY.match(text.lower, end):
        return True
    return CARD.follows(text, end, 24) and not NEXT.match(text.lower, end)


def _other(text: JoinedText, start: int, end: int, named: int, *, embossed: bool) -> bool:
    """Returns whether a word says that the number is something else; grouped as on a card it must be a strong one."""
    if _denied(NO_CARD, text, start) <= named and (named >= 0 or not NO_CARD.follows(text, end, 12)):
        return False
    return not embossed or _denied(SERIAL, text, start) >= 0 or SERIAL.follows(text, end, 12)


def _denied(other: Words, text: JoinedText, start: int) -> int:
    """Returns where the last word ends that says that the number is no card, or -1; it may have a number of its own."""
    listed = other.last_before(text, start, LONG_LIST)
    if listed is not None and LIST.fullmatch(text.data, listed[1], start):
        return listed[1]
    found = other.labelling(text, start)
    return -1 if found >= 0 and OF_ITS_OWN.search(text.data, found, start) else found


def _proves_itself(text: JoinedText, chain: Chain, first: int, last: int) -> bool:
    """Returns whether a run needs no word: usual groups, and neither the end of a code nor part of a longer row."""
    sizes = chain.sizes(first, last)
    return _usual(chain, first, last, sizes) and text.begins(chain.start) and _apart(chain, first, last)


def _usual(chain: Chain, first: int, last: int, sizes: tuple[int, ...]) -> bool:
    """Returns whether digits are grouped as on cards, or not at all, with one separator between groups."""
    if len(sizes) == 1:
        return True
    gaps = {chain.groups[at + 1][0] - chain.groups[at][1] for at in range(first, last)}
    return sizes in LAYOUTS and gaps <= {1, 2, 3}


def _whole(text: JoinedText, start: int, end: int, named: int | None) -> bool:
    """Returns whether nothing goes on at the ends: no word, number, fraction or account number.

    Args:
        text: Where the number is.
        start: Where it begins.
        end: Behind its last digit.
        named: Where a word for cards ends, counted from the start; None: there is none. It may touch the number.
    """
    last = text.data[end]
    if last in WORD and (named is None or last in FEW_DIGITS):
        return False
    if text.data[end : end + 1] == b"." and text.data[end + 1] in FEW_DIGITS:
        return False
    if not text.begins(start):
        return named == 0 or (named is not None and text.data[start - 1 : start] == b"_")
    if start and text.data[start - 1] in b"+." and not text.data[start - 2 : start - 1].isalpha():
        return False
    return ACCOUNT.search(text.data, max(0, start - 5), start) is None


def _apart(chain: Chain, first: int, last: int) -> bool:
    """Returns whether groups of four are no part of a longer row of them; another card may touch one."""
    sizes = chain.sizes(first, last)
    if len(sizes) == 1 or set(sizes[:-1]) != {4}:
        return True
    if first and chain.sizes(first - 1, first - 1) == (4,) and not _far(chain, first):
        return first >= 4 and _is_card(chain, first - 4, first - 1)
    if sizes[-1] != 4 or last + 1 == len(chain.groups) or chain.sizes(last + 1, last + 1) != (4,):
        return True
    return _far(chain, last + 1) or (last + 4 < len(chain.groups) and _is_card(chain, last + 1, last + 4))


def _longer(chain: Chain, first: int, last: int) -> bool:
    """Returns whether a short group follows that belongs to a longer number of the same brand."""
    if last + 1 >= len(chain.groups) or chain.sizes(last + 1, last + 1)[0] > 3 or _far(chain, last + 1):
        return False
    return chain.sizes(last, last) == (4,) and _is_card(chain, first, last + 1)


def _is_card(chain: Chain, first: int, last: int) -> bool:
    digits = digits_of(chain.cut(first, last))
    return card_brand(digits) is not None and luhn(digits)


def _far(chain: Chain, place: int) -> bool:
    """Returns whether a group is set apart from the one before by more than what parts groups of one number."""
    gap = chain.text[chain.groups[place - 1][1] - chain.start : chain.groups[place][0] - chain.start]
    return len(gap) > 1 or gap in (b"/",)


def card_brand(digits: bytes) -> tuple[str, bool] | None:
    """Returns the brand of a number's range and length, and whether it takes a word to believe it; None: no card's."""
    if not SHORTEST <= len(digits) <= LONGEST:
        return None
    return _brand(int(digits[:6]), len(digits))


@lru_cache(maxsize=4096)
def _brand(head: int, length: int) -> tuple[str, bool] | None:
    for low, high, lengths, name, needs_word in RANGES:
        if low <= head <= high and length in lengths:
            return name, needs_word
    return None


def luhn(digits: bytes) -> bool:
    """Returns whether a number passes Luhn (ISO/IEC 7812-1, annex B)."""
    return (sum(digits[::-2].translate(VALUES)) + sum(digits[-2::-2].translate(DOUBLED))) % 10 == 0
