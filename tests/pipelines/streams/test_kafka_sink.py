"""Protected records on a topic: each at least once, under one id and with the same bytes, through any crash."""

from __future__ import annotations

import json
import pickle
import random
import threading
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from consentry.pipelines.scaffold import write_project
from consentry.pipelines.sinks import FileWriter
from consentry.pipelines.streams import run
from consentry.pipelines.streams.journal import Journal
from consentry.pipelines.streams.kafka_place import KafkaPlace
from consentry.pipelines.streams.kafka_sink import RECORD_ID, KafkaSink, open_kafka_sink
from consentry.pipelines.streams.message_source import MessageSource
from consentry.pipelines.streams.output import StreamOutput
from consentry.pipelines.streams.places import MessageFormat, ReaderOptions
from consentry.pipelines.streams.record_sink import open_sink
from consentry.pipelines.streams.run import StreamOptions, run_stream
from consentry.pipelines.streams.sources import Messages, Part
from consentry.pipelines.streams.stream import EpochReport
from consentry.schemas.errors import ConfigError, PrivacyError, RunError, SecretError
from consentry.schemas.policy_file import read_policy
from consentry.schemas.project import Project, read_project
from consentry.transforms.protection_plan import dataset_of
from oracles.list_topic import ListTopic
from oracles.stream_shop import CARD, StreamProcess
from oracles.stream_shop import order as broken_or_sound
from servers.apache_kafka import ApacheKafka
from servers.fixtures import ON_APACHE
from servers.tansu import free_port, tansu_broker

NOW = 1_793_000_000_000_000
SECRET = "hunter2-secret"
PARTITIONS = 2
KILLS = 4
ROWS = pa.record_batch({"order_id": ["o-1", "o-2", "o-3"], "paid": [1, None, 3]})
IDS = ["orders/0:1", "orders/0:2", "orders/1:1"]
_numbers = count()


def made(address: str, name: str | None = None) -> KafkaPlace:
    """A new topic."""
    topic = f"protected-{next(_numbers)}" if name is None else name
    admin = AdminClient({"bootstrap.servers": address})
    for future in admin.create_topics([NewTopic(topic, PARTITIONS, 1)]).values():
        future.result()
    return KafkaPlace(servers=address, topic=topic)


def messages(place: KafkaPlace) -> list[tuple[str, bytes]]:
    """Id and value of all messages that are there; key and header agree about the id."""
    consumer = Consumer({
        "bootstrap.servers": place.servers, "group.id": "test", "enable.auto.commit": False,
        "enable.partition.eof": True,
    })  # fmt: skip
    consumer.assign([TopicPartition(place.topic, number, 0) for number in range(PARTITIONS)])
    found, ended, end = [], set(), time.monotonic() + 30
    while len(ended) < PARTITIONS:
        assert time.monotonic() < end
        for message in consumer.consume(1_000, 0.2):
            if message.error() is not None:
                ended.add(message.partition())
                continue
            ((name, told),) = message.headers()
            assert (name, told) == (RECORD_ID, message.key())
            found.append((told.decode(), message.value()))
    consumer.close()
    return found


@pytest.fixture
def place(address: str) -> KafkaPlace:
    return made(address)


@pytest.fixture
def sink(place: KafkaPlace) -> Iterator[KafkaSink]:
    with closing(open_kafka_sink(place)) as opened:
        yield opened


def test_rows_arrive_as_json_under_their_ids(place: KafkaPlace, sink: KafkaSink) -> None:
    sink.flush()
    sink.send(ROWS, IDS)
    sink.flush()
    assert sorted(messages(place)) == [
        ("orders/0:1", b'{"order_id":"o-1","paid":1}'),
        ("orders/0:2", b'{"order_id":"o-2"}'),
        ("orders/1:1", b'{"order_id":"o-3","paid":3}'),
    ]


def test_what_is_sent_again_goes_to_the_same_partition(place: KafkaPlace, sink: KafkaSink) -> None:
    for _ in range(3):
        sink.send(ROWS, IDS)
        sink.flush()
    found = messages(place)
    assert len(found) == 9
    assert len(set(found)) == 3


def test_more_than_the_queue_holds_is_sent_by_several_threads(address: str) -> None:
    place = made(address)
    small = KafkaPlace(
        servers=address, topic=place.topic, properties={"queue.buffering.max.messages": "500", "linger.ms": "1"}
    )
    rows = pa.record_batch({"n": list(range(4_000))})
    with closing(open_kafka_sink(small)) as sink:
        threads = [
            threading.Thread(target=sink.send, args=(rows, [f"{lane}:{n}" for n in range(rows.num_rows)]))
            for lane in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        sink.flush()
    assert sorted(name for name, _ in messages(place)) == sorted(
        f"{lane}:{n}" for lane in range(3) for n in range(4_000)
    )


def test_ids_must_be_as_many_as_rows(sink: KafkaSink) -> None:
    with pytest.raises(ValueError, match="zip"):
        sink.send(ROWS, IDS[:2])


def test_a_broker_out_of_reach_is_told_and_used_when_it_is_there(tansu: str) -> None:
    port = free_port()
    place = KafkaPlace(servers=f"127.0.0.1:{port}", topic="protected")
    with closing(open_kafka_sink(place, patience=4)) as sink:
        sink.send(ROWS, IDS)
        with pytest.raises(RunError, match=r"^kafka:protected: the broker did not take all records \(_MSG_TIMED_OUT\)"):
            sink.flush()
        with tansu_broker(port) as address:
            made(address, "protected")
            sink.send(ROWS, IDS)
            sink.flush()
            assert sorted(name for name, _ in messages(place)) == IDS


def test_no_more_than_the_queue_holds_waits_for_a_broker() -> None:
    properties = {"queue.buffering.max.messages": "2"}
    place = KafkaPlace(servers=f"127.0.0.1:{free_port()}", topic="protected", properties=properties)
    with (
        closing(open_kafka_sink(place, patience=0.5)) as sink,
        pytest.raises(RunError, match="did not take all records"),
    ):
        for _ in range(100):
            sink.send(ROWS, IDS)
        sink.flush()


@ON_APACHE
def test_a_topic_that_is_not_there_is_told(kafka: ApacheKafka) -> None:
    place = KafkaPlace(servers=kafka.address, topic="nowhere")
    told = r"^kafka:nowhere: the broker did not take all records"
    with closing(open_kafka_sink(place, patience=3)) as sink, pytest.raises(RunError, match=told):
        sink.send(ROWS, IDS)
        sink.flush()


@ON_APACHE
def test_a_record_that_is_too_large_is_told(kafka: ApacheKafka) -> None:
    place = made(kafka.address)
    with closing(open_kafka_sink(place, patience=10)) as sink:
        with pytest.raises(RunError, match=r"\(MSG_SIZE_TOO_LARGE\)"):
            sink.send(pa.record_batch({"note": [SECRET * 200_000]}), IDS[:1])
            sink.flush()
        sink.send(ROWS, IDS)
        sink.flush()
    assert sorted(name for name, _ in messages(place)) == IDS


@ON_APACHE
def test_a_broker_that_is_killed_loses_nothing_that_was_flushed(kafka: ApacheKafka) -> None:
    place = made(kafka.address)
    wanted = []
    with closing(open_kafka_sink(place, patience=30)) as sink:
        for round_ in range(6):
            ids = [f"orders/0:{round_ * 500 + n}" for n in range(500)]
            wanted += ids
            sink.send(pa.record_batch({"n": list(range(500))}), ids)
            if round_ == 2:
                kafka.kill()
                threading.Thread(target=kafka.start).start()
            sink.flush()
    found = [name for name, _ in messages(place)]
    assert sorted(found) == sorted(wanted)  # not even twice, by the idempotent producer


# ---- a stream that has one


class CrashError(BaseException):
    """Ends a stream as a kill does: nothing handles it."""


class UnevenTopic(ListTopic):
    """Gives its messages in other portions each time."""

    rng = random.Random(4)

    def messages(self, lane: int, parts: Sequence[Part]) -> Iterator[Messages]:
        for each in super().messages(lane, parts):
            start = 0
            while start < len(each.values):
                end = start + self.rng.randrange(1, 40)
                yield Messages(each.partition, each.values[start:end], np.asarray(each.offsets[start:end]))
                start = end


class Nobody:
    """An observer."""

    def epoch(self, report: EpochReport) -> None:
        pass

    def failed(self, failure: PrivacyError, pause: float) -> None:
        pass


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setattr(run, "IDLE_ENOUGH", 0.0)
    write_project(tmp_path / "shop", tenant="shop", now=NOW - 86_400_000_000)
    return read_project(tmp_path / "shop" / "consentry.yaml")


def order(number: int) -> dict[str, Any] | bytes:
    """An order; those that come later have more fields, and decimals; a few are broken."""
    if number % 37 == 36:
        return b"{broken"
    record: dict[str, Any] = {
        "order_id": f"o-{number:05d}",
        "placed_at": f"2026-03-{1 + number % 3:02d}T10:00:00Z",
        "customer": {"id": f"c-{number % 7}", "email": f"kim{number % 7}@example.com"},
        "payment": {"card": {"number": CARD, "cvv": "123"}},
        "items": [{"sku": "TEA", "quantity": 1, "price": number if number < 90 else number + 0.5}],
    }
    if number > 60:
        record["items"][0]["gift_note"] = "call me at +49 151 23456789"
    return record


def stream(project: Project, out: Path, orders: ListTopic, sink: KafkaSink, **more: Any) -> None:
    dataset = dataset_of(read_policy(project.policy), "orders")
    reader = ReaderOptions(MessageFormat.JSON)
    run_stream(
        project,
        StreamOptions(dataset="orders", out=str(out), patient=False),
        source=MessageSource(orders, reader.maker(read_policy(project.policy), dataset)),
        consents=None,
        observer=Nobody(),
        stop=threading.Event(),
        until_idle=True,
        clock=lambda: NOW,
        sink=sink,
        **more,
    )


def once(kind: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[], bool]:
    """Has the first call of a method end in a crash; returns what tells whether it was called."""
    real, called = getattr(kind, name), []

    def crashing(*arguments: Any, **more: Any) -> Any:
        if not called:
            called.append(True)
            raise CrashError
        return real(*arguments, **more)

    monkeypatch.setattr(kind, name, crashing)
    return lambda: bool(called)


def rows_of(out: Path) -> list[dict[str, Any]]:
    return [
        row for path in (out / "data").rglob("*.parquet") for row in pq.read_table(path, partitioning=None).to_pylist()
    ]


@pytest.mark.parametrize(
    ("kind", "name"), [(FileWriter, "finish"), (KafkaSink, "flush"), (Journal, "seal"), (StreamOutput, "reveal")]
)
def test_a_stream_that_crashes_behind_a_send_sends_the_same_bytes_again(
    place: KafkaPlace,
    sink: KafkaSink,
    project: Project,
    tmp_path: Path,
    kind: Any,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    orders, out = UnevenTopic("orders", 2), tmp_path / "out"
    for number in range(200):
        orders.put(order(number), partition=number % 2)
    crashed = once(kind, name, monkeypatch)
    with pytest.raises((CrashError, PrivacyError)):
        stream(project, out, orders, sink)
    assert crashed()
    stream(project, out, orders, sink)
    sent: dict[str, set[bytes]] = defaultdict(set)
    for record_id, text in messages(place):
        sent[record_id].add(text)
    assert {record_id: len(texts) for record_id, texts in sent.items() if len(texts) != 1} == {}
    wanted = {f"orders/{number % 2}:{number // 2}" for number in range(200) if isinstance(order(number), dict)}
    assert set(sent) == wanted
    ids = {record_id: json.loads(text)["order_id"] for record_id, (text,) in sent.items()}
    assert sorted(ids.values()) == sorted(row["order_id"] for row in rows_of(out))
    assert all(ids[f"orders/{n % 2}:{n // 2}"] == f"o-{n:05d}" for n in range(200) if isinstance(order(n), dict))
    everything = b"".join(text for (text,) in sent.values())
    for raw in (CARD.encode(), CARD.replace(" ", "").encode(), b"kim1@", b"123456789", b"__consentry"):
        assert raw not in everything


def test_a_sink_that_fails_leaves_the_epoch_open(project: Project, tmp_path: Path, tansu: str) -> None:
    orders, out = ListTopic("orders"), tmp_path / "out"
    orders.put(*(order(number) for number in range(20)))
    port = free_port()
    with closing(open_kafka_sink(KafkaPlace(servers=f"127.0.0.1:{port}", topic="protected"), patience=4)) as sink:
        with pytest.raises(RunError, match="kafka:protected: the broker did not take all records"):
            stream(project, out, orders, sink)
        assert rows_of(out) == []
        with tansu_broker(port) as address:
            place = made(address, "protected")
            stream(project, out, orders, sink)
            assert sorted(name for name, _ in messages(place)) == sorted(f"orders/0:{n}" for n in range(20))
    assert len(rows_of(out)) == 20


def test_the_command_sends_what_it_protects(project: Project, tmp_path: Path, tansu: str) -> None:
    place, inbox = made(tansu), tmp_path / "inbox"
    inbox.mkdir()
    (inbox / "some.jsonl").write_text("".join(json.dumps(order(number)) + "\n" for number in range(30)))
    process = StreamProcess(
        [
            *("--dataset", "orders", "--from", f"dir://{inbox}", "--out", str(tmp_path / "out")),
            *("--to", f"kafka://{tansu}/{place.topic}", "--config", str(tmp_path / "shop" / "consentry.yaml")),
        ],
        tmp_path / "log",
    )
    process.finish()
    found = messages(place)
    assert len(dict(found)) == len(found) == 30
    assert {json.loads(text)["order_id"] for _, text in found} == {row["order_id"] for row in rows_of(tmp_path / "out")}


def test_a_stream_that_is_killed_sends_every_record_with_the_same_bytes(
    project: Project, tmp_path: Path, tansu: str
) -> None:
    orders, place, out, rng = made(tansu), made(tansu), tmp_path / "out", random.Random(3)
    producer = Producer({"bootstrap.servers": tansu})
    process = StreamProcess(
        [
            *("--dataset", "orders", "--from", f"kafka://{tansu}/{orders.topic}?group=g", "--out", str(out)),
            *("--to", f"kafka://{tansu}/{place.topic}", "--config", str(tmp_path / "shop" / "consentry.yaml")),
            *("--latency", "50"),
        ],
        tmp_path / "log",
    )
    for kill in range(KILLS):
        process.start()
        before = sent = len(messages(place))
        for number in range(kill * 2_000, kill * 2_000 + 2_000):
            producer.produce(orders.topic, broken_or_sound(number, rng), partition=number % PARTITIONS)
        assert producer.flush(30) == 0
        while sent == before and process.alive():
            sent = len(messages(place))
        time.sleep(rng.random() * 0.2)
        process.kill()
    for number in range(KILLS * 2_000, KILLS * 2_000 + 200):
        producer.produce(orders.topic, broken_or_sound(number, rng), partition=number % PARTITIONS)
    assert producer.flush(30) == 0
    process.finish()
    sent_texts: dict[str, set[bytes]] = defaultdict(set)
    for record_id, text in messages(place):
        sent_texts[record_id].add(text)
    assert all(len(texts) == 1 for texts in sent_texts.values())
    names = [json.loads(text)["order_id"] for (text,) in sent_texts.values()]
    assert sorted(names) == sorted(row["order_id"] for row in rows_of(out))
    assert len(names) > KILLS * 1_800


# ---- what is refused


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("dir://somewhere", "--to: is no place that a stream writes to"),
        ("kafka://broker/orders", "--to: names a topic that the stream reads"),
        ("kafka://other:9092/consents", "--to: names a topic that the stream reads"),
        ("kafka://broker/protected?group=g", "--to: a group is for reading"),
        ("kafka://broker", "name one topic"),
        (f"kafka://me:{SECRET}@broker/protected", "a user or password in it is refused"),
    ],
)
def test_a_place_that_cannot_take_records_is_refused(uri: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        open_sink(uri, read=("kafka://broker/orders?group=g", "kafka://broker/consents", "dir://x", ""))
    assert SECRET not in str(caught.value)


def test_a_property_that_librdkafka_does_not_take_is_refused_without_its_value() -> None:
    place = KafkaPlace(servers="broker", topic="protected", properties={"security.protocol": SECRET})
    with pytest.raises(ConfigError, match="its properties are not librdkafka's") as caught:
        open_kafka_sink(place)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_a_sink_tells_no_secret_and_is_not_copied() -> None:
    place = KafkaPlace(servers="broker", topic="protected", properties={"sasl.password": SECRET})
    with closing(open_kafka_sink(place)) as sink:
        assert repr(sink) == "<KafkaSink: protected>"
        with pytest.raises(SecretError, match="cannot be copied"):
            pickle.dumps(sink)
