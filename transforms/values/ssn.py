"""Social security numbers of the United States in canonical form: nine digits.

Whether a number was ever issued is not judged. Integers have lost their leading zeros, so seven and eight digits of an
integer column are padded to nine; shorter ones were never issued.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ...schemas.info_types import InvalidReason
from .byte_rows import ByteRows
from .canonical import Canonical, canonical_of, refuse
from .digits import not_digits
from .text_columns import Text, plain_digits, read_text, without_separators

__all__ = ["LENGTH", "SEPARATORS", "canonical_ssn"]

LENGTH = 9
LEAST_OF_INTEGERS = 7
SEPARATORS = " \t\r\n-"


def canonical_ssn(column: pa.Array) -> Canonical:
    """Returns social security numbers as nine digits.

    Args:
        column: Text with dashes and spaces between digits, integers or decimals. Reasons: ``empty``, ``not_digits``,
            ``wrong_length``, ``wrong_type``, ``not_text``.
    """
    text = _padded(plain_digits(read_text(column)))
    rows = without_separators(text, SEPARATORS)
    refuse(text.reasons, rows.valid & (rows.lengths == 0), InvalidReason.EMPTY)
    refuse(text.reasons, rows.any_of(not_digits(rows.data)), InvalidReason.NOT_DIGITS)
    refuse(text.reasons, rows.valid & (rows.lengths != LENGTH), InvalidReason.WRONG_LENGTH)
    return canonical_of(rows, text.reasons)


def _padded(text: Text) -> Text:
    if not text.is_number:
        return text
    rows = ByteRows.of(text.strings)
    lost = (rows.lengths >= LEAST_OF_INTEGERS) & ~rows.any_of(not_digits(rows.data))
    strings = pc.if_else(pa.array(np.asarray(lost)), pc.utf8_lpad(text.strings, LENGTH, "0"), text.strings)
    return Text(strings=strings, reasons=text.reasons, is_number=True)
