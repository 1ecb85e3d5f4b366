"""Pub/Sub as Dataflow reads it itself: each message is sealed in the step behind the read, fused with it.

    ReadFromPubSub ─ Seal ─► shards         records, letters
    ReadFromPubSub ─ Hear ─► ledger, shards  letters of faulty consents

Dataflow acknowledges what it has committed behind these steps, and knows a message that comes twice by its id. Between
read and seal nothing is encoded, shuffled or kept: a bundle's messages are in the memory of one worker.
"""

# mypy: disable-error-code="name-defined, no-untyped-call, misc"
from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.io.gcp.pubsub import ReadFromPubSub
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import MIN_TIMESTAMP
from apache_beam.utils.windowed_value import WindowedValue

from ...transforms.consent_join import shard_rows
from ...transforms.failures import guarded
from ...transforms.stage import SharedStage
from ..letters import CONSENT_STAGE
from ..streams.consent_feed import ConsentFeed
from ..streams.places import PUBSUB
from ..streams.pubsub_place import parse_pubsub_uri
from ..streams.sources import Messages
from .intake import Intake
from .lanes import letter_parcels
from .wire import Kind, Parcel, bytes_of

__all__ = ["HearMessages", "SealMessages", "is_subscription", "partition_of", "place_of_message", "read_subscription"]

Keyed = tuple[int, bytes]

MOST = 5_000
"""Messages that are sealed at once: as many as are worth it, and as a bundle may hold without growing large."""
LARGEST = 2**63


def is_subscription(uri: str) -> bool:
    """Whether a URI names a subscription of Pub/Sub."""
    return uri.startswith(PUBSUB)


def partition_of(uri: str) -> str:
    """Returns the partition that all messages of a subscription are told to be of."""
    return parse_pubsub_uri(uri).partition


def read_subscription(uri: str) -> Any:
    """Returns the read of ``pubsub://PROJECT/SUBSCRIPTION``, with the ids of messages."""
    place = parse_pubsub_uri(uri)
    return ReadFromPubSub(subscription=f"projects/{place.project}/subscriptions/{place.name}", with_attributes=True)


def place_of_message(message_id: str) -> int:
    """Returns the offset under which a message is told: its id, which is a number; a hash of one that is none.

    Args:
        message_id: As Pub/Sub gave it, unique in its topic.

    >>> place_of_message("8123456789012345")
    8123456789012345
    """
    if message_id.isdecimal() and (number := int(message_id)) < LARGEST:
        return number
    return int.from_bytes(hashlib.sha256(message_id.encode()).digest()[:8], "big") % LARGEST


class _MessagesFn(beam.DoFn):
    """Takes the messages of a bundle together, some thousand at a time.

    Args:
        shared: As it was settled when the stream was launched.
        uri: Of the subscription.
    """

    def __init__(self, shared: SharedStage, uri: str) -> None:
        super().__init__()
        self._shared = shared
        self._partition = parse_pubsub_uri(uri).partition

    def start_bundle(self) -> None:
        """Begins with nothing, whatever became of the bundle before."""
        self._held: list[Any] = []

    @guarded("read")
    def process(self, element: Any) -> Iterator[Keyed]:
        """Takes a ``PubsubMessage``."""
        self._held.append(element)
        if len(self._held) >= MOST:
            yield from self._flushed()

    @guarded("read")
    def finish_bundle(self) -> Iterator[Any]:
        """Yields what the rest of the bundle comes to."""
        for keyed in self._flushed():
            yield WindowedValue(keyed, MIN_TIMESTAMP, (GlobalWindow(),))

    def _flushed(self) -> Iterable[Keyed]:
        held, self._held = self._held, []
        if not held:
            return ()
        placed = sorted(((place_of_message(each.message_id), each.data) for each in held), key=lambda each: each[0])
        offsets = np.array([offset for offset, _ in placed], np.int64)
        return [
            (shard, parcel.packed())
            for shard, parcel in self._taken(Messages(self._partition, [value for _, value in placed], offsets))
        ]

    def _taken(self, messages: Messages) -> Iterator[tuple[int, Parcel]]:
        raise NotImplementedError


class SealMessages(_MessagesFn):
    """Seals the records of a subscription for their shards.

    Args:
        shared: As it was settled when the stream was launched.
        uri: Of the subscription.
        shards: How many there are.
    """

    def __init__(self, shared: SharedStage, uri: str, shards: int) -> None:
        super().__init__(shared, uri)
        self._shards = shards

    @guarded("open")
    def setup(self) -> None:
        """Opens the stage, or joins the one of this process."""
        self._intake = Intake(self._shared.open())

    def _taken(self, messages: Messages) -> Iterator[tuple[int, Parcel]]:
        taken = self._intake.take(messages, read_at=_now())
        for number, rows in shard_rows(taken.records, self._shards):
            yield number, Parcel(Kind.RECORDS, rows.num_rows, bytes_of(rows))
        yield from letter_parcels(taken.letters, 0)


class HearMessages(_MessagesFn):
    """Takes the consent events of a subscription into the ledger, which knows one that comes twice."""

    @guarded("open")
    def setup(self) -> None:
        """Opens the stage, or joins the one of this process."""
        self._stage = self._shared.open()
        self._feed = ConsentFeed(self._stage.stores.ledger, self._stage.config.policy)

    def _taken(self, messages: Messages) -> Iterator[tuple[int, Parcel]]:
        faulty = self._feed.take(messages, now=_now()).faulty
        if faulty:
            letters = self._stage.sealer.seal_lines(faulty, messages.partition, stage=CONSENT_STAGE)
            yield from letter_parcels((letters,), 0)


def _now() -> int:
    return time.time_ns() // 1000
