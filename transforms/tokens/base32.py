"""Keyed surrogates of texts: 80 bits as 16 characters of lower-case base32 (RFC 4648), movable from version to version.

The companion of a text is the first 80 bits of its AES-CMAC (SP 800-38B) under a key that rotation leaves alone. Its
surrogate is the companion encrypted by FF1 (SP 800-38G; radix 32, 16 numerals, no tweak) under the key of one version.
So surrogates of two versions have nothing in common for whoever lacks the keys, and those who hold them turn one into
the other without ever having the text: through the companion.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from ...schemas.info_types import TokenizeRule
from ..crypto.cmac_columns import ColumnCmac
from ..crypto.ff1_rounds import CHUNK, FeistelRounds, Shape, Uints
from ..crypto.key_sets import Secret, TokenKeys
from ..crypto.numeral_text import NumeralText
from ..values.byte_rows import Bytes

__all__ = ["BASE32", "CHARACTERS", "FOREIGN", "Surrogates", "open_surrogates"]

BASE32 = "abcdefghijklmnopqrstuvwxyz234567"
CHARACTERS = 16
SHAPE = Shape(len(BASE32), CHARACTERS)
PAIRS = np.array([(one + other).encode() for one in BASE32 for other in BASE32]).view(np.uint16)
TEN_BITS = np.uint64(1023)
FOREIGN = np.ones(256, np.bool_)
FOREIGN[np.frombuffer(BASE32.encode(), np.uint8)] = False


class Surrogates(Secret):
    """Surrogates under one version. For one thread at a time.

    Args:
        companion_key: 32 bytes that rotation leaves alone.
        version_key: 32 bytes of the version.
    """

    __slots__ = ("_companion", "_rounds", "_static", "_text")

    def __init__(self, companion_key: bytes, version_key: bytes) -> None:
        self._companion = ColumnCmac(companion_key)
        self._rounds = FeistelRounds(version_key)
        self._static = self._rounds.prepare(SHAPE, b"")
        self._text = NumeralText(BASE32)

    def of(self, values: pa.StringArray) -> Bytes:
        """Returns the surrogate of each text as ASCII ``(values, 16)``; of a null something that means nothing."""
        digests = np.ascontiguousarray(self._companion.digest(values))
        words = digests.view(">u8").astype(np.uint64)
        high, low = words[:, 0], words[:, 1]
        left = high >> np.uint64(24)
        right = (high & np.uint64(0xFFFFFF)) << np.uint64(16) | low >> np.uint64(48)
        return self._of_companions(left, right)

    def moved(self, text: Bytes, newer: Surrogates) -> Bytes:
        """Returns the surrogates of the same texts under another version.

        Args:
            text: ASCII ``(values, 16)``, without a ``FOREIGN`` byte.
            newer: Of the same companion key.
        """
        return newer._of_companions(*self._run(*self._halves(text), decrypt=True))

    def companions(self, text: Bytes) -> Bytes:
        """Returns the companions of the texts whose surrogates are given, spelled like them; arguments as ``moved``."""
        return _spelled(*self._run(*self._halves(text), decrypt=True))

    def _halves(self, text: Bytes) -> tuple[Uints, Uints]:
        numerals = self._text.numerals(np.ascontiguousarray(text))
        return self._text.number(numerals[:, : SHAPE.left]), self._text.number(numerals[:, SHAPE.left :])

    def _of_companions(self, left: Uints, right: Uints) -> Bytes:
        return _spelled(*self._run(left, right, decrypt=False))

    def _run(self, left: Uints, right: Uints, *, decrypt: bool) -> tuple[Uints, Uints]:
        for start in range(0, len(left), CHUNK):
            part = slice(start, start + CHUNK)
            left[part], right[part] = self._rounds.run_words(
                left[part], right[part], SHAPE, self._static, decrypt=decrypt
            )
        return left, right


def _spelled(left: Uints, right: Uints) -> Bytes:
    pairs = np.empty((len(left), CHARACTERS // 2), np.uint16)
    for side, half in enumerate((left, right)):
        for place in range(4):
            pairs[:, 4 * side + place] = PAIRS.take((half >> np.uint64(30 - 10 * place) & TEN_BITS).view(np.int64))
    return pairs.view(np.uint8)


def open_surrogates(keys: TokenKeys, rule: TokenizeRule, version: int, *, use: str) -> Surrogates:
    """Returns the surrogates of one use in a token domain, under one version.

    Raises:
        KeyringError: The version is unknown, disabled or destroyed.
    """
    companion = keys.derive_root(f"companion of {use}", domain=rule.domain)
    version_key = keys.derive(version, use=use, domain=rule.domain, format=rule.format, alphabet=BASE32)
    return Surrogates(companion, version_key)
