"""Stretches of a topic are taken once, in order, when the consents of what lies in them are known."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from consentry.pipelines.streams.arrivals import Arrivals
from consentry.pipelines.streams.message_source import shared_parts
from consentry.pipelines.streams.sources import Part, Taken
from consentry.schemas.errors import RunError
from consentry.transforms.consent_join import Watermark
from hypothesis import given
from hypothesis import strategies as st

PARTITIONS = ("orders/0", "orders/1", "orders/2")


class Growing:
    """A source whose partitions have ends, and nothing else."""

    name = "growing"

    def __init__(self) -> None:
        self.ends = dict.fromkeys(PARTITIONS, 0)
        self.broken = False

    def take(self, done: Mapping[str, int], most: int) -> Taken:
        if self.broken:
            raise RunError("the broker is gone; see to it")
        starts = {**dict.fromkeys(PARTITIONS, 0), **done}
        waiting = {partition: end - starts[partition] for partition, end in self.ends.items()}
        parts = shared_parts(starts, waiting, most)
        return Taken(parts, sum(waiting.values()) - sum(part.end - part.start for part in parts))


def watermark(instant: int) -> Watermark:
    return Watermark(instant, instant)


step = st.fixed_dictionaries(
    {
        "came": st.lists(st.integers(0, 9), min_size=3, max_size=3),
        "most": st.integers(1, 12),
        "passed": st.integers(0, 4),
        "known": st.integers(0, 6),
        "taken": st.booleans(),
        "broken": st.sampled_from([False, False, False, True]),
        "lost": st.sampled_from([False, False, False, False, True]),
    }
)


@given(steps=st.lists(step, max_size=25), wait=st.integers(0, 5))
def test_every_offset_is_taken_once_in_order_and_not_before_its_consents_are_known(
    steps: list[dict[str, object]], wait: int
) -> None:
    source, clock, done = Growing(), [100], dict.fromkeys(PARTITIONS, 0)
    arrivals = Arrivals(source, clock=lambda: clock[0], wait=wait)
    seen: dict[tuple[str, int], int] = {}
    newest = 0
    for each in [*steps, *[{"came": [0, 0, 0], "most": 1000, "passed": 50, "known": 0, "taken": True}] * 40]:
        clock[0] += each["passed"]
        for partition, count in zip(PARTITIONS, each["came"], strict=True):
            source.ends[partition] += count
        source.broken = bool(each.get("broken"))
        if each.get("lost"):
            arrivals.forget()
        before = arrivals.waiting
        try:
            left = arrivals.look(done, each["most"])
        except RunError:
            assert source.broken and arrivals.waiting == before
        else:
            assert arrivals.waiting + left == sum(source.ends.values()) - sum(done.values())
            for partition in PARTITIONS:
                seen.update({(partition, at): clock[0] for at in range(done[partition], source.ends[partition])
                             if (partition, at) not in seen})  # fmt: skip
        known = max(newest, clock[0] + 1 - each["known"])
        ready = arrivals.ready(watermark(clock[0] + 1 - each["known"]), each["most"])
        assert ready.position == known
        assert len({part.partition for part in ready.parts}) == len(ready.parts)
        if not each["taken"]:
            continue
        arrivals.take(ready)
        newest = known
        for part in ready.parts:
            assert part.start == done[part.partition] < part.end <= source.ends[part.partition]
            assert all(seen[part.partition, at] + wait < newest for at in range(part.start, part.end))
            done[part.partition] = part.end
    assert done == source.ends and not arrivals.waiting


@pytest.mark.parametrize(("most", "taken"), [(1, 4), (4, 4), (7, 4), (8, 8), (100, 12)])
def test_no_more_is_taken_at_once_than_is_wanted_but_for_one_stretch(most: int, taken: int) -> None:
    source, clock = Growing(), [10]
    arrivals = Arrivals(source, clock=lambda: clock[0])
    for _ in range(3):
        source.ends["orders/0"] += 4
        arrivals.look({}, 100)
    ready = arrivals.ready(watermark(11), most)
    assert ready.parts == (Part(partition="orders/0", start=0, end=taken),)
    arrivals.take(ready)
    assert arrivals.waiting == 12 - taken
