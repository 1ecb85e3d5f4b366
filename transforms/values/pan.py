"""Card numbers (primary account numbers, ISO/IEC 7812-1) in canonical form: 13 to 19 digits, Luhn-valid."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from ...schemas.info_types import InvalidReason
from .byte_rows import ByteRows
from .canonical import Canonical, canonical_of, refuse
from .checksums import luhn_sums
from .digits import not_digits
from .text_columns import plain_digits, read_text, without_separators

__all__ = ["LONGEST", "SEPARATORS", "SHORTEST", "canonical_pan", "luhn_sums_of"]

SHORTEST, LONGEST = 13, 19
SEPARATORS = " \t\r\n-."


def canonical_pan(column: pa.Array) -> Canonical:
    """Returns card numbers as bare digits.

    Args:
        column: Text with spaces, dashes, dots and no-break spaces between digits, integers or decimals. Reasons:
            ``empty``, ``not_digits``, ``wrong_length``, ``checksum_failed``, ``wrong_type``, ``not_text``.
    """
    text = plain_digits(read_text(column))
    rows = without_separators(text, SEPARATORS)
    refuse(text.reasons, rows.valid & (rows.lengths == 0), InvalidReason.EMPTY)
    refuse(text.reasons, rows.any_of(not_digits(rows.data)), InvalidReason.NOT_DIGITS)
    refuse(
        text.reasons, rows.valid & ((rows.lengths < SHORTEST) | (rows.lengths > LONGEST)), InvalidReason.WRONG_LENGTH
    )
    if text.reasons.any():
        rows = rows.only(text.reasons == 0)
    refuse(text.reasons, luhn_sums_of(rows) != 0, InvalidReason.CHECKSUM_FAILED)
    return canonical_of(rows, text.reasons)


def luhn_sums_of(rows: ByteRows) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    """Returns the Luhn sum modulo 10 of each row of digits of any lengths; 0 for nulls."""
    sums = np.zeros(len(rows), np.uint8)
    for places, matrix in rows.by_length():
        if matrix.size:
            sums[slice(None) if places is None else places] = luhn_sums(matrix)
    return sums
