"""AES-CMAC (NIST SP 800-38B) of every value of a column, by rounds of AES-ECB over all values at once.

Values of one number of blocks go through together: round ``i`` encrypts block ``i`` of each of them. That is the way
FF1's own PRF runs, and many times faster than one MAC object per value.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.cmac import CMAC

from ...schemas.errors import KeySizeError
from .key_sets import Secret

__all__ = ["ColumnCmac"]

Bytes = np.ndarray[Any, np.dtype[np.uint8]]

CHUNK = 16_384
LONGEST = 64
"""Blocks of values that go through in columns; longer values are rare and go one by one."""


class ColumnCmac(Secret):
    """AES-CMAC with one key. For one thread at a time; refuses pickling; hides its key.

    Args:
        key: 16, 24 or 32 bytes.

    Raises:
        KeySizeError: Another size.
    """

    __slots__ = ("_algorithm", "_encryptor", "_subkeys")

    def __init__(self, key: bytes) -> None:
        if len(key) not in (16, 24, 32):
            raise KeySizeError(f"an AES key has 16, 24 or 32 bytes, not {len(key)}; derive it from the keyring")
        self._algorithm = algorithms.AES(key)
        self._encryptor = Cipher(self._algorithm, modes.ECB()).encryptor()  # noqa: S305 - CMAC is the mode
        first = _doubled(self._encryptor.update(bytes(16)))
        self._subkeys = tuple(np.frombuffer(key, np.uint8) for key in (first, _doubled(first)))

    def digest(self, column: pa.Array) -> Bytes:
        """Returns the MAC of each value, ``uint8 (values, 16)``.

        Args:
            column: Any string or binary type. A null's digest is zeros: mask it.
        """
        values = column.cast(pa.large_binary())
        result = np.zeros((len(values), 16), np.uint8)
        if not len(values):
            return result
        offsets = np.frombuffer(values.buffers()[1], np.int64)[values.offset :][: len(values) + 1]
        data = np.frombuffer(values.buffers()[2] or b"", np.uint8)
        lengths = np.diff(offsets)
        blocks = np.maximum(-(-lengths // 16), 1)
        blocks[~np.asarray(pc.is_valid(values))] = 0
        for count in np.unique(blocks[blocks > 0]):
            rows = np.flatnonzero(blocks == count)
            if count > LONGEST:
                for row in rows:
                    result[row] = self._single(data[offsets[row] : offsets[row + 1]].tobytes())
                continue
            for start in range(0, len(rows), CHUNK):
                part = rows[start : start + CHUNK]
                result[part] = self._same_blocks(data, offsets[part], lengths[part], int(count))
        return result

    def _same_blocks(self, data: Bytes, starts: Any, lengths: Any, count: int) -> Bytes:
        width = 16 * count
        places = np.arange(width)
        inside = places < lengths[:, None]
        padded = (
            np.where(inside, data[np.minimum(starts[:, None] + places, max(len(data) - 1, 0))], 0)
            if len(data)
            else (np.zeros(inside.shape, np.uint8))
        )
        padded = padded.astype(np.uint8, copy=False)
        whole = lengths == width
        short = np.flatnonzero(~whole)
        padded[short, lengths[short]] = 0x80
        padded[:, -16:] ^= np.where(whole[:, None], self._subkeys[0], self._subkeys[1])
        state = np.zeros((len(starts), 16), np.uint8)
        for at in range(0, width, 16):
            block = np.ascontiguousarray(state ^ padded[:, at : at + 16])
            state = np.frombuffer(self._encryptor.update(block.data), np.uint8).reshape(-1, 16)
        return state

    def _single(self, value: bytes) -> Bytes:
        mac = CMAC(self._algorithm)
        mac.update(value)
        return np.frombuffer(mac.finalize(), np.uint8)


def _doubled(block: bytes) -> bytes:
    """Multiplies by x in GF(2^128) (SP 800-38B, section 6.1)."""
    number = int.from_bytes(block, "big") << 1
    return ((number & (2**128 - 1)) ^ (0x87 if number >> 128 else 0)).to_bytes(16, "big")
