"""Columns are what their values prove; see ``oracles.labelled_columns`` for what was put into them."""

from __future__ import annotations

import pyarrow as pa
import pytest
from consentry.schemas.column_type import ColumnKind, ColumnType
from consentry.schemas.info_types import Entity
from consentry.transforms.detectors.column_types import column_type
from consentry.transforms.detectors.headers import promised
from consentry.transforms.detectors.skeletons import folded
from consentry.transforms.detectors.whole_values import PROVEN, _possible
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.labelled_columns import LabelledColumn, labelled_columns

TEXT = st.characters(exclude_categories=("Cs",))
COLUMNS = [column for seed in (1, 2) for column in labelled_columns(seed)]


def verdict_on(column: LabelledColumn) -> ColumnType:
    texts = [None if value is None else str(value) for value in column.values]
    return column_type(pa.array(texts, pa.string()), column.column)


def named(found: ColumnType) -> str | None:
    if found.entity is not None:
        return found.entity.value
    return found.kind.value if found.kind in (ColumnKind.MIXED, ColumnKind.FREE_TEXT) else None


@pytest.mark.parametrize("kind", sorted({column.kind for column in COLUMNS}))
def test_columns_of_every_kind_are_what_their_values_prove(kind: str) -> None:
    for column in COLUMNS:
        if column.kind == kind:
            found = verdict_on(column)
            assert named(found) == column.expected, (column.feed, column.column, found.evidence)
            if column.leak is not None:
                assert found.leaks[0].entity.value == column.leak
            elif column.expected is None:
                assert found.leaks == ()


def test_nothing_of_a_value_is_shown_but_its_end() -> None:
    for column in COLUMNS:
        found = verdict_on(column)
        shown = f"{found.evidence} {found.examples}"
        assert not any(len(str(value)) > 4 and str(value) in shown for value in column.values)


@pytest.mark.parametrize("values", [[], [None, None], ["", "  ", "\t"]])
def test_a_column_without_values_is_empty(values: list[str | None]) -> None:
    assert column_type(pa.array(values, pa.string()), "card").kind is ColumnKind.EMPTY


def test_integers_may_be_given_as_they_are() -> None:
    cards = pa.array([4111111111111111, 4012888888881881, 5555555555554444, None], pa.int64())
    assert column_type(cards, "n").entity is Entity.CREDIT_CARD


def test_a_few_strayed_values_are_a_leak_though_most_distinct_values_are_of_them() -> None:
    values = ["toys", "books"] * 2000 + [f"kim{number}@example.com" for number in range(40)]
    found = column_type(pa.array(values), "category")
    assert found.kind is ColumnKind.ORDINARY
    assert [(leak.entity, leak.count) for leak in found.leaks] == [(Entity.EMAIL, 40)]


def test_numbers_that_pass_luhn_as_often_as_chance_has_it_are_no_leak() -> None:
    values = pa.array([str(4_000_000_000_000_000 + 7919 * number) for number in range(4000)])
    assert column_type(values, "order_id").leaks == ()


@pytest.mark.parametrize(
    ("header", "entity"),
    [
        ("customerPhoneNo", "PHONE"),
        ("E-Mail Adresse", "EMAIL"),
        ("GEB_DATUM", "DATE_OF_BIRTH"),
        ("生年月日", "DATE_OF_BIRTH"),
        ("téléphone", "PHONE"),
        ("credit-card", "CREDIT_CARD"),
        ("SSN", "US_SSN"),
    ],
)
def test_headers_promise_in_many_spellings(header: str, entity: str) -> None:
    assert promised(header) == {Entity(entity)}


@pytest.mark.parametrize(
    "header", ["", "quantity", "shipping", "emission", "discard", "panel", "macro", "micro", "television", "ninety"]
)
def test_headers_that_only_hold_the_letters_of_a_word_promise_nothing(header: str) -> None:
    assert promised(header) == frozenset()


@settings(deadline=None, max_examples=60)
@given(st.lists(st.none() | st.text(TEXT, max_size=40), max_size=40), st.text(TEXT, max_size=12))
def test_any_texts_have_a_verdict(values: list[str | None], header: str) -> None:
    found = column_type(pa.array(values, pa.string()), header)
    assert 0 <= found.share <= 1 and (found.entity is None) == (found.kind is not ColumnKind.ENTITY)


def test_a_first_look_at_a_value_loses_none_that_its_rule_would_take() -> None:
    for column in COLUMNS:
        texts = [folded(str(value)).strip() for value in column.values if value is not None]
        for entity, rule in PROVEN.items():
            assert [text for text in texts if rule(text)] == [text for text in _possible(entity, texts) if rule(text)]
