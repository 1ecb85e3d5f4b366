"""Token formats one value at a time, written from docs/formats.md with plain Python: slow, and the reference for the
columnar ones. Only FF1 (the scalar one), CMAC, the IBAN registry and ``phonenumbers`` are taken from elsewhere."""

from __future__ import annotations

import base64
import re
import string
import unicodedata
from collections.abc import Callable

import phonenumbers
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC
from oracles import ff1_scalar
from stdnum import numdb

Derive = Callable[..., bytes]
SPACES = "\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
DASHES = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d"
UPPER = string.digits + string.ascii_uppercase


class UnfitError(Exception):
    """A value does not fit; carries the reason."""


def plain(text: str) -> str:
    wide = str.maketrans("０１２３４５６７８９（）．／＋", "0123456789()./+")
    table = dict.fromkeys(map(ord, SPACES), " ") | dict.fromkeys(map(ord, DASHES), "-") | wide
    return text.translate(table)


def strip(text: str, separators: str) -> str:
    return "".join(c for c in plain(text) if c not in separators)


def luhn_sum(number: str) -> int:
    doubled = [int(d) * (1 + place % 2) for place, d in enumerate(reversed(number))]
    return sum(d // 10 + d % 10 for d in doubled) % 10


def ascii_digits(text: str) -> bool:
    return all(c in string.digits for c in text)


def ff1(key: bytes, text: str, alphabet: str, tweak: bytes = b"") -> str:
    numerals = ff1_scalar.encrypt(key, len(alphabet), [alphabet.index(c) for c in text], tweak)
    return "".join(alphabet[n] for n in numerals)


def surrogate_of(companion_key: bytes, key: bytes, text: str) -> str:
    mac = CMAC(AES(companion_key))
    mac.update(text.encode())
    companion = base64.b32encode(mac.finalize()[:10]).decode().lower()
    return ff1(key, companion, "abcdefghijklmnopqrstuvwxyz234567")


def must(fits: bool, reason: str) -> None:
    if not fits:
        raise UnfitError(reason)


def canonical_pan(text: str) -> str:
    number = strip(text, " \t\r\n-.")
    must(number != "", "empty")
    must(ascii_digits(number), "not_digits")
    must(13 <= len(number) <= 19, "wrong_length")
    must(luhn_sum(number) == 0, "checksum_failed")
    return number


def pan(key: bytes, number: str, k: int, kept: int) -> str:
    check = len(number) - 1 - kept
    payload = ff1(key, number[:check], string.digits, number[check + 1 :].encode())
    right = next(d for d in range(10) if luhn_sum(f"{payload}{d}{number[check + 1 :]}") == 0)
    return f"{payload}{(right + k) % 10}{number[check + 1 :]}"


def canonical_digits(text: str) -> str:
    number = plain(text).strip()
    must(number != "", "empty")
    must(ascii_digits(number), "not_digits")
    must(len(number) >= 6, "domain_too_small")
    must(len(number) <= 128, "wrong_length")
    return number


def canonical_ssn(text: str) -> str:
    number = strip(text, " \t\r\n-")
    must(number != "", "empty")
    must(ascii_digits(number), "not_digits")
    must(len(number) == 9, "wrong_length")
    return number


def canonical_alphanumeric(text: str, alphabet: str, separators: str) -> str:
    must(all(c in alphabet + separators for c in text), "wrong_characters")
    count = sum(c in alphabet for c in text)
    must(count > 0, "empty")
    must(len(alphabet) ** count >= 1_000_000, "domain_too_small")
    must(len(text) <= 128, "wrong_length")
    return text


def alphanumeric(key: bytes, text: str, alphabet: str) -> str:
    swapped = iter(ff1(key, "".join(c for c in text if c in alphabet), alphabet, tweak_of(text, alphabet)))
    return "".join(next(swapped) if c in alphabet else c for c in text)


def tweak_of(text: str, alphabet: str) -> bytes:
    tweak = bytes(0 if c in alphabet else ord(c) for c in text)
    return tweak if any(tweak) else b""


def canonical_phone(text: str, region: str | None) -> str:
    text = plain(text).strip()
    must(text != "", "empty")
    bare = "".join(c for c in text if c not in " \t\r\n-./()")
    if re.fullmatch(r"\+[0-9]{3,}", bare) and code_length(bare[1:]) == 0:
        raise UnfitError("unknown_country")
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        raise UnfitError("not_a_phone") from None
    possible = phonenumbers.is_possible_number_with_reason(number) == phonenumbers.ValidationResult.IS_POSSIBLE
    must(possible, "not_a_phone")
    e164 = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    must(len(e164) <= 16, "not_a_phone")
    must(len(e164) - 1 - code_length(e164[1:]) >= 6, "domain_too_small")
    return e164


def code_length(digits: str) -> int:
    found = [n for n in (1, 2, 3) if int(digits[:n]) in phonenumbers.COUNTRY_CODE_TO_REGION_CODE and digits[0] != "0"]
    return found[0] if found else 0


def phone(key: bytes, number: str) -> str:
    split = 1 + code_length(number[1:])
    return number[:split] + ff1(key, number[split:], string.digits, number[1:split].rjust(3, "0").encode())


def bban_pattern(country: str) -> str:
    facts = numdb.get("iban").info(country)[0][1]
    must(bool(facts), "unknown_country")
    classes = {"n": "[0-9]", "a": "[A-Z]", "c": "[A-Z0-9]"}
    return "".join(f"{classes[k]}{{{n}}}" for n, k in re.findall(r"(\d+)!([nac])", facts["bban"]))


def iban_check(country: str, bban: str) -> int:
    return 98 - int("".join(str(int(c, 36)) for c in bban + country + "00")) % 97


def canonical_iban(text: str) -> str:
    number = "".join(c.upper() if c in string.ascii_lowercase else c for c in strip(text, " \t\r\n-."))
    must(number != "", "empty")
    must(all(c in UPPER for c in number), "wrong_characters")
    country = number[:2]
    must(len(country) == 2 and country.isalpha(), "unknown_country")
    pattern = bban_pattern(country)
    length = 4 + sum(map(int, re.findall(r"\{(\d+)\}", pattern)))
    must(len(number) == length, "wrong_length")
    must(re.fullmatch(pattern, number[4:]) is not None, "wrong_characters")
    must(number[2:4] == f"{iban_check(country, number[4:]):02d}", "checksum_failed")
    return number


def iban(derive: Callable[[str], bytes], number: str, k: int) -> str:
    country = number[:2]
    alphabet = string.digits if set(re.findall(r"\[.*?\]", bban_pattern(country))) == {"[0-9]"} else UPPER
    bban = ff1(derive(alphabet), number[4:], alphabet, country.encode())
    return f"{country}{2 + (iban_check(country, bban) - 2 + k) % 97:02d}{bban}"


def canonical_email(text: str) -> str:
    address = unicodedata.normalize("NFC", text).strip()
    must(address != "", "empty")
    must(address.count("@") == 1, "not_an_email")
    local, domain = address.split("@")
    domain = unicodedata.normalize("NFC", domain.lower())
    must(not set(local + domain) & set('"(),:;<>[\\] ') and (local + domain).isprintable(), "not_an_email")
    must(1 <= len(local.encode()) <= 64 and len(domain.encode()) <= 245, "not_an_email")
    must("." in domain and "" not in domain.split("."), "not_an_email")
    return f"{local}@{domain}"


def canonical_text(text: str) -> str:
    text = unicodedata.normalize("NFC", text).strip()
    must(text != "", "empty")
    return text
