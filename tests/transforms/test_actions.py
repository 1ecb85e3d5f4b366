from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from consentry.schemas.info_types import GeneralizeRule, InvalidReason, MaskRule
from consentry.transforms.actions import generalize, generalized_type, mask, redact
from hypothesis import given
from hypothesis import strategies as st

REASONS = (None, *InvalidReason)


def coarser(values: list[Any], to: Any, kind: pa.DataType | None = None) -> list[Any]:
    """The values, with the reason in the place of what does not fit."""
    column = pa.array(values, kind)
    rule = GeneralizeRule(action="generalize", to=to, collect=("p",))
    found = generalize(column, rule)
    assert found.values.type == generalized_type(column.type, rule)
    reasons = [None] * len(values) if found.reasons is None else [REASONS[code] for code in found.reasons]
    return [reason or value for value, reason in zip(found.values.to_pylist(), reasons, strict=True)]


def masked(values: list[Any], **rule: int) -> list[Any]:
    return mask(pa.array(values), MaskRule(action="mask", collect=("p",), **rule)).to_pylist()


def test_text_is_redacted_and_all_else_null() -> None:
    assert redact(pa.array(["a", None])).to_pylist() == ["[redacted]", None]
    assert redact(pa.array(["a", "b"], pa.large_string())).type == pa.large_string()
    assert redact(pa.array(["a", None]).dictionary_encode()).to_pylist() == ["[redacted]", None]
    for other in (pa.array([1, None]), pa.array([{"a": 1}, None]), pa.array([b"x", None])):
        assert redact(other).to_pylist() == [None, None]
        assert redact(other).type == other.type


def test_a_mask_shows_one_end() -> None:
    assert masked(["abcdef", None, ""], show_last=2) == ["****ef", None, ""]
    assert masked(["abcdef"], show_first=2) == ["ab****"]
    assert masked([123456], show_last=4) == ["**3456"]
    assert masked(["héß😀"], show_last=1) == ["***😀"]
    assert masked(["abc"], show_last=0) == ["***"]


def test_a_mask_never_shows_a_value_whole() -> None:
    assert masked(["abcd", "abc"], show_last=4) == ["****", "***"]
    assert masked(["abcd", "abc"], show_first=4) == ["****", "***"]


@given(st.lists(st.none() | st.text(max_size=8)), st.integers(0, 5))
def test_a_mask_keeps_lengths_and_ends(values: list[str | None], shown: int) -> None:
    for value, last, first in zip(
        values, masked([*values, ""], show_last=shown), masked([*values, ""], show_first=shown), strict=False
    ):
        if value is None:
            assert last is first is None
            continue
        end = value[len(value) - shown :] if len(value) > shown else ""
        start = value[:shown] if len(value) > shown else ""
        assert last == "*" * (len(value) - len(end)) + end
        assert first == start + "*" * (len(value) - len(start))


def test_dates_are_floored_and_stay_dates() -> None:
    assert coarser([date(1985, 7, 3), None], "year") == [date(1985, 1, 1), None]
    assert coarser([datetime(1985, 7, 3, 4, 5, tzinfo=UTC)], "day") == [datetime(1985, 7, 3, tzinfo=UTC)]


def test_dates_as_text_are_shortened() -> None:
    assert coarser(["1985-07-03", " 1985-07-03T10:00:00Z", None], "year") == ["1985", "1985", None]
    assert coarser(["1985-07-03"], "month") == ["1985-07"]
    assert coarser(["1984-02-29", "1985", "1985-07"], "day") == [
        "1984-02-29", InvalidReason.NOT_A_DATE, InvalidReason.NOT_A_DATE,
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text", ["03.07.1985", "1985-13-01", "1985-02-29", "1900-02-29", "198", "1985-07-03garbage", ""]
)
def test_what_is_no_date_does_not_fit(text: str) -> None:
    assert coarser([text], "year") == [InvalidReason.NOT_A_DATE]


def test_numbers_are_floored_to_a_multiple() -> None:
    assert coarser([42, -1, None, 0], {"bucket": 10}) == [40, -10, None, 0]
    assert coarser([255], {"bucket": 100}, pa.uint8()) == [200]
    assert coarser([-(2**63), 2**63 - 1], {"bucket": 10}) == [InvalidReason.NOT_A_NUMBER, 2**63 - 8]
    assert coarser([-128], {"bucket": 100}, pa.int8()) == [InvalidReason.NOT_A_NUMBER]
    assert coarser([12.7, float("nan"), float("inf")], {"bucket": 5}) == [
        10.0, InvalidReason.NOT_A_NUMBER, InvalidReason.NOT_A_NUMBER,
    ]  # fmt: skip
    assert coarser([7, -7], {"bucket": 2.5}) == [5.0, -7.5]
    assert coarser([Decimal("12.75")], {"bucket": 0.5}) == [Decimal("12.50")]


def test_numbers_as_text_are_floored_as_text() -> None:
    assert coarser(["42", " 42.9", "-1", "many", "1e9999", "NaN", None], {"bucket": 10}) == [
        "40", "40", "-10", InvalidReason.NOT_A_NUMBER, InvalidReason.NOT_A_NUMBER, InvalidReason.NOT_A_NUMBER, None,
    ]  # fmt: skip


def test_text_is_cut_to_a_prefix() -> None:
    assert coarser(["SW1A 1AA", "é", None], {"prefix": 3}) == ["SW1", "é", None]
    assert coarser([12345], {"prefix": 2}) == ["12"]


def test_addresses_are_cut_to_networks() -> None:
    addresses = ["203.0.113.77", "2001:db8:1:2::5", "::ffff:203.0.113.7", "::1", None, "nowhere"]
    assert coarser(addresses, {"ip_prefix": 24}) == [
        "203.0.113.0/24", "2001:db8:1::/48", "203.0.113.0/24", "::/48", None, InvalidReason.NOT_AN_IP,
    ]  # fmt: skip


@pytest.mark.parametrize("to", ["year", {"bucket": 10}, {"prefix": 2}, {"ip_prefix": 24}])
@pytest.mark.parametrize("values", [[{"a": 1}], [[1]], [b"x"]])
def test_types_that_do_not_fit_are_told(to: Any, values: list[Any]) -> None:
    assert coarser([*values, None], to) == [InvalidReason.WRONG_TYPE, None]
