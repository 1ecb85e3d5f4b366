"""Cards: what is one, with which words and separators, and what only looks like one."""

from __future__ import annotations

import pyarrow as pa
import pytest
from consentry.schemas.info_types import Entity
from consentry.transforms.detectors.free_text import find_in_texts


def values(text: str, entity: Entity) -> list[str]:
    findings = dict(find_in_texts(pa.array([text]))).get(0, [])
    return [text[each.start : each.end] for each in findings if each.entity is entity]


def cards(text: str) -> list[str]:
    return values(text, Entity.CREDIT_CARD)


@pytest.mark.parametrize(
    "number",
    [
        "4111111111111111",
        "5555555555554444",
        "2223003122003222",
        "378282246310005",
        "6011111111111117",
        "30569309025904",
        "3530111333300000",
        "6200000000000005",
    ],
)
def test_cards_of_every_brand_need_no_word(number: str) -> None:
    assert cards(number) == cards(f"x {number}, y") == [number]


@pytest.mark.parametrize("number", ["4222222222222", "6799990100000000019", "4000000000000000006"])
def test_rare_lengths_need_a_word_where_they_are_not_grouped(number: str) -> None:
    assert cards(f"card {number}") == [number]
    assert cards(f"number {number}") == []


@pytest.mark.parametrize("separator", [" ", "-", ".", "\u00a0", "\u202f", "  ", " - ", "/", "_"])
def test_groups_may_be_parted_by_any_usual_separator(separator: str) -> None:
    written = separator.join(("5555", "5555", "5555", "4444"))
    assert cards(f"card {written}.") == [written]


def test_numbers_that_fail_luhn_are_none() -> None:
    assert cards("card 4111 1111 1111 1112") == cards("4111111111111112") == []


@pytest.mark.parametrize(
    "text",
    [
        "IMEI 490154203237518",
        "IMEI: 352099001761481",
        "ts 1714993412345",
        "1609459200000",
        "ICCID 8949000000000000000",
        "tracking 4111111111111111",
        "order 4111111111111111",
        "[card:1:4539148803436468]",
        "4111********1111",
        "X14111111111111111",
        "A4111111111111111",
        "+4111111111111111",
        "3.4111111111111111",
        "IT94 U558 5887 1503 7397 5238 753",
    ],
)
def test_look_alikes_are_none(text: str) -> None:
    assert cards(text) == []


def test_an_embossed_number_is_a_card_even_after_a_word_for_orders() -> None:
    assert cards("account 4111 1111 1111 1111") == ["4111 1111 1111 1111"]
    assert cards("serial 4111 1111 1111 1111") == []


@pytest.mark.parametrize("rest", [" 123", " 12/27 123", ",0127,123", " 1227 ", ", cvc 123", "/0127"])
def test_expiry_and_code_behind_a_card_are_no_part_of_it(rest: str) -> None:
    assert cards(f"card 4111 1111 1111 1111{rest}") == ["4111 1111 1111 1111"]


def test_cards_may_stand_side_by_side() -> None:
    first, second = "4111 1111 1111 1111", "5555 5555 5555 4444"
    for joint in (" ", "-", ",", ", ", "\t", "|", " / ", "\n", ";", "\\n"):
        assert cards(first + joint + second) == [first, second]


def test_a_word_for_cards_may_touch_the_number() -> None:
    for text in ("PAN4111111111111111", "cc4111111111111111", "card_4111111111111111", "card no4111111111111111"):
        assert cards(text) == ["4111111111111111"]


def test_the_reason_names_length_range_and_word() -> None:
    ((_, (finding,)),) = find_in_texts(pa.array(["Visa: 4111111111111111"]))
    assert finding.reason == "16 digits, Visa range, Luhn valid, after the word 'visa'"
    assert finding.score == 0.99
