"""Digit strings in canonical form: digits and nothing else, as many as are there; leading zeros count.

White space around a value is no part of it. Everything else is: ``12-34`` and ``1-234`` may be two order numbers, so
separators are refused (format ``alphanumeric`` keeps them in place).
"""

from __future__ import annotations

import pyarrow as pa

from ...schemas.info_types import InvalidReason
from .byte_rows import Bools, ByteRows, Bytes
from .canonical import Canonical, canonical_of, refuse
from .text_columns import plain_digits, read_text, trimmed

__all__ = ["LONGEST", "SHORTEST", "canonical_digits", "not_digits"]

SHORTEST = 6
"""Fewer digits have under 10^6 values."""

LONGEST = 128
"""More are no identifier, and would cost quadratic time."""


def canonical_digits(column: pa.Array) -> Canonical:
    """Returns digit strings of 6 to 128 digits.

    Args:
        column: Text, integers or decimals. Reasons: ``empty``, ``not_digits``, ``domain_too_small`` (under 6 digits),
            ``wrong_length`` (over 128), ``wrong_type``, ``not_text``.
    """
    text = trimmed(plain_digits(read_text(column)))
    rows = ByteRows.of(text.strings)
    refuse(text.reasons, rows.valid & (rows.lengths == 0), InvalidReason.EMPTY)
    refuse(text.reasons, rows.any_of(not_digits(rows.data)), InvalidReason.NOT_DIGITS)
    refuse(text.reasons, rows.valid & (rows.lengths < SHORTEST), InvalidReason.DOMAIN_TOO_SMALL)
    refuse(text.reasons, rows.lengths > LONGEST, InvalidReason.WRONG_LENGTH)
    return canonical_of(rows, text.reasons)


def not_digits(data: Bytes) -> Bools:
    """Returns which bytes are no ASCII digits."""
    # Bytes below "0" wrap around to large ones, so one comparison does for both ends.
    return data - ord("0") > 9
