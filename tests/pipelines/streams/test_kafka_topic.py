"""One contract for topics of all brokers: every message once, from any offset, in order, whatever the broker does."""

from __future__ import annotations

import pickle
import threading
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from consentry.pipelines.streams import kafka_lane
from consentry.pipelines.streams.kafka_place import KafkaPlace, parse_kafka_uri
from consentry.pipelines.streams.kafka_topic import KafkaTopic, open_kafka_topic
from consentry.pipelines.streams.sources import Messages, Part, lane_of
from consentry.schemas.errors import ConfigError, RecordsGoneError, RunError, SecretError
from oracles.stream_shop import wait_for
from servers.apache_kafka import ApacheKafka
from servers.fixtures import ON_APACHE
from servers.tansu import free_port

SECRET = "hunter2-secret"
SMALL_FETCHES = {"queued.max.messages.kbytes": "64", "fetch.message.max.bytes": "16384", "queued.min.messages": "10"}
"""So little is read ahead that a reader of a megabyte is surely in the middle."""
_numbers = count()


class Shop:
    """A topic of a broker, and what is in it.

    Args:
        address: Of the broker.
        partitions: How many.
    """

    def __init__(self, address: str, partitions: int) -> None:
        self.address, self.partitions = address, partitions
        self.topic = f"orders-{next(_numbers)}"
        self.admin = AdminClient({"bootstrap.servers": address})
        self.values: dict[int, list[bytes | None]] = defaultdict(list)
        self.create()

    def create(self) -> None:
        for made in self.admin.create_topics([NewTopic(self.topic, self.partitions, 1)]).values():
            made.result()

    def delete(self) -> None:
        for gone in self.admin.delete_topics([self.topic], operation_timeout=10).values():
            gone.result()
        self.values.clear()

    def put(self, values: Sequence[bytes | None], partition: int = 0) -> None:
        # What a broker that has just made the topic refuses at first stays in order so.
        producer = Producer(
            {
                "bootstrap.servers": self.address, "linger.ms": 5, "message.max.bytes": 2_000_000,
                "enable.idempotence": True,
            }
        )  # fmt: skip
        for value in values:
            while True:
                try:
                    producer.produce(self.topic, value, partition=partition)
                    break
                except BufferError:
                    producer.poll(0.1)
        assert producer.flush(30) == 0
        self.values[partition] += values

    def forget(self, partition: int, before: int) -> None:
        """Deletes records as retention does."""
        place = TopicPartition(self.topic, partition, before)
        for gone in self.admin.delete_records([place]).values():
            gone.result()

    def place(self, **more: Any) -> KafkaPlace:
        return KafkaPlace(servers=self.address, topic=self.topic, **more)

    @contextmanager
    def open(self, *, lanes: int = 1, patience: float = 20, **more: Any) -> Iterator[KafkaTopic]:
        with closing(open_kafka_topic(self.place(**more), lanes=lanes, patience=patience)) as topic:
            yield topic

    def part(self, start: int, end: int, partition: int = 0) -> Part:
        return Part(partition=f"{self.topic}/{partition}", start=start, end=end)

    def wanted(self, *parts: Part) -> dict[str, list[tuple[int, bytes | None]]]:
        """What reading some parts must give."""
        return {
            part.partition: list(enumerate(self.values[int(part.partition.split("/")[1])]))[part.start : part.end]
            for part in parts
        }


@pytest.fixture
def shop(address: str) -> Callable[..., Shop]:
    return lambda partitions=1: Shop(address, partitions)


def read(topic: KafkaTopic, *parts: Part, lane: int = 0) -> dict[str, list[tuple[int, bytes | None]]]:
    found: dict[str, list[tuple[int, bytes | None]]] = {part.partition: [] for part in parts}
    for each in topic.messages(lane, parts):
        found[each.partition] += zip(each.offsets.tolist(), each.values, strict=True)
    return found


def numbered(start: int, end: int) -> list[bytes | None]:
    return [b"value %d" % number for number in range(start, end)]


def ends_at(topic: KafkaTopic, done: Mapping[str, int], wanted: Mapping[str, int]) -> None:
    """Waits until the topic tells of all that is in it; it never tells of more."""

    def told() -> bool:
        ends = topic.ends(done)
        assert all(ends[partition] <= end for partition, end in wanted.items())
        return ends == wanted

    wait_for(told)


def test_a_part_is_read_exactly(shop: Callable[..., Shop]) -> None:
    orders = shop()
    orders.put(numbered(0, 1_000))
    with orders.open() as topic:
        for start, end in [(0, 1_000), (0, 1), (999, 1_000), (137, 611), (611, 611), (611, 612), (0, 1_000)]:
            assert read(topic, orders.part(start, end)) == orders.wanted(orders.part(start, end))


def test_a_topic_begins_at_its_beginning_and_tells_its_ends(shop: Callable[..., Shop]) -> None:
    orders = shop(2)
    orders.put(numbered(0, 10), 0)
    orders.put(numbered(0, 30), 1)
    with orders.open(lanes=2) as topic:
        first = topic.first()
        assert first == {f"{orders.topic}/0": 0, f"{orders.topic}/1": 0}
        ends_at(topic, first, {f"{orders.topic}/0": 10, f"{orders.topic}/1": 30})


def test_reading_goes_on_without_fetching_anything_twice(
    shop: Callable[..., Shop], monkeypatch: pytest.MonkeyPatch
) -> None:
    orders = shop()
    orders.put(numbered(0, 500))
    with orders.open() as topic:
        assert read(topic, orders.part(0, 100)) == orders.wanted(orders.part(0, 100))
        lane = topic._lane(0)
        assigned: list[Any] = []
        monkeypatch.setattr(lane, "_consumer", _Watched(lane._consumer, assigned))
        for start in range(100, 500, 50):
            part = orders.part(start, start + 50)
            ends_at(topic, {part.partition: start}, {part.partition: 500})
            assert read(topic, part) == orders.wanted(part)
        assert not assigned
        assert read(topic, orders.part(20, 30)) == orders.wanted(orders.part(20, 30))
        assert len(assigned) == 1


class _Watched:
    """A consumer that notes where it is sent."""

    def __init__(self, consumer: Any, assigned: list[Any]) -> None:
        self._consumer, self._assigned = consumer, assigned

    def assign(self, places: Any) -> None:
        self._assigned.append(places)
        self._consumer.assign(places)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._consumer, name)


def test_what_was_broken_off_is_read_again_from_its_start(shop: Callable[..., Shop], monkeypatch: Any) -> None:
    monkeypatch.setattr(kafka_lane, "BATCH", 10)
    orders = shop()
    orders.put(numbered(0, 300))
    with orders.open() as topic:
        part = orders.part(5, 300)
        for _ in range(3):
            assert next(iter(topic.messages(0, [part]))).offsets[0] == 5
        assert read(topic, part) == orders.wanted(part)


def test_lanes_read_their_partitions_side_by_side(shop: Callable[..., Shop]) -> None:
    orders, lanes, found = shop(5), 2, {}
    for partition in range(5):
        orders.put(numbered(partition * 10_000, partition * 10_000 + 2_000), partition)
    failures: list[BaseException] = []

    def read_lane(topic: KafkaTopic, lane: int, parts: Sequence[Part]) -> None:
        try:
            mine = [part for part in parts if lane_of(part.partition, lanes) == lane]
            found.update(read(topic, *mine, lane=lane))
        except BaseException as error:
            failures.append(error)

    with orders.open(lanes=lanes) as topic:
        for start, end in [(0, 700), (700, 1_900), (100, 2_000)]:
            found.clear()
            parts = [orders.part(start, end - partition, partition) for partition in range(5)]
            threads = [threading.Thread(target=read_lane, args=(topic, lane, parts)) for lane in range(lanes)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert not failures
            assert found == orders.wanted(*parts)


def test_a_group_resumes_where_it_was_committed(shop: Callable[..., Shop]) -> None:
    orders = shop(3)
    for partition in range(3):
        orders.put(numbered(0, 100), partition)
    with orders.open(group="one") as topic:
        topic.first()
        topic.commit({f"{orders.topic}/0": 40, f"{orders.topic}/2": 0})
        topic.commit({f"{orders.topic}/0": 41})
    with orders.open(group="one") as topic:
        assert topic.first() == {f"{orders.topic}/0": 41, f"{orders.topic}/1": 0, f"{orders.topic}/2": 0}
    with orders.open(group="two") as topic:
        assert set(topic.first().values()) == {0}


def test_messages_without_a_value_are_messages(shop: Callable[..., Shop]) -> None:
    orders = shop()
    orders.put([b"one", None, b"", None])
    with orders.open() as topic:
        assert read(topic, orders.part(0, 4)) == {f"{orders.topic}/0": [(0, b"one"), (1, None), (2, b""), (3, None)]}


def test_messages_of_a_megabyte_come_whole(shop: Callable[..., Shop]) -> None:
    orders = shop()
    orders.put([bytes([number]) * 990_000 for number in range(12)])
    with orders.open() as topic:
        assert read(topic, orders.part(0, 12)) == orders.wanted(orders.part(0, 12))
        assert read(topic, orders.part(3, 5)) == orders.wanted(orders.part(3, 5))


def test_what_is_read_ahead_is_limited_and_loses_nothing(shop: Callable[..., Shop], monkeypatch: Any) -> None:
    most, size, each = 200_000, 1_000, 2_000
    monkeypatch.setattr(kafka_lane, "MOST_AHEAD", most)
    monkeypatch.setattr(kafka_lane, "BATCH", 50)
    orders = shop(2)
    for partition in range(2):
        orders.put([b"%d" % number * (size // 4) for number in range(1_000, 1_000 + each)], partition)
    with orders.open() as topic:
        topic.first()
        lane = topic._lane(0)
        slow = [orders.part(start, start + 20, 1) for start in range(0, each, 20)]
        # Both are read by one consumer; only one of them is asked for, then the other one, then both by turns.
        topic.ends({f"{orders.topic}/0": 0, f"{orders.topic}/1": 0})
        for start in range(0, each, 250):
            part = orders.part(start, start + 250, 0)
            assert read(topic, part) == orders.wanted(part)
            assert lane._ahead_bytes <= most + 50 * size
            assert read(topic, slow[start // 250]) == orders.wanted(slow[start // 250])
        for part in slow[each // 250 :]:
            assert read(topic, part) == orders.wanted(part)
            assert lane._ahead_bytes <= most + 50 * size
        assert lane._ahead_bytes == 0


def test_what_comes_while_it_is_read_comes_next(shop: Callable[..., Shop]) -> None:
    orders = shop()
    with orders.open() as topic:
        done = dict(topic.first())
        for round_ in range(5):
            orders.put(numbered(round_ * 10, round_ * 10 + 10))
            ends_at(topic, done, {f"{orders.topic}/0": round_ * 10 + 10})
            part = orders.part(round_ * 10, round_ * 10 + 10)
            assert read(topic, part) == orders.wanted(part)
            done[part.partition] = part.end


def test_a_topic_that_is_not_there_is_named(address: str) -> None:
    place = KafkaPlace(servers=address, topic="nowhere")
    told = r"^kafka:nowhere: the broker has no such topic; create it"
    with closing(open_kafka_topic(place, lanes=1, patience=10)) as topic, pytest.raises(RunError, match=told):
        topic.first()


def test_a_topic_that_lost_its_end_is_refused(shop: Callable[..., Shop]) -> None:
    orders = shop()
    orders.put(numbered(0, 3))
    told = r"ends at offset 3, and was read to 100 before"
    with orders.open() as topic, pytest.raises(RecordsGoneError, match=told):
        list(topic.messages(0, [orders.part(100, 3)]))


@ON_APACHE
@pytest.mark.parametrize("stays_open", [True, False])
def test_a_topic_that_was_made_anew_is_refused(kafka: ApacheKafka, stays_open: bool) -> None:
    # The broker in memory does not say that an offset is out of its range, and its answer crashes librdkafka 2.16.
    orders = Shop(kafka.address, 1)
    orders.put(numbered(0, 100))
    with orders.open() as before:
        read(before, orders.part(0, 100))
        made_anew(orders)
        with orders.open() as after, pytest.raises(RecordsGoneError, match=r"made anew"):
            _until_refused(before if stays_open else after, orders, 100)


def made_anew(orders: Shop) -> None:
    orders.delete()
    wait_for(lambda: orders.topic not in orders.admin.list_topics(timeout=10).topics)
    orders.create()
    orders.put(numbered(0, 5))


def _until_refused(topic: KafkaTopic, orders: Shop, done: int) -> None:
    """Asks and reads as a stream does, which tries again when a broker cannot be read."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            told = topic.ends({f"{orders.topic}/0": done})[f"{orders.topic}/0"]
            if told != done:
                list(topic.messages(0, [orders.part(done, told)]))
        except RecordsGoneError:
            raise
        except RunError:
            time.sleep(0.1)
    raise AssertionError("it was never refused")


def test_a_broker_out_of_reach_is_told_within_the_patience() -> None:
    place = KafkaPlace(servers=f"127.0.0.1:{free_port()}", topic="orders")
    with closing(open_kafka_topic(place, lanes=1, patience=1)) as topic:
        told = r"^kafka:orders: the broker cannot be asked \(\w+\); see that it runs and lets us in$"
        with pytest.raises(RunError, match=told):
            topic.first()
        with pytest.raises(RunError, match=told):
            topic.ends({"orders/0": 0})
        with pytest.raises(RunError, match=r"^kafka:orders: nothing came for 1 s; see to the broker$"):
            list(topic.messages(0, [Part(partition="orders/0", start=0, end=1)]))
        topic.commit({"orders/0": 5})


@ON_APACHE
def test_aborted_transactions_are_not_seen(kafka: ApacheKafka) -> None:
    orders = Shop(kafka.address, 1)
    producer = Producer({"bootstrap.servers": kafka.address, "transactional.id": orders.topic})
    producer.init_transactions(30)
    wanted, number = [], 0
    for commit in [True, False, True, False, False]:
        producer.begin_transaction()
        for _ in range(50):
            producer.produce(orders.topic, b"%d" % number)
            wanted += [b"%d" % number] if commit else []
            number += 1
        producer.flush(30)
        producer.commit_transaction(30) if commit else producer.abort_transaction(30)
    with orders.open() as topic:
        # 250 messages and a marker for each transaction; the last hundred are nothing but a gap.
        ends_at(topic, topic.first(), {f"{orders.topic}/0": 255})
        whole = read(topic, orders.part(0, 255))[f"{orders.topic}/0"]
        assert [value for _, value in whole] == wanted
        assert read(topic, orders.part(153, 255)) == {f"{orders.topic}/0": []}
        assert read(topic, orders.part(40, 110))[f"{orders.topic}/0"] == [each for each in whole if 40 <= each[0] < 110]


@ON_APACHE
def test_an_open_transaction_is_waited_for(kafka: ApacheKafka) -> None:
    orders = Shop(kafka.address, 1)
    orders.put(numbered(0, 10))
    producer = Producer({"bootstrap.servers": kafka.address, "transactional.id": orders.topic})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(orders.topic, b"late")
    producer.flush(30)
    with orders.open() as topic:
        done = {f"{orders.topic}/0": 10}
        for _ in range(5):
            assert topic.ends(done) == done
        producer.commit_transaction(30)
        ends_at(topic, done, {f"{orders.topic}/0": 12})
        assert read(topic, orders.part(10, 12)) == {f"{orders.topic}/0": [(10, b"late")]}


@ON_APACHE
def test_records_that_retention_took_are_missed_by_name(kafka: ApacheKafka) -> None:
    orders = Shop(kafka.address, 1)
    orders.put(numbered(0, 100))
    orders.forget(0, 50)
    with orders.open() as topic:
        assert topic.first() == {f"{orders.topic}/0": 50}
        told = rf"^{orders.topic}/0: the messages from offset 20 on are not there: the topic's retention was shorter"
        with pytest.raises(RecordsGoneError, match=told):
            read(topic, orders.part(20, 100))
        assert read(topic, orders.part(50, 100)) == orders.wanted(orders.part(50, 100))
        topic.commit({f"{orders.topic}/0": 20})
    with orders.open() as topic:  # a new output begins with what is there
        assert topic.first() == {f"{orders.topic}/0": 50}


@ON_APACHE
def test_an_error_of_one_partition_loses_nothing_of_another(kafka: ApacheKafka) -> None:
    orders = Shop(kafka.address, 2)
    for partition in range(2):
        orders.put(numbered(0, 5_000), partition)
    orders.forget(0, 50)
    with orders.open() as topic:
        lost, sound = orders.part(0, 5_000, 0), orders.part(0, 5_000, 1)
        for start in (0, 700):
            with pytest.raises(RecordsGoneError, match="not there"):
                read(topic, lost, orders.part(start, 5_000, 1))
            with pytest.raises(RecordsGoneError, match="not there"):
                for _ in range(100):
                    topic.ends({lost.partition: 0, sound.partition: start})
                    time.sleep(0.05)
            part = orders.part(start, 5_000, 1)
            assert read(topic, part) == orders.wanted(part)


@ON_APACHE
def test_a_broker_that_is_killed_and_comes_again_is_read_on(kafka: ApacheKafka, monkeypatch: Any) -> None:
    monkeypatch.setattr(kafka_lane, "BATCH", 50)
    orders = Shop(kafka.address, 2)
    for partition in range(2):
        orders.put([b"%05d" % number * 100 for number in range(4_000)], partition)
    parts = [orders.part(0, 4_000, partition) for partition in range(2)]
    found: dict[str, list[tuple[int, bytes | None]]] = defaultdict(list)
    with orders.open(patience=60, properties=SMALL_FETCHES) as topic:
        killed = False
        for each in topic.messages(0, parts):
            found[each.partition] += zip(each.offsets.tolist(), each.values, strict=True)
            if not killed:
                assert sum(map(len, found.values())) < 2_000
                kafka.kill()
                threading.Thread(target=kafka.start).start()
                killed = True
        assert found == orders.wanted(*parts)
        topic.commit({parts[0].partition: 4_000})
    with orders.open(patience=60) as topic:
        assert topic.first() == {parts[0].partition: 4_000, parts[1].partition: 0}


@ON_APACHE
def test_a_broker_that_does_not_answer_never_counts_as_a_topic_without_news(kafka: ApacheKafka) -> None:
    orders = Shop(kafka.address, 2)
    orders.put(numbered(0, 3))
    done = {f"{orders.topic}/0": 2, f"{orders.topic}/1": 0}
    with orders.open(patience=1) as topic:
        ends_at(topic, done, {f"{orders.topic}/0": 3, f"{orders.topic}/1": 0})
        with kafka.silent():
            for _ in range(3):
                for ask in (topic.first, partial(topic.ends, done)):
                    with pytest.raises(RunError, match="the broker cannot be asked"):
                        ask()
        ends_at(topic, done, {f"{orders.topic}/0": 3, f"{orders.topic}/1": 0})


@ON_APACHE
def test_a_broker_that_is_gone_for_a_while_loses_nothing(kafka: ApacheKafka) -> None:
    orders = Shop(kafka.address, 2)
    for partition in range(2):
        orders.put([b"%05d" % number * 100 for number in range(2_000)], partition)
    parts = [orders.part(0, 2_000, partition) for partition in range(2)]
    with orders.open(patience=1, properties=SMALL_FETCHES) as topic:
        topic.ends({part.partition: 0 for part in parts})
        kafka.kill()
        with pytest.raises(RunError, match="nothing came for 1 s"):
            read(topic, *parts)
        with pytest.raises(RunError, match="the broker cannot be asked"):
            topic.ends({part.partition: 0 for part in parts})
        kafka.start()
        found: dict[str, Any] = {}

        def whole() -> bool:
            try:
                found.update(read(topic, *parts))
            except RunError:
                return False
            return True

        wait_for(whole)
        assert found == orders.wanted(*parts)


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("kafka:///orders", "write kafka://HOST:PORT/TOPIC"),
        ("http://broker/orders", "write kafka://HOST:PORT/TOPIC"),
        ("kafka://broker", "name one topic behind the hosts"),
        ("kafka://broker/", "name one topic"),
        ("kafka://broker/a/b", "name one topic"),
        ("kafka://broker/a,b", "name one topic"),
        ("kafka://broker/orders?grup=x", "only config and group"),
        ("kafka://broker/orders?group=a&group=b", "each once"),
        ("kafka://broker/orders?group=", "may not be blank"),
        ("kafka://broker/orders?group=%20", "may not be blank"),
        ("kafka://broker/orders#part", "only config and group"),
        (f"kafka://user:{SECRET}@broker/orders", "a user or password in it is refused"),
        ("kafka://a,,b/orders", "each host as HOST or HOST:PORT"),
        ("kafka://broker:port/orders", "each host as HOST or HOST:PORT"),
        ("kafka://[::1/orders", "each host as HOST or HOST:PORT"),
    ],
)
def test_a_wrong_uri_is_refused_with_what_is_wrong(uri: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        parse_kafka_uri(uri)
    assert str(caught.value).startswith("kafka://: ")
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_all_that_is_wrong_with_a_uri_is_named_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_kafka_uri(f"kafka://user:{SECRET}@a,,b/or ders?group=&password={SECRET}")
    for part in ("user or password", "name one topic", "only config and group", "each host", "blank"):
        assert part in str(caught.value)
    assert SECRET not in str(caught.value)


def test_a_uri_says_hosts_topic_and_group() -> None:
    assert parse_kafka_uri("kafka://a:1,b,[::1]:9092/orders.v1") == KafkaPlace(
        servers="a:1,b,[::1]:9092", topic="orders.v1", group="consentry"
    )


@pytest.fixture
def properties(tmp_path: Path) -> Callable[[str], str]:
    def written(text: str) -> str:
        (tmp_path / "kafka.properties").write_text(text, encoding="utf-8")
        return f"kafka://broker/orders?config={tmp_path / 'kafka.properties'}"

    return written


def test_properties_come_from_a_file(properties: Callable[[str], str]) -> None:
    place = parse_kafka_uri(properties(f"# who we are\n\n sasl.password = {SECRET}=1\nclient.id=c\n"))
    assert place.properties == {"sasl.password": f"{SECRET}=1", "client.id": "c"}
    assert SECRET not in repr(place)


def test_all_that_is_wrong_with_properties_is_named_at_once(properties: Callable[[str], str]) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_kafka_uri(properties(f"{SECRET}\nenable.auto.commit=true\n={SECRET}\ngroup.id={SECRET}\n"))
    told = str(caught.value)
    assert SECRET not in told
    for part in (":1: is no property", ":2: enable.auto.commit is set by", ":3: is no property", ":4: group.id is set"):
        assert part in told


def test_a_file_of_properties_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"file of properties cannot be read \(FileNotFoundError\)"):
        parse_kafka_uri(f"kafka://broker/orders?config={tmp_path / 'none'}")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"cannot be read \(UnicodeDecodeError\)"):
        parse_kafka_uri(f"kafka://broker/orders?config={tmp_path / 'binary'}")


@pytest.mark.parametrize("name", ["sasl.pasword", "security.protocol", "queued.min.messages"])
def test_a_property_that_librdkafka_does_not_take_is_refused_without_its_value(name: str) -> None:
    place = KafkaPlace(servers="broker", topic="orders", properties={name: SECRET})
    with pytest.raises(ConfigError, match=r"its properties are not librdkafka's") as caught:
        open_kafka_topic(place, lanes=1)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_nothing_that_holds_raw_values_tells_or_pickles_them(shop: Callable[..., Shop]) -> None:
    orders = shop()
    orders.put([SECRET.encode()] * 3)
    with orders.open(properties={"client.id": SECRET}) as topic:
        found: list[Messages] = list(topic.messages(0, [orders.part(0, 2)]))
        for each in (topic, topic._lane(0), *found):
            assert SECRET not in repr(each)
            with pytest.raises((SecretError, TypeError)):
                pickle.dumps(each)
