"""Reads all that a Kafka topic has committed, as whoever uses an output would."""

from __future__ import annotations

from typing import NamedTuple

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition
from consentry.pipelines.engines.topic_books import LETTERS
from consentry.pipelines.engines.topic_chains import ChainCheck, message_chains
from consentry.pipelines.engines.topic_messages import committed_messages
from consentry.pipelines.engines.topic_output import open_topic_output

__all__ = ["Read", "chain_problems", "messages_of"]


class Read(NamedTuple):
    """A message."""

    key: bytes
    value: bytes
    headers: dict[str, bytes]


def messages_of(address: str, topic: str, *, committed: bool = True) -> list[Read]:
    """Returns all messages by partition and offset; with those that were undone, if not only committed ones."""
    level = "read_committed" if committed else "read_uncommitted"
    consumer = Consumer({"bootstrap.servers": address, "group.id": "reader", "enable.partition.eof": True,
                         "isolation.level": level})  # fmt: skip
    try:
        partitions = consumer.list_topics(topic, timeout=30).topics[topic].partitions
        consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in partitions])
        ended: set[int] = set()
        found = []
        while len(ended) < len(partitions):
            for message in consumer.consume(10_000, 0.2):
                error = message.error()
                if error is None:
                    headers = {name: bytes(value) for name, value in message.headers() or []}
                    found.append(Read(message.key() or b"", message.value() or b"", headers))
                elif error.code() == KafkaError._PARTITION_EOF:
                    ended.add(message.partition())
                else:
                    raise AssertionError(error)
        return found
    finally:
        consumer.close()


def chain_problems(out: str, *, shards: int) -> list[str]:
    """What is wrong with the messages of an output, by the chains that its notes have now."""
    output, found = open_topic_output(out), []
    chains = [chain for note in output.notes() for chain in message_chains(note.chains)]
    for topic in (output.topic, output.topic + LETTERS):
        check = ChainCheck(chains, topic, shards=shards, complete=True)
        for messages in committed_messages(output.place, topic):
            for message in messages:
                check.take(message)
        found += check.problems()
    return found
