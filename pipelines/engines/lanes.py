"""Lanes of a graph: each reads some partitions of a topic, from offsets that the engine keeps with its checkpoints.

A lane that cannot reach its broker has nothing new to say, and says so in the log; the engine goes on with the others.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import pyarrow as pa

from ...schemas.errors import RecordsGoneError, RunError
from ...transforms.consent_join import Watermark, shard_rows
from ...transforms.stage import Stage
from ..letters import CONSENT_STAGE
from ..retention import sweep_expired
from ..streams.consent_feed import ConsentFeed
from ..streams.epochs import ends_of
from ..streams.message_source import MessageTopic, Unread
from ..streams.sources import Part, lane_of
from .intake import Intake
from .wire import Kind, Parcel, bytes_of, watermark_parcel

__all__ = ["Advanced", "ConsentLane", "OrderLane"]

LOG = logging.getLogger(__name__)
SWEEP = 60_000_000
"""Microseconds after which it is looked for what has lived long enough."""


class Advanced(NamedTuple):
    """What a step of a lane comes to.

    Attributes:
        offsets: By partition, where the next step begins.
        parcels: For shards, each with its number.
    """

    offsets: Mapping[str, int]
    parcels: tuple[tuple[int, Parcel], ...]


class OrderLane:
    """Reads records, and seals them; used by one thread.

    Args:
        stage: Open.
        topic: Open; closed by who opened it.
        lane: Number of this one.
        lanes: How many there are.
        shards: How many there are.
        clock: Microseconds UTC.
    """

    def __init__(
        self, stage: Stage, topic: MessageTopic, *, lane: int, lanes: int, shards: int, clock: Callable[[], int]
    ) -> None:
        self._intake = Intake(stage)
        self._topic = topic
        self._unread = Unread(topic)
        self._lane = lane
        self._lanes = lanes
        self._shards = shards
        self._clock = clock

    def advance(self, offsets: Mapping[str, int], most: int) -> Advanced:
        """Returns the next records, at most some thousand.

        Args:
            offsets: Where it goes on, by partition.
            most: Records that are wanted.

        Raises:
            RecordsGoneError: The topic lost what had not been read.
            StoreError: The data keys cannot be used.
        """
        try:
            parts = [part for part in self._unread.take(offsets, most).parts
                     if lane_of(part.partition, self._lanes) == self._lane]  # fmt: skip
            parcels = tuple(self._parcels(parts)) if parts else ()
        except RecordsGoneError:
            raise
        except RunError as failure:
            LOG.warning("%s", failure)
            return Advanced(offsets, ())
        return Advanced({**offsets, **ends_of(tuple(parts))}, parcels)

    def _parcels(self, parts: list[Part]) -> Iterator[tuple[int, Parcel]]:
        for messages in self._topic.messages(self._lane, parts):
            # What was read now had arrived before, so all consents of before it are known when this instant is.
            taken = self._intake.take(messages, read_at=self._clock())
            # Letters first: where a stream that has lost everything goes on is told by its records.
            yield from letter_parcels(taken.letters, self._lane % self._shards)
            for number, rows in shard_rows(taken.records, self._shards):
                yield number, Parcel(Kind.RECORDS, rows.num_rows, bytes_of(rows))


class ConsentLane:
    """Takes consents into the ledger, and tells the shards how far it is; used by one thread.

    It also has the vault follow the ledger, and destroys what has lived long enough, whether records come or not.

    Args:
        stage: Open.
        topic: Open; None: consents come into the ledger by other ways.
        shards: How many there are.
        clock: Microseconds UTC.
    """

    def __init__(self, stage: Stage, topic: MessageTopic | None, *, shards: int, clock: Callable[[], int]) -> None:
        self._stage = stage
        self._topic = topic
        self._unread = None if topic is None else Unread(topic)
        self._feed = ConsentFeed(stage.stores.ledger, stage.config.policy)
        self._shards = shards
        self._clock = clock
        self._swept = 0

    def advance(self, offsets: Mapping[str, int]) -> Advanced:
        """Drains the topic to its end, and returns a watermark for each shard.

        Args:
            offsets: Where it goes on, by partition.

        Raises:
            RecordsGoneError: The topic lost what had not been read.
            StoreError: A store cannot be used.
        """
        instant = self._clock()
        try:
            parts, letters = self._drained(offsets)
        except RecordsGoneError:
            raise
        except RunError as failure:
            LOG.warning("%s", failure)
            return Advanced(offsets, ())
        ledger = self._stage.stores.ledger
        self._care(instant)
        news = watermark_parcel(Watermark(instant, ledger.position()))
        parcels = [*letter_parcels(letters, 0), *((number, news) for number in range(self._shards))]
        return Advanced({**offsets, **ends_of(parts)}, tuple(parcels))

    def _drained(self, offsets: Mapping[str, int]) -> tuple[tuple[Part, ...], tuple[pa.RecordBatch, ...]]:
        if self._topic is None or self._unread is None:
            return (), ()
        parts, _ = self._unread.take(offsets)
        letters = []
        for messages in self._topic.messages(0, parts) if parts else ():
            faulty = self._feed.take(messages, now=self._clock()).faulty
            if faulty:
                letters.append(self._stage.sealer.seal_lines(faulty, messages.partition, stage=CONSENT_STAGE))
        return parts, tuple(letters)

    def _care(self, now: int) -> None:
        self._stage.follow_ledger(now)
        if now - self._swept >= SWEEP:
            stores = self._stage.stores
            sweep_expired(stores.data_keys, stores.vault, self._stage.config.policy, now)
            self._swept = now


def letter_parcels(letters: tuple[pa.RecordBatch, ...], shard: int) -> Iterator[tuple[int, Parcel]]:
    """Yields dead letters for the shard that publishes them."""
    return ((shard, Parcel(Kind.LETTERS, each.num_rows, bytes_of(each))) for each in letters if each.num_rows)
