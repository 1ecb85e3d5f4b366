"""Strings over an alphabet, with separators, in canonical form: as given, with every character known."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from ...schemas.info_types import InvalidReason
from .byte_rows import Bools, ByteRows, Bytes
from .canonical import Canonical, canonical_of, refuse
from .text_columns import flag_bytes, read_text

__all__ = ["LONGEST", "canonical_alphanumeric", "of_alphabet", "own_separators", "shortest"]

LONGEST = 128
FLOOR = 1_000_000


def canonical_alphanumeric(column: pa.Array, *, alphabet: str, separators: str) -> Canonical:
    """Returns the strings as they are, where they are made of the alphabet and separators alone.

    Args:
        column: Text, integers or decimals. Reasons: ``empty`` (nothing, or separators alone), ``wrong_characters``,
            ``domain_too_small`` (under 10^6 strings have as many characters of the alphabet), ``wrong_length`` (over
            128 characters), ``wrong_type``, ``not_text``.
        alphabet: Distinct ASCII characters.
        separators: Distinct ASCII characters; those of the alphabet count as of the alphabet.
    """
    text = read_text(column)
    rows = ByteRows.of(text.strings)
    known = of_alphabet(rows.data, alphabet)
    counts = rows.counts(known)
    foreign = ~(known | flag_bytes(rows.data, own_separators(alphabet, separators)))
    refuse(text.reasons, rows.any_of(foreign), InvalidReason.WRONG_CHARACTERS)
    refuse(text.reasons, rows.valid & (counts == 0), InvalidReason.EMPTY)
    refuse(text.reasons, rows.valid & (counts < shortest(alphabet)), InvalidReason.DOMAIN_TOO_SMALL)
    refuse(text.reasons, rows.lengths > LONGEST, InvalidReason.WRONG_LENGTH)
    return canonical_of(rows, text.reasons)


def shortest(alphabet: str) -> int:
    """Returns how many characters of the alphabet a value needs, for a million values to be possible.

    >>> shortest("0123456789"), shortest("0123456789abcdefghijklmnopqrstuvwxyz")
    (6, 4)
    """
    length = 2
    while len(alphabet) ** length < FLOOR:
        length += 1
    return length


def own_separators(alphabet: str, separators: str) -> str:
    """Returns the separators that are not of the alphabet."""
    return "".join(separator for separator in separators if separator not in alphabet)


def of_alphabet(data: Bytes, alphabet: str) -> Bools:
    """Returns which bytes are of the alphabet."""
    known = np.zeros(256, np.bool_)
    known[np.frombuffer(alphabet.encode("ascii"), np.uint8)] = True
    return known[data]
