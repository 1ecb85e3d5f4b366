"""Tokens as people type them: the canonical token, or None where a text cannot be a token of its format.

Needs no key: it tells what a token can look like, not whether it was ever made.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from contextlib import suppress

import numpy as np
import pyarrow as pa

from ...schemas.info_types import Format, TokenizeRule
from . import alphanumeric, digits, iban, pan, phone, ssn
from .byte_rows import Bytes
from .checksums import luhn_valid
from .iban_countries import iban_country
from .phone_rules import calling_code_length
from .text_columns import PLAIN
from .token_columns import are_tokens

__all__ = ["canonical_token", "canonical_tokens"]

SURROGATE = re.compile(r"[a-z2-7]{16}")
MAX_VERSIONS = 9
TOLD_BY_LOOK = frozenset({Format.PAN, Format.IBAN, Format.DIGITS, Format.SSN, Format.PHONE, Format.SURROGATE})
"""Formats of which a column's look tells that a text is a token in its canonical spelling."""
MANY = 16
"""Texts from which it is worth to look at the column."""


def canonical_token(rule: TokenizeRule, text: str) -> str | None:
    """Returns the canonical spelling of a token, or None if the text cannot be a token of the rule.

    Args:
        rule: Format and parameters. A Luhn-valid number is no token of ``pan``, a valid IBAN none of ``iban``.
        text: As typed; separators that values of the format may have are taken out, case is that of tokens.

    >>> card = TokenizeRule(action="tokenize", format="pan", domain="card", collect=("use",))
    >>> canonical_token(card, "4111 1111 2111 1111"), canonical_token(card, "4111 1111 1111 1111")
    ('4111111121111111', None)
    """
    match rule.format:
        case Format.PAN:
            token = _digits(text, pan.SEPARATORS)
            fits = pan.SHORTEST <= len(token) <= pan.LONGEST and token.isdigit() and not luhn_valid(_matrix(token))[0]
            return token if fits else None
        case Format.DIGITS:
            token = _digits(text.strip(), "")
            return token if token.isdigit() and digits.SHORTEST <= len(token) <= digits.LONGEST else None
        case Format.SSN:
            token = _digits(text, ssn.SEPARATORS)
            return token if token.isdigit() and len(token) == ssn.LENGTH else None
        case Format.PHONE:
            return _phone(_digits(text, phone.SEPARATORS))
        case Format.IBAN:
            return _iban(_digits(text, iban.SEPARATORS).upper())
        case Format.ALPHANUMERIC:
            return _alphanumeric(rule, text)
        case Format.EMAIL:
            return _email(rule, text)
        case Format.SURROGATE:
            token = text.strip().lower()
            return token if SURROGATE.fullmatch(token) else None
    raise TypeError(f"no tokens of format {rule.format}")


def canonical_tokens(rule: TokenizeRule, texts: Sequence[str]) -> list[str | None]:
    """Returns what ``canonical_token`` says of each text.

    Args:
        rule: Format and parameters.
        texts: As typed, or as they stand in a column; most of these are canonical, which is told for all at once.
    """
    canonical: Sequence[bool] = [False] * len(texts)
    if rule.format in TOLD_BY_LOOK and len(texts) >= MANY:
        with suppress(UnicodeEncodeError):  # one is half of a character, which the way of single ones refuses alone
            canonical = are_tokens(rule.format, pa.array(texts, pa.string())).tolist()
    return [
        text if known else canonical_token(rule, text) for text, known in zip(texts, canonical, strict=True)
    ]  # fmt: skip


def _digits(text: str, separators: str) -> str:
    """The text without separators; empty where it is not ASCII then, so that ``isdigit`` means 0 to 9."""
    plain = text.translate(PLAIN).translate(dict.fromkeys(map(ord, separators)))
    return plain if plain.isascii() else ""


def _matrix(text: str) -> Bytes:
    return np.frombuffer(text.encode("ascii"), np.uint8).reshape(1, -1)


def _phone(token: str) -> str | None:
    number = token[1:]
    if not token.startswith("+") or not number.isdigit() or len(number) > phone.LONGEST:
        return None
    code = calling_code_length(number)
    return token if code and len(number) - code >= phone.SHORTEST_NATIONAL else None


def _iban(token: str) -> str | None:
    country = iban_country(token[:2]) if re.match(r"[A-Z]{2}[0-9]{2}", token) else None
    if country is None or len(token) != country.length or not token.isalnum():
        return None
    if country.is_decimal and not token[4:].isdigit():
        return None
    matrix = _matrix(token)
    off = int(iban.check_digits(matrix)[0]) - int(iban.right_check_digits(matrix)[0])
    return token if 2 <= int(token[2:4]) <= 98 and 1 <= off % 97 <= MAX_VERSIONS else None


def _alphanumeric(rule: TokenizeRule, text: str) -> str | None:
    separators = alphanumeric.own_separators(rule.numeral_alphabet, rule.kept_separators)
    token = text if " " in separators + rule.numeral_alphabet else text.strip()
    counted = sum(character in rule.numeral_alphabet for character in token)
    known = counted + sum(character in separators for character in token)
    fits = known == len(token) <= alphanumeric.LONGEST and counted >= alphanumeric.shortest(rule.numeral_alphabet)
    return token if fits else None


def _email(rule: TokenizeRule, text: str) -> str | None:
    local, _, domain = unicodedata.normalize("NFC", text.strip()).lower().rpartition("@")
    name, dot, top = domain.rpartition(".")
    if not SURROGATE.fullmatch(local) or not dot or top != "invalid":
        return None
    kept = SURROGATE.fullmatch(name) if rule.hashes_email_domain else "." in name and not re.search(r"\s", name)
    return f"{local}@{domain}" if kept else None
