"""Account numbers."""

from __future__ import annotations

import pyarrow as pa
import pytest
from consentry.schemas.info_types import Entity
from consentry.transforms.detectors.free_text import find_in_texts
from consentry.transforms.detectors.ibans import is_iban


def values(text: str, entity: Entity) -> list[str]:
    findings = dict(find_in_texts(pa.array([text]))).get(0, [])
    return [text[each.start : each.end] for each in findings if each.entity is entity]


GERMAN = "DE89 3704 0044 0532 0130 00"


@pytest.mark.parametrize(
    "number",
    [
        GERMAN,
        GERMAN.replace(" ", ""),
        GERMAN.lower(),
        GERMAN.replace(" ", "-"),
        "DE 89 3704 0044 0532 0130 00",
        "De89370400440532013000",
        "GB29 NWBK 6016 1331 9268 19",
        "FR1420041010050500013M02606",
        "NO93 8601 1117 947",
    ],
)
def test_account_numbers_are_found_in_groups_and_cases(number: str) -> None:
    assert values(f"{number}/EUR", Entity.IBAN) == values(f"to {number} BIC X", Entity.IBAN) == [number]


def test_the_word_may_touch_the_number() -> None:
    assert values("IBANDE89370400440532013000", Entity.IBAN) == ["DE89370400440532013000"]


def test_a_code_before_the_number_does_not_hide_it() -> None:
    assert values(f"AB12 {GERMAN}", Entity.IBAN) == [GERMAN]


@pytest.mark.parametrize(
    "text",
    [
        "DE88 3704 0044 0532 0130 00",
        "XX89370400440532013000",
        "DE8937040044053201300",
        "XDE89370400440532013000",
        "DE89370400440532013000X",
        "DE89  37040044053201300 0",
    ],
)
def test_wrong_checks_countries_and_lengths_are_none(text: str) -> None:
    assert values(text, Entity.IBAN) == []


def test_whole_values_are_checked_by_the_same_rule() -> None:
    assert is_iban(b"GB29NWBK60161331926819") and not is_iban(b"GB29")
