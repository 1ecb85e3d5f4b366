"""Dates of birth."""

from __future__ import annotations

import pyarrow as pa
import pytest
from consentry.schemas.info_types import Entity
from consentry.transforms.detectors.free_text import find_in_texts


def values(text: str, entity: Entity) -> list[str]:
    findings = dict(find_in_texts(pa.array([text]))).get(0, [])
    return [text[each.start : each.end] for each in findings if each.entity is entity]


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("DOB 01/02/80", "01/02/80"),
        ("born on Jan 2, 1980", "Jan 2, 1980"),
        ("geb. am 2. Januar 1980", "2. Januar 1980"),
        ("née le 2 janvier 1980", "2 janvier 1980"),
        ("Date de naissance : 14 mai 2000", "14 mai 2000"),
        ("ur. 2 stycznia 1980", "2 stycznia 1980"),
        ("nacido el 2 de enero de 1980", "2 de enero de 1980"),
        ("生年月日: 1980年5月6日", "1980年5月6日"),
        ("1980年1月2日生まれ", "1980年1月2日"),
        ("D.O.B 02 01 1980", "02 01 1980"),
        ("birth_date: '1980-01-02T00:00:00Z'", "1980-01-02"),
        ("fødselsdato 02.01.1980", "02.01.1980"),
        ("am 14.02.1978 geboren", "14.02.1978"),
        ("2 May 1980 (dob)", "2 May 1980"),
        ("BDAY:19800102", "19800102"),
    ],
)
def test_a_date_beside_a_word_for_birth_is_found(text: str, date: str) -> None:
    assert values(text, Entity.DATE_OF_BIRTH) == [date]


@pytest.mark.parametrize(
    "text",
    [
        "12/03/1985",
        "born to run",
        "born in 1975",
        "valid from 01/01/2024",
        "born in Rome. Ordered 02/03/2020",
        "Téléphone 04 35\n18 juillet 2019",
        "dob 1980-13-45",
    ],
)
def test_other_dates_are_none(text: str) -> None:
    assert values(text, Entity.DATE_OF_BIRTH) == []


def test_a_word_speaks_for_the_next_date_only() -> None:
    text = "<dob>1968-09-17</dob><created>2024-09-17</created>"
    assert values(text, Entity.DATE_OF_BIRTH) == ["1968-09-17"]
    assert values("dob 01/02/1980, admitted 03/04/2024", Entity.DATE_OF_BIRTH) == ["01/02/1980"]
