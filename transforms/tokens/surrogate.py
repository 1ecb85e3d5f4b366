"""Surrogates of any text: 16 characters of lower-case base32, 80 bits of AES-CMAC.

Guarantee: the same text has the same surrogate under one key version; without the key, nothing about the text but that
two are equal. Non-guarantee: no inverse, neither length nor alphabet of the text, and no proof that two texts never
share one: among a million texts that happens with probability 4e-13, among 10^12 with about one third.
"""

from __future__ import annotations

import pyarrow as pa

from ...schemas.info_types import TokenizeRule
from ..crypto.cmac_columns import ColumnCmac
from ..crypto.key_sets import TokenKeys
from ..values.canonical import Canonical
from ..values.surrogate import canonical_text
from .base32 import BASE32, surrogates
from .tokenizer import ColumnTokenizer

__all__ = ["SurrogateTokenizer"]


class SurrogateTokenizer(ColumnTokenizer):
    """Surrogates of any text.

    Args:
        rule: Of format ``surrogate``.
        keys: The unlocked ``token`` key set.
        version: Of the key set.
    """

    __slots__ = ("_cmac",)

    def __init__(self, rule: TokenizeRule, keys: TokenKeys, version: int) -> None:
        super().__init__(version)
        alphabet = BASE32.decode("ascii")
        self._cmac = ColumnCmac(
            keys.derive(version, use="surrogate", domain=rule.domain, format=rule.format, alphabet=alphabet)
        )

    def _canonical(self, column: pa.Array) -> Canonical:
        return canonical_text(column)

    def _tokens(self, values: pa.StringArray) -> pa.StringArray:
        return surrogates(values, self._cmac)
