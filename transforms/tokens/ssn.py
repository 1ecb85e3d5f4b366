"""Tokens of social security numbers: FF1 over the nine digits.

Guarantee: a permutation of all strings of nine digits. Non-guarantee: a token may be a number that was issued, to
someone else or, with probability 10^-9, to the same person; it tells neither that it is a token nor its key version.
"""

from __future__ import annotations

import string

import pyarrow as pa

from ...schemas.info_types import TokenizeRule
from ..crypto.ff1_columns import FF1Text
from ..crypto.key_sets import TokenKeys
from ..values.byte_rows import ByteRows
from ..values.canonical import Canonical
from ..values.digits import not_digits
from ..values.ssn import LENGTH, canonical_ssn
from .tokenizer import ColumnTokenizer

__all__ = ["SsnTokenizer"]


class SsnTokenizer(ColumnTokenizer):
    """Tokens of social security numbers.

    Args:
        rule: Of format ``ssn``.
        keys: The unlocked ``token`` key set.
        version: Of the key set.
    """

    __slots__ = ("_cipher",)

    def __init__(self, rule: TokenizeRule, keys: TokenKeys, version: int) -> None:
        super().__init__(version)
        key = keys.derive(version, use="ff1", domain=rule.domain, format=rule.format, alphabet=string.digits)
        self._cipher = FF1Text(key, string.digits)

    def _canonical(self, column: pa.Array) -> Canonical:
        return canonical_ssn(column)

    def _tokens(self, values: pa.StringArray) -> pa.StringArray:
        return ByteRows.of(values).mapped(self._cipher.encrypt_bytes).to_strings()

    def _inverted(self, rows: ByteRows) -> ByteRows:
        fits = (rows.lengths == LENGTH) & ~rows.any_of(not_digits(rows.data))
        return rows.only(fits).mapped(self._cipher.decrypt_bytes)
