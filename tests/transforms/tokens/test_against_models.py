"""Every format against its scalar model: canonical form, reason, token and inverse, on values of any kind."""

from __future__ import annotations

import string
from collections.abc import Callable, Iterable
from typing import Any

import pyarrow as pa
import pytest
from consentry.schemas.info_types import InvalidReason
from consentry.transforms.values.phone_rules import PLANS, REGIONS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracles import token_models as model

Texts = st.SearchStrategy[str]
SHARED = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
BASE32 = "abcdefghijklmnopqrstuvwxyz234567"
DEFAULT_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
ANY = st.text(max_size=24)


def separated(numbers: Texts, separators: str) -> Texts:
    """Numbers with separators strewn in."""
    return st.builds(
        lambda number, places, between: "".join(
            character + (between[n % len(between)] if places >> n & 1 else "") for n, character in enumerate(number)
        ),
        numbers,
        st.integers(0, 2**24),
        st.text(separators, min_size=1, max_size=4),
    )


def digits(low: int, high: int) -> Texts:
    return st.text(string.digits, min_size=low, max_size=high)


def luhn(payload: str) -> str:
    return payload + str(-model.luhn_sum(payload + "0") % 10)


def iban(country: str, bban: str) -> str:
    return f"{country}{model.iban_check(country, bban):02d}{bban}"


UPPER = st.text(model.UPPER, min_size=30, max_size=30)
CARDS = separated(st.one_of(digits(12, 18).map(luhn), digits(11, 20)), " -.\u00a0\u2011")
SSNS = separated(digits(8, 10), " -")
IBANS = separated(
    st.one_of(
        digits(18, 18).map(lambda bban: iban("DE", bban)),
        digits(11, 11).map(lambda bban: iban("NO", bban).lower()),
        st.builds(lambda text, rest: iban("GB", "NWBK" + rest), UPPER, digits(14, 14)),
        st.builds(lambda text, rest: iban("FR", rest[:10] + text[:11] + rest[10:]), UPPER, digits(12, 12)),
        st.builds(lambda text: iban("ZZ", text[:18]), UPPER),
        st.builds(lambda text: iban("DE", text[:18]), UPPER),
        digits(18, 18).map(lambda bban: "DE00" + bban),
    ),
    " -.\u00a0",
)
EMAILS = st.one_of(
    st.emails(),
    st.builds("{}@{}.{}".format, st.text(max_size=8), st.text(max_size=8), st.text(max_size=3)),
    st.sampled_from(
        ["Ana@EXAMPLE.com", "J@BÜCHER.example", "x@İstanbul.tr", "a@b@c.de", "a@b..c", "a@.b", "a@b.", "@b.c"]
    ),
)
ALPHANUMERICS = st.one_of(st.text(DEFAULT_ALPHABET + " -./_:", max_size=24), st.text("AB1-", max_size=140))


def check(
    columns: Any,
    tokenizer: Any,
    values: list[str | None],
    canonical: Callable[[str], str],
    token: Callable[[str], str] | None,
) -> None:
    """Compares a column with the model, value by value."""
    result = tokenizer.tokenize(columns(values))
    expected: list[tuple[str | None, str | None]] = []
    for value in values:
        try:
            expected.append((None if value is None else canonical(value), None))
        except model.UnfitError as unfit:
            expected.append((None, str(unfit)))
    assert result.values.to_pylist() == [value for value, _ in expected]
    assert words(result.reasons) == [reason for _, reason in expected]
    if token is not None:
        assert result.tokens.to_pylist() == [None if value is None else token(value) for value, _ in expected]


def words(codes: Iterable[int]) -> list[str | None]:
    names = [None, *(reason.value for reason in InvalidReason)]
    return [names[code] for code in codes]


LAYOUTS = {
    "string": lambda values: pa.array(values, pa.string()),
    "large_string": lambda values: pa.array(values, pa.large_string()),
    "string_view": lambda values: pa.array(values, pa.string_view()),
    "dictionary": lambda values: pa.array(values, pa.string()).dictionary_encode(),
    "slice": lambda values: pa.array(["4111111111111111", None, *values, "x"], pa.string()).slice(2, len(values)),
}
columns_of = st.sampled_from(list(LAYOUTS.values()))


def some(values: Texts) -> st.SearchStrategy[list[str | None]]:
    return st.lists(st.one_of(st.none(), values, values, values, ANY), max_size=12)


@SHARED
@given(columns=columns_of, values=some(CARDS), kept=st.sampled_from([0, 4]), version=st.sampled_from([1, 9, 12]))
def test_card_tokens(
    tokenizer: Any, key_of: Any, columns: Any, values: list[str | None], kept: int, version: int
) -> None:
    key, k = key_of("pan", string.digits, version=version), (version - 1) % 9 + 1
    cipher = tokenizer("pan", keep_last=kept, version=version)
    check(columns, cipher, values, model.canonical_pan, lambda number: model.pan(key, number, k, kept))


@SHARED
@given(columns=columns_of, values=some(st.one_of(digits(1, 12), digits(34, 40), digits(120, 130))))
def test_digit_tokens(tokenizer: Any, key_of: Any, columns: Any, values: list[str | None]) -> None:
    key = key_of("digits", string.digits)
    check(
        columns, tokenizer("digits"), values, model.canonical_digits, lambda text: model.ff1(key, text, string.digits)
    )


@SHARED
@given(columns=columns_of, values=some(SSNS))
def test_social_security_number_tokens(tokenizer: Any, key_of: Any, columns: Any, values: list[str | None]) -> None:
    key = key_of("ssn", string.digits)
    check(columns, tokenizer("ssn"), values, model.canonical_ssn, lambda text: model.ff1(key, text, string.digits))


@SHARED
@given(columns=columns_of, values=some(ALPHANUMERICS), parameters=st.sampled_from([
    {}, {"alphabet": "01-"}, {"alphabet": string.ascii_uppercase, "separators": " -"}, {"separators": ""},
]))  # fmt: skip
def test_alphanumeric_tokens(
    tokenizer: Any, key_of: Any, rule: Any, columns: Any, values: list[str | None], parameters: dict[str, str]
) -> None:
    described = rule("alphanumeric", **parameters)
    alphabet = described.numeral_alphabet
    separators = "".join(c for c in described.kept_separators if c not in alphabet)
    key = key_of("alphanumeric", alphabet)
    check(
        columns,
        tokenizer("alphanumeric", **parameters),
        values,
        lambda text: model.canonical_alphanumeric(text, alphabet, separators),
        lambda text: model.alphanumeric(key, text, alphabet),
    )


@SHARED
@given(columns=columns_of, values=some(IBANS), version=st.sampled_from([1, 9]))
def test_account_tokens(tokenizer: Any, key_of: Any, columns: Any, values: list[str | None], version: int) -> None:
    def key(alphabet: str) -> bytes:
        return key_of("iban", alphabet, version=version)  # type: ignore[no-any-return]

    cipher = tokenizer("iban", version=version)
    check(columns, cipher, values, model.canonical_iban, lambda number: model.iban(key, number, version))


@SHARED
@given(columns=columns_of, values=some(EMAILS), domain=st.sampled_from(["hash", "keep"]))
def test_email_tokens(
    tokenizer: Any, key_of: Any, companion_of: Any, columns: Any, values: list[str | None], domain: str
) -> None:
    keys = [(companion_of(use), key_of("email", BASE32, use=use)) for use in ("surrogate", "email-domain")]

    def token(address: str) -> str:
        name = address.partition("@")[2]
        kept = model.surrogate_of(*keys[1], name) if domain == "hash" else name
        return f"{model.surrogate_of(*keys[0], address)}@{kept}.invalid"

    check(columns, tokenizer("email", email_domain=domain), values, model.canonical_email, token)


@SHARED
@given(columns=columns_of, values=some(st.text(max_size=80)))
def test_surrogates(tokenizer: Any, key_of: Any, companion_of: Any, columns: Any, values: list[str | None]) -> None:
    keys = companion_of("surrogate"), key_of("surrogate", BASE32, use="surrogate")
    check(columns, tokenizer("surrogate"), values, model.canonical_text, lambda text: model.surrogate_of(*keys, text))


NATIONAL = st.text(string.digits, min_size=4, max_size=13)
CODES = st.sampled_from([*PLANS, 86, 52, 54, 62, 82, 886, 290, 210, 999, 0])
PHONES = separated(
    st.one_of(
        st.builds("{}{}{}".format, st.sampled_from(["+", "00", "011", "010", "0011", ""]), CODES, NATIONAL),
        st.builds("{}{}".format, st.sampled_from(["0", "1", "", "(0)"]), NATIONAL),
        st.builds("+{}(0){}".format, CODES, NATIONAL),
        st.builds("+{}{} x{}".format, CODES, NATIONAL, digits(1, 3)),
    ),
    " -./()\u00a0",
)
REGION_NAMES = [None, "MX", *REGIONS]


@settings(parent=SHARED, max_examples=300)
@given(values=st.lists(PHONES, min_size=5, max_size=20), region=st.sampled_from(REGION_NAMES))
def test_phone_tokens(tokenizer: Any, key_of: Any, values: list[str], region: str | None) -> None:
    parameters = {} if region is None else {"region": region}
    key = key_of("phone", string.digits)
    cipher = tokenizer("phone", **parameters)
    columns = LAYOUTS["string"]
    check(
        columns,
        cipher,
        list(values),
        lambda text: model.canonical_phone(text, region),
        lambda number: model.phone(key, number),
    )


@pytest.mark.parametrize("format", ["pan", "digits", "ssn", "alphanumeric", "phone", "iban", "email", "surrogate"])
def test_a_column_without_rows_or_values_stays_one(tokenizer: Any, format: str) -> None:
    for column in (pa.array([], pa.string()), pa.nulls(3, pa.string()), pa.nulls(3), pa.nulls(2, pa.int64())):
        result = tokenizer(format).tokenize(column)
        assert result.tokens.equals(pa.nulls(len(column), pa.string()))
        assert result.values.equals(result.tokens) and not result.reasons.any()
