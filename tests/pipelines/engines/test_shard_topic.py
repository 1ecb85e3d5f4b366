"""What a shard publishes to a real Kafka: all of a step or nothing, by one worker at a time, each record once."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
)
from consentry.pipelines.engines.outputs import ShardWork
from consentry.pipelines.engines.settings import EngineSettings
from consentry.pipelines.engines.shard_topic import NOTE, ShardTopic, last_note
from consentry.pipelines.engines.topic_books import BOOKS, LETTERS, TopicBooks
from consentry.pipelines.engines.topic_chains import message_chains
from consentry.pipelines.engines.topic_output import TopicOutput, open_topic_output
from consentry.pipelines.streams.kafka_place import parse_kafka_uri
from consentry.pipelines.streams.kafka_transactions import KafkaTransactions
from consentry.schemas.dataset import FieldPath
from consentry.schemas.errors import ConfigError, OutputError, RunError
from consentry.transforms.consent_join import NOTHING_KNOWN
from oracles.topic_publisher import publication_of
from oracles.topic_reader import chain_problems, messages_of
from servers.apache_kafka import ApacheKafka
from servers.fixtures import ON_APACHE

pytestmark = ON_APACHE
SHARDS = 2
SETTINGS = EngineSettings(
    run="engine-1", tenant="shop", dataset="orders", source="kafka:orders", lanes=1, shards=SHARDS, key_version=1,
    key_versions={}, started_at=1, fields={},
)  # fmt: skip
TESTS = Path(__file__).parents[2]


class Out:
    """A topic of its own for each test."""

    def __init__(self, kafka: ApacheKafka) -> None:
        self.kafka = kafka
        self.topic = f"out-{uuid.uuid4().hex[:8]}"
        admin = AdminClient({"bootstrap.servers": kafka.address})
        for made in admin.create_topics([NewTopic(self.topic, 2, 1)]).values():
            made.result()
        self.uri = f"kafka://{kafka.address}/{self.topic}"
        self.launch("first")

    @property
    def output(self) -> TopicOutput:
        return open_topic_output(self.uri)

    def launch(self, name: str) -> None:
        output = self.output
        with output.launching(SETTINGS):
            output.begin_launch(name)

    def shard(self, launch: str = "first", *, in_order: bool = True) -> ShardTopic:
        work = ShardWork(launch=launch, shards=SHARDS, event_time=FieldPath.parse("at"), in_order=in_order)
        return self.output.shard(1, work)

    @property
    def books(self) -> TopicBooks:
        return TopicBooks(parse_kafka_uri(self.uri), SHARDS)

    def take_messages_of(self, size: int) -> None:
        admin = AdminClient({"bootstrap.servers": self.kafka.address})
        entry = ConfigEntry("max.message.bytes", str(size), incremental_operation=AlterConfigOpType.SET)
        limit = ConfigResource(ConfigResource.Type.TOPIC, self.topic, incremental_configs=[entry])
        for changed in admin.incremental_alter_configs([limit]).values():
            changed.result(60)

    def numbers(self, *, committed: bool = True) -> list[int]:
        found = messages_of(self.kafka.address, self.topic, committed=committed)
        return sorted(json.loads(message.value)["number"] for message in found)


@pytest.fixture
def bare_out(kafka: ApacheKafka) -> Out:
    return Out(kafka)


@pytest.fixture
def out(bare_out: Out) -> Iterator[Out]:
    """Whatever happens to it, its chains hold."""
    yield bare_out
    assert chain_problems(bare_out.uri, shards=SHARDS) == []


def publish(shard: ShardTopic, number: int, lot: str, numbers: list[int], **options: Any) -> str:
    assert shard.resumption(number, lot) is None
    return shard.publish(number, lot, publication_of(numbers, **options)).lot


def test_a_step_is_on_the_topics_with_stable_ids_and_its_note_says_how_far_they_are(out: Out) -> None:
    shard = out.shard()
    lot = publish(shard, 0, "", [3, 4], letters=1)
    publish(shard, 1, lot, [7])
    found = messages_of(out.kafka.address, out.topic)
    assert {message.key: json.loads(message.value)["number"] for message in found} == {
        b"orders/0:3": 3, b"orders/0:4": 4, b"orders/0:7": 7,
    }  # fmt: skip
    assert all(message.headers["consentry-record-id"] == message.key for message in found)
    (letter,) = messages_of(out.kafka.address, out.topic + LETTERS)
    assert json.loads(letter.value) == {
        "stage": "read", "reason": "invalid_json", "source": "orders/0", "position": 1000, "dataset": "orders",
        "sealed": "c2VhbGVk",
    }  # fmt: skip
    last = last_note(out.books, 1)
    assert last is not None
    assert (last.number, last.note.offsets, last.note.letters) == (1, {"orders/0": 8}, {"orders/0": 1001})
    (note,) = out.output.notes()
    assert {receipt.path: receipt.rows for receipt in note.outcome.receipts} == {
        f"data/{out.topic}": 3, f"dead_letters/{out.topic}": 1,
    }  # fmt: skip
    assert note.outcome.tally[("in",)] == 4


def test_who_goes_back_is_told_what_is_published_and_may_go_on_behind_it(out: Out) -> None:
    lot = publish(out.shard(), 0, "", [1, 2])
    publish(live := out.shard(), 1, lot, [5])
    live.close()
    for number, known in ((1, lot), (0, "")):
        found = out.shard().resumption(number, known)
        assert found is not None
        assert (found.number, found.offsets, found.letters) == (2, {"orders/0": 6}, {})
    publish(out.shard(), found.number, found.lot, [6])
    assert out.numbers() == [1, 2, 5, 6]


def test_of_two_workers_the_last_that_took_the_shard_publishes_and_the_other_one_nothing(out: Out) -> None:
    given_up = out.shard()
    lot = publish(given_up, 0, "", [1])
    live = out.shard()
    lot_of_live = publish(live, 1, lot, [2])
    with pytest.raises(RunError, match="another worker has taken it over; this one goes back"):
        given_up.publish(1, lot, publication_of([2, 3]))
    publish(live, 2, lot_of_live, [3])
    assert out.numbers() == [1, 2, 3]
    # Given its state again, it may take the shard back, and knows what there is.
    again = given_up.resumption(1, lot)
    assert again is not None and again.offsets == {"orders/0": 4}


def test_instances_that_share_the_states_of_a_shard_publish_in_turn(out: Out) -> None:
    pair, lot = (out.shard(), out.shard()), ""
    for number in range(6):
        lot = publish(pair[number % 2], number, lot, [number])
    # Also where one of them has only looked meanwhile, as in a step that publishes nothing.
    assert pair[0].resumption(0, "") is not None
    publish(pair[1], 6, lot, [6])
    assert out.numbers() == list(range(7))


def test_a_first_step_that_an_engine_without_order_does_again_is_sent_again(out: Out) -> None:
    publish(out.shard(), 0, "", [5, 6])
    again = out.shard(in_order=False).resumption(0, "")
    assert again is not None and again.offsets == {}
    out.launch("second")
    anew = out.shard("second", in_order=False).resumption(0, "")
    assert anew is not None and anew.offsets == {"orders/0": 7}


def test_a_note_of_all_steps_forgets_nothing_of_earlier_ones(out: Out) -> None:
    shard = out.shard()
    lot = publish(shard, 0, "", [1], note="x")
    lot = publish(shard, 1, lot, [2], letters=1)
    given_up = replace(publication_of([3]), watermark=NOTHING_KNOWN, columns=pa.schema([]))
    shard.publish(2, lot, given_up)
    last = last_note(out.books, 1)
    assert last is not None
    assert (last.note.now, last.note.ledger_position, last.note.publications) == (1, 1, 3)
    assert last.note.columns.names == ["number"]
    behind = out.shard().resumption(0, "")
    assert behind is not None and behind.columns == last.note.columns


def test_what_was_given_up_without_any_news_of_consents_is_noted_as_of_now(out: Out) -> None:
    shard = out.shard()
    assert shard.resumption(0, "") is None
    note = shard.publish(0, "", replace(publication_of([1]), watermark=NOTHING_KNOWN, clock=77)).note
    assert (note.now, note.ledger_position) == (77, 0)


def test_a_topic_with_messages_of_somebody_else_is_no_new_output(kafka: ApacheKafka) -> None:
    topic = f"foreign-{uuid.uuid4().hex[:8]}"
    admin = AdminClient({"bootstrap.servers": kafka.address})
    for made in admin.create_topics([NewTopic(topic, 1, 1)]).values():
        made.result(60)
    producer = Producer({"bootstrap.servers": kafka.address})
    producer.produce(topic, b"{}")
    assert producer.flush(30) == 0
    output = open_topic_output(f"kafka://{kafka.address}/{topic}")
    with pytest.raises(ConfigError, match="has messages already, of another output"), output.launching(SETTINGS):
        pass


def test_who_is_shut_out_in_the_middle_of_a_step_takes_the_shard_back_and_does_it_again(
    out: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    lot = publish(shard := out.shard(), 0, "", [1])
    whole, shut_out = KafkaTransactions.send, []

    def interrupted(self: KafkaTransactions, topic: str, messages: Any) -> None:
        is_first = not shut_out
        if is_first:
            shut_out.append(out.shard().shut_out())
        whole(self, topic, messages)
        if is_first:
            time.sleep(1)  # until the broker has told this producer

    monkeypatch.setattr(KafkaTransactions, "send", interrupted)
    publish(shard, 1, lot, [2, 3])
    assert shut_out and out.numbers() == [1, 2, 3]


def test_of_many_workers_at_the_same_time_nothing_is_lost_or_twice(out: Out) -> None:
    numbers, start = list(range(30)), threading.Barrier(4)
    refused: list[str] = []

    def work() -> None:
        shard, done = out.shard(), False
        start.wait(60)
        while not done:
            try:
                number, lot, done_to = 0, "", 0
                found = shard.resumption(number, lot)
                if found is not None:
                    number, lot, done_to = found.number, found.lot, found.offsets["orders/0"]
                left = [each for each in numbers if each >= done_to][:3]
                done = not left
                if left:
                    shard.publish(number, lot, publication_of(left))
            except Exception as error:
                refused.append(str(error))
                if "another worker has taken it over" not in str(error):
                    return
        shard.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert [each for each in refused if "another worker has taken it over" not in each] == []
    assert out.numbers() == numbers


@pytest.mark.parametrize("moment", ["sent", "committed"])
def test_a_worker_that_is_killed_has_published_all_of_a_step_or_nothing(out: Out, moment: str) -> None:
    lot = publish(first := out.shard(), 0, "", [1])
    first.close()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *filter(None, sys.path)])}
    asked = json.dumps({"out": out.uri, "number": 1, "lot": lot, "numbers": [2, 3], "moment": moment})
    ended = subprocess.run(
        [sys.executable, "-m", "oracles.topic_publisher"], input=asked, text=True, env=environment, timeout=120,
        check=False,
    )  # fmt: skip
    assert ended.returncode == -signal.SIGKILL
    if moment == "sent":
        assert out.numbers(committed=False) == [1, 2, 3]
        assert publish(out.shard(), 1, lot, [2, 3])
    else:
        found = out.shard().resumption(1, lot)
        assert found is not None and found.offsets == {"orders/0": 4}
    assert out.numbers() == [1, 2, 3]


@pytest.mark.parametrize("moment", ["before", "sent"])
def test_a_broker_that_dies_and_comes_back_has_each_step_once(out: Out, moment: str) -> None:
    place, books = parse_kafka_uri(out.uri), out.books
    shard = ShardTopic(place, books, 1, "first", patience=4)
    lot = publish(shard, 0, "", [1])
    whole = KafkaTransactions.send
    try:
        if moment == "before":
            out.kafka.kill()
            with pytest.raises(RunError, match=r"01: the broker did not take what belongs together \(_MSG_TIMED_OUT\)"):
                shard.publish(1, lot, publication_of([2, 3]))
        else:

            def dying(self: KafkaTransactions, topic: str, *given: Any, **more: Any) -> None:
                whole(self, topic, *given, **more)
                if topic == out.topic:
                    self._producer.flush(10)
                    out.kafka.kill()

            with pytest.MonkeyPatch.context() as patch, pytest.raises(RunError, match="did not take what belongs"):
                patch.setattr(KafkaTransactions, "send", dying)
                shard.publish(1, lot, publication_of([2, 3]))
    finally:
        out.kafka.start()
    assert publish(shard, 1, lot, [2, 3])
    assert out.numbers() == [1, 2, 3]


def test_chains_go_on_over_workers_and_into_partitions_that_are_added(out: Out) -> None:
    lot = publish(out.shard(), 0, "", list(range(20)), letters=2)
    admin = AdminClient({"bootstrap.servers": out.kafka.address})
    for grown in admin.create_partitions([NewPartitions(out.topic, 5)]).values():
        grown.result(60)
    deadline = time.monotonic() + 30
    while admin.list_topics(out.topic, timeout=10).topics[out.topic].partitions.keys() != set(range(5)):
        assert time.monotonic() < deadline
    publish(out.shard(), 1, lot, list(range(20, 60)))
    (note,) = out.output.notes()
    chains = [chain for chain in message_chains(note.chains) if chain.topic == out.topic]
    assert {chain.partition for chain in chains} == set(range(5))
    assert sum(chain.messages for chain in chains) == 60


def test_what_somebody_else_sends_is_told_with_its_place(bare_out: Out) -> None:
    publish(bare_out.shard(), 0, "", [1, 2, 3])
    first = messages_of(bare_out.kafka.address, bare_out.topic)[0]
    producer = Producer({"bootstrap.servers": bare_out.kafka.address})
    for headers in (None, list(first.headers.items())):
        producer.produce(bare_out.topic, first.value, first.key, partition=0, headers=headers)
    assert producer.flush(30) == 0
    (problem,) = chain_problems(bare_out.uri, shards=SHARDS)
    told = f"2 are not what the stream sent there; the first is at {bare_out.topic}/0, offset "
    assert re.fullmatch(rf"{told}\d+", problem)


def test_what_does_not_balance_is_not_sent(out: Out) -> None:
    shard = out.shard()
    assert shard.resumption(0, "") is None
    with pytest.raises(RunError, match="the books do not balance"):
        shard.publish(0, "", publication_of([1], counted=2))
    assert out.numbers(committed=False) == []
    publish(shard, 0, "", [1])
    assert out.numbers() == [1]


def test_what_is_too_large_for_the_topic_waits_until_it_takes_it_and_large_letters_always_go(out: Out) -> None:
    out.take_messages_of(1_000)
    shard = out.shard()
    assert shard.resumption(0, "") is None
    with pytest.raises(RunError, match=r"is larger than its topic takes; raise"):
        shard.publish(0, "", publication_of([1], note="x" * 5_000))
    assert out.numbers(committed=False) == []
    out.take_messages_of(10_000)
    assert shard.resumption(0, "") is None
    shard.publish(0, "", publication_of([1], note="x" * 5_000, letters=1, sealed=b"s" * 3_000_000))
    assert out.numbers() == [1]
    (letter,) = messages_of(out.kafka.address, out.topic + LETTERS)
    assert len(letter.value) > 4_000_000


def test_a_job_that_was_launched_anew_or_closed_publishes_nothing_more(out: Out) -> None:
    older = out.shard()
    lot = publish(older, 0, "", [1])
    out.launch("second")
    newer = out.shard("second")
    found = newer.resumption(0, "")
    assert found is not None
    for _ in range(2):
        with pytest.raises(RunError, match="shard 01: the stream was launched anew, and goes on there; cancel this"):
            older.publish(1, lot, publication_of([2]))
    assert older.resumption(1, lot) is None
    lot = newer.publish(found.number, found.lot, publication_of([2])).lot
    out.output.close(lambda _: None)
    with pytest.raises(RunError, match="shard 01: the stream of this output was closed; name a new --out"):
        newer.publish(2, lot, publication_of([3]))
    with pytest.raises(ConfigError, match="has ended; name a new --out"):
        out.launch("third")
    assert out.numbers() == [1, 2]


def test_an_output_whose_books_are_gone_is_not_begun_anew(bare_out: Out) -> None:
    out = bare_out
    publish(out.shard(), 0, "", [1])
    books = out.topic + BOOKS
    admin = AdminClient({"bootstrap.servers": out.kafka.address})
    for gone in admin.delete_topics([books]).values():
        gone.result(60)
    while books in admin.list_topics(timeout=10).topics:
        time.sleep(0.1)
    with pytest.raises(ConfigError, match="has messages already, of another output; name a new topic"):
        out.launch("second")


@pytest.mark.parametrize("damage", ["", "{", "[]", "null", '{"number": 1}', '{"number": 1, "lot": "", "files": [1]}'])
def test_a_damaged_note_stops_the_shard_and_says_so(bare_out: Out, damage: str) -> None:
    out = bare_out
    producer = Producer({"bootstrap.servers": out.kafka.address})
    producer.produce(out.topic + BOOKS, damage.encode(), NOTE.encode(), partition=1)
    assert producer.flush(30) == 0
    with pytest.raises(OutputError, match="the note of shard 01 is damaged; begin a new --out"):
        out.shard().resumption(0, "")


def settings_with(**changes: object) -> EngineSettings:
    return EngineSettings(**{**{name: getattr(SETTINGS, name) for name in SETTINGS.__slots__}, **changes})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"shards": 5}, "--shards: the stream of this output began with 2"),
        ({"lanes": 2}, "--lanes: this output belongs to '1'"),
        ({"source": "kafka:other"}, "--from: this output belongs to 'kafka:orders'"),
    ],
)
def test_what_may_not_change_is_refused(out: Out, change: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says), out.output.launching(settings_with(**change)):
        pass
    assert out.output.settings() == SETTINGS


def test_a_topic_that_is_not_there_is_not_made(kafka: ApacheKafka) -> None:
    output = open_topic_output(f"kafka://{kafka.address}/nowhere")
    with (
        pytest.raises(ConfigError, match="--out: the broker has no topic nowhere; create it first"),
        output.launching(SETTINGS),
    ):
        pass
    with pytest.raises(ConfigError, match="nowhere: is no output of `consentry stream --runner`"):
        output.settings()
    there = AdminClient({"bootstrap.servers": kafka.address}).list_topics(timeout=10).topics
    assert not [name for name in there if name.startswith("nowhere")]


REFUSED: dict[str, Callable[[], object]] = {
    "a group is for reading": lambda: open_topic_output("kafka://b:9/t?group=g"),
    r"names with \.books or \.dead-letters at their end": lambda: open_topic_output("kafka://b:9/t.books"),
    "names a topic that the stream reads": lambda: open_topic_output("kafka://b:9/t").check(["kafka://b:9/t"]),
    "a topic that the stream reads": lambda: open_topic_output("kafka://b:9/t").check(["kafka://b:9/t.dead-letters"]),
}


@pytest.mark.parametrize("says", REFUSED)
def test_what_can_be_no_output_is_refused_before_a_broker_is_asked(says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        REFUSED[says]()


def test_how_far_consents_are_never_goes_back(out: Out) -> None:
    assert out.output.consent_ends() == {}
    for ends in ({"c/0": 3, "c/1": 1}, {"c/0": 2}, {"c/0": 5, "d/0": 1}):
        out.output.note_consents(ends)
    assert out.output.consent_ends() == {"c/0": 5, "c/1": 1, "d/0": 1}
