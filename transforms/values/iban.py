"""International bank account numbers (ISO 13616) in canonical form: upper case, no spaces, the right check digits.

The check digits are 02 to 98: 00, 01 and 99, which some programs let pass as they leave the same remainder, are
refused, so that an account has one spelling. Check digits that a country has inside its account numbers are not judged.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from ...schemas.info_types import InvalidReason
from .byte_rows import ByteRows, Bytes, Int64s
from .canonical import Canonical, canonical_of, refuse
from .checksums import mod97
from .digits import not_digits
from .iban_countries import IbanCountry, iban_country
from .text_columns import plain_digits, read_text, without_separators

__all__ = ["SEPARATORS", "by_country", "canonical_iban", "check_digits", "right_check_digits"]

SEPARATORS = " \t\r\n-."


def canonical_iban(column: pa.Array) -> Canonical:
    """Returns account numbers in upper case without separators.

    Args:
        column: Text with spaces, dashes, dots and no-break spaces. Reasons: ``empty``, ``unknown_country``,
            ``wrong_length`` (for the country), ``wrong_characters`` (none of A-Z and 0-9, or a letter where the country
            has digits), ``checksum_failed``, ``wrong_type``, ``not_text``.
    """
    text = plain_digits(read_text(column))
    rows = _upper(without_separators(text, SEPARATORS))
    reasons = text.reasons
    refuse(reasons, rows.valid & (rows.lengths == 0), InvalidReason.EMPTY)
    refuse(reasons, rows.any_of(not_digits(rows.data) & (rows.data - ord("A") >= 26)), InvalidReason.WRONG_CHARACTERS)
    unknown = rows.valid.copy()
    for country, places in by_country(rows):
        unknown[places] = False
        long = rows.lengths[places] == country.length
        refuse(reasons, _flags(len(rows), places[~long]), InvalidReason.WRONG_LENGTH)
        places = places[long]
        matrix = rows.matrix(places, country.length)
        fitting = country.fits(matrix[:, 4:])
        refuse(reasons, _flags(len(rows), places[~fitting]), InvalidReason.WRONG_CHARACTERS)
        wrong = check_digits(matrix) != right_check_digits(matrix)
        refuse(reasons, _flags(len(rows), places[wrong]), InvalidReason.CHECKSUM_FAILED)
    refuse(reasons, unknown, InvalidReason.UNKNOWN_COUNTRY)
    return canonical_of(rows, reasons)


def by_country(rows: ByteRows) -> Iterator[tuple[IbanCountry, Int64s]]:
    """Yields each known country with the rows that begin with its code, whatever follows."""
    heads = rows.heads(2)
    codes = heads[:, 0].astype(np.int64) << 8 | heads[:, 1]
    codes[~rows.valid] = 0
    for code in np.flatnonzero(np.bincount(codes)):
        name = bytes((code >> 8, code & 0xFF))
        country = iban_country(name.decode("ascii")) if name.isalpha() and name.isupper() else None
        if country is not None:
            yield country, np.flatnonzero(codes == code)


def check_digits(ibans: Bytes) -> Int64s:
    """Returns the number that the third and fourth character of each row spell; -1 where they are no digits."""
    tens, ones = (ibans[:, place].astype(np.int64) - ord("0") for place in (2, 3))
    bad = not_digits(ibans[:, 2]) | not_digits(ibans[:, 3])
    return np.where(bad, -1, 10 * tens + ones)


def right_check_digits(ibans: Bytes) -> Int64s:
    """Returns the check digits 2 … 98 that country and account of each row ask for (ISO 7064, mod 97-10)."""
    first, second = (ibans[:, place].astype(np.int64) - ord("A") + 10 for place in (0, 1))
    # The country goes behind the account, as two numbers of two digits, and two zeros behind it.
    return 98 - (mod97(ibans[:, 4:]) * 1_000_000 + first * 10_000 + second * 100) % 97


def _upper(rows: ByteRows) -> ByteRows:
    lower = rows.data - ord("a") < 26
    if not lower.any():
        return rows
    return ByteRows(np.where(lower, rows.data & ~np.uint8(0x20), rows.data), rows.offsets, rows.valid)


def _flags(count: int, places: Int64s) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    flags = np.zeros(count, np.bool_)
    flags[places] = True
    return flags
