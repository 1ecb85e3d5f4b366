"""Reads all messages of a topic that are committed, from its beginning to the end that it has now."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ...schemas.errors import RunError
from ..streams.kafka_place import PATIENCE_SECONDS, KafkaPlace, consumer_of

if TYPE_CHECKING:
    from confluent_kafka import Message

__all__ = ["committed_messages"]

BATCH, POLL_SECONDS = 10_000, 0.2


def committed_messages(place: KafkaPlace, topic: str, *, patience: float = PATIENCE_SECONDS) -> Iterator[list[Message]]:
    """Yields the messages of all partitions, some thousand at a time; each partition's in order.

    Args:
        place: Of the servers.
        topic: On them.
        patience: Seconds for which the broker may not answer.

    Raises:
        RunError: The broker cannot be read.
    """
    from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, TopicPartition

    consumer = consumer_of(place)
    waited = 0.0
    try:
        left = set(consumer.list_topics(topic, timeout=patience).topics[topic].partitions)
        consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in left])
        while left and waited < patience:
            found = consumer.consume(BATCH, POLL_SECONDS)
            waited = 0.0 if found else waited + POLL_SECONDS
            messages = [message for message in found if message.error() is None]
            for message in found:
                error = message.error()
                if error is None:
                    continue
                if error.code() != KafkaError._PARTITION_EOF:
                    raise KafkaException(error)
                left.discard(message.partition())
            if messages:
                yield messages
    except KafkaException as error:
        raise RunError(f"kafka:{topic}: the broker cannot be read ({error.args[0].name()})") from None
    finally:
        consumer.close()
    if left:
        raise RunError(f"kafka:{topic}: nothing came for {patience:g} s; see to the broker")
