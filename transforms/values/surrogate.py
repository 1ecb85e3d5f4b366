"""Any text in canonical form: Unicode NFC (TR 15) without white space at its ends."""

from __future__ import annotations

import pyarrow as pa

from ...schemas.info_types import InvalidReason
from .byte_rows import ByteRows
from .canonical import Canonical, canonical_of, refuse
from .text_columns import composed, read_text, trimmed

__all__ = ["canonical_text"]


def canonical_text(column: pa.Array) -> Canonical:
    """Returns the text in NFC, trimmed.

    Args:
        column: Text, integers or decimals (``17``, ``17.00`` and ``"17"`` are one). Reasons: ``empty``,
            ``wrong_type``, ``not_text``.
    """
    text = trimmed(composed(read_text(column)))
    rows = ByteRows.of(text.strings)
    refuse(text.reasons, rows.valid & (rows.lengths == 0), InvalidReason.EMPTY)
    return canonical_of(rows, text.reasons)
