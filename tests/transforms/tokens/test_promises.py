"""What each format promises of its tokens, on a million values; refusals of use; keys that stay hidden."""

from __future__ import annotations

import pickle
import re
import string
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from consentry.schemas.errors import KeyringError, NotReversibleError, SecretError
from consentry.transforms.values.byte_rows import ByteRows
from consentry.transforms.values.checksums import luhn_sums
from consentry.transforms.values.iban import canonical_iban, right_check_digits
from consentry.transforms.values.pan import canonical_pan

MILLION = 1_000_000
ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase


def matrix(column: pa.StringArray) -> Any:
    rows = ByteRows.of(column)
    return rows.data.reshape(len(rows), -1)


def distinct(column: pa.Array) -> int:
    return int(pc.count_distinct(column).as_py())


def accounts(texts: pa.StringArray, country: str) -> pa.StringArray:
    """Valid IBANs of a country with the texts as accounts."""
    bban = matrix(texts)
    ibans = np.concatenate([np.tile(np.frombuffer(f"{country}00".encode(), np.uint8), (len(bban), 1)), bban], axis=1)
    check = right_check_digits(ibans)
    ibans[:, 2], ibans[:, 3] = 48 + check // 10, 48 + check % 10
    return ByteRows.of_matrix(ibans, np.ones(len(bban), np.bool_)).to_strings()


@pytest.mark.parametrize("kept", [0, 4])
@pytest.mark.parametrize(("version", "length"), [(1, 16), (9, 13), (12, 19)])
def test_a_card_token_is_never_luhn_valid_and_never_the_card(
    tokenizer: Any, cards: Any, version: int, length: int, kept: int
) -> None:
    values = cards(MILLION // 3, length)
    cipher = tokenizer("pan", version=version, keep_last=kept)
    result = cipher.tokenize(values)
    assert not result.reasons.any() and result.values.equals(values)
    sums = luhn_sums(matrix(result.tokens))
    assert set(np.unique(sums)) == {(version - 1) % 9 + 1}
    assert not pc.any(pc.equal(result.tokens, values)).as_py()
    assert canonical_pan(result.tokens).values.null_count == len(values)
    if kept:
        assert np.array_equal(matrix(result.tokens)[:, -4:], matrix(values)[:, -4:])
    assert distinct(result.tokens) == distinct(values)
    assert cipher.invert(result.tokens).equals(values)


def test_card_tokens_of_all_short_payloads_are_a_permutation(tokenizer: Any) -> None:
    """All 10^5 Luhn-valid numbers that end in the same four and begin with the same three digits."""
    numbers = np.full((100_000, 13), ord("0"), np.uint8)
    numbers[:, 3:8] = np.array([list(f"{n:05d}".encode()) for n in range(100_000)])
    numbers[:, 8] += (10 - luhn_sums(numbers)) % 10
    cards = ByteRows.of_matrix(numbers, np.ones(len(numbers), np.bool_)).to_strings()
    tokens = tokenizer("pan").tokenize(cards).tokens
    assert distinct(tokens) == 100_000


def test_nine_versions_of_a_card_token_can_be_told_apart(tokenizer: Any, cards: Any) -> None:
    values = cards(1000)
    tokens = {version: tokenizer("pan", version=version).tokenize(values).tokens for version in range(1, 10)}
    for version, column in tokens.items():
        for other in tokens:
            inverted = tokenizer("pan", version=other).invert(column)
            assert inverted.equals(values) if other == version else inverted.null_count == len(values)


@pytest.mark.parametrize("format", ["digits", "ssn"])
def test_digits_stay_digits_of_the_same_length(tokenizer: Any, random_texts: Any, format: str) -> None:
    values = random_texts(MILLION, 9)
    cipher = tokenizer(format)
    tokens = cipher.tokenize(values).tokens
    assert matrix(tokens).shape == (MILLION, 9) and pc.all(pc.ascii_is_decimal(tokens)).as_py()
    assert distinct(tokens) == distinct(values)
    assert cipher.invert(tokens).equals(values)
    # The probability of equality is 10^-9 each.
    assert pc.sum(pc.equal(tokens, values)).as_py() <= 2


def test_all_strings_of_six_digits_are_permuted(tokenizer: Any) -> None:
    values = pa.array([f"{number:06d}" for number in range(MILLION)])
    tokens = tokenizer("digits").tokenize(values).tokens
    assert distinct(tokens) == MILLION
    assert pc.all(pc.ascii_is_decimal(tokens)).as_py() and matrix(tokens).shape == (MILLION, 6)


def test_separators_stay_in_place(tokenizer: Any, random_texts: Any) -> None:
    parts = [random_texts(MILLION, length, ALPHABET, seed) for seed, length in enumerate((2, 3, 4))]
    values = pc.binary_join_element_wise(parts[0], "-", parts[1], ".", parts[2], "")
    cipher = tokenizer("alphanumeric")
    tokens = cipher.tokenize(values).tokens
    assert pc.all(pc.match_substring_regex(tokens, r"^[0-9A-Za-z]{2}-[0-9A-Za-z]{3}\.[0-9A-Za-z]{4}$")).as_py()
    assert distinct(tokens) == distinct(values)
    assert cipher.invert(tokens).equals(values)


def test_the_same_characters_with_other_separators_have_another_token(tokenizer: Any) -> None:
    tokens = (
        tokenizer("alphanumeric").tokenize(pa.array(["AB-1234", "ABC-234", "ABC234", "AB 1234"])).tokens.to_pylist()
    )
    assert len({re.sub("[- ]", "", token) for token in tokens}) == 4


@pytest.mark.parametrize(("code", "digits"), [("+44", 10), ("+1", 10), ("+351", 9), ("+49", 11)])
def test_a_phone_token_keeps_country_and_length(tokenizer: Any, random_texts: Any, code: str, digits: int) -> None:
    values = pc.binary_join_element_wise(code, "2", random_texts(MILLION // 4, digits - 1), "")
    cipher = tokenizer("phone")
    values = cipher.tokenize(values).values.drop_null()
    assert len(values) > MILLION // 5
    tokens = cipher.tokenize(values).tokens
    assert pc.all(pc.match_substring_regex(tokens, rf"^\{code}[0-9]{{{digits}}}$")).as_py()
    assert distinct(tokens) == distinct(values)
    assert cipher.invert(tokens).equals(values)


@pytest.mark.parametrize(("country", "alphabet", "length"), [
    ("DE", string.digits, 18), ("NO", string.digits, 11), ("KZ", None, 16), ("MT", None, 27),
])  # fmt: skip
@pytest.mark.parametrize("version", [1, 9])
def test_an_account_token_keeps_the_country_and_is_never_a_valid_iban(
    tokenizer: Any, random_texts: Any, country: str, alphabet: str | None, length: int, version: int
) -> None:
    texts = random_texts(MILLION // 8, length, alphabet or string.digits + string.ascii_uppercase)
    if country == "KZ":
        texts = pc.binary_join_element_wise("125", pc.utf8_slice_codeunits(texts, 3), "")
    if country == "MT":
        texts = pc.binary_join_element_wise("MALT01100", pc.utf8_slice_codeunits(texts, 9), "")
    values = accounts(texts, country)
    cipher = tokenizer("iban", version=version)
    result = cipher.tokenize(values)
    assert not result.reasons.any() and result.values.equals(values)
    assert pc.all(pc.starts_with(result.tokens, country)).as_py()
    check = pc.utf8_slice_codeunits(result.tokens, 2, 4).cast(pa.int8())
    assert pc.min(check).as_py() >= 2 and pc.max(check).as_py() <= 98
    assert canonical_iban(result.tokens).values.null_count == len(values)
    # Programs that judge the remainder alone do not take it for valid either.
    for token in result.tokens[:2000].to_pylist():
        assert int("".join(str(int(c, 36)) for c in token[4:] + token[:4])) % 97 != 1
    assert distinct(result.tokens) == distinct(values)
    assert cipher.invert(result.tokens).equals(values)
    assert tokenizer("iban", version=5).invert(result.tokens).null_count == len(values)


@pytest.mark.parametrize(("domain", "shape"), [
    ("hash", r"^[a-z2-7]{16}@[a-z2-7]{16}\.invalid$"), ("keep", r"^[a-z2-7]{16}@example[0-9]\.com\.invalid$"),
])  # fmt: skip
def test_an_email_token_can_never_be_delivered(tokenizer: Any, random_texts: Any, domain: str, shape: str) -> None:
    values = pc.binary_join_element_wise(
        random_texts(MILLION, 8), pa.scalar("@Example"), random_texts(MILLION, 1, seed=2), ".COM", ""
    )
    result = tokenizer("email", email_domain=domain).tokenize(values)
    assert pc.all(pc.match_substring_regex(result.tokens, shape)).as_py()
    assert distinct(result.tokens) == distinct(result.values)
    names = pc.utf8_slice_codeunits(result.tokens, 17)
    assert distinct(names) == 10


def test_a_surrogate_is_sixteen_characters_and_differs_for_each_text(tokenizer: Any, random_texts: Any) -> None:
    values = random_texts(MILLION, 12)
    tokens = tokenizer("surrogate").tokenize(values).tokens
    assert matrix(tokens).shape == (MILLION, 16)
    assert set(np.unique(matrix(tokens))) == set(b"abcdefghijklmnopqrstuvwxyz234567")
    assert distinct(tokens) == distinct(values)


@pytest.mark.parametrize("format", ["email", "surrogate"])
def test_surrogates_have_no_inverse(tokenizer: Any, format: str) -> None:
    with pytest.raises(NotReversibleError, match="no inverse; detokenize them from the vault"):
        tokenizer(format).invert(pa.array(["abc"]))


@pytest.mark.parametrize("format", ["pan", "digits", "ssn", "alphanumeric", "phone", "iban"])
def test_what_is_no_token_inverts_to_null(tokenizer: Any, format: str) -> None:
    texts = [None, "", "[redacted]", "12", "+", "+4", "DE", "ü" * 16, "4111111111111111", "DE89370400440532013000"]
    inverted = tokenizer(format, **({"separators": ""} if format == "alphanumeric" else {})).invert(pa.array(texts))
    fitting = {"digits": {8}, "alphanumeric": {8, 9}}.get(format, set())
    assert {place for place, value in enumerate(inverted.to_pylist()) if value is not None} == fitting


@pytest.mark.parametrize("format", ["pan", "digits", "ssn", "alphanumeric", "phone", "iban", "email", "surrogate"])
def test_a_tokenizer_hides_its_key_and_refuses_pickling(tokenizer: Any, format: str) -> None:
    cipher = tokenizer(format)
    assert repr(cipher) == f"<{type(cipher).__name__}: key bytes hidden>"
    with pytest.raises(SecretError, match="never pickled or copied"):
        pickle.dumps(cipher)


def test_tokens_depend_on_tenant_domain_format_and_version(keys: Any, rule: Any, tokenizer: Any) -> None:
    from consentry.transforms.crypto.key_sets import TokenKeys
    from consentry.transforms.tokens.open_tokenizer import open_tokenizer

    column = pa.array(["123456789"])
    other = TokenKeys(tenant="bank", secrets={3: bytes([3]) * 32}, primary=3, root=b"r" * 32)
    ciphers = [
        tokenizer("digits"),
        tokenizer("digits", domain="e"),
        tokenizer("digits", version=4),
        tokenizer("ssn"),
        tokenizer("alphanumeric", alphabet=string.digits),
        open_tokenizer(rule("digits"), other),
    ]
    assert len({cipher.tokenize(column).tokens[0].as_py() for cipher in ciphers}) == len(ciphers)
    assert tokenizer("digits").key_version == keys.primary == 3


def test_a_version_that_is_not_there_is_refused(tokenizer: Any) -> None:
    with pytest.raises(KeyringError, match="version 10"):
        tokenizer("pan", version=10)


def test_no_byte_of_a_refused_value_or_under_a_null_stays_in_the_tokens(tokenizer: Any) -> None:
    secret = "4111111111111112"
    hidden = pa.Array.from_buffers(
        pa.string(), 2, [pa.py_buffer(b"\x02"), *pa.array(["4000000000000002", "4111111111111111"]).buffers()[1:]]
    )
    assert hidden.to_pylist() == [None, "4111111111111111"]
    for column in (pa.array([secret, "4111111111111111", None]), hidden):
        result = tokenizer("pan").tokenize(column)
        for part in (result.tokens, result.values):
            stored = b"".join(bytes(buffer) for buffer in part.buffers() if buffer is not None)
            assert secret.encode() not in stored and b"4000000000000002" not in stored
