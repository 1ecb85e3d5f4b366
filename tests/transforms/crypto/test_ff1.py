"""FF1 against the samples of NIST SP 800-38G and a scalar reading of it."""

from __future__ import annotations

import copy
import itertools
import pickle
import random

import numpy as np
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
from hypothesis import given
from hypothesis import strategies as st
from oracles import ff1_scalar

KEY128 = "2B7E151628AED2A6ABF7158809CF4F3C"
KEY192 = KEY128 + "EF4359D8D580AA4F"
KEY256 = KEY192 + "7F036D6F04FC6A94"
ALPHABET36 = "0123456789abcdefghijklmnopqrstuvwxyz"
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
    before, after = ([ALPHABET36.index(character) for character in text] for text in (plain, cipher))
    ff1 = FF1(bytes.fromhex(key), radix)
    assert ff1.encrypt(np.array([before]), bytes.fromhex(tweak)).tolist() == [after]
    assert ff1.decrypt(np.array([after]), bytes.fromhex(tweak)).tolist() == [before]


@pytest.mark.parametrize(("key", "radix", "tweak", "plain", "cipher"), SAMPLES)
def test_nist_samples_hold_for_the_scalar_reference(key: str, radix: int, tweak: str, plain: str, cipher: str) -> None:
    before, after = ([ALPHABET36.index(character) for character in text] for text in (plain, cipher))
    assert ff1_scalar.encrypt(bytes.fromhex(key), radix, before, bytes.fromhex(tweak)) == after
    assert ff1_scalar.decrypt(bytes.fromhex(key), radix, after, bytes.fromhex(tweak)) == before


def edge_rows(rng: random.Random, radix: int, length: int) -> list[list[int]]:
    half = length // 2
    rows = [[0] * length, [radix - 1] * length, [0] * half + [radix - 1] * (length - half)]
    return rows + [[rng.randrange(radix) for _ in range(length)] for _ in range(2)]


@pytest.mark.parametrize("radix", [2, 10, 26, 32, 36, 62, 255, 256, 65536])
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


@pytest.mark.parametrize(("radix", "length"), [(2, 123), (2, 124), (2, 125), (2, 126), (3, 78), (3, 79), (65536, 7)])
def test_shapes_about_the_largest_words_agree_with_the_scalar_reference(radix: int, length: int) -> None:
    rows = edge_rows(random.Random(length), radix, length)
    cipher = FF1(bytes(16), radix)
    for tweak in (b"", b"123456789"):
        changed = cipher.encrypt(np.array(rows), tweak)
        assert changed.tolist() == [ff1_scalar.encrypt(bytes(16), radix, row, tweak) for row in rows]
        assert cipher.decrypt(changed, tweak).tolist() == rows


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


def numbers(first: int, more: int | None = None) -> ff1_rounds._Numbers:
    words = None if more is None else np.array([more], np.uint64)
    return ff1_rounds._Numbers(np.array([first], np.uint64), words, np.empty(1, np.uint64))


def test_sums_that_would_wrap_64_bits_are_exact() -> None:
    """Random data never reaches this branch, so the pseudorandom numbers are put there on purpose."""
    modulus = 10**8
    for start in (2**64 - 1, 2**64 - modulus, 2**64 - modulus - 1, 0):
        for half in (0, 1, modulus - 1):
            target = np.array([half], np.uint64)
            ff1_rounds._added(target, numbers(start), np.array(modulus, np.uint64))
            assert target[0] == (start + half) % modulus
            target = np.array([half], np.uint64)
            ff1_rounds._subtracted(target, numbers(start), np.array(modulus, np.uint64))
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
        function(target, numbers(first, more), np.array(modulus, np.uint64))
        assert int(target[0]) == expected


@pytest.mark.parametrize("beyond", range(1, 40))
def test_a_quotient_that_is_estimated_two_short_is_exact(beyond: int) -> None:
    modulus, more = 2**32 + beyond, 2**32 - 1
    for first in range(modulus - 60, modulus):
        number = numbers(first, more)
        ff1_rounds._reduce(number, np.array(modulus, np.uint64))
        assert int(number.first[0]) == (first * 2**32 + more) % modulus


def test_remainders_next_to_a_multiple_of_the_modulus_are_exact() -> None:
    rng = random.Random(4)
    for _ in range(3000):
        modulus = rng.randrange(2**32, 2**64 // 3)
        value = rng.randrange(2**64) * 2**32 // modulus * modulus + rng.choice((-1, 0, 1))
        if not 0 <= value < 2**96:
            continue
        target = np.array([0], np.uint64)
        ff1_rounds._added(target, numbers(value >> 32, value & 0xFFFFFFFF), np.array(modulus, np.uint64))
        assert int(target[0]) == value % modulus


@pytest.mark.parametrize(("radix", "longest"), [(2, 124), (10, 36), (26, 26), (36, 24), (62, 20), (64, 20), (65536, 6)])
def test_halves_are_words_up_to_a_third_of_64_bits(radix: int, longest: int) -> None:
    assert ff1_rounds.Shape(radix, longest).fits_words
    assert not ff1_rounds.Shape(radix, longest + 1).fits_words


@pytest.mark.parametrize(("radix", "length"), [(10, 16), (10, 17), (36, 12), (65536, 2)])
def test_the_slow_branch_and_the_fast_one_agree(monkeypatch: pytest.MonkeyPatch, radix: int, length: int) -> None:
    rows = edge_rows(random.Random(7), radix, length)
    cipher = FF1(bytes(range(16)), radix)
    fast = cipher.encrypt(np.array(rows), b"tweak")
    monkeypatch.setattr(ff1_rounds, "WORD", 0)
    assert cipher.encrypt(np.array(rows), b"tweak").tolist() == fast.tolist()
    assert fast.tolist() == [ff1_scalar.encrypt(bytes(range(16)), radix, row, b"tweak") for row in rows]


@given(
    radix=st.integers(2, 300) | st.sampled_from([1000, 65535, 65536]),
    length=st.integers(2, 70),
    key=st.binary(min_size=16, max_size=16) | st.binary(min_size=32, max_size=32),
    tweak=st.binary(max_size=40),
    seed=st.integers(0, 2**32),
)
def test_any_shape_round_trips(radix: int, length: int, key: bytes, tweak: bytes, seed: int) -> None:
    rows = np.random.default_rng(seed).integers(0, radix, (5, length))
    cipher = FF1(key, radix, min_domain=0)
    changed = cipher.encrypt(rows, tweak)
    assert changed.shape == rows.shape and changed.max() < radix and changed.min() >= 0
    assert (cipher.decrypt(changed, tweak) == rows).all()
    assert changed[0].tolist() == ff1_scalar.encrypt(key, radix, rows[0].tolist(), tweak)
    assert ff1_scalar.decrypt(key, radix, changed[0].tolist(), tweak) == rows[0].tolist()


@pytest.mark.parametrize("kind", "bhilBHIL")
def test_every_integer_type_gives_the_same_numerals(kind: str) -> None:
    rows = np.array([[1, 2, 3, 4, 5, 6, 7]])
    changed = FF1(bytes(32), 10).encrypt(rows.astype(kind))
    assert changed.dtype == np.dtype(kind)
    assert changed.tolist() == FF1(bytes(32), 10).encrypt(rows).tolist()


def test_types_that_cannot_hold_the_radix_are_widened() -> None:
    rows = np.array([[1, 2, 3, 4, 5, 6, 7]], np.uint8)
    cipher = FF1(bytes(32), 60_000)
    changed = cipher.encrypt(rows)
    assert changed.dtype == np.uint16
    assert changed.tolist() == cipher.encrypt(rows.astype(np.int64)).tolist()
    assert cipher.decrypt(changed).tolist() == rows.tolist()


@pytest.mark.parametrize("length", [8, 19, 40])
def test_no_rows_give_no_rows(length: int) -> None:
    assert FF1(bytes(32), 10).encrypt(np.empty((0, length), np.int8), b"tweak").shape == (0, length)


def test_values_of_hundreds_of_numerals_agree_with_the_scalar_reference() -> None:
    rows = edge_rows(random.Random(3), 36, 700)
    cipher = FF1(bytes(24), 36)
    changed = cipher.encrypt(np.array(rows), b"t")
    assert changed.tolist() == [ff1_scalar.encrypt(bytes(24), 36, row, b"t") for row in rows]
    assert cipher.decrypt(changed, b"t").tolist() == rows


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


def test_a_domain_of_exactly_the_floor_is_taken() -> None:
    assert FF1(bytes(32), 10).encrypt(np.zeros((1, 6), np.uint8)).shape == (1, 6)
    with pytest.raises(DomainTooSmallError, match="floor of 1,000,001"):
        FF1(bytes(32), 10, min_domain=1_000_001).encrypt(np.zeros((1, 6), np.uint8))
    with pytest.raises(DomainTooSmallError, match="under the floor"):
        FF1(bytes(32), 2, min_domain=2**80).encrypt(np.zeros((1, 79), np.uint8))
    assert FF1(bytes(32), 2, min_domain=2**80).encrypt(np.zeros((1, 80), np.uint8)).shape == (1, 80)


@pytest.mark.parametrize("numerals", [np.zeros(8, np.int64), np.zeros((1, 8)), np.zeros((1, 8), bool)])
def test_anything_but_a_matrix_of_integers_is_refused(numerals: np.ndarray) -> None:
    with pytest.raises(TokenError, match="integer array of shape"):
        FF1(bytes(32), 10).encrypt(numerals)


@pytest.mark.parametrize("tweak", [np.zeros((3, 1), np.uint8), np.zeros((1, 1), np.uint8), np.zeros(2, np.uint8), "t"])
def test_tweaks_of_another_shape_are_refused(tweak: object) -> None:
    with pytest.raises(TokenError, match="a tweak is"):
        FF1(bytes(32), 10).encrypt(np.zeros((2, 8), np.uint8), tweak)  # type: ignore[arg-type]


def test_keys_are_neither_shown_nor_copied() -> None:
    cipher = FF1(b"k" * 32, 10)
    assert "kkk" not in repr(cipher)
    for copying in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(SecretError):
            copying(cipher)
