"""Tokens move from one key version to another: as if the values had been tokenized under it, and without the values."""

from __future__ import annotations

import string
from typing import Any

import pyarrow as pa
import pytest
from consentry.schemas.errors import NotReversibleError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SHARED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
FORMATS: list[tuple[str, dict[str, Any], list[str]]] = [
    ("pan", {}, ["4111111111111111", "5555 5555 5555 4444", "378282246310005"]),
    ("pan", {"keep_last": 0}, ["4111111111111111"]),
    ("digits", {}, ["123456789", "000000000000"]),
    ("alphanumeric", {}, ["AB-12345678", "zz99 0011"]),
    ("ssn", {}, ["078-05-1121", "123456789"]),
    ("phone", {}, ["+49 151 23456789", "+1 415 555 0132"]),
    ("iban", {}, ["DE89370400440532013000", "GB82 WEST 1234 5698 7654 32"]),
    ("email", {}, ["ana@example.com", "Bo@EXAMPLE.com", "ü@bücher.example"]),
    ("email", {"email_domain": "keep"}, ["ana@example.com", "x@sub.domain.example.org"]),
    ("surrogate", {}, ["c-17", "", "ü" * 300]),
]
VERSIONS = st.sampled_from([1, 2, 3, 9, 12])


@pytest.mark.parametrize(("format", "parameters", "values"), FORMATS)
@SHARED
@given(old=VERSIONS, new=VERSIONS)
def test_moved_tokens_are_those_of_the_other_version(
    tokenizer: Any, format: str, parameters: dict[str, Any], values: list[str], old: int, new: int
) -> None:
    older, newer = (tokenizer(format, version=version, **parameters) for version in (old, new))
    column = pa.array([*values, None, *values])
    tokens = older.tokenize(column).tokens
    assert older.moved(tokens, newer).equals(newer.tokenize(column).tokens)


@pytest.mark.parametrize(("format", "parameters", "values"), FORMATS)
def test_what_is_no_token_moves_to_null(
    tokenizer: Any, format: str, parameters: dict[str, Any], values: list[str]
) -> None:
    older, newer = (tokenizer(format, version=version, **parameters) for version in (1, 2))
    good = older.tokenize(pa.array(values[:1])).tokens[0].as_py()
    foreign = pa.array(["[redacted]", "", None, "é" * 8, "0", good])
    moved = older.moved(foreign, newer).to_pylist()
    assert moved == [None] * 5 + newer.tokenize(pa.array(values[:1])).tokens.to_pylist()


@SHARED
@given(texts=st.lists(st.none() | st.text(string.printable, min_size=1, max_size=40), max_size=30))
def test_surrogates_move_over_several_versions_as_in_one_step(tokenizer: Any, texts: list[str | None]) -> None:
    one, two, three = (tokenizer("surrogate", version=version) for version in (1, 2, 3))
    tokens = one.tokenize(pa.array(texts, pa.string())).tokens
    assert two.moved(one.moved(tokens, two), three).equals(three.tokenize(pa.array(texts, pa.string())).tokens)
    assert three.moved(three.tokenize(pa.array(texts, pa.string())).tokens, one).equals(tokens)


def test_moving_does_not_make_surrogates_invertible(tokenizer: Any) -> None:
    surrogates = tokenizer("surrogate", version=1)
    with pytest.raises(NotReversibleError):
        surrogates.invert(surrogates.tokenize(pa.array(["c-17"])).tokens)


def test_a_whole_column_moves_with_more_rows_than_a_chunk(tokenizer: Any) -> None:
    column = pa.array([f"c-{number}" for number in range(100_001)])
    one, two = (tokenizer("surrogate", version=version) for version in (1, 2))
    assert one.moved(one.tokenize(column).tokens, two).equals(two.tokenize(column).tokens)


@pytest.mark.parametrize(("format", "parameters", "values"), FORMATS)
def test_what_lasts_is_the_same_under_all_versions_and_differs_for_each_value(
    tokenizer: Any, format: str, parameters: dict[str, Any], values: list[str]
) -> None:
    column = pa.array([*values, None])
    lasting = []
    for version in (1, 2, 12):
        cipher = tokenizer(format, version=version, **parameters)
        lasting.append(cipher.lasting(cipher.tokenize(column).tokens).to_pylist())
    assert lasting[0] == lasting[1] == lasting[2]
    filled = [value for value in lasting[0] if value is not None]
    assert len(set(filled)) == len(filled) == len([value for value in values if value])
    assert tokenizer(format, version=1, **parameters).lasting(pa.array(["[redacted]", None])).to_pylist() == [None] * 2
