"""Keyed surrogates of texts: 80 bits of AES-CMAC (SP 800-38B) as 16 characters of lower-case base32 (RFC 4648)."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..crypto.cmac_columns import ColumnCmac
from ..values.byte_rows import ByteRows, Bytes

__all__ = ["CHARACTERS", "surrogate_rows", "surrogates"]

CHARACTERS = 16
BASE32 = b"abcdefghijklmnopqrstuvwxyz234567"
PAIRS = np.array([bytes((BASE32[number >> 5], BASE32[number & 31])) for number in range(1024)]).view(np.uint16)
TEN_BITS = np.uint64(1023)


def surrogates(values: pa.StringArray, cmac: ColumnCmac) -> pa.StringArray:
    """Returns the surrogate of each text; null where ``values`` is."""
    valid = pc.is_valid(values).to_numpy(zero_copy_only=False)
    return ByteRows.of_matrix(surrogate_rows(values, cmac), valid).to_strings()


def surrogate_rows(values: pa.StringArray, cmac: ColumnCmac) -> Bytes:
    """Returns the surrogate of each text as ASCII ``(values, 16)``; of a null something that means nothing."""
    digests = np.ascontiguousarray(cmac.digest(values))
    words = digests.view(">u8").astype(np.uint64)
    high, low = words[:, 0], words[:, 1] >> np.uint64(48)
    pairs = np.empty((len(digests), CHARACTERS // 2), np.uint16)
    for place in range(6):
        pairs[:, place] = PAIRS.take((high >> np.uint64(54 - 10 * place) & TEN_BITS).view(np.int64))
    pairs[:, 6] = PAIRS.take(((high & np.uint64(15)) << np.uint64(6) | low >> np.uint64(10)).view(np.int64))
    pairs[:, 7] = PAIRS.take((low & TEN_BITS).view(np.int64))
    return pairs.view(np.uint8)
