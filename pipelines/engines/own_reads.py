"""What Dataflow reads itself, Pub/Sub or Kafka: each message is sealed in the step behind the read, fused with it.

    ReadFromPubSub, ReadFromKafka ─ Seal ─► shards         records, letters
    ReadFromPubSub                ─ Hear ─► ledger, shards  letters of faulty consents

Dataflow acknowledges what it has committed behind these steps, and knows a message that comes twice by its id or its
offset. Between read and seal nothing is shuffled or kept: a bundle's messages are in the memory of one worker.
"""

# mypy: disable-error-code="name-defined, no-untyped-call, misc"
from __future__ import annotations

import hashlib
import socket
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.io.gcp.pubsub import ReadFromPubSub
from apache_beam.io.kafka import ReadFromKafka
from apache_beam.options.pipeline_options import CrossLanguageOptions
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.subprocess_server import JavaJarServer
from apache_beam.utils.timestamp import MIN_TIMESTAMP
from apache_beam.utils.windowed_value import WindowedValue

from ...schemas.errors import ConfigError, PrivacyError
from ...transforms.consent_join import shard_rows
from ...transforms.failures import guarded
from ...transforms.stage import SharedStage
from ..letters import CONSENT_STAGE
from ..streams.consent_feed import ConsentFeed
from ..streams.kafka_place import parse_kafka_uri
from ..streams.places import PUBSUB
from ..streams.pubsub_place import parse_pubsub_uri
from ..streams.sources import Messages
from .intake import Intake
from .lanes import letter_parcels
from .wire import Kind, Parcel, bytes_of

__all__ = [
    "HearMessages",
    "SealMessages",
    "check_own_read",
    "is_subscription",
    "name_of",
    "place_of_message",
    "read_by_engine",
]

Keyed = tuple[int, bytes]

MOST = 5_000
"""Messages that are sealed at once: as many as are worth it, and as a bundle may hold without growing large."""
LARGEST = 2**63
ANSWER_SECONDS = 10.0


def is_subscription(uri: str) -> bool:
    """Whether a URI names a subscription of Pub/Sub."""
    return uri.startswith(PUBSUB)


def name_of(uri: str) -> str:
    """Returns the name by which partitions are told: all of a subscription have it, those of a topic begin with it."""
    return parse_pubsub_uri(uri).partition if is_subscription(uri) else parse_kafka_uri(uri).topic


def check_own_read(uri: str) -> None:
    """Refuses a topic that the engine cannot read without telling what lets it in.

    Raises:
        ConfigError: The topic has a file of properties.
    """
    if not is_subscription(uri) and parse_kafka_uri(uri).properties:
        raise ConfigError(
            "--own-read: the properties of ?config=FILE would stand in the job, for all to read who may see it; leave "
            "--own-read out, and lanes read the topic"
        )


def read_by_engine(pipeline: Any, name: str, uri: str) -> Any:
    """Reads ``pubsub://PROJECT/SUBSCRIPTION`` or ``kafka://HOST:PORT/TOPIC`` with Beam's own transform.

    That of Kafka is written in Java, and made by Beam's expansion service; Beam starts it, or ``--beam_services`` names
    one.

    Args:
        pipeline: That reads.
        name: Of the step.
        uri: Of the subscription or topic.

    Raises:
        ConfigError: The read cannot be made here, or the topic has a file of properties.
    """
    services = pipeline.options.view_as(CrossLanguageOptions).beam_services
    _check_services(services.values())
    try:
        with JavaJarServer.beam_services(services):
            return pipeline | name >> _own_read(uri)
    except PrivacyError:
        raise
    except Exception as error:  # noqa: BLE001 - what Beam's expansion service and its jar may raise is anything
        raise ConfigError(
            f"--own-read: Beam's read of {name_of(uri)} cannot be made ({type(error).__name__}): it needs Java here, "
            "and Beam's expansion service; --beam_services names one that runs"
        ) from None


def _check_services(addresses: Iterable[str]) -> None:
    """Refuses an expansion service that does not answer: Beam would wait for it without end.

    Args:
        addresses: Values of ``--beam_services``; those that are no HOST:PORT are jars.

    Raises:
        ConfigError: Nobody answers at one of them.
    """
    for address in addresses:
        host, _, port = address.rpartition(":")
        if not host or not port.isdecimal():
            continue
        try:
            with socket.create_connection((host, int(port)), timeout=ANSWER_SECONDS):
                pass
        except (OSError, OverflowError):
            raise ConfigError(f"--beam_services: nobody answers at {address}; start Beam's expansion service") from None


def _own_read(uri: str) -> Any:
    if is_subscription(uri):
        place = parse_pubsub_uri(uri)
        return ReadFromPubSub(subscription=f"projects/{place.project}/subscriptions/{place.name}", with_attributes=True)
    check_own_read(uri)
    topic = parse_kafka_uri(uri)
    consumer = {
        "bootstrap.servers": topic.servers,
        "group.id": topic.group,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": "false",
        "isolation.level": "read_committed",
    }
    return ReadFromKafka(
        consumer_config=consumer,
        topics=[topic.topic],
        with_metadata=True,
        commit_offset_in_finalize=True,
        timestamp_policy=ReadFromKafka.processing_time_policy,
    )


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
        uri: Of the subscription or topic.
    """

    def __init__(self, shared: SharedStage, uri: str) -> None:
        super().__init__()
        self._shared = shared
        self._messages = partial(_of_subscription, name_of(uri)) if is_subscription(uri) else _of_topic

    def start_bundle(self) -> None:
        """Begins with nothing, whatever became of the bundle before."""
        self._held: list[Any] = []

    @guarded("read")
    def process(self, element: Any) -> Iterator[Keyed]:
        """Takes a ``PubsubMessage``, or a row with topic, partition, offset and value."""
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
        return [
            (shard, parcel.packed()) for messages in self._messages(held) for shard, parcel in self._taken(messages)
        ]

    def _taken(self, messages: Messages) -> Iterator[tuple[int, Parcel]]:
        raise NotImplementedError


def _of_subscription(partition: str, held: Sequence[Any]) -> Iterator[Messages]:
    if held:
        yield _placed(partition, [(place_of_message(each.message_id), each.data) for each in held])


def _of_topic(held: Sequence[Any]) -> Iterator[Messages]:
    found: dict[str, list[tuple[int, bytes | None]]] = defaultdict(list)
    for row in held:
        found[f"{row.topic}/{row.partition}"].append((row.offset, row.value))
    for partition, placed in found.items():
        yield _placed(partition, placed)


def _placed(partition: str, placed: list[tuple[int, bytes | None]]) -> Messages:
    placed.sort(key=lambda each: each[0])
    return Messages(partition, [value for _, value in placed], np.array([offset for offset, _ in placed], np.int64))


class SealMessages(_MessagesFn):
    """Seals the records of a subscription or topic for their shards.

    Args:
        shared: As it was settled when the stream was launched.
        uri: Of the subscription or topic.
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
