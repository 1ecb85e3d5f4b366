"""Canonical forms: which spellings are one value, and for which reason a value does not fit."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from consentry.schemas.info_types import InvalidReason
from consentry.transforms.values.alphanumeric import canonical_alphanumeric
from consentry.transforms.values.canonical import Canonical, reason_code
from consentry.transforms.values.digits import canonical_digits
from consentry.transforms.values.email import canonical_email, domains_of
from consentry.transforms.values.iban import canonical_iban
from consentry.transforms.values.pan import canonical_pan
from consentry.transforms.values.phone import canonical_phone
from consentry.transforms.values.ssn import canonical_ssn
from consentry.transforms.values.surrogate import canonical_text
from hypothesis import given, settings
from hypothesis import strategies as st

REASONS = [None, *(reason.value for reason in InvalidReason)]


def judged(canonical: Callable[[pa.Array], Canonical], *values: str | None) -> list[str | None]:
    """The canonical value of each text, or its reason in angle brackets."""
    result = canonical(pa.array(values, pa.string()))
    pairs = zip(result.values.to_pylist(), result.reasons, strict=True)
    return [f"<{REASONS[code]}>" if code else value for value, code in pairs]


def test_reason_codes_count_from_one() -> None:
    assert [reason_code(reason) for reason in InvalidReason] == list(range(1, len(InvalidReason) + 1))


def test_cards() -> None:
    card = "4111111111111111"
    spellings = ["4111 1111 1111 1111", "4111-1111-1111-1111", "4111.1111.1111.1111", "4111\u00a011111111\u20111111"]
    assert judged(canonical_pan, *spellings) == [card] * 4
    real = ["4222222222222", "30569309025904", "378282246310005", "5555555555554444", "6304000000000000000"]
    assert judged(canonical_pan, *real) == real


def test_what_is_no_card() -> None:
    texts = [None, "", " - ", "4111111111111112", "411111111111", "4" * 20, "4111/1111", "kaart"]
    assert judged(canonical_pan, *texts) == [
        None, "<empty>", "<empty>", "<checksum_failed>", "<wrong_length>", "<wrong_length>", "<not_digits>",
        "<not_digits>",
    ]  # fmt: skip


@pytest.mark.parametrize("length", range(13, 20))
def test_one_changed_digit_fails_the_check(length: int) -> None:
    bodies = [f"{n}{'7' * (length - 2)}" for n in range(1, 10)]
    good = [next(f"{body}{d}" for d in range(10) if luhn_valid(f"{body}{d}")) for body in bodies]
    assert judged(canonical_pan, *good) == good
    worse = [
        f"{text[:place]}{(int(text[place]) + 1) % 10}{text[place + 1 :]}" for text in good for place in range(length)
    ]
    assert judged(canonical_pan, *worse) == ["<checksum_failed>"] * len(worse)


def luhn_valid(number: str) -> bool:
    return sum(sum(divmod(int(d) * (1 + i % 2), 10)) for i, d in enumerate(reversed(number))) % 10 == 0


def test_digits() -> None:
    assert judged(canonical_digits, " 001234 ", "１２３４５６", "12345", "12-3456", "٣٣٣٣٣٣", "", None, "7" * 129) == [
        "001234", "123456", "<domain_too_small>", "<not_digits>", "<not_digits>", "<empty>", None, "<wrong_length>",
    ]  # fmt: skip


def test_alphanumerics() -> None:
    usual = partial(canonical_alphanumeric, alphabet="0123456789ABCDEFGHIJ", separators=" -")
    assert judged(usual, "AB-1234", " AB1234", "ab1234", "A-1", "---", "", None, "AB_123", "Ä12345", "A" * 129) == [
        "AB-1234", " AB1234", "<wrong_characters>", "<domain_too_small>", "<empty>", "<empty>", None,
        "<wrong_characters>", "<wrong_characters>", "<wrong_length>",
    ]  # fmt: skip


def test_social_security_numbers() -> None:
    texts = ["123-45-6789", "123 45 6789", "123\u201145\u20116789", "12345678", "123.45.6789", ""]
    assert judged(canonical_ssn, *texts) == [
        "123456789", "123456789", "123456789", "<wrong_length>", "<not_digits>", "<empty>",
    ]  # fmt: skip


PHONES = {
    "US": (
        "+14155550100",
        ["(415) 555-0100", "415.555.0100", "1-415-555-0100", "+1 415 555 0100", "415-555-0100 ext. 7"],
    ),
    "CA": ("+16135550123", ["613-555-0123", "1 (613) 555 0123"]),
    "GB": ("+447700900123", ["07700 900123", "+44 (0)7700 900123", "0044 7700 900 123", "(07700) 900-123"]),
    "DE": ("+4915112345678", ["0151 12345678", "0151/12345678", "+49 151 12345678", "0049 151 123 456 78"]),
    "FR": ("+33612345678", ["06 12 34 56 78", "06.12.34.56.78", "+33 6 12 34 56 78", "+33 (0)6 12 34 56 78"]),
    "ES": ("+34612345678", ["612 345 678", "+34 612 34 56 78", "0034 612345678"]),
    "IT": ("+390612345678", ["06 1234 5678", "+39 06 12345678"]),
    "PL": ("+48512345678", ["512 345 678", "+48 512-345-678", "0048512345678"]),
    "JP": ("+819012345678", ["090-1234-5678", "+81 90 1234 5678", "０９０－１２３４－５６７８", "010 81 90 1234 5678"]),
    "IN": ("+919876543210", ["98765 43210", "098765 43210", "+91-98765-43210"]),
    "BR": ("+5511902314503", ["(11) 90231-4503", "011 90231-4503", "+55 11 90231 4503"]),
    "AU": ("+61412345678", ["0412 345 678", "+61 412 345 678", "0011 61 412 345 678"]),
}


@pytest.mark.parametrize("region", PHONES)
def test_a_phone_number_has_one_form_in_all_spellings_of_its_country(region: str) -> None:
    number, spellings = PHONES[region]
    assert judged(partial(canonical_phone, region=region), *spellings) == [number] * len(spellings)


def test_what_is_no_phone_number() -> None:
    texts = [
        "",
        None,
        "call me",
        "+999 1234567",
        "+290 1234",
        "+1 415",
        "07700 900123",
        "+44 7700 900123 456 789",
        "++",
    ]
    assert judged(canonical_phone, *texts) == [
        "<empty>", None, "<not_a_phone>", "<unknown_country>", "<domain_too_small>", "<not_a_phone>", "<not_a_phone>",
        "<not_a_phone>", "<not_a_phone>",
    ]  # fmt: skip
    assert judged(partial(canonical_phone, region="ZZ"), "07700 900123") == ["<not_a_phone>"]


def test_frequent_phone_shapes_never_reach_the_slow_library(monkeypatch: pytest.MonkeyPatch) -> None:
    from consentry.transforms.values import phone

    def refuse(*_: Any) -> None:
        raise AssertionError("looked up")

    monkeypatch.setattr(phone, "_looked_up_one", refuse)
    for region, (number, spellings) in PHONES.items():
        plain = [text for text in spellings if "(0)" not in text and "ext" not in text]
        assert judged(partial(canonical_phone, region=region), *plain) == [number] * len(plain)


def test_accounts() -> None:
    good = {
        "DE89 3704 0044 0532 0130 00": "DE89370400440532013000",
        "gb29-nwbk-6016-1331-9268-19": "GB29NWBK60161331926819",
        "FR14 2004 1010 0505 0001 3M02 606": "FR1420041010050500013M02606",
        "MT84MALT011000012345MTLCAST001S": "MT84MALT011000012345MTLCAST001S",
        "NO93\u00a08601\u00a01117\u00a0947": "NO9386011117947",
    }
    assert judged(canonical_iban, *good) == list(good.values())
    assert judged(
        canonical_iban, "DE88370400440532013000", "DE8937040044053201300", "ZZ89370400440532013000", "12345678", "D",
        "DE89370400440532O13000", "DE89 3704 0044 0532 0130 0ß", "", None,
    ) == [
        "<checksum_failed>", "<wrong_length>", "<unknown_country>", "<unknown_country>", "<unknown_country>",
        "<wrong_characters>", "<wrong_characters>", "<empty>", None,
    ]  # fmt: skip


def test_check_digits_that_only_leave_the_same_remainder_are_refused() -> None:
    texts = [f"DE{check:02d}{number:018d}" for number in range(3000) for check in (0, 1, 99)]
    assert canonical_iban(pa.array(texts)).values.null_count == len(texts)


def test_emails() -> None:
    assert judged(canonical_email, "Ana@Example.COM", " j+shop@BÜCHER.example\n", "o'neill@x.ie", "u\u0308@x.de") == [
        "Ana@example.com", "j+shop@bücher.example", "o'neill@x.ie", "ü@x.de",
    ]  # fmt: skip
    bad = ["a@b", "a b@c.de", "@c.de", "a@", "a@b@c.de", "a@b..de", "a@.de", "a@b.de.", "Ana <a@b.de>", '"a b"@c.de',
           "a@[1.2.3.4]", "a\u00a0b@c.de", "a\u200bb@c.de", f"{'a' * 65}@b.de", f"a@{'b' * 243}.de",
           "a@b.de,c@d.ef"]  # fmt: skip
    assert judged(canonical_email, *bad) == ["<not_an_email>"] * len(bad)
    assert judged(canonical_email, "", "  ", "\u00a0", None) == ["<empty>", "<empty>", "<empty>", None]


def test_domains_of_addresses() -> None:
    values = pa.array([None, "a@b.de", "ccc@x.example", None])
    assert domains_of(values).to_pylist() == [None, "b.de", "x.example", None]


def test_texts() -> None:
    assert judged(canonical_text, " c-17\t", "Ju\u0308rgen", "\u00a0", "", None, "a  b") == [
        "c-17", "Jürgen", "<empty>", "<empty>", None, "a  b",
    ]  # fmt: skip


FORMS: list[Callable[[pa.Array], Canonical]] = [
    canonical_pan, canonical_digits, canonical_ssn, canonical_iban, canonical_email, canonical_text,
    partial(canonical_phone, region="US"), partial(canonical_alphanumeric, alphabet="ABC123", separators="-"),
]  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(
        st.one_of(st.none(), st.text(max_size=30), st.emails(), st.from_regex(r"[+0-9 ()-]{5,18}")), max_size=20
    ),
    form=st.sampled_from(FORMS),
)
def test_a_canonical_form_is_its_own_and_every_value_is_null_canonical_or_refused(values: Any, form: Any) -> None:
    once = form(pa.array(values, pa.string()))
    again = form(once.values)
    assert again.values.equals(once.values) and not again.reasons.any()
    given_ = np.array([value is not None for value in values], np.bool_)
    fits = np.array([value is not None for value in once.values.to_pylist()], np.bool_)
    assert np.array_equal(given_, fits | (once.reasons > 0)) and not (fits & (once.reasons > 0)).any()
    once.values.validate(full=True)
