"""The canonical form of a column: one spelling for each value, or the reason why it does not fit its format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from ...schemas.info_types import InvalidReason
from .byte_rows import Bools, ByteRows

__all__ = ["Canonical", "Reasons", "canonical_of", "reason_code", "refuse"]

Reasons = np.ndarray[Any, np.dtype[np.int8]]

CODES = {reason: place for place, reason in enumerate(InvalidReason, 1)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Canonical:
    """A column in canonical form.

    Attributes:
        values: ``string``; null where the input is null or does not fit.
        reasons: ``int8``; 0 is fine or null, else the code of an ``InvalidReason``.
    """

    values: pa.StringArray
    reasons: Reasons


def reason_code(reason: InvalidReason) -> int:
    """Returns the number of a reason: 1 + its place among ``InvalidReason``.

    >>> reason_code(InvalidReason.NOT_DIGITS)
    1
    """
    return CODES[reason]


def refuse(reasons: Reasons, bad: Bools, reason: InvalidReason) -> None:
    """Notes the reason for rows that have none yet, so the first rule that a value breaks is the one counted."""
    if bad.any():
        reasons[bad & (reasons == 0)] = reason_code(reason)


def canonical_of(rows: ByteRows, reasons: Reasons) -> Canonical:
    """Returns rows as canonical values, those with a reason as nulls; no byte of a refused value stays behind."""
    return Canonical(
        values=rows.only(reasons == 0).to_strings() if reasons.any() else rows.to_strings(), reasons=reasons
    )
