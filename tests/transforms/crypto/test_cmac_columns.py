"""Columnar CMAC against the vectors of NIST SP 800-38B and the one of ``cryptography``."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pyarrow as pa
import pytest
from consentry.schemas.errors import KeySizeError, SecretError
from consentry.transforms.crypto.cmac_columns import ColumnCmac
from cryptography.hazmat.primitives.ciphers import algorithms
from cryptography.hazmat.primitives.cmac import CMAC
from hypothesis import given
from hypothesis import strategies as st

KEY = bytes.fromhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")
MESSAGE = bytes.fromhex(
    "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
    "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
)
# NIST SP 800-38B, appendix D.3 (AES-256).
VECTORS = {
    0: "028962f61b7bf89efc6b551f4667d983",
    16: "28a7023f452e8f82bd4bf28d8c37c35c",
    40: "aaf3d8f1de5640c232f5b169b9c911e6",
    64: "e1992190549f6ed5696a2c056c315410",
}


def scalar(key: bytes, value: bytes) -> bytes:
    mac = CMAC(algorithms.AES(key))
    mac.update(value)
    return mac.finalize()


@pytest.mark.parametrize(("length", "expected"), VECTORS.items())
def test_nist_vectors(length: int, expected: str) -> None:
    assert ColumnCmac(KEY).digest(pa.array([MESSAGE[:length]], pa.binary()))[0].tobytes().hex() == expected


@given(st.lists(st.none() | st.binary(max_size=100)), st.binary(min_size=32, max_size=32))
def test_every_value_agrees_with_the_scalar_mac(values: list[bytes | None], key: bytes) -> None:
    column = pa.array([b"before", *values], pa.binary())[1:]
    digests = ColumnCmac(key).digest(column)
    assert digests.shape == (len(values), 16)
    for value, digest in zip(values, digests, strict=True):
        assert digest.tobytes() == (bytes(16) if value is None else scalar(key, value))


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.binary(), pa.large_binary(), pa.binary(16)])
def test_every_string_and_binary_type_has_the_same_digest(kind: pa.DataType) -> None:
    digest = ColumnCmac(KEY).digest(pa.array([b"0123456789abcdef"], pa.binary()).cast(kind))
    assert digest[0].tobytes() == scalar(KEY, b"0123456789abcdef")


def test_many_rows_and_very_long_values_agree() -> None:
    values = [os.urandom(20) for _ in range(40_000)] + [os.urandom(5_000)]
    digests = ColumnCmac(KEY).digest(pa.array(values))
    for row in (0, 16_383, 16_384, 39_999, 40_000):
        assert digests[row].tobytes() == scalar(KEY, values[row])
    assert len(np.unique(digests, axis=0)) == len(values)


def test_a_wrong_key_size_is_refused_and_keys_are_not_pickled() -> None:
    with pytest.raises(KeySizeError, match="not 5"):
        ColumnCmac(bytes(5))
    with pytest.raises(SecretError):
        pickle.dumps(ColumnCmac(KEY))
