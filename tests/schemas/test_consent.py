"""Instants and consent events."""

from __future__ import annotations

import pytest
from consentry.schemas.consent import ConsentEvent, Decision, format_instant, parse_instant
from hypothesis import given
from hypothesis import strategies as st

# From the year 1 to the year 9999.
INSTANTS = st.integers(-62135596800_000_000, 253402300799_999_999)


@given(instant=INSTANTS)
def test_an_instant_reads_back_from_its_text(instant):
    assert parse_instant(format_instant(instant)) == instant


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01t00:00:00z", 0),
        ("1970-01-01 00:00:00Z", 0),
        ("1969-12-31T23:59:59.999999Z", -1),
        ("1970-01-01T02:30:00.000001+02:30", 1),
        ("2026-03-01T09:00:00-05:00", 1772373600_000_000),
        ("2026-03-01T09:00:00.5Z", 1772355600_500_000),
        ("2026-03-01T09:00:00.123456789Z", 1772355600_123_456),
    ],
)
def test_instants_are_rfc_3339_with_an_offset(text, instant):
    assert parse_instant(text) == instant


@pytest.mark.parametrize("text", ["2026-03-01T09:00:00", "2026-03-01T09:00:00.000001"])
def test_an_instant_without_an_offset_is_refused(text):
    with pytest.raises(ValueError, match="needs an offset"):
        parse_instant(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "2026-03-01",
        "20260301T090000Z",
        "2026-W09-7T09:00:00Z",
        "2026-03-01T09Z",
        "2026-03-01T09:00Z",
        "2026-02-30T09:00:00Z",
        "2026-03-01T25:00:00Z",
        "2026-03-01T09:00:00,5Z",
        "2026-03-01T09:00:00+25:00",
        "2026-03-01T09:00:00+01:00:30",
        " 2026-03-01T09:00:00Z",
        "٢٠٢٦-03-01T09:00:00Z",
    ],
)
def test_other_spellings_are_refused(text):
    with pytest.raises(ValueError, match="instant") as caught:
        parse_instant(text)
    assert str(caught.value).endswith("2026-03-01T09:00:00Z")


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00", "0000-01-01T00:00:00Z"])
def test_an_instant_outside_the_calendar_is_refused(text):
    with pytest.raises(ValueError, match="not an instant of the calendar"):
        parse_instant(text)


def test_a_refused_text_is_not_quoted():
    with pytest.raises(ValueError, match="instant") as caught:
        parse_instant("4111111111111111")
    assert "4111" not in str(caught.value)


def test_an_event_hides_its_subject():
    event = ConsentEvent(
        subject="c-17", purpose="support", decision=Decision.GRANTED, effective_at=0, source="form", evidence="scan-4"
    )
    assert "c-17" not in repr(event)
    assert "scan-4" not in repr(event)
    with pytest.raises(AttributeError):
        event.subject = "other"
