from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pyarrow as pa
import pytest
from consentry.schemas.sealed_record import CLASSES_KEY, SEALED_RECORD_SCHEMA
from consentry.transforms.consent_join import (
    NOTHING_KNOWN,
    Joined,
    JoinLimits,
    JoinState,
    Watermark,
    join_consents,
    shard_rows,
)
from hypothesis import given
from hypothesis import strategies as st

Place = tuple[str, int]
SCHEMA = SEALED_RECORD_SCHEMA.with_metadata({CLASSES_KEY: b'[["use"]]'})
LIMITS = JoinLimits(wait=3, patience=20)


def sealed(*rows: tuple[str, int, int], subjects: list[bytes | None] | None = None) -> pa.RecordBatch:
    """Sealed records of partitions, offsets and instants of reading."""
    count = len(rows)
    columns = {
        "partition": [partition for partition, _, _ in rows],
        "offset": [offset for _, offset, _ in rows],
        "subject": subjects or [None] * count,
        "event_time": [None] * count,
        "read_at": [read_at for _, _, read_at in rows],
        "period": ["stream 1"] * count,
        "rest": [b"sealed"] * count,
        "parts": [[None]] * count,
    }
    return pa.RecordBatch.from_arrays(
        [pa.array(values, SCHEMA.field(name).type) for name, values in columns.items()], schema=SCHEMA
    )


def places(batches: tuple[pa.RecordBatch, ...]) -> list[Place]:
    return [place for each in batches
            for place in zip(each["partition"].to_pylist(), each["offset"].to_pylist(), strict=True)]  # fmt: skip


def gone(joined: Joined) -> list[Place]:
    return places((*(each.records for each in joined.decidable), *joined.given_up))


@dataclass(frozen=True)
class Step:
    """What comes in a step; clocks of who reads may go back."""

    read_at: tuple[int, ...]
    instant: int | None
    elapsed: int


STEPS = st.lists(
    st.builds(
        Step,
        read_at=st.lists(st.integers(0, 60), max_size=4).map(tuple),
        instant=st.none() | st.integers(0, 80),
        elapsed=st.integers(0, 15),
    ),
    max_size=12,
)


@given(steps=STEPS, lanes=st.integers(1, 3))
def test_every_record_comes_out_once_in_the_order_of_its_partition_and_not_too_early(
    steps: list[Step], lanes: int
) -> None:
    state, now, newest = JoinState(), 0, NOTHING_KNOWN
    read_at: dict[Place, int] = {}
    out: list[Place] = []
    for position, step in enumerate(steps):
        now += step.elapsed
        rows = []
        for instant in step.read_at:
            place = (f"orders/{len(read_at) % lanes}", len(read_at))
            read_at[place] = instant
            rows.append((*place, instant))
        watermark = None if step.instant is None else Watermark(step.instant, position)
        if watermark is not None:
            newest = Watermark(max(newest.instant, watermark.instant), watermark.position)
        joined = join_consents(state, sealed(*rows) if rows else None, watermark, now=now, limits=LIMITS)
        state = joined.state
        assert state.watermark == newest
        for decidable in joined.decidable:
            assert decidable.watermark == newest
            assert all(read_at[place] + LIMITS.wait < newest.instant for place in places((decidable.records,)))
        assert all(read_at[place] + LIMITS.wait + LIMITS.patience < now for place in places(joined.given_up))
        out += gone(joined)
        # What is left is either not free yet, or behind something of its partition that is not.
        stuck = {place for place in places(state.waiting)
                 if read_at[place] >= max(newest.instant, now - LIMITS.patience) - LIMITS.wait}  # fmt: skip
        assert all(any(before[0] == place[0] and before <= place for before in stuck)
                   for place in places(state.waiting))  # fmt: skip
    joined = join_consents(state, None, None, now=10**6, limits=LIMITS)
    out += gone(joined)
    assert joined.state.rows == 0
    assert Counter(out) == Counter(list(read_at))
    # A step may both decide and give up: between the two, offsets are in no order, but each step goes on behind.


@given(steps=STEPS)
def test_what_has_left_of_a_partition_is_all_that_lies_before_what_waits(steps: list[Step]) -> None:
    state, offset, left = JoinState(), 0, -1
    for step in steps:
        rows = [("orders/0", offset + place, instant) for place, instant in enumerate(step.read_at)]
        offset += len(rows)
        watermark = None if step.instant is None else Watermark(step.instant, 1)
        joined = join_consents(state, sealed(*rows) if rows else None, watermark, now=0, limits=LIMITS)
        state = joined.state
        left = max([left, *(place for _, place in gone(joined))])
        assert sorted(place for _, place in places(state.waiting)) == list(range(left + 1, offset))


def test_a_record_is_decided_only_once_the_watermark_is_beyond_its_reading_and_the_wait() -> None:
    state = join_consents(JoinState(), sealed(("o/0", 0, 100)), None, now=100, limits=LIMITS).state
    assert not gone(join_consents(state, None, Watermark(103, 1), now=103, limits=LIMITS))
    joined = join_consents(state, None, Watermark(104, 7), now=104, limits=LIMITS)
    assert [(places((each.records,)), each.watermark) for each in joined.decidable] == [
        ([("o/0", 0)], Watermark(104, 7))
    ]


@pytest.mark.parametrize(
    ("news", "known"),
    [(None, (50, 9)), (Watermark(49, 8), (50, 9)), (Watermark(49, 20), (50, 20)), (Watermark(51, 8), (51, 9))],
    ids=["none", "older", "of a clock that was set back", "of a ledger that is read late"],
)
def test_what_is_known_never_goes_back(news: Watermark | None, known: tuple[int, int]) -> None:
    state = JoinState(watermark=Watermark(50, 9))
    assert join_consents(state, None, news, now=50, limits=LIMITS).state.watermark == known


def test_without_news_of_consents_records_are_given_up_after_their_patience() -> None:
    state = join_consents(JoinState(), sealed(("o/0", 0, 100), ("o/0", 1, 110)), None, now=110, limits=LIMITS).state
    assert join_consents(state, None, None, now=123, limits=LIMITS).state.rows == 2
    joined = join_consents(state, None, None, now=124, limits=LIMITS)
    assert (places(joined.given_up), joined.decidable) == ([("o/0", 0)], ())
    assert places(joined.state.waiting) == [("o/0", 1)]


def test_a_record_of_a_fast_clock_holds_back_what_lies_behind_it_and_other_partitions_go_on() -> None:
    batch = sealed(("o/0", 0, 10), ("o/0", 1, 90), ("o/0", 2, 20), ("o/1", 0, 20))
    joined = join_consents(JoinState(), batch, Watermark(50, 1), now=50, limits=LIMITS)
    assert gone(joined) == [("o/0", 0), ("o/1", 0)]
    later = join_consents(joined.state, None, Watermark(94, 1), now=94, limits=LIMITS)
    assert gone(later) == [("o/0", 1), ("o/0", 2)]


@given(
    refs=st.lists(st.none() | st.binary(min_size=16, max_size=16), min_size=1, max_size=30),
    shards=st.integers(1, 20),
)
def test_records_of_a_subject_are_in_one_shard_and_each_record_in_exactly_one(
    refs: list[bytes | None], shards: int
) -> None:
    repeated = [*refs, *refs]
    batch = sealed(*((f"o/{place % 2}", place, 1) for place in range(len(repeated))), subjects=repeated)
    found = shard_rows(batch, shards)
    assert sorted(places(tuple(rows for _, rows in found))) == sorted(places((batch,)))
    assert all(0 <= number < shards for number, _ in found)
    shards_of: dict[bytes, set[int]] = {}
    for number, rows in found:
        for ref in rows["subject"].to_pylist():
            if ref is not None:
                shards_of.setdefault(ref, set()).add(number)
    assert all(len(numbers) == 1 for numbers in shards_of.values())
