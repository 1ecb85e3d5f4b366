"""Tokens of account numbers: the country stays, FF1 over the account, and check digits that are wrong on purpose.

The account (BBAN) of a country that has digits there only becomes digits; of others, digits and upper-case letters in
any place. The tweak is the country, two bytes. Check digits of the token are ``2 + (c - 2 + k) mod 97``, with ``c`` the
right ones for the token's account and ``k = 1 … 9`` the key version: so no token is a valid IBAN, and none equals its
value. The right check digits of the value follow from its account, so the whole is a permutation.
"""

from __future__ import annotations

import string

import numpy as np
import pyarrow as pa

from ...schemas.info_types import TokenizeRule
from ..crypto.ff1_columns import FF1Text
from ..crypto.key_sets import TokenKeys, version_digit
from ..values.byte_rows import Bools, ByteRows, Bytes, packed
from ..values.canonical import Canonical
from ..values.digits import not_digits
from ..values.iban import by_country, canonical_iban, check_digits, right_check_digits
from ..values.iban_countries import IbanCountry
from .tokenizer import ColumnTokenizer

__all__ = ["IbanTokenizer"]

UPPER_ALPHANUMERIC = string.digits + string.ascii_uppercase
ZERO = ord("0")


class IbanTokenizer(ColumnTokenizer):
    """Tokens of account numbers.

    Args:
        rule: Of format ``iban``.
        keys: The unlocked ``token`` key set.
        version: Of the key set; nine versions can be told apart.
    """

    __slots__ = ("_ciphers", "_digit")

    def __init__(self, rule: TokenizeRule, keys: TokenKeys, version: int) -> None:
        super().__init__(version)

        def cipher(alphabet: str) -> FF1Text:
            key = keys.derive(version, use="ff1", domain=rule.domain, format=rule.format, alphabet=alphabet)
            return FF1Text(key, alphabet)

        self._ciphers = {True: cipher(string.digits), False: cipher(UPPER_ALPHANUMERIC)}
        self._digit = version_digit(version)

    def _canonical(self, column: pa.Array) -> Canonical:
        return canonical_iban(column)

    def _tokens(self, values: pa.StringArray) -> pa.StringArray:
        return self._run(ByteRows.of(values), decrypt=False).to_strings()

    def _inverted(self, rows: ByteRows) -> ByteRows:
        fits = np.zeros(len(rows), np.bool_)
        for country, places in by_country(rows):
            places = places[rows.lengths[places] == country.length]
            fits[places] = self._are_tokens(country, rows.matrix(places, country.length))
        return self._run(rows.only(fits), decrypt=True)

    def _are_tokens(self, country: IbanCountry, ibans: Bytes) -> Bools:
        letters = ibans[:, 4:] - ord("A") < 26
        foreign = not_digits(ibans[:, 4:]) & (np.bool_(country.is_decimal) | ~letters)
        check = check_digits(ibans)
        off = (check - right_check_digits(ibans)) % 97
        return np.asarray(~foreign.any(axis=1) & (check >= 2) & (check <= 98) & (off == self._digit))

    def _run(self, rows: ByteRows, *, decrypt: bool) -> ByteRows:
        data = np.zeros(len(rows.data), np.uint8)
        for country, places in by_country(rows):
            changed = self._changed(country, rows.matrix(places, country.length), decrypt=decrypt)
            rows.place(data, places, changed)
        return ByteRows(data, rows.offsets, rows.valid)

    def _changed(self, country: IbanCountry, ibans: Bytes, *, decrypt: bool) -> Bytes:
        cipher = self._ciphers[country.is_decimal]
        run = cipher.decrypt_bytes if decrypt else cipher.encrypt_bytes
        result = ibans.copy()
        result[:, 4:] = run(packed(ibans[:, 4:]), country.code.encode("ascii"))
        check = 2 + (right_check_digits(result) - 2 + (0 if decrypt else self._digit)) % 97
        result[:, 2] = ZERO + check // 10
        result[:, 3] = ZERO + check % 10
        return result
