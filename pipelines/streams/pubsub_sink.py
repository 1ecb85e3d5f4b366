"""Publishes protected records to a Pub/Sub topic as JSON, at least once, each with an id that stays the same.

What a stream does again after a crash is published again, under the same ids: readers drop what they have seen.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import pyarrow as pa

from ...schemas.errors import ConfigError, SecretError
from .json_texts import json_texts
from .kafka_sink import RECORD_ID
from .pubsub_place import EXTRA, PubSubPlace, PubSubRole, failure_of_call, no_credentials

if TYPE_CHECKING:
    from google.cloud.pubsub_v1 import PublisherClient

__all__ = ["PubSubSink", "open_pubsub_sink"]

PATIENCE_SECONDS = 60.0
MOST_WAITING = 20_000
MOST_BYTES_WAITING = 64 << 20


def open_pubsub_sink(place: PubSubPlace) -> PubSubSink:
    """Returns what publishes to a topic; the topic is asked when something is published.

    Raises:
        ConfigError: The extra is missing, or there are no credentials.
    """
    try:
        from google.api_core.retry import Retry
        from google.auth.exceptions import GoogleAuthError
        from google.cloud.pubsub_v1 import PublisherClient
        from google.cloud.pubsub_v1.types import (
            BatchSettings,
            LimitExceededBehavior,
            PublisherOptions,
            PublishFlowControl,
        )
    except ModuleNotFoundError:
        raise ConfigError(EXTRA) from None
    waiting = PublishFlowControl(MOST_WAITING, MOST_BYTES_WAITING, LimitExceededBehavior.BLOCK)
    options = PublisherOptions(flow_control=waiting, retry=Retry(timeout=PATIENCE_SECONDS), timeout=PATIENCE_SECONDS)
    try:
        client = PublisherClient(BatchSettings(max_messages=1_000), options)
    except GoogleAuthError:
        raise no_credentials() from None
    return PubSubSink(place, client)


class PubSubSink:
    """A ``RecordSink``; make it with ``open_pubsub_sink``.

    Args:
        place: Of the topic.
        client: Stopped with it.
    """

    def __init__(self, place: PubSubPlace, client: PublisherClient) -> None:
        self._place = place
        self._client = client
        self._path = client.topic_path(place.project, place.name)
        self._lock = threading.Lock()
        self._sent: list[Any] = []

    def send(self, batch: pa.RecordBatch, ids: Sequence[str]) -> None:
        """Publishes protected rows in the background, one message each; waits where too many are on their way.

        Args:
            batch: Without reserved columns.
            ids: One for each row.

        Raises:
            RunError: A row is larger than Pub/Sub takes.
        """
        from google.api_core.exceptions import GoogleAPIError

        for text, record_id in zip(json_texts(batch), ids, strict=True):
            try:
                sent = self._client.publish(self._path, text, **{RECORD_ID: record_id})
            except (GoogleAPIError, ValueError) as error:
                raise failure_of_call(error, self._place, PubSubRole.PUBLISHER) from None
            with self._lock:
                self._sent.append(sent)

    def flush(self) -> None:
        """Returns when Pub/Sub has all that was sent.

        Raises:
            RunError: It has not.
        """
        from google.api_core.exceptions import GoogleAPIError
        from google.auth.exceptions import GoogleAuthError

        with self._lock:  # who flushes meanwhile waits for the same
            sent, self._sent = self._sent, []
            try:
                for each in sent:
                    each.result()
            except (GoogleAPIError, GoogleAuthError, TimeoutError, ValueError) as error:
                raise failure_of_call(error, self._place, PubSubRole.PUBLISHER) from None

    def close(self) -> None:
        """Stops; what waits is sent before."""
        self._client.stop()

    def __repr__(self) -> str:
        return f"<PubSubSink: {self._place.partition}>"

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise SecretError("a sink holds what lets us in, and cannot be copied")
