"""Envelopes open only as they were sealed; associated data is unambiguous."""

from __future__ import annotations

import pytest
from consentry.schemas.errors import IntegrityError, KeySizeError
from consentry.transforms.crypto.envelope import (
    OVERHEAD,
    associated_data,
    open_many,
    open_sealed,
    seal,
    seal_many,
)
from hypothesis import given
from hypothesis import strategies as st

KEY = bytes(range(32))
FIELDS = st.lists(st.one_of(st.binary(max_size=12), st.text(max_size=6), st.integers(-(2**63), 2**63 - 1)), max_size=5)


@given(st.binary(max_size=200), st.binary(max_size=40))
def test_a_sealed_value_opens_to_itself(plaintext: bytes, bound: bytes) -> None:
    sealed = seal(KEY, plaintext, bound)
    assert len(sealed) == len(plaintext) + OVERHEAD
    assert open_sealed(KEY, sealed, bound) == plaintext


def test_every_flipped_byte_is_refused() -> None:
    sealed = seal(KEY, b"value", b"place")
    for position in range(len(sealed)):
        changed = bytearray(sealed)
        changed[position] ^= 1
        with pytest.raises(IntegrityError, match="do not open"):
            open_sealed(KEY, bytes(changed), b"place")


@pytest.mark.parametrize("length", [0, 11, 27])
def test_a_cut_envelope_is_refused(length: int) -> None:
    with pytest.raises(IntegrityError, match="cut off"):
        open_sealed(KEY, seal(KEY, b"", b"")[:length], b"")


def test_another_place_or_key_is_refused() -> None:
    sealed = seal(KEY, b"value", b"place")
    with pytest.raises(IntegrityError):
        open_sealed(KEY, sealed, b"other place")
    with pytest.raises(IntegrityError):
        open_sealed(bytes(32), sealed, b"place")


def test_a_short_key_is_refused() -> None:
    with pytest.raises(KeySizeError, match="16 bytes"):
        seal(bytes(16), b"", b"")


def test_the_same_value_never_looks_the_same() -> None:
    assert (
        len({seal(KEY, b"value", b"") for _ in range(100)} | set(seal_many(KEY, [b"value"] * 100, [b""] * 100))) == 200
    )


def test_many_seal_as_one_does() -> None:
    bound = [b"a", b"b", b"c"]
    sealed = seal_many(KEY, [b"1", b"2", b""], bound)
    assert [open_sealed(KEY, *pair) for pair in zip(sealed, bound, strict=True)] == [b"1", b"2", b""]
    assert open_many(KEY, sealed, bound) == [b"1", b"2", b""]
    with pytest.raises(IntegrityError):
        open_many(KEY, sealed, bound[::-1])


@given(FIELDS, FIELDS)
def test_different_fields_give_different_associated_data(left: list, right: list) -> None:
    typed = [[(type(field), field) for field in fields] for fields in (left, right)]
    assert (associated_data(*left) == associated_data(*right)) == (typed[0] == typed[1])
