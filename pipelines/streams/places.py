"""Opens what a stream reads from by its URI."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

import pyarrow as pa

from ...schemas.dataset import Dataset
from ...schemas.errors import ConfigError
from ...schemas.policy import Policy
from ..pipeline_runs import cores
from .declared_columns import text_paths, with_text_at
from .message_source import MessageReader, MessageSource, MessageTopic
from .received import StoreOpener
from .sources import StreamSource

__all__ = ["MessageFormat", "ReaderOptions", "open_source", "open_topic"]

KAFKA, PUBSUB, FOLDER = "kafka://", "pubsub://", "dir://"


class MessageFormat(StrEnum):
    """How messages hold records."""

    JSON = "json"
    AVRO = "avro"


class ReaderOptions:
    """How to read messages.

    Args:
        message_format: What they are.
        schema: File of the Avro schema of messages without a header.
        registry: URL of the schema registry of messages with one.
    """

    def __init__(
        self, message_format: MessageFormat, *, schema: Path | None = None, registry: str | None = None
    ) -> None:
        if message_format is MessageFormat.JSON and (schema is not None or registry is not None):
            raise ConfigError("--schema and --registry are of Avro; add --format avro, or leave them out")
        if message_format is MessageFormat.AVRO and schema is None and registry is None:
            raise ConfigError("--format avro: name the schema with --schema FILE, or where it is with --registry URL")
        self._format = message_format
        self._schema = schema
        self._registry = registry

    def maker(self, policy: Policy, dataset: Dataset) -> Callable[[pa.Schema], MessageReader]:
        """Returns what makes a reader that knows some columns.

        Args:
            policy: Of the dataset.
            dataset: With the policy, says what is text in JSON whatever comes first.

        Raises:
            ConfigError: The Avro schema cannot be read.
        """
        if self._format is MessageFormat.JSON:
            from .json_messages import JsonMessages

            paths = text_paths(policy, dataset)
            return lambda columns: JsonMessages(with_text_at(columns, *paths))
        from .avro_messages import avro_reader_maker

        return avro_reader_maker(self._schema, self._registry)


def open_topic(uri: str, *, option: str, received: StoreOpener, lanes: int = 1, complete: bool = False) -> MessageTopic:
    """Returns the topic of a URI, open.

    Args:
        uri: ``kafka://HOST/TOPIC?group=NAME`` or ``pubsub://PROJECT/SUBSCRIPTION``.
        option: Named in errors.
        received: Opens where messages stay that a topic does not give twice; not asked before the output is locked.
        lanes: Threads that will read side by side.
        complete: Whether a partition that is new counts at once: of consents, none may be overlooked.

    Raises:
        ConfigError: It names no topic that this version reads, or lacks an extra.
        RunError: It cannot be reached.
    """
    if uri.startswith(KAFKA):
        from .kafka_place import parse_kafka_uri
        from .kafka_topic import PARTITIONS_SECONDS, open_kafka_topic

        look_again = 0.0 if complete else PARTITIONS_SECONDS
        return open_kafka_topic(parse_kafka_uri(uri), lanes=lanes, look_again=look_again)
    if uri.startswith(PUBSUB):
        from .pubsub_place import parse_pubsub_uri
        from .pubsub_topic import open_pubsub_topic

        return open_pubsub_topic(parse_pubsub_uri(uri), store=received)
    raise ConfigError(
        f"{option}: is no place that a stream reads; write kafka://HOST:PORT/TOPIC?group=NAME, "
        "pubsub://PROJECT/SUBSCRIPTION or dir://PATH"
    )


def open_source(
    uri: str, reader: ReaderOptions, policy: Policy, dataset: Dataset, *, received: StoreOpener
) -> StreamSource:
    """Returns the source of records of ``--from``; ``received`` as ``open_topic`` takes it.

    Raises:
        ConfigError: As ``open_topic``, or the options of the format do not fit.
        RunError: It cannot be reached.
    """
    if uri.startswith(FOLDER):
        from .folder_source import FolderSource

        return FolderSource(Path(uri.removeprefix(FOLDER)))
    maker = reader.maker(policy, dataset)
    return MessageSource(open_topic(uri, option="--from", received=received, lanes=cores()), maker)
