"""Numbers that states give to persons: SSN and ITIN of the United States, NHS number and National Insurance number."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from ...schemas.info_types import Entity
from .findings import Finding
from .joined_text import JoinedText, digits_of, pattern
from .number_chains import Chain
from .words import Words, words

__all__ = ["insurance_numbers", "is_itin", "is_nhs", "is_ssn", "personal_numbers"]

SSN = words(
    "ssn ssns ss my_social his_social her_social your_social the_social social_is social_no social_number "
    "social_security social_security_number soc_sec",
    "social_sec ssn_",
)
ITIN = words("itin itins tin taxpayer taxpayer_id tax_id tax_identification", "individual_taxpayer taxpayer itin_")
NHS = words("nhs nhs_number nhs_no health_service patient patient_id", "nhs_ nhs")
OTHER = words(
    "order part item sku ref reference model serial tracking invoice case ticket phone tel fax zip lot batch "
    "account acct po routing aba ein vat duns cusip product code article articulo articolo articulos",
    "order_n part_n tracking account_n artikel produkt produit product_ serien contract policy",
)
NINO = pattern(
    r"\b[A-CEGHJ-PR-TW-Za-ceghj-pr-tw-z][A-CEGHJ-NPR-TW-Za-ceghj-npr-tw-z][ -]?[0-9]{2}[ -]?[0-9]{2}"
    r"[ -]?[0-9]{2}[ -]?[A-Da-d]\b"
)
NINO_WORDS = words("nino ni insurance ni_number", "national_insurance ni_n nat_ins")
UNUSED_PREFIXES = {b"BG", b"GB", b"NK", b"KN", b"TN", b"NT", b"ZZ"}
NINE = re.compile(rb"\d{9}|\d{3}([ .-])\d\d\1\d{4}")
TEN = re.compile(rb"\d{10}|\d{3}([ -])\d{3}\1\d{4}")
GOES_ON = re.compile(rb"[-.,/]\d")
ITIN_GROUPS = {*range(50, 66), *range(70, 89), *range(90, 93), *range(94, 100)}


def personal_numbers(text: JoinedText, chain: Chain) -> Iterator[Finding]:
    """Yields social security, taxpayer and NHS numbers in a chain."""
    for first in chain.persons:
        for last in range(first, min(first + 3, len(chain.groups))):
            sizes = chain.sizes(first, last)
            if sizes in ((9,), (3, 2, 4)):
                yield from _nine(text, chain, first, last, sizes)
            elif sizes in ((10,), (3, 3, 4)):
                yield from _ten(text, chain, first, last)


def _nine(text: JoinedText, chain: Chain, first: int, last: int, sizes: tuple[int, ...]) -> Iterator[Finding]:
    written = chain.cut(first, last)
    digits = digits_of(written)
    start, end = chain.groups[first][0], chain.groups[last][1]
    if not (is_ssn(digits) or is_itin(digits)) or not _alone(text, start, end):
        return
    if not NINE.fullmatch(written):
        return
    entity, known = (Entity.US_ITIN, ITIN) if digits[:1] == b"9" else (Entity.US_SSN, SSN)
    named = _word_end(text, start, (SSN, ITIN))
    near = named >= 0 or known.follows(text, end, 28)
    if (not near and (len(sizes) == 1 or b"-" not in written)) or _word_end(text, start, (OTHER,)) > named:
        return
    told = ", beside a word for it" if near else ", grouped by dashes"
    name = "taxpayer number" if entity is Entity.US_ITIN else "social security number"
    yield Finding(start, end, entity, 0.97 if near else 0.75, f"nine digits in ranges of a {name}{told}")


def _word_end(text: JoinedText, start: int, sets: Iterable[Words]) -> int:
    """Returns where the last word of some sets before a number ends, or -1."""
    return max(-1 if found is None else found[1] for each in sets for found in (each.last_before(text, start, 48),))


def _ten(text: JoinedText, chain: Chain, first: int, last: int) -> Iterator[Finding]:
    written = chain.cut(first, last)
    start, end = chain.groups[first][0], chain.groups[last][1]
    if not (NHS.last_before(text, start, 60) or NHS.follows(text, end, 30)):
        return
    grouped = TEN.fullmatch(written)
    if grouped and is_nhs(digits_of(written)) and _alone(text, start, end):
        yield Finding(start, end, Entity.UK_NHS, 0.97, "ten digits, mod 11 valid, beside a word for NHS numbers")


def insurance_numbers(text: JoinedText) -> Iterator[Finding]:
    """Yields National Insurance numbers."""
    for start, end in text.spans(NINO):
        if not text.whole(start, end):
            continue
        written = text.data[start:end]
        if written[:2].upper() in UNUSED_PREFIXES:
            continue
        near = NINO_WORDS.last_before(text, start) is not None or NINO_WORDS.follows(text, end, 30)
        if near or written.isupper():
            told = ", beside a word for it" if near else ""
            reason = f"two letters, six digits and a letter of a National Insurance number{told}"
            yield Finding(start, end, Entity.UK_NINO, 0.97 if near else 0.85, reason)


def is_ssn(digits: bytes) -> bool:
    """Returns whether nine digits can be a social security number."""
    return (
        digits[:3] not in (b"000", b"666") and digits[0] != ord("9") and digits[3:5] != b"00" and digits[5:] != b"0000"
    )


def is_itin(digits: bytes) -> bool:
    """Returns whether nine digits can be an individual taxpayer identification number."""
    return digits[0] == ord("9") and int(digits[3:5]) in ITIN_GROUPS


def is_nhs(digits: bytes) -> bool:
    """Returns whether ten digits pass the check of NHS numbers (mod 11)."""
    total = sum((10 - place) * (digit - 48) for place, digit in enumerate(digits[:9]))
    return (11 - total % 11) % 11 == digits[9] - 48 and len(set(digits)) > 1


def _alone(text: JoinedText, start: int, end: int) -> bool:
    if not text.whole(start, end) or (start and text.data[start - 1] in b"-.,/+"):
        return False
    return not GOES_ON.match(text.data, end)
