"""The topic that keeps the books of an output that is a topic itself: ``TOPIC.books``, beside ``TOPIC.dead-letters``.

It has a partition for each shard, with the notes of its publications, and one more for what stands of the stream. The
last message of a key counts, so the broker may compact it; nothing in it is raw, and nothing may expire.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from ...schemas.errors import ConfigError, RunError
from ..streams.kafka_place import BIGGEST, PATIENCE_SECONDS, KafkaPlace, admin_of, consumer_of, producer_of

if TYPE_CHECKING:
    from confluent_kafka import Consumer, KafkaError, Producer
    from confluent_kafka.admin import AdminClient

__all__ = ["BOOKS", "LETTERS", "TopicBooks", "books_of", "is_empty", "make_topics"]

BOOKS, LETTERS = ".books", ".dead-letters"
Answer = TypeVar("Answer")

AGAIN_SECONDS = 0.1
QUICK = {"fetch.wait.max.ms": "10"}
"""A broker holds back that a partition has ended for so long; half a second by default."""
KEPT = {"retention.ms": "-1", "max.message.bytes": str(BIGGEST)}
"""A sealed letter is longer by half than the message that it is of."""
COMPACTED = {
    **KEPT,
    "cleanup.policy": "compact",
    "min.cleanable.dirty.ratio": "0.1",
    "segment.bytes": str(8 << 20),
    "segment.ms": str(3_600_000),
}


class TopicBooks:
    """The books of one output; used by one thread. What it has read it does not read again.

    Args:
        place: Of the output; its books are on the same servers.
        shards: Of the stream.
        patience: Seconds for which the broker may not answer.
    """

    def __init__(self, place: KafkaPlace, shards: int, *, patience: float = PATIENCE_SECONDS) -> None:
        self._place = replace(place, topic=place.topic + BOOKS)
        self.shards = shards
        self._patience = patience
        self._consumer: Consumer | None = None
        self._producer: Producer | None = None
        self._held: dict[int, dict[str, bytes]] = {}
        self._ends: dict[int, int] = {}

    @property
    def topic(self) -> str:
        """Its name."""
        return self._place.topic

    def standing(self) -> dict[str, bytes]:
        """Returns what stands of the stream, by key.

        Raises:
            RunError: The broker cannot be read.
        """
        return self._read(self.shards)

    def note_of(self, shard: int) -> bytes | None:
        """Returns the last note of a shard, of what is committed; None: it has published nothing.

        Raises:
            RunError: The broker cannot be read.
        """
        return next(iter(self._read(shard).values()), None)

    def write(self, key: str, value: bytes) -> None:
        """Sets something that stands of the stream, and returns when the broker has it.

        Raises:
            RunError: It did not take it.
        """
        from confluent_kafka import KafkaException

        failed: list[KafkaError] = []
        self._producer = producer = self._producer or producer_of(self._place, self._patience)
        try:
            producer.produce(
                self.topic, value, key.encode(), partition=self.shards,
                on_delivery=lambda error, _: failed.append(error) if error is not None else None,
            )  # fmt: skip
            left = producer.flush(self._patience)
        except KafkaException as error:
            self._producer = None
            raise self._failure(error.args[0]) from None
        if left or failed:
            self._producer = None
            raise self._failure(failed[0] if failed else None)

    def close(self) -> None:
        """Lets go of the broker, until it is used again."""
        if self._consumer is not None:
            self._consumer.close()
        self._consumer = self._producer = None

    def _read(self, partition: int) -> dict[str, bytes]:
        """Takes in what a partition has more since it was read last, and returns all of it, by key."""
        from confluent_kafka import KafkaException

        try:
            return _patiently(lambda: self._caught_up(partition), self._patience)
        except KafkaException as error:
            self._consumer = None
            raise self._failure(error.args[0]) from None
        except RunError:
            self._consumer = None
            raise

    def _caught_up(self, partition: int) -> dict[str, bytes]:
        from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, TopicPartition

        if self._consumer is None:
            self._consumer = consumer_of(replace(self._place, properties={**QUICK, **self._place.properties}))
            self._held, self._ends = {}, {}
        place, held = TopicPartition(self.topic, partition), self._held.setdefault(partition, {})
        # Of what is committed: a shard reads its notes when it has its name, and so nothing of it is open.
        _, end = self._consumer.get_watermark_offsets(place, timeout=self._patience)
        if self._ends.get(partition, 0) < end:
            place.offset = self._ends.get(partition, OFFSET_BEGINNING)
            self._consumer.assign([place])
        while self._ends.get(partition, 0) < end:
            message = self._consumer.poll(self._patience)
            if message is None:
                raise self._failure(None)
            if message.partition() not in (None, partition):
                continue  # of one that was read before
            error, offset = message.error(), message.offset() or 0
            if error is None:
                held[(message.key() or b"").decode(errors="replace")] = message.value() or b""
                self._ends[partition] = offset + 1
            elif error.code() == KafkaError._PARTITION_EOF:
                self._ends[partition] = offset
            else:
                raise KafkaException(error)
        self._consumer.unassign()  # nothing is fetched ahead
        return dict(held)

    def _failure(self, error: KafkaError | None) -> RunError:
        name = "no answer" if error is None else error.name()
        return RunError(f"kafka:{self.topic}: cannot be used ({name}); see that the broker runs and lets us in")


def books_of(place: KafkaPlace, *, patience: float = PATIENCE_SECONDS) -> TopicBooks:
    """Returns the books that are there.

    Raises:
        ConfigError: There are none.
        RunError: The broker cannot be asked.
    """
    from confluent_kafka import KafkaException

    name = place.topic + BOOKS
    try:
        there = admin_of(place).list_topics(timeout=patience).topics
    except KafkaException as error:
        raise RunError(f"kafka:{name}: the broker cannot be asked ({error.args[0].name()})") from None
    if name not in there:
        raise ConfigError(f"{place.topic}: is no output of `consentry stream --runner`; name its --out")
    return TopicBooks(place, len(there[name].partitions) - 1, patience=patience)


def make_topics(place: KafkaPlace, shards: int, *, patience: float = PATIENCE_SECONDS) -> None:
    """Makes the topics of books and of dead letters where they are not there; the topic itself has to be.

    Raises:
        ConfigError: There is no such topic, or books of another number of shards are there.
        RunError: The broker cannot be reached, or does not let us make topics.
    """
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import NewTopic  # type: ignore[attr-defined]

    admin = admin_of(place)
    books, letters = place.topic + BOOKS, place.topic + LETTERS
    try:
        # Of all topics, and by name: to be asked for one that is not there, a broker may make it.
        there = admin.list_topics(timeout=patience).topics
        if place.topic not in there:
            raise ConfigError(f"--out: the broker has no topic {place.topic}; create it first")
        wanted: Mapping[str, tuple[int, Mapping[str, str]]] = {
            books: (shards + 1, COMPACTED),
            letters: (len(there[place.topic].partitions), KEPT),
        }
        new = [
            NewTopic(name, partitions, config=dict(config))
            for name, (partitions, config) in wanted.items()
            if name not in there
        ]
        for name, made in (admin.create_topics(new, operation_timeout=patience) if new else {}).items():
            _made(name, made, wanted[name])
        began_with = _partitions(admin, books, patience) - 1
    except KafkaException as error:
        raise RunError(f"kafka:{place.topic}: the broker cannot be asked ({error.args[0].name()})") from None
    if began_with != shards:
        raise ConfigError(
            f"--shards: the stream of this output began with {began_with}; go on with those, or name a new --out"
        )


def _partitions(admin: AdminClient, topic: str, patience: float) -> int:
    """Returns how many partitions a topic has, as soon as the broker that is asked knows of it."""
    deadline = time.monotonic() + patience
    while True:
        found = admin.list_topics(topic, timeout=patience).topics[topic]
        if found.error is None and found.partitions:
            return len(found.partitions)
        if time.monotonic() > deadline:
            raise RunError(f"kafka:{topic}: the broker does not tell its partitions; see to it, and launch again")
        time.sleep(AGAIN_SECONDS)


def _patiently(ask: Callable[[], Answer], patience: float) -> Answer:
    """Returns an answer that a broker may not have at once for a topic that was just made."""
    from confluent_kafka import KafkaError, KafkaException

    passing = (KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE,
               KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_PARTITION)  # fmt: skip
    deadline = time.monotonic() + patience
    while True:
        try:
            return ask()
        except KafkaException as error:
            if error.args[0].code() not in passing or time.monotonic() > deadline:
                raise
            time.sleep(AGAIN_SECONDS)


def _made(name: str, made: object, wanted: tuple[int, Mapping[str, str]]) -> None:
    from concurrent.futures import Future

    from confluent_kafka import KafkaError, KafkaException

    assert isinstance(made, Future)
    try:
        made.result()
    except KafkaException as error:
        if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
            return
        partitions, config = wanted
        told = ", ".join(f"{key}={value}" for key, value in config.items())
        raise RunError(
            f"kafka:{name}: cannot be made ({error.args[0].name()}); create it with {partitions} partitions and {told}"
        ) from None


def is_empty(place: KafkaPlace, *, patience: float = PATIENCE_SECONDS) -> bool:
    """Tells whether a topic that is there has no messages.

    Raises:
        RunError: The broker cannot be asked.
    """
    from confluent_kafka import KafkaException, TopicPartition

    consumer = consumer_of(place)
    try:
        numbers = consumer.list_topics(place.topic, timeout=patience).topics[place.topic].partitions
        ends = [
            _patiently(
                partial(consumer.get_watermark_offsets, TopicPartition(place.topic, number), timeout=patience), patience
            )
            for number in numbers
        ]
    except KafkaException as error:
        raise RunError(f"kafka:{place.topic}: the broker cannot be asked ({error.args[0].name()})") from None
    finally:
        consumer.close()
    return all(low == high for low, high in ends)
