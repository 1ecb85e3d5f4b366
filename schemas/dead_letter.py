"""Dead letters: records that could not be processed, as they stand in ``dead_letters/*.parquet``.

A dead letter says where the record came from and why it failed; the record itself is only in ``sealed``.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

__all__ = ["DEAD_LETTER_SCHEMA", "DeadLetter", "LetterKeys"]

DEAD_LETTER_SCHEMA = pa.schema(
    [
        pa.field("stage", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("source", pa.string()),
        pa.field("position", pa.int64()),
        pa.field("dataset", pa.string(), nullable=False),
        pa.field("sealed", pa.binary(), nullable=False),
    ]
)
"""Columns: the stage that refused it, a stable reason code, the file, the line or row in it (from 1), and the seal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterKeys:
    """Which keys open a dead letter: that of a day, and that of the subject where one is known."""

    day: str
    subject: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """One dead letter, as its columns."""

    stage: str
    reason: str
    source: str | None
    position: int | None
    dataset: str
    sealed: bytes
