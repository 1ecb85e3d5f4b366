"""A subscription of the official emulator: read again at will, acknowledged late, and killed at random moments."""

from __future__ import annotations

import json
import os
import random
import re
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from consentry.pipelines.scaffold import write_project
from consentry.pipelines.streams.pubsub_place import parse_pubsub_uri
from consentry.pipelines.streams.pubsub_topic import PubSubTopic, open_pubsub_topic
from consentry.pipelines.streams.received import Received, received_in
from consentry.pipelines.streams.sources import Offsets, Part
from consentry.pipelines.verify import verify_output
from consentry.schemas.errors import ConfigError, RecordsGoneError, RunError
from consentry.schemas.project import Project, read_project
from consentry.transforms.crypto.key_sets import PublicKeys
from google.cloud.pubsub_v1 import PublisherClient, SubscriberClient
from oracles.stream_shop import CARD, StreamProcess, consent, ended, order, wait_for
from servers.availability import Server, require
from servers.pubsub import pubsub_emulator

KILLS = 100 if os.environ.get("CONSENTRY_SOAK") else 6


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    require(Server.PUBSUB)
    with pubsub_emulator(tmp_path_factory.mktemp("emulator")) as address:
        yield address


@pytest.fixture
def project(tmp_path: Path) -> Project:
    write_project(tmp_path / "shop", tenant="shop", now=time.time_ns() // 1000 - 86_400_000_000)
    return read_project(tmp_path / "shop" / "consentry.yaml")


class Subscription:
    """A topic of its own and a subscription to it.

    Args:
        name: Of both.
    """

    def __init__(self, name: str) -> None:
        self.publisher, self.subscriber = PublisherClient(), SubscriberClient()
        self.topic = self.publisher.topic_path("shop", name)
        self.path = self.subscriber.subscription_path("shop", name)
        self.uri = f"pubsub://shop/{name}"
        self.partition = f"shop/{name}"
        self.publisher.create_topic(name=self.topic)
        self.subscriber.create_subscription(name=self.path, topic=self.topic, ack_deadline_seconds=10)

    def publish(self, values: list[bytes]) -> None:
        for sent in [self.publisher.publish(self.topic, value) for value in values]:
            sent.result(30)

    def close(self) -> None:
        self.publisher.stop()
        self.publisher.transport.close()
        self.subscriber.close()


@pytest.fixture
def orders(emulator: str, request: pytest.FixtureRequest) -> Iterator[Subscription]:
    made = Subscription(re.sub(r"\W", "-", request.node.name)[:100])
    yield made
    made.close()


def opened(project: Project, subscription: Subscription, out: Path) -> PubSubTopic:
    return open_pubsub_topic(parse_pubsub_uri(subscription.uri), store=received_in(project, str(out)))


def looked(topic: PubSubTopic, done: Offsets, count: int) -> int:
    """The end, when so many messages have come."""
    found = 0

    def came() -> bool:
        nonlocal found
        (found,) = topic.ends(done).values()
        return found >= count

    wait_for(came)
    return found


def values_of(topic: PubSubTopic, partition: str, start: int, end: int) -> list[bytes | None]:
    part = Part(partition=partition, start=start, end=end)
    return [value for messages in topic.messages(0, [part]) for value in messages.values]


@pytest.mark.parametrize(
    "uri", ["pubsub://shop", "pubsub://shop/", "pubsub:///orders", "pubsub://shop/or", "pubsub://a b/orders",
            "pubsub://shop/projects/x", "kafka://shop/orders", "pubsub://shop/orders?x=canary"],
)  # fmt: skip
def test_a_uri_that_names_no_subscription_is_refused_without_quoting_it(uri: str) -> None:
    with pytest.raises(ConfigError, match="write pubsub://PROJECT/SUBSCRIPTION") as told:
        parse_pubsub_uri(uri)
    assert "canary" not in str(told.value)


def test_a_missing_extra_is_told(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "google.cloud.pubsub_v1", None)
    with pytest.raises(ConfigError, match=re.escape("pip install 'consentry[gcp]'")):
        open_pubsub_topic(parse_pubsub_uri("pubsub://shop/any"), store=received_in(project, str(tmp_path / "out")))


def test_missing_credentials_are_told(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PUBSUB_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    with pytest.raises(ConfigError, match="there are no credentials of Google Cloud; run `gcloud auth"):
        open_pubsub_topic(parse_pubsub_uri("pubsub://shop/any"), store=received_in(project, str(tmp_path / "out")))


def test_what_came_can_be_read_again_until_it_is_committed(
    project: Project, orders: Subscription, tmp_path: Path
) -> None:
    sent = [b"%d" % number for number in range(2_500)]
    orders.publish(sent)
    topic = opened(project, orders, tmp_path / "out")
    assert topic.first() == {orders.partition: 0}
    assert looked(topic, {}, len(sent)) == len(sent)
    got = values_of(topic, orders.partition, 0, len(sent))
    assert sorted(got) == sorted(sent)  # type: ignore[type-var]
    topic.close()
    topic = opened(project, orders, tmp_path / "out")
    assert values_of(topic, orders.partition, 100, 2_300) == got[100:2_300]
    topic.commit({orders.partition: 2_000})
    assert topic.first() == {orders.partition: 2_000}
    assert values_of(topic, orders.partition, 2_000, 2_500) == got[2_000:]
    with pytest.raises(RecordsGoneError, match="message 1999 is no longer"):
        values_of(topic, orders.partition, 1_999, 2_500)
    topic.close()


def test_what_was_stored_and_not_acknowledged_is_not_stored_again(
    project: Project, orders: Subscription, tmp_path: Path
) -> None:
    orders.publish([b"%d" % number for number in range(20)])
    store = received_in(project, str(tmp_path / "out"))(orders.partition)
    while store.end < 20:
        answer = orders.subscriber.pull(subscription=orders.path, max_messages=20, timeout=20)
        store.add([Received(each.message.message_id, each.message.data) for each in answer.received_messages])
        orders.subscriber.modify_ack_deadline(
            subscription=orders.path,
            ack_ids=[each.ack_id for each in answer.received_messages],
            ack_deadline_seconds=0,
        )
    store.forget(7)
    store.close()
    topic = opened(project, orders, tmp_path / "out")
    orders.publish([b"last"])
    end = looked(topic, {orders.partition: 7}, 21)
    got = values_of(topic, orders.partition, 7, end)
    time.sleep(0.5)
    assert topic.ends({orders.partition: 7}) == {orders.partition: 21}
    assert len(set(got)) == len(got) == 14
    topic.close()


def test_a_store_that_is_older_than_the_journal_is_refused_before_anything_is_pulled(
    project: Project, orders: Subscription, tmp_path: Path
) -> None:
    orders.publish([b"1"])
    topic = opened(project, orders, tmp_path / "out")
    with pytest.raises(RecordsGoneError, match="ends at message 0, and was read to 5 before; restore"):
        topic.ends({orders.partition: 5})
    topic.close()
    answer = orders.subscriber.pull(subscription=orders.path, max_messages=1, timeout=20)
    assert [each.message.data for each in answer.received_messages] == [b"1"]


def test_what_is_processed_is_removed_when_the_stream_goes_on(
    project: Project, orders: Subscription, tmp_path: Path
) -> None:
    orders.publish([b"%d" % number for number in range(10)])
    topic = opened(project, orders, tmp_path / "out")
    looked(topic, {}, 10)
    topic.ends({orders.partition: 10})
    assert topic.first() == {orders.partition: 10}
    topic.close()


def test_a_missing_subscription_is_told(project: Project, emulator: str, tmp_path: Path) -> None:
    place = parse_pubsub_uri("pubsub://shop/missing")
    topic = open_pubsub_topic(place, store=received_in(project, str(tmp_path / "out")))
    with pytest.raises(RunError, match=r"pubsub:shop/missing: there is no such subscription; create it, or check"):
        topic.ends({})
    topic.close()


def test_a_network_that_is_down_is_told(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", "127.0.0.1:1")
    topic = open_pubsub_topic(parse_pubsub_uri("pubsub://shop/any"), store=received_in(project, str(tmp_path / "out")))
    with pytest.raises(RunError, match=r"Pub/Sub cannot be asked \(ServiceUnavailable\); see to the network"):
        topic.ends({})
    topic.close()


def test_a_message_of_ten_megabytes_comes_whole(project: Project, orders: Subscription, tmp_path: Path) -> None:
    big = random.Random(3).randbytes(9_990_000)
    orders.publish([big])
    topic = opened(project, orders, tmp_path / "out")
    looked(topic, {}, 1)
    assert values_of(topic, orders.partition, 0, 1) == [big]
    topic.close()


PROCESSOR = textwrap.dedent("""
    import sqlite3, sys
    from consentry.pipelines.streams.pubsub_place import parse_pubsub_uri
    from consentry.pipelines.streams.pubsub_topic import open_pubsub_topic
    from consentry.pipelines.streams.received import received_in
    from consentry.pipelines.streams.sources import Part
    from consentry.schemas.project import read_project

    config, uri, out, sink = sys.argv[1:]
    project = read_project(config)
    topic = open_pubsub_topic(parse_pubsub_uri(uri), store=received_in(project, out))
    done = sqlite3.connect(sink, isolation_level=None, timeout=30)
    (start,) = done.execute("SELECT coalesce(max(upto), 0) FROM offsets").fetchone()
    name = uri.removeprefix("pubsub://")
    print("ready", flush=True)
    while True:
        (end,) = topic.ends({name: start}).values()
        end = min(end, start + 40)
        if end == start:
            continue
        part = Part(partition=name, start=start, end=end)
        values = [value for messages in topic.messages(0, [part]) for value in messages.values]
        done.execute("BEGIN IMMEDIATE")
        done.executemany("INSERT INTO processed VALUES (?)", [(value[:7].decode(),) for value in values])
        done.execute("INSERT INTO offsets VALUES (?)", (end,))
        done.execute("COMMIT")
        topic.commit({name: end})
        start = end
""")


def counted(done: sqlite3.Connection) -> int:
    ((count,),) = done.execute("SELECT count(*) FROM processed").fetchall()
    return int(count)


def test_a_reader_that_is_killed_again_and_again_loses_and_doubles_nothing(
    project: Project, orders: Subscription, tmp_path: Path
) -> None:
    rng, sink, out = random.Random(5), tmp_path / "sink.db", tmp_path / "out"
    done = sqlite3.connect(sink, isolation_level=None, timeout=30)
    done.execute("PRAGMA journal_mode = WAL")
    done.execute("CREATE TABLE processed (value TEXT)")
    done.execute("CREATE TABLE offsets (upto INTEGER)")
    command = [
        *(sys.executable, "-c", PROCESSOR),
        *(str(tmp_path / "shop" / "consentry.yaml"), orders.uri, str(out), str(sink)),
    ]
    sent = 0
    environment = {**os.environ, "GOOGLE_SDK_PYTHON_LOGGING_SCOPE": "google"}
    log = (tmp_path / "log").open("wb")
    for kill in range(KILLS + 1):
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, env=environment) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            orders.publish([b"%07d %s" % (number, CARD.encode()) for number in range(sent, sent + 400)])
            sent += 400
            if kill == KILLS:
                wait_for(lambda: counted(done) >= 400 * (KILLS + 1), 90)
            else:
                time.sleep(rng.random() * 0.3)
            process.kill()
        for path in [tmp_path / "log", *(out / "_stream").glob("*")]:
            assert CARD.encode() not in path.read_bytes()
    values = [value for (value,) in done.execute("SELECT value FROM processed ORDER BY value")]
    done.close()
    log.close()
    assert b"google.pubsub_v1" in (tmp_path / "log").read_bytes()  # it did log
    assert values == [f"{number:07d}" for number in range(sent)]


def test_a_stream_of_orders_and_consents_that_is_killed_has_balanced_books(
    project: Project, emulator: str, tmp_path: Path
) -> None:
    orders, consents = Subscription("stream-orders"), Subscription("stream-consents")
    rng, out = random.Random(7), tmp_path / "out"
    stream = StreamProcess(
        [
            *("--dataset", "orders", "--from", orders.uri, "--consents", consents.uri, "--out", str(out)),
            *("--config", str(tmp_path / "shop" / "consentry.yaml"), "--latency", "100"),
        ],
        tmp_path / "log",
    )
    sent: list[bytes] = []

    def some_more() -> None:
        more = [order(len(sent) + number, rng) for number in range(300)]
        orders.publish(more)
        sent.extend(more)

    def books() -> dict[str, int]:
        try:
            found: dict[str, int] = json.loads((out / "manifest.json").read_text())["books"]
        except (OSError, ValueError):
            return {"in": 0}
        return found

    consents.publish([consent(number, "granted", 3) for number in range(50)])
    for _ in range(3):
        before = books()["in"]
        some_more()
        stream.start()
        some_more()
        wait_for(lambda before=before: books()["in"] > before)  # type: ignore[misc]
        time.sleep(rng.random() * 0.3)
        stream.kill()
    stream.start()
    wait_for(lambda: books()["in"] >= len(sent))
    assert stream.terminate() == 0
    ids, letters, dropped = ended(out)
    assert max(ids.values()) == 1
    assert len(ids) + letters + dropped == len(sent)
    assert books() == {"in": len(sent), "out": len(ids), "dropped": dropped, "dead_lettered": letters}
    assert verify_output(str(out), PublicKeys.load(project.trust)).ok
    for path in [*out.rglob("*"), tmp_path / "log"]:
        assert not path.is_file() or CARD.encode() not in path.read_bytes()
    orders.close()
    consents.close()
