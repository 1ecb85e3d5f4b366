"""Where protected records go besides the files: to a topic, for those who cannot wait for files or poll them.

Files have every record exactly once. A topic gets it at least once, each time with the same id and the same bytes, so
that readers can drop a repeat.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import pyarrow as pa

from ...schemas.errors import ConfigError
from ...schemas.record_columns import POSITION
from ..splits import source_of

__all__ = ["RecordSink", "open_sink", "record_ids"]

KAFKA, PUBSUB = "kafka://", "pubsub://"


class RecordSink(Protocol):
    """A place that takes protected records; the threads of a process send, and when all have, one of them flushes."""

    def send(self, batch: pa.RecordBatch, ids: Sequence[str]) -> None:
        """Takes rows; that they have arrived is known only when ``flush`` returns.

        Args:
            batch: Protected rows, nothing reserved among them.
            ids: Of each row, the same one whenever it is sent.

        Raises:
            RunError: It takes no more.
        """
        ...

    def flush(self) -> None:
        """Returns when all that was sent has arrived.

        Raises:
            RunError: Something has not; all since the last ``flush`` must be sent again.
        """
        ...

    def close(self) -> None:
        """Lets go of it; what is on its way and was not flushed may be lost."""
        ...


def record_ids(rows: pa.RecordBatch) -> list[str]:
    """Returns ``PARTITION:OFFSET`` of each row, which no other record of the stream has.

    Args:
        rows: Of one partition, with ``POSITION``.
    """
    source = source_of(rows.schema)
    return [f"{source}:{position}" for position in rows.column(POSITION).to_pylist()]


def open_sink(uri: str, *, read: Sequence[str] = ()) -> RecordSink:
    """Returns the place of ``--to``, open.

    Args:
        uri: ``kafka://HOST:PORT/TOPIC`` or ``pubsub://PROJECT/TOPIC``.
        read: What the stream reads: a Kafka topic among it is refused, for it would read what it writes for ever.

    Raises:
        ConfigError: It names no topic, one that is read, or a group; or an extra is missing.
    """
    if uri.startswith(KAFKA):
        return _kafka_sink(uri, read)
    if uri.startswith(PUBSUB):
        from .pubsub_place import parse_pubsub_uri
        from .pubsub_sink import open_pubsub_sink

        return open_pubsub_sink(parse_pubsub_uri(uri))
    raise ConfigError(
        "--to: is no place that a stream writes to; write kafka://HOST:PORT/TOPIC or pubsub://PROJECT/TOPIC"
    )


def _kafka_sink(uri: str, read: Sequence[str]) -> RecordSink:
    from .kafka_place import GROUP, parse_kafka_uri
    from .kafka_sink import open_kafka_sink

    place = parse_kafka_uri(uri)
    if place.group != GROUP:
        raise ConfigError("--to: a group is for reading; leave it out")
    if place.topic in {parse_kafka_uri(each).topic for each in read if each.startswith(KAFKA)}:
        raise ConfigError("--to: names a topic that the stream reads; protected records need a topic of their own")
    return open_kafka_sink(place)
