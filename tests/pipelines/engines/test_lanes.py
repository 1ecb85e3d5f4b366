from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic
from consentry.pipelines.engines.consent_ends import note_consents, noted_consents
from consentry.pipelines.engines.lanes import Advanced, ConsentLane, OrderLane
from consentry.pipelines.engines.wire import Kind, batch_of, watermark_of
from consentry.pipelines.scaffold import write_project
from consentry.pipelines.streams.message_source import MessageTopic
from consentry.pipelines.streams.places import open_topic
from consentry.schemas.errors import OutputError, RecordsGoneError
from consentry.schemas.policy_file import read_policy
from consentry.schemas.project import read_project
from consentry.transforms.stage import SharedStage, Stage, settle_stage
from oracles.engine_shop import CARD_PATH
from oracles.stream_oracle import Rules, policy_text
from servers.apache_kafka import ApacheKafka

BASES = {"delivery": "contract", "support": "consent"}
RULES = Rules(BASES, None, {"customer": ["support"], "card": ["support"]}, ["support"])
CARD = "4111111111111111"
SHARDS = 3


def now() -> int:
    return time.time_ns() // 1000


def unreceived(subscription: str) -> Any:
    raise NotImplementedError(subscription)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    write_project(tmp_path / "shop", tenant="shop", now=now())
    (tmp_path / "shop/policy.yaml").write_text(policy_text(RULES, CARD_PATH))
    project = read_project(tmp_path / "shop/consentry.yaml")
    found = SharedStage(settle_stage(project, read_policy(project.policy), "orders", now=now())).open()
    with closing(found.stores.ledger), closing(found.stores.data_keys):
        yield found


@dataclass
class Broker:
    """One topic on a real Kafka."""

    server: ApacheKafka
    topic: str

    def create(self, partitions: int) -> None:
        admin = self._admin()
        for made in admin.create_topics([NewTopic(self.topic, partitions, 1)]).values():
            made.result()

    def grow(self, partitions: int) -> None:
        admin = self._admin()
        for made in admin.create_partitions([NewPartitions(self.topic, partitions)]).values():
            made.result()

    def delete_before(self, offset: int) -> None:
        from confluent_kafka import TopicPartition

        admin = self._admin()
        for done in admin.delete_records([TopicPartition(self.topic, 0, offset)]).values():
            done.result()

    def send(self, *values: Any, partition: int = 0) -> None:
        producer = Producer(
            {
                "bootstrap.servers": self.server.address, "topic.metadata.refresh.interval.ms": 100,
                "enable.idempotence": True,
            }
        )  # fmt: skip
        for value in values:
            raw = value if value is None or isinstance(value, bytes) else json.dumps(value).encode()
            producer.produce(self.topic, raw, partition=partition)
        producer.flush()

    def opened(self, *, lanes: int = 1, complete: bool = False) -> MessageTopic:
        uri = f"kafka://{self.server.address}/{self.topic}"
        return open_topic(uri, option="--from", received=unreceived, lanes=lanes, complete=complete)

    def _admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.server.address})


def order(number: int, customer: Any = "c-1", placed_at: Any = "2026-01-01T00:00:00Z") -> dict[str, Any]:
    return {"number": number, "customer": customer, "placed_at": placed_at, "payment": {"card": CARD}}


def consent(subject: str = "c-1", **given: Any) -> dict[str, Any]:
    return {
        "subject": subject, "purpose": "support", "decision": "granted", "effective_at": "2026-01-01T00:00:00Z",
        "source": "form", **given,
    }  # fmt: skip


def order_lane(stage: Stage, topic: MessageTopic, lane: int = 0, lanes: int = 1) -> OrderLane:
    return OrderLane(stage, topic, lane=lane, lanes=lanes, shards=SHARDS, clock=now)


def consent_lane(stage: Stage, topic: MessageTopic | None) -> ConsentLane:
    return ConsentLane(stage, topic, shards=SHARDS, clock=now)


def offsets_in(advanced: Advanced) -> list[int]:
    return sorted(
        offset for _, parcel in advanced.parcels if parcel.kind is Kind.RECORDS
        for offset in batch_of(parcel.body)["offset"].to_pylist()
    )  # fmt: skip


def reasons_in(advanced: Advanced) -> list[str]:
    return [
        reason for _, parcel in advanced.parcels if parcel.kind is Kind.LETTERS
        for reason in batch_of(parcel.body)["reason"].to_pylist()
    ]  # fmt: skip


def read_until(lane: OrderLane, offsets: dict[str, int], count: int) -> tuple[list[int], dict[str, int]]:
    found: list[int] = []
    end = time.monotonic() + 60
    while len(found) < count and time.monotonic() < end:
        advanced = lane.advance(offsets, 1000)
        found += offsets_in(advanced)
        offsets = dict(advanced.offsets)
    return sorted(found), offsets


def test_poison_messages_become_letters_and_stop_nothing_behind_them(stage: Stage, kafka: ApacheKafka) -> None:
    broker = Broker(kafka, "lanes-poison")
    broker.create(1)
    broker.send(
        order(0), b"", None, b"\xff\xfe", b"[" * 100_000, b"[1]", b'{"a": 1, "a": 2}', order(7, customer={"id": 1}),
        order(8, customer=1.5), order(9, placed_at="yesterday"), order(10, placed_at=True), b"{" + b"x" * 900_000,
        order(12, customer=None, placed_at=None),
    )  # fmt: skip
    with closing(broker.opened()) as topic:
        lane = order_lane(stage, topic)
        advanced = lane.advance({}, 1000)
        while not advanced.parcels:  # who leads a new topic is not known at once
            advanced = lane.advance({}, 1000)
    assert offsets_in(advanced) == [0, 12]
    assert len(reasons_in(advanced)) == 11
    assert advanced.offsets == {"lanes-poison/0": 13}
    assert CARD.encode() not in b"".join(parcel.packed() for _, parcel in advanced.parcels)


def test_a_lane_whose_broker_is_gone_has_nothing_new_and_goes_on_when_it_is_back(
    stage: Stage, kafka: ApacheKafka, caplog: pytest.LogCaptureFixture
) -> None:
    broker = Broker(kafka, "lanes-gone")
    broker.create(1)
    broker.send(order(0))
    with closing(broker.opened()) as topic, closing(broker.opened(complete=True)) as consents:
        orders, said = order_lane(stage, topic), consent_lane(stage, consents)
        found, offsets = read_until(orders, {}, 1)
        assert found == [0]
        kafka.kill()
        try:
            with caplog.at_level(logging.WARNING, "consentry.pipelines.engines.lanes"):
                assert orders.advance(offsets, 10) == Advanced(offsets, ())
                # No watermark: nobody may say that there were no withdrawals meanwhile.
                assert said.advance({"x/0": 1}) == Advanced({"x/0": 1}, ())
        finally:
            kafka.start()
        told = [each for each in caplog.records if each.name == "consentry.pipelines.engines.lanes"]
        assert len(told) == 2
        assert CARD not in caplog.text
        broker.send(order(1))
        assert read_until(orders, offsets, 1) == ([1], {"lanes-gone/0": 2})


def test_lanes_share_partitions_and_new_ones_are_read_from_their_beginning(stage: Stage, kafka: ApacheKafka) -> None:
    broker = Broker(kafka, "lanes-shared")
    broker.create(3)
    for partition in range(3):
        broker.send(order(partition), partition=partition)
    with closing(broker.opened(lanes=2)) as topic, closing(broker.opened(lanes=2)) as other:
        one, two = order_lane(stage, topic, 0, 2).advance({}, 100), order_lane(stage, other, 1, 2).advance({}, 100)
    assert one.offsets == {"lanes-shared/0": 1, "lanes-shared/2": 1}
    assert two.offsets == {"lanes-shared/1": 1}
    broker.grow(4)
    broker.send(order(3), partition=3)
    with closing(broker.opened(lanes=2)) as topic:
        again = order_lane(stage, topic, 1, 2).advance(two.offsets, 100)
    assert again.offsets == {"lanes-shared/1": 1, "lanes-shared/3": 1}
    assert offsets_in(again) == [0]


def test_faulty_consents_become_letters_and_the_watermark_tells_of_the_others(stage: Stage, kafka: ApacheKafka) -> None:
    broker = Broker(kafka, "lanes-consents")
    broker.create(1)
    broker.send(consent(), b"{", consent(purpose="unheard"), consent(decision="maybe"), consent("c-2"), None)
    before = now()
    with closing(broker.opened(complete=True)) as topic:
        lane = consent_lane(stage, topic)
        advanced = lane.advance({})
        assert len(reasons_in(advanced)) == 4
        assert stage.stores.ledger.position() == 2
        news = [
            (shard, watermark_of(parcel.body)) for shard, parcel in advanced.parcels if parcel.kind is Kind.WATERMARK
        ]
        assert [shard for shard, _ in news] == list(range(SHARDS))
        assert all(watermark.position == 2 and watermark.instant >= before for _, watermark in news)
        again = lane.advance({})  # as after an engine went back
        assert stage.stores.ledger.position() == 2
        assert len(reasons_in(again)) == 4
        assert again.offsets == advanced.offsets == {"lanes-consents/0": 6}


def test_a_withdrawal_in_a_new_partition_is_heard_before_the_next_watermark(stage: Stage, kafka: ApacheKafka) -> None:
    broker = Broker(kafka, "lanes-more-consents")
    broker.create(1)
    with closing(broker.opened(complete=True)) as topic:
        lane = consent_lane(stage, topic)
        offsets = lane.advance({}).offsets
        broker.grow(2)
        broker.send(consent(decision="withdrawn"), partition=1)
        advanced = lane.advance(offsets)
        end = time.monotonic() + 60
        while (
            not advanced.parcels and time.monotonic() < end
        ):  # the broker says of a new partition for a moment that it does not know it
            time.sleep(0.1)
            advanced = lane.advance(offsets)
    assert advanced.offsets == {"lanes-more-consents/1": 1}
    assert watermark_of(advanced.parcels[-1][1].body).position == 1


def test_without_a_topic_of_consents_the_ledger_itself_is_the_news(stage: Stage) -> None:
    advanced = consent_lane(stage, None).advance({})
    assert [parcel.kind for _, parcel in advanced.parcels] == [Kind.WATERMARK] * SHARDS


def test_a_launch_that_remembers_nothing_misses_consents_that_were_deleted_unread(
    stage: Stage, kafka: ApacheKafka, tmp_path: Path
) -> None:
    broker = Broker(kafka, "lanes-retention")
    broker.create(1)
    broker.send(consent())
    (tmp_path / "out/_stream").mkdir(parents=True)
    with closing(broker.opened(complete=True)) as topic:
        note_consents(tmp_path / "out", consent_lane(stage, topic).advance({}).offsets)
    broker.send(consent(decision="withdrawn"), consent("c-2"))
    broker.delete_before(2)
    with closing(broker.opened(complete=True)) as topic, pytest.raises(RecordsGoneError):
        consent_lane(stage, topic).advance(noted_consents(tmp_path / "out"))


def test_noted_ends_of_consents_never_go_back_and_a_damaged_note_is_refused(tmp_path: Path) -> None:
    (tmp_path / "_stream").mkdir()
    assert noted_consents(tmp_path) == {}
    for offsets in ({"c/0": 5}, {"c/0": 3, "c/1": 1}, {"d/0": 2}):
        note_consents(tmp_path, offsets)
    assert noted_consents(tmp_path) == {"c/0": 5, "c/1": 1, "d/0": 2}
    for damage in ("", "[1]", '{"c/0": null}'):
        (tmp_path / "_stream/consents.json").write_text(damage)
        with pytest.raises(OutputError, match=r"consents\.json: is damaged; restore the output's folder _stream"):
            noted_consents(tmp_path)
