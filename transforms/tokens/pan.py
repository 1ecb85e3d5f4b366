"""Tokens of card numbers: never Luhn-valid, so that none can be taken for a card.

Layout of a token of ``n`` digits, with the last four kept::

    payload   FF1 of the first n - 5 digits; the tweak is the four kept digits
    check     the digit that would make the number Luhn-valid, plus k, modulo 10
    kept      the last four digits

With none kept the payload is the first ``n - 1`` digits, the tweak is empty and the check position is the last. The
check position is one that Luhn does not double, so the sum of the digits is off by ``k = 1 … 9``: the key version. The
true digit there follows from the others, so the whole is a permutation (the Luhn-valid numbers of one length onto as
many that are not).
"""

from __future__ import annotations

import string

import numpy as np
import pyarrow as pa

from ...schemas.info_types import TokenizeRule
from ..crypto.ff1_columns import FF1Text
from ..crypto.key_sets import TokenKeys, version_digit
from ..values.byte_rows import ByteRows, Bytes, packed
from ..values.canonical import Canonical
from ..values.checksums import luhn_sums
from ..values.digits import not_digits
from ..values.pan import LONGEST, SHORTEST, canonical_pan, luhn_sums_of
from .tokenizer import ColumnTokenizer

__all__ = ["PanTokenizer"]

TEN = np.uint8(10)
ZERO = np.uint8(ord("0"))


class PanTokenizer(ColumnTokenizer):
    """Tokens of card numbers.

    Args:
        rule: Of format ``pan``.
        keys: The unlocked ``token`` key set.
        version: Of the key set; nine versions can be told apart.
    """

    __slots__ = ("_cipher", "_digit", "_kept")

    def __init__(self, rule: TokenizeRule, keys: TokenKeys, version: int) -> None:
        super().__init__(version)
        key = keys.derive(version, use="ff1", domain=rule.domain, format=rule.format, alphabet=string.digits)
        self._cipher = FF1Text(key, string.digits)
        self._kept = rule.kept_digits
        self._digit = version_digit(version)

    def _canonical(self, column: pa.Array) -> Canonical:
        return canonical_pan(column)

    def _tokens(self, values: pa.StringArray) -> pa.StringArray:
        return ByteRows.of(values).mapped(self._encrypted).to_strings()

    def _inverted(self, rows: ByteRows) -> ByteRows:
        fits = (rows.lengths >= SHORTEST) & (rows.lengths <= LONGEST) & ~rows.any_of(not_digits(rows.data))
        tokens = rows.only(fits)
        tokens = tokens.only(luhn_sums_of(tokens) == self._digit)
        return tokens.mapped(self._decrypted)

    def _encrypted(self, cards: Bytes) -> Bytes:
        return self._changed(cards, self._cipher.encrypt_bytes(*self._parts(cards)), self._digit)

    def _decrypted(self, tokens: Bytes) -> Bytes:
        return self._changed(tokens, self._cipher.decrypt_bytes(*self._parts(tokens)), 0)

    def _parts(self, numbers: Bytes) -> tuple[Bytes, bytes | Bytes]:
        """Payload and tweak."""
        check = numbers.shape[1] - 1 - self._kept
        return numbers[:, :check], packed(numbers[:, check + 1 :]) if self._kept else b""

    def _changed(self, numbers: Bytes, payload: Bytes, off: int) -> Bytes:
        """The numbers with another payload, and a check digit that leaves a Luhn sum of ``off``."""
        check = numbers.shape[1] - 1 - self._kept
        result = numbers.copy()
        result[:, :check] = payload
        result[:, check] = ZERO
        digit = np.uint8(10 + off) - luhn_sums(result)
        result[:, check] = digit - digit // TEN * TEN + ZERO
        return result
