"""Made-up telephone numbers that are valid in their region, in the layouts people write there."""

from __future__ import annotations

import re
from random import Random

import phonenumbers
from phonenumbers import PhoneNumberFormat

# Area or mobile code without trunk zero (with it in Italy, where it is part of the number), digits that follow.
CODES = {
    "US": (("212", 7), ("415", 7), ("312", 7), ("617", 7), ("206", 7), ("305", 7), ("503", 7), ("720", 7)),
    "GB": (("207", 7), ("208", 7), ("161", 7), ("121", 7), ("113", 7), ("7400", 6), ("7525", 6), ("7911", 6)),
    "DE": (("30", 8), ("89", 7), ("40", 8), ("221", 7), ("151", 8), ("172", 7), ("176", 8)),
    "FR": (("1", 8), ("4", 8), ("6", 8), ("7", 8)),
    "ES": (("91", 7), ("93", 7), ("612", 6), ("655", 6)),
    "IT": (("06", 8), ("02", 8), ("347", 7), ("333", 7)),
    "PL": (("22", 7), ("12", 7), ("601", 6), ("512", 6)),
    "JP": (("3", 8), ("6", 8), ("90", 8), ("80", 8)),
    "IN": (("98", 8), ("99", 8), ("70", 8), ("22", 8)),
    "BR": (("119", 8), ("219", 8), ("113", 7)),
    "AU": (("2", 8), ("3", 8), ("4", 8)),
}
# National layouts that nothing but a telephone number has; elsewhere a word must stand by.
UNMISTAKABLE = {
    "US": r"\(\d{3}\) \d{3}-\d{4}",
    "GB": r"020 \d{4} \d{4}|07\d{3} \d{6}|01\d1 \d{3} \d{4}",
    "DE": r"01\d{2} \d{7,8}",
    "FR": r"0\d(?: \d\d){4}",
    "JP": r"0\d{1,2}-\d{4}-\d{4}",
    "BR": r"\(\d\d\) 9\d{4}-\d{4}",
    "AU": r"\(0\d\) \d{4} \d{4}|04\d\d \d{3} \d{3}",
}


def phone_number(rng: Random, region: str) -> phonenumbers.PhoneNumber:
    """A number that ``phonenumbers`` holds valid for its region."""
    country = phonenumbers.country_code_for_region(region)
    while True:
        code, size = rng.choice(CODES[region])
        digits = f"+{country}{code}{rng.randint(0, 10**size - 1):0{size}d}"
        number = phonenumbers.parse(digits)
        if phonenumbers.is_valid_number_for_region(number, region):
            return number


def national(number: phonenumbers.PhoneNumber) -> str:
    """The national layout; German and Indian mobiles split where people split them."""
    written = phonenumbers.format_number(number, PhoneNumberFormat.NATIONAL)
    match number.country_code:
        case 49:
            return re.sub(r"^(01[567]\d)(\d?) (\d+)$", r"\1 \2\3", written)
        case 91:
            return written.removeprefix("0")
    return written


def unmistakable_phone(rng: Random, region: str) -> str:
    """A number that is one without any word: international, or in the best known national layout."""
    while True:
        number = phone_number(rng, region)
        written = national(number)
        if region not in UNMISTAKABLE or rng.random() < 0.5:
            return _international(rng, number)
        if re.fullmatch(UNMISTAKABLE[region], written):
            return written


def any_phone(rng: Random, region: str) -> str:
    """A number in any layout in use, also those that need a word to be told from an order number."""
    number = phone_number(rng, region)
    if rng.random() < 0.25:
        return _international(rng, number)
    written = national(number)
    digits = phonenumbers.national_significant_number(number)
    bare = "".join(filter(str.isdigit, written))
    loose = [written, written, written, bare, f"00{number.country_code}{digits}", f"00{number.country_code} {digits}"]
    match region:
        case "US":
            area, exchange, line = digits[:3], digits[3:6], digits[6:]
            loose += [f"{mark}".join((area, exchange, line)) for mark in "-. "]
            loose += [f"1-{area}-{exchange}-{line}", f"({area}){exchange}-{line}"]
        case "DE":
            loose += [written.replace(" ", "/"), written.replace(" ", "-"), written.replace(" ", " / ", 1)]
        case "FR":
            loose += [written.replace(" ", "."), written.replace(" ", "-")]
        case "ES" | "PL":
            loose += ["-".join(re.findall("...", digits)), " ".join(re.findall("...", digits))]
        case "GB":
            loose += [re.sub(r"^(0\d+) ", r"(\1) ", written), written.replace(" ", "-")]
        case "AU":
            loose += [re.sub("[() ]+", " ", written).strip(), re.sub("[() ]+", "-", written).strip("-")]
    return rng.choice(loose)


def _international(rng: Random, number: phonenumbers.PhoneNumber) -> str:
    spaced = phonenumbers.format_number(number, PhoneNumberFormat.INTERNATIONAL)
    compact = phonenumbers.format_number(number, PhoneNumberFormat.E164)
    layouts = [spaced, spaced, compact, re.sub("[ -]", "-", spaced), re.sub("[ -]", ".", spaced)]
    if number.country_code in (44, 49):
        layouts.append(spaced.replace(" ", " (0)", 1) if rng.random() < 0.5 else spaced.replace(" ", " (0) ", 1))
    return rng.choice(layouts)
