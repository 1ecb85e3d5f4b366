"""Columnar CMAC against the vectors of NIST SP 800-38B and the one of ``cryptography``."""

from __future__ import annotations

import copy
import os
import pickle
import random

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
# NIST SP 800-38B, appendix D, for AES-128 (also RFC 4493, section 4), AES-192 and AES-256.
KEYS = {
    16: bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c"),
    24: bytes.fromhex("8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b"),
    32: KEY,
}
VECTORS = [
    (16, 0, "bb1d6929e95937287fa37d129b756746"),
    (16, 16, "070a16b46b4d4144f79bdd9dd04a287c"),
    (16, 40, "dfa66747de9ae63030ca32611497c827"),
    (16, 64, "51f0bebf7e3b9d92fc49741779363cfe"),
    (24, 0, "d17ddf46adaacde531cac483de7a9367"),
    (24, 16, "9e99a7bf31e710900662f65e617c5184"),
    (24, 40, "8a1de5be2eb31aad089a82e6ee908b0e"),
    (24, 64, "a1d5df0eed790f794d77589659f39a11"),
    (32, 0, "028962f61b7bf89efc6b551f4667d983"),
    (32, 16, "28a7023f452e8f82bd4bf28d8c37c35c"),
    (32, 40, "aaf3d8f1de5640c232f5b169b9c911e6"),
    (32, 64, "e1992190549f6ed5696a2c056c315410"),
]


def scalar(key: bytes, value: bytes) -> bytes:
    mac = CMAC(algorithms.AES(key))
    mac.update(value)
    return mac.finalize()


@pytest.mark.parametrize(("key_bytes", "length", "expected"), VECTORS)
def test_nist_vectors(key_bytes: int, length: int, expected: str) -> None:
    digest = ColumnCmac(KEYS[key_bytes]).digest(pa.array([MESSAGE[:length]], pa.binary()))
    assert digest[0].tobytes().hex() == expected


@pytest.mark.parametrize("key_bytes", KEYS)
def test_every_length_agrees_with_the_scalar_mac(key_bytes: int) -> None:
    values = [os.urandom(length) for length in [*range(71), *range(1006, 1044)]]
    random.Random(5).shuffle(values)
    digests = ColumnCmac(KEYS[key_bytes]).digest(pa.array(values, pa.binary()))
    assert [digest.tobytes() for digest in digests] == [scalar(KEYS[key_bytes], value) for value in values]


@given(st.lists(st.none() | st.binary(max_size=100)), st.binary(min_size=32, max_size=32))
def test_every_value_agrees_with_the_scalar_mac(values: list[bytes | None], key: bytes) -> None:
    column = pa.array([b"before", *values], pa.binary())[1:]
    digests = ColumnCmac(key).digest(column)
    assert digests.shape == (len(values), 16)
    for value, digest in zip(values, digests, strict=True):
        assert digest.tobytes() == (bytes(16) if value is None else scalar(key, value))


@pytest.mark.parametrize(
    "kind",
    [pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(), pa.binary_view(), pa.binary(16)],
)
def test_every_string_and_binary_type_has_the_same_digest(kind: pa.DataType) -> None:
    digest = ColumnCmac(KEY).digest(pa.array([b"0123456789abcdef"], pa.binary()).cast(kind))
    assert digest[0].tobytes() == scalar(KEY, b"0123456789abcdef")


def test_text_is_taken_as_utf_8_from_any_part_of_a_column() -> None:
    values = ["é", None, "", "日本語" * 9, "é"]
    whole = pa.array(["before", *values, "after"])
    for start in range(len(values)):
        digests = ColumnCmac(KEY).digest(whole[1 + start : 1 + len(values)])
        for value, digest in zip(values[start:], digests, strict=True):
            assert digest.tobytes() == (bytes(16) if value is None else scalar(KEY, value.encode()))


@pytest.mark.parametrize("kind", [pa.string(), pa.binary(), pa.binary(4)])
def test_empty_and_null_columns_have_zeros(kind: pa.DataType) -> None:
    assert ColumnCmac(KEY).digest(pa.array([], kind)).shape == (0, 16)
    assert not ColumnCmac(KEY).digest(pa.array([None, None], kind)).any()


def test_what_lies_under_a_null_is_not_digested() -> None:
    offsets, text = pa.py_buffer(np.array([0, 6, 12], np.int32)), pa.py_buffer(b"hiddenvalued")
    digests = ColumnCmac(KEY).digest(pa.StringArray.from_buffers(2, offsets, text, pa.py_buffer(b"\x02"), 1))
    assert [digest.tobytes() for digest in digests] == [bytes(16), scalar(KEY, b"valued")]


def test_a_digest_outlives_the_next_one() -> None:
    cmac = ColumnCmac(KEY)
    first = cmac.digest(pa.array(["one"]))
    kept = first.copy()
    cmac.digest(pa.array(["two"]))
    assert (first == kept).all()


def test_many_rows_and_very_long_values_agree() -> None:
    values = [os.urandom(20) for _ in range(40_000)] + [os.urandom(5_000)]
    digests = ColumnCmac(KEY).digest(pa.array(values))
    for row in (0, 16_383, 16_384, 32_767, 32_768, 39_999, 40_000):
        assert digests[row].tobytes() == scalar(KEY, values[row])
    assert len(np.unique(digests, axis=0)) == len(values)


def test_a_wrong_key_size_is_refused() -> None:
    with pytest.raises(KeySizeError, match="16, 24 or 32 bytes, not 5"):
        ColumnCmac(bytes(5))


def test_keys_are_neither_shown_nor_copied() -> None:
    cmac = ColumnCmac(b"k" * 32)
    assert "kkk" not in repr(cmac)
    for copying in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(SecretError):
            copying(cmac)
