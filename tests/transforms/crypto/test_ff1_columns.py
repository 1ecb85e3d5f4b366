"""FF1 over string columns: the same tokens as the scalar reference gives, whatever the column looks like inside."""

from __future__ import annotations

import copy
import itertools
import pickle
import random
import string

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
from consentry.transforms.crypto import ff1_columns, ff1_rounds
from consentry.transforms.crypto.ff1_columns import FF1Text
from hypothesis import given
from hypothesis import strategies as st
from oracles import ff1_scalar

KEY = bytes(range(32))
DIGITS = "0123456789"
ALNUM36 = DIGITS + string.ascii_lowercase
ALNUM62 = ALNUM36 + string.ascii_uppercase
ASCII = "".join(map(chr, range(128)))


def expected(value: str | None, alphabet: str, tweak: bytes = b"") -> str | None:
    if value is None:
        return None
    numerals = [alphabet.index(character) for character in value]
    return "".join(alphabet[numeral] for numeral in ff1_scalar.encrypt(KEY, len(alphabet), numerals, tweak))


def matrix(values: list[str]) -> np.ndarray:
    return np.frombuffer("".join(values).encode(), np.uint8).reshape(len(values), -1)


@pytest.mark.parametrize(("text", "cipher"), [("0123456789", "2433477484"), ("", None)])
def test_a_nist_sample_goes_through_as_text(text: str, cipher: str | None) -> None:
    ff1 = FF1Text(bytes.fromhex("2B7E151628AED2A6ABF7158809CF4F3C"), DIGITS)
    column = pa.array([text or None], pa.string())
    assert ff1.encrypt(column).to_pylist() == [cipher]
    assert ff1.decrypt(pa.array([cipher], pa.string())).to_pylist() == [text or None]


@pytest.mark.parametrize(
    "alphabet",
    [
        "ab",
        "abc",
        DIGITS,
        DIGITS[::-1],
        DIGITS + "X",
        DIGITS + "XY",
        ALNUM36[:16],
        ALNUM36[:17],
        ALNUM36,
        ALNUM62,
        ASCII,
    ],
    ids=lambda alphabet: f"{len(alphabet)}-{ord(alphabet[0])}",
)
def test_every_alphabet_and_length_agrees_with_the_scalar_reference(alphabet: str) -> None:
    rng = random.Random(len(alphabet))
    ff1 = FF1Text(KEY, alphabet, min_domain=0)
    for length in [*range(2, 38), 45, 64]:
        first, last = alphabet[0], alphabet[-1]
        values = [first * length, last * length, first * (length // 2) + last * (length - length // 2)]
        values += ["".join(rng.choices(alphabet, k=length)) for _ in range(2)]
        tokens = ff1.encrypt_bytes(matrix(values), b"tweak")
        assert [row.tobytes().decode() for row in tokens] == [expected(value, alphabet, b"tweak") for value in values]
        assert (ff1.decrypt_bytes(tokens, b"tweak") == matrix(values)).all()


@given(values=st.lists(st.none() | st.text(DIGITS, min_size=6, max_size=45)), tweak=st.binary(max_size=20))
def test_columns_of_mixed_lengths_with_nulls_and_an_offset_agree(values: list[str | None], tweak: bytes) -> None:
    ff1 = FF1Text(KEY, DIGITS)
    column = pa.array(["1234567", *values, "7654321"], pa.string())[1:-1]
    tokens = ff1.encrypt(column, tweak)
    tokens.validate(full=True)
    assert tokens.to_pylist() == [expected(value, DIGITS, tweak) for value in values]
    assert ff1.decrypt(tokens, tweak).to_pylist() == values


@given(st.lists(st.tuples(st.none() | st.text(ALNUM36, min_size=4, max_size=30), st.binary(max_size=24))))
def test_a_column_of_tweaks_of_any_lengths_agrees(rows: list[tuple[str | None, bytes]]) -> None:
    ff1 = FF1Text(KEY, ALNUM36)
    column = pa.array([value for value, _ in rows], pa.string())
    tweaks = pa.array([b"before", *(tweak for _, tweak in rows)], pa.binary())[1:]
    tokens = ff1.encrypt(column, tweaks)
    assert tokens.to_pylist() == [expected(value, ALNUM36, tweak) for value, tweak in rows]
    assert ff1.decrypt(tokens, tweaks).to_pylist() == column.to_pylist()


def test_a_matrix_of_tweaks_goes_with_its_rows_through_nulls_and_lengths() -> None:
    values = ["123456", None, "1234567", "654321", None, "7654321"]
    tweaks = np.arange(18, dtype=np.uint8).reshape(6, 3)
    tokens = FF1Text(KEY, DIGITS).encrypt(pa.array(values), tweaks)
    assert tokens.to_pylist() == [
        expected(value, DIGITS, tweak.tobytes()) for value, tweak in zip(values, tweaks, strict=True)
    ]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_binary(), pa.binary(), pa.binary(2)])
def test_tweaks_may_come_as_any_string_or_binary_type(kind: pa.DataType) -> None:
    ff1 = FF1Text(KEY, DIGITS)
    tweaks = pa.array([b"ab", b"cd", None], pa.binary()).cast(kind)
    tokens = ff1.encrypt(pa.array(["123456", "123456", None]), tweaks)
    assert tokens.to_pylist() == [expected("123456", DIGITS, b"ab"), expected("123456", DIGITS, b"cd"), None]


def test_columns_longer_than_a_chunk_agree_with_their_parts() -> None:
    count = 2 * ff1_rounds.CHUNK + 7
    column = pa.array([f"{number:016d}" for number in range(count)])
    tweaks = np.arange(count, dtype=np.uint32).view(np.uint8).reshape(count, 4)
    ff1 = FF1Text(KEY, DIGITS)
    edge = slice(ff1_rounds.CHUNK - 1, ff1_rounds.CHUNK + 2)
    for tweak, part in ((b"", b""), (tweaks, tweaks[edge])):
        whole = ff1.encrypt(column, tweak)
        assert whole[edge].equals(ff1.encrypt(column[edge], part))
        assert ff1.decrypt(whole, tweak).equals(column)
        assert len(whole.unique()) == count or tweak is tweaks


def test_a_small_domain_is_permuted() -> None:
    everything = pa.array(["".join(value) for value in itertools.product("abc", repeat=7)])
    tokens = FF1Text(KEY, "abc", min_domain=0).encrypt(everything)
    assert sorted(tokens.to_pylist()) == everything.to_pylist()


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view(), pa.null()])
@pytest.mark.parametrize("rows", [0, 3])
def test_empty_and_null_columns_pass(kind: pa.DataType, rows: int) -> None:
    for tweak in (b"", np.zeros((rows, 2), np.uint8), pa.array([None] * rows, pa.binary())):
        tokens = FF1Text(KEY, DIGITS).encrypt(pa.array([None] * rows, kind), tweak)
        assert tokens.type == pa.string() and tokens.to_pylist() == [None] * rows


@pytest.mark.parametrize("kind", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())])
def test_every_string_type_gives_the_same_tokens(kind: pa.DataType) -> None:
    values = ["123456", None, "7654321", "123456"]
    assert FF1Text(KEY, DIGITS).encrypt(pa.array(values).cast(kind)).to_pylist() == [
        expected(value, DIGITS) for value in values
    ]


def test_values_of_very_different_lengths_go_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ff1_columns, "COUNTED", 100)
    values = ["1" * 6, "2" * 300, "3" * 6, None, "4" * 36, "5" * 37]
    assert FF1Text(KEY, DIGITS).encrypt(pa.array(values)).to_pylist() == [expected(value, DIGITS) for value in values]


def test_what_lies_under_a_null_or_outside_a_slice_does_not_travel_on() -> None:
    offsets = pa.py_buffer(np.array([0, 8, 16, 24], np.int32))
    text = pa.py_buffer(b"123456781111111122222222")
    hidden = pa.StringArray.from_buffers(3, offsets, text, pa.py_buffer(b"\x06"), 1)
    for column in (hidden, hidden[:1], hidden[:2], hidden[1:2]):
        token = FF1Text(KEY, DIGITS).encrypt(column)
        token.validate(full=True)
        travels = b"".join(bytes(buffer) for buffer in token.buffers() if buffer)
        assert not any(raw in travels for raw in (b"12345678", b"11111111", b"22222222"))


def test_columns_cut_from_a_wider_matrix_are_taken_and_left_alone() -> None:
    wide = matrix(["4111111111111111", "5500005555555559"])
    kept = wide.copy()
    ff1 = FF1Text(KEY, DIGITS)
    for cut in (wide[:, :11], wide[:, 3:12], wide[:, ::2], wide[::-1, 2:], np.asfortranarray(wide)):
        tokens = ff1.encrypt_bytes(cut, b"1111")
        assert [row.tobytes().decode() for row in tokens] == [
            expected(row.tobytes().decode(), DIGITS, b"1111") for row in cut
        ]
        assert (ff1.decrypt_bytes(tokens, b"1111") == cut).all()
    assert (wide == kept).all()


@pytest.mark.parametrize("alphabet", ["", "0", "00", "0é"])
def test_wrong_alphabets_are_refused(alphabet: str) -> None:
    with pytest.raises(TokenError, match="distinct ASCII"):
        FF1Text(KEY, alphabet)


def test_a_wrong_key_size_is_refused() -> None:
    with pytest.raises(KeySizeError, match="not 31"):
        FF1Text(bytes(31), DIGITS)


@pytest.mark.parametrize("alphabet", [DIGITS, ALNUM36, ALNUM62])
@pytest.mark.parametrize("foreign", ["/", ":", "é", "\x00", "\x7f"])
@pytest.mark.parametrize("others", [["12345678"], ["123456"], ["1" * 45]])
def test_foreign_characters_are_refused_without_being_quoted(alphabet: str, foreign: str, others: list[str]) -> None:
    for value in (f"1234567{foreign}", f"{foreign}1234567", "1234" * 10 + foreign):
        with pytest.raises(NumeralRangeError, match="not in the alphabet") as caught:
            FF1Text(KEY, alphabet).encrypt(pa.array([*others, value]))
        assert "1234" not in str(caught.value)


@pytest.mark.parametrize("values", [["1"], [""], ["123456", "1"], ["123456", ""], [None, ""]])
def test_values_under_two_characters_are_refused(values: list[str | None]) -> None:
    with pytest.raises(NumeralLengthError, match=r"FF1 takes 2 to 2\^32 - 1 numerals"):
        FF1Text(KEY, DIGITS, min_domain=0).encrypt(pa.array(values))


def test_values_of_a_domain_under_the_floor_are_refused() -> None:
    with pytest.raises(DomainTooSmallError, match="only 100,000 strings"):
        FF1Text(KEY, DIGITS).encrypt(pa.array(["12345678", "12345"]))
    with pytest.raises(DomainTooSmallError, match="only 100,000 strings"):
        FF1Text(KEY, DIGITS).encrypt_bytes(matrix(["12345"]))


@pytest.mark.parametrize("tweak", [np.zeros((1, 2), np.uint8), np.zeros((2, 2), np.int64), np.zeros(2, np.uint8), 7])
def test_tweaks_that_do_not_fit_the_rows_are_refused(tweak: object) -> None:
    ff1 = FF1Text(KEY, DIGITS)
    with pytest.raises(TokenError, match="a tweak is"):
        ff1.encrypt(pa.array(["123456", "123456"]), tweak)
    with pytest.raises(TokenError, match="a tweak is"):
        ff1.encrypt_bytes(matrix(["123456", "123456"]), tweak)  # type: ignore[arg-type]


@pytest.mark.parametrize("tweaks", [[b"a"], [b"a", None]])
def test_a_column_of_tweaks_with_gaps_is_refused(tweaks: list[bytes | None]) -> None:
    with pytest.raises(TokenError, match="one for each value"):
        FF1Text(KEY, DIGITS).encrypt(pa.array(["123456", "123456"]), pa.array(tweaks, pa.binary()))


@pytest.mark.parametrize("text", [np.zeros(8, np.uint8), np.zeros((1, 8), np.int64)])
def test_anything_but_a_matrix_of_bytes_is_refused(text: np.ndarray) -> None:
    with pytest.raises(TokenError, match="uint8 array of shape"):
        FF1Text(KEY, DIGITS).encrypt_bytes(text)


def test_keys_are_neither_shown_nor_copied() -> None:
    ff1 = FF1Text(b"k" * 32, DIGITS)
    assert "kkk" not in repr(ff1)
    for copying in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(SecretError):
            copying(ff1)
