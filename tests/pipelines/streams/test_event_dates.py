"""The day of a protected row is told no finer than the row tells it."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pytest
from consentry.pipelines.streams.event_dates import event_dates
from consentry.schemas.dataset import FieldPath


def dates(values: list[Any], kind: pa.DataType | None = None) -> list[str]:
    rows = pa.record_batch({"order": pa.StructArray.from_arrays([pa.array(values, kind)], ["at"])})
    found: list[str] = event_dates(rows, FieldPath.parse("order.at")).to_pylist()
    return found


def test_a_day_is_that_of_utc() -> None:
    texts = ["2026-03-01T00:30:00+01:00", "2026-03-01T23:59:59Z", "2026-03-01T23:30:00-05:00", None]
    assert dates(texts) == ["2026-02-28", "2026-03-01", "2026-03-02", "unknown"]
    instant = datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert dates([instant, None], pa.timestamp("us", "UTC")) == ["2026-03-01", "unknown"]
    assert dates([instant], pa.timestamp("ns", "Asia/Tokyo")) == ["2026-03-01"]


def test_what_the_policy_made_coarser_stays_coarse() -> None:
    assert dates(["2026", "2026-03", "2026-03-01"]) == ["2026", "2026-03", "2026-03-01"]
    assert dates([date(2026, 1, 1)], pa.date32()) == ["2026-01-01"]
    assert dates([2026], pa.int64()) == ["2026"]


@pytest.mark.parametrize("hidden", ["[redacted]", "4111111111111111", "2026-03-01/../../etc", "yesterday", ""])
def test_what_is_no_date_is_told_nowhere(hidden: str) -> None:
    assert dates([hidden]) == ["unknown"]


def test_an_event_time_that_is_left_out_tells_nothing() -> None:
    rows = pa.record_batch({"order_id": ["o-1", "o-2"]})
    assert event_dates(rows, FieldPath.parse("placed_at")).to_pylist() == ["unknown", "unknown"]
    assert event_dates(rows, FieldPath.parse("items[].at")).to_pylist() == ["unknown", "unknown"]


def test_encoded_columns_are_read_too() -> None:
    rows = pa.record_batch({"at": pa.array(["2026-03-01T00:00:00Z", None]).dictionary_encode()})
    assert event_dates(rows, FieldPath.parse("at")).to_pylist() == ["2026-03-01", "unknown"]
