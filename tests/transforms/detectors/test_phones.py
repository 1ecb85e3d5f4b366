"""Telephone numbers: international, national in their layouts, and what only looks like one."""

from __future__ import annotations

import pyarrow as pa
import pytest
from consentry.schemas.info_types import Entity
from consentry.transforms.detectors.free_text import find_in_texts


def values(text: str, entity: Entity) -> list[str]:
    findings = dict(find_in_texts(pa.array([text]))).get(0, [])
    return [text[each.start : each.end] for each in findings if each.entity is entity]


def phones(text: str) -> list[str]:
    return values(text, Entity.PHONE)


@pytest.mark.parametrize(
    "number",
    [
        "+1 (415) 555-2671",
        "+14155552671",
        "+44 20 7946 0958",
        "+44 (0)20 7946 0958",
        "+49 30/901820",
        "+33 (0)6 12 34 56 78",
        "+81-90-1234-5678",
        "+55 11 98765-4321",
        "(+44) 20 7946 0958",
        "0044 20 7946 0958",
        "+1 555 123 4567",
        "+44 7700 900123",
    ],
)
def test_international_numbers_need_no_word(number: str) -> None:
    assert phones(number) == phones(f"({number})x" if "(" not in number else f"- {number};") == [number]


@pytest.mark.parametrize(
    ("word", "number"),
    [
        ("call ", "4155552671"),
        ("Tel. ", "020 7946 0958"),
        ("Handy: ", "0171/2345678"),
        ("Tél : ", "01.42.68.53.00"),
        ("móvil ", "612 34 56 78"),
        ("Cell. ", "347 123 4567"),
        ("kom. ", "601-234-567"),
        ("電話 ", "03-1234-5678"),
        ("Mobile: ", "98765 43210"),
        ("Celular: ", "(11) 98765-4321"),
        ("Ph ", "(02) 9876 5432"),
        ("ph.", "2025550143"),
        ("phone ", "123-456-7890"),
        ("call ", "555-1234"),
        ("tfno ", "912345678"),
    ],
)
def test_national_numbers_are_found_after_a_word(word: str, number: str) -> None:
    assert phones(word + number) == [number]


@pytest.mark.parametrize(
    "number", ["(415) 555-2671", "415-555-2671", "0171 2345678", "06 12 34 56 78", "020 7946 0958"]
)
def test_layouts_that_nothing_else_has_need_no_word(number: str) -> None:
    assert phones(f"Ann, {number}") == [number]


@pytest.mark.parametrize(
    "text",
    [
        "4155552671",
        "612345678",
        "2019-2020-2021",
        "10 000 000 000",
        "02 01 1980",
        "ref 0612345678",
        "61.774554",
        "2+2 4155552671",
        "3+4155552671",
        "order 415-555-2671",
        "id=1234567890",
        "call 911",
        "AB 030 1234567",
        "100.000.000",
        "1.234.567,89",
    ],
)
def test_digits_without_word_or_layout_are_none(text: str) -> None:
    assert phones(text) == []


def test_a_word_speaks_for_all_numbers_of_a_list() -> None:
    assert phones("Tel: 4155552671, 4155552672 and 4155552673") == ["4155552671", "4155552672", "4155552673"]
    assert phones("Tel: 4155552671/4155552672") == ["4155552671", "4155552672"]
    assert phones("Tel: 4155552671, order 4155552672") == ["4155552671"]


def test_two_numbers_with_a_slash_between_are_two() -> None:
    assert phones("Tel: 01 42 68 53 00 / 06 12 34 56 78") == ["01 42 68 53 00", "06 12 34 56 78"]


def test_extensions_are_no_part_of_a_number() -> None:
    assert phones("+1 (415) 555-2671 x12") == phones("tel:+1 (415) 555-2671;ext=5") == ["+1 (415) 555-2671"]


def test_emphasis_around_a_number_is_no_formula() -> None:
    assert phones("**tel 4155552671**") == ["4155552671"]
