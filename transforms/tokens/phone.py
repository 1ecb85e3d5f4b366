"""Tokens of phone numbers: plus sign and country calling code stay, FF1 over the digits after them.

The tweak is the calling code, three bytes. Guarantee: a permutation of the digit strings of one length behind one
calling code. Non-guarantee: a token may be a number in service, of someone else or, with probability 10^-n for n
digits after the code, the same: never dial one; it tells neither that it is a token nor its key version.
"""

from __future__ import annotations

import string

import numpy as np
import pyarrow as pa

from ...schemas.info_types import TokenizeRule
from ..crypto.ff1_columns import FF1Text
from ..crypto.key_sets import TokenKeys
from ..values.byte_rows import ByteRows, Bytes, packed
from ..values.canonical import Canonical
from ..values.digits import not_digits
from ..values.phone import LONGEST, SHORTEST_NATIONAL, canonical_phone, code_lengths, code_lengths_of
from .tokenizer import ColumnTokenizer

__all__ = ["PhoneTokenizer"]


class PhoneTokenizer(ColumnTokenizer):
    """Tokens of phone numbers.

    Args:
        rule: Of format ``phone``.
        keys: The unlocked ``token`` key set.
        version: Of the key set.
    """

    __slots__ = ("_cipher", "_region")

    def __init__(self, rule: TokenizeRule, keys: TokenKeys, version: int) -> None:
        super().__init__(version)
        key = keys.derive(version, use="ff1", domain=rule.domain, format=rule.format, alphabet=string.digits)
        self._cipher = FF1Text(key, string.digits)
        self._region = rule.region

    def _canonical(self, column: pa.Array) -> Canonical:
        return canonical_phone(column, region=self._region)

    def _tokens(self, values: pa.StringArray) -> pa.StringArray:
        return self._run(ByteRows.of(values), decrypt=False).to_strings()

    def _inverted(self, rows: ByteRows) -> ByteRows:
        plus = rows.data == ord("+")
        digits = ~rows.any_of(not_digits(rows.data) & ~plus) & (rows.counts(plus) == 1)
        rows = rows.only(digits & (rows.heads(1)[:, 0] == ord("+")) & (rows.lengths <= LONGEST + 1))
        codes = code_lengths(rows)
        rows = rows.only((codes > 0) & (rows.lengths - 1 - codes >= SHORTEST_NATIONAL))
        return self._run(rows, decrypt=True)

    def _run(self, rows: ByteRows, *, decrypt: bool) -> ByteRows:
        run = self._cipher.decrypt_bytes if decrypt else self._cipher.encrypt_bytes

        def same_code_length(numbers: Bytes, length: int) -> Bytes:
            tweak = np.full((len(numbers), 3), ord("0"), np.uint8)
            tweak[:, 3 - length :] = numbers[:, 1 : 1 + length]
            result = numbers.copy()
            result[:, 1 + length :] = run(packed(numbers[:, 1 + length :]), tweak)
            return result

        def change(numbers: Bytes) -> Bytes:
            lengths = code_lengths_of(numbers)
            present = np.flatnonzero(np.bincount(lengths))
            if len(present) == 1:
                return same_code_length(numbers, int(present[0]))
            result = np.empty_like(numbers)
            for length in present:
                places = np.flatnonzero(lengths == length)
                result[places] = same_code_length(numbers[places], int(length))
            return result

        return rows.mapped(change)
