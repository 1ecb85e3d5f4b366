"""Surrogates of any text: 16 characters of lower-case base32, 80 bits; ``base32`` says how they are made.

Guarantee: the same text has the same surrogate under one key version. Without the keys, nothing about the text but that
two are equal, neither its length nor its alphabet, and nothing about which surrogates of two versions belong together.
Non-guarantee: no inverse, even with the keys; and no proof that two texts never share a surrogate: among a million
texts that happens with probability 4e-13, among 10^12 with about one third.
"""

from __future__ import annotations

from typing import Self

import numpy as np
import pyarrow as pa

from ...schemas.info_types import TokenizeRule
from ..crypto.key_sets import TokenKeys
from ..values.byte_rows import ByteRows
from ..values.canonical import Canonical
from ..values.surrogate import canonical_text
from .base32 import CHARACTERS, FOREIGN, open_surrogates
from .tokenizer import ColumnTokenizer

__all__ = ["SurrogateTokenizer"]


class SurrogateTokenizer(ColumnTokenizer):
    """Surrogates of any text.

    Args:
        rule: Of format ``surrogate``.
        keys: The unlocked ``token`` key set.
        version: Of the key set.
    """

    __slots__ = ("_surrogates",)

    def __init__(self, rule: TokenizeRule, keys: TokenKeys, version: int) -> None:
        super().__init__(version)
        self._surrogates = open_surrogates(keys, rule, version, use="surrogate")

    def _canonical(self, column: pa.Array) -> Canonical:
        return canonical_text(column)

    def _tokens(self, values: pa.StringArray) -> pa.StringArray:
        return ByteRows.of_matrix(self._surrogates.of(values), np.asarray(values.is_valid())).to_strings()

    def _moved(self, rows: ByteRows, newer: Self) -> ByteRows:
        return _fitting(rows).mapped(lambda tokens: self._surrogates.moved(tokens, newer._surrogates))

    def _lasting(self, rows: ByteRows) -> ByteRows:
        return _fitting(rows).mapped(self._surrogates.companions)


def _fitting(rows: ByteRows) -> ByteRows:
    """Returns the rows that can be surrogates, the others as nulls."""
    return rows.only((rows.lengths == CHARACTERS) & ~rows.any_of(FOREIGN[rows.data]))
