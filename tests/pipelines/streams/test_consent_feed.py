from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from consentry.pipelines.desk import Stores, open_stores
from consentry.pipelines.scaffold import write_project
from consentry.pipelines.streams.consent_feed import ConsentFeed
from consentry.pipelines.streams.sources import Messages
from consentry.schemas.policy_file import read_policy
from consentry.schemas.project import read_project
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

NOW = 1_793_000_000_000_000


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Stores]:
    write_project(tmp_path / "shop", tenant="shop", now=NOW)
    with open_stores(read_project(tmp_path / "shop" / "consentry.yaml")) as opened:
        yield opened


@pytest.fixture
def feed(stores: Stores, tmp_path: Path) -> ConsentFeed:
    return ConsentFeed(stores.ledger, read_policy(tmp_path / "shop" / "policy.yaml"))


def said(**changes: Any) -> bytes:
    event = {"subject": "c-1", "purpose": "support", "decision": "granted", "effective_at": "2026-03-01T09:00:00Z",
             "source": "form", **changes}  # fmt: skip
    return json.dumps({name: value for name, value in event.items() if value is not ...}).encode()


def messages(*values: bytes | None, start: int = 0) -> Messages:
    return Messages("consents/0", values, np.arange(start, start + len(values)))


FAULTY = [
    (None, "invalid_json"),
    (b"", "invalid_json"),
    (b"{", "invalid_json"),
    (b"\xff", "invalid_json"),
    (said(subject="half \ud800"), "invalid_json"),
    (b"[]", "not_an_object"),
    (said()[:-1] + b', "purpose": "analytics"}', "duplicate_key"),
    (said(colour="CANARY"), "unknown_field"),
    (said(subject=...), "missing_field"),
    (said(subject=" \u2003"), "missing_field"),
    (said(source=None), "missing_field"),
    (said(purpose="CANARY"), "unknown_purpose"),
    (said(decision="CANARY"), "unknown_decision"),
    (said(decision=["granted"]), "unknown_decision"),
    (said(subject=1.5), "wrong_type"),
    (said(evidence={"CANARY": 1}), "wrong_type"),
    (said(evidence=[["CANARY"]] * 3), "wrong_type"),
    (said(effective_at="2026-03-01T09:00:00"), "instant_invalid"),
    (said(effective_at=17), "instant_invalid"),
    (said(recorded_at="CANARY"), "instant_invalid"),
]


@pytest.mark.parametrize(("value", "reason"), FAULTY)
def test_what_is_no_event_is_handed_back_and_stops_nothing(
    feed: ConsentFeed, stores: Stores, value: bytes | None, reason: str
) -> None:
    found = feed.take(messages(said(), value, said(decision="withdrawn"), start=7), now=NOW)
    assert (found.added, found.known) == (2, 0)
    assert [(each.position, each.reason, each.raw) for each in found.faulty] == [(8, reason, value or b"")]
    assert "CANARY" not in repr(found)
    assert [event.decision for event in stores.ledger.events_of("c-1")] == ["granted", "withdrawn"]


def test_deep_values_and_long_numbers_are_faults_too(feed: ConsentFeed) -> None:
    deep = said()[:-1] + b', "evidence": ' + b'["a", ' * 1000 + b"1" + b"]" * 1000 + b"}"
    long = said()[:-1] + b', "evidence": ["a", 1' + b"0" * 5000 + b"]}"
    found = feed.take(messages(deep, long, said()), now=NOW)
    assert found.added == 1 and len(found.faulty) == 2


def test_the_same_messages_again_change_nothing(feed: ConsentFeed, stores: Stores) -> None:
    some = messages(said(), b"{", said(subject="c-2"), said())
    first, again = feed.take(some, now=NOW), feed.take(some, now=NOW + 1)
    assert (first.added, first.known) == (2, 1)
    assert (again.added, again.known) == (0, 3)
    assert again.faulty == first.faulty and stores.ledger.position() == 2


def test_events_are_recorded_when_they_say_or_now(feed: ConsentFeed, stores: Stores) -> None:
    feed.take(messages(said(), said(subject="c-2", recorded_at="1970-01-01T00:00:01Z")), now=NOW)
    (first,), (second,) = stores.ledger.events_of("c-1"), stores.ledger.events_of("c-2")
    assert (first.recorded_at, second.recorded_at) == (NOW, 1_000_000)


def test_a_subject_may_be_a_number_and_nothing_may_be_nothing(feed: ConsentFeed, stores: Stores) -> None:
    assert feed.take(messages(said(subject=17)), now=NOW).added == 1
    assert len(stores.ledger.events_of("17")) == 1
    assert feed.take(messages(), now=NOW).faulty == ()


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=20) | st.none() | st.text(max_size=4).map(lambda text: said(subject=text))))
def test_every_message_is_an_event_or_handed_back(feed: ConsentFeed, values: list[bytes | None]) -> None:
    found = feed.take(messages(*values), now=NOW)
    assert found.added + found.known + len(found.faulty) == len(values)
