"""Identifiers are passed over only where no detector would have found anything."""

from __future__ import annotations

import pyarrow as pa
import pytest
from consentry.transforms.detectors.free_text import find_in_texts
from consentry.transforms.plain_identifiers import are_plain_identifiers
from hypothesis import given, settings
from hypothesis import strategies as st

WORDS = [
    "o-",
    "ord_",
    "invoice-",
    "phone:",
    "tel ",
    "ssn ",
    "nhs:",
    "fax ",
    "m:",
    "born ",
    "customer_",
    "card ",
    "pwd:",
]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(WORDS), st.lists(st.from_regex(r"[0-9]{1,12}", fullmatch=True), min_size=1, max_size=20))
def test_what_is_passed_over_holds_nothing(word: str, numbers: list[str]) -> None:
    texts = pa.array([word + number for number in numbers])
    found = {row for row, _ in find_in_texts(texts, tokens=False)}
    passed = {row for row, plain in enumerate(are_plain_identifiers(texts).to_pylist()) if plain}
    assert not found & passed


@pytest.mark.parametrize("word", ["phone:", "born ", "fax "])
def test_words_that_tell_something_are_noticed(word: str) -> None:
    assert not any(are_plain_identifiers(pa.array([f"{word}123", f"{word}4155552671"])).to_pylist())


def test_order_numbers_are_identifiers() -> None:
    texts = pa.array(["o-000001", "ord_123456789012", "o-1234567890123", "kim@example.com", "o-1 ", None, "1"])
    assert are_plain_identifiers(texts).to_pylist() == [True, True, False, False, False, False, False]
    assert are_plain_identifiers(texts.cast(pa.large_string())).to_pylist()[:3] == [True, True, False]
    assert are_plain_identifiers(pa.array([], pa.string())).to_pylist() == []


def test_many_beginnings_are_no_identifiers() -> None:
    texts = pa.array([f"{chr(97 + first)}{chr(97 + last)}-1" for first in range(26) for last in range(26)])
    assert not any(are_plain_identifiers(texts).to_pylist())
