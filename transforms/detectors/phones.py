"""Telephone numbers: international ones by their plus, national ones by a word beside them or an unmistakable layout.

Rules settle what may be a number of which region; ``phonenumbers`` then says whether it is valid there, once for each
number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

import phonenumbers

from ...schemas.info_types import Entity
from .findings import Finding
from .joined_text import WORD, JoinedText, digits_of
from .number_chains import LISTED_WITHIN, Chain
from .number_words import NO_PHONE, PHONE

__all__ = ["is_phone", "is_unmistakable_phone", "phone_region", "phones"]

SHORTEST, LONGEST = 7, 15

# What national numbers look like as they are dialled, trunk prefix included; first match wins.
NATIONAL = tuple(
    (region, re.compile(shape))
    for region, shape in (
        ("US", rb"1?[2-9]\d{2}[2-9]\d{6}"),
        ("GB", rb"0[12378]\d{8,9}"),
        ("FR", rb"0[1-9]\d{8}"),
        ("DE", rb"0[1-9]\d{6,11}"),
        ("AU", rb"0[23478]\d{8}|1[38]00\d{6}"),
        ("JP", rb"0\d{9,10}"),
        ("IT", rb"0\d{6,10}|3\d{8,9}"),
        ("ES", rb"[6789]\d{8}"),
        ("PL", rb"[1-9]\d{8}"),
        ("IN", rb"0?[1-9]\d{9}"),
        ("BR", rb"0?[1-9]\d9?\d{8}"),
        ("NL", rb"0[1-9]\d{8}"),
        ("BE", rb"0[1-9]\d{7,8}"),
        ("CH", rb"0[2-9]\d{8}"),
        ("AT", rb"0[1-9]\d{6,11}"),
        ("PT", rb"[239]\d{8}"),
        ("SE", rb"0[1-9]\d{6,8}"),
        ("NO", rb"[2-9]\d{7}"),
        ("DK", rb"[2-9]\d{7}"),
        ("IE", rb"0[1-9]\d{7,8}"),
        ("MX", rb"[1-9]\d{9}"),
        ("CN", rb"1[3-9]\d{9}|0[1-9]\d{8,10}"),
    )
)
# National layouts that people read as a telephone number without any word.
PLAIN = re.compile(rb"\+?[0-9 ()./-]{6,30}")
DECIMALS = re.compile(rb",\d\d?(?!\d)")
UNMISTAKABLE = re.compile(
    rb"\([2-9]\d\d\) ?[2-9]\d\d[-. ]\d{4}|\(555\) ?\d{3}[-. ]\d{4}|555-\d{3}-\d{4}"
    rb"|[2-9]\d\d([-.])[2-9]\d\d\1\d{4}"
    rb"|1[-. ][2-9]\d\d[-. ][2-9]\d\d[-. ]\d{4}"
    rb"|\(?0[1-9]\d{1,4}\)?[ /-]\d{3,4}[ -]?\d{3,4}"
    rb"|0[1-9]([ .-])\d\d(?:\2\d\d){3}"
    rb"|\(?0\d{1,4}\)?[-/ ]{1,3}\d{1,4}[- ]\d{3,4}"
    rb"|\(0\d\) \d{4} \d{4}|04\d\d \d{3} \d{3}"
    rb"|01[567]\d{1,2}[ /-]{1,3}\d{6,8}|0[2-9]\d{1,3} ?/ ?\d{4,8}"
    rb"|\(\d\d\) ?9?\d{4}-\d{4}"
)
EXIT = re.compile(rb"00[1-9]")
LISTED = re.compile(rb"[ \t\n,;/|&]{1,4}(?:(?:and|or|und|oder|et|ou|y|o|e|i|lub) )?\(?")
LOCAL = re.compile(rb"[2-9]\d\d[-.]\d{4}|\(?\d{3}\)?[-. ]\d{3}[-. ]\d{4}")
"""American numbers without area code, or with one that nobody has; only after a word for them."""
FICTIONAL = re.compile(rb"(?:1?[2-9]\d\d|1?)555\d{4,7}|0?7700900\d{3}|0?1632960\d{3}|0?63998\d{4}")
FICTIONAL_ABROAD = re.compile(
    "1[2-9][0-9]{2}555[0-9]{4}|1555[0-9]{7}|447700900[0-9]{3}|441632960[0-9]{3}|3363998[0-9]{4}"
)
"""Numbers that regulators keep for films and examples, which is what people write when they do not write their own."""
NEXT = re.compile(rb"[^0-9a-z]{1,4}[a-z\xe0][a-z\xe0. ]{1,16}[.:=]{0,2} {0,2}[+(]{0,2}[0-9]")
"""Behind a number: a word that belongs to another one."""
PARTIES = frozenset({b"to", b"from", b"src", b"dst", b"caller", b"callee", b"number", b"num", b"no", b"sender"})
LABEL = re.compile(rb"([a-z_.]{2,20})=\(?$")
RESTLESS = re.compile(rb"[+_]|[-./]{2}|  ")
"""Separators that are in no number."""
GOES_ON = re.compile(rb"[.#-] |.? (?:[.:-]\d|/\d{1,6}(?!\d)|[%=]|\* ?\d)")
"""Around a number, for which a space stands here: it is part of something longer."""
DECIMAL = re.compile(rb"(?:0|[1-9]\d{0,3})\.\d{5,}")
SPLIT = re.compile(rb"(?:\+?\d{1,3}[ -]?)?(?:\(0\) ?)?\(?\d{1,5}\)? ?/")
"""What may stand before a slash within a number: codes."""
CODE = re.compile(rb"[A-Z0-9]{2,} $")
"""The end of a code in capitals, of which the digits that follow may be a part."""


def phones(text: JoinedText, chain: Chain, previous: int = -1) -> Iterator[Finding]:
    """Yields the telephone numbers in a chain.

    Args:
        text: Where the chain is.
        chain: Groups of digits.
        previous: Behind the last number that was found, whose word may speak for the next one in a list too.
    """
    if not chain.phones and not _near(previous, chain.start):
        return
    sizes = [end - start for start, end in chain.groups]
    behind, marked = 0, frozenset(chain.phones)
    for first, (start, _) in enumerate(chain.groups):
        if first < behind or not (first in marked or _near(previous, start)):
            continue
        found = _phone_from(text, chain, sizes, first, previous)
        if found is not None:
            behind, finding = found[0] + 1, found[1]
            previous = finding.end
            yield finding


def _near(previous: int, start: int) -> bool:
    """Returns whether a number may stand in a list behind another."""
    return previous >= 0 and previous >= start - LISTED_WITHIN


def _phone_from(
    text: JoinedText, chain: Chain, sizes: list[int], first: int, previous: int
) -> tuple[int, Finding] | None:
    start = chain.groups[first][0]
    lead = text.data[max(0, start - 2) : start]
    runs = _runs(sizes, first)
    if not runs:
        return None
    if lead[-1:] == b"+" or lead == b"+(":
        start -= 2 if lead == b"+(" else 1
        if not text.begins(start):
            return None  # a sum
        enclosed = text.data[start - 1 : start] == b"(" and b")" in chain.cut(first, min(first + 1, len(sizes) - 1))
        return _international(text, chain, first, runs, start - enclosed)
    if not text.begins(chain.start):
        return None  # the chain is the end of a code
    if EXIT.match(chain.cut(first, first)):
        # Inside a longer row of digits two zeros are two digits more likely than a way abroad.
        spaced = first == 0 and len(chain.groups) > 1 and chain.sizes(0, 0)[0] < SHORTEST
        word = PHONE.governing(text, start)
        if (spaced and NO_PHONE.governing(text, start) <= word) or PHONE.last_before(text, start) is not None:
            found = _international(text, chain, first, runs, start)
            if found is not None:
                return found
    return _national(text, chain, first, runs, listed=_listed(text, previous, start))


def _listed(text: JoinedText, previous: int, start: int) -> bool:
    """Returns whether a number stands in a list behind another."""
    return _near(previous, start) and LISTED.fullmatch(text.data, previous, start) is not None


def _runs(sizes: list[int], first: int) -> list[int]:
    """Returns the last groups that a number from ``first`` may have, the longest run first."""
    total, runs = 0, []
    for last in range(first, len(sizes)):
        total += sizes[last]
        if total > LONGEST + 2:
            break
        if total >= SHORTEST:
            runs.append(last)
    return runs[::-1]


def _international(
    text: JoinedText, chain: Chain, first: int, runs: list[int], start: int
) -> tuple[int, Finding] | None:
    for last in runs:
        end = chain.groups[last][1]
        written = chain.cut(first, last)
        if not _calm(written) or text.data[end] in WORD:
            continue
        digits = digits_of(written.replace(b"(0)", b""))
        region = phone_region(b"+" + (digits[2:] if EXIT.match(digits) and start == chain.groups[first][0] else digits))
        if region:
            return last, Finding(start, end, Entity.PHONE, 0.9, f"international number, valid in {region}")
    return None


def _calm(written: bytes) -> bool:
    """Returns whether the separators could stand in one number."""
    slash = written.rfind(b"/")
    if slash >= 0 and not SPLIT.fullmatch(written, 0, slash + 1):
        return False
    return not RESTLESS.search(written) and not DECIMAL.fullmatch(written)


def _national(
    text: JoinedText, chain: Chain, first: int, runs: list[int], *, listed: bool
) -> tuple[int, Finding] | None:
    start = chain.groups[first][0]
    start -= text.data[start - 1 : start] == b"(" and b")" in chain.cut(first, min(first + 1, len(chain.groups) - 1))
    named = PHONE.governing(text, start)
    if NO_PHONE.labelling(text, start) > named or _labelled(text, start):
        return None
    for last in runs:
        end = chain.groups[last][1]
        written = text.data[start:end]
        if not _calm(written) or not text.whole(start, end) or _continues(text, start, end):
            continue
        if named >= 0 and LOCAL.fullmatch(written):
            return last, Finding(start, end, Entity.PHONE, 0.8, "a number as in the US, after a word for it")
        near = named >= 0 or listed or (PHONE.follows(text, end, 18) and not NEXT.match(text.lower, end))
        alone = first == 0 and last == len(chain.groups) - 1
        if not near and not (alone and _proves_itself(text, start, end)):
            continue
        region = _national_region(digits_of(written))
        if region is not None:
            name = f"after the word '{PHONE.name_before(text, start)}'" if named >= 0 else "beside a word for it"
            told = f"national number, valid in {region}, {name if near else 'in a usual layout'}"
            return last, Finding(start, end, Entity.PHONE, 0.85 if near else 0.7, told)
    return None


def _labelled(text: JoinedText, start: int) -> bool:
    """Returns whether a number stands behind ``name=`` that is no word for telephones."""
    label = LABEL.search(text.before(start, 24))
    return label is not None and label[1] not in PARTIES and PHONE.within(label[1]) is None


def _proves_itself(text: JoinedText, start: int, end: int) -> bool:
    """Returns whether a number without a word for it is laid out as only telephone numbers are."""
    written = text.data[start:end]
    if not UNMISTAKABLE.fullmatch(written) or len(digits_of(written)) < 9:
        return False
    return not CODE.search(text.data, max(0, start - 6), start) and not NO_PHONE.follows(text, end, 10)


def _continues(text: JoinedText, start: int, end: int) -> bool:
    """Returns whether digits or signs around say that the number is longer, a decimal or a formula."""
    lead = text.data[max(0, start - 2) : start]
    lead = b" " if lead[:1].isalpha() and lead[1:] == b"." else lead[-1:]
    around = lead + b" " + text.data[end : end + 9]
    bare = text.data[start:end].isdigit()
    return bool(GOES_ON.match(around) or (bare and DECIMALS.match(around, around.index(b" ") + 1)))


def _national_region(digits: bytes) -> str | None:
    if len(digits) < 8:
        return None
    if FICTIONAL.fullmatch(digits) and len(digits) > 8:
        return "GB" if digits[-10:-3] in (b"7700900", b"1632960") else "FR" if digits[-9:-4] == b"63998" else "US"
    for region, shape in NATIONAL:
        if shape.fullmatch(digits) and _valid(digits.decode(), region):
            return region
    return None


def is_unmistakable_phone(written: bytes) -> bool:
    """Returns whether a value is valid, and international with its plus or national in an unmistakable layout."""
    if written.startswith(b"+"):
        return _is_international(written)
    return bool(UNMISTAKABLE.fullmatch(written)) and _national_region(digits_of(written)) is not None


def is_phone(written: bytes) -> bool:
    """Returns whether a value is a telephone number where its header says so: valid in some region."""
    if not PLAIN.fullmatch(written):
        return False
    digits = digits_of(written)
    return _is_international(written) or _national_region(digits) is not None or phone_region(b"+" + digits) is not None


def _is_international(written: bytes) -> bool:
    digits = digits_of(written.replace(b"(0)", b""))
    if EXIT.match(digits) and not written.startswith(b"+"):
        digits = digits[2:]
    elif not written.startswith(b"+"):
        return False
    return PLAIN.fullmatch(written) is not None and phone_region(b"+" + digits) is not None


def phone_region(digits: bytes) -> str | None:
    """Returns the region of an E.164 number, ``ZZ`` where many share it, None where it is no valid number."""
    return _region(digits.decode())


@lru_cache(maxsize=65_536)
def _region(number: str) -> str | None:
    if FICTIONAL_ABROAD.fullmatch(number, 1):
        return {"1": "US", "4": "GB"}.get(number[1], "FR")
    try:
        parsed = phonenumbers.parse(number)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_valid_number(parsed):
        return None
    return phonenumbers.region_code_for_number(parsed) or "ZZ"


@lru_cache(maxsize=65_536)
def _valid(digits: str, region: str) -> bool:
    try:
        parsed = phonenumbers.parse(digits, region)
    except phonenumbers.NumberParseException:
        return False
    return bool(phonenumbers.is_valid_number_for_region(parsed, region))
