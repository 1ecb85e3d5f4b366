"""Which values of a column can be tokens of a format: told from their look alone, without any key.

Tokens of cards and account numbers carry checks that are off by their key version, so nothing valid passes. Email
tokens end in ``.invalid``, surrogates are sixteen characters of base32. All other tokens look like values do: of those
no more than the shape can be told.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ...schemas.info_types import Format
from . import alphanumeric, digits, pan, phone, ssn
from .byte_rows import Bools, ByteRows, Bytes
from .checksums import luhn_sums
from .digits import not_digits
from .iban import by_country, check_digits, right_check_digits

__all__ = ["PROVEN", "TOKEN_EMAIL", "are_tokens"]

PROVEN = frozenset({Format.PAN, Format.IBAN, Format.EMAIL, Format.SURROGATE})
"""Formats whose tokens no valid raw value looks like."""

VERSIONS = 9
TOKEN_EMAIL = re.compile(r"[a-z2-7]{16}@[^@\s]+\.invalid")
EMAIL = "^" + TOKEN_EMAIL.pattern.replace("[^@\\s]", "[^@\\pZ\\s]") + "$"
SURROGATE = "^[a-z2-7]{16}$"


def are_tokens(format: Format, column: pa.Array, *, key_version: int | None = None) -> Bools:
    """Returns which values can be tokens; nulls can not.

    Args:
        format: Of the tokens.
        column: ``string`` or ``large_string``.
        key_version: Of the tokens, where it is known: those of cards and account numbers tell theirs.

    >>> are_tokens(Format.PAN, pa.array(["4111111121111111", "4111111111111111", None])).tolist()
    [True, False, False]
    """
    match format:
        case Format.EMAIL | Format.SURROGATE:
            # Arrow compiles the pattern at each call, which columns are long enough for.
            matched = pc.match_substring_regex(column, EMAIL if format is Format.EMAIL else SURROGATE)
            found: Bools = pc.fill_null(matched, False).to_numpy(zero_copy_only=False)
            return found
        case Format.PAN:
            rows = _of_digits(column, pan.SHORTEST, pan.LONGEST)
            return _each(rows, lambda cards: _off_by(luhn_sums(cards), 10, key_version))
        case Format.DIGITS:
            return _of_digits(column, digits.SHORTEST, digits.LONGEST).valid
        case Format.SSN:
            return _of_digits(column, ssn.LENGTH, ssn.LENGTH).valid
        case Format.PHONE:
            return _phones(ByteRows.of(column))
        case Format.IBAN:
            return _ibans(ByteRows.of(column), key_version)
        case Format.ALPHANUMERIC:
            rows = ByteRows.of(column)
            printable = ~rows.any_of((rows.data < ord(" ")) | (rows.data > ord("~")))
            return rows.valid & printable & (rows.lengths > 0) & (rows.lengths <= alphanumeric.LONGEST)
    raise TypeError(f"no tokens of format {format}")


def _of_digits(column: pa.Array, shortest: int, longest: int) -> ByteRows:
    rows = ByteRows.of(column)
    return rows.only(~rows.any_of(not_digits(rows.data)) & (rows.lengths >= shortest) & (rows.lengths <= longest))


def _each(rows: ByteRows, judge: Callable[[Bytes], Bools]) -> Bools:
    found = np.zeros(len(rows), np.bool_)
    for places, matrix in rows.by_length():
        found[slice(None) if places is None else places] = judge(matrix)
    return found & rows.valid


def _off_by(found: np.ndarray, modulus: int, key_version: int | None) -> Bools:
    """Whether checks are off by a key version: by the given one, else by any."""
    if key_version is not None and 1 <= key_version <= VERSIONS:
        return np.asarray(found % modulus == key_version)
    return np.asarray((found % modulus >= 1) & (found % modulus <= VERSIONS))


def _phones(rows: ByteRows) -> Bools:
    plus = rows.data == ord("+")
    fits = ~rows.any_of(not_digits(rows.data) & ~plus) & (rows.counts(plus) == 1)
    fits &= (rows.heads(1)[:, 0] == ord("+")) & (rows.lengths <= phone.LONGEST + 1)
    rows = rows.only(fits)
    codes = phone.code_lengths(rows)
    return rows.valid & (codes > 0) & (rows.lengths - 1 - codes >= phone.SHORTEST_NATIONAL)


def _ibans(rows: ByteRows, key_version: int | None) -> Bools:
    found = np.zeros(len(rows), np.bool_)
    for country, places in by_country(rows):
        places = places[rows.lengths[places] == country.length]
        matrix = rows.matrix(places, country.length)
        account = matrix[:, 4:]
        foreign = not_digits(account) & (np.bool_(country.is_decimal) | (account - ord("A") >= 26))
        written = check_digits(matrix)
        off = _off_by((written - right_check_digits(matrix)) % 97, 97, key_version)
        found[places] = off & ~foreign.any(axis=1) & (written >= 2) & (written <= 98)
    return found
