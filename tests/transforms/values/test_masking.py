"""Masked forms: something to recognise a value by, never the whole of it."""

from __future__ import annotations

import pytest
from consentry.schemas.info_types import Format
from consentry.transforms.values.masking import masked, masked_text
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("format", "value", "shown"),
    [
        (Format.PAN, "4111111111111111", "************1111"),
        (Format.PAN, "4222222222222", "*********2222"),
        (Format.SSN, "123456789", "*****6789"),
        (Format.IBAN, "DE89370400440532013000", "DE****************3000"),
        (Format.PHONE, "+14155550100", "+1********00"),
        (Format.PHONE, "+351912345678", "+351*******78"),
        (Format.EMAIL, "ana@example.com", "a***@example.com"),
        (Format.EMAIL, "a@example.com", "***@example.com"),
        (Format.DIGITS, "123456", "*****6"),
        (Format.DIGITS, "1234567890123456789", "***************6789"),
        (Format.ALPHANUMERIC, "AB-1234", "******4"),
        (Format.SURROGATE, "c-17", "****"),
        (Format.SURROGATE, "customer-000017", "****7"),
    ],
)
def test_masked_forms(format: Format, value: str, shown: str) -> None:
    assert masked(format, value) == shown


@given(st.sampled_from(list(Format)), st.text(max_size=40))
def test_a_masked_form_is_never_the_value(format: Format, value: str) -> None:
    assert masked(format, value) != value or not value or set(value) <= {"*", "@"}


@given(st.text(max_size=150))
def test_of_a_text_of_any_kind_only_its_shape_and_four_last_digits_are_seen(text: str) -> None:
    made = masked_text(text)
    assert len(made) == min(len(text), 120)
    shown = [was for was, now in zip(text, made, strict=False) if now == was and was not in " .-/:@_(),+*"]
    assert len(shown) <= 4 and "".join(shown).isdigit() | (not shown)
    assert masked_text("$€cr!t§pass") == "*" * 11 and masked_text("") == ""
