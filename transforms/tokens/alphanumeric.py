"""Tokens of strings over an alphabet: FF1 over its characters; separators stay where they are.

Every character of the alphabet may become any other of it: a digit of a mixed alphabet may become a letter. The tweak
is what stays in clear: a byte for each character, the separator or 0, and no bytes where there are no separators.

Guarantee: a permutation of the strings of one length with the same separators in the same places. Non-guarantee: a
token may equal its value, with probability 1 / radix^n for n characters of the alphabet; it tells neither that it is a
token nor its key version.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from ...schemas.info_types import TokenizeRule
from ..crypto.ff1_columns import FF1Text
from ..crypto.key_sets import TokenKeys
from ..values.alphanumeric import LONGEST, canonical_alphanumeric, of_alphabet, own_separators, shortest
from ..values.byte_rows import ByteRows, Bytes
from ..values.canonical import Canonical
from ..values.text_columns import flag_bytes
from .tokenizer import ColumnTokenizer

__all__ = ["AlphanumericTokenizer"]


class AlphanumericTokenizer(ColumnTokenizer):
    """Tokens of strings over an alphabet.

    Args:
        rule: Of format ``alphanumeric``.
        keys: The unlocked ``token`` key set.
        version: Of the key set.
    """

    __slots__ = ("_alphabet", "_cipher", "_separators")

    def __init__(self, rule: TokenizeRule, keys: TokenKeys, version: int) -> None:
        super().__init__(version)
        self._alphabet = rule.numeral_alphabet
        self._separators = own_separators(self._alphabet, rule.kept_separators)
        key = keys.derive(version, use="ff1", domain=rule.domain, format=rule.format, alphabet=self._alphabet)
        self._cipher = FF1Text(key, self._alphabet)

    def _canonical(self, column: pa.Array) -> Canonical:
        return canonical_alphanumeric(column, alphabet=self._alphabet, separators=self._separators)

    def _tokens(self, values: pa.StringArray) -> pa.StringArray:
        return self._run(ByteRows.of(values), decrypt=False).to_strings()

    def _inverted(self, rows: ByteRows) -> ByteRows:
        known = of_alphabet(rows.data, self._alphabet)
        foreign = rows.any_of(~(known | flag_bytes(rows.data, self._separators)))
        fits = ~foreign & (rows.counts(known) >= shortest(self._alphabet)) & (rows.lengths <= LONGEST)
        return self._run(rows.only(fits), decrypt=True)

    def _run(self, rows: ByteRows, *, decrypt: bool) -> ByteRows:
        run = self._cipher.decrypt_bytes if decrypt else self._cipher.encrypt_bytes

        def change(matrix: Bytes) -> Bytes:
            known = of_alphabet(matrix, self._alphabet)
            if known.all():
                return run(matrix)
            result = matrix.copy()
            counts = known.sum(axis=1)
            for count in np.unique(counts):
                places = np.flatnonzero(counts == count)
                part, here = matrix[places], known[places]
                tweak = np.where(here, np.uint8(0), part)
                part[here] = run(part[here].reshape(len(part), int(count)), tweak if not here.all() else b"").reshape(
                    -1
                )
                result[places] = part
            return result

        return rows.mapped(change)
