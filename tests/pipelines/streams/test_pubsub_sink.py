"""Protected records in a topic of the official emulator: each with its id, and failures that say what to do."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from consentry.pipelines.streams import pubsub_sink
from consentry.pipelines.streams.kafka_sink import RECORD_ID
from consentry.pipelines.streams.pubsub_place import PubSubPlace
from consentry.pipelines.streams.pubsub_sink import open_pubsub_sink
from consentry.schemas.errors import RunError, SecretError
from google.cloud.pubsub_v1 import PublisherClient, SubscriberClient
from servers.availability import Server, require
from servers.pubsub import pubsub_emulator


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    require(Server.PUBSUB)
    with pubsub_emulator(tmp_path_factory.mktemp("emulator")) as address:
        yield address


def test_each_row_is_published_with_its_id(emulator: str, tmp_path: Path) -> None:
    publisher, subscriber = PublisherClient(), SubscriberClient()
    topic, path = publisher.topic_path("shop", "protected"), subscriber.subscription_path("shop", "protected")
    publisher.create_topic(name=topic)
    subscriber.create_subscription(name=path, topic=topic)
    count = 1_500
    sink = open_pubsub_sink(PubSubPlace(project="shop", name="protected"))
    sink.send(pa.record_batch({"order_id": [f"o-{n}" for n in range(count)]}), [f"orders:{n}" for n in range(count)])
    sink.flush()
    found: dict[str, str] = {}
    while len(found) < count:
        answer = subscriber.pull(subscription=path, max_messages=1_000, timeout=20)
        for each in answer.received_messages:
            found[each.message.attributes[RECORD_ID]] = json.loads(each.message.data)["order_id"]
    assert found == {f"orders:{n}": f"o-{n}" for n in range(count)}
    sink.close()
    subscriber.close()


def test_a_missing_topic_is_told_by_flush_and_a_later_flush_is_of_what_is_sent_later(emulator: str) -> None:
    sink = open_pubsub_sink(PubSubPlace(project="shop", name="missing"))
    sink.send(pa.record_batch({"order_id": ["o-1"]}), ["orders:1"])
    with pytest.raises(RunError, match="pubsub:shop/missing: there is no such topic; create it, or check project"):
        sink.flush()
    sink.flush()
    sink.close()


def test_a_row_that_is_too_large_is_told_without_its_value(emulator: str) -> None:
    sink = open_pubsub_sink(PubSubPlace(project="shop", name="missing"))
    with pytest.raises(RunError, match="does not take a record; Pub/Sub takes 10 MB") as told:
        sink.send(pa.record_batch({"note": ["canary" * 2_000_000]}), ["orders:1"])
    assert "canary" not in str(told.value)
    sink.close()


def test_a_network_that_is_down_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", "127.0.0.1:1")
    monkeypatch.setattr(pubsub_sink, "PATIENCE_SECONDS", 1.0)
    sink = open_pubsub_sink(PubSubPlace(project="shop", name="any"))
    sink.send(pa.record_batch({"order_id": ["o-1"]}), ["orders:1"])
    with pytest.raises(RunError, match=r"Pub/Sub cannot be asked .*; see to the network and the credentials"):
        sink.flush()
    sink.close()


def test_a_sink_refuses_to_be_copied(emulator: str) -> None:
    sink = open_pubsub_sink(PubSubPlace(project="shop", name="missing"))
    with pytest.raises(SecretError):
        pickle.dumps(sink)
    sink.close()
