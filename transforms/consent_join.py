"""Holds records back until the consents are known that govern them: one plain state machine for each shard.

A watermark says of an instant that all consents which had arrived before it are in the ledger, up to a position. A
record is decided once the watermark has passed the instant at which it was read, and ``wait`` more, by the ledger at
that position. So whoever says no, and places an order afterwards, is never overtaken by the order, on however many
machines the two travel; and a record never waits for an event time, which a silent partition could hold back for ever.

Clocks of machines differ: ``wait`` must be longer than they differ. And records of one partition go on in the order of
their offsets, whatever clocks said when they were read, so that the last one that was published tells of all before.

A shard that gets no watermark for ``patience`` gives its records up: their consent cannot be known, and they go to the
dead letters, sealed as they are and to be replayed. So a state has an end, whatever happens to the consents.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .nested_columns import numpy_bools
from .stores.consent_columns import reference_words

__all__ = ["Decidable", "JoinLimits", "JoinState", "Joined", "Watermark", "join_consents", "shard_rows"]


class Watermark(NamedTuple):
    """How far consents are known.

    Attributes:
        instant: Microseconds UTC; all that had arrived before is in the ledger.
        position: Of the ledger, up to which it holds them.
    """

    instant: int
    position: int


NOTHING_KNOWN = Watermark(-(2**62), 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinLimits:
    """How long records wait, in microseconds.

    Attributes:
        wait: For consents that arrive a little later than what they are about, and for clocks that differ.
        patience: Without a watermark that frees them.
    """

    wait: int = 0
    patience: int = 600_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinState:
    """What a shard remembers.

    Attributes:
        watermark: The newest.
        waiting: Sealed records in the order in which they came, of ``SEALED_RECORD_SCHEMA``.
    """

    watermark: Watermark = NOTHING_KNOWN
    waiting: tuple[pa.RecordBatch, ...] = ()

    @property
    def rows(self) -> int:
        """How many records wait."""
        return sum(batch.num_rows for batch in self.waiting)


class Decidable(NamedTuple):
    """Records whose consents are known.

    Attributes:
        records: Sealed.
        watermark: By which to decide.
    """

    records: pa.RecordBatch
    watermark: Watermark


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """What a step of a shard comes to.

    Attributes:
        state: For the next step.
        decidable: In the order in which they came.
        given_up: Records that waited in vain.
    """

    state: JoinState
    decidable: tuple[Decidable, ...] = ()
    given_up: tuple[pa.RecordBatch, ...] = ()


def join_consents(
    state: JoinState, batch: pa.RecordBatch | None, watermark: Watermark | None, *, now: int, limits: JoinLimits
) -> Joined:
    """Returns the next state of a shard, the records that are decidable in it, and those that waited in vain.

    The same steps give the same, whatever the machine; ``now`` only tells who is given up.

    Args:
        state: Before.
        batch: New sealed records; None: none.
        watermark: News of the consents; None: none. Of one whose instant or position is behind what is known, as
            where a clock was set back, the other still counts.
        now: Microseconds UTC.
        limits: How long records wait.
    """
    known = _newest(state.watermark, watermark or NOTHING_KNOWN)
    waiting = (*state.waiting, batch) if batch is not None and batch.num_rows else state.waiting
    decidable: list[Decidable] = []
    given_up: list[pa.RecordBatch] = []
    left: list[pa.RecordBatch] = []
    known_until, vain_until = known.instant - limits.wait, now - limits.wait - limits.patience
    firsts = _first_left(waiting, max(known_until, vain_until))
    for each in waiting:
        going, rest = _split(each, max(known_until, vain_until), firsts)
        ready, vain = _split(going, known_until, {})
        decidable += [Decidable(ready, known)] if ready.num_rows else []
        given_up += [vain] if vain.num_rows else []
        left += [rest] if rest.num_rows else []
    after = replace(state, watermark=known, waiting=tuple(left))
    return Joined(state=after, decidable=tuple(decidable), given_up=tuple(given_up))


def _newest(one: Watermark, other: Watermark) -> Watermark:
    return Watermark(max(one.instant, other.instant), max(one.position, other.position))


def _first_left(waiting: Sequence[pa.RecordBatch], until: int) -> dict[str, int]:
    """Returns by partition the first offset that was not read before an instant; none where there is no such."""
    firsts: dict[str, int] = {}
    for each in waiting:
        late = pc.greater_equal(each["read_at"], until)
        if pc.any(late).as_py():
            left = pa.Table.from_batches([each.select(["partition", "offset"]).filter(late)])
            least = left.group_by("partition").aggregate([("offset", "min")])
            for partition, offset in zip(
                *(least[name].to_pylist() for name in ("partition", "offset_min")), strict=True
            ):
                firsts[partition] = min(firsts.get(partition, offset), offset)
    return firsts


def _split(records: pa.RecordBatch, until: int, firsts: Mapping[str, int]) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """Returns the records that were read before an instant and lie before the first one left, and the others."""
    before = pc.less(records["read_at"], until)
    for partition, first in firsts.items():
        elsewhere = pc.not_equal(records["partition"], partition)
        before = pc.and_(before, pc.or_(elsewhere, pc.less(records["offset"], first)))
    count = pc.sum(before).as_py() or 0
    if count in (0, records.num_rows):
        return records.slice(0, count), records.slice(count)
    return records.filter(before), records.filter(pc.invert(before))


def shard_rows(records: pa.RecordBatch, shards: int) -> list[tuple[int, pa.RecordBatch]]:
    """Returns sealed records by shard: those of one subject are in one, those of nobody where their offset says."""
    words = reference_words(records["subject"])[:, 0]
    offsets = records["offset"].to_numpy().astype(np.uint64)
    numbers = np.where(numpy_bools(records["subject"].is_valid()), words, offsets) % np.uint64(shards)
    return [(int(number), records.filter(pa.array(numbers == number))) for number in np.unique(numbers)]
