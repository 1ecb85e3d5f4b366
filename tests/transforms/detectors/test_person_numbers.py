"""Numbers that states give: only where ranges, checks and words agree."""

from __future__ import annotations

import pyarrow as pa
import pytest
from consentry.schemas.info_types import Entity
from consentry.transforms.detectors.free_text import find_in_texts


def values(text: str, entity: Entity) -> list[str]:
    findings = dict(find_in_texts(pa.array([text]))).get(0, [])
    return [text[each.start : each.end] for each in findings if each.entity is entity]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("SSN: 078-05-1120", "078-05-1120"),
        ("ssn 123456789", "123456789"),
        ("social security number 536 22 8145", "536 22 8145"),
        ("536-22-8145", "536-22-8145"),
        ("my social is 536228145", "536228145"),
    ],
)
def test_social_security_numbers_stand_in_their_layout_or_after_a_word(text: str, number: str) -> None:
    assert values(text, Entity.US_SSN) == [number]


@pytest.mark.parametrize(
    "text",
    [
        "123456789",
        "123 45 6789",
        "SSN 000-12-3456",
        "SSN 666-12-3456",
        "SSN 219-00-9999",
        "SSN 219-09-0000",
        "order 123-45-6789",
        "Martin\nCustomer no.: 768659383",
    ],
)
def test_nine_digits_that_nothing_proves_are_no_social_security_number(text: str) -> None:
    assert values(text, Entity.US_SSN) == []


def test_the_middle_of_a_taxpayer_number_tells_it() -> None:
    assert values("ITIN 912-70-1234", Entity.US_ITIN) == ["912-70-1234"]
    assert values("ITIN 912-40-1234", Entity.US_ITIN) == []


def test_health_numbers_need_check_digit_and_word() -> None:
    assert values("NHS 943 476 5919", Entity.UK_NHS) == ["943 476 5919"]
    assert values("NHS 943 476 5918", Entity.UK_NHS) == values("943 476 5919", Entity.UK_NHS) == []


@pytest.mark.parametrize("number", ["AB123456C", "AB 12 34 56 C", "AB-12-34-56-C"])
def test_insurance_numbers_are_found_in_capitals_without_a_word(number: str) -> None:
    assert values(f"{number} {number}", Entity.UK_NINO) == [number, number]


@pytest.mark.parametrize("text", ["QQ123456C", "BG 12 34 56 A", "AB123456E", "ab123456c", "XAB123456C", "AB123456CD"])
def test_prefixes_that_nobody_has_and_parts_of_words_are_none(text: str) -> None:
    assert values(text, Entity.UK_NINO) == []


def test_small_letters_take_a_word() -> None:
    assert values("ni number ab123456c", Entity.UK_NINO) == ["ab123456c"]
