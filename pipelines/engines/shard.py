"""One shard of an unbounded stream: takes parcels, remembers what waits, and publishes what is decided.

A plain state machine without Beam: ``Shard.step`` is given the state and what came, and returns the next state. What
it writes besides, to vault and output, a replay of the same step writes again to the same effect.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from ...transforms.consent_join import NOTHING_KNOWN, Joined, JoinLimits, JoinState, Watermark, join_consents
from ...transforms.stage import SharedStage
from ...transforms.tally import Tally, merge
from ..outcome import READ
from .settlement import Settled, Settlement
from .shard_notes import ShardNote, furthest
from .shard_publication import Publication, ShardPlace

__all__ = ["Shard", "ShardLimits", "ShardState", "Stepped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardLimits:
    """When a shard does what.

    Attributes:
        join: How long records wait for consents.
        latency: Microseconds between two publications.
        most: Records that wait for the next publication; it comes earlier where there are more.
    """

    join: JoinLimits = field(default_factory=JoinLimits)
    latency: int = 1_000_000
    most: int = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardState:
    """What a shard remembers between two steps; nothing in it is raw.

    Attributes:
        number: Of its next publication.
        lot: Of its last one; see ``shard_output``.
        published_at: When the last one was, microseconds UTC.
        watermark: Of consents, the newest.
        columns: Of records, as far as the dataset declares them.
        records: Sealed, waiting.
        letters: Sealed dead letters of what could not become a record, to be published with them.
        done: By partition, records before these offsets were published by an earlier launch, or a step that was lost.
        done_letters: Likewise, of letters.
    """

    number: int = 0
    lot: str = ""
    published_at: int = 0
    watermark: Watermark = NOTHING_KNOWN
    columns: pa.Schema = field(default_factory=lambda: pa.schema([]))
    records: tuple[pa.RecordBatch, ...] = ()
    letters: tuple[pa.RecordBatch, ...] = ()
    done: Mapping[str, int] = field(default_factory=dict)
    done_letters: Mapping[str, int] = field(default_factory=dict)


class Stepped(NamedTuple):
    """What a step comes to.

    Attributes:
        state: For the next one.
        note: Of what was published; None: nothing was.
    """

    state: ShardState
    note: ShardNote | None


class Shard:
    """One shard, in the worker that has it now; used by one thread.

    Args:
        shared: As it was settled when the stream was launched.
        place: Where it publishes.
        launch: Id of the launch.
        limits: When it does what.
        clock: Microseconds UTC.
        unordered: Names of subscriptions and topics of which the last message that was published tells nothing of those
            before: what an engine has taken of them and forgets is read nowhere again.
    """

    def __init__(
        self,
        shared: SharedStage,
        place: ShardPlace,
        *,
        launch: str,
        limits: ShardLimits,
        clock: Callable[[], int],
        unordered: Collection[str] = (),
    ) -> None:
        self._shared = shared
        self._place = place
        self._launch = launch
        self._limits = limits
        self._clock = clock
        self._unordered = unordered
        self._settlement: Settlement | None = None

    def step(self, state: ShardState, watermark: Watermark) -> Stepped:
        """Returns what comes of a watermark: records whose consents it makes known are published.

        Args:
            state: With all that waits.
            watermark: As it came.

        Raises:
            PrivacyError: A store, a key or the disk cannot be used; the step counts for nothing and is done again.
        """
        now = self._clock()
        state = self._unpublished(self._resumed(state))
        joined = join_consents(
            JoinState(watermark=state.watermark, waiting=state.records),
            None,
            watermark,
            now=now,
            limits=self._limits.join,
        )
        after = replace(state, watermark=joined.state.watermark, records=joined.state.waiting)
        if not joined.decidable and not joined.given_up and not state.letters:
            return Stepped(after, None)
        settlement = self._settlement = self._settlement or Settlement(self._shared, state.columns)
        settled = settlement.settle(joined.decidable, joined.given_up, clock=now)
        publication = self._publication(joined, settled, state.letters, settlement.columns, now)
        published = self._place.publish(state.number, state.lot, publication)
        after = replace(
            after, number=state.number + 1, lot=published.lot, published_at=now, letters=(), columns=settlement.columns
        )  # fmt: skip
        return Stepped(after, published.note)

    def _resumed(self, state: ShardState) -> ShardState:
        """Returns a state such that it goes on behind what is published and stays."""
        found = self._place.resumption(state.number, state.lot)
        if found is None:
            return state
        done, done_letters = furthest(state.done, found.offsets), furthest(state.done_letters, found.letters)
        columns = state.columns if found.columns is None else found.columns
        return replace(state, number=found.number, lot=found.lot, columns=columns, done=done, done_letters=done_letters)

    def close(self) -> None:
        """Lets go of where it publishes."""
        self._place.close()

    def _unpublished(self, state: ShardState) -> ShardState:
        """Returns a state without what is published."""
        if not state.done and not state.done_letters:
            return state
        records = (_behind(each, "partition", "offset", state.done) for each in state.records)
        letters = (_behind(each, "source", "position", state.done_letters) for each in state.letters)
        return replace(
            state,
            records=tuple(each for each in records if each.num_rows),
            letters=tuple(each for each in letters if each.num_rows),
        )

    def _publication(
        self, joined: Joined, settled: Settled, letters: Sequence[pa.RecordBatch], columns: pa.Schema, now: int
    ) -> Publication:
        return Publication(
            rows=settled.rows,
            letters=(*settled.letters, *letters),
            tally=merge((settled.tally, _tally_of(letters))),
            offsets=self._ends_of(
                [*(each.records for each in joined.decidable), *joined.given_up], "partition", "offset"
            ),
            letter_ends=self._ends_of(letters, "source", "position"),
            columns=columns,
            watermark=joined.state.watermark,
            launch=self._launch,
            clock=now,
        )

    def _ends_of(self, batches: Sequence[pa.RecordBatch], partition: str, offset: str) -> dict[str, int]:
        ends = _ends([(each[partition], each[offset]) for each in batches])
        return {name: end for name, end in ends.items() if not {name, name.rpartition("/")[0]} & set(self._unordered)}


def _tally_of(letters: Sequence[pa.RecordBatch]) -> Tally:
    """Returns the counts of letters that came as such: each is a record that was read, and refused."""
    counts: Counter[tuple[str, ...]] = Counter()
    for batch in letters:
        for stage, reason in zip(batch["stage"].to_pylist(), batch["reason"].to_pylist(), strict=True):
            counts[READ] += 1
            counts["rejected", stage, reason] += 1
    return Tally(dict(counts))


def _ends(places: Sequence[tuple[pa.Array, pa.Array]]) -> dict[str, int]:
    """Returns the offset behind the last record of each partition."""
    ends: dict[str, int] = {}
    for partitions, offsets in places:
        rows = pa.table({"partition": partitions, "offset": offsets})
        last = rows.group_by("partition").aggregate([("offset", "max")])
        for partition, offset in zip(last["partition"].to_pylist(), last["offset_max"].to_pylist(), strict=True):
            if partition is not None and offset is not None:
                ends[partition] = max(ends.get(partition, 0), offset + 1)
    return ends


def _behind(batch: pa.RecordBatch, partition: str, offset: str, done: Mapping[str, int]) -> pa.RecordBatch:
    """Returns the rows that are not published yet."""
    if batch.num_rows and (pc.min(batch[offset]).as_py() or 0) >= max(done.values(), default=0):
        return batch
    ends = [done.get(each, 0) for each in batch[partition].to_pylist()]
    new = pc.greater_equal(pc.fill_null(batch[offset], 0), pa.array(ends, pa.int64()))
    return batch if pc.all(new).as_py() else batch.filter(new)
