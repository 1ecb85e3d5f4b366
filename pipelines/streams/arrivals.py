"""Which records that have arrived are decided now: the consent join, over stretches of a topic.

Records stay in their topic until their consents are known; what waits here is only where they are, and since when.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from ...transforms.consent_join import JoinLimits, JoinState, Watermark, join_consents
from .sources import Offsets, Part, StreamSource

__all__ = ["Arrivals", "Ready"]

SCHEMA = pa.schema(
    [
        pa.field("partition", pa.string(), nullable=False),
        pa.field("start", pa.int64(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("read_at", pa.int64(), nullable=False),
    ]
)
"""A row for each stretch: its first and its last offset, and when its end was seen, microseconds UTC."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """What may be decided.

    Attributes:
        parts: At most one of each partition.
        position: Of the ledger, by which to decide them.
        rest: What waits when they are taken.
    """

    parts: tuple[Part, ...]
    position: int
    rest: JoinState


class Arrivals:
    """What has arrived and is not taken; used by one thread.

    Args:
        source: Where records come from.
        clock: Microseconds UTC.
        wait: Microseconds that records wait for consents that arrive a little later.
    """

    def __init__(self, source: StreamSource, *, clock: Callable[[], int], wait: int = 0) -> None:
        self._source = source
        self._clock = clock
        self._limits = JoinLimits(wait=wait)
        self._state = JoinState()

    @property
    def waiting(self) -> int:
        """How many offsets wait."""
        return sum(part.end - part.start for part in _parts(self._state.waiting))

    def look(self, done: Offsets, most: int) -> int:
        """Has the next records wait, behind those that are done and those that wait; returns how many are left there.

        Args:
            done: What is processed, by partition.
            most: Records that are wanted at most.

        Raises:
            RunError: The source cannot be reached.
        """
        ends = {part.partition: part.end for part in _parts(self._state.waiting)}
        found = self._source.take({**done, **ends}, most)
        seen_at = self._clock()
        rows = [(part.partition, part.start, part.end - 1, seen_at) for part in found.parts]
        if rows:
            columns = [pa.array(each) for each in zip(*rows, strict=True)]
            batch = pa.RecordBatch.from_arrays(columns, schema=SCHEMA)
            self._state = replace(self._state, waiting=(*self._state.waiting, batch))
        return found.lag

    def ready(self, watermark: Watermark, most: int) -> Ready:
        """Returns what a watermark makes decidable; it waits on until it is taken.

        Args:
            watermark: News of the consents.
            most: Records that are wanted at most; of one stretch all are taken.
        """
        joined = join_consents(self._state, None, watermark, now=watermark.instant, limits=self._limits)
        chosen = _cut(_parts([each.records for each in joined.decidable]), most)
        ends = {part.partition: part.end for part in chosen}
        rest = tuple(rows for each in self._state.waiting if (rows := _behind(each, ends)).num_rows)
        position = joined.state.watermark.position
        return Ready(parts=_together(chosen), position=position, rest=replace(joined.state, waiting=rest))

    def take(self, ready: Ready) -> None:
        """Notes that what was ready is taken."""
        self._state = ready.rest

    def forget(self) -> None:
        """Has nothing wait any more: all that is not done is looked for anew."""
        self._state = replace(self._state, waiting=())


def _parts(batches: Sequence[pa.RecordBatch]) -> list[Part]:
    return [
        Part(partition=partition, start=start, end=last + 1)
        for rows in batches
        for partition, start, last in zip(*(rows[name].to_pylist() for name in SCHEMA.names[:3]), strict=True)
    ]


def _cut(parts: Sequence[Part], most: int) -> list[Part]:
    """Returns the first parts, as many as have no more records than are wanted, and at least one."""
    total = 0
    chosen: list[Part] = []
    for part in parts:
        total += part.end - part.start
        if chosen and total > most:
            break
        chosen.append(part)
    return chosen


def _together(parts: Sequence[Part]) -> tuple[Part, ...]:
    """Returns one part for all of a partition, which follow each other."""
    found: dict[str, Part] = {}
    for part in parts:
        first = found.setdefault(part.partition, part)
        found[part.partition] = replace(first, end=part.end)
    return tuple(found.values())


def _behind(rows: pa.RecordBatch, ends: Offsets) -> pa.RecordBatch:
    taken = [ends.get(partition, 0) for partition in rows["partition"].to_pylist()]
    return rows.filter(pc.greater_equal(rows["start"], pa.array(taken, pa.int64())))
