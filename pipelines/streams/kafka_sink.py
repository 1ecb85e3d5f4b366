"""A Kafka topic that takes protected records as JSON, at least once, each under an id that stays the same.

The id is the key of the message and its header ``consentry-record-id``: a record that is sent again goes to the same
partition, and a compacted topic keeps it once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import pyarrow as pa

from ...schemas.errors import ConfigError, RunError, SecretError
from .json_texts import json_texts
from .kafka_place import EXTRA, PATIENCE_SECONDS, KafkaPlace, producer_of

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, Producer

__all__ = ["RECORD_ID", "KafkaSink", "open_kafka_sink"]

RECORD_ID = "consentry-record-id"
GRACE_SECONDS = 1.0
"""How much longer than a message may be on its way it is waited for."""
FULL_SECONDS = 0.05


def open_kafka_sink(place: KafkaPlace, *, patience: float = PATIENCE_SECONDS) -> KafkaSink:
    """Returns a topic to send records to; nobody is asked yet whether it is there.

    Args:
        place: Where it is; its group does not matter.
        patience: Seconds that a record may be on its way.

    Raises:
        ConfigError: The extra is missing, or a property is none of librdkafka's.
    """
    try:
        import confluent_kafka  # noqa: F401
    except ModuleNotFoundError:
        raise ConfigError(EXTRA) from None
    return KafkaSink(place, patience=patience)


class KafkaSink:
    """A ``RecordSink``; make it with ``open_kafka_sink``."""

    def __init__(self, place: KafkaPlace, *, patience: float) -> None:
        self._place = place
        self._patience = patience
        self._lock = threading.Lock()
        self._failed: KafkaError | None = None
        self._producer: Producer | None = producer_of(place, patience)

    def send(self, batch: pa.RecordBatch, ids: Sequence[str]) -> None:
        """Takes protected rows, one message each.

        Args:
            batch: Without reserved columns.
            ids: One for each row.

        Raises:
            RunError: The broker takes nothing, and no more can wait.
        """
        from confluent_kafka import KafkaException

        producer = self._opened()
        try:
            for text, record_id in zip(json_texts(batch), ids, strict=True):
                self._produce(producer, text, record_id.encode())
            producer.poll(0)
        except KafkaException as error:
            raise self._given_up(error.args[0]) from None

    def flush(self) -> None:
        """Returns when the broker has all that was sent, in all its replicas that are in sync.

        Raises:
            RunError: It has not.
        """
        left = self._opened().flush(self._patience + GRACE_SECONDS)
        if left or self._failed is not None:
            raise self._given_up(self._failed)

    def close(self) -> None:
        """Drops what was not delivered."""
        with self._lock:
            self._drop()

    def _produce(self, producer: Producer, text: bytes, key: bytes) -> None:
        end = time.monotonic() + self._patience
        while True:
            try:
                producer.produce(self._place.topic, text, key, headers=[(RECORD_ID, key)], on_delivery=self._told)
                return
            except BufferError:
                if time.monotonic() > end:
                    raise self._given_up(None) from None
                producer.poll(FULL_SECONDS)

    def _told(self, error: KafkaError | None, _: Any) -> None:
        """Is called for messages that were not delivered, by whichever thread polls."""
        if error is not None:
            self._failed = error

    def _opened(self) -> Producer:
        with self._lock:
            if self._producer is None:
                self._producer = producer_of(self._place, self._patience)
            return self._producer

    def _given_up(self, error: KafkaError | None) -> RunError:
        """Returns what to raise. The producer goes: after some errors it would refuse for ever."""
        with self._lock:
            self._drop()
        name = "no answer" if error is None else error.name()
        return RunError(
            f"kafka:{self._place.topic}: the broker did not take all records ({name}); see that it runs, has the topic "
            "and lets us write"
        )

    def _drop(self) -> None:
        if self._producer is not None:
            self._producer.purge()
            self._producer.flush(GRACE_SECONDS)  # tells of what was purged, so that nothing holds it any more
        self._producer, self._failed = None, None

    def __repr__(self) -> str:
        return f"<KafkaSink: {self._place.topic}>"

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise SecretError("a sink holds what lets us in, and cannot be copied")
