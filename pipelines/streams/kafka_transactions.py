"""Sends to Kafka in transactions: who reads committed messages sees what belongs together as a whole, or not at all.

A producer has a name, and the last one to take it is the only one that may commit: whoever had it before is shut out.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from ...schemas.errors import ConfigError, RunError
from .kafka_place import EXTRA, PATIENCE_SECONDS, TRANSACTION_SECONDS, KafkaPlace, transactional_producer_of
from .kafka_sink import RECORD_ID

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, Producer

__all__ = ["KafkaTransactions", "Outgoing", "TakenOverError", "open_transactions"]

FULL_SECONDS = 0.05
ABORT_SECONDS = 5.0


def open_transactions(place: KafkaPlace, name: str, *, patience: float = PATIENCE_SECONDS) -> KafkaTransactions:
    """Returns a producer that has taken a name; what its last holder had begun is undone, unless it was committed.

    Args:
        place: Whose servers and properties it takes; its topic does not matter.
        name: The ``transactional.id``.
        patience: Seconds for which the broker may not answer.

    Raises:
        ConfigError: The extra is missing, or a property is none of librdkafka's.
        RunError: The broker cannot be reached, or does not let us take the name.
    """
    try:
        import confluent_kafka  # noqa: F401
    except ModuleNotFoundError:
        raise ConfigError(EXTRA) from None
    return KafkaTransactions(place, name, patience=patience)


class Outgoing(NamedTuple):
    """A message to be sent; its key is the header ``consentry-record-id`` as well."""

    partition: int
    key: bytes
    text: bytes
    headers: tuple[tuple[str, bytes], ...] = ()


class TakenOverError(RunError):
    """Another one has taken the name; nothing of the transaction is there."""


class KafkaTransactions:
    """Make it with ``open_transactions``; used by one thread. After an error it can only be closed."""

    def __init__(self, place: KafkaPlace, name: str, *, patience: float) -> None:
        from confluent_kafka import KafkaException

        self._name = name
        self._patience = patience
        self._undelivered: KafkaError | None = None
        self._unended: KafkaError | None = None
        self._producer: Producer = transactional_producer_of(place, name, patience)
        try:
            self._producer.init_transactions(patience)
        except KafkaException as error:
            raise self._failure(error.args[0]) from None

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """What the block sends is there when it returns; a block that fails has sent nothing.

        Raises:
            RunError: Another one has taken the name, or the broker does not answer. Then it may be there, or not: who
                takes the name next sees which.
        """
        from confluent_kafka import KafkaException

        self._undelivered = self._unended = None
        try:
            self._producer.begin_transaction()
            try:
                yield
                self._producer.commit_transaction(TRANSACTION_SECONDS)
            except BaseException:
                try:
                    self._producer.purge()
                    self._producer.abort_transaction(ABORT_SECONDS)
                except KafkaException as error:
                    # A producer that was shut out says so here, and to who sends only that something is fatal.
                    self._unended = error.args[0]
                raise
        except KafkaException as error:
            raise self._failure(error.args[0]) from None

    def partitions(self, topic: str) -> int:
        """Returns how many partitions a topic has.

        Raises:
            RunError: The broker does not tell.
        """
        from confluent_kafka import KafkaException

        try:
            found = self._producer.list_topics(topic, timeout=self._patience).topics[topic]
        except KafkaException as error:
            raise self._failure(error.args[0]) from None
        if found.error is not None:
            raise self._failure(found.error)
        return len(found.partitions)

    def send(self, topic: str, messages: Iterable[Outgoing]) -> None:
        """Sends messages within a transaction.

        Raises:
            RunError: The broker takes nothing, and no more can wait.
        """
        for message in messages:
            end = None
            while True:
                try:
                    self._producer.produce(
                        topic, message.text, message.key, message.partition,
                        headers=[(RECORD_ID, message.key), *message.headers], on_delivery=self._told,
                    )  # fmt: skip
                    break
                except BufferError:
                    end = end or time.monotonic() + self._patience
                    if time.monotonic() > end:
                        raise self._failure(None) from None
                    self._producer.poll(FULL_SECONDS)
        self._producer.poll(0)

    def close(self) -> None:
        """Lets go of the broker; what was not committed is not there."""
        from confluent_kafka import KafkaException

        with suppress(KafkaException):  # it says once more that another one has the name
            self._producer.purge()
            self._producer.flush(0)

    def _told(self, error: KafkaError | None, _: Any) -> None:
        """Is called for messages that were not delivered; the first one says why a transaction fails."""
        self._undelivered = self._undelivered or error

    def _failure(self, error: KafkaError | None) -> RunError:
        from confluent_kafka import KafkaError

        causes = [each for each in (self._undelivered, error, self._unended) if each is not None]
        codes = {each.code() for each in causes}
        if codes & {KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH}:
            return TakenOverError(f"{self._name}: another worker has taken it over; this one goes back")
        if KafkaError.MSG_SIZE_TOO_LARGE in codes:
            return RunError(
                f"{self._name}: an event or a dead letter is larger than its topic takes; raise max.message.bytes "
                "there, and it goes on"
            )
        name = causes[0].name() if causes else "no answer"
        return RunError(
            f"{self._name}: the broker did not take what belongs together ({name}); see that it runs, has the topics, "
            "and lets us write to them in transactions of this name"
        )
