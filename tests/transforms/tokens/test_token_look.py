"""What can be a token is told from its look alone: every token can, and of raw values no more than is promised."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from consentry.schemas.info_types import Format, TokenizeRule
from consentry.transforms.values.token_columns import PROVEN, are_tokens
from consentry.transforms.values.token_spelling import canonical_token
from hypothesis import given, settings
from hypothesis import strategies as st

VALUES = {
    "pan": ["4111111111111111", "378282246310005", "5555555555554444"],
    "digits": ["123456", "9876543210123"],
    "alphanumeric": ["AB-12345", "x9y8z7w6"],
    "ssn": ["219-09-9999", "457555462"],
    "phone": ["+14155552671", "+442079460018"],
    "iban": ["DE89370400440532013000", "GB29NWBK60161331926819"],
    "email": ["ana@example.com", "Kim@Sub.Example.org"],
    "surrogate": ["c-17", "anything at all"],
}


@pytest.mark.parametrize("version", [1, 3, 9])
@pytest.mark.parametrize("format", VALUES)
def test_every_token_can_be_one(tokenizer: Callable[..., Any], format: str, version: int) -> None:
    tokens = tokenizer(format, version=version).tokenize(pa.array([*VALUES[format], None])).tokens
    fits = [*([True] * len(VALUES[format])), False]
    assert are_tokens(Format(format), tokens, key_version=version).tolist() == fits
    assert are_tokens(Format(format), tokens).tolist() == fits
    assert are_tokens(Format(format), tokens.cast(pa.large_string())).tolist() == fits


@pytest.mark.parametrize("format", sorted(PROVEN))
def test_no_raw_value_looks_like_a_token_that_is_proven(format: Format) -> None:
    assert not are_tokens(format, pa.array(VALUES[format])).any()


@pytest.mark.parametrize("format", ["pan", "iban"])
def test_cards_and_accounts_tell_their_key_version(tokenizer: Callable[..., Any], format: str) -> None:
    tokens = tokenizer(format, version=4).tokenize(pa.array(VALUES[format])).tokens
    assert not are_tokens(Format(format), tokens, key_version=5).any()


def test_email_tokens_that_keep_their_domain_are_tokens_too(tokenizer: Callable[..., Any]) -> None:
    tokens = tokenizer("email", email_domain="keep").tokenize(pa.array(VALUES["email"])).tokens
    assert are_tokens(Format.EMAIL, tokens).all()


texts = st.one_of(
    st.text(max_size=24),
    st.from_regex(r"\+?[0-9]{5,20}", fullmatch=True),
    st.from_regex(r"[A-Z]{2}[0-9]{2}[0-9A-Z]{11,20}", fullmatch=True),
    st.from_regex(r"[a-z2-7]{15,17}(@[a-z2-7]{16}\.(invalid|com))?", fullmatch=True),
)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([each for each in Format if each is not Format.ALPHANUMERIC]), texts)
def test_it_agrees_with_the_desk_on_canonical_spellings(format: Format, text: str) -> None:
    rule = TokenizeRule(action="tokenize", format=format, domain="d", collect=("use",))
    column = pa.array([text.encode("utf-8", "replace").decode()])
    if canonical_token(rule, column[0].as_py()) == column[0].as_py():
        assert are_tokens(format, column).all()
    elif are_tokens(format, column).any():
        # The desk knows whether the rule keeps the domain, the look alone does not tell.
        assert format is Format.EMAIL
