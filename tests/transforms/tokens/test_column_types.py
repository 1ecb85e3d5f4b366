"""Columns of every type: what counts as a value, and what is refused with which reason."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

CARD = 4111111111111111


def test_one_card_has_one_token_in_every_spelling_and_type(tokenizer: Any) -> None:
    cipher = tokenizer("pan")
    text = ["4111 1111 1111 1111", "4111-1111-1111-1111", "4111.1111.1111.1111", "4111\u00a01111\u00a01111\u00a01111",
            " 4111111111111111\n", "４１１１ １１１１ １１１１ １１１１"]  # fmt: skip
    columns = [
        pa.array(text),
        pa.array([CARD, None], pa.int64()),
        pa.array([CARD], pa.uint64()),
        pa.array([Decimal(CARD)], pa.decimal128(38, 0)),
        pa.array([Decimal(CARD)], pa.decimal128(24, 2)),
        pa.array([b"4111111111111111"], pa.binary()),
        pa.array([b"4111111111111111"], pa.large_binary()).slice(0),
        pa.array([CARD, CARD, None]).dictionary_encode(),
        pa.compute.run_end_encode(pa.array([str(CARD)] * 3)),
    ]
    tokens = {token for column in columns for token in cipher.tokenize(column).tokens.drop_null().to_pylist()}
    values = {value for column in columns for value in cipher.tokenize(column).values.drop_null().to_pylist()}
    assert len(tokens) == 1 and values == {str(CARD)}


@pytest.mark.parametrize(
    "column",
    [
        pa.array([4111111111111111.0, None]),
        pa.array([True, None]),
        pa.array([datetime.date(2026, 3, 1), None]),
        pa.array([datetime.datetime(2026, 3, 1), None]),
        pa.array([[1], None]),
        pa.array([{"a": 1}, None]),
        pa.array([b"0123456789abcdef", None], pa.binary(16)),
    ],
    ids=lambda column: str(column.type),
)
@pytest.mark.parametrize("format", ["pan", "surrogate", "phone", "email"])
def test_other_types_are_refused(tokenizer: Any, reasons: Any, column: pa.Array, format: str) -> None:
    result = tokenizer(format).tokenize(column)
    assert reasons(result) == ["wrong_type", None]
    assert result.tokens.null_count == result.values.null_count == 2


@pytest.mark.parametrize("format", ["pan", "digits", "ssn", "iban", "phone", "email", "surrogate"])
def test_bytes_that_are_no_text_are_refused_and_spoil_no_other_row(tokenizer: Any, reasons: Any, format: str) -> None:
    good = {"email": b"a@b.de", "iban": b"DE89370400440532013000", "phone": b"+14155550100", "ssn": b"123456789"}
    column = pa.array([b"\xff\xfe1", good.get(format, b"4111111111111111"), None], pa.binary())
    broken = pa.Array.from_buffers(pa.string(), 3, column.buffers(), null_count=1)
    for bytes_ in (column, broken):
        result = tokenizer(format).tokenize(bytes_)
        assert reasons(result) == ["not_text", None, None]
        assert result.tokens.null_count == 2


def test_signs_and_points_of_numbers_are_no_separators(tokenizer: Any, reasons: Any) -> None:
    assert reasons(tokenizer("pan").tokenize(pa.array([-CARD]))) == ["not_digits"]
    point = pa.array([Decimal("41111111111111.11")], pa.decimal128(20, 2))
    assert reasons(tokenizer("pan").tokenize(point)) == ["not_digits"]
    assert reasons(tokenizer("ssn").tokenize(pa.array([-123456789]))) == ["not_digits"]
    numbers = tokenizer("phone", region="US").tokenize(pa.array([4155550100, -4155550100]))
    assert reasons(numbers) == [None, "not_a_phone"]


def test_integers_of_social_security_numbers_get_their_zeros_back(tokenizer: Any, reasons: Any) -> None:
    result = tokenizer("ssn").tokenize(pa.array([12345678, 1234567, 123456]))
    assert result.values.to_pylist() == ["012345678", "001234567", None]
    assert reasons(result)[2] == "wrong_length"
    assert tokenizer("ssn").tokenize(pa.array(["012-34-5678"])).tokens[0] == result.tokens[0]


def test_numbers_and_text_of_one_id_share_a_surrogate(tokenizer: Any) -> None:
    cipher = tokenizer("surrogate")
    columns = [pa.array([17]), pa.array([" 17 "]), pa.array([Decimal(17)], pa.decimal128(9, 2))]
    assert len({cipher.tokenize(column).tokens[0].as_py() for column in columns}) == 1
    tiny = pa.array([Decimal("1E-10"), Decimal("1E-11")], pa.decimal128(30, 20))
    assert len(set(cipher.tokenize(tiny).tokens.to_pylist())) == 2


@pytest.mark.parametrize("format", ["pan", "digits", "ssn", "alphanumeric", "phone", "iban", "email", "surrogate"])
def test_empty_values_are_refused_as_empty(tokenizer: Any, reasons: Any, format: str) -> None:
    assert reasons(tokenizer(format).tokenize(pa.array(["", "  ", None]))) == ["empty", "empty", None]


def test_a_dictionary_may_hold_unused_and_null_entries(tokenizer: Any, reasons: Any) -> None:
    dictionary = pa.array(["4111111111111111", None, "broken", "unused"])
    column = pa.DictionaryArray.from_arrays(pa.array([2, 1, 0, None, 0], pa.int8()), dictionary).slice(0, 5)
    result = tokenizer("pan").tokenize(column)
    assert reasons(result) == ["not_digits", None, None, None, None]
    assert result.values.to_pylist() == [None, None, str(CARD), None, str(CARD)]
    assert result.tokens.type == result.values.type == pa.string()


def test_long_columns_are_the_same_as_their_parts(tokenizer: Any, cards: Any) -> None:
    mixed = pa.concat_arrays([cards(40_000, 16), cards(30_000, 19), pa.array([None, "x", "", "4111 1111 1111 1111"])])
    mixed = mixed.take(pa.array(np.random.default_rng(3).permutation(len(mixed))))
    cipher = tokenizer("pan")
    whole = cipher.tokenize(mixed)
    parts = [cipher.tokenize(mixed.slice(start, 997)) for start in range(0, len(mixed), 997)]
    assert whole.tokens.equals(pa.concat_arrays([part.tokens for part in parts]))
    assert np.array_equal(whole.reasons, np.concatenate([part.reasons for part in parts]))
    assert cipher.invert(whole.tokens).equals(whole.values)
