"""AES-CMAC (NIST SP 800-38B) of every value of a column, by rounds of AES-ECB over all values at once.

Values of one number of blocks go through together: round ``i`` encrypts block ``i`` of each of them. That is the way
FF1's own PRF runs, and many times faster than one MAC object per value.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.cmac import CMAC

from ...schemas.errors import KeySizeError
from .key_sets import Secret

__all__ = ["ColumnCmac"]

Bytes = np.ndarray[Any, np.dtype[np.uint8]]

BLOCK = 16
CHUNK = 32_768
LONGEST = 64
"""Blocks of values that go through in columns; longer values are rare and go one by one."""
REST = np.arange(BLOCK + 1)[:, None] > np.arange(BLOCK)
"""Which bytes of a last block belong to a value that fills so many of them."""


class ColumnCmac(Secret):
    """AES-CMAC with one key. For one thread at a time; refuses pickling; hides its key.

    Args:
        key: 16, 24 or 32 bytes.

    Raises:
        KeySizeError: Another size.
    """

    __slots__ = ("_algorithm", "_encryptor", "_masks", "_out", "_tails")

    def __init__(self, key: bytes) -> None:
        if len(key) not in (16, 24, 32):
            raise KeySizeError(f"an AES key has 16, 24 or 32 bytes, not {len(key)}; derive it from the keyring")
        self._algorithm = algorithms.AES(key)
        self._encryptor = Cipher(self._algorithm, modes.ECB()).encryptor()  # noqa: S305 - CMAC is the mode
        self._out = np.empty(CHUNK * BLOCK + BLOCK, np.uint8)
        self._masks = np.where(REST, 0xFF, 0).astype(np.uint8).view(np.uint64)
        self._tails = _tails(self._encryptor.update(bytes(BLOCK)))

    def digest(self, column: pa.Array) -> Bytes:
        """Returns the MAC of each value, ``uint8 (values, 16)``.

        Args:
            column: Any string or binary type; strings as UTF-8. A null's digest is zeros: mask it.
        """
        values = column.cast(pa.large_binary())
        result = np.zeros((len(values), BLOCK), np.uint8)
        if values.null_count == len(values):
            return result
        offsets = np.frombuffer(values.buffers()[1], np.int64, len(values) + 1, 8 * values.offset)
        data = np.frombuffer(values.buffers()[2] or b"", np.uint8)
        lengths = np.diff(offsets)
        blocks = np.maximum((lengths + BLOCK - 1) // BLOCK, 1)
        if values.null_count:
            blocks[~np.asarray(values.is_valid())] = 0
        for row in np.flatnonzero(blocks > LONGEST).tolist():
            result[row] = self._single(data[offsets[row] : offsets[row + 1]].tobytes())
        for count in range(1, min(LONGEST, int(blocks.max())) + 1):
            rows = np.flatnonzero(blocks == count)
            for start in range(0, len(rows), CHUNK):
                part = rows[start : start + CHUNK]
                result[part] = self._same_blocks(data, offsets[part], lengths[part], count)
        return result

    def _same_blocks(self, data: Bytes, starts: Any, lengths: Any, count: int) -> Bytes:
        """Returns the MACs of values of ``count`` blocks; the memory is overwritten by the next call."""
        # A last block reaches past its value, and the last value's past the data: hence a block of zeros behind it.
        first = int(starts[0])
        near = np.concatenate((data[first : int(starts[-1] + lengths[-1])], np.zeros(BLOCK, np.uint8)))
        starts = starts - first
        state = self._out[: BLOCK * len(starts)].view(np.uint64).reshape(-1, 2)
        state[:] = 0
        for at in range(count):
            block = _blocks(near)[starts + BLOCK * at].view(np.uint64).reshape(-1, 2)
            if at == count - 1:
                rest = lengths - BLOCK * at
                block &= self._masks.take(rest, axis=0)
                block ^= self._tails.take(rest, axis=0)
            block ^= state
            self._encryptor.update_into(block.data.cast("B"), self._out.data)
        return state.view(np.uint8)

    def _single(self, value: bytes) -> Bytes:
        mac = CMAC(self._algorithm)
        mac.update(value)
        return np.frombuffer(mac.finalize(), np.uint8)


def _blocks(data: Bytes) -> np.ndarray[Any, Any]:
    """Returns the blocks that start at each byte; numpy copies one in a single step."""
    return np.ndarray((len(data) - BLOCK + 1,), f"V{BLOCK}", data, 0, (1,))


def _tails(zero: bytes) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """Returns, for a last block of 0 … 16 bytes, its padding and subkey, from the encryption of the zero block."""
    first = _doubled(zero)
    tails = np.tile(np.frombuffer(_doubled(first), np.uint8), (BLOCK + 1, 1))
    tails[np.arange(BLOCK), np.arange(BLOCK)] ^= 0x80
    tails[BLOCK] = np.frombuffer(first, np.uint8)
    return tails.view(np.uint64)


def _doubled(block: bytes) -> bytes:
    """Multiplies by x in GF(2^128) (SP 800-38B, section 6.1)."""
    number = int.from_bytes(block, "big") << 1
    return ((number & (2**128 - 1)) ^ (0x87 if number >> 128 else 0)).to_bytes(BLOCK, "big")
