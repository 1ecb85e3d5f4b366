"""FF1 against the samples of NIST SP 800-38G and a scalar reading of it."""

from __future__ import annotations

import copy
import itertools
import pickle
import random

import numpy as np
import pyarrow as pa
import pytest
from consentry.schemas.errors import (
    DomainTooSmallError,
    KeySizeError,
    NumeralLengthError,
    NumeralRangeError,
    SecretError,
    TokenError,
)
from consentry.transforms.crypto import ff1_rounds
from consentry.transforms.crypto.ff1 import FF1
from consentry.transforms.crypto.ff1_columns import FF1Text
from hypothesis import given
from hypothesis import strategies as st
from oracles import ff1_scalar

KEY128 = "2B7E151628AED2A6ABF7158809CF4F3C"
KEY192 = KEY128 + "EF4359D8D580AA4F"
KEY256 = KEY192 + "7F036D6F04FC6A94"
ALPHABET36 = "0123456789abcdefghijklmnopqrstuvwxyz"
DIGITS = "0123456789"
TENS = "39383736353433323130"
SEVENS = "3737373770717273373737"

# NIST, "FF1samples": key, radix, tweak, plaintext, ciphertext.
SAMPLES = [
    (KEY128, 10, "", "0123456789", "2433477484"),
    (KEY128, 10, TENS, "0123456789", "6124200773"),
    (KEY128, 36, SEVENS, "0123456789abcdefghi", "a9tv40mll9kdu509eum"),
    (KEY192, 10, "", "0123456789", "2830668132"),
    (KEY192, 10, TENS, "0123456789", "2496655549"),
    (KEY192, 36, SEVENS, "0123456789abcdefghi", "xbj3kv35jrawxv32ysr"),
    (KEY256, 10, "", "0123456789", "6657667009"),
    (KEY256, 10, TENS, "0123456789", "1001623463"),
    (KEY256, 36, SEVENS, "0123456789abcdefghi", "xs8a0azh2avyalyzuwd"),
]


@pytest.mark.parametrize(("key", "radix", "tweak", "plain", "cipher"), SAMPLES)
def test_nist_samples(key: str, radix: int, tweak: str, plain: str, cipher: str) -> None:
    text = FF1Text(bytes.fromhex(key), ALPHABET36[:radix])
    assert text.encrypt(pa.array([plain]), bytes.fromhex(tweak)).to_pylist() == [cipher]
    assert text.decrypt(pa.array([cipher]), bytes.fromhex(tweak)).to_pylist() == [plain]


def edge_rows(rng: random.Random, radix: int, length: int) -> list[list[int]]:
    half = length // 2
    rows = [[0] * length, [radix - 1] * length, [0] * half + [radix - 1] * (length - half)]
    return rows + [[rng.randrange(radix) for _ in range(length)] for _ in range(2)]


@pytest.mark.parametrize("radix", [2, 10, 26, 36, 62, 255, 256, 65536])
def test_every_length_agrees_with_the_scalar_reference(radix: int) -> None:
    rng = random.Random(radix)
    for length in [*range(2, 37), 40, 57, 80]:
        tweak_bytes = rng.choice((*range(23), 33))
        key, rows = rng.randbytes(rng.choice((16, 24, 32))), edge_rows(rng, radix, length)
        tweaks = [rng.randbytes(tweak_bytes) for _ in rows]
        cipher = FF1(key, radix, min_domain=0)
        one = cipher.encrypt(np.array(rows), tweaks[0])
        assert one.tolist() == [ff1_scalar.encrypt(key, radix, row, tweaks[0]) for row in rows], length
        assert cipher.decrypt(one, tweaks[0]).tolist() == rows
        each = np.frombuffer(b"".join(tweaks), np.uint8).reshape(len(rows), tweak_bytes)
        many = cipher.encrypt(np.array(rows), each)
        assert many.tolist() == [
            ff1_scalar.encrypt(key, radix, row, tweak) for row, tweak in zip(rows, tweaks, strict=True)
        ]
        assert cipher.decrypt(many, each).tolist() == rows


@pytest.mark.parametrize("tweak_bytes", range(23))
def test_every_tweak_length_agrees_with_the_scalar_reference(tweak_bytes: int) -> None:
    rng = random.Random(tweak_bytes)
    for length in (6, 16, 17, 20, 36, 41):
        key, tweak = rng.randbytes(32), rng.randbytes(tweak_bytes)
        rows = edge_rows(rng, 10, length)
        got = FF1(key, 10, min_domain=0).encrypt(np.array(rows, np.uint8), tweak)
        assert got.tolist() == [ff1_scalar.encrypt(key, 10, row, tweak) for row in rows]


def test_a_small_domain_is_permuted() -> None:
    everything = np.array(list(itertools.product(range(10), repeat=3)))
    cipher = FF1(bytes(32), 10, min_domain=0)
    changed = cipher.encrypt(everything)
    assert sorted(changed.tolist()) == everything.tolist()
    assert cipher.decrypt(changed).tolist() == everything.tolist()


def test_sums_that_would_wrap_64_bits_are_exact() -> None:
    """Random data never reaches this branch, so the pseudorandom numbers are put there on purpose."""
    modulus = 10**8
    for start in (2**64 - 1, 2**64 - modulus, 2**64 - modulus - 1, 0):
        for half in (0, 1, modulus - 1):
            number, target = np.array([start], np.uint64), np.array([half], np.uint64)
            ff1_rounds._added(target, (number.copy(), None), modulus, np.empty(1, np.uint64))
            assert target[0] == (start + half) % modulus
            target = np.array([half], np.uint64)
            ff1_rounds._subtracted(target, (number.copy(), None), modulus, np.empty(1, np.uint64))
            assert target[0] == (half - start) % modulus


@given(
    first=st.integers(0, 2**64 - 1) | st.sampled_from([0, 1, 2**64 - 1]),
    more=st.integers(0, 2**32 - 1) | st.sampled_from([0, 2**32 - 1]),
    modulus=st.integers(2, 2**64 // 3) | st.sampled_from([2**32, 2**32 + 1, 2**62, 2**64 // 3, 36**12, 10**18]),
    data=st.data(),
)
def test_twelve_byte_numbers_are_reduced_exactly(first: int, more: int, modulus: int, data: st.DataObject) -> None:
    half = data.draw(st.integers(0, modulus - 1))
    value = first * 2**32 + more
    for function, expected in (
        (ff1_rounds._added, (half + value) % modulus),
        (ff1_rounds._subtracted, (half - value) % modulus),
    ):
        target = np.array([half], np.uint64)
        number = (np.array([first], np.uint64), np.array([more], np.uint64))
        function(target, number, modulus, np.empty(1, np.uint64))
        assert int(target[0]) == expected


def test_remainders_next_to_a_multiple_of_the_modulus_are_exact() -> None:
    rng = random.Random(4)
    for _ in range(3000):
        modulus = rng.randrange(2**32, 2**64 // 3)
        value = rng.randrange(2**64) * 2**32 // modulus * modulus + rng.choice((-1, 0, 1))
        if not 0 <= value < 2**96:
            continue
        target = np.array([0], np.uint64)
        number = (np.array([value >> 32], np.uint64), np.array([value & 0xFFFFFFFF], np.uint64))
        ff1_rounds._added(target, number, modulus, np.empty(1, np.uint64))
        assert int(target[0]) == value % modulus


@given(values=st.lists(st.none() | st.text(DIGITS, min_size=6, max_size=45)), tweak=st.binary(max_size=20))
def test_columns_of_mixed_lengths_round_trip(values: list[str | None], tweak: bytes) -> None:
    text = FF1Text(bytes(range(32)), DIGITS)
    column = pa.array(["123456", *values], pa.string())[1:]
    tokens = text.encrypt(column, tweak)
    assert text.decrypt(tokens, tweak).to_pylist() == values
    for value, token in zip(values, tokens.to_pylist(), strict=True):
        expected = value and ff1_scalar.encrypt(bytes(range(32)), 10, [int(digit) for digit in value], tweak)
        assert token == (value and "".join(map(str, expected or [])))


def test_columns_longer_than_a_chunk_agree_with_their_parts() -> None:
    column = pa.array([f"{number:016d}" for number in range(2 * ff1_rounds.CHUNK + 7)])
    text = FF1Text(bytes(32), DIGITS)
    whole = text.encrypt(column)
    assert whole[ff1_rounds.CHUNK - 1 : ff1_rounds.CHUNK + 2].equals(
        text.encrypt(column[ff1_rounds.CHUNK - 1 : ff1_rounds.CHUNK + 2])
    )
    assert text.decrypt(whole).equals(column)


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_empty_and_null_columns_pass(kind: pa.DataType) -> None:
    text = FF1Text(bytes(32), DIGITS)
    assert text.encrypt(pa.array([], kind)).to_pylist() == []
    assert text.encrypt(pa.array([None, None], kind)).to_pylist() == [None, None]


def test_what_lies_under_a_null_does_not_travel_on() -> None:
    hidden = pa.StringArray.from_buffers(
        1, pa.py_buffer(np.array([0, 8], np.int32)), pa.py_buffer(b"12345678"), pa.py_buffer(b"\x00"), 1
    )
    token = FF1Text(bytes(32), DIGITS).encrypt(hidden)
    assert b"12345678" not in b"".join(bytes(buffer) for buffer in token.buffers() if buffer)


def test_a_wrong_key_size_is_refused() -> None:
    with pytest.raises(KeySizeError, match="16, 24 or 32 bytes, not 31"):
        FF1(bytes(31), 10)


@pytest.mark.parametrize("radix", [1, 65537])
def test_a_wrong_radix_is_refused(radix: int) -> None:
    with pytest.raises(TokenError, match="not in 2 … 65536"):
        FF1(bytes(32), radix)


def test_lengths_under_two_are_refused() -> None:
    with pytest.raises(NumeralLengthError, match="not 1"):
        FF1(bytes(32), 10, min_domain=0).encrypt(np.array([[1]]))


@pytest.mark.parametrize("numeral", [-1, 10])
def test_numerals_outside_the_radix_are_refused(numeral: int) -> None:
    with pytest.raises(NumeralRangeError, match=r"outside 0 … 9"):
        FF1(bytes(32), 10).encrypt(np.array([[0, 1, 2, 3, 4, numeral]]))


def test_domains_under_the_floor_are_refused_with_the_number() -> None:
    with pytest.raises(DomainTooSmallError, match="100,000 strings"):
        FF1(bytes(32), 10).encrypt(np.array([[0, 1, 2, 3, 4]]))


@pytest.mark.parametrize("alphabet", ["0", "00", "0é"])
def test_wrong_alphabets_are_refused(alphabet: str) -> None:
    with pytest.raises(TokenError, match="distinct ASCII"):
        FF1Text(bytes(32), alphabet)


def test_foreign_characters_are_refused_without_being_quoted() -> None:
    with pytest.raises(NumeralRangeError, match="not in the alphabet") as caught:
        FF1Text(bytes(32), DIGITS).encrypt(pa.array(["12345678", "1234x678"]))
    assert "1234" not in str(caught.value)


def test_tweaks_of_another_shape_are_refused() -> None:
    with pytest.raises(TokenError, match="a tweak is"):
        FF1(bytes(32), 10).encrypt(np.zeros((2, 8), np.uint8), np.zeros((3, 1), np.uint8))


@pytest.mark.parametrize("make", [lambda: FF1(b"k" * 32, 10), lambda: FF1Text(b"k" * 32, DIGITS)])
def test_keys_are_neither_shown_nor_copied(make: object) -> None:
    cipher = make()  # type: ignore[operator]
    assert "kkk" not in repr(cipher)
    for copying in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(SecretError):
            copying(cipher)
